// The histogram against a sorted vector of the same values, with random values of all sizes.
#include "loadgen/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "loadgen/random.h"

namespace loadgen {
namespace {

using std::string;
using std::vector;

constexpr uint64_t kMs[] = {1, 10, 500, 900, 990, 999};  // quantiles in thousandths

// All sizes are as likely: of so many bits, and then any value.
uint64_t any_value(random_stream* r) {
  const uint64_t bits = 1 + random_below(r, 34);
  return random_below(r, uint64_t{1} << bits);
}

histogram of(const vector<uint64_t>& values) {
  histogram h;
  for (const uint64_t v : values) histogram_record(&h, v);
  return h;
}

void expect_same(const histogram& a, const histogram& b) {
  EXPECT_EQ(a.counts, b.counts);
  EXPECT_EQ(a.total, b.total);
  EXPECT_EQ(a.min, b.min);
  EXPECT_EQ(a.max, b.max);
  EXPECT_DOUBLE_EQ(a.sum, b.sum);
}

uint64_t new_seed() {
  return std::random_device{}();
}

TEST(histogram_test, EmptyIsZeroEverywhere) {
  const histogram h;
  for (const double q : {0.0, 0.5, 1.0}) EXPECT_EQ(histogram_at(h, q), 0u);
  EXPECT_EQ(histogram_mean(h), 0);
  EXPECT_EQ(histogram_encode(h), "");
}

TEST(histogram_test, OneValueIsEveryQuantile) {
  for (const uint64_t v : {0ul, 1ul, 255ul, 256ul, 1'000'003ul, kHistogramMaxUs}) {
    const histogram h = of({v});
    for (const double q : {0.0, 0.001, 0.5, 0.999, 1.0}) EXPECT_EQ(histogram_at(h, q), v);
    EXPECT_DOUBLE_EQ(histogram_mean(h), static_cast<double>(v));
  }
}

TEST(histogram_test, SmallValuesAreExact) {
  histogram h;
  for (uint64_t v = 0; v < 256; ++v) histogram_record(&h, v);
  for (uint64_t v = 0; v < 256; ++v)
    EXPECT_EQ(histogram_at(h, static_cast<double>(v + 1) / 256), v);
}

TEST(histogram_test, EachValueLiesWithinItsBucketsError) {
  // Around every bucket's border, alone but for a greater one: what is said is never less than the
  // value, and more by less than a 128th.
  for (unsigned bits = 8; bits < 32; ++bits) {
    for (uint64_t k = 128; k <= 256; ++k) {
      for (const int64_t d : {-1, 0, 1}) {
        const uint64_t v = (k << (bits - 7)) + static_cast<uint64_t>(d);
        if (v > kHistogramMaxUs) continue;
        const uint64_t said = histogram_at(of({v, v * 2 + 1000}), 0.5);
        ASSERT_GE(said, v);
        ASSERT_LT(static_cast<double>(said - v), static_cast<double>(v) / 128);
      }
    }
  }
}

TEST(histogram_test, QuantilesAreThoseOfTheSortedValues) {
  for (int round = 0; round < 50; ++round) {
    const uint64_t seed = new_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_stream r = random_from(seed, 0);
    vector<uint64_t> values(1 + random_below(&r, 3000));
    for (uint64_t& v : values) v = std::min(any_value(&r), kHistogramMaxUs);
    const histogram h = of(values);
    std::sort(values.begin(), values.end());
    for (const uint64_t ms : kMs) {
      const size_t rank = std::max<size_t>(1, (values.size() * ms + 999) / 1000);
      const uint64_t right = values[rank - 1],
                     said = histogram_at(h, static_cast<double>(ms) / 1e3);
      EXPECT_GE(said, right) << ms;
      EXPECT_LE(static_cast<double>(said - right), static_cast<double>(right) / 128) << ms;
    }
    EXPECT_EQ(histogram_at(h, 1), values.back());
    EXPECT_EQ(h.max, values.back());
    EXPECT_EQ(h.min, values.front());
    EXPECT_EQ(h.total, values.size());
    EXPECT_EQ(h.total, std::accumulate(h.counts.begin(), h.counts.end(), uint64_t{0}));
    double sum = 0;
    for (const uint64_t v : values) sum += static_cast<double>(v);
    EXPECT_NEAR(histogram_mean(h), sum / static_cast<double>(values.size()), 1e-6 * sum);
  }
}

TEST(histogram_test, QuantilesDoNotFall) {
  random_stream r = random_from(11, 0);
  histogram h;
  for (int i = 0; i < 1000; ++i) histogram_record(&h, any_value(&r));
  uint64_t before = 0;
  for (int i = 0; i <= 10'000; ++i) {
    const uint64_t at = histogram_at(h, i / 1e4);
    ASSERT_GE(at, before);
    before = at;
  }
}

// 0.07 * 100 is a little more than 7 in binary.
TEST(histogram_test, HundredthsOfAHundredAreExact) {
  histogram h;
  for (uint64_t v = 1; v <= 100; ++v) histogram_record(&h, v);
  for (uint64_t v = 1; v <= 100; ++v) EXPECT_EQ(histogram_at(h, static_cast<double>(v) / 100), v);
}

TEST(histogram_test, QuantilesOutOfRangeAreTheEnds) {
  const histogram h = of({5, 10, 20});
  EXPECT_EQ(histogram_at(h, -1), 5u);
  EXPECT_EQ(histogram_at(h, 2), 20u);
}

TEST(histogram_test, MergingIsRecordingAllInOne) {
  for (int round = 0; round < 50; ++round) {
    const uint64_t seed = new_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_stream r = random_from(seed, 0);
    histogram parts[4], all, merged;
    for (int i = 0; i < 1000; ++i) {
      const uint64_t v = any_value(&r), times = random_below(&r, 3);
      histogram_record(&parts[random_below(&r, 4)], v, times);
      histogram_record(&all, v, times);
    }
    for (const histogram& part : parts) histogram_merge(&merged, part);
    EXPECT_EQ(merged.counts, all.counts);
    EXPECT_EQ(merged.total, all.total);
    EXPECT_EQ(merged.min, all.min);
    EXPECT_EQ(merged.max, all.max);
    EXPECT_NEAR(merged.sum, all.sum, 1e-9 * all.sum);
  }
}

TEST(histogram_test, MergingNothingChangesNothing) {
  histogram h = of({3, 7});
  const histogram before = h;
  histogram_merge(&h, {});
  expect_same(h, before);
  histogram into;
  histogram_merge(&into, before);
  expect_same(into, before);
}

TEST(histogram_test, RecordingZeroTimesIsNothing) {
  histogram h;
  histogram_record(&h, 5, 0);
  EXPECT_EQ(h.total, 0u);
  EXPECT_TRUE(h.counts.empty());
  histogram_record(&h, 9, 3);
  EXPECT_EQ(h.min, 9u);
  EXPECT_EQ(h.total, 3u);
  EXPECT_DOUBLE_EQ(h.sum, 27);
}

TEST(histogram_test, WhatIsBeyondTheMaximumCountsThere) {
  histogram h = of({kHistogramMaxUs, kHistogramMaxUs + 1, UINT64_MAX});
  EXPECT_EQ(h.counts.back(), 0u);  // room to the end of its power of two
  EXPECT_EQ(*std::max_element(h.counts.begin(), h.counts.end()), 3u);
  EXPECT_EQ(h.max, UINT64_MAX);
  EXPECT_GE(histogram_at(h, 0.5), kHistogramMaxUs);
  EXPECT_EQ(histogram_at(h, 1), UINT64_MAX);
}

TEST(histogram_test, EncodesAndDecodesTheSame) {
  for (int round = 0; round < 50; ++round) {
    const uint64_t seed = new_seed();
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_stream r = random_from(seed, 0);
    histogram h, back;
    const uint64_t n = random_below(&r, 500);
    for (uint64_t i = 0; i < n; ++i)
      histogram_record(&h, any_value(&r) << random_below(&r, 20), 1 + random_below(&r, 1000));
    ASSERT_EQ(histogram_decode(histogram_encode(h), &back), core::err::ok);
    expect_same(h, back);
    EXPECT_EQ(histogram_encode(back), histogram_encode(h));
  }
}

TEST(histogram_test, TheTextIsWhatTheHeaderSays) {
  EXPECT_EQ(histogram_encode(of({300, 5, 5})), "5 300 310 5:2 300:1");
  EXPECT_EQ(histogram_encode(of({301})), "301 301 301 300:1");
}

TEST(histogram_test, WrongTextsAreMalformedAndLeaveNothing) {
  for (const char* text : {" ",
                           "x",
                           "5",
                           "5 5",
                           "5 5 5",
                           "5 5 5 ",
                           "5 5 5 5",
                           "5 5 5 5:",
                           "5 5 5 5:0",
                           "5 5 5 5:1 ",
                           "5 5 5 5:1,",
                           "5 5 5  5:1",
                           "5 5 5 5:-1",
                           "5 5 x 5:1",
                           "5 5 nan 5:1",
                           "5 5 -5 5:1",
                           "6 5 5 5:1",
                           "4 5 5 5:1",
                           "5 9 5 5:1",
                           "5 7 12 7:1 5:1",
                           "5 5 10 5:1 5:1",
                           "301 301 301 301:1",
                           "5 5 5 5:99999999999999999999",
                           "5 6 5 5:18446744073709551615 6:1",
                           "5 5 5 18446744073709551615:1",
                           "300 9999 5 300:1"}) {
    histogram h = of({1});
    EXPECT_EQ(histogram_decode(text, &h), core::err::malformed) << text;
    EXPECT_EQ(h.total, 0u) << text;
    EXPECT_TRUE(h.counts.empty()) << text;
  }
}

TEST(histogram_test, AnyDamageOfATextIsMalformedOrAHistogram) {
  const uint64_t seed = new_seed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  random_stream r = random_from(seed, 0);
  const string text = histogram_encode(of({3, 300, 70'000, 5'000'000}));
  for (int i = 0; i < 5000; ++i) {
    string damaged = text;
    damaged[random_below(&r, damaged.size())] = "0123456789 :.-e"[random_below(&r, 15)];
    damaged.resize(damaged.size() - random_below(&r, 3));
    histogram h;
    if (histogram_decode(damaged, &h) != core::err::ok) continue;
    EXPECT_EQ(h.total, std::accumulate(h.counts.begin(), h.counts.end(), uint64_t{0})) << damaged;
    EXPECT_LE(h.min, h.max) << damaged;
  }
}

TEST(histogram_test, ItStaysSmall) {
  histogram h;
  histogram_record(&h, 100'000);  // a tenth of a second
  EXPECT_LE(h.counts.size() * 8, 16'384u);
  histogram_record(&h, UINT64_MAX);
  EXPECT_LE(h.counts.size() * 8, 32'768u);
}

}  // namespace
}  // namespace loadgen
