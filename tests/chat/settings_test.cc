// Channel names: namespaces, user-limited channels, partitions; the built-in namespaces.
#include "chat/settings.h"

#include <gtest/gtest.h>

#include "core/limits.h"

namespace chat {
namespace {

class channel_test : public testing::Test {
 protected:
  void SetUp() override { settings_defaults(&s_); }
  std::string name_of(std::string_view channel) {
    uint16_t i = 999;
    switch (channel_namespace(s_, channel, &i)) {
      case channel_rule::bad_name:
        return "bad";
      case channel_rule::unknown_namespace:
        return "unknown";
      case channel_rule::ok:
        return "<" + s_.namespaces[i].name + ">";
    }
    return "";
  }
  settings s_;
};

TEST_F(channel_test, built_in_namespaces) {
  ASSERT_EQ(s_.namespaces.size(), 3u);
  for (const namespace_settings& n : s_.namespaces) {
    const bool is_durable = n.name != "live";
    EXPECT_EQ(n.has_history, is_durable);
    EXPECT_EQ(n.force_recovery, is_durable);
    EXPECT_EQ(n.presence, is_durable);
    EXPECT_EQ(n.join_leave, is_durable);
    EXPECT_EQ(n.keep.size_max, store::retention::kForever);
    EXPECT_EQ(n.keep.ttl_ms, store::retention::kForever);
    EXPECT_TRUE(n.allow_subscribe_for_client && n.allow_publish_for_subscriber &&
                n.allow_history_for_subscriber && n.allow_presence_for_subscriber);
    EXPECT_FALSE(n.allow_subscribe_for_anonymous || n.allow_publish_for_anonymous ||
                 n.allow_publish_for_client);
    EXPECT_TRUE(n.allow_user_limited_channels);
  }
}

TEST_F(channel_test, namespace_of_a_channel) {
  EXPECT_EQ(name_of("general"), "<>");
  EXPECT_EQ(name_of("dm:#alice,bob"), "<dm>");
  EXPECT_EQ(name_of("live:x:y"), "<live>");
  EXPECT_EQ(name_of("$live:x"), "<live>");
  EXPECT_EQ(name_of("$x"), "<>");
  EXPECT_EQ(name_of("#alice"), "<>");
  EXPECT_EQ(name_of("#auth0:7"), "<>");
  EXPECT_EQ(name_of("dm:"), "<dm>");
  EXPECT_EQ(name_of("other:x"), "unknown");
  EXPECT_EQ(name_of(":x"), "unknown");
  EXPECT_EQ(name_of("$$live:x"), "unknown");
}

TEST_F(channel_test, good_and_bad_names) {
  EXPECT_EQ(name_of(""), "bad");
  EXPECT_EQ(name_of(std::string(core::kChannelBytesMax, 'x')), "<>");
  EXPECT_EQ(name_of(std::string(core::kChannelBytesMax + 1, 'x')), "bad");
  for (const char* good : {"!~", "gr\xc3\xbc\xc3\x9f", "\xe6\xbc\xa2", "\xf0\x9f\x98\x80"})
    EXPECT_EQ(name_of(good), "<>") << good;
  for (const char* bad :
       {"a b", "a\n", "\x7f", "\xc2\x85", "\xc2\xa0", "\xe2\x80\xa8", "\xe2\x80\x8b",
        "\xe3\x80\x80", "\xff", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\x80"}) {
    EXPECT_EQ(name_of(bad), "bad") << bad;
  }
  EXPECT_EQ(name_of(std::string_view("a\0b", 3)), "bad");
}

TEST_F(channel_test, names_cut_in_a_sequence_are_bad) {
  const std::string whole = "\xf0\x9f\x98\x80";
  for (size_t n = 1; n < whole.size(); ++n) {
    const std::vector<char> exact(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_EQ(name_of({exact.data(), exact.size()}), "bad");
  }
}

TEST_F(channel_test, user_limited_channels) {
  EXPECT_TRUE(channel_is_user_limited("dm:#a,b"));
  EXPECT_FALSE(channel_is_user_limited("dm:a,b"));
  EXPECT_TRUE(channel_users_sorted("dm:#alice,bob"));
  EXPECT_TRUE(channel_users_sorted("#alice"));
  for (const char* bad :
       {"dm:#bob,alice", "dm:#a,a", "dm:#", "dm:#a,", "dm:#,a", "dm:#a,,b", "dm:x"})
    EXPECT_FALSE(channel_users_sorted(bad)) << bad;
  EXPECT_TRUE(channel_admits("dm:#alice,bob", "alice"));
  EXPECT_TRUE(channel_admits("dm:#alice,bob", "bob"));
  for (const char* other : {"al", "alice,bob", "bo", "carol", ""})
    EXPECT_FALSE(channel_admits("dm:#alice,bob", other)) << other;
  EXPECT_FALSE(channel_admits("dm:#", ""));
  EXPECT_FALSE(channel_admits("general", "general"));
  EXPECT_FALSE(channel_admits("a#bob#alice", "bob"));
  EXPECT_EQ(channel_users("dm:#alice,bob"), (std::vector<std::string>{"alice", "bob"}));
  EXPECT_TRUE(channel_users("general").empty());
  EXPECT_TRUE(channel_needs_token("$x"));
  EXPECT_FALSE(channel_needs_token("x$"));
  EXPECT_FALSE(channel_needs_token(""));
}

// FNV-1a's published values: other nodes and later versions must agree on them.
TEST_F(channel_test, partitions) {
  EXPECT_EQ(channel_partition(""), 0xcbf29ce484222325ull % core::kPartitions);
  EXPECT_EQ(channel_partition("a"), 0xaf63dc4c8601ec8cull % core::kPartitions);
  EXPECT_EQ(channel_partition("foobar"), 0x85944171f73967e8ull % core::kPartitions);
}

}  // namespace
}  // namespace chat
