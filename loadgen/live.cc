// Lines are drawn over the last ones: up, and each cleared to its end.
#include "loadgen/live.h"

#include <algorithm>
#include <cstdio>

#include "loadgen/text.h"

namespace loadgen {
namespace {

uint64_t grown(uint64_t now, uint64_t before) {
  return now > before ? now - before : 0;
}

std::string total_and_rate(uint64_t now, uint64_t before) {
  return column_text(count_text(now), 13) + column_text(count_text(grown(now, before)) + "/s", 12);
}

}  // namespace

std::string live_lines(const char* stage, const second_sample& s, const second_sample& before) {
  std::string out = column_text(line_text(stage), 26, true) +
                    column_text(count_text(s.connected), 9) + " connected" +
                    (s.errors > 0 ? "   " + count_text(s.errors) + " errors" : "") + "\n";
  out += "  sent      " + total_and_rate(s.sent, before.sent) + "   acknowledged " +
         count_text(s.acked) + "\n";
  out += "  delivered " + total_and_rate(s.delivered, before.delivered) + "\n";
  out += "  tool " + number_text(s.tool_cpu) + " cores";
  if (s.server_cpu >= 0) out += "; server " + number_text(s.server_cpu) + " cores";
  if (s.server_rss_bytes >= 0) out += ", " + bytes_text(s.server_rss_bytes);
  return out + "\n";
}

std::string live_line(const char* stage, const second_sample& s, const second_sample& before) {
  return column_text(line_text(stage), 28, true) + column_text(count_text(s.connected), 9) +
         " connected" + column_text(count_text(s.sent), 12) + " sent" +
         column_text(count_text(s.delivered), 14) + " delivered" +
         column_text(count_text(grown(s.delivered, before.delivered)) + "/s", 13) + "  " +
         count_text(s.errors) + " errors\n";
}

void live_show(live_view* v, const char* stage, const second_sample& s) noexcept {
  const bool is_due = v->is_terminal || v->seconds % kLiveLineEveryS == 0;
  ++v->seconds;
  if (is_due && !v->is_quiet) {
    std::string out;
    if (v->is_terminal) {
      for (const char c : live_lines(stage, s, v->before)) {
        if (c == '\n') out += "\033[K";
        out.push_back(c);
      }
      if (v->lines > 0) out = "\033[" + std::to_string(v->lines) + "A\r" + out;
      v->lines = static_cast<int>(std::count(out.begin(), out.end(), '\n'));
    } else {
      out = live_line(stage, s, v->before);
    }
    std::fputs(out.c_str(), stderr);
  }
  v->before = s;
}

void live_clear(live_view* v) noexcept {
  if (v->lines > 0) std::fprintf(stderr, "\033[%dA\r\033[J", v->lines);
  v->lines = 0;
}

}  // namespace loadgen
