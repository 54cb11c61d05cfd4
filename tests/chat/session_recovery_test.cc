// Recovery as a client sees it: what the reply says, what it carries, and when it is refused; lost
// positions of live subscribers.
#include <string>

#include "chat/codes.h"
#include "chat/session_impl.h"
#include "core/limits.h"
#include "tests/chat/fake_client.h"
#include "tests/chat/session_fixture.h"

namespace {

using fixture::epoch_in;
using fixture::error_reply;
using fixture::offsets_in;
using fixture::tab;

class session_recovery_test : public fixture::session_test {
 protected:
  // A channel "a" with publications 1 … n, and who made them.
  void fill(int n, const std::string& data = "") {
    author = connect("ann");
    epoch = epoch_in(author->subscribe("a"));
    for (int i = 1; i <= n; ++i) publish(data.empty() ? std::to_string(i) : data);
  }
  void publish(const std::string& data) {
    EXPECT_EQ(author->command("\"publish\":{\"channel\":\"a\",\"data\":" + data + "}"),
              "\"publish\":{}");
  }
  std::string recover(uint64_t offset, const std::string& from, const std::string& more = "") {
    tab* t = connect("bob");
    last = t;
    return t->subscribe("a", ",\"recover\":true,\"epoch\":\"" + from +
                                 "\",\"offset\":" + std::to_string(offset) + more);
  }
  std::string lost(uint64_t top) {
    return "\"subscribe\":{\"recoverable\":true,\"epoch\":\"" + epoch +
           "\",\"offset\":" + std::to_string(top) + ",\"positioned\":true,\"was_recovering\":true}";
  }
  tab* author = nullptr;
  tab* last = nullptr;
  std::string epoch;
};

TEST_F(session_recovery_test, WhatWasMissedComesOnceWithTheRequestsOffset) {
  begin();
  fill(3);
  const std::string tags = ",\"tags\":{\"time\":\"" + std::to_string(w->clock.wall_ms()) + "\"}}";
  const std::string info = "\"info\":{\"user\":\"ann\",\"client\":\"" + author->id() + "\"}";
  EXPECT_EQ(recover(1, epoch), "\"subscribe\":{\"recoverable\":true,\"epoch\":\"" + epoch +
                                   "\",\"publications\":[{\"data\":2," + info + ",\"offset\":2" +
                                   tags + ",{\"data\":3," + info + ",\"offset\":3" + tags +
                                   "],\"recovered\":true,\"offset\":1,\"positioned\":true,"
                                   "\"was_recovering\":true}");
  EXPECT_TRUE(last->pushes().empty());
  publish("4");
  ASSERT_EQ(last->pushes().size(), 1u);
  EXPECT_EQ(offsets_in(last->pushes()[0]), (std::vector<uint64_t>{4}));
  EXPECT_EQ(w->counters(0).recovered.get(), 1u);
}

TEST_F(session_recovery_test, NothingMissed) {
  begin();
  fill(3);
  EXPECT_EQ(recover(3, epoch),
            "\"subscribe\":{\"recoverable\":true,\"epoch\":\"" + epoch +
                "\",\"recovered\":true,\"offset\":3,\"positioned\":true,\"was_recovering\":true}");
}

TEST_F(session_recovery_test, FromTheStoreWhenTheOwnerHasForgotten) {
  config.ping_ms = 600'000;
  begin();
  fill(3);
  author->drop();
  w->pass(2 * core::kOwnerLingerMs);
  EXPECT_EQ(offsets_in(recover(1, epoch)), (std::vector<uint64_t>{2, 3, 1}));
}

TEST_F(session_recovery_test, EpochsThatFitAndThatDoNot) {
  begin();
  fill(3);
  EXPECT_EQ(offsets_in(recover(1, "")), (std::vector<uint64_t>{2, 3, 1}));  // fits any
  EXPECT_EQ(recover(1, "_"), lost(3));                                      // fits none
  EXPECT_EQ(recover(1, "other"), lost(3));
  EXPECT_EQ(recover(0, "_"), lost(3));
  EXPECT_EQ(w->counters(0).unrecovered.get(), 3u);
}

TEST_F(session_recovery_test, NotRecoveredSendsNoPublications) {
  begin();
  fill(3);
  EXPECT_EQ(recover(4, epoch), lost(3));  // from a future that is not ours
  publish("4");
  EXPECT_EQ(last->pushes().size(), 1u);  // it is subscribed all the same
}

TEST_F(session_recovery_test, FlagTwoRejectsWhatIsNotRecovered) {
  begin();
  fill(3);
  const uint64_t before = counted();
  EXPECT_EQ(recover(1, "other", ",\"flag\":2"), error_reply(112, "unrecoverable position"));
  EXPECT_EQ(counted(), before + 1);  // #bob
  EXPECT_EQ(author->command("\"presence_stats\":{\"channel\":\"a\"}"),
            "\"presence_stats\":{\"num_clients\":1,\"num_users\":1}");
  EXPECT_NE(recover(1, epoch, ",\"flag\":3").find("\"recovered\":true"), std::string::npos);
}

TEST_F(session_recovery_test, HistorySizeBindsAtOnce) {
  ns().keep.size_max = 2;
  begin();
  fill(5);
  EXPECT_EQ(offsets_in(recover(3, epoch)), (std::vector<uint64_t>{4, 5, 3}));
  EXPECT_EQ(recover(2, epoch), lost(5));
  EXPECT_EQ(offsets_in(author->command("\"history\":{\"channel\":\"a\",\"limit\":-1}")),
            (std::vector<uint64_t>{4, 5, 5}));
}

TEST_F(session_recovery_test, HistoryTtlBindsAtOnce) {
  ns().keep.ttl_ms = 10'000;
  config.ping_ms = 600'000;
  begin();
  fill(2);
  w->pass(6'000);
  publish("3");
  EXPECT_EQ(offsets_in(recover(0, epoch)), (std::vector<uint64_t>{1, 2, 3}));  // offset 0 is absent
  w->pass(5'000);
  EXPECT_EQ(recover(1, epoch), lost(3));
  EXPECT_EQ(offsets_in(recover(2, epoch)), (std::vector<uint64_t>{3, 2}));
}

TEST_F(session_recovery_test, AnOversizedRecoveryIsNotOne) {
  config.recovery_bytes_max = 10'000;
  begin();
  fill(5, "\"" + std::string(3'000, 'x') + "\"");
  EXPECT_EQ(offsets_in(recover(2, epoch)), (std::vector<uint64_t>{3, 4, 5, 2}));
  EXPECT_EQ(recover(1, epoch), lost(5));
}

// The largest recovery there may be is below what SDKs take (the fixture checks every text).
TEST_F(session_recovery_test, TheReplyStaysBelowTheLimit) {
  begin();
  fill(9, "\"" + std::string(58'100, 'x') + "\"");
  for (uint64_t since = 0; since < 9; ++since) recover(since, epoch);
  EXPECT_EQ(recover(0, epoch), lost(9));
}

// Replies of several recoveries that wait in the out-queue together do not make the client slow.
TEST_F(session_recovery_test, AFullOutQueueMakesARecoveryNone) {
  begin();
  fill(3);
  tab* t = connect("bob");
  t->queued = w->config.queue_bytes_max - 1'000;
  const std::string got = t->subscribe("a", ",\"recover\":true,\"epoch\":\"" + epoch + "\"");
  EXPECT_EQ(got, lost(3));
  t->queued = w->config.queue_bytes_max / 2;
  t->command("\"unsubscribe\":{\"channel\":\"a\"}");
  EXPECT_NE(
      t->subscribe("a", ",\"recover\":true,\"epoch\":\"" + epoch + "\"").find("\"recovered\""),
      std::string::npos);
}

TEST_F(session_recovery_test, DeletedHistoryIsNotRecovered) {
  begin();
  fill(3);
  chat::request* r = chat::request_new(w->at(0), chat::request_kind::remove_history, "a", 0);
  r->done = [](chat::node_loop*, chat::request* self) noexcept { chat::request_free(self); };
  chat::request_submit(r);
  w->run();
  EXPECT_EQ(recover(1, epoch), lost(3));
  EXPECT_NE(recover(3, epoch).find("\"recovered\":true"), std::string::npos);
}

// ---- a position that cannot be kept

TEST_F(session_recovery_test, LostPositionsUnsubscribe) {
  chat::namespace_settings& n = ns("plain");
  n.has_history = n.allow_subscribe_for_client = true;
  config.has_personal_channel = false;
  begin();
  auto* bus = script();
  tab* t = connect("ann");
  tab* plain = connect("bob");
  for (const char* c : {"a", "plain:a"}) {
    t->subscribe(c);
    plain->subscribe(c);
  }
  bus->finish();
  t->take();
  bus->lose("a");
  EXPECT_EQ(t->take(),
            "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2500,\"reason\":\"insufficient "
            "state\"}}}");
  EXPECT_EQ(w->counters(0).unsubscribes_insufficient.get(), 2u);
  bus->lose("plain:a");  // nobody stands anywhere there
  EXPECT_EQ(t->take(), "");
  bus->finish();
  EXPECT_EQ(t->subscribe("a").rfind("\"subscribe\"", 0), 0u);
}

// The client does not know yet: a refusal for good would lose what its user has said.
TEST_F(session_recovery_test, WhatIsSentBeforeComingBackIsRefusedAsTemporary) {
  config.has_personal_channel = false;
  begin();
  auto* bus = script();
  tab* t = connect("ann");
  const std::vector<std::string> commands = {
      R"("publish":{"channel":"a","data":1})", R"("history":{"channel":"a"})",
      R"("presence":{"channel":"a"})",
      R"("rpc":{"method":"send","data":{"channel":"a","data":1,"key":"k"}})",
      R"("rpc":{"method":"typing","data":{"channel":"a"}})"};
  for (const std::string& c : commands) EXPECT_EQ(t->command(c), fixture::kDenied) << c;
  for (const bool is_api : {false, true}) {
    t->subscribe("a");
    bus->finish();
    bus->lose("a");
    for (const std::string& c : commands) EXPECT_EQ(t->command(c), fixture::kInternal) << c;
    if (is_api)
      EXPECT_EQ(chat::sessions_unsubscribe(w->at(0)->clients, {}, "a", 2000, ""), 0u);
    else
      t->command(R"("unsubscribe":{"channel":"a"})");
    for (const std::string& c : commands) EXPECT_EQ(t->command(c), fixture::kDenied) << c;
  }
}

TEST_F(session_recovery_test, LostPositionsOfServerSideSubscriptionsDisconnect) {
  begin();
  auto* bus = script();
  tab* t = open();
  t->say("{\"id\":1,\"connect\":{\"token\":\"" + token("ann") + "\"}}");
  bus->finish();
  EXPECT_EQ(t->accepted, 1);
  bus->lose("#ann");
  EXPECT_EQ(t->code, 3010);
  EXPECT_EQ(t->reason, "insufficient state");
}

// As many as a client may have channels, the oldest forgotten first.
TEST_F(session_recovery_test, OnlySoManyChannelsAreBeingSentBack) {
  config.has_personal_channel = false;
  config.channels_per_client_max = 2;
  begin();
  auto* bus = script();
  tab* t = connect("ann");
  const auto publish = [&](const std::string& channel) {
    return t->command("\"publish\":{\"channel\":\"" + channel + "\",\"data\":1}");
  };
  for (const char* channel : {"a", "b", "c"}) {
    t->subscribe(channel);
    bus->finish();
    bus->lose(channel);
  }
  EXPECT_EQ(publish("a"), fixture::kDenied);
  EXPECT_EQ(publish("b"), fixture::kInternal);
  EXPECT_EQ(publish("c"), fixture::kInternal);
}

TEST_F(session_recovery_test, ComingBackEndsBeingSentBack) {
  config.has_personal_channel = false;
  begin();
  auto* bus = script();
  tab* t = connect("ann");
  t->subscribe("a");
  bus->finish();
  bus->lose("a");
  t->subscribe("a");
  bus->finish();
  chat::session* s = t->s;
  chat::subscription* sub = chat::subscription_find(s, "a");
  ASSERT_TRUE(sub != nullptr && chat::subscription_is_live(sub));
  chat::subscription_remove(s, sub,
                            "expired");  // as an expiry does, which says nothing of being sent back
  EXPECT_EQ(t->command(R"("publish":{"channel":"a","data":1})"), fixture::kDenied);
}

TEST_F(session_recovery_test, WhatIsDroppedBehindARefusedConnectIsWithinTheRate) {
  config.commands_per_s = 1;
  config.channels_per_client_max = 2;
  config.commands_burst = 4;
  begin();
  auto* bus = script();
  bus->refuse = core::err::unavailable;
  tab* t = open();
  t->say("{\"id\":1,\"connect\":{\"token\":\"" + token("ann") + "\"}}");
  w->run();
  for (int id = 2; id <= 6; ++id)
    t->say("{\"id\":" + std::to_string(id) + R"(,"subscribe":{"channel":"a"}})");
  w->run();
  EXPECT_EQ(t->reply(4), "") << "the fourth command";
  EXPECT_NE(t->reply(5).find("\"code\":111"), std::string::npos) << t->reply(5);
}

// SDKs send subscribes behind a connect without waiting: a refused connect is refused once, and the
// connection lives for the next attempt.
TEST_F(session_recovery_test, CommandsBehindARefusedConnectAreDropped) {
  begin();
  auto* bus = script();
  bus->refuse = core::err::unavailable;
  tab* t = open();
  t->say("{\"id\":1,\"connect\":{\"token\":\"" + token("ann") + "\"}}\n" +
         R"({"id":2,"subscribe":{"channel":"a"}})");
  w->run();
  t->say(R"({"id":3,"subscribe":{"channel":"b"}})");
  w->run();
  EXPECT_NE(t->reply(1).find("\"code\":100"), std::string::npos) << t->reply(1);
  EXPECT_EQ(t->reply(3), "");
  EXPECT_FALSE(t->is_over());
  bus->refuse = core::err::ok;
  t->say("{\"id\":4,\"connect\":{\"token\":\"" + token("ann") + "\"}}");
  bus->finish();
  EXPECT_EQ(t->accepted, 1);
}

}  // namespace
