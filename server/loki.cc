// The thread that pushes: waits for a batch, brings it to Loki or gives it up, makes room.
#include "server/loki.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <thread>

#include "core/clock.h"
#include "core/resolve.h"

namespace server {
namespace {

constexpr size_t kAnswerBytesMax = 64 * 1024;
constexpr size_t kAnswerTellMax = 200;  // of its text, in a line
constexpr uint32_t kTellMs = 60'000;

constexpr const char* kDropNames[] = {
#define X(name) #name,
    SERVER_LOKI_DROP_MAP(X)
#undef X
};

uint64_t mono_us() noexcept {
  return core::system_clock()->mono_us();
}

}  // namespace

const char* loki_drop_name(loki_drop d) noexcept {
  return kDropNames[static_cast<size_t>(d)];
}

struct loki {
  loki_options options;
  mutable loki_queue queue;
  core::log_sink sink = {};
  std::thread thread;
  std::vector<std::string> addresses;  // what the host's name is now; empty: it must be asked
  size_t failures = 0;                 // the next address is tried after each
  std::atomic<uint64_t> until_us{0};   // of the exchange that is going on; with the queue's lock
  uint64_t close_by_us = 0;            // with the queue's lock; when is_closing
  std::atomic<uint64_t> pushed{0}, pushes{0}, retries{0};
  std::atomic<uint64_t> dropped[static_cast<size_t>(loki_drop::kCount)] = {};
  std::atomic<bool> is_connected{false};
  core::log_limit told_away, told_refused, told_failed;
};

namespace {

void drop(loki* l, loki_drop why, uint64_t lines) noexcept {
  l->dropped[static_cast<size_t>(why)].fetch_add(lines, std::memory_order_relaxed);
}

void on_line(void* user, core::log_level level, int64_t wall_ns, std::string_view line) noexcept {
  auto* l = static_cast<loki*>(user);
  if (line.size() > kLokiLineBytesMax) {
    drop(l, loki_drop::too_long, 1);
  } else if (!loki_queue_put(&l->queue, level, wall_ns, line)) {
    drop(l, loki_drop::full, 1);
  }
}

// What came of one try.
struct outcome {
  enum class kind : uint8_t { taken, refused, later, unreachable };
  kind is = kind::unreachable;
  int status = 0;    // 0: no answer
  std::string text;  // for the log
};

outcome judge(const core::http_answer& a) {
  outcome o;
  o.status = a.status;
  o.text = a.body.substr(0, kAnswerTellMax);
  while (!o.text.empty() && o.text.back() == '\n') o.text.pop_back();
  if (a.status >= 200 && a.status < 300) {
    o.is = outcome::kind::taken;
  } else if (a.status == 429 || a.status >= 500) {
    o.is = outcome::kind::later;
  } else {
    o.is = outcome::kind::refused;
  }
  return o;
}

outcome push(loki* l, const std::string& body) {
  {
    const std::lock_guard<std::mutex> held(l->queue.lock);
    const uint64_t until = mono_us() + uint64_t{l->options.answer_ms_max} * 1000;
    l->until_us = l->queue.is_closing ? std::min(until, l->close_by_us) : until;
  }
  core::http_target to = l->options.target;
  outcome o;
  if (l->addresses.empty() &&
      core::resolve(to.address.host, l->until_us, &l->addresses, &o.text) != core::err::ok)
    return o;
  to.address.host = l->addresses[l->failures % l->addresses.size()];
  core::http_answer a;
  const std::string head = "POST " + to.path + " HTTP/1.1\r\nHost: " + to.host +
                           "\r\nConnection: close\r\nUser-Agent: parleyd\r\n"
                           "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"
                           "Content-Length: " +
                           std::to_string(body.size()) + "\r\n\r\n";
  const core::err rc = core::http_exchange(to, head, body, kAnswerBytesMax, l->until_us, &a);
  if (rc == core::err::ok) return judge(a);
  ++l->failures;
  l->addresses.clear();  // perhaps the name has another address by now
  o.text = core::err_text(rc);
  if (rc == core::err::io) o.text = "no connection, or closed without an answer";
  return o;
}

// Ends early when the node begins to stop. False: it is stopping, and its time is over.
bool pause(loki* l, uint32_t tries) noexcept {
  const uint64_t doubled = uint64_t{l->options.pause_ms_min} << std::min(tries, 16u);
  const auto ms = static_cast<uint32_t>(std::min<uint64_t>(doubled, l->options.pause_ms_max));
  const uint32_t jittered = ms / 2 + core::random_below(core::system_random(), ms / 2 + 1);
  const uint64_t due = mono_us() + uint64_t{jittered} * 1000;
  std::unique_lock<std::mutex> held(l->queue.lock);
  const bool was_closing = l->queue.is_closing;
  for (;;) {
    const uint64_t now = mono_us();
    if (l->queue.is_closing && now >= l->close_by_us) return false;
    if (now >= due || l->queue.is_closing != was_closing) return true;
    const uint64_t until = l->queue.is_closing ? std::min(due, l->close_by_us) : due;
    l->queue.wake.wait_for(held, std::chrono::microseconds(until - now));
  }
}

bool is_closing(loki* l) noexcept {
  const std::lock_guard<std::mutex> held(l->queue.lock);
  return l->queue.is_closing;
}

void tell(core::log_limit* limit, const char* what, const outcome& o) noexcept {
  if (!core::log_limit_pass(limit, kTellMs)) return;
  if (o.status == 0) {
    core::log_warn(what, {{"reason", o.text}});
  } else {
    core::log_warn(what, {{"status", o.status}, {"reason", o.text}});
  }
}

// False: not brought, and the node is stopping.
bool bring(loki* l, const loki_batch& b) {
  uint32_t tries = 0;
  for (uint32_t answered_5xx = 0;; ++tries) {
    const outcome o = push(l, b.body);
    l->pushes.fetch_add(1, std::memory_order_relaxed);
    const bool was_connected =
        l->is_connected.exchange(o.is == outcome::kind::taken, std::memory_order_relaxed);
    if (o.is == outcome::kind::taken) {
      l->pushed.fetch_add(b.lines, std::memory_order_relaxed);
      if (!was_connected)
        core::log_info("Loki takes log lines", {{"server", l->options.target.host}});
      return true;
    }
    if (o.is == outcome::kind::refused) {
      drop(l, loki_drop::refused, b.lines);
      tell(&l->told_refused, "Loki refuses log lines; it is not tried again", o);
      return true;
    }
    if (o.status >= 500 && ++answered_5xx >= l->options.tries_max) {
      drop(l, loki_drop::failed, b.lines);
      tell(&l->told_failed, "Loki fails at a batch of log lines again and again; it is given up",
           o);
      return true;
    }
    tell(&l->told_away, "Loki does not take log lines; they wait", o);
    if (o.is == outcome::kind::unreachable && is_closing(l)) return false;
    if (!pause(l, tries)) return false;
    l->retries.fetch_add(1, std::memory_order_relaxed);
  }
}

// False: the end.
bool wait_for_lines(loki* l) noexcept {
  loki_queue* q = &l->queue;
  std::unique_lock<std::mutex> held(q->lock);
  const uint64_t due = mono_us() + uint64_t{l->options.batch_ms} * 1000;
  for (;;) {
    const uint64_t now = mono_us();
    const uint64_t used = q->head - q->tail;
    if (q->is_closing) return used > 0 && now < l->close_by_us;
    if (used >= q->wake_bytes || now >= due) return true;
    q->wake.wait_for(held, std::chrono::microseconds(due - now));
  }
}

void run(loki* l) {
  while (wait_for_lines(l)) {
    const loki_span span = loki_queue_span(&l->queue);
    if (span.at == span.end) continue;
    const loki_batch b = loki_batch_make(&l->queue, span, l->options.labels);
    if (!bring(l, b)) return;
    loki_queue_give_back(&l->queue, b.up_to);
  }
}

// Without memory for a batch its lines stay; they are tried again.
void run_always(loki* l) noexcept {
  for (;;) {
    try {
      run(l);
      return;
    } catch (const std::exception& e) {
      if (!pause(l, 16)) return;
    }
  }
}

}  // namespace

loki* loki_open(const loki_options& o) {
  auto* l = new loki;
  l->options = o;
  loki_queue_init(&l->queue, o.queue_bytes_max,
                  std::min<uint64_t>(kLokiBatchBytesMax / 2, o.queue_bytes_max / 2));
  l->sink = {on_line, l};
  l->thread = std::thread([l] { run_always(l); });
  core::log_sink_set(&l->sink);
  return l;
}

void loki_close(loki* l, loki_stats* last) noexcept {
  if (l == nullptr) return;
  core::log_sink_set(nullptr);
  {
    const std::lock_guard<std::mutex> held(l->queue.lock);
    l->queue.is_closing = true;
    l->close_by_us = mono_us() + uint64_t{l->options.flush_ms_max} * 1000;
    l->until_us = std::min<uint64_t>(l->until_us, l->close_by_us);
  }
  l->queue.wake.notify_one();
  l->thread.join();
  loki_span span = loki_queue_span(&l->queue);
  uint64_t left = 0;
  for (std::string line; span.at < span.end; ++left) loki_queue_read(&l->queue, &span, &line);
  drop(l, loki_drop::shutdown, left);
  if (left > 0) core::log_warn("log lines did not reach Loki before the end", {{"lines", left}});
  if (last != nullptr) *last = loki_stats_of(l);
  delete l;
}

loki_stats loki_stats_of(const loki* l) noexcept {
  loki_stats s;
  s.pushed_lines = l->pushed.load(std::memory_order_relaxed);
  for (size_t i = 0; i < std::size(s.dropped_lines); ++i)
    s.dropped_lines[i] = l->dropped[i].load(std::memory_order_relaxed);
  s.pushes = l->pushes.load(std::memory_order_relaxed);
  s.retries = l->retries.load(std::memory_order_relaxed);
  s.queue_bytes = loki_queue_bytes(&l->queue);
  s.queue_bytes_max = l->queue.bytes_max;
  s.is_connected = l->is_connected.load(std::memory_order_relaxed);
  return s;
}

}  // namespace server
