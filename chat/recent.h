// The newest publications of a channel as finished frames, so that short recoveries and loops that
// are behind cost no read of the store.
//
// Invariant: a ring holds offsets first .. first + count - 1 without a hole, the last one being the
// channel's top. Bounded per channel (kRecentPublicationsMax, kRecentBytesMax) and per loop
// (bytes_max): the channel that was used longest ago loses its ring.
#pragma once

#include <cstdint>

#include "core/frame.h"
#include "core/limits.h"

namespace chat {

struct recent_entry {
  core::frame* push = nullptr;
  uint32_t object_at = 0, object_bytes = 0;  // the publication object within frame_view(push)
  int64_t time_ms = 0;
};

struct recent_pool;

struct recent {
  recent** home = nullptr;  // the channel's pointer to this
  recent* newer = nullptr;
  recent* older = nullptr;
  recent_entry* entries = nullptr;  // circular
  uint64_t first = 0;
  uint32_t head = 0, count = 0, cap = 0;
  uint32_t bytes = 0;
};

struct recent_pool {
  recent* newest = nullptr;
  recent* oldest = nullptr;
  uint64_t bytes = 0;
  uint64_t bytes_max = core::kRecentBytesPerLoopMax;
};

// Adds `offset` to the ring at *home, which is made when it is null; takes its own reference. An
// offset that does not follow begins anew. What is larger than kRecentBytesMax is not kept, and
// nothing before it.
void recent_push(recent_pool* p, recent** home, uint64_t offset, const recent_entry& e) noexcept;
void recent_drop(recent_pool* p, recent** home) noexcept;  // *home becomes null
void recent_touch(recent_pool* p, recent* r) noexcept;     // used now
// nullptr: not kept. r may be null.
const recent_entry* recent_find(const recent* r, uint64_t offset) noexcept;

}  // namespace chat
