// Log lines: both formats, escaping, one write each.
#include "core/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <regex>
#include <vector>

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
  EXPECT_EQ(line(),
            R"(level=info component=core msg=started port=8000 path="a b" empty="" plain=x:y/z)");
  log_warn("say \"hi\"", {{"k=ey\n", "a=b"}, {"back", "\\"}});
  EXPECT_EQ(line(), R"(level=warn component=core msg="say \"hi\"" k_ey_="a=b" back="\\")");
}

TEST_F(log_test, json) {
  setup(log_format::json);
  log_error("bad \"x\"", {{"n", -5}, {"text", "5"}, {"d", 1.5}, {"nan", std::nan("")}});
  EXPECT_EQ(
      line(),
      R"("level":"error","component":"core","msg":"bad \"x\"","n":-5,"text":"5","d":1.500000,"nan":"nan"})");
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
  EXPECT_EQ(line(), R"("level":"info","component":"core","msg":"m","v":")" +
                        std::string(4096, 'x') + "\"}");
  log_info("m", {{"v", std::string(4097, 'x')}});
  EXPECT_EQ(line(), R"("level":"info","component":"core","msg":"m","v":")" +
                        std::string(4096, 'x') + "\xe2\x80\xa6\"}");
}

TEST_F(log_test, levels) {
  setup(log_format::logfmt, log_level::warn);
  log_debug("no");
  log_info("no");
  EXPECT_EQ(line(), "");
  EXPECT_FALSE(log_enabled(log_level::info));
  log_warn("yes");
  EXPECT_EQ(line(), "level=warn component=core msg=yes");
  setup(log_format::logfmt, log_level::debug);
  log_debug("yes");
  EXPECT_EQ(line(), "level=debug component=core msg=yes");
}

TEST_F(log_test, levels_of_components) {
  setup(log_format::logfmt, log_level::warn);
  log_level_set(log_component::store, log_level::debug);
  EXPECT_FALSE(log_enabled(log_level::info)) << "this file is of core";
  log_info("no");
  EXPECT_EQ(line(), "");
  EXPECT_TRUE(log_enabled(log_level::debug, "/anywhere/store/spool.cc"));
  log_debug("yes", {}, "../store/spool.cc");
  EXPECT_EQ(line(), "level=debug component=store msg=yes");
  EXPECT_FALSE(log_enabled(log_level::info, "store.cc"));
  log_level_set(log_component::store, log_level::error);
  log_warn("no", {}, "store/spool.cc");
  log_warn("yes");
  EXPECT_EQ(line(), "level=warn component=core msg=yes");
  EXPECT_EQ(line(), "");
  EXPECT_EQ(log_level_get(log_component::store), log_level::error);
}

TEST_F(log_test, components_are_folders) {
  EXPECT_EQ(log_component_of(__FILE__), log_component::core);
  EXPECT_EQ(log_component_of("/x/loadgen/main.cc"), log_component::other);
  EXPECT_EQ(log_component_of("main.cc"), log_component::other);
  EXPECT_EQ(log_component_of("broker/redis.cc"), log_component::broker);
  for (size_t i = 0; i < kLogComponents; ++i) {
    log_component found = log_component::other;
    EXPECT_TRUE(log_component_find(log_component_name(static_cast<log_component>(i)), &found));
    EXPECT_EQ(found, static_cast<log_component>(i));
  }
  log_component none;
  EXPECT_FALSE(log_component_find("kCount", &none));
  log_level level;
  EXPECT_FALSE(log_level_find("", &level));
}

TEST_F(log_test, every_line_names_the_node) {
  setup(log_format::json);
  log_node("n 1");
  log_info("m");
  log_node("");
  EXPECT_EQ(line(), R"("level":"info","component":"core","node":"n 1","msg":"m"})");
}

TEST_F(log_test, a_sink_gets_what_is_written) {
  struct heard {
    log_level level;
    int64_t wall_ns;
    std::string line;
  };
  std::vector<heard> all;
  const log_sink sink = {
      [](void* user, log_level level, int64_t ns, std::string_view line) noexcept {
        static_cast<std::vector<heard>*>(user)->push_back({level, ns, std::string(line)});
      },
      &all};
  setup(log_format::logfmt);
  log_sink_set(&sink);
  log_debug("no");
  log_warn("yes", {{"n", 1}});
  log_sink_set(nullptr);
  log_warn("no");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].level, log_level::warn);
  EXPECT_NE(all[0].line.find("level=warn component=core msg=yes n=1"), std::string::npos);
  EXPECT_EQ(all[0].line.back(), '1') << "no newline";
  EXPECT_GT(all[0].wall_ns, int64_t{1'700'000'000} * 1'000'000'000);
  EXPECT_NE(line(), "") << "standard error gets it as before";
}

TEST_F(log_test, limit_passes_once_in_its_time) {
  log_limit once;
  EXPECT_TRUE(log_limit_pass(&once, 3'600'000));
  EXPECT_FALSE(log_limit_pass(&once, 3'600'000));
  EXPECT_TRUE(log_limit_pass(&once, 0));
}

}  // namespace
}  // namespace core
