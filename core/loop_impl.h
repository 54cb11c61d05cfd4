// The inside of a loop, shared by loop.cc, post.cc, conn.cc and listener.cc.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "core/frame.h"
#include "core/loop.h"

namespace core {

inline constexpr uint32_t kMailboxTurnMax =
    4096;  // messages a turn, so that sockets are served between
inline constexpr uint32_t kReadPaddingBytes = 64;
inline constexpr uint32_t kQueueCapFirst =
    16;  // frames; the smallest out-queue, kept in a free list
inline constexpr size_t kQueuesKept =
    16384;  // of these a loop keeps: 2 MiB, a fan-out to as many allocates nothing

struct loop {
  uv_loop_t uv;
  uint32_t index = 0;
  loop_group* group = nullptr;
  const clock_source* clock = nullptr;
  void* data = nullptr;
  std::atomic<uint64_t> now_ms{0};
  loop_metrics counters;

  // Mailbox (Vyukov's intrusive queue): producers swap `tail`, the loop follows `head`.
  struct stub_msg : msg {
  } stub;
  alignas(64) std::atomic<msg*> tail{nullptr};
  alignas(64) msg* head = nullptr;
  alignas(64) std::atomic<uint32_t> held{0};  // waiting and reserved
  std::atomic<bool> is_awake{
      false};  // runs, or a wake-up is on its way: it will look into the mailbox before it sleeps
  std::atomic<bool> is_ended{false};
  uint32_t mailbox_max = 0;
  uv_async_t wake;

  timer_wheel timers;
  uv_timer_t tick;
  bool is_ticking = false;
  bool is_entered = false;  // this iteration has read the clock
  uv_prepare_t before_poll;
  uv_check_t after_poll;

  conn* touched = nullptr;           // to flush, a list through conn::touched_next
  std::vector<frame**> free_queues;  // of kQueueCapFirst frames
  std::unique_ptr<char[]> read_buffer;
  std::atomic<bool> is_stopping{false};
  std::thread thread;

  // Watchdog: when the current busy period began (0: asleep in poll), and the longest of this
  // window and the one before.
  std::atomic<uint64_t> busy_since_us{0};
  std::atomic<uint64_t> lag_us{0};
  std::atomic<uint64_t> lag_before_us{0};
};

void loop_enter(loop* l) noexcept;  // first in every callback from libuv: the iteration's time

// The mailbox as its loop sees it.
void mailbox_open(loop* l, uint32_t max) noexcept;
void mailbox_run(loop* l) noexcept;    // at most kMailboxTurnMax messages
void mailbox_sleep(loop* l) noexcept;  // last before poll: from here on a post wakes the loop
void mailbox_drop(loop* l) noexcept;   // when no thread runs the loop any more

}  // namespace core
