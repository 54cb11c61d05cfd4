// Long runs are thinned so that a page stays small: of latencies and memory the largest of each
// stretch is kept, of rates the mean.
#include "loadgen/result_plots.h"

#include <algorithm>
#include <cmath>

#include "loadgen/text.h"

namespace loadgen {
namespace {

constexpr double kNone = NAN;
constexpr size_t kMetricsShown = 9;
constexpr size_t kPercentilePoints = 160;

enum class thinning : uint8_t { largest, mean };

double joined(const std::vector<double>& values, size_t from, size_t to, thinning how) {
  double sum = 0, largest = kNone;
  size_t n = 0;
  for (size_t i = from; i < to; ++i) {
    if (std::isnan(values[i])) continue;
    largest = n == 0 ? values[i] : std::max(largest, values[i]);
    sum += values[i];
    ++n;
  }
  if (n == 0) return kNone;
  return how == thinning::largest ? largest : sum / static_cast<double>(n);
}

size_t stride_of(const run_result& r) {
  return (r.series.size() + kPlotPointsMax - 1) / kPlotPointsMax;
}

// A line of one number of each second, as many as there are points.
template <typename F>
std::vector<double> line_of(const run_result& r, thinning how, F value) {
  std::vector<double> all, out;
  for (const second_sample& s : r.series) all.push_back(value(s));
  const size_t stride = stride_of(r);
  for (size_t from = 0; from < all.size(); from += stride)
    out.push_back(joined(all, from, std::min(all.size(), from + stride), how));
  return out;
}

double known(double v) {
  return v < 0 ? kNone : v;
}

double above_zero(uint64_t v) {
  return v == 0 ? kNone : static_cast<double>(v);
}

plot over_time(const run_result& r, const char* title, uint32_t sixths) {
  plot p;
  p.title = title;
  p.width = sixths == 6 ? 1080 : sixths == 3 ? 530 : 346;
  p.height = sixths == 6 ? 320 : sixths == 3 ? 240 : 170;
  p.x = line_of(r, thinning::largest, [](const second_sample& s) { return s.at_s; });
  p.marks = r.faults;
  return p;
}

plot latency_plot(const run_result& r) {
  plot p = over_time(r, "Delivery latency in each second", 6);
  p.unit = plot_unit::duration_us;
  p.is_log = true;
  p.lines = {{"p50", 1,
              line_of(r, thinning::largest,
                      [](const second_sample& s) { return above_zero(s.delivery_p50_us); })},
             {"p99", 2,
              line_of(r, thinning::largest,
                      [](const second_sample& s) { return above_zero(s.delivery_p99_us); })},
             {"max", 3, line_of(r, thinning::largest, [](const second_sample& s) {
                return above_zero(s.delivery_max_us);
              })}};
  if (stride_of(r) > 1)
    p.note = "Each point is the worst of " + std::to_string(stride_of(r)) + " seconds.";
  return p;
}

// The curve of a class ends where its values do: beyond, a percentile would be the maximum again.
std::vector<double> curve_of(const histogram& h, const std::vector<double>& quantiles) {
  std::vector<double> out;
  for (const double q : quantiles) {
    const bool is_there = (1 - q) * static_cast<double>(h.total) >= 0.999;
    out.push_back(is_there ? std::max(1.0, static_cast<double>(histogram_at(h, q))) : kNone);
  }
  return out;
}

plot percentile_plot(const run_result& r) {
  static constexpr std::pair<const char*, uint32_t> kClasses[] = {
      {"delivery", 1}, {"last", 2}, {"ack", 4}, {"connect", 5}, {"recovery", 6}, {"history", 7}};
  plot p;
  p.title = "Percentiles";
  p.width = 1080;
  p.height = 320;
  p.axis = plot_axis::percentile;
  p.unit = plot_unit::duration_us;
  p.is_log = true;
  uint64_t most = 0;
  for (const auto& [name, style] : kClasses) {
    const auto at = r.latencies.find(name);
    if (at != r.latencies.end()) most = std::max(most, at->second.total);
  }
  const double nines = std::min(6.0, std::log10(static_cast<double>(std::max<uint64_t>(10, most))));
  for (size_t i = 0; i <= kPercentilePoints; ++i)
    p.x.push_back(1 - std::pow(10, -nines * static_cast<double>(i) / kPercentilePoints));
  for (const auto& [name, style] : kClasses) {
    const auto at = r.latencies.find(name);
    if (at != r.latencies.end() && at->second.total > 0)
      p.lines.push_back({name, style, curve_of(at->second, p.x)});
  }
  return p;
}

void add_rates(std::vector<placed_plot>* out, const run_result& r) {
  plot p = over_time(r, "Deliveries a second", 3);
  p.lines = {{"delivered", 1, line_of(r, thinning::mean, [](const second_sample& s) {
                return static_cast<double>(s.delivered);
              })}};
  out->push_back({p, 3});
  p = over_time(r, "Messages a second", 3);
  const auto count = [&r](uint64_t second_sample::*field) {
    return line_of(r, thinning::mean,
                   [field](const second_sample& s) { return static_cast<double>(s.*field); });
  };
  p.lines = {{"sent", 1, count(&second_sample::sent)},
             {"acknowledged", 4, count(&second_sample::acked)},
             {"errors", 2, count(&second_sample::errors)}};
  out->push_back({p, 3});
}

void add_machine(std::vector<placed_plot>* out, const run_result& r) {
  plot p = over_time(r, "Processor, in cores", 3);
  p.lines = {
      {"server", 1,
       line_of(r, thinning::mean, [](const second_sample& s) { return known(s.server_cpu); })},
      {"tool", 2,
       line_of(r, thinning::mean, [](const second_sample& s) { return known(s.tool_cpu); })}};
  out->push_back({p, 3});
  p = over_time(r, "Memory of the server", 3);
  p.unit = plot_unit::bytes;
  p.lines = {{"resident", 1, line_of(r, thinning::largest, [](const second_sample& s) {
                return s.server_rss_bytes > 0 ? s.server_rss_bytes : kNone;
              })}};
  out->push_back({p, 3});
}

// Counters as growth in each second, gauges as they are.
std::vector<double> metric_line(const run_result& r, const std::string& name, bool is_counter) {
  double before = kNone;
  return line_of(r, is_counter ? thinning::mean : thinning::largest, [&](const second_sample& s) {
    const auto at = s.server_metrics.find(name);
    const double now = at == s.server_metrics.end() ? kNone : at->second;
    if (!is_counter) return now;
    const double grown = now - before;
    before = now;
    return grown < 0 ? kNone : grown;  // restarted: it begins anew
  });
}

void add_metrics(std::vector<placed_plot>* out, const run_result& r) {
  std::vector<std::string> names;
  for (const second_sample& s : r.series) {
    for (const auto& [name, value] : s.server_metrics) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  names.resize(std::min(names.size(), kMetricsShown));
  for (const std::string& name : names) {
    const bool is_counter = name.ends_with("_total");
    plot p = over_time(r, "", 2);
    p.title = name + (is_counter ? ", a second" : "");
    if (name.ends_with("_bytes")) p.unit = plot_unit::bytes;
    p.lines = {{name, 1, metric_line(r, name, is_counter)}};
    out->push_back({p, 2});
  }
}

}  // namespace

std::vector<placed_plot> result_plots(const run_result& r) {
  std::vector<placed_plot> out = {{latency_plot(r), 6}, {percentile_plot(r), 6}};
  add_rates(&out, r);
  add_machine(&out, r);
  add_metrics(&out, r);
  out.erase(std::remove_if(out.begin() + 2, out.end(),
                           [](const placed_plot& p) { return plot_is_empty(p.what); }),
            out.end());
  return out;
}

}  // namespace loadgen
