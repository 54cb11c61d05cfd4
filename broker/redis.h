// The broker over Redis servers: publishes by one script call each, hears by Pub/Sub, fills every
// hole from the stream. See redis_script.h for what is kept and redis.cc for why nothing is lost.
#pragma once

#include <cstdint>
#include <string>

#include "broker/broker.h"
#include "broker/redis_conn.h"
#include "broker/redis_dial.h"
#include "broker/redis_tls.h"
#include "broker/redis_url.h"

namespace broker {

// What a node's loops share.
struct redis_options {
  const redis_url* url = nullptr;      // borrowed
  redis_tls* tls = nullptr;            // borrowed; needed when url->is_tls
  redis_resolver* resolver = nullptr;  // borrowed; needed for names
  std::string prefix = "parley";       // of all keys: [A-Za-z0-9_.-]
  uint32_t partitions = 128;           // the same on all nodes, always
  std::string node;                    // id of this start; 8 characters or more
  // A node that has not refreshed its lease for so long counts as dead: its presence goes.
  uint32_t lease_ms = 15'000;
  // For tests: where a partition begins that no server has begun before; "" is by time.
  std::string first_base;
  const core::clock_source* clock = core::system_clock();
  core::random_source* random = core::system_random();
};

// On the loop's thread; `o` is copied. Loop 0 hears control().
broker* open_redis(const redis_options& o, core::loop* home, const broker_events* events,
                   void* user) noexcept;

// Users' channels and read markers in Redis, for nodes without a store: the calls of a store that
// chat/ makes on its own loop, answered there; the others are `unavailable`. Borrows the broker,
// which open_redis() made; delete it before.
store::store* open_redis_lists(broker* b) noexcept;

}  // namespace broker
