// socket(2), bind(2) when a source is given, connect(2).
#include "core/dial.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace core {
namespace {

bool resolve(const std::string& host, uint16_t port, sockaddr_storage* out,
             socklen_t* size) noexcept {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string name = host == "localhost" ? "127.0.0.1" : host;
  if (::getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return false;
  memcpy(out, found->ai_addr, found->ai_addrlen);
  *size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return true;
}

err connect_from(int fd, const dial_address& a, const sockaddr_storage& to,
                 socklen_t size) noexcept {
  if (!a.source.empty()) {
    sockaddr_storage from{};
    socklen_t from_size = 0;
    if (!resolve(a.source, 0, &from, &from_size) || from.ss_family != to.ss_family)
      return err::invalid;
    const int one = 1;  // the port is chosen at connect, so that one source serves many targets
    ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&from), from_size) != 0) return err::io;
  }
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), size) == 0 || errno == EINPROGRESS)
    return err::ok;
  return errno == EADDRNOTAVAIL || errno == EAGAIN ? err::full : err::io;
}

}  // namespace

bool dial_is_numeric(const std::string& host) noexcept {
  sockaddr_storage to{};
  socklen_t size = 0;
  return resolve(host, 0, &to, &size);
}

err dial(const dial_address& a, int* fd) noexcept {
  sockaddr_storage to{};
  socklen_t size = 0;
  *fd = -1;
  if (!resolve(a.host, a.port, &to, &size)) return err::invalid;
  *fd = ::socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (*fd < 0) return errno == EMFILE || errno == ENFILE ? err::full : err::io;
  const err rc = connect_from(*fd, a, to, size);
  if (rc != err::ok) {
    ::close(*fd);
    *fd = -1;
  }
  return rc;
}

}  // namespace core
