// uv_getaddrinfo(), the first address of the answer.
#include "core/resolve.h"

#include <netdb.h>
#include <uv.h>

#include "core/loop_impl.h"

namespace core {

struct resolving {
  uv_getaddrinfo_t request;
  loop* home = nullptr;
  void (*done)(void* user, err rc, const std::string& address) noexcept = nullptr;
  void* user = nullptr;
};

namespace {

void on_resolved(uv_getaddrinfo_t* q, int status, addrinfo* found) noexcept {
  auto* r = static_cast<resolving*>(q->data);
  loop_enter(r->home);
  std::string address;
  char text[NI_MAXHOST];
  if (status == 0 && found != nullptr &&
      ::getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, nullptr, 0,
                    NI_NUMERICHOST) == 0)
    address = text;
  if (found != nullptr) uv_freeaddrinfo(found);
  if (r->done != nullptr) r->done(r->user, address.empty() ? err::not_found : err::ok, address);
  delete r;
}

}  // namespace

resolving* resolve(loop* home, const std::string& host,
                   void (*done)(void* user, err rc, const std::string& address) noexcept,
                   void* user) noexcept {
  auto* r = new resolving;
  r->request.data = r;
  r->home = home;
  r->done = done;
  r->user = user;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  if (uv_getaddrinfo(loop_uv(home), &r->request, on_resolved, host.c_str(), nullptr, &hints) == 0)
    return r;
  delete r;
  return nullptr;
}

void resolve_forget(resolving* r) noexcept {
  r->done = nullptr;
  uv_cancel(reinterpret_cast<uv_req_t*>(&r->request));  // what has begun answers into nothing
}

}  // namespace core
