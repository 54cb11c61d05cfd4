// Log lines to Grafana Loki: a thread of its own takes what gathers in a bounded queue and pushes
// it in batches. Standard error gets every line as before.
//
//   any thread: log line -> loki_queue -> this thread: loki_batch -> POST -> Loki
//                              | no room: dropped, counted
//
// What Loki does not take now (no connection, no answer, 429, 5xx) stays in the queue and is tried
// again after a pause that doubles and is jittered; Loki keeps a line that comes twice once. What
// it refuses (400 and the like) is not: Loki has kept the good lines of such a batch.
#pragma once

#include <cstdint>
#include <string>

#include "core/http_client.h"
#include "server/loki_batch.h"

namespace server {

struct loki_options {
  core::http_target target;  // its path is that of the push API
  loki_labels labels;        // `level` comes to them
  uint64_t queue_bytes_max = 8u << 20;
  uint32_t batch_ms = 1000;  // how long a line waits for others at most
  uint32_t answer_ms_max = 10'000;
  uint32_t pause_ms_min = 100;
  uint32_t pause_ms_max = 10'000;
  uint32_t flush_ms_max = 2000;  // at the end
  uint32_t tries_max = 10;       // of a batch that is answered with 5xx
};

// full: the queue had no room. too_long: more than Loki takes in a line. refused: of batches with
// an answer like 400; some of these lines may be there. failed: of batches given up after
// tries_max. shutdown: still there when the time of the last flush was over.
#define SERVER_LOKI_DROP_MAP(X) X(full) X(too_long) X(refused) X(failed) X(shutdown)
enum class loki_drop : uint8_t {
#define X(name) name,
  SERVER_LOKI_DROP_MAP(X)
#undef X
      kCount
};
const char* loki_drop_name(loki_drop d) noexcept;

struct loki_stats {
  uint64_t pushed_lines = 0;
  uint64_t dropped_lines[static_cast<size_t>(loki_drop::kCount)] = {};
  uint64_t pushes = 0, retries = 0;
  uint64_t queue_bytes = 0, queue_bytes_max = 0;
  bool is_connected = false;  // Loki took the last batch; false before the first
};

struct loki;

// Starts the thread and becomes the log's sink. Does not wait for Loki. One at a time.
loki* loki_open(const loki_options& o);
// Is the sink no longer, pushes what is left for flush_ms_max at most (not at all when Loki cannot
// be reached), counts and tells what it could not, ends the thread. Other threads that log have
// ended. l nullptr: nothing. Takes l; *last, when given, is how it ended.
void loki_close(loki* l, loki_stats* last = nullptr) noexcept;
loki_stats loki_stats_of(const loki* l) noexcept;  // any thread

}  // namespace server
