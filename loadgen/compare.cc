// The metrics as a table, and the two ways to a verdict.
#include "loadgen/compare.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "core/assert.h"
#include "loadgen/statistics.h"
#include "loadgen/text.h"

namespace loadgen {
namespace {

constexpr uint64_t kBootstrapSeed =
    20'240'917;  // the bootstrap's seed: a comparison repeated is the same

double quantile_of(const run_result& r, const char* name, double quantile) {
  const auto at = r.latencies.find(name);
  return at == r.latencies.end() || at->second.total == 0
             ? -1
             : static_cast<double>(histogram_at(at->second, quantile));
}

double known(uint64_t us) {
  return us > 0 ? static_cast<double>(us) : -1;
}

// Less than zero or zero: not known. least_effect: below it a difference is nobody's business.
// between_runs: by how much runs of one server are taken to differ (standard deviation of the
// logarithm) where there are too few of them to see it.
// An assumption, not a measurement: repeat a run to see whether it holds where you are.
struct metric {
  const char* name;
  double (*of_run)(const run_result& r);
  double (*of_second)(const second_sample& s);
  double least_effect;
  double between_runs;
  double least_absolute;  // in the metric's unit
};

const metric kMetrics[] = {
    {"delivery_p50_us", [](const run_result& r) { return quantile_of(r, "delivery", 0.5); },
     [](const second_sample& s) { return known(s.delivery_p50_us); }, 0.02, 0.08, 10},
    {"delivery_p99_us", [](const run_result& r) { return quantile_of(r, "delivery", 0.99); },
     [](const second_sample& s) { return known(s.delivery_p99_us); }, 0.05, 0.12, 50},
    {"ack_p99_us", [](const run_result& r) { return quantile_of(r, "ack", 0.99); },
     [](const second_sample& s) { return known(s.ack_p99_us); }, 0.05, 0.12, 50},
    {"server_cpu_us_per_delivery", [](const run_result& r) { return r.server_cpu_us_per_delivery; },
     [](const second_sample& s) {
       return s.delivered > 0 ? s.server_cpu * 1e6 / static_cast<double>(s.delivered) : -1;
     },
     0.01, 0.04, 0.001},
    {"server_rss_bytes", [](const run_result& r) { return r.server_rss_bytes; },
     [](const second_sample& s) { return s.server_rss_bytes; }, 0.02, 0.04, 1 << 20},
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

using runs = std::vector<run_result>;

// The values of all runs, or none when one run has none.
std::vector<double> values_of(const runs& from, const metric& m) {
  std::vector<double> out;
  for (const run_result& r : from) {
    const double v = m.of_run(r);
    if (!(v > 0)) return {};
    out.push_back(v);
  }
  return out;
}

std::vector<double> logarithms(std::vector<double> values) {
  for (double& v : values) v = std::log(v);
  return values;
}

// By second of the run; NaN where there is none.
std::vector<double> log_seconds(const run_result& r, const metric& m) {
  std::vector<double> out;
  for (const second_sample& s : r.series) {
    const double v = m.of_second(s);
    out.push_back(v > 0 ? std::log(v) : NAN);
  }
  return out;
}

std::vector<double> without_gaps(std::vector<double> series) {
  series.erase(std::remove_if(series.begin(), series.end(), [](double v) { return std::isnan(v); }),
               series.end());
  return series;
}

// Second by second, over the runs of a side; a second that one of them lacks is a gap.
std::vector<double> mean_seconds(const runs& from, const metric& m) {
  std::vector<double> out;
  for (const run_result& r : from) {
    const std::vector<double> one = log_seconds(r, m);
    if (&r == &from[0]) out.assign(one.size(), 0.0);
    out.resize(std::min(out.size(), one.size()));
    for (size_t i = 0; i < out.size(); ++i) out[i] += one[i] / static_cast<double>(from.size());
  }
  return out;
}

bool is_long_enough(const std::vector<std::vector<double>>& all) {
  return std::all_of(all.begin(), all.end(), [](const std::vector<double>& one) {
    return one.size() >= kBootstrapSecondsMin;
  });
}

// False: there are too few seconds.
bool compare_seconds(const runs& base, const runs& head, const metric& m, bool is_paired,
                     difference* out) {
  std::vector<std::vector<double>> a, b;
  if (is_paired) {
    std::vector<double> differences = mean_seconds(head, m);
    const std::vector<double> minus = mean_seconds(base, m);
    differences.resize(std::min(differences.size(), minus.size()));
    for (size_t i = 0; i < differences.size(); ++i) differences[i] -= minus[i];
    b.push_back(without_gaps(std::move(differences)));
  } else {
    for (const run_result& r : base) a.push_back(without_gaps(log_seconds(r, m)));
    for (const run_result& r : head) b.push_back(without_gaps(log_seconds(r, m)));
  }
  if (!is_long_enough(a) || !is_long_enough(b)) return false;
  const double scatter = m.between_runs * std::sqrt(1.0 / static_cast<double>(base.size()) +
                                                    1.0 / static_cast<double>(head.size()));
  *out = block_bootstrap(a, b, scatter, kBootstrapSeed);
  return true;
}

compare_method method_for(const runs& base, const runs& head) {
  if (rank_p_min(base.size(), head.size()) * static_cast<double>(std::size(kMetrics)) <=
      kCompareError)
    return compare_method::ranks;
  std::set<uint64_t> digests;
  bool is_closed = false;
  for (const runs* side : {&base, &head}) {
    for (const run_result& r : *side) {
      digests.insert(r.schedule_digest);
      is_closed = is_closed || r.is_closed_loop;
    }
  }
  return digests.size() == 1 && !is_closed ? compare_method::seconds_paired
                                           : compare_method::seconds;
}

// What was measured, before probabilities are adjusted and judged. False: not known.
bool measure(const runs& base, const runs& head, const metric& m, compare_method method,
             compare_row* row) {
  row->name = m.name;
  row->least_effect = m.least_effect;
  const std::vector<double> a = values_of(base, m), b = values_of(head, m);
  if (!a.empty()) row->base = median(a);
  if (!b.empty()) row->head = median(b);
  if (a.empty() || b.empty()) return false;
  row->superiority = rank_superiority(a, b);
  difference d;
  if (method == compare_method::ranks) {
    d = rank_test(logarithms(a), logarithms(b));
  } else if (!compare_seconds(base, head, m, method == compare_method::seconds_paired, &d)) {
    d = {std::log(row->head / row->base), -INFINITY, INFINITY, 1};
  }
  row->ratio = std::exp(d.value);
  row->low = std::exp(d.low);
  row->high = std::exp(d.high);
  row->p = d.p;
  return true;
}

compare_verdict judge(const compare_row& r, const metric& m, compare_method method) {
  const double least = 1 + r.least_effect;
  const bool is_shown =
      r.p <= kCompareError && std::abs(r.head - r.base) >= m.least_absolute &&
      (method == compare_method::ranks || r.superiority == (r.ratio > 1 ? 1.0 : 0.0));
  if (is_shown && r.ratio >= least) return compare_verdict::worse;
  if (is_shown && r.ratio <= 1 / least) return compare_verdict::better;
  return r.low > 1 / least && r.high < least ? compare_verdict::equal : compare_verdict::unclear;
}

void warn_about(const runs& side, const char* name, comparison* c) {
  size_t limited = 0, closed = 0;
  for (const run_result& r : side) {
    limited += r.is_generator_limited;
    closed += r.is_closed_loop;
  }
  const auto of_runs = [&side, name](size_t n) {
    return std::to_string(n) + " of " + std::to_string(side.size()) + " runs of " + name;
  };
  if (limited > 0)
    c->warnings.push_back(of_runs(limited) +
                          " limited by the tool: latencies are the tool's, not the server's");
  if (closed > 0)
    c->warnings.push_back(
        of_runs(closed) +
        " in a closed loop: latencies leave out the time that messages were not sent");
}

void warn(const runs& base, const runs& head, comparison* c) {
  std::set<std::string> scenarios;
  std::set<uint64_t> digests;
  for (const runs* side : {&base, &head}) {
    for (const run_result& r : *side) {
      scenarios.insert(line_text(r.scenario));
      digests.insert(r.schedule_digest);
    }
  }
  if (scenarios.size() > 1) {
    c->warnings.push_back("different scenarios are compared");
  } else if (digests.size() > 1) {
    c->warnings.push_back("the runs follow different schedules (seed, rate or length differ)");
  }
  warn_about(base, "base", c);
  warn_about(head, "head", c);
  if (base.size() == 1 && head.size() == 1) {
    c->warnings.push_back(
        "one run a side: runs may differ by chance, so only large differences are told (about a "
        "third of p50, a sixth of CPU); five a side find small ones");
  } else if (c->method != compare_method::ranks) {
    c->warnings.push_back(
        "few runs: only large differences can be told; five a side find small ones");
  }
}

uint64_t violations_of(const runs& side) {
  uint64_t n = 0;
  for (const run_result& r : side) n += result_violations(r);
  return n;
}

}  // namespace

const char* compare_method_name(compare_method m) noexcept {
  static constexpr const char* kNames[] = {"ranks", "seconds_paired", "seconds"};
  return kNames[static_cast<size_t>(m)];
}

const char* compare_verdict_name(compare_verdict v) noexcept {
  static constexpr const char* kNames[] = {"worse", "better", "equal", "unclear", "unknown"};
  return kNames[static_cast<size_t>(v)];
}

comparison compare_results(const runs& base, const runs& head) {
  CORE_ASSERT(!base.empty() && !head.empty());
  comparison c;
  c.base = line_text(base[0].scenario);
  c.head = line_text(head[0].scenario);
  c.base_runs = base.size();
  c.head_runs = head.size();
  c.method = method_for(base, head);
  c.base_violations = violations_of(base);
  c.head_violations = violations_of(head);
  std::vector<double> p;
  std::vector<size_t> known_rows;
  for (size_t i = 0; i < std::size(kMetrics); ++i) {
    if (!measure(base, head, kMetrics[i], c.method, &c.rows.emplace_back())) continue;
    known_rows.push_back(i);
    p.push_back(c.rows[i].p);
  }
  holm_adjust(&p);
  c.is_regression = c.head_violations > 0 && c.base_violations == 0;
  for (size_t k = 0; k < known_rows.size(); ++k) {
    compare_row* row = &c.rows[known_rows[k]];
    row->p = p[k];
    row->verdict = judge(*row, kMetrics[known_rows[k]], c.method);
    c.is_regression = c.is_regression || row->verdict == compare_verdict::worse;
  }
  warn(base, head, &c);
  return c;
}

}  // namespace loadgen
