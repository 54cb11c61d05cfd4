// What the kernel says about this process: for /metrics and for how many loops there are.
#pragma once

#include <cstdint>

namespace server {

struct process_stats {
  double cpu_s = 0;  // user and system, since the start
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t open_fds = 0;
  uint64_t max_fds = 0;     // soft limit
  double start_time_s = 0;  // Unix time
};

// Any thread; a few small reads of /proc.
process_stats process_read() noexcept;
uint32_t process_cores() noexcept;  // that the process may use: its affinity; at least 1
uint64_t process_memory_limit_bytes() noexcept;  // the cgroup's limit (v2 or v1) or the machine's
                                                 // memory, the smaller

}  // namespace server
