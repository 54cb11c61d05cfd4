// The adapter of CLI11.
#include "loadgen/command_line.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>

namespace loadgen {
namespace {

void add_run_options(CLI::App* run, command_line* c) {
  run->add_option("scenario", c->scenario, "The scenario file")->required();
  run->add_option("--url", c->url,
                  "ws://HOST:PORT/connection/websocket; HOST is a numeric address or localhost")
      ->required();
  run->add_option("--dialect", c->dialect,
                  "What the server speaks: centrifuge, a name of loadgen/dialects, or a FILE.toml")
      ->capture_default_str();
  run->add_option("--token-hmac-secret", c->hmac_secret,
                  "Signs a token for each connection; without it none is sent");
  run->add_option("--pid", c->pid,
                  "The server's process id: its processor time and memory go into the report");
  run->add_option("--metrics-url", c->metrics_url, "The server's Prometheus page (http://…)");
  run->add_option("--metrics-listen", c->metrics_listen,
                  "Serve the run's progress for Prometheus on HOST:PORT (/metrics)");
  run->add_option("--out", c->out_dir, "Where report.json and report.html go")
      ->capture_default_str();
  run->add_option("--loops", c->loops, "Threads of the tool")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  run->add_option("--source", c->sources, "Connect from this address; several are used in turns")
      ->expected(1)
      ->take_all();
  run->add_option(
         "--process", c->processes,
         "NAME=COMMAND or NAME=pid:1234: a process that faults may name; a COMMAND is started")
      ->expected(1)
      ->take_all();
  run->add_option(
         "--ready-url", c->ready_urls,
         "A started process is ready when this address answers 200 (http://…); NAME=http://… "
         "is for one process")
      ->expected(1)
      ->take_all();
  run->add_option("--rate-factor", c->rate_factor, "Multiplies all rates of the scenario")
      ->check(CLI::PositiveNumber);
  run->add_option("--time-factor", c->time_factor, "Multiplies the length of all phases")
      ->check(CLI::PositiveNumber);
  run->add_option("--ceiling", c->ceiling_file,
                  "What a loop of the tool can take: FILE of `ceiling --out`, off, or auto: "
                  "measured for about a second first when the run could come near it")
      ->capture_default_str();
  run->add_flag("--quiet", c->is_quiet, "No progress, only the summary");
}

CLI::App* add_capacity(CLI::App* app, command_line* c) {
  CLI::App* capacity = app->add_subcommand(
      "capacity",
      "Find the highest rate at which an objective is kept, by runs at multiples of the scenario's "
      "rates");
  add_run_options(capacity, c);
  capacity
      ->add_option("--objective", c->objectives,
                   "NAME=VALUE as in a scenario's [objective], in their place: "
                   "delivery_p99_ms=50")
      ->expected(1)
      ->take_all();
  capacity->add_option("--minutes", c->minutes, "No run is begun that would end later")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 1440.0));
  capacity->add_option("--width", c->width, "Of the interval that is enough: 0.1 is 10 %")
      ->capture_default_str()
      ->check(CLI::Range(0.02, 1.0));
  capacity->add_option("--start", c->start_factor, "The first factor of all rates")
      ->capture_default_str()
      ->check(CLI::Range(1.0 / 1024, 1024.0));
  return capacity;
}

// What a single run can do, and a search of many cannot.
void add_single_run_options(CLI::App* run, command_line* c) {
  run->add_option("--inject", c->injuries,
                  "Break what the server sends, to prove that it is found: drop=1e-6, duplicate=, "
                  "swap=, corrupt=, delay=0.001:8s (above the scenario's delivery_deadline_s)")
      ->expected(1)
      ->take_all();
  run->add_option("--logs", c->logs,
                  "Logs in OUT/logs, for `check`: auto keeps them up to 20 million deliveries")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "on", "off"}));
  run->add_option("--logs-mb", c->logs_mb, "The most that all logs may come to")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  run->add_option("--latency-ms", c->latency_ms, "Hold every frame of the server for this long");
}

CLI::App* add_check(CLI::App* app, replay_options* o) {
  CLI::App* check = app->add_subcommand("check", "Judge the logs of a run again: OUT/logs");
  check->add_option("logdir", o->dir, "The directory with the run's loop-0.log …")->required();
  check->add_flag("--dump", o->is_dump, "Print every event by time, instead of the verdict");
  check->add_option("--channel", o->channel, "Print only what concerns this channel");
  check->add_option("--receiver", o->receiver, "Print only what concerns this receiver")
      ->each([o](const std::string&) { o->has_receiver = true; });
  return check;
}

CLI::App* add_ceiling(CLI::App* app, command_line* c) {
  CLI::App* ceiling = app->add_subcommand(
      "ceiling", "Measure the tool itself against a built-in server that does next to nothing");
  ceiling->add_option("--out", c->ceiling_out, "Write it as JSON, for `run --ceiling FILE`");
  ceiling->add_option("--members", c->sink.members, "Receivers of each message")
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000));
  ceiling->add_option("--deliveries", c->sink.deliveries, "How many are measured")
      ->capture_default_str()
      ->check(CLI::Range(10'000, 1'000'000'000));
  ceiling->add_option("--bytes", c->sink.bytes, "Of a message's data")
      ->capture_default_str()
      ->check(CLI::Range(71, 65'536));
  ceiling->add_option("--connections", c->sink.connections, "That are made and idle; 0: none")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000));
  return ceiling;
}

CLI::App* add_compare(CLI::App* app, command_line* c, std::vector<std::string>* pair) {
  CLI::App* compare = app->add_subcommand(
      "compare", "Is B slower than A? Several reports a side make the test sharper");
  compare->add_option("reports", *pair, "A.json B.json: one report a side");
  compare->add_option("--base", c->base, "A's report.json files");
  compare->add_option("--head", c->head, "B's report.json files");
  compare->add_flag("--json", c->is_json, "Print the verdict as JSON");
  return compare;
}

// Two reports by place, or both sides by name.
core::err take_pair(const std::vector<std::string>& pair, command_line* c, std::string* message) {
  const bool is_named = !c->base.empty() || !c->head.empty();
  if (pair.size() == 2 && !is_named) {
    c->base = {pair[0]};
    c->head = {pair[1]};
  }
  if ((pair.empty() || !is_named) && !c->base.empty() && !c->head.empty()) return core::err::ok;
  *message = "compare takes two reports, A.json B.json, or --base A.json … --head B.json …";
  return core::err::invalid;
}

}  // namespace

core::err command_line_parse(int argc, const char* const* argv, command_line* out,
                             std::string* message) noexcept {
  try {
    CLI::App app(
        "parley-load: drives a chat server from a seeded schedule, checks every message, and "
        "reports how fast it was.\n"
        "Exit: 0 clean, 1 objective missed or regression, 2 correctness violated, 3 could not run",
        "parley-load");
    app.require_subcommand(0, 1);
    bool is_version = false;
    app.add_flag("--version", is_version, "Print the version, and end");
    CLI::App* run = app.add_subcommand("run", "Run a scenario");
    add_run_options(run, out);
    add_single_run_options(run, out);
    CLI::Option* seed = run->add_option("--seed", out->seed, "Instead of the scenario's");
    CLI::App* plan = app.add_subcommand(
        "schedule",
        "Print a scenario's size and the digest of its schedule: equal seeds have equal ones");
    plan->add_option("scenario", out->scenario, "The scenario file")->required();
    CLI::Option* plan_seed = plan->add_option("--seed", out->seed, "Instead of the scenario's");
    CLI::App* capacity = add_capacity(&app, out);
    CLI::Option* capacity_seed =
        capacity->add_option("--seed", out->seed, "Instead of the scenario's");
    std::vector<std::string> pair;
    const CLI::App* compare = add_compare(&app, out, &pair);
    const CLI::App* ceiling = add_ceiling(&app, out);
    const CLI::App* check = add_check(&app, &out->check);
    std::vector<std::string> args(argv, argv + argc);
    std::reverse(args.begin(), args.end());  // CLI11 takes them from the last to the first
    try {
      app.parse(args);
    } catch (const CLI::CallForHelp&) {
      out->text = app.help();
      return core::err::ok;
    } catch (const CLI::Error& e) {
      *message = e.what();
      return core::err::invalid;
    }
    out->has_seed = seed->count() + plan_seed->count() + capacity_seed->count() > 0;
    if (is_version) {
      out->what = subcommand::version;
    } else if (run->parsed()) {
      out->what = subcommand::run;
    } else if (plan->parsed()) {
      out->what = subcommand::schedule;
    } else if (compare->parsed()) {
      out->what = subcommand::compare;
      return take_pair(pair, out, message);
    } else if (ceiling->parsed()) {
      out->what = subcommand::ceiling;
    } else if (capacity->parsed()) {
      out->what = subcommand::capacity;
    } else if (check->parsed()) {
      out->what = subcommand::check;
    } else {
      out->text = app.help();
    }
    return core::err::ok;
  } catch (const std::exception& e) {
    *message = e.what();
    return core::err::invalid;
  }
}

core::err url_parse(const std::string& url, std::string* host, uint16_t* port, std::string* target,
                    std::string* why) {
  constexpr std::string_view kScheme = "ws://";
  *why = "--url is not ws://HOST:PORT/PATH: " + url;
  if (url.starts_with("wss://")) *why = "TLS ends at the load balancer: --url takes ws://";
  if (!url.starts_with(kScheme)) return core::err::invalid;
  std::string_view rest = std::string_view(url).substr(kScheme.size());
  const size_t slash = std::min(rest.find('/'), rest.size());
  target->assign(rest.substr(slash));
  rest = rest.substr(0, slash);
  const size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return core::err::invalid;
  host->assign(rest.substr(0, colon));
  if (host->size() > 2 && host->front() == '[' && host->back() == ']')
    *host = host->substr(1, host->size() - 2);
  if (*host == "localhost") *host = "127.0.0.1";
  const std::string_view digits = rest.substr(colon + 1);
  const auto [end, rc] = std::from_chars(digits.data(), digits.data() + digits.size(), *port);
  if (rc != std::errc() || end != digits.data() + digits.size() || *port == 0)
    return core::err::invalid;
  why->clear();
  return core::err::ok;
}

}  // namespace loadgen
