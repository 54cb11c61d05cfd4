// What does it cost to start a timer and to have it fire, with 10,000 others waiting?
#include <memory>
#include <vector>

#include "core/timer_wheel.h"
#include "driver.h"

void run(uint64_t times) {
  static uint64_t fired;
  fired = 0;
  auto wheel = std::make_unique<core::timer_wheel>();
  core::timer_wheel_init(wheel.get(), 0);
  const auto fire = [](core::timer*) noexcept { ++fired; };
  std::vector<core::timer> waiting(10'000);
  for (core::timer& t : waiting) {
    t.fire = fire;
    core::timer_start(wheel.get(), &t, 0, 1'000'000'000);
  }
  core::timer one;
  one.fire = fire;
  uint64_t now = 0;
  for (uint64_t i = 0; i < times; ++i) {
    core::timer_start(wheel.get(), &one, now, 10);
    now += 2 * core::kTimerTickMs;
    core::timer_wheel_advance(wheel.get(), now);
  }
  must(fired == times, "timers did not fire");
}
