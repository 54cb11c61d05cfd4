// The table of paths, and the small answers: health, readiness, metrics, guest tokens, the page.
// The API has a file of its own.
#include "server/routes.h"

#include <algorithm>
#include <string>

#include "core/limits.h"
#include "proto/reply.h"
#include "proto/token.h"
#include "server/page.h"

namespace server {

using core::http_route;
using proto::http_method;

namespace {

constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::string_view kJson = "application/json";
constexpr std::string_view kMetrics = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view kNoStore = "Cache-Control: no-store\r\n";
constexpr uint32_t kGuestNameMax = 32;  // characters
constexpr uint32_t kGuestBodyMax = 1024;
constexpr int64_t kGuestTtlS = 3600;

void answer_text(http_exchange* x, int status, std::string_view text) noexcept {
  http_answer(x, status, kText, kNoStore, text);
}

bool is_read(http_method m) noexcept {
  return m == http_method::get || m == http_method::head;
}

void answer_not_allowed(http_exchange* x, std::string_view allowed) noexcept {
  const std::string headers = std::string("Allow: ").append(allowed).append("\r\n");
  http_answer(x, 405, kText, headers, "this method is not allowed here\n");
}

void answer_ready(http_exchange* x) noexcept {
  const node* n = x->server;
  const store::store_stats stats = n->history->stats();
  const bool is_draining = n->is_draining.load(std::memory_order_relaxed);
  const bool is_broker_ready = node_broker_ready(n, stats);
  const bool is_ready = stats.is_ready && is_broker_ready && !is_draining;
  auto word = [](bool fact) { return fact ? "true" : "false"; };
  std::string body = "{\"ready\":";
  body.append(word(is_ready))
      .append(",\"draining\":")
      .append(word(is_draining))
      .append(",\"broker\":{\"ready\":")
      .append(word(is_broker_ready));
  if (!is_broker_ready) {
    const std::string why = n->chats[core::loop_index(x->here)]->bus->why_not_ready();
    body.append(",\"why\":");
    proto::json_string(&body, why.empty() ? "another event loop is not connected yet" : why);
  }
  body.append("},\"store\":{\"ready\":").append(word(stats.is_ready));
  if (!stats.why.empty()) {
    body.append(",\"why\":");
    proto::json_string(&body, stats.why);
  }
  body.append(",\"queue\":").append(std::to_string(stats.queue));
  body.append(",\"queue_max\":").append(std::to_string(stats.queue_max));
  if (stats.backlog_max > 0) {  // a store behind a spool
    body.append(",\"connected\":").append(word(stats.is_connected));
    body.append(",\"backlog\":").append(std::to_string(stats.backlog));
    body.append(",\"backlog_max\":").append(std::to_string(stats.backlog_max));
  }
  body.append("}}\n");
  http_answer(x, is_ready ? 200 : 503, kJson, kNoStore, body);
}

// One JSON string at text[*at]; names need no escapes but these three, others are refused.
bool read_string(std::string_view text, size_t* at, std::string* out) noexcept {
  if (*at >= text.size() || text[*at] != '"') return false;
  for (size_t i = *at + 1; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      *at = i + 1;
      return true;
    }
    if (static_cast<uint8_t>(c) < 0x20) return false;
    if (c != '\\') {
      out->push_back(c);
      continue;
    }
    if (++i >= text.size() || std::string_view("\"\\/").find(text[i]) == std::string_view::npos)
      return false;
    out->push_back(text[i]);
  }
  return false;
}

// {"name":"Ann"} and nothing else: too little for a JSON library.
bool read_name(std::string_view text, std::string* name) noexcept {
  size_t at = 0;
  auto skip = [&] { at = std::min(text.find_first_not_of(" \t\r\n", at), text.size()); };
  auto take = [&](char c) {
    skip();
    return at < text.size() && text[at] == c ? (++at, skip(), true) : false;
  };
  std::string key;
  if (!take('{') || !read_string(text, &at, &key) || key != "name") return false;
  if (!take(':') || !read_string(text, &at, name) || !take('}')) return false;
  return at == text.size();
}

// Spaces at the ends go, several in a row become one. "" when a character is not allowed or the
// length is wrong.
std::string normal_name(std::string_view name) noexcept {
  std::string out;
  for (const char c : name) {
    const bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
    if (!is_word && c != ' ') return {};
    if (c == ' ' && (out.empty() || out.back() == ' ')) continue;
    out.push_back(c);
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out.size() > kGuestNameMax ? std::string() : out;
}

void answer_guest(http_exchange* x, const proto::http_request& r) noexcept {
  const settings& s = x->server->config;
  if (!s.has_guest_tokens || s.chat.token_keys.hmac_secrets.empty()) {
    answer_text(x, 404, "guest tokens are not given here\n");
    return;
  }
  std::string given;
  if (r.body.size() > kGuestBodyMax || !read_name(r.body, &given)) {
    answer_text(x, 400, "expected a JSON object with one field: {\"name\":\"Ann\"}\n");
    return;
  }
  const std::string user = normal_name(given);
  if (user.empty()) {
    answer_text(x, 400,
                "a name has 1 to 32 characters: letters A-Z and a-z, digits, spaces, and _ . -\n");
    return;
  }
  const std::string info = "{\"name\":\"" + user + "\"}";
  const std::string token = proto::token_sign(s.chat.token_keys.hmac_secrets.front(), user, info,
                                              {}, s.chat.clock->wall_ms() / 1000, kGuestTtlS);
  std::string body = "{\"token\":";
  proto::json_string(&body, token);
  body.append(",\"user\":");
  proto::json_string(&body, user);
  body.append("}\n");
  http_answer(x, 200, kJson, kNoStore, body);
}

void answer_page(http_exchange* x, const proto::http_request& r) noexcept {
  const page_file* file = x->server->config.has_page ? page_find(r.path) : nullptr;
  if (file == nullptr) {
    x->route = http_route::other;
    answer_text(x, 404, "there is nothing here\n");
  } else if (!is_read(r.method)) {
    answer_not_allowed(x, "GET, HEAD");
  } else {
    page_answer(x, *file, r);
  }
}

}  // namespace

http_route route_find(std::string_view path) noexcept {
  if (path == "/connection/websocket") return http_route::websocket;
  if (path == "/api" || path.starts_with("/api/")) return http_route::api;
  if (path == "/auth/guest") return http_route::auth_guest;
  if (path == "/health") return http_route::health;
  if (path == "/ready") return http_route::ready;
  if (path == "/metrics") return http_route::metrics;
  return http_route::page;
}

body_rule route_body(const node* n, const proto::http_request& r) noexcept {
  if (route_find(r.path) != http_route::api)
    return {core::kHttpBodyBytesMaxOfStrangers, 413, "the body is too large", false};
  if (api_has_key(n, r)) return {core::kHttpBodyBytesMax, 413, "the body is too large", true};
  return {core::kHttpBodyBytesMaxOfStrangers, 401, "the X-API-Key header must hold an API key",
          false};
}

void route_request(http_exchange* x, proto::http_request&& r) noexcept {
  x->route = route_find(r.path);
  const bool is_get_only = x->route == http_route::health || x->route == http_route::ready ||
                           x->route == http_route::metrics;
  if (is_get_only && !is_read(r.method)) {
    answer_not_allowed(x, "GET, HEAD");
    return;
  }
  switch (x->route) {
    case http_route::api:
      api_request(x, std::move(r));
      return;
    case http_route::auth_guest:
      if (r.method != http_method::post) {
        answer_not_allowed(x, "POST");
      } else {
        answer_guest(x, r);
      }
      return;
    case http_route::health:
      answer_text(x, 200, "ok\n");
      return;
    case http_route::ready:
      answer_ready(x);
      return;
    case http_route::metrics:
      http_answer(x, 200, kMetrics, kNoStore, metrics_text(x->server));
      return;
    default:
      answer_page(x, r);
  }
}

}  // namespace server
