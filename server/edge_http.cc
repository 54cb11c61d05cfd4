// A connection while it speaks HTTP: one request at a time, its answer, and the way to the
// WebSocket.
#include <algorithm>
#include <new>
#include <type_traits>

#include "chat/rate.h"
#include "core/assert.h"
#include "core/limits.h"
#include "server/edge.h"

namespace server {

using core::end_reason;
using core::err;

namespace {

static_assert(std::is_standard_layout_v<http_part>, "on_deadline() finds it by its first member");

constexpr uint32_t kHttpBodyMsMax = 30'000;  // 4 MiB at 140 KB/s
constexpr uint32_t kPaddingBytes = 64;       // behind bytes that may become WebSocket frames
constexpr std::string_view kText = "text/plain; charset=utf-8";

void arm(edge* e, uint32_t ms) noexcept {
  core::loop* l = e->link.home;
  core::timer_start(core::loop_timers(l), &e->http->deadline, core::loop_now_ms(l), ms);
}

void on_deadline(core::timer* t) noexcept {
  http_part* h = reinterpret_cast<http_part*>(t);  // its first member
  edge* e = h->owner;
  if (e->state != edge_state::http) return;
  const bool is_between =
      h->partial == nullptr && h->started_us != 0;  // kept alive, and no further request came
  core::conn_close(&e->link, is_between ? end_reason::http_done : end_reason::handshake_timeout);
}

uint64_t now_us(const edge* e) noexcept {
  return core::loop_clock(e->link.home)->mono_us();
}

void count(edge* e, core::http_route route, int status, uint64_t started_us) noexcept {
  core::loop_metrics* m = core::loop_counters(e->link.home);
  const size_t r = static_cast<size_t>(route),
               c = static_cast<size_t>(std::clamp(status / 100, 1, 5) - 1);
  m->http[r][c].add();
  m->http_us[r].record(now_us(e) - started_us);
}

void send_text(edge* e, std::string_view bytes) noexcept {
  core::conn_send(&e->link, core::frame_copy(bytes));
}

void give_parser_back(edge* e) noexcept {
  if (e->http->partial != nullptr) edge_give_back(e->http->partial);
  e->http->partial = nullptr;
}

// An answer of the edge's own; the connection ends behind it.
void refuse(edge* e, core::http_route route, int status, std::string_view headers,
            std::string_view why, end_reason end) noexcept {
  std::string bytes;
  proto::http_reply(&bytes, status, kText, headers, std::string(why) + "\n", false);
  send_text(e, bytes);
  count(e, route, status, e->http->started_us);
  e->state = edge_state::closing;
  core::conn_drain(&e->link, end);
}

// A herd that comes back at once is let in at a rate that the loop can serve, so that those who are
// in are in, instead of all waiting until their time-outs make them come again. A loop is a thread.
bool takes_handshake(const edge* e) noexcept {
  thread_local chat::rate_bucket bucket;
  const chat::settings& s = e->server->config.chat;
  return chat::rate_take(&bucket, core::loop_now_ms(e->link.home), s.handshakes_per_s,
                         s.handshakes_burst);
}

// True: the connection is a WebSocket now.
bool upgrade(edge* e, const proto::http_request& r) noexcept {
  core::loop_metrics* m = core::loop_counters(e->link.home);
  if (!takes_handshake(e)) {
    m->handshake_refused.add();
    refuse(e, core::http_route::websocket, 503, "Retry-After: 1\r\n",
           "too many connections are being made", end_reason::http_bad);
    return false;
  }
  if (e->server->is_draining.load(std::memory_order_relaxed)) {
    m->handshake_refused.add();
    refuse(e, core::http_route::websocket, 503, "Retry-After: 1\r\n", "this node is shutting down",
           end_reason::http_bad);
    return false;
  }
  const proto::upgrade_answer a = proto::upgrade_check(r, e->server->config.upgrade);
  count(e, core::http_route::websocket, a.status, e->http->started_us);
  send_text(e, a.bytes);
  if (a.status == 101) {
    edge_ws_open(e, a.format);
    return true;
  }
  m->handshake_refused.add();
  e->state = edge_state::closing;
  core::conn_drain(&e->link, end_reason::http_bad);
  return false;
}

void begin_exchange(edge* e, proto::http_request&& r) noexcept {
  http_part* h = e->http;
  http_exchange* x = new (std::nothrow) http_exchange{};
  CORE_ASSERT(x != nullptr);
  x->server = e->server;
  x->here = e->link.home;
  x->peer = e;
  x->started_us = h->started_us;
  x->route = core::http_route::other;
  x->is_keep_alive = r.is_keep_alive;
  x->is_head = r.method == proto::http_method::head;
  h->is_in_exchange = h->is_routing = true;
  route_request(x, std::move(r));
  h->is_routing = false;
}

// A complete request.
void take_request(edge* e) noexcept {
  http_part* h = e->http;
  proto::http_request r = std::move(*proto::http_parser_request(h->partial->parser));
  give_parser_back(e);
  core::timer_stop(core::loop_timers(e->link.home), &h->deadline);
  h->is_in_body = h->is_trusted = false;
  if (e->is_refused) {
    core::loop_counters(e->link.home)->handshake_refused.add();
    refuse(e, core::http_route::other, 503, "Retry-After: 5\r\n", "too many connections",
           end_reason::connection_limit);
  } else if (route_find(r.path) == core::http_route::websocket) {
    upgrade(e, r);
  } else {
    begin_exchange(e, std::move(r));
  }
}

// The head is here, the body is not: is it welcome? Then another deadline, and a client that waits
// for leave gets it (RFC 9110 section 10.1.1).
void await_body(edge* e) noexcept {
  http_part* h = e->http;
  if (h->is_in_body) return;
  h->is_in_body = true;
  const proto::http_request* r = proto::http_parser_request(h->partial->parser);
  const body_rule rule = route_body(e->server, *r);
  h->is_trusted = rule.is_trusted;
  if (proto::http_parser_limit_body(h->partial->parser, rule.bytes_max) != err::ok) {
    refuse(e, route_find(r->path), rule.status,
           rule.status == 401 ? "WWW-Authenticate: apikey\r\n" : "", rule.why,
           end_reason::http_bad);
    return;
  }
  arm(e, kHttpBodyMsMax);
  std::string expect(r->header("expect"));
  std::transform(expect.begin(), expect.end(), expect.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (expect == "100-continue") send_text(e, "HTTP/1.1 100 Continue\r\n\r\n");
}

// Does the peer ask on without reading the answers it has? The next one would only add to them.
bool is_backed_up(edge* e) noexcept {
  if (e->link.queue_bytes > core::kHttpBacklogBytesMax) core::conn_flush(&e->link);
  return e->link.queue_bytes > core::kHttpBacklogBytesMax;
}

// Takes the bytes of at most one request; false when the parser needs more than there is.
bool feed(edge* e, const char* bytes, uint32_t len, uint32_t* consumed) noexcept {
  http_part* h = e->http;
  if (h->partial == nullptr) {
    h->partial = edge_borrow_parser(e);
    proto::http_parser_reset(h->partial->parser, core::kHttpHeadBytesMax, core::kHttpBodyBytesMax);
    h->started_us = now_us(e);
    arm(e, core::kHttpHeadMsMax);
  }
  proto::http_parser* p = h->partial->parser;
  switch (proto::http_feed(p, bytes, len, consumed)) {
    case err::ok:
      take_request(e);
      return true;
    case err::again:
      if (proto::http_parser_has_head(p)) await_body(e);
      if (e->state != edge_state::http) give_parser_back(e);
      return false;
    default:
      refuse(e, core::http_route::other, proto::http_parser_status(p), {},
             proto::http_parser_why(p), end_reason::http_bad);
      give_parser_back(e);
      return true;
  }
}

}  // namespace

void edge_http_open(edge* e) noexcept {
  http_part* h = new (std::nothrow) http_part;
  CORE_ASSERT(h != nullptr);
  h->owner = e;
  h->deadline.fire = on_deadline;
  e->http = h;
  arm(e, core::kHttpHeadMsMax);
}

void edge_http_close(edge* e) noexcept {
  http_part* h = e->http;
  if (h == nullptr) return;
  give_parser_back(e);
  if (e->state != edge_state::gone) core::timer_stop(core::loop_timers(e->link.home), &h->deadline);
  e->http = nullptr;
  delete h;
}

void edge_http_data(edge* e, char* bytes, uint32_t len) noexcept {
  while (len > 0 && e->state == edge_state::http) {
    if (e->http->is_in_exchange) {  // one at a time: what came with this read waits, and no more is
                                    // read
      e->http->waiting.append(bytes, len);
      core::conn_pause_read(&e->link);
      return;
    }
    if (e->http->partial == nullptr && is_backed_up(e)) {
      core::conn_close(&e->link, end_reason::slow);
      return;
    }
    uint32_t consumed = 0;
    const bool is_taken = feed(e, bytes, len, &consumed);
    if (!is_taken) return;
    bytes += consumed;
    len -= consumed;
  }
  if (len > 0 && e->state == edge_state::websocket) edge_ws_data(e, bytes, len);
}

void edge_http_eof(edge* e) noexcept {
  if (e->http->is_in_exchange) {  // half closed: the answer is still wanted
    e->http->is_last = true;
    core::conn_pause_read(&e->link);
    return;
  }
  e->state = edge_state::closing;
  if (e->link.queue_count > 0) {
    core::conn_drain(&e->link, end_reason::http_done);
  } else {
    core::conn_close(&e->link, end_reason::client_closed);
  }
}

void http_answer(http_exchange* x, int status, std::string_view content_type,
                 std::string_view headers, std::string_view body) noexcept {
  edge* e = x->peer;
  http_part* h = e->http;
  CORE_ASSERT(h != nullptr && h->is_in_exchange);
  h->is_in_exchange = false;
  const bool is_keep_alive =
      x->is_keep_alive && !h->is_last && !x->server->is_draining.load(std::memory_order_relaxed);
  const bool is_head = x->is_head;
  count(e, x->route, status, x->started_us);
  delete x;
  if (e->state == edge_state::gone) {
    edge_http_close(e);
    delete e;
    return;
  }
  if (e->state != edge_state::http) return;
  std::string bytes;
  proto::http_reply(&bytes, status, content_type, headers, body, is_keep_alive, is_head);
  send_text(e, bytes);
  if (!is_keep_alive) {
    e->state = edge_state::closing;
    core::conn_drain(&e->link, end_reason::http_done);
    return;
  }
  arm(e, core::kHttpIdleMsMax);
  if (h->is_routing) return;  // edge_http_data() goes on itself
  core::conn_resume_read(&e->link);
  std::string waiting = std::move(h->waiting);
  h->waiting.clear();
  const uint32_t len = static_cast<uint32_t>(waiting.size());
  waiting.resize(waiting.size() + kPaddingBytes);
  edge_http_data(e, waiting.data(), len);
}

void edge_http_finish(edge* e) noexcept {
  http_part* h = e->http;
  h->is_last = true;
  if (h->is_in_exchange || h->partial != nullptr) return;
  e->state = edge_state::closing;
  core::conn_drain(&e->link, end_reason::http_done);
}

}  // namespace server
