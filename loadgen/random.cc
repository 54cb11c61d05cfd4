// xoshiro256** and what is drawn from it. No call into the mathematics library but for the zipf
// table, whose entries are rounded far above its error.
#include "loadgen/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/assert.h"

namespace loadgen {
namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;
constexpr unsigned kZipfBits = 44;  // 2^-44: the rarest of a million rooms still has five digits
constexpr uint64_t kZipfWhole = uint64_t{1} << kZipfBits;

// splitmix64's output function: a bijection.
constexpr uint64_t finish(uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

// Invariant: upto rises to kZipfWhole; rank k owns the numbers in [upto[k-1], upto[k]).
struct zipf_table {
  std::vector<uint64_t> upto;
};

random_stream random_from(uint64_t seed, uint64_t stream) noexcept {
  uint64_t state = random_mix(seed, stream);
  random_stream r;
  for (uint64_t& word : r.s) word = finish(state += kGolden);
  return r;
}

uint64_t random_mix(uint64_t a, uint64_t b) noexcept {
  return finish(finish(a + kGolden) + b * 0xd1342543de82ef95);  // odd: no two b meet for one a
}

uint64_t random_next(random_stream* r) noexcept {
  uint64_t* s = r->s;
  const uint64_t out = std::rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = std::rotl(s[3], 45);
  return out;
}

// Lemire's multiplication: the high half is the number, the low half tells the few to draw again.
uint64_t random_below(random_stream* r, uint64_t bound) noexcept {
  CORE_ASSERT(bound > 0);
  using wide = unsigned __int128;
  wide product = static_cast<wide>(random_next(r)) * bound;
  if (static_cast<uint64_t>(product) < bound) {
    const uint64_t uneven = -bound % bound;
    while (static_cast<uint64_t>(product) < uneven)
      product = static_cast<wide>(random_next(r)) * bound;
  }
  return static_cast<uint64_t>(product >> 64);
}

double random_unit(random_stream* r) noexcept {
  return static_cast<double>(random_next(r) >> 11) * 0x1p-53;
}

// Von Neumann: uniform numbers fall as long as each is below the one before. A run of odd length
// takes its first number as the fraction; each run of even length adds one.
double random_exponential(random_stream* r, double mean) noexcept {
  for (double whole = 0;; whole += 1) {
    const uint64_t first = random_next(r) >> 11;
    bool is_odd = true;
    for (uint64_t last = first, next; (next = random_next(r) >> 11) < last; last = next)
      is_odd = !is_odd;
    if (is_odd) return (whole + (static_cast<double>(first) + 0.5) * 0x1p-53) * mean;
  }
}

zipf_table* zipf_new(uint32_t n, double s) noexcept {
  CORE_ASSERT(n > 0 && s >= 0);
  auto* t = new zipf_table;
  t->upto.resize(n);
  std::vector<double> sums(n);
  double sum = 0;
  for (uint32_t i = 0; i < n; ++i) sums[i] = sum += std::pow(i + 1.0, -s);
  for (uint32_t i = 0; i < n; ++i)
    t->upto[i] = static_cast<uint64_t>(sums[i] / sum * static_cast<double>(kZipfWhole) + 0.5);
  return t;
}

void zipf_free(zipf_table* t) noexcept {
  delete t;
}

uint32_t zipf_pick(const zipf_table* t, random_stream* r) noexcept {
  const uint64_t at = random_next(r) >> (64 - kZipfBits);
  return static_cast<uint32_t>(std::upper_bound(t->upto.begin(), t->upto.end(), at) -
                               t->upto.begin());
}

double zipf_share(const zipf_table* t, uint32_t rank) noexcept {
  const uint64_t from = rank == 0 ? 0 : t->upto[rank - 1];
  return static_cast<double>(t->upto[rank] - from) / static_cast<double>(kZipfWhole);
}

}  // namespace loadgen
