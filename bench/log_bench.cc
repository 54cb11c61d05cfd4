// What does a log line cost the thread that writes it, without and with the queue for Loki behind
// it? Lines go to /dev/null: leaves out what the reader of standard error costs. Allocations are
// counted on the writing thread. Only ratios within one run mean something.
#include <benchmark/benchmark.h>
#include <fcntl.h>

#include <cstdlib>
#include <new>

#include "core/log.h"

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

// The common case of a line that is left out.
void leave_out_lines(benchmark::State& state) {
  for (auto _ : state) {
    core::log_debug("connection ended", {{"reason", "client_closed"}});
    benchmark::ClobberMemory();
  }
}
BENCHMARK(leave_out_lines);

}  // namespace

void* operator new(size_t n) {
  ++t_allocations;
  void* p = std::malloc(n);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
