// Redis' replies cut anywhere: the replies and the verdict must be those of the uncut input, within
// the bound; what looks like a redirection or a slot map is read as one.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "broker/redis_slots.h"
#include "broker/redis_wire.h"

namespace {

constexpr uint32_t kBytesMax = 16 * 1024;

struct run_state {
  std::string log;
  size_t bytes = 0;  // of the reply at hand
};

void note(run_state* s, const broker::redis_reply& r) {
  s->bytes += sizeof r + r.text.size();
  s->log += std::to_string(static_cast<int>(r.type)) + ":" + std::to_string(r.integer) + ":";
  s->log += std::string(r.text) + "(";
  for (uint32_t i = 0; i < r.count; ++i) note(s, r.items[i]);
  s->log += ")";
}

bool on_reply(void* user, const broker::redis_reply& r) noexcept {
  auto* s = static_cast<run_state*>(user);
  s->bytes = 0;
  note(s, r);
  if (s->bytes > kBytesMax) abort();
  const broker::redis_endpoint asked{"h", 1, ""};
  const broker::redis_redirect to = broker::redis_redirect_read(r.text, asked);
  if (to.slot >= broker::kRedisSlots) abort();
  broker::redis_slot_map map;
  if (broker::redis_slot_map_read(r, asked, &map) == core::err::ok)
    s->log += std::to_string(map.slots_owned);
  return s->log.size() < 1 << 20;
}

std::string run(const char* bytes, size_t n, uint32_t cut) {
  run_state s;
  broker::redis_reader* r = broker::redis_reader_new(kBytesMax);
  core::err rc = core::err::ok;
  for (size_t at = 0; at < n && rc == core::err::ok;) {
    cut = cut * 1103515245u + 12345u;
    const size_t len =
        cut == 12345u ? n : std::min<size_t>(n - at, 1 + (cut >> 16) % 32);  // cut 0: in one piece
    std::unique_ptr<char[]> block(new char[len]);
    memcpy(block.get(), bytes + at, len);
    at += len;
    rc = broker::redis_reader_feed(r, {block.get(), len}, on_reply, &s);
  }
  if (broker::redis_reader_held(r) > 4 * kBytesMax + (64u << 10)) abort();
  broker::redis_reader_free(r);
  return s.log + "!" + std::to_string(rc == core::err::ok);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > kBytesMax) return 0;  // how much may wait is checked between pieces
  const uint32_t cut = static_cast<uint32_t>(data[0]) << 8 | data[1];
  const char* bytes = reinterpret_cast<const char*>(data + 2);
  if (run(bytes, size - 2, cut + 1) != run(bytes, size - 2, 0)) abort();
  return 0;
}
