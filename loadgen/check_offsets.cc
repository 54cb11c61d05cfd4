// Finding and growing the stretches.
#include "loadgen/check_offsets.h"

#include <algorithm>

namespace loadgen {

size_t offset_table::below(uint64_t offset) const noexcept {
  const auto above =
      std::upper_bound(all_.begin(), all_.end(), offset,
                       [](uint64_t o, const offset_stretch& s) { return o < s.base; });
  return static_cast<size_t>(above - all_.begin());
}

// The stretch that has the offset, or is near it and grows; else a new one.
offset_stretch* offset_table::reach(uint64_t offset) noexcept {
  if (last_ < all_.size() && all_[last_].base <= offset &&
      offset - all_[last_].base < all_[last_].hashes.size())
    return &all_[last_];
  const size_t next = below(offset);
  if (next > 0) {
    offset_stretch* s = &all_[next - 1];
    const uint64_t at = offset - s->base, size = s->hashes.size();
    if (at < size + kStretchGapMax) {
      if (at >= size) s->hashes.resize(std::max(at + 1, std::min(size + size / 2, at + 4096)));
      last_ = next - 1;
      return s;
    }
  }
  if (next < all_.size() && all_[next].base - offset <= kStretchGapMax) {
    offset_stretch* s = &all_[next];
    const uint64_t more = s->base - offset;
    s->hashes.insert(s->hashes.begin(), more, 0);
    if (!s->in_history.empty()) s->in_history.insert(s->in_history.begin(), more, false);
    s->base = offset;
    last_ = next;
    return s;
  }
  last_ = next;
  offset_stretch* s = &*all_.insert(all_.begin() + static_cast<ptrdiff_t>(next), offset_stretch{});
  s->base = offset;
  s->hashes.resize(1);
  return s;
}

uint64_t offset_table::hash(uint64_t offset) const noexcept {
  const size_t n = below(offset);
  if (n == 0) return 0;
  const offset_stretch& s = all_[n - 1];
  return offset - s.base < s.hashes.size() ? s.hashes[offset - s.base] : 0;
}

uint64_t* offset_table::place(uint64_t offset) noexcept {
  offset_stretch* s = reach(offset);
  return &s->hashes[offset - s->base];
}

bool offset_table::is_kept(uint64_t offset) const noexcept {
  const size_t n = below(offset);
  if (n == 0) return false;
  const offset_stretch& s = all_[n - 1];
  return offset - s.base < s.in_history.size() && s.in_history[offset - s.base];
}

void offset_table::keep(uint64_t offset) noexcept {
  offset_stretch* s = reach(offset);
  const size_t at = offset - s->base;
  if (at >= s->in_history.size()) s->in_history.resize(at + 1);
  s->in_history[at] = true;
}

}  // namespace loadgen
