// TLS over somebody else's bytes: OpenSSL with memory BIOs. No I/O of its own but reading the PEM
// files at start. The adapter of libssl.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "broker/redis_url.h"
#include "core/err.h"

namespace broker {

struct redis_tls;  // settings, shared by all loops; immutable

// TLS 1.2 at least. invalid: *why names the file and what is wrong with it.
core::err redis_tls_open(const redis_url& url, redis_tls** out, std::string* why);
void redis_tls_close(redis_tls* t) noexcept;  // after all sessions

struct redis_tls_session;  // one connection

struct redis_tls_events {
  void (*on_plain)(void* user,
                   std::string_view bytes) noexcept;  // may close the session's owner, not free it
  bool (*is_wanted)(void* user) noexcept;             // false: stop
};

// Client side. `host` is what the certificate must name when url.sni is empty.
redis_tls_session* redis_tls_session_new(redis_tls* t, const std::string& host) noexcept;
void redis_tls_session_free(redis_tls_session* s) noexcept;

// Begins or goes on after bytes have come. Plain bytes go to on_plain(). io: *why says what is
// wrong
// ("certificate verify failed: self-signed certificate"). closed: the peer has ended TLS.
core::err redis_tls_feed(redis_tls_session* s, std::string_view bytes,
                         const redis_tls_events* events, void* user, std::string* why) noexcept;
bool redis_tls_is_open(const redis_tls_session* s) noexcept;  // the handshake is done
// Encrypts; only when open.
void redis_tls_write(redis_tls_session* s, std::string_view bytes) noexcept;
// What is to be sent: valid until the next call; then redis_tls_sent().
std::string_view redis_tls_output(redis_tls_session* s) noexcept;
void redis_tls_sent(redis_tls_session* s) noexcept;

}  // namespace broker
