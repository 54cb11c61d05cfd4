// What ends a connection and what keeps it: input that is no command, replies that are due, being
// stale, ping and pong, expiry and refresh.
#include <string>

#include "core/limits.h"
#include "tests/chat/session_fixture.h"

namespace {

using fixture::error_reply;
using fixture::kExpired;
using fixture::kInternal;
using fixture::tab;

class session_end_test : public fixture::session_test {};

TEST_F(session_end_test, WhatIsNoCommandEndsTheConnection) {
  begin();
  for (const char* bad :
       {"{\"ping\":{}}", "{\"rpc\":{\"method\":\"whoami\"}}", "{\"id\":0,\"ping\":{}}", "[]", "x",
        "{\"id\":-1,\"ping\":{}}", "{\"id\":9,\"subscribe\":{\"channel\":1}}",
        "{\"id\":9,\"connect\":{}}"}) {
    tab* t = connect("ann");
    t->ask(bad);
    EXPECT_EQ(t->code, 3501) << bad;
    EXPECT_EQ(t->reason, "bad request");
    EXPECT_EQ(t->ends, 1);
    t->ask("{\"id\":10,\"ping\":{}}");  // nobody listens any more
    EXPECT_EQ(t->reply(10), "");
  }
}

TEST_F(session_end_test, ConnectComesFirst) {
  begin();
  for (const char* early :
       {"{\"id\":1,\"ping\":{}}", "{\"id\":1,\"subscribe\":{\"channel\":\"a\"}}",
        "{\"send\":{\"data\":1}}"}) {
    tab* t = open();
    t->ask(early);
    EXPECT_EQ(t->code, 3501) << early;
  }
}

TEST_F(session_end_test, TheEndComesBehindTheRepliesThatAreDue) {
  begin();
  tab* t = connect("ann");
  EXPECT_EQ(t->ask("{\"id\":2,\"ping\":{}}\n{\"ping\":{}}\n{\"id\":3,\"ping\":{}}"),
            "{\"id\":2,\"ping\":{}}");
  EXPECT_EQ(t->code, 3501);
}

// Due are also the replies of commands that are on their way.
TEST_F(session_end_test, TheEndWaitsForCommandsOnTheirWay) {
  begin(2);
  const std::string there = w->channel_of(1);
  const std::string subscribe = "{\"id\":20,\"subscribe\":{\"channel\":\"" + there + "\"";
  for (const std::string& bad : {std::string("garbage"), std::string("{\"send\":{\"data\":1}}"),
                                 std::string("{\"id\":29,\"subscribe\":{\"channel\":\"b\","
                                             "\"token\":\"") +
                                     sub_token("bob", "b") + "\"}}"}) {
    tab* t = connect("ann");
    t->say(subscribe + "}}\n{\"id\":21,\"publish\":{\"channel\":\"" + there +
           "\",\"data\":1}}\n{\"id\":22,\"rpc\":{\"method\":\"channels\"}}\n" + bad +
           "\n{\"id\":23,\"ping\":{}}");
    t->say("{\"id\":24,\"ping\":{}}");
    EXPECT_FALSE(t->is_over());
    w->run();
    EXPECT_NE(t->reply(20).find("\"subscribe\""), std::string::npos) << bad;
    EXPECT_EQ(t->reply(21), "{\"id\":21,\"publish\":{}}");
    EXPECT_NE(t->reply(22), "");
    EXPECT_EQ(t->reply(23) + t->reply(24) + t->reply(29), "");
    EXPECT_GE(t->code, 3500) << bad;
    EXPECT_EQ(t->ends, 1);
  }
  // One that waits ends it: those before it are answered, those behind it are not read.
  tab* waits = connect("ann");
  waits->ask(subscribe + "}}\n{\"id\":21,\"unsubscribe\":{\"channel\":\"" + there +
             "\"}}\n{\"id\":22" + subscribe.substr(8) + ",\"token\":\"" + sub_token("bob", there) +
             "\"}}\n{\"id\":23,\"unsubscribe\":{\"channel\":\"" + there + "\"}}");
  EXPECT_NE(waits->reply(21), "");
  EXPECT_EQ(waits->reply(22) + waits->reply(23), "");
  EXPECT_EQ(waits->code, 3500);
  tab* t = connect("ann");
  t->say(subscribe + "}}\ngarbage");
  w->pass(core::kCommandMsMax, true);
  EXPECT_EQ(t->reply(20), "{\"id\":20," + kInternal + "}");
  EXPECT_EQ(t->code, 3501);
}

TEST_F(session_end_test, TheProtocolsSendIsNotAvailable) {
  begin();
  tab* t = connect("ann");
  t->ask("{\"send\":{\"data\":{}}}");
  EXPECT_EQ(t->code, 3508);
  EXPECT_EQ(t->reason, "not available");
}

TEST_F(session_end_test, UnknownCommandsAndPings) {
  begin();
  tab* t = connect("ann");
  EXPECT_EQ(t->command("\"wave\":{}"), error_reply(104, "method not found"));
  EXPECT_EQ(t->command("\"ping\":{}"), "\"ping\":{}");
  EXPECT_EQ(t->ask("{}\n\n{}"), "");
  EXPECT_FALSE(t->is_over());
}

TEST_F(session_end_test, WithoutAConnectCommandItIsStale) {
  begin();
  tab* t = open();
  w->pass(core::kStaleMsMax - 100);
  EXPECT_FALSE(t->is_over());
  w->pass(200);
  EXPECT_EQ(t->code, 3502);
  EXPECT_EQ(t->why, core::end_reason::stale);
}

// ---- ping and pong

class session_ping_test : public session_end_test {
 protected:
  // The time until the next ping, which must come.
  void to_ping(tab* t) {
    for (uint32_t ms = 0; ms < 30'000; ms += 10) {
      w->pass(10);
      if (t->take() == "{}") return;
    }
    ADD_FAILURE() << "no ping";
  }
};

TEST_F(session_ping_test, NoPongEndsIt) {
  begin();
  tab* t = connect("ann");
  to_ping(t);
  w->pass(config.pong_wait_ms - 100);
  EXPECT_FALSE(t->is_over());
  w->pass(200);
  EXPECT_EQ(t->code, 3012);
  EXPECT_EQ(t->reason, "no pong");
}

// Whatever the clock's place in a tick of the timers, and however soon the pong is there.
TEST_F(session_ping_test, APongKeepsItAlive) {
  for (const uint32_t delay_ms : {0, 1, 7, 49, 51, 9'900}) {
    begin();
    w->pass(23);
    tab* t = connect("ann");
    for (int i = 0; i < 3 && !t->is_over(); ++i) {
      to_ping(t);
      w->pass(delay_ms);
      t->say("{}");
    }
    w->pass(15'000);
    EXPECT_FALSE(t->is_over()) << delay_ms;
    t->drop();
    tabs.clear();
  }
}

TEST_F(session_ping_test, AnyDataCountsAsLife) {
  begin();
  tab* t = connect("ann");
  to_ping(t);
  w->pass(5'000);
  t->command("\"ping\":{}");
  w->pass(6'000);
  EXPECT_FALSE(t->is_over());
  to_ping(t);
}

TEST_F(session_ping_test, PingsComeInTheirInterval) {
  begin();
  tab* t = connect("ann");
  to_ping(t);
  t->say("{}");
  const int64_t before = w->clock.wall_ms();
  to_ping(t);
  EXPECT_NEAR(static_cast<double>(w->clock.wall_ms() - before), config.ping_ms, 150);
}

// ---- expiry

TEST_F(session_end_test, AnExpiredConnectionEndsAfterTheGrace) {
  config.ping_ms = 600'000;
  begin();
  tab* t = connect("ann", 0, ",\"exp\":" + std::to_string(now_s() + 10));
  w->pass(10'000);
  t->rpc("channels");  // sets the alarm: its firing within the grace ends nothing
  w->pass(core::kExpiredGraceMs - 1100);
  EXPECT_FALSE(t->is_over());
  w->pass(1300);
  EXPECT_EQ(t->code, 3005);
  EXPECT_EQ(t->reason, "connection expired");
}

TEST_F(session_end_test, RefreshKeepsTheConnection) {
  config.ping_ms = 600'000;
  begin();
  tab* t = connect("ann", 0, ",\"exp\":" + std::to_string(now_s() + 10));
  w->pass(10'000);
  const auto refresh = [&](const std::string& with) {
    return t->command("\"refresh\":{\"token\":\"" + with + "\"}");
  };
  EXPECT_EQ(refresh(token("ann", ",\"exp\":" + std::to_string(now_s() + 100))),
            "\"refresh\":{\"client\":\"" + t->id() +
                "\",\"version\":\"parley-test\",\"expires\":true,\"ttl\":100}");
  w->pass(100'000);
  EXPECT_FALSE(t->is_over());
  EXPECT_EQ(refresh(token("ann", ",\"exp\":" + std::to_string(now_s() - 1))), kExpired);
  EXPECT_EQ(refresh(token("ann")).find("ttl"), std::string::npos);
  w->pass(100'000);
  EXPECT_FALSE(t->is_over());
  EXPECT_EQ(refresh(token("bob")), "");
  EXPECT_EQ(t->code, 3500);
  tab* other = connect("ann");
  other->command("\"refresh\":{\"token\":\"junk\"}");
  EXPECT_EQ(other->code, 3500);
}

}  // namespace
