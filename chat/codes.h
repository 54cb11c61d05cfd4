// Error and unsubscribe codes of the protocol (its "codes" page) and our own refusals: one table,
// printed as docs/ERRORS.md.
#pragma once

#include <cstdint>

#include "core/err.h"

namespace chat {

#define CHAT_ERROR_MAP(X)                                         \
  X(internal, 100, "internal server error", true)                 \
  X(unauthorized, 101, "unauthorized", false)                     \
  X(unknown_channel, 102, "unknown channel", false)               \
  X(permission_denied, 103, "permission denied", false)           \
  X(method_not_found, 104, "method not found", false)             \
  X(already_subscribed, 105, "already subscribed", false)         \
  X(limit_exceeded, 106, "limit exceeded", false)                 \
  X(bad_request, 107, "bad request", false)                       \
  X(not_available, 108, "not available", false)                   \
  X(token_expired, 109, "token expired", false)                   \
  X(expired, 110, "expired", false)                               \
  X(too_many_requests, 111, "too many requests", true)            \
  X(unrecoverable_position, 112, "unrecoverable position", false) \
  X(key_conflict, 113, "idempotency key was used with other data", false)

enum class error : uint16_t {
  ok = 0,
#define X(name, code, text, temporary) name = code,
  CHAT_ERROR_MAP(X)
#undef X
};
const char* error_text(error e) noexcept;
bool error_is_temporary(error e) noexcept;
// What a failed store or broker answer is to a client: full -> 111, conflict -> 113, not_found ->
// 107, denied -> 103, too_big and malformed -> 107, the rest -> 100.
error error_from(core::err rc) noexcept;

inline constexpr uint32_t kUnsubscribeServer = 2000, kUnsubscribeInsufficient = 2500,
                          kUnsubscribeExpired = 2501;

}  // namespace chat
