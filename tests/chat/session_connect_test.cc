// connect: the reply, tokens, server-side subscriptions, what waits for it, what refuses it.
#include <string>

#include "core/limits.h"
#include "tests/chat/session_fixture.h"

namespace {

using fixture::epoch_in;
using fixture::error_reply;
using fixture::kBusy;
using fixture::kExpired;
using fixture::kInternal;
using fixture::sign;
using fixture::tab;

class session_connect_test : public fixture::session_test {
 protected:
  std::string connect_body(const std::string& with_token) {
    return "\"connect\":{\"token\":\"" + with_token + "\"}";
  }
};

TEST_F(session_connect_test, TheReplyOfATokenWithoutExpiry) {
  config.node_name = "n1";
  config.has_personal_channel = false;
  begin();
  tab* t = open();
  const std::string got = t->command(connect_body(token("ann")));
  ASSERT_EQ(t->id().size(), 36u);
  EXPECT_EQ(t->id()[14], '4');  // RFC 9562
  EXPECT_EQ(got, "\"connect\":{\"client\":\"" + t->id() +
                     "\",\"version\":\"parley-test\",\"ping\":25,\"pong\":true,\"node\":\"n1\"}");
  EXPECT_EQ(t->accepted, 1);
  EXPECT_EQ(w->counters(0).clients_connected.get(), 1u);
  t->drop();
  EXPECT_EQ(w->counters(0).clients_connected.get(), 0u);
}

TEST_F(session_connect_test, AnExpiringTokenTellsItsTtl) {
  begin();
  tab* t = open();
  const std::string exp = ",\"exp\":" + std::to_string(now_s() + 60);
  EXPECT_NE(t->command(connect_body(token("ann", exp))).find("\"expires\":true,\"ttl\":60"),
            std::string::npos);
  tab* later = open();  // expire_at decides when both are there
  const std::string both = exp + ",\"expire_at\":" + std::to_string(now_s() + 90);
  EXPECT_NE(later->command(connect_body(token("ann", both))).find("\"ttl\":90"), std::string::npos);
  tab* never = open();
  EXPECT_EQ(
      never->command(connect_body(token("ann", exp + ",\"expire_at\":0"))).find("\"expires\""),
      std::string::npos);
}

TEST_F(session_connect_test, TimesFarAwayAreNoOverflow) {
  begin();
  for (const char* exp : {"9223372036854775807", "9007199254740993"}) {
    tab* t = connect("ann", 0, std::string(",\"exp\":") + exp);
    w->pass(1000);
    EXPECT_FALSE(t->is_over()) << exp;
  }
  tab* t = connect("ann");
  EXPECT_EQ(chat::sessions_refresh(w->at(0)->clients, {}, INT64_MAX, false), 3u);
  w->pass(100);
  EXPECT_FALSE(t->is_over());
  EXPECT_EQ(chat::sessions_refresh(w->at(0)->clients, {}, INT64_MIN, false), 3u);
  w->pass(100);
  EXPECT_EQ(t->code, 3005);
}

TEST_F(session_connect_test, ABadTokenCloses) {
  begin();
  for (const std::string& bad :
       {std::string("junk"), sign("{\"sub\":\"ann\"}", "other-secret"),
        token("ann", ",\"nbf\":" + std::to_string(now_s() + 60)), token("ann", ",\"exp\":\"x\"")}) {
    tab* t = open();
    EXPECT_EQ(t->command(connect_body(bad)), "");
    EXPECT_EQ(t->code, 3500);
    EXPECT_EQ(t->reason, "invalid token");
  }
}

TEST_F(session_connect_test, AnExpiredTokenIsAnErrorAndMayBeReplaced) {
  begin();
  tab* t = open();
  const std::string old = token("ann", ",\"exp\":" + std::to_string(now_s() - 1));
  EXPECT_EQ(t->command(connect_body(old)), kExpired);
  EXPECT_FALSE(t->is_over());
  EXPECT_NE(t->command(connect_body(token("ann"))).find("\"connect\""), std::string::npos);
}

TEST_F(session_connect_test, WithoutATokenOnlyWhereAnonymousMay) {
  begin();
  tab* t = open();
  EXPECT_EQ(t->command("\"connect\":{}"), error_reply(101, "unauthorized"));
  EXPECT_FALSE(t->is_over());
  w->config.allow_anonymous = true;
  EXPECT_NE(t->command("\"connect\":{}").find("\"connect\""), std::string::npos);
}

TEST_F(session_connect_test, ATokenWithoutSubIsAnonymousAndValid) {
  begin();
  tab* t = open();
  const std::string got = t->command(connect_body(sign("{}")));
  EXPECT_NE(got.find("\"connect\""), std::string::npos);
  EXPECT_EQ(got.find("\"subs\""), std::string::npos);  // nobody's personal channel
  EXPECT_NE(t->rpc("whoami").find("\"user\":\"\""), std::string::npos);
}

TEST_F(session_connect_test, ThePersonalChannelStandsInTheSubs) {
  begin();
  tab* t = open();
  const std::string got = t->command(connect_body(token("ann")));
  const std::string head = "\"subs\":{\"#ann\":{\"recoverable\":true,\"epoch\":\"";
  ASSERT_NE(got.find(head), std::string::npos) << got;
  EXPECT_NE(got.find("\",\"positioned\":true}}"), std::string::npos);
  w->config.has_personal_channel = false;
  EXPECT_EQ(open()->command(connect_body(token("ann"))).find("\"subs\""), std::string::npos);
}

// A name that makes no channel, or one that admits others, has no personal channel; it may still
// connect.
TEST_F(session_connect_test, NamesThatMakeNoPersonalChannel) {
  begin();
  for (const std::string& name :
       {std::string("Ann Lee"), std::string("a,b"), std::string("x#bob"), std::string(255, 'n')}) {
    tab* t = open();
    const std::string got = t->command(connect_body(token(name)));
    EXPECT_NE(got.find("\"connect\""), std::string::npos) << name << got;
    EXPECT_EQ(got.find("\"subs\""), std::string::npos) << name;
  }
  EXPECT_NE(open()->command(connect_body(token(std::string(254, 'n')))).find("\"subs\""),
            std::string::npos);
}

TEST_F(session_connect_test, ServerSideSubscriptionsFromTheToken) {
  begin(2);
  tab* t = open();
  const std::string got = t->command(
      connect_body(token("ann",
                         ",\"channels\":[\"news\",\"#ann\"],\"subs\":{\"$vip\":{\"info\":{\"r\":1},"
                         "\"data\":{\"d\":2}},\"news\":{}}")));
  EXPECT_NE(got.find("\"news\":{\"recoverable\""), std::string::npos) << got;
  EXPECT_NE(got.find("\"$vip\":{\"recoverable\""), std::string::npos);
  EXPECT_NE(got.find("\"data\":{\"d\":2}"), std::string::npos);
  EXPECT_EQ(counted(0) + counted(1), 3u);
  EXPECT_NE(t->command("\"publish\":{\"channel\":\"$vip\",\"data\":1}"), "");
  ASSERT_EQ(t->pushes().size(), 1u);
  EXPECT_NE(t->pushes()[0].find("\"chan_info\":{\"r\":1}"), std::string::npos);
}

TEST_F(session_connect_test, ServerSideSubscriptionsRecover) {
  begin();
  tab* t = connect("ann", 0, ",\"channels\":[\"news\"]");
  for (int i = 1; i <= 3; ++i)
    t->command("\"publish\":{\"channel\":\"news\",\"data\":" + std::to_string(i) + "}");
  const std::string epoch = epoch_in(t->texts[0]);
  t->drop();
  tab* again = open();
  const std::string got =
      again->command("\"connect\":{\"token\":\"" + token("ann", ",\"channels\":[\"news\"]") +
                     "\",\"subs\":{\"news\":{\"recover\":true,\"epoch\":\"" + epoch +
                     "\",\"offset\":1},\"other\":{\"recover\":true}}}");
  const size_t at = got.find("\"news\":");
  ASSERT_NE(at, std::string::npos) << got;
  const std::string news = got.substr(at);
  EXPECT_NE(news.find("\"data\":2"), std::string::npos) << got;
  EXPECT_NE(news.find("\"data\":3"), std::string::npos);
  EXPECT_EQ(news.find("\"data\":1,"), std::string::npos);
  EXPECT_NE(
      news.find("\"recovered\":true,\"offset\":1,\"positioned\":true,\"was_recovering\":true"),
      std::string::npos)
      << got;
}

// The SDK knows of a server-side subscription by the connect reply: what is pushed while another
// one is still on its way must not come before it.
TEST_F(session_connect_test, PushesWaitForTheConnectReply) {
  begin(2);
  const std::string here = w->channel_of(0), there = w->channel_of(1);
  tab* author = connect("bob");
  author->subscribe(here);
  const std::string channels = ",\"channels\":[\"" + here + "\",\"" + there + "\"]";
  config.has_personal_channel = false;
  tab* t = open();
  t->say("{\"id\":1," + connect_body(token("ann", channels)) + "}");
  while (w->step(0)) {
  }
  author->say("{\"id\":9,\"publish\":{\"channel\":\"" + here + "\",\"data\":\"now\"}}");
  while (w->step(0)) {
  }
  EXPECT_EQ(t->take(), "");
  w->run();
  ASSERT_EQ(t->texts.size(), 2u);
  EXPECT_EQ(t->texts[0].find("\"offset\""), std::string::npos);
  EXPECT_NE(t->texts[0].find("\"connect\""), std::string::npos);
  EXPECT_NE(t->texts[1].find("\"data\":\"now\""), std::string::npos);
}

TEST_F(session_connect_test, WhatWaitsForTheConnectReplyIsBounded) {
  config.queue_bytes_max = 64 * 1024;
  begin(2);
  const std::string here = w->channel_of(0), there = w->channel_of(1);
  tab* author = connect("bob");
  author->subscribe(here);
  tab* t = open();
  t->say("{\"id\":1," +
         connect_body(token("ann", ",\"channels\":[\"" + here + "\",\"" + there + "\"]")) + "}");
  while (w->step(0)) {
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(t->is_over());
    author->say("{\"id\":9,\"publish\":{\"channel\":\"" + here + "\",\"data\":\"" +
                std::string(40'000, 'x') + "\"}}");
    while (w->step(0)) {
    }
  }
  EXPECT_EQ(t->why, core::end_reason::slow);
  w->run();
}

// Recovered publications of all server-side subscriptions share one reply.
TEST_F(session_connect_test, TheRepliesOfAllRecoveriesStayBelowTheLimit) {
  begin();
  const std::string channels = ",\"channels\":[\"a\",\"b\",\"c\",\"d\"]";
  tab* t = connect("ann", 0, channels);
  const std::string data = "\"" + std::string(60'000, 'x') + "\"";
  std::string subs;
  for (const char* c : {"a", "b", "c", "d"}) {
    for (int i = 0; i < 4; ++i)
      t->command("\"publish\":{\"channel\":\"" + std::string(c) + "\",\"data\":" + data + "}");
    subs.append(subs.empty() ? "" : ",").append("\"").append(c).append("\":{\"recover\":true}");
  }
  t->drop();
  tab* again = open();
  const std::string got = again->command("\"connect\":{\"token\":\"" + token("ann", channels) +
                                         "\",\"subs\":{" + subs + "}}");
  EXPECT_LT(got.size(), core::kWsPayloadOutBytesMax);  // two of them fit
  size_t recovered = 0;
  for (size_t at = 0; (at = got.find("\"recovered\":true", at)) != std::string::npos; ++at)
    ++recovered;
  EXPECT_EQ(recovered, 2u);
  EXPECT_NE(got.find("\"offset\":4,\"positioned\":true,\"was_recovering\":true"),
            std::string::npos);
}

TEST_F(session_connect_test, AFailedServerSideSubscriptionFailsTheConnect) {
  begin();
  tab* t = open();
  const std::string bad = token("ann", ",\"info\":{\"n\":1},\"channels\":[\"nowhere:x\",\"news\"]");
  EXPECT_EQ(t->command(connect_body(bad)), error_reply(102, "unknown channel"));
  EXPECT_EQ(t->accepted, 0);
  EXPECT_EQ(counted(), 0u);
  EXPECT_EQ(w->counters(0).clients_connected.get(), 0u);
  EXPECT_EQ(chat::sessions_users(w->at(0)->clients), 0u);
  EXPECT_NE(t->command(connect_body(token("bob"))).find("\"#bob\""), std::string::npos);
  EXPECT_NE(t->rpc("whoami").find("{\"user\":\"bob\",\"client\":\"" + t->id() + "\"}"),
            std::string::npos);  // nothing is left of ann
}

TEST_F(session_connect_test, CommandsBehindTheConnectWaitForIt) {
  begin(2);
  const std::string channel = w->channel_of(1);
  tab* t = open();
  const std::string got = t->ask("{\"id\":1," + connect_body(token("ann")) +
                                 "}\n{\"id\":2,\"subscribe\":{\"channel\":\"" + channel +
                                 "\"}}\n{\"id\":3,\"rpc\":{\"method\":\"whoami\"}}\n");
  EXPECT_LT(got.find("\"id\":1"), got.find("\"id\":3"));
  EXPECT_LT(got.find("\"id\":1"), got.find("\"id\":2"));
  EXPECT_NE(t->reply(2).find("\"subscribe\""), std::string::npos);
  EXPECT_EQ(w->counters(0).messages_in.get(), 3u);
}

TEST_F(session_connect_test, CommandsBehindAFailedConnectAreAnswered) {
  begin();
  auto* bus = script();
  tab* t = open();
  t->say("{\"id\":1," + connect_body(token("ann")) + "}\n{\"id\":2,\"ping\":{}}");
  bus->position_answer(0, core::err::unavailable);
  EXPECT_EQ(t->take(), "{\"id\":1," + kInternal + "}\n{\"id\":2," + kBusy + "}");
  EXPECT_FALSE(t->is_over());
}

TEST_F(session_connect_test, TheConnectsOwnTimeOutIsATemporaryError) {
  begin();
  auto* bus = script();
  tab* t = open();
  w->pass(core::kStaleMsMax - 1000);  // late, but not stale: the server owes the answer
  t->say("{\"id\":1," + connect_body(token("ann")) + "}");
  w->pass(core::kCommandMsMax);
  EXPECT_EQ(t->reply(1), "{\"id\":1," + kInternal + "}");
  EXPECT_FALSE(t->is_over());  // it may try again
  bus->finish();
  EXPECT_EQ(counted(), 0u);  // the late success has been undone
}

TEST_F(session_connect_test, LimitsOfConnections) {
  config.connections_per_user_max = 2;
  config.channels_per_client_max = 3;
  begin();
  connect("ann");
  tab* second = connect("ann");
  tab* third = open();
  EXPECT_EQ(third->command(connect_body(token("ann"))), "");
  EXPECT_EQ(third->code, 3504);
  connect("bob");
  second->drop();
  connect("ann");
  tab* many = open();
  many->command(connect_body(token("cid", ",\"channels\":[\"a\",\"b\",\"c\"]")));
  EXPECT_EQ(many->code, 3505);
  connect("cid", 0, ",\"channels\":[\"a\",\"b\"]");
}

TEST_F(session_connect_test, InsecureNeedsNoTokenButVerifiesWhatIsGiven) {
  config.is_insecure = true;
  begin();
  tab* t = anonymous();
  EXPECT_NE(t->subscribe("$secret").find("\"subscribe\""), std::string::npos);
  EXPECT_NE(t->command("\"publish\":{\"channel\":\"$secret\",\"data\":1}").find("\"publish\""),
            std::string::npos);
  tab* expired = connect("ann", 0, ",\"exp\":1");
  w->pass(1000);
  EXPECT_FALSE(expired->is_over());
  tab* forged = open();
  forged->command(connect_body(sign("{}", "other-secret")));
  EXPECT_EQ(forged->code, 3500);
}

}  // namespace
