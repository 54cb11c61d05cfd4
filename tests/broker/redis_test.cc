// What only a broker between nodes has: two brokers on loops of their own over one real
// redis-server, and what happens when it, a connection or a node fails.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <thread>

#include "tests/broker/redis_node.h"
#include "tests/broker/redis_server.h"

namespace broker_test {
namespace {

using store_test::blocked_loop;
using store_test::pending;

class redis_test : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_REDIS();
    redis_ = std::make_unique<broker::redis_server>(
        std::vector<std::string>{"appendonly yes", "appendfsync always"});
    std::string why;
    ASSERT_EQ(broker::redis_url_parse(redis_->url(), &url_, &why), core::err::ok) << why;
    a_ = std::make_unique<test_node>(loops_.at(0), &url_, "aaaaaaaa-node");
    b_ = std::make_unique<test_node>(loops_.at(1), &url_, "bbbbbbbb-node");
    ASSERT_TRUE(a_->becomes_ready() && b_->becomes_ready());
  }
  void TearDown() override {
    if (a_ != nullptr) a_->close();
    if (b_ != nullptr) b_->close();
    loops_.stop();
  }
  // Consecutive from `first` on.
  static void expect_row(const std::vector<uint64_t>& offsets, uint64_t first, size_t count) {
    ASSERT_EQ(offsets.size(), count);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(offsets[i], first + i);
  }

  scratch_dir dir_;
  loops loops_{2};
  broker::redis_url url_;
  std::unique_ptr<broker::redis_server> redis_;
  std::unique_ptr<test_node> a_, b_;
};

TEST_F(redis_test, carries_everything_between_nodes) {
  const store::position at = a_->subscribe("room");
  EXPECT_EQ(b_->subscribe("room").epoch, at.epoch);
  broker::publish_request m = message("room", "{\"x\":1}");
  m.info = "{\"user\":\"alice\"}";
  m.tags_before_time = "{\"key\":\"k\",";
  const auto r = a_->publish(m);
  ASSERT_EQ(r.rc, core::err::ok);
  EXPECT_EQ(r.offset, at.offset + 1);
  const log_entry there = b_->said.wait("event", 1);
  EXPECT_EQ(there.pub.offset, r.offset);
  EXPECT_EQ(there.pub.data, m.data);
  EXPECT_EQ(there.pub.info, m.info);
  EXPECT_EQ(there.pub.tags, "{\"key\":\"k\",\"time\":\"" + std::to_string(r.time_ms) + "\"}");
  broker::publish_request join;
  join.channel = "room";
  join.kind = broker::event_kind::join;
  join.info = "{\"client\":\"c\"}";
  EXPECT_EQ(b_->publish(join).rc, core::err::ok);
  EXPECT_EQ(a_->said.wait("join", 1).pub.info, join.info);
}

TEST_F(redis_test, gives_one_order_to_all) {
  const uint64_t first = a_->subscribe("room").offset + 1;
  b_->subscribe("room");
  std::atomic<int> failures{0};
  const auto publish_some = [&](test_node* n) {
    for (int i = 0; i < 300; ++i)
      if (n->publish(message("room", std::to_string(i))).rc != core::err::ok) ++failures;
  };
  std::thread other([&] { publish_some(b_.get()); });
  publish_some(a_.get());
  other.join();
  EXPECT_EQ(failures.load(), 0);
  for (test_node* n : {a_.get(), b_.get()}) {
    n->said.wait("event", 600);
    expect_row(n->offsets("room"), first, 600);
  }
}

TEST_F(redis_test, tells_a_retry_on_another_node_once) {
  a_->subscribe("room");
  broker::publish_request m = message("room", "1");
  m.key_scope = std::string("alice\nk\0x", 9);
  m.key_hash = std::string("\0\xff hash", 7);
  m.key_ttl_ms = 60'000;
  const auto first = a_->publish(m);
  const auto again = b_->publish(m);
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.offset, first.offset);
  EXPECT_EQ(again.time_ms, first.time_ms);
  m.key_hash = "other";
  EXPECT_EQ(b_->publish(m).rc, core::err::conflict);
  EXPECT_EQ(a_->said.count("event"), 1u);
}

TEST_F(redis_test, blanks_what_is_deleted_and_its_edits_for_everybody) {
  b_->subscribe("room");
  broker::publish_request m = message("room", "\"secret\"");
  m.info = "{\"user\":\"alice\"}";
  m.tags_before_time = "{\"key\":\"k\",";
  const uint64_t first = a_->publish(m).offset;
  broker::publish_request edit = message("room", "\"secret, better\"");
  edit.refers = first;
  edit.tags_before_time = "{";
  EXPECT_EQ(a_->publish(edit).offset, first + 1);
  a_->publish(message("room", "\"between\""));
  broker::publish_request remove = message("room", "null");
  remove.refers = first;
  remove.is_delete = true;
  EXPECT_EQ(b_->publish(remove).offset, first + 3);
  EXPECT_TRUE(b_->said.wait("event", 4).is_delete);
  const auto all = a_->history(store_test::page("room", 0, 100));
  ASSERT_EQ(all.pubs.size(), 4u);
  EXPECT_EQ(all.pubs[0].data, "null");
  EXPECT_EQ(all.pubs[0].info, m.info);
  EXPECT_EQ(all.pubs[0].tags,
            "{\"key\":\"k\",\"time\":\"" + std::to_string(all.pubs[0].time_ms) + "\"}");
  EXPECT_EQ(all.pubs[1].data, "null");
  EXPECT_EQ(all.pubs[2].data, "\"between\"");

  store::read_request back = store_test::page("room", first + 2, 2);
  back.is_reverse = true;
  const auto two = a_->history(back);
  ASSERT_EQ(two.pubs.size(), 2u);
  EXPECT_EQ(two.pubs[0].offset, first + 1);
  EXPECT_EQ(two.pubs[1].offset, first);
}

TEST_F(redis_test, keeps_as_much_as_the_namespace_says) {
  broker::publish_request m = message("room", "x");
  m.keep.size_max = 5;
  uint64_t last = 0;
  for (int i = 0; i < 12; ++i) last = a_->publish(m).offset;
  auto all = a_->history(store_test::page("room", 0, 100));
  ASSERT_EQ(all.pubs.size(), 5u);
  EXPECT_EQ(all.pubs[0].offset, last - 4);
  EXPECT_EQ(all.top.offset, last);
  store::read_request fewer = store_test::page("room", 0, 100);
  fewer.keep.size_max = 2;
  EXPECT_EQ(a_->history(fewer).pubs.size(), 2u) << "a smaller setting binds at once";
  m.channel = "short";
  m.keep.ttl_ms = 60;
  a_->publish(m);
  std::this_thread::sleep_for(std::chrono::milliseconds(120));
  store::read_request young = store_test::page("short", 0, 100);
  young.keep = m.keep;
  const auto none = a_->history(young);
  EXPECT_TRUE(none.pubs.empty());
  EXPECT_GT(none.top.offset, 0u) << "the position outlives what is kept";
}

TEST_F(redis_test, repairs_what_killed_subscriptions_lose) {
  const uint64_t first = b_->subscribe("room").offset + 1;
  a_->subscribe("room");
  const core::counter& lost = core::loop_counters(b_->home())->broker_lost_connections;
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(a_->publish(message("room", "x")).rc, core::err::ok);
    const uint64_t lost_before = lost.get();
    {
      blocked_loop deaf(b_->home());  // it is not back before the last one
      redis_->call({"CLIENT", "KILL", "TYPE", "pubsub"});
      for (int i = 0; i < 20; ++i) EXPECT_EQ(a_->publish(message("room", "x")).rc, core::err::ok);
    }
    // Ready again means that nothing is missing any more.
    size_t has = 0;
    ASSERT_TRUE(test_node::within(10'000, [&] {
      bool is = false;
      b_->run([&] {
        is = lost.get() > lost_before && b_->bus()->is_ready();
        has = b_->offsets("room").size();
      });
      return is;
    }));
    ASSERT_EQ(has, 40u * (round + 1));
    ASSERT_TRUE(test_node::within(10'000, [&] {
      return a_->offsets("room").size() == 40u * (round + 1) && a_->is_ready();
    })) << a_->offsets("room").size();
  }
  expect_row(b_->offsets("room"), first, 200);
  expect_row(a_->offsets("room"), first, 200);
  const core::loop_metrics* counted = core::loop_counters(b_->home());
  EXPECT_GE(counted->broker_lost_connections.get(), 5u);
  EXPECT_GE(counted->broker_audits.get(), 5u);
  EXPECT_GE(counted->broker_repairs.get(), 5u);
  EXPECT_GE(counted->broker_repaired.get(), 5u * 20);
  EXPECT_EQ(counted->broker_lost.get(), 0u);
  EXPECT_EQ(counted->broker_ready.get(), 1u);
  EXPECT_EQ(counted->connections_open.get(), 0u);
  EXPECT_EQ(counted->dialled_open.get(), 2u);
  EXPECT_EQ(a_->said.count("lost") + b_->said.count("lost"), 0u);
}

// Several pages are read one after the other; the node says that it is ready when the last is
// there.
TEST_F(redis_test, is_not_ready_before_all_that_was_missed_is_read) {
  constexpr size_t kMissed = 4500;
  const uint64_t first = b_->subscribe("room").offset + 1;
  broker::publish_request m = message("room", "x");
  m.keep.size_max = kMissed;
  {
    blocked_loop stuck(b_->home());
    redis_->call({"CLIENT", "KILL", "TYPE", "pubsub"});
    for (size_t i = 0; i < kMissed; ++i) ASSERT_EQ(a_->publish(m).rc, core::err::ok);
  }
  const core::counter& lost = core::loop_counters(b_->home())->broker_lost_connections;
  std::set<std::string> reasons;
  for (bool is_ready = false; !is_ready;) {
    size_t has = 0;
    b_->run([&] {
      is_ready = lost.get() > 0 && b_->bus()->is_ready();
      reasons.insert(b_->bus()->why_not_ready());
      has = b_->offsets("room").size();
    });
    EXPECT_TRUE(!is_ready || has == kMissed) << has;
  }
  EXPECT_EQ(std::count_if(reasons.begin(), reasons.end(),
                          [](const std::string& why) {
                            return why.find("reading what was missed") != std::string::npos;
                          }),
            1);
  expect_row(b_->offsets("room"), first, kMissed);
}

TEST_F(redis_test, repairs_what_an_overflowing_output_buffer_loses) {
  EXPECT_EQ(redis_->call({"CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0"}),
            "+OK");
  const uint64_t first = b_->subscribe("room").offset + 1;
  const std::string big = "\"" + std::string(4000, 'x') + "\"";
  {
    blocked_loop stuck(b_->home());
    for (int i = 0; i < 600; ++i) ASSERT_EQ(a_->publish(message("room", big)).rc, core::err::ok);
  }
  ASSERT_TRUE(test_node::within(10'000, [&] { return b_->offsets("room").size() == 600; }));
  expect_row(b_->offsets("room"), first, 600);
  EXPECT_EQ(b_->said.count("lost"), 0u);
}

TEST_F(redis_test, tells_what_no_stream_has_any_more_as_lost) {
  const uint64_t first = b_->subscribe("room").offset + 1;
  broker::publish_request m = message("room", "x");
  m.keep.size_max = 3;
  a_->publish(m);
  b_->said.wait("event", 1);
  {
    blocked_loop stuck(b_->home());  // its subscription dies, and more comes than is kept
    redis_->call({"CLIENT", "KILL", "TYPE", "pubsub"});
    for (int i = 0; i < 10; ++i) a_->publish(m);
  }
  b_->said.wait("lost", 1, "room");
  expect_row(b_->offsets("room"), first, 1);
  b_->run([&] { b_->bus()->unsubscribe("room"); });
  EXPECT_EQ(b_->subscribe("room").offset, first + 10);
}

TEST_F(redis_test, begins_a_new_epoch_when_the_server_has_restarted) {
  const store::position before = a_->subscribe("room");
  b_->subscribe("room");
  const auto last = a_->publish(message("room", "old"));
  b_->said.wait("event", 1);
  redis_->kill();
  ASSERT_TRUE(test_node::within(5000, [&] { return !a_->is_ready() && !b_->is_ready(); }));
  EXPECT_NE(a_->why().find("redis at unix:"), std::string::npos) << a_->why();
  EXPECT_TRUE(test_node::within(3000, [&] {  // the other connection may notice first
    return a_->publish(message("room", "refused")).rc == core::err::unavailable;
  }));
  redis_->start();
  a_->said.wait("lost", 1, "room");
  b_->said.wait("lost", 1, "room");
  ASSERT_TRUE(a_->becomes_ready());
  a_->run([&] { a_->bus()->unsubscribe("room"); });
  const store::position after = a_->subscribe("room");
  EXPECT_NE(after.epoch, before.epoch);
  EXPECT_GT(after.offset, last.offset);
  const auto next = a_->publish(message("room", "new"));
  EXPECT_EQ(next.offset, after.offset + 1);
  EXPECT_EQ(next.epoch, after.epoch);
  const auto all = b_->history(store_test::page("room", 0, 100));
  ASSERT_EQ(all.pubs.size(), 2u) << "history pages through old epochs";
  EXPECT_EQ(all.pubs[0].offset, last.offset);
}

TEST_F(redis_test, gives_no_offset_twice_when_the_server_has_lost_its_data) {
  a_->subscribe("room");
  uint64_t last = 0;
  for (int i = 0; i < 50; ++i) last = a_->publish(message("room", "x")).offset;
  redis_->kill();
  std::filesystem::remove_all(redis_->dir() + "/appendonlydir");
  redis_->start();
  a_->said.wait("lost", 1, "room");
  ASSERT_TRUE(a_->becomes_ready());
  EXPECT_GT(a_->publish(message("room", "x")).offset, last);
}

TEST_F(redis_test, notices_a_stopped_server_within_three_seconds) {
  a_->subscribe("room");
  redis_->signal(SIGSTOP);
  EXPECT_TRUE(test_node::within(3500, [&] { return !a_->is_ready(); }));
  // The two connections notice for themselves: what was sent on the one that has not is a time-out.
  EXPECT_NE(a_->publish(message("room", "x")).rc, core::err::ok);
  redis_->signal(SIGCONT);
  EXPECT_TRUE(a_->becomes_ready());
  EXPECT_EQ(a_->publish(message("room", "x")).rc, core::err::ok);
  EXPECT_EQ(a_->said.count("lost"), 0u) << "it is the same server with the same data";
}

TEST_F(redis_test, control_reaches_the_others_only) {
  // Loop 0 hears; a_ is there.
  struct heard {
    static void take(void* user, std::string_view bytes) noexcept {
      static_cast<journal*>(user)->add({.what = "control", .channel = std::string(bytes)});
    }
  };
  broker::broker_events events = kJournalEvents;
  events.on_control = heard::take;
  journal said;
  std::unique_ptr<broker::broker> c;
  broker::redis_options o;
  o.url = &url_;
  o.node = "cccccccc-node";
  a_->run([&] { c.reset(broker::open_redis(o, loops_.at(0), &events, &said)); });
  ASSERT_TRUE(test_node::within(5000, [&] {
    bool is = false;
    a_->run([&] { is = c->is_ready(); });
    return is;
  }));
  b_->run([&] { EXPECT_EQ(b_->bus()->control("to you"), core::err::ok); });
  EXPECT_EQ(said.wait("control", 1).channel, "to you");
  a_->run([&] { EXPECT_EQ(c->control("to myself"), core::err::ok); });
  b_->run([&] { EXPECT_EQ(b_->bus()->control("again"), core::err::ok); });
  said.wait("control", 1, "again");
  EXPECT_EQ(said.count("control", "to myself"), 0u);
  a_->run([&] { c->close(); });
}

TEST_F(redis_test, shows_who_is_present_on_all_nodes) {
  a_->enter("room", "c1", "alice");
  a_->enter("room", "c2", "bob");
  b_->enter("room", "c3", "alice");
  b_->enter("room", "c4", "");
  ASSERT_TRUE(test_node::within(5000, [&] { return a_->counts("room") == "4/3"; }))
      << a_->counts("room");
  EXPECT_EQ(b_->present("room"), "c1/alice c2/bob c3/alice c4/ ");
  b_->run([&] { b_->bus()->presence_remove("room", "c1"); });  // not its own: nothing happens
  a_->run([&] { a_->bus()->presence_remove("room", "c2"); });
  EXPECT_TRUE(test_node::within(5000, [&] {
    return b_->present("room") == "c1/alice c3/alice c4/ ";
  })) << b_->present("room");
  EXPECT_EQ(b_->counts("room"), "3/2");
}

TEST_F(redis_test, takes_out_a_dead_nodes_clients_and_tells_their_leaves_once) {
  b_->subscribe("room", false);
  for (int i = 0; i < 700; ++i)
    a_->enter("room", "c" + std::to_string(i), "u" + std::to_string(i % 10));
  b_->enter("room", "mine", "me");
  ASSERT_TRUE(test_node::within(5000, [&] { return b_->counts("room") == "701/11"; }));
  a_->close();  // as if killed: nothing is taken back
  ASSERT_TRUE(test_node::within(kLeaseMs + 2000, [&] { return b_->present("room") == "mine/me "; }))
      << b_->present("room").size();
  ASSERT_TRUE(test_node::within(2000, [&] { return b_->counts("room") == "1/1"; }))
      << b_->counts("room");
  ASSERT_TRUE(test_node::within(2000, [&] { return b_->said.count("leave", "room") >= 700; }));
  EXPECT_EQ(b_->said.count("leave", "room"), 700u);
}

TEST_F(redis_test, a_node_that_was_stopped_comes_back_under_another_name) {
  b_->subscribe("room", false);
  a_->enter("room", "c1", "alice");
  ASSERT_TRUE(test_node::within(5000, [&] { return b_->present("room") == "c1/alice "; }));
  {
    blocked_loop stopped(a_->home());
    ASSERT_TRUE(test_node::within(kLeaseMs + 2000, [&] { return b_->present("room").empty(); }));
    b_->said.wait("leave", 1, "room");
  }
  EXPECT_TRUE(
      test_node::within(kLeaseMs + 2000, [&] { return b_->present("room") == "c1/alice "; }));
  b_->said.wait("join", 1, "room");
  std::this_thread::sleep_for(std::chrono::milliseconds(2 * kLeaseMs));
  EXPECT_EQ(b_->present("room"), "c1/alice ");
  EXPECT_EQ(b_->counts("room"), "1/1");
  EXPECT_EQ(b_->said.count("leave", "room"), 1u);
}

TEST_F(redis_test, presence_survives_a_server_that_lost_everything) {
  a_->enter("room", "c1", "alice");
  b_->enter("room", "c2", "bob");
  ASSERT_TRUE(test_node::within(5000, [&] { return b_->counts("room") == "2/2"; }));
  redis_->kill();
  std::filesystem::remove_all(redis_->dir() + "/appendonlydir");
  redis_->start();
  ASSERT_TRUE(a_->becomes_ready() && b_->becomes_ready());
  EXPECT_TRUE(test_node::within(5000, [&] { return b_->present("room") == "c1/alice c2/bob "; }));
  EXPECT_TRUE(test_node::within(kLeaseMs + 2000, [&] { return b_->counts("room") == "2/2"; }));
}

TEST_F(redis_test, keeps_users_channels_and_read_markers) {
  std::unique_ptr<store::store> lists(broker::open_redis_lists(a_->bus()));
  std::unique_ptr<store::store> there(broker::open_redis_lists(b_->bus()));
  const auto done = [&](auto call) {
    pending<core::err> p{.home = a_->home()};
    a_->run([&] { EXPECT_EQ(call(&p), core::err::ok); });
    EXPECT_EQ(p.wait(), core::err::ok);
  };
  const uint64_t old = a_->publish(message("old", "\"o\"")).offset;
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const uint64_t fresh = a_->publish(message("new", "\"n\"")).offset;
  done([&](void* p) {
    return lists->add_user_channel(a_->home(), {"alice", "bob"}, "old", store_test::done_answered,
                                   p);
  });
  done([&](void* p) {
    return lists->mark_read(a_->home(), "alice", "new", fresh, store_test::done_answered, p);
  });
  done([&](void* p) {
    return lists->mark_read(a_->home(), "alice", "new", 1, store_test::done_answered, p);
  });
  const auto list = [&](const std::string& who) {
    pending<store::user_channels_result> p{.home = b_->home()};
    b_->run([&] {
      EXPECT_EQ(there->user_channels(b_->home(), who, 100,
                                     pending<store::user_channels_result>::answered, &p),
                core::err::ok);
    });
    return p.wait();
  };
  auto all = list("alice");
  ASSERT_EQ(all.channels.size(), 2u);
  EXPECT_EQ(all.channels[0].channel, "new") << "the newest message first";
  EXPECT_EQ(all.channels[0].read_offset, fresh);
  EXPECT_EQ(all.channels[0].last.data, "\"n\"");
  EXPECT_EQ(all.channels[1].top.offset, old);
  EXPECT_EQ(list("bob").channels.size(), 1u);
  done([&](void* p) {
    return lists->remove_user_channel(a_->home(), "alice", "old", store_test::done_answered, p);
  });
  EXPECT_EQ(list("alice").channels.size(), 1u);
  EXPECT_TRUE(list("nobody").channels.empty());
}

TEST_F(redis_test, counts_what_nobody_has_read_although_offsets_begin_high) {
  std::unique_ptr<store::store> lists(broker::open_redis_lists(a_->bus()));
  const auto done = [&](auto call) {
    pending<core::err> p{.home = a_->home()};
    a_->run([&] { EXPECT_EQ(call(&p), core::err::ok); });
    EXPECT_EQ(p.wait(), core::err::ok);
  };
  const auto unread = [&] {
    pending<store::user_channels_result> p{.home = a_->home()};
    a_->run([&] {
      EXPECT_EQ(lists->user_channels(a_->home(), "bob", 9,
                                     pending<store::user_channels_result>::answered, &p),
                core::err::ok);
    });
    return p.wait().channels.at(0).unread;
  };
  done([&](void* p) {
    return lists->add_user_channel(a_->home(), {"bob"}, "room", store_test::done_answered, p);
  });
  EXPECT_EQ(unread(), 0u);
  uint64_t last = 0;
  for (int i = 0; i < 5; ++i) {
    const auto r = a_->publish(message("room", "x"));
    EXPECT_EQ(r.is_first, i == 0);
    last = r.offset;
  }
  EXPECT_EQ(unread(), 5u);
  done([&](void* p) {
    return lists->mark_read(a_->home(), "bob", "room", last - 2, store_test::done_answered, p);
  });
  EXPECT_EQ(unread(), 2u);

  redis_->kill();  // a new epoch: offsets jump
  redis_->start();
  ASSERT_TRUE(test_node::within(10'000, [&] { return a_->is_ready() && a_->why().empty(); }));
  EXPECT_EQ(unread(), 2u);
  const auto next = a_->publish(message("room", "x"));
  EXPECT_GT(next.offset, last + 1000);
  EXPECT_FALSE(next.is_first);
  EXPECT_EQ(unread(), 3u);
  done([&](void* p) {
    return lists->mark_read(a_->home(), "bob", "room", next.offset, store_test::done_answered, p);
  });
  EXPECT_EQ(unread(), 0u);
}

TEST_F(redis_test, says_that_a_repeated_first_message_is_the_first) {
  broker::publish_request m = message("room", "x");
  m.key_scope = "k";
  m.key_hash = std::string(32, 'h');
  m.key_ttl_ms = 60'000;
  EXPECT_TRUE(a_->publish(m).is_first);
  const auto again = b_->publish(m);
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_TRUE(again.is_first);
  EXPECT_FALSE(b_->publish(message("room", "y")).is_first);
}

TEST_F(redis_test, refuses_a_server_that_evicts_keys_until_it_does_not) {
  EXPECT_EQ(a_->why(), "");
  redis_->call({"CONFIG", "SET", "maxmemory", "100mb"});
  redis_->call({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"});
  redis_->call({"CLIENT", "KILL", "TYPE", "normal"});
  ASSERT_TRUE(test_node::within(5000, [&] {
    return a_->why().find("maxmemory-policy allkeys-lru") != std::string::npos;
  })) << a_->why();
  EXPECT_EQ(a_->publish(message("room", "x")).rc, core::err::unavailable);
  redis_->call({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
  EXPECT_TRUE(a_->becomes_ready()) << a_->why();
  EXPECT_EQ(a_->why(), "");
  EXPECT_EQ(a_->publish(message("room", "x")).rc, core::err::ok);
}

TEST_F(redis_test, refuses_a_server_whose_keys_are_laid_out_otherwise) {
  EXPECT_EQ(redis_->call({"GET", "parley:layout"}), "\"1 128 0/1\"");
  redis_->call({"SET", "parley:layout", "1 64 0/1"});
  redis_->call({"CLIENT", "KILL", "TYPE", "normal"});
  ASSERT_TRUE(test_node::within(5000, [&] {
    return a_->why().find("laid out as \"1 64 0/1\"") != std::string::npos;
  })) << a_->why();
  redis_->call({"SET", "parley:layout", "1 128 0/1"});
  EXPECT_TRUE(a_->becomes_ready()) << a_->why();
}

}  // namespace
}  // namespace broker_test
