// Whether two sets of measurements differ: a rank test for independent runs, a block bootstrap for
// the seconds of a run, and the correction for asking several questions at once. Pure; the same
// input gives the same answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace loadgen {

// A difference head - base with its 95 % interval, and the two-sided probability of one as large
// when there is none.
struct difference {
  double value = 0, low = 0, high = 0;
  double p = 1;
};

// Mann-Whitney U; exact, also with ties, up to kRankExactMax values together, above by the normal
// approximation with tie and continuity correction. The difference is Hodges-Lehmann's: the median
// over all pairs, with the interval that the same test gives (infinite when there are too few
// values for one). Both sides have a value.
inline constexpr size_t kRankExactMax = 50;
difference rank_test(const std::vector<double>& base, const std::vector<double>& head);
// The least p that rank_test() can give for so many values a side.
double rank_p_min(size_t base, size_t head) noexcept;
// Share of pairs in which head's is the larger, ties half: 0.5 when there is no difference, 1 when
// every one is.
double rank_superiority(const std::vector<double>& base, const std::vector<double>& head) noexcept;

// Seconds of a run follow from each other (a queue that is full now is full in the next), so that
// they are drawn in blocks of consecutive ones: twice as long as their autocorrelation lasts, a
// twelfth of the run at least, a sixth at most. Circular; kBootstrapDraws draws. Deviations are
// widened for what blocks of a short run hide: by sqrt(k / (k - 1)) (1 + 3 / k) for k blocks, about
// Student's factor at 99 %, and to the error of the mean of a first-order autoregression with the
// series' own memory when that is larger.
inline constexpr size_t kBootstrapSecondsMin = 10;
inline constexpr uint32_t kBootstrapDraws = 10'000;
size_t block_length(const std::vector<double>& series) noexcept;
// The difference of the means of head and base; series of several runs count alike. Every series
// has kBootstrapSecondsMin values or more. base empty: head holds differences already (of paired
// seconds). between_runs: standard deviation that the difference has beyond what the seconds show,
// as every run lies elsewhere; it is added to each draw.
difference block_bootstrap(const std::vector<std::vector<double>>& base,
                           const std::vector<std::vector<double>>& head, double between_runs,
                           uint64_t seed);

// Holm: the probabilities as they count when all of them were looked at.
void holm_adjust(std::vector<double>* p);

}  // namespace loadgen
