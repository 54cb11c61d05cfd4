// Listening sockets: address parsing, the probe for a second server, accepting within a budget.
#include "core/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "core/assert.h"
#include "core/log.h"
#include "core/loop_impl.h"

namespace core {

namespace {

constexpr int kBacklog = 4096;  // the kernel cuts it to net.core.somaxconn
constexpr uint64_t kEmfilePauseMs = 100;
constexpr uint32_t kEmfileLogMs = 1000;

struct resolved {
  sockaddr_storage address{};
  socklen_t size = 0;
};

err resolve(const listen_address& a, resolved* out, std::string* why) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(a.port);
  if (a.host.empty()) hints.ai_family = AF_INET;
  const int rc =
      getaddrinfo(a.host.empty() ? nullptr : a.host.c_str(), port.c_str(), &hints, &found);
  if (rc != 0) {
    *why = "cannot resolve the listen address \"" + a.host + "\": " + gai_strerror(rc);
    return err::invalid;
  }
  std::memcpy(&out->address, found->ai_addr, found->ai_addrlen);
  out->size = found->ai_addrlen;
  freeaddrinfo(found);
  return err::ok;
}

std::string text_of(const listen_address& a) {
  return (a.host.find(':') != std::string::npos ? "[" + a.host + "]" : a.host) + ":" +
         std::to_string(a.port);
}

err refused(const listen_address& a, int code, std::string* why) {
  *why = "cannot listen on " + text_of(a) + ": " +
         (code == EADDRINUSE ? "another process serves this port" : std::strerror(code));
  return code == EADDRINUSE ? err::conflict : code == EACCES ? err::denied : err::io;
}

// A bound socket, not listening yet; -1 with *rc and *why.
int bind_socket(const listen_address& a, bool is_shared, err* rc, std::string* why) {
  resolved r;
  *rc = resolve(a, &r, why);
  if (*rc != err::ok) return -1;
  const int fd = ::socket(r.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  if (fd >= 0) {
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (is_shared) ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&r.address), r.size) == 0) return fd;
  }
  const int code = errno;
  if (fd >= 0) ::close(fd);
  *rc = refused(a, code, why);
  return -1;
}

}  // namespace

struct listener {
  uv_poll_t poll;  // first: a handle is a listener
  uv_timer_t pause;
  loop* home;
  accept_cb cb;
  void* user;
  int fd;
  int spare;  // given up for a moment when descriptors run out
  uint32_t open_handles;
  bool is_closing;
};

namespace {

void on_readable(uv_poll_t* h, int status, int events) noexcept;

int spare_open() noexcept {
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void on_pause_over(uv_timer_t* t) noexcept {
  listener* l = static_cast<listener*>(t->data);
  loop_enter(l->home);
  if (l->spare < 0) l->spare = spare_open();
  uv_poll_start(&l->poll, UV_READABLE, on_readable);
}

void pause_accepting(listener* l) noexcept {
  uv_poll_stop(&l->poll);
  uv_timer_start(&l->pause, on_pause_over, kEmfilePauseMs, 0);
}

// No descriptor is left: one peer is taken and closed at once, so that the queue's head does not
// hang, and then there is a pause.
void on_emfile(listener* l, int code) noexcept {
  static log_limit once;
  l->home->counters.accept_emfile.add();
  if (log_limit_pass(&once, kEmfileLogMs))
    log_warn("no descriptors left to accept connections", {{"reason", std::strerror(code)}});
  if (l->spare >= 0) {
    ::close(l->spare);
    const int peer = ::accept4(l->fd, nullptr, nullptr, SOCK_CLOEXEC);
    if (peer >= 0) ::close(peer);
    l->spare = spare_open();
  }
  pause_accepting(l);
}

void on_readable(uv_poll_t* h, int status, int) noexcept {
  listener* l = reinterpret_cast<listener*>(h);
  loop_enter(l->home);
  if (status < 0) {  // libuv has stopped polling
    pause_accepting(l);
    return;
  }
  for (uint32_t i = 0; i < kAcceptsPerTurn && !l->is_closing; ++i) {
    const int fd = ::accept4(l->fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      l->cb(l->user, l->home, fd);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
      on_emfile(l, errno);
    return;  // EAGAIN: all taken
  }
}

void on_listener_closed(uv_handle_t* h) noexcept {
  listener* l = static_cast<listener*>(h->data);
  if (--l->open_handles > 0) return;
  ::close(l->fd);
  if (l->spare >= 0) ::close(l->spare);
  delete l;
}

}  // namespace

err listen_address_parse(const std::string& text, listen_address* out) noexcept {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return err::invalid;
  std::string host = text.substr(0, colon);
  if (!host.empty() && host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return err::invalid;
    host = host.substr(1, host.size() - 2);
    in6_addr v6;
    if (inet_pton(AF_INET6, host.c_str(), &v6) != 1) return err::invalid;
  } else {
    for (const char c : host) {
      if (c <= ' ' || c > '~' || c == ':' || c == '[' || c == ']') return err::invalid;
    }
  }
  const char* first = text.data() + colon + 1;
  const char* last = text.data() + text.size();
  uint16_t port = 0;
  const auto [end, rc] = std::from_chars(first, last, port);
  if (rc != std::errc() || end != last || first == last) return err::invalid;
  out->host = host;
  out->port = port;
  return err::ok;
}

bool listen_address_is_loopback(const listen_address& a) noexcept {
  if (a.host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, a.host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, a.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

err listener_probe(listen_address* a, std::string* why) noexcept {
  err rc;
  const int fd = bind_socket(*a, false, &rc, why);
  if (fd < 0) return rc;
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (a->port == 0 && ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) == 0) {
    a->port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                                : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  }
  ::close(fd);
  return err::ok;
}

err listener_open(loop* home, const listen_address& a, accept_cb cb, void* user, listener** out,
                  std::string* why) noexcept {
  err rc;
  const int fd = bind_socket(a, true, &rc, why);
  if (fd < 0) return rc;
  if (::listen(fd, kBacklog) != 0) {
    rc = refused(a, errno, why);
    ::close(fd);
    return rc;
  }
  auto* l = new listener{};
  l->home = home;
  l->cb = cb;
  l->user = user;
  l->fd = fd;
  l->open_handles = 2;
  if (const int code = uv_poll_init(&home->uv, &l->poll, fd); code != 0) {
    rc = refused(a, -code, why);
    ::close(fd);
    delete l;
    return rc;
  }
  l->spare = spare_open();
  l->poll.data = l;
  uv_timer_init(&home->uv, &l->pause);
  l->pause.data = l;
  CORE_ASSERT(uv_poll_start(&l->poll, UV_READABLE, on_readable) == 0);
  *out = l;
  return err::ok;
}

void listener_close(listener* l) noexcept {
  if (l->is_closing) return;
  l->is_closing = true;
  uv_close(reinterpret_cast<uv_handle_t*>(&l->poll), on_listener_closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&l->pause), on_listener_closed);
}

}  // namespace core
