// What does a log line cost the thread that writes it, without and with the queue for Loki behind
// it? Lines go to /dev/null: leaves out what the reader of standard error costs. Allocations are
// counted on the writing thread. Only ratios within one run mean something.
#include <benchmark/benchmark.h>
#include <fcntl.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>
#include <thread>

#include "core/log.h"
#include "server/loki_queue.h"

namespace {

thread_local uint64_t t_allocations = 0;

void write_lines(benchmark::State& state) {
  const int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  core::log_setup(core::log_format::logfmt, core::log_level::info, fd);
  const uint64_t before = t_allocations;
  for (auto _ : state) {
    core::log_info("connection ended", {{"reason", "client_closed"},
                                        {"peer", "10.0.0.1:51234"},
                                        {"user", "ann"},
                                        {"client", "0d3c1a5e-7d5c-4b51-9a86-3d1f4c0a1f2b"}});
  }
  state.counters["allocations/line"] = benchmark::Counter(
      static_cast<double>(t_allocations - before) / static_cast<double>(state.iterations()));
  core::log_setup(core::log_format::logfmt, core::log_level::info, 2);
}
BENCHMARK(write_lines);

void write_lines_queued(benchmark::State& state) {
  server::loki_queue q;
  server::loki_queue_init(&q, 8u << 20, 512 * 1024);
  std::atomic<bool> is_over{false};
  std::thread other([&] {
    while (!is_over) {
      server::loki_queue_give_back(&q, server::loki_queue_span(&q).end);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  const core::log_sink sink = {
      [](void* user, core::log_level level, int64_t ns, std::string_view line) noexcept {
        if (!server::loki_queue_put(static_cast<server::loki_queue*>(user), level, ns, line))
          std::abort();  // a line that is dropped would cost nothing
      },
      &q};
  core::log_sink_set(&sink);
  write_lines(state);
  core::log_sink_set(nullptr);
  is_over = true;
  other.join();
}
BENCHMARK(write_lines_queued);

// The common case of a line that is left out.
void leave_out_lines(benchmark::State& state) {
  for (auto _ : state) {
    core::log_debug("connection ended", {{"reason", "client_closed"}});
    benchmark::ClobberMemory();
  }
}
BENCHMARK(leave_out_lines);

}  // namespace

[[gnu::noinline]] void* operator new(size_t n) {
  ++t_allocations;
  void* p = std::malloc(n);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
  std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
