// How far can a rate be raised before an objective is missed? A search over probes, each of which
// is a run at a multiple of the scenario's rates and may go either way near the limit. Pure but for
// the probes.
//
// Doubling (or halving) until one probe keeps the objective and one misses it. Then bisection in
// logarithms, with what all probes said: near its limit a server keeps an objective now and then,
// so that one probe proves little, and a bisection that believed each would answer with an interval
// that the limit is not in. The chance of keeping it at factor x is taken as a logistic curve of
// ln x around the limit (where it is one half), whose width is not known (from half a percent to a
// third of the rate), with one probe of fifty going wrong for reasons of its own. Every (limit,
// width) has a weight that each probe changes by Bayes' rule; probes are made in turns below and
// above the middle, where 15 % and 85 % of the weight lie: at the middle itself nothing is learnt
// of the width. The answer is where the middle 98 % of the weight lies, and the search ends when
// that is narrow enough, or its budget is spent.
//
// 98 % and not 95 %, because a server's curve is another than the assumed one: with normal noise of
// 0 to 25 % on the limit, the interval holds the limit in 95 % or more of 200 searches each
// (tests/loadgen/capacity_search_test.cc). To a width of 10 % that takes about 20 probes on a
// steady server, 30 with 3 % noise, 50 with 6 %.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace loadgen {

enum class probe_outcome : uint8_t {
  kept,        // the objective was kept
  missed,      // it was missed, and the tool was not the limit
  limited,     // it was missed while the tool was the limit: says nothing about the server
  impossible,  // the tool cannot make such a rate
  violated,    // messages were lost or changed
  failed       // it could not be run
};
const char* probe_outcome_name(probe_outcome o) noexcept;  // "kept"

struct probe_answer {
  probe_outcome outcome = probe_outcome::failed;
  // The objective was kept though the tool was at its limit: true of this rate, and the last one.
  bool is_last = false;
};

struct capacity_options {
  double start = 1;  // the first factor
  double factor_min = 1.0 / 1024, factor_max = 1024;
  double width = 0.10;  // high / low - 1 at which the search ends
  uint32_t probes_max = 100;
  bool (*may_go_on)(void* user) = nullptr;  // asked before each probe; null: always
};

enum class capacity_kind : uint8_t {
  interval,  // the limit lies in it
  at_least,  // the tool, or factor_max, was reached first: the limit is above `low`
  at_most,   // not even factor_min kept the objective: the limit is below `high`
  unknown    // nothing was kept before the tool was the limit
};
const char* capacity_kind_name(capacity_kind k) noexcept;  // "at_least"

struct capacity_answer {
  capacity_kind kind = capacity_kind::unknown;
  double low = 0, estimate = 0, high = 0;  // factors; what does not apply is 0
  bool is_narrow = false;  // interval: as narrow as was asked; else the budget ended it
  probe_outcome ended_by = probe_outcome::kept;  // violated, failed: of the last probe
  uint32_t probes = 0;
};

// A limited probe is repeated once: only two in a row end the search, since a machine's mood may
// make a tool late.
capacity_answer capacity_search(const capacity_options& o,
                                probe_answer (*probe)(void* user, double factor), void* user);

inline constexpr const char* kCapacityMethod =
    "doubling, then Bayesian bisection in logarithms; 98 % credible interval";

}  // namespace loadgen
