// Numbered migrations: the list only grows; a migration that was released is never changed.
#include "store/sqlite_schema.h"

#include "store/page.h"

namespace store {
namespace {

// "Parl" in the file's header, so that file(1) and we can tell it from other databases.
constexpr int64_t kApplicationId = 0x5061726c;

// Migration n brings a file of version n to n + 1.
constexpr const char* kMigrations[] = {
    // publication: the rows of a channel lie side by side in the order of their offsets, so that a
    // page is one range.
    // idempotency.scope and hash are bytes: they are compared, never shown.
    R"(
    CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE channel (
      id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, top INTEGER NOT NULL, last_ms INTEGER NOT NULL,
      size_max INTEGER NOT NULL, ttl_ms INTEGER NOT NULL);
    CREATE TABLE publication (
      channel_id INTEGER NOT NULL, offset INTEGER NOT NULL, time_ms INTEGER NOT NULL, refers INTEGER NOT NULL,
      user TEXT NOT NULL, data TEXT NOT NULL, info TEXT NOT NULL, tags TEXT NOT NULL,
      PRIMARY KEY (channel_id, offset)) WITHOUT ROWID;
    CREATE INDEX publication_refers ON publication (channel_id, refers) WHERE refers > 0;
    CREATE TABLE idempotency (
      channel_id INTEGER NOT NULL, scope BLOB NOT NULL, hash BLOB NOT NULL, offset INTEGER NOT NULL,
      time_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, PRIMARY KEY (channel_id, scope)) WITHOUT ROWID;
    CREATE INDEX idempotency_expires ON idempotency (expires_ms);
    CREATE TABLE user_channel (
      user TEXT NOT NULL, channel TEXT NOT NULL, read_offset INTEGER NOT NULL,
      PRIMARY KEY (user, channel)) WITHOUT ROWID;
    )",
};
constexpr int64_t kVersion = sizeof kMigrations / sizeof *kMigrations;

constexpr const char* kEdgeRows[] = {
    "SELECT * FROM channel ORDER BY id LIMIT 1",
    "SELECT * FROM channel ORDER BY id DESC LIMIT 1",
    "SELECT * FROM publication ORDER BY channel_id, offset LIMIT 1",
    "SELECT * FROM publication ORDER BY channel_id DESC, offset DESC LIMIT 1",
    "SELECT * FROM idempotency ORDER BY channel_id, scope LIMIT 1",
    "SELECT * FROM idempotency ORDER BY channel_id DESC, scope DESC LIMIT 1",
    "SELECT * FROM user_channel ORDER BY user, channel LIMIT 1",
    "SELECT * FROM user_channel ORDER BY user DESC, channel DESC LIMIT 1",
};

// page_size 4096: a commit writes whole pages, one or two for each channel that it touches, so
// larger ones would write more for the same messages; smaller ones would push a usual message of
// some hundred bytes into overflow pages. auto_vacuum NONE, the default: pages that retention frees
// are used again by the next publications.
bool set_file_modes(db* d) noexcept {
  if (!db_exec(d, "PRAGMA page_size = 4096")) return false;
  statement s;
  if (!s.prepare(d, "PRAGMA journal_mode = WAL")) return false;
  query q(&s);
  return q.next() == step::row && q.column_text(0) == "wal";
}

core::err refuse(const db* d, std::string* why) {
  *why = "is damaged or cannot be used: " + db_error(d);
  return d->last == core::err::ok ? core::err::io : d->last;
}

bool migrate(db* d, int64_t from) noexcept {
  const std::string numbers = "PRAGMA application_id = " + std::to_string(kApplicationId) +
                              "; PRAGMA user_version = " + std::to_string(from + 1);
  return db_exec(d, "BEGIN EXCLUSIVE") && db_exec(d, kMigrations[from]) &&
         db_exec(d, numbers.c_str()) && db_exec(d, "COMMIT");
}

bool make_epoch(db* d) noexcept {
  statement s;
  return s.prepare(d, "INSERT INTO meta (key, value) VALUES ('epoch', ?) ON CONFLICT DO NOTHING") &&
         query(&s).text(epoch_new()).run();
}

bool can_read_edges(db* d) noexcept {
  for (const char* sql : kEdgeRows) {
    statement s;
    if (!s.prepare(d, sql) || query(&s).next() == step::failed) return false;
  }
  return true;
}

}  // namespace

int64_t schema_version() noexcept {
  return kVersion;
}

core::err schema_open(db* d, std::string* epoch, std::string* why) noexcept {
  int64_t version = 0, application = 0, tables = 0;
  if (!db_int(d, "PRAGMA user_version", &version) ||
      !db_int(d, "PRAGMA application_id", &application) ||
      !db_int(d, "SELECT count(*) FROM sqlite_master", &tables))
    return refuse(d, why);
  if (application == kApplicationId ? version < 0 : tables > 0 || version != 0) {
    *why = "is another program's database";
    return core::err::io;
  }
  if (version > kVersion) {
    *why = "was made by a newer version (schema " + std::to_string(version) + ", this one knows " +
           std::to_string(kVersion) + ")";
    return core::err::io;
  }
  if (!set_file_modes(d)) return refuse(d, why);
  for (; version < kVersion; ++version) {
    if (migrate(d, version)) continue;
    const core::err rc = refuse(d, why);
    if (db_in_transaction(d)) static_cast<void>(db_exec(d, "ROLLBACK"));
    return rc;
  }
  if (!make_epoch(d)) return refuse(d, why);
  statement s;
  if (!s.prepare(d, "SELECT value FROM meta WHERE key = 'epoch'")) return refuse(d, why);
  query q(&s);
  if (q.next() != step::row) return refuse(d, why);
  *epoch = q.column_text(0);
  if (!epoch_is_good(*epoch)) {
    *why = "is damaged: its epoch is not one";
    return core::err::io;
  }
  return can_read_edges(d) ? core::err::ok : refuse(d, why);
}

bool schema_is_whole(db* d, std::string* why) noexcept {
  int64_t is_open = 0;
  if (!db_int(d, "SELECT count(*) FROM meta WHERE key = 'import'", &is_open)) {
    static_cast<void>(refuse(d, why));
    return false;
  }
  if (is_open > 0) *why = kImportIsOpen;
  return is_open == 0;
}

}  // namespace store
