// One connection to one Redis server, on one loop; for commands, or for subscriptions. Commands of
// a loop iteration leave in one write; replies come in order. It reconnects by itself with jittered
// back-off, until it is closed.
//
//   connecting -> handshaking -> ready -> (lost) waiting -> connecting …        closed
//
// connecting resolves the name, connects, and does TLS; handshaking is AUTH, SELECT, CLIENT
// SETNAME, INFO. From the first packet to ready connect_timeout_ms may pass. A ready connection
// that has been silent for kRedisPingAfterMs is pinged; one that owes an answer and has been silent
// for kRedisDeadAfterMs is lost: killed, stopped and half-open servers are noticed within 3 s. Time
// in which our own loop did not run does not count.
//
// Everything on the loop's thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "broker/redis_url.h"
#include "broker/redis_wire.h"
#include "core/clock.h"
#include "core/err.h"

namespace core {
struct loop;
}

namespace broker {

inline constexpr uint32_t kRedisPingAfterMs = 1000;
inline constexpr uint32_t kRedisDeadAfterMs =
    2700;  // + a check (200) + a tick of the wheel (50) < 3 s
inline constexpr uint32_t kRedisBackoffFirstMs = 100;
inline constexpr uint32_t kRedisBackoffMaxMs = 3000;  // half to whole of it is waited, by chance
inline constexpr uint32_t kRedisStableMs = 5000;      // ready for so long: the back-off begins anew
inline constexpr uint32_t kRedisReplyBytesMax = 64 * 1024 * 1024;
inline constexpr uint32_t kRedisChannelsPerCommand = 1000;  // (p)subscribe: channels a command
inline constexpr uint32_t kRedisUnconfirmedChannelsMax =
    16 * 1024;  // subscribed and not yet confirmed

struct redis_resolver;  // broker/redis_dial.h: names off the loop
struct redis_tls;       // broker/redis_tls.h: one per process and URL
struct redis_conn;

enum class redis_role : uint8_t { commands, subscriber };
enum class redis_state : uint8_t { connecting, handshaking, ready, waiting, closed };
enum class redis_sub : uint8_t { channel, shard };  // SUBSCRIBE, SSUBSCRIBE

// From INFO, at each handshake.
struct redis_server_info {
  std::string run_id;    // changes with every start of the server
  std::string repl_id;   // master_replid: changes with a promotion
  std::string repl_id2;  // the one before the last promotion
  uint64_t repl_offset = 0;
  uint64_t repl_offset2 = 0;  // where repl_id2 ended; 0: no promotion yet
  std::string product;        // "valkey"; empty: Redis, which does not tell
  std::string version;        // the product's: "7.0.15", "8.1.0"
  std::string mode;           // standalone, cluster, sentinel
  bool is_master = false;
  std::string maxmemory_policy;  // "noeviction"; empty when the server does not tell
  uint64_t maxmemory = 0;
  bool has_aof = false;
  uint64_t rdb_saved_at = 0;  // Unix time of the last snapshot, or of the start
};

// None is called inside redis_conn_open(). All may call redis_conn_*(), also close. After
// redis_conn_close() none is called. Pointers that are null are not called.
struct redis_conn_events {
  // Logged in, a master, not loading. Subscriptions of before are gone.
  void (*on_ready)(void* user, redis_conn* c, const redis_server_info& info) noexcept = nullptr;
  // An attempt failed, or a ready connection is lost (was_ready). All pending commands have been
  // answered. `why` is a sentence without secrets: "connection refused", "the password is wrong",
  // "a replica, not writable". The next attempt follows by itself.
  void (*on_down)(void* user, redis_conn* c, bool was_ready,
                  std::string_view why) noexcept = nullptr;
  // Subscriber only.
  void (*on_message)(void* user, redis_conn* c, redis_sub kind, std::string_view channel,
                     std::string_view payload) noexcept = nullptr;
  void (*on_subscribed)(void* user, redis_conn* c, redis_sub kind,
                        std::string_view channel) noexcept = nullptr;
  // is_asked: our redis_conn_unsubscribe(). Else the server's own: the slot has moved.
  void (*on_unsubscribed)(void* user, redis_conn* c, redis_sub kind, std::string_view channel,
                          bool is_asked) noexcept = nullptr;
  // The server refused the channel: MOVED, CROSSSLOT, NOPERM, CLUSTERDOWN … `error` is its text.
  void (*on_refused)(void* user, redis_conn* c, redis_sub kind, std::string_view channel,
                     std::string_view error) noexcept = nullptr;
  // After redis_conn_(un)subscribe() took less than it was given: there is room again.
  void (*on_room)(void* user, redis_conn* c) noexcept = nullptr;
};

struct redis_conn_options {
  redis_endpoint at;
  const redis_url* url = nullptr;  // borrowed until close: login, db, TLS, time-outs
  redis_role role = redis_role::commands;
  bool is_replica_allowed = false;
  bool is_sentinel = false;            // log in to a Sentinel: its own login, no database
  std::string name;                    // CLIENT SETNAME: printable, no spaces
  redis_tls* tls = nullptr;            // borrowed; needed when url->is_tls
  redis_resolver* resolver = nullptr;  // borrowed; needed for names, not for numeric addresses
  uint32_t pending_max = 64 * 1024;    // commands without reply
  uint32_t pending_bytes_max = 32 * 1024 * 1024;  // their bytes
  core::random_source* random = core::system_random();
};

// Begins to connect. Never null: what is wrong shows in on_down().
redis_conn* redis_conn_open(const redis_conn_options& options, core::loop* home,
                            const redis_conn_events* events, void* user) noexcept;
// Answers what is pending with `closed` inside the call; from then on no event comes and `c` is not
// to be used. Its memory goes by itself.
void redis_conn_close(redis_conn* c) noexcept;

// Exactly once for each command that was accepted. ok: r is the reply, which may be an error of the
// server. timeout: lost, or no reply within command_timeout_ms; the command may or may not have
// been done. closed: redis_conn_close(), the same. r is null when rc is not ok.
using redis_reply_cb = void (*)(void* user, core::err rc, const redis_reply* r) noexcept;

// Copies the arguments. Without callback (null) the reply is dropped, errors are counted. Not ok:
// nothing was sent and the callback is not called. unavailable: not ready. full: pending_max or
// pending_bytes_max. too_big: alone beyond pending_bytes_max. invalid: a subscriber, or no
// arguments.
core::err redis_conn_command(redis_conn* c, redis_argv argv, redis_reply_cb cb,
                             void* user) noexcept;

// Subscriber only. Takes channels from the front and returns how many: fewer when
// kRedisUnconfirmedChannelsMax or pending_bytes_max is reached; on_room() follows. 0 when not
// ready. Each taken channel gets on_subscribed() or on_refused() (on_unsubscribed(…, true)) unless
// the connection is lost before. kRedisChannelsPerCommand channels go into a command; shard
// channels are grouped by slot.
size_t redis_conn_subscribe(redis_conn* c, redis_sub kind,
                            std::span<const std::string_view> channels) noexcept;
size_t redis_conn_unsubscribe(redis_conn* c, redis_sub kind,
                              std::span<const std::string_view> channels) noexcept;

// Another address from now on (failover): the current connection is lost with `why`, and the new
// one is tried at once. Also the way to leave a server that turned out wrong (same address).
void redis_conn_move(redis_conn* c, const redis_endpoint& to, std::string_view why) noexcept;

redis_state redis_conn_state(const redis_conn* c) noexcept;
const redis_endpoint& redis_conn_at(const redis_conn* c) noexcept;
const redis_server_info& redis_conn_info(const redis_conn* c) noexcept;  // of the last handshake
uint32_t redis_conn_pending(const redis_conn* c) noexcept;               // commands without reply

// Plain numbers since open.
struct redis_conn_counters {
  uint64_t attempts = 0;
  uint64_t ready = 0;          // 1 + reconnects
  uint64_t commands = 0;       // accepted, subscriptions included
  uint64_t timeouts = 0;       // answered so
  uint64_t full = 0;           // refused so
  uint64_t errors = 0;         // error replies
  uint64_t messages = 0;       // Pub/Sub messages received
  uint64_t message_bytes = 0;  // their payloads
};
const redis_conn_counters& redis_conn_counted(const redis_conn* c) noexcept;

}  // namespace broker
