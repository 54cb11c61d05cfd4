// The buckets. A value of b bits above 8 loses its last b-8 bits: each power of two has 128
// buckets.
//
//   0 … 255 one each | 256, 258 … 510 | 512, 516 … 1020 | …
#include "loadgen/histogram.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace loadgen {
namespace {

constexpr unsigned kBits = 7;
constexpr size_t kHalf = size_t{1} << kBits;

constexpr unsigned shift_of(uint64_t us) noexcept {
  const auto width = static_cast<unsigned>(std::bit_width(us));
  return width <= kBits + 1 ? 0 : width - (kBits + 1);
}
constexpr size_t bucket_of(uint64_t us) noexcept {
  const unsigned shift = shift_of(us);
  return shift * kHalf + static_cast<size_t>(us >> shift);
}
constexpr uint64_t lowest_of(size_t bucket) noexcept {
  if (bucket < 2 * kHalf) return bucket;
  const size_t shift = bucket / kHalf - 1;
  return (kHalf + bucket % kHalf) << shift;
}
constexpr uint64_t highest_of(size_t bucket) noexcept {
  return lowest_of(bucket + 1) - 1;
}

static_assert(bucket_of(255) == 255 && bucket_of(256) == 256 && bucket_of(258) == 257);
static_assert(lowest_of(bucket_of(kHistogramMaxUs)) <= kHistogramMaxUs &&
              highest_of(bucket_of(kHistogramMaxUs)) >= kHistogramMaxUs);

void count(histogram* h, uint64_t us, uint64_t times) {
  const uint64_t held = std::min(us, kHistogramMaxUs);
  const size_t bucket = bucket_of(held);
  // To the end of its power of two, so that it seldom grows.
  if (bucket >= h->counts.size()) [[unlikely]]
    h->counts.resize((shift_of(held) + 2) * kHalf);
  h->counts[bucket] += times;
  h->total += times;
}

template <typename T>
bool take_number(std::string_view* text, T* out) noexcept {
  const auto r = std::from_chars(text->data(), text->data() + text->size(), *out);
  if (r.ec != std::errc()) return false;
  text->remove_prefix(static_cast<size_t>(r.ptr - text->data()));
  return true;
}

bool take_char(std::string_view* text, char c) noexcept {
  if (!text->starts_with(c)) return false;
  text->remove_prefix(1);
  return true;
}

bool decode(std::string_view text, histogram* h) {
  uint64_t min = 0, max = 0;
  double sum = 0;
  if (!take_number(&text, &min) || !take_char(&text, ' ') || !take_number(&text, &max) ||
      !take_char(&text, ' ') || !take_number(&text, &sum))
    return false;
  uint64_t before = 0;
  while (take_char(&text, ' ')) {
    uint64_t lowest = 0, times = 0;
    if (!take_number(&text, &lowest) || !take_char(&text, ':') || !take_number(&text, &times))
      return false;
    const bool is_next = h->total == 0 || lowest > before;
    if (!is_next || times == 0 || times > UINT64_MAX - h->total || lowest > kHistogramMaxUs ||
        lowest != lowest_of(bucket_of(lowest)))
      return false;
    count(h, lowest, times);
    before = lowest;
  }
  if (!text.empty() || h->total == 0 || min > max || !std::isfinite(sum) || sum < 0) return false;
  const auto first = std::find_if(h->counts.begin(), h->counts.end(), [](uint64_t n) { return n; });
  const auto is_of = [](uint64_t us, size_t bucket) {
    return bucket_of(std::min(us, kHistogramMaxUs)) == bucket;
  };
  h->min = min;
  h->max = max;
  h->sum = sum;
  return is_of(min, static_cast<size_t>(first - h->counts.begin())) &&
         is_of(max, bucket_of(before));
}

}  // namespace

void histogram_record(histogram* h, uint64_t us, uint64_t times) noexcept {
  if (times == 0) return;
  h->min = h->total == 0 ? us : std::min(h->min, us);
  h->max = h->total == 0 ? us : std::max(h->max, us);
  h->sum += static_cast<double>(us) * static_cast<double>(times);
  count(h, us, times);
}

void histogram_merge(histogram* into, const histogram& from) noexcept {
  if (from.total == 0) return;
  if (into->counts.size() < from.counts.size()) into->counts.resize(from.counts.size());
  for (size_t i = 0; i < from.counts.size(); ++i) into->counts[i] += from.counts[i];
  into->min = into->total == 0 ? from.min : std::min(into->min, from.min);
  into->max = into->total == 0 ? from.max : std::max(into->max, from.max);
  into->total += from.total;
  into->sum += from.sum;
}

uint64_t histogram_at(const histogram& h, double quantile) noexcept {
  if (h.total == 0) return 0;
  if (quantile >= 1) return h.max;
  // A hair less: 0.07 * 100 is a little more than 7, and means the seventh.
  const double rank =
      std::ceil(std::max(quantile, 0.0) * static_cast<double>(h.total) * (1 - 1e-12));
  const auto wanted = std::max<uint64_t>(1, static_cast<uint64_t>(rank));
  uint64_t seen = 0;
  for (size_t i = 0; i < h.counts.size(); ++i) {
    seen += h.counts[i];
    if (seen >= wanted) return std::min(highest_of(i), h.max);
  }
  return h.max;
}

double histogram_mean(const histogram& h) noexcept {
  return h.total == 0 ? 0 : h.sum / static_cast<double>(h.total);
}

std::string histogram_encode(const histogram& h) {
  std::string out;
  if (h.total == 0) return out;
  char text[80];
  std::snprintf(text, sizeof text, "%llu %llu %.17g", static_cast<unsigned long long>(h.min),
                static_cast<unsigned long long>(h.max), h.sum);
  out = text;
  for (size_t i = 0; i < h.counts.size(); ++i) {
    if (h.counts[i] == 0) continue;
    std::snprintf(text, sizeof text, " %llu:%llu", static_cast<unsigned long long>(lowest_of(i)),
                  static_cast<unsigned long long>(h.counts[i]));
    out += text;
  }
  return out;
}

core::err histogram_decode(std::string_view text, histogram* out) noexcept {
  *out = {};
  if (text.empty()) return core::err::ok;
  if (decode(text, out)) return core::err::ok;
  *out = {};
  return core::err::malformed;
}

}  // namespace loadgen
