// A small blocking HTTP client: one request, one answer, one deadline for all of it. For threads
// that may wait, never for a loop. No TLS, no redirects, no keep-alive.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/dial.h"
#include "core/err.h"

namespace core {

struct http_target {
  dial_address address;  // its host may be a name, which dial() does not take
  std::string host;      // as given, with its port: for the header Host
  std::string path;      // with the query; at least "/"
};

// http://HOST[:PORT][/PATH]; a fragment is dropped. False: anything else, also https and a user.
bool http_target_parse(std::string_view url, http_target* t);

struct http_answer {
  int status = 0;
  std::string body;
};

// `request` is the head with its empty line, which should ask for "Connection: close". Borrows
// everything. *until_us is a time of system_clock()->mono_us(); another thread may move it, which
// is seen within 50 ms. An answer counts also when the server closed before it had read the
// request. invalid: the address is no number (see resolve.h); io: refused, or ended early; timeout,
// malformed; too_big: the answer's body is larger than body_bytes_max; full: no memory.
err http_exchange(const http_target& t, std::string_view request, std::string_view body,
                  size_t body_bytes_max, const std::atomic<uint64_t>& until_us,
                  http_answer* out) noexcept;

}  // namespace core
