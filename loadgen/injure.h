// The server's stream of one connection, cut into frames and injured at seeded places. Pure: no
// I/O, no clock.
//
//   HTTP answer | frame frame frame ...      frames that carry a load message count, and may be
//   injured; everything else passes unchanged
//
// A load message is a line (text frames of a protocol that has lines) or else a whole payload that
// holds exactly one load marker and is no reply (`{"id":`): then dropping it loses one message and
// nothing else. An answer other than 101, and a stream that is no WebSocket of a server, pass as
// they are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "loadgen/proxy.h"

namespace loadgen {

inline constexpr uint64_t kInjuredFrameBytesMax =
    1024 * 1024;  // larger frames pass without being looked at, so that memory is bounded
inline constexpr size_t kInjuryPlacesMax = 100;

// Of all connections of a proxy; its loop's thread.
struct injury_plan {
  std::vector<injury> kinds;
  std::vector<uint64_t>
      forced_from;  // by kind: when chance has made none before this frame, it is made here
  uint64_t seed = 1;
  bool has_lines = true;
  uint32_t swaps_begun = 0;  // and not yet ended
  proxy_report report;
};
injury_plan injury_plan_make(const std::vector<injury>& kinds, uint64_t seed);

// A message that waits for the next of its room, to change places with it.
struct held_message {
  std::string bytes;  // the line, or the whole frame
  std::string room;   // run and room as the stamp has them
  uint64_t frame = 0;
  bool is_whole = false;
};

struct injured_stream {
  enum class stage : uint8_t { answer, frames, raw };
  uint32_t number = 0;  // of the connection, from 1
  stage at = stage::answer;
  bool is_in_message = false;  // between the fragments of a message
  uint64_t key = 0;            // seeds its frames' numbers
  uint64_t frames = 0;         // that carried a load message
  uint64_t pass_left = 0;      // bytes of a large frame that are still to come
  std::string rest;            // bytes of an unfinished frame or answer
  std::unique_ptr<held_message> held;
};
injured_stream injured_stream_make(const injury_plan& plan, uint32_t number);

// Called in the order of the stream; `bytes` are valid until return. delay_ms: these bytes and all
// that follow are late by as much.
using injured_out = void (*)(void* user, std::string_view bytes, uint32_t delay_ms) noexcept;

void injured_feed(injury_plan* plan, injured_stream* s, std::string_view in, injured_out out,
                  void* user) noexcept;
// No message came to change places with: the held one goes as it is and counts as not made. False:
// not now, between parts of another message.
bool injured_release(injury_plan* plan, injured_stream* s, injured_out out, void* user) noexcept;
// The stream has ended: what is held goes out.
void injured_end(injury_plan* plan, injured_stream* s, injured_out out, void* user) noexcept;

}  // namespace loadgen
