// Chat without sockets: N loops whose mailboxes a test steps by hand (any interleaving, one
// thread), or runs on one thread each.
//
// fixture.cc implements core/post.h for these loops, so nothing here may include core/loop.h.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "chat/node.h"
#include "core/clock.h"
#include "core/frame.h"
#include "core/post.h"
#include "core/timer_wheel.h"
#include "store/store.h"

namespace core {

struct loop {
  uint32_t index = 0, max = 65536, reserved = 0;
  bool has_ended = false;
  std::mutex lock;
  std::condition_variable filled;
  std::deque<msg*> box;
};

}  // namespace core

namespace fixture {

class test_clock : public core::clock_source {
 public:
  uint64_t mono_us() const noexcept override { return us.load(); }
  int64_t wall_ms() const noexcept override {
    return 1'700'000'000'000 + static_cast<int64_t>(us.load() / 1000);
  }
  std::atomic<uint64_t> us{1'000'000};
};

class test_random : public core::random_source {
 public:
  explicit test_random(uint64_t seed) : engine_(seed) {}
  void fill(void* bytes, size_t n) noexcept override {
    for (size_t i = 0; i < n; ++i)
      static_cast<unsigned char*>(bytes)[i] = static_cast<unsigned char>(engine_());
  }

 private:
  std::mt19937_64 engine_;
};

// A fresh number each run, PARLEY_TEST_SEED when it is set; print it with SCOPED_TRACE.
uint64_t seed() noexcept;

// A node of `loops` loops on the memory store and local brokers. Change `config` before start();
// settings_defaults() has been applied.
class world {
 public:
  explicit world(uint32_t loops, uint32_t mailbox_max = 65536);
  ~world();
  world(const world&) = delete;
  world& operator=(const world&) = delete;
  void start();

  chat::node_loop* at(uint32_t i) { return parts_[i]; }
  core::loop* loop_at(uint32_t i) { return loops_[i]; }
  uint32_t size() const { return static_cast<uint32_t>(loops_.size()); }
  core::loop_metrics& counters(uint32_t i) { return *counters_[i]; }
  // A channel "name<k>" (behind `prefix`) that loop i owns.
  std::string channel_of(uint32_t i, std::string_view prefix = "c") const;

  // Single-threaded. step: one message of loop i, false when there is none. run: until all
  // mailboxes are empty.
  bool step(uint32_t i);
  void run();
  void run_random(std::mt19937_64* dice);
  // The clock moves tick by tick; timers fire and, unless is_frozen, mailboxes are emptied at each
  // tick.
  void pass(uint64_t ms, bool is_frozen = false);
  uint32_t waiting(uint32_t i);
  void fill(uint32_t i);  // the mailbox of loop i with idle messages, up to its last free slot
  void mailbox_limit(uint32_t i, uint32_t max);

  // Threaded: from start_threads() to stop_threads() each loop runs on its own thread, with real
  // time.
  void start_threads();
  void call(uint32_t i, std::function<void()> fn);  // on the loop's thread, returns when it has run
  void stop_threads();

  chat::settings config;
  test_clock clock;
  test_random random;
  store::store* history = nullptr;

 private:
  void serve(uint32_t i);
  void tick(uint32_t i);

  std::vector<core::loop*> loops_;
  std::vector<std::unique_ptr<core::timer_wheel>> timers_;
  std::vector<std::unique_ptr<core::loop_metrics>> counters_;
  std::vector<chat::node_loop*> parts_;
  std::vector<std::thread> threads_;
  std::atomic<bool> is_stopping_{false};
};

// The JSON text of a WebSocket text frame (the header taken off).
std::string frame_text(const core::frame* f);

}  // namespace fixture
