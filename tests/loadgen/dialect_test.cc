// Dialect files: what is read, every kind of mistake with its line, and what a server's messages
// are taken for.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "load_line.h"
#include "loadgen/dialect_file.h"
#include "loadgen/stamp.h"

namespace loadgen {
namespace {

using core::err;
using std::string;
using strings = std::vector<string>;
namespace fs = std::filesystem;

const string kLeast = R"([publish]
send = '${data}'
[publication]
message = '${data}'
)";

struct dialect_file_test : testing::Test {
  dialect_file f;
  strings problems;
  void good(const string& text) {
    problems.clear();
    ASSERT_EQ(dialect_file_parse(text, "dir/t.toml", &f, &problems), err::ok) << all();
  }
  // Exactly these, in this order, word for word.
  void bad(const string& text, const strings& expected) {
    problems.clear();
    ASSERT_EQ(dialect_file_parse(text, "t.toml", &f, &problems), err::invalid) << text;
    ASSERT_EQ(problems.size(), expected.size()) << text << all();
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(problems[i], "t.toml:" + expected[i]);
  }
  string all() const {
    string out = "\n";
    for (const string& p : problems) out += p + "\n";
    return out;
  }
};

TEST_F(dialect_file_test, TheLeastIsAnEcho) {
  good(kLeast);
  EXPECT_EQ(f.name, "t");
  EXPECT_FALSE(f.traits.has_offsets || f.traits.has_keys || f.traits.has_presence);
  EXPECT_FALSE(f.traits.answers_connect || f.traits.answers_subscribe || f.traits.answers_publish ||
               f.traits.is_greeted || f.traits.waits_for_connect);
  EXPECT_FALSE(f.traits.has_unsubscribe || f.traits.has_token);
  ASSERT_EQ(f.target.size(), 1u);
  EXPECT_EQ(f.target[0].literal, "/");
}

TEST_F(dialect_file_test, EveryKeyIsRead) {
  good(R"(
about = "a"
lines = true
ignore = ["1", "2${any}3"]
[upgrade]
target = "/ws/${channel}?u=${user}&t=${token}"
protocol = "chat.1"
[connect]
after = "hello"
send = "login ${user} ${token} ${id}"
reply = "welcome ${id}"
error = "go away ${id}: ${error}"
wait = false
end = "bye"
[join]
send = "join ${channel} ${id}"
reply = "joined ${channel}"
error = "not joined ${channel}: ${error}"
[leave]
send = "leave ${channel}"
reply = "left ${channel}"
[publish]
send = "say ${channel} ${data} ${id}"
reply = "said ${id}"
error = "not said ${id}"
[publication]
message = "msg ${channel} ${any} ${data}"
[ping]
message = "ping"
answer = "pong"
)");
  EXPECT_EQ(f.about, "a");
  EXPECT_TRUE(f.has_lines && f.traits.is_greeted && f.traits.has_unsubscribe && f.traits.has_token);
  EXPECT_TRUE(f.traits.answers_connect && f.traits.answers_subscribe &&
              f.traits.answers_unsubscribe && f.traits.answers_publish);
  EXPECT_FALSE(f.traits.waits_for_connect);
  EXPECT_TRUE(f.traits.is_channel_in_target && f.traits.is_token_in_target);
  EXPECT_EQ(f.protocol, "chat.1");
  EXPECT_EQ(f.pong, "pong");
  ASSERT_EQ(f.rules.size(), 12u);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(f.rules[i].is_error) << i;
  EXPECT_EQ(f.rules[3].kind, rule_kind::ping);
}

TEST_F(dialect_file_test, ConnectIsWaitedForWhenItIsAnswered) {
  good(kLeast + "[connect]\nsend = 'a'\nreply = 'b'\n");
  EXPECT_TRUE(f.traits.waits_for_connect);
}

TEST_F(dialect_file_test, EveryMistakeIsNamed) {
  bad("", {"1: [publish] is missing: what is sent to publish?",
           "1: [publication] is missing: how does a received message begin?"});
  bad("publish = 1\n" + kLeast.substr(kLeast.find("[publication]")),
      {"1: publish must be one table, under [publish]"});
  bad("lines = 1\nabout = 2\nignore = '3'\n" + kLeast,
      {"1: lines must be true or false", "2: about must be a text in quotes",
       "3: ignore must be a list of texts in quotes, [\"…\", \"…\"]"});
  bad("ignore = ['a', '${channel}', '']\n" + kLeast,
      {"1: ignore \"${channel}\" has ${channel}, which has no meaning in it; allowed here: ${any}",
       "1: ignore \"\" must not be empty: every message begins so"});
  bad("lins = true\n" + kLeast, {"1: lins is unknown; did you mean lines?"});
  bad("[publish]\n[publication]\n",
      {"1: [publish] send is missing: what is sent to publish?",
       "2: [publication] message is missing: how does a received message begin?"});
  bad("[publish]\nsend = 'x'\n[publication]\nmessage = 'x'\n",
      {"2: [publish] send must hold ${data}, the message's JSON",
       "4: [publication] message must hold ${data}, the message's JSON"});
}

TEST_F(dialect_file_test, EveryMistakeOfAPlaceIsNamed) {
  bad("[publish]\nsend = '${dat} ${data}'\n[publication]\nmessage = '${data'\n",
      {"2: [publish] send has ${dat}, which has no meaning in it; allowed here: ${channel}, "
       "${data}, ${id}; did you mean ${data}?",
       "2: [publish] send must hold ${data}, the message's JSON",
       "4: [publication] message has a ${ without its }"});
  bad("[publish]\nsend = '${data}'\n[publication]\nmessage = '${channel}${data}'\n",
      {"4: [publication] message has nothing between ${channel} and ${data}: nobody could say "
       "where "
       "the first ends"});
  bad("[publish]\nsend = '${data}'\n[publication]\nmessage = '${data} ${channel} ${data}'\n",
      {"4: [publication] message has ${data} twice"});
  bad("[publish]\nsend = ''\n[publication]\nmessage = ''\n",
      {"2: [publish] send must not be empty: leave it out when nothing is sent",
       "2: [publish] send must hold ${data}, the message's JSON",
       "4: [publication] message must not be empty: every message begins so"});
  bad(kLeast + "[join]\nsend = '${user}'\n",
      {"6: [join] send has ${user}, which has no meaning in it; allowed here: ${channel}, ${id}"});
}

TEST_F(dialect_file_test, EveryMistakeOfACommandIsNamed) {
  bad(kLeast + "[upgrade]\ntarget = 'ws'\nprotocol = 'a, b'\n",
      {"6: [upgrade] target must begin with '/', of visible ASCII: \"/ws?format=json\"",
       "7: [upgrade] protocol must be one name of a sub-protocol, of visible ASCII"});
  bad(kLeast + "[upgrade]\ntarget = '/a b'\n",
      {"6: [upgrade] target must begin with '/', of visible ASCII: \"/ws?format=json\""});
  bad(kLeast + "[upgrade]\ntarget = '/${room}'\n",
      {"6: [upgrade] target has ${room}, which has no meaning in it; allowed here: ${channel}, "
       "${user}, ${token}"});
  bad(kLeast + "[connect]\nwait = true\nerror = 'x'\n",
      {"6: [connect] wait needs reply: there is nothing to wait for",
       "7: [connect] error needs reply: a command that is not answered is done when it is "
       "written"});
  bad(kLeast + "[connect]\nreply = 'x'\n",
      {"6: [connect] reply needs send: nothing would be answered"});
  bad(kLeast + "[join]\nsend = 'x'\nreply = '${id}'\nerror = '${id}: ${error}'\n",
      {"7: [join] reply has ${id}, and send has none: the server cannot know it",
       "8: [join] error has ${id}, and send has none: the server cannot know it"});
  bad(kLeast + "[join]\n", {"5: [join] send is missing: what is sent to join a channel? Without "
                            "[join] a connection is in its channel from the upgrade on"});
  bad(kLeast + "[leave]\nsend = 'x'\n",
      {"5: leave needs [join]: who is in from the upgrade on cannot leave"});
  bad(kLeast + "[join]\nsend = 'x'\n[leave]\n",
      {"7: [leave] send is missing: what is sent to leave a channel?"});
  bad(kLeast + "[ping]\n", {"5: [ping] message is missing: how does a ping begin?",
                            "5: [ping] answer is missing: what answers a ping?"});
  bad(kLeast + "[ping]\nmessage = 'x'\nanser = 'y'\n",
      {"5: [ping] answer is missing: what answers a ping?",
       "7: [ping] anser is unknown; did you mean answer?"});
}

TEST_F(dialect_file_test, WhatIsNoTomlSaysWhere) {
  ASSERT_EQ(dialect_file_parse("a = 1\n[=\n", "t.toml", &f, &problems), err::invalid);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_TRUE(problems[0].starts_with("t.toml:2: ")) << problems[0];
}

TEST_F(dialect_file_test, FilesAreFoundByNameAndByPath) {
  ASSERT_GE(kDialectFileCount, 2u);
  for (size_t i = 0; i < kDialectFileCount; ++i) {
    problems.clear();
    EXPECT_EQ(dialect_find(kDialectFiles[i].name, &f, &problems), err::ok) << all();
    EXPECT_EQ(f.name, kDialectFiles[i].name);
  }
  EXPECT_EQ(dialect_find("soket.io", &f, &problems), err::not_found);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(
      problems[0],
      "--dialect \"soket.io\" is unknown: it is one of centrifuge, broadcast, socket.io, or a "
      "FILE.toml; did you mean socket.io?");
  problems.clear();
  EXPECT_EQ(dialect_find("/nowhere/x.toml", &f, &problems), err::not_found);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_TRUE(problems[0].starts_with("/nowhere/x.toml: ")) << problems[0];
  const fs::path own = fs::temp_directory_path() / ("own-" + std::to_string(getpid()) + ".toml");
  std::ofstream(own) << kLeast;
  problems.clear();
  EXPECT_EQ(dialect_find(own.string(), &f, &problems), err::ok) << all();
  EXPECT_EQ(f.name, own.stem().string());
  fs::resize_file(own, (1 << 20) + 1);
  EXPECT_EQ(dialect_find(own.string(), &f, &problems), err::invalid);
  EXPECT_EQ(problems.back(),
            own.string() + ":1: the file is larger than 1 MiB, so it is not a dialect");
  fs::remove(own);
}

// --- what goes with which scenario

struct dialect_fits_test : dialect_file_test {
  scenario asked;
  void SetUp() override { asked.rooms.resize(1); }
  string why(bool has_secret = false) const {
    string text;
    const err rc = dialect_fits(f, asked, has_secret, &text);
    EXPECT_EQ(rc, text.empty() ? err::ok : err::invalid);
    return text;
  }
};

TEST_F(dialect_fits_test, WhatTheServerCannotDoIsRefused) {
  good(kLeast);
  EXPECT_EQ(why(), "");
  EXPECT_EQ(why(true), "the dialect t has no ${token}: run it without --token-hmac-secret");
  asked.rooms[0].count = 2;
  EXPECT_EQ(why(),
            "the dialect t has no channels, everybody gets everything: the scenario may have one "
            "room");
  asked.rooms[0].count = 1;
  asked.churn_rate = 1;
  EXPECT_EQ(why(),
            "the dialect t has no [leave], and the scenario's [churn] rate makes members leave");
  asked.churn_rate = 0;
  good(kLeast + "[upgrade]\ntarget = '/${channel}?${token}'\n");
  asked.rooms[0].count = 2;
  EXPECT_EQ(why(true), "");
  asked.rooms.emplace_back().shared = true;
  const string one =
      "the dialect t has one channel a connection, and the scenario's shared rooms put a "
      "connection "
      "in several";
  EXPECT_EQ(why(), one);
  good(kLeast + "[join]\nsend = '${channel}'\n");
  EXPECT_EQ(why(), one);
  good(
      "[join]\nsend = '${channel}'\n[publish]\nsend = '${channel} ${data}'\n[publication]\n"
      "message = '${data}'\n");
  EXPECT_EQ(why(), "");
  good(
      "[upgrade]\ntarget = '/${channel}'\n[join]\nsend = '${channel}'\n[publish]\n"
      "send = '${channel} ${data}'\n[publication]\nmessage = '${data}'\n");
  EXPECT_EQ(why(), one);
}

// --- speaking and listening

struct heard {
  strings all;
  static heard* of(void* user) { return static_cast<heard*>(user); }
};

const dialect_events kEvents = {
    [](void* user, std::string_view channel, uint64_t, std::string_view text) noexcept {
      stamp s;
      const stamp_result r = stamp_read(text, &s, nullptr, nullptr);
      heard::of(user)->all.push_back("publication " + string(channel) + " " +
                                     (r == stamp_result::ok        ? std::to_string(s.number)
                                      : r == stamp_result::corrupt ? "corrupt"
                                                                   : "foreign"));
    },
    [](void* user, std::string_view text) noexcept {
      stamp s;
      (void)stamp_read(text, &s, nullptr, nullptr);
      heard::of(user)->all.push_back("bare " + std::to_string(s.number));
    },
    [](void* user, const dialect_reply& r) noexcept {
      static constexpr const char* kTo[] = {"id", "connect", "subscribe", "unsubscribe", "publish"};
      heard::of(user)->all.push_back("reply " + string(kTo[static_cast<size_t>(r.to)]) + " " +
                                     std::to_string(r.id) + " " + string(r.channel) + " " +
                                     (r.error == 0 ? "ok" : "error " + string(r.message)));
    },
    [](void* user, std::string_view text) noexcept {
      heard::of(user)->all.push_back("answer " + string(text));
    },
    [](void*, std::string_view, bool) noexcept { FAIL(); },
    [](void* user) noexcept { heard::of(user)->all.emplace_back("greeting"); },
    [](void* user) noexcept { heard::of(user)->all.emplace_back("over"); }};

string data_of(uint32_t number) {
  string out;
  stamp_write(&out, {1, 2, 3, number, 4}, 100);
  return out;
}

struct dialect_speech_test : dialect_file_test {
  std::unique_ptr<dialect> speech;
  void speak(const string& text) {
    good(text);
    speech.reset(dialect_described(f));
  }
  void speak_known(const char* name) {
    ASSERT_EQ(dialect_find(name, &f, &problems), err::ok) << all();
    speech.reset(dialect_described(f));
  }
  // In a block of exact size.
  void hears(const string& message, const strings& expected) {
    heard h;
    auto block = std::make_unique<char[]>(message.size());
    memcpy(block.get(), message.data(), message.size());
    EXPECT_TRUE(speech->read({block.get(), message.size()}, kEvents, &h)) << message;
    EXPECT_EQ(h.all, expected) << message;
  }
  void hears_nothing(const string& message) {
    heard h;
    EXPECT_FALSE(speech->read(message, kEvents, &h)) << message;
    EXPECT_EQ(h.all, strings{}) << message;
  }
};

TEST_F(dialect_speech_test, SocketIoIsSpoken) {
  speak_known("socket.io");
  EXPECT_TRUE(speech->traits.is_greeted && speech->traits.waits_for_connect);
  string out;
  speech->target(&out, {});
  EXPECT_EQ(out, "/socket.io/?EIO=4&transport=websocket");
  out.clear();
  speech->connect(&out, 1, {});
  EXPECT_EQ(out, "40");
  out.clear();
  speech->subscribe(&out, 2, "room", nullptr);
  EXPECT_EQ(out, R"(422["join","room"])");
  out.clear();
  speech->publish(&out, 3, "room", "{}", publish_method::send, "key");
  EXPECT_EQ(out, R"(423["message",{"room":"room","data":{}}])");
  hears(R"(0{"sid":"a","pingInterval":25000})", {"greeting"});
  hears(R"(40{"sid":"b"})", {"reply connect 0  ok"});
  hears(R"(44{"message":"no"})", {"reply connect 0  error no"});
  hears(R"(4312[{"ok":true}])", {"reply id 12  ok"});
  hears(R"(4312[{"error":"not in the room"}])", {"reply id 12  error not in the room"});
  hears("2", {"answer 3"});
  hears("41", {"over"});
  hears(R"(42["message",{"room":"r","data":)" + data_of(7) + "}]", {"publication r 7"});
  hears(R"(42["message",{"room":"r","data":)" + load_data(1, 1) + "}]", {"publication r corrupt"});
  hears(R"(42["message",{"room":"r","data":1}])", {"publication r foreign"});
  hears_nothing(R"(42["other"])");
  hears_nothing("");
}

TEST_F(dialect_speech_test, ABroadcastServerIsSpoken) {
  speak_known("broadcast");
  string out;
  speech->connect(&out, 1, {});
  EXPECT_EQ(out, "");
  speech->subscribe(&out, 1, "r", nullptr);
  EXPECT_EQ(out, R"({"join":"r"})");
  hears(R"({"joined":"r"})", {"reply subscribe 0 r ok"});
  hears(R"({"room":"r","data":)" + data_of(1) + "}", {"publication r 1"});
}

TEST_F(dialect_speech_test, APlaceEndsWhereItsTextGoesOn) {
  speak(
      "[publish]\nsend = '${data}'\n[publication]\nmessage = "
      "'{\"d\":${data},\"c\":\"${channel}\"}'");
  hears("{\"d\":" + data_of(3) + R"(,"c":"r"})", {"publication r 3"});
  hears("{\"d\":" + load_data(1, 1) + R"(,"c":"r"})", {"publication r corrupt"});
  hears(R"({"d":{"x":1},"c":"r"})", {"publication r foreign"});
  hears_nothing("{\"d\":" + data_of(3) + R"(,"c":"r")");
  hears_nothing("{\"d\":" + data_of(3));
  // Data ends where it ends, also when it holds what stands behind it.
  speak("[publish]\nsend = '${data}'\n[publication]\nmessage = '${data},${channel};'");
  hears(data_of(3) + ",r;", {"publication r 3"});
}

// With any of its bytes missing it is something else, and nothing is read behind its end.
TEST_F(dialect_speech_test, AMessageThatIsCutIsNone) {
  speak("[publish]\nsend = '${data}'\n[publication]\nmessage = 'm${any}:${channel} ${data};'");
  const string whole = "m1:room " + data_of(1) + ";";
  hears(whole, {"publication room 1"});
  for (size_t n = 0; n < whole.size(); ++n) {
    const string part = whole.substr(0, n);
    auto block = std::make_unique<char[]>(n);
    memcpy(block.get(), part.data(), n);
    heard h;
    EXPECT_FALSE(speech->read({block.get(), n}, kEvents, &h)) << part;
  }
}

TEST_F(dialect_speech_test, WhatBeginsWithDataMustBeALoadMessage) {
  speak("ignore = ['{\"system\":']\n" + kLeast + "[ping]\nmessage = '{}'\nanswer = '{}'\n");
  hears(data_of(5), {"bare 5"});
  hears("{}", {"answer {}"});
  hears(R"({"system":"ann is here"})", {});
  hears_nothing(R"({"text":"hello"})");
  hears_nothing("{\"echo\":" + data_of(5) + "}");
}

TEST_F(dialect_speech_test, LinesAreMessages) {
  speak("lines = true\n" + kLeast);
  hears(data_of(1) + "\n" + data_of(2) + "\n", {"bare 1", "bare 2"});
  speak(kLeast);
  hears(data_of(1), {"bare 1"});
}

TEST_F(dialect_speech_test, AnErrorIsTriedBeforeTheReplyThatBeginsLikeIt) {
  speak(kLeast + "[join]\nsend = 'j ${channel}'\nreply = 'j'\nerror = 'j no ${error};'\n");
  hears("j no way;", {"reply subscribe 0  error way"});
  hears("j yes", {"reply subscribe 0  ok"});
  // What the error found before it failed is not the reply's.
  speak(kLeast + "[join]\nsend = 'j ${channel}'\nreply = 'j'\nerror = 'j ${channel};${error}!'\n");
  hears("j r;no", {"reply subscribe 0  ok"});
}

}  // namespace
}  // namespace loadgen
