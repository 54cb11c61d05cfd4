// The adapter to SQLite: opens connections with the pragmas of this program, and keeps its codes
// inside.
#include "store/sqlite_db.h"

#include <sqlite3.h>

#include <limits>

#include "core/log.h"

namespace store {
namespace {

// Only somebody else's program holds a lock: ours are kept out by the lock file. A command is
// answered within 3 s.
constexpr int kBusyMsMax = 2000;
constexpr int kCheckpointBusyMsMax = 100;  // our own readers are through; commits wait meanwhile
constexpr uint32_t kLogEveryMs = 1000;

// mmap_size 0: through a mapping, a bad sector or a truncated file is a SIGBUS instead of an error
// code. cache_size in KiB: the writer's working set is the last leaf of each busy channel, 8192 of
// them in 32 MiB; a reader's are the upper levels of the trees. wal_autocheckpoint 0: the writer
// does it itself, after the answers have gone out. journal_size_limit: after a burst the log's file
// shrinks to 64 MiB again.
constexpr const char* kWriterPragmas =
    "PRAGMA mmap_size = 0; PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 0; PRAGMA "
    "journal_size_limit = "
    "67108864; PRAGMA temp_store = MEMORY;";
constexpr const char* kReaderPragmas =
    "PRAGMA mmap_size = 0; PRAGMA cache_size = -8192; PRAGMA query_only = 1; PRAGMA temp_store = "
    "MEMORY;";

void fail(db* d, int rc, const char* what) noexcept {
  const int primary = rc & 0xff;
  d->last =
      primary == SQLITE_BUSY || primary == SQLITE_LOCKED ? core::err::unavailable : core::err::io;
  d->is_damage = primary == SQLITE_CORRUPT || primary == SQLITE_CONSTRAINT ||
                 rc == SQLITE_IOERR_READ || rc == SQLITE_IOERR_SHORT_READ;
  static core::log_limit limit;
  if (!core::log_limit_pass(&limit, kLogEveryMs)) return;
  core::log_error("sqlite failed", {{"what", what},
                                    {"code", sqlite3_extended_errcode(d->handle)},
                                    {"errno", sqlite3_system_errno(d->handle)},
                                    {"reason", sqlite3_errmsg(d->handle)}});
}

int on_wal(void* user, sqlite3*, const char*, int pages) noexcept {
  static_cast<db*>(user)->wal_pages = static_cast<uint32_t>(pages);
  return SQLITE_OK;
}

}  // namespace

core::err db_open(const std::string& path, db_mode mode, db* d, std::string* why) noexcept {
  const bool is_writer = mode == db_mode::read_write;
  const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                    (is_writer ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
  const int rc = sqlite3_open_v2(path.c_str(), &d->handle, flags, nullptr);
  if (rc != SQLITE_OK) {
    *why = std::string("cannot be used: ") +
           (d->handle == nullptr ? "out of memory" : sqlite3_errmsg(d->handle));
    db_close(d);
    return core::err::io;
  }
  sqlite3_extended_result_codes(d->handle, 1);
  sqlite3_busy_timeout(d->handle, kBusyMsMax);
  if (!db_exec(d, is_writer ? kWriterPragmas : kReaderPragmas)) {
    *why = "cannot be used: " + db_error(d);
    const core::err e = d->last;
    db_close(d);
    return e;
  }
  if (is_writer) sqlite3_wal_hook(d->handle, on_wal, d);
  return core::err::ok;
}

void db_close(db* d) noexcept {
  if (d->handle != nullptr) sqlite3_close_v2(d->handle);
  d->handle = nullptr;
}

bool db_exec(db* d, const char* sql) noexcept {
  const int rc = sqlite3_exec(d->handle, sql, nullptr, nullptr, nullptr);
  if (rc == SQLITE_OK) return true;
  fail(d, rc, sql);
  return false;
}

bool db_int(db* d, const char* sql, int64_t* out) noexcept {
  statement s;
  if (!s.prepare(d, sql)) return false;
  query q(&s);
  if (q.next() != step::row) return false;
  *out = q.column_int(0);
  return true;
}

std::string db_error(const db* d) noexcept {
  return sqlite3_errmsg(d->handle);
}

bool db_in_transaction(const db* d) noexcept {
  return sqlite3_get_autocommit(d->handle) == 0;
}

void db_checkpoint(db* d, bool is_passive) noexcept {
  int pages = 0;
  sqlite3_busy_timeout(d->handle, kCheckpointBusyMsMax);
  const int rc = sqlite3_wal_checkpoint_v2(
      d->handle, nullptr, is_passive ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_RESTART,
      &pages, nullptr);
  sqlite3_busy_timeout(d->handle, kBusyMsMax);
  // Busy: a reader is in the way, and later it is tried again.
  if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) fail(d, rc, "checkpoint");
}

statement::~statement() {
  finish();
}

void statement::finish() noexcept {
  if (handle_ != nullptr) sqlite3_finalize(handle_);
  handle_ = nullptr;
}

bool statement::prepare(db* d, const char* sql) noexcept {
  db_ = d;
  const int rc =
      sqlite3_prepare_v3(d->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &handle_, nullptr);
  if (rc == SQLITE_OK) return true;
  fail(d, rc, sql);
  return false;
}

query::~query() {
  sqlite3_reset(s_->handle_);
  if (bound_ > 0) sqlite3_clear_bindings(s_->handle_);
}

query& query::number(int64_t v) noexcept {
  is_bad_ |= sqlite3_bind_int64(s_->handle_, ++bound_, v) != SQLITE_OK;
  return *this;
}

query& query::number_u64(uint64_t v) noexcept {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  return number(static_cast<int64_t>(v < kMax ? v : kMax));
}

query& query::text(std::string_view v) noexcept {
  // A null pointer would be NULL, an empty string is not.
  is_bad_ |= sqlite3_bind_text64(s_->handle_, ++bound_, v.data() == nullptr ? "" : v.data(),
                                 v.size(), SQLITE_STATIC, SQLITE_UTF8) != SQLITE_OK;
  return *this;
}

query& query::bytes(std::string_view v) noexcept {
  is_bad_ |= sqlite3_bind_blob64(s_->handle_, ++bound_, v.data() == nullptr ? "" : v.data(),
                                 v.size(), SQLITE_STATIC) != SQLITE_OK;
  return *this;
}

step query::next() noexcept {
  if (is_bad_) {
    fail(s_->db_, SQLITE_TOOBIG, "bind");
    return step::failed;
  }
  const int rc = sqlite3_step(s_->handle_);
  if (rc == SQLITE_ROW) return step::row;
  if (rc == SQLITE_DONE) return step::done;
  fail(s_->db_, rc, sqlite3_sql(s_->handle_));
  return step::failed;
}

int64_t query::column_int(int i) noexcept {
  return sqlite3_column_int64(s_->handle_, i);
}

std::string_view query::column_text(int i) noexcept {
  const void* p = sqlite3_column_blob(s_->handle_, i);
  const int n = sqlite3_column_bytes(s_->handle_, i);
  return p == nullptr ? std::string_view()
                      : std::string_view(static_cast<const char*>(p), static_cast<size_t>(n));
}

}  // namespace store
