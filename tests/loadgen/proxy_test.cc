// The proxy over loopback: bytes both ways, ends of every kind, latency, injuries, cuts, bounded
// memory.
#include "loadgen/proxy.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <memory>

#include "core/clock.h"
#include "core/frame.h"
#include "load_line.h"
#include "proto/ws_client.h"
#include "tests/core/loop_world.h"

namespace loadgen {
namespace {

using core::client_socket;
using core::err;
using std::string;
using strings = std::vector<string>;

const string kRequest = "GET /connection/websocket HTTP/1.1\r\nHost: a\r\n\r\n";
const string kAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

uint64_t now_us() {
  return core::system_clock()->mono_us();
}

// Both ends of a connection through the proxy, upgraded.
struct wire {
  std::unique_ptr<client_socket> client, server;
  // The next n messages at the client.
  strings messages(size_t n) {
    struct heard {
      strings all;
    } h;
    static constexpr proto::ws_client_events kEvents = {
        [](void* user, std::string_view payload) noexcept {
          static_cast<heard*>(user)->all.emplace_back(payload);
        },
        [](void*, std::string_view) noexcept {}, [](void*, uint16_t, std::string_view) noexcept {}};
    while (h.all.size() < n) {
      const string byte = client->read(1);
      if (byte.empty()) break;
      EXPECT_EQ(proto::ws_client_feed(&frames, byte, 1 << 20, &kEvents, &h), err::ok);
    }
    return h.all;
  }
  bool ends_by_reset() const {
    char c;
    ssize_t n;
    do {
      n = recv(client->fd(), &c, 1, 0);
    } while (n > 0);
    return n < 0 && errno == ECONNRESET;
  }
  proto::ws_client frames;
};

class proxy_test : public testing::Test {
 protected:
  void SetUp() override {
    frames_before_ = core::frame_live();
    door_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof a;
    ASSERT_EQ(bind(door_, reinterpret_cast<sockaddr*>(&a), size), 0);
    ASSERT_EQ(listen(door_, 512), 0);
    ASSERT_EQ(getsockname(door_, reinterpret_cast<sockaddr*>(&a), &size), 0);
    options_.host = "127.0.0.1";
    options_.port = ntohs(a.sin_port);
  }
  void TearDown() override {
    stop();
    if (door_ >= 0) ::close(door_);
    EXPECT_EQ(core::frame_live(), frames_before_);
  }
  void start(const std::vector<injury>& injuries = {}, uint32_t latency_ms = 0) {
    options_.injuries = injuries;
    options_.latency_ms = latency_ms;
    string why;
    ASSERT_EQ(proxy_start(options_, &proxy_, &port_, &why), err::ok) << why;
    ASSERT_NE(port_, 0);
  }
  proxy_report stop() {
    proxy_report r;
    if (proxy_ != nullptr) proxy_stop(proxy_, &r);
    proxy_ = nullptr;
    return r;
  }
  void close_door() {
    ::close(door_);
    door_ = -1;
  }
  std::unique_ptr<client_socket> dial() {
    return std::make_unique<client_socket>(core::connect_to(port_));
  }
  std::unique_ptr<client_socket> accept() {
    pollfd p{door_, POLLIN, 0};
    EXPECT_EQ(poll(&p, 1, 10'000), 1);
    return std::make_unique<client_socket>(accept4(door_, nullptr, nullptr, SOCK_CLOEXEC));
  }
  wire open() {
    wire w;
    w.client = dial();
    w.client->write(kRequest);
    w.server = accept();
    EXPECT_EQ(w.server->read(kRequest.size()), kRequest);
    w.server->write(kAnswer);
    EXPECT_EQ(w.client->read(kAnswer.size()), kAnswer);
    return w;
  }
  // How much `from` can send while `to` reads nothing; ends when the socket has been full for a
  // while. A slow machine makes it less, never more.
  static string fill(client_socket* from, size_t bytes_max) {
    string sent;
    const string piece = text_frame(string(60'000, 'x')) + text_frame(load_line(0, 1));
    while (sent.size() < bytes_max) {
      pollfd p{from->fd(), POLLOUT, 0};
      if (poll(&p, 1, 300) != 1) break;
      const ssize_t n = send(from->fd(), piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n <= 0) continue;
      sent.append(piece, 0, static_cast<size_t>(n));
      if (static_cast<size_t>(n) == piece.size()) continue;
      const string rest = piece.substr(static_cast<size_t>(n));
      size_t at = 0;
      while (at < rest.size()) {
        pollfd again{from->fd(), POLLOUT, 0};
        if (poll(&again, 1, 300) != 1) return sent;
        const ssize_t more =
            send(from->fd(), rest.data() + at, rest.size() - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (more <= 0) continue;
        sent.append(rest, at, static_cast<size_t>(more));
        at += static_cast<size_t>(more);
      }
    }
    return sent;
  }

  proxy_options options_;
  proxy* proxy_ = nullptr;
  uint16_t port_ = 0;
  int door_ = -1;
  int64_t frames_before_ = 0;
};

// --- bytes and ends

TEST_F(proxy_test, passes_both_ways_unchanged) {
  start();
  wire w = open();
  string up(200'000, '\0');
  for (size_t i = 0; i < up.size(); ++i) up[i] = static_cast<char>(i * 7 + i / 251);
  w.client->write(up);
  EXPECT_TRUE(w.server->read(up.size()) == up);
  const string down = text_frame("{}") + text_frame(load_line(0, 1)) +
                      server_frame(0x82, string(70'000, 'b')) + server_frame(0x89, "p");
  w.server->write(down);
  EXPECT_TRUE(w.client->read(down.size()) == down);
  const proxy_report r = stop();
  EXPECT_EQ(r.connections, 1u);
  EXPECT_EQ(r.frames, 1u);
  EXPECT_TRUE(r.places.empty());
}

TEST_F(proxy_test, refusals_and_other_streams_pass) {
  start({{injury_kind::drop, 1, 0}});
  auto client = dial();
  client->write(kRequest);
  auto server = accept();
  EXPECT_EQ(server->read(kRequest.size()), kRequest);
  const string refused = "HTTP/1.1 403 Forbidden\r\n\r\n" + text_frame(load_line(0, 1));
  server->write(refused);
  server->close();
  EXPECT_EQ(client->read(refused.size() + 1), refused);
}

TEST_F(proxy_test, the_servers_end_comes_behind_its_last_byte) {
  start({}, 20);
  wire w = open();
  const string down = text_frame("last") + server_frame(0x88, "\x03\xE8");
  w.server->write(down);
  w.server->close();
  EXPECT_EQ(w.client->read(down.size() + 1), down);
}

TEST_F(proxy_test, an_unfinished_frame_goes_out_at_the_end) {
  start();
  wire w = open();
  const string part = text_frame("abcdef").substr(0, 4);
  w.server->write(part);
  w.server->close();
  EXPECT_EQ(w.client->read(10), part);
}

TEST_F(proxy_test, the_clients_end_comes_behind_its_last_byte) {
  start();
  wire w = open();
  w.client->write("last");
  w.client->close();
  EXPECT_EQ(w.server->read(5), "last");
}

TEST_F(proxy_test, a_half_closed_client_is_answered_with_an_end) {
  start();
  wire w = open();
  w.client->write("last");
  w.client->shut();
  EXPECT_EQ(w.server->read(5), "last");
  EXPECT_TRUE(w.client->at_end());
}

TEST_F(proxy_test, a_reset_of_the_client_reaches_the_server) {
  start();
  wire w = open();
  w.client->reset();
  char c;
  EXPECT_EQ(recv(w.server->fd(), &c, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(proxy_test, a_reset_of_the_server_ends_the_client) {
  start();
  wire w = open();
  w.server->reset();
  char c;
  errno = 0;
  EXPECT_LE(recv(w.client->fd(), &c, 1, 0), 0);
  EXPECT_NE(errno, EAGAIN);
}

TEST_F(proxy_test, without_a_server_the_client_is_refused) {
  close_door();
  start();
  auto client = dial();
  char c;
  errno = 0;
  EXPECT_LE(recv(client->fd(), &c, 1, 0), 0);
  EXPECT_NE(errno, EAGAIN);
}

TEST_F(proxy_test, stop_ends_what_is_open) {
  start({}, 60'000);
  auto client = dial();
  client->write(kRequest);
  auto server = accept();
  server->write(kAnswer);  // waits for its minute
  EXPECT_EQ(server->read(kRequest.size()), kRequest);
  EXPECT_EQ(stop().connections, 1u);
  EXPECT_TRUE(client->at_end());
}

TEST_F(proxy_test, refuses_wrong_options) {
  string why;
  options_.host = "example.com";
  EXPECT_EQ(proxy_start(options_, &proxy_, &port_, &why), err::invalid);
  EXPECT_NE(why.find("example.com"), string::npos);
  options_.host = "localhost";
  options_.injuries = {{injury_kind::drop, 0.6, 0}, {injury_kind::swap, 0.5, 0}};
  EXPECT_EQ(proxy_start(options_, &proxy_, &port_, &why), err::invalid);
  EXPECT_NE(why.find("more than 1"), string::npos);
  options_.injuries[1].probability = 0.25;
  EXPECT_EQ(proxy_start(options_, &proxy_, &port_, &why), err::ok);
}

TEST_F(proxy_test, many_connections_at_once) {
  start({}, 5);
  std::vector<wire> wires;
  for (int i = 0; i < 100; ++i) wires.push_back(open());
  for (wire& w : wires) w.server->write(text_frame("hello"));
  for (wire& w : wires) EXPECT_EQ(w.messages(1), strings{"hello"});
  for (size_t i = 0; i < wires.size(); i += 2) wires[i].client->close();
  for (size_t i = 0; i < wires.size(); i += 2) EXPECT_TRUE(wires[i].server->at_end());
  EXPECT_EQ(stop().connections, 100u);
}

// --- time

TEST_F(proxy_test, latency_is_added_and_order_is_kept) {
  constexpr uint64_t kLatencyUs = 20'000;
  start({}, kLatencyUs / 1000);
  wire w = open();
  uint64_t least = UINT64_MAX;
  for (int i = 0; i < 30; ++i) {
    const uint64_t sent = now_us();
    w.server->write(text_frame("m" + std::to_string(i)));
    ASSERT_EQ(w.messages(1), strings{"m" + std::to_string(i)});
    const uint64_t took = now_us() - sent;
    ASSERT_GE(took, kLatencyUs);
    least = std::min(least, took);
  }
  // The machine may be busy at times, but not at all of thirty times.
  EXPECT_LT(least, kLatencyUs + 1000);
  strings sent;
  for (int i = 0; i < 300; ++i) {
    sent.push_back(string(static_cast<size_t>(i), 'x') + std::to_string(i));
    w.server->write(text_frame(sent.back()));
  }
  EXPECT_EQ(w.messages(300), sent);
}

TEST_F(proxy_test, delay_holds_the_stream_of_its_connection_alone) {
  start({{injury_kind::delay, 1, 60'000}, {injury_kind::drop, 0, 0}});
  wire w = open(), other = open();
  w.server->write(text_frame("before") + text_frame(load_line(0, 1)) + text_frame("behind"));
  EXPECT_EQ(w.messages(1), strings{"before"});
  other.server->write(text_frame("free"));
  EXPECT_EQ(other.messages(1), strings{"free"});
  pollfd p{w.client->fd(), POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 0);
  EXPECT_EQ(stop().made[static_cast<size_t>(injury_kind::delay)], 1u);
}

TEST_F(proxy_test, delay_ends_after_its_time) {
  start({{injury_kind::delay, 1, 30}});
  wire w = open();
  const uint64_t sent = now_us();
  w.server->write(text_frame(load_line(0, 1)) + text_frame("behind"));
  EXPECT_EQ(w.messages(2), (strings{load_line(0, 1), "behind"}));
  EXPECT_GE(now_us() - sent, 30'000u);
}

// --- injuries

TEST_F(proxy_test, each_kind_shows_at_the_client) {
  const struct {
    injury_kind kind;
    strings expected;
  } table[] = {
      {injury_kind::drop, {"end"}},
      {injury_kind::duplicate,
       {load_line(0, 1) + "\n" + load_line(0, 1), load_line(0, 2) + "\n" + load_line(0, 2), "end"}},
      {injury_kind::swap, {load_line(0, 2) + "\n" + load_line(0, 1), "end"}}};
  for (const auto& row : table) {
    SCOPED_TRACE(injury_name(row.kind));
    start({{row.kind, 1, 0}});
    {
      wire w = open();
      w.server->write(text_frame(load_line(0, 1)) + text_frame(load_line(0, 2)) +
                      text_frame("end"));
      EXPECT_EQ(w.messages(row.expected.size()), row.expected);
    }
    const proxy_report r = stop();
    EXPECT_EQ(r.frames, 2u);
    EXPECT_EQ(r.made[static_cast<size_t>(row.kind)], row.kind == injury_kind::swap ? 1u : 2u);
    EXPECT_EQ(r.places[0], string(injury_name(row.kind)) + ": frame 1 of connection 1");
  }
}

TEST_F(proxy_test, corrupt_shows_at_the_client) {
  start({{injury_kind::corrupt, 1, 0}});
  wire w = open();
  w.server->write(text_frame(load_line(0, 1)));
  const strings heard = w.messages(1);
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].size(), load_line(0, 1).size());
  EXPECT_NE(heard[0], load_line(0, 1));
}

TEST_F(proxy_test, a_swap_without_a_partner_comes_by_itself_and_does_not_count) {
  start({{injury_kind::swap, 1, 0}});
  wire w = open();
  const uint64_t sent = now_us();
  w.server->write(text_frame(load_line(0, 1)) + text_frame("behind"));
  EXPECT_EQ(w.messages(2), (strings{"behind", load_line(0, 1)}));
  EXPECT_GE(now_us() - sent, 500'000u);
  EXPECT_EQ(stop().made[static_cast<size_t>(injury_kind::swap)], 0u);
}

TEST_F(proxy_test, a_held_message_comes_before_the_servers_end) {
  start({{injury_kind::swap, 1, 0}});
  wire w = open();
  w.server->write(text_frame(load_line(0, 1)));
  w.server->close();
  EXPECT_EQ(w.messages(2), strings{load_line(0, 1)});
}

TEST_F(proxy_test, the_same_seed_makes_the_same_places) {
  const auto run = [this](uint64_t seed) {
    options_.seed = seed;
    start(
        {{injury_kind::drop, 0.1, 0}, {injury_kind::corrupt, 0.1, 0}, {injury_kind::swap, 0.1, 0}});
    wire w = open();
    for (unsigned i = 0; i < 100; ++i) w.server->write(text_frame(load_line(i % 3, i)));
    w.server->write(text_frame("end"));
    while (w.messages(1) != strings{"end"}) {
    }
    return stop().places;
  };
  const strings first = run(5);
  EXPECT_GT(first.size(), 10u);
  EXPECT_EQ(run(5), first);
  EXPECT_NE(run(6), first);
}

// --- cuts

TEST_F(proxy_test, cut_resets_a_share_that_the_seed_chooses) {
  const auto run = [this](double share, uint64_t seed, int expected) {
    start();
    std::vector<wire> wires;
    for (int i = 0; i < 10; ++i) wires.push_back(open());
    proxy_cut(proxy_, share, seed);
    const auto is_ended = [](const wire& w) {
      pollfd p{w.client->fd(), POLLIN, 0};
      return poll(&p, 1, 0) == 1;
    };
    while (std::count_if(wires.begin(), wires.end(), is_ended) < expected)
      std::this_thread::yield();
    std::vector<bool> is_cut;
    const string hello = text_frame("still there");
    for (wire& w : wires) {
      (void)send(w.server->fd(), hello.data(), hello.size(), MSG_NOSIGNAL);  // a reset refuses it
      const bool is_open = w.messages(1) == strings{"still there"};
      is_cut.push_back(!is_open);
    }
    stop();
    return is_cut;
  };
  const auto count = [](const std::vector<bool>& v) {
    return std::count(v.begin(), v.end(), true);
  };
  const std::vector<bool> half = run(0.5, 3, 5);
  EXPECT_EQ(count(half), 5);
  EXPECT_EQ(run(0.5, 3, 5), half);
  EXPECT_NE(run(0.5, 4, 5), half);
  EXPECT_EQ(count(run(1, 1, 10)), 10);
  EXPECT_EQ(count(run(0.01, 1, 1)), 1);
  EXPECT_EQ(count(run(0, 1, 0)), 0);
}

TEST_F(proxy_test, a_cut_is_a_reset_on_both_sides) {
  start();
  wire w = open();
  proxy_cut(proxy_, 1, 1);
  EXPECT_TRUE(w.ends_by_reset());
  char c;
  EXPECT_EQ(recv(w.server->fd(), &c, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

// --- memory

TEST_F(proxy_test, a_client_that_does_not_read_holds_the_server_back) {
  for (const uint32_t latency_ms : {0u, 10u}) {
    start({}, latency_ms);
    wire w = open();
    const string sent = fill(w.server.get(), 96 << 20);
    EXPECT_LT(sent.size(), size_t{48} << 20);
    EXPECT_TRUE(w.client->read(sent.size()) == sent);
    w.server->write(text_frame("goes on"));
    EXPECT_EQ(w.client->read(9), text_frame("goes on"));
    stop();
  }
}

TEST_F(proxy_test, a_server_that_does_not_read_holds_the_client_back) {
  start();
  wire w = open();
  const string sent = fill(w.client.get(), 96 << 20);
  EXPECT_LT(sent.size(), size_t{48} << 20);
  EXPECT_TRUE(w.server->read(sent.size()) == sent);
  w.client->write("goes on");
  EXPECT_EQ(w.server->read(7), "goes on");
}

TEST_F(proxy_test, a_delayed_stream_is_bounded_too) {
  start({{injury_kind::delay, 1, 60'000}});
  wire w = open();
  w.server->write(text_frame(load_line(0, 1)));
  EXPECT_LT(fill(w.server.get(), 96 << 20).size(), size_t{48} << 20);
}

}  // namespace
}  // namespace loadgen
