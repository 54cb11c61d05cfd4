// The client's side of RFC 6455: answers and frames from a server at every cut, and what it writes
// read back by the server's own reader.
#include "proto/ws_client.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "proto/upgrade.h"
#include "proto/ws.h"

namespace {

using core::err;
using std::string;

constexpr const char* kKey = "dGhlIHNhbXBsZSBub25jZQ==";
constexpr const char* kAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

// --- the handshake

string answer_of(const string& status, const std::vector<string>& headers) {
  string out = status + "\r\n";
  for (const string& h : headers) out += h + "\r\n";
  return out + "\r\n";
}
string good_answer() {
  return answer_of(
      "HTTP/1.1 101 Switching Protocols",
      {"Upgrade: websocket", "Connection: Upgrade", string("Sec-WebSocket-Accept: ") + kAccept});
}

struct answered {
  err rc;
  size_t head_len = 0;
  string why;
};
// In a block of exact size, so that a read beyond it is seen.
answered read_answer(const string& bytes) {
  auto block = std::make_unique<char[]>(bytes.size());
  memcpy(block.get(), bytes.data(), bytes.size());
  answered a{};
  a.rc = proto::ws_client_answer({block.get(), bytes.size()}, kKey, &a.head_len, &a.why);
  return a;
}

TEST(ws_client_handshake, request_is_what_a_server_wants) {
  EXPECT_EQ(proto::ws_client_request("chat.example.com:8000", "/connection/websocket?a=b", kKey,
                                     "centrifuge-json"),
            "GET /connection/websocket?a=b HTTP/1.1\r\nHost: chat.example.com:8000\r\nUpgrade: "
            "websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
            "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: centrifuge-json\r\n\r\n");
  EXPECT_EQ(proto::ws_client_request("h", "/", kKey, "").find("Protocol"), string::npos);
}

TEST(ws_client_handshake, our_own_server_accepts_the_request_and_its_answer_is_taken) {
  for (const char* protocol : {"", "centrifuge-json"}) {
    const string request =
        proto::ws_client_request("a.example", "/connection/websocket", kKey, protocol);
    proto::http_parser* parser = proto::http_parser_new();
    proto::http_parser_reset(parser, 8192, 0);
    uint32_t consumed = 0;
    ASSERT_EQ(
        proto::http_feed(parser, request.data(), static_cast<uint32_t>(request.size()), &consumed),
        err::ok);
    const proto::upgrade_answer a =
        proto::upgrade_check(*proto::http_parser_request(parser), proto::upgrade_rules{});
    proto::http_parser_free(parser);
    ASSERT_EQ(a.status, 101);
    const answered got = read_answer(a.bytes);
    EXPECT_EQ(got.rc, err::ok) << got.why;
    EXPECT_EQ(got.head_len, a.bytes.size());
  }
}

TEST(ws_client_handshake, answer_at_every_cut) {
  const string answer = good_answer();
  for (size_t n = 0; n < answer.size(); ++n)
    ASSERT_EQ(read_answer(answer.substr(0, n)).rc, err::again) << "cut at " << n;
  // Frames may come with it.
  const answered whole = read_answer(answer + "\x81\x01x");
  EXPECT_EQ(whole.rc, err::ok);
  EXPECT_EQ(whole.head_len, answer.size());
}

TEST(ws_client_handshake, names_and_words_have_no_case) {
  EXPECT_EQ(
      read_answer(answer_of("HTTP/1.1 101",
                            {"UPGRADE:\tWebSocket ", "connection: keep-alive, UPGRADE",
                             string("sec-websocket-ACCEPT:") + kAccept, "X-Upgrade: nonsense"}))
          .rc,
      err::ok);
}

TEST(ws_client_handshake, refusals_say_why) {
  const string up = "Upgrade: websocket", con = "Connection: Upgrade",
               acc = string("Sec-WebSocket-Accept: ") + kAccept;
  const string switching = "HTTP/1.1 101 Switching Protocols";
  const struct {
    string answer, why;
  } table[] = {
      {answer_of("HTTP/1.1 403 Forbidden", {up, con, acc}), "403 Forbidden"},
      {answer_of("HTTP/1.1 1012 No", {up, con, acc}), "1012"},
      {answer_of("HTTP/1.0 101 Switching Protocols", {up, con, acc}), "HTTP/1.0"},
      {answer_of("SSH-2.0", {}), "SSH-2.0"},
      {"\r\n\r\n", "answered"},
      {answer_of(switching, {con, acc}), "no upgrade"},
      {answer_of(switching, {"Upgrade: h2c", con, acc}), "no upgrade"},
      {answer_of(switching, {up, acc}), "no upgrade"},
      {answer_of(switching, {up, "Connection: Upgrades", acc}), "no upgrade"},
      {answer_of(switching, {up, con}), "Accept"},
      {answer_of(switching, {up, con, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO="}),
       "Accept"},
      {answer_of(switching, {up, con, "Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO="}),
       "Accept"},
      {answer_of(switching, {up, con, acc, "Sec-WebSocket-Extensions: permessage-deflate"}),
       "extension"}};
  for (const auto& row : table) {
    const answered a = read_answer(row.answer);
    EXPECT_EQ(a.rc, err::malformed) << row.answer;
    EXPECT_NE(a.why.find(row.why), string::npos) << a.why;
  }
}

TEST(ws_client_handshake, head_limit_at_max_and_beyond) {
  constexpr size_t kMax = 64 * 1024;
  const string good = good_answer();
  const auto of_size = [&](size_t n) {
    const string begin = good.substr(0, good.size() - 2) + "X: ";
    return begin + string(n - begin.size() - 4, 'x') + "\r\n\r\n";
  };
  ASSERT_EQ(of_size(kMax).size(), kMax);
  EXPECT_EQ(read_answer(of_size(kMax)).rc, err::ok);
  EXPECT_EQ(read_answer(of_size(kMax + 1)).rc, err::malformed);
  EXPECT_EQ(read_answer(string(kMax - 1, 'x')).rc, err::again);
  EXPECT_EQ(read_answer(string(kMax, 'x')).rc, err::malformed);
}

// --- frames from a server

string frame(int first, const string& payload) {
  string out(1, static_cast<char>(first));
  const size_t n = payload.size();
  if (n < 126) {
    out.push_back(static_cast<char>(n));
  } else if (n < 65536) {
    out.push_back(126);
    out.push_back(static_cast<char>(n >> 8));
    out.push_back(static_cast<char>(n));
  } else {
    out.push_back(127);
    for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(n >> shift));
  }
  return out + payload;
}
string text(const string& s) {
  return frame(0x81, s);
}
string close(int code, const string& reason = "") {
  return frame(0x88, string{static_cast<char>(code >> 8), static_cast<char>(code)} + reason);
}

struct listener {
  proto::ws_client c;
  string log;
  int stops_after = -1;  // messages
  uint64_t bytes_max;
  explicit listener(uint64_t max) : bytes_max(max) {}
  err feed(const string& piece);
};

void on_message(void* user, std::string_view payload) noexcept {
  auto* l = static_cast<listener*>(user);
  l->log += payload.size() > 200 ? "text " + std::to_string(payload.size()) + " bytes;"
                                 : "text " + string(payload) + ";";
  if (l->stops_after > 0 && --l->stops_after == 0) l->c.is_stopped = true;
}
void on_ping(void* user, std::string_view payload) noexcept {
  static_cast<listener*>(user)->log += "ping " + string(payload) + ";";
}
void on_close(void* user, uint16_t code, std::string_view reason) noexcept {
  static_cast<listener*>(user)->log += "close " + std::to_string(code) + " " + string(reason) + ";";
}
constexpr proto::ws_client_events kEvents = {on_message, on_ping, on_close};

err listener::feed(const string& piece) {
  auto block = std::make_unique<char[]>(piece.size());
  memcpy(block.get(), piece.data(), piece.size());
  const err rc = proto::ws_client_feed(&c, {block.get(), piece.size()}, bytes_max, &kEvents, this);
  if (rc != err::ok) log += string("fail ") + core::err_name(rc) + ";";
  return rc;
}

string heard(const std::vector<string>& pieces, uint64_t bytes_max) {
  listener l(bytes_max);
  for (const string& piece : pieces) {
    if (l.feed(piece) != err::ok) break;
  }
  return l.log;
}

void expect_heard(const string& input, const string& expected, uint64_t bytes_max = 1000) {
  EXPECT_EQ(heard({input}, bytes_max), expected) << "in one piece";
  std::vector<string> bytes;
  for (const char c : input) bytes.emplace_back(1, c);
  EXPECT_EQ(heard(bytes, bytes_max), expected) << "in one-byte pieces";
  for (size_t cut = 1; cut < std::min<size_t>(input.size(), 300); ++cut)
    ASSERT_EQ(heard({input.substr(0, cut), input.substr(cut)}, bytes_max), expected)
        << "cut at " << cut;
}

TEST(ws_client_frames, rules) {
  const string kBad = "fail malformed;";
  const struct {
    const char* name;
    string input, expected;
  } table[] = {
      {"text", text("Hello"), "text Hello;"},
      {"binary", frame(0x82, "Hello"), "text Hello;"},
      {"empty", text(""), "text ;"},
      {"two messages", text("a") + text("b"), "text a;text b;"},
      {"125 bytes", text(string(125, 'a')), "text " + string(125, 'a') + ";"},
      {"126 bytes", text(string(126, 'a')), "text " + string(126, 'a') + ";"},
      {"ping and pong", frame(0x89, "p") + frame(0x8A, "q") + text("a"), "ping p;text a;"},
      {"ping of 125 bytes", frame(0x89, string(125, 'p')), "ping " + string(125, 'p') + ";"},
      {"ping of 126 bytes", frame(0x89, string(126, 'p')), kBad},
      // 5.1: a server does not mask
      {"masked text", string("\x81\x81kkkk", 6) + "x", kBad},
      {"masked behind a good one", text("a") + string("\x81\x81kkkk", 6) + "x", "text a;" + kBad},
      // 5.2
      {"RSV1", frame(0xC1, "a"), kBad},
      {"RSV2", frame(0xA1, "a"), kBad},
      {"RSV3", frame(0x91, "a"), kBad},
      {"opcode 3", frame(0x83, "a"), kBad},
      {"opcode 7", frame(0x87, "a"), kBad},
      {"opcode 11", frame(0x8B, "a"), kBad},
      {"opcode 15", frame(0x8F, "a"), kBad},
      {"16-bit length that fits 7 bits", string("\x81\x7E\x00\x7D", 4) + string(125, 'a'), kBad},
      {"64-bit length that fits 16 bits", string("\x81\x7F\0\0\0\0\0\0\xFF\xFF", 10), kBad},
      {"64-bit length with the highest bit", string("\x81\x7F\x80\0\0\0\0\1\0\0", 10), kBad},
      {"64-bit length 2^63-1", string("\x81\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10),
       "fail too_big;"},
      // 5.4: fragments
      {"fragments", frame(0x01, "He") + frame(0x00, "l") + frame(0x80, "lo"), "text Hello;"},
      {"empty fragments", frame(0x01, "") + frame(0x00, "") + frame(0x80, ""), "text ;"},
      {"controls between fragments",
       frame(0x01, "a") + frame(0x89, "p") + frame(0x00, "b") + frame(0x8A, "") + frame(0x89, "q") +
           frame(0x80, "c") + text("d"),
       "ping p;ping q;text abc;text d;"},
      {"continuation of nothing", frame(0x80, "a"), kBad},
      {"continuation behind the last", frame(0x01, "a") + frame(0x80, "b") + frame(0x80, "c"),
       "text ab;" + kBad},
      {"text within a fragmented text", frame(0x01, "a") + text("b"), kBad},
      {"fragmented ping", frame(0x09, "p"), kBad},
      {"fragmented close", frame(0x08, ""), kBad},
      // 5.5.1, 7.4: close
      {"close without code", frame(0x88, ""), "close 1005 ;"},
      {"close with half a code", frame(0x88, "\x03"), kBad},
      {"close", close(1000, "bye"), "close 1000 bye;"},
      {"close of the protocol", close(3503, "force disconnect"), "close 3503 force disconnect;"},
      {"nothing counts behind a close", close(1000) + text("a") + frame(0x8F, "a"), "close 1000 ;"},
      {"close within a fragmented text", frame(0x01, "a") + close(1001), "close 1001 ;"},
      {"close with 123 bytes of reason", close(1000, string(123, 'r')),
       "close 1000 " + string(123, 'r') + ";"}};
  for (const auto& row : table) {
    SCOPED_TRACE(row.name);
    expect_heard(row.input, row.expected);
  }
}

TEST(ws_client_frames, close_codes) {
  for (int code = 0; code <= 65535; ++code) {
    const bool is_valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                          (code >= 3000 && code <= 4999);
    ASSERT_EQ(heard({close(code)}, 1000),
              is_valid ? "close " + std::to_string(code) + " ;" : "fail malformed;");
    if (code == 5100) code = 65500;
  }
}

TEST(ws_client_frames, message_limit_at_max_and_beyond) {
  expect_heard(text(string(1000, 'a')), "text 1000 bytes;", 1000);
  expect_heard(text(string(1001, 'a')), "fail too_big;", 1000);
  expect_heard(frame(0x01, string(999, 'a')) + frame(0x80, "b"), "text 1000 bytes;", 1000);
  expect_heard(frame(0x01, string(999, 'a')) + frame(0x80, "bc"), "fail too_big;", 1000);
  const string large(70'000, 'a');
  expect_heard(text(large), "text 70000 bytes;", 70'000);
  expect_heard(text(large), "fail too_big;", 69'999);
  // The header alone is enough to refuse.
  EXPECT_EQ(heard({text(large).substr(0, 10)}, 69'999), "fail too_big;");
}

TEST(ws_client_frames, holds_nothing_between_messages) {
  listener l(100'000);
  const string large = text(string(70'000, 'a'));
  ASSERT_EQ(l.feed(large.substr(0, 40'000)), err::ok);
  EXPECT_EQ(l.c.rest.size(), 40'000u);
  ASSERT_EQ(l.feed(large.substr(40'000)), err::ok);
  ASSERT_EQ(l.feed(frame(0x01, string(5000, 'b'))), err::ok);
  EXPECT_TRUE(l.c.is_in_message);
  ASSERT_EQ(l.feed(frame(0x80, "")), err::ok);
  EXPECT_EQ(l.log, "text 70000 bytes;text 5000 bytes;");
  EXPECT_FALSE(l.c.is_in_message);
  EXPECT_EQ(l.c.rest.capacity(), string().capacity());
  EXPECT_EQ(l.c.message.capacity(), string().capacity());
}

TEST(ws_client_frames, stops_where_an_event_says_so) {
  const string input = text("a") + text("b") + text("c") + frame(0x8F, "");
  for (size_t cut = 0; cut <= input.size(); ++cut) {
    listener l(1000);
    l.stops_after = 2;
    EXPECT_EQ(l.feed(input.substr(0, cut)), err::ok);
    EXPECT_EQ(l.feed(input.substr(cut)), err::ok);
    ASSERT_EQ(l.log, "text a;text b;") << "cut at " << cut;
    EXPECT_TRUE(l.c.rest.empty());
  }
}

// --- what the client writes

struct server_side {
  string log;
  proto::ws_reader* reader = proto::ws_reader_new();
  server_side();
  ~server_side() {
    proto::ws_reader_reset(reader);
    proto::ws_reader_free(reader);
  }
  void feed(const string& bytes) {
    auto block = std::make_unique<char[]>(bytes.size() + 64);
    memcpy(block.get(), bytes.data(), bytes.size());
    EXPECT_EQ(proto::ws_feed(reader, block.get(), static_cast<uint32_t>(bytes.size())),
              core::end_reason::none);
  }
};
constexpr proto::ws_events kServerEvents = {
    [](void* user, char* bytes, uint32_t len) noexcept {
      static_cast<server_side*>(user)->log += "text " + string(bytes, len) + ";";
    },
    [](void* user, std::string_view payload) noexcept {
      static_cast<server_side*>(user)->log += "ping " + string(payload) + ";";
    },
    [](void* user) noexcept { static_cast<server_side*>(user)->log += "pong;"; },
    [](void* user, uint16_t code, std::string_view reason) noexcept {
      static_cast<server_side*>(user)->log +=
          "close " + std::to_string(code) + " " + string(reason) + ";";
    }};
server_side::server_side() {
  proto::ws_reader_lend(reader, &kServerEvents, this, 100'000);
}

TEST(ws_client_frames, a_server_reads_what_the_client_writes) {
  using proto::ws_opcode;
  for (const uint32_t mask : {0u, 1u, 0xFF00FF00u, 0x12345678u, 0xFFFFFFFFu}) {
    for (const size_t n : {0, 1, 2, 3, 4, 5, 125, 126, 127, 65535, 65536, 70001}) {
      server_side s;
      string payload(n, 'x');
      for (size_t i = 0; i < n; ++i) payload[i] = static_cast<char>('a' + i % 23);
      string out = "before";
      proto::ws_client_frame(&out, ws_opcode::text, payload, mask);
      ASSERT_EQ(out.substr(0, 6), "before");
      proto::ws_client_frame(&out, ws_opcode::ping, "p", mask);
      proto::ws_client_frame(&out, ws_opcode::pong, "", mask);
      proto::ws_client_frame(&out, ws_opcode::close,
                             "\x03\xE8"
                             "bye",
                             mask);
      s.feed(out.substr(6));
      ASSERT_EQ(s.log, "text " + payload + ";ping p;pong;close 1000 bye;") << n << " " << mask;
    }
  }
}

TEST(ws_client_frames, the_client_reads_what_a_server_writes) {
  for (const size_t n : {0, 125, 126, 65535, 65536}) {
    core::frame* f = proto::ws_text_frame(string(n, 'x'));
    const string bytes(core::frame_view(f));
    core::frame_unref(f);
    expect_heard(bytes,
                 n > 200 ? "text " + std::to_string(n) + " bytes;" : "text " + string(n, 'x') + ";",
                 70'000);
  }
  core::frame* f = proto::ws_close_frame(3001, "shutdown");
  expect_heard(string(core::frame_view(f)), "close 3001 shutdown;");
  core::frame_unref(f);
}

}  // namespace
