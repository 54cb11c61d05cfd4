// What scripts write on parley-load's command line, and what is refused.
#include "loadgen/command_line.h"

#include <gtest/gtest.h>

namespace loadgen {
namespace {

using std::string;

struct command : testing::Test {
  command_line c;
  string why;
  core::err parse(const std::vector<const char*>& args) {
    c = {};
    why.clear();
    return command_line_parse(static_cast<int>(args.size()), args.data(), &c, &why);
  }
};

using paths = std::vector<string>;

TEST_F(command, CompareTakesTwoReportsByPlace) {
  ASSERT_EQ(parse({"compare", "a.json", "b.json"}), core::err::ok) << why;
  EXPECT_EQ(c.what, subcommand::compare);
  EXPECT_EQ(c.base, paths{"a.json"});
  EXPECT_EQ(c.head, paths{"b.json"});
  ASSERT_EQ(parse({"compare", "--json", "a.json", "b.json"}), core::err::ok) << why;
  EXPECT_TRUE(c.is_json);
}

TEST_F(command, CompareTakesManyReportsByName) {
  ASSERT_EQ(parse({"compare", "--base", "a", "b", "--head", "c"}), core::err::ok) << why;
  EXPECT_EQ(c.base, (paths{"a", "b"}));
  EXPECT_EQ(c.head, paths{"c"});
}

TEST_F(command, CompareRefusesWhatHasNoTwoSides) {
  for (const std::vector<const char*>& args :
       std::vector<std::vector<const char*>>{{"compare"},
                                             {"compare", "a"},
                                             {"compare", "a", "b", "c"},
                                             {"compare", "--base", "a"},
                                             {"compare", "x", "--base", "a", "--head", "b"},
                                             {"compare", "x", "y", "--base", "a"}}) {
    EXPECT_EQ(parse(args), core::err::invalid);
    EXPECT_NE(why.find("A.json B.json"), string::npos) << why;
  }
}

}  // namespace
}  // namespace loadgen
