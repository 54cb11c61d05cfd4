// The ring: a record is a loki_line and the text behind it; both may lie over the end of the block.
#include "server/loki_queue.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/assert.h"

namespace server {
namespace {

void copy_in(loki_queue* q, uint64_t at, const void* from, size_t n) noexcept {
  const size_t begin = at % q->bytes_max;
  const size_t first = std::min<size_t>(n, q->bytes_max - begin);
  memcpy(q->bytes.get() + begin, from, first);
  memcpy(q->bytes.get(), static_cast<const char*>(from) + first, n - first);
}

void copy_out(const loki_queue* q, uint64_t at, void* to, size_t n) noexcept {
  const size_t begin = at % q->bytes_max;
  const size_t first = std::min<size_t>(n, q->bytes_max - begin);
  memcpy(to, q->bytes.get() + begin, first);
  memcpy(static_cast<char*>(to) + first, q->bytes.get(), n - first);
}

}  // namespace

void loki_queue_init(loki_queue* q, uint64_t bytes_max, uint64_t wake_bytes) {
  CORE_ASSERT(bytes_max > 0);
  q->bytes.reset(new char[bytes_max]);  // not written to: the system gives it page by page
  q->bytes_max = bytes_max;
  q->wake_bytes = wake_bytes;
}

bool loki_queue_put(loki_queue* q, core::log_level level, int64_t wall_ns,
                    std::string_view text) noexcept {
  loki_line line{};
  line.level = level;
  line.wall_ns = wall_ns;
  line.bytes = static_cast<uint32_t>(text.size());
  const uint64_t need = sizeof line + text.size();
  bool is_full_batch = false;
  {
    const std::lock_guard<std::mutex> held(q->lock);
    const uint64_t used = q->head - q->tail;
    if (need > q->bytes_max - used) return false;
    copy_in(q, q->head, &line, sizeof line);
    copy_in(q, q->head + sizeof line, text.data(), text.size());
    q->head += need;
    is_full_batch = used < q->wake_bytes && used + need >= q->wake_bytes;
  }
  if (is_full_batch) q->wake.notify_one();
  return true;
}

uint64_t loki_queue_bytes(loki_queue* q) noexcept {
  const std::lock_guard<std::mutex> held(q->lock);
  return q->head - q->tail;
}

loki_span loki_queue_span(loki_queue* q) noexcept {
  const std::lock_guard<std::mutex> held(q->lock);
  return {q->tail, q->head};
}

uint32_t loki_queue_next_bytes(const loki_queue* q, const loki_span& span) noexcept {
  loki_line line;
  copy_out(q, span.at, &line, sizeof line);
  return line.bytes;
}

loki_line loki_queue_read(const loki_queue* q, loki_span* span, std::string* text) {
  loki_line line;
  CORE_ASSERT(span->at + sizeof line <= span->end);
  copy_out(q, span->at, &line, sizeof line);
  text->resize(line.bytes);
  copy_out(q, span->at + sizeof line, text->data(), line.bytes);
  span->at += sizeof line + line.bytes;
  return line;
}

void loki_queue_give_back(loki_queue* q, uint64_t up_to) noexcept {
  const std::lock_guard<std::mutex> held(q->lock);
  CORE_ASSERT(up_to >= q->tail && up_to <= q->head);
  q->tail = up_to;
  if (q->tail == q->head) q->tail = q->head = 0;  // a quiet node touches the first pages only
}

}  // namespace server
