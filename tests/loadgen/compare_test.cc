// Comparisons of simulated runs: the same server rarely alarms, a slower one does, and what is said
// is what was found.
#include "loadgen/compare.h"

#include <gtest/gtest.h>
#include <simdjson.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>

#include "tests/loadgen/sample_result.h"

namespace loadgen {
namespace {

using std::string;
using runs = std::vector<run_result>;

constexpr uint32_t kSeconds = 30;

// `seed` numbers the experiment; each run of it is another one of the same server.
runs runs_of(const sample_server& s, size_t n, uint64_t seed, uint32_t seconds = kSeconds) {
  runs out;
  for (size_t i = 0; i < n; ++i)
    out.push_back(sample_result(s, {seed * 1000 + i, seconds, 10, 10}));
  return out;
}

const compare_row& row(const comparison& c, const string& name) {
  for (const compare_row& r : c.rows) {
    if (r.name == name) return r;
  }
  ADD_FAILURE() << "no row " << name;
  return c.rows[0];
}

int alarms_of(const sample_server& s, size_t runs_a_side, int comparisons, uint64_t seed) {
  int alarms = 0;
  for (int i = 0; i < comparisons; ++i) {
    const uint64_t at = seed + 2 * static_cast<uint64_t>(i);
    alarms +=
        compare_results(runs_of(s, runs_a_side, at), runs_of(s, runs_a_side, at + 1)).is_regression;
  }
  testing::Test::RecordProperty("alarms", alarms);
  return alarms;
}

TEST(compare, TheSameServerRarelyAlarmsWithOneRunASide) {
  EXPECT_LE(alarms_of({}, 1, 200, 10'000), 10);
}

TEST(compare, TheSameServerRarelyAlarmsWithThreeRunsASide) {
  EXPECT_LE(alarms_of({}, 3, 100, 20'000), 5);
}

TEST(compare, TheSameServerRarelyAlarmsWithFiveRunsASide) {
  EXPECT_LE(alarms_of({}, 5, 100, 30'000), 5);
}

TEST(compare, AMoodyServerRarelyAlarmsToo) {
  sample_server s;
  s.between_seconds = 0.6;
  s.between_runs = 0.08;
  EXPECT_LE(alarms_of(s, 1, 100, 40'000), 5);
}

// The rank test knows how runs differ: however much that is, it does not alarm more often.
TEST(compare, RunsThatDifferMuchDoNotAlarmTheRankTest) {
  sample_server s;
  s.between_runs = 0.5;
  s.between_runs_cpu = 0.3;
  s.between_runs_rss = 0.3;
  EXPECT_LE(alarms_of(s, 6, 100, 50'000), 5);
}

TEST(compare, SaysHowLittleSingleRunsShow) {
  const auto note = [](size_t base, size_t head) {
    const comparison c = compare_results(runs_of({}, base, 18), runs_of({}, head, 19));
    return c.warnings.empty() ? string() : c.warnings.back();
  };
  EXPECT_EQ(note(1, 1).find("one run a side"), 0u);
  EXPECT_EQ(note(1, 3).find("few runs"), 0u);
  EXPECT_EQ(note(4, 4).find("few runs"), 0u);
  EXPECT_EQ(note(5, 5), "");
}

TEST(compare, FindsALargeDifferenceOfSingleRuns) {
  sample_server slow;
  slow.delivery_us *= 1.8;
  slow.cost_us *= 1.25;
  slow.between_runs = slow.between_runs_cpu = 0.01;
  const comparison c = compare_results(runs_of({}, 1, 1, 60), runs_of(slow, 1, 2, 60));
  EXPECT_TRUE(c.is_regression);
  EXPECT_EQ(c.method, compare_method::seconds_paired);
  EXPECT_EQ(row(c, "delivery_p50_us").verdict, compare_verdict::worse);
  EXPECT_EQ(row(c, "server_cpu_us_per_delivery").verdict, compare_verdict::worse);
  EXPECT_NEAR(row(c, "server_cpu_us_per_delivery").ratio, 1.25, 0.08);
  EXPECT_NE(row(c, "server_rss_bytes").verdict, compare_verdict::worse);
}

TEST(compare, FindsASmallDifferenceOfManyRuns) {
  sample_server server, dear;
  server.between_runs_cpu = dear.between_runs_cpu = 0.01;
  dear.cost_us *= 1.05;
  int found = 0;
  for (uint64_t i = 0; i < 20; ++i) {
    const comparison c =
        compare_results(runs_of(server, 8, 100 + 2 * i, 15), runs_of(dear, 8, 101 + 2 * i, 15));
    EXPECT_EQ(c.method, compare_method::ranks);
    found += row(c, "server_cpu_us_per_delivery").verdict == compare_verdict::worse;
  }
  EXPECT_GE(found, 18);
}

TEST(compare, AnImprovementIsNoRegression) {
  sample_server fast;
  fast.delivery_us /= 2;
  fast.ack_us /= 2;
  fast.cost_us /= 1.5;
  fast.rss_bytes /= 2;
  for (const size_t n : {1u, 5u}) {
    const comparison c = compare_results(runs_of({}, n, 3), runs_of(fast, n, 4));
    EXPECT_FALSE(c.is_regression);
    for (const compare_row& r : c.rows) {
      EXPECT_EQ(r.verdict, compare_verdict::better) << r.name;
      EXPECT_EQ(r.superiority, 0) << r.name;
    }
  }
}

TEST(compare, FewRunsMustAgree) {
  // Two of three runs are far slower, one is as before.
  sample_server slow;
  slow.delivery_us *= 3;
  runs head = runs_of(slow, 2, 6);
  head.push_back(sample_result({}, {5000, kSeconds, 10, 10}));
  const runs base = runs_of({}, 3, 5);
  EXPECT_EQ(row(compare_results(base, head), "delivery_p50_us").verdict, compare_verdict::unclear);
  head.back() = sample_result(slow, {6000, kSeconds, 10, 10});
  EXPECT_EQ(row(compare_results(base, head), "delivery_p50_us").verdict, compare_verdict::worse);
}

TEST(compare, AReportDoesNotDifferFromItself) {
  const runs one = runs_of({}, 1, 7);
  const comparison c = compare_results(one, one);
  EXPECT_FALSE(c.is_regression);
  for (const compare_row& r : c.rows) {
    EXPECT_EQ(r.verdict, compare_verdict::unclear) << r.name;  // other runs of it could differ
    EXPECT_EQ(r.ratio, 1) << r.name;
    EXPECT_EQ(r.superiority, 0.5) << r.name;
  }
}

TEST(compare, QuietRunsAreShownToBeEqual) {
  sample_server quiet;
  quiet.between_runs = quiet.between_runs_cpu = quiet.between_runs_rss = 0.001;
  quiet.between_seconds = 0.001;
  const comparison c = compare_results(runs_of(quiet, 8, 21, 120), runs_of(quiet, 8, 22, 120));
  EXPECT_EQ(row(c, "server_cpu_us_per_delivery").verdict, compare_verdict::equal);
  EXPECT_EQ(row(c, "server_rss_bytes").verdict, compare_verdict::equal);
}

TEST(compare, TooFewSecondsShowNothing) {
  sample_server slow;
  slow.delivery_us *= 5;
  const comparison c = compare_results(runs_of({}, 1, 8, 9), runs_of(slow, 1, 9, 9));
  EXPECT_FALSE(c.is_regression);
  EXPECT_EQ(row(c, "delivery_p50_us").verdict, compare_verdict::unclear);
  EXPECT_EQ(row(c, "delivery_p50_us").high, INFINITY);
  EXPECT_NEAR(row(c, "delivery_p50_us").ratio, 5, 1);
}

TEST(compare, WhatOneSideDoesNotKnowIsNotJudged) {
  runs head = runs_of({}, 1, 10);
  head[0].server_cpu_us_per_delivery = -1;
  head[0].server_rss_bytes = -1;
  head[0].latencies.erase("ack");
  const comparison c = compare_results(runs_of({}, 1, 11), head);
  EXPECT_EQ(row(c, "server_cpu_us_per_delivery").verdict, compare_verdict::unknown);
  EXPECT_EQ(row(c, "server_rss_bytes").verdict, compare_verdict::unknown);
  EXPECT_EQ(row(c, "ack_p99_us").verdict, compare_verdict::unknown);
  EXPECT_NE(row(c, "delivery_p50_us").verdict, compare_verdict::unknown);
  EXPECT_NE(compare_text(c).find("not known"), string::npos);
}

TEST(compare, MessagesThatAreWrongAreARegression) {
  runs head = runs_of({}, 1, 12), base = head;
  head[0].violations[0] = 1;
  EXPECT_TRUE(compare_results(base, head).is_regression);
  base[0].violations[1] = 3;  // it was wrong before
  EXPECT_FALSE(compare_results(base, head).is_regression);
}

TEST(compare, SaysWhyItMayNotBeBelieved) {
  runs base = runs_of({}, 5, 13), head = runs_of({}, 5, 14);
  EXPECT_TRUE(compare_results(base, head).warnings.empty());
  head[2].is_generator_limited = true;
  base[0].is_closed_loop = true;
  head[4].schedule_digest = 7;
  EXPECT_EQ(compare_results(base, head).warnings.size(), 3u);
  head[1].scenario = "another";
  const string text = compare_text(compare_results(base, head));
  EXPECT_NE(text.find("different scenarios"), string::npos);
  EXPECT_NE(text.find("1 of 5 runs of head limited by the tool"), string::npos);
}

TEST(compare, OtherSchedulesAreNotPaired) {
  runs base = runs_of({}, 1, 15), head = runs_of({}, 1, 16);
  EXPECT_EQ(compare_results(base, head).method, compare_method::seconds_paired);
  head[0].schedule_digest = 7;
  EXPECT_EQ(compare_results(base, head).method, compare_method::seconds);
  head = base;
  head[0].is_closed_loop = true;
  EXPECT_EQ(compare_results(base, head).method, compare_method::seconds);
}

TEST(compare, JsonIsJson) {
  runs base = runs_of({}, 1, 17, 9);
  base[0].scenario = "quote \" \x1b \xff";
  base[0].server_rss_bytes = -1;
  simdjson::dom::parser parser;
  simdjson::dom::element root, v;
  const string text = compare_json(compare_results(base, base));
  ASSERT_EQ(parser.parse(text).get(root), simdjson::SUCCESS) << text;
  bool is_regression = true;
  EXPECT_EQ(root["regression"].get_bool().get(is_regression), simdjson::SUCCESS);
  EXPECT_FALSE(is_regression);
  ASSERT_EQ(root.at_pointer("/metrics/4/base").get(v), simdjson::SUCCESS);
  EXPECT_TRUE(v.is_null());
  ASSERT_EQ(root.at_pointer("/metrics/0/ratio_high").get(v), simdjson::SUCCESS);
  EXPECT_TRUE(v.is_null());  // nine seconds: infinite
  string verdict(root.at_pointer("/metrics/0/verdict").get_string().value());
  EXPECT_EQ(verdict, "unclear");
}

struct report_files : testing::Test {
  string dir = testing::TempDir() + "compare-" + std::to_string(getpid()) + "-";
  std::vector<string> made;
  ~report_files() override {
    for (const string& path : made) std::remove(path.c_str());
  }
  string write(const run_result& r) {
    made.push_back(dir + std::to_string(made.size()) + ".json");
    std::ofstream(made.back()) << result_json(r);
    return made.back();
  }
};

TEST_F(report_files, ExitCodes) {
  sample_server slow;
  slow.delivery_us *= 4;
  const string good = write(sample_result({}, {1, kSeconds, 10, 10}));
  const string bad = write(sample_result(slow, {2, kSeconds, 10, 10}));
  testing::internal::CaptureStdout();
  EXPECT_EQ(compare_reports({good}, {good}, false), 0);
  EXPECT_NE(testing::internal::GetCapturedStdout().find("no regression"), string::npos);
  testing::internal::CaptureStdout();
  EXPECT_EQ(compare_reports({good}, {bad}, false), 1);
  EXPECT_NE(testing::internal::GetCapturedStdout().find("REGRESSION"), string::npos);
  testing::internal::CaptureStdout();
  EXPECT_EQ(compare_reports({good}, {bad}, true), 1);
  EXPECT_EQ(testing::internal::GetCapturedStdout().substr(0, 8), "{\"base\":");
  testing::internal::CaptureStderr();
  EXPECT_EQ(compare_reports({good}, {dir + "not-there.json"}, false), 3);
  EXPECT_EQ(compare_reports({good}, {}, false), 3);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("not-there.json"), string::npos);
}

}  // namespace
}  // namespace loadgen
