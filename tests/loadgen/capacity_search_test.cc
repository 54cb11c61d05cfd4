// The search for a limit, on made-up servers whose limit is known: steady, noisy, and out of reach.
#include "loadgen/capacity_search.h"

#include <gtest/gtest.h>

#include <cmath>

#include "loadgen/random.h"

namespace loadgen {
namespace {

// Keeps its objective with the chance of a normal distribution around the limit: not the curve that
// the search assumes.
struct server {
  double limit = 1,
         noise = 0;  // noise: standard deviation of the limit's logarithm from probe to probe
  double tool_limit = INFINITY;
  double violates_from = INFINITY, fails_from = INFINITY, impossible_from = INFINITY;
  double mistakes = 0;
  random_stream random = random_from(1, 1);
  std::vector<double> asked;
};

double normal(random_stream* r) {
  return std::sqrt(-2 * std::log(1 - random_unit(r))) *
         std::cos(2 * 3.14159265358979 * random_unit(r));
}

probe_answer ask(void* user, double factor) {
  auto* s = static_cast<server*>(user);
  s->asked.push_back(factor);
  if (factor >= s->impossible_from) return {probe_outcome::impossible, false};
  if (factor >= s->fails_from) return {probe_outcome::failed, false};
  if (factor >= s->violates_from) return {probe_outcome::violated, false};
  bool is_kept = factor <= s->limit * std::exp(s->noise * normal(&s->random));
  if (random_unit(&s->random) < s->mistakes) is_kept = !is_kept;
  if (is_kept) return {probe_outcome::kept, factor >= s->tool_limit};
  return {factor >= s->tool_limit ? probe_outcome::limited : probe_outcome::missed, false};
}

capacity_answer find(server* s, const capacity_options& o = {}) {
  return capacity_search(o, ask, s);
}

struct coverage {
  int covered = 0, narrow = 0;
  double probes = 0;
};

coverage cover(double noise, double mistakes = 0) {
  constexpr int kSeeds = 200;
  coverage c;
  for (int seed = 0; seed < kSeeds; ++seed) {
    server s;
    s.random = random_from(static_cast<uint64_t>(seed), 77);
    s.limit = std::exp(6 * random_unit(&s.random) - 3);
    s.noise = noise;
    s.mistakes = mistakes;
    const capacity_answer a = find(&s);
    c.covered += a.kind == capacity_kind::interval && a.low <= s.limit && s.limit <= a.high;
    c.narrow += a.is_narrow;
    c.probes += static_cast<double>(a.probes) / kSeeds;
  }
  testing::Test::RecordProperty("covered", c.covered);
  testing::Test::RecordProperty("narrow", c.narrow);
  testing::Test::RecordProperty("probes", static_cast<int>(c.probes));
  return c;
}

TEST(capacity_search, ASteadyLimitIsInTheInterval) {
  const coverage c = cover(0);
  EXPECT_GE(c.covered, 190);
  EXPECT_EQ(c.narrow, 200);
  EXPECT_LE(c.probes, 25);
}

TEST(capacity_search, ANoisyLimitIsInTheInterval) {
  for (const double noise : {0.01, 0.03}) {
    const coverage c = cover(noise);
    EXPECT_GE(c.covered, 190) << noise;
    EXPECT_GE(c.narrow, 190) << noise;
    EXPECT_LE(c.probes, 40) << noise;
  }
}

TEST(capacity_search, AVeryNoisyLimitIsInTheIntervalThatTheBudgetAllows) {
  for (const double noise : {0.06, 0.1, 0.25}) EXPECT_GE(cover(noise).covered, 190) << noise;
}

TEST(capacity_search, ProbesThatGoWrongDoNotMislead) {
  const coverage c = cover(0.03, 0.03);
  EXPECT_GE(c.covered, 190);
  EXPECT_GE(c.narrow, 180);
}

TEST(capacity_search, ATighterWidthTakesMoreProbes) {
  capacity_options fine;
  fine.width = 0.02;
  server a, b;
  a.limit = b.limit = 3.3;
  const capacity_answer wide = find(&a), narrow = find(&b, fine);
  EXPECT_LE(narrow.high, narrow.low * 1.02);
  EXPECT_GT(narrow.probes, wide.probes);
}

TEST(capacity_search, TheBudgetEndsItWithWhatIsKnown) {
  capacity_options o;
  o.probes_max = 6;  // 1, 2, 4 and three more
  server s;
  s.limit = 3.3;
  const capacity_answer a = find(&s, o);
  EXPECT_EQ(a.kind, capacity_kind::interval);
  EXPECT_FALSE(a.is_narrow);
  EXPECT_EQ(a.probes, 6u);
  EXPECT_LE(a.low, 3.3);
  EXPECT_GE(a.high, 3.3);
  o.probes_max = 2;
  server t = server();
  t.limit = 100;
  const capacity_answer half = find(&t, o);
  EXPECT_EQ(half.kind, capacity_kind::at_least);
  EXPECT_EQ(half.low, 2);
  server u = server();
  u.limit = 0.01;
  const capacity_answer other = find(&u, o);
  EXPECT_EQ(other.kind, capacity_kind::at_most);
  EXPECT_EQ(other.high, 0.5);
  o.may_go_on = [](void*) { return false; };
  server none;
  EXPECT_EQ(find(&none, o).kind, capacity_kind::unknown);
  EXPECT_TRUE(none.asked.empty());
}

TEST(capacity_search, TheToolsLimitEndsItWithAtLeast) {
  server s;
  s.limit = 100;
  s.tool_limit = 10;
  capacity_answer a = find(&s);
  EXPECT_EQ(a.kind, capacity_kind::at_least);
  EXPECT_EQ(a.low, 16);  // kept, with the tool at its limit
  server t = server();
  t.limit = 5;
  t.tool_limit = 8;
  a = find(&t);
  EXPECT_EQ(a.kind, capacity_kind::at_least);
  EXPECT_EQ(a.low, 4);
  EXPECT_EQ(t.asked, (std::vector<double>{1, 2, 4, 8, 8}));  // limited twice
  server u = server();
  u.limit = u.tool_limit = 0.5;
  EXPECT_EQ(find(&u).kind, capacity_kind::unknown);
}

TEST(capacity_search, OneLimitedProbeDoesNotEndIt) {
  struct moody : server {
    bool was_limited = false;
  } s;
  s.limit = 3;
  const auto once = [](void* user, double factor) {
    auto* m = static_cast<moody*>(user);
    if (factor != 2 || m->was_limited) return ask(user, factor);
    m->was_limited = true;
    return probe_answer{probe_outcome::limited, false};
  };
  const capacity_answer a = capacity_search({}, once, &s);
  EXPECT_EQ(a.kind, capacity_kind::interval);
  EXPECT_LE(a.low, 3);
  EXPECT_GE(a.high, 3);
}

TEST(capacity_search, TheEndsOfTheRangeAreAnswers) {
  capacity_options o;
  o.factor_min = 0.25;
  o.factor_max = 8;
  server s;
  s.limit = 1000;
  capacity_answer a = find(&s, o);
  EXPECT_EQ(a.kind, capacity_kind::at_least);
  EXPECT_EQ(a.low, 8);
  server t = server();
  t.limit = 0.001;
  a = find(&t, o);
  EXPECT_EQ(a.kind, capacity_kind::at_most);
  EXPECT_EQ(a.high, 0.25);
  server u = server();
  u.limit = 1000;
  u.impossible_from = 4;
  a = find(&u, o);
  EXPECT_EQ(a.kind, capacity_kind::at_least);
  EXPECT_EQ(a.low, 2);
}

TEST(capacity_search, AViolationEndsItAtOnce) {
  server s;
  s.limit = 100;
  s.violates_from = 4;
  capacity_answer a = find(&s);
  EXPECT_EQ(a.ended_by, probe_outcome::violated);
  EXPECT_EQ(a.probes, 3u);
  server t = server();
  t.fails_from = 0.1;
  a = find(&t);
  EXPECT_EQ(a.ended_by, probe_outcome::failed);
  EXPECT_EQ(a.probes, 1u);
}

}  // namespace
}  // namespace loadgen
