// report.json: the writer, and the reader that takes it back. What both share is in tables, so that
// they cannot drift apart.
#include <simdjson.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "loadgen/result.h"
#include "loadgen/text.h"
#include "proto/reply.h"

namespace loadgen {
namespace {

using core::err;
namespace dom = simdjson::dom;

constexpr int64_t kFormat = 1;  // a reader refuses others

template <typename T, typename V>
struct field {
  const char* name;
  V T::*at;
};

constexpr field<run_result, uint64_t> kTotals[] = {{"sent", &run_result::sent},
                                                   {"acked", &run_result::acked},
                                                   {"delivered", &run_result::delivered},
                                                   {"expected", &run_result::expected},
                                                   {"errors", &run_result::errors}};
constexpr field<run_result, uint64_t> kCounts[] = {
    {"retried", &run_result::retried},
    {"duplicates_answered", &run_result::duplicates_answered},
    {"conflicts_refused", &run_result::conflicts_refused},
    {"reconnects", &run_result::reconnects},
    {"recovered", &run_result::recovered},
    {"unrecovered", &run_result::unrecovered},
    {"late_sends", &run_result::late_sends},
    {"bytes_in", &run_result::bytes_in},
    {"bytes_out", &run_result::bytes_out}};
constexpr field<run_result, double> kCosts[] = {
    {"server_cpu_us_per_delivery", &run_result::server_cpu_us_per_delivery},
    {"server_rss_bytes", &run_result::server_rss_bytes},
    {"tool_cpu_us_per_delivery", &run_result::tool_cpu_us_per_delivery}};
constexpr field<run_result, std::string> kRunTexts[] = {
    {"about", &run_result::about},
    {"url", &run_result::url},
    {"dialect", &run_result::dialect},
    {"tool_version", &run_result::tool_version},
    {"started", &run_result::started},
    {"generator_limited_why", &run_result::generator_limited_why}};
constexpr field<run_result, double> kRunNumbers[] = {
    {"seconds", &run_result::seconds},
    {"server_cpu_s", &run_result::server_cpu_s},
    {"server_calls_per_delivery", &run_result::server_calls_per_delivery},
    {"tool_cpu_share", &run_result::tool_cpu_share},
    {"tool_ceiling_per_core_s", &run_result::tool_ceiling_per_core_s}};
constexpr field<run_result, uint32_t> kRunSizes[] = {{"connections", &run_result::connections},
                                                     {"rooms", &run_result::rooms}};
constexpr field<second_sample, uint64_t> kSampleCounts[] = {
    {"sent", &second_sample::sent},
    {"acked", &second_sample::acked},
    {"delivered", &second_sample::delivered},
    {"errors", &second_sample::errors},
    {"connected", &second_sample::connected},
    {"delivery_p50_us", &second_sample::delivery_p50_us},
    {"delivery_p99_us", &second_sample::delivery_p99_us},
    {"delivery_max_us", &second_sample::delivery_max_us},
    {"ack_p99_us", &second_sample::ack_p99_us}};
constexpr field<second_sample, double> kSampleNumbers[] = {
    {"at_s", &second_sample::at_s},
    {"tool_cpu", &second_sample::tool_cpu},
    {"server_cpu", &second_sample::server_cpu},
    {"server_rss_bytes", &second_sample::server_rss_bytes}};

// Writing. Commas come before a name or an item, unless it is the first of its object or array.
struct writer {
  std::string out;
  bool is_first = true;

  void next() {
    if (!is_first) out += ',';
    is_first = false;
  }
  void text(std::string_view v) { proto::json_string(&out, utf8_text(v)); }
  void name(std::string_view n) {
    next();
    text(n);
    out += ':';
  }
  void open(char bracket) {
    out += bracket;
    is_first = true;
  }
  void close(char bracket) {
    out += bracket;
    is_first = false;
  }
  void number(double v) {  // the shortest text that reads back as the same number
    char digits[32];
    if (!std::isfinite(v)) {
      out += "null";
      return;
    }
    const auto end = std::to_chars(digits, digits + sizeof digits, v).ptr;
    out.append(digits, static_cast<size_t>(end - digits));
  }
  void add(std::string_view n, uint64_t v) {
    name(n);
    proto::json_u64(&out, v);
  }
  void add(std::string_view n, double v) {  // less than zero: not known
    name(n);
    number(v < 0 ? NAN : v);
  }
  void add(std::string_view n, std::string_view v) {
    name(n);
    text(v);
  }
  void add_flag(std::string_view n, bool v) {
    name(n);
    out += v ? "true" : "false";
  }
  template <typename T, typename F, size_t n>
  void add_all(const T& from, const F (&fields)[n]) {
    for (const F& f : fields) add(f.name, from.*f.at);
  }
};

void write_latencies(writer* w, const run_result& r) {
  w->name("latency_us");
  w->open('{');
  for (const auto& [name, h] : r.latencies) {
    w->out += w->is_first ? "\n " : "";
    w->name(name);
    w->open('{');
    w->add("count", h.total);
    w->add("min", h.min);
    w->add("p50", histogram_at(h, 0.5));
    w->add("p90", histogram_at(h, 0.9));
    w->add("p99", histogram_at(h, 0.99));
    w->add("p999", histogram_at(h, 0.999));
    w->add("p9999", histogram_at(h, 0.9999));
    w->add("max", h.max);
    w->add("mean", histogram_mean(h));
    w->close('}');
  }
  w->close('}');
}

void write_objectives(writer* w, const run_result& r) {
  w->name("objectives");
  w->open('[');
  for (const objective_row& o : r.objectives) {
    w->next();
    w->open('{');
    w->add("name", o.name);
    w->add("allowed", o.allowed);
    w->add("measured", o.measured);
    w->add_flag("kept", o.is_kept);
    w->close('}');
  }
  w->close(']');
}

void write_run(writer* w, const run_result& r) {
  w->name("run");
  w->open('{');
  w->add("format", static_cast<uint64_t>(kFormat));
  // As text: most readers of JSON lose 64 bits.
  w->add("schedule_digest", digest_text(r.schedule_digest));
  w->add_all(r, kRunTexts);
  w->add_all(r, kRunNumbers);
  for (const auto& f : kRunSizes) w->add(f.name, uint64_t{r.*f.at});
  w->close('}');
  w->name("counts");
  w->open('{');
  w->add_all(r, kCounts);
  w->close('}');
  w->name("machine");
  w->open('{');
  for (const auto& [name, value] : r.machine) w->add(name, value);
  w->close('}');
}

void write_violations(writer* w, const run_result& r) {
  w->name("kept_violations");
  w->open('[');
  for (const violation& v : r.kept) {
    w->next();
    w->out += '\n';
    w->open('{');
    w->add("kind", violation_name(v.kind));
    w->add("channel", v.channel);
    w->add("offset", v.offset);
    w->name("receiver");
    if (v.receiver == UINT32_MAX) {
      w->out += "null";
    } else {
      proto::json_u64(&w->out, v.receiver);
    }
    w->add("at_us", v.at_us);
    w->add("text", v.text);
    w->close('}');
  }
  w->close(']');
}

void write_series(writer* w, const run_result& r) {
  w->name("faults");
  w->open('[');
  for (const fault_mark& f : r.faults) {
    w->next();
    w->open('{');
    w->add("at_s", f.at_s);
    w->add("text", f.text);
    w->close('}');
  }
  w->close(']');
  w->name("series");
  w->open('[');
  for (const second_sample& s : r.series) {
    w->next();
    w->out += '\n';
    w->open('{');
    w->add_all(s, kSampleNumbers);
    w->add_all(s, kSampleCounts);
    if (!s.server_metrics.empty()) {
      w->name("server_metrics");
      w->open('{');
      for (const auto& [name, value] : s.server_metrics) {
        w->name(name);
        w->number(value);
      }
      w->close('}');
    }
    w->close('}');
  }
  w->close(']');
}

}  // namespace

std::string result_json(const run_result& r) {
  writer w;
  w.open('{');
  w.add("scenario", r.scenario);
  w.add("seed", r.seed);
  for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k)
    w.add(violation_name(static_cast<violation_kind>(k)), r.violations[k]);
  w.add("violations", result_violations(r));
  w.name("not_judged");
  w.open('[');
  for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k) {
    if (!r.is_unjudged[k]) continue;
    w.next();
    w.text(violation_name(static_cast<violation_kind>(k)));
  }
  w.close(']');
  w.add_flag("generator_limited", r.is_generator_limited);
  w.add_flag("closed_loop", r.is_closed_loop);
  w.add_all(r, kTotals);
  write_latencies(&w, r);
  w.add_all(r, kCosts);
  write_objectives(&w, r);
  write_run(&w, r);
  w.name("histograms");
  w.open('{');
  for (const auto& [name, h] : r.latencies) w.add(name, histogram_encode(h));
  w.close('}');
  write_violations(&w, r);
  write_series(&w, r);
  w.close('}');
  w.out += '\n';
  return std::move(w.out);
}

namespace {

// Reading. What is not there keeps its default; what is there must have its type.
bool take(dom::element v, uint64_t* out) {
  return v.get_uint64().get(*out) == simdjson::SUCCESS;
}
bool take(dom::element v, uint32_t* out) {
  uint64_t n = 0;
  if (!take(v, &n) || n > UINT32_MAX) return false;
  *out = static_cast<uint32_t>(n);
  return true;
}
bool take(dom::element v, double* out) {  // null: not known
  *out = -1;
  return v.is_null() || v.get_double().get(*out) == simdjson::SUCCESS;
}
bool take(dom::element v, bool* out) {
  return v.get_bool().get(*out) == simdjson::SUCCESS;
}
bool take(dom::element v, std::string* out) {
  std::string_view text;
  if (v.get_string().get(text) != simdjson::SUCCESS) return false;
  out->assign(text);
  return true;
}

struct reader {
  std::string wrong;  // the first field that is not what it should be

  bool fail(std::string_view name) {
    if (wrong.empty()) wrong = name;
    return false;
  }
  template <typename V>
  bool read(dom::object from, const char* name, V* out) {
    dom::element v;
    if (from[name].get(v) != simdjson::SUCCESS) return true;
    return take(v, out) || fail(name);
  }
  template <typename T, typename F, size_t n>
  bool read_all(dom::object from, T* into, const F (&fields)[n]) {
    for (const F& f : fields) {
      if (!read(from, f.name, &(into->*f.at))) return false;
    }
    return true;
  }
  template <typename F>
  bool each_item(dom::object from, const char* name, F use) {
    dom::element v;
    if (from[name].get(v) != simdjson::SUCCESS) return true;
    dom::array items;
    if (v.get_array().get(items) != simdjson::SUCCESS) return fail(name);
    for (const dom::element item : items) {
      dom::object o;
      if (item.get_object().get(o) != simdjson::SUCCESS || !use(o)) return fail(name);
    }
    return true;
  }
  template <typename F>
  bool each_field(dom::object from, const char* name, F use) {
    dom::element v;
    if (from[name].get(v) != simdjson::SUCCESS) return true;
    dom::object fields;
    if (v.get_object().get(fields) != simdjson::SUCCESS) return fail(name);
    for (const dom::key_value_pair f : fields) {
      if (!use(std::string(f.key), f.value)) return fail(name);
    }
    return true;
  }
};

bool read_violation(reader* in, dom::object o, violation* v) {
  std::string kind;
  dom::element receiver;
  v->receiver = UINT32_MAX;
  if (o["receiver"].get(receiver) == simdjson::SUCCESS && !receiver.is_null() &&
      !take(receiver, &v->receiver))
    return false;
  if (!in->read(o, "kind", &kind) || !in->read(o, "channel", &v->channel) ||
      !in->read(o, "offset", &v->offset) || !in->read(o, "at_us", &v->at_us) ||
      !in->read(o, "text", &v->text))
    return false;
  for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k) {
    v->kind = static_cast<violation_kind>(k);
    if (kind == violation_name(v->kind)) return true;
  }
  return false;
}

bool read_sample(reader* in, dom::object o, second_sample* s) {
  return in->read_all(o, s, kSampleNumbers) && in->read_all(o, s, kSampleCounts) &&
         in->each_field(o, "server_metrics", [s](std::string name, dom::element v) {
           return take(v, &s->server_metrics[std::move(name)]);
         });
}

bool read_run(reader* in, dom::object top, run_result* r) {
  dom::object run, counts;
  uint64_t format = 0;
  std::string digest;
  if (top["run"].get_object().get(run) != simdjson::SUCCESS) return in->fail("run");
  if (!in->read(run, "format", &format) || format != kFormat) return in->fail("run.format");
  if (!in->read(run, "schedule_digest", &digest) || !in->read_all(run, r, kRunTexts) ||
      !in->read_all(run, r, kRunNumbers) || !in->read_all(run, r, kRunSizes))
    return false;
  const char* end = digest.data() + digest.size();
  if (std::from_chars(digest.data(), end, r->schedule_digest, 16).ptr != end)
    return in->fail("run.schedule_digest");
  return top["counts"].get_object().get(counts) != simdjson::SUCCESS ||
         in->read_all(counts, r, kCounts);
}

bool read_lists(reader* in, dom::object top, run_result* r) {
  return in->each_item(top, "objectives", [in, r](dom::object o) {
    objective_row& row = r->objectives.emplace_back();
    return in->read(o, "name", &row.name) && in->read(o, "allowed", &row.allowed) &&
           in->read(o, "measured", &row.measured) && in->read(o, "kept", &row.is_kept);
  }) && in->each_item(top, "faults", [in, r](dom::object o) {
    fault_mark& f = r->faults.emplace_back();
    return in->read(o, "at_s", &f.at_s) && in->read(o, "text", &f.text);
  }) && in->each_item(top, "kept_violations", [in, r](dom::object o) {
    return r->kept.size() < kViolationsKept && read_violation(in, o, &r->kept.emplace_back());
  }) && in->each_item(top, "series", [in, r](dom::object o) {
    return read_sample(in, o, &r->series.emplace_back());
  }) && in->each_field(top, "machine", [r](std::string name, dom::element v) {
    return take(v, &r->machine[std::move(name)]);
  }) && in->each_field(top, "histograms", [r](std::string name, dom::element v) {
    std::string text;
    return take(v, &text) && histogram_decode(text, &r->latencies[std::move(name)]) == err::ok;
  });
}

bool read_unjudged(reader* in, dom::object top, run_result* r) {
  dom::array names;
  if (top["not_judged"].get(names) != simdjson::SUCCESS) return true;  // as older ones have it
  for (const dom::element item : names) {
    std::string name;
    if (!take(item, &name)) return in->fail("not_judged");
    for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k)
      r->is_unjudged[k] |= name == violation_name(static_cast<violation_kind>(k));
  }
  return true;
}

bool read_top(reader* in, dom::object top, run_result* r) {
  dom::element scenario;
  if (top["scenario"].get(scenario) != simdjson::SUCCESS || !take(scenario, &r->scenario))
    return in->fail("scenario");
  for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k) {
    if (!in->read(top, violation_name(static_cast<violation_kind>(k)), &r->violations[k]))
      return false;
  }
  return in->read(top, "seed", &r->seed) &&
         in->read(top, "generator_limited", &r->is_generator_limited) &&
         in->read(top, "closed_loop", &r->is_closed_loop) && in->read_all(top, r, kTotals) &&
         in->read_all(top, r, kCosts) && read_run(in, top, r) && read_lists(in, top, r) &&
         read_unjudged(in, top, r);
}

}  // namespace

core::err result_parse(std::string_view text, run_result* out, std::string* why) noexcept {
  *out = {};
  dom::parser parser;
  dom::element root;
  dom::object top;
  const simdjson::error_code rc = parser.parse(text.data(), text.size()).get(root);
  if (rc != simdjson::SUCCESS || root.get_object().get(top) != simdjson::SUCCESS) {
    *why = rc != simdjson::SUCCESS ? simdjson::error_message(rc) : "it is no JSON object";
    return err::malformed;
  }
  reader in;
  if (read_top(&in, top, out)) return err::ok;
  *why = "\"" + in.wrong + "\" is missing or not as parley-load writes it";
  return err::malformed;
}

core::err result_read(const std::string& path, run_result* out, std::string* why) noexcept {
  std::FILE* in = std::fopen(path.c_str(), "rb");
  if (in == nullptr) {
    const int error = errno;
    *why = path + " cannot be opened: " + std::strerror(error);
    return error == ENOENT ? err::not_found : err::io;
  }
  // By pieces: it may be a pipe, whose size nobody knows.
  std::string text;
  char piece[65536];
  size_t n = 0;
  while (text.size() <= kReportBytesMax && (n = std::fread(piece, 1, sizeof piece, in)) > 0)
    text.append(piece, n);
  const int error = std::ferror(in) != 0 ? errno : 0;
  std::fclose(in);
  if (error != 0) {
    *why = path + " cannot be read: " + std::strerror(error);
    return err::io;
  }
  if (text.size() > kReportBytesMax) {
    *why = path + " is larger than any report";
    return err::too_big;
  }
  const err rc = result_parse(text, out, why);
  if (rc != err::ok) *why = path + ": " + *why;
  return rc;
}

}  // namespace loadgen
