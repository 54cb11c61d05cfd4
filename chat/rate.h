// A token bucket in eight bytes.
#pragma once

#include <algorithm>
#include <cstdint>

namespace chat {

// Holds what may still come at once, in thousandths. Invariant: 0 <= milli <= burst * 1000.
struct rate_bucket {
  uint32_t milli = 0;
  uint32_t last_ms = 0;  // low 32 bits of the loop's time: wraps after 49 days, the difference
                         // stays right for shorter pauses
};

inline void rate_fill(rate_bucket* b, uint64_t now_ms, uint32_t burst) noexcept {
  *b = {burst * 1000, static_cast<uint32_t>(now_ms)};
}

// Takes one; false when none is left. per_s 0: no bound.
inline bool rate_take(rate_bucket* b, uint64_t now_ms, uint32_t per_s, uint32_t burst) noexcept {
  if (per_s == 0) return true;
  const uint32_t passed_ms = static_cast<uint32_t>(now_ms) - b->last_ms;
  b->last_ms = static_cast<uint32_t>(now_ms);
  b->milli = static_cast<uint32_t>(std::min<uint64_t>(
      b->milli + static_cast<uint64_t>(passed_ms) * per_s, static_cast<uint64_t>(burst) * 1000));
  if (b->milli < 1000) return false;
  b->milli -= 1000;
  return true;
}

}  // namespace chat
