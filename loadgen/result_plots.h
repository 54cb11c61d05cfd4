// Which plots a result has, and from which of its numbers. Pure.
#pragma once

#include <vector>

#include "loadgen/plot.h"
#include "loadgen/result.h"

namespace loadgen {

struct placed_plot {
  plot what;
  uint32_t sixths = 6;  // of the page's width: 6, 3 or 2
};

// Latency over time, percentiles, deliveries, messages, processor, memory, then the server's
// metrics. Those without a value are left out, but for the first two.
std::vector<placed_plot> result_plots(const run_result& r);

}  // namespace loadgen
