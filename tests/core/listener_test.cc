// Addresses, the probe for a second server, the accept budget, and running out of descriptors.
#include "core/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <map>
#include <memory>
#include <vector>

#include "core/conn.h"
#include "loop_world.h"

namespace core {
namespace {

TEST(listen_address_test, parses_hosts_and_ports) {
  const struct {
    const char* text;
    const char* host;
    uint16_t port;
  } good[] = {{"127.0.0.1:8000", "127.0.0.1", 8000},
              {":0", "", 0},
              {"[::1]:65535", "::1", 65535},
              {"my-host.example:80", "my-host.example", 80}};
  for (const auto& g : good) {
    listen_address a;
    EXPECT_EQ(listen_address_parse(g.text, &a), err::ok) << g.text;
    EXPECT_EQ(a.host, g.host);
    EXPECT_EQ(a.port, g.port);
  }
  for (const char* bad :
       {"", "8000", "host", "host:", "host:65536", "host:-1", "host:+1", "host:8000x", "host: 80",
        "::1:80", "[::1]", "[::1", "[]:80", "[host]:80", "a b:80", "a]:80", "a\n:80"}) {
    listen_address a;
    EXPECT_EQ(listen_address_parse(bad, &a), err::invalid) << bad;
  }
  listen_address a;
  EXPECT_EQ(listen_address_parse(std::string("a\0b:80", 6), &a), err::invalid);
}

TEST(listen_address_test, knows_loopback) {
  for (const char* host : {"127.0.0.1", "127.255.0.9", "::1", "localhost"})
    EXPECT_TRUE(listen_address_is_loopback({host, 1})) << host;
  for (const char* host : {"", "0.0.0.0", "128.0.0.1", "::", "10.0.0.1", "localhost.example"})
    EXPECT_FALSE(listen_address_is_loopback({host, 1})) << host;
}

struct accepted {
  std::vector<int> fds;
  std::map<uint64_t, uint32_t> by_iteration;
  std::atomic<uint32_t> count{0};
  ~accepted() {
    for (const int fd : fds) close(fd);
  }
};

void take(void* user, loop* l, int fd) noexcept {
  auto* a = static_cast<accepted*>(user);
  a->fds.push_back(fd);
  ++a->by_iteration[loop_counters(l)->iterations.get()];
  a->count.fetch_add(1);
}

class listener_test : public testing::Test {
 protected:
  listener* open(uint32_t i) {
    listener* made = nullptr;
    w_.on(i, [&](loop* l) {
      std::string why;
      EXPECT_EQ(listener_open(l, address_, take, &taken_, &made, &why), err::ok) << why;
    });
    return made;
  }
  void close_at(uint32_t i, listener* l) {
    w_.on(i, [&](loop*) {
      listener_close(l);
      listener_close(l);
    });
  }
  accepted taken_;
  listen_address address_{"127.0.0.1", 0};
  loop_world w_{2};
};

TEST_F(listener_test, probe_finds_a_port_and_then_a_conflict) {
  std::string why;
  ASSERT_EQ(listener_probe(&address_, &why), err::ok);
  EXPECT_NE(address_.port, 0);
  listen_address again = address_;
  EXPECT_EQ(listener_probe(&again, &why), err::ok) << "a probe leaves nothing behind";
  EXPECT_EQ(again.port, address_.port);
  listener* l = open(0);
  EXPECT_EQ(listener_probe(&again, &why), err::conflict);
  EXPECT_NE(why.find("another process serves this port"), std::string::npos) << why;
  close_at(0, l);
  w_.stop();  // its handle has closed
  EXPECT_EQ(listener_probe(&again, &why), err::ok);
}

TEST_F(listener_test, a_restart_is_not_hindered_by_old_connections) {
  std::string why;
  ASSERT_EQ(listener_probe(&address_, &why), err::ok);
  listener* l = open(0);
  client_socket client(connect_to(address_.port));
  while (taken_.count == 0) std::this_thread::yield();
  w_.on(0, [&](loop*) {  // the server closes first: its side stays in TIME_WAIT
    close(taken_.fds.back());
    taken_.fds.pop_back();
  });
  EXPECT_TRUE(client.at_end());
  client.close();
  close_at(0, l);
  w_.stop();
  EXPECT_EQ(listener_probe(&address_, &why), err::ok) << why;
}

TEST_F(listener_test, probe_explains_an_address_that_is_not_ours) {
  std::string why;
  listen_address foreign{"203.0.113.1", 1};
  EXPECT_EQ(listener_probe(&foreign, &why), err::io);
  EXPECT_NE(why.find("203.0.113.1:1"), std::string::npos) << why;
  listen_address nobody{"no-such-host.invalid", 1};
  EXPECT_EQ(listener_probe(&nobody, &why), err::invalid);
  EXPECT_NE(why.find("no-such-host.invalid"), std::string::npos) << why;
}

TEST_F(listener_test, loops_share_a_port) {
  std::string why;
  ASSERT_EQ(listener_probe(&address_, &why), err::ok);
  listener* a = open(0);
  listener* b = open(1);
  uint64_t iteration = 0;
  w_.on(1, [&](loop* l) { iteration = loop_counters(l)->iterations.get(); });
  close_at(1, b);
  // Until the socket is gone the kernel may give it our connection, and lose it with it.
  w_.until(1, [&](loop* l) { return loop_counters(l)->iterations.get() > iteration + 1; });
  client_socket client(connect_to(address_.port));
  ASSERT_GE(client.fd(), 0);
  while (taken_.count == 0) std::this_thread::yield();
  w_.on(0, [&](loop*) { EXPECT_NE(fcntl(taken_.fds[0], F_GETFL) & O_NONBLOCK, 0); });
  close_at(0, a);
}

TEST_F(listener_test, accepts_its_budget_an_iteration_and_the_rest_later) {
  std::string why;
  ASSERT_EQ(listener_probe(&address_, &why), err::ok);
  listener* l = open(0);
  std::vector<std::unique_ptr<client_socket>> clients;
  w_.on(0, [&](loop*) {  // all are in the backlog before the loop looks
    for (uint32_t i = 0; i < kAcceptsPerTurn + 1; ++i)
      clients.push_back(std::make_unique<client_socket>(connect_to(address_.port)));
  });
  while (taken_.count < kAcceptsPerTurn + 1) std::this_thread::yield();
  w_.on(0, [&](loop*) {
    uint32_t most = 0;
    for (const auto& [iteration, n] : taken_.by_iteration) most = std::max(most, n);
    EXPECT_EQ(most, kAcceptsPerTurn);
  });
  close_at(0, l);
}

// ---- in a process of its own, whose descriptors run out

constexpr int kRoom = 3;  // connections it has descriptors for

constexpr conn_events kEcho = {[](conn* c, char* bytes, uint32_t len) noexcept {
                                 conn_send(c, frame_copy({bytes, len}));
                               },
                               [](conn* c) noexcept { conn_close(c, end_reason::client_closed); },
                               [](conn* c, end_reason) noexcept { delete c; }};

[[noreturn]] void serve_with_few_descriptors(int port_out, int stop_in) {
  loop_world w(1);
  listen_address a{"127.0.0.1", 0};
  std::string why;
  if (listener_probe(&a, &why) != err::ok) _exit(2);
  bool is_open = false;
  w.on(0, [&](loop* l) {
    listener* made;
    is_open = listener_open(
                  l, a,
                  [](void*, loop* here, int fd) noexcept {
                    auto* c = new conn;
                    if (conn_init(c, here, fd, &kEcho, 1000) != err::ok) _exit(3);
                  },
                  nullptr, &made, &why) == err::ok;
  });
  if (!is_open) _exit(4);
  const int next = open("/dev/null", O_RDONLY);
  close(next);
  const rlimit few{static_cast<rlim_t>(next) + kRoom, static_cast<rlim_t>(next) + kRoom};
  if (setrlimit(RLIMIT_NOFILE, &few) != 0) _exit(5);
  if (write(port_out, &a.port, sizeof a.port) != sizeof a.port) _exit(6);
  char c;
  if (read(stop_in, &c, 1) != 0) _exit(7);
  uint64_t refused = 0;
  w.on(0, [&](loop* l) { refused = loop_counters(l)->accept_emfile.get(); });
  _exit(refused == 0 ? 8 : 0);
}

TEST(listener_emfile_test, refuses_at_once_and_accepts_again_later) {
  int port_pipe[2], stop_pipe[2];
  ASSERT_EQ(pipe2(port_pipe, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(stop_pipe, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(stop_pipe[1]);
    close(port_pipe[0]);
    serve_with_few_descriptors(port_pipe[1], stop_pipe[0]);
  }
  ASSERT_GT(child, 0);
  close(port_pipe[1]);
  close(stop_pipe[0]);
  uint16_t port = 0;
  ASSERT_EQ(read(port_pipe[0], &port, sizeof port), static_cast<ssize_t>(sizeof port));
  std::vector<std::unique_ptr<client_socket>> served;
  for (int i = 0; i < kRoom; ++i) {
    served.push_back(std::make_unique<client_socket>(connect_to(port)));
    served.back()->write("x");
    ASSERT_EQ(served.back()->read(1), "x");
  }
  client_socket refused(connect_to(port));
  EXPECT_TRUE(refused.at_end()) << "not left hanging";
  served.front()->write("y");
  EXPECT_EQ(served.front()->read(1), "y") << "who is served stays served";
  served.front()->shut();
  EXPECT_TRUE(served.front()->at_end());  // one descriptor is free again
  client_socket later(connect_to(port));
  later.write("z");
  EXPECT_EQ(later.read(1), "z");
  close(stop_pipe[1]);
  close(port_pipe[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace core
