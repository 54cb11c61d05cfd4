// What the one writing connection does: requests inside a transaction, and the sweep that deletes
// what is outside of retention. No threads here; a function that returns false met an I/O failure,
// and the transaction must be rolled back.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "store/sqlite_db.h"
#include "store/store.h"

namespace store {

// Channels whose row the writer remembers; beyond it all are forgotten at once and read again:
// about 10 MiB.
inline constexpr size_t kChannelCacheMax = 65536;
// A slice of the sweep: a transaction of a millisecond or two, so that waiting appends hardly
// notice.
inline constexpr uint32_t kSweepRowsMax = 512;
inline constexpr size_t kDamagedMax = 1024;
inline constexpr uint32_t kSweepChannelsMax = 256;
// What removals of history delete in one transaction: a few milliseconds. A channel may have
// millions of publications, and the others wait.
inline constexpr uint32_t kRemoveRowsMax = 4096;

// A row of table channel. Invariant between transactions: equal to the row in the file.
struct channel_row {
  int64_t id = 0;
  uint64_t top = 0;
  int64_t last_ms = 0;
  retention keep;
  bool is_dirty = false;
};

struct writer_statements {
  statement channel_get, channel_add, channel_set;
  statement publication_add, publication_author, publication_blank, publication_edits;
  statement key_get, key_put, key_remove;
  statement user_add, user_remove, user_mark;
  statement sweep_channels, sweep_oldest, sweep_remove, sweep_keys;
  statement probe;
};

struct writer {
  db file;
  std::string epoch;
  std::unique_ptr<writer_statements> sql;
  std::unordered_map<std::string, channel_row> channels;
  std::vector<channel_row*> dirty;      // of `channels`; their rows are written before the commit
  int64_t sweep_channel = 0;            // where the sweep goes on; 0: from the first
  std::unordered_set<int64_t> damaged;  // channels that the sweep passes over
};

// Takes an open file whose schema is current.
bool writer_prepare(writer* w) noexcept;
void writer_close(writer* w) noexcept;

bool writer_begin(writer* w) noexcept;
bool writer_commit(writer* w) noexcept;  // false: nothing of the transaction happened; roll back
void writer_rollback(writer* w) noexcept;

// Inside a transaction. Conflict, not_found and denied are answers, found before anything is
// written. On ok r->pub is moved into the result.
bool writer_append(writer* w, append_request* r, append_result* out) noexcept;
// Deletes, oldest first, what the channel had when *up_to, 0 at first, was set; at most *rows,
// which it counts down. *is_done: nothing of it is left. Else it is called again, in another
// transaction.
bool writer_remove_history(writer* w, const std::string& channel, uint64_t* up_to, uint32_t* rows,
                           bool* is_done) noexcept;
bool writer_add_user_channel(writer* w, const std::vector<std::string>& users,
                             const std::string& channel) noexcept;
bool writer_remove_user_channel(writer* w, const std::string& user,
                                const std::string& channel) noexcept;
bool writer_mark_read(writer* w, const std::string& user, const std::string& channel,
                      uint64_t offset) noexcept;

// After a rollback: the request as it was before writer_append().
void writer_append_undo(append_request* r, append_result* out) noexcept;

// One slice in a transaction of its own; *is_done: the round is complete. A channel that cannot be
// read fails it once and is passed over from then on, or nothing behind it would ever be swept.
bool writer_sweep(writer* w, int64_t now_ms, bool* is_done) noexcept;

// Writes a few pages and frees them again: can it commit now?
bool writer_probe(writer* w) noexcept;

}  // namespace store
