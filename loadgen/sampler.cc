// The series of the server's and the tool's own use, over restarts of the server.
#include "loadgen/sampler.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/clock.h"
#include "loadgen/proc_usage.h"

namespace loadgen {

namespace {
constexpr uint32_t kMetricsMsMax = kSampleMsMax - 50;  // the rest is for /proc
}

struct sampler {
  std::string metrics_url;
  std::vector<std::string> names;
  uint64_t began_ticks = 0;
  mutable proc_usage server;
  mutable bool is_alive = false;
  bool is_known = false;     // there has been one
  uint64_t before_ns = 0;    // of servers before this one
  uint64_t not_ours_ns = 0;  // of this one, from before sampler_new()
  mutable double rss_bytes = -1;
  double tool_began_s = 0;
  // At the last sampler_take().
  uint64_t taken_us = 0;
  double taken_server_s = 0, taken_tool_s = 0;
};

namespace {

double tool_cpu_s() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

void refresh(const sampler* s) noexcept {
  if (!s->is_alive) return;
  s->is_alive = proc_usage_read(&s->server);
  if (s->is_alive && s->server.rss_bytes > 0)
    s->rss_bytes = static_cast<double>(s->server.rss_bytes);
}

void begin(sampler* s, int pid) noexcept {
  s->is_alive = proc_usage_open(&s->server, pid);
  if (!s->is_alive) return;
  s->is_known = true;
  // One that began during the run is ours from its first instruction on.
  s->not_ours_ns = s->server.started_ticks >= s->began_ticks ? 0 : s->server.cpu_ns;
  refresh(s);
}

std::string_view skip_blanks(std::string_view s) noexcept {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  return s;
}

// Behind the labels of a sample, in which quotes hide a brace; npos: they have no end.
size_t labels_end(std::string_view s) noexcept {
  bool is_quoted = false;
  for (size_t i = 0; i < s.size(); ++i) {
    if (is_quoted && s[i] == '\\') {
      ++i;
    } else if (s[i] == '"') {
      is_quoted = !is_quoted;
    } else if (s[i] == '}' && !is_quoted) {
      return i + 1;
    }
  }
  return std::string_view::npos;
}

bool read_sample(std::string_view line, std::string_view* name, double* value) noexcept {
  line = skip_blanks(line);
  const size_t end = line.find_first_of(" \t{");
  if (line.empty() || line.front() == '#' || end == std::string_view::npos) return false;
  *name = line.substr(0, end);
  line = skip_blanks(line.substr(end));
  if (line.starts_with('{')) {
    const size_t behind = labels_end(line);
    if (behind == std::string_view::npos) return false;
    line = skip_blanks(line.substr(behind));
  }
  if (line.starts_with('+')) line.remove_prefix(1);
  const auto [after, rc] = std::from_chars(line.data(), line.data() + line.size(), *value);
  const bool is_whole =
      after == line.data() + line.size() || *after == ' ' || *after == '\t' || *after == '\r';
  return rc == std::errc() && is_whole && std::isfinite(*value);
}

}  // namespace

sampler* sampler_new(int pid, const std::string& metrics_url,
                     const std::vector<std::string>& names) {
  auto* s = new sampler;
  s->metrics_url = metrics_url;
  s->names = names;
  // A tick is ten milliseconds: a server that began within this one counts as there before.
  s->began_ticks = proc_ticks_now() + 1;
  s->tool_began_s = s->taken_tool_s = tool_cpu_s();
  s->taken_us = core::system_clock()->mono_us();
  begin(s, pid);
  return s;
}

void sampler_free(sampler* s) noexcept {
  delete s;
}

void sampler_follow(sampler* s, int pid) noexcept {
  refresh(s);  // what can still be seen of the old one
  if (s->is_alive && pid == s->server.pid) return;
  s->before_ns += s->server.cpu_ns - s->not_ours_ns;
  s->not_ours_ns = 0;
  s->server = {};
  begin(s, pid);
}

double sampler_server_cpu_s(const sampler* s) noexcept {
  if (!s->is_known) return -1;
  refresh(s);
  return static_cast<double>(s->before_ns + s->server.cpu_ns - s->not_ours_ns) / 1e9;
}

double sampler_tool_cpu_s(const sampler* s) noexcept {
  return tool_cpu_s() - s->tool_began_s;
}

double sampler_rss_bytes(const sampler* s) noexcept {
  refresh(s);
  return s->rss_bytes;
}

void sampler_take(sampler* s, second_sample* out) noexcept {
  const uint64_t now = core::system_clock()->mono_us();
  const double seconds = std::max<double>(1, static_cast<double>(now - s->taken_us)) / 1e6;
  const double tool = tool_cpu_s();
  out->tool_cpu = (tool - s->taken_tool_s) / seconds;
  const double server = sampler_server_cpu_s(s);
  out->server_cpu = server < 0 ? -1 : (server - s->taken_server_s) / seconds;
  out->server_rss_bytes = !s->is_known  ? -1
                          : s->is_alive ? static_cast<double>(s->server.rss_bytes)
                                        : 0;
  s->taken_us = now;
  s->taken_tool_s = tool;
  s->taken_server_s = std::max(0.0, server);
  out->server_metrics.clear();
  std::string page;
  int status = 0;
  if (s->metrics_url.empty() ||
      http_get(s->metrics_url, kMetricsMsMax, &page, &status) != core::err::ok || status != 200)
    return;
  out->server_metrics = metrics_sum(page, s->names);
}

std::map<std::string, double> metrics_sum(std::string_view text,
                                          const std::vector<std::string>& names) {
  std::map<std::string, double> sums;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view name;
    double value = 0;
    if (read_sample(text.substr(0, end), &name, &value) &&
        std::find(names.begin(), names.end(), name) != names.end())
      sums[std::string(name)] += value;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return sums;
}

}  // namespace loadgen
