// What the server API and the drain do to sessions; two loops and limits that hold for the node.
#include <string>

#include "core/limits.h"
#include "tests/chat/fake_client.h"
#include "tests/chat/session_fixture.h"

namespace {

using fixture::epoch_in;
using fixture::kBusy;
using fixture::offsets_in;
using fixture::tab;

class session_admin_test : public fixture::session_test {
 protected:
  chat::sessions* all(uint32_t loop = 0) { return w->at(loop)->clients; }
  chat::session_filter of_user(std::string_view user) {
    chat::session_filter f;
    f.user = user;
    return f;
  }
  std::string unsubscribed(const std::string& channel, int code, const std::string& reason) {
    return "{\"push\":{\"channel\":\"" + channel +
           "\",\"unsubscribe\":{\"code\":" + std::to_string(code) + ",\"reason\":\"" + reason +
           "\"}}}";
  }
  uint32_t subscribe(std::string_view user, std::string_view channel) {
    chat::server_subscribe sub;
    sub.channel = channel;
    const uint32_t touched = chat::sessions_subscribe(all(), of_user(user), sub);
    w->run();
    return touched;
  }
};

// ---- filters

TEST_F(session_admin_test, FiltersChooseSessions) {
  config.allow_anonymous = true;
  begin();
  tab *one = connect("ann"), *two = connect("ann"), *bob = connect("bob");
  anonymous();
  anonymous();
  open();  // fresh ones are nobody's yet
  EXPECT_EQ(chat::sessions_count(all()), 6u);
  EXPECT_EQ(chat::sessions_users(all()), 3u);  // the anonymous count as one
  chat::session_filter f = of_user("ann");
  const std::string id = two->id();
  f.client = id;
  EXPECT_EQ(chat::sessions_disconnect(all(), f, 3503, "force disconnect"), 1u);
  EXPECT_EQ(two->code, 3503);
  EXPECT_EQ(two->reason, "force disconnect");
  EXPECT_EQ(two->why, core::end_reason::api_disconnect);
  f.user = "bob";
  EXPECT_EQ(chat::sessions_disconnect(all(), f, 3503, "x"), 0u);
  const std::vector<std::string> stay = {one->id()};
  f = of_user("ann");
  f.except = &stay;
  EXPECT_EQ(chat::sessions_disconnect(all(), f, 3503, "x"), 0u);  // two has ended already
  EXPECT_EQ(chat::sessions_disconnect(all(), of_user("nobody"), 3503, "x"), 0u);
  const std::string session = bob->id();
  f = {};
  f.session = session;
  EXPECT_EQ(chat::sessions_disconnect(all(), f, 4001, "mine"), 1u);
  EXPECT_EQ(bob->code, 4001);
  EXPECT_EQ(chat::sessions_disconnect(all(), {}, 3503, "x"), 3u);
}

// Whoever is sent away while their connect is on its way does not come in.
TEST_F(session_admin_test, DisconnectMeetsAConnectOnItsWay) {
  begin();
  tab* t = open();
  t->say("{\"id\":1,\"connect\":{\"token\":\"" + token("ann") + "\"}}");
  EXPECT_EQ(chat::sessions_disconnect(all(), of_user("ann"), 3503, "force disconnect"), 1u);
  w->run();
  EXPECT_EQ(t->code, 3503);
  EXPECT_EQ(t->reply(1), "");
  t->drop();
  w->run();
  EXPECT_EQ(counted(), 0u);
}

// ---- unsubscribe

TEST_F(session_admin_test, UnsubscribePushesCodeAndReason) {
  begin();
  tab *t = connect("ann"), *bob = connect("bob");
  t->subscribe("a");
  bob->subscribe("a");
  t->take();
  bob->take();
  EXPECT_EQ(chat::sessions_unsubscribe(all(), of_user("ann"), "a", 2000, "server unsubscribe"), 1u);
  EXPECT_EQ(t->take(), unsubscribed("a", 2000, "server unsubscribe"));
  EXPECT_EQ(chat::sessions_unsubscribe(all(), of_user("ann"), "a", 2000, "x"), 0u);
  EXPECT_EQ(bob->take(), "");
  EXPECT_EQ(t->subscribe("a").rfind("\"subscribe\"", 0), 0u);
}

// The subscribe command gets its answer, and then the push.
TEST_F(session_admin_test, UnsubscribeMeetsASubscribeOnItsWay) {
  for (const uint32_t loops : {1u, 2u}) {
    begin(loops);
    const std::string channel = w->channel_of(loops - 1);
    tab* t = connect("ann");
    t->say("{\"id\":5,\"subscribe\":{\"channel\":\"" + channel + "\"}}\n{\"id\":6,\"publish\":{" +
           "\"channel\":\"" + channel + "\",\"data\":1}}");
    EXPECT_EQ(chat::sessions_unsubscribe(all(), {}, channel, 2500, "again"), 1u);
    w->run();
    ASSERT_EQ(t->pushes().size(), 1u);
    EXPECT_EQ(t->pushes()[0], unsubscribed(channel, 2500, "again"));
    EXPECT_EQ(t->reply(5).find("{\"id\":5,\"subscribe\":"), 0u);
    EXPECT_EQ(t->reply(6), "{\"id\":6," + fixture::kDenied + "}");
    EXPECT_EQ(counted(0) + (loops == 1 ? 0 : counted(1)), 1u);  // #ann
    for (auto& each : tabs) each->drop();
    tabs.clear();
  }
}

// ---- subscribe

TEST_F(session_admin_test, SubscribePushesThePosition) {
  begin();
  tab *t = connect("ann"), *bob = connect("bob");
  const std::string epoch =
      epoch_in(bob->subscribe("$vip", ",\"token\":\"" + sub_token("bob", "$vip") + "\""));
  bob->command("\"publish\":{\"channel\":\"$vip\",\"data\":1}");
  chat::server_subscribe sub;
  sub.channel = "$vip";
  sub.data = "{\"d\":1}";
  sub.info = "{\"i\":1}";
  t->take();
  EXPECT_EQ(chat::sessions_subscribe(all(), of_user("ann"), sub), 1u);
  w->run();
  EXPECT_EQ(t->take(),
            "{\"push\":{\"channel\":\"$vip\",\"subscribe\":{\"recoverable\":true,"
            "\"epoch\":\"" +
                epoch + "\",\"offset\":1,\"positioned\":true,\"data\":{\"d\":1}}}}");
  EXPECT_EQ(chat::sessions_subscribe(all(), of_user("ann"), sub), 0u);  // is in already
  t->command("\"publish\":{\"channel\":\"$vip\",\"data\":2}");
  EXPECT_NE(bob->pushes().back().find("\"chan_info\":{\"i\":1}"), std::string::npos);
}

TEST_F(session_admin_test, SubscribeSendsWhatWasMissedBehindThePush) {
  begin();
  tab *t = connect("ann"), *bob = connect("bob");
  const std::string epoch = epoch_in(bob->subscribe("a"));
  for (const char* data : {"1", "\"},{\\\"\"", "{\"x\":[{}]}"})
    bob->command("\"publish\":{\"channel\":\"a\",\"data\":" + std::string(data) + "}");
  chat::server_subscribe sub;
  sub.channel = "a";
  sub.has_recover_since = true;
  sub.recover_epoch = epoch;
  sub.recover_offset = 1;
  t->take();
  EXPECT_EQ(chat::sessions_subscribe(all(), of_user("ann"), sub), 1u);
  w->run();
  const std::vector<std::string> got = t->pushes();
  ASSERT_EQ(got.size(), 3u);
  EXPECT_NE(got[0].find("\"offset\":1,"), std::string::npos);
  EXPECT_NE(bob->pushes()[1].find("\"offset\":2"), std::string::npos);
  EXPECT_EQ(got[1], bob->pushes()[1]);  // as everybody had them
  EXPECT_EQ(got[2], bob->pushes()[2]);
  sub.recover_epoch = "other";
  tab* late = connect("cid");
  EXPECT_EQ(chat::sessions_subscribe(all(), of_user("cid"), sub), 1u);
  w->run();
  ASSERT_EQ(late->pushes().size(), 1u);
  EXPECT_NE(late->pushes()[0].find("\"offset\":3,"), std::string::npos);
}

TEST_F(session_admin_test, SubscribeObeysTheLimitAndTheOptions) {
  config.channels_per_client_max = 2;
  begin();
  connect("ann");
  EXPECT_EQ(subscribe("ann", "nowhere:x"), 0u);
  chat::server_subscribe sub;
  sub.channel = "a";
  sub.has_presence = true;  // and false: not shown
  sub.has_join_leave = sub.join_leave = true;
  EXPECT_EQ(chat::sessions_subscribe(all(), of_user("ann"), sub), 1u);
  w->run();
  EXPECT_NE(tabs[0]->pushes().back().find("\"join\""), std::string::npos);
  EXPECT_EQ(tabs[0]->command("\"presence_stats\":{\"channel\":\"a\"}"),
            "\"presence_stats\":{\"num_clients\":0,\"num_users\":0}");
  EXPECT_EQ(subscribe("ann", "b"), 0u);  // #ann and a
}

TEST_F(session_admin_test, ASubscriptionOfTheServerExpires) {
  config.ping_ms = 600'000;
  begin();
  tab* t = connect("ann");
  chat::server_subscribe sub;
  sub.channel = "a";
  sub.expire_at = now_s() + 10;
  chat::sessions_subscribe(all(), {}, sub);
  w->pass(10'000 + core::kExpiredGraceMs + 200);
  EXPECT_EQ(t->pushes().back(), unsubscribed("a", 2501, "subscription expired"));
  for (const int64_t at : {INT64_MAX, INT64_MIN}) {
    sub.channel = at > 0 ? "b" : "c";
    sub.expire_at = at;
    chat::sessions_subscribe(all(), {}, sub);
  }
  w->pass(200);
  EXPECT_EQ(t->pushes().back(), unsubscribed("c", 2501, "subscription expired"));
}

// ---- refresh

TEST_F(session_admin_test, RefreshMovesTheExpiry) {
  config.ping_ms = 600'000;
  begin();
  tab* t = connect("ann", 0, ",\"exp\":" + std::to_string(now_s() + 10));
  EXPECT_EQ(chat::sessions_refresh(all(), of_user("ann"), now_s() + 100, false), 1u);
  w->pass(60'000);
  EXPECT_FALSE(t->is_over());
  EXPECT_EQ(chat::sessions_refresh(all(), of_user("ann"), 0, false), 1u);  // for ever
  w->pass(200'000);
  EXPECT_FALSE(t->is_over());
  EXPECT_EQ(chat::sessions_refresh(all(), of_user("ann"), 0, true), 1u);
  EXPECT_EQ(t->code, 3005);
}

// ---- the drain

TEST_F(session_admin_test, TheDrainSendsThemAwayInBatches) {
  begin();
  for (int i = 0; i < 10; ++i) connect("u" + std::to_string(i));
  open();
  EXPECT_EQ(chat::sessions_shutdown_some(all(), 4), 7u);
  int gone = 0;
  for (auto& t : tabs) {
    if (!t->is_over()) continue;
    ++gone;
    EXPECT_EQ(t->code, 3001);
    EXPECT_EQ(t->reason, "shutdown");
  }
  EXPECT_EQ(gone, 4);
  for (auto& t : tabs) {
    if (t->is_over()) t->drop();
  }
  EXPECT_EQ(chat::sessions_shutdown_some(all(), 100), 0u);
  EXPECT_EQ(chat::sessions_shutdown_some(all(), 100), 0u);
}

// ---- the node's limits and the end

TEST_F(session_admin_test, ConnectionsOfAUserAreBoundedOnTheWholeNode) {
  config.connections_per_user_max = 2;
  config.allow_anonymous = true;
  begin(3);
  connect("ann", 0);
  tab* second = connect("ann", 1);
  tab* third = open(2);
  third->command("\"connect\":{\"token\":\"" + token("ann") + "\"}");
  EXPECT_EQ(third->code, 3504);
  EXPECT_EQ(third->reason, "connection limit");
  second->drop();
  w->run();
  connect("ann", 2);
  for (uint32_t i = 0; i < 3; ++i) anonymous(i);
}

TEST_F(session_admin_test, ASessionThatEndsGivesEverythingBack) {
  begin(2);
  const std::string here = w->channel_of(0), there = w->channel_of(1);
  tab* watcher = connect("bob", 1);
  for (const std::string& c : {here, there}) watcher->subscribe(c, ",\"join_leave\":true");
  tab* t = connect("ann");
  for (const std::string& c : {here, there}) t->subscribe(c);
  watcher->take();
  t->say("{\"id\":90,\"publish\":{\"channel\":\"" + there + "\",\"data\":1}}");
  t->drop();
  w->run();
  std::string leaves;
  for (const std::string& p : watcher->pushes()) {
    if (p.find("\"leave\"") != std::string::npos) leaves.append(p);
  }
  EXPECT_EQ(offsets_in(leaves).size(), 0u);
  for (const std::string& c : {here, there}) {
    EXPECT_NE(leaves.find("\"channel\":\"" + c + "\""), std::string::npos);
    EXPECT_EQ(watcher->command("\"presence_stats\":{\"channel\":\"" + c + "\"}"),
              "\"presence_stats\":{\"num_clients\":1,\"num_users\":1}");
  }
  EXPECT_EQ(counted(0) + counted(1), 3u);  // the watcher's two and #bob
  EXPECT_EQ(chat::sessions_users(all()), 0u);
}

// A session that has ended and is not yet closed gets nothing and answers nothing.
TEST_F(session_admin_test, NothingIsSentAfterTheEnd) {
  begin();
  tab *t = connect("ann"), *bob = connect("bob");
  t->subscribe("a");
  bob->subscribe("a");
  t->say(
      "{\"id\":90,\"publish\":{\"channel\":\"a\",\"data\":1}}\n{\"id\":91,\"subscribe\":{"
      "\"channel\":\"b\"}}");
  chat::sessions_disconnect(all(), of_user("ann"), 3503, "x");
  bob->command("\"publish\":{\"channel\":\"a\",\"data\":2}");
  w->pass(60'000);
  EXPECT_EQ(t->ends, 1);  // the fixture refuses texts after the end
  EXPECT_EQ(chat::sessions_unsubscribe(all(), {}, "b", 2000, "x"), 0u);
}

}  // namespace
