// The main thread of a run: stages, faults and samples; then everybody's knowledge put together.
#include "loadgen/engine.h"

#include <sys/utsname.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "core/clock.h"
#include "loadgen/check_log.h"
#include "loadgen/faults.h"
#include "loadgen/generator_limit.h"
#include "loadgen/sampler.h"
#include "loadgen/worker.h"

namespace loadgen {
namespace {

constexpr uint32_t kPollMs = 50;
constexpr uint64_t kStartDelayUs = 200'000;  // from "go" to the first phase
constexpr double kConnectGraceS = 20;        // beyond what the rate needs
constexpr double kFinalReadsS = 60;
constexpr uint32_t kQuietPolls = 6;  // nothing came for so long: nothing more will
constexpr const char* kMetrics[] = {"parley_queue_bytes",
                                    "parley_loop_lag_seconds",
                                    "parley_store_queue",
                                    "parley_clients_connected",
                                    "parley_publications_total",
                                    "parley_deliveries_total",
                                    "parley_unsubscribes_insufficient_total"};

void sleep_ms(uint32_t ms) {
  const timespec t{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1'000'000};
  nanosleep(&t, nullptr);
}

uint64_t now_us() {
  return core::system_clock()->mono_us();
}

void start_worker(void* user, core::loop* l) noexcept {
  worker_begin(static_cast<world*>(user)->workers[core::loop_index(l)]);
}
void stop_worker(void*, core::loop*) noexcept {}
constexpr core::loop_group_events kLoopEvents = {start_worker, stop_worker};

template <void (*call)(worker*) noexcept>
void on_all(const world& w) {
  for (worker* one : w.workers) {
    (void)core::loop_call(
        one->home, [](core::loop*, void* user) noexcept { call(static_cast<worker*>(user)); }, one);
  }
}

uint64_t sum(const world& w, core::counter worker::*field) {
  uint64_t total = 0;
  for (const worker* one : w.workers) total += (one->*field).get();
  return total;
}

// What a loop of the tool has used and done until now.
struct loop_use {
  uint64_t cpu_ns = 0, delivered = 0;
};

struct runner {
  const scenario* asked = nullptr;
  const engine_options* options = nullptr;
  world all;
  core::loop_group* group = nullptr;
  sampler* samples = nullptr;
  run_result* out = nullptr;
  std::string why;
  std::unique_ptr<fault_runner> faults;
  double cpu_from = -1, tool_cpu_from = 0;
  uint64_t delivered_from = 0;
  std::vector<loop_use> used_from, used_to;  // by loop, at the begin and the end of measuring
  uint64_t measured_from_us = 0, measured_to_us = 0;
  uint64_t sampled_us = 0;
  check_logs* logs = nullptr;
};

void second_totals(const world& w, second_sample* s) {
  s->sent = sum(w, &worker::sent);
  s->acked = sum(w, &worker::acked);
  s->delivered = sum(w, &worker::delivered);
  s->errors = sum(w, &worker::errors);
  s->connected = sum(w, &worker::ready);
}

// Once a second: what the server and the tool use; the rest of the series is filled at the end.
void sample(runner* r, const char* stage) {
  const uint64_t now = now_us();
  if (now - r->sampled_us < 1'000'000) return;
  r->sampled_us = now;
  second_sample s;
  const uint64_t start = r->all.start_us.load();
  s.at_s = start == 0 || now < start ? 0 : static_cast<double>(now - start) / 1e6;
  if (r->samples != nullptr) {
    if (!r->options->processes.empty() && r->options->server_pid == 0 &&
        process_pid(r->options->processes[0]) != 0)
      sampler_follow(r->samples, process_pid(r->options->processes[0]));
    sampler_take(r->samples, &s);
  }
  if (start != 0 && now >= start) r->out->series.push_back(s);
  second_totals(r->all, &s);
  if (r->options->on_second != nullptr) r->options->on_second(r->options->user, stage, s);
}

void wait_poll(runner* r, const char* stage) {
  sleep_ms(kPollMs);
  sample(r, stage);
}

bool connect_all(runner* r) {
  const double seconds =
      r->all.plan->peers / std::max(1.0, r->asked->connect_rate) + kConnectGraceS;
  const uint64_t until = now_us() + static_cast<uint64_t>(seconds * 1e6);
  while (sum(r->all, &worker::ready) < r->all.plan->peers && now_us() < until)
    wait_poll(r, "connecting");
  return sum(r->all, &worker::ready) == r->all.plan->peers;
}

std::vector<loop_use> loops_used(const world& w) {
  std::vector<loop_use> out;
  for (const worker* one : w.workers) {
    timespec t{};
    const clockid_t own = one->cpu_clock.load(std::memory_order_relaxed);
    if (own != 0) clock_gettime(own, &t);
    out.push_back(
        {static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec),
         one->delivered.get()});
  }
  return out;
}

void begin_measuring(runner* r) {
  r->measured_from_us = now_us();
  r->used_to = r->used_from = loops_used(r->all);
  r->measured_to_us = r->measured_from_us;
  r->cpu_from = sampler_server_cpu_s(r->samples);
  r->tool_cpu_from = sampler_tool_cpu_s(r->samples);
  r->delivered_from = sum(r->all, &worker::delivered);
}

// What comes later (draining, reading back) is not the load's.
void end_measuring(runner* r) {
  r->measured_to_us = now_us();
  r->used_to = loops_used(r->all);
}

std::string stage_text(const phase& p, double left_s) {
  char text[96];
  std::snprintf(text, sizeof text, "%s, %.0f s left", p.name.empty() ? "load" : p.name.c_str(),
                std::max(0.0, left_s));
  return text;
}

void run_phases(runner* r) {
  const uint64_t start = r->all.start_us.load();
  bool is_measuring = false;
  for (size_t i = 0; i < r->asked->phases.size(); ++i) {
    const uint64_t end = start + r->all.phase_end_us[i];
    while (now_us() < end) {
      const uint64_t begin = start + (i == 0 ? 0 : r->all.phase_end_us[i - 1]);
      if (!is_measuring && r->asked->phases[i].is_measured && now_us() >= begin) {
        is_measuring = true;
        begin_measuring(r);
      }
      wait_poll(r, stage_text(r->asked->phases[i],
                              static_cast<double>(end - std::min(end, now_us())) / 1e6)
                       .c_str());
    }
  }
  if (!is_measuring) begin_measuring(r);
}

// Window mode has no time line: it ends when all messages have come, as of the last poll that saw
// one come.
void run_window(runner* r) {
  while (now_us() < r->all.start_us.load()) sleep_ms(1);
  begin_measuring(r);
  on_all<worker_go>(r->all);
  const uint64_t want = static_cast<uint64_t>(r->asked->messages) * r->all.plan->rooms.size();
  const uint64_t until = now_us() + static_cast<uint64_t>(scenario_seconds(*r->asked) * 1e6);
  uint64_t before = 0;
  bool is_moving = true;
  while ((is_moving || sum(r->all, &worker::acked) < want) && now_us() < until) {
    wait_poll(r, "window");
    const uint64_t delivered = sum(r->all, &worker::delivered);
    is_moving = delivered != before;
    if (is_moving) end_measuring(r);
    before = delivered;
  }
}

// Until every message is where it belongs, or the time for that is over.
void drain(runner* r) {
  const uint64_t until = now_us() + static_cast<uint64_t>(r->asked->drain_s * 1e6);
  uint64_t before = UINT64_MAX;
  uint32_t quiet = 0;
  while (now_us() < until && quiet < kQuietPolls) {
    on_all<worker_report>(r->all);
    wait_poll(r, "draining");
    const uint64_t delivered = sum(r->all, &worker::delivered);
    const bool is_done = sum(r->all, &worker::waiting) == 0 && sum(r->all, &worker::owed) == 0;
    quiet = is_done && delivered == before ? quiet + 1 : 0;
    before = delivered;
  }
}

bool is_everybody_in(const world& w) {
  for (size_t i = 0; i < w.plan->rooms.size(); ++i) {
    if (w.present[i].load(std::memory_order_relaxed) != w.plan->rooms[i].members.size())
      return false;
  }
  return true;
}

// Everything that the server still knew in memory may be gone when history is read back.
void make_end_faults(runner* r) {
  if (!r->faults->at_end()) return;
  const uint64_t until = now_us() + static_cast<uint64_t>(r->asked->drain_s * 1e6);
  for (uint32_t quiet = 0; now_us() < until && quiet < kQuietPolls;) {
    wait_poll(r, "coming back");
    quiet = is_everybody_in(r->all) ? quiet + 1 : 0;
  }
  drain(r);
}

void read_back(runner* r) {
  on_all<worker_final>(r->all);
  const uint64_t until = now_us() + static_cast<uint64_t>(kFinalReadsS * 1e6);
  uint32_t quiet = 0;
  while (now_us() < until && quiet < 2) {
    wait_poll(r, "reading history back");
    quiet = sum(r->all, &worker::finals) == 0 ? quiet + 1 : 0;
    on_all<worker_report>(r->all);
  }
}

void close_all(runner* r) {
  r->all.is_ending.store(true);
  on_all<worker_end>(r->all);
  core::loop_group_stop(r->group);
}

void merge_latencies(runner* r) {
  run_result* out = r->out;
  for (const worker* w : r->all.workers) {
    for (size_t c = 0; c < static_cast<size_t>(latency_class::kCount); ++c) {
      if (w->latencies[c].total > 0)
        histogram_merge(&out->latencies[latency_class_name(static_cast<latency_class>(c))],
                        w->latencies[c]);
    }
    for (size_t g = 0; g < w->by_group.size(); ++g) {
      if (w->by_group[g].total > 0)
        histogram_merge(&out->latencies["delivery/" + r->asked->rooms[g].name], w->by_group[g]);
    }
  }
}

void merge_series(runner* r) {
  const size_t ended =
      r->out->series.empty() ? 0 : static_cast<size_t>(r->out->series.back().at_s) + 1;
  std::vector<second_sample> series(std::min(r->all.seconds, ended));
  for (size_t i = 0; i < series.size(); ++i) {
    second_sample& s = series[i];
    s.at_s = static_cast<double>(i);
    histogram h, ack;
    for (const worker* w : r->all.workers) {
      const second_slot& slot = w->seconds[i];
      s.sent += slot.sent;
      s.acked += slot.acked;
      s.delivered += slot.delivered;
      s.errors += slot.errors;
      histogram_merge(&h, slot.delivery);
      histogram_merge(&ack, slot.ack);
    }
    s.delivery_p50_us = histogram_at(h, 0.5);
    s.delivery_p99_us = histogram_at(h, 0.99);
    s.delivery_max_us = h.max;
    s.ack_p99_us = histogram_at(ack, 0.99);
    s.connected = r->out->connections;
  }
  for (const second_sample& taken : r->out->series) {
    const auto i = static_cast<size_t>(taken.at_s);
    if (i >= series.size()) continue;
    series[i].tool_cpu = taken.tool_cpu;
    series[i].server_cpu = taken.server_cpu;
    series[i].server_rss_bytes = taken.server_rss_bytes;
    series[i].server_metrics = taken.server_metrics;
  }
  r->out->series = std::move(series);
}

core::err open_logs(runner* r, std::string* why) {
  const engine_options& o = *r->options;
  if (o.check_log_dir.empty()) return core::err::ok;
  check_log_header head;
  head.scenario = r->asked->name;
  head.started = r->out->started;
  head.tool_version = PARLEY_VERSION;
  head.seed = r->asked->seed;
  head.run = r->all.run;
  head.loops = static_cast<uint32_t>(r->all.workers.size());
  const core::err rc =
      check_logs_open(o.check_log_dir, head, worker_rooms(&r->all, *r->all.workers[0]->speech),
                      o.check_log_bytes_max, &r->logs, why);
  if (rc != core::err::ok) return rc;
  for (worker* w : r->all.workers) worker_log(w, check_logs_at(r->logs, w->index));
  return core::err::ok;
}

void close_logs(runner* r) {
  if (r->logs == nullptr) return;
  for (worker* w : r->all.workers) checker_listen(w->checks, nullptr, nullptr);
  check_logs_close(r->logs, &r->out->logs_cut_why);
  r->out->logs_dir = r->options->check_log_dir;
}

void merge_checks(runner* r) {
  const uint64_t now = now_us() - r->all.start_us.load();
  std::vector<checker*> checks;
  for (const worker* w : r->all.workers) checks.push_back(w->checks);
  checkers_judge(checks, now);
  for (const worker* w : r->all.workers) {
    for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k)
      r->out->violations[k] += checker_counts(w->checks)[k];
    for (const violation& v : checker_violations(w->checks)) {
      if (r->out->kept.size() < kViolationsKept) r->out->kept.push_back(v);
    }
  }
}

void add_objective(run_result* out, const char* name, double allowed, double measured) {
  if (allowed >= 0) out->objectives.push_back({name, allowed, measured, measured <= allowed});
}

void judge(runner* r) {
  const objective& o = r->asked->goals;
  run_result* out = r->out;
  const auto ms = [out](const char* name, double q) {
    const auto at = out->latencies.find(name);
    return at == out->latencies.end() ? 0.0
                                      : static_cast<double>(histogram_at(at->second, q)) / 1000;
  };
  add_objective(out, "delivery_p50_ms", o.delivery_p50_ms, ms("delivery", 0.5));
  add_objective(out, "delivery_p99_ms", o.delivery_p99_ms, ms("delivery", 0.99));
  add_objective(out, "delivery_p999_ms", o.delivery_p999_ms, ms("delivery", 0.999));
  add_objective(out, "delivery_max_ms", o.delivery_max_ms, ms("delivery", 1));
  add_objective(out, "ack_p99_ms", o.ack_p99_ms, ms("ack", 0.99));
  add_objective(out, "connect_p99_ms", o.connect_p99_ms, ms("connect", 0.99));
  add_objective(out, "subscribe_p99_ms", o.subscribe_p99_ms, ms("subscribe", 0.99));
  add_objective(out, "recovery_p99_ms", o.recovery_p99_ms, ms("recovery", 0.99));
  add_objective(out, "history_p99_ms", o.history_p99_ms, ms("history", 0.99));
  add_objective(out, "reconnect_all_s", o.reconnect_all_s, ms("recovery", 1) / 1000);
  if (out->server_cpu_us_per_delivery >= 0)
    add_objective(out, "server_cpu_us_per_delivery", o.server_cpu_us_per_delivery,
                  out->server_cpu_us_per_delivery);
  const double sent = static_cast<double>(std::max<uint64_t>(1, out->sent));
  add_objective(out, "late_sends_share", o.late_sends_share,
                static_cast<double>(out->late_sends) / sent);
  add_objective(out, "errors_share", o.errors_share, static_cast<double>(out->errors) / sent);
}

void say_if_limited(runner* r) {
  run_result* out = r->out;
  generator_load load;
  const double seconds =
      std::max(0.001, static_cast<double>(r->measured_to_us - r->measured_from_us) / 1e6);
  for (size_t i = 0; i < r->all.workers.size(); ++i) {
    const loop_use &from = r->used_from[i], &to = r->used_to[i];
    load.cpu_share =
        std::max(load.cpu_share, static_cast<double>(to.cpu_ns - from.cpu_ns) / 1e9 / seconds);
    load.delivered_per_s = std::max(load.delivered_per_s,
                                    static_cast<double>(to.delivered - from.delivered) / seconds);
  }
  load.ceiling_per_s = r->options->ceiling_per_core_s;
  const auto late = out->latencies.find("late");
  if (late != out->latencies.end())
    load.late_p99_us = static_cast<double>(histogram_at(late->second, 0.99));
  load.has_schedule = !out->is_closed_loop;
  out->tool_cpu_share = load.cpu_share;
  out->tool_ceiling_per_core_s = load.ceiling_per_s > 0 ? load.ceiling_per_s : -1;
  out->generator_limited_why = generator_limit_text(load);
  out->is_generator_limited = !out->generator_limited_why.empty();
}

void fill_result(runner* r) {
  run_result* out = r->out;
  const world& w = r->all;
  const dialect_traits& has = w.workers[0]->speech->traits;
  const auto unjudged = [out](violation_kind k, bool is) {
    out->is_unjudged[static_cast<size_t>(k)] = is;
  };
  unjudged(violation_kind::unacked_history, !has.has_offsets);
  unjudged(violation_kind::unrecovered, !has.has_offsets);
  unjudged(violation_kind::stored_twice, !has.has_keys);
  unjudged(violation_kind::presence, !has.has_presence);
  out->connections = w.plan->peers;
  out->rooms = static_cast<uint32_t>(w.plan->rooms.size());
  out->is_closed_loop = r->asked->arrivals == arrival_kind::window;
  out->seconds = out->is_closed_loop
                     ? static_cast<double>(r->measured_to_us - r->measured_from_us) / 1e6
                     : scenario_seconds(*r->asked);
  out->sent = sum(w, &worker::sent);
  out->acked = sum(w, &worker::acked);
  out->delivered = sum(w, &worker::delivered);
  out->errors = sum(w, &worker::errors);
  out->retried = sum(w, &worker::retried);
  out->duplicates_answered = sum(w, &worker::duplicates);
  out->conflicts_refused = sum(w, &worker::conflicts);
  out->reconnects = sum(w, &worker::reconnects);
  out->recovered = sum(w, &worker::recovered);
  out->unrecovered = sum(w, &worker::unrecovered);
  out->late_sends = sum(w, &worker::late);
  for (const worker* one : w.workers) {
    out->bytes_in += core::loop_counters(one->home)->bytes_in.get();
    out->bytes_out += core::loop_counters(one->home)->bytes_out.get();
  }
  out->expected = out->delivered + out->violations[static_cast<size_t>(violation_kind::lost)];
  const double deliveries =
      static_cast<double>(std::max<uint64_t>(1, out->delivered - r->delivered_from));
  const double server = sampler_server_cpu_s(r->samples);
  if (server >= 0 && r->cpu_from >= 0) {
    out->server_cpu_s = server - r->cpu_from;
    out->server_cpu_us_per_delivery = out->server_cpu_s * 1e6 / deliveries;
  }
  out->server_rss_bytes = sampler_rss_bytes(r->samples);
  out->tool_cpu_us_per_delivery =
      (sampler_tool_cpu_s(r->samples) - r->tool_cpu_from) * 1e6 / deliveries;
  utsname u{};
  if (uname(&u) == 0)
    out->machine = {{"kernel", std::string(u.sysname) + " " + u.release},
                    {"architecture", u.machine}};
  out->machine["cores"] = std::to_string(std::thread::hardware_concurrency());
}

void make_world(runner* r, const schedule& plan) {
  world* w = &r->all;
  w->asked = r->asked;
  w->plan = &plan;
  w->options = r->options;
  core::system_random()->fill(&w->run, sizeof w->run);
  char run[16];
  std::snprintf(run, sizeof run, "%08x", w->run);
  char name[64];
  for (uint32_t i = 0; i < plan.peers; ++i) {
    std::snprintf(name, sizeof name, "l%s-%06u", run, i);
    w->users.emplace_back(name);
  }
  for (const room_plan& room : plan.rooms) {
    const room_group& g = r->asked->rooms[room.group];
    if (g.channel == "dm") {
      std::string a = w->users[room.members[0]], b = w->users[room.members[1]];
      if (b < a) std::swap(a, b);
      w->channels.push_back("dm:#" + a + "," + b);
    } else {
      w->channels.push_back(g.channel + "-" + run + "-" + g.name + "-" +
                            std::to_string(room.index));
    }
  }
  double end_s = 0;
  for (const phase& p : r->asked->phases)
    w->phase_end_us.push_back(static_cast<uint64_t>((end_s += p.seconds) * 1e6));
  w->seconds = static_cast<size_t>(std::ceil(end_s + r->asked->drain_s + kFinalReadsS)) + 2;
  w->present = std::make_unique<std::atomic<uint32_t>[]>(plan.rooms.size());
  w->tops = std::make_unique<std::atomic<uint64_t>[]>(plan.rooms.size());
  size_t publishers = 0;
  for (const room_plan& room : plan.rooms) publishers += room.publishers;
  w->acked_to = std::make_unique<std::atomic<uint32_t>[]>(publishers);
}

std::string utc_now() {
  const time_t t = time(nullptr);
  tm parts{};
  gmtime_r(&t, &parts);
  char text[32];
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

core::err engine_run(const scenario& asked, const schedule& plan, const engine_options& o,
                     run_result* out, std::string* why) {
  *out = {};
  out->scenario = asked.name;
  out->about = asked.about;
  out->url = o.url;
  out->dialect = o.speech != nullptr ? o.speech->name : "centrifuge";
  out->seed = asked.seed;
  out->schedule_digest = schedule_digest(plan);
  out->started = utc_now();
  runner r;
  r.asked = &asked;
  r.options = &o;
  r.out = out;
  make_world(&r, plan);
  if (core::loop_group_create(o.loops, core::loop_options{}, &r.group) != core::err::ok) {
    *why = "the event loops cannot be made";
    return core::err::io;
  }
  for (uint32_t i = 0; i < o.loops; ++i) {
    worker* w = worker_new(&r.all, core::loop_group_at(r.group, i), i);
    core::loop_set_data(w->home, w);
    r.all.workers.push_back(w);
  }
  const int pid =
      o.server_pid != 0 || o.processes.empty() ? o.server_pid : process_pid(o.processes[0]);
  r.samples = sampler_new(pid, o.metrics_url, {std::begin(kMetrics), std::end(kMetrics)});
  const core::err logs_rc = open_logs(&r, why);
  if (logs_rc != core::err::ok) {
    sampler_free(r.samples);
    for (worker* w : r.all.workers) worker_free(w);
    core::loop_group_free(r.group);
    return logs_rc;
  }
  core::loop_group_start(r.group, &kLoopEvents, &r.all);
  const bool is_connected = connect_all(&r);
  if (is_connected) {
    r.all.start_us.store(now_us() + kStartDelayUs);
    r.faults = std::make_unique<fault_runner>(asked, o, &r.all, &out->faults);
    r.faults->start();
    if (asked.arrivals == arrival_kind::window) {
      run_window(&r);
    } else {
      on_all<worker_go>(r.all);
      run_phases(&r);
      end_measuring(&r);
    }
    drain(&r);
    r.faults->stop();
    fill_result(&r);  // before reading back, whose cost is not a delivery's
    make_end_faults(&r);
    read_back(&r);
  }
  const uint64_t ready = sum(r.all, &worker::ready);
  close_all(&r);
  if (is_connected) {
    merge_checks(&r);
    merge_latencies(&r);
    merge_series(&r);
    out->expected = out->delivered + out->violations[static_cast<size_t>(violation_kind::lost)];
    say_if_limited(&r);
    judge(&r);
  } else {
    *why = std::to_string(ready) + " of " + std::to_string(plan.peers) + " connections came up";
    for (const worker* w : r.all.workers) {
      if (!w->last_error.empty()) *why += "; " + w->last_error;
    }
  }
  const bool has_failed_faults = r.faults != nullptr && !r.faults->errors().empty();
  if (has_failed_faults)
    for (const std::string& error : r.faults->errors()) *why += (why->empty() ? "" : "; ") + error;
  close_logs(&r);
  sampler_free(r.samples);
  for (worker* w : r.all.workers) worker_free(w);
  core::loop_group_free(r.group);
  return is_connected && !has_failed_faults ? core::err::ok : core::err::unavailable;
}

}  // namespace loadgen
