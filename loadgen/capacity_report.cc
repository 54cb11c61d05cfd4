// The answer of a capacity search as text, Markdown, JSON and a page.
#include <algorithm>

#include "loadgen/capacity_command.h"
#include "loadgen/report_style.h"
#include "loadgen/text.h"
#include "proto/reply.h"

namespace loadgen {
namespace {

std::string rate_text(const capacity_result& r, double factor) {
  return number_text(factor * r.rate) + " deliveries/s";
}

std::string ending(const capacity_result& r) {
  const capacity_answer& a = r.answer;
  const std::string why = r.probes.empty() ? "" : r.probes.back().why;
  switch (a.ended_by) {
    case probe_outcome::violated:
      return " The search ended because messages were wrong: " + why + ".";
    case probe_outcome::failed:
      return " The search ended because a run failed: " + why + ".";
    case probe_outcome::limited:
    case probe_outcome::impossible:
      return " The tool was the limit there: " + why + ".";
    case probe_outcome::kept:
      if (a.kind == capacity_kind::at_least && !why.empty()) return " There " + why + ".";
      break;
    default:
      break;
  }
  if (a.kind == capacity_kind::interval && !a.is_narrow)
    return " The time ended the search before the interval was as narrow as asked.";
  return "";
}

std::string answer_text(const capacity_result& r) {
  const capacity_answer& a = r.answer;
  switch (a.kind) {
    case capacity_kind::interval:
      return "between " + rate_text(r, a.low) + " and " + rate_text(r, a.high) + " (factor " +
             number_text(a.low) + " to " + number_text(a.high) + ", best guess " +
             number_text(a.estimate) + ")";
    case capacity_kind::at_least:
      return "at least " + rate_text(r, a.low) + " (factor " + number_text(a.low) + ")";
    case capacity_kind::at_most:
      return "below " + rate_text(r, a.high) + " (factor " + number_text(a.high) + ")";
    case capacity_kind::unknown:
      break;
  }
  return "not known: no rate kept the objective before the search ended";
}

void json_field(std::string* out, const char* name, const std::string& value) {
  out->append(",\"").append(name).append("\":");
  proto::json_string(out, utf8_text(value));
}

void json_field(std::string* out, const char* name, double value) {
  char digits[40];
  std::snprintf(digits, sizeof digits, "%.6g", value);
  out->append(",\"").append(name).append("\":").append(value < 0 ? "null" : digits);
}

}  // namespace

std::string capacity_summary(const capacity_result& r) {
  return "capacity of " + line_text(r.scenario) + ": " + answer_text(r) + "." +
         line_text(ending(r));
}

std::string capacity_json(const capacity_result& r) {
  const capacity_answer& a = r.answer;
  std::string out = "{\"kind\":\"";
  out.append(capacity_kind_name(a.kind)).append("\"");
  json_field(&out, "scenario", r.scenario);
  json_field(&out, "objective", r.objective);
  json_field(&out, "method", std::string(kCapacityMethod));
  json_field(&out, "tool_version", r.tool_version);
  json_field(&out, "deliveries_per_s_at_1", r.rate);
  json_field(&out, "low", a.low);
  json_field(&out, "estimate", a.estimate);
  json_field(&out, "high", a.high);
  json_field(&out, "ended_by", std::string(probe_outcome_name(a.ended_by)));
  out.append(",\"is_narrow\":").append(a.is_narrow ? "true" : "false").append(",\"probes\":[");
  for (const capacity_probe& p : r.probes) {
    out.append(out.back() == '[' ? "\n{\"outcome\":\"" : ",\n{\"outcome\":\"")
        .append(probe_outcome_name(p.outcome))
        .append("\"");
    json_field(&out, "factor", p.factor);
    json_field(&out, "delivered_per_s", p.delivered_per_s);
    json_field(&out, "delivery_p99_ms", p.delivery_p99_ms);
    json_field(&out, "server_cpu_cores", p.server_cpu);
    json_field(&out, "tool_cpu_cores", p.tool_cpu);
    json_field(&out, "why", p.why);
    out.push_back('}');
  }
  out.append("\n]}\n");
  return out;
}

std::string capacity_markdown(const capacity_result& r) {
  std::string out = "# Capacity: " + markdown_text(r.scenario) + "\n\n**" + answer_text(r) + "**" +
                    markdown_text(ending(r)) + "\n\nObjective: " + markdown_text(r.objective) +
                    ". Method: " + kCapacityMethod +
                    ".\n\n| factor | deliveries/s | delivery p99 | server cores | tool cores | "
                    "outcome |\n|--:|--:|--:|--:|--:|---|\n";
  for (const capacity_probe& p : r.probes)
    out += "| " + number_text(p.factor) + " | " + number_text(p.delivered_per_s) + " | " +
           duration_text(p.delivery_p99_ms * 1000) + " | " + number_text(p.server_cpu) + " | " +
           number_text(p.tool_cpu) + " | " + probe_outcome_name(p.outcome) +
           (p.why.empty() ? "" : ": " + markdown_text(p.why)) + " |\n";
  return out;
}

// A probe is a mark on a line of rates: kept below, missed above, the interval as a band.
std::string capacity_html(const capacity_result& r) {
  const std::string name = markup_text(r.scenario);
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
      "name=\"viewport\" content=\"width=device-width\"><title>Capacity: " +
      name + "</title><style>" + kReportStyle + "</style></head><body>\n<main>";
  const bool is_bad =
      r.answer.ended_by == probe_outcome::violated || r.answer.ended_by == probe_outcome::failed;
  out += "<header><h1>Capacity: " + name +
         "</h1></header>\n<section class=\"verdict\"><div class=\"" +
         std::string(is_bad                                     ? "bad"
                     : r.answer.kind == capacity_kind::interval ? "good"
                                                                : "warn") +
         "\"><b>" + markup_text(answer_text(r)) + "</b><span>" + markup_text(ending(r)) +
         " Objective: " + markup_text(r.objective) + ".</span></div></section>\n" +
         "<h2>Probes</h2><div class=\"wide\"><table><thead><tr><th>Factor</th><th>Deliveries/s</th>"
         "<th>Delivery p99</th><th>Server cores</th><th>Tool cores</th><th>Outcome</th></tr>"
         "</thead><tbody>\n";
  std::vector<const capacity_probe*> sorted;
  for (const capacity_probe& p : r.probes) sorted.push_back(&p);
  std::stable_sort(
      sorted.begin(), sorted.end(),
      [](const capacity_probe* a, const capacity_probe* b) { return a->factor < b->factor; });
  for (const capacity_probe* p : sorted) {
    const bool is_kept = p->outcome == probe_outcome::kept;
    out += "<tr><td>" + number_text(p->factor) + "</td><td>" + number_text(p->delivered_per_s) +
           "</td><td>" + duration_text(p->delivery_p99_ms * 1000) + "</td><td>" +
           number_text(p->server_cpu) + "</td><td>" + number_text(p->tool_cpu) + "</td><td>" +
           (is_kept ? "✓ " : "✗ ") + probe_outcome_name(p->outcome) +
           (p->why.empty() ? "" : ": " + markup_text(p->why)) + "</td></tr>\n";
  }
  out += "</tbody></table></div>\n<p>" + count_text(r.probes.size()) +
         " runs of the scenario at multiples of its rates, by rate here. Method: " +
         markup_text(kCapacityMethod) +
         ". A rate near the limit keeps the objective in some runs and misses it in others, so the "
         "answer is an interval.</p>\n</main></body></html>\n";
  return out;
}

}  // namespace loadgen
