// Outgoing sockets: connected, refused, from a source address, and every error.
#include "core/dial.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "core/conn.h"
#include "loop_world.h"

namespace core {
namespace {

// A socket that listens on a loopback address; port() tells where.
class server_socket {
 public:
  explicit server_socket(int family = AF_INET)
      : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage a{};
    socklen_t size = sizeof(sockaddr_in);
    a.ss_family = static_cast<sa_family_t>(family);
    if (family == AF_INET6) {
      reinterpret_cast<sockaddr_in6*>(&a)->sin6_addr = in6addr_loopback;
      size = sizeof(sockaddr_in6);
    } else {
      reinterpret_cast<sockaddr_in*>(&a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    is_open_ = fd_ >= 0 && bind(fd_, reinterpret_cast<sockaddr*>(&a), size) == 0 &&
               listen(fd_, 8) == 0 && getsockname(fd_, reinterpret_cast<sockaddr*>(&a), &size) == 0;
    port_ = ntohs(family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&a)->sin6_port
                                     : reinterpret_cast<sockaddr_in*>(&a)->sin_port);
  }
  ~server_socket() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  bool is_open() const { return is_open_; }
  uint16_t port() const { return port_; }
  int accept(sockaddr_in* from = nullptr) {
    socklen_t size = sizeof *from;
    return accept4(fd_, reinterpret_cast<sockaddr*>(from), from == nullptr ? nullptr : &size,
                   SOCK_CLOEXEC);
  }

 private:
  int fd_;
  bool is_open_ = false;
  uint16_t port_ = 0;
};

// What connecting has come to: 0 or an errno.
int outcome(int fd) {
  pollfd p{fd, POLLOUT, 0};
  EXPECT_EQ(poll(&p, 1, 10'000), 1);
  int code = 0;
  socklen_t size = sizeof code;
  EXPECT_EQ(getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size), 0);
  return code;
}

void expect_connects(const dial_address& a, server_socket* s) {
  int fd = -1;
  ASSERT_EQ(dial(a, &fd), err::ok);
  EXPECT_NE(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(outcome(fd), 0);
  client_socket there(s->accept());
  ASSERT_EQ(send(fd, "hi", 2, MSG_NOSIGNAL), 2);
  EXPECT_EQ(there.read(2), "hi");
  close(fd);
}

TEST(dial, connects_to_a_numeric_address_and_to_localhost) {
  server_socket s;
  expect_connects({"127.0.0.1", s.port(), ""}, &s);
  expect_connects({"localhost", s.port(), ""}, &s);
  server_socket v6(AF_INET6);
  if (v6.is_open()) expect_connects({"::1", v6.port(), ""}, &v6);
}

TEST(dial, connects_from_the_source_address) {
  server_socket s;
  int fd = -1;
  ASSERT_EQ(dial({"127.0.0.1", s.port(), "127.0.0.9"}, &fd), err::ok);
  sockaddr_in from{};
  client_socket there(s.accept(&from));
  EXPECT_EQ(ntohl(from.sin_addr.s_addr), 0x7F000009u);
  close(fd);
}

TEST(dial, refuses_what_is_no_numeric_address) {
  const dial_address table[] = {
      {"", 80, ""},      {"example.com", 80, ""},      {"127.0.0.1 ", 80, ""},
      {"[::1]", 80, ""}, {"127.0.0.1", 80, "nowhere"}, {"127.0.0.1", 80, "::1"}};
  for (const dial_address& a : table) {
    int fd = 77;
    EXPECT_EQ(dial(a, &fd), err::invalid) << a.host << " from " << a.source;
    EXPECT_EQ(fd, -1);
  }
}

TEST(dial, numeric_addresses_are_known_beforehand) {
  for (const char* host : {"127.0.0.1", "::1", "localhost"}) EXPECT_TRUE(dial_is_numeric(host));
  for (const char* host : {"", "example.com", "127.0.0.256"}) EXPECT_FALSE(dial_is_numeric(host));
}

TEST(dial, a_source_that_is_not_ours_is_an_io_error) {
  int fd = 77;
  EXPECT_EQ(dial({"127.0.0.1", 80, "192.0.2.1"}, &fd), err::io);
  EXPECT_EQ(fd, -1);
}

TEST(dial, a_refusal_shows_at_once_or_as_a_reset) {
  server_socket s;
  s.close();  // nobody listens there now
  int fd = -1;
  const err rc = dial({"127.0.0.1", s.port(), ""}, &fd);
  if (rc != err::ok) {
    EXPECT_EQ(rc, err::io);
    EXPECT_EQ(fd, -1);
    return;
  }
  EXPECT_EQ(outcome(fd), ECONNREFUSED);
  close(fd);
}

TEST(dial, without_descriptors_it_is_full) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);  // the lowest free number
  ASSERT_GE(next, 0);
  const rlimit none{static_cast<rlim_t>(next), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  int fd = 77;
  const err rc = dial({"127.0.0.1", 80, ""}, &fd);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  close(next);
  EXPECT_EQ(rc, err::full);
  EXPECT_EQ(fd, -1);
}

// As users have it: bytes that are sent while the socket still connects arrive.
TEST(dial, a_connection_may_send_at_once) {
  struct link {
    conn c;
    std::promise<end_reason> closed;
  };
  static constexpr conn_events kEvents = {
      [](conn*, char*, uint32_t) noexcept {},
      [](conn* c) noexcept { conn_close(c, end_reason::client_closed); },
      [](conn* c, end_reason why) noexcept { reinterpret_cast<link*>(c)->closed.set_value(why); }};
  server_socket s;
  loop_world w(1);
  link k;
  w.on(0, [&](loop* l) {
    int fd = -1;
    ASSERT_EQ(dial({"127.0.0.1", s.port(), ""}, &fd), err::ok);
    ASSERT_EQ(conn_init(&k.c, l, fd, &kEvents, 1000), err::ok);
    conn_send(&k.c, frame_copy("early"));
  });
  {
    client_socket there(s.accept());
    EXPECT_EQ(there.read(5), "early");
  }
  EXPECT_EQ(k.closed.get_future().get(), end_reason::client_closed);
}

}  // namespace
}  // namespace core
