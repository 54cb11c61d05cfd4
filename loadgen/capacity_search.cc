// The weights of (limit, width) on a grid, and the search that moves them.
#include "loadgen/capacity_search.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/assert.h"

namespace loadgen {
namespace {

constexpr double kStep = 0.008;  // of ln factor: 0.8 %
constexpr double kWidths[] = {0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.3};
constexpr double kMistakes = 0.02;         // probes that go wrong for reasons of their own
constexpr double kTail = 0.01;             // of the weight, beyond each end of the interval
constexpr double kAsked[] = {0.15, 0.85};  // of the weight, where the next probes are
constexpr uint32_t kLimitedMax = 2;

// Invariant: the weights of all (limit, width) sum to 1.
struct belief {
  double from = 0;  // ln factor of limit 0
  size_t limits = 0;
  std::vector<double> weights;  // by width, then by limit

  double ln_at(size_t i) const { return from + kStep * static_cast<double>(i); }
};

belief belief_make(double factor_min, double factor_max) {
  belief b;
  b.from = std::log(factor_min);
  b.limits = static_cast<size_t>(std::ceil((std::log(factor_max) - b.from) / kStep)) + 1;
  b.weights.assign(b.limits * std::size(kWidths),
                   1.0 / static_cast<double>(b.limits * std::size(kWidths)));
  return b;
}

double keep_chance(double below_limit, double width) {
  constexpr double kFar = 30;  // there it is 0 or 1 to all digits that matter
  const double z = below_limit / width;
  return z > kFar ? 1 : z < -kFar ? 0 : 1 / (1 + std::exp(-z));
}

void belief_learn(belief* b, double factor, bool is_kept) {
  const double x = std::log(factor);
  double sum = 0;
  for (size_t w = 0; w < std::size(kWidths); ++w) {
    for (size_t i = 0; i < b->limits; ++i) {
      const double chance =
          kMistakes + (1 - 2 * kMistakes) * keep_chance(b->ln_at(i) - x, kWidths[w]);
      double* weight = &b->weights[w * b->limits + i];
      *weight *= is_kept ? chance : 1 - chance;
      sum += *weight;
    }
  }
  for (double& weight : b->weights) weight /= sum;
}

// The factor below which `share` of the weight lies.
double belief_at(const belief& b, double share) {
  double sum = 0;
  for (size_t i = 0; i < b.limits; ++i) {
    double here = 0;
    for (size_t w = 0; w < std::size(kWidths); ++w) here += b.weights[w * b.limits + i];
    if (sum + here >= share) return std::exp(b.ln_at(i) + kStep * ((share - sum) / here - 0.5));
    sum += here;
  }
  return std::exp(b.ln_at(b.limits - 1));
}

struct search {
  const capacity_options* options;
  probe_answer (*probe)(void* user, double factor);
  void* user;
  belief known;
  capacity_answer answer;
  double kept_max = 0, missed_min = 0;  // 0: none yet
  uint32_t limited = 0;                 // in a row
  bool is_over = false;
};

bool may_go_on(const search& s) {
  return !s.is_over && s.answer.probes < s.options->probes_max &&
         (s.options->may_go_on == nullptr || s.options->may_go_on(s.user));
}

void learn(search* s, double factor, bool is_kept) {
  belief_learn(&s->known, factor, is_kept);
  if (is_kept) {
    s->kept_max = std::max(s->kept_max, factor);
  } else {
    s->missed_min = s->missed_min == 0 ? factor : std::min(s->missed_min, factor);
  }
}

// The search cannot go higher.
void end_at_least(search* s) {
  s->is_over = true;
  s->answer.kind = s->kept_max > 0 ? capacity_kind::at_least : capacity_kind::unknown;
  s->answer.low = s->kept_max;
}

void take_probe(search* s, double factor) {
  const probe_answer a = s->probe(s->user, factor);
  ++s->answer.probes;
  s->answer.ended_by = a.outcome;
  s->limited = a.outcome == probe_outcome::limited ? s->limited + 1 : 0;
  switch (a.outcome) {
    case probe_outcome::kept:
      learn(s, factor, true);
      if (a.is_last && s->missed_min == 0) end_at_least(s);
      return;
    case probe_outcome::missed:
      return learn(s, factor, false);
    case probe_outcome::limited:
      if (s->limited >= kLimitedMax) end_at_least(s);
      return;
    case probe_outcome::impossible:
      return end_at_least(s);
    case probe_outcome::violated:
    case probe_outcome::failed:
      s->is_over = true;
      return;
  }
}

// Until one factor was kept and one missed, or an end is reached.
void bracket(search* s) {
  double factor = s->options->start;
  while ((s->kept_max == 0 || s->missed_min == 0) && may_go_on(*s)) {
    take_probe(s, factor);
    if (s->is_over || s->limited > 0) continue;
    if (s->missed_min == 0) {
      if (factor >= s->options->factor_max) return end_at_least(s);
      factor = std::min(s->options->factor_max, factor * 2);
    } else if (s->kept_max == 0) {
      if (factor <= s->options->factor_min) {
        s->is_over = true;
        s->answer.kind = capacity_kind::at_most;
        s->answer.high = s->missed_min;
        return;
      }
      factor = std::max(s->options->factor_min, factor / 2);
    }
  }
}

void read_interval(search* s) {
  s->answer.kind = capacity_kind::interval;
  s->answer.low = belief_at(s->known, kTail);
  s->answer.estimate = belief_at(s->known, 0.5);
  s->answer.high = belief_at(s->known, 1 - kTail);
  s->answer.is_narrow = s->answer.high <= s->answer.low * (1 + s->options->width);
}

// What is known when the budget ends before there is a bracket.
void read_half(search* s) {
  if (s->kept_max > 0) return end_at_least(s);
  if (s->missed_min == 0) return;
  s->answer.kind = capacity_kind::at_most;
  s->answer.high = s->missed_min;
}

}  // namespace

const char* probe_outcome_name(probe_outcome o) noexcept {
  static constexpr const char* kNames[] = {"kept",       "missed",   "limited",
                                           "impossible", "violated", "failed"};
  return kNames[static_cast<size_t>(o)];
}

const char* capacity_kind_name(capacity_kind k) noexcept {
  static constexpr const char* kNames[] = {"interval", "at_least", "at_most", "unknown"};
  return kNames[static_cast<size_t>(k)];
}

capacity_answer capacity_search(const capacity_options& o,
                                probe_answer (*probe)(void* user, double factor), void* user) {
  CORE_ASSERT(o.factor_min > 0 && o.factor_min <= o.start && o.start <= o.factor_max &&
              o.width > 0);
  search s;
  s.options = &o;
  s.probe = probe;
  s.user = user;
  s.known = belief_make(o.factor_min / 2, o.factor_max * 2);
  bracket(&s);
  const bool is_bracketed = s.kept_max > 0 && s.missed_min > 0;
  if (!s.is_over && !is_bracketed) read_half(&s);
  if (s.is_over || !is_bracketed) return s.answer;
  read_interval(&s);
  for (size_t n = 0; !s.answer.is_narrow && may_go_on(s); ++n) {
    take_probe(&s, belief_at(s.known, kAsked[n % std::size(kAsked)]));
    if (s.is_over) break;
    read_interval(&s);
  }
  return s.answer;
}

}  // namespace loadgen
