// A history out of and into an SQLite file: the tables of sqlite_schema.h, under the server's own
// lock. A page is one transaction.
#include <sys/stat.h>

#include <limits>

#include "store/file_lock.h"
#include "store/sqlite_schema.h"
#include "store/transfer.h"

namespace store {
namespace {

constexpr uint32_t kCheckpointPages = 1024;  // as the server: 4 MiB of the write-ahead log

// The file, locked and opened.
struct locked_file {
  std::string path, epoch;
  int lock_fd = -1;
  db file;

  ~locked_file() {
    db_close(&file);
    file_lock_release(lock_fd);
  }
  core::err fail(std::string* why) const noexcept {
    *why = path + ": " + db_error(&file);
    return file.last == core::err::unavailable ? core::err::denied : core::err::io;
  }
};

core::err open_locked(locked_file* f, std::string* why) noexcept {
  struct stat st;
  if (f->path.empty() || (stat(f->path.c_str(), &st) == 0 && S_ISDIR(st.st_mode))) {
    *why = "\"" + f->path + "\" is not the name of a file";
    return core::err::invalid;
  }
  core::err rc = file_lock_take(f->path, &f->lock_fd, why);
  if (rc != core::err::ok) return rc == core::err::conflict ? core::err::denied : rc;
  std::string problem;
  rc = db_open(f->path, db_mode::read_write, &f->file, &problem);
  if (rc == core::err::ok) rc = schema_open(&f->file, &f->epoch, &problem);
  if (rc == core::err::ok) return rc;
  *why = f->path + " " + problem;
  return core::err::io;
}

// A text in table meta; "" when there is none. False: failed.
bool meta_get(db* d, const char* name, std::string* out) noexcept {
  statement s;
  if (!s.prepare(d, "SELECT value FROM meta WHERE key = ?")) return false;
  query q(&s);
  const step r = q.text(name).next();
  *out = r == step::row ? q.column_text(0) : std::string_view();
  return r != step::failed;
}

bool meta_put(db* d, const char* name, const std::string& value) noexcept {
  statement s;
  return s.prepare(d, "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)") &&
         query(&s).text(name).text(value).run();
}

class sqlite_reader_of_all final : public history_reader {
 public:
  explicit sqlite_reader_of_all(const core::clock_source* clock) : clock_(clock) {}
  core::err open(const std::string& path, std::string* why) noexcept;

  core::err begin(history_head* head, std::string* why) noexcept override;
  core::err channels(const std::string& after, history_page* out,
                     std::string* why) noexcept override;
  core::err publications(const std::string& channel, uint64_t after, history_page* out,
                         std::string* why) noexcept override;
  core::err keys(const std::string& channel, uint64_t after, history_page* out,
                 std::string* why) noexcept override;
  core::err user_channels(const std::string& user, const std::string& channel, history_page* out,
                          std::string* why) noexcept override;
  core::err end(std::string*) noexcept override { return core::err::ok; }
  uint64_t publications_about() noexcept override;

 private:
  template <typename Fn>
  core::err rows(query* q, uint64_t bytes_max, std::string* why, history_page* out,
                 Fn read) noexcept;

  const core::clock_source* clock_;
  locked_file file_;
  int64_t now_ms_ = 0;
  statement channels_, publications_, keys_, user_channels_;
};

core::err sqlite_reader_of_all::open(const std::string& path, std::string* why) noexcept {
  struct stat st;
  if (stat(path.c_str(), &st) != 0 || st.st_size == 0) {
    *why = "there is no history in \"" + path + "\"";
    return core::err::invalid;
  }
  file_.path = path;
  const core::err rc = open_locked(&file_, why);
  if (rc != core::err::ok) return rc;
  db* d = &file_.file;
  const bool is_good =
      channels_.prepare(d,
                        "SELECT name, top, last_ms, size_max, ttl_ms FROM channel WHERE name > ? "
                        "ORDER BY name LIMIT ?") &&
      // Blanked: null, and an edit or a delete of the same message comes later.
      publications_.prepare(
          d,
          "SELECT offset, time_ms, refers, user, data, info, tags, CASE WHEN data = 'null' THEN "
          "EXISTS (SELECT 1 FROM publication AS later INDEXED BY publication_refers "
          "WHERE later.channel_id = p.channel_id AND later.refers = "
          "CASE WHEN p.refers > 0 THEN p.refers ELSE p.offset END "
          "AND likely(later.refers > 0) AND later.offset > p.offset) ELSE 0 END "
          "FROM publication AS p WHERE channel_id = (SELECT id FROM channel WHERE name = ?) "
          "AND offset > ? ORDER BY offset LIMIT ?") &&
      keys_.prepare(d,
                    "SELECT scope, hash, offset, time_ms, expires_ms FROM idempotency "
                    "WHERE channel_id = (SELECT id FROM channel WHERE name = ?) AND offset > ? "
                    "AND expires_ms > ? ORDER BY offset LIMIT ?") &&
      user_channels_.prepare(d,
                             "SELECT user, channel, read_offset FROM user_channel "
                             "WHERE (user, channel) > (?, ?) ORDER BY user, channel LIMIT ?");
  return is_good ? core::err::ok : file_.fail(why);
}

core::err sqlite_reader_of_all::begin(history_head* head, std::string* why) noexcept {
  std::string importing, shift;
  if (!meta_get(&file_.file, kMetaImport, &importing) || !meta_get(&file_.file, kMetaShift, &shift))
    return file_.fail(why);
  if (!importing.empty()) {
    *why = file_.path + " " + kImportIsOpen;
    return core::err::invalid;
  }
  head->epoch = file_.epoch;
  head->shift = shift.empty() ? 0 : strtoull(shift.c_str(), nullptr, 10);
  now_ms_ = clock_->wall_ms();
  return core::err::ok;
}

template <typename Fn>
core::err sqlite_reader_of_all::rows(query* q, uint64_t bytes_max, std::string* why,
                                     history_page* out, Fn read) noexcept {
  out->clear();
  uint64_t bytes = 0;
  for (;;) {
    const step s = q->next();
    if (s == step::failed) return file_.fail(why);
    if (s == step::done) return core::err::ok;
    out->emplace_back();
    read(&out->back());
    bytes += history_bytes(out->back());
    if (bytes >= bytes_max) return core::err::ok;
  }
}

core::err sqlite_reader_of_all::channels(const std::string& after, history_page* out,
                                         std::string* why) noexcept {
  query q(&channels_);
  q.text(after).number(kHistoryPageMax);
  return rows(&q, kHistoryPageBytesMax, why, out, [&](history_record* r) {
    r->channel = q.column_text(0);
    r->top = q.column_u64(1);
    r->last_ms = q.column_int(2);
    r->keep = {q.column_u64(3), q.column_u64(4)};
  });
}

core::err sqlite_reader_of_all::publications(const std::string& channel, uint64_t after,
                                             history_page* out, std::string* why) noexcept {
  query q(&publications_);
  q.text(channel).number_u64(after).number(kHistoryPageMax);
  const core::err rc = rows(&q, kHistoryPageBytesMax, why, out, [&](history_record* r) {
    r->kind = history_kind::publication;
    r->channel = channel;
    r->pub.offset = q.column_u64(0);
    r->pub.time_ms = q.column_int(1);
    r->refers = q.column_u64(2);
    r->user = q.column_text(3);
    r->pub.data = q.column_text(4);
    r->pub.info = q.column_text(5);
    r->pub.tags = q.column_text(6);
    r->is_deleted = q.column_int(7) != 0;
  });
  if (rc != core::err::ok)
    *why += ", in channel \"" + channel + "\" after offset " +
            std::to_string(out->empty() ? after : out->back().pub.offset);
  return rc;
}

core::err sqlite_reader_of_all::keys(const std::string& channel, uint64_t after, history_page* out,
                                     std::string* why) noexcept {
  query q(&keys_);
  q.text(channel).number_u64(after).number(now_ms_).number(kHistoryKeysMax);
  return rows(&q, kHistoryKeysBytesMax, why, out, [&](history_record* r) {
    r->kind = history_kind::key;
    r->channel = channel;
    r->key_scope = q.column_text(0);
    r->key_hash = q.column_text(1);
    r->pub.offset = q.column_u64(2);
    r->pub.time_ms = q.column_int(3);
    r->key_expires_ms = q.column_int(4);
  });
}

core::err sqlite_reader_of_all::user_channels(const std::string& user, const std::string& channel,
                                              history_page* out, std::string* why) noexcept {
  query q(&user_channels_);
  q.text(user).text(channel).number(kHistoryPageMax);
  return rows(&q, kHistoryPageBytesMax, why, out, [&](history_record* r) {
    r->kind = history_kind::user_channel;
    r->user = q.column_text(0);
    r->channel = q.column_text(1);
    r->read_offset = q.column_u64(2);
  });
}

// Offsets have no holes and go from the oldest end, so this needs no look at each.
uint64_t sqlite_reader_of_all::publications_about() noexcept {
  int64_t n = 0;
  const bool is_known = db_int(&file_.file,
                               "SELECT coalesce(sum(1 + (SELECT max(offset) FROM publication WHERE "
                               "channel_id = channel.id) - (SELECT min(offset) FROM publication "
                               "WHERE channel_id = channel.id)), 0) FROM channel",
                               &n);
  return is_known && n > 0 ? static_cast<uint64_t>(n) : 0;
}

class sqlite_sink final : public history_sink {
 public:
  core::err open(const std::string& path, std::string* why) noexcept;
  core::err begin(const history_head& head, std::string* why) noexcept override;
  core::err put(const history_page& page, std::string* why) noexcept override;
  core::err end(const history_counts& all, std::string* why) noexcept override;
  uint64_t passed_over() const noexcept override { return passed_over_; }

 private:
  bool is_empty(bool* out) noexcept;
  bool take_over(const history_head& head) noexcept;
  bool find_channel(const std::string& name) noexcept;
  bool put_channel(const history_record& r) noexcept;
  bool put_publication(const history_record& r, std::string* other) noexcept;
  bool add_publication(const history_record& r) noexcept;
  bool put_key(const history_record& r) noexcept;
  bool put_one(const history_record& r, std::string* other) noexcept;
  core::err roll_back(std::string* why, const std::string& other) noexcept;

  locked_file file_;
  std::string channel_;     // the last one
  int64_t channel_id_ = 0;  // 0: none yet
  uint64_t passed_over_ = 0;
  statement channel_get_, channel_add_, channel_set_;
  statement publication_get_, publication_add_, publication_blank_;
  statement key_get_, key_put_, user_mark_;
};

core::err sqlite_sink::open(const std::string& path, std::string* why) noexcept {
  file_.path = path;
  const core::err rc = open_locked(&file_, why);
  if (rc != core::err::ok) return rc;
  db* d = &file_.file;
  const bool is_good =
      db_exec(d, "PRAGMA synchronous = FULL") &&
      channel_get_.prepare(d, "SELECT id, top FROM channel WHERE name = ?") &&
      channel_add_.prepare(d,
                           "INSERT INTO channel (name, top, last_ms, size_max, ttl_ms) "
                           "VALUES (?, ?, ?, ?, ?) RETURNING id") &&
      channel_set_.prepare(
          d, "UPDATE channel SET top = ?, last_ms = ?, size_max = ?, ttl_ms = ? WHERE id = ?") &&
      publication_get_.prepare(d,
                               "SELECT time_ms, refers, user, data, info, tags FROM publication "
                               "WHERE channel_id = ? AND offset = ?") &&
      publication_add_.prepare(d,
                               "INSERT INTO publication (channel_id, offset, time_ms, refers, "
                               "user, data, info, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?)") &&
      publication_blank_.prepare(
          d, "UPDATE publication SET data = 'null' WHERE channel_id = ? AND offset = ?") &&
      key_get_.prepare(
          d, "SELECT offset, expires_ms FROM idempotency WHERE channel_id = ? AND scope = ?") &&
      key_put_.prepare(d,
                       "INSERT OR REPLACE INTO idempotency (channel_id, scope, hash, offset, "
                       "time_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?)") &&
      user_mark_.prepare(d,
                         "INSERT INTO user_channel (user, channel, read_offset) VALUES (?, ?, ?) "
                         "ON CONFLICT (user, channel) DO UPDATE SET "
                         "read_offset = max(read_offset, excluded.read_offset)");
  return is_good ? core::err::ok : file_.fail(why);
}

bool sqlite_sink::is_empty(bool* out) noexcept {
  int64_t has_rows = 0;
  if (!db_int(&file_.file,
              "SELECT EXISTS (SELECT 1 FROM channel) OR EXISTS (SELECT 1 FROM publication) "
              "OR EXISTS (SELECT 1 FROM idempotency) OR EXISTS (SELECT 1 FROM user_channel)",
              &has_rows))
    return false;
  *out = has_rows == 0;
  return true;
}

// The mark keeps servers away until the import has ended: they would give offsets that are on their
// way.
bool sqlite_sink::take_over(const history_head& head) noexcept {
  db* d = &file_.file;
  return db_exec(d, "BEGIN IMMEDIATE") && meta_put(d, "epoch", head.epoch) &&
         meta_put(d, kMetaImport, "open") &&
         (head.shift == 0 || meta_put(d, kMetaShift, std::to_string(head.shift))) &&
         db_exec(d, "COMMIT");
}

core::err sqlite_sink::begin(const history_head& head, std::string* why) noexcept {
  bool is_new = false;
  std::string importing;
  if (!is_empty(&is_new) || !meta_get(&file_.file, kMetaImport, &importing)) return file_.fail(why);
  if (is_new) return take_over(head) ? core::err::ok : roll_back(why, "");
  if (head.epoch == file_.epoch) return core::err::ok;
  *why = file_.path +
         (importing.empty() ? " has a history of its own (epoch " + file_.epoch
                            : " has an open import of another history (epoch " + file_.epoch) +
         "; this one: " + head.epoch +
         "). A history goes into an empty store, or into one that has it";
  return core::err::invalid;
}

// Into channel_ and channel_id_, 0: there is none.
bool sqlite_sink::find_channel(const std::string& name) noexcept {
  if (channel_id_ > 0 && channel_ == name) return true;
  query q(&channel_get_);
  const step s = q.text(name).next();
  channel_ = name;
  channel_id_ = s == step::row ? q.column_int(0) : 0;
  return s != step::failed;
}

bool sqlite_sink::put_channel(const history_record& r) noexcept {
  {
    query q(&channel_get_);
    const step s = q.text(r.channel).next();
    if (s == step::failed) return false;
    channel_ = r.channel;
    channel_id_ = s == step::row ? q.column_int(0) : 0;
    if (s == step::row && q.column_u64(1) > r.top) return true;  // it has gone on
  }
  if (channel_id_ == 0) {
    query q(&channel_add_);
    q.text(r.channel).number_u64(r.top).number(r.last_ms);
    q.number_u64(r.keep.size_max).number_u64(r.keep.ttl_ms);
    if (q.next() != step::row) return false;
    channel_id_ = q.column_int(0);
    return true;
  }
  return query(&channel_set_)
      .number_u64(r.top)
      .number(r.last_ms)
      .number_u64(r.keep.size_max)
      .number_u64(r.keep.ttl_ms)
      .number(channel_id_)
      .run();
}

bool sqlite_sink::add_publication(const history_record& r) noexcept {
  return query(&publication_add_)
      .number(channel_id_)
      .number_u64(r.pub.offset)
      .number(r.pub.time_ms)
      .number_u64(r.refers)
      .text(r.user)
      .text(r.pub.data)
      .text(r.pub.info)
      .text(r.pub.tags)
      .run();
}

// *other: what is there instead.
bool sqlite_sink::put_publication(const history_record& r, std::string* other) noexcept {
  bool is_blanked = false;
  {
    query q(&publication_get_);
    const step s = q.number(channel_id_).number_u64(r.pub.offset).next();
    if (s == step::failed) return false;
    if (s == step::done) return add_publication(r);
    is_blanked = q.column_text(3) == "null";
    const bool is_same = q.column_int(0) == r.pub.time_ms && q.column_u64(1) == r.refers &&
                         q.column_text(2) == r.user && q.column_text(4) == r.pub.info &&
                         q.column_text(5) == r.pub.tags &&
                         (q.column_text(3) == r.pub.data || is_blanked || r.is_deleted);
    if (!is_same) *other = history_conflict(r);
    if (!is_same) return true;
  }
  ++passed_over_;
  return !r.is_deleted || is_blanked ||
         query(&publication_blank_).number(channel_id_).number_u64(r.pub.offset).run();
}

// Of two uses of a key the later one counts: the first has expired.
bool sqlite_sink::put_key(const history_record& r) noexcept {
  {
    query q(&key_get_);
    const step s = q.number(channel_id_).bytes(r.key_scope).next();
    if (s == step::failed) return false;
    if (s == step::row && (q.column_u64(0) > r.pub.offset || (q.column_u64(0) == r.pub.offset &&
                                                              q.column_int(1) >= r.key_expires_ms)))
      return true;
  }
  return query(&key_put_)
      .number(channel_id_)
      .bytes(r.key_scope)
      .bytes(r.key_hash)
      .number_u64(r.pub.offset)
      .number(r.pub.time_ms)
      .number(r.key_expires_ms)
      .run();
}

bool sqlite_sink::put_one(const history_record& r, std::string* other) noexcept {
  switch (r.kind) {
    case history_kind::channel:
      return put_channel(r);
    case history_kind::publication:
      return find_channel(r.channel) && put_publication(r, other) &&
             (!other->empty() || r.key_scope.empty() || put_key(r));
    case history_kind::key:
      return find_channel(r.channel) && put_key(r);
    case history_kind::user_channel:
      return query(&user_mark_).text(r.user).text(r.channel).number_u64(r.read_offset).run();
  }
  return false;
}

core::err sqlite_sink::roll_back(std::string* why, const std::string& other) noexcept {
  core::err rc = core::err::conflict;
  *why = other;
  if (other.empty()) rc = file_.fail(why);
  channel_id_ = 0;
  if (db_in_transaction(&file_.file)) static_cast<void>(db_exec(&file_.file, "ROLLBACK"));
  return rc;
}

core::err sqlite_sink::put(const history_page& page, std::string* why) noexcept {
  std::string other;
  if (!db_exec(&file_.file, "BEGIN IMMEDIATE")) return file_.fail(why);
  for (const history_record& r : page)
    if (!put_one(r, &other) || !other.empty()) return roll_back(why, other);
  if (!db_exec(&file_.file, "COMMIT")) return roll_back(why, "");
  if (file_.file.wal_pages >= kCheckpointPages) db_checkpoint(&file_.file, true);
  return core::err::ok;
}

core::err sqlite_sink::end(const history_counts&, std::string* why) noexcept {
  statement s;
  const bool is_good =
      s.prepare(&file_.file, "DELETE FROM meta WHERE key = ?") && query(&s).text(kMetaImport).run();
  return is_good ? core::err::ok : file_.fail(why);
}

}  // namespace

core::err open_sqlite_source(const std::string& path, const core::clock_source* clock,
                             std::unique_ptr<history_source>* out, std::string* why) noexcept {
  auto r = std::make_unique<sqlite_reader_of_all>(clock);
  const core::err rc = r->open(path, why);
  if (rc == core::err::ok) *out = history_walk(std::move(r));
  return rc;
}

core::err open_sqlite_sink(const std::string& path, std::unique_ptr<history_sink>* out,
                           std::string* why) noexcept {
  auto s = std::make_unique<sqlite_sink>();
  const core::err rc = s->open(path, why);
  if (rc == core::err::ok) *out = std::move(s);
  return rc;
}

}  // namespace store
