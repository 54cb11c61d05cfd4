// Is `head` slower or dearer than `base`? Reports of one or several runs a side; sound enough to
// stop a merge: two sets of runs of the same server alarm in fewer than one of twenty comparisons
// (tests/loadgen/compare_test.cc).
//
// Five runs a side or more: Mann-Whitney U over the runs' values. It asks nothing of how the values
// are spread, and what differs from run to run (address layout, placement, neighbours) is in it, as
// it should be.
//
// Fewer: no rank test could become significant. Then a block bootstrap over the seconds of the runs
// decides, on logarithms, and only if every run of head lies on the same side of every run of base.
// When all runs follow one schedule, seconds are compared in pairs, so that ramps and spikes cancel
// out. Seconds cannot tell how runs differ from each other, so that a scatter between runs is
// assumed and added (compare.cc: 8 % for p50, 12 % for p99, 4 % for CPU and memory): single runs
// show only large differences, of about a third of p50 and a sixth of CPU. Where runs scatter more
// than that, few runs alarm more often than promised; five a side do not, and find small ones.
//
// Not used: a bootstrap of the histograms, which would take deliveries for independent; those of
// one message, or of one stall, are not.
//
// All metrics together get an error of 5 % (Holm). Differences are ratios; one below the metric's
// least effect is none.
#pragma once

#include <string>
#include <vector>

#include "loadgen/result.h"

namespace loadgen {

inline constexpr double kCompareError = 0.05;

enum class compare_method : uint8_t { ranks, seconds_paired, seconds };
const char* compare_method_name(compare_method m) noexcept;

enum class compare_verdict : uint8_t {
  worse,    // significant, and at least the least effect: a regression
  better,   // the same in the other direction
  equal,    // the whole interval is closer to no change than the least effect
  unclear,  // neither shown
  unknown   // a side has no such numbers
};
const char* compare_verdict_name(compare_verdict v) noexcept;

struct compare_row {
  std::string name;             // "delivery_p50_us": of all five less is better
  double base = -1, head = -1;  // medians over the runs; -1: not known
  double ratio = -1, low = -1,
         high = -1;  // head / base with its 95 % interval; low 0 and high infinite: too few values
  double p = 1;      // after Holm
  double superiority = 0.5;  // how probably a run of head has more than one of base
  double least_effect = 0;   // as a share: 0.02
  compare_verdict verdict = compare_verdict::unknown;
};

struct comparison {
  std::string base, head;  // what was compared: scenarios
  size_t base_runs = 0, head_runs = 0;
  compare_method method = compare_method::ranks;
  std::vector<compare_row>
      rows;  // delivery p50, delivery p99, ack p99, server CPU per delivery, server RSS
  uint64_t base_violations = 0, head_violations = 0;
  std::vector<std::string>
      warnings;  // why it may not be believed: generator-limited, different scenarios …
  bool is_regression = false;  // a row is worse, or head has violations where base has none
};

// Each side has a run or more.
comparison compare_results(const std::vector<run_result>& base,
                           const std::vector<run_result>& head);
std::string compare_text(const comparison& c);
std::string compare_json(const comparison& c);  // numbers that are not known, or infinite, are null

// Reads the reports, prints the comparison. 0 no regression, 1 a regression, 3 a report could not
// be read (a line on stderr).
int compare_reports(const std::vector<std::string>& base, const std::vector<std::string>& head,
                    bool is_json) noexcept;

}  // namespace loadgen
