// The inside of a connection to Redis, shared by redis_conn.cc (sockets, states, time),
// redis_login.cc (the handshake) and redis_pipeline.cc (commands, subscriptions, replies).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "broker/redis_conn.h"
#include "broker/redis_dial.h"
#include "broker/redis_tls.h"
#include "core/conn.h"
#include "core/loop.h"

namespace broker {

inline constexpr uint32_t kRedisCheckMs =
    200;  // a ready connection looks at its silence and deadlines
static_assert(kRedisDeadAfterMs + kRedisCheckMs + core::kTimerTickMs < 3000);
static_assert(kRedisPingAfterMs + 2 * kRedisCheckMs < kRedisDeadAfterMs,
              "a ping has time to be answered");

enum class pending_kind : uint8_t { command, ping, login, subscribe, unsubscribe };
enum class login_step : uint8_t { auth, select, set_name, info };

// Channels of one command that have no confirmation yet: each as 16 bits of length and the name.
struct channel_batch {
  std::string names;
  size_t at = 0;
};

// What a reply is expected for.
struct pending {
  redis_reply_cb cb = nullptr;  // command
  void* user = nullptr;
  uint64_t deadline_ms = 0;        // command; of redis_conn::ran_ms
  channel_batch* batch = nullptr;  // subscribe, unsubscribe
  uint32_t bytes = 0;
  pending_kind kind = pending_kind::command;
  login_step step = login_step::info;
  redis_sub sub = redis_sub::channel;
};

// First in, first out, in a ring. Invariant: bytes is the sum of the entries'.
struct pending_ring {
  std::vector<pending> slots;  // size 0 or a power of two
  size_t head = 0;
  size_t count = 0;
  size_t bytes = 0;
};
void pending_push(pending_ring* q, const pending& p) noexcept;
pending pending_pop(pending_ring* q) noexcept;
inline pending* pending_at(pending_ring* q, size_t i) noexcept {
  return &q->slots[(q->head + i) & (q->slots.size() - 1)];
}

struct redis_timer : core::timer {
  redis_conn* owner;
};

}  // namespace broker

// Invariants: has_socket is true from conn_init() to on_closed(). pending is empty in connecting
// and waiting. reader is set while has_socket. The struct goes when it is closed, without socket,
// and no call of ours is on the stack.
struct broker::redis_conn {
  core::conn link;  // first
  redis_conn_options options;
  core::loop* home;
  const redis_conn_events* events;
  void* user;
  redis_timer timer;  // by state: the end of the attempt, the next check, the next attempt
  redis_reader* reader;
  redis_tls_session* tls;
  redis_lookup* lookup;
  redis_server_info info;
  redis_conn_counters counted;
  pending_ring pending;
  size_t expired;       // entries at the front that are answered already (timeout)
  size_t unconfirmed;   // channels in batches
  std::string plain;    // a command on its way into TLS
  std::string refusal;  // what the server said before it closed a connection that was not ready yet
  std::string logged;   // the last reason for being down that was logged
  uint64_t ran_ms;      // time this loop has run while ready
  uint64_t checked_ms;  // loop's time of the last check
  uint64_t ready_since_ms;
  uint32_t silent_ms;
  uint32_t failures;  // attempts since the last stable connection
  uint32_t calls;     // of ours on the stack
  redis_state state;
  bool has_socket;
  bool has_heard;  // bytes since the last check
  bool is_login_sent;
  bool is_room_wanted;
};

namespace broker {

// Ends the current connection or attempt: pending commands are answered, on_down() is told, the
// next attempt comes by itself. In waiting and closed it does nothing.
void redis_lose(redis_conn* c, std::string_view why) noexcept;
void redis_became_ready(redis_conn* c) noexcept;

// Room for a command of `bytes`, to be filled; then redis_out_end(). nullptr: the socket is
// closing.
char* redis_out_begin(redis_conn* c, size_t bytes) noexcept;
void redis_out_end(redis_conn* c, size_t bytes) noexcept;
// A command of the connection itself.
bool redis_send_own(redis_conn* c, redis_argv argv, const pending& p) noexcept;

void redis_login_begin(redis_conn* c) noexcept;
void redis_login_reply(redis_conn* c, login_step step, const redis_reply& r) noexcept;

// Bytes of the server, without TLS.
void redis_input(redis_conn* c, std::string_view bytes) noexcept;
// Answers all that is pending with rc.
void redis_answer_all(redis_conn* c, core::err rc) noexcept;
void redis_expire(redis_conn* c) noexcept;  // answers commands beyond their deadline

}  // namespace broker
