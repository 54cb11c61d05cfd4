// What only a store in a file has: reopening, crashes, damage, locks, migrations, group commit, the
// sweep.
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <random>
#include <thread>

#include "store/sqlite_schema.h"
#include "store/sqlite_writer.h"
#include "tests/store/harness.h"

namespace store_test {
namespace {

class fixed_clock final : public core::clock_source {
 public:
  uint64_t mono_us() const noexcept override { return core::system_clock()->mono_us(); }
  int64_t wall_ms() const noexcept override { return now_ms.load(); }
  std::atomic<int64_t> now_ms{0};
};

// A connection of somebody else: looks into the file, holds locks.
class outsider {
 public:
  explicit outsider(const std::string& path) {
    EXPECT_EQ(sqlite3_open(path.c_str(), &db_), SQLITE_OK);
    sqlite3_busy_timeout(db_, 5000);
  }
  ~outsider() { sqlite3_close(db_); }
  void exec(const std::string& sql) {
    char* why = nullptr;
    EXPECT_EQ(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &why), SQLITE_OK)
        << sql << ": " << (why ? why : "");
    sqlite3_free(why);
  }
  std::string ask(const std::string& sql) {
    std::string out;
    EXPECT_EQ(sqlite3_exec(
                  db_, sql.c_str(),
                  [](void* user, int, char** values, char**) {
                    *static_cast<std::string*>(user) += values[0] == nullptr ? "null" : values[0];
                    return 0;
                  },
                  &out, nullptr),
              SQLITE_OK)
        << sql;
    return out;
  }

 private:
  sqlite3* db_ = nullptr;
};

class sqlite_test : public ::testing::Test {
 protected:
  sqlite_test() { o_.path = dir_.file("chat.sqlite"); }
  void TearDown() override { close(); }
  void open() {
    store::store* s = nullptr;
    std::string why;
    ASSERT_EQ(store::open_sqlite(o_, &s, &why), core::err::ok) << why;
    s_.reset(s);
    c_ = {s, loops_.at(0)};
  }
  void close() {
    if (s_ != nullptr) s_->close();
    s_.reset();
  }
  void reopen() {
    close();
    open();
  }
  core::err open_fails(std::string* why) {
    store::store* s = nullptr;
    const core::err rc = store::open_sqlite(o_, &s, why);
    EXPECT_EQ(s, nullptr);
    EXPECT_FALSE(why->empty());
    return rc;
  }
  // Until it holds; the event is the store's own doing.
  template <typename Fn>
  void eventually(Fn holds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!holds()) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << "did not happen";
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  scratch_dir dir_;
  loops loops_{1};
  store::sqlite_options o_;
  std::unique_ptr<store::store> s_;
  client c_;
};

TEST_F(sqlite_test, keeps_everything_over_a_restart) {
  open();
  c_.say("a", "1");
  c_.append(with_key(message("a", "2"), "k", "h"));
  c_.append(reference("a", "alice", 1, true));
  EXPECT_EQ(c_.mark("alice", "a", 2), core::err::ok);
  c_.say("gone", "1");
  EXPECT_EQ(c_.remove_history("gone"), core::err::ok);
  const std::string epoch = c_.read(page("a", 0, 0)).top.epoch;
  reopen();
  EXPECT_EQ(c_.pages("a"), "1:null 2:2 3:\"deleted\"");
  EXPECT_EQ(c_.read(page("a", 0, 0)).top.epoch, epoch);
  const auto again = c_.append(with_key(message("a", "2"), "k", "h"));
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.offset, 2u);
  EXPECT_EQ(c_.append(with_key(message("a", "2"), "k", "h2")).rc, core::err::conflict);
  EXPECT_EQ(c_.channels("alice").channels.at(0).read_offset, 2u);
  EXPECT_EQ(c_.say("a", "4").offset, 4u);
  EXPECT_EQ(c_.say("gone", "2").offset, 2u) << "no offset is used twice";
  EXPECT_EQ(c_.append(reference("a", "alice", 2, false)).rc, core::err::ok);
  EXPECT_EQ(c_.append(reference("a", "bob", 2, false)).rc, core::err::denied);
}

TEST_F(sqlite_test, gives_each_database_its_own_epoch) {
  open();
  const std::string first = c_.read(page("a", 0, 0)).top.epoch;
  close();
  o_.path = dir_.file("other.sqlite");
  open();
  EXPECT_NE(c_.read(page("a", 0, 0)).top.epoch, first);
}

TEST_F(sqlite_test, is_durable_in_both_ways_of_syncing) {
  for (const bool is_full : {true, false}) {
    o_.is_full_sync = is_full;
    open();
    EXPECT_EQ(c_.say("a", "x").rc, core::err::ok);
    close();
  }
  open();
  EXPECT_EQ(c_.pages("a"), "1:x 2:x");
}

TEST_F(sqlite_test, refuses_a_second_opener) {
  open();
  std::string why;
  EXPECT_EQ(open_fails(&why), core::err::conflict);
  EXPECT_NE(why.find("in use by process " + std::to_string(getpid())), std::string::npos) << why;
  ASSERT_EQ(symlink(o_.path.c_str(), dir_.file("link.sqlite").c_str()), 0);
  const std::string path = o_.path;
  o_.path = dir_.file("link.sqlite");
  EXPECT_EQ(open_fails(&why), core::err::conflict) << "another name of the same file";
  o_.path = path;
  reopen();
  EXPECT_EQ(c_.say("a", "1").rc, core::err::ok);
}

TEST_F(sqlite_test, refuses_what_it_cannot_open) {
  std::string why;
  o_.path = dir_.file("no/such/folder.sqlite");
  EXPECT_EQ(open_fails(&why), core::err::io);
  EXPECT_NE(why.find("No such file"), std::string::npos) << why;
  for (const std::string& path : {dir_.file(""), std::string()}) {
    o_.path = path;
    EXPECT_EQ(open_fails(&why), core::err::io);
    EXPECT_NE(why.find("not the name of a file"), std::string::npos) << why;
  }
}

TEST_F(sqlite_test, makes_the_tables_in_an_empty_file_of_version_zero) {
  outsider(o_.path).exec("PRAGMA user_version = 0; VACUUM");
  open();
  c_.say("a", "1");
  close();
  outsider db(o_.path);
  EXPECT_EQ(db.ask("PRAGMA user_version"), std::to_string(store::schema_version()));
  EXPECT_EQ(db.ask("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(db.ask("PRAGMA integrity_check"), "ok");
}

TEST_F(sqlite_test, refuses_a_newer_version_and_another_programs_file) {
  open();
  c_.say("a", "1");
  close();
  std::string why;
  outsider(o_.path).exec("PRAGMA user_version = " + std::to_string(store::schema_version() + 1));
  EXPECT_EQ(open_fails(&why), core::err::io);
  EXPECT_NE(why.find("newer version"), std::string::npos) << why;
  outsider(o_.path).exec("PRAGMA user_version = " + std::to_string(store::schema_version()));
  open();
  EXPECT_EQ(c_.pages("a"), "1:1");
  close();
  o_.path = dir_.file("foreign.sqlite");
  outsider(o_.path).exec("CREATE TABLE t (x)");
  EXPECT_EQ(open_fails(&why), core::err::io);
  EXPECT_NE(why.find("another program"), std::string::npos) << why;
  EXPECT_EQ(outsider(o_.path).ask("PRAGMA journal_mode"), "delete") << "it was changed";
}

// Overwrites [from, from + size) of the file with noise.
void damage(const std::string& path, std::streamoff from, size_t size) {
  std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
  f.seekp(from);
  f << std::string(size, '\xa5');
  ASSERT_TRUE(f.good());
}

TEST_F(sqlite_test, refuses_a_file_that_is_no_database) {
  std::ofstream(o_.path) << std::string(8192, 'x');
  std::string why;
  EXPECT_EQ(open_fails(&why), core::err::io);
  EXPECT_NE(why.find("not a database"), std::string::npos) << why;
}

TEST_F(sqlite_test, refuses_a_damaged_file_when_opening) {
  open();
  for (int i = 0; i < 50; ++i) c_.say("a", std::string(500, 'x'));
  close();
  const auto size = std::filesystem::file_size(o_.path);
  ASSERT_EQ(size % 4096, 0u);
  damage(o_.path, 4096, size - 4096);  // all but the header and the schema
  std::string why;
  EXPECT_EQ(open_fails(&why), core::err::io);
  EXPECT_NE(why.find("damaged"), std::string::npos) << why;
  std::filesystem::resize_file(o_.path, 4096 + 100);
  EXPECT_EQ(open_fails(&why), core::err::io);
}

TEST_F(sqlite_test, answers_io_where_the_file_is_damaged_and_serves_the_rest) {
  open();
  for (int i = 0; i < 200; ++i) c_.say("a", std::string(500, 'x'));
  c_.say("b", "fine");
  close();
  // A leaf in the middle of channel a.
  std::string leaf;
  {
    outsider db(o_.path);
    leaf = db.ask(
        "SELECT pageno FROM dbstat WHERE name = 'publication' AND pagetype = 'leaf' ORDER BY path "
        "LIMIT 1 OFFSET 10");
  }
  damage(o_.path, (std::stoll(leaf) - 1) * 4096, 4096);
  open();
  EXPECT_EQ(c_.read(page("a", 0, 1000)).rc, core::err::io);
  EXPECT_TRUE(c_.read(page("a", 0, 1000)).pubs.empty());
  EXPECT_EQ(c_.pages("b"), "1:fine");
  EXPECT_EQ(c_.say("b", "still").offset, 2u);
  EXPECT_EQ(c_.say("a", "end").offset, 201u);
  EXPECT_GE(s_->stats().failures, 2u);
}

// Holds the file's write lock, so that the writer waits and requests pile up.
class write_stop {
 public:
  explicit write_stop(const std::string& path) : db_(path) { db_.exec("BEGIN IMMEDIATE"); }
  ~write_stop() { db_.exec("ROLLBACK"); }

 private:
  outsider db_;
};

TEST_F(sqlite_test, leaves_out_what_meets_damage_and_commits_the_others_of_the_batch) {
  open();
  for (int i = 0; i < 200; ++i) c_.say("a", std::string(500, 'x'));
  c_.say("b", "fine");
  close();
  std::string leaf;
  {
    outsider db(o_.path);
    leaf = db.ask(
        "SELECT pageno FROM dbstat WHERE name = 'publication' AND pagetype = 'leaf' ORDER BY path "
        "LIMIT 1 OFFSET 10");
  }
  damage(o_.path, (std::stoll(leaf) - 1) * 4096, 4096);
  open();
  uint64_t bad = 1;
  while (c_.append(reference("a", "alice", bad, false)).rc != core::err::io) ASSERT_LT(++bad, 200u);
  const uint64_t top = c_.top("a");
  std::vector<std::unique_ptr<pending<store::append_result>>> waiting;
  {
    write_stop stop(o_.path);
    for (int i = 0; i < 10; ++i) {
      waiting.push_back(std::make_unique<pending<store::append_result>>());
      waiting.back()->home = loops_.at(0);
      store::append_request r = i % 2 == 0 ? message("b", std::to_string(i)) : message("a", "y");
      if (i == 1 || i == 5) r = reference("a", "alice", bad, true);
      if (i == 8) r = with_key(std::move(r), "k", "h");
      ASSERT_EQ(s_->append(loops_.at(0), std::move(r), pending<store::append_result>::answered,
                           waiting.back().get()),
                core::err::ok);
    }
  }
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(waiting[i]->wait().rc, i == 1 || i == 5 ? core::err::io : core::err::ok) << i;
  EXPECT_EQ(c_.pages("b"), "1:fine 2:0 3:2 4:4 5:6 6:8");
  EXPECT_EQ(c_.top("a"), top + 3);
  EXPECT_TRUE(c_.append(with_key(message("b", "8"), "k", "h")).is_duplicate);
  EXPECT_TRUE(s_->stats().is_ready);
}

TEST_F(sqlite_test, sweeps_what_stands_behind_a_damaged_channel) {
  o_.sweep_ms = 3'600'000;
  open();
  const auto fill = [&](const std::string& channel, int n, uint64_t size_max) {
    for (int i = 0; i < n; ++i) {
      store::append_request r = message(channel, std::string(500, 'x'));
      r.keep.size_max = size_max;
      ASSERT_EQ(c_.append(std::move(r)).rc, core::err::ok);
    }
  };
  fill("before", 50, 30);
  fill("damaged", 200, 10);
  fill("behind", 50, 30);
  fill("last", 20, 0);
  close();
  std::string leaf;
  {
    outsider db(o_.path);
    leaf = db.ask(
        "SELECT pageno FROM dbstat WHERE name = 'publication' AND pagetype = 'leaf' ORDER BY path "
        "LIMIT 1 OFFSET 15");
  }
  damage(o_.path, (std::stoll(leaf) - 1) * 4096, 4096);
  o_.sweep_ms = 20;
  open();
  const auto count = [&](const std::string& channel) {
    return outsider(o_.path).ask(
        "SELECT count(*) FROM publication WHERE channel_id = (SELECT id FROM channel WHERE name = "
        "'" +
        channel + "')");
  };
  eventually([&] { return count("behind") == "30" && count("before") == "30"; });
  EXPECT_EQ(c_.say("last", "x").offset, 21u);
}

TEST_F(sqlite_test, commits_what_waits_in_one_transaction) {
  open();
  c_.say("a", "0");
  const uint64_t before = s_->stats().commits;
  std::vector<std::unique_ptr<pending<store::append_result>>> waiting;
  {
    write_stop stop(o_.path);
    for (int i = 0; i < 300; ++i) {
      waiting.push_back(std::make_unique<pending<store::append_result>>());
      waiting.back()->home = loops_.at(0);
      store::append_request r = message("a", "x");
      if (i == 100) r = reference("a", "bob", 1, false);
      if (i == 101) r = reference("a", "alice", 9999, false);
      if (i == 200) r = with_key(message("a", "x"), "k", "h");
      if (i == 201) r = with_key(message("a", "x"), "k", "h");
      if (i == 202) r = with_key(message("a", "x"), "k", "other");
      ASSERT_EQ(s_->append(loops_.at(0), std::move(r), pending<store::append_result>::answered,
                           waiting.back().get()),
                core::err::ok);
    }
    EXPECT_EQ(s_->stats().queue, 300u);
  }
  uint64_t offset = 1;
  for (int i = 0; i < 300; ++i) {
    const auto r = waiting[i]->wait();
    if (i == 100)
      EXPECT_EQ(r.rc, core::err::denied);
    else if (i == 101)
      EXPECT_EQ(r.rc, core::err::not_found);
    else if (i == 202)
      EXPECT_EQ(r.rc, core::err::conflict);
    else if (i == 201)
      EXPECT_TRUE(r.is_duplicate && r.offset == offset);
    else
      ASSERT_EQ(r.offset, ++offset) << i;
  }
  EXPECT_LE(s_->stats().commits - before, 3u)
      << "the first alone, perhaps, and the others together";
  EXPECT_EQ(s_->stats().queue, 0u);
  EXPECT_EQ(c_.top("a"), 297u);
}

// What a loop reads from its sockets in one iteration is committed together, also when the writer
// sleeps: woken by the first it would commit that one alone, and a room would get two flushes.
TEST_F(sqlite_test, commits_an_iterations_appends_in_one_transaction) {
  open();
  struct burst {
    store::store* s;
    std::atomic<int> answered{0};
  } b{s_.get()};
  constexpr int kBursts = 20, kEach = 40;
  int together = 0;
  for (int i = 0; i < kBursts; ++i) {
    b.answered = 0;
    c_.say("a", "when this is answered the writer goes to sleep");
    std::this_thread::yield();
    const uint64_t before = s_->stats().commits;
    ASSERT_TRUE(core::loop_call(
        loops_.at(0),
        [](core::loop* here, void* user) noexcept {
          auto* each = static_cast<burst*>(user);
          for (int n = 0; n < kEach; ++n) {
            EXPECT_EQ(each->s->append(
                          here, message("a", "x"),
                          [](void* whom, store::append_result&& r) noexcept {
                            EXPECT_EQ(r.rc, core::err::ok);
                            ++static_cast<burst*>(whom)->answered;
                          },
                          each),
                      core::err::ok);
            if (n == 0)  // time for a writer that was woken too early
              std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        },
        &b));
    eventually([&] { return b.answered.load() == kEach; });
    together += s_->stats().commits - before == 1;
  }
  EXPECT_GE(together, kBursts / 2) << "a writer that was not asleep yet takes the first alone";
}

TEST_F(sqlite_test, ends_a_transaction_at_its_maximum) {
  o_.commit_count_max = 10;
  open();
  c_.say("a", "0");
  const uint64_t before = s_->stats().commits;
  std::atomic<int> answered{0};
  {
    write_stop stop(o_.path);
    for (int i = 0; i < 100; ++i)
      ASSERT_EQ(s_->append(
                    loops_.at(0), message("a", "x"),
                    [](void* user, store::append_result&& r) noexcept {
                      EXPECT_EQ(r.rc, core::err::ok);
                      ++*static_cast<std::atomic<int>*>(user);
                    },
                    &answered),
                core::err::ok);
  }
  eventually([&] { return answered.load() == 100; });
  EXPECT_GE(s_->stats().commits - before, 10u);
}

TEST_F(sqlite_test, refuses_beyond_the_queues_maximum) {
  o_.queue_max = 20;
  open();
  std::atomic<int> answered{0};
  const auto push = [&] {
    return s_->append(
        loops_.at(0), message("a", "x"),
        [](void* user, store::append_result&& r) noexcept {
          EXPECT_EQ(r.rc, core::err::ok);
          ++*static_cast<std::atomic<int>*>(user);
        },
        &answered);
  };
  {
    write_stop stop(o_.path);
    for (int i = 0; i < 20; ++i) ASSERT_EQ(push(), core::err::ok);
    EXPECT_EQ(push(), core::err::full);
    EXPECT_EQ(s_->mark_read(loops_.at(0), "u", "a", 1, nullptr, nullptr), core::err::full);
    EXPECT_EQ(c_.read(page("a", 0, 1)).rc, core::err::ok) << "reads have a queue of their own";
  }
  eventually([&] { return answered.load() == 20; });
  EXPECT_EQ(c_.say("a", "y").offset, 21u);
}

TEST_F(sqlite_test, keeps_half_of_the_queue_for_what_somebody_waits_for) {
  o_.queue_max = 20;
  open();
  std::atomic<int> answered{0};
  {
    write_stop stop(o_.path);
    for (int i = 0; i < 10; ++i)
      ASSERT_EQ(s_->add_user_channel(loops_.at(0), {"alice"}, "a", nullptr, nullptr),
                core::err::ok);
    EXPECT_EQ(s_->add_user_channel(loops_.at(0), {"bob"}, "a", nullptr, nullptr), core::err::full);
    for (int i = 0; i < 10; ++i)
      ASSERT_EQ(s_->append(
                    loops_.at(0), message("a", "x"),
                    [](void* user, store::append_result&&) noexcept {
                      ++*static_cast<std::atomic<int>*>(user);
                    },
                    &answered),
                core::err::ok);
  }
  eventually([&] { return answered.load() == 10; });
  EXPECT_EQ(c_.top("a"), 10u);
}

TEST_F(sqlite_test, refuses_beyond_the_queues_bytes) {
  o_.queue_bytes_max = 10'000;
  open();
  std::atomic<int> answered{0};
  const auto push = [&](size_t bytes) {
    return s_->append(
        loops_.at(0), message("a", std::string(bytes, 'x')),
        [](void* user, store::append_result&&) noexcept {
          ++*static_cast<std::atomic<int>*>(user);
        },
        &answered);
  };
  EXPECT_EQ(push(10'000), core::err::full);
  {
    write_stop stop(o_.path);
    ASSERT_EQ(push(8'000), core::err::ok);
    EXPECT_EQ(push(2'000), core::err::full);
    EXPECT_EQ(push(100), core::err::ok);
  }
  eventually([&] { return answered.load() == 2; });
  EXPECT_EQ(push(8'000), core::err::ok);
  eventually([&] { return answered.load() == 3; });
}

TEST_F(sqlite_test, is_unavailable_while_somebody_else_holds_the_file_and_recovers_alone) {
  open();
  c_.say("a", "1");
  {
    write_stop stop(o_.path);
    EXPECT_EQ(c_.append(with_key(message("a", "2"), "k", "h")).rc, core::err::unavailable);
    EXPECT_FALSE(s_->stats().is_ready);
    EXPECT_EQ(c_.pages("a"), "1:1") << "reads go on";
  }
  eventually([&] { return s_->stats().is_ready; });
  const auto r = c_.append(with_key(message("a", "2"), "k", "h"));
  EXPECT_EQ(r.offset, 2u);
  EXPECT_FALSE(r.is_duplicate);
}

TEST_F(sqlite_test, fails_the_whole_transaction_that_does_not_fit) {
  o_.bytes_max = 512 * 1024;
  open();
  c_.say("a", "first");
  constexpr size_t kCount = 200;
  std::vector<std::unique_ptr<pending<store::append_result>>> waiting;
  {
    write_stop stop(o_.path);
    // The writer takes the first few while the others are still being called; the rest comes
    // together: small ones before one that cannot fit.
    for (size_t i = 0; i < kCount; ++i) {
      waiting.push_back(std::make_unique<pending<store::append_result>>());
      waiting.back()->home = loops_.at(0);
      const std::string data(i == kCount - 1 ? 1 << 20 : 10, 'x');
      ASSERT_EQ(s_->append(
                    loops_.at(0),
                    with_key(message(i % 2 == 0 ? "a" : "new", data), "k" + std::to_string(i), "h"),
                    pending<store::append_result>::answered, waiting.back().get()),
                core::err::ok);
    }
  }
  std::vector<core::err> answers;
  for (auto& w : waiting) answers.push_back(w->wait().rc);
  const size_t stored = static_cast<size_t>(
      std::find(answers.begin(), answers.end(), core::err::io) - answers.begin());
  ASSERT_LT(stored, kCount);
  for (size_t i = 0; i < kCount; ++i)
    EXPECT_EQ(answers[i], i < stored ? core::err::ok : core::err::io) << i;
  EXPECT_EQ(c_.top("a"), 1 + (stored + 1) / 2) << "nothing of it is visible";
  EXPECT_EQ(c_.top("new"), stored / 2);
  const auto again =
      c_.append(with_key(message("new", "x"), "k" + std::to_string(kCount - 1), "h"));
  EXPECT_EQ(again.offset, stored / 2 + 1) << "no key is used, no offset burnt";
  EXPECT_FALSE(again.is_duplicate);
  reopen();
  EXPECT_EQ(c_.top("new"), stored / 2 + 1);
}

TEST_F(sqlite_test, sweeps_what_is_outside_of_retention) {
  fixed_clock clock;
  o_.clock = &clock;
  o_.sweep_ms = 20;
  open();
  const auto count = [&](const std::string& table) {
    return outsider(o_.path).ask("SELECT count(*) FROM " + table);
  };
  std::atomic<int> answered{0};
  const auto fill = [&](const std::string& channel, int n, store::retention keep) {
    for (int i = 0; i < n; ++i) {
      store::append_request r = message(channel, "x", 1000);
      r.keep = keep;
      ASSERT_EQ(s_->append(
                    loops_.at(0), std::move(r),
                    [](void* user, store::append_result&&) noexcept {
                      ++*static_cast<std::atomic<int>*>(user);
                    },
                    &answered),
                core::err::ok);
    }
  };
  fill("sized", 1500, {.size_max = 10});  // more than two slices
  fill("aged", 700, {.ttl_ms = 5000});
  fill("kept", 50, {});
  eventually([&] { return answered.load() == 2250; });
  c_.append(with_key(message("kept", "k", 1000), "k", "h", 5000));
  eventually([&] {
    return count("publication WHERE channel_id = (SELECT id FROM channel WHERE name = 'sized')") ==
           "10";
  });
  EXPECT_EQ(count("publication"), "761");
  EXPECT_EQ(c_.read(page("sized", 0, 1)).pubs.at(0).offset, 1491u);
  EXPECT_EQ(count("idempotency"), "1");
  clock.now_ms = 5999;
  reopen();
  EXPECT_EQ(c_.top("aged"), 700u);
  clock.now_ms = 6000;
  eventually([&] { return count("publication") == "61" && count("idempotency") == "0"; });
  EXPECT_EQ(c_.pages("aged"), "");
  EXPECT_EQ(c_.top("aged"), 700u);
  store::append_request r = message("aged", "y", 6000);
  EXPECT_EQ(c_.append(r).offset, 701u);
}

TEST_F(sqlite_test, sweeps_everything_in_one_round_of_bounded_slices) {
  store::writer w;
  std::string why;
  ASSERT_EQ(store::db_open(o_.path, store::db_mode::read_write, &w.file, &why), core::err::ok)
      << why;
  ASSERT_EQ(store::schema_open(&w.file, &w.epoch, &why), core::err::ok) << why;
  ASSERT_TRUE(store::writer_prepare(&w));
  ASSERT_TRUE(store::writer_begin(&w));
  int64_t stored = 0;
  const auto fill = [&](const std::string& channel, int n, store::retention keep) {
    for (int i = 0; i < n; ++i, ++stored) {
      store::append_request r = message(channel, "x", 1000);
      r.keep = keep;
      store::append_result result;
      ASSERT_TRUE(store::writer_append(&w, &r, &result));
    }
  };
  fill("sized", 1500, {.size_max = 10});
  fill("aged", 700, {.ttl_ms = 100});
  for (int i = 0; i < 600; ++i)
    fill("c" + std::to_string(i), 2, {.size_max = 1});  // more channels than a slice looks at
  fill("kept", 5, {});
  ASSERT_TRUE(store::writer_commit(&w));
  bool is_done = false;
  int slices = 0;
  while (!is_done) {
    ASSERT_TRUE(store::writer_sweep(&w, 2000, &is_done));
    int64_t left = 0;
    ASSERT_TRUE(store::db_int(&w.file, "SELECT count(*) FROM publication", &left));
    EXPECT_LE(stored - left, static_cast<int64_t>(store::kSweepRowsMax));
    stored = left;
    ASSERT_LT(++slices, 20);
  }
  EXPECT_EQ(stored, 10 + 0 + 600 + 5);
  store::writer_close(&w);
}

TEST_F(sqlite_test, keeps_the_log_short) {
  open();
  std::atomic<int> answered{0};
  for (int i = 0; i < 8000; ++i)
    ASSERT_EQ(s_->append(
                  loops_.at(0), message("a", std::string(4000, 'x')),
                  [](void* user, store::append_result&&) noexcept {
                    ++*static_cast<std::atomic<int>*>(user);
                  },
                  &answered),
              core::err::ok);
  eventually([&] { return answered.load() == 8000; });
  EXPECT_GT(std::filesystem::file_size(o_.path), 8u << 20)
      << "checkpoints have moved it into the file";
  EXPECT_LT(std::filesystem::file_size(o_.path + "-wal"), 24u << 20);
  close();
  EXPECT_FALSE(std::filesystem::exists(o_.path + "-wal"));
}

// A herd that returns after a restart asks for more than its loops can take at once.
TEST_F(sqlite_test, reads_no_further_than_the_loops_take) {
  o_.read_bytes_max = 4 << 20;
  open();
  c_.say("a", std::string(1 << 20, 'x'));
  constexpr uint32_t kReads = 40;
  std::atomic<uint32_t> answered{0};
  {
    blocked_loop blocked(loops_.at(0));
    for (uint32_t i = 0; i < kReads; ++i)
      ASSERT_EQ(s_->read(
                    loops_.at(0), page("a", 0, 1),
                    [](void* user, store::read_result&& r) noexcept {
                      EXPECT_EQ(r.pubs.size(), 1u);
                      ++*static_cast<std::atomic<uint32_t>*>(user);
                    },
                    &answered),
                core::err::ok);
    eventually([&] { return s_->stats().queue <= kReads - 4; });
    for (int i = 0; i < 50 && !HasFailure(); ++i) {  // time in which it could do wrong
      EXPECT_GE(s_->stats().queue, kReads - 4 - o_.readers);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  eventually([&] { return answered.load() == kReads; });
  {
    blocked_loop blocked(loops_.at(0));
    for (uint32_t i = 0; i < kReads; ++i)
      ASSERT_EQ(s_->read(
                    loops_.at(0), page("a", 0, 1),
                    [](void* user, store::read_result&&) noexcept {
                      ++*static_cast<std::atomic<uint32_t>*>(user);
                    },
                    &answered),
                core::err::ok);
    close();  // does not wait for the loop
  }
  eventually([&] { return answered.load() == 2 * kReads; });
}

// How many steps of its virtual machine SQLite takes for fn: a cost that is the same on every
// machine.
template <typename Fn>
uint64_t steps(const store::db& d, Fn fn) {
  uint64_t count = 0;
  sqlite3_progress_handler(
      d.handle, 1,
      [](void* user) {
        ++*static_cast<uint64_t*>(user);
        return 0;
      },
      &count);
  fn();
  sqlite3_progress_handler(d.handle, 0, nullptr, nullptr);
  return count;
}

struct costs {
  uint64_t of_delete = 0, of_sweep = 0;
};

// In a channel with n publications, half of them edits, each with a key that lives on but for five.
void measure(const std::string& path, int n, costs* out) {
  store::writer w;
  std::string why;
  ASSERT_EQ(store::db_open(path, store::db_mode::read_write, &w.file, &why), core::err::ok) << why;
  ASSERT_EQ(store::schema_open(&w.file, &w.epoch, &why), core::err::ok) << why;
  ASSERT_TRUE(store::writer_prepare(&w));
  ASSERT_TRUE(store::writer_begin(&w));
  store::append_result result;
  for (int i = 0; i < n; ++i) {
    store::append_request r =
        i % 2 == 0 ? message("a", "x") : reference("a", "alice", static_cast<uint64_t>(i), false);
    r = with_key(std::move(r), "k" + std::to_string(i), "h", i < 5 ? 1 : 60'000);
    ASSERT_TRUE(store::writer_append(&w, &r, &result));
    ASSERT_EQ(result.rc, core::err::ok);
  }
  store::append_request r = reference("a", "alice", 1, true);
  out->of_delete = steps(w.file, [&] { EXPECT_TRUE(store::writer_append(&w, &r, &result)); });
  EXPECT_EQ(result.rc, core::err::ok);
  ASSERT_TRUE(store::writer_commit(&w));
  bool is_done = false;
  out->of_sweep = steps(w.file, [&] { EXPECT_TRUE(store::writer_sweep(&w, 2000, &is_done)); });
  EXPECT_TRUE(is_done);
  int64_t keys = 0, blank = 0;
  EXPECT_TRUE(store::db_int(&w.file, "SELECT count(*) FROM idempotency", &keys));
  EXPECT_TRUE(
      store::db_int(&w.file, "SELECT count(*) FROM publication WHERE data = 'null'", &blank));
  EXPECT_EQ(keys, n - 5);
  EXPECT_EQ(blank, 2) << "the message and its edit";
  store::writer_close(&w);
}

// Both run on the writer's thread, and everybody waits for it.
TEST_F(sqlite_test, deletes_and_sweeps_at_a_cost_that_does_not_grow_with_the_channel) {
  costs few, many;
  measure(dir_.file("few.sqlite"), 100, &few);
  measure(dir_.file("many.sqlite"), 5000, &many);
  EXPECT_LT(many.of_delete, 2 * few.of_delete);
  EXPECT_LT(many.of_sweep, 2 * few.of_sweep);
}

TEST_F(sqlite_test, lets_others_between_the_slices_of_a_removal) {
  open();
  std::atomic<uint32_t> filled{0};
  constexpr uint32_t kMany = 2 * store::kRemoveRowsMax + 10;
  for (uint32_t i = 0; i < kMany; ++i)
    ASSERT_EQ(s_->append(
                  loops_.at(0), message("a", "x"),
                  [](void* user, store::append_result&&) noexcept {
                    ++*static_cast<std::atomic<uint32_t>*>(user);
                  },
                  &filled),
              core::err::ok);
  eventually([&] { return filled.load() == kMany; });
  struct order {
    std::atomic<int> count{0};
    int removed = 0, appended = 0;
  } o;
  {
    write_stop stop(o_.path);
    ASSERT_EQ(s_->remove_history(
                  loops_.at(0), "a",
                  [](void* user, core::err rc) noexcept {
                    EXPECT_EQ(rc, core::err::ok);
                    auto* self = static_cast<order*>(user);
                    self->removed = self->count + 1;
                    ++self->count;
                  },
                  &o),
              core::err::ok);
    ASSERT_EQ(s_->append(
                  loops_.at(0), message("a", "later"),
                  [](void* user, store::append_result&& r) noexcept {
                    EXPECT_EQ(r.offset, kMany + 1u);
                    auto* self = static_cast<order*>(user);
                    self->appended = self->count + 1;
                    ++self->count;
                  },
                  &o),
              core::err::ok);
  }
  eventually([&] { return o.count.load() == 2; });
  EXPECT_LT(o.appended, o.removed);
  EXPECT_EQ(c_.pages("a"), std::to_string(kMany + 1) + ":later") << "what came later stays";
  EXPECT_EQ(c_.remove_history("a"), core::err::ok);
  EXPECT_EQ(c_.pages("a"), "");
  EXPECT_EQ(s_->stats().queue, 0u);
}

TEST_F(sqlite_test, finishes_a_removal_when_it_closes) {
  open();
  std::atomic<uint32_t> answered{0};
  constexpr uint32_t kMany = 2 * store::kRemoveRowsMax + 10;
  for (uint32_t i = 0; i < kMany; ++i)
    ASSERT_EQ(s_->append(
                  loops_.at(0), message("a", "x"),
                  [](void* user, store::append_result&&) noexcept {
                    ++*static_cast<std::atomic<uint32_t>*>(user);
                  },
                  &answered),
              core::err::ok);
  eventually([&] { return answered.load() == kMany; });
  ASSERT_EQ(s_->remove_history(
                loops_.at(0), "a",
                [](void* user, core::err rc) noexcept {
                  EXPECT_EQ(rc, core::err::ok);
                  ++*static_cast<std::atomic<uint32_t>*>(user);
                },
                &answered),
            core::err::ok);
  reopen();
  EXPECT_EQ(c_.pages("a"), "");
  EXPECT_EQ(c_.top("a"), kMany);
  eventually([&] { return answered.load() == kMany + 1; });
}

// A backup reads for minutes, and the log cannot start again meanwhile. It may grow; the commits
// may not wait for it, each for as long as a lock is waited for.
TEST_F(sqlite_test, commits_on_while_somebody_reads_for_long) {
  open();
  c_.say("a", "0");
  const std::string big(1 << 20, 'x');
  const std::string log = o_.path + "-wal";
  {
    outsider backup(o_.path);
    backup.exec("BEGIN");
    EXPECT_EQ(backup.ask("SELECT count(*) FROM publication"), "1");
    while (std::filesystem::file_size(log) < 70u << 20)
      ASSERT_EQ(c_.say("a", big).rc, core::err::ok);
    const auto began = std::chrono::steady_clock::now();
    for (int i = 0; i < 10; ++i) ASSERT_EQ(c_.say("a", "x").rc, core::err::ok);
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
    EXPECT_EQ(backup.ask("SELECT count(*) FROM publication"), "1");
    backup.exec("COMMIT");
  }
  const auto size = std::filesystem::file_size(log);
  for (int i = 0; i < 40; ++i) ASSERT_EQ(c_.say("a", big).rc, core::err::ok);
  EXPECT_LT(std::filesystem::file_size(log), size + (16u << 20)) << "it has started again";
}

// ---- kill -9

// In the child: appends to two channels until it is killed, and tells each acknowledged (channel,
// offset) by the pipe.
[[noreturn]] void append_until_killed(const store::sqlite_options& o, int pipe_fd) {
  store::store* s = nullptr;
  std::string why;
  if (store::open_sqlite(o, &s, &why) != core::err::ok) _exit(1);
  loops l(1);
  struct one {
    int fd;
    uint64_t channel;
  };
  for (uint64_t i = 0;; ++i) {
    auto* user = new one{pipe_fd, i % 2};
    store::append_request r = message(i % 2 == 0 ? "a" : "b", std::to_string(i));
    if (i % 3 == 0) r = with_key(std::move(r), "k" + std::to_string(i), "h");
    const core::err rc = s->append(
        l.at(0), std::move(r),
        [](void* u, store::append_result&& result) noexcept {
          const std::unique_ptr<one> self(static_cast<one*>(u));
          const uint64_t told[2] = {self->channel, result.offset};
          if (result.rc != core::err::ok || write(self->fd, told, sizeof told) != sizeof told)
            _exit(2);
        },
        user);
    if (rc == core::err::ok) continue;
    delete user;
    --i;
    std::this_thread::yield();  // full
  }
}

TEST(sqlite_crash_test, has_everything_acknowledged_after_kill_9) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  scratch_dir dir;
  store::sqlite_options o;
  o.path = dir.file("chat.sqlite");
  o.queue_max = 500;
  for (int round = 0; round < 8; ++round) {
    int fds[2];
    ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
    const pid_t child = fork();  // this process has no other thread now
    ASSERT_GE(child, 0);
    if (child == 0) append_until_killed(o, fds[1]);
    ::close(fds[1]);
    uint64_t acknowledged[2] = {0, 0};
    uint64_t told[2];
    // Killed after a random number of acknowledgements; what is still in the pipe counts too.
    for (uint32_t n = 500 + random() % 3000;
         n > 0 && read(fds[0], told, sizeof told) == sizeof told; --n)
      acknowledged[told[0]] = told[1];
    kill(child, SIGKILL);
    while (read(fds[0], told, sizeof told) == sizeof told) acknowledged[told[0]] = told[1];
    ::close(fds[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    ASSERT_GT(acknowledged[0], 0u);

    loops l(1);
    store::store* s = nullptr;
    std::string why;
    ASSERT_EQ(store::open_sqlite(o, &s, &why), core::err::ok) << why;
    client c{s, l.at(0)};
    for (const int i : {0, 1}) {
      const auto all = c.read(page(i == 0 ? "a" : "b", 0, UINT32_MAX));
      EXPECT_GE(all.top.offset, acknowledged[i]) << "acknowledged and lost";
      ASSERT_EQ(all.pubs.size(), all.top.offset);
      for (size_t k = 0; k < all.pubs.size(); ++k) ASSERT_EQ(all.pubs[k].offset, k + 1) << "a hole";
    }
    s->close();
    delete s;
  }
}

}  // namespace
}  // namespace store_test
