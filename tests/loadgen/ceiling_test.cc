// The sink answers as a server does, the ceiling is measured against it, and a run says when the
// tool was its limit: then, and not otherwise.
#include "loadgen/ceiling.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>

#include "loadgen/engine.h"
#include "loadgen/generator_limit.h"
#include "loadgen/sink.h"

namespace loadgen {
namespace {

using core::err;
using std::string;

TEST(generator_limit, SaysNothingBelowTheLimits) {
  EXPECT_EQ(generator_limit_text({}), "");
  EXPECT_EQ(generator_limit_text({kLimitCpuShare, 700, 1000, kLimitLateUs, true}), "");
}

TEST(generator_limit, NamesEachReasonAndAllOfThem) {
  EXPECT_EQ(generator_limit_text({.cpu_share = 0.71}).find("a loop of the tool was busy"), 0u);
  const string rate = generator_limit_text({.delivered_per_s = 710, .ceiling_per_s = 1000});
  EXPECT_NE(rate.find("of its own ceiling of 1.00 k"), string::npos) << rate;
  EXPECT_NE(generator_limit_text({.late_p99_us = 1001}).find("behind its time"), string::npos);
  const string all = generator_limit_text({0.9, 900, 1000, 5000, true});
  EXPECT_NE(all.find("busy"), string::npos);
  EXPECT_NE(all.find("; a loop of the tool received"), string::npos);
  EXPECT_NE(all.find("; one of a hundred"), string::npos);
}

TEST(generator_limit, WhatIsNotKnownIsNoReason) {
  EXPECT_EQ(generator_limit_text({.delivered_per_s = 1e9}), "");  // no ceiling
  EXPECT_EQ(generator_limit_text({.late_p99_us = 5000, .has_schedule = false}), "");
}

// A run against a sink.
struct against_sink : testing::Test {
  sink* s = nullptr;
  engine_options o;
  string why;
  void SetUp() override {
    ASSERT_EQ(sink_start(&s, &o.port, &why), err::ok) << why;
    o.host = "127.0.0.1";
  }
  void TearDown() override { sink_stop(s); }

  static scenario rooms(uint32_t members, double rate, double seconds) {
    scenario a;
    a.name = "sink";
    a.drain_s = 3;
    a.checks_presence = false;
    room_group g;
    g.channel = "live:load";
    g.count = 2;
    g.members = members;
    g.publishers = 2;
    g.rate = rate;
    g.method = publish_method::publish;
    g.has_history = g.is_recovered = false;
    a.rooms = {g};
    a.phases = {phase{"steady", phase_shape::steady, seconds}};
    return a;
  }
  run_result run(const scenario& asked) {
    schedule plan;
    run_result r;
    EXPECT_EQ(schedule_make(asked, &plan, &why), err::ok) << why;
    EXPECT_EQ(engine_run(asked, plan, o, &r, &why), err::ok) << why;
    return r;
  }
};

TEST_F(against_sink, DeliversEveryMessageOnce) {
  o.loops = 2;
  const run_result r = run(rooms(5, 100, 1));
  EXPECT_TRUE(result_is_correct(r)) << (r.kept.empty() ? "" : r.kept[0].text);
  EXPECT_GT(r.sent, 100u);
  EXPECT_EQ(r.acked, r.sent);
  EXPECT_EQ(r.delivered, r.sent * 5);
}

TEST_F(against_sink, MembersThatLeaveGetNothing) {
  scenario asked = rooms(8, 100, 1);
  asked.churn_rate = 20;
  asked.churn_away_s = 0.2;
  asked.reconnect_rate = 5;
  const run_result r = run(asked);
  EXPECT_TRUE(result_is_correct(r)) << (r.kept.empty() ? "" : r.kept[0].text);
  EXPECT_GT(r.reconnects, 0u);
}

TEST_F(against_sink, ALowCeilingIsAReasonAndAHighOneIsNone) {
  o.ceiling_per_core_s = 1e9;
  run_result r = run(rooms(5, 50, 1));
  EXPECT_EQ(r.generator_limited_why.find("ceiling"), string::npos) << r.generator_limited_why;
  EXPECT_EQ(r.tool_ceiling_per_core_s, 1e9);
  o.ceiling_per_core_s = 500;  // two rooms of five at 50/s: 500 deliveries a second
  r = run(rooms(5, 50, 1));
  EXPECT_TRUE(r.is_generator_limited);
  EXPECT_NE(r.generator_limited_why.find("of its own ceiling"), string::npos);
}

TEST_F(against_sink, WindowModeEndsWithItsMessages) {
  scenario asked = rooms(10, 0, 20);
  asked.arrivals = arrival_kind::window;
  asked.window = 8;
  asked.messages = 500;
  const run_result r = run(asked);
  EXPECT_TRUE(result_is_correct(r));
  EXPECT_EQ(r.delivered, 2u * 500 * 10);
  EXPECT_GT(r.seconds, 0);
  EXPECT_LT(r.seconds, 20);
}

TEST(sink, EndsWhenItIsStopped) {
  sink* s = nullptr;
  uint16_t port = 0;
  string why;
  ASSERT_EQ(sink_start(&s, &port, &why), err::ok) << why;
  EXPECT_NE(port, 0);
  const pid_t pid = sink_pid(s);
  EXPECT_EQ(kill(pid, 0), 0);
  sink_stop(s);
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ceiling, IsMeasured) {
  ceiling_options o;
  o.members = 20;
  o.deliveries = 20'000;
  o.connections = 300;
  ceiling c;
  string why;
  ASSERT_EQ(ceiling_measure(o, &c, &why), err::ok) << why;
  EXPECT_EQ(c.deliveries, 20'000u);
  EXPECT_GT(c.deliveries_per_core_s, 1000);
  EXPECT_NEAR(c.deliveries_per_core_s * c.cpu_us_per_delivery, 1e6, 1);
  EXPECT_GT(c.deliveries_per_s, 1000);
  EXPECT_GT(c.connections_per_core_s, 1);
  EXPECT_NE(ceiling_text(c).find("deliveries/s per core"), string::npos);
}

TEST(ceiling, JsonReadsBack) {
  ceiling c, back;
  c.deliveries_per_core_s = 1234567.875;
  c.cpu_us_per_delivery = 0.81;
  c.deliveries_per_s = 9e5;
  c.connections_per_core_s = 20'000;
  c.cpu_us_per_connection = 50;
  c.bytes_per_connection = 812;
  c.members = 100;
  c.deliveries = 1'000'000;
  c.bytes = 128;
  c.connections = 2000;
  c.tool_version = "1 \"beta\"";
  string why;
  ASSERT_EQ(ceiling_parse(ceiling_json(c), &back, &why), err::ok) << why;
  EXPECT_EQ(ceiling_json(back), ceiling_json(c));
  EXPECT_EQ(back.deliveries_per_core_s, c.deliveries_per_core_s);
  EXPECT_EQ(back.tool_version, c.tool_version);
}

TEST(ceiling, RefusesWhatIsNone) {
  ceiling c;
  string why;
  for (const char* text : {"", "[]", "{}", "{\"deliveries_per_core_s\":0}",
                           "{\"deliveries_per_core_s\":-1}", "{\"deliveries_per_core_s\":\"1\"}"}) {
    EXPECT_EQ(ceiling_parse(text, &c, &why), err::malformed) << text;
    EXPECT_FALSE(why.empty());
  }
  EXPECT_EQ(ceiling_read(testing::TempDir() + "no-such-file", &c, &why), err::not_found);
}

}  // namespace
}  // namespace loadgen
