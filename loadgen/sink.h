// The tool's own counterpart: a server that does as little as a server can, in a process of its
// own, so that what the tool costs can be measured without a server's mood in it.
//
//   this process --fork--> sink: one loop, rooms in a map, a publish goes to everybody in the room
//
// It speaks connect, subscribe, unsubscribe, publish and ping of the Centrifuge protocol; anything
// else is error 108 (not available). It keeps nothing: no offsets, no history, no presence, no
// tokens are asked for.
#pragma once

#include <cstdint>
#include <string>

#include "core/err.h"

namespace loadgen {

struct sink;
// Listens on 127.0.0.1:*port. Forks: call it while the process has one thread, before any loop is
// made. The child ends with sink_stop() or with this process. io: *why is a sentence.
core::err sink_start(sink** out, uint16_t* port, std::string* why) noexcept;
int sink_pid(const sink* s) noexcept;
void sink_stop(sink* s) noexcept;  // waits for its end; null: nothing

// The child's part: serves until `life_fd` is at its end. The port, or the reason why not, is
// written to `answer_fd`: one byte 1 and two bytes of port, or one byte 0 and text.
void sink_serve(int answer_fd, int life_fd) noexcept;

}  // namespace loadgen
