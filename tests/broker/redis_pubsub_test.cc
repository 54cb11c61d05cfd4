// Subscriptions: batches, 100,000 of them, refusals, the server's own unsubscribes, and a slot that
// moves.
#include <gtest/gtest.h>
#include <poll.h>

#include "broker/redis_conn.h"
#include "redis_server.h"
#include "redis_user.h"

namespace broker {
namespace {

class redis_pubsub_test : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_REDIS();
    options.role = redis_role::subscriber;
  }
  core::loop_world w{1};
  redis_conn_options options;
};

std::vector<std::string> names(const std::string& prefix, size_t n) {
  std::vector<std::string> all;
  for (size_t i = 0; i < n; ++i) all.push_back(prefix + std::to_string(i));
  return all;
}

TEST_F(redis_pubsub_test, messages_reach_their_subscriber) {
  redis_server s;
  redis_user u(&w, s.url(), options);
  ASSERT_TRUE(u.wait_ready());
  u.subscribe(redis_sub::channel, {"a", "b", std::string("\0\r\n", 3)});
  u.wait("three", [](const redis_seen& r) { return r.subscribed == 3; });
  s.call({"PUBLISH", "a", "1"});
  s.call({"PUBLISH", "c", "never"});
  s.call({"PUBLISH", std::string("\0\r\n", 3), ""});
  s.call({"PUBLISH", "b", std::string(100'000, 'x')});
  u.wait("messages", [](const redis_seen& r) { return r.message_count == 3; });
  EXPECT_EQ(u.seen().messages[0], "a=1");
  EXPECT_EQ(u.seen().messages[1], std::string("\0\r\n=", 4));
  EXPECT_EQ(u.seen().messages[2], "b=" + std::string(100'000, 'x'));
  u.unsubscribe(redis_sub::channel, {"a", "unknown"});
  u.wait("two", [](const redis_seen& r) { return r.unsubscribed == 2; });
  s.call({"PUBLISH", "a", "2"});
  s.call({"PUBLISH", "b", "3"});
  u.wait("one more", [](const redis_seen& r) { return r.message_count == 4; });
  EXPECT_EQ(u.seen().messages[3], "b=3");
  EXPECT_EQ(u.call({"PING"}), "!invalid") << "a subscriber takes no commands";
}

TEST_F(redis_pubsub_test, shard_channels) {
  redis_server s;
  redis_user u(&w, s.url(), options);
  ASSERT_TRUE(u.wait_ready());
  u.subscribe(redis_sub::shard, {"{1}a", "{2}a", "{1}b"});
  u.wait("three", [](const redis_seen& r) { return r.subscribed == 3; });
  s.call({"SPUBLISH", "{2}a", "x"});
  u.wait("it", [](const redis_seen& r) { return r.message_count == 1; });
  EXPECT_EQ(u.seen().messages[0], "{2}a=x");
  u.unsubscribe(redis_sub::shard, {"{1}a", "{2}a", "{1}b"});
  u.wait("none", [](const redis_seen& r) { return r.unsubscribed == 3; });
  EXPECT_EQ(u.seen().unasked, 0u);
}

// 100 commands, few writes, paced by confirmations.
TEST_F(redis_pubsub_test, a_hundred_thousand_channels) {
  redis_server s;
  redis_user u(&w, s.url(), options);
  ASSERT_TRUE(u.wait_ready());
  const std::vector<std::string> all = names("some:channel:of:usual:length:", 100'000);
  uint64_t writes = 0;
  u.on_loop([&](redis_conn*) { writes = core::loop_counters(core::loop_current())->writes.get(); });
  u.subscribe(redis_sub::channel, all);
  u.wait("all", [](const redis_seen& r) { return r.subscribed == 100'000; });
  u.on_loop([&](redis_conn* c) {
    const uint64_t now = core::loop_counters(core::loop_current())->writes.get();
    RecordProperty("commands", static_cast<int>(redis_conn_counted(c).commands));
    RecordProperty("writes", static_cast<int>(now - writes));
    EXPECT_LE(redis_conn_counted(c).commands, 200u);
    EXPECT_LT(now - writes, 400u);
    EXPECT_EQ(redis_conn_pending(c), 0u);
  });
  EXPECT_GE(u.seen().rooms, 5);
  EXPECT_EQ(s.call({"PUBSUB", "NUMSUB", all.back()}), "[\"" + all.back() + "\" 1]");
  s.call({"CLIENT", "KILL", "TYPE", "pubsub"});
  u.wait("a new connection", [](const redis_seen& r) { return r.ready == 2; });
  u.subscribe(redis_sub::channel, all);
  u.wait("all again", [](const redis_seen& r) { return r.subscribed == 200'000; });
  u.unsubscribe(redis_sub::channel, all);
  u.wait("none", [](const redis_seen& r) { return r.unsubscribed == 100'000; });
}

TEST_F(redis_pubsub_test, takes_no_more_than_it_may) {
  redis_server s;
  redis_user u(&w, s.url(), options);
  ASSERT_TRUE(u.wait_ready());
  const std::vector<std::string> all = names("c", kRedisUnconfirmedChannelsMax + 1);
  const std::vector<std::string_view> views(all.begin(), all.end());
  u.on_loop([&](redis_conn* c) {
    EXPECT_EQ(redis_conn_subscribe(c, redis_sub::channel, views), kRedisUnconfirmedChannelsMax);
    EXPECT_EQ(redis_conn_subscribe(c, redis_sub::channel, views), 0u);
  });
  u.wait("room", [](const redis_seen& r) {
    return r.rooms == 1 && r.subscribed >= kRedisUnconfirmedChannelsMax / 2;
  });
  u.wait("all", [](const redis_seen& r) { return r.subscribed == kRedisUnconfirmedChannelsMax; });
  EXPECT_EQ(u.seen().rooms, 1);
}

TEST_F(redis_pubsub_test, pings_between_subscriptions) {
  stepped_world stepped;
  redis_server s;
  redis_user u(&stepped.w, s.url(), options);
  auto run = [&](uint64_t ms) { stepped.run(ms); };
  auto pings = [&] {
    const std::string text = s.call({"INFO", "commandstats"});
    return std::stoi(text.substr(text.find("cmdstat_ping:calls=") + 19));
  };
  run(100);
  ASSERT_TRUE(u.wait_ready());
  const int before = pings();
  run(1500);  // +PONG
  u.subscribe(redis_sub::channel, {"a"});
  u.wait("it", [](const redis_seen& r) { return r.subscribed == 1; });
  run(2500);  // [pong ""]
  s.call({"PUBLISH", "a", "1"});
  u.wait("it", [](const redis_seen& r) { return r.message_count == 1; });
  EXPECT_EQ(u.seen().downs, 0);
  EXPECT_GE(pings() - before, 2);
  EXPECT_LE(pings() - before, 4);
}

TEST_F(redis_pubsub_test, a_user_without_the_right_is_refused_channel_by_channel) {
  redis_server s(
      {"user u on >p +@all ~* resetchannels &open:*", "user default on nopass +@all ~* &*"});
  redis_user u(&w, "redis://u:p@127.0.0.1:" + std::to_string(s.port()), options);
  ASSERT_TRUE(u.wait_ready());
  u.subscribe(redis_sub::channel, {"open:1", "closed:1"});  // one command: refused as a whole
  u.wait("both", [](const redis_seen& r) { return r.refused == 2; });
  EXPECT_EQ(u.seen().refusal.substr(0, 6), "NOPERM");
  u.subscribe(redis_sub::channel, {"open:1"});
  u.wait("it", [](const redis_seen& r) { return r.subscribed == 1; });
  EXPECT_EQ(u.seen().downs, 0);
}

// Two nodes without replicas, slots by hand: MOVED, and the unasked sunsubscribe of a migration.
TEST_F(redis_pubsub_test, a_slot_that_moves) {
  const std::vector<std::string> conf = {"cluster-enabled yes", "cluster-node-timeout 2000"};
  redis_server a(conf), b(conf);
  a.call({"CLUSTER", "ADDSLOTSRANGE", "0", "16383"});
  a.call({"CLUSTER", "MEET", "127.0.0.1", std::to_string(b.port())});
  auto until = [](const std::function<bool()>& is_so) {
    for (int i = 0; i < 2000 && !is_so(); ++i) poll(nullptr, 0, 10);
    return is_so();
  };
  ASSERT_TRUE(until([&] {
    return b.call({"CLUSTER", "INFO"}).find("cluster_state:ok") != std::string::npos &&
           a.call({"CLUSTER", "INFO"}).find("cluster_state:ok") != std::string::npos;
  }));
  redis_user on_a(&w, a.url(), options), on_b(&w, b.url(), options);
  ASSERT_TRUE(on_a.wait_ready() && on_b.wait_ready());
  const std::string slot = "12182";  // of foo
  on_b.subscribe(redis_sub::shard, {"{foo}1", "{foo}2"});
  on_b.wait("refusal", [](const redis_seen& r) { return r.refused == 2; });
  EXPECT_EQ(on_b.seen().refusal, "MOVED 12182 127.0.0.1:" + std::to_string(a.port()));
  on_a.subscribe(redis_sub::shard, {"{foo}1", "{bar}", "{foo}2"});
  on_a.wait("three", [](const redis_seen& r) { return r.subscribed == 3; });

  auto id = [](redis_server* s) {
    const std::string text = s->call({"CLUSTER", "MYID"});
    return text.substr(1, text.size() - 2);
  };
  EXPECT_EQ(b.call({"CLUSTER", "SETSLOT", slot, "IMPORTING", id(&a)}), "+OK");
  EXPECT_EQ(a.call({"CLUSTER", "SETSLOT", slot, "MIGRATING", id(&b)}), "+OK");
  EXPECT_EQ(b.call({"CLUSTER", "SETSLOT", slot, "NODE", id(&b)}), "+OK");
  EXPECT_EQ(a.call({"CLUSTER", "SETSLOT", slot, "NODE", id(&b)}), "+OK");
  on_a.wait("the server's own", [](const redis_seen& r) { return r.unasked == 2; });
  EXPECT_EQ(on_a.seen().unsubscribed, 0u);
  on_b.subscribe(redis_sub::shard, {"{foo}1", "{foo}2"});
  on_b.wait("both", [](const redis_seen& r) { return r.subscribed == 2; });
  b.call({"SPUBLISH", "{foo}2", "there"});
  on_b.wait("it", [](const redis_seen& r) { return r.message_count == 1; });
  EXPECT_EQ(on_b.seen().messages[0], "{foo}2=there");
  EXPECT_EQ(on_a.seen().downs + on_b.seen().downs, 0);
}

// A confirmation belongs to the next channel of the oldest command, or to none.
TEST_F(redis_pubsub_test, confirmations_of_another_channel) {
  const std::string info =
      "redis_version:7\r\nredis_mode:standalone\r\nrun_id:r\r\nrole:master\r\n";
  scripted_server s([&](int fd) {
    std::string got, all = "$" + std::to_string(info.size()) + "\r\n" + info + "\r\n";
    char part[1024];
    for (ssize_t n = 1; n > 0; n = recv(fd, part, sizeof part, 0)) {
      got.append(part, got.empty() ? 0 : static_cast<size_t>(n));
      if (got.empty()) got = "begun";
      if (got.find("SUBSCRIBE") != got.npos && all.empty()) {
        got = "begun";
        all =
            "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:"
            "1\r\n"
            "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
      }
      if (send(fd, all.data(), all.size(), MSG_NOSIGNAL) < 0) return;
      all.clear();
    }
  });
  redis_user u(&w, "redis://" + redis_endpoint_text(s.at()), options);
  ASSERT_TRUE(u.wait_ready());
  u.subscribe(redis_sub::channel, {"a", "b"});
  EXPECT_EQ(u.wait_down(), "a reply that no subscription has: this is not Redis");
  EXPECT_EQ(u.seen().subscribed, 1u);
  EXPECT_EQ(u.seen().unasked, 1u);
}

// What only a wrong server sends.
TEST_F(redis_pubsub_test, confirmations_of_nothing) {
  const std::string info =
      "redis_version:7\r\nredis_mode:standalone\r\nrun_id:r\r\nrole:master\r\n";
  const std::string login = "$" + std::to_string(info.size()) + "\r\n" + info + "\r\n";
  const std::pair<std::string, const char*> table[] = {
      {"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n", "no subscription has"},
      {"*3\r\n$8\r\npmessage\r\n$1\r\nx\r\n$1\r\ny\r\n", "no subscription has"},
      {"*3\r\n$7\r\nmessage\r\n:1\r\n:1\r\n", "no subscription has"},
      {"*2\r\n$4\r\npong\r\n$0\r\n\r\n", "no subscription has"},
      {"+PONG\r\n", "no subscription has"},
      {"-ERR x\r\n", "no subscription has"},
      {"$-1\r\n", "no subscription has"},
      {"*0\r\n", "no subscription has"},
      {"*-1\r\n", "no subscription has"},
      {":1\r\n", "no subscription has"},
  };
  for (const auto& [bytes, part] : table) {
    scripted_server s([&](int fd) {
      const std::string all = login + bytes;
      EXPECT_EQ(send(fd, all.data(), all.size(), MSG_NOSIGNAL), static_cast<ssize_t>(all.size()));
      char sink[1024];
      while (recv(fd, sink, sizeof sink, 0) > 0) {
      }
    });
    redis_user u(&w, "redis://" + redis_endpoint_text(s.at()), options);
    EXPECT_NE(u.wait_down().find(part), std::string::npos) << bytes << u.seen().why;
    EXPECT_EQ(u.seen().message_count, 0u);
  }
}

}  // namespace
}  // namespace broker
