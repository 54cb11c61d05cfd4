// The writer's statements. The order within a request is always: look, decide, write.
#include "store/sqlite_writer.h"

#include "store/page.h"

namespace store {
namespace {

constexpr int64_t kProbeBytes = 16 * 1024;  // more than one page, so that a full file shows

constexpr uint64_t kOffsetMax = INT64_MAX;

// nullptr with *is_failed false: no such channel.
channel_row* find_channel(writer* w, const std::string& name, bool* is_failed) noexcept {
  const auto known = w->channels.find(name);
  if (known != w->channels.end()) return &known->second;
  query q(&w->sql->channel_get);
  const step s = q.text(name).next();
  *is_failed = s == step::failed;
  if (s != step::row) return nullptr;
  channel_row row;
  row.id = q.column_int(0);
  row.top = q.column_u64(1);
  row.last_ms = q.column_int(2);
  row.keep = {q.column_u64(3), q.column_u64(4)};
  return &w->channels.emplace(name, row).first->second;
}

channel_row* add_channel(writer* w, const std::string& name) noexcept {
  query q(&w->sql->channel_add);
  if (q.text(name).next() != step::row) return nullptr;
  channel_row row;
  row.id = q.column_int(0);
  return &w->channels.emplace(name, row).first->second;
}

void mark_dirty(writer* w, channel_row* c) noexcept {
  if (c->is_dirty) return;
  c->is_dirty = true;
  w->dirty.push_back(c);
}

// *is_answered: the request ends here, with a duplicate or a conflict.
bool check_key(writer* w, const channel_row& c, const append_request& r, append_result* out,
               bool* is_answered) noexcept {
  query q(&w->sql->key_get);
  const step s = q.number(c.id).bytes(r.key_scope).number(r.pub.time_ms).next();
  if (s == step::failed) return false;
  if (s == step::done) return true;
  *is_answered = true;
  if (q.column_text(0) != r.key_hash) {
    out->rc = core::err::conflict;
    return true;
  }
  out->offset = q.column_u64(1);
  out->time_ms = q.column_int(2);
  out->epoch = w->epoch;
  out->is_duplicate = true;
  return true;
}

bool check_referred(writer* w, const channel_row& c, const append_request& r,
                    core::err* rc) noexcept {
  *rc = core::err::not_found;
  if (r.refers > c.top || r.refers <= keep_floor(r.keep, c.top)) return true;
  query q(&w->sql->publication_author);
  const step s = q.number(c.id).number_u64(r.refers).next();
  if (s == step::failed) return false;
  if (s == step::done || q.column_int(1) <= keep_oldest_ms(r.keep, r.pub.time_ms) ||
      q.column_int(2) > 0)
    return true;
  *rc = r.user.empty() || q.column_text(0) != r.user ? core::err::denied : core::err::ok;
  return true;
}

// A publication and all edits of it.
bool blank(writer* w, int64_t id, uint64_t offset) noexcept {
  const auto blank_one = [&](uint64_t at) {
    return query(&w->sql->publication_blank).number(id).number_u64(at).run();
  };
  if (!blank_one(offset)) return false;
  query edits(&w->sql->publication_edits);
  edits.number(id).number_u64(offset);
  for (;;) {
    const step s = edits.next();
    if (s != step::row) return s == step::done;
    if (!blank_one(edits.column_u64(0))) return false;
  }
}

bool write_publication(writer* w, channel_row* c, const append_request& r,
                       uint64_t offset) noexcept {
  if (r.refers > 0 && r.is_delete && !blank(w, c->id, r.refers)) return false;
  if (!query(&w->sql->publication_add)
           .number(c->id)
           .number_u64(offset)
           .number(r.pub.time_ms)
           .number_u64(r.refers)
           .text(r.user)
           .text(r.pub.data)
           .text(r.pub.info)
           .text(r.pub.tags)
           .run())
    return false;
  return r.key_scope.empty() || query(&w->sql->key_put)
                                    .number(c->id)
                                    .bytes(r.key_scope)
                                    .bytes(r.key_hash)
                                    .number_u64(offset)
                                    .number(r.pub.time_ms)
                                    .number(r.pub.time_ms + r.key_ttl_ms)
                                    .run();
}

bool write_dirty(writer* w) noexcept {
  for (channel_row* c : w->dirty) {
    if (!query(&w->sql->channel_set)
             .number_u64(c->top)
             .number(c->last_ms)
             .number_u64(c->keep.size_max)
             .number_u64(c->keep.ttl_ms)
             .number(c->id)
             .run())
      return false;
    c->is_dirty = false;
  }
  w->dirty.clear();
  return true;
}

}  // namespace

bool writer_prepare(writer* w) noexcept {
  w->sql = std::make_unique<writer_statements>();
  writer_statements& s = *w->sql;
  db* d = &w->file;
  return s.channel_get.prepare(
             d, "SELECT id, top, last_ms, size_max, ttl_ms FROM channel WHERE name = ?") &&
         s.channel_add.prepare(d,
                               "INSERT INTO channel (name, top, last_ms, size_max, ttl_ms) VALUES "
                               "(?, 0, 0, 0, 0) RETURNING id") &&
         s.channel_set.prepare(
             d, "UPDATE channel SET top = ?, last_ms = ?, size_max = ?, ttl_ms = ? WHERE id = ?") &&
         s.publication_add.prepare(d,
                                   "INSERT INTO publication (channel_id, offset, time_ms, refers, "
                                   "user, data, info, tags) "
                                   "VALUES (?, ?, ?, ?, ?, ?, ?, ?)") &&
         s.publication_author.prepare(
             d,
             "SELECT user, time_ms, refers FROM publication WHERE channel_id = ? AND offset = ?") &&
         s.publication_blank.prepare(
             d, "UPDATE publication SET data = 'null' WHERE channel_id = ? AND offset = ?") &&
         // The index is of refers > 0, which must stand here; likely(), or the planner takes that
         // for the range and walks over all edits of the channel.
         s.publication_edits.prepare(
             d,
             "SELECT offset FROM publication INDEXED BY publication_refers WHERE channel_id = ? "
             "AND refers = ? AND likely(refers > 0)") &&
         s.key_get.prepare(d,
                           "SELECT hash, offset, time_ms FROM idempotency WHERE channel_id = ? AND "
                           "scope = ? AND expires_ms > ?") &&
         s.key_put.prepare(d,
                           "INSERT OR REPLACE INTO idempotency (channel_id, scope, hash, offset, "
                           "time_ms, expires_ms) "
                           "VALUES (?, ?, ?, ?, ?, ?)") &&
         s.user_add.prepare(d,
                            "INSERT INTO user_channel (user, channel, read_offset) VALUES (?, ?, "
                            "0) ON CONFLICT DO NOTHING") &&
         s.user_remove.prepare(d, "DELETE FROM user_channel WHERE user = ? AND channel = ?") &&
         s.user_mark.prepare(
             d,
             "INSERT INTO user_channel (user, channel, read_offset) VALUES (?, ?, ?) ON CONFLICT "
             "(user, channel) "
             "DO UPDATE SET read_offset = max(read_offset, excluded.read_offset)") &&
         s.sweep_channels.prepare(
             d, "SELECT id, top, size_max, ttl_ms FROM channel WHERE id > ? ORDER BY id LIMIT ?") &&
         s.sweep_oldest.prepare(d,
                                "SELECT offset, time_ms FROM publication WHERE channel_id = ? "
                                "ORDER BY offset LIMIT ?") &&
         s.sweep_remove.prepare(d,
                                "DELETE FROM publication WHERE channel_id = ? AND offset <= ?") &&
         // One statement with (channel_id, scope) IN (this) would walk over all keys of the
         // channel.
         s.sweep_keys.prepare(d,
                              "SELECT channel_id, scope FROM idempotency WHERE expires_ms <= ? "
                              "ORDER BY expires_ms LIMIT ?") &&
         s.key_remove.prepare(d, "DELETE FROM idempotency WHERE channel_id = ? AND scope = ?") &&
         s.probe.prepare(d,
                         "INSERT OR REPLACE INTO meta (key, value) VALUES ('probe', zeroblob(?))");
}

void writer_close(writer* w) noexcept {
  w->sql.reset();
  db_close(&w->file);
}

bool writer_begin(writer* w) noexcept {
  if (w->channels.size() > kChannelCacheMax) w->channels.clear();
  return db_exec(&w->file, "BEGIN IMMEDIATE");
}

bool writer_commit(writer* w) noexcept {
  return write_dirty(w) && db_exec(&w->file, "COMMIT");
}

void writer_rollback(writer* w) noexcept {
  // SQLite has already rolled back after some failures; ours is the cache, which was ahead of the
  // file.
  w->dirty.clear();
  w->channels.clear();
  const core::err why = w->file.last;
  const bool is_damage = w->file.is_damage;
  if (db_in_transaction(&w->file)) static_cast<void>(db_exec(&w->file, "ROLLBACK"));
  w->file.last = why;
  w->file.is_damage = is_damage;
}

bool writer_append(writer* w, append_request* r, append_result* out) noexcept {
  bool is_failed = false;
  channel_row* c = find_channel(w, r->channel, &is_failed);
  if (is_failed) return false;
  if (c != nullptr && !r->key_scope.empty()) {
    bool is_answered = false;
    if (!check_key(w, *c, *r, out, &is_answered)) return false;
    if (is_answered) return true;
  }
  if (r->refers > 0) {
    out->rc = core::err::not_found;
    if (c == nullptr) return true;
    if (!check_referred(w, *c, *r, &out->rc)) return false;
    if (out->rc != core::err::ok) return true;
  }
  if (c == nullptr) c = add_channel(w, r->channel);
  if (c == nullptr) return false;
  if (c->top >= kOffsetMax) {  // only a damaged file says so
    w->file.last = core::err::io;
    w->file.is_damage = true;
    return false;
  }
  const uint64_t offset = c->top + 1;
  if (!write_publication(w, c, *r, offset)) return false;
  mark_dirty(w, c);
  c->top = offset;
  c->last_ms = r->pub.time_ms;
  c->keep = r->keep;
  out->offset = offset;
  out->time_ms = r->pub.time_ms;
  out->epoch = w->epoch;
  out->pub = std::move(r->pub);
  out->pub.offset = offset;
  return true;
}

void writer_append_undo(append_request* r, append_result* out) noexcept {
  if (out->rc == core::err::ok && out->offset != 0 && !out->is_duplicate)
    r->pub = std::move(out->pub);
  *out = {};
}

bool writer_remove_history(writer* w, const std::string& channel, uint64_t* up_to, uint32_t* rows,
                           bool* is_done) noexcept {
  bool is_failed = false;
  const channel_row* c = find_channel(w, channel, &is_failed);
  *is_done = c == nullptr;
  if (c == nullptr) return !is_failed;
  if (*up_to == 0) *up_to = c->top;
  uint64_t last = 0;
  {
    query q(&w->sql->sweep_oldest);
    q.number(c->id).number(*rows);
    step s = step::done;
    while ((s = q.next()) == step::row && q.column_u64(0) <= *up_to) {
      last = q.column_u64(0);
      --*rows;
    }
    if (s == step::failed) return false;
  }
  *is_done = *rows > 0;
  return last == 0 || query(&w->sql->sweep_remove).number(c->id).number_u64(last).run();
}

bool writer_add_user_channel(writer* w, const std::vector<std::string>& users,
                             const std::string& channel) noexcept {
  for (const std::string& u : users)
    if (!query(&w->sql->user_add).text(u).text(channel).run()) return false;
  return true;
}

bool writer_remove_user_channel(writer* w, const std::string& user,
                                const std::string& channel) noexcept {
  return query(&w->sql->user_remove).text(user).text(channel).run();
}

bool writer_mark_read(writer* w, const std::string& user, const std::string& channel,
                      uint64_t offset) noexcept {
  return query(&w->sql->user_mark).text(user).text(channel).number_u64(offset).run();
}

namespace {

// Deletes from the oldest end what is outside of `keep`, at most *rows; counts down.
bool sweep_channel(writer* w, int64_t id, uint64_t top, const retention& keep, int64_t now_ms,
                   uint32_t* rows) noexcept {
  const uint64_t floor = keep_floor(keep, top);
  const int64_t oldest_ms = keep_oldest_ms(keep, now_ms);
  if (floor == 0 && oldest_ms == kNoAge) return true;
  uint64_t last = 0;
  {
    query q(&w->sql->sweep_oldest);
    q.number(id).number(*rows);
    step s = step::done;
    while ((s = q.next()) == step::row) {
      const uint64_t offset = q.column_u64(0);
      if (offset > floor && q.column_int(1) > oldest_ms) break;
      last = offset;
      --*rows;
    }
    if (s == step::failed) return false;
  }
  return last == 0 || query(&w->sql->sweep_remove).number(id).number_u64(last).run();
}

struct sweep_row {
  int64_t id;
  uint64_t top;
  retention keep;
};

bool sweep_slice(writer* w, int64_t now_ms, bool* is_done) noexcept {
  uint32_t rows = kSweepRowsMax;
  std::vector<std::pair<int64_t, std::string>> keys;
  {
    query q(&w->sql->sweep_keys);
    q.number(now_ms).number(rows);
    step s = step::done;
    while ((s = q.next()) == step::row) keys.emplace_back(q.column_int(0), q.column_text(1));
    if (s == step::failed) return false;
  }
  for (const auto& [id, scope] : keys)
    if (!query(&w->sql->key_remove).number(id).bytes(scope).run()) return false;
  rows -= static_cast<uint32_t>(keys.size());
  std::vector<sweep_row> channels;
  {
    query q(&w->sql->sweep_channels);
    q.number(w->sweep_channel).number(kSweepChannelsMax);
    step s = step::done;
    while ((s = q.next()) == step::row)
      channels.push_back({q.column_int(0), q.column_u64(1), {q.column_u64(2), q.column_u64(3)}});
    if (s == step::failed) return false;
  }
  for (const sweep_row& c : channels) {
    if (rows == 0) return true;  // the same channel again in the next slice
    if (w->damaged.count(c.id) == 0 && !sweep_channel(w, c.id, c.top, c.keep, now_ms, &rows)) {
      if (w->file.is_damage && w->damaged.size() < kDamagedMax) w->damaged.insert(c.id);
      return false;
    }
    if (rows > 0) w->sweep_channel = c.id;
  }
  *is_done = rows > 0 && channels.size() < kSweepChannelsMax;
  if (*is_done) w->sweep_channel = 0;
  return true;
}

}  // namespace

bool writer_sweep(writer* w, int64_t now_ms, bool* is_done) noexcept {
  *is_done = false;
  const int64_t from = w->sweep_channel;
  if (writer_begin(w) && sweep_slice(w, now_ms, is_done) && writer_commit(w)) return true;
  writer_rollback(w);
  w->sweep_channel = from;
  return false;
}

bool writer_probe(writer* w) noexcept {
  for (const int64_t bytes : {kProbeBytes, int64_t{0}}) {
    if (writer_begin(w) && query(&w->sql->probe).number(bytes).run() && writer_commit(w)) continue;
    writer_rollback(w);
    return false;
  }
  return true;
}

}  // namespace store
