// The timer wheel against a plain map, and what fire() may do.
#include "core/timer_wheel.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <random>
#include <vector>

namespace core {
namespace {

struct probe : timer {
  timer_wheel* wheel = nullptr;
  uint64_t now_ms = 0;  // of the advance that runs
  uint64_t due_ms = 0;  // the model: earliest moment
  bool is_expected = false;
  int fired = 0;
  timer* stops = nullptr;
  timer* starts = nullptr;
  uint64_t starts_in_ms = 0;
};

void on_fire(timer* t) noexcept {
  auto* p = static_cast<probe*>(t);
  ++p->fired;
  if (p->stops != nullptr) timer_stop(p->wheel, p->stops);
  if (p->starts != nullptr) timer_start(p->wheel, p->starts, p->now_ms, p->starts_in_ms);
}

class timer_wheel_test : public testing::Test {
 protected:
  void SetUp() override { timer_wheel_init(&wheel_, now_); }
  void set(probe* p, uint64_t delay_ms) {
    p->wheel = &wheel_;
    p->fire = on_fire;
    p->now_ms = now_;
    timer_start(&wheel_, p, now_, delay_ms);
  }
  void advance(uint64_t ms) {
    now_ += ms;
    timer_wheel_advance(&wheel_, now_);
  }
  timer_wheel wheel_;
  uint64_t now_ = 12345;
};

TEST_F(timer_wheel_test, fires_once_and_at_most_a_tick_late) {
  for (const uint64_t delay :
       {0ull, 1ull, 49ull, 50ull, 51ull, 51'199ull, 51'200ull, 51'201ull, 3'600'000ull}) {
    probe p;
    set(&p, delay);
    EXPECT_TRUE(timer_runs(&p));
    if (delay > 0) advance(delay - 1);
    EXPECT_EQ(p.fired, 0) << delay;
    advance(1 + kTimerTickMs);
    EXPECT_EQ(p.fired, 1) << delay;
    EXPECT_FALSE(timer_runs(&p));
    advance(200'000);
    EXPECT_EQ(p.fired, 1) << delay;
    EXPECT_EQ(wheel_.count, 0u);
  }
}

TEST_F(timer_wheel_test, start_moves_and_stop_is_idempotent) {
  probe p;
  set(&p, 100);
  set(&p, 1000);
  EXPECT_EQ(wheel_.count, 1u);
  advance(900);
  EXPECT_EQ(p.fired, 0);
  timer_stop(&wheel_, &p);
  timer_stop(&wheel_, &p);
  EXPECT_EQ(wheel_.count, 0u);
  advance(10'000);
  EXPECT_EQ(p.fired, 0);
}

TEST_F(timer_wheel_test, fire_may_stop_one_that_is_due_too) {
  probe a, b;
  set(&a, 100);
  set(&b, 100);
  a.stops = &b;
  b.stops = &a;
  advance(1000);
  EXPECT_EQ(a.fired + b.fired, 1);
  EXPECT_EQ(wheel_.count, 0u);
}

TEST_F(timer_wheel_test, fire_may_restart_itself_without_end) {
  probe p;
  set(&p, 0);
  p.starts = &p;
  advance(500);  // ends although it is due again at once
  EXPECT_GE(p.fired, 1);
  EXPECT_LE(p.fired, 11);
  EXPECT_TRUE(timer_runs(&p));
}

TEST_F(timer_wheel_test, fire_may_move_one_that_is_due_too) {
  probe a, b;
  set(&a, 100);
  set(&b, 100);
  a.starts = &b;
  a.starts_in_ms = 5000;
  a.now_ms = now_ + 150;
  advance(150);
  EXPECT_EQ(b.fired, 0);
  advance(5000 + kTimerTickMs);
  EXPECT_EQ(b.fired, 1);
}

TEST_F(timer_wheel_test, for_ever_is_a_delay) {
  probe p;
  set(&p, UINT64_MAX);
  advance(1'000'000);
  EXPECT_EQ(p.fired, 0);
  EXPECT_TRUE(timer_runs(&p));
}

// Else the first advance after a quiet month walks through 50 million ticks.
TEST_F(timer_wheel_test, an_empty_wheel_catches_up_at_once) {
  now_ += 30ull * 24 * 3600 * 1000;
  probe p;
  set(&p, 100);
  EXPECT_EQ(wheel_.tick, now_ / kTimerTickMs);
  advance(150);
  EXPECT_EQ(p.fired, 1);
}

TEST_F(timer_wheel_test, behaves_as_a_map_under_random_operations) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<std::unique_ptr<probe>> all;
  for (int i = 0; i < 200; ++i) all.push_back(std::make_unique<probe>());
  for (int step = 0; step < 20'000; ++step) {
    probe* p = all[random() % all.size()].get();
    const uint32_t what = random() % 10;
    if (what < 5) {
      const uint64_t delay = random() % 4 == 0 ? random() % 150'000 : random() % 2000;
      set(p, delay);
      p->due_ms = now_ + delay;
      p->is_expected = true;
    } else if (what < 7) {
      timer_stop(&wheel_, p);
      p->is_expected = false;
    } else {
      for (auto& q : all) q->fired = 0;
      advance(random() % 10 == 0 ? random() % 60'000 : random() % 300);
      for (auto& q : all) {
        if (q->fired > 0) {
          ASSERT_EQ(q->fired, 1);
          ASSERT_TRUE(q->is_expected);
          ASSERT_GE(now_, q->due_ms);
          q->is_expected = false;
        } else if (q->is_expected) {
          ASSERT_LT(now_, q->due_ms + 2 * kTimerTickMs) << "late";
        }
      }
    }
    uint64_t expected = 0;
    for (auto& q : all) expected += q->is_expected ? 1 : 0;
    ASSERT_EQ(wheel_.count, expected);
  }
}

}  // namespace
}  // namespace core
