// report.html: the verdict first, then the figures, the plots, the tables, and how to read them.
#include <algorithm>
#include <cmath>

#include "loadgen/report_style.h"
#include "loadgen/result.h"
#include "loadgen/result_plots.h"
#include "loadgen/text.h"

namespace loadgen {
namespace {

constexpr size_t kViolationsShown = 200;  // report.json has more
constexpr size_t kViolationsOpen = 20;    // the others behind a click

std::string plural(uint64_t n, const char* one, const char* many) {
  return count_text(n) + " " + (n == 1 ? one : many);
}

void panel(std::string* out, const char* style, const std::string& title, const std::string& text) {
  *out += std::string("<div class=\"") + style + "\"><b>" + title + "</b><span>" + text +
          "</span></div>\n";
}

void correctness_panel(std::string* out, const run_result& r) {
  const uint64_t found = result_violations(r);
  if (found > 0) {
    std::string kinds;
    for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k) {
      if (r.violations[k] == 0) continue;
      kinds += (kinds.empty() ? "" : ", ") + count_text(r.violations[k]) + " " +
               violation_name(static_cast<violation_kind>(k));
    }
    panel(out, "bad", "✗ Not correct: " + plural(found, "violation", "violations"), kinds);
  } else if (r.delivered == 0) {
    panel(out, "warn", "! Nothing was delivered", "so nothing could be wrong with it");
  } else {
    panel(out, "good", "✓ Correct",
          plural(r.delivered, "delivery: it came", "deliveries: each came") +
              " once, in order and whole");
  }
}

void objectives_panel(std::string* out, const run_result& r) {
  const auto missed = static_cast<uint64_t>(std::count_if(
      r.objectives.begin(), r.objectives.end(), [](const objective_row& o) { return !o.is_kept; }));
  if (r.objectives.empty()) {
    panel(out, "", "No objectives", "the scenario asks for correctness alone");
  } else if (missed > 0) {
    panel(out, "bad",
          "✗ " + count_text(missed) + " of " +
              plural(r.objectives.size(), "objective", "objectives") + " missed",
          "see the table below");
  } else {
    panel(out, "good", "✓ Objectives kept",
          "all that the scenario sets: " + count_text(r.objectives.size()));
  }
}

void verdict(std::string* out, const run_result& r) {
  *out += "<section class=\"verdict\" aria-label=\"Verdict\">\n";
  correctness_panel(out, r);
  objectives_panel(out, r);
  if (r.is_generator_limited)
    panel(out, "warn", "! Generator-limited",
          markup_text(r.generator_limited_why.empty() ? "the tool was the bottleneck"
                                                      : r.generator_limited_why) +
              ". Latencies are the tool's, at least in part.");
  if (const std::string none = result_unjudged_text(r); !none.empty())
    panel(out, "warn", "! Not judged",
          "Since " + markup_text(r.dialect) + " has none of it: " + markup_text(none));
  if (r.is_closed_loop)
    panel(out, "warn", "! Closed loop",
          "Messages wait for earlier ones: this finds the highest rate; its latencies are not "
          "those of users who come when they like.");
  *out += "</section>\n";
}

// "1.24 ms" with its unit in small.
std::string figure_text(const std::string& text) {
  const size_t space = text.find(' ');
  if (space == std::string::npos) return text;
  return text.substr(0, space) + " <small>" + text.substr(space + 1) + "</small>";
}

void tile(std::string* out, const char* name, const std::string& value, const std::string& below) {
  *out += std::string("<div class=\"tile\"><span class=\"soft\">") + name + "</span><b>" +
          figure_text(value) + "</b><span class=\"soft\">" + below + "</span></div>\n";
}

void headline(std::string* out, const run_result& r) {
  const auto at = r.latencies.find("delivery");
  const histogram none, &h = at == r.latencies.end() ? none : at->second;
  const auto latency = [&h](double q) {
    return duration_text(h.total == 0 ? -1 : static_cast<double>(histogram_at(h, q)));
  };
  const double rate = r.seconds > 0 ? static_cast<double>(r.delivered) / r.seconds : -1;
  *out += "<section class=\"tiles\" aria-label=\"Headline figures\">\n";
  tile(out, "Deliveries", number_text(static_cast<double>(r.delivered)),
       number_text(rate) + " a second");
  tile(out, "Server CPU a delivery",
       named_text("cpu_us_per_delivery", r.server_cpu_us_per_delivery),
       "tool " + named_text("cpu_us_per_delivery", r.tool_cpu_us_per_delivery));
  tile(out, "Delivery p50", latency(0.5), "half came sooner");
  tile(out, "Delivery p99", latency(0.99), "1 in 100 came later");
  tile(out, "Delivery p99.9", latency(0.999), "1 in 1,000 came later");
  tile(out, "Delivery max", latency(1), "the slowest of all");
  *out += "</section>\n";
}

void objective_table(std::string* out, const run_result& r) {
  if (r.objectives.empty()) return;
  *out +=
      "<h2>Objectives</h2>\n<div class=\"wide\"><table><thead><tr><th>Objective</th><th "
      "class=\"num\">Allowed</th><th class=\"num\">Measured</th><th>Of what is allowed</th><th>"
      "</th></tr></thead><tbody>\n";
  for (const objective_row& o : r.objectives) {
    // The bar is as wide as the larger of both; the stroke is what is allowed.
    const double most = std::max({o.allowed, o.measured, 1e-12});
    const auto percent = [most](double v) {
      return std::to_string(static_cast<int>(std::lround(std::max(0.0, v) / most * 100)));
    };
    *out += "<tr><td><code>" + markup_text(o.name) + "</code></td><td class=\"num\">" +
            named_text(o.name, o.allowed) + "</td><td class=\"num\">" +
            named_text(o.name, o.measured) + "</td><td><div class=\"bar" +
            (o.is_kept ? "" : " bad") + "\"><i style=\"width:" + percent(o.measured) +
            "%\"></i><u style=\"left:calc(" + percent(o.allowed) +
            "% - 1px)\"></u></div></td><td>" +
            (o.is_kept ? "<span class=\"good-text\">✓ kept</span>"
                       : "<span class=\"bad-text\">✗ missed</span>") +
            "</td></tr>\n";
  }
  *out += "</tbody></table></div>\n";
}

void plots(std::string* out, const run_result& r) {
  *out += "<h2>The course of the run</h2>\n";
  if (!r.faults.empty()) {
    const bool is_numbered = r.faults.size() <= kPlotMarksNumbered;
    *out += is_numbered
                ? "<p class=\"note\">Faults, as marked in the plots:</p><ol class=\"faults\">"
                : "<details><summary>" + plural(r.faults.size(), "fault", "faults") +
                      ", the red ticks in the plots</summary><ol class=\"faults\">";
    for (const fault_mark& f : r.faults)
      *out += "<li>" + markup_text(f.text) + " <span class=\"soft\">at " +
              duration_text(f.at_s * 1e6) + "</span></li>";
    *out += is_numbered ? "</ol>\n" : "</ol></details>\n";
  }
  *out += "<div class=\"plots\">\n";
  for (const placed_plot& p : result_plots(r))
    *out += "<div class=\"span" + std::to_string(p.sixths) + "\">" + plot_figure(p.what) + "</div>";
  *out += "</div>\n";
}

const char* class_meaning(std::string_view name) {
  static constexpr std::pair<std::string_view, const char*> kMeanings[] = {
      {"delivery", "from the intended time to each receiver"},
      {"first", "to the first receiver of a room"},
      {"last", "to the last receiver of a room"},
      {"ack", "from the intended time to the answer"},
      {"connect", "from dialling to a welcomed client"},
      {"subscribe", "from asking to being in the channel"},
      {"recovery", "from the cut to having caught up"},
      {"history", "a page of history"},
      {"presence", "a channel's presence"},
      {"late", "how far behind its time the tool sent"}};
  for (const auto& [known, meaning] : kMeanings) {
    if (name == known) return meaning;
  }
  return name.starts_with("delivery/") ? "deliveries in these rooms" : "";
}

void class_table(std::string* out, const run_result& r) {
  static constexpr double kQuantiles[] = {0.5, 0.9, 0.99, 0.999, 0.9999};
  *out +=
      "<h2>Latencies by class</h2>\n<div class=\"wide\"><table><thead><tr><th>Class</th><th "
      "class=\"num\">Count</th><th class=\"num\">Min</th><th class=\"num\">Mean</th><th "
      "class=\"num\">p50</th><th class=\"num\">p90</th><th class=\"num\">p99</th><th "
      "class=\"num\">p99.9</th><th class=\"num\">p99.99</th><th class=\"num\">Max</th></tr>"
      "</thead><tbody>\n";
  const auto cell = [out](double us, bool is_thin) {
    *out += is_thin ? "<td class=\"num thin\">" : "<td class=\"num\">";
    *out += duration_text(us) + "</td>";
  };
  for (const auto& [name, h] : r.latencies) {
    *out += "<tr><td>" + markup_text(name) + " <span class=\"soft\">" + class_meaning(name) +
            "</span></td><td class=\"num\">" + count_text(h.total) + "</td>";
    cell(h.total == 0 ? -1 : static_cast<double>(h.min), false);
    cell(h.total == 0 ? -1 : histogram_mean(h), false);
    for (const double q : kQuantiles) {
      const bool is_thin = static_cast<double>(h.total) * (1 - q) < 1;
      cell(h.total == 0 ? -1 : static_cast<double>(histogram_at(h, q)), is_thin);
    }
    cell(h.total == 0 ? -1 : static_cast<double>(h.max), false);
    *out += "</tr>\n";
  }
  *out +=
      "</tbody></table></div>\n<p class=\"note\">In italics: fewer values than the percentile "
      "needs, so it is the maximum.</p>\n";
}

void violation_table(std::string* out, const run_result& r, size_t from, size_t to) {
  *out +=
      "<div class=\"wide\"><table><thead><tr><th>Kind</th><th>Channel</th><th "
      "class=\"num\">Offset</th><th class=\"num\">Receiver</th><th class=\"num\">At</th><th>What"
      "</th></tr></thead><tbody>\n";
  for (size_t i = from; i < to; ++i) {
    const violation& v = r.kept[i];
    *out += std::string("<tr><td class=\"bad-text\">") + violation_name(v.kind) +
            "</td><td><code>" + markup_text(v.channel) + "</code></td><td class=\"num\">" +
            count_text(v.offset) + "</td><td class=\"num\">" +
            (v.receiver == UINT32_MAX ? "–" : std::to_string(v.receiver)) +
            "</td><td class=\"num\">" + seconds_text(v.at_us) + "</td><td>" + markup_text(v.text) +
            "</td></tr>\n";
  }
  *out += "</tbody></table></div>\n";
}

void violations(std::string* out, const run_result& r) {
  const size_t shown = std::min(r.kept.size(), kViolationsShown);
  const size_t open = std::min(shown, kViolationsOpen);
  violation_table(out, r, 0, open);
  if (shown > open) {
    *out += "<details><summary>" + plural(shown - open, "more", "more") + "</summary>\n";
    violation_table(out, r, open, shown);
    *out += "</details>\n";
  }
  if (shown < result_violations(r))
    *out += "<p class=\"note\">" + count_text(shown) + " of " + count_text(result_violations(r)) +
            " are shown; report.json keeps the first " + count_text(kViolationsKept) + ".</p>\n";
}

void correctness(std::string* out, const run_result& r) {
  *out += "<h2>Correctness</h2>\n<ul class=\"kinds\">";
  for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k) {
    *out += r.violations[k] == 0 ? "<li>✓ " : "<li class=\"bad\">✗ ";
    *out += std::string(violation_name(static_cast<violation_kind>(k))) + " " +
            count_text(r.violations[k]) + "</li>";
  }
  *out += "</ul>\n";
  if (!r.kept.empty()) violations(out, r);
}

void row(std::string* out, const std::string& name, const std::string& value) {
  *out += "<dt>" + markup_text(name) + "</dt><dd>" + markup_text(value) + "</dd>";
}

void details(std::string* out, const run_result& r) {
  *out += "<h2>The run in numbers, and the machine</h2>\n<dl>";
  row(out, "messages",
      count_text(r.sent) + " sent, " + count_text(r.acked) + " acknowledged, " +
          count_text(r.errors) + " refused or unanswered");
  row(out, "deliveries", count_text(r.delivered) + " of " + count_text(r.expected) + " expected");
  row(out, "late sends", count_text(r.late_sends) + " more than 1 ms behind their time");
  if (r.retried > 0)
    row(out, "retries",
        count_text(r.retried) + " sent again, " + count_text(r.duplicates_answered) +
            " answered as known already, " + count_text(r.conflicts_refused) +
            " refused for other data");
  if (r.reconnects > 0)
    row(out, "reconnects",
        count_text(r.reconnects) + "; recovered " + count_text(r.recovered) + ", not recovered " +
            count_text(r.unrecovered));
  row(out, "bytes",
      bytes_text(static_cast<double>(r.bytes_in)) + " received, " +
          bytes_text(static_cast<double>(r.bytes_out)) + " sent by the tool");
  row(out, "server",
      "CPU " + duration_text(r.server_cpu_s < 0 ? -1 : r.server_cpu_s * 1e6) + ", memory " +
          bytes_text(r.server_rss_bytes) + ", system calls a delivery " +
          number_text(r.server_calls_per_delivery));
  row(out, "tool", "its busiest loop " + share_text(r.tool_cpu_share) + " of a core");
  for (const auto& [name, value] : r.machine) row(out, name, value);
  *out += "</dl>\n";
}

constexpr const char* kHowClosed =
    "This run is a <b>closed loop</b>: so many messages were kept under way, and the next one left "
    "when one had arrived. What follows holds for the other runs. ";
constexpr const char* kHowToRead =
    "The load is an <b>open loop</b>: when each "
    "message "
    "is due was fixed from the seed before the run began, and the server's slowness does not "
    "change it. A latency counts from that <b>intended time</b>, not from when the tool got "
    "round to sending: if the server stalls for a second, every message of that second shows it. "
    "How far the tool itself ran behind is the class <b>late</b>; when that, or the tool's own "
    "use of its cores, could have shaped the result, the report says <b>generator-limited</b>. "
    "p99 means that 99 of 100 values are no larger. In the percentile plot each step to the right "
    "is ten times rarer; a flat line is a steady server, a cliff is something that happens now and "
    "then. Server CPU a delivery is processor time of the server during the measured phases "
    "divided by the deliveries in them: it barely depends on the rate and compares well between "
    "machines of one kind.";

}  // namespace

std::string report_html(const run_result& r) {
  const std::string name = markup_text(r.scenario);
  std::string out =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
      "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'\">\n<meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\">\n<title>";
  out +=
      name + " – parley-load</title>\n<style>" + kReportStyle + "</style>\n</head>\n<body><main>\n";
  out += "<header><h1>" + name + "</h1>";
  if (!r.about.empty()) out += "<p>" + markup_text(r.about) + "</p>";
  out += "<p class=\"meta\">" + markup_text(r.started) + " · " + duration_text(r.seconds * 1e6) +
         " measured · " + plural(r.connections, "connection", "connections") + " · " +
         plural(r.rooms, "room", "rooms") + " · seed " + std::to_string(r.seed) + " · <code>" +
         markup_text(r.url) + "</code></p></header>\n";
  verdict(&out, r);
  headline(&out, r);
  objective_table(&out, r);
  plots(&out, r);
  class_table(&out, r);
  correctness(&out, r);
  details(&out, r);
  out += "<h2>How to read this</h2>\n<p class=\"how\">";
  if (r.is_closed_loop) out += kHowClosed;
  out += kHowToRead;
  out += "</p>\n";
  out += "<footer>parley-load " + markup_text(r.tool_version) + " · dialect " +
         markup_text(r.dialect) + " · schedule <code>" + digest_text(r.schedule_digest) +
         "</code></footer>\n</main>\n<script>" + kReportScript + "</script>\n</body>\n</html>\n";
  return out;
}

}  // namespace loadgen
