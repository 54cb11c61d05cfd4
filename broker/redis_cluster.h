// Which server of a Redis Cluster has which slots: asks one node after the other, every second and
// on request. One object per loop, on its thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "broker/redis_conn.h"
#include "broker/redis_slots.h"

namespace broker {

inline constexpr uint32_t kClusterAskMs = 1000;      // between two questions
inline constexpr uint32_t kClusterAskAgainMs = 200;  // at the least, when somebody asks for it

struct redis_cluster;

// After redis_cluster_close() none is called; none inside redis_cluster_open() or _ask().
struct redis_cluster_events {
  // As one node sees it now: every answer, also the same one again. Masters without slots too.
  void (*on_map)(void* user, redis_cluster* c, const redis_slot_map& m) noexcept;
  // No node answers, or it is no node of a cluster; once until the next on_map() or another reason.
  void (*on_down)(void* user, redis_cluster* c, std::string_view why) noexcept;
};

// options: url, tls, resolver, name, random as for redis_conn; `at` and `role` are not used. The
// URL's topology is cluster; its servers are asked first, later the masters that are known.
redis_cluster* redis_cluster_open(const redis_conn_options& options, core::loop* home,
                                  const redis_cluster_events* events, void* user) noexcept;
void redis_cluster_close(redis_cluster* c) noexcept;  // the pointer is not to be used after
// The map seems wrong (a server is away, a slot has moved): ask soon.
void redis_cluster_ask(redis_cluster* c) noexcept;

}  // namespace broker
