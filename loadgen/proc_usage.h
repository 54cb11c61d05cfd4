// What one process has used, from /proc. Main thread.
#pragma once

#include <cstdint>
#include <map>

namespace loadgen {

// A process that is watched. Invariant: cpu_ns never falls.
struct proc_usage {
  int pid = 0;
  uint64_t started_ticks = 0;       // since boot: tells it from another process that got its id
  std::map<int, uint64_t> threads;  // nanoseconds on a processor, as last seen
  uint64_t ended_ns = 0;            // of threads that have ended since, as last seen
  uint64_t cpu_ns = 0;              // all of it since the process began
  uint64_t rss_bytes = 0;
};

// False: there is no such process (a zombie is one, of which only its time is left).
bool proc_usage_open(proc_usage* u, int pid) noexcept;
// Reads again. False: it has ended; what was last seen stays.
bool proc_usage_read(proc_usage* u) noexcept;
// Ticks since boot, as in started_ticks.
uint64_t proc_ticks_now() noexcept;

}  // namespace loadgen
