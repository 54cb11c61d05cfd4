// Two runs against the sink: messages to one room, as fast as they go; and connections that idle.
#include "loadgen/ceiling.h"

#include <simdjson.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

#include "loadgen/engine.h"
#include "loadgen/proc_usage.h"
#include "loadgen/sink.h"
#include "loadgen/text.h"
#include "proto/reply.h"

namespace loadgen {
namespace {

using core::err;

constexpr uint32_t kWindow = 64;           // messages on their way: enough that reads hold many
constexpr double kSecondsMax = 60;         // of a measurement, on the slowest machine
constexpr double kIdleSeconds = 1.5;       // one sample falls into it
constexpr double kConnectRate = 100'000;   // as fast as they go
constexpr uint32_t kConnectionsFew = 100;  // what a run costs without its connections

double cpu_s() noexcept {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

err run_against(uint16_t port, const scenario& asked, const engine_options& with, run_result* out,
                std::string* why) {
  schedule plan;
  err rc = schedule_make(asked, &plan, why);
  if (rc != err::ok) return rc;
  engine_options o = with;
  o.host = "127.0.0.1";
  o.port = port;
  rc = engine_run(asked, plan, o, out, why);
  if (rc == err::ok && !result_is_correct(*out)) {
    *why = "messages of the sink were lost or changed";
    if (!out->kept.empty()) *why += ": " + out->kept[0].text;
    rc = err::unavailable;
  }
  if (rc != err::ok) *why = "the ceiling cannot be measured: " + *why;
  return rc;
}

scenario base_scenario(const char* name) {
  scenario s;
  s.name = name;
  s.drain_s = 2;
  s.delivery_deadline_s = kSecondsMax;
  s.checks_presence = false;
  s.connect_rate = kConnectRate;
  return s;
}

err measure_deliveries(uint16_t port, const ceiling_options& asked, ceiling* out,
                       std::string* why) {
  scenario s = base_scenario("ceiling");
  s.arrivals = arrival_kind::window;
  s.window = kWindow;
  s.messages = std::max<uint32_t>(kWindow, asked.deliveries / asked.members);
  room_group room;
  room.channel = "live:ceiling";
  room.members = asked.members;
  room.method = publish_method::publish;
  room.has_history = room.is_recovered = false;
  room.bytes = asked.bytes;
  s.rooms = {room};
  s.phases = {phase{"window", phase_shape::steady, kSecondsMax}};
  run_result r;
  const err rc = run_against(port, s, {}, &r, why);
  if (rc != err::ok) return rc;
  if (r.delivered == 0 || r.tool_cpu_us_per_delivery <= 0 || r.seconds <= 0) {
    *why = "the ceiling cannot be measured: nothing came back from the sink";
    return err::unavailable;
  }
  out->cpu_us_per_delivery = r.tool_cpu_us_per_delivery;
  out->deliveries_per_core_s = 1e6 / r.tool_cpu_us_per_delivery;
  out->deliveries_per_s = static_cast<double>(r.delivered) / r.seconds;
  out->deliveries = static_cast<uint32_t>(r.delivered);
  return rc;
}

struct idle_cost {
  double cpu_s = 0, rss_bytes = 0;
};

err measure_idle(uint16_t port, uint32_t connections, idle_cost* out, std::string* why) {
  scenario s = base_scenario("ceiling-idle");
  s.idle = connections;
  s.phases = {phase{"idle", phase_shape::steady, kIdleSeconds}};
  engine_options o;
  o.user = out;
  o.on_second = [](void* user, const char*, const second_sample&) {
    proc_usage self;
    if (proc_usage_open(&self, getpid()) && proc_usage_read(&self))
      static_cast<idle_cost*>(user)->rss_bytes = static_cast<double>(self.rss_bytes);
  };
  const double from = cpu_s();
  run_result r;
  const err rc = run_against(port, s, o, &r, why);
  out->cpu_s = cpu_s() - from;
  return rc;
}

// What more connections cost more: the rest of a run falls out.
err measure_connections(uint16_t port, uint32_t connections, ceiling* out, std::string* why) {
  if (connections <= kConnectionsFew) return err::ok;
  idle_cost few, many;
  err rc = measure_idle(port, kConnectionsFew, &few, why);
  if (rc == err::ok) rc = measure_idle(port, connections, &many, why);
  if (rc != err::ok) return rc;
  const double more = connections - kConnectionsFew;
  out->connections = connections;
  out->cpu_us_per_connection = std::max(0.01, (many.cpu_s - few.cpu_s) * 1e6 / more);
  out->connections_per_core_s = 1e6 / out->cpu_us_per_connection;
  out->bytes_per_connection = std::max(0.0, (many.rss_bytes - few.rss_bytes) / more);
  return rc;
}

struct number_field {
  const char* name;
  double ceiling::*at;
};
constexpr number_field kNumbers[] = {
    {"deliveries_per_core_s", &ceiling::deliveries_per_core_s},
    {"tool_cpu_us_per_delivery", &ceiling::cpu_us_per_delivery},
    {"deliveries_per_s", &ceiling::deliveries_per_s},
    {"connections_per_core_s", &ceiling::connections_per_core_s},
    {"tool_cpu_us_per_connection", &ceiling::cpu_us_per_connection},
    {"tool_bytes_per_connection", &ceiling::bytes_per_connection}};
struct size_field {
  const char* name;
  uint32_t ceiling::*at;
};
constexpr size_field kSizes[] = {{"members", &ceiling::members},
                                 {"deliveries", &ceiling::deliveries},
                                 {"bytes", &ceiling::bytes},
                                 {"connections", &ceiling::connections}};

}  // namespace

err ceiling_measure(const ceiling_options& o, ceiling* out, std::string* why) noexcept {
  *out = {};
  out->members = o.members;
  out->bytes = o.bytes;
  out->tool_version = PARLEY_VERSION;
  sink* s = nullptr;
  uint16_t port = 0;
  err rc = sink_start(&s, &port, why);
  if (rc != err::ok) return rc;
  rc = measure_connections(port, o.connections, out, why);
  if (rc == err::ok) rc = measure_deliveries(port, o, out, why);
  sink_stop(s);
  return rc;
}

std::string ceiling_text(const ceiling& c) {
  std::string out = "own ceiling, against the built-in sink (" + count_text(c.members) +
                    " receivers, " + count_text(c.bytes) + " bytes):\n  " +
                    number_text(c.deliveries_per_core_s) + " deliveries/s per core; " +
                    named_text("cpu_us_per_delivery", c.cpu_us_per_delivery) + " of CPU each; " +
                    number_text(c.deliveries_per_s) + "/s were reached by one loop\n";
  if (c.connections > 0)
    out += "  " + number_text(c.connections_per_core_s) + " connections/s per core; " +
           bytes_text(c.bytes_per_connection) + " of memory each\n";
  return out;
}

std::string ceiling_json(const ceiling& c) {
  std::string out = "{\"tool_version\":";
  proto::json_string(&out, utf8_text(c.tool_version));
  for (const number_field& f : kNumbers) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, c.*f.at).ptr;
    out += std::string(",\n\"") + f.name + "\":";
    out.append(digits, static_cast<size_t>(end - digits));
  }
  for (const size_field& f : kSizes)
    out += std::string(",\n\"") + f.name + "\":" + std::to_string(c.*f.at);
  return out + "}\n";
}

err ceiling_parse(std::string_view text, ceiling* out, std::string* why) noexcept {
  *out = {};
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(text.data(), text.size()).get(root) != simdjson::SUCCESS || !root.is_object()) {
    *why = "it is not a JSON object";
    return err::malformed;
  }
  std::string_view version;
  if (root["tool_version"].get_string().get(version) == simdjson::SUCCESS)
    out->tool_version.assign(version);
  for (const number_field& f : kNumbers) {
    if (root[f.name].get_double().get(out->*f.at) != simdjson::SUCCESS) out->*f.at = 0;
  }
  for (const size_field& f : kSizes) {
    uint64_t n = 0;
    if (root[f.name].get_uint64().get(n) == simdjson::SUCCESS)
      out->*f.at = static_cast<uint32_t>(std::min<uint64_t>(n, UINT32_MAX));
  }
  if (out->deliveries_per_core_s > 0) return err::ok;
  *why =
      "deliveries_per_core_s is missing or not above 0: it is not what `parley-load ceiling` wrote";
  return err::malformed;
}

err ceiling_read(const std::string& path, ceiling* out, std::string* why) noexcept {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    *why = path + " cannot be opened: " + std::strerror(errno);
    return err::not_found;
  }
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const err rc = ceiling_parse(text, out, why);
  if (rc != err::ok) *why = path + ": " + *why;
  return rc;
}

}  // namespace loadgen
