// A settings file as flat entries: kinds, lines, order, and files that are none.
#include "core/config_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

namespace core {
namespace {

constexpr size_t kFileBytesMax = 1024 * 1024;

class config_file_test : public testing::Test {
 protected:
  config_file_test() {
    char name[] = "/tmp/parley-config-XXXXXX";
    const int fd = mkstemp(name);
    EXPECT_GE(fd, 0);
    close(fd);
    path_ = name;
  }
  ~config_file_test() override { unlink(path_.c_str()); }
  err read(const std::string& text) {
    FILE* f = std::fopen(path_.c_str(), "wb");
    EXPECT_NE(f, nullptr);
    std::fwrite(text.data(), 1, text.size(), f);
    std::fclose(f);
    return read_path(path_);
  }
  err read_path(const std::string& path) {
    entries_.clear();
    why_.clear();
    const err rc = config_file_read(path, &entries_, &why_);
    EXPECT_EQ(rc == err::ok, why_.empty()) << why_;
    return rc;
  }
  std::string path_, why_;
  std::vector<config_entry> entries_;
};

TEST_F(config_file_test, each_kind_with_its_line) {
  ASSERT_EQ(read("on = true\n\noff = false\nn = -7\ns = \"a\\nb\"\nl = [\"x\", \"y,z\"]\ne = []\n"),
            err::ok);
  ASSERT_EQ(entries_.size(), 6u);
  const struct {
    const char* key;
    config_kind kind;
    const char* text;
    uint32_t line;
  } expected[] = {
      {"e", config_kind::text_list, "", 7},    {"l", config_kind::text_list, "", 6},
      {"n", config_kind::integer, "-7", 4},    {"off", config_kind::boolean, "false", 3},
      {"on", config_kind::boolean, "true", 1}, {"s", config_kind::text, "a\nb", 5}};
  for (size_t i = 0; i < entries_.size(); ++i) {
    EXPECT_EQ(entries_[i].path, std::vector<std::string>{expected[i].key});
    EXPECT_EQ(entries_[i].kind, expected[i].kind) << expected[i].key;
    EXPECT_EQ(entries_[i].text, expected[i].text);
    EXPECT_EQ(entries_[i].line, expected[i].line) << expected[i].key;
  }
  EXPECT_EQ(entries_[1].list, (std::vector<std::string>{"x", "y,z"}));
  EXPECT_TRUE(entries_[0].list.empty());
}

TEST_F(config_file_test, kinds_that_no_setting_has) {
  ASSERT_EQ(read("a = 1.5\nb = [1]\nc = [\"x\", 1]\nd = 2026-01-01\nf = [[\"x\"]]\n"), err::ok);
  ASSERT_EQ(entries_.size(), 5u);
  for (const config_entry& e : entries_) EXPECT_EQ(e.kind, config_kind::other) << e.path[0];
}

TEST_F(config_file_test, a_table_stands_before_what_is_in_it) {
  ASSERT_EQ(read("[namespace.\"a.b\"]\nttl = 1\n[empty]\n"), err::ok);
  std::vector<std::vector<std::string>> paths;
  for (const config_entry& e : entries_) paths.push_back(e.path);
  EXPECT_EQ(paths,
            (std::vector<std::vector<std::string>>{
                {"empty"}, {"namespace"}, {"namespace", "a.b"}, {"namespace", "a.b", "ttl"}}));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(entries_[i].kind, config_kind::table);
}

TEST_F(config_file_test, errors) {
  EXPECT_EQ(read(""), err::ok);
  EXPECT_TRUE(entries_.empty());
  EXPECT_EQ(read("a = 1\na = 2\n"), err::malformed);
  EXPECT_NE(why_.find(path_ + ":2: "), std::string::npos) << why_;
  EXPECT_EQ(read("a = \"\xFF\"\n"), err::malformed);
  EXPECT_EQ(read(std::string("a\0b", 3)), err::malformed);
  EXPECT_EQ(read("a = " + std::string(100'000, '[')), err::malformed);
  EXPECT_EQ(read_path("/nonexistent/parley.toml"), err::not_found);
  EXPECT_EQ(read_path("/tmp"), err::io) << "a directory";
}

TEST_F(config_file_test, a_file_of_the_maximum_and_one_byte_more) {
  std::string text = "a = 1\n#";
  text.resize(kFileBytesMax, 'x');
  EXPECT_EQ(read(text), err::ok);
  EXPECT_EQ(read(text + "x"), err::too_big);
}

}  // namespace
}  // namespace core
