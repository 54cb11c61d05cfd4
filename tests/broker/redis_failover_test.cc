// A broker behind Sentinels: the master dies, is demoted, or is followed by a replica that lacks
// what was acknowledged.
#include <map>
#include <set>

#include "broker/redis_script.h"
#include "tests/broker/redis_node.h"
#include "tests/broker/redis_server.h"

namespace broker_test {
namespace {

using broker::redis_server;

class redis_failover_test : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_REDIS();
    const std::vector<std::string> kept = {"appendonly yes", "repl-diskless-sync-delay 0"};
    first_ = std::make_unique<redis_server>(kept);
    std::vector<std::string> follows = kept;
    follows.push_back("replicaof 127.0.0.1 " + std::to_string(first_->port()));
    second_ = std::make_unique<redis_server>(follows);
    ASSERT_TRUE(test_node::within(20'000, [&] { return is_in_step(); }));
    std::string url = "redis-sentinel://";
    for (int i = 0; i < 3; ++i) {
      sentinels_.push_back(std::make_unique<redis_server>(
          std::vector<std::string>{
              "sentinel monitor shop 127.0.0.1 " + std::to_string(first_->port()) + " 2",
              "sentinel down-after-milliseconds shop 500", "sentinel failover-timeout shop 4000"},
          true));
      url += (i > 0 ? "," : "") + broker::redis_endpoint_text(sentinels_.back()->tcp());
    }
    std::string why;
    ASSERT_EQ(broker::redis_url_parse(url + "/shop", &url_, &why), core::err::ok) << why;
    // They know the replica and each other.
    for (const auto& s : sentinels_)
      ASSERT_TRUE(test_node::within(20'000, [&] {
        return is_told(s.get(), "replicas", second_->port()) &&
               is_told(s.get(), "sentinels",
                       (s == sentinels_[0] ? sentinels_[1] : sentinels_[0])->port());
      }));
    a_ = std::make_unique<test_node>(loops_.at(0), &url_, "aaaaaaaa-node");
    b_ = std::make_unique<test_node>(loops_.at(1), &url_, "bbbbbbbb-node");
    ASSERT_TRUE(a_->becomes_ready() && b_->becomes_ready()) << a_->why();
  }
  void TearDown() override {
    if (a_ != nullptr) a_->close();
    if (b_ != nullptr) b_->close();
    loops_.stop();
  }
  bool is_in_step() { return first_->call({"WAIT", "1", "100"}) == "1"; }
  static bool is_told(redis_server* s, const char* what, uint16_t port) {
    return s->call({"SENTINEL", what, "shop"}).find("\"" + std::to_string(port) + "\"") !=
           std::string::npos;
  }
  // Of what both nodes were told.
  void expect_no_offset_twice(const std::string& channel) {
    for (test_node* n : {a_.get(), b_.get()}) {
      std::map<uint64_t, std::string> said;
      const std::lock_guard<std::mutex> held(n->said.lock);
      for (const log_entry& e : n->said.entries) {
        if (e.channel != channel || e.what != "event") continue;
        const auto [at, is_new] = said.emplace(e.pub.offset, e.pub.data);
        EXPECT_TRUE(is_new) << e.pub.offset << ": " << at->second << " and " << e.pub.data;
      }
    }
  }

  loops loops_{2};
  broker::redis_url url_;
  std::unique_ptr<redis_server> first_, second_;
  std::vector<std::unique_ptr<redis_server>> sentinels_;
  std::unique_ptr<test_node> a_, b_;
};

TEST_F(redis_failover_test, follows_the_master_and_begins_a_new_epoch) {
  const store::position before = a_->subscribe("room");
  b_->subscribe("room");
  a_->enter("room", "c1", "alice");
  const auto last = a_->publish(message("room", "old"));
  b_->said.wait("event", 1);
  ASSERT_TRUE(is_in_step());
  first_->kill();
  ASSERT_TRUE(test_node::within(5000, [&] { return !a_->is_ready() && !b_->is_ready(); }));
  EXPECT_TRUE(test_node::within(3000, [&] {  // the other connection may notice first
    return a_->publish(message("room", "refused")).rc == core::err::unavailable;
  }));
  a_->said.wait("lost", 1, "room");
  b_->said.wait("lost", 1, "room");
  ASSERT_TRUE(test_node::within(20'000, [&] { return a_->is_ready() && b_->is_ready(); }));
  const store::position after = a_->subscribe("room");
  EXPECT_NE(after.epoch, before.epoch);
  EXPECT_GT(after.offset, last.offset);
  EXPECT_EQ(b_->subscribe("room").epoch, after.epoch);
  const auto next = a_->publish(message("room", "new"));
  EXPECT_EQ(next.offset, after.offset + 1);
  const auto all = b_->history(store_test::page("room", 0, 100));
  ASSERT_EQ(all.pubs.size(), 2u) << "the replica had it";
  EXPECT_EQ(all.pubs[0].offset, last.offset);
  EXPECT_TRUE(test_node::within(5000, [&] { return b_->present("room") == "c1/alice "; }))
      << b_->present("room");
  expect_no_offset_twice("room");
}

// The old master comes back as a replica: nothing is written to it.
TEST_F(redis_failover_test, follows_there_and_back) {
  a_->subscribe("room");
  std::set<uint64_t> given = {a_->publish(message("room", "1")).offset};
  for (redis_server* next : {second_.get(), first_.get()}) {
    const size_t lost = a_->said.count("lost", "room");
    ASSERT_TRUE(test_node::within(30'000, [&] {
      return sentinels_[0]->call({"SENTINEL", "FAILOVER", "shop"}) == "+OK";
    }));
    ASSERT_TRUE(test_node::within(30'000, [&] {
      return next->call({"ROLE"}).starts_with("[\"master\"") &&
             a_->said.count("lost", "room") > lost && a_->is_ready() && b_->is_ready();
    })) << a_->why();
    a_->subscribe("room");
    for (test_node* n : {a_.get(), b_.get()}) {
      const auto r = n->publish(message("room", "x"));
      ASSERT_EQ(r.rc, core::err::ok);
      EXPECT_TRUE(given.insert(r.offset).second) << r.offset;
    }
    EXPECT_EQ(
        next->call({"EXISTS", broker::redis_key(
                                  "parley", std::to_string(broker::redis_partition("room", 128)),
                                  's', "room")}),
        "1");
    redis_server* other = next == first_.get() ? second_.get() : first_.get();
    other->call({"REPLICAOF", "127.0.0.1", std::to_string(next->port())});  // as Sentinel will
    ASSERT_TRUE(test_node::within(30'000, [&] { return next->call({"WAIT", "1", "100"}) == "1"; }));
  }
  expect_no_offset_twice("room");
}

// What was acknowledged is not on the replica when it is promoted.
TEST_F(redis_failover_test, gives_no_offset_twice_when_the_replica_lags) {
  const store::position before = a_->subscribe("room");
  b_->subscribe("room");
  for (int i = 0; i < 5; ++i) a_->publish(message("room", "\"kept " + std::to_string(i) + "\""));
  ASSERT_TRUE(is_in_step());
  // The replica is cut off and cannot log in again; everybody else is.
  first_->call({"CONFIG", "SET", "requirepass", "now"});
  first_->login = {"AUTH", "now"};
  first_->call({"CLIENT", "KILL", "TYPE", "replica"});
  uint64_t last = 0;
  for (int i = 0; i < 40; ++i) {
    const auto r = a_->publish(message("room", "\"gone " + std::to_string(i) + "\""));
    ASSERT_EQ(r.rc, core::err::ok);
    last = r.offset;
  }
  const uint64_t new_channel = a_->publish(message("unknown there", "\"gone\"")).offset;
  b_->said.wait("event", 45, "room");
  first_->kill();
  a_->said.wait("lost", 1, "room");
  b_->said.wait("lost", 1, "room");
  ASSERT_TRUE(test_node::within(20'000, [&] { return a_->is_ready() && b_->is_ready(); }));
  EXPECT_EQ(a_->history(store_test::page("room", 0, 100)).pubs.size(), 5u) << "it did lag";
  const store::position after = a_->subscribe("room");
  EXPECT_NE(after.epoch, before.epoch);
  EXPECT_GT(after.offset, last);
  b_->subscribe("room");
  for (int i = 0; i < 60; ++i) {
    const auto r = b_->publish(message("room", "\"new " + std::to_string(i) + "\""));
    ASSERT_EQ(r.rc, core::err::ok);
    ASSERT_GT(r.offset, last);
  }
  EXPECT_GT(b_->publish(message("unknown there", "\"new\"")).offset, new_channel);
  a_->said.wait("event", 105, "room");
  expect_no_offset_twice("room");
  EXPECT_EQ(a_->said.count("lost", "room"), 1u);
}

// A server that was a replica for a moment, under a connection that did not notice: its replication
// id is not what the handshake told.
TEST(redis_generation_test, asks_a_server_anew_that_was_a_replica_meanwhile) {
  SKIP_WITHOUT_REDIS();
  redis_server other({"repl-diskless-sync-delay 0"}), s;
  broker::redis_url url;
  std::string why;
  ASSERT_EQ(broker::redis_url_parse(s.url(), &url, &why), core::err::ok) << why;
  loops all(2);
  test_node a(all.at(0), &url, "aaaaaaaa-node", 60'000);  // writes nothing meanwhile
  ASSERT_TRUE(a.becomes_ready());
  a.subscribe("room");
  const auto first = a.publish(message("room", "1"));
  other.call({"SET", "mark", "1"});
  s.call({"REPLICAOF", "127.0.0.1", std::to_string(other.port())});
  ASSERT_TRUE(test_node::within(10'000, [&] { return s.call({"EXISTS", "mark"}) == "1"; }));
  s.call({"REPLICAOF", "NO", "ONE"});
  s.call({"CLIENT", "KILL", "TYPE", "pubsub"});  // so that the channel is looked at
  test_node b(all.at(1), &url, "bbbbbbbb-node");
  // Both agree on one new epoch and stay with it.
  ASSERT_TRUE(test_node::within(10'000, [&] {
    const auto r = a.publish(message("room", "x"));
    return r.rc == core::err::ok && r.epoch != first.epoch;
  }));
  ASSERT_TRUE(a.becomes_ready() && b.becomes_ready());
  ASSERT_TRUE(test_node::within(
      10'000, [&] { return b.publish(message("room", "x")).rc == core::err::ok; }));
  std::set<std::string> epochs;
  for (int i = 0; i < 10; ++i) {
    for (test_node* n : {&a, &b}) {
      const auto r = n->publish(message("room", "x"));
      EXPECT_EQ(r.rc, core::err::ok);
      epochs.insert(r.epoch);
    }
  }
  EXPECT_EQ(epochs.size(), 1u);
  a.close();
  b.close();
  all.stop();
}

}  // namespace
}  // namespace broker_test
