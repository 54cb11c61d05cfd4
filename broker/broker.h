// The contract of a broker: orders publications, makes them durable, carries them between nodes,
// and knows who is present on all of them. One object per loop; every call and every callback on
// that loop.
//
// Only the loop that owns a channel's partition calls its loop's broker for that channel.
// Calls that take a callback answer exactly once when they return ok, and never when they return
// something else. The answer may come INSIDE the call (the local broker has nothing to wait for
// when there is no history): callers hold no reference into their own tables across a call.
//
// Errors of calls: full (nothing was queued), unavailable, closed. Answers: as store/store.h has
// them, and timeout (the outcome is unknown).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/err.h"
#include "core/post.h"
#include "store/publication.h"
#include "store/store.h"

namespace broker {

// history_removed: what is kept of the channel's publications up to now is void.
enum class event_kind : uint8_t { publication, join, leave, history_removed };

// Where the parts of a publication's push stand in its text.
struct push_layout {
  uint32_t object_at = 0, object_bytes = 0;  // the publication object
  uint32_t data_at = 0, data_bytes = 0;
  uint32_t info_at = 0, info_bytes = 0;  // 0: there is none
  uint32_t tags_at = 0, tags_bytes = 0;  // likewise
};

// A push as its author's node made it, for brokers that carry finished pushes. Two numbers are the
// broker's to give: a publication's offset is due at offset_at, and behind it its time at time_at
// (0: no such gap). All places count as if the gaps were empty; data and info stand before both,
// the tags behind the offset and around the time.
struct push_template {
  std::string text;
  uint32_t offset_at = 0, time_at = 0;
  push_layout parts;
};

// A publication (pub or push is set, the other one null), or a join or leave (pub->info or push).
struct event {
  event_kind kind = event_kind::publication;
  const store::publication* pub = nullptr;
  const std::string_view* push = nullptr;  // finished: goes to subscribers as it is
  push_layout parts;                       // of push
  uint64_t offset = 0;                     // of push; 0: ephemeral
  int64_t time_ms = 0;
  bool is_delete = false;  // what it refers to is blank now
};

struct publish_request;

// Calls from a broker to its user. Views are valid until return. They may call the broker, but for
// make_push().
struct broker_events {
  // Something for a channel that was subscribed, in order: offsets without holes, each once, none
  // before its commit.
  void (*on_event)(void* user, std::string_view channel, const event& e) noexcept;
  // The broker lost continuity in the channel and cannot repair it, or its epoch has changed:
  // positioned subscribers must come back (unsubscribe code 2500).
  void (*on_lost)(void* user, std::string_view channel) noexcept;
  // Bytes another node sent by control().
  void (*on_control)(void* user, std::string_view bytes) noexcept;
  // Encodes the request's push (any kind but history_removed); *out is empty. Only brokers that
  // carry finished pushes call it, inside publish().
  void (*make_push)(void* user, const publish_request& r, push_template* out) noexcept;
};

struct publish_request {
  std::string channel;
  event_kind kind = event_kind::publication;
  bool has_history = false;  // false: relayed at once, offset 0
  std::string user;          // author's user id, or empty
  std::string data;          // JSON text
  std::string info;          // finished ClientInfo object, or empty
  // Tags up to the time, which is the broker's: "{" or "{\"key\":\"k\","; the broker adds
  // "\"time\":\"<ms>\"}". Empty: no tags.
  std::string tags_before_time;
  store::retention keep;
  std::string key_scope;  // idempotency, see store::append_request
  std::string key_hash;
  int64_t key_ttl_ms = 0;
  uint64_t refers = 0;
  bool is_delete = false;
};

struct publish_result {
  core::err rc = core::err::ok;
  uint64_t offset = 0;
  std::string epoch;
  int64_t time_ms = 0;
  bool is_duplicate = false;
  bool is_first = false;  // nothing was published in the channel before; of its repetition, too
};

struct member {
  std::string client;  // uuid text
  std::string user;
  std::string info;  // finished ClientInfo object
  // Its leave is published when its node has died.
  bool has_join_leave = false;
};

struct presence_counts {
  uint32_t clients = 0;
  uint32_t users = 0;
  // When the last client left, Unix time; 0: not known. Remembered for channels that begin with '#'
  // (of one user, or of a few), for kLastSeenMs at most.
  int64_t left_ms = 0;
};
inline constexpr int64_t kLastSeenMs = int64_t{30} * 24 * 3600 * 1000;
inline constexpr size_t kLastSeenMax = 100'000;  // local: the newest, of each loop

using publish_cb = void (*)(void* user, publish_result&& r) noexcept;
using position_cb = void (*)(void* user, core::err rc, const store::position& p) noexcept;
using presence_cb = void (*)(void* user, core::err rc, const std::vector<member>& members) noexcept;
using counts_cb = void (*)(void* user, core::err rc, presence_counts c) noexcept;

class broker {
 public:
  virtual ~broker() = default;

  // Commit, then on_event() on every node that is subscribed (here: before the answer), then the
  // answer.
  virtual core::err publish(publish_request&& r, publish_cb cb, void* user) noexcept = 0;

  // From the answer on, on_event() tells everything after the given position. Without history the
  // offset is 0.
  virtual core::err subscribe(const std::string& channel, bool has_history, position_cb cb,
                              void* user) noexcept = 0;
  virtual void unsubscribe(const std::string& channel) noexcept = 0;

  virtual core::err history(store::read_request&& r, store::read_cb cb, void* user) noexcept = 0;
  virtual core::err remove_history(const std::string& channel, store::done_cb cb,
                                   void* user) noexcept = 0;

  // Presence. Adding a client twice replaces its info. `limit` bounds the answer.
  virtual core::err presence_add(const std::string& channel, member&& m) noexcept = 0;
  virtual void presence_remove(const std::string& channel, std::string_view client) noexcept = 0;
  virtual core::err presence(const std::string& channel, uint32_t limit, presence_cb cb,
                             void* user) noexcept = 0;
  virtual core::err presence_stats(const std::string& channel, counts_cb cb,
                                   void* user) noexcept = 0;

  // To all other nodes; at most once. The local broker has none and does nothing.
  virtual core::err control(std::string_view bytes) noexcept = 0;

  virtual bool is_ready() noexcept = 0;
  // Why it is not: a sentence without secrets; empty while it is.
  virtual std::string why_not_ready() noexcept = 0;
  // No callback after it; later calls return closed. Delete the object when its loop has ended or
  // everything is answered: until then the store's answers still find their way to it.
  virtual void close() noexcept = 0;
};

// Borrows the store, which outlives it, and the clock. `events` is kept.
broker* open_local(store::store* s, core::loop* home, const broker_events* events, void* user,
                   const core::clock_source* clock = core::system_clock()) noexcept;

}  // namespace broker
