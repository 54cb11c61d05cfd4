// Latencies in microseconds as counts in log-linear buckets (the HDR layout): values up to 255
// exactly, above that with a relative error below 1/128 up to kHistogramMaxUs; larger ones count
// there. Merging adds counts and loses nothing. Pure, one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"

namespace loadgen {

inline constexpr uint64_t kHistogramMaxUs = 3600ull * 1'000'000;

// Invariant: total is the sum of counts; min and max are of recorded values, exact (total > 0),
// also of those above kHistogramMaxUs.
struct histogram {
  std::vector<uint64_t> counts;  // empty until the first value; grows to the greatest one's
  uint64_t total = 0, min = 0, max = 0;
  double sum = 0;
};

void histogram_record(histogram* h, uint64_t us, uint64_t times = 1) noexcept;
void histogram_merge(histogram* into, const histogram& from) noexcept;
// The highest value of the least bucket at or below which `quantile` (0 … 1) of the values lie, and
// never more than max; 0 when empty. 1 gives max exactly.
uint64_t histogram_at(const histogram& h, double quantile) noexcept;
double histogram_mean(const histogram& h) noexcept;  // 0 when empty
// Text for report.json: "<min> <max> <sum>" and " <lowest value>:<count>" of each bucket that is
// not empty; "" when there is none. And back, exactly the same (malformed: *out is empty).
std::string histogram_encode(const histogram& h);
core::err histogram_decode(std::string_view text, histogram* out) noexcept;

}  // namespace loadgen
