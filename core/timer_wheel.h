// Thousands of deadlines on one clock tick: a hashed timer wheel with intrusive nodes. Pure, no
// I/O. Seam header.
#pragma once

#include <cstdint>

namespace core {

inline constexpr uint32_t kTimerTickMs =
    50;  // deadlines fire at most one tick late (while the loop is not blocked)
inline constexpr uint32_t kTimerSlots =
    1024;  // 51.2 s a turn; later deadlines stay in their slot for more turns

// Embed one in the owner; fire() gets it back. A timer that has fired is no longer in the wheel.
struct timer {
  timer* prev = nullptr;
  timer* next = nullptr;
  uint64_t due_tick = 0;
  void (*fire)(timer* t) noexcept = nullptr;
};

struct timer_wheel {
  timer slots[kTimerSlots];  // heads of circular lists
  uint64_t tick = 0;         // ticks processed
  uint64_t count = 0;        // timers in the wheel
};

void timer_wheel_init(timer_wheel* w, uint64_t now_ms) noexcept;
// (Re)starts: a timer that runs is moved. Fires once, not before now_ms + delay_ms.
void timer_start(timer_wheel* w, timer* t, uint64_t now_ms, uint64_t delay_ms) noexcept;
void timer_stop(timer_wheel* w, timer* t) noexcept;  // no effect on a timer that does not run
inline bool timer_runs(const timer* t) noexcept {
  return t->next != nullptr;
}
// Fires everything due at now_ms. fire() may start and stop any timer of the wheel, itself too.
void timer_wheel_advance(timer_wheel* w, uint64_t now_ms) noexcept;

}  // namespace core
