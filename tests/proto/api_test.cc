// Server API requests from bytes: every field of every method, limits at and beyond, what is
// refused and how a batch is built.
#include "proto/api.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>

#include "core/limits.h"
#include "proto/command.h"
#include "tests/proto/json_strict.h"

namespace proto {
namespace {

using core::api_method;
using core::err;
using std::string;
using std::string_view;

constexpr api_method kEvery[] = {
    api_method::publish,        api_method::broadcast,      api_method::subscribe,
    api_method::unsubscribe,    api_method::disconnect,     api_method::refresh,
    api_method::presence,       api_method::presence_stats, api_method::history,
    api_method::history_remove, api_method::channels,       api_method::info};

string in_quotes(const string& s) {
  return "\"" + s + "\"";
}
string nested(uint32_t depth) {
  return string(depth, '[') + "1" + string(depth, ']');
}

class api_parse_test : public ::testing::Test {
 protected:
  api_parse_test() : p_(command_parser_new(8u << 20)) {}
  ~api_parse_test() override { command_parser_free(p_); }

  // The body stands in a block of exact size.
  err parse(api_method m, string_view body) {
    const std::unique_ptr<char[]> block(new char[body.size()]);
    if (!body.empty()) memcpy(block.get(), body.data(), body.size());
    why_.clear();
    const err rc = api_parse(p_, m, {block.get(), body.size()}, &r_, &why_);
    EXPECT_EQ(rc == err::ok, why_.empty()) << why_;
    return rc;
  }
  // Of one call that is good.
  const api_call& good(api_method m, string_view body) {
    EXPECT_EQ(parse(m, body), err::ok) << why_ << " for " << body.substr(0, 200);
    EXPECT_EQ(r_.calls.size(), 1u);
    if (r_.calls.empty()) r_.calls.emplace_back();
    EXPECT_EQ(r_.calls[0].refusal, "");
    EXPECT_EQ(r_.calls[0].method, m);
    return r_.calls[0];
  }
  // Good JSON, but no good call: the refusal.
  string refused(api_method m, string_view body) {
    EXPECT_EQ(parse(m, body), err::ok) << why_ << " for " << body.substr(0, 200);
    return r_.calls.size() == 1 ? r_.calls[0].refusal : "no call";
  }
  command_parser* p_;
  api_request r_;
  string why_;
};

// ---- names

TEST_F(api_parse_test, methods_have_names) {
  for (const api_method m : kEvery) EXPECT_EQ(api_method_find(api_method_name(m)), m);
  EXPECT_EQ(api_method_find("batch"), api_method::batch);
  EXPECT_EQ(api_method_name(api_method::presence_stats), "presence_stats");
  for (const string_view name : {"", "Publish", "publish ", "unknown", "dance"})
    EXPECT_EQ(api_method_find(name), api_method::unknown) << name;
  EXPECT_EQ(api_method_name(api_method::unknown), "unknown");
}

TEST_F(api_parse_test, error_objects) {
  string out = "x";
  api_error_object(&out, 107, "a \"b\"\n");
  EXPECT_EQ(out, R"(x{"code":107,"message":"a \"b\"\n"})");
}

// ---- methods

TEST_F(api_parse_test, publish) {
  const api_call& c = good(
      api_method::publish,
      R"({"channel":"a\u0062","data":{"x":[1, 2]},"tags":{"k":"v","l":"w"},"idempotency_key":"i",)"
      R"("skip_history":true,"delta":true,"future":{"x":[1]}})");
  ASSERT_EQ(c.channels.size(), 1u);
  EXPECT_EQ(c.channels[0], "ab");
  EXPECT_EQ(c.data, R"({"x":[1, 2]})");
  EXPECT_EQ(c.tags, R"({"k":"v","l":"w"})");
  EXPECT_EQ(c.idempotency_key, "i");
  EXPECT_TRUE(c.skip_history);
  EXPECT_EQ(good(api_method::publish, R"({"data":"x","channel":"b"})").data, "\"x\"");
  EXPECT_FALSE(r_.calls[0].skip_history);
  EXPECT_EQ(r_.calls[0].tags, "");
}

TEST_F(api_parse_test, broadcast) {
  const api_call& c =
      good(api_method::broadcast, R"({"channels":["a","","a"],"data":0,"idempotency_key":"k"})");
  EXPECT_EQ(c.channels, (std::vector<string>{"a", "", "a"}));
  EXPECT_EQ(c.data, "0");
  EXPECT_EQ(refused(api_method::broadcast, R"({"data":1})"), "channels is missing");
  EXPECT_EQ(refused(api_method::broadcast, R"({"data":1,"channels":[]})"), "channels is missing");
  EXPECT_EQ(refused(api_method::broadcast, R"({"channels":["a"]})"), "data is missing");
}

TEST_F(api_parse_test, subscribe) {
  const api_call& c =
      good(api_method::subscribe,
           R"({"user":"ann","channel":"a","client":"c","session":"s","info":{"i":1},"data":[2],)"
           R"("expire_at":1700000000,"recover_since":{"offset":18446744073709551615,"epoch":"e"},)"
           R"("override":{"presence":{"value":true},"join_leave":{"value":false}}})");
  EXPECT_EQ(c.user, "ann");
  EXPECT_EQ(c.client, "c");
  EXPECT_EQ(c.session, "s");
  EXPECT_EQ(c.info, R"({"i":1})");
  EXPECT_EQ(c.data, "[2]");
  EXPECT_EQ(c.expire_at, 1700000000);
  EXPECT_TRUE(c.has_since);
  EXPECT_EQ(c.since_offset, UINT64_MAX);
  EXPECT_EQ(c.since_epoch, "e");
  EXPECT_TRUE(c.has_presence && c.presence && c.has_join_leave && !c.join_leave);
  EXPECT_FALSE(
      good(api_method::subscribe, R"({"user":"u","channel":"a","override":{}})").has_presence);
  EXPECT_FALSE(r_.calls[0].has_since);
  EXPECT_EQ(refused(api_method::subscribe,
                    R"({"user":"u","channel":"a","override":{"force_recovery":{"value":true}}})"),
            "this override is not offered: presence and join_leave are");
  EXPECT_EQ(refused(api_method::subscribe, R"({"channel":"a"})"), "user is missing");
  EXPECT_EQ(refused(api_method::subscribe, R"({"user":"u"})"), "channel is missing");
}

TEST_F(api_parse_test, unsubscribe) {
  const api_call& c =
      good(api_method::unsubscribe, R"({"user":"u","channel":"a","client":"c","session":"s"})");
  EXPECT_EQ(c.channels[0] + c.user + c.client + c.session, "aucs");
  EXPECT_EQ(refused(api_method::unsubscribe, R"({"channel":"a"})"), "user is missing");
}

TEST_F(api_parse_test, disconnect) {
  const api_call& c =
      good(api_method::disconnect,
           R"({"user":"u","client":"c","whitelist":["a","b"],"disconnect":{"code":4000,)"
           R"("reason":"go"}})");
  EXPECT_EQ(c.whitelist, (std::vector<string>{"a", "b"}));
  EXPECT_EQ(c.code, 4000u);
  EXPECT_EQ(c.reason, "go");
  EXPECT_EQ(good(api_method::disconnect, R"({"user":"u"})").code, 0u);
  EXPECT_EQ(refused(api_method::disconnect, "{}"), "user is missing");
  const auto with_code = [](uint32_t code) {
    return R"({"user":"u","disconnect":{"code":)" + std::to_string(code) + "}}";
  };
  for (const uint32_t code : {0u, 3000u, 4999u})
    EXPECT_EQ(good(api_method::disconnect, with_code(code)).code, code);
  for (const uint32_t code : {1u, 1000u, 2999u, 5000u, 65536u + 3000u})
    EXPECT_NE(refused(api_method::disconnect, with_code(code)), "") << code;
}

// What belongs to a disconnect says nothing to other methods.
TEST_F(api_parse_test, disconnect_is_of_disconnect) {
  const api_call& c = good(api_method::unsubscribe,
                           R"({"user":"u","channel":"a","disconnect":{"code":7,"reason":"x"}})");
  EXPECT_EQ(c.code, 0u);
  EXPECT_EQ(c.reason, "");
}

TEST_F(api_parse_test, refresh) {
  const api_call& c =
      good(api_method::refresh, R"({"user":"u","client":"c","expired":true,"expire_at":-1})");
  EXPECT_TRUE(c.expired);
  EXPECT_EQ(c.expire_at, -1);
  EXPECT_EQ(refused(api_method::refresh, "{}"), "user is missing");
}

TEST_F(api_parse_test, presence_and_history) {
  for (const api_method m : {api_method::presence, api_method::presence_stats, api_method::history,
                             api_method::history_remove}) {
    EXPECT_EQ(good(m, R"({"channel":"a"})").channels[0], "a");
    EXPECT_EQ(refused(m, "{}"), "channel is missing");
    EXPECT_EQ(refused(m, R"({"channel":""})"), "channel is missing");
    EXPECT_EQ(refused(m, R"({"channel":null})"), "channel is missing");
    EXPECT_EQ(refused(m, R"({"channel":"a","channel":"b"})"), "channel is missing");
  }
  const api_call& c = good(api_method::history,
                           R"({"channel":"a","limit":-1,"reverse":true,"since":{"offset":5}})");
  EXPECT_EQ(c.limit, -1);
  EXPECT_TRUE(c.reverse && c.has_since);
  EXPECT_EQ(c.since_offset, 5u);
  EXPECT_EQ(c.since_epoch, "");
}

TEST_F(api_parse_test, channels_and_info) {
  EXPECT_EQ(good(api_method::channels, R"({"pattern":"a*"})").pattern, "a*");
  EXPECT_EQ(good(api_method::channels, "").pattern, "");
  good(api_method::info, "");
  good(api_method::info, "{}");
  good(api_method::info, " {\n} ");
}

// ---- types

TEST_F(api_parse_test, fields_of_a_wrong_type) {
  const std::pair<const char*, std::vector<const char*>> table[] = {
      {"channel", {"1", "[]", "{}", "true"}},
      {"channels", {"1", "\"a\"", "{}", "[1]", "[null]", "[[\"a\"]]"}},
      {"tags", {"1", "\"a\"", "[]", "{\"a\":1}", "{\"a\":{}}"}},
      {"idempotency_key", {"1", "{}"}},
      {"skip_history", {"1", "\"true\"", "{}"}},
      {"user", {"1"}},
      {"client", {"false"}},
      {"session", {"[]"}},
      {"recover_since", {"1", "[]", "{\"offset\":-1}", "{\"offset\":\"1\"}", "{\"epoch\":1}"}},
      {"since", {"\"a\"", "{\"offset\":1.5}", "{\"offset\":18446744073709551616}"}},
      {"override", {"1", "{\"presence\":true}", "{\"join_leave\":{\"value\":1}}"}},
      {"whitelist", {"\"a\"", "[1]"}},
      {"expired", {"0"}},
      {"expire_at", {"\"1\"", "1.5", "9223372036854775808"}},
      {"limit", {"\"1\"", "1e1", "-9223372036854775809"}},
      {"reverse", {"\"\""}},
      {"pattern", {"1"}},
      {"b64data", {"1"}},
      {"version", {"\"1\"", "-1"}}};
  for (const auto& [name, values] : table) {
    for (const char* value : values) {
      const string body =
          "{\"channel\":\"a\",\"user\":\"u\"," + in_quotes(name) + ":" + value + "}";
      EXPECT_EQ(parse(api_method::publish, body), err::malformed) << body;
      EXPECT_NE(why_, "");
    }
    const string null = "{\"user\":\"u\"," + in_quotes(name) + ":null}";
    EXPECT_EQ(parse(api_method::refresh, null), err::ok) << null << " is an absent field";
  }
  for (const char* value :
       {"1", "[]", "{\"code\":\"1\"}", "{\"code\":-1}", "{\"reason\":1}", "{\"code\":4294967296}"})
    EXPECT_EQ(
        parse(api_method::disconnect, string("{\"user\":\"u\",\"disconnect\":") + value + "}"),
        err::malformed)
        << value;
}

TEST_F(api_parse_test, bodies_that_are_no_object) {
  for (const char* body :
       {" ", "[]", "1", "null", "true", "\"a\"", "{", "}", "{}{}", "{},", "{\"a\":}", "{\"a\":1,}",
        "{'a':1}", "{\"a\":\"\x80\"}", "\xEF\xBB\xBF{}", "{\"a\":\"\n\"}", "{\"a\":01}", "nul"}) {
    for (const api_method m : kEvery) EXPECT_EQ(parse(m, body), err::malformed) << body;
    EXPECT_EQ(parse(api_method::batch, body), err::malformed) << body;
  }
}

TEST_F(api_parse_test, what_is_skipped_is_valid_too) {
  for (const char* value : {"nul", "[1,]", "{\"a\"}", "\"\xED\xA0\x80\"", "0x1", "+1", "\"\\x\""})
    EXPECT_EQ(parse(api_method::info, string("{\"other\":") + value + "}"), err::malformed)
        << value;
}

TEST_F(api_parse_test, depth_at_the_limit_and_beyond) {
  const string at = "{\"channel\":\"a\",\"data\":" + nested(core::kJsonDepthMax - 1) + "}";
  EXPECT_EQ(good(api_method::publish, at).data, nested(core::kJsonDepthMax - 1));
  EXPECT_EQ(parse(api_method::publish,
                  "{\"channel\":\"a\",\"data\":" + nested(core::kJsonDepthMax) + "}"),
            err::malformed);
  EXPECT_NE(why_.find("64"), string::npos) << why_;
}

// ---- raw JSON

TEST_F(api_parse_test, raw_data_stays_as_it_was_but_on_one_line) {
  const std::pair<const char*, const char*> table[] = {
      {"null ", ""},  // absent
      {"1.50e+3", "1.50e+3"},
      {" \"\\u00e9\\n\" ", "\"\\u00e9\\n\""},
      {"\r\n{\r\n \"b\" : [ 1 ,\n2 ] }\n", "{ \"b\" : [ 1 ,2 ] }"},
      {"[\n]", "[]"},
      {"\"\xC3\xA9\"", "\"\xC3\xA9\""},
      {"false\n", "false"},
      {"{}", "{}"}};
  for (const auto& [sent, kept] : table) {
    const string body =
        string("{\"user\":\"u\",\"channel\":\"a\",\"info\":") + sent + ",\"data\":" + sent + "}";
    const api_call& c = good(api_method::subscribe, body);
    EXPECT_EQ(c.data, kept);
    EXPECT_EQ(c.info, kept);
    if (!c.data.empty()) {
      const json_strict strict(c.data);
      EXPECT_TRUE(strict.is_valid() && !strict.has_newline()) << c.data;
    }
  }
  EXPECT_EQ(refused(api_method::publish, R"({"channel":"a","data":null})"), "data is missing");
}

TEST_F(api_parse_test, tags_are_written_anew) {
  EXPECT_EQ(good(api_method::publish,
                 "{\"channel\":\"a\",\"data\":1,\"tags\":{\n\"a\\u0022\" :\r\"x\\ny\", "
                 "\"n\":null,\"b\":\"\"\n}}")
                .tags,
            R"({"a\"":"x\ny","b":""})");
  EXPECT_EQ(good(api_method::publish, R"({"channel":"a","data":1,"tags":{}})").tags, "{}");
}

// ---- limits

TEST_F(api_parse_test, texts_at_the_limit_and_beyond) {
  const auto key = [](size_t n) {
    return R"({"channel":"a","data":1,"idempotency_key":")" + string(n, 'k') + "\"}";
  };
  good(api_method::publish, key(core::kKeyBytesMax));
  EXPECT_NE(refused(api_method::publish, key(core::kKeyBytesMax + 1)), "");
  const auto tags = [](size_t n) {  // `{"t":"…"}` has 8 bytes around
    return R"({"channel":"a","data":1,"tags":{"t":")" + string(n - 8, 't') + "\"}}";
  };
  EXPECT_EQ(good(api_method::publish, tags(core::kInfoBytesMax)).tags.size(), core::kInfoBytesMax);
  EXPECT_NE(refused(api_method::publish, tags(core::kInfoBytesMax + 1)), "");
  const auto raw = [](const string& name, size_t n) {
    return R"({"user":"u","channel":"a",")" + name + "\":\"" + string(n - 2, 'x') + "\"}";
  };
  good(api_method::subscribe, raw("info", core::kInfoBytesMax));
  EXPECT_NE(refused(api_method::subscribe, raw("info", core::kInfoBytesMax + 1)), "");
  good(api_method::subscribe, raw("data", kApiSubscribeDataBytesMax));
  EXPECT_NE(refused(api_method::subscribe, raw("data", kApiSubscribeDataBytesMax + 1)), "");
  good(api_method::publish, raw("data", kApiSubscribeDataBytesMax + 1));  // the namespace's bound
  const auto reason = [](size_t n) {
    return R"({"user":"u","disconnect":{"code":4000,"reason":")" + string(n, 'r') + "\"}}";
  };
  good(api_method::disconnect, reason(123));
  EXPECT_NE(refused(api_method::disconnect, reason(124)), "");
}

TEST_F(api_parse_test, lists_at_the_limit_and_beyond) {
  const auto list = [](const string& name, uint32_t n) {
    string out = R"({"user":"u","data":1,")" + name + "\":[";
    for (uint32_t i = 0; i < n; ++i) out += i > 0 ? ",\"a\"" : "\"a\"";
    return out + "]}";
  };
  EXPECT_EQ(good(api_method::broadcast, list("channels", kApiChannelsMax)).channels.size(),
            kApiChannelsMax);
  EXPECT_NE(refused(api_method::broadcast, list("channels", kApiChannelsMax + 1)), "");
  EXPECT_EQ(good(api_method::disconnect, list("whitelist", kApiChannelsMax)).whitelist.size(),
            kApiChannelsMax);
  EXPECT_NE(refused(api_method::disconnect, list("whitelist", kApiChannelsMax + 1)), "");
}

TEST_F(api_parse_test, what_is_not_offered) {
  EXPECT_NE(refused(api_method::publish, R"({"channel":"a","b64data":"MQ=="})"), "");
  EXPECT_NE(refused(api_method::subscribe, R"({"user":"u","channel":"a","b64info":"MQ=="})"), "");
  EXPECT_NE(refused(api_method::publish, R"({"channel":"a","data":1,"version":3})"), "");
  EXPECT_NE(refused(api_method::publish, R"({"channel":"a","data":1,"version_epoch":"e"})"), "");
  good(api_method::publish,
       R"({"channel":"a","data":1,"b64data":"","version":0,"version_epoch":""})");
}

// ---- batches

TEST_F(api_parse_test, batch) {
  ASSERT_EQ(parse(api_method::batch,
                  R"({"parallel":true,"more":1,"commands":[{"publish":{"channel":"a","data":[1,
2]}},{"presence":{"channel":"b"}},{"info":{}},{"publish":null,"info":{}},)"
                  R"({"later":[{}],"history":{"channel":"c","limit":2},"info":{}}]})"),
            err::ok)
      << why_;
  EXPECT_TRUE(r_.is_batch && r_.is_parallel);
  ASSERT_EQ(r_.calls.size(), 5u);
  const api_method methods[] = {api_method::publish, api_method::presence, api_method::info,
                                api_method::info, api_method::history};
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(r_.calls[i].method, methods[i]) << i;
    EXPECT_EQ(r_.calls[i].refusal, "") << i;
  }
  EXPECT_EQ(r_.calls[0].data, "[1,2]");
  EXPECT_EQ(r_.calls[4].channels[0], "c");
  EXPECT_EQ(r_.calls[4].limit, 2);
}

TEST_F(api_parse_test, batches_without_commands) {
  for (const char* body :
       {"", "{}", R"({"commands":[]})", R"({"commands":null})", R"({"parallel":false})"}) {
    EXPECT_EQ(parse(api_method::batch, body), err::ok) << body;
    EXPECT_TRUE(r_.is_batch && !r_.is_parallel && r_.calls.empty()) << body;
  }
}

TEST_F(api_parse_test, bad_commands_of_a_batch) {
  ASSERT_EQ(parse(api_method::batch,
                  R"({"commands":[{},{"dance":{"x":1}},{"batch":{"commands":[{"info":{}}]}},)"
                  R"({"publish":{"channel":"a"}},{"info":{}}]})"),
            err::ok)
      << why_;
  ASSERT_EQ(r_.calls.size(), 5u);
  EXPECT_EQ(r_.calls[0].refusal, "there is no such method");
  EXPECT_EQ(r_.calls[1].refusal, "there is no such method");
  EXPECT_EQ(r_.calls[2].refusal, "a batch cannot hold a batch");
  EXPECT_EQ(r_.calls[3].refusal, "data is missing");
  EXPECT_EQ(r_.calls[4].refusal, "");
  for (const char* body : {R"({"commands":{}})", R"({"commands":[1]})", R"({"commands":[null]})",
                           R"({"commands":[[]]})", R"({"commands":[{"publish":1}]})",
                           R"({"commands":[{"publish":{"channel":1}}]})", R"({"parallel":1})"}) {
    EXPECT_EQ(parse(api_method::batch, body), err::malformed) << body;
  }
}

TEST_F(api_parse_test, batch_at_the_limit_and_beyond) {
  const auto batch = [](uint32_t commands, const string& command) {
    string out = "{\"commands\":[";
    for (uint32_t i = 0; i < commands; ++i) out += (i > 0 ? "," : "") + command;
    return out + "]}";
  };
  EXPECT_EQ(parse(api_method::batch, batch(kApiCommandsMax, R"({"info":{}})")), err::ok);
  EXPECT_EQ(r_.calls.size(), kApiCommandsMax);
  EXPECT_EQ(parse(api_method::batch, batch(kApiCommandsMax + 1, R"({"info":{}})")), err::malformed);
  EXPECT_NE(why_.find("1000 commands"), string::npos) << why_;
  const string hundred = [] {
    string out = R"({"broadcast":{"data":1,"channels":["a")";
    for (int i = 1; i < 100; ++i) out += ",\"a\"";
    return out + "]}}";
  }();
  EXPECT_EQ(parse(api_method::batch, batch(kApiChannelsMax / 100, hundred)), err::ok);
  EXPECT_EQ(parse(api_method::batch, batch(kApiChannelsMax / 100 + 1, hundred)), err::malformed);
  EXPECT_NE(why_.find("10000 channels"), string::npos) << why_;
}

// The parser is used again and again, by good and bad bodies in turn.
TEST_F(api_parse_test, nothing_stays_from_one_body_to_the_next) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(parse(api_method::publish, "{\"channel\":\"a\",\"data\":[\n1"), err::malformed);
    EXPECT_EQ(good(api_method::publish, "{\"channel\":\"a\",\"data\":[\n1]}").data, "[1]");
    EXPECT_EQ(parse(api_method::batch, R"({"parallel":true,"commands":[{"info":{}}]})"), err::ok);
    const api_call& c = good(api_method::history, R"({"channel":"a"})");
    EXPECT_TRUE(c.data.empty() && !r_.is_batch && !r_.is_parallel);
  }
}

}  // namespace
}  // namespace proto
