// The queues between the loops and a store's threads. A queue that is full refuses; slots for the
// answers are reserved before anything is queued.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "store/request.h"

namespace store {

// Writes, taken by one thread in the order they came.
class write_queue {
 public:
  write_queue(uint32_t count_max, uint64_t bytes_max)
      : count_max_(count_max), bytes_max_(bytes_max) {}

  // Loops. `make` makes the write's `what`; it runs only when there is room.
  template <typename Fn>
  core::err push(core::loop* home, void* user, done_cb done, bool has_slot, uint64_t bytes,
                 Fn make) noexcept {
    if (has_slot && !core::loop_reserve(home, 1)) return core::err::full;
    auto w = std::make_unique<write>();
    w->home = home;
    w->user = user;
    w->done = done;
    w->has_slot = has_slot;
    w->bytes = bytes + kRequestBytes;
    // What nobody waits for leaves half of the queue to messages.
    const uint32_t waiting_max = has_slot ? count_max_ : count_max_ / 2;
    core::err rc = core::err::ok;
    {
      const std::lock_guard<std::mutex> held(lock_);
      if (is_closed_)
        rc = core::err::closed;
      else if (waiting_ >= waiting_max || bytes_ + w->bytes > bytes_max_)
        rc = core::err::full;
      if (rc == core::err::ok) {
        w->what = make();
        bytes_ += w->bytes;
        ++waiting_;
        list_.push(w.release());
      }
    }
    if (rc == core::err::ok)
      wake_.notify_one();
    else if (has_slot)
      core::loop_unreserve(home, 1);
    return rc;
  }

  // The store's thread. Waits for writes, poke() or the time; takes what there is up to the bounds.
  // False: closed and empty.
  bool take(write_list* out, uint32_t count_max, uint64_t bytes_max, uint32_t wait_ms) noexcept {
    std::unique_lock<std::mutex> held(lock_);
    wake_.wait_for(held, std::chrono::milliseconds(wait_ms),
                   [&] { return list_.count > 0 || is_poked_ || is_closed_; });
    is_poked_ = false;
    if (list_.count == 0) return !is_closed_;
    uint64_t bytes = 0;
    while (list_.count > 0 && out->count < count_max && bytes < bytes_max) {
      bytes += list_.first->bytes;
      out->push(list_.pop());
    }
    return true;
  }
  void poke() noexcept {  // any thread: take() returns, now or the next time
    {
      const std::lock_guard<std::mutex> held(lock_);
      is_poked_ = true;
    }
    wake_.notify_one();
  }

  // The store's threads: one message per loop; slots that are not needed are given back. Writes
  // without a slot go. Returns how many have failed with io or unavailable.
  uint32_t answer(write_list* done) noexcept;

  void close() noexcept {
    {
      const std::lock_guard<std::mutex> held(lock_);
      is_closed_ = true;
    }
    wake_.notify_all();
  }
  uint32_t waiting() noexcept {  // not yet answered
    const std::lock_guard<std::mutex> held(lock_);
    return waiting_;
  }

 private:
  const uint32_t count_max_;
  const uint64_t bytes_max_;
  std::mutex lock_;
  std::condition_variable wake_;
  write_list list_;
  uint32_t waiting_ = 0;
  uint64_t bytes_ = 0;
  bool is_poked_ = false, is_closed_ = false;
};

inline uint32_t write_queue::answer(write_list* done) noexcept {
  std::vector<answers*> all;  // as many as there are loops at most
  uint32_t failures = 0;
  uint64_t bytes = 0;
  const uint32_t count = done->count;
  while (done->count > 0) {
    write* w = done->pop();
    bytes += w->bytes;
    if (auto* a = std::get_if<append_write>(&w->what)) w->rc = a->result.rc;
    failures += w->rc == core::err::io || w->rc == core::err::unavailable;
    if (!w->has_slot) {
      delete w;
      continue;
    }
    answers* mine = nullptr;
    for (answers* a : all)
      if (a->home == w->home) mine = a;
    if (mine == nullptr) {
      mine = new answers;
      mine->home = w->home;
      mine->run = run_answers;
      mine->drop = drop_answers;
      all.push_back(mine);
    }
    mine->list.push(w);
  }
  {
    const std::lock_guard<std::mutex> held(lock_);
    waiting_ -= count;
    bytes_ -= bytes;
  }
  for (answers* a : all) {
    core::loop* home = a->home;
    if (a->list.count > 1) core::loop_unreserve(home, a->list.count - 1);
    core::loop_post_reserved(home, a);
  }
  return failures;
}

// Reads, taken by any of several threads, which wait while the loops have not taken enough of what
// was read before.
class read_queue {
 public:
  read_queue(uint32_t count_max, uint64_t bytes_max)
      : count_max_(count_max), bytes_max_(bytes_max) {}

  template <typename Fn>
  core::err push(core::loop* home, void* user, Fn make) noexcept {
    if (!core::loop_reserve(home, 1)) return core::err::full;
    auto r = std::make_unique<read_op>();
    r->home = home;
    r->user = user;
    r->room = room_;
    r->run = run_read_answer;
    r->drop = [](core::msg* m) noexcept { delete static_cast<read_op*>(m); };
    core::err rc = core::err::ok;
    {
      const std::lock_guard<std::mutex> held(room_->lock);
      if (is_closed_)
        rc = core::err::closed;
      else if (waiting_ >= count_max_)
        rc = core::err::full;
      if (rc == core::err::ok) {
        r->what = make();
        read_op* queued = r.release();
        (last_ == nullptr ? first_ : last_->next_read) = queued;
        last_ = queued;
        ++waiting_;
      }
    }
    if (rc == core::err::ok)
      room_->wake.notify_one();
    else
      core::loop_unreserve(home, 1);
    return rc;
  }

  // Waits for a read, or until has_other() (called with the lock of the room held). nullptr: there
  // is none; then *is_ended tells whether there will be none.
  template <typename Fn>
  read_op* take(Fn has_other, bool* is_ended) noexcept {
    std::unique_lock<std::mutex> held(room_->lock);
    room_->wake.wait(held, [&] {
      return (first_ != nullptr && room_->bytes < bytes_max_) || is_closed_ || has_other();
    });
    *is_ended = first_ == nullptr && is_closed_;
    if (first_ == nullptr || (room_->bytes >= bytes_max_ && !is_closed_)) return nullptr;
    read_op* r = first_;
    first_ = r->next_read;
    if (first_ == nullptr) last_ = nullptr;
    return r;
  }
  void answer(read_op* r) noexcept {
    uint64_t bytes = 0;
    if (auto* page = std::get_if<page_read>(&r->what)) bytes = result_bytes(page->result);
    if (auto* list = std::get_if<user_channels_read>(&r->what)) bytes = result_bytes(list->result);
    {
      const std::lock_guard<std::mutex> held(room_->lock);
      --waiting_;
      room_->bytes += bytes;
      r->bytes = bytes;
    }
    core::loop_post_reserved(r->home, r);
  }
  read_room* room() noexcept { return room_.get(); }
  void close() noexcept {
    {
      const std::lock_guard<std::mutex> held(room_->lock);
      is_closed_ = true;
    }
    room_->wake.notify_all();
  }
  uint32_t waiting() noexcept {
    const std::lock_guard<std::mutex> held(room_->lock);
    return waiting_;
  }

 private:
  const uint32_t count_max_;
  const uint64_t bytes_max_;
  const std::shared_ptr<read_room> room_ = std::make_shared<read_room>();  // its lock: all below
  read_op* first_ = nullptr;
  read_op* last_ = nullptr;
  uint32_t waiting_ = 0;
  bool is_closed_ = false;
};

}  // namespace store
