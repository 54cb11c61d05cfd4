// parley-load: reads the command line and the scenario, runs it, writes the reports.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "loadgen/command_line.h"
#include "loadgen/compare.h"
#include "loadgen/engine.h"
#include "loadgen/proxy.h"

namespace {

using namespace loadgen;

constexpr int kExitCannotRun = 3;

int cannot_run(const std::string& why) {
  std::fprintf(stderr, "parley-load: %s\n", why.c_str());
  return kExitCannotRun;
}

bool write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  return static_cast<bool>(out.flush());
}

// Progress on one line of a terminal, a line every ten seconds elsewhere.
struct progress {
  bool is_terminal = false, is_quiet = false;
  uint64_t seconds = 0;
  uint64_t delivered = 0;
};

void on_second(void* user, const char* stage, const second_sample& s) {
  auto* p = static_cast<progress*>(user);
  const uint64_t rate = s.delivered - p->delivered;
  p->delivered = s.delivered;
  ++p->seconds;
  if (p->is_quiet || (!p->is_terminal && p->seconds % 10 != 1)) return;
  std::fprintf(
      stderr, "%s%-28s %8llu connected %10llu sent %12llu delivered %9llu/s %6llu errors%s",
      p->is_terminal ? "\r\033[K" : "", stage, static_cast<unsigned long long>(s.connected),
      static_cast<unsigned long long>(s.sent), static_cast<unsigned long long>(s.delivered),
      static_cast<unsigned long long>(rate), static_cast<unsigned long long>(s.errors),
      p->is_terminal ? "" : "\n");
}

core::err read_scenario(const command_line& c, scenario* out, std::string* why) {
  std::vector<std::string> problems;
  const core::err rc = scenario_read(c.scenario, out, &problems);
  for (const std::string& problem : problems) *why += (why->empty() ? "" : "\n") + problem;
  if (rc != core::err::ok && problems.empty()) *why = c.scenario + ": " + core::err_text(rc);
  if (c.has_seed) out->seed = c.seed;
  for (room_group& g : out->rooms) g.rate *= c.rate_factor;
  for (phase& p : out->phases) p.seconds *= c.time_factor;
  for (fault& f : out->faults) {
    f.at *= c.time_factor;
    f.every *= c.time_factor;
    f.jitter *= c.time_factor;
  }
  return rc;
}

struct processes {
  std::vector<process*> all;
  ~processes() {
    for (process* p : all) process_free(p);
  }
};

// What --ready-url says of all processes, or, with a name, of that one.
core::err ready_of(const command_line& c, const processes& started, std::string* of_all,
                   std::string* why) {
  for (const std::string& text : c.ready_urls) {
    if (text.starts_with("http://")) {
      *of_all = text;
      continue;
    }
    const size_t at = std::min(text.find("=http://"), text.size());
    const auto named = std::find_if(started.all.begin(), started.all.end(), [&](const process* p) {
      return process_name(p) == text.substr(0, at);
    });
    if (at == text.size() || named == started.all.end()) {
      *why = "--ready-url is http://…, or NAME=http://… with the name of a --process, not \"" +
             text + "\"";
      return core::err::invalid;
    }
    process_ready_at(*named, text.substr(at + 1));
  }
  return core::err::ok;
}

core::err start_processes(const command_line& c, processes* out, std::string* ready_url,
                          std::string* why) {
  for (const std::string& text : c.processes) {
    process* p = nullptr;
    const core::err rc = process_parse(text, &p, why);
    if (rc != core::err::ok) return rc;
    out->all.push_back(p);
  }
  core::err rc = ready_of(c, *out, ready_url, why);
  for (process* p : out->all) {
    if (rc != core::err::ok) return rc;
    if (process_pid(p) != 0) continue;
    rc = process_start(p, c.out_dir + "/" + process_name(p) + ".log", *ready_url, 30'000, why);
  }
  return rc;
}

// What is late must have the time to come before the run ends.
core::err fit_injury(injury* i, scenario* asked, std::string* why) {
  constexpr double kMarginS = 5;
  const core::err rc = injury_fit(i, asked->delivery_deadline_s, why);
  if (rc == core::err::ok && i->kind == injury_kind::delay)
    asked->drain_s = std::max(asked->drain_s, i->delay_ms / 1000.0 + kMarginS);
  return rc;
}

core::err start_proxy(const command_line& c, scenario* asked, engine_options* o, proxy** out,
                      std::string* why) {
  if (c.injuries.empty() && c.latency_ms == 0) return core::err::ok;
  proxy_options p;
  p.host = o->host;
  p.port = o->port;
  p.latency_ms = c.latency_ms;
  p.seed = asked->seed;
  for (const std::string& text : c.injuries) {
    injury* i = &p.injuries.emplace_back();
    core::err rc = injury_parse(text, i, why);
    if (rc != core::err::ok) return rc;
    rc = fit_injury(i, asked, why);
    if (rc == core::err::ok) continue;
    *why = "--inject " + text + ": " + *why;
    return rc;
  }
  o->host = "127.0.0.1";
  return proxy_start(p, out, &o->port, why);
}

violation_kind shows_as(injury_kind k) {
  static constexpr violation_kind kShows[] = {violation_kind::lost, violation_kind::duplicated,
                                              violation_kind::reordered, violation_kind::delayed,
                                              violation_kind::corrupted};
  static_assert(std::size(kShows) == static_cast<size_t>(injury_kind::kCount));
  return kShows[static_cast<size_t>(k)];
}

// False: one that was asked for was never made, or made and not found under its name.
bool print_injuries(const command_line& c, const proxy_report& r, const run_result& result,
                    std::string* why) {
  for (size_t k = 0; k < static_cast<size_t>(injury_kind::kCount); ++k) {
    const std::string name = injury_name(static_cast<injury_kind>(k));
    const violation_kind shown = shows_as(static_cast<injury_kind>(k));
    const uint64_t found = result.violations[static_cast<size_t>(shown)];
    if (r.made[k] > 0)
      std::printf("injected %s: %llu, found %s: %llu\n", name.c_str(),
                  static_cast<unsigned long long>(r.made[k]), violation_name(shown),
                  static_cast<unsigned long long>(found));
    for (const std::string& asked : c.injuries) {
      if (!asked.starts_with(name + "=") || (r.made[k] > 0 && found > 0)) continue;
      *why = "--inject " + asked +
             (r.made[k] == 0 ? ": no message could be broken so; let the scenario run longer"
                             : ": made, and no receiver was wrong in the end (it may have left, "
                               "recovered, or been excused by a fault)");
      return false;
    }
  }
  return true;
}

uint64_t deliveries_of(const scenario& asked, const schedule& plan) {
  uint64_t deliveries = 0;
  for (const room_plan& r : plan.rooms)
    deliveries += uint64_t{asked.messages} * r.members.size();  // of window mode
  for (const action& a : plan.actions) {
    if (a.kind == action_kind::publish) deliveries += plan.rooms[a.room].members.size();
  }
  return deliveries;
}

// So many deliveries as make logs of a size that nobody minds.
bool keeps_logs(const command_line& c, const scenario& asked, const schedule& plan) {
  if (c.logs != "auto") return c.logs == "on";
  return deliveries_of(asked, plan) <= kLogDeliveriesMax;
}

// auto: a loop takes several hundred thousand deliveries a second, so that a run far below need
// not wait for a measurement that could say nothing.
core::err find_ceiling(const command_line& c, const scenario& asked, const schedule& plan,
                       double* per_core_s, std::string* why) {
  constexpr double kWorthPerLoopS = 50'000;
  constexpr uint32_t kDeliveries = 200'000;
  *per_core_s = 0;
  ceiling found;
  if (c.ceiling_file == "off") return core::err::ok;
  core::err rc = core::err::ok;
  if (c.ceiling_file != "auto") {
    rc = ceiling_read(c.ceiling_file, &found, why);
    if (rc != core::err::ok) *why = "--ceiling: " + *why;
  } else {
    const double a_second = static_cast<double>(deliveries_of(asked, plan)) /
                            std::max(1.0, scenario_seconds(asked)) / c.loops;
    if (a_second < kWorthPerLoopS && asked.arrivals != arrival_kind::window) return rc;
    ceiling_options o;
    o.deliveries = kDeliveries;
    o.connections = 0;
    rc = ceiling_measure(o, &found, why);
    if (rc != core::err::ok) *why += "; --ceiling off runs without";
  }
  *per_core_s = found.deliveries_per_core_s;
  return rc;
}

void print_logs(const command_line& c, const run_result& result) {
  if (!result.logs_cut_why.empty())
    std::printf("the logs in %s end early: %s\n", result.logs_dir.c_str(),
                result.logs_cut_why.c_str());
  if (result.logs_dir.empty() && c.logs == "auto")
    std::printf("no logs for `check`: too many deliveries; --logs on keeps them\n");
}

int write_reports(const command_line& c, const run_result& result) {
  const std::filesystem::path dir(c.out_dir);
  const bool is_written = write_file(dir / "report.json", result_json(result)) &&
                          write_file(dir / "report.html", report_html(result)) &&
                          write_file(dir / "report.md", report_markdown(result)) &&
                          write_file(dir / "junit.xml", report_junit(result));
  std::fputs(report_summary(result, isatty(STDOUT_FILENO) != 0).c_str(), stdout);
  if (!is_written) return cannot_run("the reports cannot be written to " + c.out_dir);
  std::printf("report: %s\n", (dir / "report.html").c_str());
  return result_exit_code(result);
}

int run(const command_line& c) {
  scenario asked;
  schedule plan;
  std::string why;
  if (read_scenario(c, &asked, &why) != core::err::ok ||
      schedule_make(asked, &plan, &why) != core::err::ok)
    return cannot_run(why);
  engine_options o;
  o.url = c.url;
  if (url_parse(c.url, &o.host, &o.port, &o.target, &why) != core::err::ok) return cannot_run(why);
  std::error_code ec;
  std::filesystem::create_directories(c.out_dir, ec);
  if (ec) return cannot_run(c.out_dir + " cannot be made: " + ec.message());
  // First: it forks, and a thread of ours must not be in the middle of something then.
  if (find_ceiling(c, asked, plan, &o.ceiling_per_core_s, &why) != core::err::ok)
    return cannot_run(why);
  processes started;
  if (start_processes(c, &started, &o.ready_url, &why) != core::err::ok) return cannot_run(why);
  proxy* between = nullptr;
  if (start_proxy(c, &asked, &o, &between, &why) != core::err::ok) return cannot_run(why);
  progress shown;
  shown.is_terminal = isatty(STDERR_FILENO) != 0;
  shown.is_quiet = c.is_quiet;
  o.sources = c.sources;
  o.hmac_secret = c.hmac_secret;
  o.loops = c.loops;
  o.processes = started.all;
  o.log_dir = c.out_dir;
  if (keeps_logs(c, asked, plan)) o.check_log_dir = c.out_dir + "/logs";
  check_logs_clear(c.out_dir + "/logs");
  o.check_log_bytes_max = uint64_t{c.logs_mb} << 20;
  o.server_pid = c.pid;
  o.metrics_url = c.metrics_url;
  o.on_second = on_second;
  o.user = &shown;
  run_result result;
  const core::err rc = engine_run(asked, plan, o, &result, &why);
  if (shown.is_terminal && !shown.is_quiet) std::fputs("\r\033[K", stderr);
  proxy_report injected;
  if (between != nullptr) proxy_stop(between, &injected);
  if (rc != core::err::ok) return cannot_run(why);
  result.dialect = "centrifuge";
  result.tool_version = PARLEY_VERSION;
  const bool is_proof = print_injuries(c, injected, result, &why);
  const int code = write_reports(c, result);
  print_logs(c, result);
  return is_proof ? code : cannot_run(why);
}

int print_schedule(const command_line& c) {
  scenario asked;
  schedule plan;
  std::string why;
  if (read_scenario(c, &asked, &why) != core::err::ok ||
      schedule_make(asked, &plan, &why) != core::err::ok)
    return cannot_run(why);
  std::printf("%s: seed %llu, %u connections, %zu rooms, %zu actions, digest %016llx\n",
              asked.name.c_str(), static_cast<unsigned long long>(asked.seed), plan.peers,
              plan.rooms.size(), plan.actions.size(),
              static_cast<unsigned long long>(schedule_digest(plan)));
  return 0;
}

int print_ceiling(const command_line& c) {
  ceiling found;
  std::string why;
  if (ceiling_measure(c.sink, &found, &why) != core::err::ok) return cannot_run(why);
  std::fputs(ceiling_text(found).c_str(), stdout);
  if (!c.ceiling_out.empty() && !write_file(c.ceiling_out, ceiling_json(found)))
    return cannot_run(c.ceiling_out + " cannot be written");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  command_line c;
  std::string why;
  if (command_line_parse(argc - 1, argv + 1, &c, &why) != core::err::ok) return cannot_run(why);
  switch (c.what) {
    case subcommand::run:
      return run(c);
    case subcommand::schedule:
      return print_schedule(c);
    case subcommand::compare:
      return compare_reports(c.base, c.head, c.is_json);
    case subcommand::ceiling:
      return print_ceiling(c);
    case subcommand::check:
      return replay_print(c.check, stdout);
    case subcommand::version:
      std::printf("parley-load %s\n", PARLEY_VERSION);
      return 0;
    case subcommand::help:
      std::fputs(c.text.c_str(), stdout);
      return 0;
  }
  return kExitCannotRun;
}
