// Accepting, ending and freeing connections, and the loop's pools of parsers and readers.
#include "server/edge.h"

#include <unistd.h>

#include <new>
#include <vector>

#include "core/assert.h"
#include "core/limits.h"
#include "core/log.h"

namespace server {

namespace {

constexpr uint64_t kRefusedPolitelyMax =
    256;  // connections beyond connections_max that get a 503 rather than a reset
constexpr uint32_t kPooledPerKind = 64;  // idle readers and parsers that a loop keeps: 4.5 KB each
constexpr uint32_t kHttpQueueBytesMax =
    8u << 20;  // an answer is one frame: the page's files and the API's replies fit

void on_data(core::conn* c, char* bytes, uint32_t len) noexcept {
  edge* e = edge_of(c);
  if (e->state == edge_state::http) {
    edge_http_data(e, bytes, len);
  } else if (e->state == edge_state::websocket) {
    edge_ws_data(e, bytes, len);
  }
}

void on_eof(core::conn* c) noexcept {
  edge* e = edge_of(c);
  if (e->state == edge_state::http) {
    edge_http_eof(e);
  } else {
    core::conn_close(c, core::end_reason::client_closed);
  }
}

void on_closed(core::conn* c, core::end_reason why) noexcept;

constexpr core::conn_events kEvents = {on_data, on_eof, on_closed};

}  // namespace

struct edge_loop {
  std::vector<lent*> readers, parsers;  // not lent
  lent oldest;                          // head of the circular list of those lent
  uint32_t lent_count = 0;
  edge* first = nullptr;
  uint64_t count = 0;

  edge_loop() noexcept { oldest.prev = oldest.next = &oldest; }
  ~edge_loop() {
    for (lent* l : readers) {
      proto::ws_reader_free(l->reader);
      delete l;
    }
    for (lent* l : parsers) {
      proto::http_parser_free(l->parser);
      delete l;
    }
  }
};

namespace {

// A loop is a thread, so the thread's storage is the loop's; it goes with the thread, after the
// loop's last connection.
thread_local edge_loop t_here;

bool is_stranger(const edge* e) noexcept {
  return e->http != nullptr ? !e->http->is_trusted : !e->is_connected;
}

// The holder to give up: the oldest stranger, so that strangers cannot drive out those who have
// shown who they are; without one the oldest of all. nullptr: all are on the stack at once, cannot
// be more than a few.
lent* find_oldest() noexcept {
  lent* oldest = nullptr;
  for (lent* l = t_here.oldest.next; l != &t_here.oldest; l = l->next) {
    if (l->is_busy) continue;
    if (is_stranger(l->holder)) return l;
    if (oldest == nullptr) oldest = l;
  }
  return oldest;
}

// Its holder is told to come back later (1013) and loses what it had begun.
void evict_oldest() noexcept {
  lent* l = find_oldest();
  if (l == nullptr) return;
  edge* e = l->holder;
  (e->http != nullptr ? e->http->partial : e->partial) = nullptr;
  edge_give_back(l);
  const core::end_reason why = core::end_reason::partial_evicted;
  if (e->state == edge_state::http) {
    core::conn_close(&e->link, why);
  } else if (e->state == edge_state::websocket) {
    edge_ws_end(e, why, core::end_reason_code(why), core::end_reason_text(why));
    edge_session_end(e);
  }
}

lent* borrow(edge* e, std::vector<lent*>* pool) noexcept {
  edge_loop* here = &t_here;
  if (here->lent_count >= core::kWsContextsPerLoopMax) evict_oldest();
  lent* l = nullptr;
  if (pool->empty()) {
    l = new (std::nothrow) lent;
    CORE_ASSERT(l != nullptr);
  } else {
    l = pool->back();
    pool->pop_back();
  }
  l->holder = e;
  l->prev = here->oldest.prev;
  l->next = &here->oldest;
  l->prev->next = l->next->prev = l;
  ++here->lent_count;
  core::loop_counters(e->link.home)->contexts_lent.add();
  return l;
}

void on_closed(core::conn* c, core::end_reason why) noexcept {
  edge* e = edge_of(c);
  edge_log_end(e, why);
  if (e->partial != nullptr) edge_give_back(e->partial);
  e->partial = nullptr;
  edge_session_end(e);
  --t_here.count;
  (e->prev != nullptr ? e->prev->next : t_here.first) = e->next;
  if (e->next != nullptr) e->next->prev = e->prev;
  e->server->connections.fetch_sub(1, std::memory_order_relaxed);
  if (e->http != nullptr && e->http->is_in_exchange) {  // http_answer() frees it
    e->state = edge_state::gone;
    core::timer_stop(core::loop_timers(c->home), &e->http->deadline);
    return;
  }
  edge_http_close(e);
  delete e;
}

}  // namespace

void edge_log(const edge* e, core::log_level level, std::string_view what,
              core::end_reason why) noexcept {
  char peer[64];
  core::conn_peer(&e->link, peer, sizeof peer);  // "" when the peer has gone first
  const core::log_field from("peer", peer);
  const core::log_field reason("reason", core::end_reason_name(why));
  if (e->session == nullptr) {
    core::log_write(level, what, {reason, from});
    return;
  }
  const core::log_field user("user", chat::session_user(e->session));
  const core::log_field client("client", chat::session_client(e->session));
  if (why == core::end_reason::none) {
    core::log_write(level, what, {user, client, from});
  } else if (peer[0] == '\0') {
    core::log_write(level, what, {reason, user, client});
  } else {
    core::log_write(level, what, {reason, user, client, from});
  }
}

// A slow reader is worth a line; how the others ended is counted, and told at level debug. HTTP
// that went well (probes, scrapes) is only counted.
void edge_log_end(edge* e, core::end_reason why) noexcept {
  if (e->is_told || why == core::end_reason::http_done) return;
  e->is_told = true;
  static core::log_limit once;
  const bool is_slow = why == core::end_reason::slow && core::log_limit_pass(&once, 100);
  if (!is_slow && !core::log_enabled(core::log_level::debug)) return;
  edge_log(e, is_slow ? core::log_level::warn : core::log_level::debug, "connection ended", why);
}

lent* edge_borrow_reader(edge* e) noexcept {
  lent* l = borrow(e, &t_here.readers);
  if (l->reader == nullptr) l->reader = proto::ws_reader_new();
  return l;
}

lent* edge_borrow_parser(edge* e) noexcept {
  lent* l = borrow(e, &t_here.parsers);
  if (l->parser == nullptr) l->parser = proto::http_parser_new();
  return l;
}

void edge_give_back(lent* l) noexcept {
  edge_loop* here = &t_here;
  core::loop_counters(l->holder->link.home)->contexts_lent.sub();
  --here->lent_count;
  l->prev->next = l->next;
  l->next->prev = l->prev;
  l->holder = nullptr;
  l->is_busy = false;
  std::vector<lent*>* pool = l->reader != nullptr ? &here->readers : &here->parsers;
  if (pool->size() < kPooledPerKind) {
    if (l->reader != nullptr) proto::ws_reader_reset(l->reader);
    if (l->parser != nullptr) proto::http_parser_reset(l->parser, 0, 0);
    pool->push_back(l);
    return;
  }
  proto::ws_reader_free(l->reader);
  proto::http_parser_free(l->parser);
  delete l;
}

void edge_accept(void* n, core::loop* l, int fd) noexcept {
  node* server = static_cast<node*>(n);
  const uint64_t bound = server->config.chat.connections_max;
  const uint64_t open = server->connections.fetch_add(1, std::memory_order_relaxed);
  const bool is_beyond = bound > 0 && open >= bound;
  if (is_beyond && open >= bound + kRefusedPolitelyMax) {
    server->connections.fetch_sub(1, std::memory_order_relaxed);
    core::loop_counters(l)->handshake_refused.add();
    ::close(fd);
    return;
  }
  edge* e = new (std::nothrow) edge{};
  CORE_ASSERT(e != nullptr);
  e->server = server;
  e->is_refused = is_beyond;
  if (core::conn_init(&e->link, l, fd, &kEvents, kHttpQueueBytesMax) != core::err::ok) {
    server->connections.fetch_sub(1, std::memory_order_relaxed);
    delete e;
    return;
  }
  ++t_here.count;
  e->next = t_here.first;
  if (e->next != nullptr) e->next->prev = e;
  t_here.first = e;
  edge_http_open(e);
}

uint64_t edge_count(core::loop*) noexcept {
  return t_here.count;
}

void edge_close_idle_http(core::loop*) noexcept {
  for (edge* e = t_here.first; e != nullptr; e = e->next) {
    if (e->state == edge_state::http) edge_http_finish(e);
  }
}

void edge_close_all(core::loop*) noexcept {
  for (edge* e = t_here.first; e != nullptr; e = e->next)
    core::conn_close(&e->link, core::end_reason::shutdown);
}

}  // namespace server
