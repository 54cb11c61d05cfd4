// The text of /metrics on a node without listeners: families, sums over loops, conventions.
#include "server/metrics.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "server/process_stats.h"
#include "server/server.h"

namespace server {
namespace {

class metrics_test : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(core::loop_group_create(2, core::loop_options{}, &n_.group), core::err::ok);
    for (uint32_t i = 0; i < 2; ++i) n_.loops.push_back(core::loop_group_at(n_.group, i));
    n_.history = store::open_memory();
    n_.config.store = store_kind::memory;
    n_.config.chat.version = "1.2\"3";
  }
  void TearDown() override {
    n_.history->close();
    delete n_.history;
    const core::loop_group_events none = {[](void*, core::loop*) noexcept {},
                                          [](void*, core::loop*) noexcept {}};
    core::loop_group_start(n_.group, &none, nullptr);
    core::loop_group_stop(n_.group);
    core::loop_group_free(n_.group);
  }
  core::loop_metrics* counters(uint32_t i) { return core::loop_counters(n_.loops[i]); }
  std::string sample(const std::string& series) {
    std::istringstream in(metrics_text(&n_));
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with(series + " ")) return line.substr(series.size() + 1);
    }
    return "absent";
  }
  node n_;
};

TEST_F(metrics_test, loops_are_summed) {
  counters(0)->deliveries.add(3);
  counters(1)->deliveries.add(4);
  counters(0)->ended[static_cast<size_t>(core::end_reason::slow)].add(2);
  counters(1)
      ->http[static_cast<size_t>(core::http_route::api)]
            [static_cast<size_t>(core::http_class::c4xx)]
      .add(5);
  counters(1)->errors[3].add(6);
  counters(0)->messages_in.add(8);
  counters(1)->api_calls[static_cast<size_t>(core::api_method::history)].add(9);
  EXPECT_EQ(sample("parley_deliveries_total"), "7");
  EXPECT_EQ(sample("parley_connections_ended_total{reason=\"slow\"}"), "2");
  EXPECT_EQ(sample("http_requests_total{route=\"api\",code=\"4xx\"}"), "5");
  EXPECT_EQ(sample("http_requests_total{route=\"page\",code=\"2xx\"}"), "0");
  EXPECT_EQ(sample("parley_errors_total{code=\"103\"}"), "6");
  EXPECT_EQ(sample("parley_errors_total{code=\"113\"}"), "0");
  EXPECT_EQ(sample("parley_errors_total{code=\"114\"}"), "absent");
  EXPECT_EQ(sample("ws_messages_total{direction=\"in\"}"), "8");
  EXPECT_EQ(sample("parley_api_calls_total{method=\"history\"}"), "9");
  EXPECT_EQ(sample("parley_loops"), "2");
  EXPECT_EQ(sample("parley_build_info{version=\"1.2\\\"3\",store=\"memory\",broker=\"local\"}"),
            "1");
}

TEST_F(metrics_test, a_gauge_that_moved_between_loops_is_not_negative) {
  counters(0)->queue_bytes.add(5);
  counters(1)->queue_bytes.sub(6);
  EXPECT_EQ(sample("parley_queue_bytes"), "0");
}

TEST_F(metrics_test, histograms_are_cumulative_in_seconds) {
  counters(0)->commit_us.record(100);
  counters(1)->commit_us.record(2000);
  counters(1)->commit_us.record(4'000'000);
  EXPECT_EQ(sample("parley_commit_duration_seconds_bucket{le=\"0.0001\"}"), "1");
  EXPECT_EQ(sample("parley_commit_duration_seconds_bucket{le=\"0.0025\"}"), "2");
  EXPECT_EQ(sample("parley_commit_duration_seconds_bucket{le=\"3\"}"), "2");
  EXPECT_EQ(sample("parley_commit_duration_seconds_bucket{le=\"+Inf\"}"), "3");
  EXPECT_EQ(sample("parley_commit_duration_seconds_count"), "3");
  EXPECT_EQ(std::stod(sample("parley_commit_duration_seconds_sum")), 4.0021);
}

TEST_F(metrics_test, names_follow_the_conventions) {
  std::istringstream in(metrics_text(&n_));
  std::set<std::string> typed, helped, seen;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string hash, what, name, type;
    words >> hash >> what >> name >> type;
    if (hash != "#") {
      EXPECT_TRUE(seen.insert(line.substr(0, line.rfind(' '))).second) << "twice: " << line;
      continue;
    }
    if (what == "HELP") helped.insert(name);
    if (what != "TYPE") continue;
    EXPECT_TRUE(typed.insert(name).second) << name;
    EXPECT_EQ(type == "counter", name.ends_with("_total")) << name;
    EXPECT_NE(metrics_markdown().find("| `" + name + "` | " + type + " |"), std::string::npos);
  }
  EXPECT_EQ(typed, helped);
  for (const char* name :
       {"http_requests_total", "http_request_duration_seconds", "ws_connections_active",
        "ws_messages_total", "cpu_usage_percent", "memory_usage_percent",
        "process_cpu_seconds_total", "process_open_fds", "process_start_time_seconds"}) {
    EXPECT_EQ(typed.count(name), 1u) << name;
  }
}

TEST_F(metrics_test, without_loki_there_are_no_series_of_it) {
  EXPECT_EQ(metrics_text(&n_).find("loki"), std::string::npos);
  loki_options o;
  ASSERT_TRUE(core::http_target_parse("http://127.0.0.1:1/", &o.target));
  loki* l = loki_open(o);
  n_.logs = l;
  EXPECT_EQ(sample("parley_log_loki_connected"), "0");
  EXPECT_EQ(sample("parley_log_loki_pushed_lines_total"), "0");
  EXPECT_EQ(sample("parley_log_loki_queue_bytes"), "0");
  EXPECT_EQ(sample("parley_log_loki_queue_bytes_max"), "8388608");
  for (const char* reason : {"full", "too_long", "refused", "failed", "shutdown"})
    EXPECT_EQ(sample(std::string("parley_log_loki_dropped_lines_total{reason=\"") + reason + "\"}"),
              "0");
  n_.logs = nullptr;
  loki_close(l);
}

TEST_F(metrics_test, the_process_is_described) {
  const process_stats p = process_read();
  EXPECT_GT(p.resident_bytes, 1u << 20);
  EXPECT_GE(p.virtual_bytes, p.resident_bytes);
  EXPECT_GE(p.open_fds, 3u);
  EXPECT_GE(p.max_fds, p.open_fds);
  const double now_s = static_cast<double>(core::system_clock()->wall_ms()) / 1000;
  EXPECT_LE(p.start_time_s, now_s + 1);
  EXPECT_GT(p.start_time_s, now_s - 3600);
  EXPECT_GE(process_cores(), 1u);
  EXPECT_GT(process_memory_limit_bytes(), p.resident_bytes);
  const double memory = std::stod(sample("memory_usage_percent")),
               cpu = std::stod(sample("cpu_usage_percent"));
  EXPECT_GT(memory, 0);
  EXPECT_LE(memory, 100);
  EXPECT_GE(cpu, 0);
  EXPECT_LE(cpu, 100);
}

}  // namespace
}  // namespace server
