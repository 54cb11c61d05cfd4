// Which server is the master now, according to Sentinels: asks them in turn, verifies the answer at
// the server itself, and listens for failovers. One object per loop, on its thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "broker/redis_conn.h"

namespace broker {

inline constexpr uint32_t kSentinelAskMs = 1000;  // between two questions, beside +switch-master

struct redis_sentinel;

// After redis_sentinel_close() none is called; none inside redis_sentinel_open().
struct redis_sentinel_events {
  // A master that says itself that it is one; again only when it is another.
  void (*on_master)(void* user, redis_sentinel* s, const redis_endpoint& master) noexcept;
  // No Sentinel answers, none knows the name, or what they name is no master; once until the next
  // on_master() or another reason.
  void (*on_down)(void* user, redis_sentinel* s, std::string_view why) noexcept;
};

// options: url, tls, resolver, name, random as for redis_conn; `at` and `role` are not used. The
// URL's topology is sentinel.
redis_sentinel* redis_sentinel_open(const redis_conn_options& options, core::loop* home,
                                    const redis_sentinel_events* events, void* user) noexcept;
void redis_sentinel_close(redis_sentinel* s) noexcept;  // the pointer is not to be used after
// The master seems wrong or away (a connection to it failed, READONLY): ask now.
void redis_sentinel_ask(redis_sentinel* s) noexcept;

}  // namespace broker
