// `parleyd export` and `parleyd import` around real nodes: a team's history goes from one store to
// another, and each way it can fail has its exit code and its sentence.
#include "server/transfer_command.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "server/server.h"
#include "server/transfer_progress.h"
#include "tests/server/wire.h"
#include "tests/store/mongo_server.h"

namespace {

using std::string;
using namespace wired;

const string kKey = "X-API-Key: one\r\n";

struct transfer_command_test : testing::Test {
  string folder;
  string out, err;  // of the last command
  server::settings options;
  server::node* n = nullptr;

  transfer_command_test() {
    char name[] = "/tmp/parley_transfer_XXXXXX";
    folder = mkdtemp(name);
    chat::settings_defaults(&options.chat);
    options.chat.token_keys.hmac_secrets = {"secret"};
    options.chat.shutdown_ms = 0;
    options.listen = {"127.0.0.1", 0};
    options.loops = 1;
    options.api_keys = {"one"};
    unsetenv("PARLEY_STORE");
  }
  ~transfer_command_test() override {
    stop();
    std::filesystem::remove_all(folder);
  }
  string path(const string& name) const { return folder + "/" + name; }
  string sqlite(const string& name) const { return "sqlite:" + path(name); }
  void start_sqlite(const string& name) {
    options.store = server::store_kind::sqlite;
    options.sqlite.path = path(name);
    start();
  }
  void start_mongo(const string& url) {
    options.store = server::store_kind::mongo;
    options.mongo.url = url;
    options.mongo.spool_dir = path("spool");
    start();
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
  // The answer's body.
  string call(const string& method, const string& body) {
    wire w(n->config.listen.port);
    const string answer = w.send(post("/api/" + method, body, kKey)).answer();
    return answer.substr(std::min(answer.size(), answer.find("\r\n\r\n") + 4));
  }
  string publish(const string& channel, const string& data, const string& key = "") {
    return call("publish", "{\"channel\":\"" + channel + "\",\"data\":" + data +
                               (key.empty() ? "" : ",\"idempotency_key\":\"" + key + "\"") + "}");
  }
  string history(const string& channel) {
    return call("history", "{\"channel\":\"" + channel + "\",\"limit\":100}");
  }
  int run(int (*command)(int, const char* const*) noexcept, std::vector<string> args) {
    std::vector<const char*> argv;
    for (const string& a : args) argv.push_back(a.c_str());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int rc = command(static_cast<int>(argv.size()), argv.data());
    std::fflush(stdout);
    out = testing::internal::GetCapturedStdout();
    err = testing::internal::GetCapturedStderr();
    return rc;
  }
  int exports(std::vector<string> args) { return run(server::export_command, std::move(args)); }
  int imports(std::vector<string> args) { return run(server::import_command, std::move(args)); }
  string text_of(const string& name) {
    std::ifstream in(path(name));
    std::stringstream all;
    all << in.rdbuf();
    return all.str();
  }
  void write(const string& name, const string& text) { std::ofstream(path(name)) << text; }
};

TEST_F(transfer_command_test, takes_a_history_along) {
  start_sqlite("a");
  publish("general", R"({"text":"one"})", "k1");
  publish("general", R"({"text":"two"})");
  publish("news", R"({"text":"three"})");
  const string before = history("general");
  EXPECT_NE(before.find("\"two\""), string::npos) << before;
  EXPECT_EQ(exports({"--store", sqlite("a")}), server::kTransferBusy);
  EXPECT_NE(err.find("is in use by process " + std::to_string(getpid())), string::npos) << err;
  stop();
  ASSERT_EQ(exports({"--store", sqlite("a"), "--out", path("all")}), server::kTransferWhole) << err;
  EXPECT_EQ(err.find("parleyd export: 2 channels, 3 publications, 1 key, 0 "), 0u) << err;
  EXPECT_FALSE(std::filesystem::exists(path("all.part")));
  ASSERT_EQ(imports({"--store", sqlite("b"), "--in", path("all")}), server::kTransferWhole) << err;
  EXPECT_EQ(err.find("parleyd import: 2 channels, 3 publications, 1 key, "), 0u) << err;
  start_sqlite("b");
  EXPECT_EQ(history("general"), before) << "with its epoch: clients recover";
  EXPECT_NE(publish("general", R"({"text":"one"})", "k1").find("\"offset\":1,"), string::npos);
  EXPECT_NE(publish("general", R"({"text":"four"})").find("\"offset\":3,"), string::npos);
}

TEST_F(transfer_command_test, takes_a_history_along_to_mongodb) {
  SKIP_WITHOUT_MONGO();
  const string url = store_test::mongo_server::shared().fresh_url();
  start_sqlite("a");
  publish("general", R"({"text":"one"})", "k1");
  publish("general", R"({"text":"two"})");
  const string before = history("general");
  stop();
  ASSERT_EQ(exports({"--store", sqlite("a"), "--out", path("all")}), 0) << err;
  setenv("PARLEY_STORE", url.c_str(), 1);  // a password does not belong into the process list
  ASSERT_EQ(imports({"--in", path("all")}), 0) << err;
  ASSERT_EQ(exports({}), 0) << err;
  EXPECT_EQ(out, text_of("all"));
  start_mongo(url);
  EXPECT_EQ(history("general"), before);
  EXPECT_EQ(exports({}), server::kTransferBusy);
  EXPECT_NE(err.find("stop parleyd first"), string::npos) << err;
  EXPECT_NE(publish("general", R"({"text":"one"})", "k1").find("\"offset\":1,"), string::npos);
  EXPECT_NE(publish("general", R"({"text":"three"})").find("\"offset\":3,"), string::npos);
  stop();
  EXPECT_EQ(imports({"--in", path("all")}), 0) << err;
  EXPECT_NE(err.find("(2 of them were there)"), string::npos) << err;
  unsetenv("PARLEY_STORE");
}

TEST_F(transfer_command_test, refuses_what_it_cannot_do) {
  EXPECT_EQ(exports({"--store", "memory"}), server::kTransferRefused);
  EXPECT_NE(err.find("there are sqlite:PATH and mongodb://"), string::npos) << err;
  EXPECT_EQ(exports({"--store", sqlite("none")}), server::kTransferRefused);
  EXPECT_EQ(exports({"--sotre", "x"}), server::kTransferRefused);
  EXPECT_NE(err.find("did you mean --store?"), string::npos) << err;
  EXPECT_EQ(imports({"--store", sqlite("b"), "--in", path("none")}), server::kTransferRefused);
  EXPECT_NE(err.find("cannot read"), string::npos) << err;
  EXPECT_FALSE(std::filesystem::exists(path("b"))) << "nothing is made for nothing";
  EXPECT_EQ(exports({"--help"}), 0);
  EXPECT_NE(out.find("--out"), string::npos);
  start_sqlite("a");
  stop();
  write("there", "mine");
  EXPECT_EQ(exports({"--store", sqlite("a"), "--out", path("there")}), server::kTransferRefused);
  EXPECT_EQ(text_of("there"), "mine");
  EXPECT_EQ(exports({"--store", sqlite("a"), "--out", "/dev/full"}), server::kTransferRefused);
}

TEST_F(transfer_command_test, says_what_is_wrong_with_a_file) {
  start_sqlite("a");
  publish("general", R"({"text":"one"})");
  stop();
  ASSERT_EQ(exports({"--store", sqlite("a")}), 0);
  const string good = out;
  string bad = good;
  bad.replace(bad.find("one"), 3, "two");
  write("bad", bad);
  EXPECT_EQ(imports({"--store", sqlite("b"), "--in", path("bad")}), server::kTransferBadFile);
  EXPECT_NE(err.find("parleyd import: line 4: the checksum"), string::npos) << err;
  write("bad", good.substr(0, good.size() / 2));
  EXPECT_EQ(imports({"--store", sqlite("b"), "--in", path("bad")}), server::kTransferBadFile);
  EXPECT_NE(err.find("truncated"), string::npos) << err;
  bad = good;
  bad.replace(bad.find("one\\\"}"), 6, "one\\\"]");
  write("bad", bad);
  EXPECT_EQ(imports({"--store", sqlite("b"), "--in", path("bad")}), server::kTransferBadFile);
  EXPECT_NE(err.find("line 3: \"data\" is a text that holds JSON"), string::npos) << err;
  write("good", good);
  EXPECT_EQ(imports({"--store", sqlite("b"), "--in", path("good")}), 0) << err;
}

TEST_F(transfer_command_test, says_where_two_histories_differ) {
  start_sqlite("a");
  publish("general", R"({"text":"one"})");
  stop();
  ASSERT_EQ(exports({"--store", sqlite("a"), "--out", path("old")}), 0);
  ASSERT_EQ(imports({"--store", sqlite("b"), "--in", path("old")}), 0);
  start_sqlite("a");
  publish("general", R"({"text":"here"})");
  stop();
  start_sqlite("b");
  publish("general", R"({"text":"there"})");
  stop();
  ASSERT_EQ(exports({"--store", sqlite("a"), "--out", path("new")}), 0);
  EXPECT_EQ(imports({"--store", sqlite("b"), "--in", path("new")}), server::kTransferConflict);
  EXPECT_NE(err.find("channel \"general\" has another publication at offset 2"), string::npos)
      << err;
}

TEST_F(transfer_command_test, has_no_file_that_is_not_whole) {
  start_sqlite("a");
  publish("general", R"({"text":"one"})");
  stop();
  std::filesystem::create_symlink("/dev/full", path("all.part"));
  EXPECT_EQ(exports({"--store", sqlite("a"), "--out", path("all")}), server::kTransferFailed);
  EXPECT_NE(err.find("No space left on device"), string::npos) << err;
  EXPECT_FALSE(std::filesystem::exists(path("all")));
}

// A history of `count` publications, as lines with their checks.
string long_file(int count) {
  char name[] = "/tmp/parley_long_XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  const auto to = store::open_ndjson_sink(fd);
  string why;
  EXPECT_EQ(to->begin({"abcd1234", 0}, &why), core::err::ok);
  store::history_page page(1);
  page[0].channel = "long";
  page[0].top = static_cast<uint64_t>(count);
  for (int i = 1; i <= count; ++i) {
    store::history_record r;
    r.kind = store::history_kind::publication;
    r.channel = "long";
    r.pub.offset = static_cast<uint64_t>(i);
    r.pub.time_ms = i;
    r.pub.data = std::to_string(i);
    page.push_back(r);
  }
  EXPECT_EQ(to->put(page, &why), core::err::ok);
  EXPECT_EQ(to->end({1, static_cast<uint64_t>(count), 0, 0}, &why), core::err::ok);
  string all(static_cast<size_t>(lseek(fd, 0, SEEK_CUR)), ' ');
  EXPECT_EQ(pread(fd, all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
  close(fd);
  return all;
}

// From a pipe, which is SIGTERM's usual moment: it ends with whole pages in, and goes on from a
// file.
TEST_F(transfer_command_test, stops_at_a_signal_and_goes_on) {
  const string all = long_file(3500);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int kept = dup(STDIN_FILENO);
  dup2(ends[0], STDIN_FILENO);
  std::thread feeder([&] {
    size_t half = 0;
    for (int i = 0; i < 2; ++i) half = all.find("\"check\"", half + 1);
    for (size_t at = 0; at < half;)
      at += static_cast<size_t>(::write(ends[1], all.data() + at, half - at));
    // Its handler is there when it has opened the store.
    while (!std::filesystem::exists(path("b"))) std::this_thread::yield();
    kill(getpid(), SIGTERM);
    (void)!::write(ends[1], all.data() + half, all.size() - half);
    close(ends[1]);
  });
  EXPECT_EQ(imports({"--store", sqlite("b")}), server::kTransferFailed);
  close(ends[0]);
  dup2(kept, STDIN_FILENO);
  close(kept);
  feeder.join();
  EXPECT_NE(err.find("stopped; "), string::npos) << err;
  EXPECT_NE(err.find("Run it again to go on"), string::npos) << err;
  string why;
  options.store = server::store_kind::sqlite;
  options.sqlite.path = path("b");
  EXPECT_NE(server::node_start(server::settings(options), &n, &why), core::err::ok);
  EXPECT_NE(why.find("an import into it has not ended"), string::npos) << why;
  n = nullptr;
  write("all", all);
  ASSERT_EQ(imports({"--store", sqlite("b"), "--in", path("all")}), 0) << err;
  ASSERT_EQ(exports({"--store", sqlite("b")}), 0) << err;
  EXPECT_EQ(out, all);
}

TEST_F(transfer_command_test, shows_how_far_it_is) {
  using server::transfer_text;
  const store::history_counts some{1, 1'234'567, 0, 0};
  EXPECT_EQ(transfer_text(some, {50, 100}, 10'000'000, true),
            "[###############---------------] 50 %  1,234,567 publications  123,456/s  0:10 left");
  EXPECT_EQ(transfer_text(some, {1, 4000}, 1'000'000, false),
            "0 %  1,234,567 publications  1,234,567/s  1:06:39 left");
  EXPECT_EQ(transfer_text(some, {10, 0}, 10'000'000, true), "1,234,567 publications  123,456/s");
  EXPECT_EQ(transfer_text({0, 12, 0, 0}, {110, 100}, 10, true),
            "[##############################] 100 %  12 publications");
}

}  // namespace
