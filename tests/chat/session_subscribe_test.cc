// subscribe and unsubscribe: rights and tokens, the reply's fields, order across mailboxes, joins
// and leaves, limits, expiry.
#include <string>

#include "chat/codes.h"
#include "core/limits.h"
#include "tests/chat/session_fixture.h"

namespace {

using fixture::epoch_in;
using fixture::error_reply;
using fixture::kBadRequest;
using fixture::kBusy;
using fixture::kDenied;
using fixture::kExpired;
using fixture::kInternal;
using fixture::sign;
using fixture::tab;

class session_subscribe_test : public fixture::session_test {
 protected:
  std::string with_token(const std::string& text) { return ",\"token\":\"" + text + "\""; }
  bool is_ok(const std::string& reply) { return reply.rfind("\"subscribe\":{", 0) == 0; }
};

// ---- who may

TEST_F(session_subscribe_test, UsersMayAndAnonymousMayNot) {
  config.allow_anonymous = true;
  begin();
  EXPECT_TRUE(is_ok(connect("ann")->subscribe("general")));
  EXPECT_EQ(anonymous()->subscribe("general"), kDenied);
  w->config.namespaces[0].allow_subscribe_for_anonymous = true;
  EXPECT_TRUE(is_ok(anonymous()->subscribe("general")));
  w->config.namespaces[0].allow_subscribe_for_client = false;
  EXPECT_EQ(connect("ann")->subscribe("general"), kDenied);
}

TEST_F(session_subscribe_test, NamesAndNamespaces) {
  begin();
  tab* t = connect("ann");
  EXPECT_EQ(t->subscribe(""), kBadRequest);
  EXPECT_EQ(t->subscribe("a b"), kBadRequest);
  EXPECT_EQ(t->subscribe(std::string(core::kChannelBytesMax + 1, 'x')), kBadRequest);
  EXPECT_TRUE(is_ok(t->subscribe(std::string(core::kChannelBytesMax, 'x'))));
  EXPECT_EQ(t->subscribe("nowhere:x"), error_reply(102, "unknown channel"));
  EXPECT_FALSE(t->is_over());
}

TEST_F(session_subscribe_test, UserLimitedChannels) {
  config.allow_anonymous = true;
  begin();
  tab* t = connect("bob");
  EXPECT_TRUE(is_ok(t->subscribe("dm:#alice,bob")));
  EXPECT_EQ(t->subscribe("dm:#alice,cid"), kDenied);
  EXPECT_EQ(t->subscribe("dm:#bob,alice"), kBadRequest);
  EXPECT_EQ(t->subscribe("#alice"), kDenied);
  EXPECT_EQ(t->subscribe("#bob"), error_reply(105, "already subscribed"));
  EXPECT_EQ(anonymous()->subscribe("dm:#,x"), kBadRequest);
  EXPECT_EQ(anonymous()->subscribe("dm:#x"), kDenied);
  w->config.namespaces[1].allow_user_limited_channels = false;
  EXPECT_EQ(connect("bob")->subscribe("dm:#alice,bob"), kDenied);
}

TEST_F(session_subscribe_test, PrivateChannelsWantAToken) {
  begin();
  tab* t = connect("ann");
  EXPECT_EQ(t->subscribe("$vip"), kDenied);
  EXPECT_TRUE(is_ok(t->subscribe("$vip", with_token(sub_token("ann", "$vip")))));
}

TEST_F(session_subscribe_test, ATokenOpensWhatTheNamespaceDoesNot) {
  ns().allow_subscribe_for_client = false;
  begin();
  tab* t = connect("ann");
  EXPECT_EQ(t->subscribe("a"), kDenied);
  EXPECT_TRUE(is_ok(t->subscribe("a", with_token(sub_token("ann", "a")))));
}

TEST_F(session_subscribe_test, BadSubscriptionTokens) {
  begin();
  tab* t = connect("ann");
  EXPECT_EQ(t->subscribe("a", with_token("junk")), kDenied);
  EXPECT_EQ(t->subscribe("a", with_token(sign("{\"sub\":\"ann\",\"channel\":\"a\"}", "other"))),
            kDenied);
  const std::string old = ",\"exp\":" + std::to_string(now_s() - 1);
  EXPECT_EQ(t->subscribe("a", with_token(sub_token("ann", "a", old))), kExpired);
  EXPECT_FALSE(t->is_over());
  for (const std::string& foreign : {sub_token("ann", "b"), sub_token("bob", "a"), token("ann"),
                                     sub_token("ann", "a", ",\"client\":\"other\"")}) {
    tab* other = connect("ann");
    EXPECT_EQ(other->subscribe("a", with_token(foreign)), "");
    EXPECT_EQ(other->code, 3500);
  }
}

TEST_F(session_subscribe_test, AnonymousSubscriptionTokens) {
  config.allow_anonymous = true;
  begin();
  EXPECT_TRUE(is_ok(anonymous()->subscribe("a", with_token(sign("{\"channel\":\"a\"}")))));
  tab* t = anonymous();
  t->subscribe("a", with_token(sub_token("ann", "a")));
  EXPECT_EQ(t->code, 3500);
}

TEST_F(session_subscribe_test, OwnKeysForSubscriptionTokens) {
  config.sub_token_keys.hmac_secrets = {"sub-secret"};
  begin();
  tab* t = connect("ann");
  EXPECT_EQ(t->subscribe("a", with_token(sub_token("ann", "a"))), kDenied);
  EXPECT_TRUE(is_ok(
      t->subscribe("a", with_token(sign("{\"sub\":\"ann\",\"channel\":\"a\"}", "sub-secret")))));
}

// ---- the reply

TEST_F(session_subscribe_test, ForcedRecoveryComesUnasked) {
  begin();
  tab* t = connect("ann");
  const std::string got = t->subscribe("a");
  const std::string epoch = epoch_in(got);
  ASSERT_FALSE(epoch.empty());
  EXPECT_EQ(got,
            "\"subscribe\":{\"recoverable\":true,\"epoch\":\"" + epoch + "\",\"positioned\":true}");
  t->command("\"publish\":{\"channel\":\"a\",\"data\":1}");
  EXPECT_EQ(connect("bob")->subscribe("a"), "\"subscribe\":{\"recoverable\":true,\"epoch\":\"" +
                                                epoch + "\",\"offset\":1,\"positioned\":true}");
}

TEST_F(session_subscribe_test, RecoveryAndPositioningWhenAskedAndAllowed) {
  chat::namespace_settings& n = ns("opt");
  n.has_history = n.allow_subscribe_for_client = true;
  begin();
  const auto subscribe = [this](const char* more) {
    return connect("ann")->subscribe("opt:a", more);
  };
  EXPECT_EQ(subscribe(",\"recoverable\":true,\"positioned\":true"), "\"subscribe\":{}");
  EXPECT_EQ(subscribe(",\"recover\":true"), "\"subscribe\":{}");
  chat::namespace_settings& live = w->config.namespaces.back();
  live.allow_positioning = true;
  EXPECT_EQ(subscribe(""), "\"subscribe\":{}");
  std::string got = subscribe(",\"positioned\":true");
  EXPECT_EQ(got, "\"subscribe\":{\"epoch\":\"" + epoch_in(got) + "\",\"positioned\":true}");
  live.allow_recovery = true;
  got = subscribe(",\"recoverable\":true");
  EXPECT_EQ(got, "\"subscribe\":{\"recoverable\":true,\"epoch\":\"" + epoch_in(got) +
                     "\",\"positioned\":true}");
  live.has_history = false;  // nothing to recover from, whatever is set
  live.force_recovery = true;
  EXPECT_EQ(subscribe(",\"recover\":true"), "\"subscribe\":{}");
}

TEST_F(session_subscribe_test, FieldsThatAreRefusedOrIgnored) {
  begin();
  tab* t = connect("ann");
  EXPECT_EQ(t->subscribe("a", ",\"tf\":{\"op\":\"eq\"}"), kBadRequest);
  EXPECT_EQ(t->subscribe("a", ",\"type\":1"), kDenied);
  EXPECT_TRUE(is_ok(t->subscribe("a", ",\"type\":0,\"delta\":\"fossil\",\"flag\":1")));
}

TEST_F(session_subscribe_test, TheEpochOfAnEmptyChannelStays) {
  config.ping_ms = 600'000;
  begin();
  tab* t = connect("ann");
  const std::string epoch = epoch_in(t->subscribe("empty"));
  EXPECT_FALSE(epoch.empty());
  t->command("\"unsubscribe\":{\"channel\":\"empty\"}");
  w->pass(2 * core::kOwnerLingerMs);                   // forgotten by its owner
  EXPECT_EQ(w->counters(0).channels_owned.get(), 1u);  // #ann
  EXPECT_EQ(epoch_in(t->subscribe("empty")), epoch);
}

// ---- order

TEST_F(session_subscribe_test, TwiceIsAnErrorAndUnsubscribeNeverErrs) {
  begin();
  tab* t = connect("ann");
  EXPECT_TRUE(is_ok(t->subscribe("a")));
  EXPECT_EQ(t->subscribe("a"), error_reply(105, "already subscribed"));
  for (const char* any : {"a", "a", "never", "nowhere:x", "", "a b"})
    EXPECT_EQ(t->command("\"unsubscribe\":{\"channel\":\"" + std::string(any) + "\"}"),
              "\"unsubscribe\":{}");
  EXPECT_EQ(counted(), 1u);  // #ann
}

TEST_F(session_subscribe_test, UnsubscribeDoesNotErrBeyondTheRateEither) {
  config.commands_burst = 3;
  config.channels_per_client_max = 2;
  config.refused_max = 4;
  begin();
  tab* t = connect("ann");
  t->subscribe("a");
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(t->command("\"unsubscribe\":{\"channel\":\"a\"}"), "\"unsubscribe\":{}") << i;
  EXPECT_EQ(t->command("\"ping\":{}"), kBusy);  // a flood of them ends like any other
  EXPECT_EQ(t->code, 3509);
}

TEST_F(session_subscribe_test, TenInARowKeepTheirOrder) {
  for (const uint32_t loops : {1u, 2u}) {
    begin(loops);
    const std::string channel = w->channel_of(loops - 1);
    tab* t = connect("ann");
    tab* other = connect("bob", loops - 1);
    other->subscribe(channel, ",\"join_leave\":true");
    other->take();
    std::string all;
    for (uint32_t id = 10; id < 20; ++id) {
      all.append(
          "{\"id\":" + std::to_string(id) +
          (id % 2 == 0 ? ",\"subscribe\":{\"channel\":\"" : ",\"unsubscribe\":{\"channel\":\"") +
          channel + "\"}}\n");
    }
    t->ask(all);
    size_t at = 0;
    for (uint32_t id = 10; id < 20; ++id) {
      EXPECT_TRUE(is_ok(t->reply(id).substr(9)) ||
                  t->reply(id).find("\"unsubscribe\":{}") != std::string::npos)
          << t->reply(id);
      const auto found =
          std::find(t->texts.begin() + static_cast<long>(at), t->texts.end(), t->reply(id));
      ASSERT_NE(found, t->texts.end()) << "out of order " << id;
      at = static_cast<size_t>(found - t->texts.begin());
    }
    // Others see five joins and leaves, by turns.
    bool is_in = false;
    int events = 0;
    for (const std::string& p : other->pushes()) {
      if (p.find("\"user\":\"ann\"") == std::string::npos) continue;
      EXPECT_EQ(p.find("\"join\"") != std::string::npos, !is_in) << p;
      is_in = !is_in;
      ++events;
    }
    EXPECT_EQ(events, 10);
    EXPECT_EQ(other->command("\"presence_stats\":{\"channel\":\"" + channel + "\"}"),
              "\"presence_stats\":{\"num_clients\":1,\"num_users\":1}");
    for (auto& each : tabs) each->drop();
    tabs.clear();
  }
}

// The leave of somebody who unsubscribes while the answer is being given does not come before the
// join.
TEST_F(session_subscribe_test, JoinsComeBeforeLeaves) {
  begin();
  tab* watcher = connect("bob");
  tab* t = connect("ann");
  watcher->say("{\"id\":9,\"subscribe\":{\"channel\":\"a\",\"join_leave\":true}}");
  t->ask(
      "{\"id\":8,\"subscribe\":{\"channel\":\"a\"}}\n{\"id\":9,\"unsubscribe\":{\"channel\":\"a\"}"
      "}");
  std::string order;
  for (const std::string& p : watcher->pushes()) {
    if (p.find("\"user\":\"ann\"") != std::string::npos)
      order.append(p.find("\"join\"") != std::string::npos ? "join " : "leave ");
  }
  EXPECT_EQ(order, "join leave ");
}

TEST_F(session_subscribe_test, AnRpcWaitsForTheSubscribeOfItsChannel) {
  begin(2);
  const std::string channel = w->channel_of(1);
  tab* t = connect("ann");
  t->ask("{\"id\":8,\"subscribe\":{\"channel\":\"" + channel +
         "\"}}\n{\"id\":9,\"rpc\":{\"method\":\"send\",\"data\":{\"channel\":\"" + channel +
         "\",\"key\":\"k\",\"data\":\r{}}}}\n{\"id\":10,\"publish\":{\"channel\":\"" + channel +
         "\",\"data\":2}}");
  EXPECT_NE(t->reply(9).find("\"offset\":1"), std::string::npos) << t->reply(9);
  EXPECT_EQ(t->reply(10), "{\"id\":10,\"publish\":{}}");
}

// ---- joins and leaves

TEST_F(session_subscribe_test, OnesOwnJoinIsDeliveredToOneself) {
  for (const uint32_t loops : {1u, 2u}) {
    begin(loops);
    const std::string channel = w->channel_of(loops - 1);
    tab* t = connect("ann", 0, ",\"info\":{\"n\":1}");
    EXPECT_TRUE(is_ok(t->subscribe(channel, ",\"join_leave\":true")));
    const std::string join = "{\"push\":{\"channel\":\"" + channel +
                             "\",\"join\":{\"info\":{\"user\":\"ann\",\"client\":\"" + t->id() +
                             "\",\"conn_info\":{\"n\":1}}}}}";
    ASSERT_EQ(t->pushes().size(), 1u);
    EXPECT_EQ(t->pushes()[0], join);
    EXPECT_EQ(t->texts.back(), join);  // behind the reply
    tab* quiet = connect("bob");
    quiet->subscribe(channel);  // did not ask for them
    EXPECT_EQ(quiet->pushes().size(), 0u);
    EXPECT_EQ(t->pushes().size(), 2u);
    quiet->drop();
    w->run();
    EXPECT_NE(t->pushes().back().find("\"leave\":{\"info\":{\"user\":\"bob\""), std::string::npos);
    for (auto& each : tabs) each->drop();
    tabs.clear();
  }
}

TEST_F(session_subscribe_test, JoinsAreForcedOrOff) {
  ns("live").join_leave = true;
  ns("live").force_push_join_leave = true;
  ns("").join_leave = false;
  begin();
  tab* t = connect("ann");
  t->subscribe("live:a");
  EXPECT_EQ(t->pushes().size(), 1u);
  t->subscribe("b", ",\"join_leave\":true");
  EXPECT_EQ(t->pushes().size(), 1u);
}

// ---- limits and time

TEST_F(session_subscribe_test, ChannelsOfAConnectionAreBounded) {
  config.channels_per_client_max = 3;
  begin();
  tab* t = connect("ann");  // #ann is one
  EXPECT_TRUE(is_ok(t->subscribe("a")));
  EXPECT_TRUE(is_ok(t->subscribe("b")));
  EXPECT_EQ(t->subscribe("c"), error_reply(106, "limit exceeded"));
  t->command("\"unsubscribe\":{\"channel\":\"a\"}");
  EXPECT_TRUE(is_ok(t->subscribe("c")));
}

TEST_F(session_subscribe_test, TheBurstAllowsConnectAndAllChannels) {
  config.commands_burst = 1;
  config.channels_per_client_max = 100;
  config.has_personal_channel = false;
  begin(2);
  tab* t = open();
  std::string all = "{\"id\":1,\"connect\":{\"token\":\"" + token("ann") + "\"}}";
  for (int id = 2; id <= 101; ++id)
    all.append("\n{\"id\":" + std::to_string(id) + ",\"subscribe\":{\"channel\":\"c" +
               std::to_string(id) + "\"}}");
  EXPECT_EQ(t->ask(all).find("error"), std::string::npos);
  EXPECT_EQ(counted(0) + counted(1), 100u);
  t->next_id = 200;
  EXPECT_EQ(t->command("\"ping\":{}"), kBusy);
  w->pass(100);
  EXPECT_EQ(t->command("\"ping\":{}"), "\"ping\":{}");
}

TEST_F(session_subscribe_test, AnExpiredSubscriptionIsTakenBackAfterTheGrace) {
  config.ping_ms = 600'000;
  begin();
  tab* t = connect("ann");
  const std::string exp = ",\"exp\":" + std::to_string(now_s() + 10);
  EXPECT_NE(
      t->subscribe("a", with_token(sub_token("ann", "a", exp))).find("\"expires\":true,\"ttl\":10"),
      std::string::npos);
  w->pass(10'000);
  t->rpc("channels");  // sets the alarm: its firing within the grace ends nothing
  w->pass(core::kExpiredGraceMs - 1100);
  EXPECT_TRUE(t->pushes().empty());
  w->pass(1300);
  ASSERT_EQ(t->pushes().size(), 1u);
  EXPECT_EQ(t->pushes()[0],
            "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2501,\"reason\":\"subscription "
            "expired\"}}}");
  EXPECT_EQ(counted(), 1u);
}

TEST_F(session_subscribe_test, SubRefreshKeepsIt) {
  config.ping_ms = 2'000'000;
  begin();
  tab* t = connect("ann");
  const std::string soon = ",\"exp\":" + std::to_string(now_s() + 10);
  const auto refresh = [t](const std::string& with) {
    return t->command("\"sub_refresh\":{\"channel\":\"a\",\"token\":\"" + with + "\"}");
  };
  EXPECT_EQ(refresh(sub_token("ann", "a")), kDenied);  // not subscribed
  t->subscribe("a", with_token(sub_token("ann", "a", soon)));
  EXPECT_EQ(refresh(sub_token("ann", "a", ",\"exp\":" + std::to_string(now_s() + 500))),
            "\"sub_refresh\":{\"expires\":true,\"ttl\":500}");
  w->pass(100'000);
  EXPECT_TRUE(t->pushes().empty());
  EXPECT_EQ(refresh("junk"), kDenied);
  EXPECT_EQ(refresh(sub_token("ann", "a", ",\"exp\":1")), kExpired);
  EXPECT_EQ(refresh(sub_token("ann", "a")), "\"sub_refresh\":{}");
  w->pass(500'000);
  EXPECT_TRUE(t->pushes().empty());
  EXPECT_EQ(refresh(sub_token("ann", "b")), "");
  EXPECT_EQ(t->code, 3500);
}

}  // namespace
