// The fixture's loops: core/post.h over a deque with a lock, stepped by a test or served by
// threads.
#include "tests/chat/fixture.h"

#include <cstdlib>

#include "chat/hub.h"
#include "chat/settings.h"
#include "core/assert.h"

namespace {

thread_local core::loop* t_current = nullptr;

void take(core::loop* l, core::msg* m) {
  l->box.push_back(m);
  l->filled.notify_one();
}

}  // namespace

namespace core {

err loop_post(loop* to, msg* m) noexcept {
  std::unique_lock<std::mutex> held(to->lock);
  if (to->has_ended || to->box.size() + to->reserved >= to->max) {
    const err rc = to->has_ended ? err::closed : err::full;
    held.unlock();
    m->drop(m);
    return rc;
  }
  take(to, m);
  return err::ok;
}

bool loop_reserve(loop* to, uint32_t n) noexcept {
  const std::lock_guard<std::mutex> held(to->lock);
  if (to->has_ended || to->box.size() + to->reserved + n > to->max) return false;
  to->reserved += n;
  return true;
}

void loop_unreserve(loop* to, uint32_t n) noexcept {
  const std::lock_guard<std::mutex> held(to->lock);
  CORE_ASSERT(to->reserved >= n);
  to->reserved -= n;
}

void loop_post_reserved(loop* to, msg* m) noexcept {
  std::unique_lock<std::mutex> held(to->lock);
  CORE_ASSERT(to->reserved > 0);
  --to->reserved;
  if (to->has_ended) {
    held.unlock();
    m->drop(m);
    return;
  }
  take(to, m);
}

uint32_t loop_index(const loop* l) noexcept {
  return l->index;
}
loop* loop_current() noexcept {
  return t_current;
}

}  // namespace core

namespace fixture {
namespace {

struct fixture_loop : core::loop {
  const core::clock_source* clock = nullptr;
};

uint64_t now_ms(const core::loop* l) noexcept {
  return static_cast<const fixture_loop*>(l)->clock->mono_us() / 1000;
}

struct call_message : core::msg {
  std::function<void()> fn;
  bool is_done = false;
  std::mutex lock;
  std::condition_variable done;
};

struct idle_message : core::msg {};

core::msg* pop(core::loop* l) {
  const std::lock_guard<std::mutex> held(l->lock);
  if (l->box.empty()) return nullptr;
  core::msg* m = l->box.front();
  l->box.pop_front();
  return m;
}

void run_message(core::loop* l, core::msg* m) {
  core::loop* before = t_current;
  t_current = l;
  m->run(l, m);
  t_current = before;
}

}  // namespace

uint64_t seed() noexcept {
  const char* given = std::getenv("PARLEY_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

world::world(uint32_t loops, uint32_t mailbox_max) : random(1) {
  chat::settings_defaults(&config);
  config.clock = &clock;
  config.random = &random;
  history = store::open_memory();
  for (uint32_t i = 0; i < loops; ++i) {
    auto* l = new fixture_loop;
    l->index = i;
    l->max = mailbox_max;
    l->clock = &clock;
    loops_.push_back(l);
    timers_.push_back(std::make_unique<core::timer_wheel>());
    counters_.push_back(std::make_unique<core::loop_metrics>());
    core::timer_wheel_init(timers_.back().get(), now_ms(l));
  }
}

void world::start() {
  for (uint32_t i = 0; i < size(); ++i) {
    parts_.push_back(chat::node_loop_new(&config, loops_[i], &loops_, timers_[i].get(), now_ms,
                                         counters_[i].get(), history));
    chat::node_loop_register(loops_[i], parts_.back());
  }
}

world::~world() {
  stop_threads();
  history->close();
  for (chat::node_loop* part : parts_) chat::node_loop_free(part);
  for (core::loop* l : loops_) {
    const std::lock_guard<std::mutex> held(l->lock);
    l->has_ended = true;
  }
  for (core::loop* l : loops_) {
    while (core::msg* m = pop(l)) m->drop(m);
  }
  for (core::loop* l : loops_) delete static_cast<fixture_loop*>(l);
  delete history;
}

std::string world::channel_of(uint32_t i, std::string_view prefix) const {
  for (uint32_t k = 0;; ++k) {
    std::string name = std::string(prefix) + std::to_string(k);
    if (chat::channel_partition(name) % size() == i) return name;
  }
}

bool world::step(uint32_t i) {
  core::msg* m = pop(loops_[i]);
  if (m == nullptr) return false;
  run_message(loops_[i], m);
  return true;
}

void world::run() {
  for (bool is_busy = true; is_busy;) {
    is_busy = false;
    for (uint32_t i = 0; i < size(); ++i) {
      while (step(i)) is_busy = true;
    }
  }
}

void world::run_random(std::mt19937_64* dice) {
  for (;;) {
    std::vector<uint32_t> ready;
    for (uint32_t i = 0; i < size(); ++i) {
      if (waiting(i) > 0) ready.push_back(i);
    }
    if (ready.empty()) return;
    step(ready[(*dice)() % ready.size()]);
  }
}

void world::tick(uint32_t i) {
  core::loop* before = t_current;
  t_current = loops_[i];
  core::timer_wheel_advance(timers_[i].get(), now_ms(loops_[i]));
  t_current = before;
}

void world::pass(uint64_t ms, bool is_frozen) {
  while (ms > 0) {
    const uint64_t some = ms < core::kTimerTickMs ? ms : core::kTimerTickMs;
    clock.us += some * 1000;
    ms -= some;
    for (uint32_t i = 0; i < size(); ++i) tick(i);
    if (!is_frozen) run();
  }
}

uint32_t world::waiting(uint32_t i) {
  const std::lock_guard<std::mutex> held(loops_[i]->lock);
  return static_cast<uint32_t>(loops_[i]->box.size());
}

void world::fill(uint32_t i) {
  for (;;) {
    auto* m = new idle_message;
    m->run = [](core::loop*, core::msg* self) noexcept { delete static_cast<idle_message*>(self); };
    m->drop = [](core::msg* self) noexcept { delete static_cast<idle_message*>(self); };
    if (core::loop_post(loops_[i], m) != core::err::ok) return;
  }
}

void world::mailbox_limit(uint32_t i, uint32_t max) {
  const std::lock_guard<std::mutex> held(loops_[i]->lock);
  loops_[i]->max = max;
}

void world::serve(uint32_t i) {
  core::loop* l = loops_[i];
  while (!is_stopping_.load()) {
    core::msg* m = nullptr;
    {
      std::unique_lock<std::mutex> held(l->lock);
      l->filled.wait_for(held, std::chrono::milliseconds(core::kTimerTickMs / 5),
                         [&] { return !l->box.empty(); });
      if (!l->box.empty()) {
        m = l->box.front();
        l->box.pop_front();
      }
    }
    if (m != nullptr) run_message(l, m);
    tick(i);
  }
}

void world::start_threads() {
  is_stopping_ = false;
  for (uint32_t i = 0; i < size(); ++i) threads_.emplace_back([this, i] { serve(i); });
  threads_.emplace_back([this] {  // the clock goes with real time
    for (uint64_t before = core::system_clock()->mono_us(); !is_stopping_.load();) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      const uint64_t now = core::system_clock()->mono_us();
      clock.us += now - before;
      before = now;
    }
  });
}

void world::call(uint32_t i, std::function<void()> fn) {
  auto* m = new call_message;
  m->fn = std::move(fn);
  m->run = [](core::loop*, core::msg* self) noexcept {
    auto* c = static_cast<call_message*>(self);
    c->fn();
    const std::lock_guard<std::mutex> held(c->lock);
    c->is_done = true;
    c->done.notify_one();
  };
  m->drop = [](core::msg*) noexcept { CORE_UNREACHABLE("a call was dropped"); };
  {
    const std::lock_guard<std::mutex> held(
        loops_[i]->lock);  // past the limit: a test's own call is no load
    take(loops_[i], m);
  }
  {
    std::unique_lock<std::mutex> held(m->lock);
    m->done.wait(held, [&] { return m->is_done; });
  }
  delete m;
}

void world::stop_threads() {
  is_stopping_ = true;
  for (core::loop* l : loops_) l->filled.notify_all();
  for (std::thread& t : threads_) t.join();
  threads_.clear();
}

std::string frame_text(const core::frame* f) {
  const std::string_view wire = core::frame_view(f);
  const unsigned char len = static_cast<unsigned char>(wire[1]);
  return std::string(wire.substr(len < 126 ? 2 : len == 126 ? 4 : 10));
}

}  // namespace fixture
