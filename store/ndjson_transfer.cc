// A history as a file or a pipe of NDJSON.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <utility>

#include "store/ndjson.h"

namespace store {
namespace {

constexpr size_t kIoBytes = 256 * 1024;

// Lines and bytes since the last check.
struct check_counter {
  uint64_t lines = 0, bytes = 0;
  void add(uint64_t n) {
    ++lines;
    bytes += n;
  }
  bool is_due() const { return lines >= kNdjsonCheckLines || bytes >= kNdjsonCheckBytes; }
};

class ndjson_source final : public history_source {
 public:
  explicit ndjson_source(const ndjson_source_options& o) : o_(o) {}
  core::err begin(history_head* head, std::string* why) noexcept override;
  core::err next(history_page* page, std::string* why) noexcept override;
  history_progress progress() const noexcept override { return {bytes_, o_.bytes}; }

 private:
  core::err read_line(ndjson_line* out, std::string* why) noexcept;
  core::err check_record(const history_record& r, std::string* why) noexcept;
  core::err check_crc(uint32_t told, std::string* why) noexcept;
  core::err check_end(const ndjson_line& l, std::string* why) noexcept;
  core::err fail(std::string* why) const noexcept;

  const ndjson_source_options o_;
  std::string buffer_;
  size_t at_ = 0;
  uint64_t bytes_ = 0, line_ = 0;      // given on
  uint32_t crc_ = 0, crc_before_ = 0;  // with and without the last line
  uint64_t line_bytes_ = 0;
  ndjson_order order_;
  history_counts counts_;
  bool is_end_ = false;
};

// Puts the line's number in front.
core::err ndjson_source::fail(std::string* why) const noexcept {
  *why = "line " + std::to_string(line_) + ": " + *why;
  return core::err::malformed;
}

core::err ndjson_source::read_line(ndjson_line* out, std::string* why) noexcept {
  size_t searched = at_, end;
  while ((end = buffer_.find('\n', searched)) == std::string::npos) {
    buffer_.erase(0, at_);
    at_ = 0;
    searched = buffer_.size();
    if (buffer_.size() > kNdjsonLineBytesMax) {
      ++line_;
      *why = "longer than " + std::to_string(kNdjsonLineBytesMax >> 20) + " MiB";
      return fail(why);
    }
    buffer_.resize(searched + kIoBytes);
    ssize_t n;
    do {
      n = ::read(o_.fd, buffer_.data() + searched, kIoBytes);
    } while (n < 0 && errno == EINTR);
    buffer_.resize(searched + static_cast<size_t>(n > 0 ? n : 0));
    if (n > 0) continue;
    if (n < 0) {
      *why = std::string("cannot read: ") + strerror(errno);
      return core::err::io;
    }
    *why = "truncated: it ends after line " + std::to_string(line_) +
           (buffer_.empty() ? "" : " in the middle of a line") + ", without the line of kind end";
    return core::err::malformed;
  }
  const std::string_view line = std::string_view(buffer_).substr(at_, end - at_);
  crc_before_ = crc_;
  crc_ = ndjson_crc(crc_, std::string_view(buffer_).substr(at_, end + 1 - at_));
  at_ = end + 1;
  ++line_;
  line_bytes_ = line.size() + 1;
  bytes_ += line_bytes_;
  return ndjson_parse(line, out, why) == core::err::ok ? core::err::ok : fail(why);
}

core::err ndjson_source::begin(history_head* head, std::string* why) noexcept {
  ndjson_line l;
  const core::err rc = read_line(&l, why);
  if (rc != core::err::ok) return rc;
  if (l.kind != ndjson_kind::header) {
    *why = "the first line is of kind header";
    return fail(why);
  }
  *head = std::move(l.head);
  return rc;
}

core::err ndjson_source::check_record(const history_record& r, std::string* why) noexcept {
  if (ndjson_check(&order_, r, why) != core::err::ok) return fail(why);
  if (o_.is_json == nullptr || r.kind != history_kind::publication) return core::err::ok;
  const std::pair<const char*, std::string_view> texts[] = {
      {"data", r.pub.data}, {"info", r.pub.info}, {"tags", r.pub.tags}};
  for (const auto& [name, text] : texts) {
    if (text.empty() || o_.is_json(o_.user, text)) continue;
    *why = std::string("\"") + name + "\" is a text that holds JSON, on one line; this does not";
    return fail(why);
  }
  return core::err::ok;
}

core::err ndjson_source::check_crc(uint32_t told, std::string* why) noexcept {
  if (told == crc_before_) return core::err::ok;
  *why = "the checksum of what is before it is another: the file is damaged";
  return fail(why);
}

core::err ndjson_source::check_end(const ndjson_line& l, std::string* why) noexcept {
  is_end_ = true;
  const core::err rc = check_crc(l.crc, why);
  if (rc != core::err::ok) return rc;
  if (!(l.counts == counts_)) {
    *why = "the counts are not those of the lines before it";
    return fail(why);
  }
  char c;
  if (at_ < buffer_.size() || ::read(o_.fd, &c, 1) > 0) {
    ++line_;
    *why = "something stands behind the line of kind end";
    return fail(why);
  }
  return core::err::ok;
}

// A page is what a check line is good for.
core::err ndjson_source::next(history_page* page, std::string* why) noexcept {
  page->clear();
  check_counter since;
  while (!is_end_) {
    ndjson_line l;
    core::err rc = read_line(&l, why);
    if (rc != core::err::ok) return rc;
    switch (l.kind) {
      case ndjson_kind::header:
        *why = "a second header";
        return fail(why);
      case ndjson_kind::end:
        return check_end(l, why);
      case ndjson_kind::check:
        rc = check_crc(l.crc, why);
        if (rc != core::err::ok || !page->empty()) return rc;
        break;
      case ndjson_kind::record:
        if (since.is_due()) {
          *why = "a line of kind check is missing: there is one after " +
                 std::to_string(kNdjsonCheckLines) + " lines or " +
                 std::to_string(kNdjsonCheckBytes >> 20) + " MiB";
          return fail(why);
        }
        rc = check_record(l.record, why);
        if (rc != core::err::ok) return rc;
        since.add(line_bytes_);
        history_count(&counts_, l.record);
        page->push_back(std::move(l.record));
        break;
    }
  }
  return core::err::ok;
}

class ndjson_sink final : public history_sink {
 public:
  explicit ndjson_sink(int fd) : fd_(fd) {}
  core::err begin(const history_head& head, std::string* why) noexcept override {
    ndjson_put_head(head, &buffer_);
    return give(why);
  }
  core::err put(const history_page& page, std::string* why) noexcept override;
  core::err end(const history_counts& all, std::string* why) noexcept override {
    ndjson_put_end(all, crc_, &buffer_);
    const core::err rc = give(why);
    // A pipe cannot be synced, and need not be.
    if (rc != core::err::ok || fsync(fd_) == 0 || errno == EINVAL || errno == EROFS) return rc;
    return fail(why);
  }
  uint64_t passed_over() const noexcept override { return 0; }

 private:
  core::err fail(std::string* why) noexcept {
    *why = std::string("cannot write: ") + strerror(errno);
    return core::err::io;
  }
  core::err give(std::string* why) noexcept;

  const int fd_;
  std::string buffer_;  // whole lines, not yet written
  uint32_t crc_ = 0;    // of what was written
  check_counter since_;
};

core::err ndjson_sink::give(std::string* why) noexcept {
  crc_ = ndjson_crc(crc_, buffer_);
  for (size_t at = 0; at < buffer_.size();) {
    const ssize_t n = ::write(fd_, buffer_.data() + at, buffer_.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(why);
    at += static_cast<size_t>(n);
  }
  buffer_.clear();
  return core::err::ok;
}

core::err ndjson_sink::put(const history_page& page, std::string* why) noexcept {
  for (const history_record& r : page) {
    const size_t before = buffer_.size();
    ndjson_put(r, &buffer_);
    since_.add(buffer_.size() - before);
    if (!since_.is_due()) continue;
    core::err rc = give(why);
    if (rc != core::err::ok) return rc;
    ndjson_put_check(crc_, &buffer_);
    since_ = {};
  }
  return give(why);
}

}  // namespace

std::unique_ptr<history_source> open_ndjson_source(const ndjson_source_options& o) noexcept {
  return std::make_unique<ndjson_source>(o);
}

std::unique_ptr<history_sink> open_ndjson_sink(int fd) noexcept {
  return std::make_unique<ndjson_sink>(fd);
}

}  // namespace store
