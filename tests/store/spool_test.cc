// The spool: what comes back after an end at any point, what is refused, and what is removed.
#include "store/spool.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "store/spool_format.h"
#include "tests/store/harness.h"

namespace store_test {
namespace {

namespace fs = std::filesystem;

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void spill(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), bytes.size());
}

// A spool in a directory of its own, and what its opening replayed.
struct spool_at {
  explicit spool_at(std::string d) { o.dir = std::move(d); }
  ~spool_at() { close(); }
  core::err open() {
    close();
    found.clear();
    places.clear();
    why.clear();
    return store::spool_open(
        o,
        [](void* user, const store::spool_place& p, std::string_view record) noexcept {
          auto* self = static_cast<spool_at*>(user);
          self->found.emplace_back(record);
          self->places.push_back(p);
          return record != self->refused;
        },
        this, &s, &why);
  }
  void close() {
    if (s != nullptr) store::spool_close(s);
    s = nullptr;
  }
  core::err add(std::string_view record) {
    store::spool_place p;
    const core::err rc = store::spool_add(s, record, &p);
    if (rc == core::err::ok) added.push_back(p);
    return rc;
  }
  core::err group(const std::vector<std::string>& records) {
    for (const std::string& r : records) {
      const core::err rc = add(r);
      if (rc != core::err::ok) return rc;
    }
    return store::spool_commit(s);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> all;
    for (const auto& e : fs::directory_iterator(o.dir))
      if (e.path().extension() == ".spool") all.push_back(e.path().string());
    std::sort(all.begin(), all.end());
    return all;
  }

  store::spool_options o;
  store::spool* s = nullptr;
  std::string why, refused = "refused";
  std::vector<std::string> found;
  std::vector<store::spool_place> places, added;
};

using texts = std::vector<std::string>;

TEST(spool_test, gives_back_what_was_committed_in_its_order) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  ASSERT_EQ(a.open(), core::err::ok) << a.why;
  EXPECT_TRUE(store::spool_is_new(a.s));
  const std::string id(store::spool_id(a.s));
  EXPECT_EQ(id.size(), store::kSpoolIdBytes);
  ASSERT_EQ(a.group({"one", "", std::string(100'000, 'x')}), core::err::ok);
  ASSERT_EQ(a.group({"four"}), core::err::ok);
  ASSERT_EQ(store::spool_commit(a.s), core::err::ok) << "nothing to do";
  EXPECT_EQ(store::spool_measure(a.s).syncs, 2u) << "one for each group";
  EXPECT_EQ(store::spool_measure(a.s).records, 4u);
  ASSERT_EQ(a.add("never committed"), core::err::ok);
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ(a.open(), core::err::ok) << a.why;
    EXPECT_FALSE(store::spool_is_new(a.s));
    EXPECT_EQ(store::spool_id(a.s), id);
    EXPECT_EQ(a.found, (texts{"one", "", std::string(100'000, 'x'), "four"}));
    EXPECT_EQ(store::spool_measure(a.s).torn, 0u);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(a.places[i].seq, i + 1);
      std::string record;
      ASSERT_EQ(store::spool_read(a.places[i], &record), core::err::ok);
      EXPECT_EQ(record, a.found[i]);
    }
  }
}

TEST(spool_test, reads_a_place_as_soon_as_it_is_committed_and_after_its_file_went) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  a.o.segment_bytes = 1;
  ASSERT_EQ(a.open(), core::err::ok);
  for (const char* r : {"a", "b", "c"}) ASSERT_EQ(a.group({r}), core::err::ok);
  EXPECT_EQ(a.files().size(), 3u);
  std::string record;
  ASSERT_EQ(store::spool_read(a.added[1], &record), core::err::ok);
  EXPECT_EQ(record, "b");
  store::spool_stored(a.s, a.added[1]);
  EXPECT_EQ(a.files().size(), 3u) << "the first is still wanted";
  store::spool_stored(a.s, a.added[0]);
  EXPECT_EQ(a.files().size(), 1u);
  ASSERT_EQ(store::spool_read(a.added[0], &record), core::err::ok);
  EXPECT_EQ(record, "a");
  ASSERT_EQ(a.open(), core::err::ok) << a.why;
  EXPECT_EQ(a.found, texts{"c"});
}

TEST(spool_test, begins_empty_with_its_id_when_all_was_stored) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  a.o.segment_bytes = 200;
  ASSERT_EQ(a.open(), core::err::ok);
  const std::string id(store::spool_id(a.s));
  for (int i = 0; i < 20; ++i) ASSERT_EQ(a.group({std::string(30, 'x')}), core::err::ok);
  EXPECT_GT(a.files().size(), 3u);
  for (auto it = a.added.rbegin(); it != a.added.rend(); ++it) store::spool_stored(a.s, *it);
  EXPECT_EQ(a.files().size(), 1u);
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ(a.open(), core::err::ok) << a.why;
    EXPECT_TRUE(a.found.empty());
    EXPECT_EQ(store::spool_id(a.s), id);
    EXPECT_EQ(a.files().size(), 1u);
  }
  ASSERT_EQ(a.group({"next"}), core::err::ok);
  EXPECT_EQ(a.added.back().seq, 21u);
}

TEST(spool_test, has_bounds) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  a.o.bytes_max = 4096;
  a.o.segment_bytes = 1024;
  ASSERT_EQ(a.open(), core::err::ok);
  int n = 0;
  core::err rc = core::err::ok;
  while ((rc = a.group({std::string(100, 'x')})) == core::err::ok) ASSERT_LT(++n, 100);
  EXPECT_EQ(rc, core::err::full);
  EXPECT_LE(store::spool_measure(a.s).bytes, 4096u);
  uint64_t on_disk = 0;
  for (const std::string& f : a.files()) on_disk += fs::file_size(f);
  EXPECT_EQ(on_disk, store::spool_measure(a.s).bytes);
  for (const auto& p : a.added) store::spool_stored(a.s, p);
  EXPECT_EQ(a.group({"there is room again"}), core::err::ok);
  store::spool_place p;
  EXPECT_EQ(store::spool_add(a.s, std::string(store::kSpoolRecordBytesMax + 1, 'x'), &p),
            core::err::too_big);
}

TEST(spool_test, bounds_a_group) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  ASSERT_EQ(a.open(), core::err::ok);
  const std::string big(store::kSpoolRecordBytesMax, 'x');
  int n = 0;
  while (a.add(big) == core::err::ok) ASSERT_LT(++n, 5);
  EXPECT_EQ(n, 3) << "heads count, too";
  EXPECT_EQ(store::spool_commit(a.s), core::err::ok);
  EXPECT_EQ(a.group({big}), core::err::ok);
  ASSERT_EQ(a.open(), core::err::ok) << a.why;
  EXPECT_EQ(a.found.size(), 4u);
}

TEST(spool_test, refuses_a_second_opener) {
  scratch_dir dir;
  spool_at a(dir.file("spool")), b(dir.file("spool"));
  ASSERT_EQ(a.open(), core::err::ok);
  EXPECT_EQ(b.open(), core::err::conflict);
  EXPECT_NE(b.why.find("in use"), std::string::npos) << b.why;
}

TEST(spool_test, says_why_a_directory_does_not_do) {
  scratch_dir dir;
  spool_at a(dir.file("no/such/parent"));
  EXPECT_EQ(a.open(), core::err::io);
  EXPECT_NE(a.why.find("no/such/parent"), std::string::npos) << a.why;
}

// Three groups of one, two and one records.
std::string make_three(spool_at* a) {
  EXPECT_EQ(a->open(), core::err::ok);
  EXPECT_EQ(a->group({"first"}), core::err::ok);
  EXPECT_EQ(a->group({"second", "third"}), core::err::ok);
  EXPECT_EQ(a->group({"fourth"}), core::err::ok);
  a->close();
  return slurp(a->files().at(0));
}

TEST(spool_test, keeps_whole_groups_when_cut_anywhere) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  const std::string file = make_three(&a);
  const std::string name = a.files().at(0);
  const uint64_t group1 = store::kSegmentHeadBytes + store::frame_padded(8 + 5);
  const uint64_t group2 = group1 + store::kSealBytes + store::frame_padded(16 + 6 + 5);
  const uint64_t group3 = group2 + store::kSealBytes + store::frame_padded(8 + 6);
  ASSERT_EQ(group3 + store::kSealBytes, file.size());
  for (size_t n = 0; n <= file.size(); ++n) {
    spill(name, file.substr(0, n));
    ASSERT_EQ(a.open(), core::err::ok) << n << ": " << a.why;
    const size_t records = n >= group3 ? 4 : n >= group2 ? 3 : n >= group1 ? 1 : 0;
    ASSERT_EQ(a.found.size(), records) << n;
    EXPECT_EQ(store::spool_is_new(a.s), n < store::kSegmentHeadBytes);
    ASSERT_EQ(a.group({"after"}), core::err::ok);
    ASSERT_EQ(a.open(), core::err::ok) << n << ": " << a.why;
    ASSERT_EQ(a.found.size(), records + 1) << n;
    EXPECT_EQ(a.found.back(), "after");
  }
}

TEST(spool_test, refuses_or_outlives_every_flipped_bit) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  const std::string file = make_three(&a);
  const std::string name = a.files().at(0);
  const size_t last_seal = file.size() - store::kSealBytes;
  for (size_t bit = 0; bit < 8 * file.size(); ++bit) {
    std::string flipped = file;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    spill(name, flipped);
    const core::err rc = a.open();
    a.close();
    if (bit / 8 >= last_seal) {
      ASSERT_EQ(rc, core::err::ok) << bit << ": " << a.why;
      ASSERT_EQ(a.found.size(), 4u) << "no record is in the seal";
      continue;
    }
    ASSERT_EQ(rc, core::err::malformed) << bit;
    ASSERT_NE(a.why.find(name), std::string::npos) << a.why;
    ASSERT_NE(a.why.find("at offset "), std::string::npos) << a.why;
    ASSERT_EQ(slurp(name), flipped) << "refused and changed";
  }
}

TEST(spool_test, names_the_place_of_damage) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  std::string file = make_three(&a);
  const uint64_t at = store::kSegmentHeadBytes + store::frame_padded(8 + 5) + store::kSealBytes;
  file[at + 30] ^= 1;
  spill(a.files().at(0), file);
  EXPECT_EQ(a.open(), core::err::malformed);
  EXPECT_NE(a.why.find("at offset " + std::to_string(at) + ":"), std::string::npos) << a.why;
}

TEST(spool_test, refuses_a_file_that_is_missing_swapped_or_foreign) {
  scratch_dir dir;
  spool_at a(dir.file("spool")), other(dir.file("other"));
  for (spool_at* s : {&a, &other}) {
    s->o.segment_bytes = 1;
    ASSERT_EQ(s->open(), core::err::ok);
    for (const char* r : {"a", "b", "c"}) ASSERT_EQ(s->group({r}), core::err::ok);
    s->close();
  }
  const texts names = a.files();
  const std::string second = slurp(names[1]);
  fs::remove(names[1]);
  EXPECT_EQ(a.open(), core::err::malformed);
  EXPECT_NE(a.why.find(names[0]), std::string::npos) << a.why;
  spill(names[1], slurp(other.files()[1]));
  EXPECT_EQ(a.open(), core::err::malformed);
  EXPECT_NE(a.why.find("another spool"), std::string::npos) << a.why;
  spill(names[1], slurp(names[0]));
  EXPECT_EQ(a.open(), core::err::malformed);
  spill(names[1], second.substr(0, second.size() - store::kSealBytes - 1));
  EXPECT_EQ(a.open(), core::err::malformed) << "only the newest file may end in an open group";
  spill(names[1], second);
  EXPECT_EQ(a.open(), core::err::ok) << a.why;
  EXPECT_EQ(a.found.size(), 3u);
}

TEST(spool_test, refuses_what_its_user_does_not_understand) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  ASSERT_EQ(a.open(), core::err::ok);
  ASSERT_EQ(a.group({"a", "refused"}), core::err::ok);
  EXPECT_EQ(a.open(), core::err::malformed);
  EXPECT_NE(a.why.find("means nothing"), std::string::npos) << a.why;
}

TEST(spool_test, tells_a_record_that_changed_on_the_disk) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  ASSERT_EQ(a.open(), core::err::ok);
  ASSERT_EQ(a.group({"abcdef"}), core::err::ok);
  std::string file = slurp(a.files().at(0));
  file[file.find("abcdef")] = 'X';
  spill(a.files().at(0), file);
  std::string record;
  EXPECT_EQ(store::spool_read(a.added[0], &record), core::err::malformed);
}

// A user who knows the format, but not the id, writes messages that look like groups and seals.
TEST(spool_test, is_not_deceived_by_records_that_look_like_frames) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  ASSERT_EQ(a.open(), core::err::ok);
  const std::string id(store::kSpoolIdBytes, '\0');
  const std::string forged = store::frame_seal(id, 1000);
  std::string record;
  for (int i = 0; i < 20; ++i) record += forged;
  ASSERT_EQ(a.group({"good"}), core::err::ok);
  const std::string before = slurp(a.files().at(0));
  ASSERT_EQ(a.group({record}), core::err::ok);
  const std::string after = slurp(a.files().at(0));
  for (size_t shift = 0; shift < 8; ++shift) {
    spill(a.files().at(0), after.substr(0, after.size() - 24 - shift));
    ASSERT_EQ(a.open(), core::err::ok) << a.why;
    EXPECT_EQ(a.found, texts{"good"});
    a.close();
    EXPECT_EQ(slurp(a.files().at(0)), before);
  }
}

// As a full disk: files may not grow beyond a size. The signal would end the process.
class file_limit {
 public:
  explicit file_limit(uint64_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before_), 0);
    rlimit now = before_;
    now.rlim_cur = bytes;
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &now), 0);
  }
  ~file_limit() {
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before_), 0);
    signal(SIGXFSZ, SIG_DFL);
  }

 private:
  rlimit before_{};
};

TEST(spool_test, answers_io_when_the_disk_is_full_and_goes_on_when_it_is_not) {
  scratch_dir dir;
  for (uint64_t limit = 100; limit < 400; limit += 7) {
    spool_at a(dir.file(("spool" + std::to_string(limit)).c_str()));
    ASSERT_EQ(a.open(), core::err::ok);
    texts kept;
    {
      const file_limit full(limit);
      int failures = 0;
      for (int i = 0; failures < 3; ++i) {
        const std::string r = "record " + std::to_string(i);
        const core::err rc = a.group({r, r});
        if (rc == core::err::ok) kept.insert(kept.end(), {r, r});
        failures += rc == core::err::io;
        ASSERT_TRUE(rc == core::err::ok || rc == core::err::io);
        // A group of its own file may go on where the last one's seal did not fit.
        if (i > 50) break;
      }
    }
    ASSERT_EQ(a.group({"later"}), core::err::ok) << limit;
    kept.push_back("later");
    ASSERT_EQ(a.open(), core::err::ok) << limit << ": " << a.why;
    EXPECT_EQ(a.found, kept) << limit;
    for (size_t i = 0; i < a.places.size(); ++i) EXPECT_EQ(a.places[i].seq, i + 1);
  }
}

// What a failed sync may have left on the disk behind the end is void: the next file says so.
TEST(spool_test, ignores_what_was_refused_behind_the_beginning_of_the_next_file) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  a.o.segment_bytes = 1;
  ASSERT_EQ(a.open(), core::err::ok);
  ASSERT_EQ(a.group({"a"}), core::err::ok);
  ASSERT_EQ(a.group({"b"}), core::err::ok);
  const std::string second = slurp(a.files().at(1));
  a.close();
  const std::string refused = second.substr(store::kSegmentHeadBytes);
  spill(a.files().at(0), slurp(a.files().at(0)) + refused);
  ASSERT_EQ(a.open(), core::err::ok) << a.why;
  EXPECT_EQ(a.found, (texts{"a", "b"}));
}

TEST(spool_test, may_be_read_and_stored_by_threads_while_it_is_written) {
  scratch_dir dir;
  spool_at a(dir.file("spool"));
  a.o.segment_bytes = 2000;
  ASSERT_EQ(a.open(), core::err::ok);
  std::mutex lock;
  std::condition_variable changed;
  std::vector<store::spool_place> ready;
  bool is_done = false;
  const auto drain = [&] {
    for (;;) {
      store::spool_place p;
      {
        std::unique_lock<std::mutex> held(lock);
        changed.wait(held, [&] { return !ready.empty() || is_done; });
        if (ready.empty()) return;
        p = ready.back();
        ready.pop_back();
      }
      std::string record;
      ASSERT_EQ(store::spool_read(p, &record), core::err::ok);
      ASSERT_EQ(record, "record " + std::to_string(p.seq));
      store::spool_stored(a.s, p);
    }
  };
  std::thread one(drain), two(drain);
  for (uint64_t seq = 1; seq <= 600;) {
    const size_t from = a.added.size();
    texts group;
    for (int i = 0; i < 3; ++i) group.push_back("record " + std::to_string(seq++));
    ASSERT_EQ(a.group(group), core::err::ok);
    const std::lock_guard<std::mutex> held(lock);
    ready.insert(ready.end(), a.added.begin() + static_cast<long>(from), a.added.end());
    changed.notify_all();
  }
  {
    const std::lock_guard<std::mutex> held(lock);
    is_done = true;
    changed.notify_all();
  }
  one.join();
  two.join();
  EXPECT_EQ(store::spool_measure(a.s).records, 0u);
  EXPECT_EQ(a.files().size(), 1u);
}

// A child commits records and tells each through a pipe, and is killed as soon as it has told n.
TEST(spool_test, has_all_that_was_told_after_a_kill_at_every_record) {
  scratch_dir dir;
  for (int n = 1; n <= 25; ++n) {
    const std::string where = dir.file(("spool" + std::to_string(n)).c_str());
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      spool_at a(where);
      a.o.segment_bytes = 300;
      if (a.open() != core::err::ok) _exit(1);
      for (uint32_t i = 0;; ++i) {
        if (a.group({"record " + std::to_string(i)}) != core::err::ok) _exit(1);
        if (write(ends[1], "x", 1) != 1) _exit(1);
      }
    }
    close(ends[1]);
    char told;
    for (int i = 0; i < n; ++i) ASSERT_EQ(read(ends[0], &told, 1), 1);
    kill(child, SIGKILL);
    int more = n;
    while (read(ends[0], &told, 1) == 1) ++more;
    close(ends[0]);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    spool_at a(where);
    ASSERT_EQ(a.open(), core::err::ok) << a.why;
    ASSERT_GE(a.found.size(), static_cast<size_t>(more));
    ASSERT_LE(a.found.size(), static_cast<size_t>(more) + 1) << "one may not have been told";
    for (size_t i = 0; i < a.found.size(); ++i)
      ASSERT_EQ(a.found[i], "record " + std::to_string(i));
  }
}

}  // namespace
}  // namespace store_test
