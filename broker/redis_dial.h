// Sockets to Redis: names resolved on a thread of our own, TCP and unix sockets connected without
// blocking.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "broker/redis_url.h"

namespace core {
struct loop;
}

namespace broker {

struct redis_address {
  sockaddr_storage bytes;
  socklen_t size;
};

// A unix path, a numeric address or "localhost" (127.0.0.1): known at once. False: a name, or a
// path that is too long (then *why is set).
bool redis_address_known(const redis_endpoint& e, redis_address* out, std::string* why);

// *fd: non-blocking, connecting or connected. Returns 0, or errno with *fd = -1 (a refusal that is
// known at once too).
int redis_dial(const redis_address& to, int* fd) noexcept;

struct redis_resolver;  // one thread, for any number of loops

redis_resolver* redis_resolver_open() noexcept;
// Lookups that wait are dropped without answer. Does not wait for one that hangs in the system's
// resolver.
void redis_resolver_close(redis_resolver* r) noexcept;

// The answer to one lookup, on the asking loop's thread. `why` is set when there is no address.
using redis_resolved_cb = void (*)(void* user, std::vector<redis_address>&& found,
                                   std::string&& why) noexcept;

struct redis_lookup;
// Null: too many lookups wait, or the loop's mailbox is full. The lookup is alive until its
// callback or redis_lookup_cancel(), after which no callback comes.
redis_lookup* redis_resolve(redis_resolver* r, core::loop* home, const redis_endpoint& e,
                            redis_resolved_cb cb, void* user) noexcept;
void redis_lookup_cancel(redis_lookup* q) noexcept;

}  // namespace broker
