// Is this request a WebSocket upgrade that we accept? RFC 6455 section 4.2, Origin by allow-list.
// No I/O.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/format.h"
#include "proto/http.h"

namespace proto {

struct upgrade_rules {
  // "https://chat.example.com", "https://*.example.com", "*". Empty: the Origin's host and port
  // must be the request's Host. A request without Origin (no browser) is allowed.
  std::vector<std::string> allowed_origins;
};

struct upgrade_answer {
  int status = 101;  // 101, or 400, 403, 426 with `why`
  std::string why;
  std::string bytes;  // the whole response to send, also for refusals (426 carries
                      // Sec-WebSocket-Version: 13)
  proto::format format = format::json;
};

// Checks method GET, HTTP/1.1, Host, Upgrade, Connection, one Sec-WebSocket-Key of 24 base64
// characters that decode to 16 bytes, version 13, Origin. Subprotocols: none, or `centrifuge-json`
// (answered); `centrifuge-protobuf`, or format=protobuf or cf_protocol=protobuf in the query, is
// 400. Extensions are not negotiated.
upgrade_answer upgrade_check(const http_request& r, const upgrade_rules& rules) noexcept;

// base64(sha1(key + GUID)), RFC 6455 section 4.2.2.
std::string upgrade_accept(std::string_view key) noexcept;

}  // namespace proto
