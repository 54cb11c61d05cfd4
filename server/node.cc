// Puts a node together and takes it apart again: store, loops, chat, listeners; the paced drain.
#include <time.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "chat/roster.h"
#include "chat/session.h"
#include "core/log.h"
#include "core/uuid.h"
#include "server/process_stats.h"
#include "server/routes.h"
#include "server/server.h"

namespace server {
namespace {

constexpr uint32_t kDrainTickMs = 100;  // a batch of 3001 per loop and tick: small enough that
                                        // reconnects spread over the whole time
constexpr uint32_t kDrainPollMs = 10;
constexpr uint32_t kDrainMsMin =
    2500;  // for peers to answer the close frame, also when shutdown.duration is 0
constexpr uint32_t kCloseAllMsMax =
    5000;  // closing sockets takes no peer's help; beyond this something is our bug

// How the loops' threads tell the main thread that they listen, or why not.
struct start_gate {
  std::mutex lock;
  std::condition_variable changed;
  uint32_t waiting = 0;
  core::err rc = core::err::ok;
  std::string why;
  node* n = nullptr;
};

void listen_here(core::loop* here, void* user) noexcept {
  auto* gate = static_cast<start_gate*>(user);
  node* n = gate->n;
  std::string why;
  const core::err rc = core::listener_open(here, n->config.listen, edge_accept, n,
                                           &n->listeners[core::loop_index(here)], &why);
  const std::lock_guard<std::mutex> held(gate->lock);
  if (rc != core::err::ok && gate->rc == core::err::ok) {
    gate->rc = rc;
    gate->why = why;
  }
  --gate->waiting;
  gate->changed.notify_one();
}

void on_start(void*, core::loop*) noexcept {}

void on_stop(void* user, core::loop* l) noexcept {
  node* n = static_cast<node*>(user);
  chat::node_loop** part = &n->chats[core::loop_index(l)];
  if (*part != nullptr) chat::node_loop_free(*part);
  *part = nullptr;
  api_forget();
}

constexpr core::loop_group_events kLoopEvents = {on_start, on_stop};

void stop_listening(core::loop* l, void* user) noexcept {
  core::listener** mine = &static_cast<node*>(user)->listeners[core::loop_index(l)];
  if (*mine != nullptr) core::listener_close(*mine);
  *mine = nullptr;
  edge_close_idle_http(l);
}

void close_all(core::loop* l, void*) noexcept {
  edge_close_all(l);
}

// One tick of the drain on one loop. The batch is what is left, spread over the ticks that are
// left.
struct drain_tick {
  node* n;
  std::atomic<uint32_t> ticks_left{1};
};

void drain_some(core::loop* l, void* user) noexcept {
  auto* tick = static_cast<drain_tick*>(user);
  chat::node_loop* part = tick->n->chats[core::loop_index(l)];
  const uint32_t left = chat::sessions_count(part->clients);
  const uint32_t ticks = std::max(1u, tick->ticks_left.load(std::memory_order_relaxed));
  if (left > 0) chat::sessions_shutdown_some(part->clients, (left + ticks - 1) / ticks);
  edge_close_idle_http(l);
}

struct barrier {
  std::mutex lock;
  std::condition_variable changed;
  uint32_t waiting = 0;
};

void pass_barrier(core::loop*, void* user) noexcept {
  auto* b = static_cast<barrier*>(user);
  const std::lock_guard<std::mutex> held(b->lock);
  --b->waiting;
  b->changed.notify_one();
}

// Returns when every loop has run everything that was called on it before. Objects that calls point
// to may go after it.
void wait_for_loops(node* n) {
  barrier b;
  for (core::loop* l : n->loops) {
    {
      const std::lock_guard<std::mutex> held(b.lock);
      ++b.waiting;
    }
    while (!core::loop_call(l, pass_barrier, &b)) {  // a full mailbox empties
      const timespec pause{0, 1'000'000};
      nanosleep(&pause, nullptr);
    }
  }
  std::unique_lock<std::mutex> held(b.lock);
  b.changed.wait(held, [&] { return b.waiting == 0; });
}

void call_on_all(node* n, void (*fn)(core::loop*, void*) noexcept, void* user) {
  for (core::loop* l : n->loops) {
    while (!core::loop_call(l, fn, user)) {
      const timespec pause{0, 1'000'000};
      nanosleep(&pause, nullptr);
    }
  }
}

uint64_t now_ms() noexcept {
  return core::system_clock()->mono_us() / 1000;
}

void pause_ms(uint32_t ms) noexcept {
  const timespec pause{ms / 1000, static_cast<long>(ms % 1000) * 1'000'000};
  nanosleep(&pause, nullptr);
}

bool is_empty(const node* n) noexcept {
  return n->connections.load(std::memory_order_relaxed) == 0;
}

core::err open_store(node* n, std::string* why) {
  if (n->config.store == store_kind::memory) {
    const uint64_t bytes_max = n->config.store_bytes_max;
    n->history = store::open_memory(bytes_max == 0 ? store::kMemoryBytesMax : bytes_max);
    return core::err::ok;
  }
  if (n->config.store == store_kind::none) {
    n->history = store::open_none();
    return core::err::ok;
  }
  if (n->config.store == store_kind::mongo)
    return store::open_mongo(n->config.mongo, &n->history, why);
  return store::open_sqlite(n->config.sqlite, &n->history, why);
}

core::err open_redis(node* n, std::string* why) {
  if (!n->config.has_redis) return core::err::ok;
  n->resolver = broker::redis_resolver_open();
  if (!n->config.redis.is_tls) return core::err::ok;
  return broker::redis_tls_open(n->config.redis, &n->tls, why);
}

broker::broker* open_bus(void* user, core::loop* self, const broker::broker_events* events,
                         void* owner) noexcept {
  const node* n = static_cast<node*>(user);
  broker::redis_options o;
  o.url = &n->config.redis;
  o.tls = n->tls;
  o.resolver = n->resolver;
  o.prefix = n->config.redis_prefix;
  o.partitions = n->config.redis_partitions;
  o.lease_ms = n->config.redis_lease_ms;
  o.node = n->config.chat.node_id;
  o.clock = n->config.chat.clock;
  return broker::open_redis(o, self, events, owner);
}

store::store* open_lists(void*, broker::broker* bus) noexcept {
  return broker::open_redis_lists(bus);
}

// While the connections are there.
void say_goodbye(core::loop* l, void* user) noexcept {
  chat::node_loop* part = static_cast<node*>(user)->chats[core::loop_index(l)];
  if (part != nullptr && part->others != nullptr) chat::roster_leave(part->others);
}

// The connections to a broker keep a loop alive.
void close_bus(core::loop* l, void* user) noexcept {
  chat::node_loop* part = static_cast<node*>(user)->chats[core::loop_index(l)];
  if (part != nullptr) part->bus->close();
}

void forget(node* n) {
  delete n->history;
  if (n->resolver != nullptr) broker::redis_resolver_close(n->resolver);
  if (n->tls != nullptr) broker::redis_tls_close(n->tls);
  delete n;
}

core::err make_loops(node* n, std::string* why) {
  core::loop_options options;
  options.mailbox_max = n->config.mailbox_max;
  const core::err rc = core::loop_group_create(n->config.loops, options, &n->group);
  if (rc != core::err::ok) {
    *why = "the event loops cannot be made: " + std::string(core::err_text(rc));
    return rc;
  }
  for (uint32_t i = 0; i < n->config.loops; ++i)
    n->loops.push_back(core::loop_group_at(n->group, i));
  n->listeners.resize(n->loops.size());
  const chat::node_backends redis = {open_bus, open_lists, n};
  for (core::loop* l : n->loops) {
    n->chats.push_back(chat::node_loop_new(&n->config.chat, l, &n->loops, core::loop_timers(l),
                                           core::loop_now_ms, core::loop_counters(l), n->history,
                                           n->config.has_redis ? &redis : nullptr));
    chat::node_loop_register(l, n->chats.back());
  }
  return core::err::ok;
}

core::err start_listening(node* n, std::string* why) {
  start_gate gate;
  gate.n = n;
  gate.waiting = static_cast<uint32_t>(n->loops.size());
  call_on_all(n, listen_here, &gate);
  std::unique_lock<std::mutex> held(gate.lock);
  gate.changed.wait(held, [&] { return gate.waiting == 0; });
  *why = gate.why;
  return gate.rc;
}

void take_apart(node* n) {
  if (n->group != nullptr && !n->loops.empty()) {
    call_on_all(n, stop_listening, n);
    call_on_all(n, close_all, nullptr);
    const uint64_t until = now_ms() + kCloseAllMsMax;
    while (!is_empty(n) && now_ms() < until) pause_ms(kDrainPollMs);
    wait_for_loops(n);
  }
  if (n->history != nullptr)
    n->history->close();  // commits what is queued, also that of connections that are gone
  // The answers to that, from loop to loop: to a channel's owner and on to who asked, or a visit of
  // every loop.
  for (size_t i = 0; n->group != nullptr && i <= n->loops.size(); ++i) wait_for_loops(n);
  if (n->group != nullptr) {
    if (!n->loops.empty()) {
      call_on_all(n, say_goodbye, n);
      wait_for_loops(n);
      call_on_all(n, close_bus, n);
    }
    core::loop_group_stop(n->group);
    core::loop_group_free(n->group);
  }
  forget(n);
}

std::string address_text(const core::listen_address& a) {
  const bool is_v6 = a.host.find(':') != std::string::npos;
  return (is_v6            ? "[" + a.host + "]"
          : a.host.empty() ? "0.0.0.0"
                           : a.host) +
         ":" + std::to_string(a.port);
}

void log_started(const node* n) {
  const settings& s = n->config;
  core::log_info("listening on http://" + address_text(s.listen),
                 {{"loops", s.loops},
                  {"store", store_name(s.store)},
                  {"broker", s.has_redis ? "redis" : "local"},
                  {"version", s.chat.version},
                  {"node_id", s.chat.node_id}});
  if (s.chat.is_insecure) {
    core::log_warn(
        "INSECURE: clients need no token and may do everything in every channel; for development "
        "on this machine only",
        {{"setting", "insecure_dev"}});
  } else if (s.is_development) {
    core::log_warn(
        "no token secret is set: development mode, loopback only; anybody on this machine gets a "
        "token from /auth/guest",
        {{"remedy", "--token-hmac-secret"}});
  }
}

}  // namespace

bool node_broker_ready(const node* n, const store::store_stats& stats) noexcept {
  if (!n->config.has_redis) return stats.is_ready;
  size_t ready = 0;
  for (core::loop* l : n->loops) ready += core::loop_counters(l)->broker_ready.get();
  return ready == n->loops.size();
}

core::err node_start(settings&& s, node** out, std::string* why, const loki* logs) noexcept {
  try {
    auto* n = new node;
    n->logs = logs;
    n->config = std::move(s);
    n->config.chat.started_ms = core::system_clock()->wall_ms();
    uint8_t id[core::kUuidBytes];
    core::uuid_fill(core::system_random(), id);
    n->config.chat.node_id = core::uuid_text(id);
    if (n->config.loops == 0) n->config.loops = process_cores();
    core::err rc = core::listener_probe(&n->config.listen, why);
    if (rc == core::err::ok) rc = open_store(n, why);
    if (rc == core::err::ok) rc = open_redis(n, why);
    if (rc == core::err::ok) rc = make_loops(n, why);
    if (rc != core::err::ok) {
      if (n->history != nullptr) n->history->close();
      forget(n);
      return rc;
    }
    core::loop_group_start(n->group, &kLoopEvents, n);
    rc = start_listening(n, why);
    if (rc != core::err::ok) {
      take_apart(n);
      return rc;
    }
    log_started(n);
    *out = n;
    return core::err::ok;
  } catch (const std::exception& e) {
    *why = e.what();
    return core::err::full;
  }
}

void node_stop(node* n, const std::atomic<bool>* cut_short) noexcept {
  const auto is_cut = [&] {
    return cut_short != nullptr && cut_short->load(std::memory_order_relaxed);
  };
  n->is_draining.store(true, std::memory_order_relaxed);
  core::log_info("stopping", {{"connections", n->connections.load(std::memory_order_relaxed)},
                              {"shutdown_ms", n->config.chat.shutdown_ms}});
  call_on_all(n, stop_listening, n);

  drain_tick tick{n};
  const uint64_t began = now_ms();
  const uint64_t pace_until = began + n->config.chat.shutdown_ms;
  const uint64_t until = began + std::max<uint64_t>(2ull * n->config.chat.shutdown_ms, kDrainMsMin);
  uint64_t next_tick = began;
  while (!is_empty(n) && !is_cut() && now_ms() < until) {
    const uint64_t now = now_ms();
    if (now >= next_tick) {
      const uint64_t left = now < pace_until ? (pace_until - now) / kDrainTickMs : 0;
      tick.ticks_left.store(static_cast<uint32_t>(left) + 1, std::memory_order_relaxed);
      call_on_all(n, drain_some, &tick);
      next_tick = now + kDrainTickMs;
    }
    pause_ms(kDrainPollMs);
  }
  wait_for_loops(n);  // `tick` goes
  const uint64_t cut_off = n->connections.load(std::memory_order_relaxed);
  take_apart(n);
  core::log_info("stopped", {{"connections_cut", cut_off}, {"ms", now_ms() - began}});
}

}  // namespace server
