// The life of a connection over core::conn. The object outlives its sockets: a link is made for
// each attempt and frees itself when its socket has closed.
#include "broker/redis_conn.h"

#include <algorithm>
#include <deque>
#include <vector>

#include "core/assert.h"
#include "core/conn.h"
#include "core/dial.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/resolve.h"

namespace broker {
namespace {

constexpr uint32_t kTickMs = 250;

enum class state : uint8_t { waiting, resolving, greeting, ready, closed };

struct link {
  core::conn wire;              // first: a conn* is a link*
  redis_conn* owner = nullptr;  // null: given up
};

struct pending {
  redis_cb cb;
  void* user;
};

struct conn_timer : core::timer {
  redis_conn* owner = nullptr;
};

}  // namespace

struct redis_conn {
  core::loop* home = nullptr;
  redis_endpoint to;
  bool is_subscriber = false;
  const redis_conn_events* events = nullptr;
  void* user = nullptr;
  const core::clock_source* clock = nullptr;
  core::random_source* random = nullptr;
  state at = state::waiting;
  uint32_t depth = 0;  // of callbacks: freed by the outermost
  link* wire = nullptr;
  core::resolving* asked = nullptr;
  redis_reader* reader = nullptr;
  std::deque<pending> waiting;
  uint32_t greetings = 0;  // answers still due
  std::string refused;     // what the greeting met
  redis_server server;
  conn_timer timer;
  uint32_t failures = 0;
  uint64_t heard_ms = 0;  // last byte, or when the attempt began
  bool is_pinged = false;
};

namespace {

uint64_t now_ms(const redis_conn* c) noexcept {
  return core::loop_now_ms(c->home);
}

void timer_in(redis_conn* c, uint64_t ms) noexcept {
  core::timer_start(core::loop_timers(c->home), &c->timer, now_ms(c), ms);
}

// Callbacks may close the connection: its memory goes when none of them is on the stack.
void enter(redis_conn* c) noexcept {
  ++c->depth;
}
void leave(redis_conn* c) noexcept {
  if (--c->depth > 0 || c->at != state::closed) return;
  if (c->reader != nullptr) redis_reader_free(c->reader);
  delete c;
}

void connect_later(redis_conn* c) noexcept {
  const uint32_t most = std::min<uint64_t>(
      kRedisBackoffMsMax, uint64_t{kRedisBackoffMsMin} << std::min<uint32_t>(c->failures, 16));
  ++c->failures;
  c->at = state::waiting;
  timer_in(c, 1 + core::random_below(c->random, most));
}

void drop_link(redis_conn* c) noexcept {
  if (c->wire == nullptr) return;
  c->wire->owner = nullptr;
  core::conn_close(&c->wire->wire, core::end_reason::connection_closed);
  c->wire = nullptr;
}

// Everything that waits is answered, in order; then the user hears of it.
void lost(redis_conn* c, std::string_view why) noexcept {
  enter(c);
  const bool was_ready = c->at == state::ready;
  drop_link(c);
  if (c->asked != nullptr) core::resolve_forget(c->asked);
  c->asked = nullptr;
  if (c->reader != nullptr) redis_reader_free(c->reader);
  c->reader = nullptr;
  std::deque<pending> all;
  all.swap(c->waiting);
  c->greetings = 0;
  const std::string text(why);
  connect_later(c);
  for (const pending& p : all)
    if (p.cb != nullptr && c->at != state::closed) p.cb(p.user, core::err::timeout, {});
  if (c->at != state::closed && (was_ready || c->failures == 1)) c->events->on_lost(c->user, text);
  leave(c);
}

void write(redis_conn* c, std::span<const std::string_view> words) noexcept {
  size_t bytes = 16;
  for (const std::string_view w : words) bytes += w.size() + 16;
  core::frame* f = core::frame_new(static_cast<uint32_t>(bytes));
  char* out = core::frame_bytes(f);
  const auto number = [&](char mark, size_t n) {
    *out++ = mark;
    char digits[20];
    int count = 0;
    do {
      digits[count++] = static_cast<char>('0' + n % 10);
      n /= 10;
    } while (n > 0);
    while (count > 0) *out++ = digits[--count];
    *out++ = '\r';
    *out++ = '\n';
  };
  number('*', words.size());
  for (const std::string_view w : words) {
    number('$', w.size());
    out = std::copy(w.begin(), w.end(), out);
    *out++ = '\r';
    *out++ = '\n';
  }
  f->len = static_cast<uint32_t>(out - core::frame_bytes(f));
  core::conn_send(&c->wire->wire, f);
}

void ask(redis_conn* c, std::initializer_list<std::string_view> words, redis_cb cb) noexcept {
  c->waiting.push_back({cb, c});
  write(c, std::span<const std::string_view>(words.begin(), words.size()));
}

std::string_view info_field(std::string_view info, std::string_view name) noexcept {
  for (size_t at = 0; at < info.size();) {
    size_t end = info.find("\r\n", at);
    if (end == std::string_view::npos) end = info.size();
    const std::string_view line = info.substr(at, end - at);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':')
      return line.substr(name.size() + 1);
    at = end + 2;
  }
  return {};
}

void greeting_ends(redis_conn* c) noexcept {
  if (c->greetings > 0) return;
  if (!c->refused.empty()) {
    const std::string why = c->refused;
    lost(c, why);
    return;
  }
  c->at = state::ready;
  c->failures = 0;
  c->events->on_ready(c->user, c->server);
}

void on_greeted(void* user, core::err rc, const redis_reply& r) noexcept {
  auto* c = static_cast<redis_conn*>(user);
  if (rc != core::err::ok) return;
  --c->greetings;
  if (r.is(redis_kind::error) && c->refused.empty())
    c->refused = "the server refuses: " + std::string(r.text());
  greeting_ends(c);
}

void on_named(void* user, core::err rc, const redis_reply&) noexcept {
  auto* c = static_cast<redis_conn*>(user);
  if (rc != core::err::ok) return;  // a server without CLIENT SETNAME serves as well
  --c->greetings;
  greeting_ends(c);
}

void on_info(void* user, core::err rc, const redis_reply& r) noexcept {
  auto* c = static_cast<redis_conn*>(user);
  if (rc != core::err::ok) return;
  const std::string_view info = r.text();
  c->server.run_id = info_field(info, "run_id");
  c->server.replication_id = info_field(info, "master_replid");
  c->server.version = info_field(info, "redis_version");
  c->server.eviction_policy = info_field(info, "maxmemory_policy");
  c->server.is_replica = info_field(info, "role") == "slave";
  c->server.is_loading = info_field(info, "loading") == "1";
  c->server.is_persistent = info_field(info, "aof_enabled") == "1";
  if (c->refused.empty() && !r.is(redis_kind::error)) {
    if (c->server.run_id.empty()) c->refused = "the server does not tell its run_id (INFO)";
    if (c->server.is_replica) c->refused = "the server is a replica";
    if (c->server.is_loading) c->refused = "the server is loading its data";
  }
  on_greeted(user, rc, r);
}

void greet(redis_conn* c) noexcept {
  c->at = state::greeting;
  c->refused.clear();
  c->server = {};
  c->reader = redis_reader_new();
  c->heard_ms = now_ms(c);
  c->is_pinged = false;
  c->greetings = 1;
  if (!c->to.password.empty()) {
    ++c->greetings;
    if (c->to.user.empty())
      ask(c, {"AUTH", c->to.password}, on_greeted);
    else
      ask(c, {"AUTH", c->to.user, c->to.password}, on_greeted);
  }
  if (!c->to.client_name.empty()) {
    ++c->greetings;
    ask(c, {"CLIENT", "SETNAME", c->to.client_name}, on_named);
  }
  if (c->to.database > 0) {
    ++c->greetings;
    ask(c, {"SELECT", std::to_string(c->to.database)}, on_greeted);
  }
  ask(c, {"INFO"}, on_info);
  timer_in(c, kTickMs);
}

bool is_push_kind(std::string_view kind) noexcept {
  return kind == "message" || kind == "smessage" || kind == "subscribe" || kind == "unsubscribe" ||
         kind == "ssubscribe" || kind == "sunsubscribe";
}

// A subscriber's answers are pushes, but for PING's: ["pong", ""].
void on_reply(redis_conn* c, const redis_reply& r) noexcept {
  if (c->is_subscriber && c->at == state::ready && r.size() == 3) {
    const redis_reply kind = r.first(), channel = kind.next(), payload = channel.next();
    if (is_push_kind(kind.text())) {
      c->events->on_push(c->user, kind.text(), channel.text(),
                         payload.is(redis_kind::text) ? payload.text() : std::string_view());
      return;
    }
  }
  if (c->waiting.empty()) {
    if (c->is_subscriber && r.is(redis_kind::error))
      lost(c, "a subscription is refused: " + std::string(r.text()));
    else
      lost(c, "an answer came that nobody asked for");
    return;
  }
  const pending p = c->waiting.front();
  c->waiting.pop_front();
  if (p.cb != nullptr) p.cb(p.user, core::err::ok, r);
}

void on_data(core::conn* wire, char* bytes, uint32_t len) noexcept {
  redis_conn* c = reinterpret_cast<link*>(wire)->owner;
  if (c == nullptr) return;
  enter(c);
  const link* mine = c->wire;
  c->heard_ms = now_ms(c);
  core::err rc = redis_reader_feed(c->reader, {bytes, len});
  while (rc == core::err::ok && c->wire == mine && c->at != state::closed) {
    redis_reply r;
    rc = redis_reader_next(c->reader, &r);
    if (rc == core::err::ok) on_reply(c, r);
  }
  if (c->wire == mine && c->at != state::closed && rc != core::err::again && rc != core::err::ok)
    lost(c, "the server's answers cannot be read");
  leave(c);
}

void on_eof(core::conn* wire) noexcept {
  redis_conn* c = reinterpret_cast<link*>(wire)->owner;
  if (c != nullptr) lost(c, "the server has closed the connection");
}

void on_closed(core::conn* wire, core::end_reason) noexcept {
  auto* l = reinterpret_cast<link*>(wire);
  redis_conn* c = l->owner;
  if (c != nullptr) {
    c->wire = nullptr;
    lost(c,
         c->at == state::greeting ? "the server cannot be reached" : "the connection has broken");
  }
  delete l;
}

constexpr core::conn_events kWireEvents = {on_data, on_eof, on_closed};

void dial_now(redis_conn* c, const std::string& address) noexcept {
  int fd = -1;
  core::err rc = core::err::ok;
  if (!c->to.unix_path.empty()) {
    rc = core::dial_unix(c->to.unix_path, &fd);
  } else {
    core::dial_address to;
    to.host = address;
    to.port = c->to.port;
    rc = core::dial(to, &fd);
  }
  if (rc != core::err::ok) return lost(c, "the server cannot be reached");
  auto* l = new link;
  rc = core::conn_init(&l->wire, c->home, fd, &kWireEvents, kRedisQueueBytesMax);
  if (rc != core::err::ok) {
    delete l;
    return lost(c, "no descriptor is left");
  }
  l->owner = c;
  c->wire = l;
  greet(c);
}

void on_address(void* user, core::err rc, const std::string& address) noexcept {
  auto* c = static_cast<redis_conn*>(user);
  c->asked = nullptr;
  if (rc != core::err::ok) return lost(c, "the host's name is not known");
  dial_now(c, address);
}

void begin(redis_conn* c) noexcept {
  if (!c->to.unix_path.empty() || core::dial_is_numeric(c->to.host)) return dial_now(c, c->to.host);
  c->at = state::resolving;
  c->asked = core::resolve(c->home, c->to.host, on_address, c);
  if (c->asked == nullptr) lost(c, "the host's name cannot be asked for");
}

void on_pong(void*, core::err, const redis_reply&) noexcept {}

void on_timer(core::timer* t) noexcept {
  redis_conn* c = static_cast<conn_timer*>(t)->owner;
  if (c->at == state::waiting) return begin(c);
  const uint64_t silent_ms = now_ms(c) - c->heard_ms;
  if (silent_ms >= kRedisSilenceMsMax) return lost(c, "the server does not answer");
  if (silent_ms < kRedisPingMs) c->is_pinged = false;
  if (silent_ms >= kRedisPingMs && !c->is_pinged && c->at == state::ready) {
    c->is_pinged = true;
    c->waiting.push_back({on_pong, nullptr});
    const std::string_view words[] = {"PING"};
    write(c, words);
  }
  timer_in(c, kTickMs);
}

}  // namespace

redis_conn* redis_open(core::loop* home, const redis_endpoint& to, bool is_subscriber,
                       const redis_conn_events* events, void* user, const core::clock_source* clock,
                       core::random_source* random) noexcept {
  auto* c = new redis_conn;
  c->home = home;
  c->to = to;
  c->is_subscriber = is_subscriber;
  c->events = events;
  c->user = user;
  c->clock = clock;
  c->random = random;
  c->timer.fire = on_timer;
  c->timer.owner = c;
  timer_in(c, 1);
  return c;
}

void redis_close(redis_conn* c) noexcept {
  CORE_ASSERT(c->at != state::closed);
  enter(c);
  c->at = state::closed;
  core::timer_stop(core::loop_timers(c->home), &c->timer);
  drop_link(c);
  if (c->asked != nullptr) core::resolve_forget(c->asked);
  c->asked = nullptr;
  c->waiting.clear();
  leave(c);
}

bool redis_is_ready(const redis_conn* c) noexcept {
  return c->at == state::ready;
}

const redis_server& redis_server_of(const redis_conn* c) noexcept {
  return c->server;
}

core::err redis_command(redis_conn* c, std::span<const std::string_view> words, redis_cb cb,
                        void* user) noexcept {
  if (c->at != state::ready) return core::err::unavailable;
  size_t bytes = 0;
  for (const std::string_view w : words) bytes += w.size() + 32;
  if (c->waiting.size() >= kRedisPendingMax ||
      c->wire->wire.queue_bytes + bytes > kRedisQueueBytesMax)
    return core::err::full;
  if (!c->is_subscriber) c->waiting.push_back({cb, user});
  write(c, words);
  return core::err::ok;
}

void redis_reconnect(redis_conn* c, std::string_view why) noexcept {
  if (c->at == state::ready || c->at == state::greeting) lost(c, why);
}

}  // namespace broker
