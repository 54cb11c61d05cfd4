// {"streams":[{"stream":{labels},"values":[["nanoseconds","line"],…]},…]}, then zlib.
#include "server/loki_batch.h"

#include <zlib.h>

#include "core/assert.h"
#include "proto/reply.h"

namespace server {
namespace {

constexpr size_t kValueBytes = 32;        // around a line: its time, brackets, quotes, comma
constexpr size_t kHeadBytes = 64 * 1024;  // the streams' labels: at most 10 of 1 KiB, four times

// A line of core/log.h is UTF-8 without control characters; one that stands there nevertheless must
// not break the batch, nor what a line may need.
void append_escaped(std::string* out, std::string_view line) {
  for (const char c : line) {
    if (c == '"' || c == '\\') out->push_back('\\');
    out->push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
}

void append_stream(std::string* out, const loki_labels& labels, const char* level,
                   const std::string& values) {
  out->append(out->back() == '[' ? "{\"stream\":{" : ",{\"stream\":{");
  for (const auto& [name, value] : labels) {
    proto::json_string(out, name);
    out->push_back(':');
    proto::json_string(out, value);
    out->push_back(',');
  }
  out->append("\"level\":\"").append(level).append("\"},\"values\":[").append(values).append("]}");
}

std::string gzip(const std::string& text) {
  constexpr int kGzip = 16 + MAX_WBITS, kMemory = 8;
  z_stream z{};
  const int rc = deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, kGzip, kMemory, Z_DEFAULT_STRATEGY);
  if (rc != Z_OK) throw std::bad_alloc();
  std::string out(deflateBound(&z, static_cast<uLong>(text.size())), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const int end = deflate(&z, Z_FINISH);
  CORE_ASSERT(end == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

}  // namespace

loki_batch loki_batch_make(const loki_queue* q, loki_span span, const loki_labels& labels) {
  static_assert(2 * kLokiLineBytesMax + kValueBytes + kHeadBytes < kLokiBatchBytesMax);
  loki_batch b;
  std::string values[core::kLogLevels], line;
  size_t bytes = kHeadBytes;
  while (span.at < span.end) {
    const size_t need = 2 * size_t{loki_queue_next_bytes(q, span)} + kValueBytes;
    if (b.lines > 0 && bytes + need > kLokiBatchBytesMax) break;
    const loki_line l = loki_queue_read(q, &span, &line);
    std::string* to = &values[static_cast<size_t>(l.level)];
    const size_t before = to->size();
    to->append(before == 0 ? "[\"" : ",[\"").append(std::to_string(l.wall_ns)).append("\",\"");
    append_escaped(to, line);
    to->append("\"]");
    bytes += to->size() - before;
    ++b.lines;
  }
  b.up_to = span.at;
  std::string json = "{\"streams\":[";
  for (size_t i = 0; i < core::kLogLevels; ++i) {
    if (!values[i].empty())
      append_stream(&json, labels, core::log_level_name(static_cast<core::log_level>(i)),
                    values[i]);
  }
  json.append("]}");
  b.json_bytes = json.size();
  b.body = gzip(json);
  return b;
}

}  // namespace server
