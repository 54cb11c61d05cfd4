// Redis Cluster's arithmetic: key to slot, slot to node, redirections, and hash tags that spread
// partitions evenly over the slots. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/redis_url.h"
#include "broker/redis_wire.h"
#include "core/err.h"

namespace broker {

inline constexpr uint32_t kRedisSlots = 16384;

// CRC16 (XMODEM) of the bytes; the slot of a key counts its hash tag alone when it has one.
uint16_t redis_crc16(std::string_view bytes) noexcept;
uint16_t redis_slot(std::string_view key) noexcept;

// Hash tags for `partitions` (1..kRedisSlots) partitions: partition p's lies in the p-th of that
// many equal ranges of slots, so that any division of the slots among nodes divides the partitions
// alike. The shortest number that does; the same for ever, keys depend on it.
std::vector<std::string> redis_partition_tags(uint32_t partitions);

// Which node owns which slot.
struct redis_slot_map {
  std::vector<redis_endpoint> nodes;  // masters
  std::vector<uint16_t> owner;        // kRedisSlots indices into nodes; kNoOwner
  static constexpr uint16_t kNoOwner = 0xFFFF;
  uint32_t slots_owned = 0;  // kRedisSlots when the cluster is complete
};

// From CLUSTER SLOTS' reply, which Redis 7 and Valkey both have. A node that tells no address of
// its own (empty or "?") gets `asked`'s host. malformed: *out is unchanged.
core::err redis_slot_map_read(const redis_reply& r, const redis_endpoint& asked,
                              redis_slot_map* out);
// Adds the masters that have no slots yet, from CLUSTER NODES' text: they may get some.
void redis_slot_map_add_masters(redis_slot_map* m, std::string_view nodes,
                                const redis_endpoint& asked);
const redis_endpoint* redis_slot_owner(const redis_slot_map& m, uint16_t slot) noexcept;  // or null
// What a MOVED says, before the next CLUSTER SLOTS.
void redis_slot_map_set(redis_slot_map* m, uint16_t slot, const redis_endpoint& to);

enum class redis_redirect_kind : uint8_t { none, moved, ask };
struct redis_redirect {
  redis_redirect_kind kind = redis_redirect_kind::none;
  uint16_t slot = 0;
  redis_endpoint to;
};
// "MOVED 3999 127.0.0.1:6381", "ASK 3999 [::1]:6381", "MOVED 3999 :6381" (the asked host). Anything
// else is none.
redis_redirect redis_redirect_read(std::string_view error, const redis_endpoint& asked);

}  // namespace broker
