// The rules of retention and of a page's size that all stores share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "store/store.h"

namespace store {

// Offsets up to this one are outside of keep.size_max; 0: none.
inline uint64_t keep_floor(const retention& keep, uint64_t top) noexcept {
  return keep.size_max == retention::kForever || keep.size_max >= top ? 0 : top - keep.size_max;
}

inline constexpr int64_t kNoAge = std::numeric_limits<int64_t>::min();

// Publications of this time and before are outside of keep.ttl_ms.
inline int64_t keep_oldest_ms(const retention& keep, int64_t now_ms) noexcept {
  if (keep.ttl_ms == retention::kForever || now_ms < 0) return kNoAge;
  return keep.ttl_ms > static_cast<uint64_t>(now_ms) ? kNoAge
                                                     : now_ms - static_cast<int64_t>(keep.ttl_ms);
}

// How many bytes a page still takes.
struct page_budget {
  uint64_t bytes_max = 0;  // 0: no bound
  uint64_t bytes = 0;
};

// Counts one more publication in; false: it does not fit and the page is cut. The first always
// fits.
inline bool page_take(page_budget* b, uint64_t bytes, bool is_first) noexcept {
  if (!is_first && b->bytes_max > 0 && b->bytes + bytes > b->bytes_max) return false;
  b->bytes += bytes;
  return true;
}

inline uint64_t publication_bytes(const publication& p) noexcept {
  return p.data.size() + p.info.size() + p.tags.size();
}

// Pages are reserved for what is asked, but a limit may be "all".
inline constexpr uint32_t kPageReserveMax = 1024;

// The epoch of a new store: eight random characters of [a-z0-9], 41 bits; a clash would need a
// store that was replaced and a client that was away meanwhile.
inline constexpr uint32_t kEpochChars = 8;
// From 64 random bits.
inline std::string epoch_from(uint64_t bits) {
  constexpr char kChars[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string e(kEpochChars, ' ');
  for (char& c : e) {
    c = kChars[bits % (sizeof kChars - 1)];
    bits /= sizeof kChars - 1;
  }
  return e;
}
inline bool epoch_is_good(std::string_view e) noexcept {
  for (const char c : e)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) return false;
  return e.size() == kEpochChars;
}
inline std::string epoch_new() {
  uint64_t bits = 0;
  core::system_random()->fill(&bits, sizeof bits);
  return epoch_from(bits);
}

}  // namespace store
