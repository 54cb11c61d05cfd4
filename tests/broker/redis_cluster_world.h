// A private Redis Cluster for tests: primaries that share the slots, a replica of each, and slots
// that move from one to another.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "redis_server.h"

namespace broker {

class redis_cluster_world {
 public:
  // Waits until all agree and the replicas are in step.
  explicit redis_cluster_world(size_t primaries = 3, bool has_replicas = true);

  redis_server* primary(size_t i) { return primaries_[i].get(); }
  redis_server* replica(size_t i) { return replicas_[i].get(); }  // of primary i
  size_t primaries() const { return primaries_.size(); }
  std::string url() const;
  // Who of all has the slot, as `asked` sees it; null: nobody of ours.
  redis_server* owner(uint16_t slot, redis_server* asked);
  redis_server* owner(uint16_t slot) { return owner(slot, primaries_[0].get()); }
  // A primary without slots, known to all.
  redis_server* add_primary();

  // As redis-cli --cluster reshard does it, step by step.
  void begin_move(uint16_t slot, redis_server* from, redis_server* to);
  // How many keys have moved; at most `count`.
  size_t move_keys(uint16_t slot, redis_server* from, redis_server* to, size_t count = 100);
  void end_move(uint16_t slot, redis_server* from, redis_server* to);
  void wait_owner(uint16_t slot, redis_server* to);
  void move(uint16_t slot, redis_server* from, redis_server* to);

 private:
  std::vector<redis_server*> all();
  std::vector<std::unique_ptr<redis_server>> primaries_, replicas_;
};

}  // namespace broker
