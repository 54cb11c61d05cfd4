#include "loadgen/faults.h"

#include <gtest/gtest.h>

#include "loadgen/worker.h"

namespace loadgen {
namespace {

scenario ten_seconds() {
  scenario s;
  s.phases.resize(1);
  s.phases[0].seconds = 10;
  return s;
}

fault of(fault_kind kind, const std::string& target, double at) {
  fault f;
  f.kind = kind;
  f.target = target;
  f.at = at;
  return f;
}

TEST(faults_test, each_target_has_its_own_row_in_the_order_of_time) {
  scenario s = ten_seconds();
  s.faults = {of(fault_kind::pause, "store", 5), of(fault_kind::kill, "node", 6),
              of(fault_kind::kill, "store", 1), of(fault_kind::kill, "node", 0)};
  s.faults[3].every = 2;
  s.faults[3].jitter = 2;
  s.faults[3].count = 9;
  s.faults.push_back(of(fault_kind::kill, "node", 0));
  s.faults.back().at_end = true;
  const auto rows = plan_faults(s);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].size(), 6u) << "the one at 6, and five within the ten seconds";
  for (size_t i = 1; i < rows[0].size(); ++i) EXPECT_LE(rows[0][i - 1].at_s, rows[0][i].at_s);
  ASSERT_EQ(rows[1].size(), 2u);
  EXPECT_EQ(rows[1][0].at_s, 1);
  EXPECT_EQ(rows[1][1].what->kind, fault_kind::pause);
}

TEST(faults_test, one_that_takes_long_holds_no_other_target_up) {
  scenario s = ten_seconds();
  fault slow = of(fault_kind::run, "", 0);
  slow.command = "sleep 1";
  s.faults = {slow, of(fault_kind::kill, "others", 0.2)};
  world all;
  all.start_us.store(core::system_clock()->mono_us());
  std::vector<fault_mark> made;
  engine_options o;
  fault_runner faults(s, o, &all, &made);
  faults.start();
  while (all.late_until_us.load() != UINT64_MAX) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(400));  // the time of the second
  faults.stop();
  ASSERT_EQ(made.size(), 2u);
  EXPECT_LT(made[1].at_s, 1) << "the first took that long";
  ASSERT_EQ(faults.errors().size(), 1u);
  EXPECT_EQ(faults.errors()[0], "kill: no --process is called others");
  EXPECT_NE(all.late_until_us.load(), UINT64_MAX) << "nothing is under way any more";
}

TEST(faults_test, those_at_the_end_are_made_then) {
  scenario s = ten_seconds();
  world all;
  std::vector<fault_mark> made;
  engine_options o;
  fault_runner none(s, o, &all, &made);
  EXPECT_FALSE(none.at_end());
  fault f = of(fault_kind::run, "", 0);
  f.command = "true";
  f.at_end = true;
  f.may_lose_history = true;
  s.faults = {f};
  fault_runner one(s, o, &all, &made);
  one.start();
  one.stop();
  EXPECT_TRUE(made.empty());
  EXPECT_TRUE(one.at_end());
  EXPECT_EQ(made.size(), 1u);
  EXPECT_TRUE(all.may_lose_history.load());
  EXPECT_TRUE(one.errors().empty());
}

}  // namespace
}  // namespace loadgen
