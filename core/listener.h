// A listening socket per loop (SO_REUSEPORT): accepts within a budget, survives EMFILE.
#pragma once

#include <uv.h>

#include <cstdint>
#include <string>

#include "core/err.h"

namespace core {

struct loop;

struct listen_address {
  std::string host;   // as given
  uint16_t port = 0;  // 0: the system chooses; filled in by listener_probe()
};

// "HOST:PORT", "[V6]:PORT", ":PORT" -> address. invalid when it is none of these.
err listen_address_parse(const std::string& text, listen_address* out) noexcept;
// Is the host a loopback address (127.0.0.0/8, ::1, localhost)?
bool listen_address_is_loopback(const listen_address& a) noexcept;

// Main thread, before the loops start: binds without SO_REUSEPORT to learn whether somebody else
// serves this port (conflict), and which port the system gives for 0. *why is a sentence for the
// user on an error.
err listener_probe(listen_address* a, std::string* why) noexcept;

struct listener;
// Takes the accepted, non-blocking fd.
using accept_cb = void (*)(void* user, loop* l, int fd) noexcept;

// At most kAcceptsPerTurn connections an iteration, so that a reconnect storm does not starve those
// that are served. On EMFILE or ENFILE a spare descriptor is given up to accept and close one peer
// at once, accepting pauses for 100 ms, and a counter and a log line (once a second) tell it.
inline constexpr uint32_t kAcceptsPerTurn = 64;
err listener_open(loop* l, const listen_address& a, accept_cb cb, void* user, listener** out,
                  std::string* why) noexcept;
void listener_close(listener* l) noexcept;  // idempotent; frees itself when its handle has closed

}  // namespace core
