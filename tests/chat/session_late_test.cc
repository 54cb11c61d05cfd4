// Answers that are late or never come: each command is answered in time, what is granted too late
// is undone, and what waits is bounded.
#include <string>

#include "core/limits.h"
#include "tests/chat/session_fixture.h"

namespace {

using fixture::kBusy;
using fixture::kDenied;
using fixture::kInternal;
using fixture::tab;

class session_late_test : public fixture::session_test {
 protected:
  bool is_ok(const std::string& reply) { return reply.rfind("\"subscribe\":{", 0) == 0; }
};

TEST_F(session_late_test, ASubscribeIsAnsweredInTimeAndUndoneWhenItComes) {
  config.has_personal_channel = false;
  begin();
  auto* bus = script();
  tab* t = connect("ann");
  EXPECT_EQ(t->subscribe("a"), "");
  w->pass(core::kCommandMsMax);
  EXPECT_EQ(t->reply(2), "{\"id\":2," + kInternal + "}");
  // Its place is taken until the owner has answered, so that nothing overtakes the undoing.
  EXPECT_EQ(t->subscribe("a"), kBusy);
  EXPECT_EQ(t->command("\"unsubscribe\":{\"channel\":\"a\"}"), "\"unsubscribe\":{}");
  EXPECT_EQ(t->command("\"sub_refresh\":{\"channel\":\"a\",\"token\":\"x\"}"), kDenied);
  EXPECT_EQ(chat::sessions_unsubscribe(w->at(0)->clients, {}, "a", 2000, "x"), 0u);
  bus->position_answer(0);
  EXPECT_EQ(counted(), 0u);
  EXPECT_EQ(bus->joins, 1);
  EXPECT_EQ(bus->leaves, 1);
  EXPECT_TRUE(bus->present["a"].empty());
  EXPECT_TRUE(is_ok(t->subscribe("a")));
  EXPECT_EQ(bus->present["a"].size(), 1u);
  EXPECT_EQ(t->pushes().size(), 0u);
}

TEST_F(session_late_test, GoneBeforeTheAnswer) {
  config.has_personal_channel = false;
  begin();
  auto* bus = script();
  tab* early = connect("ann");
  early->subscribe("a");
  early->drop();
  tab* late = connect("bob");
  late->subscribe("a");
  w->pass(core::kCommandMsMax);
  late->drop();
  bus->position_answer(0);
  EXPECT_EQ(counted(), 0u);
  EXPECT_TRUE(bus->present["a"].empty());
  EXPECT_EQ(bus->joins, 2);
  EXPECT_EQ(bus->leaves, 2);
}

// What waits behind a slow subscribe has its own three seconds, not the rest of them.
TEST_F(session_late_test, AChainBehindASlowSubscribeIsAnsweredInTime) {
  config.has_personal_channel = false;
  begin();
  script();
  tab* t = connect("ann");
  t->say(
      "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}"
      "\n"
      "{\"id\":4,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":5,\"publish\":{\"channel\":\"a\","
      "\"data\":1}}");
  w->pass(core::kCommandMsMax);
  EXPECT_EQ(t->take(), "{\"id\":2," + kInternal + "}\n{\"id\":3,\"unsubscribe\":{}}\n{\"id\":4," +
                           kBusy + "}\n{\"id\":5," + kBusy + "}");
}

// Also when it was begun after a younger command, because it had to wait.
TEST_F(session_late_test, EachIsAnsweredInItsOwnTime) {
  config.has_personal_channel = false;
  begin();
  auto* bus = script();
  tab* t = connect("ann");
  t->say(
      "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"publish\":{\"channel\":\"a\","
      "\"data\":1}}");
  w->pass(1500);
  t->say("{\"id\":4,\"subscribe\":{\"channel\":\"b\"}}");
  bus->position_answer(0);
  EXPECT_EQ(t->reply(3), "");
  w->pass(core::kCommandMsMax - 1500);
  EXPECT_EQ(t->reply(3), "{\"id\":3," + kInternal + "}");
  EXPECT_EQ(t->reply(4), "");
}

TEST_F(session_late_test, AFailedPositionIsTemporary) {
  config.has_personal_channel = false;
  begin();
  auto* bus = script();
  tab* t = connect("ann");
  t->say(
      "{\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":3,\"subscribe\":{\"channel\":\"a\"}}");
  bus->position_answer(0, core::err::unavailable);
  EXPECT_EQ(t->reply(2), "{\"id\":2," + kInternal + "}");
  bus->finish();
  EXPECT_TRUE(is_ok(t->reply(3).substr(8)));
}

TEST_F(session_late_test, AFullMailboxIsTemporary) {
  begin(2);
  const std::string channel = w->channel_of(1);
  tab* t = connect("ann");
  w->fill(1);
  t->say("{\"id\":2,\"subscribe\":{\"channel\":\"" + channel + "\"}}");
  EXPECT_EQ(t->take(), "{\"id\":2," + kBusy + "}");
}

TEST_F(session_late_test, DeferredCommandsHaveTheRateOfAll) {
  config.commands_burst = 10;
  config.channels_per_client_max = 2;
  config.has_personal_channel = false;
  begin();
  auto* bus = script();
  tab* t = connect("ann");
  t->subscribe("a");
  for (uint32_t id = 10; id < 30; ++id)
    t->say("{\"id\":" + std::to_string(id) + ",\"publish\":{\"channel\":\"a\",\"data\":1}}");
  EXPECT_EQ(t->reply(17), "");  // waits
  EXPECT_EQ(t->reply(18), "{\"id\":18," + kBusy + "}");
  bus->finish();
  EXPECT_EQ(t->reply(17), "{\"id\":17,\"publish\":{}}");
  EXPECT_EQ(t->reply(18), "{\"id\":18," + kBusy + "}");
}

TEST_F(session_late_test, DeferredCommandsAreBounded) {
  config.commands_per_s = 0;
  config.has_personal_channel = false;
  begin();
  script();
  tab* t = connect("ann");
  t->subscribe("a");
  for (uint32_t i = 0; i < core::kDeferredCommandsMax; ++i)
    t->say("{\"id\":9,\"unsubscribe\":{\"channel\":\"a\"}}");
  EXPECT_FALSE(t->is_over());
  t->say("{\"id\":9,\"unsubscribe\":{\"channel\":\"a\"}}");
  EXPECT_EQ(t->code, 3013);
  tab* big = connect("bob");
  big->subscribe("a");
  const std::string line =
      "{\"id\":9,\"publish\":{\"channel\":\"a\",\"data\":\"" + std::string(900'000, 'x') + "\"}}";
  big->say(line);
  big->say(line);
  EXPECT_FALSE(big->is_over());
  big->say(line);
  EXPECT_EQ(big->code, 3013);
}

// A node may end with requests everywhere: the leak checker looks on.
TEST_F(session_late_test, EndingWithEverythingOnItsWay) {
  begin(2);
  const std::string there = w->channel_of(1), here = w->channel_of(0);
  auto* bus = script(0);
  tab* t = connect("ann", 1, ",\"expire_at\":0");
  t->say("{\"id\":2,\"subscribe\":{\"channel\":\"" + here + "\"}}");
  w->step(0);
  t->say("{\"id\":3,\"history\":{\"channel\":\"" + there + "\",\"limit\":1}}");
  t->say("{\"id\":4,\"subscribe\":{\"channel\":\"" + here + "x\"}}");
  EXPECT_EQ(bus->subscribes, 1);
  w.reset();
  for (auto& each : tabs) each->s = nullptr;
}

}  // namespace
