// Verbs for tests of moves: histories in files and stores, moved whole, in pieces, and stopped.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>

#include "store/ndjson.h"
#include "store/transfer.h"
#include "tests/store/harness.h"

namespace store_test {

class fixed_clock_at final : public core::clock_source {
 public:
  explicit fixed_clock_at(int64_t ms) : now_ms(ms) {}
  uint64_t mono_us() const noexcept override { return core::system_clock()->mono_us(); }
  int64_t wall_ms() const noexcept override { return now_ms.load(); }
  std::atomic<int64_t> now_ms;
};

// A file in memory.
class text_file {
 public:
  explicit text_file(const std::string& text = "") : fd_(memfd_create("history", MFD_CLOEXEC)) {
    EXPECT_EQ(::write(fd_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    rewind();
  }
  ~text_file() { close(fd_); }
  text_file(const text_file&) = delete;
  text_file& operator=(const text_file&) = delete;
  int fd() const { return fd_; }
  void rewind() { lseek(fd_, 0, SEEK_SET); }
  std::string text() {
    rewind();
    std::string all(static_cast<size_t>(lseek(fd_, 0, SEEK_END)), ' ');
    EXPECT_EQ(pread(fd_, all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
    return all;
  }

 private:
  int fd_;
};

// Gives pages of `size` records, and stops after so many records for good (0: never).
class chopped final : public store::history_source {
 public:
  chopped(std::unique_ptr<store::history_source> whole, size_t size, uint64_t stop_after)
      : whole_(std::move(whole)), size_(size), stop_after_(stop_after) {}
  core::err begin(store::history_head* head, std::string* why) noexcept override {
    return whole_->begin(head, why);
  }
  core::err next(store::history_page* page, std::string* why) noexcept override {
    page->clear();
    while (page->size() < size_) {
      if (stop_after_ > 0 && given_ == stop_after_) {
        if (!page->empty()) return core::err::ok;
        *why = "stopped here";
        return core::err::closed;
      }
      if (at_ == kept_.size()) {
        at_ = 0;
        const core::err rc = whole_->next(&kept_, why);
        if (rc != core::err::ok || kept_.empty()) return rc;
      }
      page->push_back(std::move(kept_[at_++]));
      ++given_;
    }
    return core::err::ok;
  }
  store::history_progress progress() const noexcept override { return whole_->progress(); }

 private:
  std::unique_ptr<store::history_source> whole_;
  const size_t size_;
  const uint64_t stop_after_;
  uint64_t given_ = 0;
  store::history_page kept_;
  size_t at_ = 0;
};

// What became of a move.
struct moved {
  core::err rc = core::err::ok;
  std::string why;
  store::history_counts counts;
  uint64_t passed_over = 0;
};

inline moved move(store::history_source* from, store::history_sink* to) {
  moved m;
  m.rc = store::transfer_run(from, to, {}, &m.counts, &m.why);
  m.passed_over = to->passed_over();
  return m;
}

// The file of a store that is not open. `size` and `stop_after` as of chopped.
inline std::string exported(std::unique_ptr<store::history_source> from) {
  text_file out;
  const auto to = store::open_ndjson_sink(out.fd());
  const moved m = move(from.get(), to.get());
  EXPECT_EQ(m.rc, core::err::ok) << m.why;
  return out.text();
}

inline moved imported(const std::string& text, store::history_sink* to, size_t size = SIZE_MAX,
                      uint64_t stop_after = 0) {
  text_file in(text);
  chopped from(store::open_ndjson_source({.fd = in.fd()}), size, stop_after);
  return move(&from, to);
}

inline constexpr int64_t kNowMs = 1'700'000'000'000;
inline constexpr int64_t kDayMs = 24 * 3600 * 1000;

class transfer_world : public ::testing::Test {
 protected:
  // Opens a store like a server; what `fill` does is in the file afterwards.
  template <typename Fn>
  void serve(const std::string& path, Fn fill) {
    store::sqlite_options o;
    o.path = path;
    o.clock = &clock_;
    store::store* s = nullptr;
    std::string why;
    ASSERT_EQ(store::open_sqlite(o, &s, &why), core::err::ok) << why;
    const std::unique_ptr<store::store> owned(s);
    client c{s, loops_.at(0)};
    fill(c);
    s->close();
  }
  // One of everything that can be in a history.
  void fill(client& c) {
    for (int i = 1; i <= 5; ++i) c.say("general", std::to_string(i), kNowMs + i);
    c.append(with_key(message("general", "\"with a key\"", kNowMs + 6), "rpc\nalice\nk1", "h\1\xff",
                      kDayMs));
    c.append(with_key(message("general", "\"expired\"", kNowMs - kDayMs), "old", "h", 1000));
    c.append(reference("general", "alice", 2, false));
    c.append(reference("general", "alice", 2, true));
    c.append(reference("general", "alice", 3, false));
    store::append_request r =
        message("ch\xc3\xa4t:1", "{\"a\":\"\\\"\xf0\x9f\x98\x80\\n\"}", kNowMs);
    r.user = "b\"o\\b\n\1";
    r.pub.info = "{\"user\":\"x\"}";
    r.pub.tags = "{\"key\":\"1\"}";
    c.append(r);
    c.say("null", "null", kNowMs);
    // Its publications are gone, its position and its keys are not.
    c.append(with_key(message("emptied", "1", kNowMs), "e1", "h1", kDayMs));
    c.append(with_key(message("emptied", "2", kNowMs), "e2", "h2", kDayMs));
    EXPECT_EQ(c.remove_history("emptied"), core::err::ok);
    r = message("kept", "1", kNowMs);
    r.keep = {1000, static_cast<uint64_t>(kDayMs)};
    c.append(r);
    EXPECT_EQ(c.join({"alice", "bob"}, "general"), core::err::ok);
    EXPECT_EQ(c.mark("alice", "general", 4), core::err::ok);
    EXPECT_EQ(c.mark("carol", "nowhere", 7), core::err::ok);
  }
  std::unique_ptr<store::history_source> source(const std::string& path) {
    std::unique_ptr<store::history_source> s;
    std::string why;
    EXPECT_EQ(store::open_sqlite_source(path, &clock_, &s, &why), core::err::ok) << why;
    return s;
  }
  std::unique_ptr<store::history_sink> sink(const std::string& path) {
    std::unique_ptr<store::history_sink> s;
    std::string why;
    EXPECT_EQ(store::open_sqlite_sink(path, &s, &why), core::err::ok) << why;
    return s;
  }
  std::string file_of(const std::string& path) { return exported(source(path)); }
  std::string path(const char* name) { return dir_.file(name); }
  // A history of one channel, `count` messages of `bytes` and more, put into a file.
  void write_long(int count, size_t bytes, text_file* out) {
    const auto to = store::open_ndjson_sink(out->fd());
    std::string why;
    EXPECT_EQ(to->begin({"abcd1234", 0}, &why), core::err::ok);
    store::history_counts counts;
    for (int i = 0; i < count;) {
      store::history_page page;
      if (i == 0) {
        page.emplace_back();
        page[0].channel = "long";
        page[0].top = static_cast<uint64_t>(count) + 10;
        page[0].last_ms = kNowMs;
      }
      for (; i < count && page.size() < 700; ++i) page.push_back(long_record(i, bytes));
      for (const auto& r : page) store::history_count(&counts, r);
      EXPECT_EQ(to->put(page, &why), core::err::ok);
    }
    EXPECT_EQ(to->end(counts, &why), core::err::ok);
    out->rewind();
  }
  static store::history_record long_record(int i, size_t bytes) {
    store::history_record r;
    r.kind = store::history_kind::publication;
    r.channel = "long";
    r.pub.offset = static_cast<uint64_t>(i) + 1;
    r.pub.time_ms = kNowMs + i;
    r.pub.data = "{\"n\":" + std::to_string(i);
    if (bytes > 0) r.pub.data += ",\"text\":\"" + std::string(bytes, 'x') + "\"";
    r.pub.data += "}";
    r.user = "u" + std::to_string(i % 7);
    if (i % 3 == 0) {
      r.key_scope = "k" + std::to_string(i);
      r.key_hash = std::string(16, static_cast<char>(i));
      r.key_expires_ms = kNowMs + kDayMs;
    }
    return r;
  }
  std::string long_text(int count) {
    text_file out;
    write_long(count, 0, &out);
    return out.text();
  }

  scratch_dir dir_;
  loops loops_{1};
  fixed_clock_at clock_{kNowMs};
};

}  // namespace store_test
