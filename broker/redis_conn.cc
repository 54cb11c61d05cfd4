// Sockets, states and time of a connection to Redis.
#include "broker/redis_conn.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "broker/redis_conn_impl.h"
#include "core/assert.h"
#include "core/log.h"

namespace broker {
namespace {

constexpr uint32_t kPendingBytesMin = 256 * 1024;
constexpr uint32_t kLinkSlackBytes =
    1024 * 1024;  // beside the commands: login, pings, TLS' own records

void on_timer(core::timer* t) noexcept;

// Every entry from outside: the struct stays while one is on the stack.
struct call {
  redis_conn* c;
  explicit call(redis_conn* conn) : c(conn) { ++c->calls; }
  call(const call&) = delete;
  call& operator=(const call&) = delete;
  ~call() {
    if (--c->calls > 0 || c->state != redis_state::closed || c->has_socket) return;
    redis_reader_free(c->reader);
    redis_tls_session_free(c->tls);
    delete c;
  }
};

void set_timer(redis_conn* c, uint64_t delay_ms) noexcept {
  core::timer_start(core::loop_timers(c->home), &c->timer, core::loop_now_ms(c->home), delay_ms);
}

// ---- Ends ---------------------------------------------------------------------------------------

void log_down(redis_conn* c, std::string_view why) noexcept {
  if (c->logged == why) return;  // an outage is one line, not one an attempt
  c->logged = why;
  core::log_warn(
      "no connection to Redis",
      {{"server", redis_endpoint_text(c->options.at)}, {"name", c->options.name}, {"reason", why}});
}

uint32_t backoff_ms(redis_conn* c) noexcept {
  const uint32_t doublings = std::min(c->failures++, 16u);
  const uint32_t most = std::min(kRedisBackoffFirstMs << doublings, kRedisBackoffMaxMs);
  return most / 2 + core::random_below(c->options.random, most / 2 + 1);
}

void drop_socket(redis_conn* c) noexcept {
  if (c->lookup != nullptr) redis_lookup_cancel(c->lookup);
  c->lookup = nullptr;
  // Reader and session may be on the stack: they go when the socket does.
  if (c->has_socket) core::conn_close(&c->link, core::end_reason::client_closed);
}

// ---- The socket ---------------------------------------------------------------------------------

void send_tls_output(redis_conn* c) noexcept {
  const size_t len = redis_tls_output(c->tls).size();
  if (len == 0) return;
  char* room = core::conn_room(&c->link, static_cast<uint32_t>(len));
  if (room != nullptr) memcpy(room, redis_tls_output(c->tls).data(), len);  // else it is closing
  redis_tls_sent(c->tls);
}

constexpr redis_tls_events kTlsEvents = {
    [](void* user, std::string_view bytes) noexcept {
      redis_input(static_cast<redis_conn*>(user), bytes);
    },
    [](void* user) noexcept {
      const redis_state s = static_cast<redis_conn*>(user)->state;
      return s == redis_state::handshaking || s == redis_state::ready;
    },
};

void feed_tls(redis_conn* c, std::string_view bytes) noexcept {
  std::string why;
  const core::err rc = redis_tls_feed(c->tls, bytes, &kTlsEvents, c, &why);
  if (!kTlsEvents.is_wanted(c)) return;
  send_tls_output(c);  // an alert too, so that the server's log tells what was wrong
  if (rc != core::err::ok) {
    core::conn_flush(&c->link);
    redis_lose(c, why);
  } else if (!c->is_login_sent && redis_tls_is_open(c->tls)) {
    redis_login_begin(c);
  }
}

void on_data(core::conn* link, char* bytes, uint32_t len) noexcept {
  auto* c = reinterpret_cast<redis_conn*>(link);
  const call guard(c);
  c->has_heard = true;
  if (c->tls != nullptr) {
    feed_tls(c, {bytes, len});
  } else {
    redis_input(c, {bytes, len});
  }
}

void on_eof(core::conn* link) noexcept {
  auto* c = reinterpret_cast<redis_conn*>(link);
  const call guard(c);
  redis_lose(c, c->refusal.empty() ? "the server closed the connection" : std::string(c->refusal));
}

std::string socket_error(int fd) {
  int code = 0;
  socklen_t size = sizeof code;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
  return code == 0 ? "the connection was reset" : strerror(code);
}

void on_link_closed(core::conn* link, core::end_reason) noexcept {
  auto* c = reinterpret_cast<redis_conn*>(link);
  const call guard(c);
  c->has_socket = false;
  redis_reader_free(std::exchange(c->reader, nullptr));
  redis_tls_session_free(std::exchange(c->tls, nullptr));
  redis_lose(c, c->refusal.empty() ? socket_error(link->fd) : std::string(c->refusal));
}

constexpr core::conn_events kLinkEvents = {on_data, on_eof, on_link_closed};

void connect_to(redis_conn* c, const redis_address& to) noexcept {
  int fd = -1;
  if (const int code = redis_dial(to, &fd); code != 0) {
    redis_lose(c, strerror(code));
    return;
  }
  const uint64_t queue_max = uint64_t{c->options.pending_bytes_max} * 2 + kLinkSlackBytes;
  const auto bytes_max = static_cast<uint32_t>(std::min<uint64_t>(queue_max, UINT32_MAX));
  if (core::conn_init(&c->link, c->home, fd, &kLinkEvents, bytes_max, core::conn_side::dialled) !=
      core::err::ok) {
    redis_lose(c, "the socket cannot be polled");
    return;
  }
  c->has_socket = true;
  c->reader = redis_reader_new(kRedisReplyBytesMax);
  c->state = redis_state::handshaking;
  if (!c->options.url->is_tls) {
    redis_login_begin(c);  // goes out as soon as the socket is connected
    return;
  }
  c->tls = redis_tls_session_new(c->options.tls, c->options.at.host);
  feed_tls(c, {});
}

void on_resolved(void* user, std::vector<redis_address>&& found, std::string&& why) noexcept {
  auto* c = static_cast<redis_conn*>(user);
  const call guard(c);
  c->lookup = nullptr;
  if (found.empty()) {
    redis_lose(c, why);
  } else {
    connect_to(c, found[c->counted.attempts % found.size()]);  // another one after a failure
  }
}

void begin_attempt(redis_conn* c) noexcept {
  ++c->counted.attempts;
  c->state = redis_state::connecting;
  c->is_login_sent = c->is_room_wanted = false;
  c->refusal.clear();
  set_timer(c, c->options.url->connect_timeout_ms);
  redis_address to;
  std::string why;
  if (c->options.url->is_tls && c->options.tls == nullptr) {
    redis_lose(c, "TLS is asked for and not set up");
  } else if (redis_address_known(c->options.at, &to, &why)) {
    connect_to(c, to);
  } else if (!why.empty() || c->options.resolver == nullptr) {
    redis_lose(c, why.empty() ? "not a numeric address, and no resolver" : why);
  } else {
    c->lookup = redis_resolve(c->options.resolver, c->home, c->options.at, on_resolved, c);
    if (c->lookup == nullptr) redis_lose(c, "too many names wait to be resolved");
  }
}

// ---- Time ---------------------------------------------------------------------------------------

void begin_checks(redis_conn* c) noexcept {
  c->checked_ms = core::loop_now_ms(c->home);
  c->silent_ms = 0;
  c->has_heard = false;
  set_timer(c, kRedisCheckMs);
}

void send_ping(redis_conn* c) noexcept {
  const std::string_view argv[] = {"PING"};
  pending p;
  p.kind = pending_kind::ping;
  (void)redis_send_own(c, argv, p);
}

// Time counts in steps of at most two checks: when this loop or this machine stood still, answers
// may lie in the socket, and nobody is to blame.
void check(redis_conn* c) noexcept {
  const uint64_t now = core::loop_now_ms(c->home);
  const auto step =
      static_cast<uint32_t>(std::min<uint64_t>(now - c->checked_ms, kRedisCheckMs * 2));
  c->checked_ms = now;
  c->ran_ms += step;
  c->silent_ms = c->has_heard ? 0 : c->silent_ms + step;
  c->has_heard = false;
  redis_expire(c);
  if (c->state != redis_state::ready) return;
  if (c->pending.count > 0 && c->silent_ms >= kRedisDeadAfterMs) {
    redis_lose(c, "the server is silent");
    return;
  }
  if (c->pending.count == 0 && c->silent_ms >= kRedisPingAfterMs) send_ping(c);
  set_timer(c, kRedisCheckMs);
}

void on_timer(core::timer* t) noexcept {
  redis_conn* c = static_cast<redis_timer*>(t)->owner;
  const call guard(c);
  switch (c->state) {
    case redis_state::connecting:
      redis_lose(
          c, c->lookup != nullptr ? "the name was not resolved in time" : "no connection in time");
      return;
    case redis_state::handshaking:
      redis_lose(c, c->tls != nullptr && !redis_tls_is_open(c->tls)
                        ? "no answer to TLS in time; is this the TLS port?"
                        : "no answer in time while connecting");
      return;
    case redis_state::ready:
      check(c);
      return;
    case redis_state::waiting:
      if (c->has_socket) {
        set_timer(c, 0);  // the old one is still on its way out
      } else {
        begin_attempt(c);
      }
      return;
    case redis_state::closed:
      return;
  }
}

}  // namespace

// ---- Inside calls -------------------------------------------------------------------------------

void redis_became_ready(redis_conn* c) noexcept {
  c->state = redis_state::ready;
  c->ready_since_ms = core::loop_now_ms(c->home);
  ++c->counted.ready;
  begin_checks(c);
  const std::initializer_list<core::log_field> fields = {
      {"server", redis_endpoint_text(c->options.at)},
      {"name", c->options.name},
      {"version", c->info.version}};
  if (c->logged.empty()) {
    core::log_debug("connected to Redis", fields);
  } else {
    core::log_info("connected to Redis again", fields);
  }
  c->logged.clear();
  if (c->events->on_ready != nullptr) c->events->on_ready(c->user, c, c->info);
}

void redis_lose(redis_conn* c, std::string_view why_view) noexcept {
  if (c->state == redis_state::waiting || c->state == redis_state::closed) return;
  const std::string why(why_view);  // it may point into what goes now
  const bool was_ready = c->state == redis_state::ready;
  const uint64_t ready_ms = core::loop_now_ms(c->home) - c->ready_since_ms;
  if (was_ready && ready_ms >= kRedisStableMs) c->failures = 0;
  c->state = redis_state::waiting;
  drop_socket(c);
  log_down(c, why);
  set_timer(c, backoff_ms(c));
  redis_answer_all(c, core::err::timeout);
  if (c->state != redis_state::closed && c->events->on_down != nullptr)
    c->events->on_down(c->user, c, was_ready, why);
}

char* redis_out_begin(redis_conn* c, size_t bytes) noexcept {
  if (c->link.state != core::conn_state::open) return nullptr;
  if (c->tls == nullptr) return core::conn_room(&c->link, static_cast<uint32_t>(bytes));
  c->plain.resize(bytes);
  return c->plain.data();
}

void redis_out_end(redis_conn* c, size_t bytes) noexcept {
  if (c->tls == nullptr) return;
  redis_tls_write(c->tls, {c->plain.data(), bytes});
  send_tls_output(c);
  if (c->plain.capacity() > kLinkSlackBytes) std::string().swap(c->plain);
}

// ---- The contract -------------------------------------------------------------------------------

redis_conn* redis_conn_open(const redis_conn_options& options, core::loop* home,
                            const redis_conn_events* events, void* user) noexcept {
  CORE_ASSERT(options.url != nullptr && options.pending_bytes_max >= kPendingBytesMin);
  auto* c = new redis_conn{};
  c->options = options;
  c->home = home;
  c->events = events;
  c->user = user;
  c->timer.owner = c;
  c->timer.fire = on_timer;
  c->state = redis_state::waiting;
  set_timer(c, 0);  // so that nothing is told inside this call
  return c;
}

void redis_conn_close(redis_conn* c) noexcept {
  if (c->state == redis_state::closed) return;
  const call guard(c);
  c->state = redis_state::closed;
  core::timer_stop(core::loop_timers(c->home), &c->timer);
  drop_socket(c);
  redis_answer_all(c, core::err::closed);
}

void redis_conn_move(redis_conn* c, const redis_endpoint& to, std::string_view why) noexcept {
  if (c->state == redis_state::closed) return;
  const call guard(c);
  c->options.at = to;
  c->failures = 0;
  redis_lose(c, why);
  if (c->state == redis_state::waiting) set_timer(c, 0);
}

redis_state redis_conn_state(const redis_conn* c) noexcept {
  return c->state;
}
const redis_endpoint& redis_conn_at(const redis_conn* c) noexcept {
  return c->options.at;
}
const redis_server_info& redis_conn_info(const redis_conn* c) noexcept {
  return c->info;
}
uint32_t redis_conn_pending(const redis_conn* c) noexcept {
  return static_cast<uint32_t>(c->pending.count);
}
const redis_conn_counters& redis_conn_counted(const redis_conn* c) noexcept {
  return c->counted;
}

}  // namespace broker
