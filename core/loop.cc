// Loops: the iteration (mailbox, timers, flush), the group that runs them, the watchdog that
// watches them.
//
//   poll -> sockets | after it: mailbox, flush | timers | before poll: mailbox, flush, arm the tick
//   -> poll
#include "core/loop.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "core/assert.h"
#include "core/conn.h"
#include "core/log.h"
#include "core/loop_impl.h"

namespace core {

namespace {

constexpr uint32_t kWatchdogMs = 100;
constexpr uint64_t kLagWindowUs =
    10'000'000;  // loop_lag_us() tells of this window and the one before
constexpr uint64_t kLagLoggedUs = 1'000'000;

thread_local loop* t_current = nullptr;

void read_clock(loop* l) noexcept {
  l->now_ms.store(l->clock->mono_us() / 1000, std::memory_order_relaxed);
}

}  // namespace

// libuv has no hook between the end of its sleep and the first callback, so each of our callbacks
// calls this first.
void loop_enter(loop* l) noexcept {
  if (l->is_entered) return;
  l->is_entered = true;
  const uint64_t now_us = l->clock->mono_us();
  l->now_ms.store(now_us / 1000, std::memory_order_relaxed);
  l->busy_since_us.store(now_us, std::memory_order_relaxed);
  l->is_awake.exchange(true, std::memory_order_acq_rel);  // posts from here on need no wake-up
}

namespace {

void flush_touched(loop* l) noexcept {
  while (l->touched != nullptr) {
    conn* c = l->touched;
    l->touched = c->touched_next;
    c->touched_next = nullptr;
    c->is_touched = false;
    conn_flush(c);
  }
}

void on_tick(uv_timer_t* t) noexcept;

void arm_tick(loop* l) noexcept {
  if (l->timers.count > 0 && !l->is_ticking) {
    l->is_ticking = true;
    // To the border of the wheel's tick: a whole tick from now would add up to one more to every
    // deadline.
    uv_timer_start(&l->tick, on_tick, kTimerTickMs - loop_now_ms(l) % kTimerTickMs, 0);
  }
}

void on_tick(uv_timer_t* t) noexcept {
  loop* l = static_cast<loop*>(t->data);
  l->is_ticking = false;
  loop_enter(l);
  timer_wheel_advance(&l->timers, loop_now_ms(l));
  arm_tick(l);
}

// The mail itself is taken by on_check(), behind all sockets of this poll.
void on_wake(uv_async_t* h) noexcept {
  loop_enter(static_cast<loop*>(h->data));
}

// All but `wake`, which other threads may still use: it only stops to keep the loop alive, and is
// closed when all threads have ended.
void close_handles(loop* l) noexcept {
  uv_unref(reinterpret_cast<uv_handle_t*>(&l->wake));
  uv_close(reinterpret_cast<uv_handle_t*>(&l->tick), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&l->before_poll), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&l->after_poll), nullptr);
}

void note_lag(std::atomic<uint64_t>* longest, uint64_t us) noexcept {
  uint64_t before = longest->load(std::memory_order_relaxed);
  while (us > before && !longest->compare_exchange_weak(before, us, std::memory_order_relaxed)) {
  }
}

// Going to sleep: everything that this iteration has produced goes out first.
void on_prepare(uv_prepare_t* h) noexcept {
  loop* l = static_cast<loop*>(h->data);
  loop_enter(l);
  mailbox_run(l);
  flush_touched(l);
  arm_tick(l);
  l->counters.iterations.add();
  l->is_entered = false;
  const uint64_t now_us = l->clock->mono_us();
  note_lag(&l->lag_us, now_us - l->busy_since_us.exchange(0, std::memory_order_acq_rel));
  const bool has_conns =
      l->counters.connections_open.get() != 0 || l->counters.dialled_open.get() != 0;
  if (l->is_stopping.load(std::memory_order_acquire) && !has_conns) {
    close_handles(l);
    return;
  }
  mailbox_sleep(l);
}

void on_check(uv_check_t* h) noexcept {
  loop* l = static_cast<loop*>(h->data);
  loop_enter(l);
  mailbox_run(l);
  flush_touched(l);
}

}  // namespace

struct loop_group {
  std::vector<loop*> loops;
  const loop_group_events* events = nullptr;
  void* user = nullptr;
  std::thread watchdog;
  std::mutex lock;
  std::condition_variable changed;
  uint32_t running = 0;  // loops that may still run messages
  bool is_stopping = false;
  bool is_running = false;
};

namespace {

// A message that another loop still runs may look into this loop's part of the node (a request that
// came from here): on_stop() frees that only when nobody runs messages any more.
void await_others(loop_group* g) noexcept {
  std::unique_lock<std::mutex> held(g->lock);
  if (--g->running == 0) g->changed.notify_all();
  g->changed.wait(held, [g] { return g->running == 0; });
}

void run_loop(loop* l) noexcept {
  t_current = l;
  read_clock(l);
  l->group->events->on_start(l->group->user, l);
  uv_run(&l->uv, UV_RUN_DEFAULT);
  l->busy_since_us.store(0, std::memory_order_relaxed);
  await_others(l->group);
  l->group->events->on_stop(l->group->user, l);
  t_current = nullptr;
}

// The first window begins with the group, not when this thread gets its first turn.
void watch(loop_group* g, uint64_t window_began) noexcept {
  std::vector<uint64_t> logged(g->loops.size());
  std::unique_lock<std::mutex> held(g->lock);
  while (!g->is_stopping) {
    g->changed.wait_for(held, std::chrono::milliseconds(kWatchdogMs));
    const uint64_t now = g->loops[0]->clock->mono_us();
    const bool is_new_window = now - window_began > kLagWindowUs;
    if (is_new_window) window_began = now;
    for (size_t i = 0; i < g->loops.size(); ++i) {
      loop* l = g->loops[i];
      const uint64_t since = l->busy_since_us.load(std::memory_order_relaxed);
      const uint64_t lag = since != 0 && now > since ? now - since : 0;
      if (is_new_window)
        l->lag_before_us.store(l->lag_us.exchange(0, std::memory_order_relaxed),
                               std::memory_order_relaxed);
      note_lag(&l->lag_us, lag);
      if (lag > kLagLoggedUs && logged[i] != since) {
        logged[i] = since;
        log_warn("a loop has been busy for long", {{"loop", l->index}, {"ms", lag / 1000}});
      }
    }
  }
}

err loop_open(loop* l, uint32_t index, loop_group* g, const loop_options& o) noexcept {
  l->index = index;
  l->group = g;
  l->clock = o.clock;
  mailbox_open(l, o.mailbox_max);
  l->read_buffer = std::make_unique<char[]>(kReadBytes + kReadPaddingBytes);
  read_clock(l);
  timer_wheel_init(&l->timers, loop_now_ms(l));
  if (uv_loop_init(&l->uv) != 0) return err::io;
  l->uv.data = l;
  CORE_ASSERT(uv_async_init(&l->uv, &l->wake, on_wake) == 0);
  l->wake.data = l;
  uv_timer_init(&l->uv, &l->tick);
  l->tick.data = l;
  uv_prepare_init(&l->uv, &l->before_poll);
  l->before_poll.data = l;
  uv_prepare_start(&l->before_poll, on_prepare);
  uv_check_init(&l->uv, &l->after_poll);
  l->after_poll.data = l;
  uv_check_start(&l->after_poll, on_check);
  return err::ok;
}

}  // namespace

loop* loop_current() noexcept {
  return t_current;
}

uint64_t loop_now_ms(const loop* l) noexcept {
  return l->now_ms.load(std::memory_order_relaxed);
}
timer_wheel* loop_timers(loop* l) noexcept {
  return &l->timers;
}
uv_loop_t* loop_uv(loop* l) noexcept {
  return &l->uv;
}
loop_metrics* loop_counters(loop* l) noexcept {
  return &l->counters;
}
void* loop_data(const loop* l) noexcept {
  return l->data;
}
void loop_set_data(loop* l, void* data) noexcept {
  l->data = data;
}
const clock_source* loop_clock(const loop* l) noexcept {
  return l->clock;
}
char* loop_read_buffer(loop* l) noexcept {
  return l->read_buffer.get();
}
uint64_t loop_lag_us(const loop* l) noexcept {
  return std::max(l->lag_us.load(std::memory_order_relaxed),
                  l->lag_before_us.load(std::memory_order_relaxed));
}

void loop_touch(loop* l, conn* c) noexcept {
  if (c->is_touched) return;
  c->is_touched = true;
  c->touched_next = l->touched;
  l->touched = c;
}

err loop_group_create(uint32_t count, const loop_options& options, loop_group** out) noexcept {
  CORE_ASSERT(count > 0);
  loop_group* g = new loop_group;
  for (uint32_t i = 0; i < count; ++i) {
    loop* l = new loop;
    const err rc = loop_open(l, i, g, options);
    if (rc != err::ok) {
      delete l;
      loop_group_free(g);
      return rc;
    }
    g->loops.push_back(l);
  }
  *out = g;
  return err::ok;
}

uint32_t loop_group_size(const loop_group* g) noexcept {
  return static_cast<uint32_t>(g->loops.size());
}
loop* loop_group_at(const loop_group* g, uint32_t index) noexcept {
  return g->loops[index];
}

void loop_group_start(loop_group* g, const loop_group_events* events, void* user) noexcept {
  g->events = events;
  g->user = user;
  g->is_running = true;
  g->running = loop_group_size(g);
  for (loop* l : g->loops) l->thread = std::thread(run_loop, l);
  g->watchdog = std::thread(watch, g, g->loops[0]->clock->mono_us());
}

void loop_group_stop(loop_group* g) noexcept {
  if (!g->is_running) return;
  g->is_running = false;
  for (loop* l : g->loops) {
    l->is_stopping.store(true, std::memory_order_release);
    uv_async_send(&l->wake);
  }
  for (loop* l : g->loops) l->thread.join();
  {
    const std::lock_guard<std::mutex> held(g->lock);
    g->is_stopping = true;
  }
  g->changed.notify_all();
  g->watchdog.join();
  for (loop* l : g->loops) l->is_ended.store(true, std::memory_order_release);
  for (loop* l : g->loops) mailbox_drop(l);
}

void loop_group_free(loop_group* g) noexcept {
  CORE_ASSERT(!g->is_running);
  for (loop* l : g->loops) {
    mailbox_drop(l);
    uv_walk(
        &l->uv,
        [](uv_handle_t* h, void*) {
          if (!uv_is_closing(h)) uv_close(h, nullptr);
        },
        nullptr);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    CORE_ASSERT(uv_loop_close(&l->uv) == 0);
    for (frame** q : l->free_queues) delete[] q;
    delete l;
  }
  delete g;
}

namespace {

struct call_msg : msg {
  void (*fn)(loop* here, void* user) noexcept;
  void* user;
};

}  // namespace

bool loop_call(loop* l, void (*fn)(loop* here, void* user) noexcept, void* user) noexcept {
  auto* m = new call_msg;
  m->fn = fn;
  m->user = user;
  m->run = [](loop* here, msg* self) noexcept {
    auto* call = static_cast<call_msg*>(self);
    call->fn(here, call->user);
    delete call;
  };
  m->drop = [](msg* self) noexcept { delete static_cast<call_msg*>(self); };
  return loop_post(l, m) == err::ok;
}

}  // namespace core
