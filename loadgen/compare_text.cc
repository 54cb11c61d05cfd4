// A comparison as text and as JSON, and the subcommand around it.
#include <charconv>
#include <cmath>
#include <cstdio>

#include "loadgen/compare.h"
#include "loadgen/text.h"
#include "proto/reply.h"

namespace loadgen {
namespace {

std::string change_text(double ratio) {
  if (!std::isfinite(ratio) || ratio <= 0) return "?";
  char text[32];
  if (ratio >= 10) {
    std::snprintf(text, sizeof text, "x%.0f", ratio);
  } else {
    std::snprintf(text, sizeof text, "%+.1f %%", (ratio - 1) * 100);
  }
  return text;
}

std::string row_text(const compare_row& r) {
  std::string out = "  " + column_text(r.name, 28, true) +
                    column_text(named_text(r.name, r.base), 12) +
                    column_text(named_text(r.name, r.head), 12);
  if (r.verdict == compare_verdict::unknown) return out + "  not known\n";
  char p[32];
  std::snprintf(p, sizeof p, r.p < 0.001 ? "<0.001" : "%.3f", r.p);
  const std::string interval = std::isfinite(r.high)
                                   ? change_text(r.low) + " … " + change_text(r.high)
                                   : std::string("too few values");
  out +=
      column_text(change_text(r.ratio), 10) + column_text(interval, 21) + column_text(p, 8) + "  ";
  out += compare_verdict_name(r.verdict);
  return out + "\n";
}

const char* method_text(compare_method m) {
  switch (m) {
    case compare_method::ranks:
      return "Mann-Whitney U over the runs";
    case compare_method::seconds_paired:
      return "block bootstrap over seconds, in pairs of one schedule";
    case compare_method::seconds:
      return "block bootstrap over seconds";
  }
  return "";
}

void json_number(std::string* out, const char* name, double v, bool may_be_zero = true) {
  *out += ",\"";
  *out += name;
  *out += "\":";
  if (!std::isfinite(v) || v < 0 || (v == 0 && !may_be_zero)) {
    *out += "null";
    return;
  }
  char digits[32];
  out->append(digits,
              static_cast<size_t>(std::to_chars(digits, digits + sizeof digits, v).ptr - digits));
}

}  // namespace

std::string compare_text(const comparison& c) {
  std::string out = "base: " + c.base + ", " + std::to_string(c.base_runs) +
                    (c.base_runs == 1 ? " run" : " runs") + "; head: " + c.head + ", " +
                    std::to_string(c.head_runs) + (c.head_runs == 1 ? " run" : " runs") + "; " +
                    method_text(c.method) + "\n\n";
  out += "  " + column_text("", 28, true) + column_text("base", 12) + column_text("head", 12) +
         column_text("change", 10) + column_text("95 % interval", 21) + column_text("p", 8) + "\n";
  for (const compare_row& r : c.rows) out += row_text(r);
  out += "\n  violations: base " + count_text(c.base_violations) + ", head " +
         count_text(c.head_violations) + "\n";
  for (const std::string& w : c.warnings) out += "  note: " + w + "\n";
  return out + (c.is_regression ? "\nREGRESSION\n" : "\nno regression\n");
}

std::string compare_json(const comparison& c) {
  std::string out = "{\"base\":";
  proto::json_string(&out, c.base);
  out += ",\"head\":";
  proto::json_string(&out, c.head);
  out += ",\"base_runs\":" + std::to_string(c.base_runs) +
         ",\"head_runs\":" + std::to_string(c.head_runs) + ",\"method\":\"" +
         compare_method_name(c.method) +
         "\",\"base_violations\":" + std::to_string(c.base_violations) +
         ",\"head_violations\":" + std::to_string(c.head_violations) +
         ",\"regression\":" + (c.is_regression ? "true" : "false") + ",\"metrics\":[";
  for (const compare_row& r : c.rows) {
    out += &r == &c.rows[0] ? "\n{\"name\":" : ",\n{\"name\":";
    proto::json_string(&out, r.name);
    json_number(&out, "base", r.base);
    json_number(&out, "head", r.head);
    json_number(&out, "ratio", r.ratio);
    json_number(&out, "ratio_low", r.low, false);
    json_number(&out, "ratio_high", r.high);
    json_number(&out, "p", r.p);
    json_number(&out, "superiority", r.superiority);
    json_number(&out, "least_effect", r.least_effect);
    out += std::string(",\"verdict\":\"") + compare_verdict_name(r.verdict) + "\"}";
  }
  out += "],\n\"warnings\":[";
  for (const std::string& w : c.warnings) {
    if (&w != &c.warnings[0]) out += ',';
    proto::json_string(&out, w);
  }
  return out + "]}\n";
}

int compare_reports(const std::vector<std::string>& base, const std::vector<std::string>& head,
                    bool is_json) noexcept {
  std::vector<run_result> sides[2];
  const std::vector<std::string>* paths[2] = {&base, &head};
  for (size_t i = 0; i < 2; ++i) {
    if (paths[i]->empty()) {
      std::fprintf(stderr, "parley-load: compare needs a report on each side of vs\n");
      return 3;
    }
    for (const std::string& path : *paths[i]) {
      std::string why;
      if (result_read(path, &sides[i].emplace_back(), &why) == core::err::ok) continue;
      std::fprintf(stderr, "parley-load: %s\n", why.c_str());
      return 3;
    }
  }
  const comparison c = compare_results(sides[0], sides[1]);
  std::fputs((is_json ? compare_json(c) : compare_text(c)).c_str(), stdout);
  return c.is_regression ? 1 : 0;
}

}  // namespace loadgen
