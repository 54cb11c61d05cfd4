// Counters and histograms: each value falls into one bucket, and another thread may read.
#include "core/metrics.h"

#include <gtest/gtest.h>

#include <thread>

namespace core {
namespace {

TEST(metrics_test, counters_add_and_sub) {
  counter c;
  EXPECT_EQ(c.get(), 0u);
  c.add();
  c.add(5);
  c.sub();
  EXPECT_EQ(c.get(), 5u);
  c.sub(5);
  EXPECT_EQ(c.get(), 0u);
}

TEST(metrics_test, a_reader_sees_a_counter_that_only_grows) {
  counter c;
  constexpr uint64_t kEnd = 200'000;
  std::thread writer([&c] {
    for (uint64_t i = 0; i < kEnd; ++i) c.add();
  });
  for (uint64_t before = 0; before < kEnd;) {
    const uint64_t now = c.get();
    ASSERT_GE(now, before);
    before = now;
  }
  writer.join();
  EXPECT_EQ(c.get(), kEnd);
}

TEST(metrics_test, a_value_at_a_bound_is_within_it_and_one_more_is_not) {
  for (size_t i = 0; i + 1 < kLatencyBuckets; ++i) {
    latency_histogram h;
    h.record(kLatencyBoundsUs[i]);
    EXPECT_EQ(h.buckets[i].get(), 1u) << i;
    h.record(kLatencyBoundsUs[i] + 1);
    EXPECT_EQ(h.buckets[i + 1].get(), 1u) << i;
    EXPECT_EQ(h.sum_us.get(), 2 * kLatencyBoundsUs[i] + 1);
  }
}

TEST(metrics_test, the_smallest_and_the_largest_value) {
  latency_histogram h;
  h.record(0);
  EXPECT_EQ(h.buckets[0].get(), 1u);
  h.record(UINT64_MAX);
  EXPECT_EQ(h.buckets[kLatencyBuckets - 1].get(), 1u) << "+Inf";
  uint64_t all = 0;
  for (const counter& b : h.buckets) all += b.get();
  EXPECT_EQ(all, 2u);
}

TEST(metrics_test, bounds_rise) {
  for (size_t i = 1; i + 1 < kLatencyBuckets; ++i)
    EXPECT_LT(kLatencyBoundsUs[i - 1], kLatencyBoundsUs[i]);
}

}  // namespace
}  // namespace core
