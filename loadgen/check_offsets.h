// What stands at which offset of a room. Offsets run without holes but for jumps: a server that has
// lost what it knew begins a new epoch far above. So a room has few stretches, and in each a place
// for every offset. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace loadgen {

inline constexpr uint64_t kStretchGapMax = 1 << 16;  // less than that is a hole, more is a jump

struct offset_stretch {
  uint64_t base = 0;
  std::vector<uint64_t> hashes;  // by offset - base; 0: not seen
  std::vector<bool> in_history;
};

class offset_table {
 public:
  uint64_t hash(uint64_t offset) const noexcept;  // 0: not seen
  uint64_t* place(uint64_t offset) noexcept;      // makes room; valid until the next call
  bool is_kept(uint64_t offset) const noexcept;   // in history, when it was read
  void keep(uint64_t offset) noexcept;
  const std::vector<offset_stretch>& stretches() const noexcept { return all_; }  // ascending

 private:
  size_t below(uint64_t offset) const noexcept;  // how many stretches begin at or below it
  offset_stretch* reach(uint64_t offset) noexcept;

  std::vector<offset_stretch> all_;
  size_t last_ = 0;  // the stretch of the last place()
};

}  // namespace loadgen
