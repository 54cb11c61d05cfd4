// presence, presence_stats, history, and the rpcs that ask: whoami, channels, read, leave.
#include <string>

#include "core/limits.h"
#include "tests/chat/fake_client.h"
#include "tests/chat/session_fixture.h"

namespace {

using fixture::epoch_in;
using fixture::error_reply;
using fixture::kBadRequest;
using fixture::kBusy;
using fixture::kDenied;
using fixture::kInternal;
using fixture::kNotAvailable;
using fixture::offsets_in;
using fixture::tab;

class session_query_test : public fixture::session_test {
 protected:
  std::string history(tab* t, const std::string& fields, const std::string& channel = "a") {
    return t->command("\"history\":{\"channel\":\"" + channel + "\"" +
                      (fields.empty() ? "" : "," + fields) + "}");
  }
  std::vector<uint64_t> page(const std::string& fields) {
    std::vector<uint64_t> found = offsets_in(history(ann, fields));
    found.pop_back();  // the position
    return found;
  }
  std::string stats(tab* t, const std::string& channel = "a") {
    return t->command("\"presence_stats\":{\"channel\":\"" + channel + "\"}");
  }
  std::string presence(tab* t, const std::string& channel = "a") {
    return t->command("\"presence\":{\"channel\":\"" + channel + "\"}");
  }
  void fill(int n, const std::string& data = "1") {
    ann = connect("ann");
    epoch = epoch_in(ann->subscribe("a"));
    for (int i = 0; i < n; ++i)
      ann->command("\"publish\":{\"channel\":\"a\",\"data\":" + data + "}");
  }
  std::string since(uint64_t offset, const std::string& from) {
    return "\"limit\":-1,\"since\":{\"offset\":" + std::to_string(offset) + ",\"epoch\":\"" + from +
           "\"}";
  }
  std::string position(uint64_t offset) {
    return "\"history\":{\"publications\":[],\"epoch\":\"" + epoch +
           "\",\"offset\":" + std::to_string(offset) + "}";
  }
  tab* ann = nullptr;
  std::string epoch;
};

// ---- history

TEST_F(session_query_test, WithoutALimitThePositionOnly) {
  begin();
  fill(3);
  EXPECT_EQ(history(ann, ""), position(3));
  EXPECT_EQ(history(ann, "\"limit\":0"), position(3));
  EXPECT_EQ(history(ann, "\"limit\":0,\"since\":{\"offset\":1,\"epoch\":\"" + epoch + "\"}"),
            position(3));
}

TEST_F(session_query_test, PagesBothWays) {
  begin();
  fill(5);
  using list = std::vector<uint64_t>;
  EXPECT_EQ(page("\"limit\":-1"), (list{1, 2, 3, 4, 5}));
  EXPECT_EQ(page("\"limit\":2"), (list{1, 2}));
  EXPECT_EQ(page("\"limit\":2,\"reverse\":true"), (list{5, 4}));
  EXPECT_EQ(page(since(3, epoch)), (list{4, 5}));  // exclusive
  EXPECT_EQ(page(since(3, "")), (list{4, 5}));
  EXPECT_EQ(page(since(3, epoch) + ",\"reverse\":true"), (list{2, 1}));
  EXPECT_EQ(page(since(5, epoch)), list());
  EXPECT_EQ(page(since(0, epoch)), (list{1, 2, 3, 4, 5}));
  EXPECT_EQ(page("\"limit\":-7"), (list{1, 2, 3, 4, 5}));
}

TEST_F(session_query_test, AForeignEpochIsUnrecoverable) {
  begin();
  fill(1);
  EXPECT_EQ(history(ann, since(0, "other")), error_reply(112, "unrecoverable position"));
  EXPECT_EQ(history(ann, since(0, "_")), error_reply(112, "unrecoverable position"));
}

TEST_F(session_query_test, MinusOneIsTheServersMaximum) {
  config.publishes_burst = config.commands_burst = 1000;
  begin();
  fill(static_cast<int>(core::kHistoryPageMax) + 5);
  EXPECT_EQ(page("\"limit\":-1").size(), core::kHistoryPageMax);
  EXPECT_EQ(page("\"limit\":2147483647").size(), core::kHistoryPageMax);
  EXPECT_EQ(page("\"limit\":-1,\"reverse\":true").back(), 6u);
}

TEST_F(session_query_test, PagesAreCutBelowTheLimitOfMessages) {
  begin();
  fill(12, "\"" + std::string(60'000, 'x') + "\"");
  EXPECT_EQ(page("\"limit\":-1").size(), 8u);  // the fixture checks the size of every text
  EXPECT_EQ(page("\"limit\":-1,\"reverse\":true").back(), 5u);
}

TEST_F(session_query_test, WhoMayReadHistory) {
  config.allow_anonymous = true;
  ns().allow_subscribe_for_anonymous = true;
  begin();
  fill(1);
  tab* outsider = connect("bob");
  EXPECT_EQ(history(outsider, "\"limit\":1"), kDenied);
  EXPECT_EQ(history(outsider, "\"limit\":1", "live:x"), kNotAvailable);
  EXPECT_EQ(history(outsider, "\"limit\":1", "nowhere:x"), error_reply(102, "unknown channel"));
  EXPECT_EQ(history(outsider, "\"limit\":1", "a b"), kBadRequest);
  tab* nobody = anonymous();
  nobody->subscribe("a");
  EXPECT_EQ(history(nobody, "\"limit\":1"), kDenied);  // "subscriber" is a user
  w->config.namespaces[0].allow_history_for_client = true;
  EXPECT_EQ(offsets_in(history(outsider, "\"limit\":1")).size(), 2u);
  EXPECT_EQ(history(outsider, "\"limit\":1", "#ann"), kDenied);
  EXPECT_EQ(history(nobody, "\"limit\":1"), kDenied);
  w->config.namespaces[0].allow_history_for_anonymous = true;
  EXPECT_EQ(offsets_in(history(nobody, "\"limit\":1")).size(), 2u);
}

// Large answers that meet a full out-queue are made smaller rather than the client slow.
TEST_F(session_query_test, AnswersFitIntoTheOutQueue) {
  begin();
  fill(10, "\"" + std::string(50'000, 'x') + "\"");
  EXPECT_EQ(page("\"limit\":-1").size(), 10u);
  ann->queued = w->config.queue_bytes_max - 120'000;
  EXPECT_EQ(page("\"limit\":-1"), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(page("\"limit\":-1,\"reverse\":true"), (std::vector<uint64_t>{10, 9}));
  ann->queued = w->config.queue_bytes_max - 20'000;
  EXPECT_EQ(history(ann, "\"limit\":-1"), kBusy);
  EXPECT_EQ(history(ann, ""), position(10));
  EXPECT_EQ(offsets_in(ann->rpc("channels")), (std::vector<uint64_t>{10}));  // without `last`
  EXPECT_NE(presence(ann).find(ann->id()), std::string::npos);
  ann->queued = w->config.queue_bytes_max;
  EXPECT_EQ(presence(ann), "\"presence\":{\"presence\":{}}");
}

// ---- presence

TEST_F(session_query_test, PresenceTellsClientsAndUsers) {
  config.allow_anonymous = true;
  ns().allow_subscribe_for_anonymous = true;
  begin(2);
  ann = connect("ann", 0, ",\"info\":{\"n\":1}");
  tab* phone = connect("ann", 1);
  for (tab* t : {ann, phone, anonymous(0), anonymous(1)}) t->subscribe("a");
  EXPECT_EQ(stats(ann), "\"presence_stats\":{\"num_clients\":4,\"num_users\":2}");
  const std::string all = presence(ann);
  EXPECT_NE(all.find("\"" + ann->id() + "\":{\"user\":\"ann\",\"client\":\"" + ann->id() +
                     "\",\"conn_info\":{\"n\":1}}"),
            std::string::npos)
      << all;
  EXPECT_NE(all.find("\"" + phone->id() + "\":"), std::string::npos);
  phone->drop();
  w->run();
  EXPECT_EQ(stats(ann), "\"presence_stats\":{\"num_clients\":3,\"num_users\":2}");
  ann->command("\"unsubscribe\":{\"channel\":\"a\"}");
  ann->subscribe("b");
  EXPECT_EQ(stats(ann, "b"), "\"presence_stats\":{\"num_clients\":1,\"num_users\":1}");
}

TEST_F(session_query_test, WhoMayAskForPresence) {
  config.allow_anonymous = true;
  ns().allow_subscribe_for_anonymous = true;
  begin();
  ann = connect("ann");
  EXPECT_EQ(presence(ann), kDenied);
  EXPECT_EQ(stats(ann), kDenied);
  EXPECT_EQ(presence(ann, "live:x"), kNotAvailable);
  EXPECT_EQ(stats(ann, "nowhere:x"), error_reply(102, "unknown channel"));
  tab* nobody = anonymous();
  nobody->subscribe("a");
  EXPECT_EQ(stats(nobody), kDenied);
  w->config.namespaces[0].allow_presence_for_client = true;
  EXPECT_EQ(stats(ann), "\"presence_stats\":{\"num_clients\":1,\"num_users\":1}");
  EXPECT_EQ(stats(ann, "#bob"), kDenied);
  EXPECT_EQ(stats(nobody), kDenied);
  w->config.namespaces[0].allow_presence_for_anonymous = true;
  EXPECT_EQ(stats(nobody), "\"presence_stats\":{\"num_clients\":1,\"num_users\":1}");
}

TEST_F(session_query_test, PresenceIsCutBelowTheLimitOfMessages) {
  config.has_personal_channel = false;
  begin();
  const std::string info = ",\"info\":\"" + std::string(8'000, 'i') + "\"";
  for (int i = 0; i < 80; ++i) {
    ann = connect("u" + std::to_string(i), 0, info);
    ann->subscribe("a");
  }
  EXPECT_GT(presence(ann).size(), 500'000u);  // the fixture checks the bound
  EXPECT_EQ(stats(ann), "\"presence_stats\":{\"num_clients\":80,\"num_users\":80}");
}

// ---- rpc

TEST_F(session_query_test, UnknownMethodsAreNotAvailable) {
  begin();
  ann = connect("ann");
  EXPECT_EQ(ann->rpc("nosuch"), kNotAvailable);
  EXPECT_EQ(ann->command("\"rpc\":{\"data\":{}}"), kNotAvailable);
  EXPECT_FALSE(ann->is_over());
}

TEST_F(session_query_test, Whoami) {
  begin();
  ann = connect("a\\\"b", 0, ",\"info\":{\"n\":1}");
  const std::string me = "\"rpc\":{\"data\":{\"user\":\"a\\\\\\\"b\",\"client\":\"" + ann->id() +
                         "\",\"info\":{\"n\":1}}}";
  EXPECT_EQ(ann->rpc("whoami"), me);
  EXPECT_EQ(ann->rpc("whoami", "null"), me);
  EXPECT_EQ(ann->command("\"rpc\":{\"method\":\"whoami\"}"), me);
}

class session_channels_test : public session_query_test {
 protected:
  std::string channels(tab* t) { return t->rpc("channels"); }
  std::string entry(const std::string& channel, uint64_t top, uint64_t read, uint64_t unread) {
    return "{\"channel\":\"" + channel + "\",\"offset\":" + std::to_string(top) + ",\"epoch\":\"" +
           epoch + "\",\"read\":" + std::to_string(read) + ",\"unread\":" + std::to_string(unread);
  }
  bool has(const std::string& all, const std::string& part) {
    return all.find(part) != std::string::npos;
  }
  std::string read(tab* t, const std::string& channel, uint64_t offset) {
    return t->rpc("read",
                  "{\"channel\":\"" + channel + "\",\"offset\":" + std::to_string(offset) + "}");
  }
  std::string leave(tab* t, const std::string& channel) {
    return t->rpc("leave", "{\"channel\":\"" + channel + "\"}");
  }
};

constexpr const char* kDone = "\"rpc\":{\"data\":{}}";

TEST_F(session_channels_test, MineAreThoseIWasInOnce) {
  begin(2);
  fill(3);
  tab* bob = connect("bob", 1);
  EXPECT_EQ(channels(bob), "\"rpc\":{\"data\":{\"channels\":[]}}");  // not the personal one
  bob->subscribe("b");
  bob->subscribe("live:x");  // keeps nothing
  bob->subscribe("a");
  bob->command("\"unsubscribe\":{\"channel\":\"a\"}");
  const std::string mine = channels(bob);
  EXPECT_TRUE(has(mine, entry("a", 3, 0, 3) + ",\"last\":{\"data\":1,\"info\":{\"user\":\"ann\""))
      << mine;
  EXPECT_TRUE(has(mine, entry("b", 0, 0, 0) + "}")) << mine;
  EXPECT_FALSE(has(mine, "live:x"));
  EXPECT_LT(mine.find("\"a\""), mine.find("\"b\""));  // the newest message first
}

TEST_F(session_channels_test, MineAreAlsoThoseIPostedTo) {
  ns().allow_publish_for_client = true;
  begin();
  ann = connect("ann");
  EXPECT_EQ(ann->command("\"publish\":{\"channel\":\"a\",\"data\":1}"), "\"publish\":{}");
  EXPECT_TRUE(
      has(ann->rpc("send", "{\"channel\":\"b\",\"key\":\"k\",\"data\":1}"), "\"offset\":1"));
  EXPECT_EQ(ann->command("\"publish\":{\"channel\":\"#ann\",\"data\":1}"), "\"publish\":{}");
  const std::string mine = channels(ann);
  EXPECT_TRUE(has(mine, "{\"channel\":\"a\",\"offset\":1"));
  EXPECT_TRUE(has(mine, "{\"channel\":\"b\",\"offset\":1"));
  EXPECT_FALSE(has(mine, "#ann"));
}

TEST_F(session_channels_test, ReadMovesTheMarkerForwardAndTellsTheOthers) {
  begin(2);
  fill(3);
  tab* phone = connect("ann", 1);
  EXPECT_EQ(read(ann, "a", 2), kDone);
  EXPECT_EQ(
      phone->take(),
      "{\"push\":{\"channel\":\"#ann\",\"pub\":{\"data\":{\"type\":\"read\",\"channel\":\"a\","
      "\"offset\":2}}}}");
  EXPECT_TRUE(has(channels(phone), entry("a", 3, 2, 1)));
  EXPECT_EQ(read(ann, "a", 1), kDone);
  EXPECT_TRUE(has(channels(phone), entry("a", 3, 2, 1)));
  EXPECT_EQ(read(ann, "a", 9), kDone);
  EXPECT_TRUE(has(channels(phone), "\"unread\":0"));
  EXPECT_EQ(ann->rpc("read", "{\"channel\":\"a\"}"), kBadRequest);
  EXPECT_EQ(read(ann, "a b", 1), kBadRequest);
  EXPECT_EQ(read(ann, "nowhere:a", 1), error_reply(102, "unknown channel"));
  EXPECT_EQ(read(ann, "live:a", 1), kNotAvailable);
}

// `read` makes a channel mine, and `channels` tells what was said last there.
TEST_F(session_channels_test, ReadIsNoWayIntoAChannel) {
  ns("closed").has_history = true;
  begin();
  ann = connect("ann");
  const std::string vip = ",\"token\":\"" + sub_token("ann", "$vip") + "\"";
  ann->subscribe("$vip", vip);
  ann->subscribe("dm:#ann,cid");
  for (const char* c : {"$vip", "dm:#ann,cid"})
    EXPECT_NE(
        ann->command("\"publish\":{\"channel\":\"" + std::string(c) + "\",\"data\":\"secret\"}"),
        "");
  tab* bob = connect("bob");
  EXPECT_EQ(read(bob, "$vip", 1), kDenied);
  EXPECT_EQ(read(bob, "dm:#ann,cid", 1), kDenied);
  EXPECT_EQ(read(bob, "closed:x", 1), kDenied);
  EXPECT_EQ(channels(bob), "\"rpc\":{\"data\":{\"channels\":[]}}");
  EXPECT_EQ(read(ann, "$vip", 1), kDone);  // who is in may
  // Who was in once sees that there is more, not what.
  ann->command("\"unsubscribe\":{\"channel\":\"$vip\"}");
  const std::string mine = channels(ann);
  epoch = epoch_in(mine);
  EXPECT_TRUE(has(mine, entry("$vip", 1, 1, 0) + "}")) << mine;
  EXPECT_TRUE(has(mine, entry("dm:#ann,cid", 1, 0, 1) + ",\"last\":{\"data\":\"secret\""));
}

TEST_F(session_channels_test, LeaveForgetsTheChannelAndUnsubscribes) {
  begin();
  fill(1);
  ann->take();
  EXPECT_EQ(leave(ann, "a"), kDone);
  EXPECT_EQ(ann->pushes().back(),
            "{\"push\":{\"channel\":\"a\",\"unsubscribe\":{\"code\":2000,\"reason\":\"left\"}}}");
  EXPECT_EQ(channels(ann), "\"rpc\":{\"data\":{\"channels\":[]}}");
  EXPECT_EQ(counted(), 1u);  // #ann
  EXPECT_EQ(leave(ann, "a"), kDone);
  EXPECT_EQ(leave(ann, "live:a"), kNotAvailable);
  EXPECT_EQ(leave(ann, ""), kBadRequest);
}

TEST_F(session_channels_test, AnonymousHasNoChannels) {
  config.is_insecure = true;
  begin();
  tab* t = anonymous();
  EXPECT_EQ(channels(t), kDenied);
  EXPECT_EQ(read(t, "a", 1), kDenied);
  EXPECT_EQ(leave(t, "a"), kDenied);
}

// Every channel is told, whatever their last messages weigh.
TEST_F(session_channels_test, LastMessagesAreLeftOutWhenTheyDoNotFit) {
  config.recovery_bytes_max = 1024;  // of recoveries, not of this
  begin();
  ann = connect("ann");
  const std::string data = "\"" + std::string(60'000, 'x') + "\"";
  for (int i = 0; i < 9; ++i) {
    const std::string channel = "c" + std::to_string(i);
    ann->subscribe(channel);
    ann->command("\"publish\":{\"channel\":\"" + channel + "\",\"data\":" + data + "}");
    w->pass(10);
  }
  const std::string mine = channels(ann);
  EXPECT_EQ(offsets_in(mine).size(), 9u + 8u);
  EXPECT_TRUE(has(mine, "\"c0\""));
}

// ---- nobody answers

TEST_F(session_query_test, QuestionsAreAnsweredInTime) {
  begin();
  fill(1);
  auto* bus = script();
  w->pass(core::kTimerTickMs);
  ann->take();
  const uint32_t id = ann->next_id;
  ann->say("{\"id\":" + std::to_string(id) + ",\"history\":{\"channel\":\"a\",\"limit\":1}}");
  ann->say("{\"id\":" + std::to_string(id + 1) + ",\"rpc\":{\"method\":\"channels\"}}");
  ann->say("{\"id\":" + std::to_string(id + 2) +
           ",\"rpc\":{\"method\":\"read\",\"data\":{\"channel\":\"a\",\"offset\":1}}}");
  ann->say("{\"id\":" + std::to_string(id + 3) +
           ",\"rpc\":{\"method\":\"leave\",\"data\":{\"channel\":\"b\"}}}");
  w->pass(core::kCommandMsMax, true);  // the store's answers wait in the mailbox
  std::string due;
  for (uint32_t i = 0; i < 4; ++i)
    due.append("\n{\"id\":" + std::to_string(id + i) + "," + kInternal + "}");
  EXPECT_EQ("\n" + ann->take(), due);
  bus->finish();
  ann->next_id = 90;
  w->run();  // nothing comes twice
  EXPECT_EQ(ann->take().find("\"id\""), std::string::npos);
}

TEST_F(session_query_test, AFullStoreIsTemporary) {
  begin();
  fill(1);
  w->mailbox_limit(0, w->loop_at(0)->reserved);
  EXPECT_EQ(history(ann, "\"limit\":1"), kBusy);
  EXPECT_EQ(ann->rpc("channels"), kBusy);
  EXPECT_EQ(ann->rpc("read", "{\"channel\":\"a\",\"offset\":1}"), kBusy);
  EXPECT_EQ(ann->rpc("leave", "{\"channel\":\"a\"}"), kBusy);
  EXPECT_EQ(ann->command("\"publish\":{\"channel\":\"a\",\"data\":1}"), kBusy);
  w->mailbox_limit(0, 65536);
  EXPECT_NE(history(ann, "\"limit\":1"), kBusy);
}

TEST_F(session_query_test, TheConnectionGoesBeforeTheAnswer) {
  begin();
  fill(1);
  for (const char* each :
       {"\"history\":{\"channel\":\"a\",\"limit\":1}", "\"rpc\":{\"method\":\"channels\"}",
        "\"rpc\":{\"method\":\"read\",\"data\":{\"channel\":\"a\",\"offset\":1}}",
        "\"rpc\":{\"method\":\"leave\",\"data\":{\"channel\":\"a\"}}",
        "\"publish\":{\"channel\":\"a\",\"data\":1}"}) {
    tab* t = connect("ann");
    t->subscribe("a");
    t->say("{\"id\":90," + std::string(each) + "}");
    t->drop();
    w->run();
    EXPECT_EQ(t->reply(90), "");
  }
}

// ---- who is online

class session_online_test : public fixture::session_test {};

TEST_F(session_online_test, TellsWhoIsConnectedAndWhenTheOthersWere) {
  begin();
  tab* ann = connect("ann");
  tab* bob = connect("bob");
  connect("bob");
  tab* eve = connect("eve");
  w->run();
  EXPECT_EQ(ann->rpc("online", R"({"users":["ann","bob","zoe","bob","no\u0023name",""]})"),
            R"("rpc":{"data":{"users":{"ann":{"online":true},"bob":{"online":true},)"
            R"("zoe":{"online":false},"no#name":{"online":false},"":{"online":false}}}})");
  bob->drop();
  eve->drop();
  w->run();
  const std::string text = ann->rpc("online", R"({"users":["bob","eve"]})");
  EXPECT_NE(text.find(R"("bob":{"online":true},"eve":{"online":false,"last_seen":17)"),
            std::string::npos)
      << text;
}

TEST_F(session_online_test, LeavesNothingWhenTheNodeEndsFirst) {  // the leak checker sees it
  begin(3);
  tab* ann = connect("ann");
  w->run();
  std::string names = "\"u0\"";
  for (int i = 1; i < 30; ++i) names += ",\"u" + std::to_string(i) + "\"";
  ann->say(R"({"id":900,"rpc":{"method":"online","data":{"users":[)" + names + "]}}}");
  EXPECT_EQ(ann->reply(900), "") << "the other loops have not been asked";
}

TEST_F(session_online_test, RefusesWhatItCannotAnswer) {
  begin();
  tab* ann = connect("ann");
  EXPECT_EQ(ann->rpc("online"), fixture::kBadRequest);
  EXPECT_EQ(ann->rpc("online", R"({"users":[]})"), fixture::kBadRequest);
  EXPECT_EQ(ann->rpc("online", R"({"users":"ann"})"), fixture::kBadRequest);
  EXPECT_EQ(ann->rpc("online", R"({"users":[1]})"), fixture::kBadRequest);
  std::string names = "\"u0\"";
  for (int i = 1; i < 200; ++i) names += ",\"u" + std::to_string(i) + "\"";
  const std::string most = ann->rpc("online", "{\"users\":[" + names + "]}");
  EXPECT_NE(most.find("\"u199\":{\"online\":false}"), std::string::npos) << most;
  EXPECT_EQ(ann->rpc("online", "{\"users\":[" + names + ",\"one more\"]}"), fixture::kBadRequest);
}

TEST_F(session_online_test, IsNotThereWithoutPersonalChannels) {
  config.has_personal_channel = false;
  begin();
  EXPECT_EQ(connect("ann")->rpc("online", R"({"users":["ann"]})"), fixture::kNotAvailable);
}

TEST_F(session_online_test, CanBeSwitchedOff) {
  config.has_online = false;
  begin();
  EXPECT_EQ(connect("ann")->rpc("online", R"({"users":["ann"]})"), fixture::kNotAvailable);
}

TEST_F(session_online_test, ALongListCostsMoreRate) {
  config.commands_per_s = 1;
  config.commands_burst = 15;
  config.channels_per_client_max = 8;
  begin();
  tab* ann = connect("ann");
  std::string names = "\"u0\"";
  for (int i = 1; i < 100; ++i) names += ",\"u" + std::to_string(i) + "\"";
  int answered = 0;
  while (ann->rpc("online", "{\"users\":[" + names + "]}").find("error") == std::string::npos)
    ++answered;
  EXPECT_EQ(answered, 2) << "six each, of fifteen less the connect";
}

}  // namespace
