// The scripts that a Redis server runs, each atomic in one partition, and the names of its keys.
//
// Keys of a partition p (all share the hash tag {p}, so one slot of a cluster has them):
//   P:{p}:g            generation: run, repl (the server that began it), epoch, base, and
//                      peer:RUN:REPL for each other master that was there beside that server
//   P:{p}:m:CHANNEL    meta: top, epoch, floor (the top when that epoch began)
//   P:{p}:s:CHANNEL    stream: id OFFSET-0, field e: the envelope
//   P:{p}:b:CHANNEL    blanked: offset -> envelope, for what a delete has taken out of the stream
//   P:{p}:e:CHANNEL    edits: offset -> offset of what it refers to
//   P:{p}:k:CHANNEL|KEY  idempotency: offset, time, epoch, hash; with expiry
//   P:{p}:p:CHANNEL    presence: client -> entry (redis_presence.cc)
//   P:{p}:u:CHANNEL    its users: user -> how many clients
//   P:{p}:n:IDENTITY   channels in which this member of the lease has entries
//   P:{p}:f            identities whose entries have been taken out: they write no more
//   P:{p}:l:USER       channels of a user, in the user's partition: channel -> read marker
//   P:{p}:v:CHANNEL    when the last client left a channel that begins with '#'; with expiry
// without a partition: P:leases (sorted set: identity -> when it ends, ms), P:sweep:IDENTITY,
// P:layout, and the Pub/Sub channels P:{p}:c:CHANNEL and P:control. In a cluster, {p} is the
// partition's tag (redis_slots.h), those of no partition have partition 0's behind the P, and
// Pub/Sub is sharded.
//
// Generation: the first script that runs on a server which is not the one that began the
// partition's generation (restarted, promoted: its last writes may be gone) begins a new one, with
// a new epoch and a base above every offset that can have been given: 16 for each millisecond of
// Unix time, and for a channel whose meta is there at least 2^20 above its top. So an offset is
// given twice only if a channel got more than 16,000 publications a second over its whole
// life, or the server's clock went back and its data was lost as well.
//
// A partition whose slot has moved to another master of a cluster has lost nothing: its generation
// goes on there. It says so itself: `peer` names masters by what changes with every restart and
// promotion, and was written while the generation's server was still the owner. So a peer has
// neither restarted nor been promoted since, and can have got the keys by their migration only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace broker {

enum class redis_script : uint8_t {
  publish,
  read,
  positions,
  end,
  remove,
  enter,
  leave,
  members,
  counts,
  lease,
  sweep_list,
  sweep,
  list_add,
  list_remove,
  list_mark,
  list_read,
  peers,
  kCount
};

std::string redis_script_text(redis_script s);

// publish   KEYS g m s b e [k]; ARGV run repl epoch base | command channel head nonce author push
//           offset_at time_at size_max ttl_ms key_hash key_ttl_ms refers is_delete
//           -> {"ok" | "duplicate" | "conflict" | "not_found" | "denied", offset, time, epoch,
//           is_first}; is_first also of its repetition
// read      KEYS g m s b; ARGV run repl epoch base | since is_reverse limit bytes_max size_max
//           ttl_ms -> {top, epoch, is_cut, envelope …}
// positions KEYS g m…; ARGV run repl epoch base -> {top, epoch, top, epoch …}
// end       KEYS g m s; ARGV run repl epoch base | marker -> {top, epoch, unread, [envelope]}
// remove    KEYS g m s b e; ARGV run repl epoch base | command channel envelope -> "ok"
// peers     KEYS g; ARGV run repl epoch base | RUN:REPL … -> "ok"
// Presence; no generation:
// enter      KEYS p u n f; ARGV identity client entry channel -> "new" | "known" | "fenced"
// leave      KEYS p u n v; ARGV identity client channel is_last -> 0 or 1
// members    KEYS p; ARGV limit -> {client, entry …}
// counts     KEYS p u v -> {clients, users, left_ms}
// lease      KEYS leases; ARGV identity ms -> {had_lapsed, now, identity, ends …}
// sweep_list KEYS f n; ARGV identity -> {channel …}
// sweep      KEYS p u n v; ARGV identity cursor channel -> {cursor, client, entry …} taken out

// Users' channels:
// list_add    KEYS l; ARGV channel
// list_remove KEYS l; ARGV channel
// list_mark   KEYS l; ARGV channel offset    never back
// list_read   KEYS l -> {channel, marker …}

// Has it the partition's generation among its keys and arguments?
bool redis_script_has_generation(redis_script s) noexcept;

uint32_t redis_partition(std::string_view channel, uint32_t partitions) noexcept;
// kind: one of the letters above.
std::string redis_key(std::string_view prefix, std::string_view tag, char kind,
                      std::string_view channel = {});
// The channel's name in a Pub/Sub channel of ours; "" when it is not one.
std::string_view redis_channel_of(std::string_view prefix, std::string_view pubsub) noexcept;

}  // namespace broker
