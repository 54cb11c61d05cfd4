// Any bytes as the lines of a history: what is taken is written and read again as the same, keeps
// the bounds that stores rely on, and what is refused says why in one short line.
#include "store/ndjson.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/limits.h"

namespace {

using core::err;

void require(bool is_so) {
  if (!is_so) abort();
}

void check_why(const std::string& why) {
  require(!why.empty() && why.size() < 1000);
  for (const char c : why) require(static_cast<unsigned char>(c) >= 0x20);
}

void check_record(const store::history_record& r) {
  require(r.channel.size() <= core::kChannelBytesMax && !r.channel.empty());
  require(r.user.size() <= core::kUserBytesMax);
  require(r.top < INT64_MAX && r.pub.offset < INT64_MAX && r.pub.time_ms >= 0);
  require(r.key_scope.empty() == r.key_hash.empty());
  require(r.refers == 0 || r.refers < r.pub.offset);
  require(!r.is_deleted || r.pub.data == "null");
  if (r.kind == store::history_kind::publication || r.kind == store::history_kind::key)
    require(r.pub.offset > 0);
  std::string line, again, why;
  store::ndjson_put(r, &line);
  require(line.find('\n') == line.size() - 1);
  store::ndjson_line parsed;
  require(store::ndjson_parse(std::string_view(line).substr(0, line.size() - 1), &parsed, &why) ==
          err::ok);
  require(parsed.kind == store::ndjson_kind::record && parsed.record.kind == r.kind);
  store::ndjson_put(parsed.record, &again);
  require(again == line);
}

void check_line(std::string_view line, store::ndjson_order* order) {
  store::ndjson_line l;
  std::string why;
  const err rc = store::ndjson_parse(line, &l, &why);
  require(rc == err::ok || rc == err::malformed);
  if (rc != err::ok) return check_why(why);
  if (l.kind != store::ndjson_kind::record) return;
  check_record(l.record);
  if (store::ndjson_check(order, l.record, &why) != err::ok) check_why(why);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  store::ndjson_order order;
  for (size_t at = 0; at < size;) {
    const void* end = memchr(data + at, '\n', size - at);
    const size_t n = end == nullptr
                         ? size - at
                         : static_cast<size_t>(static_cast<const uint8_t*>(end) - data) - at;
    // A copy of exact size: nothing behind it may be read.
    const std::unique_ptr<char[]> block(new char[n]);
    memcpy(block.get(), data + at, n);
    check_line({block.get(), n}, &order);
    at += n + 1;
  }
  return 0;
}
