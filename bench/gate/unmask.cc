// What does it cost to read one masked text frame of 200 bytes: header, mask, UTF-8?
#include <cstring>
#include <string>

#include "driver.h"
#include "proto/ws.h"
#include "proto/ws_client.h"

namespace {

struct counted {
  uint64_t texts = 0, bytes = 0;
};

constexpr proto::ws_events kEvents = {
    .on_text =
        [](void* user, char*, uint32_t len) noexcept {
          static_cast<counted*>(user)->texts += 1;
          static_cast<counted*>(user)->bytes += len;
        },
    .on_ping = [](void*, std::string_view) noexcept {},
    .on_pong = [](void*) noexcept {},
    .on_close = [](void*, uint16_t, std::string_view) noexcept {}};

}  // namespace

void run(uint64_t times) {
  std::string frame;
  proto::ws_client_frame(&frame, proto::ws_opcode::text, std::string(200, 'x'), 0x12345678);
  std::string room(frame.size() + 64, '\0');
  counted seen;
  proto::ws_reader* r = proto::ws_reader_new();
  proto::ws_reader_lend(r, &kEvents, &seen, 64 * 1024);
  for (uint64_t i = 0; i < times; ++i) {
    std::memcpy(room.data(), frame.data(), frame.size());
    must(proto::ws_feed(r, room.data(), static_cast<uint32_t>(frame.size())) ==
             core::end_reason::none,
         "a frame is refused");
  }
  must(seen.texts == times && seen.bytes == 200 * times, "frames are missing");
  proto::ws_reader_free(r);
}
