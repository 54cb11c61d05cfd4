// The local broker over a store that commits, reads and answers in any order that a real one could,
// chosen at random.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <random>

#include "broker/broker.h"
#include "broker/presence.h"

namespace broker_test {
namespace {

// One channel. Appends are committed, then answered, each in order; a read takes its snapshot and
// is answered whenever.
class shuffled_store final : public store::store {
 public:
  core::err append(core::loop*, ::store::append_request&& r, ::store::append_cb cb,
                   void* user) noexcept override {
    if (refuse) return core::err::full;
    appends_.push_back({std::move(r.pub), cb, user, r.is_delete});
    return core::err::ok;
  }
  core::err read(core::loop*, ::store::read_request&&, ::store::read_cb cb,
                 void* user) noexcept override {
    if (refuse) return core::err::full;
    reads_.push_back({cb, user, false, 0});
    return core::err::ok;
  }
  core::err remove_history(core::loop*, std::string, ::store::done_cb, void*) noexcept override {
    return core::err::full;
  }
  core::err add_user_channel(core::loop*, std::vector<std::string>, std::string, ::store::done_cb,
                             void*) noexcept override {
    return core::err::full;
  }
  core::err remove_user_channel(core::loop*, std::string, std::string, ::store::done_cb,
                                void*) noexcept override {
    return core::err::full;
  }
  core::err mark_read(core::loop*, std::string, std::string, uint64_t, ::store::done_cb,
                      void*) noexcept override {
    return core::err::full;
  }
  core::err user_channels(core::loop*, std::string, uint32_t, ::store::user_channels_cb,
                          void*) noexcept override {
    return core::err::full;
  }
  ::store::store_stats stats() noexcept override { return {.is_ready = is_ready}; }
  void close() noexcept override {}

  bool is_idle() const { return appends_.empty() && committed_.empty() && reads_.empty(); }

  // One thing happens somewhere.
  void step(std::mt19937& random) {
    switch (random() % 3) {
      case 0:
        if (!appends_.empty()) commit();
        break;
      case 1:
        if (!committed_.empty()) answer_append();
        break;
      default:
        if (!reads_.empty()) advance_read(random() % reads_.size());
    }
  }
  void commit() {
    appends_.front().offset = appends_.front().fails ? 0 : ++top;
    committed_.push_back(std::move(appends_.front()));
    appends_.pop_front();
  }
  void answer_append() {
    append_op op = std::move(committed_.front());
    committed_.pop_front();
    ::store::append_result r;
    r.rc = op.fails ? core::err::io : core::err::ok;
    r.offset = op.offset;
    r.epoch = "e";
    r.pub = std::move(op.pub);
    r.pub.offset = op.offset;
    op.cb(op.user, std::move(r));
  }
  // The snapshot first, the answer later.
  void advance_read(size_t i) {
    read_op& op = reads_[i];
    if (!op.is_read) {
      op.is_read = true;
      op.top = top;
      return;
    }
    const read_op done = op;
    reads_.erase(reads_.begin() + static_cast<std::ptrdiff_t>(i));
    ::store::read_result r;
    r.rc = read_rc;
    if (read_rc == core::err::ok) r.top = {done.top, "e"};
    done.cb(done.user, std::move(r));
  }

  uint64_t top = 0;
  core::err read_rc = core::err::ok;
  bool refuse = false;
  bool is_ready = true;

 private:
  struct append_op {
    ::store::publication pub;
    ::store::append_cb cb;
    void* user;
    bool fails;
    uint64_t offset = 0;
  };
  struct read_op {
    ::store::read_cb cb;
    void* user;
    bool is_read;
    uint64_t top;
  };
  std::deque<append_op> appends_, committed_;
  std::deque<read_op> reads_;
};

// What the subscriber sees, checked at once.
struct subscriber {
  uint64_t told = 0;
  bool is_live = false;
  uint64_t newest_answered = 0;
  size_t positions = 0, events = 0, lost = 0, failures = 0;
};

const broker::broker_events kEvents = {
    [](void* user, std::string_view, const broker::event& e) noexcept {
      auto* s = static_cast<subscriber*>(user);
      ++s->events;
      EXPECT_TRUE(s->is_live);
      EXPECT_EQ(e.pub->offset, s->told + 1);
      s->told = e.pub->offset;
    },
    [](void* user, std::string_view) noexcept { ++static_cast<subscriber*>(user)->lost; },
    [](void*, std::string_view) noexcept {}};

class local_test : public ::testing::Test {
 protected:
  core::err publish(bool fails = false) {
    broker::publish_request r;
    r.channel = "a";
    r.has_history = true;
    r.data = "x";
    r.is_delete = fails;  // the store's sign to fail
    return bus_->publish(
        std::move(r),
        [](void* user, broker::publish_result&& result) noexcept {
          auto* s = static_cast<subscriber*>(user);
          if (result.rc != core::err::ok) {
            ++s->failures;
            return;
          }
          s->newest_answered = result.offset;
          EXPECT_TRUE(!s->is_live || s->lost > 0 || s->told >= result.offset)
              << "answered but not told";
        },
        &sub_);
  }
  core::err subscribe() {
    const core::err rc = bus_->subscribe(
        "a", true,
        [](void* user, core::err answer, const store::position& p) noexcept {
          auto* self = static_cast<local_test*>(user);
          subscriber* s = &self->sub_;
          ++s->positions;
          if (answer != core::err::ok) return;
          EXPECT_GE(p.offset, s->newest_answered) << "answered before and not covered";
          EXPECT_LE(p.offset, self->history_.top) << "not committed";
          if (--self->asked_ > 0) return;  // a later subscribe is on its way
          s->is_live = true;
          s->told = p.offset;
        },
        this);
    if (rc == core::err::ok) {
      sub_.is_live = false;
      ++asked_;
    }
    return rc;
  }

  shuffled_store history_;
  subscriber sub_;
  int asked_ = 0;
  std::unique_ptr<broker::broker> bus_{broker::open_local(&history_, nullptr, &kEvents, &sub_)};
};

TEST_F(local_test, covers_what_was_answered_between_the_read_and_its_answer) {
  ASSERT_EQ(subscribe(), core::err::ok);
  history_.advance_read(0);  // sees 0
  ASSERT_EQ(publish(), core::err::ok);
  history_.commit();
  history_.answer_append();
  history_.advance_read(0);
  EXPECT_EQ(sub_.told, 1u);
  EXPECT_EQ(sub_.events, 0u);
}

TEST_F(local_test, does_not_tell_what_the_read_has_seen) {
  ASSERT_EQ(publish(), core::err::ok);
  ASSERT_EQ(subscribe(), core::err::ok);
  history_.commit();
  history_.advance_read(0);
  history_.advance_read(0);
  EXPECT_EQ(sub_.told, 1u);
  history_.answer_append();
  EXPECT_EQ(sub_.events, 0u);
}

TEST_F(local_test, loses_and_doubles_nothing_in_any_order_of_the_stores_answers) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 20'000 && !HasFailure(); ++i) {
    const uint32_t what = random() % 100;
    if (what < 20) {
      ASSERT_EQ(publish(random() % 10 == 0), core::err::ok);
    } else if (what < 22) {
      // Reads are answered in any order, and an earlier one's answer tells nothing of a later
      // subscribe: one at a time here.
      if (asked_ > 0) continue;
      ASSERT_EQ(subscribe(), core::err::ok);
    } else if (what < 23) {
      if (asked_ > 0) continue;
      bus_->unsubscribe("a");
      sub_.is_live = false;
    } else {
      history_.step(random);
    }
  }
  while (!history_.is_idle()) history_.step(random);
  ASSERT_EQ(subscribe(), core::err::ok);
  ASSERT_EQ(publish(), core::err::ok);
  while (!history_.is_idle()) history_.step(random);
  EXPECT_TRUE(sub_.is_live);
  EXPECT_EQ(sub_.told, history_.top);
  EXPECT_EQ(sub_.lost, 0u);
  EXPECT_GT(sub_.events, 100u);
  EXPECT_GT(sub_.failures, 100u);
}

TEST_F(local_test, ignores_the_answer_to_an_earlier_subscribe) {
  ASSERT_EQ(subscribe(), core::err::ok);
  history_.advance_read(0);
  bus_->unsubscribe("a");
  ASSERT_EQ(subscribe(), core::err::ok);
  history_.advance_read(0);  // the first is answered, and makes nothing live
  ASSERT_EQ(publish(), core::err::ok);
  history_.commit();
  history_.answer_append();
  EXPECT_EQ(sub_.events, 0u);
  history_.advance_read(0);
  history_.advance_read(0);
  EXPECT_EQ(sub_.positions, 2u);
  EXPECT_EQ(sub_.told, 1u);
}

TEST_F(local_test, is_not_subscribed_when_the_read_has_failed) {
  history_.read_rc = core::err::io;
  ASSERT_EQ(subscribe(), core::err::ok);
  history_.advance_read(0);
  history_.advance_read(0);
  EXPECT_EQ(sub_.positions, 1u);
  ASSERT_EQ(publish(), core::err::ok);
  history_.commit();
  history_.answer_append();
  EXPECT_EQ(sub_.events, 0u);
}

TEST_F(local_test, hands_on_the_stores_refusal) {
  history_.refuse = true;
  EXPECT_EQ(publish(), core::err::full);
  EXPECT_EQ(subscribe(), core::err::full);
  history_.is_ready = false;
  EXPECT_FALSE(bus_->is_ready());
}

TEST_F(local_test, reports_a_channel_that_somebody_else_writes) {
  ASSERT_EQ(subscribe(), core::err::ok);
  history_.advance_read(0);
  history_.advance_read(0);
  ++history_.top;
  ASSERT_EQ(publish(), core::err::ok);
  history_.commit();
  history_.answer_append();
  EXPECT_EQ(sub_.lost, 1u);
  EXPECT_EQ(sub_.events, 0u);
}

TEST_F(local_test, frees_what_was_never_answered) {
  ASSERT_EQ(publish(), core::err::ok);
  ASSERT_EQ(subscribe(), core::err::ok);
  bus_->close();
  bus_.reset();  // a leak here is the address sanitizer's to find
}

class set_clock final : public core::clock_source {
 public:
  uint64_t mono_us() const noexcept override { return 0; }
  int64_t wall_ms() const noexcept override { return 123456; }
};

TEST_F(local_test, takes_the_time_from_its_clock) {
  const set_clock clock;
  const std::unique_ptr<broker::broker> bus(
      broker::open_local(&history_, nullptr, &kEvents, &sub_, &clock));
  broker::publish_request r;
  r.channel = "live";
  int64_t time_ms = 0;
  ASSERT_EQ(bus->publish(
                std::move(r),
                [](void* user, broker::publish_result&& result) noexcept {
                  *static_cast<int64_t*>(user) = result.time_ms;
                },
                &time_ms),
            core::err::ok);
  EXPECT_EQ(time_ms, 123456);
}

TEST(presence_test, refuses_names_that_its_entry_cannot_hold) {
  broker::presence_table t;
  EXPECT_EQ(t.add("a", {std::string(65535, 'c'), std::string(65535, 'u'), ""}), core::err::ok);
  EXPECT_EQ(t.add("a", {std::string(65536, 'c'), "u", ""}), core::err::too_big);
  EXPECT_EQ(t.add("a", {"c", std::string(65536, 'u'), ""}), core::err::too_big);
  EXPECT_EQ(t.counts("a").clients, 1u);
}

TEST(presence_test, agrees_with_a_model_on_random_changes) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  broker::presence_table t;
  std::map<std::string, std::map<std::string, std::string>> model;  // channel -> client -> user
  for (int i = 0; i < 20'000; ++i) {
    const std::string channel = "ch" + std::to_string(random() % 5),
                      client = "c" + std::to_string(random() % 30);
    if (random() % 2 == 0) {
      const std::string user = "u" + std::to_string(random() % 5);
      ASSERT_EQ(t.add(channel, {client, user, "{}"}), core::err::ok);
      model[channel][client] = user;
    } else {
      t.remove(channel, client);
      model[channel].erase(client);
    }
    std::map<std::string, std::string> got;
    for (const broker::member& m : t.members(channel, UINT32_MAX))
      ASSERT_TRUE(got.emplace(m.client, m.user).second);
    ASSERT_EQ(got, model[channel]) << i;
    ASSERT_EQ(t.counts(channel).clients, got.size());
  }
}

TEST(last_seen_test, knows_the_newest_for_a_month) {
  broker::last_seen seen;
  for (size_t i = 0; i < broker::kLastSeenMax; ++i)
    seen.note("#u" + std::to_string(i), 1000 + static_cast<int64_t>(i));
  EXPECT_EQ(seen.at("#u0", 2000), 1000);
  seen.note("#u1", 500'000);  // again: its old place is not its end
  EXPECT_EQ(seen.at("#u0", 2000), 0) << "one more than there is room for";
  seen.note("#one more", 500'001);
  EXPECT_EQ(seen.at("#u1", 500'001), 500'000);
  EXPECT_EQ(seen.at("#u2", 500'001), 1002);
  EXPECT_EQ(seen.at("#u1", 500'000 + broker::kLastSeenMs), 500'000);
  EXPECT_EQ(seen.at("#u1", 500'001 + broker::kLastSeenMs), 0);
}

}  // namespace
}  // namespace broker_test
