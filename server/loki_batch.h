// The body of one push: lines as Loki's JSON, a stream a level, compressed.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "server/loki_queue.h"

namespace server {

using loki_labels = std::vector<std::pair<std::string, std::string>>;

// JSON of one push. Loki counts its limits before compression and refuses a message beyond 4 MiB
// with 500; beyond 4 MB a second with 429 (measured, v3.7.8).
inline constexpr size_t kLokiBatchBytesMax = 1024 * 1024;
// Loki's default for a line is 256 KiB.
inline constexpr size_t kLokiLineBytesMax = 256 * 1024;

struct loki_batch {
  std::string body;  // gzip
  uint64_t lines = 0;
  uint64_t up_to = 0;  // for loki_queue_give_back()
  size_t json_bytes = 0;
};

// From the front of `span`, as much as fits; at least one line.
loki_batch loki_batch_make(const loki_queue* q, loki_span span, const loki_labels& labels);

}  // namespace server
