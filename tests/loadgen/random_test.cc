// The generators: the reference's numbers, and distributions by chi-square with fixed seeds.
#include "loadgen/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <vector>

namespace loadgen {
namespace {

// Far out: about one in a million for a right generator, and the seeds are fixed.
double chi_square_max(double freedom) {
  return freedom + 5 * std::sqrt(2 * freedom) + 10;
}

double chi_square(const std::vector<uint64_t>& seen, const std::vector<double>& expected) {
  double sum = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    const double off = static_cast<double>(seen[i]) - expected[i];
    sum += off * off / expected[i];
  }
  return sum;
}

struct zipf_ptr {
  zipf_table* t;
  zipf_ptr(uint32_t n, double s) : t(zipf_new(n, s)) {}
  ~zipf_ptr() { zipf_free(t); }
};

TEST(random_test, IsTheReferenceXoshiro) {
  random_stream r{{1, 2, 3, 4}};
  for (const uint64_t expected :
       {uint64_t{11520}, uint64_t{0}, uint64_t{1509978240}, uint64_t{1215971899390074240},
        uint64_t{1216172134540287360}, uint64_t{607988272756665600},
        uint64_t{16172922978634559625u}, uint64_t{8476171486693032832},
        uint64_t{10595114339597558777u}, uint64_t{2904607092377533576}})
    EXPECT_EQ(random_next(&r), expected);
}

// If this changes, every schedule does, and no report can be compared with an older one.
TEST(random_test, TheNumbersOfASeedNeverChange) {
  random_stream r = random_from(1, 2);
  EXPECT_EQ(random_next(&r), 15955582579089097916u);
  EXPECT_EQ(random_next(&r), 7708552331832374120u);
  EXPECT_DOUBLE_EQ(random_exponential(&r, 10), 7.5315494561076957);
}

TEST(random_test, SeedsAndStreamsAreAllDifferent) {
  std::set<uint64_t> first;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    for (uint64_t stream = 0; stream < 100; ++stream) {
      random_stream r = random_from(seed, stream);
      first.insert(random_next(&r));
    }
  }
  EXPECT_EQ(first.size(), 10'000u);
}

TEST(random_test, NeighbouringStreamsDoNotFollowEachOther) {
  for (uint64_t stream = 0; stream < 50; ++stream) {
    random_stream a = random_from(7, stream), b = random_from(7, stream + 1);
    double sum = 0;
    for (int i = 0; i < 10'000; ++i) sum += (random_unit(&a) - 0.5) * (random_unit(&b) - 0.5);
    EXPECT_LT(std::abs(sum * 12 / 10'000), 0.05) << stream;  // correlation; its deviation is 0.01
  }
}

TEST(random_test, BelowIsUniform) {
  for (const uint64_t bound : {2, 3, 10, 100, 1000}) {
    random_stream r = random_from(3, bound);
    std::vector<uint64_t> seen(bound);
    for (int i = 0; i < 200'000; ++i) ++seen[random_below(&r, bound)];
    const std::vector<double> expected(bound, 200'000.0 / static_cast<double>(bound));
    EXPECT_LT(chi_square(seen, expected), chi_square_max(static_cast<double>(bound) - 1)) << bound;
  }
}

// Four numbers for three places: without drawing again, one of three places would have two.
TEST(random_test, BelowIsUniformWhereTheBoundIsNearTheWhole) {
  random_stream r = random_from(3, 0);
  std::vector<uint64_t> seen(3);
  for (int i = 0; i < 30'000; ++i) ++seen[random_below(&r, uint64_t{3} << 62) % 3];
  EXPECT_LT(chi_square(seen, std::vector<double>(3, 10'000)), chi_square_max(2));
}

TEST(random_test, BelowStaysBelowAtTheEnds) {
  random_stream r = random_from(4, 0);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(random_below(&r, 1), 0u);
    EXPECT_LT(random_below(&r, UINT64_MAX), UINT64_MAX);
    // Half of all numbers would be uneven here: they are drawn again.
    EXPECT_LE(random_below(&r, (uint64_t{1} << 63) + 1), uint64_t{1} << 63);
  }
}

TEST(random_test, UnitIsUniformAndBelowOne) {
  random_stream r = random_from(5, 0);
  std::vector<uint64_t> seen(100);
  for (int i = 0; i < 200'000; ++i) {
    const double u = random_unit(&r);
    ASSERT_TRUE(u >= 0 && u < 1);
    ++seen[static_cast<size_t>(u * 100)];
  }
  EXPECT_LT(chi_square(seen, std::vector<double>(100, 2000)), chi_square_max(99));
}

TEST(random_test, ExponentialHasItsMeanAndVarianceAndShape) {
  constexpr int kDraws = 400'000;
  constexpr double kMean = 2.5;
  random_stream r = random_from(6, 0);
  double sum = 0, squares = 0;
  std::vector<uint64_t> seen(40);  // of equal probability
  for (int i = 0; i < kDraws; ++i) {
    const double x = random_exponential(&r, kMean);
    ASSERT_GT(x, 0);
    sum += x;
    squares += x * x;
    ++seen[std::min<size_t>(39, static_cast<size_t>((1 - std::exp(-x / kMean)) * 40))];
  }
  const double mean = sum / kDraws, variance = squares / kDraws - mean * mean;
  EXPECT_NEAR(mean, kMean, kMean * 5 / std::sqrt(kDraws));
  EXPECT_NEAR(variance, kMean * kMean, kMean * kMean * 5 * std::sqrt(8.0 / kDraws));
  EXPECT_LT(chi_square(seen, std::vector<double>(40, kDraws / 40.0)), chi_square_max(39));
}

TEST(random_test, MixTellsOrderAndNeighboursApart) {
  EXPECT_NE(random_mix(1, 2), random_mix(2, 1));
  EXPECT_NE(random_mix(0, 0), 0u);
  std::set<uint64_t> all;
  for (uint64_t a = 0; a < 100; ++a) {
    for (uint64_t b = 0; b < 100; ++b) all.insert(random_mix(a, b));
  }
  EXPECT_EQ(all.size(), 10'000u);
}

TEST(zipf_test, SharesFollowTheRankAndSumToOne) {
  for (const double s : {0.0, 0.8, 1.0, 1.1, 2.0}) {
    const zipf_ptr z(1000, s);
    double sum = 0;
    for (uint32_t k = 0; k < 1000; ++k) {
      sum += zipf_share(z.t, k);
      EXPECT_NEAR(zipf_share(z.t, k) / zipf_share(z.t, 0), std::pow(k + 1.0, -s), 1e-6);
    }
    EXPECT_DOUBLE_EQ(sum, 1) << s;
  }
}

TEST(zipf_test, PicksHaveTheShares) {
  for (const double s : {0.0, 1.1}) {
    const zipf_ptr z(200, s);
    random_stream r = random_from(8, 0);
    std::vector<uint64_t> seen(200);
    std::vector<double> expected(200);
    for (uint32_t k = 0; k < 200; ++k) expected[k] = 300'000 * zipf_share(z.t, k);
    for (int i = 0; i < 300'000; ++i) ++seen[zipf_pick(z.t, &r)];
    EXPECT_LT(chi_square(seen, expected), chi_square_max(199)) << s;
  }
}

TEST(zipf_test, OfOneThereIsNoChoice) {
  const zipf_ptr z(1, 1);
  random_stream r = random_from(9, 0);
  EXPECT_DOUBLE_EQ(zipf_share(z.t, 0), 1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(zipf_pick(z.t, &r), 0u);
}

TEST(zipf_test, TheRarestOfAMillionStillHasAShare) {
  const zipf_ptr z(1'000'000, 1.2);
  EXPECT_NEAR(zipf_share(z.t, 999'999) / zipf_share(z.t, 0), std::pow(1e6, -1.2), 1e-11);
}

}  // namespace
}  // namespace loadgen
