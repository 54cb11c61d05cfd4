// Verbs for tests of moves: histories in files and stores, moved whole, in pieces, and stopped.
#pragma once

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

}  // namespace store_test
