// Log lines to Loki, against a server that answers as told: what is pushed and how, what is tried
// again, what is given up, and that neither a stalled Loki nor a dead one holds up the end or grows
// memory.
#include "server/loki.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <chrono>
#include <thread>

#include "core/clock.h"
#include "core/log.h"
#include "tests/core/http_server.h"

namespace server {
namespace {

using core::http_server;
using strings = std::vector<std::string>;

std::string answer(int status, const std::string& text = "") {
  return "HTTP/1.1 " + std::to_string(status) +
         " X\r\nContent-Length: " + std::to_string(text.size()) + "\r\nConnection: close\r\n\r\n" +
         text;
}

std::string gunzip(const std::string& bytes) {
  z_stream z{};
  EXPECT_EQ(inflateInit2(&z, 16 + MAX_WBITS), Z_OK);
  std::string out(8 << 20, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(inflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  inflateEnd(&z);
  return out;
}

// The JSON of a push.
std::string pushed(const std::string& question) {
  return gunzip(question.substr(question.find("\r\n\r\n") + 4));
}

size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++n;
  return n;
}

uint64_t drops(const loki_stats& s, loki_drop why) {
  return s.dropped_lines[static_cast<size_t>(why)];
}

uint64_t all_drops(const loki_stats& s) {
  uint64_t n = 0;
  for (const uint64_t d : s.dropped_lines) n += d;
  return n;
}

class loki_test : public testing::Test {
 protected:
  void SetUp() override {
    fd_ = open("/dev/null", O_WRONLY | O_CLOEXEC);
    core::log_setup(core::log_format::logfmt, core::log_level::info, fd_);
    options_.labels = {{"job", "parley"}, {"node", "n1"}};
    options_.batch_ms = 10;
    options_.pause_ms_min = 1;
    options_.pause_ms_max = 20;
  }
  void TearDown() override {
    loki_close(l_);
    core::log_setup(core::log_format::logfmt, core::log_level::info, 2);
    close(fd_);
  }
  void start(const std::string& url) {
    ASSERT_TRUE(core::http_target_parse(url, &options_.target));
    l_ = loki_open(options_);
  }
  // How it ended; in how many milliseconds.
  loki_stats stop(uint64_t* ms = nullptr) {
    loki_stats s;
    const uint64_t began = core::system_clock()->mono_us();
    loki_close(l_, &s);
    l_ = nullptr;
    if (ms != nullptr) *ms = (core::system_clock()->mono_us() - began) / 1000;
    return s;
  }
  template <typename F>
  bool wait(F is_so) {
    for (int i = 0; i < 10'000 && !is_so(loki_stats_of(l_)); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return is_so(loki_stats_of(l_));
  }
  bool wait_pushed(uint64_t lines) {
    return wait([&](const loki_stats& s) { return s.pushed_lines >= lines; });
  }
  loki_options options_;
  loki* l_ = nullptr;
  int fd_ = -1;
};

TEST_F(loki_test, lines_are_pushed_in_streams_of_their_level) {
  http_server server([](int) { return strings{answer(204)}; });
  options_.batch_ms = 200;  // all in one
  start(server.url("/loki/api/v1/push"));
  core::log_info("one", {{"text", "a \"b\" \\ \n \xc3\xa9"}});
  core::log_warn("two");
  core::log_info("three");
  core::log_debug("left out");
  ASSERT_TRUE(wait_pushed(3));
  const std::string q = server.questions().front();
  EXPECT_TRUE(q.starts_with("POST /loki/api/v1/push HTTP/1.1\r\nHost: 127.0.0.1:")) << q;
  for (const char* header : {"\r\nContent-Type: application/json\r\n",
                             "\r\nContent-Encoding: gzip\r\n", "\r\nConnection: close\r\n"})
    EXPECT_NE(q.find(header), std::string::npos) << header;
  const std::string json = pushed(q);
  EXPECT_EQ(count(json, R"({"stream":{"job":"parley","node":"n1","level":"info"},"values":[[")"),
            1u)
      << json;
  EXPECT_EQ(count(json, R"({"stream":{"job":"parley","node":"n1","level":"warn"},"values":[[")"),
            1u);
  EXPECT_EQ(count(json, "\"stream\""), 2u);
  EXPECT_NE(json.find(R"(msg=one text=\"a \\\"b\\\" \\\\ \\n )"
                      "\xc3\xa9\\\"\"]"),
            std::string::npos)
      << json;
  EXPECT_EQ(json.find("left out"), std::string::npos);
  EXPECT_LT(json.find("msg=one"), json.find("msg=three"));
  const size_t at = json.find("[[\"") + 3;
  const std::string ns = json.substr(at, json.find('"', at) - at);
  EXPECT_EQ(ns.size(), 19u) << "nanoseconds, as text";
  EXPECT_TRUE(loki_stats_of(l_).is_connected);
  EXPECT_EQ(all_drops(stop()), 0u);
}

TEST_F(loki_test, any_2xx_is_taken) {
  http_server server([](int n) { return strings{answer(n == 0 ? 200 : 204)}; });
  start(server.url("/"));
  core::log_info("one");
  ASSERT_TRUE(wait_pushed(1));
  core::log_info("two");
  ASSERT_TRUE(wait_pushed(2));
}

TEST_F(loki_test, a_refused_batch_is_never_tried_again) {
  for (const int status : {400, 404, 413, 422, 302}) {
    http_server server([&](int n) { return strings{answer(n == 0 ? status : 204, "too old\n")}; });
    options_.batch_ms = 100;
    start(server.url("/"));
    core::log_info("first");
    core::log_info("second");
    ASSERT_TRUE(wait([](const loki_stats& s) { return drops(s, loki_drop::refused) == 2; }))
        << status;
    core::log_info("third");
    ASSERT_TRUE(wait_pushed(1)) << status;
    const loki_stats s = stop();
    EXPECT_EQ(drops(s, loki_drop::refused), 2u);
    EXPECT_EQ(s.retries, 0u);
    for (size_t i = 1; i < server.questions().size(); ++i)
      EXPECT_EQ(pushed(server.questions()[i]).find("msg=first"), std::string::npos);
  }
}

TEST_F(loki_test, what_loki_cannot_take_now_is_tried_again_as_it_was) {
  for (const int status : {429, 500, 503}) {
    http_server server([&](int n) { return strings{answer(n < 3 ? status : 204)}; });
    start(server.url("/"));
    core::log_info("first");
    ASSERT_TRUE(wait_pushed(1)) << status;
    const strings q = server.questions();
    ASSERT_GE(q.size(), 4u);
    for (int i = 1; i < 4; ++i) EXPECT_EQ(q[i], q[0]) << "the same lines with the same times";
    const loki_stats s = stop();
    EXPECT_EQ(all_drops(s), 0u);
    EXPECT_GE(s.retries, 3u);
  }
}

TEST_F(loki_test, a_batch_that_always_fails_is_given_up) {
  options_.tries_max = 4;
  options_.batch_ms = 50;
  http_server server([](int n) { return strings{answer(n < 4 ? 500 : 204)}; });
  start(server.url("/"));
  core::log_info("poison");
  ASSERT_TRUE(wait([](const loki_stats& s) { return drops(s, loki_drop::failed) == 1; }));
  EXPECT_EQ(server.asked(), 4);
  core::log_info("good");
  ASSERT_TRUE(wait_pushed(1));
  EXPECT_EQ(pushed(server.questions().back()).find("poison"), std::string::npos);
}

TEST_F(loki_test, too_fast_is_never_given_up) {
  options_.tries_max = 2;
  http_server server([](int n) { return strings{answer(n < 8 ? 429 : 204)}; });
  start(server.url("/"));
  core::log_info("first");
  ASSERT_TRUE(wait_pushed(1));
  EXPECT_EQ(all_drops(stop()), 0u);
}

TEST_F(loki_test, connections_that_break_are_tried_again) {
  // Before the question is read, and behind it without an answer, or in the middle of one.
  http_server server([](int n) {
    return n == 0   ? strings{}
           : n == 1 ? strings{"HTTP/1.1 20"}
           : n == 2 ? strings{"what?\r\n\r\n"}
                    : strings{answer(204)};
  });
  server.cut(true);
  start(server.url("/"));
  core::log_info("first");
  ASSERT_TRUE(wait([](const loki_stats& s) { return s.retries >= 2; }));
  EXPECT_FALSE(loki_stats_of(l_).is_connected);
  server.cut(false);
  ASSERT_TRUE(wait_pushed(1));
  EXPECT_TRUE(loki_stats_of(l_).is_connected);
  EXPECT_GE(server.asked(), 4);
  EXPECT_EQ(all_drops(stop()), 0u);
}

TEST_F(loki_test, the_queue_is_bounded_and_what_does_not_fit_is_counted) {
  options_.queue_bytes_max = 64 * 1024;
  http_server server([](int) { return strings{answer(204)}; });
  server.cut(true);
  start(server.url("/"));
  const std::string text(200, 'x');
  constexpr int kLines = 5000;
  for (int i = 0; i < kLines; ++i) core::log_info("m", {{"i", i}, {"text", text}});
  loki_stats s = loki_stats_of(l_);
  EXPECT_LE(s.queue_bytes, options_.queue_bytes_max);
  EXPECT_GT(s.queue_bytes, options_.queue_bytes_max - 1024);
  EXPECT_GT(drops(s, loki_drop::full), static_cast<uint64_t>(kLines / 2));
  server.cut(false);
  ASSERT_TRUE(wait([](const loki_stats& x) { return x.queue_bytes == 0; }));
  core::log_info("after");
  ASSERT_TRUE(wait([](const loki_stats& x) { return x.queue_bytes == 0; }));
  s = stop();
  std::string all;
  for (const std::string& q : server.questions()) all += pushed(q);
  // The client's own lines ("Loki takes log lines") may be among those dropped.
  EXPECT_LE(count(all, "msg=m ") + drops(s, loki_drop::full), static_cast<size_t>(kLines) + 3);
  EXPECT_GE(count(all, "msg=m ") + drops(s, loki_drop::full), static_cast<size_t>(kLines));
  EXPECT_EQ(count(all, "msg=after"), 1u);
}

TEST_F(loki_test, batches_are_bounded) {
  http_server server([](int) { return strings{answer(204)}; });
  options_.batch_ms = 60'000;  // only size sends them
  start(server.url("/"));
  const std::string text(4000, '"');  // each byte is four in the JSON
  constexpr int kLines = 70;
  for (int i = 0; i < kLines; ++i)
    core::log_write(core::log_level::info, "m",
                    {{"a", text},
                     {"b", text},
                     {"c", text},
                     {"d", text},
                     {"e", text},
                     {"f", text},
                     {"g", text},
                     {"h", text},
                     {"i", text},
                     {"j", text}});
  ASSERT_TRUE(server.wait_asked(3));
  const loki_stats s = stop();
  EXPECT_EQ(all_drops(s), 0u);
  size_t lines = 0;
  for (const std::string& q : server.questions()) {
    const std::string json = pushed(q);
    EXPECT_LE(json.size(), kLokiBatchBytesMax);
    lines += count(json, "msg=m ");
  }
  EXPECT_EQ(lines, static_cast<size_t>(kLines));
}

TEST_F(loki_test, a_line_longer_than_loki_takes) {
  http_server server([](int) { return strings{answer(204)}; });
  start(server.url("/"));
  const std::string value(4096, '\x01');  // six bytes each
  core::log_write(core::log_level::info, "long",
                  {{"a", value},
                   {"b", value},
                   {"c", value},
                   {"d", value},
                   {"e", value},
                   {"f", value},
                   {"g", value},
                   {"h", value},
                   {"i", value},
                   {"j", value}});
  ASSERT_TRUE(wait_pushed(1)) << "240 KiB";
  core::log_write(core::log_level::info, "longer",
                  {{"a", value},
                   {"b", value},
                   {"c", value},
                   {"d", value},
                   {"e", value},
                   {"f", value},
                   {"g", value},
                   {"h", value},
                   {"i", value},
                   {"j", value},
                   {"k", value}});
  EXPECT_EQ(drops(loki_stats_of(l_), loki_drop::too_long), 1u);
}

TEST_F(loki_test, a_silent_loki_does_not_hold_up_the_end) {
  http_server server([](int) { return strings{}; }, true);
  options_.flush_ms_max = 100;
  start(server.url("/"));
  core::log_info("first");
  ASSERT_TRUE(server.wait_asked(1));
  core::log_info("second");
  uint64_t ms = 0;
  const loki_stats s = stop(&ms);
  EXPECT_LT(ms, 2000u) << "not the ten seconds of an answer";
  EXPECT_GE(ms, 90u) << "it had its chance";
  EXPECT_EQ(drops(s, loki_drop::shutdown), 2u);
}

TEST_F(loki_test, a_dead_loki_does_not_hold_up_the_end_at_all) {
  std::string url;
  {
    http_server gone([](int) { return strings{}; });
    url = gone.url("/");
  }
  options_.flush_ms_max = 60'000;
  options_.pause_ms_min = options_.pause_ms_max = 20'000;
  start(url);
  core::log_info("first");
  ASSERT_TRUE(wait([](const loki_stats& s) { return s.pushes >= 1; }));
  uint64_t ms = 0;
  const loki_stats s = stop(&ms);
  EXPECT_LT(ms, 5000u);
  EXPECT_GE(drops(s, loki_drop::shutdown), 1u);
}

TEST_F(loki_test, the_last_lines_are_pushed) {
  http_server server([](int n) { return strings{answer(n == 0 ? 503 : 204)}; });
  options_.batch_ms = 60'000;
  start(server.url("/"));
  for (int i = 0; i < 100; ++i) core::log_info("last");
  uint64_t ms = 0;
  const loki_stats s = stop(&ms);
  EXPECT_LT(ms, 2000u);
  EXPECT_EQ(s.pushed_lines, 100u);
  EXPECT_EQ(all_drops(s), 0u);
  core::log_info("behind");
}

TEST_F(loki_test, many_threads_at_once) {
  http_server server([](int n) { return strings{answer(n % 3 == 0 ? 503 : 204)}; });
  options_.queue_bytes_max = 256 * 1024;
  start(server.url("/"));
  constexpr int kThreads = 4, kLines = 3000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < kLines; ++i) core::log_warn("m", {{"i", i}});
    });
  }
  for (std::thread& t : threads) t.join();
  ASSERT_TRUE(wait([](const loki_stats& x) { return x.queue_bytes == 0; }));
  const loki_stats s = stop();
  size_t lines = 0;
  const strings questions = server.questions();
  for (size_t i = 0; i < questions.size(); ++i)
    if (i % 3 != 0) lines += count(pushed(questions[i]), "msg=m ");
  EXPECT_LE(lines + drops(s, loki_drop::full), static_cast<size_t>(kThreads * kLines) + 10);
  EXPECT_GE(lines + drops(s, loki_drop::full), static_cast<size_t>(kThreads * kLines));
  EXPECT_GT(lines, 100u);
}

// --- the queue itself

TEST(loki_queue, at_its_bound_and_beyond) {
  loki_queue q;
  constexpr uint64_t kRecord = sizeof(loki_line) + 10;
  loki_queue_init(&q, 3 * kRecord, 1000);
  EXPECT_TRUE(loki_queue_put(&q, core::log_level::info, 1, "0123456789"));
  EXPECT_TRUE(loki_queue_put(&q, core::log_level::warn, 2, "abcdefghij"));
  EXPECT_FALSE(loki_queue_put(&q, core::log_level::info, 3, "01234567890")) << "a byte too many";
  EXPECT_TRUE(loki_queue_put(&q, core::log_level::info, 3, "0123456789"));
  EXPECT_FALSE(loki_queue_put(&q, core::log_level::info, 4, ""));
  EXPECT_EQ(loki_queue_bytes(&q), 3 * kRecord);
}

TEST(loki_queue, records_over_the_end_of_the_block) {
  loki_queue q;
  loki_queue_init(&q, 101, 1000);
  std::string text;
  // One stays in the queue, so that it is never empty and its positions go round.
  ASSERT_TRUE(loki_queue_put(&q, core::log_level::info, 0, "line 0"));
  for (int i = 1; i < 500; ++i) {
    ASSERT_TRUE(loki_queue_put(&q, core::log_level::error, i, "line " + std::to_string(i)));
    loki_span span = loki_queue_span(&q);
    const loki_line l = loki_queue_read(&q, &span, &text);
    EXPECT_EQ(text, "line " + std::to_string(i - 1));
    EXPECT_EQ(l.wall_ns, i - 1);
    loki_queue_give_back(&q, span.at);
  }
  EXPECT_GT(q.head, 101u);
  loki_span span = loki_queue_span(&q);
  loki_queue_read(&q, &span, &text);
  loki_queue_give_back(&q, span.at);
  EXPECT_EQ(q.head, 0u) << "empty: from the front again";
}

}  // namespace
}  // namespace server
