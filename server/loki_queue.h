// The log lines that wait for Loki: a ring of bytes, bounded, between all threads that log and the
// one that pushes.
//
//   tail                    taken up to here            head
//    |  in the batch on its way  |  waiting               |  free ...
//
// A line that does not fit is dropped, so that neither a loop waits nor memory grows. Putting a
// line is a copy under a lock that nobody holds for longer than such a copy; it wakes the other
// side only when a batch is full.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>

#include "core/log.h"

namespace server {

struct loki_queue {
  std::mutex lock;
  std::condition_variable wake;  // a batch is full, or is_closing
  std::unique_ptr<char[]> bytes;
  uint64_t bytes_max = 0;
  uint64_t wake_bytes = 0;
  uint64_t head = 0;  // positions only grow, until the queue is empty
  uint64_t tail = 0;
  bool is_closing = false;
};

struct loki_line {
  core::log_level level;
  int64_t wall_ns;
  uint32_t bytes;
};

void loki_queue_init(loki_queue* q, uint64_t bytes_max, uint64_t wake_bytes);
// Any thread. False: it does not fit now.
bool loki_queue_put(loki_queue* q, core::log_level level, int64_t wall_ns,
                    std::string_view text) noexcept;
uint64_t loki_queue_bytes(loki_queue* q) noexcept;  // any thread; of all that is not given back

// The other side, one thread. [tail, head) as of loki_queue_span() stays as it is until
// loki_queue_give_back().
struct loki_span {
  uint64_t at, end;
};
loki_span loki_queue_span(loki_queue* q) noexcept;
// The line at span->at, and its text into *text; moves span->at behind it.
loki_line loki_queue_read(const loki_queue* q, loki_span* span, std::string* text);
uint32_t loki_queue_next_bytes(const loki_queue* q, const loki_span& span) noexcept;  // of its text
void loki_queue_give_back(loki_queue* q, uint64_t up_to) noexcept;

}  // namespace server
