// parley-load: reads the command line and the scenario, runs it, writes the reports.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "loadgen/capacity_command.h"
#include "loadgen/command_line.h"
#include "loadgen/compare.h"
#include "loadgen/engine.h"
#include "loadgen/proxy.h"
#include "loadgen/run_setup.h"

namespace {

using namespace loadgen;

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
  p.has_lines = o->speech == nullptr || o->speech->has_lines;
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

// So many deliveries as make logs of a size that nobody minds.
bool keeps_logs(const command_line& c, const scenario& asked, const schedule& plan) {
  if (c.logs != "auto") return c.logs == "on";
  return deliveries_of(asked, plan) <= kLogDeliveriesMax;
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
  progress shown;
  engine_options o;
  dialect_file speech;
  if (setup_engine(c, &shown, &o, &why) != core::err::ok ||
      setup_dialect(c, asked, &speech, &o, &why) != core::err::ok)
    return cannot_run(why);
  std::error_code ec;
  std::filesystem::create_directories(c.out_dir, ec);
  if (ec) return cannot_run(c.out_dir + " cannot be made: " + ec.message());
  // First: it forks, and a thread of ours must not be in the middle of something then.
  if (find_ceiling(c, asked, plan, &o.ceiling_per_core_s, &why) != core::err::ok)
    return cannot_run(why);
  if (open_page(c, &shown, &why) != core::err::ok) return cannot_run(why);
  processes started;
  if (start_processes(c, &started, &o.ready_url, &why) != core::err::ok) return cannot_run(why);
  proxy* between = nullptr;
  if (start_proxy(c, &asked, &o, &between, &why) != core::err::ok) return cannot_run(why);
  o.processes = started.all;
  if (keeps_logs(c, asked, plan)) o.check_log_dir = c.out_dir + "/logs";
  check_logs_clear(c.out_dir + "/logs");
  o.check_log_bytes_max = uint64_t{c.logs_mb} << 20;
  run_result result;
  const core::err rc = engine_run(asked, plan, o, &result, &why);
  live_clear(&shown.view);
  proxy_report injected;
  if (between != nullptr) proxy_stop(between, &injected);
  if (rc != core::err::ok) return cannot_run(why);
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
    case subcommand::capacity:
      return capacity_command(c);
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
