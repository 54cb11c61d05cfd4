// A connection after its upgrade: messages to the session, the session's frames and farewells to
// the connection.
#include "server/edge.h"

#include <cstddef>

#include "core/limits.h"

namespace server {

using core::end_reason;

namespace {

// Pings whose pongs wait in the out-queue: a peer that pings on and never reads is slow long before
// the queue's bytes say so.
constexpr uint16_t kPongsQueuedMax = 100;

edge* edge_from(void* user) noexcept {
  return static_cast<edge*>(user);
}

void link_send(void* link, core::frame* f) noexcept {
  core::conn_send(&edge_from(link)->link, f);
}

void link_disconnect(void* link, end_reason why, uint16_t code, std::string_view text) noexcept {
  edge_ws_end(edge_from(link), why, code, text);
}

void link_connected(void* link) noexcept {
  edge* e = edge_from(link);
  e->is_connected = true;
  if (core::log_enabled(core::log_level::debug))
    edge_log(e, core::log_level::debug, "client connected", end_reason::none);
  if (e->partial != nullptr) proto::ws_reader_limit(e->partial->reader, core::kWsMessageBytesMax);
}

uint32_t link_queued(void* link) noexcept {
  return edge_from(link)->link.queue_bytes;
}

constexpr chat::link_ops kLinkOps = {link_send, link_disconnect, link_connected, link_queued};

void on_text(void* user, char* bytes, uint32_t len) noexcept {
  edge* e = edge_from(user);
  if (e->session != nullptr && e->state == edge_state::websocket)
    chat::session_message(e->session, bytes, len);
}

void on_ping(void* user, std::string_view payload) noexcept {
  edge* e = edge_from(user);
  if (e->link.queue_count == 0) e->pongs = 0;
  if (++e->pongs > kPongsQueuedMax) {
    edge_ws_end(e, end_reason::slow, 0, {});
    return;
  }
  core::conn_send(&e->link, proto::ws_pong_frame(payload));
}

void on_pong(void*) noexcept {}

void on_close(void* user, uint16_t code, std::string_view) noexcept {
  constexpr uint16_t kNoStatus = 1005;
  edge* e = edge_from(user);
  if (e->state != edge_state::websocket) return;
  core::conn_send(&e->link, proto::ws_close_frame(code == kNoStatus ? 0 : code, {}));
  edge_ws_end(e, end_reason::client_closed, 0, {});
}

constexpr proto::ws_events kWsEvents = {on_text, on_ping, on_pong, on_close};

}  // namespace

void edge_ws_open(edge* e, proto::format format) noexcept {
  const chat::settings& chat_settings = e->server->config.chat;
  edge_http_close(e);
  e->link.queue_bytes_max = chat_settings.queue_bytes_max;
  e->state = edge_state::websocket;
  core::loop_counters(e->link.home)->websockets_open.add();
  e->session =
      chat::session_open(e->server->chats[core::loop_index(e->link.home)], &kLinkOps, e, format);
  if (e->session != nullptr) return;
  core::loop_counters(e->link.home)->websockets_open.sub();
  edge_ws_end(e, end_reason::server_error, core::end_reason_code(end_reason::server_error),
              core::end_reason_text(end_reason::server_error));
}

void edge_session_end(edge* e) noexcept {
  if (e->session == nullptr) return;
  edge_log_end(e, e->link.why);
  chat::session* s = e->session;
  e->session = nullptr;
  core::loop_counters(e->link.home)->websockets_open.sub();
  chat::session_closed(s);
}

void edge_ws_end(edge* e, end_reason why, uint16_t code, std::string_view text) noexcept {
  if (e->state != edge_state::websocket) return;
  e->state = edge_state::closing;
  if (e->partial != nullptr) proto::ws_stop(e->partial->reader);
  if (why == end_reason::slow) {  // it does not read: a close frame would wait behind the rest
    core::conn_close(&e->link, why);
    return;
  }
  if (code != 0) core::conn_send(&e->link, proto::ws_close_frame(code, text));
  core::conn_drain(&e->link, why);
}

void edge_ws_data(edge* e, char* bytes, uint32_t len) noexcept {
  if (e->partial == nullptr) {
    e->partial = edge_borrow_reader(e);
    proto::ws_reader_lend(
        e->partial->reader, &kWsEvents, e,
        e->is_connected ? core::kWsMessageBytesMax : core::kWsMessageBytesMaxBeforeConnect);
  }
  e->partial->is_busy = true;
  const end_reason why = proto::ws_feed(e->partial->reader, bytes, len);
  e->partial->is_busy = false;
  if (why != end_reason::none)
    edge_ws_end(e, why, core::end_reason_code(why), core::end_reason_text(why));
  if (e->state != edge_state::websocket || proto::ws_reader_is_idle(e->partial->reader)) {
    edge_give_back(e->partial);
    e->partial = nullptr;
  }
  // Whoever has ended it (peer, session, or a rule broken): no session code is on the stack here.
  if (e->state != edge_state::websocket) edge_session_end(e);
}

}  // namespace server
