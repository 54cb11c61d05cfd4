// One deadline of a loop with microsecond precision, for those whom the timer wheel's tick is too
// coarse (schedules of a load tool): a timerfd(2) polled by the loop. Not for many: each costs a
// descriptor and two system calls a deadline.
#pragma once

#include <uv.h>

#include <cstdint>

#include "core/err.h"

namespace core {

struct loop;

// Embedded in its user's struct; on the loop's thread only. Keeps the loop alive until it is
// closed.
struct alarm {
  uv_poll_t poll;  // first: the handle is the alarm
  loop* home;
  void (*fire)(alarm* a) noexcept;  // may set the alarm again
  void (*closed)(alarm* a) noexcept;
  int fd;
  bool is_closing;
};

err alarm_open(alarm* a, loop* home, void (*fire)(alarm* a) noexcept) noexcept;  // io
// Fires once, not before the system's monotonic clock (system_clock()->mono_us(), whatever clock
// the loop was given) has reached at_us; soon when it has. Replaces an earlier setting, also one
// that is due and has not fired yet.
void alarm_set(alarm* a, uint64_t at_us) noexcept;
// No further firing; closed() (may be null) in a later iteration: the memory may go. Idempotent.
void alarm_close(alarm* a, void (*closed)(alarm* a) noexcept) noexcept;

}  // namespace core
