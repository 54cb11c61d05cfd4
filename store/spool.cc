// The spool's files: groups are appended to the newest segment, segments go when they are stored.
#include "store/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <mutex>
#include <vector>

#include "core/assert.h"
#include "core/clock.h"
#include "core/log.h"
#include "store/file_lock.h"
#include "store/spool_format.h"
#include "store/spool_scan.h"

namespace store {

// A file. Invariant: [0, bytes) is synced and whole; records [first_seq, end_seq) stand in it.
struct spool_segment {
  std::string path;
  std::string id;
  int fd = -1;
  uint64_t first_seq = 0, end_seq = 0;
  uint64_t bytes = 0;
  uint64_t stored = 0;  // records
  ~spool_segment() {
    if (fd >= 0) close(fd);
  }
};

struct spool {
  spool_options options;
  std::string id;
  bool is_new = false;
  int lock_fd = -1;
  uint64_t torn = 0;

  // The group that is being gathered: the writer's thread.
  std::string group;  // head and body of the frame
  uint32_t group_records = 0;
  std::shared_ptr<spool_segment> filling;  // where it will stand
  bool is_broken = false;  // the newest segment's end is not known: a new one before the next group

  std::mutex lock;  // what follows; never held over a write or a sync
  std::deque<std::shared_ptr<spool_segment>> segments;  // oldest first, never empty
  uint64_t bytes = 0;                                   // of them
  uint64_t syncs = 0;
  std::mutex removing;  // files go in their order; taken before `lock`
};

namespace {

std::string segment_path(const std::string& dir, uint64_t first_seq) {
  char name[32];
  snprintf(name, sizeof name, "/%016llx.spool", static_cast<unsigned long long>(first_seq));
  return dir + name;
}

bool write_all(int fd, std::string_view bytes, uint64_t at) noexcept {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
    at += static_cast<uint64_t>(n);
  }
  return true;
}

bool sync_dir(const std::string& dir) noexcept {
  const int fd = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool is_synced = fsync(fd) == 0;
  close(fd);
  return is_synced;
}

// Durable before the first frame goes into it. An unfinished one of the same name is overwritten.
std::shared_ptr<spool_segment> make_segment(const spool& s, uint64_t first_seq) noexcept {
  auto g = std::make_shared<spool_segment>();
  g->path = segment_path(s.options.dir, first_seq);
  g->id = s.id;
  g->first_seq = g->end_seq = first_seq;
  g->bytes = kSegmentHeadBytes;
  g->fd = open(g->path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (g->fd < 0) return nullptr;
  if (write_all(g->fd, segment_head(s.id, first_seq), 0) && fsync(g->fd) == 0 &&
      sync_dir(s.options.dir))
    return g;
  const int e = errno;
  unlink(g->path.c_str());
  errno = e;
  return nullptr;
}

bool is_stored(const spool_segment& g) noexcept {
  return g.stored == g.end_seq - g.first_seq;
}

// From the oldest on, each for good before the next: nothing that was added later is forgotten
// before something earlier, and no crash leaves a hole between the files.
void remove_stored(spool* s) noexcept {
  const std::lock_guard<std::mutex> in_order(s->removing);
  for (;;) {
    std::shared_ptr<spool_segment> oldest;
    {
      const std::lock_guard<std::mutex> held(s->lock);
      oldest = s->segments.front();
      if (s->segments.size() == 1 || !is_stored(*oldest)) return;
      s->segments.pop_front();
      s->bytes -= oldest->bytes;
    }
    if (unlink(oldest->path.c_str()) != 0 || !sync_dir(s->options.dir))
      core::log_warn("a file of the spool that is stored cannot be removed",
                     {{"file", oldest->path}, {"reason", strerror(errno)}});
  }
}

void group_begin(spool* s) {
  s->group.assign(kFrameHeadBytes, '\0');
  s->group_records = 0;
}

// The frame as it goes to the disk.
void group_finish(spool* s, uint64_t first_seq) {
  const std::string_view body = std::string_view(s->group).substr(kFrameHeadBytes);
  std::string head;
  spool_put(&head, kFrameMagic);
  spool_put(&head, static_cast<uint32_t>(body.size()));
  spool_put(&head, first_seq);
  spool_put(&head, s->group_records);
  spool_put(&head, frame_crc(s->id, head.data(), body));
  const uint64_t padded = frame_padded(body.size());
  s->group.replace(0, kFrameHeadBytes, head);
  s->group.resize(padded, '\0');
}

void keep_segment(spool* s, std::shared_ptr<spool_segment> g) {
  s->bytes += g->bytes;
  s->segments.push_back(std::move(g));
}

// The newest segment, or a new one when that is full or its end is not known.
std::shared_ptr<spool_segment> segment_to_fill(spool* s) noexcept {
  std::shared_ptr<spool_segment> last;
  {
    const std::lock_guard<std::mutex> held(s->lock);
    last = s->segments.back();
  }
  const bool is_empty = last->end_seq == last->first_seq;
  if (!s->is_broken && (is_empty || last->bytes < s->options.segment_bytes)) return last;
  // An empty segment has the name of the one that follows: it is made again in its place.
  std::shared_ptr<spool_segment> next = make_segment(*s, last->end_seq);
  if (next == nullptr) return nullptr;
  s->is_broken = false;
  const std::lock_guard<std::mutex> held(s->lock);
  if (is_empty)
    s->segments.back() = next;
  else
    keep_segment(s, next);
  return next;
}

uint64_t bytes_of_all(spool* s) noexcept {
  const std::lock_guard<std::mutex> held(s->lock);
  return s->bytes;
}

core::err open_dir(const spool_options& o, std::string* why) noexcept {
  if (o.dir.empty() || (mkdir(o.dir.c_str(), 0700) != 0 && errno != EEXIST)) {
    *why = "the spool's directory \"" + o.dir + "\" cannot be made: " + strerror(errno);
    return core::err::io;
  }
  return core::err::ok;
}

// Names of segments, oldest first: the digits sort as the numbers do.
std::vector<std::string> segment_names(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ignored))
    if (entry.path().extension() == ".spool") names.push_back(entry.path().string());
  std::sort(names.begin(), names.end());
  return names;
}

bool read_file(int fd, std::string* out) noexcept {
  struct stat st;
  if (fstat(fd, &st) != 0) return false;
  out->resize(static_cast<size_t>(st.st_size));
  size_t at = 0;
  while (at < out->size()) {
    const ssize_t n = pread(fd, out->data() + at, out->size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<size_t>(n);
  }
  return true;
}

core::err refuse_damage(const std::string& path, uint64_t at, const char* what, std::string* why) {
  *why = path + " is damaged at offset " + std::to_string(at) + ": " + what +
         "; nothing was changed. Restore the file, or move the directory away to begin without "
         "what only it holds";
  return core::err::malformed;
}

// One segment's head. Nothing in it and newest: it was being made when the process ended.
core::err open_segment(const std::string& path, bool is_newest, spool* s, std::string* file,
                       std::shared_ptr<spool_segment>* out, std::string* why) noexcept {
  auto g = std::make_shared<spool_segment>();
  g->path = path;
  g->fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (g->fd < 0 || !read_file(g->fd, file)) {
    *why = path + " cannot be read: " + strerror(errno);
    return core::err::io;
  }
  if (is_newest && file->size() < kSegmentHeadBytes) {
    out->reset();
    return core::err::ok;
  }
  if (!segment_head_parse(*file, &g->id, &g->first_seq))
    return refuse_damage(path, 0, "the file's head has a wrong checksum", why);
  if (segment_path(s->options.dir, g->first_seq) != path)
    return refuse_damage(path, 0, "the file's head and its name differ", why);
  if (!s->segments.empty() && g->id != s->id)
    return refuse_damage(path, 0, "the file belongs to another spool", why);
  s->id = g->id;
  *out = std::move(g);
  return core::err::ok;
}

struct replay {
  spool_replay_cb on_record;
  void* user;
  std::shared_ptr<spool_segment> segment;
};

bool replay_record(void* user, uint64_t seq, uint32_t at, std::string_view record) noexcept {
  const auto* r = static_cast<const replay*>(user);
  return r->on_record(r->user, {r->segment, seq, at, static_cast<uint32_t>(record.size())}, record);
}

// The newest segment ends where its last whole group does, with a seal.
core::err repair_end(spool* s, uint64_t file_bytes, bool has_seal, std::string* why) noexcept {
  spool_segment& g = *s->segments.back();
  s->torn = file_bytes - g.bytes;
  if (s->torn == 0 && has_seal) return core::err::ok;
  if (s->torn > 0)
    core::log_warn("the spool ends in an unfinished group, which nobody was told of; it is cut off",
                   {{"file", g.path}, {"offset", g.bytes}, {"bytes", s->torn}});
  if (ftruncate(g.fd, static_cast<off_t>(g.bytes)) != 0 || fdatasync(g.fd) != 0) {
    *why = g.path + " cannot be repaired: " + strerror(errno);
    return core::err::io;
  }
  if (has_seal) return core::err::ok;
  // A full disk is no reason to fail: the next group goes into a file of its own then.
  s->is_broken = !write_all(g.fd, frame_seal(s->id, g.end_seq), g.bytes);
  g.bytes += kSealBytes;
  return core::err::ok;
}

core::err make_first(spool* s, std::string* why) noexcept {
  s->is_new = true;
  s->id.resize(kSpoolIdBytes);
  core::system_random()->fill(s->id.data(), s->id.size());
  std::shared_ptr<spool_segment> first = make_segment(*s, 1);
  if (first == nullptr) {
    *why = "a file cannot be made in " + s->options.dir + ": " + strerror(errno);
    return core::err::io;
  }
  keep_segment(s, std::move(first));
  return core::err::ok;
}

// Two passes over the names: heads first, as a segment's scan needs the next one's beginning.
core::err open_files(spool* s, spool_replay_cb on_record, void* user, std::string* why) noexcept {
  std::vector<std::string> names = segment_names(s->options.dir);
  std::string file;
  for (size_t i = 0; i < names.size(); ++i) {
    std::shared_ptr<spool_segment> g;
    const core::err rc = open_segment(names[i], i + 1 == names.size(), s, &file, &g, why);
    if (rc != core::err::ok) return rc;
    if (g != nullptr) s->segments.push_back(std::move(g));
  }
  if (s->segments.empty()) return make_first(s, why);
  bool has_seal = true;
  for (size_t i = 0; i < s->segments.size(); ++i) {
    spool_segment& g = *s->segments[i];
    const bool is_newest = i + 1 == s->segments.size();
    if (!read_file(g.fd, &file)) {
      *why = g.path + " cannot be read: " + strerror(errno);
      return core::err::io;
    }
    replay r = {on_record, user, s->segments[i]};
    const segment_scan scan = scan_segment(
        s->id, file, g.first_seq, is_newest ? 0 : s->segments[i + 1]->first_seq, replay_record, &r);
    if (scan.is_damaged) return refuse_damage(g.path, scan.damage, scan.why, why);
    g.end_seq = scan.end_seq;
    g.bytes = scan.end;
    has_seal = scan.has_seal;
  }
  const core::err rc = repair_end(s, file.size(), has_seal, why);
  for (const auto& g : s->segments) s->bytes += g->bytes;
  return rc;
}

}  // namespace

core::err spool_open(const spool_options& o, spool_replay_cb on_record, void* user, spool** out,
                     std::string* why) noexcept {
  core::err rc = open_dir(o, why);
  if (rc != core::err::ok) return rc;
  auto s = std::make_unique<spool>();
  s->options = o;
  rc = file_lock_take(o.dir + "/spool", &s->lock_fd, why);
  if (rc != core::err::ok) return rc;
  group_begin(s.get());
  rc = open_files(s.get(), on_record, user, why);
  if (rc != core::err::ok) {
    file_lock_release(s->lock_fd);
    return rc;
  }
  *out = s.release();
  return core::err::ok;
}

void spool_close(spool* s) noexcept {
  bool is_done = true;
  for (const auto& g : s->segments) is_done = is_done && is_stored(*g);
  const spool_segment& last = *s->segments.back();
  // An empty segment, which carries on the id and the numbers, takes the place of all.
  if (is_done && last.end_seq > last.first_seq) {
    std::shared_ptr<spool_segment> empty = make_segment(*s, last.end_seq);
    if (empty != nullptr) keep_segment(s, std::move(empty));
  }
  if (is_done) remove_stored(s);
  file_lock_release(s->lock_fd);
  delete s;
}

std::string_view spool_id(const spool* s) noexcept {
  return s->id;
}

bool spool_is_new(const spool* s) noexcept {
  return s->is_new;
}

core::err spool_add(spool* s, std::string_view record, spool_place* place) noexcept {
  if (record.size() > kSpoolRecordBytesMax) return core::err::too_big;
  const uint64_t body = s->group.size() - kFrameHeadBytes + kRecordHeadBytes + record.size();
  const uint64_t more = frame_padded(body) + kSealBytes + kSegmentHeadBytes;
  if (body > kSpoolGroupBytesMax || bytes_of_all(s) + more > s->options.bytes_max)
    return core::err::full;
  if (s->group_records == 0) s->filling = segment_to_fill(s);
  if (s->filling == nullptr) return core::err::io;
  const spool_segment& g = *s->filling;
  const uint64_t seq = g.end_seq + s->group_records;
  *place = {s->filling, seq, static_cast<uint32_t>(g.bytes + s->group.size()),
            static_cast<uint32_t>(record.size())};
  spool_put(&s->group, static_cast<uint32_t>(record.size()));
  spool_put(&s->group, record_crc(s->id, seq, record));
  s->group += record;
  ++s->group_records;
  return core::err::ok;
}

core::err spool_commit(spool* s) noexcept {
  if (s->group_records == 0) return core::err::ok;
  spool_segment& g = *s->filling;
  group_finish(s, g.end_seq);
  const bool is_written = write_all(g.fd, s->group, g.bytes) && fdatasync(g.fd) == 0;
  if (!is_written) {
    static core::log_limit once_a_second;
    if (core::log_limit_pass(&once_a_second, 1000))
      core::log_error("the spool cannot be written",
                      {{"file", g.path}, {"offset", g.bytes}, {"reason", strerror(errno)}});
    // After a failed sync nobody knows what is on the disk behind `bytes`: the next group goes into
    // a new file, whose first number voids what may be left here.
    s->is_broken = ftruncate(g.fd, static_cast<off_t>(g.bytes)) != 0 || fdatasync(g.fd) != 0;
    group_begin(s);
    return core::err::io;
  }
  const uint64_t sealed_at = g.bytes + s->group.size();
  const bool has_seal = write_all(g.fd, frame_seal(s->id, g.end_seq + s->group_records), sealed_at);
  {
    const std::lock_guard<std::mutex> held(s->lock);
    s->bytes += sealed_at + kSealBytes - g.bytes;
    g.bytes = sealed_at + kSealBytes;
    g.end_seq += s->group_records;
    ++s->syncs;
  }
  // The group is safe without its seal, but nothing may follow it in this file.
  if (!has_seal) s->is_broken = true;
  group_begin(s);
  return core::err::ok;
}

core::err spool_read(const spool_place& place, std::string* record) noexcept {
  record->resize(kRecordHeadBytes + place.bytes);
  size_t at = 0;
  while (at < record->size()) {
    const ssize_t n = pread(place.segment->fd, record->data() + at, record->size() - at,
                            static_cast<off_t>(place.at + at));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return core::err::io;
    if (n == 0) return core::err::malformed;
    at += static_cast<size_t>(n);
  }
  const uint32_t crc = spool_get<uint32_t>(record->data() + 4);
  record->erase(0, kRecordHeadBytes);
  return crc == record_crc(place.segment->id, place.seq, *record) ? core::err::ok
                                                                  : core::err::malformed;
}

void spool_stored(spool* s, const spool_place& place) noexcept {
  bool is_last = false;
  {
    const std::lock_guard<std::mutex> held(s->lock);
    spool_segment& g = *place.segment;
    ++g.stored;
    CORE_ASSERT(g.stored <= g.end_seq - g.first_seq);
    is_last = is_stored(g);
  }
  if (is_last) remove_stored(s);
}

spool_stats spool_measure(spool* s) noexcept {
  const std::lock_guard<std::mutex> held(s->lock);
  spool_stats m;
  m.bytes = s->bytes;
  for (const auto& g : s->segments) m.records += g->end_seq - g->first_seq - g->stored;
  m.segments = s->segments.size();
  m.syncs = s->syncs;
  m.torn = s->torn;
  return m;
}

}  // namespace store
