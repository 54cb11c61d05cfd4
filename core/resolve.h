// Names to addresses, off the loop: getaddrinfo(3) on libuv's pool, which nothing else uses.
#pragma once

#include <string>

#include "core/err.h"

namespace core {

struct loop;
struct resolving;

// Asks for the address of `host`; done() runs on the loop in a later iteration, once, with a
// numeric address for dial(), or not_found ("" then). nullptr when nothing could be asked.
resolving* resolve(loop* home, const std::string& host,
                   void (*done)(void* user, err rc, const std::string& address) noexcept,
                   void* user) noexcept;
// No callback any more. On the loop.
void resolve_forget(resolving* r) noexcept;

}  // namespace core
