// Logs of one run, found, compared with each other, and played into checkers; or printed.
#include "loadgen/check_replay.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "loadgen/check_log_file.h"

namespace loadgen {
namespace {

struct reader_closer {
  void operator()(check_log_reader* r) const noexcept { check_log_free(r); }
};
using reader = std::unique_ptr<check_log_reader, reader_closer>;

struct checker_closer {
  void operator()(checker* c) const noexcept { checker_free(c); }
};

std::string run_text(uint32_t run) {
  char text[16];
  std::snprintf(text, sizeof text, "%08x", run);
  return text;
}

core::err list_logs(const std::string& dir, std::vector<std::string>* paths, std::string* why) {
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ec)) {
    if (is_log_file(entry.path().filename().string())) paths->push_back(entry.path().string());
  }
  if (ec) {
    *why = dir + " cannot be read: " + ec.message();
    return core::err::io;
  }
  if (!paths->empty()) return core::err::ok;
  *why = dir + " has no logs (loop-0.log …); a run leaves them in OUT/logs";
  return core::err::not_found;
}

bool is_same_rooms(const std::vector<check_room>& a, const std::vector<check_room>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const check_room& x, const check_room& y) {
                      return x.channel == y.channel && x.publishers == y.publishers &&
                             x.has_offsets == y.has_offsets;
                    });
}

// By loop. They must be all logs of one run.
core::err open_logs(const std::string& dir, std::vector<reader>* out, std::string* why) {
  std::vector<std::string> paths;
  core::err rc = list_logs(dir, &paths, why);
  if (rc != core::err::ok) return rc;
  std::vector<reader> found;
  for (const std::string& path : paths) {
    check_log_reader* r = nullptr;
    rc = check_log_open(path, &r, why);
    if (rc != core::err::ok) return rc;
    found.emplace_back(r);
  }
  const check_log_reader* one = found[0].get();  // stays where it is when its owner moves
  const check_log_header& first = check_log_about(one);
  out->resize(found.size());
  for (reader& r : found) {
    const check_log_header& h = check_log_about(r.get());
    if (h.run != first.run || h.loops != first.loops ||
        !is_same_rooms(check_log_rooms(r.get()), check_log_rooms(one))) {
      *why = dir + " holds logs of several runs (" + run_text(first.run) + " of " + first.started +
             ", " + run_text(h.run) + " of " + h.started + "): give each its own directory";
      return core::err::conflict;
    }
    if (h.loop >= out->size() || (*out)[h.loop] != nullptr || h.loops != found.size()) {
      *why = dir + ": the run had " + std::to_string(h.loops) + " loops, but there are " +
             std::to_string(found.size()) + " logs, and all different are needed";
      return core::err::conflict;
    }
    (*out)[h.loop] = std::move(r);
  }
  return core::err::ok;
}

// One loop's log into its checker. Returns why it is not whole; *end_us is 0 then.
std::string play(check_log_reader* log, checker* c, uint64_t* events, uint64_t* end_us) {
  const std::string name = log_file_name(check_log_about(log).loop);
  check_record r;
  while (check_log_next(log, &r)) {
    ++*events;
    if (r.what == check_event::cut)
      return name + ": the run went on without a log: " + std::string(r.text);
    if (r.what == check_event::finish) {
      *end_us = r.now_us;
      return {};
    }
    if (!checker_apply(c, r)) return name + ": an event names a room or a member that is not there";
  }
  if (!check_log_damage(log).empty()) return name + ": " + check_log_damage(log);
  return name + " ends before the run's end: the tool was stopped";
}

void judge(const std::vector<reader>& logs, replay_result* out) {
  out->about = check_log_about(logs[0].get());
  out->rooms = check_log_rooms(logs[0].get()).size();
  std::vector<std::unique_ptr<checker, checker_closer>> owned;
  std::vector<checker*> all;
  uint64_t end_us = 0;
  for (const reader& log : logs) {
    owned.emplace_back(checker_new(check_log_rooms(log.get())));
    all.push_back(owned.back().get());
    std::string why = play(log.get(), all.back(), &out->events, &end_us);
    if (!why.empty()) out->incomplete.push_back(std::move(why));
  }
  if (out->incomplete.empty()) checkers_judge(all, end_us);
  for (const checker* c : all) {
    for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k)
      out->violations[k] += checker_counts(c)[k];
    for (const violation& v : checker_violations(c)) {
      if (out->kept.size() < kViolationsKept) out->kept.push_back(v);
    }
  }
}

void print_violation(const violation& v, std::FILE* out) {
  std::fprintf(out, "%-15s %s offset %llu", violation_name(v.kind),
               v.channel.empty() ? "(no channel)" : v.channel.c_str(),
               static_cast<unsigned long long>(v.offset));
  if (v.receiver != UINT32_MAX) std::fprintf(out, " receiver %u", v.receiver);
  std::fprintf(out, " at %.3f s: %s\n", static_cast<double>(v.at_us) / 1e6, v.text.c_str());
}

int print_verdict(const replay_options& o, const replay_result& r, std::FILE* out) {
  std::fprintf(out, "%s: seed %llu, run %s of %s, %u loops, %zu rooms, %llu events\n",
               r.about.scenario.c_str(), static_cast<unsigned long long>(r.about.seed),
               run_text(r.about.run).c_str(), r.about.started.c_str(), r.about.loops, r.rooms,
               static_cast<unsigned long long>(r.events));
  for (const violation& v : r.kept) {
    if (replay_is_wanted(o, v.channel, v.receiver)) print_violation(v, out);
  }
  for (const std::string& why : r.incomplete) std::fprintf(out, "not whole: %s\n", why.c_str());
  uint64_t total = 0;
  std::string counts;
  for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k) {
    total += r.violations[k];
    if (r.violations[k] > 0)
      counts += std::string(counts.empty() ? "" : ", ") + std::to_string(r.violations[k]) + " " +
                violation_name(static_cast<violation_kind>(k));
  }
  if (total > 0) {
    std::fprintf(out, "%llu violations: %s\n", static_cast<unsigned long long>(total),
                 counts.c_str());
    return 2;
  }
  if (r.incomplete.empty()) {
    std::fputs("correct\n", out);
    return 0;
  }
  std::fputs("no violation in what is there; of what was still to come nothing is known\n", out);
  return 3;
}

}  // namespace

core::err replay_logs(const std::string& dir, replay_result* out, std::string* why) {
  *out = {};
  std::vector<reader> logs;
  const core::err rc = open_logs(dir, &logs, why);
  if (rc == core::err::ok) judge(logs, out);
  return rc;
}

int replay_print(const replay_options& o, std::FILE* out) {
  std::vector<reader> logs;
  std::string why;
  if (open_logs(o.dir, &logs, &why) != core::err::ok) {
    std::fprintf(stderr, "parley-load: %s\n", why.c_str());
    return 3;
  }
  if (o.is_dump) {
    std::vector<check_log_reader*> readers;
    for (const reader& r : logs) readers.push_back(r.get());
    return replay_dump(o, readers, out);
  }
  replay_result r;
  judge(logs, &r);
  return print_verdict(o, r, out);
}

}  // namespace loadgen
