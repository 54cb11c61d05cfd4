// Outgoing TCP connections: a socket that is being connected, for conn_init(). Any thread; never
// blocks, so addresses are numeric.
#pragma once

#include <cstdint>
#include <string>

#include "core/err.h"

namespace core {

struct dial_address {
  std::string host;  // numeric IPv4 or IPv6, or "localhost"
  uint16_t port = 0;
  std::string source;  // numeric address to connect from, or empty: with several, more than 28,000
                       // connections fit to one target
};

// *fd is non-blocking and connecting or connected: sends wait until it is, a failure shows as a
// reset. On an error *fd is -1. invalid: not a numeric address, or a source of the other family.
// full: no descriptor or no port is left. io: anything else, among it a refusal that is known at
// once, as on loopback.
err dial(const dial_address& a, int* fd) noexcept;
// Would dial() take the host? For a message before anything is dialled.
bool dial_is_numeric(const std::string& host) noexcept;

}  // namespace core
