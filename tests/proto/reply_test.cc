// Replies and pushes: the exact text of each, and that any string gives valid JSON on one line.
#include "proto/reply.h"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/limits.h"
#include "tests/proto/json_strict.h"

namespace proto {
namespace {

using std::string;
using std::string_view;

// What `write` appends, behind bytes that must stay and before which nothing is looked at.
template <typename Write>
string made(Write write) {
  string out = "{";
  write(&out);
  EXPECT_EQ(out[0], '{');
  out.erase(0, 1);
  const json_strict strict(out);
  EXPECT_TRUE(strict.is_valid()) << out;
  EXPECT_FALSE(strict.has_newline()) << out;
  return out;
}

string literal(string_view text) {
  // A block of exact size: a read beyond it is found.
  const std::unique_ptr<char[]> block(new char[text.size()]);
  std::copy(text.begin(), text.end(), block.get());
  return made([&](string* out) { json_string(out, {block.get(), text.size()}); });
}

// Every ASCII character and some that are not.
string all_characters() {
  string text;
  for (int c = 0; c < 128; ++c) text.push_back(static_cast<char>(c));
  return text + "\xC3\xA9\xE2\x82\xAC\xE2\x80\xA8\xF0\x9F\x98\x80";
}

// The string at a path of keys, as another reader of JSON sees it.
string text_at(const string& json, std::initializer_list<string_view> path) {
  simdjson::dom::parser parser;
  simdjson::dom::element e;
  string_view text;
  bool is_good = parser.parse(json).get(e) == simdjson::SUCCESS;
  for (const string_view key : path)
    is_good = is_good && e.get_object().at_key(key).get(e) == simdjson::SUCCESS;
  is_good = is_good && e.get_string().get(text) == simdjson::SUCCESS;
  EXPECT_TRUE(is_good) << json;
  return string(text);
}

TEST(reply_test, strings_come_back_as_they_were) {
  EXPECT_EQ(literal(""), "\"\"");
  EXPECT_EQ(literal("a"), "\"a\"");
  EXPECT_EQ(literal("\"\\/"), "\"\\\"\\\\/\"");
  EXPECT_EQ(literal("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
  EXPECT_EQ(literal(string_view("\0\x01\x0B\x1F\x7F", 5)), "\"\\u0000\\u0001\\u000b\\u001f\x7F\"");
  EXPECT_EQ(literal("\xC3\xA9"), "\"\xC3\xA9\"");
  for (int c = 0; c < 128; ++c) {
    for (const string& text :
         {string(1, static_cast<char>(c)), "a" + string(1, static_cast<char>(c)),
          string(2, static_cast<char>(c)) + "z"}) {
      EXPECT_EQ(text_at("{\"k\":" + literal(text) + "}", {"k"}), text) << c;
    }
  }
  EXPECT_EQ(text_at("{\"k\":" + literal(all_characters()) + "}", {"k"}), all_characters());
}

TEST(reply_test, numbers_at_their_ends) {
  const auto u = [](uint64_t v) { return made([v](string* out) { json_u64(out, v); }); };
  const auto i = [](int64_t v) { return made([v](string* out) { json_i64(out, v); }); };
  EXPECT_EQ(u(0), "0");
  EXPECT_EQ(u(UINT64_MAX), "18446744073709551615");
  EXPECT_EQ(i(0), "0");
  EXPECT_EQ(i(INT64_MAX), "9223372036854775807");
  EXPECT_EQ(i(INT64_MIN), "-9223372036854775808");
}

TEST(reply_test, client_info) {
  const auto info = [](string_view user, string_view client, string_view conn, string_view chan) {
    return made([=](string* out) { proto::client_info(out, user, client, conn, chan); });
  };
  EXPECT_EQ(info("", "", "", ""), "{}");
  EXPECT_EQ(info("u", "c", "", ""), "{\"user\":\"u\",\"client\":\"c\"}");
  EXPECT_EQ(info("", "c", "{\"n\":1}", "[2]"),
            "{\"client\":\"c\",\"conn_info\":{\"n\":1},\"chan_info\":[2]}");
  EXPECT_EQ(text_at(info(all_characters(), "c", "", ""), {"user"}), all_characters());
}

TEST(reply_test, publication_object) {
  const auto pub = [](uint64_t offset, string_view data, string_view info, string_view tags) {
    return made([=](string* out) { publication_object(out, offset, data, info, tags); });
  };
  EXPECT_EQ(pub(0, "1", "", ""), "{\"data\":1}");
  EXPECT_EQ(pub(UINT64_MAX, "\"{\"", "{\"user\":\"u\"}", "{\"key\":\"k\"}"),
            "{\"data\":\"{\",\"info\":{\"user\":\"u\"},\"offset\":18446744073709551615,\"tags\":{"
            "\"key\":\"k\"}}");
  EXPECT_EQ(pub(1, "null", "", ""), "{\"data\":null,\"offset\":1}") << "the first one";
}

TEST(reply_test, publication_push_tells_where_its_object_stands) {
  for (const string before : {"", "{\"push\":{}}\n"}) {
    string out = before;
    uint32_t at = 0, len = 0;
    push_publication(&out, "c\"1", 7, "{\"a\":1}", "{}", "{}", &at, &len);
    EXPECT_EQ(out, before +
                       "{\"push\":{\"channel\":\"c\\\"1\",\"pub\":{\"data\":{\"a\":1},\"info\":{},"
                       "\"offset\":7,\"tags\":{}}}}");
    string object;
    publication_object(&object, 7, "{\"a\":1}", "{}", "{}");
    EXPECT_EQ(out.substr(at, len), object);
  }
}

// Filled, it is what the other function makes, and the places hold.
TEST(reply_test, push_with_gaps_is_the_push_once_they_are_filled) {
  for (const bool has_offset : {true, false}) {
    for (const string info : {"", "{\"user\":\"u\"}"}) {
      for (const string before : {"", "{", "{\"key\":\"k\","}) {
        push_gaps g;
        string out;
        push_publication_gaps(&out, "c\"1", has_offset, "[1,{}]", info, before, &g);
        EXPECT_EQ(out.substr(g.data_at, 6), "[1,{}]");
        EXPECT_EQ(g.info_at == 0 ? "" : out.substr(g.info_at, info.size()), info);
        EXPECT_EQ(g.offset_at != 0, has_offset);
        EXPECT_EQ(g.time_at != 0, !before.empty());
        EXPECT_EQ(out.substr(g.object_at + g.object_bytes), "}}");
        const string tags_open = before.empty() ? "" : before + "\"time\":\"\"}";
        EXPECT_EQ(g.tags_at == 0 ? "" : out.substr(g.tags_at, g.tags_bytes), tags_open);
        if (g.time_at != 0) out.insert(g.time_at, "123");
        if (g.offset_at != 0) out.insert(g.offset_at, "77");
        const string tags = before.empty() ? "" : before + "\"time\":\"123\"}";
        string whole;
        uint32_t at, len;
        push_publication(&whole, "c\"1", has_offset ? 77 : 0, "[1,{}]", info, tags, &at, &len);
        EXPECT_EQ(out, whole);
        EXPECT_EQ(at, g.object_at);
      }
    }
  }
}

TEST(reply_test, pushes) {
  EXPECT_EQ(made([](string* out) { push_join(out, "c", "{\"user\":\"u\"}"); }),
            "{\"push\":{\"channel\":\"c\",\"join\":{\"info\":{\"user\":\"u\"}}}}");
  EXPECT_EQ(made([](string* out) { push_leave(out, "c", "{\"user\":\"u\"}"); }),
            "{\"push\":{\"channel\":\"c\",\"leave\":{\"info\":{\"user\":\"u\"}}}}");
  EXPECT_EQ(made([](string* out) { push_unsubscribe(out, "c", 2500, "insufficient state"); }),
            "{\"push\":{\"channel\":\"c\",\"unsubscribe\":{\"code\":2500,\"reason\":\"insufficient "
            "state\"}}}");
  EXPECT_EQ(made([](string* out) { push_unsubscribe(out, "c", 0, ""); }),
            "{\"push\":{\"channel\":\"c\",\"unsubscribe\":{\"code\":0,\"reason\":\"\"}}}");
  EXPECT_EQ(made([](string* out) { push_subscribe(out, "c", {}); }),
            "{\"push\":{\"channel\":\"c\",\"subscribe\":{}}}");
  EXPECT_EQ(made([](string* out) {
              push_subscribe(out, "c", {true, true, "e", 9, "[1]"});
            }),
            "{\"push\":{\"channel\":\"c\",\"subscribe\":{\"recoverable\":true,\"epoch\":\"e\","
            "\"offset\":9,\"positioned\":true,\"data\":[1]}}}");
}

TEST(reply_test, any_channel_stands_in_every_push) {
  const string channel = all_characters();
  uint32_t at, len;
  const string pushes[] = {
      made([&](string* o) { push_publication(o, channel, 1, "1", "", "", &at, &len); }),
      made([&](string* o) { push_join(o, channel, "{}"); }),
      made([&](string* o) { push_leave(o, channel, "{}"); }),
      made([&](string* o) { push_unsubscribe(o, channel, 1, channel); }), made([&](string* o) {
        push_subscribe(o, channel, {false, false, channel, 0, ""});
      })};
  for (const string& push : pushes) EXPECT_EQ(text_at(push, {"push", "channel"}), channel);
  EXPECT_EQ(text_at(pushes[3], {"push", "unsubscribe", "reason"}), channel);
  EXPECT_EQ(text_at(pushes[4], {"push", "subscribe", "epoch"}), channel);
}

TEST(reply_test, errors) {
  EXPECT_EQ(
      made([](string* out) { reply_error(out, UINT32_MAX, 100, "internal", true); }),
      "{\"id\":4294967295,\"error\":{\"code\":100,\"message\":\"internal\",\"temporary\":true}}");
  EXPECT_EQ(made([](string* out) { reply_error(out, 1, 103, "denied", false); }),
            "{\"id\":1,\"error\":{\"code\":103,\"message\":\"denied\"}}");
  EXPECT_EQ(text_at(made([](string* out) { reply_error(out, 1, 1, all_characters(), false); }),
                    {"error", "message"}),
            all_characters());
}

TEST(reply_test, small_replies) {
  EXPECT_EQ(made([](string* out) { reply_empty(out, 5, "ping"); }), "{\"id\":5,\"ping\":{}}");
  EXPECT_EQ(made([](string* out) { reply_rpc(out, 5, "{\"a\":1}"); }),
            "{\"id\":5,\"rpc\":{\"data\":{\"a\":1}}}");
  EXPECT_EQ(made([](string* out) { reply_rpc(out, 5, ""); }), "{\"id\":5,\"rpc\":{}}");
  EXPECT_EQ(
      made([](string* out) { reply_refresh(out, 5, "c", "v", true, 60); }),
      "{\"id\":5,\"refresh\":{\"client\":\"c\",\"version\":\"v\",\"expires\":true,\"ttl\":60}}");
  EXPECT_EQ(made([](string* out) { reply_refresh(out, 5, "", "", false, 0); }),
            "{\"id\":5,\"refresh\":{}}");
  EXPECT_EQ(made([](string* out) { reply_sub_refresh(out, 5, true, UINT32_MAX); }),
            "{\"id\":5,\"sub_refresh\":{\"expires\":true,\"ttl\":4294967295}}");
  EXPECT_EQ(made([](string* out) { reply_sub_refresh(out, 5, false, 0); }),
            "{\"id\":5,\"sub_refresh\":{}}");
  EXPECT_EQ(made([](string* out) { reply_presence_stats(out, 5, 3, 2); }),
            "{\"id\":5,\"presence_stats\":{\"num_clients\":3,\"num_users\":2}}");
  EXPECT_EQ(made([](string* out) { reply_presence_stats(out, 5, 0, 0); }),
            "{\"id\":5,\"presence_stats\":{\"num_clients\":0,\"num_users\":0}}");
}

TEST(reply_test, subscribe) {
  EXPECT_EQ(made([](string* out) { reply_subscribe(out, 2, {}); }), "{\"id\":2,\"subscribe\":{}}");
  subscribe_result r;
  r.expires = r.recoverable = r.positioned = r.recovered = r.was_recovering = true;
  r.ttl = 30;
  r.epoch = "e";
  r.offset = 4;
  r.publications = "{\"data\":1,\"offset\":3},{\"data\":2,\"offset\":4}";
  r.data = "{\"d\":0}";
  const string object =
      "{\"expires\":true,\"ttl\":30,\"recoverable\":true,\"epoch\":\"e\",\"publications\":[{"
      "\"data\":1,\"offset\":3},{\"data\":2,\"offset\":4}],\"recovered\":true,\"offset\":4,"
      "\"positioned\":true,\"data\":{\"d\":0},\"was_recovering\":true}";
  EXPECT_EQ(made([&](string* out) { subscribe_object(out, r); }), object);
  EXPECT_EQ(made([&](string* out) { reply_subscribe(out, 2, r); }),
            "{\"id\":2,\"subscribe\":" + object + "}");
}

TEST(reply_test, each_flag_alone) {
  const struct {
    const char* name;
    bool subscribe_result::*flag;
  } rows[] = {{"expires", &subscribe_result::expires},
              {"recoverable", &subscribe_result::recoverable},
              {"positioned", &subscribe_result::positioned},
              {"recovered", &subscribe_result::recovered},
              {"was_recovering", &subscribe_result::was_recovering}};
  for (const auto& row : rows) {
    subscribe_result r;
    r.*row.flag = true;
    EXPECT_EQ(made([&](string* out) { subscribe_object(out, r); }),
              "{\"" + string(row.name) + "\":true}");
  }
}

TEST(reply_test, connect) {
  EXPECT_EQ(made([](string* out) { reply_connect(out, 1, {}); }), "{\"id\":1,\"connect\":{}}");
  connect_result r;
  r.client = "c";
  r.version = "0.1";
  r.node = "n";
  r.session = "s";
  r.data = "{}";
  r.expires = true;
  r.ttl = 60;
  r.ping_s = 25;
  r.pong = true;
  const std::vector<std::pair<string, string>> subs = {{"a", "{}"}, {"b\n\"", "{\"offset\":1}"}};
  r.subs = subs;
  EXPECT_EQ(
      made([&](string* out) { reply_connect(out, 1, r); }),
      "{\"id\":1,\"connect\":{\"client\":\"c\",\"version\":\"0.1\",\"expires\":true,\"ttl\":60,"
      "\"data\":{},\"subs\":{\"a\":{},\"b\\n\\\"\":{\"offset\":1}},\"ping\":25,\"pong\":true,"
      "\"session\":\"s\",\"node\":\"n\"}}");
}

TEST(reply_test, history) {
  EXPECT_EQ(made([](string* out) { reply_history(out, 1, "", 0, ""); }),
            "{\"id\":1,\"history\":{\"publications\":[],\"epoch\":\"\",\"offset\":0}}");
  EXPECT_EQ(made([](string* out) { history_object(out, "{\"data\":1},{\"data\":2}", 9, "e"); }),
            "{\"publications\":[{\"data\":1},{\"data\":2}],\"epoch\":\"e\",\"offset\":9}");
}

TEST(reply_test, presence) {
  EXPECT_EQ(made([](string* out) { reply_presence(out, 1, {}); }),
            "{\"id\":1,\"presence\":{\"presence\":{}}}");
  std::vector<std::pair<string_view, string_view>> members(core::kPresenceEntriesMax,
                                                           {"c\"", "{\"user\":\"u\"}"});
  const string full = made([&](string* out) { presence_object(out, members); });
  EXPECT_EQ(full.size(), string("{\"presence\":{}}").size() + members.size() * 19 - 1);
  members.resize(2);
  EXPECT_EQ(made([&](string* out) { presence_object(out, members); }),
            "{\"presence\":{\"c\\\"\":{\"user\":\"u\"},\"c\\\"\":{\"user\":\"u\"}}}");
}

}  // namespace
}  // namespace proto
