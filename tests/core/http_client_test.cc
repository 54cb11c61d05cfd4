// What http_get's tests (tests/loadgen) do not: questions with a body, an earlier deadline, names.
#include "core/http_client.h"

#include <gtest/gtest.h>

#include <thread>

#include "core/clock.h"
#include "core/resolve.h"
#include "tests/core/http_server.h"

namespace core {
namespace {

using strings = std::vector<std::string>;

uint64_t in_ms(uint64_t ms) {
  return system_clock()->mono_us() + ms * 1000;
}

struct asked {
  err rc;
  http_answer a;
};

asked post(const http_server& server, const std::string& body,
           const std::atomic<uint64_t>& until_us, size_t bytes_max = 1000) {
  http_target t;
  EXPECT_TRUE(http_target_parse(server.url("/push"), &t));
  asked out;
  out.rc = http_exchange(t,
                         "POST /push HTTP/1.1\r\nHost: x\r\nContent-Length: " +
                             std::to_string(body.size()) + "\r\n\r\n",
                         body, bytes_max, until_us, &out.a);
  return out;
}

TEST(http_client, sends_a_body_of_any_size) {
  http_server server([](int) { return strings{"HTTP/1.1 204 No Content\r\n\r\n"}; });
  const std::string body(3 << 20, 'x');
  const asked a = post(server, body, std::atomic<uint64_t>{in_ms(10'000)});
  EXPECT_EQ(a.rc, err::ok);
  EXPECT_EQ(a.a.status, 204);
  EXPECT_TRUE(server.question().ends_with("\r\n\r\n" + body));
}

TEST(http_client, a_deadline_may_come_earlier) {
  http_server server([](int) { return strings{}; }, true);
  std::atomic<uint64_t> until_us{in_ms(60'000)};
  std::thread other([&] {
    server.wait_asked(1);
    until_us = in_ms(0);
  });
  const uint64_t began = system_clock()->mono_us();
  EXPECT_EQ(post(server, "x", until_us).rc, err::timeout);
  EXPECT_LT(system_clock()->mono_us() - began, 10'000'000u);
  other.join();
}

TEST(http_client, targets) {
  http_target t;
  ASSERT_TRUE(http_target_parse("http://loki.example-1.com:3100/a/b?c=d#e", &t));
  EXPECT_EQ(t.address.host, "loki.example-1.com");
  EXPECT_EQ(t.address.port, 3100);
  EXPECT_EQ(t.host, "loki.example-1.com:3100");
  EXPECT_EQ(t.path, "/a/b?c=d");
  ASSERT_TRUE(http_target_parse("http://[::1]", &t));
  EXPECT_EQ(t.address.host, "::1");
  EXPECT_EQ(t.address.port, 80);
  EXPECT_EQ(t.path, "/");
  for (const char* url : {"", "loki:3100", "https://h/", "http://", "http:///x", "http://a:b@h/",
                          "http://h:/", "http://h:65536/", "http://h/a b", "http://h x/"})
    EXPECT_FALSE(http_target_parse(url, &t)) << url;
}

TEST(http_client, a_name_is_not_dialled) {
  http_target t;
  ASSERT_TRUE(http_target_parse("http://a.invalid/", &t));
  http_answer a;
  EXPECT_EQ(
      http_exchange(t, "GET / HTTP/1.1\r\n\r\n", {}, 10, std::atomic<uint64_t>{in_ms(1000)}, &a),
      err::invalid);
}

TEST(resolve, numbers_names_and_time) {
  std::vector<std::string> address;
  std::string why;
  const std::atomic<uint64_t> until_us{in_ms(10'000)};
  EXPECT_EQ(resolve("10.1.2.3", until_us, &address, &why), err::ok);
  EXPECT_EQ(address, strings{"10.1.2.3"});
  EXPECT_EQ(resolve("localhost", until_us, &address, &why), err::ok);
  EXPECT_EQ(address, strings{"localhost"}) << "dial() takes it";
  const err rc = resolve("no-such-host.invalid", until_us, &address, &why);
  EXPECT_TRUE(rc == err::unavailable || rc == err::timeout);
  EXPECT_FALSE(why.empty());
  EXPECT_EQ(resolve("no-such-host.invalid", std::atomic<uint64_t>{0}, &address, &why),
            err::timeout);
}

}  // namespace
}  // namespace core
