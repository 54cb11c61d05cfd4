// What the log says of a connection's life: every line names who it is, and why something ended.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/log.h"
#include "proto/token.h"
#include "server/server.h"
#include "tests/server/wire.h"

namespace {

using std::string;
using namespace wired;

struct log_life_test : testing::Test {
  server::node* n = nullptr;
  std::mutex lock;
  std::vector<string> lines;
  core::log_sink sink = {};
  int fd = -1;

  void SetUp() override {
    fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    core::log_setup(core::log_format::logfmt, core::log_level::debug, fd);
    core::log_node("n1");
    sink = {[](void* user, core::log_level, int64_t, std::string_view line) noexcept {
              auto* t = static_cast<log_life_test*>(user);
              const std::lock_guard<std::mutex> held(t->lock);
              t->lines.emplace_back(line);
            },
            this};
    core::log_sink_set(&sink);
    server::settings s;
    chat::settings_defaults(&s.chat);
    s.chat.token_keys.hmac_secrets = {"secret"};
    s.chat.shutdown_ms = 0;
    s.listen = {"127.0.0.1", 0};
    s.loops = 1;
    s.store = server::store_kind::memory;
    s.api_keys = {"key"};
    string why;
    ASSERT_EQ(server::node_start(std::move(s), &n, &why), core::err::ok) << why;
  }
  void TearDown() override {
    const std::atomic<bool> at_once{true};
    if (n != nullptr) server::node_stop(n, &at_once);
    if (HasFailure())
      for (const string& l : lines) std::fprintf(stderr, "%s\n", l.c_str());
    core::log_sink_set(nullptr);
    core::log_node("");
    core::log_setup(core::log_format::logfmt, core::log_level::info, 2);
    ::close(fd);
  }
  std::unique_ptr<wire> open() { return std::make_unique<wire>(n->config.listen.port); }
  // The lines with `what`, once there are `count`; others of the node are awaited by asking it.
  std::vector<string> wait(const string& what, size_t count = 1) {
    for (int i = 0;; ++i) {
      std::vector<string> found;
      {
        const std::lock_guard<std::mutex> held(lock);
        std::copy_if(lines.begin(), lines.end(), std::back_inserter(found),
                     [&](const string& l) { return l.find(what) != string::npos; });
      }
      if (found.size() >= count || i == 2000) {
        EXPECT_EQ(found.size(), count) << what;
        found.resize(count);
        return found;
      }
      open()->send(get("/health", "Connection: close\r\n")).answer();
    }
  }
  static string token(const string& user) {
    return proto::token_sign("secret", user, {}, {}, core::system_clock()->wall_ms() / 1000, 60);
  }
  struct joined {
    std::unique_ptr<wire> w;
    string client;
  };
  joined connect(const string& user) {
    joined j{open(), {}};
    j.w->send(kUpgrade + text(R"({"id":1,"connect":{"token":")" + token(user) + "\"}}"));
    j.w->until("\"client\":\"");
    j.client = j.w->until("\"");
    j.client.pop_back();
    return j;
  }
};

bool has(const string& line, const string& field) {
  return (" " + line + " ").find(" " + field + " ") != string::npos;
}

TEST_F(log_life_test, every_line_names_who_where_and_why) {
  joined ann = connect("ann");
  ASSERT_EQ(ann.client.size(), 36u);
  ann.w->send(text(R"({"id":2,"subscribe":{"channel":"room"}})"));
  ann.w->until("\"id\":2,");
  ann.w->send(text(R"({"id":3,"unsubscribe":{"channel":"room"}})"));
  ann.w->until("\"id\":3,");
  ann.w->send(text(R"({"id":4,"subscribe":{"channel":"other"}})"));
  ann.w->until("\"id\":4,");
  ann.w->send(frame(0x88, "\x03\xe8"));
  ann.w->rest();
  std::vector<string> life = {wait("msg=\"client connected\"")[0],
                              wait("msg=subscribed channel=room")[0],
                              wait("msg=unsubscribed reason=client channel=room")[0],
                              wait("msg=subscribed channel=other")[0],
                              wait("msg=unsubscribed reason=disconnected channel=other")[0],
                              wait("msg=\"connection ended\" reason=client_closed")[0]};
  for (const string& line : life) {
    EXPECT_TRUE(has(line, "user=ann")) << line;
    EXPECT_TRUE(has(line, "client=" + ann.client)) << line;
    EXPECT_TRUE(has(line, "node=n1")) << line;
    EXPECT_TRUE(has(line, "level=debug")) << line;
  }
  EXPECT_NE(life[0].find("peer=127.0.0.1:"), string::npos);
}

TEST_F(log_life_test, whom_the_server_ends) {
  joined bob = connect("bob");
  open()->send(post("/api/disconnect", R"({"user":"bob"})", "X-API-Key: key\r\n")).answer();
  bob.w->rest();
  bob.w.reset();  // until then the server waits for its close frame
  const string line = wait("msg=\"connection ended\" reason=api_disconnect")[0];
  EXPECT_TRUE(has(line, "user=bob")) << line;
  EXPECT_TRUE(has(line, "client=" + bob.client)) << line;
}

TEST_F(log_life_test, a_refused_token_is_told_without_it) {
  auto w = open();
  const string bad = token("eve") + "x";
  w->send(kUpgrade + text(R"({"id":1,"connect":{"token":")" + bad + "\"}}"));
  w->rest();
  const string why = wait("msg=\"a token was refused\"")[0];
  EXPECT_NE(why.find("reason="), string::npos);
  EXPECT_NE(why.find(" client="), string::npos);
  const string end = wait("msg=\"connection ended\" reason=invalid_token")[0];
  EXPECT_EQ(why.substr(why.find(" client="), 44), end.substr(end.find(" client="), 44));
  const std::lock_guard<std::mutex> held(lock);
  for (const string& line : lines) EXPECT_EQ(line.find("eyJ"), string::npos) << line;
}

TEST_F(log_life_test, a_slow_reader_is_told_at_level_warn) {
  core::log_setup(core::log_format::logfmt, core::log_level::info, fd);
  joined slow = connect("slow");
  // Pings without reading: told as slow long before a queue is full.
  string pings;
  for (int i = 0; i < 20'000; ++i) pings += frame(0x89, string(125, 'x'));
  slow.w->send(pings);
  const string line = wait("msg=\"connection ended\" reason=slow")[0];
  EXPECT_TRUE(has(line, "level=warn")) << line;
  EXPECT_TRUE(has(line, "user=slow")) << line;
  EXPECT_TRUE(has(line, "client=" + slow.client)) << line;
}

}  // namespace
