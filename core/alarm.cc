// A timerfd on the monotonic clock, polled by libuv.
#include "core/alarm.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>

#include "core/assert.h"
#include "core/loop_impl.h"

namespace core {
namespace {

void on_poll(uv_poll_t* h, int, int) noexcept {
  auto* a = reinterpret_cast<alarm*>(h);
  loop_enter(a->home);
  uint64_t times;
  if (::read(a->fd, &times, sizeof times) == static_cast<ssize_t>(sizeof times) && !a->is_closing)
    a->fire(a);
}

void on_closed(uv_handle_t* h) noexcept {
  auto* a = reinterpret_cast<alarm*>(h);
  ::close(a->fd);
  if (a->closed != nullptr) a->closed(a);
}

}  // namespace

err alarm_open(alarm* a, loop* home, void (*fire)(alarm* a) noexcept) noexcept {
  *a = alarm{};
  a->home = home;
  a->fire = fire;
  a->fd = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (a->fd < 0) return err::io;
  if (uv_poll_init(&home->uv, &a->poll, a->fd) != 0) {
    ::close(a->fd);
    return err::io;
  }
  CORE_ASSERT(uv_poll_start(&a->poll, UV_READABLE, on_poll) == 0);
  return err::ok;
}

void alarm_set(alarm* a, uint64_t at_us) noexcept {
  const uint64_t at = std::max<uint64_t>(at_us, 1);  // zero would stop the timer
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(at / 1'000'000);
  when.it_value.tv_nsec = static_cast<long>(at % 1'000'000 * 1000);
  CORE_ASSERT(::timerfd_settime(a->fd, TFD_TIMER_ABSTIME, &when, nullptr) == 0);
}

void alarm_close(alarm* a, void (*closed)(alarm* a) noexcept) noexcept {
  if (a->is_closing) return;
  a->is_closing = true;
  a->closed = closed;
  uv_close(reinterpret_cast<uv_handle_t*>(&a->poll), on_closed);
}

}  // namespace core
