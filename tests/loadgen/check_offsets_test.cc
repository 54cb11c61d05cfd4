// The table of offsets against a map, with holes, jumps and growth to both sides.
#include "loadgen/check_offsets.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "loadgen/random.h"

namespace loadgen {
namespace {

TEST(check_offsets_test, HoldsWhatAMapHolds) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    random_stream rnd = random_from(seed, 0);
    offset_table t;
    std::map<uint64_t, uint64_t> hashes;
    std::set<uint64_t> kept;
    const uint64_t epochs[] = {1'000'000, 1'100'000, 40'000'000, 28'000'000'000'000};
    for (int i = 0; i < 3000; ++i) {
      const uint64_t offset = epochs[random_below(&rnd, 4)] + random_below(&rnd, 3000);
      if (random_below(&rnd, 3) == 0) {
        t.keep(offset);
        kept.insert(offset);
      } else {
        *t.place(offset) = hashes[offset] = random_below(&rnd, 1'000'000) + 1;
      }
    }
    for (const auto& [offset, hash] : hashes) {
      ASSERT_EQ(t.hash(offset), hash) << offset;
      for (const uint64_t near : {offset - 1, offset + 1, offset + kStretchGapMax}) {
        const auto there = hashes.find(near);
        ASSERT_EQ(t.hash(near), there == hashes.end() ? 0 : there->second) << near;
        ASSERT_EQ(t.is_kept(near), kept.count(near) == 1) << near;
      }
    }
    ASSERT_EQ(t.hash(1), 0u);
    ASSERT_EQ(t.hash(UINT64_MAX), 0u);
    uint64_t end = 0;
    for (const offset_stretch& s : t.stretches()) {
      ASSERT_GE(s.base, end) << "stretches do not overlap";
      end = s.base + s.hashes.size();
    }
  }
}

TEST(check_offsets_test, AnEndOfTheNumbersIsNoEnd) {
  offset_table t;
  *t.place(UINT64_MAX) = 1;
  *t.place(0) = 2;
  *t.place(UINT64_MAX - kStretchGapMax) = 3;
  EXPECT_EQ(t.hash(UINT64_MAX), 1u);
  EXPECT_EQ(t.hash(0), 2u);
  EXPECT_EQ(t.hash(UINT64_MAX - kStretchGapMax), 3u);
  EXPECT_EQ(t.stretches().size(), 2u);
}

}  // namespace
}  // namespace loadgen
