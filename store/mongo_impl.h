// The store in MongoDB behind a local spool: what its parts share.
//
//   loop --append--> queue --> sequencer: offset, key, reference; spool, one fdatasync a group -->
//   answer
//                                  |  channel unknown: a lookup by a reader first
//                                  v
//                    backlog of a drain (channel's hash) --> bulk insert, majority -->
//                    spool_stored()
//   loop --read----> queue --> any reader: MongoDB below the backlog, the spool's records above it
//   loop --marker--> queue --> marker thread: bulk upserts, answered when MongoDB has them
//
// Who owns what. One node writes to a database (broker `local`), so offsets are its own: the
// sequencer gives them, and the document `writer` of collection `meta` says whose spool is the
// truth. A node that finds another living writer refuses to start, one that has lost its place
// stops. A database whose writer's spool was lost gets a new epoch, and offsets go on above the
// bound of what that spool may have held: none is used twice.
//
// An append is durable, and answered, when the spool has synced it. The drain of its channel
// (always the same one, one batch at a time, so a channel's order is kept) brings it to MongoDB and
// clears it from the spool afterwards. Everything it does may be done twice, as after a crash:
//   publications  {_id, channel, offset, epoch, time, user, data, info, tags, key, refers, deleted}
//                 unique (channel, offset): there with the same content is success; with other
//                 content an alarm, and nothing of that channel is acknowledged by MongoDB any more
//   keys          {channel, scope, hash, offset, time, expires}, unique (channel, scope)
//   channels      {_id: name, top, last, size_max, ttl_ms, shift}, top by $max
//   user_channels {user, channel, read}, unique (user, channel), read by $max
//   dead_letters  {channel, offset, reason, code, document}: what the server refuses for good
//   meta          {_id: "writer", spool, turn, epoch, shift, backlog_max, seen, released, schema,
//                  import}
// A removal of history stands in the spool, too, in its order: a replay ends as the first time did.
//
// Locks: `lock` guards channels, backlogs and the answers of lookups, and is never held over I/O.
// The sequencer alone changes a channel but for what a drain takes from the tail's front.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "store/mongo.h"
#include "store/mongo_db.h"
#include "store/mongo_record.h"
#include "store/request.h"
#include "store/spool.h"

namespace store {

inline constexpr const char* kPublications = "publications";
inline constexpr const char* kKeys = "keys";
inline constexpr const char* kChannels = "channels";
inline constexpr const char* kUserChannels = "user_channels";
inline constexpr const char* kDeadLetters = "dead_letters";
inline constexpr const char* kMeta = "meta";
inline constexpr int32_t kMongoSchema = 1;

// Channels that are remembered while nothing of them waits: about 300 bytes each and their keys.
inline constexpr size_t kMongoChannelsMax = 65536;
// Idempotency keys that are remembered of one channel; of a busier one the server is asked.
inline constexpr size_t kMongoKeysMax = 4096;

struct known_key {
  std::string hash;
  uint64_t offset = 0;
  int64_t time_ms = 0;
  int64_t expires_ms = 0;
};

// A publication that MongoDB may not have yet.
struct tail_entry {
  spool_place place;
  int64_t time_ms = 0;
};

struct blanked {
  uint64_t target = 0, by = 0;  // offsets; also edits of the target before `by`
};

// Of when_stored(): the message of its answer.
struct stored_wait : core::msg {
  core::loop* home = nullptr;
  done_cb cb = nullptr;
  void* user = nullptr;
  uint64_t offset = 0;
  uint64_t due_us = 0;
  core::err rc = core::err::ok;
};

// Invariant: the publications of `tail` have consecutive offsets and end with `top`; MongoDB has
// everything before them.
struct mongo_channel {
  std::string name;
  bool is_known = false;  // top, keep and shift are what the database and the spool say
  bool is_stuck = false;  // MongoDB has other content at one of our offsets
  uint64_t top = 0;       // committed
  int64_t last_ms = 0;
  uint64_t removed_up_to = 0;
  std::deque<tail_entry> tail;
  std::vector<blanked> blanks;  // whose deletes are in the tail
  uint32_t removals = 0;        // in the backlog
  size_t kept_back = 0;         // of the tail's front: a stuck channel's, in no backlog any more
  std::vector<std::unique_ptr<stored_wait>> waits;  // for offsets of the tail
  // The sequencer's.
  uint64_t next_top = 0;  // with what the open group gives
  std::unordered_map<std::string, known_key> keys;
  bool has_all_keys = false;    // a key that is not in `keys` is not in the database either
  bool are_keys_asked = false;  // `keys` has what the database had, up to the bound
  size_t keys_kept = 0;         // when they were trimmed
  bool is_looking = false;
  write_list waiting;  // behind a lookup, in their order
  uint32_t group = 0;  // writes of the open group
};

inline uint64_t tail_first(const mongo_channel& m) noexcept {
  return m.top + 1 - m.tail.size();
}

// What the sequencer asks of the database; answered by a reader.
enum class lookup_kind : uint8_t { channel, key, reference };
struct lookup {
  lookup_kind kind = lookup_kind::channel;
  mongo_channel* channel = nullptr;
  std::string name, scope;
  uint64_t offset = 0;
  int64_t now_ms = 0;
  // The answer.
  bool is_failed = false;
  bool is_found = false;
  uint64_t top = 0;
  int64_t last_ms = 0;
  known_key key;
  std::vector<std::pair<std::string, known_key>> keys;
  bool has_all_keys = false;
  stored_publication referred;
};

// A record that MongoDB may not have yet: the oldest publication of the channel's tail that no
// entry before it stands for, or a removal.
struct removal {
  spool_place place;
  uint64_t up_to = 0;
};
struct backlog_entry {
  mongo_channel* channel = nullptr;
  std::unique_ptr<removal> removed;
};

// One drain's queue, in the order of the spool.
struct backlog {
  std::deque<backlog_entry> records;
  std::condition_variable wake;
  uint64_t oldest_us = 0;  // when the first of them came
};

struct mongo_counters {
  std::atomic<uint64_t> commits{0}, committed{0}, failures{0};
  std::atomic<uint64_t> batches{0}, stored{0}, retries{0}, duplicates{0}, dead_letters{0},
      conflicts{0};
  std::atomic<uint64_t> batch_us{0};  // sum
};

// Shared by all parts; made and ended by mongo.cc.
struct mongo_core {
  explicit mongo_core(const mongo_options& o) : options(o) {}
  const mongo_options options;
  mongo_pool* pool = nullptr;
  spool* log = nullptr;
  mongo_counters counters;

  std::mutex lock;
  std::unordered_map<std::string, std::unique_ptr<mongo_channel>> channels;
  std::vector<std::unique_ptr<backlog>> backlogs;
  uint64_t waiting = 0;      // records in all backlogs
  uint64_t waits = 0;        // of all channels
  uint64_t backlog_max = 0;  // of `waiting`: the option's, but no more than the database was told
  std::string epoch;         // set before the threads start
  uint64_t shift = 0;        // offsets that epochs before may have used
  int64_t turn = 0;          // of our place, set before is_taken; the keeper's
  bool is_taken = false;     // we are the database's writer: drains may begin
  bool is_fenced = false;    // somebody else is: nothing is accepted any more
  bool is_closing = false;   // drains end when their backlog is empty or the time is up
  uint64_t close_by_us = 0;
  std::condition_variable taken;  // is_taken, is_fenced, is_closing

  std::atomic<bool> is_connected{false};  // the last call of a drain or the keeper succeeded
};

// Takes out those that `is_over` names, to be answered without the lock. With the lock.
template <typename Fn>
std::vector<std::unique_ptr<stored_wait>> take_waits(mongo_core* c, mongo_channel* m, Fn is_over) {
  std::vector<std::unique_ptr<stored_wait>> out;
  for (auto& w : m->waits)
    if (is_over(*w)) out.push_back(std::move(w));
  std::erase(m->waits, nullptr);
  c->waits -= out.size();
  return out;
}
inline void answer_waits(std::vector<std::unique_ptr<stored_wait>>* all, core::err rc) noexcept {
  for (auto& w : *all) {
    w->rc = rc;
    core::loop* home = w->home;
    core::loop_post_reserved(home, w.release());
  }
  all->clear();
}

inline uint64_t mono_us() noexcept {
  return core::system_clock()->mono_us();
}

inline uint32_t backlog_of(const mongo_core& c, std::string_view channel) noexcept {
  return static_cast<uint32_t>(std::hash<std::string_view>()(channel) % c.backlogs.size());
}

}  // namespace store
