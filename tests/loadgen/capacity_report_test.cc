// What a capacity search says: each kind of answer, and texts that would like to be markup.
#include <gtest/gtest.h>

#include <simdjson.h>

#include "loadgen/capacity_command.h"

namespace loadgen {
namespace {

capacity_result sample() {
  capacity_result r;
  r.scenario = "rooms <b>\"&";
  r.objective = "delivery_p99_ms=50";
  r.rate = 1000;
  r.answer = {.kind = capacity_kind::interval,
              .low = 2,
              .estimate = 2.2,
              .high = 2.5,
              .is_narrow = true,
              .ended_by = probe_outcome::missed,
              .probes = 2};
  capacity_probe kept;
  kept.factor = 2;
  kept.outcome = probe_outcome::kept;
  kept.delivered_per_s = 2000;
  capacity_probe missed = kept;
  missed.factor = 2.5;
  missed.outcome = probe_outcome::missed;
  missed.why = "delivery_p99_ms | 80 <i>";
  r.probes = {kept, missed};
  return r;
}

TEST(capacity_report, says_the_interval_in_the_scenarios_rates) {
  const std::string text = capacity_summary(sample());
  EXPECT_NE(text.find("between 2.00 k deliveries/s and 2.50 k deliveries/s"), std::string::npos)
      << text;
  EXPECT_EQ(text.find("time ended"), std::string::npos);
}

TEST(capacity_report, says_what_ended_the_search) {
  capacity_result r = sample();
  r.answer.is_narrow = false;
  EXPECT_NE(capacity_summary(r).find("The time ended the search"), std::string::npos);
  r.answer.kind = capacity_kind::at_least;
  r.answer.ended_by = probe_outcome::limited;
  EXPECT_NE(capacity_summary(r).find("at least 2.00 k"), std::string::npos);
  EXPECT_NE(capacity_summary(r).find("The tool was the limit there: delivery"), std::string::npos);
  r.answer.ended_by = probe_outcome::violated;
  EXPECT_NE(capacity_summary(r).find("messages were wrong"), std::string::npos);
  r.answer.kind = capacity_kind::at_most;
  r.answer.ended_by = probe_outcome::missed;
  EXPECT_NE(capacity_summary(r).find("below 2.50 k"), std::string::npos);
  r.answer.kind = capacity_kind::unknown;
  EXPECT_NE(capacity_summary(r).find("not known"), std::string::npos);
  r.probes.clear();
  EXPECT_NE(capacity_summary(r).find("not known"), std::string::npos);
}

TEST(capacity_report, json_can_be_read_back) {
  simdjson::dom::parser parser;
  const std::string text = capacity_json(sample());
  simdjson::dom::element r;
  ASSERT_EQ(parser.parse(text).get(r), simdjson::SUCCESS) << text;
  EXPECT_EQ(std::string_view(r["kind"]), "interval");
  EXPECT_EQ(std::string_view(r["scenario"]), "rooms <b>\"&");
  EXPECT_EQ(double(r["low"]), 2);
  EXPECT_EQ(std::string_view(r["probes"].at(1)["outcome"]), "missed");
  EXPECT_TRUE(r["probes"].at(0)["server_cpu_cores"].is_null());
}

TEST(capacity_report, foreign_text_is_no_markup) {
  const std::string page = capacity_html(sample());
  EXPECT_EQ(page.find("<b>\"&"), std::string::npos);
  EXPECT_EQ(page.find("<i>"), std::string::npos);
  EXPECT_NE(page.find("rooms &lt;b&gt;"), std::string::npos);
  EXPECT_EQ(page.find("http"), std::string::npos) << "self-contained";
  const std::string table = capacity_markdown(sample());
  EXPECT_EQ(table.find("ms | 80"), std::string::npos) << "a cell's bar must not end it";
}

}  // namespace
}  // namespace loadgen
