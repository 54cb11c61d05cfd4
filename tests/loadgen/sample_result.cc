// Log-normal latencies with a tail, on seconds that follow from each other.
#include "tests/loadgen/sample_result.h"

#include <algorithm>
#include <cmath>

#include "loadgen/random.h"

namespace loadgen {
namespace {

double normal(random_stream* r) {
  const double radius = std::sqrt(-2 * std::log(1 - random_unit(r)));
  return radius * std::cos(2 * 3.14159265358979 * random_unit(r));
}

uint64_t latency(random_stream* r, double median, double factor) {
  const double tail = random_below(r, 300) == 0 ? 3 + 5 * random_unit(r) : 1;
  return static_cast<uint64_t>(median * factor * tail * std::exp(0.35 * normal(r))) + 1;
}

void fill_second(run_result* out, const sample_server& s, const sample_run& r, double factor,
                 double cost, random_stream* random) {
  second_sample one;
  histogram delivery, ack;
  for (uint32_t i = 0; i < r.rate; ++i) {
    uint64_t last = 0;
    for (uint32_t k = 0; k < r.receivers; ++k) {
      const uint64_t us = latency(random, s.delivery_us, factor);
      last = std::max(last, us);
      histogram_record(&delivery, us);
    }
    histogram_record(&out->latencies["last"], last);
    histogram_record(&ack, latency(random, s.ack_us, factor));
    histogram_record(&out->latencies["late"], 1 + random_below(random, 60));
  }
  one.at_s = static_cast<double>(out->series.size());
  one.sent = one.acked = r.rate;
  one.delivered = delivery.total;
  one.connected = out->connections;
  one.delivery_p50_us = histogram_at(delivery, 0.5);
  one.delivery_p99_us = histogram_at(delivery, 0.99);
  one.delivery_max_us = delivery.max;
  one.ack_p99_us = histogram_at(ack, 0.99);
  one.server_cpu = cost * 1e-6 * static_cast<double>(delivery.total);
  one.tool_cpu = one.server_cpu * 0.4;
  histogram_merge(&out->latencies["delivery"], delivery);
  histogram_merge(&out->latencies["ack"], ack);
  out->series.push_back(std::move(one));
}

void sum_up(run_result* out) {
  double cpu = 0;
  out->sent = out->acked = out->delivered = 0;
  for (const second_sample& s : out->series) {
    out->sent += s.sent;
    out->acked += s.acked;
    out->delivered += s.delivered;
    cpu += std::max(0.0, s.server_cpu);
  }
  out->expected = out->delivered;
  out->server_cpu_s = cpu;
  out->server_cpu_us_per_delivery = cpu * 1e6 / static_cast<double>(out->delivered);
  out->tool_cpu_us_per_delivery = out->server_cpu_us_per_delivery * 0.4;
  out->server_rss_bytes = out->series.back().server_rss_bytes;
}

}  // namespace

run_result sample_result(const sample_server& s, const sample_run& r) {
  random_stream random = random_from(r.seed, 1);
  run_result out;
  out.scenario = "one-room-1k";
  out.about = "One room, everybody listens, a few talk.";
  out.url = "ws://127.0.0.1:8000/connection/websocket";
  out.dialect = "centrifuge";
  out.tool_version = "0.1.0";
  out.started = "2024-11-25T03:18:00Z";
  out.seed = 42;
  out.schedule_digest = 0x0123456789abcdef;
  out.seconds = r.seconds;
  out.connections = r.receivers;
  out.rooms = 1;
  out.tool_cpu_share = 0.21;
  out.bytes_in = 123'456'789;
  out.bytes_out = 3'456'789;
  out.machine = {{"cores", "2"}, {"kernel", "Linux 6.1"}, {"architecture", "x86_64"}};
  const double run = std::exp(s.between_runs * normal(&random));
  const double run_cost = s.cost_us * std::exp(s.between_runs_cpu * normal(&random));
  const double run_rss = s.rss_bytes * std::exp(s.between_runs_rss * normal(&random));
  double mood = 0;
  for (uint32_t i = 0; i < r.seconds; ++i) {
    mood = 0.7 * mood + std::sqrt(1 - 0.49) * s.between_seconds * normal(&random);
    const double cost = run_cost * std::exp(0.2 * mood + 0.03 * normal(&random));
    fill_second(&out, s, r, run * std::exp(mood), cost, &random);
    out.series.back().server_rss_bytes = run_rss * (1 + 0.02 * std::min(1.0, i / 30.0));
  }
  for (uint32_t i = 0; i < r.receivers; ++i) {
    histogram_record(&out.latencies["connect"], latency(&random, 2500, run));
    histogram_record(&out.latencies["subscribe"], latency(&random, 800, run));
  }
  sum_up(&out);
  out.objectives = {{"delivery_p99_ms", 10, 2.4, true},
                    {"server_cpu_us_per_delivery", 3, out.server_cpu_us_per_delivery, true}};
  return out;
}

namespace {

void stall(run_result* out, size_t second, random_stream* random) {
  second_sample* s = &out->series[second];
  s->delivery_p99_us = 700'000 + random_below(random, 250'000);
  s->delivery_max_us = s->delivery_p99_us + 50'000;
  for (uint64_t i = 0; i < s->delivered / 2; ++i)
    histogram_record(&out->latencies["delivery"], 1000 + random_below(random, s->delivery_max_us));
}

void be_away(run_result* out, size_t second) {
  second_sample* s = &out->series[second];
  s->errors = s->sent / 2;
  s->acked = s->delivered = 0;
  s->delivery_p50_us = s->delivery_p99_us = s->delivery_max_us = s->ack_p99_us = 0;
  s->server_cpu = s->server_rss_bytes = -1;
  out->errors += s->errors;
}

}  // namespace

run_result sample_bad_result() {
  run_result out = sample_result({}, {7, 120, 50, 200});
  random_stream random = random_from(7, 2);
  out.scenario = "kill <twice> & \"recover\"";
  out.about = "A room of <b>200</b> members; the server is killed twice & must lose nothing.";
  for (size_t i = 9; i < out.series.size(); i += 10) stall(&out, i, &random);
  for (const size_t second : {40, 41, 80}) be_away(&out, second);
  out.faults = {{40.2, "kill server"}, {60.0, "cut 30 % <of> connections"}, {80.1, "kill server"}};
  sum_up(&out);
  for (size_t i = 0; i < out.series.size(); ++i) {
    second_sample* s = &out.series[i];
    s->server_metrics["parley_deliveries_total"] = 1e4 * static_cast<double>(i);
    s->server_metrics["parley_queue_bytes"] =
        4096.0 * static_cast<double>(random_below(&random, 9));
    s->server_metrics["parley_loop_lag_seconds"] = 0.001 * random_unit(&random);
  }
  for (uint32_t i = 0; i < 400; ++i)
    histogram_record(&out.latencies["recovery"], 80'000 + random_below(&random, 900'000));
  histogram_merge(&out.latencies["delivery/big <room>"], out.latencies["delivery"]);
  out.retried = 120;
  out.duplicates_answered = 31;
  out.reconnects = 460;
  out.recovered = 455;
  out.unrecovered = 5;
  out.late_sends = 77;
  out.violations[static_cast<size_t>(violation_kind::lost)] = 2000;
  out.violations[static_cast<size_t>(violation_kind::duplicated)] = 2;
  out.violations[static_cast<size_t>(violation_kind::corrupted)] = 1;
  for (uint32_t i = 0; i < 300; ++i)
    out.kept.push_back({violation_kind::lost, "load-1f-<big>-0", 1700 + i, i % 200,
                        40'500'000 + i * 977, "published and never came"});
  out.kept.push_back({violation_kind::duplicated, "load-1f-<big>-0", 2100, 17, 60'100'000,
                      "message 3 of publisher 2 came again"});
  out.kept.push_back({violation_kind::corrupted, "load-1f-<big>-0", 2101, UINT32_MAX, 60'200'000,
                      "<script>alert(1)</script> \x1b[31m\xff"});
  out.is_generator_limited = true;
  out.generator_limited_why = "a loop of the tool was busy for 83 % of the time";
  out.objectives = {{"delivery_p50_ms", 5, 0.9, true},
                    {"delivery_p99_ms", 100, 870, false},
                    {"server_cpu_us_per_delivery", 3, out.server_cpu_us_per_delivery, true},
                    {"late_sends_share", 0.01, 0.0128, false},
                    {"reconnect_all_s", 5, 0.98, true}};
  return out;
}

}  // namespace loadgen
