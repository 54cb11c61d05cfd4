// OpenSSL's client over two memory BIOs: what came from the wire goes into one, what is to go there
// comes out of the other.
#include "broker/redis_tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "core/assert.h"

namespace broker {
namespace {

constexpr int kReadBytes = 16 * 1024;  // a TLS record holds at most that

// The oldest queued error of this thread as a short text: "certificate verify failed".
std::string queued_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "failed" : reason;
}

bool is_address(const std::string& host) {
  in6_addr any;
  return inet_pton(AF_INET, host.c_str(), &any) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &any) == 1;
}

std::string load_trust(SSL_CTX* ctx, const redis_url& url) {
  if (!url.is_verified) return {};
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
  if (url.ca_file.empty())
    return SSL_CTX_set_default_verify_paths(ctx) == 1
               ? ""
               : "the system's certificates: " + queued_error();
  return SSL_CTX_load_verify_locations(ctx, url.ca_file.c_str(), nullptr) == 1
             ? ""
             : "ca " + url.ca_file + ": " + queued_error();
}

std::string load_identity(SSL_CTX* ctx, const redis_url& url) {
  if (url.cert_file.empty()) return {};
  if (SSL_CTX_use_certificate_chain_file(ctx, url.cert_file.c_str()) != 1)
    return "cert " + url.cert_file + ": " + queued_error();
  if (SSL_CTX_use_PrivateKey_file(ctx, url.key_file.c_str(), SSL_FILETYPE_PEM) != 1)
    return "key " + url.key_file + ": " + queued_error();
  return SSL_CTX_check_private_key(ctx) == 1
             ? ""
             : "key " + url.key_file + ": does not belong to the cert";
}

}  // namespace

struct redis_tls {
  SSL_CTX* ctx = nullptr;
  std::string sni;
  bool is_verified = true;
};

struct redis_tls_session {
  SSL* ssl = nullptr;
  BIO* in = nullptr;   // from the wire; owned by ssl, as is out
  BIO* out = nullptr;  // to the wire
};

core::err redis_tls_open(const redis_url& url, redis_tls** out, std::string* why) {
  ERR_clear_error();
  SSL_CTX* ctx = SSL_CTX_new(TLS_client_method());
  CORE_ASSERT(ctx != nullptr);
  CORE_ASSERT(SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);  // an idle connection holds no record buffers
  // A server that ends the connection without saying so in TLS is as gone as one that says so:
  // replies are framed, nothing can be cut off unnoticed.
  SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
  std::string wrong = load_trust(ctx, url);
  if (wrong.empty()) wrong = load_identity(ctx, url);
  if (!wrong.empty()) {
    *why = "TLS to Redis: " + wrong;
    SSL_CTX_free(ctx);
    return core::err::invalid;
  }
  *out = new redis_tls{ctx, url.sni, url.is_verified};
  return core::err::ok;
}

void redis_tls_close(redis_tls* t) noexcept {
  if (t == nullptr) return;
  SSL_CTX_free(t->ctx);
  delete t;
}

redis_tls_session* redis_tls_session_new(redis_tls* t, const std::string& host) noexcept {
  auto* s = new redis_tls_session;
  s->ssl = SSL_new(t->ctx);
  s->in = BIO_new(BIO_s_mem());
  s->out = BIO_new(BIO_s_mem());
  CORE_ASSERT(s->ssl != nullptr && s->in != nullptr && s->out != nullptr);
  BIO_set_mem_eof_return(s->in, -1);  // empty means "later", not the end
  SSL_set_bio(s->ssl, s->in, s->out);
  SSL_set_connect_state(s->ssl);
  const std::string& name = t->sni.empty() ? host : t->sni;
  if (is_address(name)) {
    if (t->is_verified) X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), name.c_str());
  } else if (!name.empty()) {
    SSL_set_tlsext_host_name(s->ssl, name.c_str());
    if (t->is_verified) SSL_set1_host(s->ssl, name.c_str());
  }
  return s;
}

void redis_tls_session_free(redis_tls_session* s) noexcept {
  if (s == nullptr) return;
  SSL_free(s->ssl);
  delete s;
}

namespace {

core::err failed(redis_tls_session* s, int rc, std::string* why) {
  switch (SSL_get_error(s->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return core::err::ok;
    case SSL_ERROR_ZERO_RETURN:
      *why = "the server has ended TLS";
      return core::err::closed;
    default: {
      const long verified = SSL_get_verify_result(s->ssl);
      *why = "TLS: " + queued_error();
      if (verified != X509_V_OK)
        *why += std::string(": ") + X509_verify_cert_error_string(verified);
      return core::err::io;
    }
  }
}

}  // namespace

core::err redis_tls_feed(redis_tls_session* s, std::string_view bytes,
                         const redis_tls_events* events, void* user, std::string* why) noexcept {
  ERR_clear_error();
  if (!bytes.empty()) {
    const int len = static_cast<int>(bytes.size());  // at most the loop's receive buffer
    CORE_ASSERT(BIO_write(s->in, bytes.data(), len) == len);
  }
  if (!SSL_is_init_finished(s->ssl)) {
    const int rc = SSL_do_handshake(s->ssl);
    if (rc != 1) return failed(s, rc, why);
  }
  char plain[kReadBytes];
  for (;;) {
    const int got = SSL_read(s->ssl, plain, kReadBytes);
    if (got <= 0) return failed(s, got, why);
    events->on_plain(user, {plain, static_cast<size_t>(got)});
    if (!events->is_wanted(user)) return core::err::ok;
    ERR_clear_error();
  }
}

bool redis_tls_is_open(const redis_tls_session* s) noexcept {
  return SSL_is_init_finished(s->ssl) != 0;
}

void redis_tls_write(redis_tls_session* s, std::string_view bytes) noexcept {
  CORE_ASSERT(redis_tls_is_open(s) && bytes.size() <= INT32_MAX);
  if (bytes.empty()) return;
  ERR_clear_error();
  const int len = static_cast<int>(bytes.size());
  CORE_ASSERT(SSL_write(s->ssl, bytes.data(), len) == len);  // a memory BIO takes everything
}

std::string_view redis_tls_output(redis_tls_session* s) noexcept {
  char* bytes = nullptr;
  const long len = BIO_get_mem_data(s->out, &bytes);
  return {bytes, len > 0 ? static_cast<size_t>(len) : 0};
}

void redis_tls_sent(redis_tls_session* s) noexcept {
  (void)BIO_reset(s->out);
}

}  // namespace broker
