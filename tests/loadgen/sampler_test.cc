// What is read from /proc, from a Prometheus page, and over HTTP.
#include "loadgen/sampler.h"

#include <gtest/gtest.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "loadgen/proc_usage.h"
#include "loadgen/process.h"
#include "tests/core/http_server.h"

namespace loadgen {
namespace {

using core::http_server;

using core::err;
using std::string;
using strings = std::vector<string>;

// --- http_get

struct got {
  err rc;
  string body;
  int status = 0;
};
got get(const string& url, uint32_t ms = 10'000) {
  got g{};
  g.rc = http_get(url, ms, &g.body, &g.status);
  return g;
}
got get_answer(const strings& pieces, bool is_silent = false, uint32_t ms = 10'000) {
  http_server server([&](int) { return pieces; }, is_silent);
  return get(server.url("/x"), ms);
}

TEST(http_get, reads_every_form_of_a_body) {
  const struct {
    const char *name, *answer, *body;
    int status;
  } table[] = {
      {"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", "hello", 200},
      {"no body", "HTTP/1.1 200 OK\r\nCONTENT-LENGTH:0\r\n\r\n", "", 200},
      {"until the end", "HTTP/1.0 404 Not Found\r\n\r\nnobody", "nobody", 404},
      {"204", "HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", "", 204},
      {"chunks",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n \r\nA\r\n"
       "0123456789\r\n0\r\n\r\n",
       "hello 0123456789", 200},
      {"chunks win over a length",
       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n"
       "\r\n",
       "ab", 200},
      {"no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", 200}};
  for (const auto& row : table) {
    SCOPED_TRACE(row.name);
    strings bytes;
    for (const char* c = row.answer; *c != '\0'; ++c) bytes.emplace_back(1, *c);
    for (const strings& pieces : {strings{row.answer}, bytes}) {
      const got g = get_answer(pieces);
      EXPECT_EQ(g.rc, err::ok);
      EXPECT_EQ(g.status, row.status);
      EXPECT_EQ(g.body, row.body);
    }
  }
}

TEST(http_get, does_not_wait_for_the_end_when_the_length_is_known) {
  EXPECT_EQ(get_answer({"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}, true).body, "ok");
  EXPECT_EQ(
      get_answer({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"}, true)
          .body,
      "ok");
}

TEST(http_get, asks_in_a_way_that_servers_take) {
  http_server server([](int) { return strings{"HTTP/1.1 200 OK\r\n\r\n"}; });
  EXPECT_EQ(get(server.url("/metrics?a=b#c")).rc, err::ok);
  const string host = server.url("").substr(7);
  EXPECT_EQ(server.question(), "GET /metrics?a=b HTTP/1.1\r\nHost: " + host +
                                   "\r\nConnection: close\r\nAccept: */*\r\n\r\n");
  EXPECT_EQ(get(server.url("")).rc, err::ok);
  EXPECT_EQ(server.question().substr(0, 6), "GET / ");
  EXPECT_EQ(get(server.url("?q")).rc, err::ok);
  EXPECT_EQ(server.question().substr(0, 8), "GET /?q ");
}

TEST(http_get, malformed_answers) {
  for (const char* answer :
       {"SSH-2.0-x\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1\r\n\r\n", "\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n"})
    EXPECT_EQ(get_answer({answer}).rc, err::malformed) << answer;
  EXPECT_EQ(get_answer({string(70'000, 'x')}, true).rc, err::malformed);
  EXPECT_EQ(
      get_answer({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + string(2000, 'x')},
                 true)
          .rc,
      err::malformed);
}

TEST(http_get, an_answer_that_breaks_off_is_an_io_error) {
  for (const char* answer :
       {"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"})
    EXPECT_EQ(get_answer({answer}).rc, err::io) << answer;
}

TEST(http_get, size_limit_at_max_and_beyond) {
  const string head = "HTTP/1.1 200 OK\r\nContent-Length: ";
  const string most(kHttpGetBytesMax, 'x');
  EXPECT_EQ(get_answer({head + std::to_string(most.size()) + "\r\n\r\n", most}).body.size(),
            most.size());
  EXPECT_EQ(get_answer({head + std::to_string(most.size() + 1) + "\r\n\r\n"}, true).rc,
            err::too_big);
  EXPECT_EQ(get_answer({head + "18446744073709551615\r\n\r\n"}, true).rc, err::too_big);
  EXPECT_EQ(get_answer({"HTTP/1.1 200 OK\r\n\r\n", most}).body.size(), most.size());
  EXPECT_EQ(get_answer({"HTTP/1.1 200 OK\r\n\r\n", most, "y"}).rc, err::too_big);
  const string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(get_answer({chunked + "1\r\ny\r\n1000000\r\n"}, true).rc, err::too_big);
  EXPECT_EQ(get_answer({chunked + "FFFFFFFFFFFFFFFF\r\n"}, true).rc, err::too_big);
}

TEST(http_get, time_is_bounded) {
  EXPECT_EQ(get_answer({}, true, 30).rc, err::timeout);
  EXPECT_EQ(get_answer({"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"}, true, 30).rc,
            err::timeout);
  EXPECT_EQ(get_answer({"HTTP/1.1 200 OK\r\n\r\nhell"}, true, 30).rc, err::timeout);
}

TEST(http_get, addresses) {
  for (const char* url :
       {"", "127.0.0.1", "https://127.0.0.1/", "http://", "http:///x", "http://example.com/",
        "http://127.0.0.1:x/", "http://127.0.0.1:/", "http://127.0.0.1:70000/",
        "http://127.0.0.1/a b", "http://user@127.0.0.1/", "http://127.0.0.1/\r\nX: y"})
    EXPECT_EQ(get(url).rc, err::invalid) << url;
  uint16_t port = 0;
  {
    http_server server([](int) { return strings{"HTTP/1.1 200 OK\r\n\r\n"}; });
    port = static_cast<uint16_t>(std::stoi(server.url("").substr(17)));
    EXPECT_EQ(get("http://localhost:" + std::to_string(port)).rc, err::ok);
  }
  EXPECT_EQ(get("http://127.0.0.1:" + std::to_string(port) + "/").rc, err::io);  // nobody is there
  const err v6 = get("http://[::1]:" + std::to_string(port) + "/").rc;
  EXPECT_EQ(v6, err::io);
}

// --- the Prometheus page

TEST(metrics_sum, adds_up_over_labels) {
  const string page =
      "# HELP http_requests_total Requests.\n"
      "# TYPE http_requests_total counter\n"
      "http_requests_total{method=\"get\",code=\"200\"} 1027 1395066363000\n"
      "http_requests_total{method=\"post\",code=\"400\"}    3\n"
      "http_requests_total_other 5\n"
      "\n"
      "  spaces_before 7\n"
      "tab\t8\n"
      "odd{path=\"C:\\\\DIR\\\\\",error=\"a } and \\\" { quote\\n\"} 1.458255915e9\n"
      "odd{ a = \"b\" } 1\n"
      "odd {a=\"b\"} 1\n"
      "negative -2.5\n"
      "plus +2.5\n"
      "exemplar_bucket{le=\"1\"} 9 # {trace_id=\"x\"} 0.5\n"
      "carriage 4\r\n"
      "inf +Inf\ninf_less -Inf\nnot_one NaN\n"
      "partly 1\npartly NaN\n"
      "no_value\nno_value{a=\"b\"}\nbroken{a=\"b 3\nword x\nglued 3x\n{} 3\n"
      "last 11";
  const strings names = {"http_requests_total",
                         "spaces_before",
                         "tab",
                         "odd",
                         "negative",
                         "plus",
                         "exemplar_bucket",
                         "carriage",
                         "inf",
                         "inf_less",
                         "not_one",
                         "partly",
                         "no_value",
                         "broken",
                         "word",
                         "glued",
                         "last",
                         "absent",
                         ""};
  const std::map<string, double> expected = {{"http_requests_total", 1030},
                                             {"spaces_before", 7},
                                             {"tab", 8},
                                             {"odd", 1.458255915e9 + 2},
                                             {"negative", -2.5},
                                             {"plus", 2.5},
                                             {"exemplar_bucket", 9},
                                             {"carriage", 4},
                                             {"partly", 1},
                                             {"last", 11},
                                             {"", 3}};
  EXPECT_EQ(metrics_sum(page, names), expected);
  EXPECT_TRUE(metrics_sum("", names).empty());
  EXPECT_TRUE(metrics_sum(page, {}).empty());
}

TEST(metrics_sum, any_cut_is_read_without_harm) {
  const string page = "a{b=\"c\\\"\\\\\"} 1\na 2 3\n# x\na{} 4\n";
  for (size_t cut = 0; cut <= page.size(); ++cut) {
    auto block = std::make_unique<char[]>(cut);
    memcpy(block.get(), page.data(), cut);
    const auto sums = metrics_sum({block.get(), cut}, {"a"});
    EXPECT_LE(sums.size(), 1u);
    EXPECT_EQ(cut + 1 >= page.size(), sums == (std::map<string, double>{{"a", 7}}));
  }
}

// --- processor and memory

double cpu_s(clockid_t which) {
  timespec t{};
  clock_gettime(which, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

// Uses that much of the calling thread's processor time.
void burn(double seconds) {
  const double end = cpu_s(CLOCK_THREAD_CPUTIME_ID) + seconds;
  while (cpu_s(CLOCK_THREAD_CPUTIME_ID) < end) {
  }
}

struct sampler_test : testing::Test {
  sampler* s = nullptr;
  process* child = nullptr;
  ~sampler_test() override {
    sampler_free(s);
    process_free(child);
  }
  void spawn(const string& command) {
    string why;
    if (child == nullptr) {
      ASSERT_EQ(process_parse("child=" + command, &child, &why), err::ok);
    }
    ASSERT_EQ(process_start(child, "/dev/null", "", 0, &why), err::ok) << why;
  }
  double server_reaches(double seconds) {
    double now;
    do {
      now = sampler_server_cpu_s(s);
    } while (now < seconds);
    return now;
  }
};

TEST_F(sampler_test, without_a_server_nothing_is_known_of_it) {
  s = sampler_new(0, "", {"a"});
  second_sample one;
  burn(0.02);
  sampler_take(s, &one);
  EXPECT_GT(one.tool_cpu, 0.01);
  EXPECT_EQ(one.server_cpu, -1);
  EXPECT_EQ(one.server_rss_bytes, -1);
  EXPECT_TRUE(one.server_metrics.empty());
  EXPECT_EQ(sampler_server_cpu_s(s), -1);
  EXPECT_EQ(sampler_rss_bytes(s), -1);
  EXPECT_GE(sampler_tool_cpu_s(s), 0.02);
}

// The test itself is the server here, so that the truth is known.
TEST_F(sampler_test, counts_threads_that_have_ended_and_never_falls) {
  s = sampler_new(getpid(), "", {});
  const double began = cpu_s(CLOCK_PROCESS_CPUTIME_ID);
  double before = 0;
  for (int i = 0; i < 8; ++i) {
    std::thread([] { burn(0.02); }).join();
    const double now = sampler_server_cpu_s(s);
    EXPECT_GE(now, before);
    before = now;
  }
  const double truth = cpu_s(CLOCK_PROCESS_CPUTIME_ID) - began;
  EXPECT_GE(truth, 0.16);
  EXPECT_NEAR(before, truth, 0.03);  // ended threads are known to a clock tick or two
}

TEST_F(sampler_test, a_living_thread_is_known_precisely) {
  s = sampler_new(getpid(), "", {});
  const double before = sampler_server_cpu_s(s), tool_before = sampler_tool_cpu_s(s);
  burn(0.05);
  const double used = sampler_server_cpu_s(s) - before;
  const double tool_used = sampler_tool_cpu_s(s) - tool_before;
  EXPECT_GE(used, 0.035);  // schedstat is brought up to date at the scheduler's ticks
  EXPECT_NEAR(used, tool_used, 0.02);
}

TEST_F(sampler_test, what_a_server_used_before_is_not_counted) {
  burn(0.1);
  s = sampler_new(getpid(), "", {});
  EXPECT_LT(sampler_server_cpu_s(s), 0.05);
}

TEST_F(sampler_test, takes_cores_and_memory) {
  s = sampler_new(getpid(), "", {});
  burn(0.05);
  second_sample one;
  sampler_take(s, &one);
  EXPECT_GT(one.server_cpu, 0.05);
  EXPECT_LT(one.server_cpu, 8);
  EXPECT_GT(one.server_rss_bytes, 1e6);
  EXPECT_NEAR(sampler_rss_bytes(s), one.server_rss_bytes, 64e6);
}

TEST_F(sampler_test, goes_on_over_a_restart) {
  spawn("sh -c 'while :; do :; done'");
  s = sampler_new(process_pid(child), "", {});
  const double first = server_reaches(0.05);
  ASSERT_EQ(process_kill(child), err::ok);
  EXPECT_GE(sampler_server_cpu_s(s), first);
  second_sample down;
  sampler_take(s, &down);
  EXPECT_EQ(down.server_rss_bytes, 0);
  EXPECT_GT(sampler_rss_bytes(s), 0);  // as last seen
  sampler_take(s, &down);
  EXPECT_EQ(down.server_cpu, 0);
  const double dead = sampler_server_cpu_s(s);
  spawn("");
  sampler_follow(s, process_pid(child));
  sampler_follow(s, process_pid(child));  // once a second: no effect
  EXPECT_GE(sampler_server_cpu_s(s), dead);
  server_reaches(dead + 0.05);
  second_sample up;
  sampler_take(s, &up);
  EXPECT_GT(up.server_cpu, 0);
  EXPECT_GT(up.server_rss_bytes, 0);
}

TEST_F(sampler_test, follows_one_that_comes_later) {
  s = sampler_new(0, "", {});
  sampler_follow(s, 0);
  EXPECT_EQ(sampler_server_cpu_s(s), -1);
  spawn("sh -c 'while :; do :; done'");
  sampler_follow(s, process_pid(child));
  server_reaches(0.05);
  sampler_follow(s, 0);
  EXPECT_GE(sampler_server_cpu_s(s), 0.05);
}

TEST_F(sampler_test, a_process_that_does_not_exist) {
  s = sampler_new(99'999'999, "", {});
  EXPECT_EQ(sampler_server_cpu_s(s), -1);
  proc_usage u;
  EXPECT_FALSE(proc_usage_open(&u, 0));
  EXPECT_FALSE(proc_usage_open(&u, -1));
  EXPECT_FALSE(proc_usage_read(&u));
}

TEST_F(sampler_test, another_process_with_its_id_is_another) {
  proc_usage u;
  ASSERT_TRUE(proc_usage_open(&u, getpid()));
  ++u.started_ticks;
  EXPECT_FALSE(proc_usage_read(&u));
}

TEST_F(sampler_test, reads_the_metrics_it_was_asked_for) {
  http_server server([](int n) {
    return n == 1 ? strings{"HTTP/1.1 503 Busy\r\n\r\na 5\n"}
                  : strings{"HTTP/1.1 200 OK\r\n\r\na{x=\"1\"} 2\na{x=\"2\"} 3\nb 7\n"};
  });
  s = sampler_new(0, server.url("/metrics"), {"a", "c"});
  second_sample one;
  sampler_take(s, &one);
  EXPECT_EQ(one.server_metrics, (std::map<string, double>{{"a", 5}}));
  sampler_take(s, &one);
  EXPECT_TRUE(one.server_metrics.empty());
  sampler_take(s, &one);
  EXPECT_EQ(one.server_metrics.size(), 1u);
}

TEST_F(sampler_test, a_metrics_page_that_does_not_come_is_given_up) {
  http_server server([](int) { return strings{}; }, true);
  s = sampler_new(0, server.url("/metrics"), {"a"});
  second_sample one;
  sampler_take(s, &one);  // returns
  EXPECT_TRUE(one.server_metrics.empty());
}

}  // namespace
}  // namespace loadgen
