// What every broker must do. A broker is one more factory in broker_contract_test.cc.
#pragma once

#include <random>

#include "tests/broker/journal.h"

namespace broker_test {

// What a broker needs beside its loop, made once for each test. `bus` is used on its loop only.
struct broker_setup {
  std::unique_ptr<store::store> history;
  std::shared_ptr<void> servers;  // that it talks to
  std::unique_ptr<broker::broker> bus;
};

struct broker_factory {
  const char* name;
  broker_setup (*open)(const scratch_dir& dir, core::loop* home,
                       const broker::broker_events* events, void* user);
};

class broker_contract : public ::testing::TestWithParam<broker_factory> {
 protected:
  void SetUp() override {
    setup_ = GetParam().open(dir_, home(), &kJournalEvents, &journal_);
    if (bus() == nullptr) GTEST_SKIP() << "what this broker needs is missing, see above";
  }
  void TearDown() override {
    if (bus() == nullptr) return;
    run([&] { bus()->close(); });
    if (setup_.history != nullptr) setup_.history->close();
    loops_.stop();
    setup_.bus.reset();
  }
  core::loop* home() { return loops_.at(0); }
  broker::broker* bus() { return setup_.bus.get(); }

  // On the loop's thread; returns when it has run.
  void run(const std::function<void()>& fn) {
    struct call {
      const std::function<void()>* fn;
      std::promise<void> done;
    } c{&fn, {}};
    ASSERT_TRUE(core::loop_call(
        home(),
        [](core::loop*, void* user) noexcept {
          auto* self = static_cast<call*>(user);
          (*self->fn)();
          self->done.set_value();
        },
        &c));
    c.done.get_future().wait();
  }
  // On the loop's thread.
  core::err publish_here(broker::publish_request r) {
    auto* a = new asked{&journal_, r.channel, 0};
    const core::err rc = bus()->publish(std::move(r), on_published, a);
    if (rc != core::err::ok) delete a;
    return rc;
  }
  core::err subscribe_here(const std::string& channel, bool has_history = true, size_t number = 0) {
    auto* a = new asked{&journal_, channel, number};
    const core::err rc = bus()->subscribe(channel, has_history, on_subscribed, a);
    if (rc != core::err::ok) delete a;
    return rc;
  }
  broker::publish_result publish(const broker::publish_request& r) {
    const size_t before = journal_.count("published", r.channel);
    run([&] { EXPECT_EQ(publish_here(r), core::err::ok); });
    return journal_.wait("published", before + 1, r.channel).published;
  }
  store::position subscribe(const std::string& channel, bool has_history = true) {
    const size_t before = journal_.count("subscribed", channel);
    run([&] { EXPECT_EQ(subscribe_here(channel, has_history), core::err::ok); });
    return journal_.wait("subscribed", before + 1, channel).position;
  }
  store::read_result history(const std::string& channel) {
    store_test::pending<store::read_result> p{.home = home()};
    run([&] {
      EXPECT_EQ(bus()->history(store_test::page(channel, 0, 1000),
                               store_test::pending<store::read_result>::answered, &p),
                core::err::ok);
    });
    return p.wait();
  }
  std::vector<broker::member> presence(const std::string& channel, uint32_t limit = 1000) {
    store_test::pending<std::vector<broker::member>> p{.home = home()};
    run([&] {
      EXPECT_EQ(bus()->presence(
                    channel, limit,
                    [](void* user, core::err rc, const std::vector<broker::member>& m) noexcept {
                      EXPECT_EQ(rc, core::err::ok);
                      auto* self =
                          static_cast<store_test::pending<std::vector<broker::member>>*>(user);
                      store_test::pending<std::vector<broker::member>>::finish(self, m);
                    },
                    &p),
                core::err::ok);
    });
    return p.wait();
  }
  std::string counts(const std::string& channel) {
    store_test::pending<broker::presence_counts> p{.home = home()};
    run([&] {
      EXPECT_EQ(bus()->presence_stats(
                    channel,
                    [](void* user, core::err rc, broker::presence_counts c) noexcept {
                      EXPECT_EQ(rc, core::err::ok);
                      auto* self = static_cast<store_test::pending<broker::presence_counts>*>(user);
                      store_test::pending<broker::presence_counts>::finish(self, c);
                    },
                    &p),
                core::err::ok);
    });
    const auto c = p.wait();
    return std::to_string(c.clients) + "/" + std::to_string(c.users);
  }
  void enter(const std::string& channel, const std::string& client, const std::string& user,
             const std::string& info = "{}") {
    run([&] { EXPECT_EQ(bus()->presence_add(channel, {client, user, info}), core::err::ok); });
  }

  scratch_dir dir_;
  journal journal_;
  loops loops_{1};
  broker_setup setup_;
};

using lines = std::vector<std::string>;

TEST_P(broker_contract, tells_subscribers_before_it_answers) {
  EXPECT_EQ(subscribe("a").offset, 0u);
  const auto r = publish(message("a", "1"));
  EXPECT_EQ(r.rc, core::err::ok);
  EXPECT_EQ(r.offset, 1u);
  publish(message("b", "unheard"));
  publish(message("a", "2"));
  EXPECT_EQ(journal_.lines(), (lines{"subscribed a 0", "event a 1", "published a 1",
                                     "published b 1", "event a 2", "published a 2"}));
}

TEST_P(broker_contract, tells_what_was_published) {
  subscribe("a");
  broker::publish_request m = message("a", "{\"x\":1}");
  m.info = "{\"user\":\"alice\"}";
  m.tags_before_time = "{\"key\":\"k\",";
  const int64_t before_ms = core::system_clock()->wall_ms();
  const auto r = publish(m);
  EXPECT_GE(r.time_ms, before_ms);
  EXPECT_LE(r.time_ms, core::system_clock()->wall_ms());
  const store::publication pub = journal_.entries.at(1).pub;
  EXPECT_EQ(pub.data, m.data);
  EXPECT_EQ(pub.info, m.info);
  EXPECT_EQ(pub.time_ms, r.time_ms);
  EXPECT_EQ(pub.tags, "{\"key\":\"k\",\"time\":\"" + std::to_string(r.time_ms) + "\"}");
  const auto stored = history("a");
  ASSERT_EQ(stored.pubs.size(), 1u);
  EXPECT_EQ(stored.pubs[0].data, pub.data);
  EXPECT_EQ(stored.pubs[0].info, pub.info);
  EXPECT_EQ(stored.pubs[0].tags, pub.tags);
  EXPECT_EQ(stored.pubs[0].time_ms, pub.time_ms);
  m.tags_before_time = "{";
  const auto without_key = publish(m);
  EXPECT_EQ(journal_.entries.at(3).pub.tags,
            "{\"time\":\"" + std::to_string(without_key.time_ms) + "\"}");
  m.tags_before_time = "";
  publish(m);
  EXPECT_EQ(journal_.entries.at(5).pub.tags, "");
}

TEST_P(broker_contract, answers_a_subscribe_with_the_position) {
  EXPECT_EQ(subscribe("a").offset, 0u);
  run([&] { bus()->unsubscribe("a"); });
  std::string epoch;
  for (int i = 0; i < 3; ++i) epoch = publish(message("a", "x")).epoch;
  const store::position p = subscribe("a");
  EXPECT_EQ(p.offset, 3u);
  EXPECT_FALSE(p.epoch.empty());
  EXPECT_EQ(p.epoch, epoch);
  EXPECT_EQ(p.epoch, history("a").top.epoch);
  EXPECT_EQ(subscribe("empty").epoch, subscribe("empty").epoch);
}

TEST_P(broker_contract, tells_nothing_after_unsubscribe) {
  subscribe("a");
  run([&] { bus()->unsubscribe("a"); });
  run([&] { bus()->unsubscribe("never"); });
  publish(message("a", "x"));
  EXPECT_EQ(journal_.count("event"), 0u);
}

TEST_P(broker_contract, relays_without_history) {
  const store::position p = subscribe("live", false);
  EXPECT_EQ(p.offset, 0u);
  EXPECT_EQ(p.epoch, "");
  broker::publish_request m = message("live", "1");
  m.has_history = false;
  m.tags_before_time = "{";
  const auto r = publish(m);
  EXPECT_EQ(r.rc, core::err::ok);
  EXPECT_EQ(r.offset, 0u);
  EXPECT_EQ(r.epoch, "");
  EXPECT_EQ(journal_.lines(), (lines{"subscribed live 0", "event live 0", "published live 0"}));
  EXPECT_EQ(journal_.entries.at(1).pub.data, "1");
  EXPECT_EQ(journal_.entries.at(1).pub.tags, "{\"time\":\"" + std::to_string(r.time_ms) + "\"}");
  EXPECT_TRUE(history("live").pubs.empty());
  m.channel = "nobody";
  EXPECT_EQ(publish(m).rc, core::err::ok);
  EXPECT_EQ(journal_.count("event"), 1u);
}

TEST_P(broker_contract, relays_ephemeral_messages_also_in_channels_with_history) {
  subscribe("a");
  publish(message("a", "1"));
  broker::publish_request typing = message("a", "typing");
  typing.has_history = false;
  publish(typing);
  publish(message("a", "2"));
  EXPECT_EQ(journal_.lines(), (lines{"subscribed a 0", "event a 1", "published a 1", "event a 0",
                                     "published a 0", "event a 2", "published a 2"}));
}

TEST_P(broker_contract, tells_of_joins_and_leaves) {
  subscribe("a");
  for (const auto kind : {broker::event_kind::join, broker::event_kind::leave}) {
    broker::publish_request r;
    r.channel = "a";
    r.kind = kind;
    r.has_history = true;  // of the channel; joins are never kept
    r.info = "{\"client\":\"c\"}";
    EXPECT_EQ(publish(r).rc, core::err::ok);
  }
  EXPECT_EQ(journal_.lines(),
            (lines{"subscribed a 0", "join a 0", "published a 0", "leave a 0", "published a 0"}));
  EXPECT_EQ(journal_.entries.at(1).pub.info, "{\"client\":\"c\"}");
  EXPECT_EQ(journal_.entries.at(1).pub.data, "");
  EXPECT_TRUE(history("a").pubs.empty());
}

TEST_P(broker_contract, tells_a_retried_publish_once) {
  subscribe("a");
  broker::publish_request m = message("a", "1");
  m.key_scope = "alice/k";
  m.key_hash = "h";
  m.key_ttl_ms = 60'000;
  const auto first = publish(m);
  const auto again = publish(m);
  EXPECT_EQ(again.rc, core::err::ok);
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.offset, first.offset);
  EXPECT_EQ(again.time_ms, first.time_ms);
  EXPECT_EQ(again.epoch, first.epoch);
  m.key_hash = "other";
  EXPECT_EQ(publish(m).rc, core::err::conflict);
  EXPECT_EQ(journal_.count("event"), 1u);
}

TEST_P(broker_contract, refuses_references_as_the_store_does) {
  subscribe("a");
  publish(message("a", "1"));
  broker::publish_request edit = message("a", "2");
  edit.refers = 9;
  EXPECT_EQ(publish(edit).rc, core::err::not_found);
  edit.refers = 1;
  edit.user = "bob";
  EXPECT_EQ(publish(edit).rc, core::err::denied);
  EXPECT_EQ(journal_.count("event"), 1u);
  edit.user = "alice";
  edit.is_delete = true;
  EXPECT_EQ(publish(edit).offset, 2u);
  EXPECT_TRUE(journal_.wait("event", 2, "a").is_delete);
  EXPECT_EQ(store_test::text(history("a").pubs), "1:null 2:2");
}

TEST_P(broker_contract, removes_history_and_goes_on) {
  subscribe("a");
  publish(message("a", "1"));
  store_test::pending<core::err> p{.home = home()};
  run([&] { EXPECT_EQ(bus()->remove_history("a", store_test::done_answered, &p), core::err::ok); });
  EXPECT_EQ(p.wait(), core::err::ok);
  EXPECT_TRUE(history("a").pubs.empty());
  EXPECT_EQ(publish(message("a", "2")).offset, 2u);
  EXPECT_EQ(journal_.count("event"), 2u);
  EXPECT_EQ(journal_.count("lost"), 0u);
}

TEST_P(broker_contract, keeps_one_order_per_channel) {
  subscribe("a");
  subscribe("b");
  run([&] {
    for (int i = 0; i < 500; ++i)
      EXPECT_EQ(publish_here(message(i % 2 == 0 ? "a" : "b", std::to_string(i))), core::err::ok);
  });
  journal_.wait("published", 500);
  uint64_t told[2] = {0, 0}, answered[2] = {0, 0};
  for (const log_entry& e : journal_.entries) {
    const int i = e.channel == "b";
    if (e.what == "event") {
      ASSERT_EQ(e.pub.offset, ++told[i]);
      ASSERT_EQ(e.pub.data, std::to_string((e.pub.offset - 1) * 2 + i));
    }
    if (e.what == "published") {
      ASSERT_EQ(e.published.offset, ++answered[i]);
      ASSERT_GE(told[i], answered[i]) << "the event comes before the answer";
    }
  }
}

// One channel, subscribed and left and published to at random. Within a subscription the events
// follow its position without hole or repetition, and at its end nothing is missing.
TEST_P(broker_contract, loses_and_doubles_nothing_around_a_subscribe) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  size_t publishes = 0, subscribes = 0;
  for (int round = 0; round < 150; ++round) {
    run([&] {
      bus()->unsubscribe("a");
      journal_.add({.what = "left", .channel = "a"});
      for (uint32_t before = random() % 20; before > 0; --before, ++publishes)
        EXPECT_EQ(publish_here(message("a", "x")), core::err::ok);
      EXPECT_EQ(subscribe_here("a", true, ++subscribes), core::err::ok);
      for (uint32_t after = random() % 20; after > 0; --after, ++publishes)
        EXPECT_EQ(publish_here(message("a", "x")), core::err::ok);
    });
    // Sometimes the next round begins while answers are on their way.
    if (random() % 3 == 0) journal_.wait("published", publishes);
    if (random() % 3 == 0) journal_.wait("subscribed", subscribes);
  }
  journal_.wait("published", publishes);
  journal_.wait("subscribed", subscribes);
  size_t round = 0;
  uint64_t told = 0, newest = 0;
  bool is_live = false;
  for (const log_entry& e : journal_.entries) {
    if (e.what == "left") {
      is_live = false;
      ++round;
    } else if (e.what == "subscribed") {
      if (e.number != round) continue;  // of an earlier round: left already
      ASSERT_GE(e.position.offset, newest) << "what was answered before must be covered";
      is_live = true;
      told = e.position.offset;
    } else if (e.what == "event") {
      ASSERT_TRUE(is_live);
      ASSERT_EQ(e.pub.offset, ++told);
    } else if (e.what == "published") {
      newest = e.published.offset;
      ASSERT_GE(is_live ? told : newest, newest) << "answered but not told";
    } else {
      FAIL() << e.what;
    }
  }
  EXPECT_EQ(newest, publishes);
  EXPECT_EQ(told, newest);
}

TEST_P(broker_contract, may_be_called_from_its_events) {
  subscribe("a");
  journal_.hook = [&](const log_entry& e) {
    if (e.what == "event") {
      bus()->unsubscribe("a");
      EXPECT_EQ(subscribe_here("b", false), core::err::ok);
    }
    if (e.what != "subscribed" || e.channel != "b") return;
    broker::publish_request r = message("b", "x");
    r.kind = broker::event_kind::join;
    EXPECT_EQ(publish_here(r), core::err::ok);
  };
  publish(message("a", "1"));
  publish(message("a", "2"));
  journal_.wait("join", 1);
  EXPECT_EQ(journal_.count("event"), 1u);
}

TEST_P(broker_contract, knows_who_is_present) {
  EXPECT_TRUE(presence("a").empty());
  EXPECT_EQ(counts("a"), "0/0");
  const std::string uuid = "0c9f2b6e-9d6b-4c63-8a68-000000000001";
  enter("a", uuid, "alice", "{\"x\":1}");
  enter("a", "c2", "alice");
  enter("a", "c3", "");
  enter("b", uuid, "alice");
  const auto all = presence("a");
  ASSERT_EQ(all.size(), 3u);
  size_t found = 0;
  for (const auto& m : all) {
    if (m.client != uuid) continue;
    ++found;
    EXPECT_EQ(m.user, "alice");
    EXPECT_EQ(m.info, "{\"x\":1}");
  }
  EXPECT_EQ(found, 1u);
  EXPECT_EQ(counts("a"), "3/2");
  EXPECT_EQ(counts("b"), "1/1");
  EXPECT_EQ(presence("a", 2).size(), 2u);
  EXPECT_EQ(presence("a", 3).size(), 3u);
  EXPECT_EQ(presence("a", 0).size(), 0u);
}

TEST_P(broker_contract, remembers_when_a_users_channel_was_left) {
  const auto left_ms = [&](const std::string& channel) {
    store_test::pending<broker::presence_counts> p{.home = home()};
    run([&] {
      EXPECT_EQ(bus()->presence_stats(
                    channel,
                    [](void* user, core::err, broker::presence_counts c) noexcept {
                      auto* self = static_cast<store_test::pending<broker::presence_counts>*>(user);
                      store_test::pending<broker::presence_counts>::finish(self, c);
                    },
                    &p),
                core::err::ok);
    });
    return p.wait().left_ms;
  };
  EXPECT_EQ(left_ms("#ann"), 0);
  for (const char* channel : {"#ann", "room"}) {
    enter(channel, "1", "ann");
    enter(channel, "2", "ann");
    run([&] { bus()->presence_remove(channel, "1"); });
  }
  EXPECT_EQ(left_ms("#ann"), 0) << "she is there with another client";
  for (const char* channel : {"#ann", "room"})
    run([&] {
      bus()->presence_remove(channel, "2");
      bus()->presence_remove(channel, "2");
    });
  const int64_t left = left_ms("#ann");
  EXPECT_GT(left, int64_t{1'600'000'000'000});
  EXPECT_EQ(left_ms("room"), 0) << "of users' channels only";
  enter("#ann", "3", "ann");
  EXPECT_EQ(left_ms("#ann"), 0);
  run([&] { bus()->presence_remove("#ann", "3"); });
  EXPECT_GE(left_ms("#ann"), left);
}

TEST_P(broker_contract, replaces_and_removes_members) {
  for (const char* client : {"1", "2", "3"}) enter("a", client, "u");
  for (const char* client : {"1", "2", "3"}) {  // first, middle, last
    enter("a", client, "v", "{\"new\":true}");
    EXPECT_EQ(presence("a").size(), 3u);
  }
  for (const auto& m : presence("a")) EXPECT_EQ(m.user + m.info, "v{\"new\":true}");
  EXPECT_EQ(counts("a"), "3/1");
  run([&] {
    bus()->presence_remove("a", "2");
    bus()->presence_remove("a", "2");
    bus()->presence_remove("a", "unknown");
    bus()->presence_remove("unknown", "1");
  });
  EXPECT_EQ(counts("a"), "2/1");
  run([&] {
    bus()->presence_remove("a", "3");
    bus()->presence_remove("a", "1");
  });
  EXPECT_EQ(counts("a"), "0/0");
  enter("a", "1", "u");
  EXPECT_EQ(presence("a").size(), 1u);
}

TEST_P(broker_contract, refuses_a_publish_whose_answer_has_no_room) {
  if (setup_.history == nullptr) return;  // its answers do not come by the mailbox
  loops small(1, 4);
  journal quiet;
  scratch_dir dir;
  broker_setup other = GetParam().open(dir, small.at(0), &kJournalEvents, &quiet);
  ASSERT_TRUE(core::loop_reserve(small.at(0), 4));
  // Its loop sleeps, so its calls may be made here.
  EXPECT_EQ(other.bus->publish(
                message("a", "x"), [](void*, broker::publish_result&&) noexcept { ADD_FAILURE(); },
                nullptr),
            core::err::full);
  EXPECT_EQ(other.bus->subscribe(
                "a", true, [](void*, core::err, const store::position&) noexcept { ADD_FAILURE(); },
                nullptr),
            core::err::full);
  EXPECT_EQ(other.bus->history(
                store_test::page("a", 0, 1),
                [](void*, store::read_result&&) noexcept { ADD_FAILURE(); }, nullptr),
            core::err::full);
  EXPECT_EQ(other.bus->remove_history(
                "a", [](void*, core::err) noexcept { ADD_FAILURE(); }, nullptr),
            core::err::full);
  core::loop_unreserve(small.at(0), 4);
  other.bus->close();
  if (other.history != nullptr) other.history->close();
  small.stop();
  other.bus.reset();
}

TEST_P(broker_contract, calls_nobody_after_close) {
  subscribe("a");
  run([&] {
    EXPECT_TRUE(bus()->is_ready());
    EXPECT_EQ(bus()->why_not_ready(), "");
    EXPECT_EQ(bus()->control("x"), core::err::ok);
    const auto published = [](void*, broker::publish_result&&) noexcept { ADD_FAILURE(); };
    const auto positioned = [](void*, core::err, const store::position&) noexcept {
      ADD_FAILURE();
    };
    const auto read = [](void*, store::read_result&&) noexcept { ADD_FAILURE(); };
    const auto done = [](void*, core::err) noexcept { ADD_FAILURE(); };
    EXPECT_EQ(bus()->publish(message("a", "x"), published, nullptr), core::err::ok);
    EXPECT_EQ(bus()->subscribe("b", true, positioned, nullptr), core::err::ok);
    EXPECT_EQ(bus()->history(store_test::page("a", 0, 1), read, nullptr), core::err::ok);
    EXPECT_EQ(bus()->remove_history("a", done, nullptr), core::err::ok);
    bus()->close();
    bus()->close();
    EXPECT_FALSE(bus()->is_ready());
    EXPECT_NE(bus()->why_not_ready(), "");
    EXPECT_EQ(bus()->publish(message("a", "x"), published, nullptr), core::err::closed);
    EXPECT_EQ(bus()->subscribe("a", true, positioned, nullptr), core::err::closed);
    EXPECT_EQ(bus()->subscribe("a", false, positioned, nullptr), core::err::closed);
    EXPECT_EQ(bus()->history(store_test::page("a", 0, 1), read, nullptr), core::err::closed);
    EXPECT_EQ(bus()->remove_history("a", done, nullptr), core::err::closed);
    EXPECT_EQ(bus()->presence_add("a", {"c", "u", "{}"}), core::err::closed);
    EXPECT_EQ(
        bus()->presence(
            "a", 1,
            [](void*, core::err, const std::vector<broker::member>&) noexcept { ADD_FAILURE(); },
            nullptr),
        core::err::closed);
    EXPECT_EQ(bus()->presence_stats(
                  "a", [](void*, core::err, broker::presence_counts) noexcept { ADD_FAILURE(); },
                  nullptr),
              core::err::closed);
    EXPECT_EQ(bus()->control("x"), core::err::closed);
    bus()->unsubscribe("a");
    bus()->presence_remove("a", "c");
  });
  if (setup_.history != nullptr) setup_.history->close();  // every answer is in the mailbox
  run([] {});
  EXPECT_EQ(journal_.count("event"), 0u);
}

}  // namespace broker_test
