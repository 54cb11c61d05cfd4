// Sentinels: the master found, verified, and found again after a failover.
#include "broker/redis_sentinel.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "redis_server.h"
#include "tests/core/loop_world.h"

namespace broker {
namespace {

class watcher {
 public:
  watcher(core::loop_world* w, const std::string& text) : w_(w) {
    std::string why;
    EXPECT_EQ(redis_url_parse(text, &url_, &why), core::err::ok) << why;
    redis_conn_options o;
    o.url = &url_;
    w_->on(0, [&](core::loop* l) { s_ = redis_sentinel_open(o, l, &kEvents, this); });
  }
  ~watcher() {
    w_->on(0, [&](core::loop*) { redis_sentinel_close(s_); });
  }
  redis_endpoint wait_master(size_t times) {
    wait([&] { return masters_.size() >= times; });
    std::lock_guard<std::mutex> held(lock_);
    return masters_.empty() ? redis_endpoint{} : masters_.back();
  }
  void wait_down(const std::string& part) {
    wait([&] { return down_.find(part) != down_.npos; });
    std::lock_guard<std::mutex> held(lock_);
    EXPECT_NE(down_.find(part), down_.npos) << down_;
  }
  size_t masters() {
    std::lock_guard<std::mutex> held(lock_);
    return masters_.size();
  }
  void ask() {
    w_->on(0, [&](core::loop*) { redis_sentinel_ask(s_); });
  }

 private:
  template <typename Fn>
  void wait(Fn is_so) {
    std::unique_lock<std::mutex> held(lock_);
    EXPECT_TRUE(changed_.wait_for(held, std::chrono::seconds(30), is_so)) << "last: " << down_;
  }
  static void on_master(void* user, redis_sentinel*, const redis_endpoint& e) noexcept {
    auto* w = static_cast<watcher*>(user);
    std::lock_guard<std::mutex> held(w->lock_);
    w->masters_.push_back(e);
    w->changed_.notify_all();
  }
  static void on_down(void* user, redis_sentinel*, std::string_view why) noexcept {
    auto* w = static_cast<watcher*>(user);
    std::lock_guard<std::mutex> held(w->lock_);
    w->down_ = why;
    w->changed_.notify_all();
  }
  static constexpr redis_sentinel_events kEvents = {on_master, on_down};
  core::loop_world* w_;
  redis_url url_;
  redis_sentinel* s_ = nullptr;
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<redis_endpoint> masters_;
  std::string down_;
};

class redis_sentinel_test : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_REDIS(); }
  static std::vector<std::string> conf(const redis_server& master) {
    return {"sentinel monitor shop 127.0.0.1 " + std::to_string(master.port()) + " 1",
            "sentinel down-after-milliseconds shop 500", "sentinel failover-timeout shop 3000"};
  }
  core::loop_world w{1};
};

TEST_F(redis_sentinel_test, finds_the_master_over_a_sentinel_that_answers) {
  redis_server master;
  redis_server sentinel(conf(master), true);
  const std::string dead = "127.0.0.1:" + std::to_string(free_port());
  watcher v(&w, "redis-sentinel://" + dead + "," + redis_endpoint_text(sentinel.tcp()) + "/shop");
  EXPECT_EQ(v.wait_master(1), master.tcp());
  v.wait_down("the Sentinel " + dead + ": Connection refused");
  v.ask();
  v.ask();
  EXPECT_EQ(v.masters(), 1u) << "the same one is told once";
}

TEST_F(redis_sentinel_test, an_unknown_name) {
  redis_server master;
  redis_server sentinel(conf(master), true);
  watcher v(&w, "redis-sentinel://" + redis_endpoint_text(sentinel.tcp()) + "/stock");
  v.wait_down("does not know the master stock");
  EXPECT_EQ(v.masters(), 0u);
}

TEST_F(redis_sentinel_test, a_login_for_sentinels) {
  redis_server master({"requirepass m"});
  std::vector<std::string> c = conf(master);
  c.push_back("sentinel auth-pass shop m");
  c.push_back("requirepass s");
  redis_server sentinel(c, true);
  const std::string at = "redis-sentinel://:m@" + redis_endpoint_text(sentinel.tcp()) + "/shop";
  watcher v(&w, at + "?sentinel_password=s");
  EXPECT_EQ(v.wait_master(1), master.tcp());
  watcher without(&w, at);
  without.wait_down("the server wants a password");
}

// What a Sentinel names is believed when it says so itself.
TEST_F(redis_sentinel_test, a_named_replica_is_not_believed) {
  redis_server master;
  redis_server replica({"replicaof 127.0.0.1 " + std::to_string(master.port())});
  const std::string answer =
      "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n" + std::to_string(replica.port()) + "\r\n";
  const std::string info = "redis_version:7\r\nredis_mode:sentinel\r\nrun_id:r\r\n";
  // It serves one connection at a time: that of the questions may come second, behind the
  // listener's end.
  scripted_server sentinel([&](int fd) {
    char sink[4096];
    std::string all = "$" + std::to_string(info.size()) + "\r\n" + info + "\r\n";
    for (ssize_t n = recv(fd, sink, sizeof sink, 0); n > 0; n = recv(fd, sink, sizeof sink, 0)) {
      if (send(fd, all.data(), all.size(), MSG_NOSIGNAL) < 0) return;
      all = answer;
    }
  });
  watcher v(
      &w, "redis-sentinel://" + redis_endpoint_text(sentinel.at()) + "/shop?connect_timeout=300ms");
  v.wait_down("the master 127.0.0.1:" + std::to_string(replica.port()) +
              ": a replica, not writable");
  EXPECT_EQ(v.masters(), 0u);
  replica.call({"REPLICAOF", "NO", "ONE"});
  EXPECT_EQ(v.wait_master(1), replica.tcp());
}

TEST_F(redis_sentinel_test, a_failover_is_followed) {
  redis_server a({"repl-diskless-sync-delay 0"});
  redis_server b({"replicaof 127.0.0.1 " + std::to_string(a.port()), "repl-diskless-sync-delay 0"});
  for (int i = 0; i < 2000 && a.call({"WAIT", "1", "100"}) != "1"; ++i) poll(nullptr, 0, 10);
  redis_server sentinel(conf(a), true);
  watcher v(&w, "redis-sentinel://" + redis_endpoint_text(sentinel.tcp()) + "/shop");
  EXPECT_EQ(v.wait_master(1), a.tcp());
  const std::string port = "\"" + std::to_string(b.port()) + "\"";
  for (int i = 0;
       i < 2000 && sentinel.call({"SENTINEL", "replicas", "shop"}).find(port) == std::string::npos;
       ++i)
    poll(nullptr, 0, 10);
  a.kill();
  EXPECT_EQ(v.wait_master(2), b.tcp());
}

}  // namespace
}  // namespace broker
