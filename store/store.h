// The contract of a store: history for good, idempotency keys, users' channels and read markers.
//
// Threads: every call may be made from any loop; it queues work for the store's own threads and
// returns at once. The answer arrives on the loop `home`, through its mailbox, exactly once, never
// inside the call. When a call returns anything but ok its callback never runs. Slots for answers
// are reserved on `home` before the work is queued.
//
// Errors of the calls: full (the store's queue or the mailbox holds its maximum; nothing was
// queued), closed. Errors in answers: io (disk: full, failed, damaged file; nothing of the request
// was committed), unavailable, and those named below.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/err.h"
#include "core/post.h"
#include "store/publication.h"

namespace store {

struct append_request {
  std::string channel;
  std::string user;  // author, or empty; checked by `refers`
  publication pub;   // offset is given by the store and ignored here; time_ms is the broker's
  retention keep;    // remembered with the channel for the deleting sweep
  // Idempotency: an append with the same (channel, key_scope) within key_ttl_ms is not stored
  // again. key_hash is compared: the same key with another hash is err::conflict. Empty: no key.
  std::string key_scope;
  std::string key_hash;
  int64_t key_ttl_ms = 0;
  // An edit or a delete of the publication at offset `refers` (0: none): not_found when it is not
  // in the store (or outside of `keep`, or an edit itself: a delete of the original would leave
  // edits of that one), denied when its author is not `user` or `user` is empty
  // (nobody can be told from another then). With is_delete its data, and that of all edits of it,
  // becomes null.
  uint64_t refers = 0;
  bool is_delete = false;
};

struct append_result {
  core::err rc = core::err::ok;  // ok, io, unavailable, conflict, not_found, denied
  uint64_t offset = 0;           // of the new publication, or of the first one when is_duplicate
  int64_t time_ms = 0;           // likewise
  bool is_duplicate = false;
  std::string epoch;  // ok: the channel's
  publication pub;  // ok and no duplicate: what was stored, given back so that nobody keeps a copy
};

struct read_request {
  std::string channel;
  uint64_t since = 0;       // exclusive; 0 forwards: from the oldest, 0 backwards: from the newest
  bool is_reverse = false;  // newest first
  uint32_t limit = 0;       // publications; 0: the position alone
  uint64_t bytes_max = 0;   // stop before the sum of data, info and tags passes this; 0: no bound.
                            // At least one is returned.
  retention keep;  // what is outside is not returned. By age: everything older than the oldest
                   // publication that is young enough, so that a page has no holes when the clock
                   // has stepped back
  int64_t now_ms = 0;  // for keep.ttl_ms
};

struct read_result {
  core::err rc = core::err::ok;
  position top;  // in the same snapshot as the publications
  std::vector<publication> pubs;
  bool is_cut = false;  // bytes_max ended the page
};

// A channel of a user: subscribed once, posted to, or named in a direct message.
struct user_channel {
  std::string channel;
  uint64_t read_offset = 0;
  uint64_t unread = 0;  // messages behind the marker
  position top;
  publication last;  // offset 0: none is kept
};

struct user_channels_result {
  core::err rc = core::err::ok;
  std::vector<user_channel> channels;  // those with the newest message first
};

// Callbacks run on the home loop; the result is theirs to move from.
using append_cb = void (*)(void* user, append_result&& r) noexcept;
using read_cb = void (*)(void* user, read_result&& r) noexcept;
using user_channels_cb = void (*)(void* user, user_channels_result&& r) noexcept;
using done_cb = void (*)(void* user, core::err rc) noexcept;

struct store_stats {
  uint64_t queue = 0;  // requests not yet answered, all kinds
  uint64_t queue_max = 0;
  uint64_t commits = 0;    // transactions
  uint64_t committed = 0;  // publications
  uint64_t failures = 0;   // answers with io or unavailable
  uint64_t bytes = 0;      // size of the file(s); memory store: of all it keeps
  bool is_ready = false;   // can it commit now?
  std::string why;         // it cannot: a sentence, where there is more to say than that

  // Stores that commit here and bring it elsewhere.
  uint64_t backlog = 0;  // publications (and removals) that are only here yet
  uint64_t backlog_max = 0;
  uint64_t backlog_age_ms = 0;  // since the oldest of it came
  uint64_t stored = 0;          // publications brought there
  uint64_t batches = 0;         // in so many writes
  uint64_t batch_us = 0;        // which took so long together
  uint64_t retries = 0;         // of batches
  uint64_t duplicates = 0;      // publications that were there before
  uint64_t dead_letters = 0;    // refused there for good, kept beside
  uint64_t conflicts = 0;       // other content in their place: an alarm
  bool is_connected = false;    // the last write there succeeded
};

class store {
 public:
  virtual ~store() = default;

  // Commits one publication: gives it the channel's next offset and makes it durable. Appends to
  // one channel by one loop are committed and answered in the order of the calls; offsets have no
  // holes, also when some appends fail.
  virtual core::err append(core::loop* home, append_request&& r, append_cb cb,
                           void* user) noexcept = 0;

  // Answers when a committed publication is where the store keeps it for good: ok, or timeout (it
  // is committed, and will be there later). *is_there: it is already, no answer will come; so it is
  // with all stores but those that commit here and bring it elsewhere.
  virtual core::err when_stored(core::loop* home, const std::string& channel, uint64_t offset,
                                bool* is_there, done_cb cb, void* user) noexcept {
    static_cast<void>(home), static_cast<void>(channel), static_cast<void>(offset);
    static_cast<void>(cb), static_cast<void>(user);
    *is_there = true;
    return core::err::ok;
  }

  virtual core::err read(core::loop* home, read_request&& r, read_cb cb, void* user) noexcept = 0;

  // Deletes the publications that the channel has now, oldest first, perhaps in several
  // transactions (other requests go between; after an error some may be gone). Its position stays,
  // so that no offset is used twice.
  virtual core::err remove_history(core::loop* home, std::string channel, done_cb cb,
                                   void* user) noexcept = 0;

  // Makes (user, channel) known for each of `users`; existing ones keep their marker. cb may be
  // nullptr (best effort).
  virtual core::err add_user_channel(core::loop* home, std::vector<std::string> users,
                                     std::string channel, done_cb cb, void* user) noexcept = 0;
  virtual core::err remove_user_channel(core::loop* home, std::string user_id, std::string channel,
                                        done_cb cb, void* user) noexcept = 0;
  // Moves the read marker forward (never back) and makes the channel known to the user.
  virtual core::err mark_read(core::loop* home, std::string user_id, std::string channel,
                              uint64_t offset, done_cb cb, void* user) noexcept = 0;
  virtual core::err user_channels(core::loop* home, std::string user_id, uint32_t limit,
                                  user_channels_cb cb, void* user) noexcept = 0;

  virtual store_stats stats() noexcept = 0;  // any thread

  // Commits everything queued, stops the threads. Main thread, while the loops still run or after
  // they have ended (answers are then dropped). Later calls return closed. Idempotent.
  virtual void close() noexcept = 0;
};

// Delete after close(). Memory: nothing survives the process; appends beyond bytes_max answer io,
// as a full disk does.
inline constexpr uint64_t kMemoryBytesMax = 1ull
                                            << 30;  // a development machine has that much to spare
store* open_memory(uint64_t bytes_max = kMemoryBytesMax) noexcept;

// Keeps nothing: with a broker whose streams are the history. Every call is `unavailable`.
store* open_none() noexcept;

struct sqlite_options {
  std::string path;
  bool is_full_sync =
      true;              // PRAGMA synchronous=FULL (power loss), else NORMAL (process crash only)
  uint32_t readers = 2;  // threads
  uint32_t queue_max = 65536;  // writes not yet answered, and as many reads; half of it for writes
                               // without a callback
  uint64_t queue_bytes_max = 256ull << 20;  // of writes; beyond either: full
  uint64_t read_bytes_max = 64ull << 20;  // of answers on their way to the loops; the readers wait
  uint32_t commit_count_max = 2048;       // publications a transaction
  uint32_t sweep_ms = 10'000;             // retention and expired keys
  uint64_t bytes_max =
      0;  // the database file grows no further, appends answer io; 0: no bound but the disk
  const core::clock_source* clock = core::system_clock();  // for the sweep
};
// conflict: another process has the file (a lock file beside it); io: cannot be opened, damaged, or
// made by a newer version. *why is a sentence for the user.
core::err open_sqlite(const sqlite_options& o, store** out, std::string* why) noexcept;

}  // namespace store
