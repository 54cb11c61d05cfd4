// Moving a history from one store to another while no server has either: a source gives records in
// pages, a sink makes each page durable. Not part of the contract of a serving store (store.h).
//
//   source (sqlite, mongo, NDJSON) --page--> transfer_run --page--> sink (sqlite, mongo, NDJSON)
//
// The records of a history are the same, in the same order, whatever store it is in: each channel,
// by the bytes of its name, with its publications and the keys of gone ones by offset; then users'
// channels. So what has gone through any stores and comes back is the same file.
//
// A sink adds and never overwrites: what is there already is passed over, so an interrupted move is
// just run again. Memory is a page or two, whatever the size of the history.
//
// Calls block. Errors, with a sentence for the user in *why: denied (a server or another move has
// the store), io (disk: full, failed, damaged), unavailable (MongoDB does not answer), malformed
// (an NDJSON file: a bad line, damaged, truncated), conflict (other content at a channel and
// offset), invalid (a wrong URL or name, or a store that this history cannot go into), closed
// (stopped).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/err.h"
#include "store/publication.h"

namespace store {

struct history_head {
  std::string epoch;
  uint64_t shift = 0;  // where channels that are not known begin: offsets that a lost spool of
                       // mongo may have used. SQLite carries it on and begins at 1
};

enum class history_kind : uint8_t { channel, publication, key, user_channel };

// One thing that moves. Fields that its kind does not name are empty.
struct history_record {
  history_kind kind = history_kind::channel;
  std::string channel;  // all
  // channel: top may be above the newest publication that is kept
  uint64_t top = 0;
  int64_t last_ms = 0;  // time of the newest publication ever
  retention keep;
  // publication; key: offset and time_ms are its publication's, which is gone
  publication pub;
  std::string epoch;  // empty: the head's
  uint64_t refers = 0;
  bool is_deleted = false;          // blanked by a later delete: its data is "null"
  std::string key_scope, key_hash;  // publication: empty when it has no valid one
  int64_t key_expires_ms = 0;
  std::string user;          // publication, user_channel
  uint64_t read_offset = 0;  // user_channel
};

using history_page = std::vector<history_record>;

// A page holds at most so many records, and no more once it holds so many bytes: a transaction or a
// bulk write of some milliseconds.
inline constexpr size_t kHistoryPageMax = 1000;
inline constexpr uint64_t kHistoryPageBytesMax = 4ull << 20;
// What a record counts for.
uint64_t history_bytes(const history_record& r) noexcept;

struct history_counts {
  uint64_t channels = 0, publications = 0, keys = 0, user_channels = 0;
  bool operator==(const history_counts&) const = default;
};
void history_count(history_counts* c, const history_record& r) noexcept;

// The sentence of a conflict: where, and what it means.
std::string history_conflict(const history_record& r);

// How far a source is, in a unit of its own (publications, bytes). all 0: not known.
struct history_progress {
  uint64_t done = 0, all = 0;
};

class history_source {
 public:
  virtual ~history_source() = default;  // gives its store free
  virtual core::err begin(history_head* head, std::string* why) noexcept = 0;
  // Replaces the page; an empty one is the end, and says that the history was whole.
  virtual core::err next(history_page* page, std::string* why) noexcept = 0;
  virtual history_progress progress() const noexcept = 0;
};

class history_sink {
 public:
  virtual ~history_sink() = default;  // gives its store free; without end() the move is not over
  // An empty store takes the head over; another one must have the same.
  virtual core::err begin(const history_head& head, std::string* why) noexcept = 0;
  // On ok the page is durable, but for NDJSON, which is after end().
  virtual core::err put(const history_page& page, std::string* why) noexcept = 0;
  virtual core::err end(const history_counts& all, std::string* why) noexcept = 0;
  virtual uint64_t passed_over() const noexcept = 0;  // publications that were there
};

struct transfer_watch {
  // After each page. False: stop (closed).
  bool (*on_page)(void* user, const history_counts& so_far,
                  const history_progress& p) noexcept = nullptr;
  void* user = nullptr;
};
core::err transfer_run(history_source* from, history_sink* to, const transfer_watch& watch,
                       history_counts* counts, std::string* why) noexcept;

// What a store that is moved offers; a walk makes the order of a source out of it. Each call
// replaces *out with what follows, at least one record, at most a page; none: the end.
class history_reader {
 public:
  virtual ~history_reader() = default;
  virtual core::err begin(history_head* head, std::string* why) noexcept = 0;
  virtual core::err channels(const std::string& after, history_page* out,
                             std::string* why) noexcept = 0;
  // By offset.
  virtual core::err publications(const std::string& channel, uint64_t after, history_page* out,
                                 std::string* why) noexcept = 0;
  // Valid keys as records of kind key, by offset. At most kHistoryKeysMax.
  virtual core::err keys(const std::string& channel, uint64_t after, history_page* out,
                         std::string* why) noexcept = 0;
  virtual core::err user_channels(const std::string& user, const std::string& channel,
                                  history_page* out, std::string* why) noexcept = 0;
  virtual core::err end(std::string* why) noexcept = 0;  // nobody has written meanwhile
  virtual uint64_t publications_about() noexcept = 0;
};
// No store has an index of keys by offset: each call sorts the channel's keys, so it takes many at
// once.
inline constexpr size_t kHistoryKeysMax = 65536;
inline constexpr uint64_t kHistoryKeysBytesMax = 32ull << 20;

// Takes the reader.
std::unique_ptr<history_source> history_walk(std::unique_ptr<history_reader> reader) noexcept;

// SQLite, on the file that a server would serve from; takes its lock file. The source refuses a
// file that is not there, the sink makes it.
core::err open_sqlite_source(const std::string& path, const core::clock_source* clock,
                             std::unique_ptr<history_source>* out, std::string* why) noexcept;
core::err open_sqlite_sink(const std::string& path, std::unique_ptr<history_sink>* out,
                           std::string* why) noexcept;

// MongoDB. The source refuses a database whose last writer has not ended cleanly: its spool may
// have publications that are not here. The sink takes the writer's place.
struct mongo_transfer_options {
  std::string url;
  uint32_t lease_ms = 20'000;    // as mongo_options::lease_ms
  uint32_t give_up_ms = 30'000;  // how long an election or an absence is waited out
  const core::clock_source* clock = core::system_clock();
};
core::err open_mongo_source(const mongo_transfer_options& o, std::unique_ptr<history_source>* out,
                            std::string* why) noexcept;
core::err open_mongo_sink(const mongo_transfer_options& o, std::unique_ptr<history_sink>* out,
                          std::string* why) noexcept;

// NDJSON (docs/TRANSFER.md). Descriptors are borrowed.
struct ndjson_source_options {
  int fd = 0;
  uint64_t bytes = 0;  // the file's, for the progress; 0: not known
  // Whether a text is JSON that a server may pass on (data, info, tags); nullptr: not asked.
  bool (*is_json)(void* user, std::string_view text) noexcept = nullptr;
  void* user = nullptr;
};
std::unique_ptr<history_source> open_ndjson_source(const ndjson_source_options& o) noexcept;
std::unique_ptr<history_sink> open_ndjson_sink(int fd) noexcept;

}  // namespace store
