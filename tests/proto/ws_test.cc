// RFC 6455 sections 5-8 as a table: input frames -> events or failure, in one piece, in one-byte
// pieces and at every cut.
#include "proto/ws.h"

#include <gtest/gtest.h>
#include <wslay/wslay.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/limits.h"

namespace {

using core::end_reason;
using std::string;

constexpr uint32_t kPadding = 64;

string frame(int first, const string& payload, bool is_masked = true) {
  string out(1, static_cast<char>(first));
  const char mask_bit = is_masked ? '\x80' : '\0';
  const size_t n = payload.size();
  if (n < 126) {
    out.push_back(static_cast<char>(mask_bit | static_cast<char>(n)));
  } else if (n < 65536) {
    out.push_back(static_cast<char>(mask_bit | 126));
    out.push_back(static_cast<char>(n >> 8));
    out.push_back(static_cast<char>(n));
  } else {
    out.push_back(static_cast<char>(mask_bit | 127));
    for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(n >> shift));
  }
  const char key[4] = {'\x12', '\xF4', '\x56', '\x78'};
  if (is_masked) out.append(key, 4);
  for (size_t i = 0; i < n; ++i)
    out.push_back(is_masked ? static_cast<char>(payload[i] ^ key[i % 4]) : payload[i]);
  return out;
}
string text(const string& s) {
  return frame(0x81, s);
}
string ping(const string& s) {
  return frame(0x89, s);
}
string close_payload(int code, const string& reason = "") {
  return string{static_cast<char>(code >> 8), static_cast<char>(code)} + reason;
}
string close(int code, const string& reason = "") {
  return frame(0x88, close_payload(code, reason));
}

struct peer {
  string log;
  proto::ws_reader* reader = proto::ws_reader_new();
  bool is_stopping = false;
  uint32_t limit;
  explicit peer(uint32_t message_bytes_max = 1000, bool has_fast_path = true);
  ~peer() {
    proto::ws_reader_reset(reader);
    proto::ws_reader_free(reader);
  }
  // Feeds one piece in a block of exactly its size and the padding.
  bool feed(const string& piece) {
    auto block = std::make_unique<char[]>(piece.size() + kPadding);
    memcpy(block.get(), piece.data(), piece.size());
    memset(block.get() + piece.size(), '\xEE', kPadding);
    const end_reason why = proto::ws_feed(reader, block.get(), static_cast<uint32_t>(piece.size()));
    if (why != end_reason::none) log += string("fail ") + core::end_reason_name(why) + ";";
    return why == end_reason::none;
  }
};

void on_text(void* user, char* bytes, uint32_t len) noexcept {
  peer* p = static_cast<peer*>(user);
  p->log +=
      len > 200 ? "text " + std::to_string(len) + " bytes;" : "text " + string(bytes, len) + ";";
  memset(bytes, 'x', len + kPadding);  // a callee may
  if (p->is_stopping) proto::ws_stop(p->reader);
}
void on_ping(void* user, std::string_view payload) noexcept {
  static_cast<peer*>(user)->log += "ping " + string(payload) + ";";
}
void on_pong(void* user) noexcept {
  static_cast<peer*>(user)->log += "pong;";
}
void on_close(void* user, uint16_t code, std::string_view reason) noexcept {
  static_cast<peer*>(user)->log += "close " + std::to_string(code) + " " + string(reason) + ";";
}
constexpr proto::ws_events kEvents = {on_text, on_ping, on_pong, on_close};

peer::peer(uint32_t message_bytes_max, bool has_fast_path) : limit(message_bytes_max) {
  proto::ws_reader_use_fast_path(reader, has_fast_path);
  proto::ws_reader_lend(reader, &kEvents, this, message_bytes_max);
}

string heard(const std::vector<string>& pieces, uint32_t limit, bool has_fast_path) {
  peer p(limit, has_fast_path);
  for (const string& piece : pieces) {
    if (!p.feed(piece)) break;
  }
  return p.log;
}

void expect_heard(const string& input, const string& expected, uint32_t limit = 1000) {
  for (const bool fast : {true, false}) {
    EXPECT_EQ(heard({input}, limit, fast), expected) << "in one piece, fast path " << fast;
    std::vector<string> bytes;
    for (const char c : input) bytes.emplace_back(1, c);
    EXPECT_EQ(heard(bytes, limit, fast), expected) << "in one-byte pieces, fast path " << fast;
    for (size_t cut = 1; cut < std::min<size_t>(input.size(), 300); ++cut) {
      ASSERT_EQ(heard({input.substr(0, cut), input.substr(cut)}, limit, fast), expected)
          << "cut at " << cut << ", fast path " << fast;
    }
  }
}

struct rule {
  const char* name;
  string input, expected;
};

const std::vector<rule>& rules() {
  static const string kProto = "fail protocol_error;", kUtf8 = "fail bad_utf8;";
  static const std::vector<rule> table = {
      // 5.2, 5.6: data frames
      {"text", text("Hello"), "text Hello;"},
      {"empty text", text(""), "text ;"},
      {"two messages", text("a") + text("b"), "text a;text b;"},
      {"125 bytes", text(string(125, 'a')), "text " + string(125, 'a') + ";"},
      {"126 bytes", text(string(126, 'a')), "text " + string(126, 'a') + ";"},
      {"text behind a control frame", ping("p") + text("a") + text("b"), "ping p;text a;text b;"},
      {"binary", frame(0x82, "a"), "fail unsupported_data;"},
      {"16-bit length that fits 7 bits", string("\x81\xFE\x00\x05", 4) + "kkkkaaaaa", kProto},
      {"64-bit length that fits 16 bits", string("\x81\xFF\0\0\0\0\0\0\0\x05", 10) + "kkkkaaaaa",
       kProto},
      {"64-bit length with the highest bit",
       string("\x81\xFF\x80\0\0\0\0\0\0\x05", 10) + "kkkkaaaaa", kProto},
      {"length 2^63-1", string("\x81\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10) + "kkkka",
       "fail message_too_big;"},
      // 5.1: masking
      {"unmasked text", frame(0x81, "a", false), kProto},
      {"unmasked ping", frame(0x89, "a", false), kProto},
      {"unmasked close", frame(0x88, close_payload(1000), false), kProto},
      // 5.2: reserved bits and opcodes
      {"RSV1", frame(0xC1, "a"), kProto},
      {"RSV2", frame(0xA1, "a"), kProto},
      {"RSV3", frame(0x91, "a"), kProto},
      {"RSV1 on a ping", frame(0xC9, "a"), kProto},
      {"opcode 3", frame(0x83, "a"), kProto},
      {"opcode 7", frame(0x87, "a"), kProto},
      {"opcode 11", frame(0x8B, "a"), kProto},
      {"opcode 15", frame(0x8F, "a"), kProto},
      // 5.4: fragments
      {"two fragments", frame(0x01, "Hel") + frame(0x80, "lo"), "text Hello;"},
      {"empty fragments", frame(0x01, "") + frame(0x00, "") + frame(0x80, ""), "text ;"},
      {"ping between fragments", frame(0x01, "Hel") + ping("p") + frame(0x80, "lo"),
       "ping p;text Hello;"},
      {"message behind a fragmented one", frame(0x01, "a") + frame(0x80, "b") + text("c"),
       "text ab;text c;"},
      {"text within a fragmented text", frame(0x01, "a") + text("b"), kProto},
      {"binary within a fragmented text", frame(0x01, "a") + frame(0x82, "b"), kProto},
      {"continuation of nothing", frame(0x80, "a"), kProto},
      {"continuation behind a whole message", text("a") + frame(0x80, "b"), "text a;" + kProto},
      // 5.5: control frames
      {"ping", ping("abc"), "ping abc;"},
      {"empty ping", ping(""), "ping ;"},
      {"ping of 125", ping(string(125, 'p')), "ping " + string(125, 'p') + ";"},
      {"ping of 126", ping(string(126, 'p')), kProto},
      {"fragmented ping", frame(0x09, "p"), kProto},
      {"fragmented close", frame(0x08, close_payload(1000)), kProto},
      {"close of 126", frame(0x88, string(126, 'p')), kProto},
      {"pong nobody asked for", frame(0x8A, "x") + text("a"), "pong;text a;"},
      // 5.5.1, 7: close
      {"close without code", frame(0x88, ""), "close 1005 ;"},
      {"close", close(1000, "bye"), "close 1000 bye;"},
      {"nothing counts behind a close", close(1000) + text("a") + frame(0x8F, "a"), "close 1000 ;"},
      {"close within a fragmented text", frame(0x01, "a") + close(1001), "close 1001 ;"},
      {"close of one byte", frame(0x88, "a"), kProto},
      {"close with an invalid reason", close(1000, "\xC0\xAF"), kUtf8},
      {"close with a reason that is cut", close(1000, "\xE2\x82"), kUtf8},
      {"close with 123 bytes of reason", close(1000, string(123, 'r')),
       "close 1000 " + string(123, 'r') + ";"},
      // 8.1: UTF-8
      {"UTF-8 of 2, 3 and 4 bytes", text("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"),
       "text \xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80;"},
      {"a character over two fragments", frame(0x01, "\xE2\x82") + frame(0x80, "\xAC"),
       "text \xE2\x82\xAC;"},
      {"a character over two fragments and a ping",
       frame(0x01, "\xE2") + ping("\xFF") + frame(0x80, "\x82\xAC"),
       "ping \xFF;text \xE2\x82\xAC;"},
      {"lone continuation", text("\x80"), kUtf8},
      {"overlong of 2", text("\xC0\xAF"), kUtf8},
      {"overlong of 3", text("\xE0\x9F\xBF"), kUtf8},
      {"overlong of 4", text("\xF0\x8F\xBF\xBF"), kUtf8},
      {"surrogate", text("\xED\xA0\x80"), kUtf8},
      {"beyond U+10FFFF", text("\xF4\x90\x80\x80"), kUtf8},
      {"byte F5", text("\xF5\x80\x80\x80"), kUtf8},
      {"cut character at the end", text("abc\xE2\x82"), kUtf8},
      {"cut character before ASCII",
       text("\xE2\x82"
            "abcdefghij"),
       kUtf8},
      {"first invalid byte fails before the message ends", frame(0x01, "\xFF"), kUtf8},
      {"last of U+10FFFF", text("\xF4\x8F\xBF\xBF"), "text \xF4\x8F\xBF\xBF;"},
  };
  return table;
}

TEST(ws, rules_of_rfc_6455) {
  for (const rule& r : rules()) {
    SCOPED_TRACE(r.name);
    expect_heard(r.input, r.expected);
  }
}

TEST(ws, close_codes) {
  for (int code = 0; code <= 5000; ++code) {
    const bool is_valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                          (code >= 3000 && code <= 4999);
    const string expected =
        is_valid ? "close " + std::to_string(code) + " ;" : "fail protocol_error;";
    ASSERT_EQ(heard({close(code)}, 1000, true), expected) << code;
  }
  ASSERT_EQ(heard({close(65535)}, 1000, true), "fail protocol_error;");
}

TEST(ws, message_limit_at_max_and_beyond) {
  expect_heard(text(string(1000, 'a')), "text 1000 bytes;", 1000);
  expect_heard(text(string(1001, 'a')), "fail message_too_big;", 1000);
  expect_heard(frame(0x01, string(999, 'a')) + frame(0x80, "b"), "text 1000 bytes;", 1000);
  expect_heard(frame(0x01, string(999, 'a')) + frame(0x80, "bc"), "fail message_too_big;", 1000);
  const string large(70'000, 'a');
  EXPECT_EQ(heard({text(large)}, 70'000, true), "text 70000 bytes;");
  EXPECT_EQ(heard({text(large)}, 69'999, true), "fail message_too_big;");
}

TEST(ws, too_long_a_length_is_refused_before_its_payload_comes) {
  for (const char length : {'\x00', '\x7f', '\x80'}) {  // 2^16 beyond the limit, 2^63 - 1, 2^63
    string head{'\x81', '\xff', length, 0, 0, 0, 0, 1, 0, 0};
    if (length == '\x7f') head.replace(3, 7, 7, '\xff');
    head += "mask";
    const string want = length == '\x80' ? "fail protocol_error;" : "fail message_too_big;";
    for (size_t cut = 0; cut < head.size(); ++cut)
      EXPECT_EQ(heard({head.substr(0, cut), head.substr(cut)}, 65535, true), want) << cut;
  }
}

TEST(ws, limit_can_be_raised_on_the_way) {
  peer p(3);
  EXPECT_TRUE(p.feed(text("abc")));
  proto::ws_reader_limit(p.reader, 4);
  EXPECT_TRUE(p.feed(text("abcd")));
  EXPECT_FALSE(p.feed(text("abcde")));
  EXPECT_EQ(p.log, "text abc;text abcd;fail message_too_big;");
}

TEST(ws, fragment_limit_at_max_and_beyond) {
  string input = frame(0x01, "");
  for (uint32_t i = 2; i < core::kWsFragmentsMax; ++i) input += frame(0x00, "a");
  EXPECT_EQ(heard({input + frame(0x80, "a")}, 10'000, true),
            "text " + std::to_string(core::kWsFragmentsMax - 1) + " bytes;");
  EXPECT_EQ(heard({input + frame(0x00, "a") + frame(0x80, "a")}, 10'000, true),
            "fail message_too_big;");
  EXPECT_EQ(heard({input + frame(0x80, "a") + frame(0x01, "b") + frame(0x80, "c")}, 10'000, true),
            "text " + std::to_string(core::kWsFragmentsMax - 1) + " bytes;text bc;");
}

TEST(ws, idle_only_between_messages) {
  peer p;
  EXPECT_TRUE(proto::ws_reader_is_idle(p.reader));
  const string input = frame(0x01, "ab") + ping("p") + frame(0x80, "c") + text("d") + ping("");
  string rest = input;
  const size_t message_end = (frame(0x01, "ab") + ping("p") + frame(0x80, "c")).size(),
               text_end = message_end + text("d").size();
  for (size_t i = 0; i < input.size(); ++i) {
    ASSERT_TRUE(p.feed(input.substr(i, 1)));
    const size_t fed = i + 1;
    ASSERT_EQ(proto::ws_reader_is_idle(p.reader),
              fed == message_end || fed == text_end || fed == input.size())
        << fed;
  }
  EXPECT_EQ(p.log, "ping p;text abc;text d;ping ;");
}

TEST(ws, reset_forgets_a_partial_message_at_every_cut) {
  const string input = frame(0x01, "abc") + frame(0x80, "def");
  for (size_t cut = 0; cut < input.size(); ++cut) {
    peer p;
    p.feed(input.substr(0, cut));
    proto::ws_reader_reset(p.reader);
    ASSERT_TRUE(proto::ws_reader_is_idle(p.reader));
    proto::ws_reader_lend(p.reader, &kEvents, &p, 1000);
    p.feed(text("x"));
    ASSERT_EQ(p.log, "text x;") << cut;
  }
}

TEST(ws, stop_ignores_the_rest) {
  for (const bool fast : {true, false}) {
    peer p(1000, fast);
    p.is_stopping = true;
    EXPECT_TRUE(p.feed(text("a") + text("b") + frame(0x8F, "")));
    EXPECT_TRUE(p.feed(text("c")));
    EXPECT_EQ(p.log, "text a;");
  }
}

TEST(ws, server_frames_are_what_wslay_writes) {
  for (const size_t n : {0u, 1u, 125u, 126u, 127u, 65535u, 65536u, 70000u}) {
    const string payload(n, 'p');
    struct sink {
      string bytes;
    } out;
    const wslay_frame_callbacks callbacks = {
        [](const uint8_t* data, size_t len, int, void* user) -> ssize_t {
          static_cast<sink*>(user)->bytes.append(reinterpret_cast<const char*>(data), len);
          return static_cast<ssize_t>(len);
        },
        nullptr, nullptr};
    wslay_frame_context_ptr context;
    ASSERT_EQ(wslay_frame_context_init(&context, &callbacks, &out), 0);
    wslay_frame_iocb f = {};
    f.fin = 1;
    f.opcode = WSLAY_TEXT_FRAME;
    f.payload_length = n;
    f.data = reinterpret_cast<const uint8_t*>(payload.data());
    f.data_length = n;
    ASSERT_EQ(wslay_frame_send(context, &f), static_cast<ssize_t>(n));
    wslay_frame_context_free(context);
    core::frame* ours = proto::ws_text_frame(payload);
    EXPECT_EQ(core::frame_view(ours), out.bytes) << n;
    core::frame_unref(ours);
  }
}

string taken(core::frame* f) {
  string out(core::frame_view(f));
  core::frame_unref(f);
  return out;
}

TEST(ws, control_frames) {
  EXPECT_EQ(taken(proto::ws_pong_frame("abc")),
            "\x8A\x03"
            "abc");
  EXPECT_EQ(taken(proto::ws_close_frame(0, "")), string("\x88\x00", 2));
  EXPECT_EQ(taken(proto::ws_close_frame(3001, "shutdown")), "\x88\x0A\x0B\xB9shutdown");
  EXPECT_EQ(taken(proto::ws_close_frame(1000, string(123, 'a'))).size(), 2u + 125u);
  EXPECT_EQ(taken(proto::ws_close_frame(1000, string(124, 'a'))).size(), 2u + 125u);
  EXPECT_EQ(taken(proto::ws_close_frame(1000, string(122, 'a') + "\xC3\xA9")),
            "\x88\x7C\x03\xE8" + string(122, 'a'))
      << "cut before a character";
  EXPECT_EQ(core::frame_live(), 0);
}

}  // namespace
