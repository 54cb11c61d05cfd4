// What is known after a run: the one structure that reports are made from and comparisons read
// back.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"
#include "loadgen/histogram.h"

namespace loadgen {

enum class violation_kind : uint8_t {
  lost,        // published and seen or acknowledged, and missing at a receiver at the end
  duplicated,  // a receiver got it twice
  reordered,   // a receiver got it behind a later one
  different,   // two receivers, or a receiver and history, have different messages at one offset
  corrupted,   // its bytes changed on the way
  delayed,     // later than delivery_deadline_s, with no fault under way
  unacked_history,  // acknowledged and not in history
  stored_twice,     // one key at two offsets
  unrecovered,      // recovered:false where recovery was due
  presence,         // the channel's presence is not who is in it
  refused,          // an error that the scenario does not allow
  kCount
};
const char* violation_name(violation_kind k) noexcept;  // "lost"

struct violation {
  violation_kind kind;
  std::string channel;
  uint64_t offset = 0;    // or the message's place in the channel when there are no offsets
  uint32_t receiver = 0;  // peer index; UINT32_MAX: no receiver is concerned
  uint64_t at_us = 0;     // on the run's clock
  std::string text;       // one sentence
};

inline constexpr uint32_t kViolationsKept = 1000;  // with their text; all are counted

// One second of the run.
struct second_sample {
  double at_s = 0;
  uint64_t sent = 0, acked = 0, delivered = 0, errors = 0, connected = 0;
  uint64_t delivery_p50_us = 0, delivery_p99_us = 0, delivery_max_us = 0,
           ack_p99_us = 0;                        // 0: none came in this second
  double tool_cpu = 0;                            // cores
  double server_cpu = -1, server_rss_bytes = -1;  // -1: not known (no --pid)
  std::map<std::string, double> server_metrics;   // a chosen few of its Prometheus metrics
};

struct fault_mark {
  double at_s = 0;
  std::string text;  // "kill server"
};

struct objective_row {
  std::string name;  // "delivery_p99_ms"
  double allowed = 0, measured = 0;
  bool is_kept = true;
};

struct run_result {
  std::string scenario, about, url, dialect, tool_version, started;  // started: RFC 3339, UTC
  uint64_t seed = 0, schedule_digest = 0;
  bool is_closed_loop = false;  // window mode: its latencies are not those of an open system
  bool is_generator_limited = false;
  std::string generator_limited_why;
  double seconds = 0;  // measured phases
  uint32_t connections = 0, rooms = 0;
  uint64_t sent = 0, acked = 0, delivered = 0, expected = 0, errors = 0, retried = 0,
           duplicates_answered = 0, conflicts_refused = 0, reconnects = 0, recovered = 0,
           unrecovered = 0;
  uint64_t late_sends = 0;  // sent more than 1 ms after their time
  uint64_t bytes_in = 0, bytes_out = 0;
  std::map<std::string, histogram>
      latencies;  // by class: "delivery", "delivery/big" (a group), "delivery/slow" (slow
                  // readers', in no other class), "first", "last", "ack", "connect",
                  // "subscribe", "recovery", "history", "late"
  uint64_t violations[static_cast<size_t>(violation_kind::kCount)] = {};
  bool is_unjudged[static_cast<size_t>(violation_kind::kCount)] = {};  // the server has nothing of
                                                                       // what could be wrong
  std::vector<violation> kept;
  std::vector<second_sample> series;
  std::vector<fault_mark> faults;
  std::vector<objective_row> objectives;
  // Over the measured phases; -1: not known.
  double server_cpu_us_per_delivery = -1, server_cpu_s = -1, server_rss_bytes = -1,
         server_calls_per_delivery = -1;
  double tool_cpu_us_per_delivery = 0, tool_cpu_share = 0;
  double tool_ceiling_per_core_s = -1;  // deliveries a loop of the tool can take; -1: not measured
  std::map<std::string, std::string> machine;  // cores, kernel, model
  // Of this run alone, not in report.json: where check_log.h's files are, and why they are not
  // whole.
  std::string logs_dir, logs_cut_why;
};

uint64_t result_violations(const run_result& r) noexcept;  // of all kinds
// "history (unacked_history), presence (presence)": what was not judged; empty: everything was.
std::string result_unjudged_text(const run_result& r);

// report.json. At the top level what scripts rely on: scenario, seed, every violation kind by name,
// violations (their sum), not_judged (names of kinds), generator_limited, closed_loop, sent, acked,
// delivered, expected, errors, latency_us {class: {count, min, p50, p90, p99, p999, p9999, max,
// mean}}, server_cpu_us_per_delivery, server_rss_bytes, tool_cpu_us_per_delivery, objectives;
// behind them run, counts, machine, histograms (histogram_encode), faults, kept_violations, series.
// A number that is not known is null. Texts that are not UTF-8 are repaired.
std::string result_json(const run_result& r);
inline constexpr uint64_t kReportBytesMax = 1ull << 30;  // of report.json: a day's series is 30 MB
// Everything that result_json() wrote. not_found, io, too_big, malformed: *why is a sentence with
// the path.
core::err result_read(const std::string& path, run_result* out, std::string* why) noexcept;
core::err result_parse(std::string_view text, run_result* out, std::string* why) noexcept;
bool result_is_correct(const run_result& r) noexcept;  // no violation
bool result_is_kept(const run_result& r) noexcept;     // no objective missed
int result_exit_code(
    const run_result& r) noexcept;  // 0, 1 objective missed, 2 correctness violated

// Whatever the texts in `r` hold, it cannot become markup, or an escape sequence of a terminal.
std::string report_html(const run_result& r);  // self-contained: no script from elsewhere, no
                                               // network; reads without scripts
std::string report_markdown(const run_result& r);
std::string report_junit(const run_result& r);
std::string report_summary(const run_result& r, bool has_colour);  // for the terminal

}  // namespace loadgen
