// WebSocket input cut anywhere, with and without the fast path: the events must be the same, and so
// must those of the uncut input.
#include "proto/ws.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

namespace {

constexpr uint32_t kPadding = 64;
constexpr uint32_t kMessageMax = 4096;

void on_text(void* user, char* bytes, uint32_t len) noexcept {
  static_cast<std::string*>(user)->append("t").append(bytes, len);
  memset(bytes, 'x', len + kPadding);
}
void on_ping(void* user, std::string_view p) noexcept {
  static_cast<std::string*>(user)->append("p").append(p);
}
void on_pong(void* user) noexcept {
  static_cast<std::string*>(user)->append("o");
}
void on_close(void* user, uint16_t code, std::string_view reason) noexcept {
  static_cast<std::string*>(user)->append("c").append(std::to_string(code)).append(reason);
}
constexpr proto::ws_events kEvents = {on_text, on_ping, on_pong, on_close};

std::string run(const char* bytes, size_t n, uint32_t cut, bool has_fast_path) {
  std::string log;
  proto::ws_reader* r = proto::ws_reader_new();
  proto::ws_reader_use_fast_path(r, has_fast_path);
  proto::ws_reader_lend(r, &kEvents, &log, kMessageMax);
  for (size_t at = 0; at < n;) {
    cut = cut * 1103515245u + 12345u;
    const size_t len =
        cut == 12345u ? n : std::min<size_t>(n - at, 1 + (cut >> 16) % 64);  // cut 0: in one piece
    std::unique_ptr<char[]> block(new char[len + kPadding]);
    memcpy(block.get(), bytes + at, len);
    at += len;
    const core::end_reason why = proto::ws_feed(r, block.get(), static_cast<uint32_t>(len));
    if (why != core::end_reason::none) {
      log.append("!").append(std::to_string(static_cast<int>(why)));
      break;
    }
  }
  proto::ws_reader_free(r);
  return log;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint32_t cut = static_cast<uint32_t>(data[0]) << 8 | data[1];
  const char* bytes = reinterpret_cast<const char*>(data + 2);
  const size_t n = size - 2;
  const std::string whole = run(bytes, n, 0, false);
  if (run(bytes, n, 0, true) != whole || run(bytes, n, cut + 1, true) != whole ||
      run(bytes, n, cut + 1, false) != whole)
    abort();
  return 0;
}
