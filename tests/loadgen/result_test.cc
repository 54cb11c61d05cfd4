// report.json: the names that scripts rely on, that all of it comes back, and that no other text is
// taken for one.
#include "loadgen/result.h"

#include <gtest/gtest.h>
#include <simdjson.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <set>
#include <string>

#include "tests/loadgen/sample_result.h"

namespace loadgen {
namespace {

using core::err;
using std::string;

struct json {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  explicit json(const string& text) {
    EXPECT_EQ(parser.parse(text).get(root), simdjson::SUCCESS) << text.substr(0, 300);
  }
  bool has(const char* pointer) {
    simdjson::dom::element v;
    return root.at_pointer(pointer).get(v) == simdjson::SUCCESS;
  }
  bool is_null(const char* pointer) {
    simdjson::dom::element v;
    return root.at_pointer(pointer).get(v) == simdjson::SUCCESS && v.is_null();
  }
  uint64_t number(const char* pointer) {
    uint64_t n = 0;
    EXPECT_EQ(root.at_pointer(pointer).get_uint64().get(n), simdjson::SUCCESS) << pointer;
    return n;
  }
};

run_result back(const run_result& r) {
  run_result out;
  string why;
  EXPECT_EQ(result_parse(result_json(r), &out, &why), err::ok) << why;
  return out;
}

TEST(result, EveryViolationHasItsName) {
  std::set<string> names;
  for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k)
    names.insert(violation_name(static_cast<violation_kind>(k)));
  EXPECT_EQ(names.size(), static_cast<size_t>(violation_kind::kCount));
  EXPECT_STREQ(violation_name(violation_kind::lost), "lost");
  EXPECT_STREQ(violation_name(violation_kind::refused), "refused");
}

TEST(result, WhatIsNotJudgedIsNamed) {
  run_result r = sample_result({}, {});
  EXPECT_EQ(result_unjudged_text(r), "");
  EXPECT_EQ(result_unjudged_text(back(r)), "");
  for (const violation_kind k : {violation_kind::unacked_history, violation_kind::stored_twice,
                                 violation_kind::unrecovered, violation_kind::presence})
    r.is_unjudged[static_cast<size_t>(k)] = true;
  const string all =
      "history (unacked_history), keys (stored_twice), recovery (unrecovered), presence "
      "(presence)";
  EXPECT_EQ(result_unjudged_text(r), all);
  EXPECT_EQ(result_unjudged_text(back(r)), all);
  EXPECT_NE(result_json(r).find("\"not_judged\":[\"unacked_history\",\"stored_twice\","),
            string::npos);
  run_result out;
  string why, text = result_json(r);
  text.replace(text.find("[\"unacked_history\""), 18, "[7");
  EXPECT_EQ(result_parse(text, &out, &why), err::malformed);
  EXPECT_NE(why.find("not_judged"), string::npos) << why;
}

TEST(result, ExitCodeSaysCorrectnessBeforeObjectives) {
  run_result r;
  EXPECT_EQ(result_exit_code(r), 0);
  r.objectives.push_back({"ack_p99_ms", 1, 2, false});
  EXPECT_FALSE(result_is_kept(r));
  EXPECT_EQ(result_exit_code(r), 1);
  r.violations[static_cast<size_t>(violation_kind::presence)] = 1;
  EXPECT_FALSE(result_is_correct(r));
  EXPECT_EQ(result_violations(r), 1u);
  EXPECT_EQ(result_exit_code(r), 2);
}

TEST(result, TopLevelHasTheNamesThatScriptsUse) {
  const run_result r = sample_bad_result();
  json j(result_json(r));
  for (const char* name : {"/scenario",
                           "/seed",
                           "/violations",
                           "/generator_limited",
                           "/closed_loop",
                           "/sent",
                           "/acked",
                           "/delivered",
                           "/expected",
                           "/errors",
                           "/latency_us",
                           "/server_cpu_us_per_delivery",
                           "/server_rss_bytes",
                           "/tool_cpu_us_per_delivery",
                           "/objectives",
                           "/histograms/delivery",
                           "/series/0/at_s",
                           "/faults/0/text",
                           "/kept_violations/0/kind",
                           "/machine/cores"})
    EXPECT_TRUE(j.has(name)) << name;
  for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k)
    EXPECT_EQ(j.number((string("/") + violation_name(static_cast<violation_kind>(k))).c_str()),
              r.violations[k]);
  EXPECT_EQ(j.number("/violations"), 2003u);
  for (const char* name : {"count", "min", "p50", "p90", "p99", "p999", "p9999", "max", "mean"})
    EXPECT_TRUE(j.has((string("/latency_us/delivery/") + name).c_str())) << name;
  EXPECT_EQ(j.number("/latency_us/delivery/p99"), histogram_at(r.latencies.at("delivery"), 0.99));
  EXPECT_EQ(j.number("/latency_us/delivery/max"), r.latencies.at("delivery").max);
}

TEST(result, WhatIsNotKnownIsNull) {
  run_result r;
  r.series.emplace_back();
  r.tool_cpu_us_per_delivery = NAN;
  r.objectives.push_back({"x", 1, INFINITY, false});
  json j(result_json(r));
  for (const char* name : {"/server_cpu_us_per_delivery", "/server_rss_bytes",
                           "/tool_cpu_us_per_delivery", "/run/server_cpu_s", "/series/0/server_cpu",
                           "/series/0/server_rss_bytes", "/objectives/0/measured"})
    EXPECT_TRUE(j.is_null(name)) << name;
  const run_result read = back(r);
  EXPECT_EQ(read.server_cpu_us_per_delivery, -1);
  EXPECT_EQ(read.series.at(0).server_cpu, -1);
  EXPECT_EQ(read.objectives.at(0).measured, -1);
}

TEST(result, AllOfItComesBack) {
  run_result r = sample_bad_result();
  r.kept.back().text = "\x1b[31m \"quoted\" \\ \n\t end";  // UTF-8: what is not comes back repaired
  r.seed = UINT64_MAX;
  r.is_closed_loop = true;
  r.server_calls_per_delivery = 0.125;
  r.series[3].server_metrics["below_zero"] = -2.5;
  const run_result read = back(r);
  EXPECT_EQ(result_json(read), result_json(r));
  EXPECT_EQ(read.scenario, r.scenario);
  EXPECT_EQ(read.seed, UINT64_MAX);
  EXPECT_EQ(read.schedule_digest, r.schedule_digest);
  EXPECT_EQ(read.unrecovered, 5u);
  EXPECT_EQ(read.violations[static_cast<size_t>(violation_kind::unrecovered)], 0u);
  ASSERT_EQ(read.kept.size(), r.kept.size());
  EXPECT_EQ(read.kept.back().text, r.kept.back().text);
  EXPECT_EQ(read.kept.back().receiver, UINT32_MAX);
  EXPECT_EQ(read.kept.back().kind, violation_kind::corrupted);
  EXPECT_EQ(read.series[3].server_metrics.at("below_zero"), -2.5);
  EXPECT_EQ(read.series[5].server_cpu, r.series[5].server_cpu);
  EXPECT_EQ(read.latencies.at("delivery").counts, r.latencies.at("delivery").counts);
  EXPECT_EQ(read.latencies.at("delivery").max, r.latencies.at("delivery").max);
}

TEST(result, TextThatIsNotUtf8IsRepaired) {
  run_result r;
  r.scenario = "a\xff\xc0\xafz\xed\xa0\x80";
  r.machine["mod\x80"] = "\xe2\x82";  // cut in the middle
  const run_result read = back(r);
  const string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(read.scenario, "a" + bad + bad + bad + "z" + bad + bad + bad);
  EXPECT_EQ(read.machine.at("mod" + bad), bad + bad);
}

TEST(result, AnEmptyResultComesBack) {
  EXPECT_EQ(result_json(back({})), result_json({}));
}

TEST(result, OtherTextIsRefused) {
  const string good = result_json(sample_result({}, {1, 3, 2, 2}));
  const auto refused = [](const string& text) {
    run_result out;
    string why;
    const err rc = result_parse(text, &out, &why);
    EXPECT_EQ(rc, err::malformed) << text.substr(0, 100);
    EXPECT_FALSE(why.empty());
    return why;
  };
  for (const char* text : {"", "{", "[]", "null", "{}", "{\"scenario\":1}", "{\"scenario\":\"x\"}"})
    refused(text);
  const auto with = [&good](const string& from, const string& to) {
    string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  EXPECT_NE(refused(with("\"sent\":6", "\"sent\":\"6\"")).find("sent"), string::npos);
  EXPECT_NE(refused(with("\"sent\":6", "\"sent\":-6")).find("sent"), string::npos);
  EXPECT_NE(refused(with("\"format\":1", "\"format\":2")).find("format"), string::npos);
  refused(with("\"schedule_digest\":\"0", "\"schedule_digest\":\"x"));
  refused(with("\"series\":[", "\"series\":[7,"));
  refused(with("\"kept_violations\":[", "\"kept_violations\":[{\"kind\":\"unheard-of\"}"));
  refused(with("\"histograms\":{\"ack\":\"", "\"histograms\":{\"ack\":\"x"));
  for (size_t cut = 0; cut < good.size() - 2; cut += 97) refused(good.substr(0, cut));
}

TEST(result, ReadsAFileOrSaysWhyNot) {
  const string path = testing::TempDir() + "report-" + std::to_string(getpid()) + ".json";
  run_result out;
  string why;
  EXPECT_EQ(result_read(path, &out, &why), err::not_found);
  EXPECT_NE(why.find(path), string::npos);
  std::ofstream(path) << result_json(sample_bad_result());
  EXPECT_EQ(result_read(path, &out, &why), err::ok) << why;
  EXPECT_EQ(out.delivered, sample_bad_result().delivered);
  std::ofstream(path) << "no report";
  EXPECT_EQ(result_read(path, &out, &why), err::malformed);
  EXPECT_NE(why.find(path), string::npos);
  std::remove(path.c_str());
  EXPECT_EQ(result_read(testing::TempDir(), &out, &why), err::io);
}

}  // namespace
}  // namespace loadgen
