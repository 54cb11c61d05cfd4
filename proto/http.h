// One HTTP/1.1 request from bytes, over llhttp, with limits and the smuggling rules; and replies to
// bytes. No I/O.
//
// Rules beyond llhttp (RFC 9112): Content-Length with Transfer-Encoding, repeated or garbled
// Content-Length, obs-fold, bare CR or LF, a space before the colon, HTTP/1.0 upgrades, a second
// Host, a missing Host, and any body on an upgrade are malformed. Nothing depends on llhttp's own
// strictness, which differs between 8.1 and 9.2.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/err.h"

namespace proto {

struct http_header {
  std::string name;   // lower case
  std::string value;  // without surrounding spaces
};

enum class http_method : uint8_t { get, head, post, options, other };

struct http_request {
  http_method method = http_method::other;
  std::string method_name;
  std::string target;  // as sent
  std::string path;    // before '?', not decoded
  std::string query;   // behind '?'
  std::vector<http_header> headers;
  std::string body;  // complete
  bool is_keep_alive = false;
  bool is_upgrade = false;  // asks for WebSocket: `Upgrade: websocket` and `Connection: upgrade`
  // First header of that (lower case) name; empty when there is none.
  std::string_view header(std::string_view name) const noexcept;
  uint32_t header_count(std::string_view name) const noexcept;
};

// Value of `name` in a query string, percent-decoded; false when it is not there.
bool http_query_value(std::string_view query, std::string_view name, std::string* out) noexcept;

struct http_parser;  // owned; lend it to a connection while a request is incomplete
http_parser* http_parser_new() noexcept;
void http_parser_free(http_parser* p) noexcept;
void http_parser_reset(http_parser* p, uint32_t head_bytes_max, uint32_t body_bytes_max) noexcept;

// Feeds bytes of one request. *consumed counts those taken: after ok the rest belongs to the next
// request or the WebSocket. again: more is needed. ok: http_parser_request() is complete.
// malformed, too_big: final; http_parser_status() is the status to answer (400, 413, 414, 431, 501,
// 505) and http_parser_why() the sentence.
core::err http_feed(http_parser* p, const char* bytes, uint32_t len, uint32_t* consumed) noexcept;
// A lower bound for this request's body, once its head is known. too_big: it is longer already, or
// says that it will be.
core::err http_parser_limit_body(http_parser* p, uint32_t body_bytes_max) noexcept;
bool http_parser_is_empty(
    const http_parser* p) noexcept;  // no byte of a request has been taken yet
bool http_parser_has_head(
    const http_parser* p) noexcept;  // the head is complete, the body perhaps not
http_request* http_parser_request(http_parser* p) noexcept;
int http_parser_status(const http_parser* p) noexcept;
const char* http_parser_why(const http_parser* p) noexcept;

// Appends a complete response. `headers` is "Name: value\r\n" lines or empty; Content-Length,
// Connection, Date are added.
void http_reply(std::string* out, int status, std::string_view content_type,
                std::string_view headers, std::string_view body, bool is_keep_alive,
                bool is_head = false) noexcept;

}  // namespace proto
