// How threads talk: one bounded mailbox per loop. All that the folders above see of another loop.
// Seam header.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/err.h"

namespace core {

struct loop;

// A message is a heap object that begins with this head. Exactly one of run and drop is called,
// once, and it must dispose of the message (or post it on). run() is called on the receiving loop's
// thread; drop() on the poster's thread when the post fails, or on any thread while the program
// ends.
struct msg {
  std::atomic<msg*> next{nullptr};
  void (*run)(loop* here, msg* m) noexcept = nullptr;
  void (*drop)(msg* m) noexcept = nullptr;
};

// Any thread. Takes `m` in every case: on full (the mailbox holds its maximum) or closed (the loop
// has ended) drop() has been called. Posts of one thread to one loop arrive in order. Wakes the
// loop once for many posts.
err loop_post(loop* to, msg* m) noexcept;

// A request reserves the slot of its reply before it is sent, so that a reply, a close or an
// unsubscribe never meets a full mailbox. Any thread. Reserves all n slots or none; false when the
// mailbox could not hold them.
[[nodiscard]] bool loop_reserve(loop* to, uint32_t n) noexcept;
void loop_unreserve(loop* to, uint32_t n) noexcept;
// Takes `m` and uses up one reserved slot. After the loop has ended drop() is called.
void loop_post_reserved(loop* to, msg* m) noexcept;

uint32_t loop_index(const loop* l) noexcept;  // 0 .. loops-1
loop* loop_current() noexcept;                // the calling thread's loop, nullptr elsewhere

}  // namespace core
