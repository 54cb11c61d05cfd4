// Results as runs leave them, made from a seed: for tests of reports and comparisons.
#pragma once

#include "loadgen/result.h"

namespace loadgen {

// What one server does, and how its runs and seconds scatter (as standard deviations of
// logarithms).
struct sample_server {
  double delivery_us = 900, ack_us = 1500;  // medians
  double cost_us = 1.6;                     // CPU a delivery
  double rss_bytes = 180e6;
  double between_runs = 0.04, between_runs_cpu = 0.02, between_runs_rss = 0.02;
  double between_seconds = 0.15;  // of latency; seconds remember seven tenths of the one before
};

struct sample_run {
  uint64_t seed = 1;
  uint32_t seconds = 60;
  uint32_t rate = 40, receivers = 10;  // messages a second, and who gets each
};

run_result sample_result(const sample_server& s, const sample_run& r);

// A stalling server, killed twice, with violations of several kinds, missed objectives, and all
// that a report can show.
run_result sample_bad_result();

}  // namespace loadgen
