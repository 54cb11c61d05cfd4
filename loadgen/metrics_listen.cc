// The page's text, and a small HTTP server on blocking sockets with time limits.
#include "loadgen/metrics_listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

#include "core/listener.h"
#include "loadgen/text.h"

namespace loadgen {

struct metrics_page {
  std::mutex lock;
  std::string text;
  int listener = -1, ending = -1;
  std::thread thread;
};

namespace {

constexpr int kClientMs = 2000;  // what one scraper may take for its request, and for its answer
constexpr size_t kRequestBytesMax = 8192;

void line(std::string* out, const char* name, const char* type, const char* help, double value) {
  if (value < 0) return;
  char digits[40];
  std::snprintf(digits, sizeof digits, "%.17g", value);
  out->append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ").append(name);
  out->append(" ").append(type).append("\n").append(name).append(" ").append(digits).append("\n");
}

bool is_ready(int fd, short what, int ms) {
  pollfd p{fd, what, 0};
  return ::poll(&p, 1, ms) == 1;
}

void answer(metrics_page* p, int fd) {
  std::string request;
  char bytes[2048];
  while (request.find("\r\n\r\n") == std::string::npos && request.size() < kRequestBytesMax) {
    if (!is_ready(fd, POLLIN, kClientMs)) return;
    const ssize_t n = ::recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) return;
    request.append(bytes, static_cast<size_t>(n));
  }
  const bool is_metrics = request.starts_with("GET /metrics ");
  std::string body = "only GET /metrics is here\n";
  if (is_metrics) {
    const std::lock_guard<std::mutex> held(p->lock);
    body = p->text;
  }
  std::string out = is_metrics ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 404 Not Found\r\n";
  out +=
      "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nConnection: close\r\n"
      "Content-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  for (size_t at = 0; at < out.size();) {
    if (!is_ready(fd, POLLOUT, kClientMs)) return;
    const ssize_t n = ::send(fd, out.data() + at, out.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0) return;
    at += static_cast<size_t>(n);
  }
}

void serve(metrics_page* p) {
  for (;;) {
    pollfd both[2] = {{p->listener, POLLIN, 0}, {p->ending, POLLIN, 0}};
    if (::poll(both, 2, -1) < 0) continue;  // a signal
    if (both[1].revents != 0) return;
    const int fd = ::accept4(p->listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    answer(p, fd);
    ::close(fd);
  }
}

core::err listen_on(const core::listen_address& to, int* fd, std::string* why) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(to.port);
  if (::getaddrinfo(to.host.empty() ? nullptr : to.host.c_str(), port.c_str(), &hints, &found) !=
      0) {
    *why = "HOST is a numeric address";
    return core::err::invalid;
  }
  *fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  ::setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const bool is_bound =
      ::bind(*fd, found->ai_addr, found->ai_addrlen) == 0 && ::listen(*fd, 16) == 0;
  const int code = errno;
  ::freeaddrinfo(found);
  if (is_bound) return core::err::ok;
  *why = strerror(code);
  ::close(*fd);
  return core::err::io;
}

}  // namespace

std::string metrics_page_text(const char* stage, const second_sample& s) {
  std::string out =
      "# HELP parley_load_stage What the run is doing.\n# TYPE parley_load_stage gauge\n"
      "parley_load_stage{stage=\"" +
      markup_text(stage) + "\"} 1\n";
  const auto total = [&](const char* name, const char* help, uint64_t value) {
    line(&out, name, "counter", help, static_cast<double>(value));
  };
  const auto gauge = [&](const char* name, const char* help, double value) {
    line(&out, name, "gauge", help, value);
  };
  total("parley_load_sent_total", "Messages sent.", s.sent);
  total("parley_load_acknowledged_total", "Publishes that were answered.", s.acked);
  total("parley_load_delivered_total", "Deliveries.", s.delivered);
  total("parley_load_errors_total", "Error replies.", s.errors);
  gauge("parley_load_connections", "Clients that are connected.", static_cast<double>(s.connected));
  gauge("parley_load_tool_cpu_cores", "Processor time of the tool.", s.tool_cpu);
  gauge("parley_load_server_cpu_cores", "Processor time of the server (--pid).", s.server_cpu);
  gauge("parley_load_server_resident_bytes", "Resident memory of the server (--pid).",
        s.server_rss_bytes);
  return out;
}

core::err metrics_page_open(const std::string& address, metrics_page** out, uint16_t* port,
                            std::string* why) noexcept {
  core::listen_address to;
  if (core::listen_address_parse(address, &to) != core::err::ok) {
    *why =
        "--metrics-listen is HOST:PORT, as 127.0.0.1:9100 or [::1]:9100, not \"" + address + "\"";
    return core::err::invalid;
  }
  int fd = -1;
  if (const core::err rc = listen_on(to, &fd, why); rc != core::err::ok) {
    *why = "--metrics-listen " + address + ": " + *why;
    return rc;
  }
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&where), &size);
  *port = ntohs(where.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&where)->sin6_port
                                            : reinterpret_cast<sockaddr_in*>(&where)->sin_port);
  auto* p = new metrics_page;
  p->listener = fd;
  p->ending = ::eventfd(0, EFD_CLOEXEC);
  p->text = metrics_page_text("starting", {});
  p->thread = std::thread(serve, p);
  *out = p;
  return core::err::ok;
}

void metrics_page_set(metrics_page* p, const char* stage, const second_sample& s) noexcept {
  std::string text = metrics_page_text(stage, s);
  const std::lock_guard<std::mutex> held(p->lock);
  p->text = std::move(text);
}

void metrics_page_close(metrics_page* p) noexcept {
  if (p == nullptr) return;
  const uint64_t one = 1;
  (void)!::write(p->ending, &one, sizeof one);
  p->thread.join();
  ::close(p->listener);
  ::close(p->ending);
  delete p;
}

}  // namespace loadgen
