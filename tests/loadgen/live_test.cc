// What is shown while a run is under way.
#include "loadgen/live.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace loadgen {
namespace {

second_sample sample() {
  second_sample s;
  s.connected = 1200;
  s.sent = 5000;
  s.acked = 4990;
  s.delivered = 1'000'000;
  s.tool_cpu = 0.4;
  return s;
}

TEST(live, shows_totals_and_rates) {
  second_sample before;
  before.delivered = 960'000;
  const std::string text = live_lines("steady 3/5", sample(), before);
  for (const char* part : {"steady 3/5", "1,200 connected", "1,000,000", "40,000/s", "0.4 cores"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_EQ(text.find("server"), std::string::npos) << "without --pid nothing is known of it";
  EXPECT_EQ(text.find("errors"), std::string::npos) << "none";
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
}

TEST(live, a_new_run_does_not_go_backwards) {
  second_sample before;
  before.delivered = 2'000'000;
  EXPECT_NE(live_line("connecting", sample(), before).find(" 0/s"), std::string::npos);
}

TEST(live, foreign_text_is_one_line) {
  const std::string text = live_line("a\nb\033[2J", sample(), {});
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_EQ(text.find('\033'), std::string::npos);
}

}  // namespace
}  // namespace loadgen
