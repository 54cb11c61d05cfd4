// What each HTTP path answers (the WebSocket's apart: the edge itself upgrades). Runs on the
// connection's loop; answers at once or later through http_answer().
#pragma once

#include "proto/http.h"
#include "server/server.h"

namespace server {

struct edge;

struct http_exchange {
  node* server;
  core::loop* here;
  edge* peer;  // held alive until http_answer()
  uint64_t started_us;
  core::http_route route;
  bool is_keep_alive, is_head;
};

// What body a request may have, by its head; a longer one is refused with this status before it is
// taken.
struct body_rule {
  uint32_t bytes_max;
  int status;
  std::string_view why;
  bool is_trusted;  // shows an API key
};
body_rule route_body(const node* n, const proto::http_request& r) noexcept;

// The route of a path (before '?'), as the metrics know it.
core::http_route route_find(std::string_view path) noexcept;
// Takes the exchange. Exactly one http_answer() follows, on the same loop, perhaps inside.
void route_request(http_exchange* x, proto::http_request&& r) noexcept;
// Takes the exchange and frees it. `headers`: "Name: value\r\n" lines. A connection that is gone
// drops the answer.
void http_answer(http_exchange* x, int status, std::string_view content_type,
                 std::string_view headers, std::string_view body) noexcept;

// server/api_http.cc: POST /api/METHOD with X-API-Key or "Authorization: apikey KEY".
void api_request(http_exchange* x, proto::http_request&& r) noexcept;
bool api_has_key(const node* n, const proto::http_request& r) noexcept;  // one of the node's
// The loop ends, and no answer comes any more: drops what waits for one.
void api_forget() noexcept;

}  // namespace server
