// The server API over HTTP on a real node: who may call, what each method answers, batches, and
// what happens to calls that are in flight when the time is over or the node stops.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/limits.h"
#include "proto/api.h"
#include "server/server.h"
#include "tests/server/wire.h"

namespace {

using std::string;
using namespace wired;

const string kKey = "X-API-Key: one\r\n";

string body_of(const string& answer) {
  return answer.substr(std::min(answer.size(), answer.find("\r\n\r\n") + 4));
}
string in_quotes(const string& s) {
  return "\"" + s + "\"";
}
size_t count_of(const string& text_in, const string& part) {
  size_t n = 0;
  for (size_t at = text_in.find(part); at != string::npos; at = text_in.find(part, at + 1)) ++n;
  return n;
}

struct api_http_test : testing::Test {
  server::node* n = nullptr;
  server::settings options;
  string folder;  // of an sqlite store
  api_http_test() {
    chat::settings_defaults(&options.chat);
    options.chat.is_insecure = true;
    options.chat.allow_anonymous = true;
    options.chat.token_keys.hmac_secrets = {"secret"};
    options.chat.shutdown_ms = 0;
    options.chat.node_name = "here";
    options.chat.version = "9.9";
    options.listen = {"127.0.0.1", 0};
    options.loops = 1;
    options.store = server::store_kind::memory;
    options.api_keys = {"zero", "one"};
  }
  void use_sqlite() {
    char name[] = "/tmp/parley_api_XXXXXX";
    folder = mkdtemp(name);
    options.store = server::store_kind::sqlite;
    options.sqlite.path = folder + "/db";
  }
  void start() {
    string why;
    ASSERT_EQ(server::node_start(server::settings(options), &n, &why), core::err::ok) << why;
  }
  void stop() {
    if (n == nullptr) return;
    const std::atomic<bool> at_once{true};
    server::node_stop(n, &at_once);
    n = nullptr;
  }
  void TearDown() override {
    stop();
    if (!folder.empty()) std::filesystem::remove_all(folder);
  }
  std::unique_ptr<wire> open() { return std::make_unique<wire>(n->config.listen.port); }
  string ask(const string& request) { return open()->send(request).answer(); }
  static string request(const string& method, const string& body) {
    return post("/api/" + method, body, kKey);
  }
  // The body of an answer that must be 200.
  string call(const string& method, const string& body) {
    const string answer = ask(request(method, body));
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << answer;
    EXPECT_NE(answer.find("Content-Type: application/json\r\n"), string::npos) << answer;
    return body_of(answer);
  }
  string status(const string& request_bytes) { return ask(request_bytes).substr(9, 3); }
  // A client that is subscribed; anonymous, so its user is "".
  std::unique_ptr<wire> subscriber(const string& channel) {
    auto w = open();
    w->send(kUpgrade + kConnect + text(R"({"id":2,"subscribe":{"channel":")" + channel + "\"}}"));
    EXPECT_FALSE(w->until("\"id\":2,").empty());
    return w;
  }
  // A client of a user, by a token of the guest route.
  std::unique_ptr<wire> client_of(const string& user) {
    const string answer = ask(post("/auth/guest", "{\"name\":\"" + user + "\"}"));
    const size_t at = answer.find("\"token\":\"") + 9;
    auto w = open();
    w->send(kUpgrade + text(R"({"id":1,"connect":{"token":")" +
                            answer.substr(at, answer.find('"', at) - at) + "\"}}"));
    EXPECT_FALSE(w->until("\"id\":1,").empty());
    return w;
  }
  uint64_t counted(core::api_method m) const {
    uint64_t sum = 0;
    for (core::loop* l : n->loops)
      sum += core::loop_counters(l)->api_calls[static_cast<size_t>(m)].get();
    return sum;
  }
};

// ---- who may call, and how

TEST_F(api_http_test, a_key_is_needed) {
  start();
  const string good = R"({"channel":"a","data":1})";
  EXPECT_EQ(status(post("/api/publish", good)), "401");
  EXPECT_EQ(status(post("/api/publish", good, "X-API-Key: two\r\n")), "401");
  EXPECT_EQ(status(post("/api/publish", good, "X-API-Key: on\r\n")), "401");
  EXPECT_EQ(status(post("/api/publish", good, "X-API-Key: onee\r\n")), "401");
  EXPECT_EQ(status(post("/api/publish", good, "X-API-Key:\r\n")), "401");
  EXPECT_EQ(status(post("/api/publish", good, "Authorization: Bearer one\r\n")), "401");
  EXPECT_EQ(status(post("/api/publish", good, "Authorization: apikey \r\n")), "401");
  EXPECT_NE(ask(post("/api/publish", good)).find("WWW-Authenticate: "), string::npos);
  EXPECT_EQ(counted(core::api_method::publish), 0u) << "refused calls are not counted";
  for (const string key : {"X-API-Key: zero\r\n", "x-api-key: one\r\n",
                           "Authorization: apikey one\r\n", "AUTHORIZATION: apikey zero\r\n"})
    EXPECT_EQ(status(post("/api/publish", good, key)), "200") << key;
  EXPECT_EQ(counted(core::api_method::publish), 4u);
}

TEST_F(api_http_test, levels_of_the_log_change_at_run_time) {
  start();
  EXPECT_EQ(status(post("/api/log_levels", "{}")), "401");
  const auto tell = [&] { return call("log_levels", "{}"); };
  const core::log_level before = core::log_level_get(core::log_component::broker);
  EXPECT_NE(tell().find(R"({"result":{"levels":{"core":")"), string::npos);
  call("log_levels", R"( { "levels" : [ "error" , "broker=debug" ] } )");
  EXPECT_EQ(core::log_level_get(core::log_component::broker), core::log_level::debug);
  EXPECT_EQ(core::log_level_get(core::log_component::store), core::log_level::error);
  EXPECT_NE(tell().find(R"("broker":"debug","store":"error","chat":"error")"), string::npos);
  for (const string body :
       {R"({"levels":["loud"]})", R"({"levels":["broker=info","x=info"]})", R"({"levels":"info"})",
        R"({"level":["info"]})", R"({"levels":["info"})", R"({"levels":["info"]}x)", "[]", "x",
        R"({"levels":["in\u0066o"]})"})
    EXPECT_EQ(status(request("log_levels", body)), "400") << body;
  EXPECT_EQ(core::log_level_get(core::log_component::broker), core::log_level::debug)
      << "a call is done as a whole or not at all";
  core::log_setup(core::log_format::logfmt, before, 2);
}

TEST_F(api_http_test, without_keys_it_is_closed) {
  options.api_keys.clear();
  start();
  const string answer = ask(post("/api/info", "{}", "X-API-Key: \r\n"));
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 401 ")) << answer;
  EXPECT_NE(answer.find("--api-key"), string::npos) << "says how to open it";
}

TEST_F(api_http_test, paths_and_methods) {
  start();
  EXPECT_EQ(status(get("/api/info", kKey)), "405");
  EXPECT_NE(ask(get("/api/info", kKey)).find("Allow: POST\r\n"), string::npos);
  for (const string path : {"/api", "/api/", "/api/dance", "/api/publish/", "/api/Publish",
                            "/api/publish%20", "/api//publish"})
    EXPECT_EQ(status(post(path, "{}", kKey)), "404") << path;
  EXPECT_EQ(status(post("/apis/publish", "{}", kKey)), "404");
  EXPECT_EQ(status(post("/api/info?x=1", "{}", kKey)), "200");
  EXPECT_EQ(counted(core::api_method::unknown), 7u);
}

TEST_F(api_http_test, bodies_that_are_no_call) {
  start();
  for (const string body : {"[]", "1", "null", "\"a\"", "{", "{}x", "{\"channel\":1,\"data\":1}",
                            "{\"channel\":\"a\",\"data\":1,}", "\xEF\xBB\xBF{}"}) {
    const string answer = ask(request("publish", body));
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << body << answer;
    EXPECT_GT(body_of(answer).size(), 10u) << "says why";
  }
  EXPECT_EQ(status(request("batch", R"({"commands":{}})")), "400");
  EXPECT_EQ(status(request("info", "")), "200") << "an empty body is an empty object";
}

// ---- methods

TEST_F(api_http_test, publish) {
  start();
  auto w = subscriber("news");
  const string first = call("publish", R"({"channel":"news","data":{"a": [1,
    2]},"tags":{"k":"v"}})");
  EXPECT_TRUE(first.starts_with(R"({"result":{"offset":1,"epoch":")")) << first;
  EXPECT_FALSE(
      w->until(R"("pub":{"data":{"a": [1,    2]},"offset":1,"tags":{"k":"v","time":")").empty())
      << w->in;
  EXPECT_TRUE(call("publish", R"({"channel":"news","data":"two"})").find(R"("offset":2,)") != 0);
  EXPECT_EQ(call("publish", R"({"channel":"live:x","data":1})"), R"({"result":{}})");
  EXPECT_EQ(call("publish", R"({"channel":"news","data":1,"skip_history":true})"),
            R"({"result":{}})");
}

TEST_F(api_http_test, publish_again_with_the_same_key) {
  start();
  const string body = R"({"channel":"news","data":7,"idempotency_key":"k"})";
  const string first = call("publish", body);
  EXPECT_EQ(call("publish", body), first);
  EXPECT_TRUE(call("publish", R"({"channel":"news","data":8,"idempotency_key":"k"})")
                  .starts_with(R"({"error":{"code":113,"message":")"));
}

TEST_F(api_http_test, errors_are_objects_in_200) {
  start();
  const std::pair<string, string> table[] = {
      {R"({"channel":"none:x","data":1})", "102"},
      {R"({"channel":"","data":1})", "107"},
      {R"({"data":1})", "107"},
      {R"({"channel":"a"})", "107"},
      {R"({"channel":"a b","data":1})", "107"},
      {R"({"channel":"a","data":")" + string(64 * 1024 - 1, 'x') + "\"}", "107"},
      {R"({"channel":"a","b64data":"MQ=="})", "107"}};
  for (const auto& [body, code] : table)
    EXPECT_TRUE(
        call("publish", body).starts_with("{\"error\":{\"code\":" + code + ",\"message\":\""))
        << body.substr(0, 80);
  EXPECT_TRUE(call("publish", R"({"channel":"a","data":")" + string(64 * 1024 - 2, 'x') + "\"}")
                  .starts_with("{\"result\""))
      << "at the limit";
  EXPECT_TRUE(call("history", R"({"channel":"live:a"})").starts_with(R"({"error":{"code":108,)"));
  EXPECT_TRUE(call("presence", R"({"channel":"live:a"})").starts_with(R"({"error":{"code":108,)"));
}

TEST_F(api_http_test, broadcast) {
  start();
  const string out = call("broadcast", R"({"channels":["a","none:x","b","a"],"data":1})");
  EXPECT_TRUE(out.starts_with(R"({"result":{"responses":[{"result":{"offset":1,"epoch":)")) << out;
  EXPECT_EQ(count_of(out, "\"error\":{\"code\":102,"), 1u) << out;
  EXPECT_EQ(count_of(out, "\"offset\":1,"), 2u) << out;
  EXPECT_EQ(count_of(out, "\"offset\":2,"), 1u) << out;
  EXPECT_TRUE(call("broadcast", R"({"data":1})").starts_with(R"({"error":{"code":107,)"));
}

TEST_F(api_http_test, broadcast_at_the_limit_and_beyond) {
  start();
  const auto body = [](uint32_t channels) {
    string out = R"({"data":1,"channels":[)";
    for (uint32_t i = 0; i < channels; ++i)
      out += (i > 0 ? ",\"live:" : "\"live:") + std::to_string(i) + "\"";
    return out + "]}";
  };
  EXPECT_EQ(count_of(call("broadcast", body(proto::kApiChannelsMax)), "{\"result\":{}}"),
            proto::kApiChannelsMax);
  EXPECT_TRUE(
      call("broadcast", body(proto::kApiChannelsMax + 1)).starts_with(R"({"error":{"code":107,)"));
}

TEST_F(api_http_test, history) {
  start();
  for (int i = 1; i <= 4; ++i)
    call("publish", R"({"channel":"news","data":)" + std::to_string(i) + "}");
  const string top = call("history", R"({"channel":"news"})");
  EXPECT_TRUE(top.starts_with(R"({"result":{"publications":[],"epoch":")")) << top;
  EXPECT_NE(top.find("\"offset\":4}"), string::npos) << top;
  const string two = call("history", R"({"channel":"news","limit":2})");
  EXPECT_EQ(count_of(two, "\"data\":"), 2u) << two;
  EXPECT_LT(two.find("\"data\":1"), two.find("\"data\":2")) << two;
  const string back = call("history", R"({"channel":"news","limit":-1,"reverse":true,)"
                                      R"("since":{"offset":4,"epoch":""}})");
  EXPECT_EQ(count_of(back, "\"data\":"), 3u) << back;
  EXPECT_LT(back.find("\"data\":3"), back.find("\"data\":2")) << back;
  EXPECT_TRUE(call("history", R"({"channel":"news","limit":1,"since":{"offset":1,"epoch":"x"}})")
                  .starts_with(R"({"error":{"code":112,)"));
  EXPECT_EQ(call("history_remove", R"({"channel":"news"})"), R"({"result":{}})");
  const string gone = call("history", R"({"channel":"news","limit":10})");
  EXPECT_TRUE(gone.starts_with(R"({"result":{"publications":[],)")) << gone;
  EXPECT_NE(gone.find("\"offset\":4}"), string::npos) << "the position stays: " << gone;
}

TEST_F(api_http_test, presence_channels_info) {
  start();
  EXPECT_EQ(call("presence", R"({"channel":"a"})"), R"({"result":{"presence":{}}})");
  auto one = subscriber("a"), two = subscriber("a"), other = subscriber("b");
  EXPECT_EQ(count_of(call("presence", R"({"channel":"a"})"), "\"client\":"), 2u);
  EXPECT_EQ(call("presence_stats", R"({"channel":"a"})"),
            R"({"result":{"num_clients":2,"num_users":1}})");
  const string all = call("channels", "{}");
  EXPECT_NE(all.find(R"("a":{"num_clients":2})"), string::npos) << all;
  EXPECT_NE(all.find(R"("b":{"num_clients":1})"), string::npos) << all;
  EXPECT_EQ(call("channels", R"({"pattern":"b*"})"),
            R"({"result":{"channels":{"b":{"num_clients":1}}}})");
  const string info = call("info", "{}");
  EXPECT_TRUE(
      info.starts_with("{\"result\":{\"nodes\":[{\"uid\":" + in_quotes(n->config.chat.node_id) +
                       R"(,"name":"here","version":"9.9","num_clients":3,)"
                       R"("num_users":1,"num_channels":2,"num_subs":3,"uptime":)"))
      << info;
}

TEST_F(api_http_test, users) {
  options.has_guest_tokens = true;
  start();
  auto w = client_of("ann");
  EXPECT_EQ(call("subscribe", R"({"user":"ann","channel":"news","data":{"b":
1},"info":{"i":1}})"),
            R"({"result":{}})");
  EXPECT_NE(w->until("\"data\":{\"b\":1}").find("\"channel\":\"news\",\"subscribe\":{"),
            string::npos);
  call("publish", R"({"channel":"news","data":5})");
  EXPECT_FALSE(w->until("\"data\":5").empty());
  EXPECT_EQ(call("unsubscribe",
                 R"({"user":"ann","channel":"news","disconnect":{"code":7,"reason":"x"}})"),
            R"({"result":{}})");
  EXPECT_FALSE(w->until(R"("unsubscribe":{"code":2000,"reason":"server unsubscribe"})").empty())
      << w->in;
  EXPECT_EQ(call("refresh", R"({"user":"ann","expire_at":99999999999})"), R"({"result":{}})");
  EXPECT_EQ(call("disconnect", R"({"user":"nobody"})"), R"({"result":{}})");
  EXPECT_EQ(call("disconnect", R"({"user":"ann","disconnect":{"code":4000,"reason":"bye"}})"),
            R"({"result":{}})");
  EXPECT_TRUE(w->rest().ends_with(close_frame(4000, "bye")));
  auto again = client_of("ann");
  EXPECT_EQ(call("disconnect", R"({"user":"ann"})"), R"({"result":{}})");
  EXPECT_TRUE(again->rest().ends_with(close_frame(3503, "force disconnect")));
}

// What a client could not take in one message is refused, not pushed.
TEST_F(api_http_test, subscribe_with_much_data) {
  options.has_guest_tokens = true;
  start();
  auto w = client_of("ann");
  const auto body = [](size_t bytes) {
    return R"({"user":"ann","channel":"news","data":")" + string(bytes, 'x') + "\"}";
  };
  EXPECT_TRUE(call("subscribe", body(600'000)).starts_with(R"({"error":{"code":107,)"));
  EXPECT_EQ(call("subscribe", body(10'000)), R"({"result":{}})");
  EXPECT_FALSE(w->until("\"subscribe\":").empty());
}

// ---- batches

TEST_F(api_http_test, batch_in_order_and_parallel) {
  options.loops = 2;
  start();
  const string commands =
      R"("commands":[{"publish":{"channel":"a","data":1}},{"dance":{}},)"
      R"({"broadcast":{"channels":["b","none:x"],"data":2}},{"publish":{"channel":"c"}},)"
      R"({"history":{"channel":"a","limit":1}},{"info":{}},{"batch":{}}])";
  for (const string parallel : {"", "\"parallel\":true,"}) {
    const string out = call("batch", "{" + parallel + commands + "}");
    const string parts[] = {"{\"replies\":[{\"publish\":{\"offset\":",
                            "},{\"error\":{\"code\":107,",
                            "},{\"broadcast\":{\"responses\":[{\"result\":{\"offset\":",
                            "}},{\"error\":{\"code\":102,",
                            "}]}},{\"error\":{\"code\":107,",
                            "},{\"history\":{\"publications\":[",
                            "},{\"info\":{\"nodes\":[",
                            "},{\"error\":{\"code\":107,"};
    size_t at = 0;
    for (const string& part : parts) {
      at = out.find(part, at);
      ASSERT_NE(at, string::npos) << part << " in " << out;
    }
    EXPECT_TRUE(out.ends_with("}]}")) << out;
  }
  const string in_order =
      call("batch", R"({"commands":[{"publish":{"channel":"z","data":1}},)"
                    R"({"history":{"channel":"z","limit":9}},{"history_remove":{"channel":"z"}},)"
                    R"({"history":{"channel":"z","limit":9}}]})");
  EXPECT_EQ(count_of(in_order, "\"data\":1"), 1u) << in_order;
  EXPECT_EQ(call("batch", R"({"commands":[]})"), R"({"replies":[]})");
  EXPECT_EQ(call("batch", "{}"), R"({"replies":[]})");
}

TEST_F(api_http_test, batch_at_the_limit_and_beyond) {
  start();
  const auto body = [](uint32_t commands) {
    string out = R"({"commands":[)";
    for (uint32_t i = 0; i < commands; ++i)
      out += (i > 0 ? "," : "") + string(R"({"publish":{"channel":"live:a","data":1}})");
    return out + "]}";
  };
  EXPECT_EQ(count_of(call("batch", body(proto::kApiCommandsMax)), "{\"publish\":{}}"),
            proto::kApiCommandsMax);
  EXPECT_EQ(status(request("batch", body(proto::kApiCommandsMax + 1))), "400");
}

// Reads that are side by side fill the answer together: what is too much for it is told, the
// writes among them are told in any case, and the answer arrives.
TEST_F(api_http_test, parallel_reads_beyond_one_answer) {
  start();
  for (int i = 0; i < 9; ++i)
    call("publish", R"({"channel":"big","data":")" + string(50'000, 'x') + "\"}");
  string commands;
  for (int i = 0; i < 40; ++i) commands += R"({"history":{"channel":"big","limit":9}},)";
  commands += R"({"publish":{"channel":"small","data":1}})";
  for (const string parallel : {"true", "false"}) {
    const string out =
        call("batch", "{\"parallel\":" + parallel + ",\"commands\":[" + commands + "]}");
    EXPECT_GT(count_of(out, "{\"history\":"), 5u);
    EXPECT_GT(count_of(out, "{\"error\":{\"code\":106,"), 5u);
    EXPECT_LT(out.size(), 8u << 20);
    if (parallel == "true") {
      EXPECT_EQ(count_of(out, "{\"publish\":{\"offset\":1,"), 1u);
    }
  }
}

// Many members with much info: as many as fit are shown, and the answer arrives.
TEST_F(api_http_test, presence_beyond_one_answer) {
  start();
  core::loop* l = n->loops[0];
  std::atomic<bool> is_done{false};
  struct fill {
    server::node* n;
    std::atomic<bool>* is_done;
  } f{n, &is_done};
  ASSERT_TRUE(core::loop_call(
      l,
      [](core::loop*, void* user) noexcept {
        auto* self = static_cast<fill*>(user);
        for (uint32_t i = 0; i < core::kPresenceEntriesMax; ++i) {
          broker::member m;
          m.client = "client-" + std::to_string(i);
          m.info = "{\"conn_info\":\"" + string(core::kInfoBytesMax, 'i') + "\"}";
          (void)self->n->chats[0]->bus->presence_add("crowd", std::move(m));
        }
        self->is_done->store(true);
      },
      &f));
  while (!is_done.load()) ask(get("/health"));
  const string out = call("presence", R"({"channel":"crowd"})");
  EXPECT_GT(count_of(out, "\"conn_info\":"), 500u);
  EXPECT_LT(out.size(), 8u << 20);
}

// ---- connections and time

TEST_F(api_http_test, pipelined_calls_are_answered_in_order) {
  use_sqlite();
  options.loops = 2;
  start();
  auto w = open();
  string all;
  for (int i = 1; i <= 20; ++i)
    all += request("publish", R"({"channel":"a","data":)" + std::to_string(i) + "}");
  w->send(all);
  for (int i = 1; i <= 20; ++i)
    EXPECT_NE(w->answer().find("\"offset\":" + std::to_string(i) + ","), string::npos) << i;
}

TEST_F(api_http_test, half_closed_callers_get_their_answer) {
  use_sqlite();
  start();
  auto w = open();
  w->send(request("publish", R"({"channel":"a","data":1})"));
  ::shutdown(w->fd, SHUT_WR);
  EXPECT_NE(w->rest().find("\"offset\":1,"), string::npos);
}

TEST_F(api_http_test, callers_that_leave_are_forgotten) {
  use_sqlite();
  options.loops = 2;
  start();
  for (int i = 0; i < 50; ++i) {
    auto w = open();
    w->send(request("publish", R"({"channel":"gone)" + std::to_string(i % 5) + R"(","data":1})"));
    const linger hard{1, 0};  // a reset rather than an end
    ::setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  }
  for (int i = 0; i < 2000 && n->connections.load() > 1; ++i) ask(get("/health"));
  EXPECT_LE(n->connections.load(), 1u);
}

// Whether the answers come in time or not: nothing hangs, nothing is used after its end, nothing
// leaks (the sanitizers' part), and what was acknowledged is there.
TEST_F(api_http_test, stopping_with_calls_in_flight) {
  use_sqlite();
  options.loops = 2;
  start();
  std::vector<std::unique_ptr<wire>> all;
  for (int i = 0; i < 8; ++i) {
    all.push_back(open());
    string commands;
    for (int k = 0; k < 300; ++k)
      commands += string(k > 0 ? "," : "") + R"({"publish":{"channel":"c)" +
                  std::to_string(i * 7 + k) + R"(","data":1}},{"info":{}})";
    all.back()->send(request("batch", "{\"parallel\":" + string(i % 2 == 0 ? "true" : "false") +
                                          ",\"commands\":[" + commands + "]}"));
  }
  // Some calls have begun, none of the batches in order has ended.
  for (int i = 0; i < 2000 && counted(core::api_method::batch) < 8; ++i) ask(get("/health"));
  stop();
  for (auto& w : all) w->rest();
}

// A body is taken from those who may call, and from others no more than they need.
TEST_F(api_http_test, large_bodies_need_a_key) {
  start();
  const auto head = [](const string& path, const string& headers) {
    return "POST " + path + " HTTP/1.1\r\nHost: a\r\n" + headers + "\r\n";
  };
  const string length = "Content-Length: 4000000\r\n", part(300'000, ' ');
  EXPECT_TRUE(
      open()->send(head("/api/publish", length) + part).answer().starts_with("HTTP/1.1 401 "));
  EXPECT_TRUE(open()
                  ->send(head("/api/publish", length + "X-API-Key: two\r\n"))
                  .answer()
                  .starts_with("HTTP/1.1 401 "));
  for (const string path : {"/", "/health", "/auth/guest", "/nothing", "/connection/websocket"}) {
    EXPECT_TRUE(open()->send(head(path, length)).answer().starts_with("HTTP/1.1 413 ")) << path;
    EXPECT_TRUE(open()
                    ->send(head(path, "Transfer-Encoding: chunked\r\n") + "493e0\r\n" + part)
                    .answer()
                    .starts_with("HTTP/1.1 413 "))
        << path;
  }
  auto w = open();
  w->send(head("/api/publish", kKey + "Content-Length: 300030\r\n"));
  w->send(R"({"channel":"live:a","data":1})" + part + " ");
  EXPECT_TRUE(w->answer().starts_with("HTTP/1.1 200 "));
}

}  // namespace
