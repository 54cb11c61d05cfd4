// SQLite as the rest of the folder sees it: connections, prepared statements, errors as values.
// sqlite_db.cc is the only file that includes the library's header.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/err.h"

struct sqlite3;
struct sqlite3_stmt;

namespace store {

// A connection, used by one thread at a time. Failures are logged with SQLite's own words, once a
// second at most.
struct db {
  sqlite3* handle = nullptr;
  uint32_t wal_pages = 0;  // in the write-ahead log, as of this connection's last commit
  core::err last =
      core::err::ok;  // why the last call failed: unavailable (locked by someone) or io
  bool is_damage =
      false;  // … because of what stands in the pages that it needed; others may be fine
};

enum class db_mode : uint8_t { read_only, read_write };

core::err db_open(const std::string& path, db_mode mode, db* d, std::string* why) noexcept;
void db_close(db* d) noexcept;
bool db_exec(db* d, const char* sql) noexcept;
// The first column of the first row; false: failed or no row.
bool db_int(db* d, const char* sql, int64_t* out) noexcept;
std::string db_error(const db* d) noexcept;
bool db_in_transaction(const db* d) noexcept;
// Moves the log's pages into the database file. Passive: as far as possible without waiting for
// anybody. Else: waits a moment for the readers that are in the log, so that it starts again from
// its beginning.
void db_checkpoint(db* d, bool is_passive) noexcept;

// A prepared statement. Owns its handle; goes before its connection.
class statement {
 public:
  statement() = default;
  statement(const statement&) = delete;
  statement& operator=(const statement&) = delete;
  ~statement();
  bool prepare(db* d, const char* sql) noexcept;
  void finish() noexcept;

 private:
  friend class query;
  db* db_ = nullptr;
  sqlite3_stmt* handle_ = nullptr;
};

enum class step : uint8_t { row, done, failed };

// One run of a statement: bind in the order of the question marks, step, read columns; reset at the
// end of the scope. Bound text is borrowed until then; column text is valid until the next step.
class query {
 public:
  explicit query(statement* s) noexcept : s_(s) {}
  query(const query&) = delete;
  query& operator=(const query&) = delete;
  ~query();
  query& number(int64_t v) noexcept;
  // Beyond what SQLite can hold: the largest that it can.
  query& number_u64(uint64_t v) noexcept;
  query& text(std::string_view v) noexcept;
  query& bytes(std::string_view v) noexcept;  // compared as bytes, not text
  step next() noexcept;
  bool run() noexcept { return next() == step::done; }
  int64_t column_int(int i) noexcept;
  uint64_t column_u64(int i) noexcept { return static_cast<uint64_t>(column_int(i)); }
  std::string_view column_text(int i) noexcept;

 private:
  statement* s_;
  int bound_ = 0;
  bool is_bad_ = false;
};

}  // namespace store
