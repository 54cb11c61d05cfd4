// One probe is one run at a multiple of the scenario's rates; capacity_search() chooses which.
#include "loadgen/capacity_command.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "loadgen/run_setup.h"
#include "loadgen/text.h"

namespace loadgen {
namespace {

using clock = std::chrono::steady_clock;

struct searching {
  const command_line* c = nullptr;
  scenario asked;  // at factor 1
  engine_options engine;
  dialect_file speech;
  progress shown;
  capacity_result result;
  clock::time_point end;
  double longest_s = 0;  // of the probes so far
};

scenario scenario_at(const scenario& asked, double factor) {
  scenario s = asked;
  for (room_group& g : s.rooms) g.rate *= factor;
  return s;
}

// The objective that is missed by the largest factor, or comes nearest to its limit.
const objective_row* tightest(const run_result& r) {
  const auto used = [](const objective_row& o) { return o.measured / std::max(o.allowed, 1e-12); };
  const auto most = std::max_element(
      r.objectives.begin(), r.objectives.end(),
      [&](const objective_row& a, const objective_row& b) { return used(a) < used(b); });
  return most == r.objectives.end() ? nullptr : &*most;
}

// Late is what an overloaded server makes a delivery; everything else is wrong at any rate.
bool is_wrong(const run_result& r) {
  const uint64_t late = r.violations[static_cast<size_t>(violation_kind::delayed)];
  return result_violations(r) > late;
}

probe_outcome judge(const run_result& r, std::string* why) {
  if (is_wrong(r)) {
    for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k) {
      if (r.violations[k] > 0)
        *why += (why->empty() ? "" : ", ") + count_text(r.violations[k]) + " " +
                violation_name(static_cast<violation_kind>(k));
    }
    return probe_outcome::violated;
  }
  const bool is_kept = result_is_kept(r) && result_is_correct(r);
  if (is_kept) return probe_outcome::kept;
  if (const objective_row* o = tightest(r); o != nullptr && !o->is_kept)
    *why = o->name + " " + named_text(o->name, o->measured);
  else
    *why = "deliveries later than delivery_deadline_s";
  if (!r.is_generator_limited) return probe_outcome::missed;
  *why += "; the tool: " + r.generator_limited_why;
  return probe_outcome::limited;
}

void describe(const run_result& r, capacity_probe* p) {
  p->delivered_per_s = r.seconds > 0 ? static_cast<double>(r.delivered) / r.seconds : 0;
  const auto d = r.latencies.find("delivery");
  if (d != r.latencies.end())
    p->delivery_p99_ms = static_cast<double>(histogram_at(d->second, 0.99)) / 1000;
  if (r.server_cpu_s >= 0 && r.seconds > 0) p->server_cpu = r.server_cpu_s / r.seconds;
  p->tool_cpu = r.tool_cpu_share;
}

probe_answer run_probe(searching* s, double factor, capacity_probe* p) {
  const scenario asked = scenario_at(s->asked, factor);
  schedule plan;
  if (schedule_make(asked, &plan, &p->why) != core::err::ok) return {probe_outcome::impossible};
  run_result r;
  s->shown.view.before = {};
  const core::err rc = engine_run(asked, plan, s->engine, &r, &p->why);
  live_clear(&s->shown.view);
  if (rc != core::err::ok) return {probe_outcome::failed};
  describe(r, p);
  const probe_outcome outcome = judge(r, &p->why);
  const bool is_last = outcome == probe_outcome::kept && r.is_generator_limited;
  if (is_last) p->why = "the tool can hardly do more: " + r.generator_limited_why;
  return {outcome, is_last};
}

probe_answer probe(void* user, double factor) {
  auto* s = static_cast<searching*>(user);
  const clock::time_point begun = clock::now();
  capacity_probe p;
  p.factor = factor;
  const probe_answer answer = run_probe(s, factor, &p);
  p.outcome = answer.outcome;
  s->longest_s =
      std::max(s->longest_s, std::chrono::duration<double>(clock::now() - begun).count());
  if (!s->c->is_quiet)
    std::printf("× %-8s %10s deliveries/s  p99 %-10s %s%s%s\n", number_text(factor).c_str(),
                number_text(p.delivered_per_s).c_str(),
                duration_text(p.delivery_p99_ms * 1000).c_str(), probe_outcome_name(p.outcome),
                p.why.empty() ? "" : ": ", p.why.c_str());
  std::fflush(stdout);
  s->result.probes.push_back(std::move(p));
  return answer;
}

// A probe that would end after the time is not begun.
bool may_go_on(void* user) {
  const auto* s = static_cast<searching*>(user);
  return clock::now() + std::chrono::duration_cast<clock::duration>(
                            std::chrono::duration<double>(s->longest_s)) <
         s->end;
}

// The scenario's objectives, or those of --objective in their place: the same names and checks.
core::err take_objectives(const command_line& c, scenario* asked, std::string* text,
                          std::string* why) {
  if (!c.objectives.empty()) {
    std::string table = "[objective]\n";
    for (const std::string& o : c.objectives) table += o + "\n";
    scenario only;
    std::vector<std::string> problems;
    const core::err rc = scenario_parse(table + "[[rooms]]\n", "--objective", &only, &problems);
    for (const std::string& p : problems) *why += (why->empty() ? "" : "\n") + p;
    if (rc != core::err::ok) return rc;
    asked->goals = only.goals;
    for (const std::string& o : c.objectives) *text += (text->empty() ? "" : ", ") + o;
    return rc;
  }
  *text = "the scenario's";
  return core::err::ok;
}

core::err prepare(searching* s, processes* started, std::string* why) {
  const command_line& c = *s->c;
  core::err rc = read_scenario(c, &s->asked, why);
  if (rc == core::err::ok) rc = take_objectives(c, &s->asked, &s->result.objective, why);
  if (rc != core::err::ok) return rc;
  if (s->asked.goals == objective{}) {
    *why =
        "which objective shall be kept? --objective delivery_p99_ms=50, or [objective] in the "
        "scenario";
    return core::err::invalid;
  }
  if (s->asked.arrivals == arrival_kind::window) {
    *why = "arrivals = \"window\" sends as fast as answers come: it has no rate to raise";
    return core::err::invalid;
  }
  schedule plan;
  rc = schedule_make(s->asked, &plan, why);
  if (rc == core::err::ok) rc = setup_engine(c, &s->shown, &s->engine, why);
  if (rc == core::err::ok) rc = setup_dialect(c, s->asked, &s->speech, &s->engine, why);
  if (rc != core::err::ok) return rc;
  s->result.rate = static_cast<double>(deliveries_of(s->asked, plan)) /
                   std::max(scenario_seconds(s->asked), 1e-3);
  std::error_code ec;
  std::filesystem::create_directories(c.out_dir, ec);
  if (ec) {
    *why = c.out_dir + " cannot be made: " + ec.message();
    return core::err::io;
  }
  // Any probe may come near it.
  rc = measure_ceiling(c, &s->engine.ceiling_per_core_s, why);
  if (rc == core::err::ok) rc = open_page(c, &s->shown, why);
  if (rc == core::err::ok) rc = start_processes(c, started, &s->engine.ready_url, why);
  s->engine.processes = started->all;
  return rc;
}

}  // namespace

int capacity_command(const command_line& c) {
  searching s;
  s.c = &c;
  processes started;
  std::string why;
  if (prepare(&s, &started, &why) != core::err::ok) return cannot_run(why);
  s.result.scenario = s.asked.name;
  s.result.tool_version = PARLEY_VERSION;
  s.end = clock::now() + std::chrono::seconds(static_cast<int64_t>(c.minutes * 60));
  capacity_options o;
  o.start = c.start_factor;
  o.width = c.width;
  o.may_go_on = may_go_on;
  s.result.answer = capacity_search(o, probe, &s);
  const std::filesystem::path dir(c.out_dir);
  const bool is_written = write_file(dir / "capacity.json", capacity_json(s.result)) &&
                          write_file(dir / "capacity.md", capacity_markdown(s.result)) &&
                          write_file(dir / "capacity.html", capacity_html(s.result));
  std::printf("%s\n", capacity_summary(s.result).c_str());
  if (!is_written) return cannot_run("the reports cannot be written to " + c.out_dir);
  std::printf("report: %s\n", (dir / "capacity.html").c_str());
  const probe_outcome last = s.result.answer.ended_by;
  if (last == probe_outcome::violated) return 2;
  return last == probe_outcome::failed ? kExitCannotRun : 0;
}

}  // namespace loadgen
