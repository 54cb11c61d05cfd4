// One node put together: loops, store, brokers, chat, listeners, drain. The only place that knows
// everybody.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "broker/redis.h"
#include "chat/node.h"
#include "core/listener.h"
#include "core/loop.h"
#include "server/settings.h"

namespace server {

struct node {
  settings config;
  core::loop_group* group = nullptr;
  std::vector<core::loop*> loops;
  std::vector<chat::node_loop*> chats;     // by loop
  std::vector<core::listener*> listeners;  // by loop, touched on it
  store::store* history = nullptr;
  broker::redis_resolver* resolver = nullptr;  // with the broker redis
  broker::redis_tls* tls = nullptr;            // and TLS to it
  const loki* logs = nullptr;                  // null: lines go to standard error only
  std::atomic<bool> is_draining{false};  // /ready answers 503, new WebSockets are refused with 503
  std::atomic<uint64_t> connections{0};  // open TCP connections of all loops
};

// Do all loops have a broker that carries messages? Any thread.
bool node_broker_ready(const node* n, const store::store_stats& stats) noexcept;

// Opens store, loops and listeners and starts serving. On an error everything is undone and *why is
// a sentence for the user.
// `logs` is borrowed, for /metrics; may be null.
core::err node_start(settings&& s, node** out, std::string* why,
                     const loki* logs = nullptr) noexcept;
// Readiness off, listeners closed, 3001 to clients in paced random batches over
// settings.chat.shutdown_ms, stores flushed. Blocks until `is_done` conditions hold: all
// connections closed, or `*cut_short` becomes true (second signal), or twice the time has passed.
void node_stop(node* n, const std::atomic<bool>* cut_short) noexcept;

// server/edge.cc: takes an accepted socket on a loop: HTTP first, then perhaps a WebSocket with a
// chat session.
void edge_accept(void* n, core::loop* l, int fd) noexcept;
uint64_t edge_count(core::loop* l) noexcept;  // connections of this loop
void edge_close_idle_http(
    core::loop* l) noexcept;                  // drain: plain HTTP connections without a request
void edge_close_all(core::loop* l) noexcept;  // end of the drain: every connection left, at once

// server/metrics.cc: the text of /metrics (Prometheus text format 0.0.4).
std::string metrics_text(node* n);

}  // namespace server
