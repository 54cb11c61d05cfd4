// One thread, one uv_loop_t, one mailbox, one timer wheel; and the group of them that a node runs.
#pragma once

#include <uv.h>

#include <cstdint>
#include <vector>

#include "core/clock.h"
#include "core/err.h"
#include "core/metrics.h"
#include "core/post.h"
#include "core/timer_wheel.h"

namespace core {

struct conn;

struct loop_options {
  uint32_t mailbox_max = 65536;  // messages waiting or reserved
  const clock_source* clock = system_clock();
};

// Everything here but the mailbox is touched by the loop's own thread alone.
struct loop;

// The parts of a loop that its users need. All but the first two on the loop's thread only.
uint64_t loop_now_ms(const loop* l) noexcept;  // monotonic, cached once per iteration
timer_wheel* loop_timers(loop* l) noexcept;
uv_loop_t* loop_uv(loop* l) noexcept;
loop_metrics* loop_counters(loop* l) noexcept;
void* loop_data(
    const loop* l) noexcept;  // what loop_set_data() stored: the node's part of this loop
void loop_set_data(loop* l, void* data) noexcept;
const clock_source* loop_clock(const loop* l) noexcept;

// The loop's receive buffer, shared by all its connections and valid until the next read:
// kReadBytes usable and at least 64 readable padding bytes behind them (simdjson).
inline constexpr uint32_t kReadBytes = 256 * 1024;
char* loop_read_buffer(loop* l) noexcept;

// Asks for conn_flush() of `c` at the end of this iteration; called by conn.cc.
void loop_touch(loop* l, conn* c) noexcept;

struct loop_group;

// Creates `count` loops, not yet running. Call loop_group_start() to start their threads: each
// calls on_start on its thread first, then serves until loop_group_stop().
struct loop_group_events {
  void (*on_start)(void* user, loop* l) noexcept;
  // The last call on the loop's thread: all handles of ours are closed, and no loop of the group
  // runs messages any more.
  void (*on_stop)(void* user, loop* l) noexcept;
};
err loop_group_create(uint32_t count, const loop_options& options, loop_group** out) noexcept;
uint32_t loop_group_size(const loop_group* g) noexcept;
loop* loop_group_at(const loop_group* g, uint32_t index) noexcept;
void loop_group_start(loop_group* g, const loop_group_events* events, void* user) noexcept;
// Main thread. Ends the loops when their connections are gone (close them before), joins the
// threads. Messages that are still in mailboxes are dropped after the last thread has ended, so a
// post can never race with a freed loop.
void loop_group_stop(loop_group* g) noexcept;
void loop_group_free(loop_group* g) noexcept;

// Runs `fn(user)` on the loop's thread soon; any thread. Convenience over loop_post for cold paths;
// false: full/closed.
bool loop_call(loop* l, void (*fn)(loop* here, void* user) noexcept, void* user) noexcept;

// Longest time, in microseconds, since an iteration of the loop began, measured by the watchdog
// thread of the group; exported as loop lag. A loop that stands still for longer than a second is
// logged.
uint64_t loop_lag_us(const loop* l) noexcept;

}  // namespace core
