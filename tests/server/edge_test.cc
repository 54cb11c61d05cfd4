// The edge on a real node with real loops: raw sockets on loopback speak HTTP and WebSocket, well
// and badly.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/limits.h"
#include "server/page.h"
#include "server/server.h"
#include "tests/server/wire.h"

namespace {

using std::string;
using namespace wired;

struct edge_test : testing::Test {
  server::node* n = nullptr;
  server::settings options;
  edge_test() {
    chat::settings_defaults(&options.chat);
    options.chat.is_insecure = true;
    options.chat.allow_anonymous = true;
    options.chat.token_keys.hmac_secrets = {"secret"};
    options.chat.shutdown_ms = 0;
    options.listen = {"127.0.0.1", 0};
    options.loops = 1;
    options.store = server::store_kind::memory;
    options.has_guest_tokens = true;
  }
  void start() {
    string why;
    ASSERT_EQ(server::node_start(server::settings(options), &n, &why), core::err::ok) << why;
  }
  uint16_t port() const { return n->config.listen.port; }
  core::loop_metrics* counters() { return core::loop_counters(n->loops[0]); }
  std::unique_ptr<wire> open() { return std::make_unique<wire>(port()); }
  std::unique_ptr<wire> websocket() {
    auto w = open();
    w->send(kUpgrade);
    EXPECT_TRUE(w->until("\r\n\r\n").starts_with("HTTP/1.1 101 "));
    return w;
  }
  string ask(const string& request) { return open()->send(request).answer(); }
  // Until a fact becomes true on another thread: waits for progress by asking the node something.
  template <typename F>
  void eventually(F fact) {
    for (int i = 0; i < 2000 && !fact(); ++i) ask(get("/health", "Connection: close\r\n"));
    EXPECT_TRUE(fact());
  }
  void TearDown() override {
    if (n == nullptr) return;
    const std::atomic<bool> at_once{true};
    server::node_stop(n, &at_once);
  }
};

TEST_F(edge_test, small_routes) {
  start();
  EXPECT_TRUE(ask(get("/health")).starts_with("HTTP/1.1 200 "));
  EXPECT_NE(ask(get("/ready")).find("\"ready\":true"), string::npos);
  EXPECT_NE(ask(get("/metrics")).find("http_requests_total"), string::npos);
  EXPECT_TRUE(ask(get("/nothing")).starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(ask(get("/../etc/passwd")).starts_with("HTTP/1.1 404 "));
  const string refused = ask(post("/health", ""));
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 405 "));
  EXPECT_NE(refused.find("Allow: GET, HEAD\r\n"), string::npos);
  EXPECT_TRUE(ask(get("/auth/guest")).starts_with("HTTP/1.1 405 "));
}

TEST_F(edge_test, head_has_no_body) {
  start();
  const string all =
      open()->send("HEAD /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").rest();
  EXPECT_NE(all.find("Content-Length: 3\r\n"), string::npos);
  EXPECT_TRUE(all.ends_with("\r\n\r\n"));
}

TEST_F(edge_test, page_has_policy_and_etag) {
  start();
  const string page = ask(get("/"));
  const server::page_file* file = server::page_find("/");
  if (file == nullptr) {
    EXPECT_TRUE(page.starts_with("HTTP/1.1 404 "));
    return;
  }
  EXPECT_TRUE(page.starts_with("HTTP/1.1 200 "));
  EXPECT_NE(page.find("Content-Security-Policy: default-src 'none'; script-src 'self'"),
            string::npos);
  EXPECT_NE(page.find("X-Content-Type-Options: nosniff\r\n"), string::npos);
  EXPECT_TRUE(page.ends_with(string(file->body)));
  EXPECT_TRUE(
      ask(get("/", "If-None-Match: " + string(file->etag) + "\r\n")).starts_with("HTTP/1.1 304 "));
  EXPECT_TRUE(ask(get("/", "If-None-Match: \"other\"\r\n")).starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(ask(post("/", "")).starts_with("HTTP/1.1 405 "));
}

TEST_F(edge_test, pipelined_requests_are_answered_in_order) {
  start();
  for (const bool slowly : {false, true}) {
    auto w = open();
    const string three =
        get("/health") + post("/auth/guest", R"({"name":"Ann"})") + get("/nothing");
    slowly ? w->send_slowly(three) : w->send(three);
    EXPECT_TRUE(w->answer().ends_with("\r\n\r\nok\n"));
    EXPECT_NE(w->answer().find("\"user\":\"Ann\""), string::npos);
    EXPECT_TRUE(w->answer().starts_with("HTTP/1.1 404 "));
  }
}

// Answers that nobody reads do not pile up: a peer that asks on without reading is slow.
TEST_F(edge_test, pipelining_without_reading_ends) {
  start();
  auto w = std::make_unique<wire>(port(), 4096);
  const size_t each = ask(get("/metrics")).size();
  string flood;
  for (size_t bytes = 0; bytes < 14u << 20; bytes += each) flood += get("/metrics");
  w->send(flood);
  eventually(
      [&] { return counters()->ended[static_cast<size_t>(core::end_reason::slow)].get() == 1; });
}
// … and whoever reads may pipeline as much as they like.
TEST_F(edge_test, pipelining_with_reading_goes_on) {
  start();
  auto w = open();
  const string request = get("/metrics");
  for (int i = 0; i < 20; ++i) {
    string some;
    for (int k = 0; k < 10; ++k) some += request;
    w->send(some);
    for (int k = 0; k < 10; ++k) ASSERT_TRUE(w->answer().starts_with("HTTP/1.1 200 "));
  }
}

TEST_F(edge_test, connection_close_is_kept) {
  start();
  EXPECT_TRUE(open()
                  ->send(get("/health", "Connection: close\r\n") + get("/health"))
                  .rest()
                  .ends_with("ok\n"));
  EXPECT_NE(open()->send("GET /health HTTP/1.0\r\n\r\n").rest().find("Connection: close\r\n"),
            string::npos);
}

TEST_F(edge_test, bad_requests_get_a_status_and_the_end) {
  start();
  const std::pair<string, string> table[] = {
      {"nonsense\r\n\r\n", "400"},
      {"GET / HTTP/1.1\r\n\r\n", "400"},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"},
      {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "501"},
      {"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
       "400"},
      {"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 4194305\r\n\r\n", "413"},
      {"GET /" + string(core::kHttpHeadBytesMax, 'x'), "414"},
      {"GET / HTTP/1.1\r\nA: " + string(core::kHttpHeadBytesMax, 'x'), "431"},
  };
  for (const auto& [request, status] : table) {
    EXPECT_TRUE(open()->send(request).until("\r\n").starts_with("HTTP/1.1 " + status))
        << request.substr(0, 60);
  }
}

TEST_F(edge_test, slow_heads_end) {
  start();
  auto silent = open(), slow = open();
  slow->send("GET / HTTP/1.1\r\n");
  EXPECT_EQ(slow->rest(), "");
  EXPECT_EQ(silent->rest(), "");
  eventually([&] {
    return counters()->ended[static_cast<size_t>(core::end_reason::handshake_timeout)].get() == 2;
  });
}

TEST_F(edge_test, websockets_outlive_the_head_deadline) {
  start();
  auto w = websocket();
  auto slow = open();  // its end tells that the time has passed
  EXPECT_EQ(slow->rest(), "");
  w->send(frame(0x89, "x"));
  EXPECT_FALSE(w->until("\x8A\x01x").empty());
}

TEST_F(edge_test, half_closed_peers_get_their_answer) {
  start();
  auto w = open();
  w->send(get("/health"));
  ::shutdown(w->fd, SHUT_WR);
  EXPECT_TRUE(w->rest().ends_with("ok\n"));
}

TEST_F(edge_test, chunked_body_and_100_continue) {
  start();
  auto w = open();
  w->send(
      "POST /auth/guest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: "
      "100-continue\r\n\r\n");
  EXPECT_EQ(w->until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  w->send("5\r\n{\"nam\r\n9\r\ne\":\"Bob\"}\r\n0\r\n\r\n");
  EXPECT_NE(w->answer().find("\"user\":\"Bob\""), string::npos);
}

TEST_F(edge_test, guest_names) {
  start();
  EXPECT_NE(ask(post("/auth/guest", R"({ "name" : "  Ann   B. " })")).find("\"user\":\"Ann B.\""),
            string::npos);
  EXPECT_TRUE(ask(post("/auth/guest", "{\"name\":\"" + string(32, 'a') + "\"}"))
                  .starts_with("HTTP/1.1 200 "));
  for (const string& body :
       {string("{\"name\":\"" + string(33, 'a') + "\"}"), string(R"({"name":""})"),
        string(R"({"name":"  "})"), string(R"({"name":"a,b"})"), string(R"({"name":"#a"})"),
        string(R"({"name":"a\"b"})"), string(R"({"name":1})"), string(R"({"name":"a"}x)"),
        string("{}"), string()}) {
    EXPECT_TRUE(ask(post("/auth/guest", body)).starts_with("HTTP/1.1 400 ")) << body;
  }
}

TEST_F(edge_test, guest_tokens_only_when_they_are_on) {
  options.has_guest_tokens = false;
  start();
  EXPECT_TRUE(ask(post("/auth/guest", R"({"name":"Ann"})")).starts_with("HTTP/1.1 404 "));
}

TEST_F(edge_test, websocket_opens_and_frames_behind_the_request_count) {
  start();
  for (const bool slowly : {false, true}) {
    auto w = open();
    slowly ? w->send_slowly(kUpgrade + kConnect) : w->send(kUpgrade + kConnect);
    EXPECT_NE(w->until("\r\n\r\n").find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
              string::npos);
    EXPECT_FALSE(w->until("\"connect\":").empty());
  }
}

TEST_F(edge_test, websocket_refusals) {
  start();
  EXPECT_TRUE(ask(get("/connection/websocket")).starts_with("HTTP/1.1 426 "));
  string other = kUpgrade;
  other.replace(other.find("/websocket"), 10, "/websocket?format=protobuf");
  EXPECT_TRUE(ask(other).starts_with("HTTP/1.1 400 "));
  string origin = kUpgrade;
  origin.insert(origin.find("Upgrade:"), "Origin: http://evil.com\r\n");
  EXPECT_TRUE(ask(origin).starts_with("HTTP/1.1 403 "));
  EXPECT_EQ(counters()->handshake_refused.get(), 3u);
  EXPECT_EQ(counters()->websockets_open.get(), 0u);
}

TEST_F(edge_test, a_herd_is_let_in_at_a_rate) {
  options.chat.handshakes_per_s = 1;
  options.chat.handshakes_burst = 3;
  start();
  std::vector<std::unique_ptr<wire>> in;
  for (int i = 0; i < 3; ++i) in.push_back(websocket());
  string late = ask(kUpgrade);
  EXPECT_TRUE(late.starts_with("HTTP/1.1 503 ")) << late;
  EXPECT_NE(late.find("Retry-After: 1\r\n"), string::npos);
  EXPECT_TRUE(ask(get("/health")).starts_with("HTTP/1.1 200 "))
      << "who asks something else is served";
  EXPECT_EQ(counters()->handshake_refused.get(), 1u);
  for (int i = 0; i < 100'000 && !late.starts_with("HTTP/1.1 101 "); ++i) {
    auto w = open();
    w->send(kUpgrade);
    late = w->until("\r\n\r\n");
  }
  EXPECT_TRUE(late.starts_with("HTTP/1.1 101 ")) << "a second later the next one is in";
}

TEST_F(edge_test, ping_is_answered) {
  start();
  auto w = websocket();
  w->send(frame(0x89, "abc"));
  EXPECT_FALSE(w->until("\x8A\x03"
                        "abc")
                   .empty());
  for (int i = 0; i < 300; ++i) {  // whoever reads may ping on
    w->send(frame(0x89, "x"));
    ASSERT_FALSE(w->until("\x8A\x01x").empty());
  }
}

TEST_F(edge_test, ping_flood_ends_the_connection) {
  start();
  auto w = websocket();
  string flood;
  for (int i = 0; i < 20'000; ++i) flood += frame(0x89, "");
  w->send(flood);
  w->rest();
  eventually(
      [&] { return counters()->ended[static_cast<size_t>(core::end_reason::slow)].get() == 1; });
}

TEST_F(edge_test, close_is_answered_with_the_same_code) {
  start();
  EXPECT_EQ(websocket()->send(frame(0x88, string("\x03\xE9", 2) + "bye")).rest(),
            close_frame(1001));
  EXPECT_EQ(websocket()->send(frame(0x88, "")).rest(), string("\x88\0", 2));
  EXPECT_EQ(websocket()->send(frame(0x88, string("\x0F\xA0", 2))).rest(), close_frame(4000));
  eventually([&] { return counters()->websockets_open.get() == 0 && n->connections.load() <= 1; });
}

TEST_F(edge_test, broken_rules_get_their_close_code) {
  start();
  EXPECT_EQ(websocket()->send(frame(0x81, "a", false)).rest(), close_frame(1002));
  EXPECT_EQ(websocket()->send(frame(0x82, "a")).rest(), close_frame(1003));
  EXPECT_EQ(websocket()->send(text("\xFF")).rest(), close_frame(1007));
  EXPECT_EQ(websocket()
                ->send(text(string(core::kWsMessageBytesMaxBeforeConnect + 1, 'a')))
                .until("\x88\x02")
                .size(),
            2u);
  EXPECT_EQ(websocket()->send_slowly(frame(0x01, "a") + frame(0x81, "b")).rest(),
            close_frame(1002));
}

TEST_F(edge_test, connected_clients_may_send_more) {
  start();
  auto w = websocket();
  w->send(kConnect);
  ASSERT_FALSE(w->until("\"connect\":").empty());
  w->send(text(R"({"id":2,"rpc":{"method":"none","data":")" + string(200'000, 'a') + "\"}}"));
  EXPECT_FALSE(w->until("\"id\":2").empty());
}

TEST_F(edge_test, nothing_stays_lent) {
  start();
  auto idle = open();
  auto w = websocket();
  w->send(kConnect);
  ASSERT_FALSE(w->until("\"connect\":").empty());
  eventually([&] { return counters()->contexts_lent.get() == 0; });
  w->send("\x81");
  eventually([&] { return counters()->contexts_lent.get() == 1; });
  w.reset();
  eventually([&] {
    return counters()->contexts_lent.get() == 0 && counters()->websockets_open.get() == 0;
  });
}

TEST_F(edge_test, oldest_partial_message_is_given_up) {
  start();
  std::vector<std::unique_ptr<wire>> all;
  all.push_back(websocket());
  all[0]->send("\x81");
  eventually([&] { return counters()->contexts_lent.get() == 1; });
  for (uint32_t i = 1; i < core::kWsContextsPerLoopMax; ++i) {
    all.push_back(websocket());
    all.back()->send("\x81");
  }
  all.push_back(websocket());  // its request's head is borrowed for a moment, too
  all.back()->send("\x81");
  EXPECT_EQ(all[0]->rest(), close_frame(1013, "too many partial messages"));
  EXPECT_LE(counters()->contexts_lent.get(), core::kWsContextsPerLoopMax);
}

TEST_F(edge_test, strangers_do_not_drive_out_who_is_connected) {
  start();
  auto client = websocket();
  client->send(kConnect);
  ASSERT_FALSE(client->until("\"connect\":").empty());
  const string ping = text(R"({"id":2,"ping":{}})");
  client->send(ping.substr(0, 5));
  eventually([&] { return counters()->contexts_lent.get() == 1; });
  std::vector<std::unique_ptr<wire>> strangers;
  for (uint32_t i = 0; i < core::kWsContextsPerLoopMax; ++i) {
    strangers.push_back(open());
    strangers.back()->send("GET ");
  }
  EXPECT_EQ(strangers[0]->rest(), "") << "the oldest of them is closed";
  client->send(ping.substr(5));
  EXPECT_FALSE(client->until("\"id\":2,").empty());
}

TEST_F(edge_test, draining_refuses_websockets) {
  start();
  auto w = websocket();
  n->is_draining = true;
  EXPECT_TRUE(ask(get("/ready")).starts_with("HTTP/1.1 503 "));
  EXPECT_TRUE(ask(get("/health")).starts_with("HTTP/1.1 200 "));
  const string refused = ask(kUpgrade);
  EXPECT_TRUE(refused.starts_with("HTTP/1.1 503 "));
  EXPECT_NE(refused.find("Retry-After: "), string::npos);
  w->send(frame(0x89, "x"));
  EXPECT_FALSE(w->until("\x8A\x01x").empty()) << "those that are there are served on";
}

TEST_F(edge_test, connections_at_the_bound_and_beyond) {
  options.chat.connections_max = 2;
  start();
  auto first = websocket(), second = websocket();
  EXPECT_TRUE(ask(kUpgrade).starts_with("HTTP/1.1 503 "));
  first.reset();
  for (int i = 0; i < 2000; ++i) {
    if (ask(get("/health")).starts_with("HTTP/1.1 200 ")) return;
  }
  FAIL() << "room was not given back";
}

TEST_F(edge_test, requests_are_counted) {
  start();
  ask(get("/health"));
  ask(get("/nothing"));
  const auto& m = counters()->http;
  EXPECT_EQ(
      m[static_cast<size_t>(core::http_route::health)][static_cast<size_t>(core::http_class::c2xx)]
          .get(),
      1u);
  EXPECT_EQ(
      m[static_cast<size_t>(core::http_route::other)][static_cast<size_t>(core::http_class::c4xx)]
          .get(),
      1u);
}

}  // namespace
