// Why a connection ended: one closed set that is the log field, the metric label and the row of the
// close code. Codes 3000-3509 are the Centrifuge protocol's (its "codes" page), 1000-1013 RFC
// 6455's. Leaf header.
#pragma once

#include <cstdint>

namespace core {

// name, close code sent (0: the connection is just closed), reason text sent
#define CORE_END_REASON_MAP(X)                                                 \
  X(none, 0, "")                                                               \
  X(client_closed, 0, "")     /* the peer closed, by frame or FIN */           \
  X(client_reset, 0, "")      /* the peer's reset or a failed read or write */ \
  X(http_done, 0, "")         /* a plain HTTP exchange has ended */            \
  X(http_bad, 0, "")          /* refused HTTP: answered with a status */       \
  X(handshake_timeout, 0, "") /* the request head did not come in time */      \
  X(partial_evicted, 1013, "too many partial messages")                        \
  X(protocol_error, 1002, "") /* RFC 6455 broken */                            \
  X(bad_utf8, 1007, "")                                                        \
  X(message_too_big, 1009, "")                                                 \
  X(unsupported_data, 1003, "")                                                \
  X(connection_closed, 3000, "connection closed")                              \
  X(shutdown, 3001, "shutdown")                                                \
  X(server_error, 3004, "internal server error")                               \
  X(expired, 3005, "connection expired")                                       \
  X(sub_expired, 3006, "subscription expired")                                 \
  X(slow, 3008, "slow")                                                        \
  X(write_error, 3009, "write error")                                          \
  X(insufficient_state, 3010, "insufficient state")                            \
  X(force_reconnect, 3011, "force reconnect")                                  \
  X(no_pong, 3012, "no pong")                                                  \
  X(too_many_requests, 3013, "too many requests")                              \
  X(invalid_token, 3500, "invalid token")                                      \
  X(bad_request, 3501, "bad request")                                          \
  X(stale, 3502, "stale")                                                      \
  X(force_no_reconnect, 3503, "force disconnect")                              \
  X(connection_limit, 3504, "connection limit")                                \
  X(channel_limit, 3505, "channel limit")                                      \
  X(inappropriate_protocol, 3506, "inappropriate protocol")                    \
  X(permission_denied, 3507, "permission denied")                              \
  X(not_available, 3508, "not available")                                      \
  X(too_many_errors, 3509, "too many errors")                                  \
  X(api_disconnect, 0, "") /* code and text come from the server API's caller */

enum class end_reason : uint8_t {
#define X(name, code, text) name,
  CORE_END_REASON_MAP(X)
#undef X
      kCount
};

const char* end_reason_name(end_reason r) noexcept;
uint16_t end_reason_code(end_reason r) noexcept;
const char* end_reason_text(end_reason r) noexcept;

}  // namespace core
