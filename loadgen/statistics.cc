// The rank test counts subsets exactly; the bootstrap draws blocks through prefix sums.
#include "loadgen/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/assert.h"
#include "loadgen/random.h"

namespace loadgen {
namespace {

constexpr double kTail = 0.025;  // beyond each end of an interval

double mean_of(const std::vector<double>& v) {
  return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
}

// The upper tail of the standard normal distribution.
double normal_tail(double z) {
  return 0.5 * std::erfc(z / std::sqrt(2.0));
}

// Twice the rank of each value of base and then head, ties sharing theirs: whole numbers.
std::vector<uint32_t> doubled_ranks(const std::vector<double>& base,
                                    const std::vector<double>& head) {
  std::vector<double> all = base;
  all.insert(all.end(), head.begin(), head.end());
  std::vector<double> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  std::vector<uint32_t> ranks;
  for (const double v : all) {
    const auto [from, to] = std::equal_range(sorted.begin(), sorted.end(), v);
    ranks.push_back(static_cast<uint32_t>((from - sorted.begin()) + (to - sorted.begin()) + 1));
  }
  return ranks;
}

// How likely each sum of `size` of the ranks is when every choice is as likely as another.
std::vector<double> sum_chances(const std::vector<uint32_t>& ranks, size_t size) {
  const size_t top = std::accumulate(ranks.begin(), ranks.end(), size_t{0});
  std::vector<std::vector<double>> ways(size + 1, std::vector<double>(top + 1, 0.0));
  ways[0][0] = 1;
  for (const uint32_t r : ranks) {
    for (size_t n = size; n > 0; --n) {
      for (size_t sum = top; sum >= r; --sum) ways[n][sum] += ways[n - 1][sum - r];
    }
  }
  const double all = std::accumulate(ways[size].begin(), ways[size].end(), 0.0);
  for (double& w : ways[size]) w /= all;
  return std::move(ways[size]);
}

double exact_p(const std::vector<uint32_t>& ranks, size_t base, size_t head) {
  const double seen =
      std::accumulate(ranks.begin() + static_cast<ptrdiff_t>(base), ranks.end(), 0.0);
  const double expected = static_cast<double>(head) * static_cast<double>(base + head + 1);
  const std::vector<double> chances = sum_chances(ranks, head);
  double p = 0;
  for (size_t sum = 0; sum < chances.size(); ++sum) {
    if (std::abs(static_cast<double>(sum) - expected) >= std::abs(seen - expected))
      p += chances[sum];
  }
  return std::min(1.0, p);
}

double approximate_p(std::vector<uint32_t> ranks, size_t base, size_t head) {
  const double m = static_cast<double>(base), n = static_cast<double>(head), all = m + n;
  const double sum =
      std::accumulate(ranks.begin() + static_cast<ptrdiff_t>(base), ranks.end(), 0.0) / 2;
  std::sort(ranks.begin(), ranks.end());
  double ties = 0;
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i;
    while (end < ranks.size() && ranks[end] == ranks[i]) ++end;
    const double t = static_cast<double>(end - i);
    ties += t * t * t - t;
    i = end;
  }
  const double variance = m * n / 12 * (all + 1 - ties / (all * (all - 1)));
  if (variance <= 0) return 1;
  const double away = std::max(0.0, std::abs(sum - n * (all + 1) / 2) - 0.5);
  return std::min(1.0, 2 * normal_tail(away / std::sqrt(variance)));
}

// The interval reaches from the sorted pairs' k-th to their k-th from the end; 0: too few values
// for one.
size_t interval_rank(size_t base, size_t head) {
  const double m = static_cast<double>(base), n = static_cast<double>(head);
  if (base + head > kRankExactMax) {
    const double spread = std::sqrt(m * n * (m + n + 1) / 12);
    return static_cast<size_t>(std::max(0.0, std::floor(m * n / 2 - 1.959964 * spread)));
  }
  std::vector<uint32_t> ranks(base + head);
  for (size_t i = 0; i < ranks.size(); ++i) ranks[i] = static_cast<uint32_t>(2 * (i + 1));
  const std::vector<double> chances = sum_chances(ranks, head);
  double below = 0;
  size_t rank = 0;
  for (size_t u = 0, sum = head * (head + 1); sum < chances.size(); sum += 2, ++u) {
    below += chances[sum];
    if (below > kTail) break;
    rank = u + 1;
  }
  return std::min(rank, (base * head + 1) / 2);
}

// A series as prefix sums over two rounds, so that a circular block is one subtraction.
struct blocks {
  std::vector<double> sums;
  size_t values = 0, length = 1, count = 1;
};

blocks blocks_of(const std::vector<double>& series) {
  blocks b;
  b.values = series.size();
  b.length = block_length(series);
  b.count = (b.values + b.length - 1) / b.length;
  b.sums.assign(1, 0.0);
  for (size_t i = 0; i < 2 * b.values; ++i) b.sums.push_back(b.sums.back() + series[i % b.values]);
  return b;
}

double draw_mean(const blocks& b, random_stream* r) {
  double sum = 0;
  for (size_t i = 0; i < b.count; ++i) {
    const size_t from = random_below(r, b.values);
    sum += b.sums[from + b.length] - b.sums[from];
  }
  return sum / static_cast<double>(b.count * b.length);
}

// The standard error of the series' mean if each value remembers some of the one before. The memory
// and the variance as they are in a short series are too small by known shares (Kendall 1954).
double remembering_error(const std::vector<double>& series) {
  const double n = static_cast<double>(series.size()), mean = mean_of(series);
  double variance = 0, together = 0;
  for (size_t i = 0; i < series.size(); ++i) {
    variance += (series[i] - mean) * (series[i] - mean);
    if (i > 0) together += (series[i] - mean) * (series[i - 1] - mean);
  }
  if (variance <= 0) return 0;
  const double seen = together / variance;
  const double memory = std::clamp(seen + (1 + 3 * seen) / n, 0.0, 0.95);
  const double as_one = (1 + memory) / (1 - memory);  // so many values count as one
  return std::sqrt(variance / (n - 1) * as_one / n / std::max(0.3, 1 - as_one / n));
}

// The standard error of the mean as the blocks give it: of all circular blocks' means.
double block_error(const blocks& b) {
  const double mean = b.sums[b.values] / static_cast<double>(b.values);
  double variance = 0;
  for (size_t from = 0; from < b.values; ++from) {
    const double one = (b.sums[from + b.length] - b.sums[from]) / static_cast<double>(b.length);
    variance += (one - mean) * (one - mean) / static_cast<double>(b.values);
  }
  return std::sqrt(variance / static_cast<double>(b.count));
}

struct run_blocks {
  blocks drawn;
  double mean = 0, widening = 1;
};

run_blocks run_of(const std::vector<double>& series) {
  CORE_ASSERT(series.size() >= kBootstrapSecondsMin);
  run_blocks r{blocks_of(series), mean_of(series), 1};
  const double error = block_error(r.drawn);
  const double k = static_cast<double>(std::max<size_t>(r.drawn.count, 2));
  const double remembered = error > 0 ? remembering_error(series) / error : 1;
  r.widening = std::max(std::sqrt(k / (k - 1)), remembered) * (1 + 3 / k);
  return r;
}

// One side: the mean of its runs' means, and draws around it.
struct side {
  std::vector<run_blocks> runs;
  double mean = 0;
};

side side_of(const std::vector<std::vector<double>>& runs) {
  side s;
  for (const std::vector<double>& run : runs) {
    s.runs.push_back(run_of(run));
    s.mean += s.runs.back().mean / static_cast<double>(runs.size());
  }
  return s;
}

double draw_deviation(const side& s, random_stream* r) {
  double sum = 0;
  for (const run_blocks& one : s.runs) sum += (draw_mean(one.drawn, r) - one.mean) * one.widening;
  return s.runs.empty() ? 0 : sum / static_cast<double>(s.runs.size());
}

double draw_normal(random_stream* r) {
  const double radius = std::sqrt(-2 * std::log(1 - random_unit(r)));
  return radius * std::cos(2 * 3.14159265358979 * random_unit(r));
}

}  // namespace

difference rank_test(const std::vector<double>& base, const std::vector<double>& head) {
  CORE_ASSERT(!base.empty() && !head.empty());
  std::vector<double> pairs;
  for (const double b : base) {
    for (const double h : head) pairs.push_back(h - b);
  }
  std::sort(pairs.begin(), pairs.end());
  const size_t n = pairs.size();
  const size_t rank = interval_rank(base.size(), head.size());
  difference d;
  d.value = (pairs[(n - 1) / 2] + pairs[n / 2]) / 2;
  d.low = rank > 0 ? pairs[rank - 1] : -INFINITY;
  d.high = rank > 0 ? pairs[n - rank] : INFINITY;
  const std::vector<uint32_t> ranks = doubled_ranks(base, head);
  d.p = ranks.size() <= kRankExactMax ? exact_p(ranks, base.size(), head.size())
                                      : approximate_p(ranks, base.size(), head.size());
  return d;
}

double rank_p_min(size_t base, size_t head) noexcept {
  double choices = 1;
  for (size_t i = 1; i <= head; ++i)
    choices *= static_cast<double>(base + i) / static_cast<double>(i);
  return std::min(1.0, 2 / choices);
}

double rank_superiority(const std::vector<double>& base, const std::vector<double>& head) noexcept {
  double wins = 0;
  for (const double b : base) {
    for (const double h : head) wins += h > b ? 1 : h == b ? 0.5 : 0;
  }
  return wins / static_cast<double>(base.size() * head.size());
}

size_t block_length(const std::vector<double>& series) noexcept {
  const size_t n = series.size();
  const double mean = mean_of(series);
  double variance = 0;
  for (const double v : series) variance += (v - mean) * (v - mean);
  const double noise = 2 / std::sqrt(static_cast<double>(n));
  size_t lag = 0;
  while (variance > 0 && ++lag < n / 6) {
    double together = 0;
    for (size_t i = lag; i < n; ++i) together += (series[i] - mean) * (series[i - lag] - mean);
    if (together / variance < noise) break;
  }
  const size_t wanted = std::max(n / 12, lag > 1 ? 2 * lag : 1);
  return std::clamp<size_t>(wanted, 1, std::max<size_t>(1, n / 6));
}

difference block_bootstrap(const std::vector<std::vector<double>>& base,
                           const std::vector<std::vector<double>>& head, double between_runs,
                           uint64_t seed) {
  const side a = side_of(base), b = side_of(head);
  difference d;
  d.value = b.mean - a.mean;
  random_stream r = random_from(seed, 0);
  std::vector<double> deviations(kBootstrapDraws);
  uint32_t as_large = 0;
  for (double& one : deviations) {
    one = draw_deviation(b, &r) - draw_deviation(a, &r) + between_runs * draw_normal(&r);
    if (std::abs(one) >= std::abs(d.value)) ++as_large;
  }
  std::sort(deviations.begin(), deviations.end());
  const auto beyond = static_cast<size_t>(kTail * kBootstrapDraws);
  d.low = d.value - deviations[kBootstrapDraws - 1 - beyond];
  d.high = d.value - deviations[beyond];
  d.p = (as_large + 1.0) / (kBootstrapDraws + 1.0);
  return d;
}

void holm_adjust(std::vector<double>* p) {
  std::vector<size_t> order(p->size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [p](size_t a, size_t b) { return (*p)[a] < (*p)[b]; });
  double least = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    double* one = &(*p)[order[i]];
    least = std::max(least, std::min(1.0, *one * static_cast<double>(order.size() - i)));
    *one = least;
  }
}

}  // namespace loadgen
