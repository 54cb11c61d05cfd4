// A broker over a Redis Cluster: slots move under load, to an old server and to a new one, and
// primaries die.
#include <atomic>
#include <map>
#include <set>

#include "broker/redis_script.h"
#include "broker/redis_slots.h"
#include "tests/broker/redis_cluster_world.h"
#include "tests/broker/redis_node.h"

namespace broker_test {
namespace {

using broker::redis_cluster_world;
using broker::redis_server;

constexpr uint32_t kPartitions = 128;
constexpr int kBursts = 20, kBurst = 10;

uint16_t slot_of(const std::string& channel) {
  static const std::vector<std::string> tags = broker::redis_partition_tags(kPartitions);
  return broker::redis_slot(tags[broker::redis_partition(channel, kPartitions)]);
}

class redis_cluster_test : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_REDIS(); }
  void open(bool has_replicas) {
    world_ = std::make_unique<redis_cluster_world>(3, has_replicas);
    std::string why;
    ASSERT_EQ(broker::redis_url_parse(world_->url(), &url_, &why), core::err::ok) << why;
    a_ = std::make_unique<test_node>(loops_.at(0), &url_, "aaaaaaaa-node");
    b_ = std::make_unique<test_node>(loops_.at(1), &url_, "bbbbbbbb-node");
    ASSERT_TRUE(a_->becomes_ready() && b_->becomes_ready()) << a_->why();
  }
  void TearDown() override {
    if (a_ != nullptr) a_->close();
    if (b_ != nullptr) b_->close();
    loops_.stop();
  }
  // A channel that the server has, the n-th one.
  std::string channel_at(redis_server* s, int n) {
    for (int i = 0;; ++i) {
      std::string name = "room" + std::to_string(i);
      if (world_->owner(slot_of(name)) == s && n-- == 0) return name;
    }
  }
  bool both_ready() { return a_->is_ready() && b_->is_ready(); }
  // Peers are noted: a slot that moves now keeps its epoch.
  void wait_for_peers() {
    const auto tags = broker::redis_partition_tags(kPartitions);
    for (const std::string& tag : tags)
      ASSERT_TRUE(test_node::within(10'000, [&] {
        redis_server* s = world_->owner(broker::redis_slot(tag));
        const std::string all = s->call({"HKEYS", broker::redis_key("parley", tag, 'g')});
        size_t peers = 0;
        for (size_t at = all.find("peer:"); at != std::string::npos; at = all.find("peer:", at + 1))
          ++peers;
        return peers >= world_->primaries();
      })) << tag;
  }
  struct heard {
    std::vector<uint64_t> offsets;
    std::vector<std::string> data;
  };
  static heard what(test_node* n, const std::string& channel) {
    heard out;
    const std::lock_guard<std::mutex> held(n->said.lock);
    for (const log_entry& e : n->said.entries) {
      if (e.what != "event" || e.channel != channel) continue;
      out.offsets.push_back(e.pub.offset);
      out.data.push_back(e.pub.data);
    }
    return out;
  }

  loops loops_{2};
  broker::redis_url url_;
  std::unique_ptr<redis_cluster_world> world_;
  std::unique_ptr<test_node> a_, b_;
};

// Publishes to its channels in turn until it is told to end: each message with a key, and again
// until it is acknowledged.
class publisher {
 public:
  publisher(test_node* at, std::string name, std::vector<std::string> channels)
      : at_(at), name_(std::move(name)), channels_(std::move(channels)) {
    thread_ = std::thread([this] { run(); });
  }
  ~publisher() { end(); }
  void end() {
    is_ending_ = true;
    if (thread_.joinable()) thread_.join();
  }
  size_t sent() const { return sent_; }
  std::map<std::string, std::vector<std::string>> acknowledged;  // by channel, in their order
  size_t retries = 0;

 private:
  void run() {
    for (size_t i = 0; !is_ending_; ++i) {
      broker::publish_request m =
          message(channels_[i % channels_.size()], "\"" + name_ + " " + std::to_string(i) + "\"");
      m.key_scope = name_ + std::to_string(i);
      m.key_hash = std::string(32, 'h');
      m.key_ttl_ms = 600'000;
      while (at_->publish(m).rc != core::err::ok) {
        ++retries;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      acknowledged[m.channel].push_back(m.data);
      ++sent_;
    }
  }
  test_node* const at_;
  const std::string name_;
  const std::vector<std::string> channels_;
  std::atomic<bool> is_ending_{false};
  std::atomic<size_t> sent_{0};
  std::thread thread_;
};

TEST_F(redis_cluster_test, one_subscriber_connection_for_each_server_and_loop) {
  open(false);
  for (int i = 0; i < 50; ++i) a_->subscribe("room" + std::to_string(i));
  for (size_t i = 0; i < 3; ++i) {
    const std::string all = world_->primary(i)->call({"CLIENT", "LIST", "TYPE", "pubsub"});
    size_t mine = 0;
    for (size_t at = all.find("name=parley-aaaaaaaa"); at != std::string::npos;
         at = all.find("name=parley-aaaaaaaa", at + 1))
      ++mine;
    EXPECT_EQ(mine, 1u) << all;
  }
}

// Slots with subscribed channels move on and on while both nodes publish to them: nothing is lost,
// doubled or reordered, and the epoch stays.
TEST_F(redis_cluster_test, slots_move_under_load) {
  open(false);
  std::vector<std::string> channels;
  for (int i = 0; i < 6; ++i) channels.push_back(channel_at(world_->primary(0), i));
  std::map<std::string, store::position> began;
  for (const std::string& c : channels) {
    began[c] = a_->subscribe(c);
    b_->subscribe(c);
  }
  b_->subscribe("live", false);
  wait_for_peers();
  publisher one(a_.get(), "one", channels), two(b_.get(), "two", channels);
  ASSERT_TRUE(test_node::within(10'000, [&] { return one.sent() > 50 && two.sent() > 50; }));
  std::set<uint16_t> slots;
  for (const std::string& c : channels) slots.insert(slot_of(c));
  for (size_t round = 0; round < 3; ++round) {
    redis_server* from = world_->primary(round % 3);
    redis_server* to = world_->primary((round + 1) % 3);
    for (const uint16_t slot : slots) world_->move(slot, from, to);
    const size_t before = one.sent();
    ASSERT_TRUE(test_node::within(20'000, [&] { return one.sent() > before + 20; }));
  }
  one.end();
  two.end();
  ASSERT_TRUE(test_node::within(10'000, [&] { return both_ready(); })) << a_->why();
  for (const std::string& c : channels) {
    EXPECT_EQ(a_->publish(message(c, "\"end\"")).epoch, began[c].epoch);
    for (test_node* n : {a_.get(), b_.get()}) {
      ASSERT_TRUE(test_node::within(10'000, [&] {
        const heard h = what(n, c);
        return !h.data.empty() && h.data.back() == "\"end\"";
      }));
      const heard h = what(n, c);
      for (size_t i = 0; i < h.offsets.size(); ++i)
        ASSERT_EQ(h.offsets[i], began[c].offset + 1 + i) << c;
      for (publisher* p : {&one, &two}) {
        std::vector<std::string> of_it;
        for (const std::string& d : h.data)
          if (d.starts_with(p == &one ? "\"one" : "\"two")) of_it.push_back(d);
        EXPECT_EQ(of_it, p->acknowledged[c]) << c;
      }
    }
  }
  EXPECT_EQ(a_->said.count("lost") + b_->said.count("lost"), 0u);
  EXPECT_GT(core::loop_counters(loops_.at(0))->broker_redirections.get(), 0u);
}

// One that joins, gets slots, and that is emptied and goes.
TEST_F(redis_cluster_test, slots_move_to_a_new_server) {
  open(false);
  const std::string room = channel_at(world_->primary(1), 0);
  const store::position began = a_->subscribe(room);
  b_->subscribe(room);
  b_->subscribe("live", false);
  a_->enter(room, "c1", "alice");
  b_->enter(room, "c2", "bob");
  const auto first = a_->publish(message(room, "1"));
  redis_server* fresh = world_->add_primary();
  wait_for_peers();
  const auto tags = broker::redis_partition_tags(kPartitions);
  for (const std::string& tag : tags) {  // all that primary 1 has
    const uint16_t slot = broker::redis_slot(tag);
    if (world_->owner(slot) == world_->primary(1)) world_->move(slot, world_->primary(1), fresh);
  }
  const auto second = b_->publish(message(room, "2"));
  ASSERT_EQ(second.rc, core::err::ok);
  EXPECT_EQ(second.offset, first.offset + 1);
  EXPECT_EQ(second.epoch, began.epoch);
  ASSERT_TRUE(test_node::within(10'000, [&] {
    return a_->offsets(room).size() == 2 && b_->offsets(room).size() == 2 && both_ready();
  }));
  EXPECT_EQ(a_->said.count("lost") + b_->said.count("lost"), 0u);
  EXPECT_EQ(a_->history(store_test::page(room, 0, 10)).pubs.size(), 2u);
  EXPECT_TRUE(test_node::within(5000, [&] { return a_->present(room) == "c1/alice c2/bob "; }))
      << a_->present(room);
  EXPECT_EQ(
      fresh->call({"SPUBLISH",
                   "parley:{" + tags[broker::redis_partition(room, kPartitions)] + "}:c:" + room,
                   "x"}),
      "2")
      << "both nodes hear there";
}

// Between the first key and the last: what is known already can be asked, what is new waits and is
// refused in the end, and nothing is done twice.
TEST_F(redis_cluster_test, a_slot_that_has_half_moved) {
  open(false);
  redis_server* from = world_->primary(0);
  redis_server* to = world_->primary(1);
  const std::string room = channel_at(from, 0);
  const uint16_t slot = slot_of(room);
  const store::position began = a_->subscribe(room);
  const auto first = a_->publish(message(room, "1"));
  wait_for_peers();
  world_->begin_move(slot, from, to);
  while (world_->move_keys(slot, from, to) > 0) {
  }
  // ASK: generation and meta have moved.
  EXPECT_EQ(b_->subscribe(room).offset, first.offset);
  // TRYAGAIN: a publish names keys that are not there yet.
  const auto refused = b_->publish(message(room, "2"));
  EXPECT_EQ(refused.rc, core::err::unavailable);
  // Some at once, some while those are on their way between the servers.
  pending<broker::publish_result> later[kBursts * kBurst];
  std::vector<std::string> sent;
  for (int burst = 0; burst < kBursts; ++burst) {
    a_->run([&] {
      for (int i = 0; i < kBurst; ++i) {
        auto* answer = &later[burst * kBurst + i];
        answer->home = a_->home();
        sent.push_back("\"" + std::to_string(sent.size()) + "\"");
        broker::publish_request m = message(room, sent.back());
        if (i % 2 == 0) {
          m.key_scope = sent.back();
          m.key_hash = std::string(32, 'h');
          m.key_ttl_ms = 60'000;
        }
        EXPECT_EQ(
            a_->bus()->publish(std::move(m), pending<broker::publish_result>::answered, answer),
            core::err::ok);
      }
    });
    if (burst == kBursts / 2) world_->end_move(slot, from, to);
  }
  for (size_t i = 0; i < sent.size(); ++i) {
    const auto r = later[i].wait();
    ASSERT_EQ(r.rc, core::err::ok);
    EXPECT_EQ(r.offset, first.offset + 1 + i);
    EXPECT_EQ(r.epoch, began.epoch);
  }
  for (test_node* n : {a_.get(), b_.get()}) {
    ASSERT_TRUE(test_node::within(
        10'000, [&] { return what(n, room).data.size() >= sent.size() && n->is_ready(); }));
    std::vector<std::string> told = what(n, room).data;
    if (n == a_.get()) told.erase(told.begin());  // the first one
    EXPECT_EQ(told, sent);
  }
  EXPECT_EQ(a_->said.count("lost") + b_->said.count("lost"), 0u);
}

// The last message comes between the old subscription's end and the new one, and none comes behind
// it: only the audit finds it.
TEST_F(redis_cluster_test, what_is_said_while_a_slot_moves_is_heard) {
  open(false);
  const std::string room = channel_at(world_->primary(0), 0);
  const uint16_t slot = slot_of(room);
  b_->subscribe(room);
  wait_for_peers();
  for (size_t round = 0; round < 6; ++round) {
    redis_server* from = world_->owner(slot);
    redis_server* to = world_->primary(from == world_->primary(1) ? 2 : 1);
    uint64_t last = 0;
    {
      store_test::blocked_loop deaf(b_->home());
      world_->move(slot, from, to);
      const auto r = a_->publish(message(room, "x"));
      ASSERT_EQ(r.rc, core::err::ok);
      last = r.offset;
    }
    ASSERT_TRUE(test_node::within(5000,
                                  [&] {
                                    const auto told = b_->offsets(room);
                                    return !told.empty() && told.back() == last && b_->is_ready();
                                  }))
        << round << " " << b_->why() << " has " << b_->offsets(room).size() << " lost "
        << b_->said.count("lost") << " last " << last << " heard " << b_->offsets(room).back();
  }
  EXPECT_EQ(b_->offsets(room).size(), 6u);
  EXPECT_EQ(b_->said.count("lost"), 0u);
}

TEST_F(redis_cluster_test, control_follows_its_slot) {
  open(false);
  struct taker {
    static void take(void* user, std::string_view bytes) noexcept {
      static_cast<journal*>(user)->add({.what = "control", .channel = std::string(bytes)});
    }
  };
  broker::broker_events events = kJournalEvents;
  events.on_control = taker::take;
  journal said;
  std::unique_ptr<broker::broker> c;
  broker::redis_options o;
  o.url = &url_;
  o.node = "cccccccc-node";
  a_->run([&] { c.reset(broker::open_redis(o, loops_.at(0), &events, &said)); });
  const auto hears = [&](const std::string& text) {
    return test_node::within(10'000, [&] {
      b_->run([&] { (void)b_->bus()->control(text); });
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      return said.count("control", text) > 0;
    });
  };
  EXPECT_TRUE(hears("first"));
  const uint16_t slot = broker::redis_slot(broker::redis_partition_tags(kPartitions)[0]);
  world_->move(slot, world_->owner(slot), world_->primary(2));
  EXPECT_TRUE(hears("second"));
  a_->run([&] { c->close(); });
}

// The primary of some channels dies with what its replica never got.
TEST_F(redis_cluster_test, a_primary_dies_and_its_replica_lags) {
  open(true);
  redis_server* dies = world_->primary(0);
  const std::string room = channel_at(dies, 0), other = channel_at(world_->primary(1), 0);
  const store::position before = a_->subscribe(room);
  b_->subscribe(room);
  a_->subscribe(other);
  a_->enter(room, "c1", "alice");
  for (int i = 0; i < 5; ++i) a_->publish(message(room, "\"kept " + std::to_string(i) + "\""));
  ASSERT_EQ(dies->call({"WAIT", "1", "5000"}), "1");
  dies->call({"CONFIG", "SET", "requirepass", "now"});
  dies->login = {"AUTH", "now"};
  dies->call({"CLIENT", "KILL", "TYPE", "replica"});
  uint64_t last = 0;
  for (int i = 0; i < 40; ++i) {
    const auto r = a_->publish(message(room, "\"gone " + std::to_string(i) + "\""));
    ASSERT_EQ(r.rc, core::err::ok);
    last = r.offset;
  }
  b_->said.wait("event", 45, room);
  dies->kill();
  // The others go on.
  const auto elsewhere = a_->publish(message(other, "x"));
  EXPECT_EQ(elsewhere.rc, core::err::ok);
  ASSERT_TRUE(test_node::within(5000, [&] { return !a_->is_ready() && !b_->is_ready(); }));
  EXPECT_NE(a_->publish(message(room, "\"refused\"")).rc, core::err::ok);
  ASSERT_TRUE(test_node::within(30'000, [&] {
    return a_->said.count("lost", room) == 1 && b_->said.count("lost", room) == 1 && both_ready();
  })) << a_->why();
  EXPECT_EQ(a_->history(store_test::page(room, 0, 100)).pubs.size(), 5u) << "it did lag";
  const store::position after = a_->subscribe(room);
  EXPECT_NE(after.epoch, before.epoch);
  EXPECT_GT(after.offset, last);
  b_->subscribe(room);
  for (int i = 0; i < 60; ++i) {
    const auto r = b_->publish(message(room, "\"new " + std::to_string(i) + "\""));
    ASSERT_EQ(r.rc, core::err::ok);
    ASSERT_GT(r.offset, last);
  }
  a_->said.wait("event", 105, room);
  for (test_node* n : {a_.get(), b_.get()}) {
    const heard h = what(n, room);
    EXPECT_EQ(std::set<uint64_t>(h.offsets.begin(), h.offsets.end()).size(), h.offsets.size());
  }
  EXPECT_EQ(a_->said.count("lost", other), 0u);
  EXPECT_TRUE(test_node::within(5000, [&] { return b_->present(room) == "c1/alice "; }))
      << b_->present(room);
  // It comes back as a replica, and is asked for nothing.
  dies->login.clear();
  dies->start();
  EXPECT_TRUE(
      test_node::within(20'000, [&] { return dies->call({"ROLE"}).starts_with("[\"slave\""); }));
  EXPECT_EQ(a_->publish(message(room, "x")).rc, core::err::ok);
  EXPECT_EQ(a_->said.count("lost", room), 1u);
}

// CLUSTER FAILOVER: a planned change of roles, under load; and back.
TEST_F(redis_cluster_test, roles_change_there_and_back_under_load) {
  open(true);
  redis_server* first = world_->primary(0);
  redis_server* second = world_->replica(0);
  const std::string room = channel_at(first, 0);
  a_->subscribe(room);
  b_->subscribe(room);
  publisher one(a_.get(), "one", {room});
  std::map<uint64_t, std::string> given;
  for (redis_server* next : {second, first}) {
    const size_t lost = b_->said.count("lost", room);
    const size_t before = one.sent();
    ASSERT_TRUE(test_node::within(10'000, [&] { return one.sent() > before + 20; }));
    // The others vote once in a while only.
    ASSERT_TRUE(test_node::within(30'000, [&] {
      next->call({"CLUSTER", "FAILOVER"});
      return test_node::within(1000,
                               [&] { return next->call({"ROLE"}).starts_with("[\"master\""); });
    }));
    ASSERT_TRUE(test_node::within(20'000, [&] {
      return b_->said.count("lost", room) > lost && both_ready();
    })) << b_->why();
    a_->subscribe(room);
    b_->subscribe(room);
    redis_server* other = next == first ? second : first;
    ASSERT_TRUE(test_node::within(
        20'000, [&] { return other->call({"ROLE"}).find("connected") != std::string::npos; }));
  }
  one.end();
  ASSERT_TRUE(test_node::within(10'000, [&] { return both_ready(); }));
  for (test_node* n : {a_.get(), b_.get()}) {
    const heard h = what(n, room);
    for (size_t i = 0; i < h.offsets.size(); ++i) {
      const auto [at, is_new] = given.emplace(h.offsets[i], h.data[i]);
      EXPECT_EQ(at->second, h.data[i]) << h.offsets[i];
    }
    EXPECT_TRUE(std::is_sorted(h.offsets.begin(), h.offsets.end()));
  }
  // A planned failover loses nothing that was acknowledged.
  const auto all = a_->history(store_test::page(room, 0, 100'000));
  std::vector<std::string> kept;
  for (const auto& p : all.pubs) kept.push_back(p.data);
  EXPECT_EQ(kept, one.acknowledged[room]);
}

// A seed that is away, and one that is a replica.
TEST_F(redis_cluster_test, any_node_tells_of_the_others) {
  open(true);
  broker::redis_url url;
  std::string why;
  ASSERT_EQ(
      broker::redis_url_parse("redis-cluster://127.0.0.1:" + std::to_string(broker::free_port()) +
                                  "," + broker::redis_endpoint_text(world_->replica(1)->tcp()),
                              &url, &why),
      core::err::ok);
  test_node n(loops_.at(1), &url, "cccccccc-node");
  EXPECT_TRUE(n.becomes_ready()) << n.why();
  a_->subscribe("room");
  EXPECT_EQ(n.publish(message("room", "x")).rc, core::err::ok);
  a_->said.wait("event", 1, "room");
  world_->replica(1)->kill();  // the others are known now
  const uint16_t slot = slot_of("room");
  redis_server* from = world_->owner(slot);
  world_->move(slot, from, world_->primary(from == world_->primary(2) ? 1 : 2));
  EXPECT_TRUE(test_node::within(
      10'000, [&] { return n.publish(message("room", "x")).rc == core::err::ok && n.is_ready(); }));
  n.close();
}

// Keys of another number of partitions: nothing is written, on no server.
TEST_F(redis_cluster_test, refuses_a_cluster_that_is_laid_out_otherwise) {
  open(false);
  const std::string tag = broker::redis_partition_tags(kPartitions)[0];
  redis_server* first = world_->owner(broker::redis_slot(tag));
  EXPECT_EQ(first->call({"GET", "parley:{" + tag + "}:layout"}), "\"1 128 cluster\"");
  first->call({"SET", "parley:{" + tag + "}:layout", "1 64 cluster"});
  test_node n(loops_.at(1), &url_, "cccccccc-node");
  ASSERT_TRUE(test_node::within(10'000, [&] {
    return n.why().find("laid out as \"1 64 cluster\"") != std::string::npos;
  })) << n.why();
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(n.publish(message("room" + std::to_string(i), "x")).rc, core::err::unavailable);
  first->call({"SET", "parley:{" + tag + "}:layout", "1 128 cluster"});
  EXPECT_TRUE(n.becomes_ready()) << n.why();
  n.close();
}

TEST_F(redis_cluster_test, repairs_what_killed_subscriptions_lose) {
  open(false);
  std::map<std::string, uint64_t> began;
  for (size_t i = 0; i < 3; ++i) {
    const std::string room = channel_at(world_->primary(i), 0);
    began[room] = b_->subscribe(room).offset;
  }
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < 3; ++i) world_->primary(i)->call({"CLIENT", "KILL", "TYPE", "pubsub"});
    for (int n = 0; n < 20; ++n)
      for (const auto& [room, at] : began)
        EXPECT_EQ(a_->publish(message(room, "x")).rc, core::err::ok);
    for (const auto& [room, at] : began)
      ASSERT_TRUE(test_node::within(
          10'000, [&] { return b_->offsets(room).size() == 20u * (round + 1) && b_->is_ready(); }));
  }
  for (const auto& [room, at] : began) {
    const auto offsets = b_->offsets(room);
    for (size_t i = 0; i < offsets.size(); ++i) ASSERT_EQ(offsets[i], at + 1 + i);
  }
  EXPECT_EQ(b_->said.count("lost"), 0u);
}

TEST_F(redis_cluster_test, says_why_it_is_not_ready) {
  redis_server single;
  broker::redis_url url;
  std::string why;
  ASSERT_EQ(broker::redis_url_parse("redis-cluster://" + broker::redis_endpoint_text(single.tcp()),
                                    &url, &why),
            core::err::ok);
  test_node n(loops_.at(0), &url, "aaaaaaaa-node");
  EXPECT_TRUE(test_node::within(5000, [&] {
    return n.why().find("cluster support disabled") != std::string::npos;
  })) << n.why();
  EXPECT_EQ(n.publish(message("room", "x")).rc, core::err::unavailable);
  n.close();
  redis_server alone({"cluster-enabled yes"});
  broker::redis_url plain;
  ASSERT_EQ(broker::redis_url_parse(alone.url(), &plain, &why), core::err::ok);
  test_node m(loops_.at(0), &plain, "aaaaaaaa-node");
  EXPECT_TRUE(test_node::within(5000, [&] {
    return m.why().find("the URL would be redis-cluster://") != std::string::npos;
  })) << m.why();
  m.close();
}

}  // namespace
}  // namespace broker_test
