// The same result as Markdown for a pull request, as JUnit for CI, and as a summary for a terminal.
#include <algorithm>
#include <iterator>

#include "loadgen/result.h"
#include "loadgen/text.h"

namespace loadgen {
namespace {

constexpr size_t kViolationsInText = 20;
constexpr size_t kViolationsInSummary = 5;

double at(const histogram& h, double quantile) {
  return h.total == 0 ? -1 : static_cast<double>(histogram_at(h, quantile));
}

const histogram& class_of(const run_result& r, const char* name) {
  static const histogram kEmpty;
  const auto found = r.latencies.find(name);
  return found == r.latencies.end() ? kEmpty : found->second;
}

std::string cost_text(double us) {
  return named_text("cpu_us_per_delivery", us);
}

double rate_of(const run_result& r) {
  return r.seconds > 0 ? static_cast<double>(r.delivered) / r.seconds : -1;
}

size_t missed_of(const run_result& r) {
  return static_cast<size_t>(std::count_if(r.objectives.begin(), r.objectives.end(),
                                           [](const objective_row& o) { return !o.is_kept; }));
}

// "3 lost, 1 duplicated"
std::string kinds_text(const run_result& r) {
  std::string out;
  for (size_t k = 0; k < std::size(r.violations); ++k) {
    if (r.violations[k] == 0) continue;
    out += (out.empty() ? "" : ", ") + count_text(r.violations[k]) + " " +
           violation_name(static_cast<violation_kind>(k));
  }
  return out;
}

std::string violation_text(const violation& v) {
  return std::string(violation_name(v.kind)) + ": " + line_text(v.channel) + " offset " +
         std::to_string(v.offset) +
         (v.receiver == UINT32_MAX ? "" : " receiver " + std::to_string(v.receiver)) + " at " +
         seconds_text(v.at_us) + ": " + line_text(v.text);
}

std::string correct_text(const run_result& r) {
  const uint64_t found = result_violations(r);
  if (found > 0) return "not correct: " + kinds_text(r);
  return r.delivered == 0 ? "nothing was delivered" : "correct";
}

std::string objectives_text(const run_result& r) {
  if (r.objectives.empty()) return "no objectives";
  if (result_is_kept(r)) return "objectives kept";
  return std::to_string(missed_of(r)) + " of " + std::to_string(r.objectives.size()) +
         " objectives missed";
}

void markdown_classes(std::string* out, const run_result& r) {
  *out +=
      "| latency | count | p50 | p90 | p99 | p99.9 | p99.99 | max |\n"
      "|---|--:|--:|--:|--:|--:|--:|--:|\n";
  for (const auto& [name, h] : r.latencies) {
    *out += "| " + markdown_text(name) + " | " + count_text(h.total);
    for (const double q : {0.5, 0.9, 0.99, 0.999, 0.9999, 1.0})
      *out += " | " + duration_text(at(h, q));
    *out += " |\n";
  }
}

void markdown_objectives(std::string* out, const run_result& r) {
  if (r.objectives.empty()) return;
  *out += "\n| objective | allowed | measured | |\n|---|--:|--:|---|\n";
  for (const objective_row& o : r.objectives)
    *out += "| " + markdown_text(o.name) + " | " + named_text(o.name, o.allowed) + " | " +
            named_text(o.name, o.measured) + " | " + (o.is_kept ? "kept" : "**missed**") + " |\n";
}

void markdown_violations(std::string* out, const run_result& r) {
  if (r.kept.empty()) return;
  *out += "\nViolations:\n\n";
  for (size_t i = 0; i < std::min(r.kept.size(), kViolationsInText); ++i)
    *out += "- " + markdown_text(violation_text(r.kept[i])) + "\n";
  const uint64_t all = result_violations(r);
  if (all > kViolationsInText) *out += "- … " + count_text(all) + " in all\n";
}

}  // namespace

std::string report_markdown(const run_result& r) {
  std::string out = "## " + markdown_text(r.scenario) + ": " + correct_text(r) + ", " +
                    objectives_text(r) + "\n\n";
  if (!r.about.empty()) out += markdown_text(r.about) + "\n\n";
  if (r.is_generator_limited)
    out += "**Generator-limited**: " + markdown_text(r.generator_limited_why) + ".\n\n";
  if (const std::string none = result_unjudged_text(r); !none.empty())
    out +=
        "**Not judged**, since " + markdown_text(r.dialect) + " has none of it: " + none + ".\n\n";
  if (r.is_closed_loop) out += "**Closed loop**: latencies are not those of an open system.\n\n";
  const histogram& h = class_of(r, "delivery");
  out +=
      "| deliveries | a second | server CPU a delivery | p50 | p99 | p99.9 | max |\n"
      "|--:|--:|--:|--:|--:|--:|--:|\n| " +
      count_text(r.delivered) + " | " + number_text(rate_of(r)) + " | " +
      cost_text(r.server_cpu_us_per_delivery);
  for (const double q : {0.5, 0.99, 0.999, 1.0}) out += " | " + duration_text(at(h, q));
  out += " |\n\n";
  markdown_classes(&out, r);
  markdown_objectives(&out, r);
  markdown_violations(&out, r);
  out += "\nSeed " + std::to_string(r.seed) + ", " + count_text(r.connections) + " connections, " +
         count_text(r.rooms) + " rooms, " + duration_text(r.seconds * 1e6) + ", " +
         markdown_text(r.started) + ", parley-load " + markdown_text(r.tool_version) + ".\n";
  return out;
}

namespace {

struct junit_suite {
  std::string cases;
  size_t count = 0, failures = 0, skipped = 0;
  std::string suite;

  void begin(const std::string& name) {
    ++count;
    cases += "    <testcase classname=\"" + suite + "\" name=\"" + markup_text(name) + "\"";
  }
  void pass(const std::string& name) {
    begin(name);
    cases += "/>\n";
  }
  void skip(const std::string& name, const std::string& why) {
    begin(name);
    ++skipped;
    cases += "><skipped message=\"" + markup_text(why) + "\"/></testcase>\n";
  }
  void fail(const std::string& name, const std::string& message, const std::string& text) {
    begin(name);
    ++failures;
    cases +=
        "><failure message=\"" + markup_text(message) + "\">" + text + "</failure></testcase>\n";
  }
};

void junit_correctness(junit_suite* s, const run_result& r) {
  for (size_t k = 0; k < std::size(r.violations); ++k) {
    const auto kind = static_cast<violation_kind>(k);
    const std::string name = std::string("correctness: none ") + violation_name(kind);
    if (r.is_unjudged[k]) {
      s->skip(name, r.dialect + " has nothing of the kind");
      continue;
    }
    if (r.violations[k] == 0) {
      s->pass(name);
      continue;
    }
    std::string text;
    size_t shown = 0;
    for (const violation& v : r.kept) {
      if (v.kind != kind || shown++ >= kViolationsInText) continue;
      text += markup_text(violation_text(v)) + "\n";
    }
    s->fail(name, count_text(r.violations[k]) + " " + violation_name(kind), text);
  }
}

void junit_objectives(junit_suite* s, const run_result& r) {
  for (const objective_row& o : r.objectives) {
    const std::string name = "objective: " + o.name;
    if (o.is_kept) {
      s->pass(name);
    } else {
      s->fail(name, named_text(o.name, o.measured) + ", allowed " + named_text(o.name, o.allowed),
              "");
    }
  }
}

}  // namespace

std::string report_junit(const run_result& r) {
  junit_suite s;
  s.suite = "parley-load." + markup_text(r.scenario);
  junit_correctness(&s, r);
  junit_objectives(&s, r);
  // A limited run is no failure of the server's; CI shows it as skipped.
  if (r.is_generator_limited) {
    s.skip("the tool was not the bottleneck", r.generator_limited_why);
  } else {
    s.pass("the tool was not the bottleneck");
  }
  const std::string numbers = " tests=\"" + std::to_string(s.count) + "\" failures=\"" +
                              std::to_string(s.failures) + "\" skipped=\"" +
                              std::to_string(s.skipped) + "\"";
  std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites" + numbers +
                    ">\n  <testsuite name=\"" + s.suite + "\"" + numbers + " timestamp=\"" +
                    markup_text(r.started) + "\">\n    <properties>";
  out += "<property name=\"seed\" value=\"" + std::to_string(r.seed) + "\"/>";
  out += "<property name=\"url\" value=\"" + markup_text(r.url) + "\"/>";
  return out + "</properties>\n" + s.cases + "  </testsuite>\n</testsuites>\n";
}

namespace {

// Colours only on a terminal that was asked; the words say the same.
struct painter {
  bool has_colour;
  std::string paint(const char* code, const std::string& text) const {
    return has_colour ? std::string("\033[") + code + "m" + text + "\033[0m" : text;
  }
  std::string good(const std::string& t) const { return paint("1;32", t); }
  std::string bad(const std::string& t) const { return paint("1;31", t); }
  std::string warn(const std::string& t) const { return paint("1;33", t); }
  std::string bold(const std::string& t) const { return paint("1", t); }
};

void summary_latencies(std::string* out, const run_result& r) {
  *out += "  " + column_text("latency", 20, true) + column_text("count", 13);
  for (const char* name : {"p50", "p99", "p99.9", "max"}) *out += column_text(name, 11);
  *out += "\n";
  for (const auto& [name, h] : r.latencies) {
    *out += "  " + column_text(line_text(name), 20, true) + column_text(count_text(h.total), 13);
    for (const double q : {0.5, 0.99, 0.999, 1.0}) *out += column_text(duration_text(at(h, q)), 11);
    *out += "\n";
  }
}

void summary_verdict(std::string* out, const run_result& r, const painter& p) {
  const std::string correct = correct_text(r);
  *out += p.bold(line_text(r.scenario)) + ": ";
  *out += !result_is_correct(r) ? p.bad(correct)
          : r.delivered == 0    ? p.warn(correct)
                                : p.good(correct);
  *out += ", " + (result_is_kept(r) ? objectives_text(r) : p.bad(objectives_text(r))) + "\n";
  if (r.is_generator_limited)
    *out += "  " + p.warn("generator-limited") + ": " + line_text(r.generator_limited_why) + "\n";
  if (const std::string none = result_unjudged_text(r); !none.empty())
    *out += "  " + p.warn("not judged") + ", since " + line_text(r.dialect) +
            " has none of it: " + none + "\n";
  if (r.is_closed_loop)
    *out += "  " + p.warn("closed loop") + ": latencies are not those of an open system\n";
}

}  // namespace

std::string report_summary(const run_result& r, bool has_colour) {
  const painter p{has_colour};
  std::string out;
  summary_verdict(&out, r, p);
  out += "  " + count_text(r.delivered) + " deliveries of " + count_text(r.sent) + " messages, " +
         number_text(rate_of(r)) + " a second; " + count_text(r.errors) + " errors; " +
         std::to_string(r.connections) + " connections\n";
  out += "  server CPU " + p.bold(cost_text(r.server_cpu_us_per_delivery)) +
         " a delivery, memory " + bytes_text(r.server_rss_bytes) + "; tool " +
         cost_text(r.tool_cpu_us_per_delivery) + " a delivery\n\n";
  summary_latencies(&out, r);
  for (const objective_row& o : r.objectives) {
    if (o.is_kept) continue;
    out += "  " + p.bad("missed") + " " + line_text(o.name) + ": " +
           named_text(o.name, o.measured) + ", allowed " + named_text(o.name, o.allowed) + "\n";
  }
  const size_t shown = std::min(r.kept.size(), kViolationsInSummary);
  for (size_t i = 0; i < shown; ++i)
    out += "  " + p.bad("✗") + " " + violation_text(r.kept[i]) + "\n";
  if (result_violations(r) > shown && shown > 0)
    out += "  … " + count_text(result_violations(r)) + " violations in all: report.html\n";
  return out;
}

}  // namespace loadgen
