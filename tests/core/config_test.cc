// Layered settings: precedence, every kind of problem, nearest names, printing.
#include "core/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace core {
namespace {

class config_test : public testing::Test {
 protected:
  void SetUp() override {
    schema_.settings = {
        {"listen", "listen", "", setting_type::text, "a:1", 0, 0, "", "", "Where.", false},
        {"client.wait", "wait", "", setting_type::duration_ms, "25s", 1000, 60'000, "", "time",
         "Why.", false},
        {"client.size", "", "", setting_type::bytes, "1KiB", 1, 4096, "", "bytes", "Why.", false},
        {"client.count", "count", "", setting_type::integer, "5", 0, 10, "", "", "Why.", false},
        {"client.on", "on", "", setting_type::boolean, "false", 0, 0, "", "", "Why.", false},
        {"token.secrets", "secret", "PARLEY_SECRET", setting_type::text_list, "", 0, 0, "", "",
         "Why.", true},
        {"token.one", "", "", setting_type::integer, "1", 0, 10, "", "", "Why.", true},
        {"log.format", "", "", setting_type::text, "logfmt", 0, 0, "logfmt|json", "", "Why.",
         false},
    };
    schema_.group = "namespace";
    schema_.group_unnamed = "channel";
    schema_.group_settings = {
        {"presence", "", "", setting_type::boolean, "false", 0, 0, "", "", "Why.", false},
        {"ttl", "", "", setting_type::duration_ms, "0s", 0, 1000'000, "", "", "Why.", false}};
    char name[] = "/tmp/parley-config-XXXXXX";
    const int fd = mkstemp(name);
    ASSERT_GE(fd, 0);
    close(fd);
    path_ = name;
  }
  void TearDown() override { unlink(path_.c_str()); }
  void file(const std::string& text) {
    FILE* f = std::fopen(path_.c_str(), "w");
    std::fwrite(text.data(), 1, text.size(), f);
    std::fclose(f);
    has_file_ = true;
  }
  err load() {
    c_ = {};
    problems_.clear();
    std::vector<const char*> env;
    for (const std::string& e : env_) env.push_back(e.c_str());
    env.push_back(nullptr);
    return config_load(schema_, has_file_ ? path_ : "", flags_, env.data(), &c_, &problems_);
  }
  // The one problem of a load, without the file's name.
  std::string problem() {
    EXPECT_EQ(load(), err::invalid);
    EXPECT_EQ(problems_.size(), 1u) << testing::PrintToString(problems_);
    if (problems_.empty()) return "";
    std::string p = problems_[0];
    const size_t at = p.find(path_);
    return at == std::string::npos ? p : p.replace(at, path_.size(), "F");
  }
  std::string file_problem(const std::string& text) {
    file(text);
    return problem();
  }
  const config_value& at(const char* key) { return c_.values[key]; }

  config_schema schema_;
  std::string path_;
  bool has_file_ = false;
  std::vector<std::string> env_;
  std::vector<std::pair<std::string, std::string>> flags_;
  config c_;
  std::vector<std::string> problems_;
};

TEST_F(config_test, each_layer_wins_over_those_below) {
  ASSERT_EQ(load(), err::ok);
  EXPECT_EQ(at("client.wait").number, 25'000);
  EXPECT_EQ(at("client.wait").from, "default");
  file("[client]\nwait = \"2s\"\n[token]\nsecrets = [\"f1\", \"f,2\"]\n");
  ASSERT_EQ(load(), err::ok);
  EXPECT_EQ(at("client.wait").number, 2000);
  EXPECT_EQ(at("client.wait").from, "file:2");
  EXPECT_EQ(at("token.secrets").list, (std::vector<std::string>{"f1", "f,2"}));
  env_ = {"PARLEY_CLIENT_WAIT=3s", "PARLEY_SECRET=e1,e2", "OTHER=1"};
  ASSERT_EQ(load(), err::ok);
  EXPECT_EQ(at("client.wait").number, 3000);
  EXPECT_EQ(at("client.wait").from, "env PARLEY_CLIENT_WAIT");
  EXPECT_EQ(at("token.secrets").list, (std::vector<std::string>{"e1", "e2"}));
  flags_ = {{"wait", "4s"}, {"secret", "x,y"}, {"secret", "z"}, {"on", "true"}};
  ASSERT_EQ(load(), err::ok);
  EXPECT_EQ(at("client.wait").number, 4000);
  EXPECT_EQ(at("client.wait").from, "flag --wait");
  EXPECT_EQ(at("token.secrets").list, (std::vector<std::string>{"x,y", "z"}));
  EXPECT_TRUE(at("client.on").flag);
}

TEST_F(config_test, units) {
  config_value v;
  std::string why;
  const setting time{"k", "", "", setting_type::duration_ms, "", 0, INT64_MAX, "", "", "", false};
  for (const auto& [text, ms] : std::vector<std::pair<const char*, int64_t>>{{"300ms", 300},
                                                                             {"25s", 25'000},
                                                                             {"5m", 300'000},
                                                                             {"24h", 86'400'000},
                                                                             {"7d", 604'800'000},
                                                                             {"9", 9000},
                                                                             {"0", 0}}) {
    ASSERT_TRUE(config_convert(time, text, &v, &why)) << text;
    EXPECT_EQ(v.number, ms);
  }
  for (const char* bad : {"", "s", "5 s", "-5s", "5S", "1.5s", "5sec", "9223372036854775807s",
                          "99999999999999999999"})
    EXPECT_FALSE(config_convert(time, bad, &v, &why)) << bad;
  const setting size{"k", "", "", setting_type::bytes, "", 0, INT64_MAX, "", "", "", false};
  for (const auto& [text, n] :
       std::vector<std::pair<const char*, int64_t>>{{"512", 512},
                                                    {"64KiB", 65536},
                                                    {"1MiB", 1 << 20},
                                                    {"2GiB", int64_t{2} << 30},
                                                    {"7B", 7}}) {
    ASSERT_TRUE(config_convert(size, text, &v, &why)) << text;
    EXPECT_EQ(v.number, n);
  }
  for (const char* bad : {"64KB", "64kib", "KiB", "-1"})
    EXPECT_FALSE(config_convert(size, bad, &v, &why)) << bad;
  EXPECT_EQ(config_duration_text(90'000), "90s");
  EXPECT_EQ(config_duration_text(300'000), "5m");
  EXPECT_EQ(config_duration_text(0), "0s");
  EXPECT_EQ(config_bytes_text(65536), "64KiB");
  EXPECT_EQ(config_bytes_text(1025), "1025B");
}

TEST_F(config_test, limits_at_max_and_beyond) {
  file("[client]\nwait = \"60s\"\nsize = 4096\ncount = 10\n");
  EXPECT_EQ(load(), err::ok);
  EXPECT_EQ(file_problem("[client]\nwait = \"60001ms\"\n"),
            "F:2: client.wait must be between 1s and 1m, not \"60001ms\"");
  EXPECT_EQ(file_problem("[client]\nsize = 4097\n"),
            "F:2: client.size must be between 1B and 4KiB, not \"4097\"");
  EXPECT_EQ(file_problem("[client]\ncount = 11\n"),
            "F:2: client.count must be between 0 and 10, not \"11\"");
  EXPECT_EQ(file_problem("[client]\ncount = -1\n"),
            "F:2: client.count must be between 0 and 10, not \"-1\"");
}

TEST_F(config_test, wrong_types) {
  EXPECT_EQ(file_problem("listen = 5\n"), "F:1: listen must be a text in quotes");
  EXPECT_EQ(file_problem("[client]\ncount = \"5\"\n"), "F:2: client.count must be a whole number");
  EXPECT_EQ(file_problem("[client]\ncount = 1.5\n"), "F:2: client.count must be a whole number");
  EXPECT_EQ(file_problem("[client]\non = 1\n"), "F:2: client.on must be true or false");
  EXPECT_EQ(file_problem("[token]\nsecrets = \"a\"\n"),
            "F:2: token.secrets must be a list of texts");
  EXPECT_EQ(file_problem("[token]\nsecrets = [1]\n"), "F:2: token.secrets must be a list of texts");
  EXPECT_EQ(file_problem("[log]\nformat = \"xml\"\n"),
            "F:2: log.format must be one of logfmt|json, not \"xml\"");
  EXPECT_EQ(file_problem("namespace = 1\n"), "F:1: namespace must be tables, as [namespace.NAME]");
  EXPECT_EQ(file_problem("namespace.a = 1\n"), "F:1: namespace.a must be a table");
  EXPECT_NE(file_problem("channel = 1\n").find("channel must be a table"), std::string::npos);
}

TEST_F(config_test, unknown_names_and_the_nearest) {
  EXPECT_EQ(file_problem("[client]\nwiat = 1\n"),
            "F:2: unknown key client.wiat; did you mean client.wait?");
  EXPECT_EQ(file_problem("wait = 1\n"), "F:1: unknown key wait; did you mean client.wait?");
  EXPECT_EQ(file_problem("[clinet]\nwait = 1\nother = 2\n"),
            "F:1: unknown table [clinet]; did you mean client?");
  EXPECT_EQ(file_problem("zzzzzzzzz = 1\n"), "F:1: unknown key zzzzzzzzz");
  EXPECT_EQ(file_problem("[namespace.a]\npresense = true\n"),
            "F:2: unknown option presense of namespace.a; did you mean presence?");
  EXPECT_EQ(file_problem("[channel]\ntll = 1\n"),
            "F:2: unknown option tll of channel; did you mean ttl?");
  file("");
  env_ = {"PARLEY_LISTN=x"};
  EXPECT_EQ(problem(), "environment: unknown name PARLEY_LISTN; did you mean PARLEY_LISTEN?");
  env_ = {"PARLEY_SERVICE_HOST=10.0.0.1", "PARLEY_PORT_8000_TCP=tcp://x"};
  EXPECT_EQ(load(), err::ok);
  env_.clear();
  flags_ = {{"wiat", "1"}};
  EXPECT_EQ(problem(), "command line: unknown flag --wiat; did you mean --wait?");
  EXPECT_EQ(config_nearest("", {"a"}), "");
  EXPECT_EQ(config_nearest("abc", {}), "");
}

TEST_F(config_test, all_problems_at_once) {
  file("[client]\nwiat = 1\ncount = 99\n");
  env_ = {"PARLEY_LISTN=x"};
  flags_ = {{"on", "maybe"}};
  EXPECT_EQ(load(), err::invalid);
  EXPECT_EQ(problems_.size(), 4u);
}

TEST_F(config_test, files_that_cannot_be_read) {
  has_file_ = true;
  unlink(path_.c_str());
  EXPECT_EQ(problem(), "the file F cannot be opened");
  EXPECT_NE(file_problem("a = = 1\n").find("F:1: "), std::string::npos);
  EXPECT_EQ(file_problem(std::string(1024 * 1024 + 1, '#')),
            "the file F is larger than 1 MiB, so it is not a settings file");
  file(std::string(1024 * 1024, '#'));
  EXPECT_EQ(load(), err::ok);
}

TEST_F(config_test, groups) {
  file("[channel]\npresence = true\n[namespace.a]\nttl = \"5s\"\n[namespace.\"b.c\"]\n");
  ASSERT_EQ(load(), err::ok);
  ASSERT_EQ(c_.groups.size(), 3u);
  EXPECT_TRUE(c_.groups[""]["presence"].flag);
  EXPECT_EQ(c_.groups["a"]["ttl"].number, 5000);
  EXPECT_TRUE(c_.groups["b.c"].empty());
  EXPECT_NE(file_problem("[namespace.\"\"]\n").find("needs a name"), std::string::npos);
}

TEST_F(config_test, secrets_are_never_told) {
  flags_ = {{"secret", "hush"}};
  env_ = {"PARLEY_TOKEN_ONE=7"};
  file("[namespace.\"b.c\"]\nttl = 5\n");
  ASSERT_EQ(load(), err::ok);
  const std::string text = config_print(schema_, c_);
  EXPECT_EQ(text.find("hush"), std::string::npos);
  EXPECT_NE(text.find("secrets = [\"***\"]  # from flag --secret\n"), std::string::npos);
  EXPECT_NE(text.find("listen = \"a:1\"  # from default\n"), std::string::npos);
  EXPECT_NE(text.find("[namespace.\"b.c\"]\nttl = \"5s\"  # from file:2\n"), std::string::npos);
  env_ = {"PARLEY_TOKEN_ONE=hush"};
  EXPECT_EQ(problem().find("hush"), std::string::npos);
}

TEST_F(config_test, printed_settings_can_be_read_again) {
  flags_ = {{"wait", "7s"}, {"listen", "q\"\\\n"}};
  file("[namespace.a]\npresence = true\n");
  ASSERT_EQ(load(), err::ok);
  const std::string text = config_print(schema_, c_);
  flags_.clear();
  file(text);
  ASSERT_EQ(load(), err::ok) << testing::PrintToString(problems_);
  EXPECT_EQ(at("client.wait").number, 7000);
  EXPECT_EQ(at("listen").text, "q\"\\\n");
  EXPECT_TRUE(c_.groups["a"]["presence"].flag);
}

TEST_F(config_test, markdown_has_every_setting) {
  const std::string text = config_markdown(schema_);
  for (const setting& s : schema_.settings)
    EXPECT_NE(text.find("`" + std::string(s.key) + "`"), std::string::npos);
  EXPECT_NE(text.find("| `client.wait` | `--wait` | `PARLEY_CLIENT_WAIT` | duration 1s … 1m | time "
                      "| `25s` | Why. |"),
            std::string::npos);
}

}  // namespace
}  // namespace core
