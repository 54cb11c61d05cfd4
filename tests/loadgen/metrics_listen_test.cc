// The page of a run in progress: scrapers that are good, slow, foreign or many.
#include "loadgen/metrics_listen.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loadgen/sampler.h"

namespace loadgen {
namespace {

struct metrics_listen_test : testing::Test {
  metrics_page* page = nullptr;
  uint16_t port = 0;
  std::string why;
  void SetUp() override {
    ASSERT_EQ(metrics_page_open("127.0.0.1:0", &page, &port, &why), core::err::ok) << why;
  }
  void TearDown() override { metrics_page_close(page); }
  std::string get(const std::string& path, int want = 200) const {
    std::string body;
    int status = 0;
    EXPECT_EQ(http_get("http://127.0.0.1:" + std::to_string(port) + path, 5000, &body, &status),
              core::err::ok);
    EXPECT_EQ(status, want);
    return body;
  }
  int dial() const {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    return fd;
  }
};

TEST_F(metrics_listen_test, shows_the_last_second) {
  EXPECT_NE(get("/metrics").find("parley_load_stage{stage=\"starting\"} 1\n"), std::string::npos);
  second_sample s;
  s.sent = 12;
  s.delivered = 1'234'567;
  s.connected = 7;
  metrics_page_set(page, "steady 2/5", s);
  const std::string text = get("/metrics");
  EXPECT_NE(text.find("\nparley_load_delivered_total 1234567\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\nparley_load_connections 7\n"), std::string::npos) << text;
  EXPECT_NE(text.find("stage=\"steady 2/5\""), std::string::npos);
  EXPECT_EQ(text.find("server_cpu"), std::string::npos) << "not known is not shown";
}

TEST_F(metrics_listen_test, has_nothing_else) {
  get("/", 404);
  get("/metrics2", 404);
}

TEST_F(metrics_listen_test, a_scraper_that_goes_away_harms_nobody) {
  for (const std::string part : {"", "GET", "GET /metrics HTTP/1.1\r\n"}) {
    const int fd = dial();
    EXPECT_EQ(send(fd, part.data(), part.size(), 0), static_cast<ssize_t>(part.size()));
    close(fd);
  }
  get("/metrics");
  const int fd = dial();  // says more than a request
  const std::string much(100'000, 'x');
  (void)!send(fd, much.data(), much.size(), MSG_NOSIGNAL);
  get("/metrics");
  close(fd);
}

TEST(metrics_listen, addresses_that_cannot_be_are_explained) {
  metrics_page* page = nullptr;
  uint16_t port = 0;
  std::string why;
  for (const char* bad : {"", "9100", "nosuch.example:9100", "127.0.0.1:99999"}) {
    EXPECT_EQ(metrics_page_open(bad, &page, &port, &why), core::err::invalid) << bad;
    EXPECT_NE(why.find("--metrics-listen"), std::string::npos) << why;
  }
  ASSERT_EQ(metrics_page_open("127.0.0.1:0", &page, &port, &why), core::err::ok);
  metrics_page* second = nullptr;
  EXPECT_EQ(metrics_page_open("127.0.0.1:" + std::to_string(port), &second, &port, &why),
            core::err::io);
  EXPECT_NE(why.find("in use"), std::string::npos) << why;
  metrics_page_close(page);
}

}  // namespace
}  // namespace loadgen
