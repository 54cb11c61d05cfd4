// What happens to Redis, and what its connection says and does then: killed, stopped, cut,
// half-open, slow, overflowing.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <future>

#include "broker/redis_conn.h"
#include "redis_server.h"
#include "redis_text.h"
#include "redis_user.h"

namespace broker {
namespace {

using std::chrono::steady_clock;

constexpr int64_t kNoticedMsMax = 3000;

class redis_fault_test : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_REDIS(); }
  // Sends a command that the server will not answer, does the harm, and tells how it was answered
  // and when.
  std::string unanswered(redis_user* u, const std::function<void()>& harm, int64_t* ms) {
    struct answer {
      std::promise<std::string> text;
      std::atomic<int> times{0};
    };
    auto a = std::make_shared<answer>();
    auto cb = [](void* user, core::err rc, const redis_reply* r) noexcept {
      auto* to = static_cast<answer*>(user);
      if (to->times.fetch_add(1) > 0) return;
      to->text.set_value(rc == core::err::ok ? redis_text(*r) : core::err_name(rc));
    };
    harm();
    const auto began = steady_clock::now();
    u->on_loop([&](redis_conn* c) {
      const std::string_view argv[] = {"ECHO", "x"};
      const core::err rc = redis_conn_command(c, argv, cb, a.get());
      if (rc != core::err::ok) a->text.set_value(core::err_name(rc));
    });
    std::string text = a->text.get_future().get();
    *ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - began).count();
    kept_.push_back(a);
    return text;
  }
  core::loop_world w{1};
  std::vector<std::shared_ptr<void>> kept_;
};

TEST_F(redis_fault_test, killed_and_started_again) {
  redis_server s;
  redis_user u(&w, s.url());
  ASSERT_TRUE(u.wait_ready());
  const std::string run_id = u.seen().info.run_id;
  int64_t ms = 0;
  // Stopped first, so that the command is surely under way when the server dies.
  s.signal(SIGSTOP);
  std::promise<std::string> got;
  u.on_loop([&](redis_conn* c) {
    const std::string_view argv[] = {"PING"};
    auto cb = [](void* user, core::err rc, const redis_reply*) noexcept {
      static_cast<std::promise<std::string>*>(user)->set_value(core::err_name(rc));
    };
    ASSERT_EQ(redis_conn_command(c, argv, cb, &got), core::err::ok);
  });
  s.kill();
  EXPECT_EQ(got.get_future().get(), "timeout");
  u.wait_down();
  EXPECT_EQ(unanswered(
                &u, [] {}, &ms),
            "unavailable");
  s.start();
  ASSERT_TRUE(u.wait_ready(2));
  EXPECT_NE(u.seen().info.run_id, run_id);
  EXPECT_EQ(u.call({"PING"}), "+PONG");
}

TEST_F(redis_fault_test, stopped_is_noticed_within_three_seconds) {
  redis_server s;
  redis_conn_options sub;
  sub.role = redis_role::subscriber;
  redis_user u(&w, s.url()), v(&w, s.url(), sub);
  ASSERT_TRUE(u.wait_ready() && v.wait_ready());
  int64_t ms = 0;
  EXPECT_EQ(unanswered(
                &u, [&] { s.signal(SIGSTOP); }, &ms),
            "timeout");
  EXPECT_LE(ms, kNoticedMsMax);
  EXPECT_EQ(u.wait_down(), "the server is silent");
  EXPECT_EQ(v.wait_down(), "the server is silent") << "the idle one too, by its ping";
  s.signal(SIGCONT);
  EXPECT_TRUE(u.wait_ready(2));
  EXPECT_TRUE(v.wait_ready(2));
}

TEST_F(redis_fault_test, half_open_is_noticed_within_three_seconds) {
  redis_server s;
  silent_proxy p(s.port());
  redis_user u(&w, "redis://" + redis_endpoint_text(p.at()));
  ASSERT_TRUE(u.wait_ready());
  int64_t ms = 0;
  EXPECT_EQ(unanswered(
                &u, [&] { p.hold(true); }, &ms),
            "timeout");
  EXPECT_LE(ms, kNoticedMsMax);
  EXPECT_EQ(u.wait_down(), "the server is silent");
  p.hold(false);
  EXPECT_TRUE(u.wait_ready(2));
}

TEST_F(redis_fault_test, client_kill) {
  redis_server s;
  redis_user u(&w, s.url());
  ASSERT_TRUE(u.wait_ready());
  s.call({"CLIENT", "KILL", "TYPE", "normal"});
  EXPECT_EQ(u.wait_down(), "the server closed the connection");
  EXPECT_TRUE(u.wait_ready(2));
}

// The loop stands still while messages pile up: the server cuts the connection, and that is seen
// behind what was still delivered.
TEST_F(redis_fault_test, overflow_of_the_servers_buffer) {
  redis_server s({"client-output-buffer-limit pubsub 1mb 0 0"});
  redis_conn_options o;
  o.role = redis_role::subscriber;
  redis_user u(&w, s.url(), o);
  u.keeps_messages = false;
  ASSERT_TRUE(u.wait_ready());
  u.subscribe(redis_sub::channel, {"c"});
  u.wait("it", [](const redis_seen& r) { return r.subscribed == 1; });
  w.on(0, [&](core::loop*) {
    for (int i = 0; i < 40; ++i) s.call({"PUBLISH", "c", std::string(100'000, 'x')});
  });
  u.wait_down();
  EXPECT_LT(u.seen().message_count, 40u);
  ASSERT_TRUE(u.wait_ready(2));
  u.subscribe(redis_sub::channel, {"c"});
  u.wait("it", [](const redis_seen& r) { return r.subscribed == 2; });
}

// A slow command is answered as timeout once; its reply is dropped, those behind it find their
// owners.
TEST_F(redis_fault_test, a_slow_command) {
  redis_server s;
  redis_user u(&w, s.url() + "?command_timeout=300ms");
  ASSERT_TRUE(u.wait_ready());
  EXPECT_EQ(u.call({"DEBUG", "SLEEP", "1.2"}), "!timeout");
  std::string got;
  do {  // those sent while it sleeps may time out too
    got = u.call({"ECHO", "behind"});
  } while (got == "!timeout");
  EXPECT_EQ(got, "\"behind\"");
  EXPECT_EQ(u.seen().downs, 0);
  u.on_loop([](redis_conn* c) { EXPECT_GE(redis_conn_counted(c).timeouts, 1u); });
}

TEST_F(redis_fault_test, a_move_to_another_server) {
  redis_server a, b;
  redis_user u(&w, a.url());
  ASSERT_TRUE(u.wait_ready());
  const std::string run_id = u.seen().info.run_id;
  u.on_loop([&](redis_conn* c) { redis_conn_move(c, b.tcp(), "failover"); });
  EXPECT_EQ(u.wait_down(), "failover");
  ASSERT_TRUE(u.wait_ready(2));
  EXPECT_NE(u.seen().info.run_id, run_id);
  u.on_loop([&](redis_conn* c) { EXPECT_EQ(redis_conn_at(c), b.tcp()); });
  // Also while it waits, and inside on_down().
  b.kill();
  u.wait_down(2);
  u.on_loop([&](redis_conn* c) { redis_conn_move(c, a.local(), "failover"); });
  EXPECT_TRUE(u.wait_ready(3));
}

// ---- Time that the test owns --------------------------------------------------------------------

// A machine that slept, server and all, wakes with an answer still to come: time in which nothing
// ran is nobody's silence.
TEST_F(redis_fault_test, a_pause_of_ours_is_not_the_servers) {
  stepped_world stepped;
  redis_server s;
  redis_user u(&stepped.w, s.url());
  stepped.run(200);
  ASSERT_TRUE(u.wait_ready());
  s.signal(SIGSTOP);
  std::promise<std::string> got;
  u.on_loop([&](redis_conn* c) {
    const std::string_view argv[] = {"PING"};
    auto cb = [](void* user, core::err rc, const redis_reply*) noexcept {
      static_cast<std::promise<std::string>*>(user)->set_value(core::err_name(rc));
    };
    ASSERT_EQ(redis_conn_command(c, argv, cb, &got), core::err::ok);
  });
  stepped.jump(60'000);
  s.signal(SIGCONT);
  EXPECT_EQ(got.get_future().get(), "ok");
  EXPECT_EQ(u.seen().downs, 0);
}

// All bits of chance zero, or one.
class fixed_random final : public core::random_source {
 public:
  explicit fixed_random(uint32_t v) : v_(v) {}
  void fill(void* bytes, size_t n) noexcept override { memcpy(bytes, &v_, std::min(n, sizeof v_)); }

 private:
  uint32_t v_;
};

TEST_F(redis_fault_test, back_off_doubles_to_its_limit) {
  for (const bool is_longest : {false, true}) {
    const size_t attempts_seen = is_longest ? 5 : 8;  // up to the limit, or real time enough
    stepped_world stepped;
    fixed_random chance(0);
    redis_conn_options o;
    o.random = is_longest ? core::system_random() : &chance;
    redis_user u(&stepped.w, "unix:///nowhere/at/all", o);
    std::vector<uint64_t> at;  // ms of each attempt
    uint64_t attempts = 0;
    for (uint64_t ms = 0; ms < 20'000 && at.size() < attempts_seen; ms += 50) {
      stepped.run(50);
      u.on_loop([&](redis_conn* c) {
        if (redis_conn_counted(c).attempts > attempts) at.push_back(ms);
        attempts = redis_conn_counted(c).attempts;
      });
    }
    ASSERT_EQ(at.size(), attempts_seen);
    uint64_t most = kRedisBackoffFirstMs;
    for (size_t i = 1; i < at.size(); ++i) {
      const uint64_t waited = at[i] - at[i - 1];
      EXPECT_GE(waited, most / 2) << i;
      EXPECT_LE(waited, (is_longest ? most : most / 2) + 2 * core::kTimerTickMs) << i;
      most = std::min<uint64_t>(most * 2, kRedisBackoffMaxMs);
    }
  }
}

// A server that greets and dies is not hammered: only a connection that lasts begins the back-off
// anew.
TEST_F(redis_fault_test, flapping_keeps_the_back_off) {
  stepped_world stepped;
  redis_server s;
  fixed_random chance(0);
  redis_conn_options o;
  o.random = &chance;
  redis_user u(&stepped.w, s.url(), o);
  u.hook = [](redis_conn* c, const char* event) {
    if (strcmp(event, "ready") != 0) return;
    const std::string_view argv[] = {"QUIT"};
    (void)redis_conn_command(c, argv, nullptr, nullptr);
  };
  stepped.run(3000);
  const int many = u.seen().ready;
  EXPECT_GE(many, 3);
  EXPECT_LE(many, 7);
}

}  // namespace
}  // namespace broker
