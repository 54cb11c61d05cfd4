// A connection to Redis with a record of what it was told: verbs for tests. Everything is called
// from the test's thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "broker/redis_conn.h"
#include "tests/core/loop_world.h"

namespace broker {

struct redis_seen {
  int ready = 0;
  int downs = 0;
  std::string why;  // of the last down
  redis_server_info info;
  std::vector<std::string> messages;  // "channel=payload"
  uint64_t message_count = 0;
  uint64_t subscribed = 0;
  uint64_t unsubscribed = 0;
  uint64_t unasked = 0;
  uint64_t refused = 0;
  std::string last;     // channel of the last subscribed, unsubscribed or refused
  std::string refusal;  // its error
  int rooms = 0;
};

class redis_user {
 public:
  // Opens at once. The URL's first server, unless `at` is given.
  redis_user(core::loop_world* w, const std::string& url, redis_conn_options options = {},
             const redis_endpoint* at = nullptr);
  ~redis_user();
  redis_user(const redis_user&) = delete;
  redis_user& operator=(const redis_user&) = delete;

  // Waits until it is so; a failure after 30 s.
  bool wait(const char* what, const std::function<bool(const redis_seen&)>& is_so);
  bool wait_ready(int times = 1);
  std::string wait_down(int times = 1);  // the reason
  redis_seen seen();

  void on_loop(const std::function<void(redis_conn*)>& fn);
  // A command and its reply as text, or "!timeout", "!unavailable" …
  std::string call(const std::vector<std::string>& argv);
  // All of them; follows on_room().
  void subscribe(redis_sub kind, const std::vector<std::string>& channels);
  void unsubscribe(redis_sub kind, const std::vector<std::string>& channels);
  void close();                    // also in the destructor
  void forget() { c_ = nullptr; }  // the test has closed it

  bool keeps_messages = true;
  std::function<void(redis_conn*, const char* event)> hook;  // called on the loop behind each event

 private:
  friend struct user_events;
  void go_on(redis_conn* c);
  template <typename Fn>
  void record(const char* event, redis_conn* c, Fn fn);
  core::loop_world* w_;
  redis_url url_;
  redis_conn* c_ = nullptr;
  std::mutex lock_;
  std::condition_variable changed_;
  redis_seen seen_;
  struct wish {
    redis_sub kind = redis_sub::channel;
    bool is_subscribe = true;
    std::vector<std::string> channels;
    size_t at = 0;
  } wish_;  // the loop's
};

// A loop whose time is the test's. run() goes in the wheel's steps, each seen by the loop.
struct stepped_world {
  core::manual_clock clock;
  core::loop_world w;
  stepped_world() : w(1, options()) {}
  core::loop_options options() {
    core::loop_options o;
    o.clock = &clock;
    return o;
  }
  void run(uint64_t ms) {
    for (uint64_t done = 0; done < ms; done += core::kTimerTickMs) jump(core::kTimerTickMs);
  }
  void jump(uint64_t ms) {
    clock.advance_ms(ms);
    const uint64_t tick = clock.mono_us() / 1000 / core::kTimerTickMs;
    w.until(0, [&](core::loop* l) { return core::loop_timers(l)->tick >= tick; });
  }
};

}  // namespace broker
