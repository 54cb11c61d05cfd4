// What does it cost to encode a publication's push once, as one frame?
#include <string>

#include "core/frame.h"
#include "driver.h"
#include "proto/reply.h"
#include "proto/ws.h"

void run(uint64_t times) {
  const std::string data = "{\"text\":\"" + std::string(128, 'x') + "\"}";
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < times; ++i) {
    std::string out;
    uint32_t at = 0, len = 0;
    proto::push_publication(
        &out, "general", 1'000'000 + i % 1000, data,
        "{\"user\":\"ann\",\"client\":\"6f9619ff-8b86-d011-b42d-00cf4fc964ff\"}",
        "{\"time\":\"1700000000000\"}", &at, &len);
    core::frame* f = proto::ws_text_frame(out);
    bytes += f->len;
    core::frame_unref(f);
  }
  must(times == 0 || bytes / times > 250, "frames are too short");
  must(core::frame_live() == 0, "frames are left");
}
