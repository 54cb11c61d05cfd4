// Connections over loopback: order, bounds, half closes, drains, resets.
#include "core/conn.h"

#include <fcntl.h>
#include <netinet/tcp.h>

#include <cstring>
#include <memory>
#include <random>

#include "core/limits.h"
#include "core/loop_impl.h"
#include "loop_world.h"

namespace core {
namespace {

struct link {
  conn c;  // first
  std::function<void(link*, std::string_view)> data;
  std::function<void(link*)> eof;
  std::string got;
  int eofs = 0;
  bool is_in_close = false;
  std::promise<end_reason> closed;
};

link* link_of(conn* c) {
  return reinterpret_cast<link*>(c);
}

constexpr conn_events kEvents = {
    [](conn* c, char* bytes, uint32_t len) noexcept {
      link* k = link_of(c);
      k->got.append(bytes, len);
      std::memset(bytes + len, 0, kReadPaddingBytes);  // allowed; ASan sees when it is not there
      if (k->data) k->data(k, k->got);
    },
    [](conn* c) noexcept {
      link* k = link_of(c);
      ++k->eofs;
      if (k->eof) k->eof(k);
    },
    [](conn* c, end_reason why) noexcept {
      link* k = link_of(c);
      EXPECT_FALSE(k->is_in_close);
      EXPECT_EQ(c->queue, nullptr);
      k->closed.set_value(why);
    }};

void say(link* k, std::string_view text) {
  conn_send(&k->c, frame_copy(text));
}

class conn_test : public testing::Test {
 protected:
  void SetUp() override {
    frames_before_ = frame_live();
    loop_options o;
    o.clock = &clock_;
    w_ = std::make_unique<loop_world>(1, o);
  }
  void TearDown() override {
    for (auto& k : links_) close(k.get(), end_reason::shutdown);
    w_->on(0, [](loop* l) { EXPECT_EQ(loop_counters(l)->queue_bytes.get(), 0u); });
    w_.reset();
    EXPECT_EQ(frame_live(), frames_before_);
  }
  link* open(std::unique_ptr<client_socket>* client, uint32_t queue_max = 1 << 20,
             int send_buffer = 0, bool is_tcp = true) {
    std::pair<int, int> fds;
    if (is_tcp) {
      fds = tcp_pair();
    } else {
      int both[2];
      EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
      fcntl(both[1], F_SETFL, 0);
      fds = {both[0], both[1]};
    }
    if (send_buffer > 0)
      setsockopt(fds.first, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    *client = std::make_unique<client_socket>(fds.second);
    links_.push_back(std::make_unique<link>());
    link* k = links_.back().get();
    ended_.push_back(k->closed.get_future().share());
    w_->on(0, [&](loop* l) {
      EXPECT_EQ(conn_init(&k->c, l, fds.first, &kEvents, queue_max), err::ok);
    });
    return k;
  }
  void on_loop(std::function<void()> fn) {
    w_->on(0, [&](loop*) { fn(); });
  }
  std::shared_future<end_reason>& end_of(link* k) {
    for (size_t i = 0; i < links_.size(); ++i) {
      if (links_[i].get() == k) return ended_[i];
    }
    std::abort();
  }
  bool is_closed(link* k) {
    return end_of(k).wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  end_reason wait_end(link* k) {
    EXPECT_EQ(end_of(k).wait_for(std::chrono::seconds(20)), std::future_status::ready)
        << "not closed";
    return end_of(k).get();
  }
  void close(link* k, end_reason why) {
    on_loop([&] {
      if (is_closed(k)) return;
      k->is_in_close = true;
      conn_close(&k->c, why);
      k->is_in_close = false;
    });
    wait_end(k);
  }
  uint64_t counted(counter loop_metrics::*which) {
    uint64_t n = 0;
    w_->on(0, [&](loop* l) { n = (loop_counters(l)->*which).get(); });
    return n;
  }
  // Returns when the loop has processed a timer that is due now: what was due before has fired.
  void advance(uint64_t ms) {
    clock_.advance_ms(ms);
    struct probe : timer {
      std::atomic<bool> has_fired{false};
    } t;
    t.fire = [](timer* self) noexcept { static_cast<probe*>(self)->has_fired = true; };
    w_->on(0, [&](loop* l) { timer_start(loop_timers(l), &t, loop_now_ms(l), 0); });
    while (!t.has_fired) {
      clock_.advance_ms(1);
      std::this_thread::sleep_for(
          std::chrono::milliseconds(1));  // paces the clock; the probe decides
    }
    on_loop([] {});
  }
  manual_clock clock_;
  std::unique_ptr<loop_world> w_;
  std::vector<std::unique_ptr<link>> links_;
  std::vector<std::shared_future<end_reason>> ended_;
  int64_t frames_before_ = 0;
};

TEST_F(conn_test, echoes_without_delay_and_holds_nothing_when_idle) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client);
  on_loop([&] {
    int on = 0;
    socklen_t size = sizeof on;
    EXPECT_EQ(getsockopt(k->c.fd, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
    EXPECT_NE(on, 0);
    k->data = [](link* self, std::string_view all) { say(self, all); };
  });
  client->write("hello");
  EXPECT_EQ(client->read(5), "hello");
  on_loop([&] { EXPECT_EQ(k->c.queue, nullptr); });
  EXPECT_EQ(counted(&loop_metrics::bytes_in), 5u);
  EXPECT_EQ(counted(&loop_metrics::bytes_out), 5u);
  EXPECT_EQ(counted(&loop_metrics::reads), 1u);
  EXPECT_EQ(counted(&loop_metrics::writes), 1u);
  EXPECT_EQ(counted(&loop_metrics::connections_open), 1u);
}

TEST_F(conn_test, sends_all_frames_of_an_iteration_in_one_write) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client);
  on_loop([&] {
    for (int i = 0; i < 64; ++i) say(k, "x");
  });
  EXPECT_EQ(client->read(64), std::string(64, 'x'));
  EXPECT_EQ(counted(&loop_metrics::writes), 1u);
  on_loop([&] {
    for (int i = 0; i < 65; ++i) say(k, "y");
  });
  EXPECT_EQ(client->read(65), std::string(65, 'y'));
  EXPECT_EQ(counted(&loop_metrics::writes), 3u);
}

TEST_F(conn_test, flush_writes_at_once) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client);
  on_loop([&] {
    say(k, "now");
    EXPECT_EQ(k->c.queue_bytes, 3u);
    conn_flush(&k->c);
    EXPECT_EQ(k->c.queue_bytes, 0u);
    char bytes[3];
    EXPECT_EQ(recv(client->fd(), bytes, 3, 0), 3);  // already there
  });
}

TEST_F(conn_test, keeps_the_order_through_partial_writes) {
  const uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::unique_ptr<client_socket> client;
  link* k = open(&client, 16 << 20, 4096);
  std::string all;
  for (int round = 0; round < 20; ++round) {
    on_loop([&] {
      for (int i = 0; i < 100; ++i) {
        std::string text(1 + random() % 3000, '\0');
        for (char& c : text) c = static_cast<char>(random());
        all += text;
        say(k, text);
      }
    });
  }
  EXPECT_TRUE(client->read(all.size()) == all);
  EXPECT_GT(counted(&loop_metrics::writes_partial), 0u);
  EXPECT_EQ(counted(&loop_metrics::queue_bytes), 0u);
  on_loop([&] { EXPECT_EQ(k->c.queue, nullptr); });
}

TEST_F(conn_test, a_large_message_arrives_whole) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client);
  const std::string text(3 * kReadBytes + 17, 'a');
  client->write(text);
  std::string got;
  while (got.size() < text.size()) on_loop([&] { got = k->got; });
  EXPECT_TRUE(got == text);
}

TEST_F(conn_test, the_queue_holds_its_maximum_and_not_one_byte_more) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client, 100);
  on_loop([&] {
    say(k, std::string(60, 'a'));
    say(k, std::string(40, 'b'));
    EXPECT_EQ(k->c.state, conn_state::open);
    EXPECT_EQ(k->c.queue_bytes, 100u);
    conn_flush(&k->c);
    say(k, std::string(100, 'c'));
    EXPECT_EQ(k->c.state, conn_state::open);
    say(k, "d");
    EXPECT_EQ(k->c.state, conn_state::closing);
    EXPECT_EQ(k->c.queue_count, 0u);
    say(k, "dropped");
  });
  EXPECT_EQ(wait_end(k), end_reason::slow);
  EXPECT_EQ(client->read(200), std::string(60, 'a') + std::string(40, 'b'));
  w_->on(0, [](loop* l) {
    EXPECT_EQ(loop_counters(l)->ended[static_cast<size_t>(end_reason::slow)].get(), 1u);
    EXPECT_EQ(loop_counters(l)->connections_open.get(), 0u);
  });
}

TEST_F(conn_test, room_of_one_iteration_shares_a_frame_and_a_write) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client, 100'000);
  std::string all;
  uint64_t writes = 0;
  auto put = [&](const std::string& bytes) {
    char* room = conn_room(&k->c, static_cast<uint32_t>(bytes.size()));
    ASSERT_NE(room, nullptr);
    memcpy(room, bytes.data(), bytes.size());
    all += bytes;
  };
  frame* shared = frame_new(1000);  // what somebody else holds too is never written into
  frame_bytes(shared)[0] = '!';
  shared->len = 1;
  on_loop([&] {
    writes = loop_counters(k->c.home)->writes.get();
    for (int i = 0; i < 100; ++i) put(std::to_string(i) + ",");
    EXPECT_EQ(k->c.queue_count, 1u);
    conn_send(&k->c, frame_ref(shared));
    all += "!";
    put("behind");
    EXPECT_EQ(k->c.queue_count, 3u);
    put(std::string(50'000, 'b'));  // more than a frame has
    EXPECT_EQ(k->c.queue_bytes, all.size());
    EXPECT_EQ(conn_room(&k->c, 100'001 - k->c.queue_bytes), nullptr) << "one beyond the bound";
    EXPECT_EQ(k->c.state, conn_state::open);
    put(std::string(100'000 - k->c.queue_bytes, 'c'));
    EXPECT_EQ(conn_room(&k->c, 1), nullptr);
  });
  EXPECT_TRUE(client->read(all.size()) == all);
  on_loop([&] {
    EXPECT_EQ(loop_counters(k->c.home)->writes.get(), writes + 1);
    EXPECT_EQ(k->c.queue_count, 0u);
    conn_close(&k->c, end_reason::shutdown);
    EXPECT_EQ(conn_room(&k->c, 1), nullptr);
  });
  EXPECT_EQ(shared->len, 1u);
  frame_unref(shared);
}

// A frame of which a part is sent takes more bytes behind that part.
TEST_F(conn_test, room_behind_a_part_that_is_sent) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client, 64 << 20, 4096);
  std::string all;
  for (int i = 0; i < 400; ++i) {
    on_loop([&] {
      std::string piece(1 + static_cast<size_t>(i) * 37 % 5000, static_cast<char>('a' + i % 26));
      memcpy(conn_room(&k->c, static_cast<uint32_t>(piece.size())), piece.data(), piece.size());
      all += piece;
    });
  }
  EXPECT_TRUE(client->read(all.size()) == all);
}

// The bound may become smaller than what waits already: that is beyond it, not below.
TEST_F(conn_test, the_queues_bound_may_become_smaller) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client, 1000);
  on_loop([&] {
    say(k, std::string(500, 'a'));
    k->c.queue_bytes_max = 100;
    say(k, "b");
    EXPECT_EQ(k->c.state, conn_state::closing);
  });
  EXPECT_EQ(wait_end(k), end_reason::slow);
}

TEST_F(conn_test, a_reader_that_stops_is_closed_as_slow) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client, 64 * 1024, 4096);
  while (!is_closed(k)) {
    on_loop([&] {
      if (!is_closed(k)) say(k, std::string(1000, 'x'));
    });
  }
  EXPECT_EQ(wait_end(k), end_reason::slow);
}

TEST_F(conn_test, the_peers_end_is_told_once) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client);
  client->write("last");
  client->shut();
  int eofs = 0;
  while (eofs == 0) on_loop([&] { eofs = k->eofs; });
  on_loop([&] {
    EXPECT_EQ(k->got, "last");
    conn_pause_read(&k->c);
    conn_resume_read(&k->c);
    say(k, "still");
  });
  EXPECT_EQ(client->read(5), "still");
  on_loop([&] { EXPECT_EQ(k->eofs, 1); });
}

TEST_F(conn_test, close_inside_callbacks) {
  std::unique_ptr<client_socket> a, b;
  link* on_data = open(&a);
  link* on_eof = open(&b);
  on_loop([&] {
    on_data->data = [](link* k, std::string_view) {
      say(k, "dropped");
      k->is_in_close = true;
      conn_close(&k->c, end_reason::protocol_error);
      conn_close(&k->c, end_reason::shutdown);
      conn_drain(&k->c, end_reason::shutdown);
      k->is_in_close = false;
    };
    on_eof->eof = [](link* k) { conn_close(&k->c, end_reason::client_closed); };
  });
  a->write("x");
  EXPECT_EQ(wait_end(on_data), end_reason::protocol_error) << "the first reason wins";
  EXPECT_EQ(a->read(10), "");
  b->shut();
  EXPECT_EQ(wait_end(on_eof), end_reason::client_closed);
  EXPECT_TRUE(b->at_end());
}

TEST_F(conn_test, a_touched_connection_may_be_closed_before_the_flush) {
  std::unique_ptr<client_socket> a, b;
  link* first = open(&a);
  link* second = open(&b);
  on_loop([&] {
    say(first, "never");
    say(second, "sent");
    conn_close(&first->c, end_reason::shutdown);
  });
  EXPECT_EQ(b->read(4), "sent");
  EXPECT_TRUE(a->at_end());
}

TEST_F(conn_test, a_reset_ends_the_connection) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client);
  client->reset();
  EXPECT_EQ(wait_end(k), end_reason::client_reset);
}

TEST_F(conn_test, a_failed_write_ends_the_connection) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client, 1 << 20, 0, false);
  on_loop([&] { conn_pause_read(&k->c); });  // so that the write is what notices
  client->close();
  on_loop([&] {
    say(k, "x");
    conn_flush(&k->c);
    EXPECT_EQ(k->c.state, conn_state::closing);
  });
  EXPECT_EQ(wait_end(k), end_reason::client_reset);
}

TEST_F(conn_test, paused_reading_waits) {
  std::unique_ptr<client_socket> a, b;
  link* paused = open(&a);
  link* other = open(&b);
  on_loop([&] {
    conn_pause_read(&paused->c);
    other->data = [](link* k, std::string_view) { say(k, "z"); };
  });
  a->write("hello");
  for (int i = 0; i < 3; ++i) {  // the loop has polled since
    b->write("y");
    EXPECT_EQ(b->read(1), "z");
  }
  on_loop([&] {
    EXPECT_EQ(paused->got, "");
    conn_resume_read(&paused->c);
  });
  std::string got;
  while (got.empty()) on_loop([&] { got = paused->got; });
  EXPECT_EQ(got, "hello");
}

TEST_F(conn_test, drain_writes_everything_discards_input_and_waits_for_the_peer) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client, 16 << 20, 4096);
  std::string all;
  on_loop([&] {
    for (int i = 0; i < 500; ++i) {
      all += std::string(2000, static_cast<char>('a' + i % 26));
      say(k, std::string(2000, static_cast<char>('a' + i % 26)));
    }
    conn_drain(&k->c, end_reason::shutdown);
    conn_drain(&k->c, end_reason::slow);
    say(k, "dropped");
  });
  client->write("ignored");
  EXPECT_TRUE(client->read(all.size()) == all);
  EXPECT_TRUE(client->at_end());
  EXPECT_FALSE(is_closed(k));
  client->close();
  EXPECT_EQ(wait_end(k), end_reason::shutdown);
  EXPECT_EQ(k->got, "");
}

TEST_F(conn_test, an_empty_drain_shuts_at_once_and_ends_after_its_time) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client);
  on_loop([&] { conn_drain(&k->c, end_reason::http_done); });
  EXPECT_TRUE(client->at_end());
  advance(kWsCloseWaitMsMax - 500);
  EXPECT_FALSE(is_closed(k));
  advance(600);
  EXPECT_EQ(wait_end(k), end_reason::http_done);
}

// A client that sends its request, shuts its side and reads slowly still gets the whole answer.
TEST_F(conn_test, drain_goes_on_writing_to_a_half_closed_peer) {
  for (const bool is_eof_first : {true, false}) {
    std::unique_ptr<client_socket> client;
    link* k = open(&client, 16 << 20, 4096);
    const std::string answer(500'000, 'r');
    auto reply = [&](link* self) {
      say(self, answer);
      conn_drain(&self->c, end_reason::http_done);
    };
    if (is_eof_first) {
      on_loop([&] { k->eof = reply; });
      client->shut();
    } else {
      on_loop([&] { reply(k); });
      client->shut();
    }
    EXPECT_EQ(client->read(answer.size()).size(), answer.size()) << is_eof_first;
    EXPECT_TRUE(client->at_end());
    EXPECT_EQ(wait_end(k), end_reason::http_done);  // without the peer's close: its end is known
  }
}

TEST_F(conn_test, drain_gives_up_on_a_stuck_reader_but_not_on_a_slow_one) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client, 32 << 20, 4096);
  on_loop([&] {
    for (int i = 0; i < 200; ++i) say(k, std::string(100'000, 'x'));
    conn_drain(&k->c, end_reason::shutdown);
  });
  for (int i = 0; i < 3; ++i) {  // three waits in all, but it reads in each of them
    const uint64_t before = counted(&loop_metrics::bytes_out);
    while (counted(&loop_metrics::bytes_out) == before) client->read(100'000);
    advance(kWsCloseWaitMsMax - 500);
    ASSERT_FALSE(is_closed(k)) << i;
  }
  // Now it is stuck. What its kernel still takes counts as reading, and is finite.
  for (int i = 0; i < 20 && !is_closed(k); ++i) advance(kWsCloseWaitMsMax);
  EXPECT_EQ(wait_end(k), end_reason::shutdown);
}

TEST_F(conn_test, close_ends_a_drain_with_the_drains_reason) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client);
  on_loop([&] {
    conn_drain(&k->c, end_reason::stale);
    conn_close(&k->c, end_reason::shutdown);
    EXPECT_EQ(loop_timers(k->c.home)->count, 0u);
  });
  EXPECT_EQ(wait_end(k), end_reason::stale);
}

TEST_F(conn_test, tells_the_peers_address) {
  std::unique_ptr<client_socket> client;
  link* k = open(&client);
  sockaddr_in a{};
  socklen_t size = sizeof a;
  ASSERT_EQ(getsockname(client->fd(), reinterpret_cast<sockaddr*>(&a), &size), 0);
  char text[64];
  conn_peer(&k->c, text, sizeof text);
  EXPECT_EQ(text, "127.0.0.1:" + std::to_string(ntohs(a.sin_port)));
  char small[4];
  conn_peer(&k->c, small, sizeof small);
  EXPECT_STREQ(small, "127");
  std::unique_ptr<client_socket> local;
  conn_peer(&open(&local, 1, 0, false)->c, text, sizeof text);
  EXPECT_STREQ(text, "");
}

TEST_F(conn_test, a_descriptor_that_cannot_be_polled_is_closed) {
  const int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  w_->on(0, [&](loop* l) {
    conn c;
    EXPECT_EQ(conn_init(&c, l, file, &kEvents, 1), err::io);
    EXPECT_EQ(fcntl(file, F_GETFD), -1);
    EXPECT_EQ(loop_counters(l)->connections_open.get(), 0u);
  });
}

}  // namespace
}  // namespace core
