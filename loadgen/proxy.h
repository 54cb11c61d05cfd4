// A WebSocket proxy that breaks what a server sends, at seeded places: the proof that the checker
// finds what it must. Own loop, loopback only.
//
//   tool --> proxy (127.0.0.1:port) --> server; the way back is cut into WebSocket frames, and each
//   data frame that carries a load message may be injured
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/err.h"

namespace loadgen {

enum class injury_kind : uint8_t {
  drop,       // one message of the frame is missing
  duplicate,  // it comes twice
  swap,  // it changes place with the next message of its room on its connection, in the frame or in
         // a later one
  delay,    // it, and all that follows on its connection, comes delay_ms late
  corrupt,  // one byte of its data is another; it is still JSON
  kCount
};
const char* injury_name(injury_kind k) noexcept;  // "drop"

// "drop=1e-6", "delay=0.001:8s" (or :8000ms): probability, 0 to 1, for each frame with a load
// message; a frame has one injury at most. At least one injury of each kind asked is made in a run:
// when chance has made none until a seeded place among the first kFirstInjuryWithin such frames, it
// is made there, so that a run always proves something.
inline constexpr uint32_t kFirstInjuryWithin = 200;  // few, so that a short run reaches it
struct injury {
  injury_kind kind = injury_kind::drop;
  double probability = 0;
  uint32_t delay_ms = 0;  // 0: injury_fit() chooses
};
core::err injury_parse(const std::string& text, injury* out, std::string* why);  // invalid
// A delivery counts as delayed beyond the scenario's delivery_deadline_s alone: a delay that is not
// above it would be made and be no violation. invalid: such a one. Chosen: twice the deadline.
core::err injury_fit(injury* i, double deadline_s, std::string* why);

struct proxy_options {
  std::string host;  // of the server, numeric or "localhost"
  uint16_t port = 0;
  std::vector<injury> injuries;
  uint32_t latency_ms = 0;  // added to whatever the server sends; order is kept
  uint64_t seed = 1;
  bool has_lines = true;  // a text frame holds several messages, one a line; else it is one message
};

struct proxy_report {
  uint64_t connections = 0;
  uint64_t frames = 0;  // with a load message
  uint64_t made[static_cast<size_t>(injury_kind::kCount)] = {};
  std::vector<std::string>
      places;  // "drop: frame 812 of connection 3", both counted from 1; the first hundred
};

struct proxy;
// Listens on 127.0.0.1, *port tells where. Starts its thread. invalid: the server's address, or
// probabilities that sum to more than 1; else io.
core::err proxy_start(const proxy_options& o, proxy** out, uint16_t* port,
                      std::string* why) noexcept;
// Any thread, until proxy_stop(): resets that share of the connections (rounded; at least one when
// there is one and share > 0), chosen by the seed.
void proxy_cut(proxy* p, double share, uint64_t seed) noexcept;
// Ends all connections, joins the thread, frees. report may be null.
void proxy_stop(proxy* p, proxy_report* report) noexcept;

}  // namespace loadgen
