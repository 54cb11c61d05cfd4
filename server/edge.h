// One accepted socket: HTTP first, then perhaps a WebSocket with a chat session.
//
//   http --(101)--> websocket --(close frame or failure)--> closing --(conn's on_closed)--> freed
//
// An idle WebSocket holds this struct and its session: what HTTP needs is freed at the upgrade,
// parsers and readers are borrowed from the loop while a request or a message is incomplete.
#pragma once

#include "chat/session.h"
#include "core/conn.h"
#include "core/log.h"
#include "core/timer_wheel.h"
#include "proto/http.h"
#include "proto/ws.h"
#include "server/routes.h"
#include "server/server.h"

namespace server {

struct edge;

// A reader or parser in the hands of a connection that is mid-message or mid-request, in the loop's
// list with the oldest first.
struct lent {
  edge* holder = nullptr;
  lent* prev = nullptr;
  lent* next = nullptr;
  proto::ws_reader* reader = nullptr;  // one of the two
  proto::http_parser* parser = nullptr;
  bool is_busy = false;  // its holder is being fed: it cannot be taken away now
};

// What a connection needs while it speaks HTTP.
struct http_part {
  core::timer deadline;  // for the head, the body, or the next request
  edge* owner = nullptr;
  lent* partial = nullptr;
  std::string waiting;          // pipelined bytes behind the request that is being answered
  uint64_t started_us = 0;      // first byte of the request
  bool is_in_exchange = false;  // a request is being answered
  bool is_routing = false;      // inside route_request()
  bool is_in_body = false;
  bool is_trusted = false;  // this request shows an API key
  bool is_last = false;     // the peer has ended, or the node drains: no further request
};

enum class edge_state : uint8_t { http, websocket, closing, gone };

// Invariant: http is set until the upgrade or the end; session only after the upgrade. partial is
// set only while a message is incomplete.
struct edge {
  core::conn link;       // first: a conn* is an edge*
  edge* prev = nullptr;  // the loop's list
  edge* next = nullptr;
  node* server = nullptr;
  http_part* http = nullptr;
  chat::session* session = nullptr;
  lent* partial = nullptr;
  uint16_t pongs = 0;  // queued since the out-queue was last seen empty
  edge_state state = edge_state::http;
  bool is_connected = false;  // the client is accepted: the larger message limit
  bool is_told = false;       // its end is in the log
  bool is_refused = false;    // beyond connections_max: its first request is answered with 503
};

inline edge* edge_of(core::conn* c) noexcept {
  return reinterpret_cast<edge*>(c);
}

// May end another holder of the loop with partial_evicted: the oldest stranger, else the oldest.
lent* edge_borrow_reader(edge* e) noexcept;
lent* edge_borrow_parser(edge* e) noexcept;
void edge_give_back(lent* l) noexcept;

void edge_http_open(edge* e) noexcept;
void edge_http_data(edge* e, char* bytes, uint32_t len) noexcept;
void edge_http_eof(edge* e) noexcept;
void edge_http_finish(
    edge* e) noexcept;  // drain: ends now when no request is in hand, else behind the answer
void edge_http_close(edge* e) noexcept;  // frees the HTTP part

void edge_ws_open(edge* e, proto::format format) noexcept;
void edge_ws_data(edge* e, char* bytes, uint32_t len) noexcept;
// Ends the WebSocket: a close frame behind what is queued, then the end. code 0: no close frame.
void edge_ws_end(edge* e, core::end_reason why, uint16_t code, std::string_view text) noexcept;
void edge_session_end(edge* e) noexcept;  // tells the session, once
// A line of a connection's life: reason, user and client id once there is a session, peer.
void edge_log(const edge* e, core::log_level level, std::string_view what,
              core::end_reason why) noexcept;
void edge_log_end(edge* e, core::end_reason why) noexcept;  // once, while the session is there

}  // namespace server
