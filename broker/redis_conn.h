// One connection to one Redis server on one loop: commands in order, pipelined by the connection's
// out-queue into one write per loop iteration; published messages; liveness; reconnecting.
//
//   connecting -> greeting (AUTH, CLIENT SETNAME, SELECT, INFO) -> ready -> lost -> (back-off)
//   -> connecting …
//
// Liveness: after a second of silence it asks PING; without a byte for kRedisSilenceMsMax the
// server counts as dead, also one that is stopped or half open.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "broker/redis_reply.h"
#include "core/clock.h"
#include "core/err.h"

namespace core {
struct loop;
}

namespace broker {

inline constexpr uint32_t kRedisSilenceMsMax = 3000;
inline constexpr uint32_t kRedisPingMs = 1000;
inline constexpr uint32_t kRedisBackoffMsMin = 50;  // doubled by each failure, with full jitter
inline constexpr uint32_t kRedisBackoffMsMax = 2000;
inline constexpr uint32_t kRedisPendingMax = 65536;         // commands without an answer
inline constexpr uint32_t kRedisQueueBytesMax = 64u << 20;  // not yet taken by the server

struct redis_endpoint {
  std::string host;  // name or address
  uint16_t port = 6379;
  std::string unix_path;  // instead of host and port
  std::string user, password;
  uint32_t database = 0;
  std::string client_name;  // shown in CLIENT LIST
};

// What INFO said when the connection became ready.
struct redis_server {
  std::string run_id, replication_id, version, eviction_policy;
  bool is_replica = false, is_loading = false, is_persistent = false;
};

struct redis_conn;

// On the loop. None is called inside redis_open().
struct redis_conn_events {
  // Commands go out from here on. May send some.
  void (*on_ready)(void* user, const redis_server& s) noexcept;
  // Everything that was asked has been answered as lost. It connects again by itself. `why` is a
  // sentence without secrets.
  void (*on_lost)(void* user, std::string_view why) noexcept;
  // A message, or the end of a subscription that nobody asked for. kind: "message", "smessage",
  // "subscribe", "unsubscribe" …; payload is "" for the latter.
  void (*on_push)(void* user, std::string_view kind, std::string_view channel,
                  std::string_view payload) noexcept;
};

// rc timeout, and r nil: the connection was lost, the outcome is unknown.
// Errors of the server are replies of kind error with rc ok.
using redis_cb = void (*)(void* user, core::err rc, const redis_reply& r) noexcept;

// `is_subscriber`: only subscribing commands and PING may be sent, answers to them are pushes.
redis_conn* redis_open(core::loop* home, const redis_endpoint& to, bool is_subscriber,
                       const redis_conn_events* events, void* user,
                       const core::clock_source* clock = core::system_clock(),
                       core::random_source* random = core::system_random()) noexcept;
// No callback after it. What it held goes when its socket has closed.
void redis_close(redis_conn* c) noexcept;

bool redis_is_ready(const redis_conn* c) noexcept;
const redis_server& redis_server_of(const redis_conn* c) noexcept;  // of the last time ready

// cb may be null. unavailable: not ready. full: kRedisPendingMax or kRedisQueueBytesMax.
core::err redis_command(redis_conn* c, std::span<const std::string_view> words, redis_cb cb,
                        void* user) noexcept;
inline core::err redis_command(redis_conn* c, std::initializer_list<std::string_view> words,
                               redis_cb cb, void* user) noexcept {
  return redis_command(c, std::span<const std::string_view>(words.begin(), words.size()), cb, user);
}
// Closes and connects anew: the server is not what it was (READONLY).
void redis_reconnect(redis_conn* c, std::string_view why) noexcept;

}  // namespace broker
