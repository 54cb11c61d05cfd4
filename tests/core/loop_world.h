// What the tests of loops share: a running group, calls that wait, a clock of one's own, connected
// sockets.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>

#include "core/loop.h"

namespace core {

class manual_clock final : public clock_source {
 public:
  uint64_t mono_us() const noexcept override { return us_.load(); }
  int64_t wall_ms() const noexcept override { return static_cast<int64_t>(us_.load() / 1000); }
  void advance_ms(uint64_t ms) { us_.fetch_add(ms * 1000); }

 private:
  std::atomic<uint64_t> us_{1'000'000'000};
};

// Loops that run until the end of the scope.
class loop_world {
 public:
  explicit loop_world(uint32_t count, const loop_options& options = {}) {
    EXPECT_EQ(loop_group_create(count, options, &group_), err::ok);
    loop_group_start(group_, &kEvents, this);
  }
  ~loop_world() {
    stop();
    loop_group_free(group_);
  }
  void stop() { loop_group_stop(group_); }
  loop* at(uint32_t i) const { return loop_group_at(group_, i); }
  // Runs fn on the loop's thread and waits for its end.
  void on(uint32_t i, std::function<void(loop*)> fn) const {
    call c{std::move(fn), {}};
    while (!loop_call(at(i), run_call, &c)) std::this_thread::yield();
    c.done.get_future().wait();
  }
  // Asks on the loop's thread again and again; the test's time limit is the limit.
  void until(uint32_t i, const std::function<bool(loop*)>& is_so) const {
    for (bool so = false; !so;) on(i, [&](loop* l) { so = is_so(l); });
  }
  std::atomic<int> started{0};
  std::atomic<int> stopped{0};

 private:
  struct call {
    std::function<void(loop*)> fn;
    std::promise<void> done;
  };
  static void run_call(loop* here, void* user) noexcept {
    auto* c = static_cast<call*>(user);
    c->fn(here);
    c->done.set_value();
  }
  static constexpr loop_group_events kEvents = {
      [](void* w, loop*) noexcept { static_cast<loop_world*>(w)->started.fetch_add(1); },
      [](void* w, loop*) noexcept { static_cast<loop_world*>(w)->stopped.fetch_add(1); }};
  loop_group* group_ = nullptr;
};

// A client's blocking socket; a read that takes ten seconds is a failure, not a hang.
class client_socket {
 public:
  explicit client_socket(int fd) : fd_(fd) {
    const timeval limit{10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  client_socket(const client_socket&) = delete;
  client_socket& operator=(const client_socket&) = delete;
  ~client_socket() { close(); }
  int fd() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void reset() {
    const linger now{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void write(const std::string& bytes) {
    ASSERT_EQ(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void shut() { ASSERT_EQ(shutdown(fd_, SHUT_WR), 0); }
  std::string read(size_t n) {
    std::string bytes(n, '\0');
    size_t got = 0;
    while (got < n) {
      const ssize_t r = receive(bytes.data() + got, n - got);
      if (r <= 0) break;
      got += static_cast<size_t>(r);
    }
    bytes.resize(got);
    return bytes;
  }
  bool at_end() {
    char c;
    return receive(&c, 1) == 0;
  }

 private:
  // libuv from 1.45 on has an io_uring whose work may interrupt a system call of the thread that
  // made the loops.
  ssize_t receive(char* to, size_t n) {
    ssize_t r;
    do {
      r = recv(fd_, to, n, 0);
    } while (r < 0 && errno == EINTR);
    return r;
  }
  int fd_;
};

inline int connect_to(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  a.sin_port = htons(port);
  if (connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0) return fd;
  close(fd);
  return -1;
}

// {server's end, non-blocking; client's end}
inline std::pair<int, int> tcp_pair() {
  const int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  EXPECT_EQ(bind(listening, reinterpret_cast<sockaddr*>(&a), size), 0);
  EXPECT_EQ(listen(listening, 1), 0);
  EXPECT_EQ(getsockname(listening, reinterpret_cast<sockaddr*>(&a), &size), 0);
  const int client = connect_to(ntohs(a.sin_port));
  const int server = accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  close(listening);
  EXPECT_GE(client, 0);
  EXPECT_GE(server, 0);
  return {server, client};
}

}  // namespace core
