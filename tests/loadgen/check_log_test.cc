// Logs: what the live checkers found is found again, in the same words; damaged, cut and mixed logs
// are named and never believed.
#include "loadgen/check_log.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "loadgen/check_code.h"
#include "loadgen/check_replay.h"
#include "loadgen/random.h"

namespace loadgen {
namespace {

using core::err;
using std::string;
namespace fs = std::filesystem;

constexpr size_t kKinds = static_cast<size_t>(violation_kind::kCount);

string read_all(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_all(const fs::path& path, const string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A run of two loops without a server: a room with offsets, one without, each with two receivers a
// loop.
struct recorded_run {
  check_logs* logs = nullptr;
  std::vector<checker*> loops;
  uint64_t now_us = 0;
  string cut_why;
  explicit recorded_run(const string& dir, uint32_t run = 7, uint64_t bytes_max = kLogBytesMax) {
    const std::vector<check_room> rooms = {{"kept", 2, true}, {"live", 2, false}};
    check_log_header head;
    head.scenario = "recorded";
    head.started = "2026-01-02T03:04:05Z";
    head.seed = 42;
    head.run = run;
    head.loops = 2;
    string why;
    EXPECT_EQ(check_logs_open(dir, head, rooms, bytes_max, &logs, &why), err::ok) << why;
    for (uint32_t l = 0; l < 2; ++l) {
      checker* c = loops.emplace_back(checker_new(rooms));
      check_log_clock(
          check_logs_at(logs, l),
          [](const void* user) noexcept { return *static_cast<const uint64_t*>(user); }, &now_us);
      checker_listen(
          c,
          [](void* user, const check_record& r) noexcept {
            check_log_add(static_cast<check_log*>(user), r);
          },
          check_logs_at(logs, l));
      for (uint32_t m = 0; m < 4; ++m) checker_join(c, checker_member(c, m / 2, 10 * l + m), 0);
      checker_start(c);
    }
  }
  ~recorded_run() {
    if (logs != nullptr) check_logs_close(logs, &cut_why);
    for (checker* c : loops) checker_free(c);
  }
  static stamp message(uint32_t room, uint32_t i) { return {7, room, i % 2, i / 2, 1000 * i}; }
  void take(uint32_t l, uint32_t m, uint32_t i) {
    now_us += 10;
    (void)checker_take(loops[l], m, m < 2 ? i + 1 : 0, message(m / 2, i), now_us);
  }
  void ack(uint32_t i) {
    for (uint32_t room = 0; room < 2; ++room)
      checker_acked(loops[0], room, i % 2, i / 2, room == 0 ? i + 1 : 0, ++now_us);
  }
  void all_take(uint32_t i) {
    for (uint32_t l = 0; l < 2; ++l) {
      for (uint32_t m = 0; m < 4; ++m) take(l, m, i);
    }
    ack(i);
  }
  void read_history(uint32_t messages) {
    for (uint32_t i = 0; i < messages; ++i)
      checker_history(loops[1], 0, i + 1, message(0, i), now_us);
    checker_history_end(loops[1], 0, messages);
  }
  void end() {
    checkers_judge(loops, now_us += 1000);
    check_logs_close(logs, &cut_why);
    logs = nullptr;
  }
  uint64_t count(violation_kind k) const {
    uint64_t n = 0;
    for (const checker* c : loops) n += checker_counts(c)[static_cast<size_t>(k)];
    return n;
  }
};

struct check_log_test : testing::Test {
  string dir;
  check_log_test() {
    char name[] = "/tmp/check-log-XXXXXX";
    dir = mkdtemp(name);
  }
  ~check_log_test() override { fs::remove_all(dir); }

  // The replay has what the live checkers have, to the word.
  void expect_same(const recorded_run& live) {
    replay_result again;
    string why;
    ASSERT_EQ(replay_logs(dir, &again, &why), err::ok) << why;
    EXPECT_EQ(again.incomplete, std::vector<string>{});
    for (size_t k = 0; k < kKinds; ++k)
      EXPECT_EQ(again.violations[k], live.count(static_cast<violation_kind>(k)))
          << violation_name(static_cast<violation_kind>(k));
    size_t n = 0;
    for (const checker* c : live.loops) {
      for (const violation& v : checker_violations(c)) {
        ASSERT_LT(n, again.kept.size());
        const violation& w = again.kept[n++];
        EXPECT_EQ(w.kind, v.kind);
        EXPECT_EQ(w.channel, v.channel);
        EXPECT_EQ(w.offset, v.offset);
        EXPECT_EQ(w.receiver, v.receiver);
        EXPECT_EQ(w.at_us, v.at_us);
        EXPECT_EQ(w.text, v.text);
      }
    }
    EXPECT_EQ(n, again.kept.size());
  }
  string print(const replay_options& o, int expected_code) {
    std::FILE* out = std::tmpfile();
    EXPECT_EQ(replay_print(o, out), expected_code);
    std::rewind(out);
    string text;
    for (int c = 0; (c = std::fgetc(out)) != EOF;) text.push_back(static_cast<char>(c));
    std::fclose(out);
    return text;
  }
  string print(int expected_code) {
    replay_options o;
    o.dir = dir;
    return print(o, expected_code);
  }
  string refusal() {
    replay_result r;
    string why;
    EXPECT_NE(replay_logs(dir, &r, &why), err::ok);
    return why;
  }
  void record_short_run() {
    recorded_run r(dir);
    for (uint32_t i = 0; i < 10; ++i) r.all_take(i);
    r.read_history(10);
    r.end();
  }
};

TEST_F(check_log_test, a_right_run_is_right_again) {
  recorded_run r(dir);
  for (uint32_t i = 0; i < 100; ++i) r.all_take(i);
  r.read_history(100);
  r.end();
  EXPECT_EQ(r.cut_why, "");
  expect_same(r);
  const string text = print(0);
  EXPECT_NE(text.find("recorded: seed 42, run 00000007"), string::npos) << text;
  EXPECT_NE(text.find("\ncorrect\n"), string::npos) << text;
}

TEST_F(check_log_test, each_kind_is_found_again) {
  const struct {
    violation_kind kind;
    void (*make)(recorded_run* r);
  } table[] = {
      {violation_kind::lost,
       [](recorded_run* r) {
         r->take(0, 0, 0);
         r->take(0, 0, 2);
       }},
      {violation_kind::duplicated,
       [](recorded_run* r) {
         for (const uint32_t m : {0, 2}) {
           r->take(0, m, 0);
           r->take(0, m, 0);
         }
       }},
      {violation_kind::reordered,
       [](recorded_run* r) {
         for (const uint32_t i : {0, 2, 1}) r->take(0, 1, i);
       }},
      {violation_kind::different,
       [](recorded_run* r) {
         r->take(0, 0, 0);
         (void)checker_take(r->loops[1], 0, 1, recorded_run::message(0, 5), 7);
       }},
      {violation_kind::corrupted,
       [](recorded_run* r) { checker_corrupt(r->loops[0], 1, 1, 5, "it has changed"); }},
      {violation_kind::delayed,
       [](recorded_run* r) {
         checker_note(r->loops[1], violation_kind::delayed, "kept", 3, 11, 9, "it came late");
       }},
      {violation_kind::unacked_history,
       [](recorded_run* r) {
         r->all_take(0);
         r->all_take(1);
         checker_history(r->loops[1], 0, 1, recorded_run::message(0, 0), 1);
         checker_history_end(r->loops[1], 0, 2);
       }},
      {violation_kind::stored_twice,
       [](recorded_run* r) {
         r->ack(0);
         checker_repeated(r->loops[0], 0, 0, 0, 1, false, 3);
       }},
      {violation_kind::unrecovered,
       [](recorded_run* r) {
         checker_unrecovered(r->loops[0], 0, 4, 3, true);
         checker_unrecovered(r->loops[0], 1, 4, 3, false);
       }},
      {violation_kind::presence,
       [](recorded_run* r) {
         checker_note(r->loops[0], violation_kind::presence, "live", 0, UINT32_MAX, 9, "3, not 4");
       }},
      {violation_kind::refused,
       [](recorded_run* r) {
         checker_note(r->loops[0], violation_kind::refused, "", 0, 1, 9, "error 103 denied");
         checker_refused(r->loops[0], 1, 0, 0);
         checker_leave(r->loops[0], 2);
       }},
  };
  static_assert(std::size(table) == kKinds);
  for (const auto& row : table) {
    SCOPED_TRACE(violation_name(row.kind));
    recorded_run r(dir);
    row.make(&r);
    r.end();
    EXPECT_GT(r.count(row.kind), 0u);
    expect_same(r);
    EXPECT_NE(print(2).find(violation_name(row.kind)), string::npos);
  }
}

// Random runs with random damage, over more than one block.
TEST_F(check_log_test, random_runs_are_judged_alike) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_stream rnd = random_from(seed, 0);
    recorded_run r(dir);
    for (uint32_t i = 0; i < 5000; ++i) {
      for (uint32_t l = 0; l < 2; ++l) {
        for (uint32_t m = 0; m < 4; ++m) {
          const uint64_t roll = random_below(&rnd, 2000);
          if (roll == 0) continue;
          r.take(l, m, i);
          if (roll == 1) r.take(l, m, i);
          if (roll == 2) checker_corrupt(r.loops[l], m, i + 2, r.now_us, "changed");
          if (roll == 3) {
            checker_leave(r.loops[l], m);
            checker_join(r.loops[l], m, m < 2 ? i + 1 : 0);
          }
        }
      }
      if (random_below(&rnd, 500) != 0) r.ack(i);
      r.now_us += random_below(&rnd, 2000);
    }
    r.read_history(4990);
    r.end();
    uint64_t total = 0;
    for (size_t k = 0; k < kKinds; ++k) total += r.count(static_cast<violation_kind>(k));
    EXPECT_GT(total, 10u);
    EXPECT_GT(fs::file_size(fs::path(dir) / "loop-0.log"), 2 * kLogBlockBytes);
    expect_same(r);
  }
}

TEST_F(check_log_test, a_delivery_takes_few_bytes) {
  recorded_run r(dir);
  const uint32_t messages = 10'000;
  for (uint32_t i = 0; i < messages; ++i) {
    for (uint32_t n = 0; n < 10; ++n) {
      for (uint32_t m = 0; m < 2; ++m) {
        r.now_us += 1;
        (void)checker_take(r.loops[0], m, i + 1, recorded_run::message(0, i), r.now_us);
      }
    }
  }
  r.end();
  EXPECT_LT(fs::file_size(fs::path(dir) / "loop-0.log"), messages * 20 * 5);
}

// --- what is not whole

TEST_F(check_log_test, a_log_cut_anywhere_is_reported) {
  record_short_run();
  const fs::path path = fs::path(dir) / "loop-1.log";
  const string whole = read_all(path);
  for (size_t size = 0; size < whole.size(); ++size) {
    SCOPED_TRACE("cut at " + std::to_string(size));
    write_all(path, whole.substr(0, size));
    replay_result r;
    string why;
    if (replay_logs(dir, &r, &why) != err::ok) {
      EXPECT_FALSE(why.empty());
      continue;
    }
    ASSERT_EQ(r.incomplete.size(), 1u);
    EXPECT_NE(r.incomplete[0].find("loop-1.log"), string::npos);
    for (const uint64_t n : r.violations) EXPECT_EQ(n, 0u);
  }
  write_all(path, whole.substr(0, whole.size() - 1));
  const string text = print(3);
  EXPECT_NE(text.find("is cut off"), string::npos) << text;
}

TEST_F(check_log_test, a_damaged_log_is_never_believed) {
  record_short_run();
  const fs::path path = fs::path(dir) / "loop-0.log";
  const string whole = read_all(path);
  for (size_t at = 0; at < whole.size(); ++at) {
    SCOPED_TRACE("damaged at " + std::to_string(at));
    string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
    write_all(path, bytes);
    replay_result r;
    string why;
    if (replay_logs(dir, &r, &why) == err::ok) {
      ASSERT_FALSE(r.incomplete.empty());
    }
  }
}

TEST_F(check_log_test, what_was_found_before_the_damage_counts) {
  recorded_run r(dir);
  for (uint32_t i = 0; i < 3; ++i) r.all_take(i);
  r.take(0, 0, 2);
  r.end();
  const fs::path path = fs::path(dir) / "loop-1.log";
  const string whole = read_all(path);
  write_all(path, whole.substr(0, whole.size() - 3));
  const string text = print(2);
  EXPECT_NE(text.find("duplicated"), string::npos) << text;
  EXPECT_NE(text.find("not whole: loop-1.log: the block at byte"), string::npos) << text;
  EXPECT_EQ(text.find("lost"), string::npos) << text;  // of the end nothing is known
}

TEST_F(check_log_test, a_run_that_never_ended_is_reported) {
  {
    recorded_run r(dir);
    for (uint32_t i = 0; i < 3; ++i) r.all_take(i);
  }
  const string text = print(3);
  EXPECT_NE(text.find("loop-0.log ends before the run's end"), string::npos) << text;
}

TEST_F(check_log_test, beyond_its_bound_a_log_ends_and_says_so) {
  recorded_run r(dir, 7, 3 * kLogBlockBytes);
  for (uint32_t i = 0; i < 20'000; ++i) r.all_take(i);
  r.end();
  EXPECT_NE(r.cut_why.find("have reached their"), string::npos);
  EXPECT_LT(fs::file_size(fs::path(dir) / "loop-0.log"), 4 * kLogBlockBytes);
  const string text = print(3);
  EXPECT_NE(text.find("the run went on without a log"), string::npos) << text;
}

TEST_F(check_log_test, a_full_disk_ends_the_log_with_a_whole_block) {
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 3 * kLogBlockBytes;  // what is more is refused, in the middle of a block
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  {
    recorded_run r(dir);
    for (uint32_t i = 0; i < 20'000; ++i) r.all_take(i);
    r.end();
    EXPECT_NE(r.cut_why.find("the disk refused it"), string::npos) << r.cut_why;
  }
  setrlimit(RLIMIT_FSIZE, &before);
  (void)signal(SIGXFSZ, handler);
  const string text = print(3);
  EXPECT_EQ(text.find("damaged"), string::npos) << text;
  EXPECT_NE(text.find("loop-0.log: the run went on without a log"), string::npos) << text;
}

// --- which files

TEST_F(check_log_test, logs_of_several_runs_are_refused) {
  record_short_run();
  const string first = read_all(fs::path(dir) / "loop-0.log");
  { recorded_run(dir, 8).end(); }
  write_all(fs::path(dir) / "loop-0.log", first);
  const string why = refusal();
  EXPECT_NE(why.find("several runs"), string::npos) << why;
  EXPECT_NE(why.find("00000007"), string::npos) << why;
  EXPECT_NE(why.find("00000008"), string::npos) << why;
}

TEST_F(check_log_test, a_missing_loop_is_refused) {
  record_short_run();
  fs::remove(fs::path(dir) / "loop-1.log");
  EXPECT_NE(refusal().find("the run had 2 loops"), string::npos);
}

TEST_F(check_log_test, the_same_loop_twice_is_refused) {
  record_short_run();
  write_all(fs::path(dir) / "loop-1.log", read_all(fs::path(dir) / "loop-0.log"));
  EXPECT_NE(refusal().find("all different are needed"), string::npos);
}

TEST_F(check_log_test, no_logs_and_other_files_are_refused) {
  EXPECT_NE(refusal().find("has no logs"), string::npos);
  write_all(fs::path(dir) / "loop-0.log", "something else");
  EXPECT_NE(refusal().find("is no log of parley-load"), string::npos);
  write_all(fs::path(dir) / "loop-0.log", "parley check log 9\nxxxxx");
  EXPECT_NE(refusal().find("another version"), string::npos);
  dir += "/none";
  EXPECT_NE(refusal().find("cannot be read"), string::npos);
  EXPECT_EQ(print(3), "");
}

TEST_F(check_log_test, a_new_run_replaces_the_logs_of_the_old_one) {
  record_short_run();
  write_all(fs::path(dir) / "loop-17.log", "old");
  write_all(fs::path(dir) / "notes.txt", "mine");
  recorded_run r(dir, 8);
  r.end();
  expect_same(r);
  EXPECT_FALSE(fs::exists(fs::path(dir) / "loop-17.log"));
  EXPECT_TRUE(fs::exists(fs::path(dir) / "notes.txt"));
}

// --- dump

TEST_F(check_log_test, dump_prints_every_event_by_time_and_filters) {
  recorded_run r(dir);
  for (uint32_t i = 0; i < 2; ++i) r.all_take(i);
  checker_note(r.loops[1], violation_kind::delayed, "kept", 2, 11, r.now_us, "it came late");
  r.end();
  replay_options o;
  o.dir = dir;
  o.is_dump = true;
  const string all = print(o, 0);
  EXPECT_NE(
      all.find(
          "0.000010 loop 0 take kept receiver 0 offset 1 publisher 0 number 0 after 0.000010\n"),
      string::npos)
      << all;
  EXPECT_NE(all.find(" loop 0 acked live offset 0 publisher 0 number 0\n"), string::npos) << all;
  EXPECT_NE(all.find(" loop 1 note kept receiver 11 offset 2 delayed: it came late\n"),
            string::npos)
      << all;
  double before = 0;
  for (size_t at = 0; at < all.size(); at = all.find('\n', at) + 1) {
    const double now = std::stod(all.substr(at));
    EXPECT_GE(now, before);
    before = now;
  }
  o.channel = "kept";
  const string kept = print(o, 0);
  EXPECT_EQ(kept.find("live"), string::npos) << kept;
  o.has_receiver = true;
  o.receiver = 11;
  const string one = print(o, 0);
  EXPECT_EQ(std::count(one.begin(), one.end(), '\n'), 5) << one;  // member, join, two takes, note
}

// --- bytes

TEST(check_code, any_record_comes_back) {
  random_stream rnd = random_from(3, 0);
  const auto any = [&rnd] { return random_next(&rnd) >> random_below(&rnd, 64); };
  std::vector<check_record> records;
  for (int i = 0; i < 2000; ++i) {
    check_record r;
    r.what = static_cast<check_event>(random_below(&rnd, static_cast<size_t>(check_event::kCount)));
    r.is_so = random_below(&rnd, 2) == 1;
    r.kind = static_cast<violation_kind>(random_below(&rnd, kKinds));
    r.member = static_cast<uint32_t>(any());
    r.receiver = static_cast<uint32_t>(any());
    r.message = {0, static_cast<uint32_t>(any()), static_cast<uint32_t>(any()),
                 static_cast<uint32_t>(any()), any()};
    r.offset = any();
    if (i > 0 && random_below(&rnd, 2) == 1) {
      r.message = records.back().message;
      r.offset = records.back().offset;
    }
    r.now_us = any();
    r.channel = "channel";
    r.text = "a sentence";
    records.push_back(r);
  }
  string bytes;
  check_coder out;
  for (const check_record& r : records) check_encode(&out, r, &bytes);
  std::string_view left = bytes;
  check_coder in;
  for (const check_record& r : records) {
    check_record back;
    ASSERT_TRUE(check_decode(&in, &left, &back));
    EXPECT_EQ(back.what, r.what);
    EXPECT_EQ(back.now_us, r.now_us);
    EXPECT_EQ(back.is_so, r.is_so);
    if (r.what == check_event::take || r.what == check_event::history) {
      EXPECT_EQ(back.member, r.member);
      EXPECT_EQ(back.offset, r.offset);
      EXPECT_EQ(back.message.room, r.message.room);
      EXPECT_EQ(back.message.publisher, r.message.publisher);
      EXPECT_EQ(back.message.number, r.message.number);
      EXPECT_EQ(back.message.due_us, r.message.due_us);
    }
    if (r.what == check_event::note) {
      EXPECT_EQ(back.kind, r.kind);
      EXPECT_EQ(back.receiver, r.receiver);
      EXPECT_EQ(back.channel, r.channel);
      EXPECT_EQ(back.text, r.text);
    }
  }
  EXPECT_TRUE(left.empty());
}

TEST(check_code, no_bytes_break_the_reader) {
  random_stream rnd = random_from(4, 0);
  for (int round = 0; round < 20'000; ++round) {
    const size_t size = random_below(&rnd, 40);
    auto block = std::make_unique<char[]>(size);
    for (size_t i = 0; i < size; ++i) block[i] = static_cast<char>(random_next(&rnd));
    std::string_view left(block.get(), size);
    check_coder in;
    check_record r;
    while (check_decode(&in, &left, &r)) {
    }
  }
}

TEST(check_code, texts_are_cut_at_their_bound) {
  check_record r;
  r.what = check_event::note;
  r.now_us = 0;
  const string longest(kLogTextBytesMax, 'x');
  for (const string& text : {longest, longest + "y"}) {
    r.text = text;
    string bytes;
    check_coder out, in;
    check_encode(&out, r, &bytes);
    std::string_view left = bytes;
    check_record back;
    ASSERT_TRUE(check_decode(&in, &left, &back));
    EXPECT_EQ(back.text, longest);
  }
}

TEST(check_apply, names_that_are_not_there_are_refused) {
  checker* c = checker_new({{"room", 1, true}});
  (void)checker_member(c, 0, 1);
  check_record r;
  r.now_us = 0;
  for (const check_event what : {check_event::join, check_event::leave, check_event::take,
                                 check_event::corrupt, check_event::unrecovered}) {
    r = {};
    r.what = what;
    r.now_us = 0;
    r.member = 1;
    EXPECT_FALSE(checker_apply(c, r)) << check_event_name(what);
    r.member = 0;
    EXPECT_TRUE(checker_apply(c, r)) << check_event_name(what);
  }
  for (const check_event what : {check_event::acked, check_event::refused, check_event::repeated}) {
    r = {};
    r.what = what;
    r.now_us = 0;
    r.message.publisher = 1;
    EXPECT_FALSE(checker_apply(c, r)) << check_event_name(what);
    r.message.publisher = 0;
    r.message.room = 1;
    EXPECT_FALSE(checker_apply(c, r)) << check_event_name(what);
    r.message.room = 0;
    r.message.number = UINT32_MAX;
    EXPECT_FALSE(checker_apply(c, r)) << check_event_name(what);
  }
  checker_free(c);
}

}  // namespace
}  // namespace loadgen
