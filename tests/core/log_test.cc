// Log lines: both formats, escaping, one write each.
#include "core/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <regex>

namespace core {
namespace {

// A datagram socket keeps the borders of writes, so that a line in two writes shows.
class log_test : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds_), 0); }
  void TearDown() override {
    log_setup(log_format::logfmt, log_level::info, 2);
    close(fds_[0]);
    close(fds_[1]);
  }
  void setup(log_format format, log_level least = log_level::info) {
    log_setup(format, least, fds_[1]);
  }
  // The line behind its time, or "" when nothing was written.
  std::string line() {
    std::string text(65536, '\0');
    const ssize_t n = read(fds_[0], text.data(), text.size());
    if (n <= 0) return "";
    text.resize(static_cast<size_t>(n));
    EXPECT_EQ(text.back(), '\n');
    EXPECT_EQ(text.find('\n'), text.size() - 1);
    text.pop_back();
    static const std::regex time(R"(^(ts=|\{"ts":")\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z("?,| ))");
    EXPECT_TRUE(std::regex_search(text, time)) << text;
    return std::regex_replace(text, time, "");
  }
  int fds_[2];
};

TEST_F(log_test, logfmt) {
  setup(log_format::logfmt);
  log_info("started", {{"port", 8000}, {"path", "a b"}, {"empty", ""}, {"plain", "x:y/z"}});
  EXPECT_EQ(line(), R"(level=info msg=started port=8000 path="a b" empty="" plain=x:y/z)");
  log_warn("say \"hi\"", {{"k=ey\n", "a=b"}, {"back", "\\"}});
  EXPECT_EQ(line(), R"(level=warn msg="say \"hi\"" k_ey_="a=b" back="\\")");
}

TEST_F(log_test, json) {
  setup(log_format::json);
  log_error("bad \"x\"", {{"n", -5}, {"text", "5"}, {"d", 1.5}, {"nan", std::nan("")}});
  EXPECT_EQ(line(),
            R"("level":"error","msg":"bad \"x\"","n":-5,"text":"5","d":1.500000,"nan":"nan"})");
}

TEST_F(log_test, hostile_values_stay_in_one_line_of_utf8) {
  for (const log_format f : {log_format::logfmt, log_format::json}) {
    setup(f);
    log_info("m", {{"v", std::string_view("a\nb\r\t\0\x1b\x7f\xff\xc3\xa9\xc0\xaf", 13)}});
    const std::string value =
        "\"a\\nb\\r\\t\\u0000\\u001b\\u007f\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\"";
    EXPECT_NE(line().find(value), std::string::npos);
  }
}

TEST_F(log_test, malformed_utf8_at_every_cut) {
  setup(log_format::json);
  const std::string whole = "\xf0\x9f\x98\x80";
  for (size_t n = 1; n <= whole.size(); ++n) {
    std::string cut = whole.substr(0, n);
    cut.shrink_to_fit();
    log_info("m", {{"v", cut}});
    EXPECT_EQ(line().find(whole) != std::string::npos, n == whole.size());
  }
}

TEST_F(log_test, values_are_bounded) {
  setup(log_format::json);
  log_info("m", {{"v", std::string(4096, 'x')}});
  EXPECT_EQ(line(), R"("level":"info","msg":"m","v":")" + std::string(4096, 'x') + "\"}");
  log_info("m", {{"v", std::string(4097, 'x')}});
  EXPECT_EQ(line(),
            R"("level":"info","msg":"m","v":")" + std::string(4096, 'x') + "\xe2\x80\xa6\"}");
}

TEST_F(log_test, levels) {
  setup(log_format::logfmt, log_level::warn);
  log_debug("no");
  log_info("no");
  EXPECT_EQ(line(), "");
  EXPECT_FALSE(log_enabled(log_level::info));
  log_warn("yes");
  EXPECT_EQ(line(), "level=warn msg=yes");
  setup(log_format::logfmt, log_level::debug);
  log_debug("yes");
  EXPECT_EQ(line(), "level=debug msg=yes");
}

TEST_F(log_test, limit_passes_once_in_its_time) {
  log_limit once;
  EXPECT_TRUE(log_limit_pass(&once, 3'600'000));
  EXPECT_FALSE(log_limit_pass(&once, 3'600'000));
  EXPECT_TRUE(log_limit_pass(&once, 0));
}

}  // namespace
}  // namespace core
