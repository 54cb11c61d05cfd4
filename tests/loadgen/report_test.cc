// Reports for people: what they must say, that foreign text stays text, and that pages need nothing
// from elsewhere.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "loadgen/plot.h"
#include "loadgen/result.h"
#include "loadgen/result_plots.h"
#include "loadgen/text.h"
#include "tests/loadgen/sample_result.h"

namespace loadgen {
namespace {

using std::string;

bool has(const string& text, const string& part) {
  return text.find(part) != string::npos;
}

size_t count(const string& text, const string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

const string kEvil = "<script>alert(1)</script>&\"'\x1b[31m\xff]]>-->";

// Each text field of a result holds something that would break out if it could.
run_result evil_result() {
  run_result r = sample_bad_result();
  for (string* text : {&r.scenario, &r.about, &r.url, &r.dialect, &r.tool_version, &r.started,
                       &r.generator_limited_why})
    *text = kEvil;
  for (violation& v : r.kept) v.channel = v.text = kEvil;
  for (fault_mark& f : r.faults) f.text = kEvil;
  for (objective_row& o : r.objectives) o.name = kEvil;
  r.machine = {{kEvil, kEvil}};
  r.latencies[kEvil] = r.latencies["ack"];
  for (second_sample& s : r.series) s.server_metrics[kEvil] = 1;
  return r;
}

TEST(text, NumbersHaveThreeDigitsAndAUnit) {
  EXPECT_EQ(duration_text(0), "0 µs");
  EXPECT_EQ(duration_text(87), "87 µs");
  EXPECT_EQ(duration_text(87.25), "87.2 µs");
  EXPECT_EQ(duration_text(999), "999 µs");
  EXPECT_EQ(duration_text(999.7), "1.00 ms");
  EXPECT_EQ(duration_text(1240), "1.24 ms");
  EXPECT_EQ(duration_text(999'600), "1.00 s");
  EXPECT_EQ(duration_text(725e6), "12 min 5 s");
  EXPECT_EQ(duration_text(7200e6), "2 h");
  EXPECT_EQ(duration_text(-1), "–");
  EXPECT_EQ(duration_text(NAN), "–");
  EXPECT_EQ(bytes_text(1023.9 * 1024), "1.00 MiB");
  EXPECT_EQ(bytes_text(512), "512 B");
  EXPECT_EQ(number_text(45'600), "45.6 k");
  EXPECT_EQ(number_text(0.00004), "4e-05");
  EXPECT_EQ(number_text(7), "7");
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(1234567), "1,234,567");
  EXPECT_EQ(share_text(0.123), "12.3 %");
  EXPECT_EQ(named_text("delivery_p99_ms", 12.5), "12.5 ms");
  EXPECT_EQ(named_text("reconnect_all_s", 0.98), "980 ms");
  EXPECT_EQ(named_text("server_cpu_us_per_delivery", 1.6), "1.60 µs");
  EXPECT_EQ(named_text("errors_share", 0.01), "1.00 %");
}

TEST(text, MarkupCannotBreakOut) {
  EXPECT_EQ(markup_text("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(markup_text(string("\0\x01\x7f", 3)), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(markup_text("\xc2\x9b"), "\uFFFD");  // C1: a terminal's CSI
  EXPECT_EQ(markup_text("\xef\xbf\xbf"), "\uFFFD");
  EXPECT_EQ(markup_text("grüße 你好 🙂"), "grüße 你好 🙂");
  EXPECT_EQ(line_text("a\nb\tc\x1b[31m"), "a b c\uFFFD[31m");
  EXPECT_EQ(markdown_text("a|b_c*<i>"), "a\\|b\\_c\\*&lt;i\\>");
}

TEST(text, ColumnsCountCharacters) {
  EXPECT_EQ(column_text("87 µs", 7), "  87 µs");
  EXPECT_EQ(column_text("µ", 3, true) + "|", "µ  |");
  EXPECT_EQ(column_text("too long", 3), "too long");
}

TEST(report_html, SaysTheVerdictFirst) {
  const string bad = report_html(sample_bad_result());
  EXPECT_TRUE(has(bad, "✗ Not correct: 2,003 violations"));
  EXPECT_TRUE(has(bad, "2,000 lost, 2 duplicated, 1 corrupted"));
  EXPECT_TRUE(has(bad, "✗ 2 of 5 objectives missed"));
  EXPECT_TRUE(has(bad, "! Generator-limited"));
  EXPECT_TRUE(has(bad, "busy for 83 %"));
  EXPECT_FALSE(has(bad, "! Closed loop"));
  EXPECT_LT(bad.find("Not correct"), bad.find("<svg"));
  run_result r = sample_result({}, {});
  EXPECT_TRUE(has(report_html(r), "✓ Correct"));
  EXPECT_TRUE(has(report_html(r), "✓ Objectives kept"));
  r.is_closed_loop = true;
  EXPECT_TRUE(has(report_html(r), "! Closed loop"));
  EXPECT_TRUE(has(report_html(r), "This run is a <b>closed loop</b>"));
}

TEST(report_html, NothingDeliveredIsNotCorrect) {
  const string page = report_html({});
  EXPECT_TRUE(has(page, "! Nothing was delivered"));
  EXPECT_FALSE(has(page, "✓ Correct"));
  EXPECT_TRUE(has(page, "nothing was measured"));
}

TEST(report_html, ForeignTextStaysText) {
  const string page = report_html(evil_result());
  EXPECT_FALSE(has(page, "<script>alert"));
  EXPECT_FALSE(has(page, "\x1b"));
  EXPECT_FALSE(has(page, "\xff"));
  EXPECT_TRUE(has(page, "<title>&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;"));
  // As many elements as with harmless text, and each script element closed by its own end.
  const string harmless = report_html(sample_bad_result());
  EXPECT_EQ(count(page, "<script"), count(page, "</script>"));
  EXPECT_EQ(count(page, "<script>"), 1u);
  EXPECT_EQ(count(harmless, "<script>"), 1u);
  EXPECT_EQ(utf8_text(page), page);
}

TEST(report_html, NeedsNothingFromElsewhere) {
  const string page = report_html(sample_bad_result());
  for (const char* no : {"src=", "@import", "url(", "<link", "<iframe", "https://", "fetch("})
    EXPECT_FALSE(has(page, no)) << no;
  EXPECT_TRUE(has(page, "default-src 'none'"));
  EXPECT_TRUE(has(page, "prefers-color-scheme:dark"));
  EXPECT_TRUE(has(page, "@media print"));
}

TEST(report_html, NamesViolationsAndFaults) {
  const string page = report_html(sample_bad_result());
  EXPECT_TRUE(has(page, "load-1f-&lt;big&gt;-0"));
  EXPECT_TRUE(has(page, "1,700"));
  EXPECT_TRUE(has(page, "40.500 s"));
  EXPECT_TRUE(has(page, "200 of 2,003 are shown"));
  EXPECT_TRUE(has(page, "cut 30 % &lt;of&gt; connections"));
  EXPECT_GE(count(page, "class=\"mark\""), 3u * 5);
  EXPECT_TRUE(has(page, "intended time"));
}

TEST(report_html, IsSmallForALongRun) {
  run_result r = sample_result({}, {1, 9000, 1, 1});
  for (int i = 0; i < 200; ++i) r.faults.push_back({i * 45.0, "kill server"});
  const string page = report_html(r);
  EXPECT_LT(page.size(), 700'000u);
  EXPECT_TRUE(has(page, "Each point is the worst of 13 seconds."));
  EXPECT_TRUE(has(page, "200 faults"));
}

TEST(result_plots, ThinningKeepsTheWorst) {
  run_result r = sample_result({}, {1, 3000, 1, 1});
  r.series[1232].delivery_max_us = 77'000'000;
  const plot p = result_plots(r)[0].what;
  ASSERT_LE(p.x.size(), kPlotPointsMax);
  ASSERT_EQ(p.lines[2].name, "max");
  EXPECT_EQ(*std::max_element(p.lines[2].y.begin(), p.lines[2].y.end()), 77e6);
}

TEST(result_plots, ACurveEndsWhereItsValuesDo) {
  run_result r;
  for (uint64_t us = 1; us <= 1000; ++us) {
    histogram_record(&r.latencies["delivery"], us * 10);
    if (us <= 10) histogram_record(&r.latencies["ack"], us * 10);
  }
  const plot p = result_plots(r)[1].what;
  ASSERT_EQ(p.lines.size(), 2u);
  EXPECT_FALSE(std::isnan(p.lines[0].y.back()));
  EXPECT_NEAR(p.x.back(), 0.999, 1e-9);
  for (size_t i = 0; i < p.x.size(); ++i)
    EXPECT_EQ(std::isnan(p.lines[1].y[i]), p.x[i] > 0.9001) << p.x[i];
}

TEST(plot, TicksAreRound) {
  EXPECT_EQ(axis_ticks(0, 100, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(axis_ticks(0, 1, 2), (std::vector<double>{0, 0.5, 1}));
  EXPECT_EQ(axis_ticks_log(80, 2300), (std::vector<double>{100, 200, 500, 1000, 2000}));
  const std::vector<double> decades = axis_ticks_log(80, 2e6);
  ASSERT_EQ(decades.size(), 5u);
  EXPECT_DOUBLE_EQ(decades[4], 1e6);
}

TEST(plot, GapsPartLinesAndLonePointsAreDots) {
  plot p;
  p.title = "t";
  p.x = {0, 1, 2, 3, 4, 5};
  p.lines = {{"a", 1, {1, 2, NAN, 3, NAN, 5}}};
  const string figure = plot_figure(p);
  EXPECT_EQ(count(figure, "<circle class=\"d1\""), 2u);
  EXPECT_EQ(count(figure, "d=\"M"), 1u);
  p.is_log = true;
  p.lines[0].y = {0, -1, 0, 0, 0, 0};
  EXPECT_TRUE(plot_is_empty(p));
  EXPECT_TRUE(has(plot_figure(p), "nothing was measured"));
}

TEST(plot, OneValueOrAllTheSameAreDrawn) {
  for (const bool is_log : {false, true}) {
    plot p;
    p.is_log = is_log;
    p.x = {0};
    p.lines = {{"a", 1, {5}}};
    EXPECT_FALSE(has(plot_figure(p), "nan"));
    EXPECT_FALSE(has(plot_figure(p), "inf"));
    p.x = {0, 1};
    p.lines[0].y = {0, 0};
    EXPECT_FALSE(has(plot_figure(p), "nan"));
  }
}

TEST(report_markdown, SaysItAllAndStaysMarkdown) {
  const string text = report_markdown(sample_bad_result());
  EXPECT_TRUE(has(text, "not correct: 2,000 lost, 2 duplicated, 1 corrupted"));
  EXPECT_TRUE(has(text, "**missed**"));
  EXPECT_TRUE(has(text, "**Generator-limited**"));
  EXPECT_TRUE(has(text, "… 2,003 in all"));
  const string evil = report_markdown(evil_result());
  EXPECT_FALSE(has(evil, "<script"));
  EXPECT_FALSE(has(evil, "\x1b"));
}

TEST(report_junit, AFailureForEachKindAndObjective) {
  const string text = report_junit(sample_bad_result());
  EXPECT_TRUE(has(text, "tests=\"17\" failures=\"5\" skipped=\"1\""));
  EXPECT_EQ(count(text, "<testcase "), 17u);
  EXPECT_EQ(count(text, "<failure "), 5u);
  EXPECT_EQ(count(text, "lost: load-1f"), 20u);
  EXPECT_TRUE(has(text, "message=\"870 ms, allowed 100 ms\""));
  const string good = report_junit(sample_result({}, {}));
  EXPECT_TRUE(has(good, "failures=\"0\" skipped=\"0\""));
  const string evil = report_junit(evil_result());
  EXPECT_FALSE(has(evil, "<script"));
  EXPECT_FALSE(has(evil, "\x1b"));
  EXPECT_EQ(utf8_text(evil), evil);
}

TEST(reports, WhatIsNotJudgedIsNotCalledRight) {
  run_result r = sample_result({}, {});
  r.dialect = "socket.io";
  const string all = "has none of it: presence (presence)";
  EXPECT_FALSE(has(report_summary(r, false) + report_html(r) + report_markdown(r), "of it: "));
  r.is_unjudged[static_cast<size_t>(violation_kind::presence)] = true;
  EXPECT_TRUE(has(report_summary(r, false), "not judged, since socket.io " + all));
  EXPECT_TRUE(has(report_html(r), "Since socket.io " + all));
  EXPECT_TRUE(has(report_markdown(r), "**Not judged**, since socket.io " + all));
  const string junit = report_junit(r);
  EXPECT_TRUE(has(junit, "failures=\"0\" skipped=\"1\""));
  EXPECT_TRUE(
      has(junit, "none presence\"><skipped message=\"socket.io has nothing of the kind\"/>"));
}

TEST(report_summary, HasColourOnlyWhenAsked) {
  const run_result r = evil_result();
  EXPECT_FALSE(has(report_summary(r, false), "\x1b"));
  const string coloured = report_summary(r, true);
  EXPECT_TRUE(has(coloured, "\x1b[1;31m"));
  EXPECT_FALSE(has(coloured, "\x1b[31m"));  // the one in the texts
  EXPECT_TRUE(
      has(report_summary(sample_result({}, {}), false), "one-room-1k: correct, objectives kept"));
  EXPECT_TRUE(has(report_summary(sample_bad_result(), false),
                  "missed delivery_p99_ms: 870 ms, allowed 100 ms"));
  EXPECT_TRUE(has(report_summary({}, false), "nothing was delivered"));
}

}  // namespace
}  // namespace loadgen
