// Mailboxes, the loop's iteration, the group's start and end, the watchdog.
#include "core/loop.h"

#include <memory>
#include <vector>

#include "core/loop_impl.h"
#include "loop_world.h"

namespace core {
namespace {

// Counts what became of messages; each must be run or dropped exactly once.
struct tally {
  std::atomic<uint64_t> made{0}, run{0}, dropped{0};
  std::atomic<bool> is_over{false};
};

struct note : msg {
  tally* sum = nullptr;
  uint32_t producer = 0;
  uint32_t number = 0;
  std::vector<uint32_t>* last = nullptr;  // number + 1 of the last message of each producer
  loop* other = nullptr;
};

void drop_note(msg* m) noexcept {
  auto* n = static_cast<note*>(m);
  n->sum->dropped.fetch_add(1);
  delete n;
}

note* note_new(tally* sum) {
  auto* n = new note;
  n->sum = sum;
  sum->made.fetch_add(1);
  n->drop = drop_note;
  n->run = [](loop*, msg* m) noexcept {
    static_cast<note*>(m)->sum->run.fetch_add(1);
    delete static_cast<note*>(m);
  };
  return n;
}

loop_options with_mailbox(uint32_t max) {
  loop_options o;
  o.mailbox_max = max;
  return o;
}

TEST(mailbox_test, keeps_the_order_of_each_producer) {
  constexpr uint32_t kProducers = 4, kEach = 20'000;
  tally sum;
  std::vector<uint32_t> last(kProducers);
  {
    loop_world w(1);
    std::vector<std::thread> threads;
    for (uint32_t p = 0; p < kProducers; ++p) {
      threads.emplace_back([&, p] {
        for (uint32_t i = 0; i < kEach; ++i) {
          note* n = note_new(&sum);
          n->producer = p;
          n->number = i;
          n->last = &last;
          n->run = [](loop*, msg* m) noexcept {
            auto* self = static_cast<note*>(m);
            uint32_t& seen = (*self->last)[self->producer];
            EXPECT_EQ(self->number, seen);
            seen = self->number + 1;
            self->sum->run.fetch_add(1);
            delete self;
          };
          while (!loop_reserve(w.at(0), 1)) std::this_thread::yield();
          loop_post_reserved(w.at(0), n);
        }
      });
    }
    for (auto& t : threads) t.join();
    w.until(0, [&](loop*) { return sum.run == kProducers * kEach; });
  }
  for (const uint32_t n : last) EXPECT_EQ(n, kEach);
  EXPECT_EQ(sum.dropped, 0u);
}

TEST(mailbox_test, takes_its_maximum_and_not_one_more) {
  tally sum;
  loop_group* g = nullptr;
  ASSERT_EQ(loop_group_create(1, with_mailbox(3), &g),
            err::ok);  // not started: nothing is taken out
  loop* l = loop_group_at(g, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(loop_post(l, note_new(&sum)), err::ok);
  EXPECT_EQ(sum.dropped, 0u);
  EXPECT_EQ(loop_post(l, note_new(&sum)), err::full);
  EXPECT_EQ(sum.dropped, 1u);
  loop_group_free(g);
  EXPECT_EQ(sum.dropped, 4u);
  EXPECT_EQ(sum.run, 0u);
}

TEST(mailbox_test, reserved_slots_count_and_are_kept) {
  tally sum;
  loop_group* g = nullptr;
  ASSERT_EQ(loop_group_create(1, with_mailbox(4), &g), err::ok);
  loop* l = loop_group_at(g, 0);
  EXPECT_FALSE(loop_reserve(l, 5));
  EXPECT_FALSE(loop_reserve(l, UINT32_MAX));
  EXPECT_TRUE(loop_reserve(l, 3));
  EXPECT_FALSE(loop_reserve(l, 2)) << "all or none";
  EXPECT_EQ(loop_post(l, note_new(&sum)), err::ok);
  EXPECT_EQ(loop_post(l, note_new(&sum)), err::full);
  loop_post_reserved(l, note_new(&sum));  // full, and yet
  loop_unreserve(l, 1);
  EXPECT_EQ(loop_post(l, note_new(&sum)), err::ok);
  EXPECT_EQ(loop_post(l, note_new(&sum)), err::full);
  EXPECT_EQ(sum.dropped, 2u);
  loop_unreserve(l, 1);
  loop_group_free(g);
  EXPECT_EQ(sum.dropped, 5u);
}

TEST(mailbox_test, a_message_that_has_run_frees_its_slot) {
  tally sum;
  loop_world w(1, with_mailbox(2));
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(loop_reserve(w.at(0), 1));
    loop_post_reserved(w.at(0), note_new(&sum));
    w.until(0, [&](loop*) { return sum.run == static_cast<uint64_t>(i) + 1; });
    while (w.at(0)->held.load() != 0) std::this_thread::yield();
  }
}

TEST(mailbox_test, two_loops_play_ping_pong) {
  tally sum;
  loop_world w(2);
  note* n = note_new(&sum);
  n->number = 20'000;
  n->other = w.at(1);
  n->run = [](loop* here, msg* m) noexcept {
    auto* self = static_cast<note*>(m);
    EXPECT_EQ(loop_current(), here);
    if (self->number-- == 0) {
      self->sum->run.fetch_add(1);
      delete self;
      return;
    }
    loop* to = self->other;
    self->other = here;
    EXPECT_EQ(loop_post(to, self), err::ok);
  };
  ASSERT_EQ(loop_post(w.at(0), n), err::ok);
  while (sum.run != 1) std::this_thread::yield();
}

// Messages that travel between the loops for ever, and threads that post from outside, while the
// group ends.
TEST(mailbox_test, stop_with_messages_in_flight_loses_none) {
  for (int round = 0; round < 20; ++round) {
    tally sum;
    auto w = std::make_unique<loop_world>(2);
    for (int i = 0; i < 50; ++i) {
      note* n = note_new(&sum);
      n->other = w->at((i + 1) % 2);
      n->run = [](loop* here, msg* m) noexcept {
        auto* self = static_cast<note*>(m);
        loop* to = self->other;
        self->other = here;
        (void)loop_post(to, self);  // dropped when it fails
      };
      (void)loop_post(w->at(i % 2), n);
    }
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        while (!sum.is_over) {
          (void)loop_post(w->at(t), note_new(&sum));
          if (loop_reserve(w->at(t), 1)) loop_post_reserved(w->at(t), note_new(&sum));
        }
      });
    }
    while (sum.run < 100) std::this_thread::yield();
    w->stop();
    EXPECT_EQ(w->stopped, 2);
    const uint64_t made = sum.made;
    while (sum.made < made + 10) std::this_thread::yield();  // posts after the end
    sum.is_over = true;
    for (auto& t : threads) t.join();
    EXPECT_EQ(loop_post(w->at(0), note_new(&sum)), err::closed);
    w.reset();
    EXPECT_EQ(sum.run + sum.dropped, sum.made);
  }
}

TEST(mailbox_test, a_flood_does_not_starve_timers) {
  tally sum;
  loop_world w(1);
  struct stop_timer : timer {
    tally* sum;
  } t;
  t.sum = &sum;
  t.fire = [](timer* self) noexcept { static_cast<stop_timer*>(self)->sum->is_over = true; };
  w.on(0, [&](loop* l) { timer_start(loop_timers(l), &t, loop_now_ms(l), 100); });
  note* n = note_new(&sum);
  n->run = [](loop* here, msg* m) noexcept {  // posts itself again, to its own loop
    auto* self = static_cast<note*>(m);
    if (!self->sum->is_over) {
      (void)loop_post(here, self);
      return;
    }
    self->sum->run.fetch_add(1);
    delete self;
  };
  ASSERT_EQ(loop_post(w.at(0), n), err::ok);
  while (sum.run != 1) std::this_thread::yield();
}

TEST(loop_test, starts_and_stops_each_on_its_thread) {
  loop_world w(3);
  for (uint32_t i = 0; i < 3; ++i) {
    w.on(i, [&](loop* l) {
      EXPECT_EQ(l, w.at(i));
      EXPECT_EQ(loop_index(l), i);
      EXPECT_EQ(loop_current(), l);
      loop_set_data(l, &w);
      EXPECT_EQ(loop_data(l), &w);
    });
  }
  EXPECT_EQ(loop_current(), nullptr);
  EXPECT_EQ(w.started, 3);
  w.stop();
  EXPECT_EQ(w.stopped, 3);
  EXPECT_FALSE(loop_call(
      w.at(0), [](loop*, void*) noexcept {}, nullptr));
}

TEST(loop_test, a_group_that_never_ran_can_be_freed) {
  loop_group* g = nullptr;
  ASSERT_EQ(loop_group_create(2, {}, &g), err::ok);
  EXPECT_EQ(loop_group_size(g), 2u);
  EXPECT_EQ(loop_counters(loop_group_at(g, 1))->iterations.get(), 0u);
  loop_group_stop(g);  // no effect
  loop_group_free(g);
}

TEST(loop_test, fires_timers_by_its_clock_and_then_does_not_tick) {
  manual_clock clock;
  loop_options o;
  o.clock = &clock;
  loop_world w(1, o);
  struct probe : timer {
    std::atomic<int> fired{0};
  } t;
  t.fire = [](timer* self) noexcept { static_cast<probe*>(self)->fired.fetch_add(1); };
  w.on(0, [&](loop* l) {
    EXPECT_EQ(loop_clock(l), &clock);
    EXPECT_FALSE(l->is_ticking);
    timer_start(loop_timers(l), &t, loop_now_ms(l), 5000);
  });
  clock.advance_ms(4999);
  w.until(0, [&](loop* l) { return loop_now_ms(l) >= 1'004'999 && l->is_ticking; });
  EXPECT_EQ(t.fired, 0);
  clock.advance_ms(1 + kTimerTickMs);
  while (t.fired == 0) std::this_thread::yield();
  w.on(0, [](loop* l) { EXPECT_EQ(loop_timers(l)->count, 0u); });
  w.until(0, [](loop* l) { return !l->is_ticking; });
  EXPECT_EQ(t.fired, 1);
}

// The tick ends at the border of the wheel's tick, wherever the start lies: else a deadline may be
// almost two ticks late.
TEST(loop_test, the_tick_is_armed_to_the_wheels_border) {
  manual_clock clock;
  clock.advance_ms(20);  // 1'000'020 ms: 30 before a border
  loop_options o;
  o.clock = &clock;
  loop_world w(1, o);
  timer t;
  t.fire = [](timer*) noexcept {};
  w.on(0, [&](loop* l) { timer_start(loop_timers(l), &t, loop_now_ms(l), 100'000); });
  w.until(0, [](loop* l) { return l->is_ticking; });
  w.on(0, [&](loop* l) {
    EXPECT_LE(uv_timer_get_due_in(&l->tick), 30u);
    timer_stop(loop_timers(l), &t);
  });
}

TEST(loop_test, tells_the_longest_lag_and_forgets_it) {
  manual_clock clock;
  loop_options o;
  o.clock = &clock;
  loop_world w(1, o);
  w.on(0, [&](loop*) { clock.advance_ms(700); });
  // Asleep: while it is busy the next jump of the clock would be lag too.
  while (loop_lag_us(w.at(0)) < 700'000 || w.at(0)->busy_since_us.load() != 0)
    std::this_thread::yield();
  EXPECT_EQ(loop_lag_us(w.at(0)), 700'000u);
  // One window later it is still told, two later it is forgotten.
  clock.advance_ms(10'001);
  while (w.at(0)->lag_before_us.load() == 0) std::this_thread::yield();
  EXPECT_EQ(loop_lag_us(w.at(0)), 700'000u);
  clock.advance_ms(10'001);
  while (loop_lag_us(w.at(0)) != 0) std::this_thread::yield();
}

TEST(loop_test, the_watchdog_sees_a_loop_that_stands_still) {
  manual_clock clock;
  loop_options o;
  o.clock = &clock;
  loop_world w(1, o);
  w.on(0, [&](loop* l) {
    clock.advance_ms(800);
    while (loop_lag_us(l) < 800'000)
      std::this_thread::yield();  // told by another thread while we are busy
  });
}

}  // namespace
}  // namespace core
