// The broker over Redis servers: publishes by one script call each, hears by Pub/Sub, fills every
// hole from the stream. See redis_script.h for what is kept and redis.cc for why nothing is lost.
#pragma once

#include <string>
#include <vector>

#include "broker/broker.h"
#include "broker/redis_conn.h"

namespace broker {

struct redis_options {
  std::vector<redis_endpoint> servers;  // channels are hashed over them
  std::string prefix = "parley";        // of all keys
  uint32_t partitions = 128;            // the same on all nodes, always
  std::string node;                     // id of this start; 8 characters or more
  bool hears_control = true;            // one loop of a node
  // For tests: where a partition begins that no server has begun before; "" is by time.
  std::string first_base;
  const core::clock_source* clock = core::system_clock();
  core::random_source* random = core::system_random();
};

broker* open_redis(const redis_options& o, core::loop* home, const broker_events* events,
                   void* user) noexcept;

}  // namespace broker
