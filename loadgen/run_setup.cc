// The steps that every run begins with.
#include "loadgen/run_setup.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace loadgen {
namespace {

void on_second(void* user, const char* stage, const second_sample& s) {
  auto* p = static_cast<progress*>(user);
  if (p->page != nullptr) metrics_page_set(p->page, stage, s);
  live_show(&p->view, stage, s);
}

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

}  // namespace

int cannot_run(const std::string& why) {
  std::fprintf(stderr, "parley-load: %s\n", why.c_str());
  return kExitCannotRun;
}

bool write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  return static_cast<bool>(out.flush());
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

core::err setup_engine(const command_line& c, progress* shown, engine_options* o,
                       std::string* why) {
  core::err rc = url_parse(c.url, &o->host, &o->port, &o->target, why);
  if (rc != core::err::ok) return rc;
  shown->view.is_terminal = isatty(STDERR_FILENO) != 0;
  shown->view.is_quiet = c.is_quiet;
  o->url = c.url;
  o->sources = c.sources;
  o->hmac_secret = c.hmac_secret;
  o->loops = c.loops;
  o->log_dir = c.out_dir;
  o->server_pid = c.pid;
  o->metrics_url = c.metrics_url;
  o->on_second = on_second;
  o->user = shown;
  return rc;
}

core::err setup_dialect(const command_line& c, const scenario& asked, dialect_file* f,
                        engine_options* o, std::string* why) {
  if (c.dialect == "centrifuge") return core::err::ok;
  std::vector<std::string> problems;
  const core::err rc = dialect_find(c.dialect, f, &problems);
  for (const std::string& problem : problems) *why += (why->empty() ? "" : "\n") + problem;
  if (rc != core::err::ok) return rc;
  o->speech = f;
  return dialect_fits(*f, asked, !c.hmac_secret.empty(), why);
}

core::err open_page(const command_line& c, progress* shown, std::string* why) {
  if (c.metrics_listen.empty()) return core::err::ok;
  uint16_t port = 0;
  const core::err rc = metrics_page_open(c.metrics_listen, &shown->page, &port, why);
  if (rc == core::err::ok && !c.is_quiet)
    std::fprintf(stderr, "metrics on port %u: GET /metrics\n", port);
  return rc;
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

// auto: a loop takes several hundred thousand deliveries a second, so that a run far below need
// not wait for a measurement that could say nothing.
core::err find_ceiling(const command_line& c, const scenario& asked, const schedule& plan,
                       double* per_core_s, std::string* why) {
  constexpr double kWorthPerLoopS = 50'000;
  *per_core_s = 0;
  const double a_second = static_cast<double>(deliveries_of(asked, plan)) /
                          std::max(1.0, scenario_seconds(asked)) / c.loops;
  if (c.ceiling_file == "auto" && a_second < kWorthPerLoopS &&
      asked.arrivals != arrival_kind::window)
    return core::err::ok;
  return measure_ceiling(c, per_core_s, why);
}

core::err measure_ceiling(const command_line& c, double* per_core_s, std::string* why) {
  constexpr uint32_t kDeliveries = 200'000;
  *per_core_s = 0;
  ceiling found;
  if (c.ceiling_file == "off") return core::err::ok;
  core::err rc = core::err::ok;
  if (c.ceiling_file != "auto") {
    rc = ceiling_read(c.ceiling_file, &found, why);
    if (rc != core::err::ok) *why = "--ceiling: " + *why;
  } else {
    ceiling_options o;
    o.deliveries = kDeliveries;
    o.connections = 0;
    rc = ceiling_measure(o, &found, why);
    if (rc != core::err::ok) *why += "; --ceiling off runs without";
  }
  *per_core_s = found.deliveries_per_core_s;
  return rc;
}

}  // namespace loadgen
