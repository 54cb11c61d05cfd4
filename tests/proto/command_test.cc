// Client commands from bytes: every field of every request, and that what is passed on as raw JSON
// can harm nobody.
#include "proto/command.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/limits.h"
#include "tests/proto/json_strict.h"

namespace proto {
namespace {

using core::err;
using std::string;
using std::string_view;
using kind = command_kind;

constexpr size_t kPadding = 64;

string nested(uint32_t depth, const string& inner = "1") {
  return string(depth, '[') + inner + string(depth, ']');
}

class command_test : public ::testing::Test {
 protected:
  command_test() : p_(command_parser_new()) {}
  ~command_test() override { command_parser_free(p_); }

  // The line stands in a block of exact size; what the padding holds must not matter.
  err parse(string_view line) {
    block_.reset(new char[line.size() + kPadding]);
    if (!line.empty()) memcpy(block_.get(), line.data(), line.size());
    memset(block_.get() + line.size(), ']', kPadding);
    return command_parse(p_, block_.get(), static_cast<uint32_t>(line.size()), &c_);
  }
  const command& good(string_view line) {
    EXPECT_EQ(parse(line), err::ok) << line.substr(0, 200);
    return c_;
  }
  // In a block without padding.
  err check(string_view text, string* out) {
    block_.reset(new char[text.size()]);
    if (!text.empty()) memcpy(block_.get(), text.data(), text.size());
    return json_check(p_, {block_.get(), text.size()}, out);
  }
  string checked(string_view text) {
    string out;
    EXPECT_EQ(check(text, &out), err::ok) << text.substr(0, 200);
    return out;
  }
  err check(string_view text) {
    string out = "untouched";
    const err rc = check(text, &out);
    if (rc != err::ok) {
      EXPECT_EQ(out, "untouched") << "an error appends nothing";
    }
    return rc;
  }
  err rpc(string_view text) {
    block_.reset(new char[text.size()]);
    if (!text.empty()) memcpy(block_.get(), text.data(), text.size());
    return rpc_parse(p_, {block_.get(), text.size()}, &f_);
  }
  command_parser* p_;
  command c_;
  rpc_fields f_;
  std::unique_ptr<char[]> block_;
};

// ---- what a line is

TEST_F(command_test, pong_is_the_empty_object) {
  EXPECT_EQ(good("{}").kind, kind::pong);
  EXPECT_EQ(good(" { } ").kind, kind::pong);
  EXPECT_EQ(good("{\"id\":0}").kind, kind::pong);
  EXPECT_EQ(good("{\"id\":null,\"connect\":null}").kind, kind::pong);
}

TEST_F(command_test, an_id_without_a_known_request_is_none) {
  EXPECT_EQ(good("{\"id\":7}").kind, kind::none);
  EXPECT_EQ(c_.id, 7u);
  EXPECT_EQ(good("{\"id\":7,\"dance\":{}}").kind, kind::none);
  EXPECT_EQ(good("{\"dance\":{}}").kind, kind::none);
  EXPECT_EQ(good("{\"id\":7,\"publish\":null}").kind, kind::none);
}

TEST_F(command_test, lines_that_are_no_object) {
  for (const char* line : {"",
                           " ",
                           "\r",
                           "null",
                           "1",
                           "\"a\"",
                           "[]",
                           "[{}]",
                           "true",
                           "{",
                           "}",
                           "{}{}",
                           "{} {}",
                           "{},",
                           "{\"id\":1",
                           "{\"id\"}",
                           "{id:1}",
                           "{'id':1}",
                           "{\"id\":1,}",
                           "{,}",
                           "{\"id\":01}",
                           "{\"id\":1}x",
                           "\xEF\xBB\xBF{}",
                           "{\"id\":1 \"ping\":{}}",
                           "/**/{}",
                           "{\"a\":NaN}",
                           "{\"a\":.5}",
                           "{\"a\":1.}",
                           "{\"a\":+1}",
                           "{\"a\":tru}"}) {
    EXPECT_EQ(parse(line), err::malformed) << line;
  }
  EXPECT_EQ(parse(string_view("{\"id\":1}\0", 9)), err::malformed);
  EXPECT_EQ(parse(string_view("\0", 1)), err::malformed);
}

TEST_F(command_test, space_between_tokens_is_free) {
  good(" \t\r\n{ \"id\" : 3 ,\t\"publish\"\r:\n{ \"channel\" : \"a\" , \"data\" : 1 } } \r");
  EXPECT_EQ(c_.id, 3u);
  EXPECT_EQ(c_.kind, kind::publish);
  EXPECT_EQ(c_.channel, "a");
  EXPECT_EQ(c_.data, "1");
}

TEST_F(command_test, every_cut_of_a_line_is_malformed) {
  const string line =
      "{\"id\":1,\"connect\":{\"token\":\"t\\u00e9\",\"data\":{\"a\":[1,2.5e3,true,null]},\"subs\":"
      "{\"c\":{\"recover\":true,\"epoch\":\"e\",\"offset\":5}}}}";
  good(line);
  for (size_t n = 0; n < line.size(); ++n) EXPECT_EQ(parse(line.substr(0, n)), err::malformed) << n;
}

TEST_F(command_test, id_is_32_bits) {
  EXPECT_EQ(good("{\"id\":4294967295,\"ping\":{}}").id, UINT32_MAX);
  for (const char* id : {"4294967296", "18446744073709551615", "18446744073709551616", "-1", "1.0",
                         "1e2", "\"1\"", "true", "[]", "{}"})
    EXPECT_EQ(parse("{\"id\":" + string(id) + ",\"ping\":{}}"), err::malformed) << id;
}

TEST_F(command_test, keys_in_any_order_escaped_or_twice) {
  EXPECT_EQ(good("{\"rpc\":{\"method\":\"m\"},\"id\":9}").id, 9u);
  EXPECT_EQ(c_.method, "m");
  EXPECT_EQ(good("{\"\\u0069d\":4,\"p\\u0069ng\":{}}").kind, kind::ping);
  EXPECT_EQ(c_.id, 4u);
  EXPECT_EQ(good("{\"id\":1,\"id\":2,\"ping\":{}}").id, 2u);
  // Of one request twice the first is taken, of one field twice the last.
  good("{\"id\":1,\"rpc\":{\"method\":\"a\"},\"rpc\":{\"method\":\"b\",\"method\":\"c\"}}");
  EXPECT_EQ(c_.method, "a");
  good("{\"id\":1,\"rpc\":null,\"rpc\":{\"method\":\"b\",\"method\":\"c\"}}");
  EXPECT_EQ(c_.method, "c");
}

TEST_F(command_test, of_several_requests_the_schemas_first_is_taken) {
  const char* names[] = {"connect",        "subscribe",  "unsubscribe", "publish", "presence",
                         "presence_stats", "history",    "ping",        "send",    "rpc",
                         "refresh",        "sub_refresh"};
  for (int i = 0; i < 12; ++i) {
    string line = "{\"id\":1";
    for (int k = 11; k >= i; --k) line += string(",\"") + names[k] + "\":{}";
    EXPECT_EQ(static_cast<int>(good(line + "}").kind), static_cast<int>(kind::connect) + i);
  }
  // What is not taken is not looked at, but is valid JSON.
  EXPECT_EQ(good("{\"id\":1,\"publish\":{},\"rpc\":5}").kind, kind::publish);
  EXPECT_EQ(parse("{\"id\":1,\"publish\":{},\"rpc\":{]}}"), err::malformed);
}

TEST_F(command_test, requests_are_objects) {
  for (const char* name :
       {"connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history",
        "ping", "send", "rpc", "refresh", "sub_refresh"}) {
    EXPECT_EQ(parse("{\"id\":1,\"" + string(name) + "\":{}}"), err::ok) << name;
    for (const char* value : {"1", "\"x\"", "[]", "true"})
      EXPECT_EQ(parse("{\"id\":1,\"" + string(name) + "\":" + value + "}"), err::malformed) << name;
  }
}

TEST_F(command_test, a_message_of_the_maximum_and_one_more) {
  const string head = "{\"id\":1,\"send\":{\"data\":\"", tail = "\"}}";
  const string line =
      head + string(core::kWsMessageBytesMax - head.size() - tail.size(), 'x') + tail;
  ASSERT_EQ(line.size(), core::kWsMessageBytesMax);
  EXPECT_EQ(good(line).data.size(), line.size() - head.size() - tail.size() + 2);
  EXPECT_EQ(parse(line + " "), err::malformed);
  EXPECT_EQ(good("{\"id\":1}").id, 1u) << "the parser goes on";
}

// ---- the fields of each request

TEST_F(command_test, connect) {
  good(
      "{\"id\":1,\"connect\":{\"token\":\"t\",\"data\":{\"a\":1},\"name\":\"js\",\"version\":\"2\","
      "\"headers\":{\"x\":\"y\"},\"flag\":3,\"profile\":\"p\",\"subs\":{\"a\":{\"recover\":true,"
      "\"epoch\":\"e\",\"offset\":18446744073709551615},\"b\":{\"channel\":\"other\"}}}}");
  EXPECT_EQ(c_.kind, kind::connect);
  EXPECT_EQ(c_.token, "t");
  EXPECT_EQ(c_.data, "{\"a\":1}");
  EXPECT_EQ(c_.name, "js");
  EXPECT_EQ(c_.version, "2");
  ASSERT_EQ(c_.subs.size(), 2u);
  EXPECT_EQ(c_.subs[0].channel, "a");
  EXPECT_TRUE(c_.subs[0].recover);
  EXPECT_EQ(c_.subs[0].epoch, "e");
  EXPECT_EQ(c_.subs[0].offset, UINT64_MAX);
  EXPECT_EQ(c_.subs[1].channel, "b") << "the map's key, not the field";
  EXPECT_FALSE(c_.subs[1].recover);
}

TEST_F(command_test, subscribe) {
  good(
      "{\"id\":1,\"subscribe\":{\"channel\":\"c\",\"token\":\"t\",\"recover\":true,\"epoch\":\"e\","
      "\"offset\":5,\"data\":[1],\"positioned\":true,\"recoverable\":true,\"join_leave\":true,"
      "\"delta\":\"fossil\",\"tf\":{\"op\":\"\"},\"flag\":-9223372036854775808,\"type\":2147483647,"
      "\"seq\":\"old\",\"cursor\":9}}");
  EXPECT_EQ(c_.kind, kind::subscribe);
  EXPECT_EQ(c_.channel, "c");
  EXPECT_EQ(c_.sub.channel, "c");
  EXPECT_EQ(c_.sub.token, "t");
  EXPECT_EQ(c_.sub.epoch, "e");
  EXPECT_EQ(c_.sub.offset, 5u);
  EXPECT_EQ(c_.sub.data, "[1]");
  EXPECT_EQ(c_.sub.delta, "fossil");
  EXPECT_EQ(c_.sub.flag, INT64_MIN);
  EXPECT_EQ(c_.sub.type, INT32_MAX);
  EXPECT_TRUE(c_.sub.recover && c_.sub.positioned && c_.sub.recoverable && c_.sub.join_leave &&
              c_.sub.has_filter);
  good("{\"id\":1,\"subscribe\":{\"channel\":\"c\",\"recover\":false,\"tf\":null}}");
  EXPECT_FALSE(c_.sub.recover || c_.sub.positioned || c_.sub.recoverable || c_.sub.join_leave ||
               c_.sub.has_filter)
      << "nothing is left of the command before";
  EXPECT_EQ(c_.sub.offset, 0u);
  EXPECT_EQ(c_.sub.data, "");
}

TEST_F(command_test, history) {
  good(
      "{\"id\":1,\"history\":{\"channel\":\"c\",\"limit\":-1,\"reverse\":true,\"since\":{"
      "\"offset\":"
      "9,\"epoch\":\"e\",\"x\":1}}}");
  EXPECT_EQ(c_.kind, kind::history);
  EXPECT_EQ(c_.channel, "c");
  EXPECT_EQ(c_.limit, -1);
  EXPECT_TRUE(c_.reverse);
  EXPECT_TRUE(c_.has_since);
  EXPECT_EQ(c_.since_offset, 9u);
  EXPECT_EQ(c_.since_epoch, "e");
  good("{\"id\":1,\"history\":{\"channel\":\"c\",\"since\":{}}}");
  EXPECT_TRUE(c_.has_since) << "from the beginning";
  EXPECT_EQ(c_.since_offset, 0u);
  EXPECT_FALSE(good("{\"id\":1,\"history\":{\"since\":null}}").has_since);
}

TEST_F(command_test, flat_requests) {
  good("{\"id\":1,\"publish\":{\"channel\":\"c\",\"data\":\"x\",\"type\":1}}");
  EXPECT_EQ(c_.channel, "c");
  EXPECT_EQ(c_.data, "\"x\"");
  EXPECT_EQ(c_.publish_type, 1);
  EXPECT_EQ(good("{\"send\":{\"data\":{}}}").kind, kind::send);
  EXPECT_EQ(c_.id, 0u);
  EXPECT_EQ(c_.data, "{}");
  good("{\"id\":1,\"rpc\":{\"method\":\"m\",\"data\":null}}");
  EXPECT_EQ(c_.method, "m");
  EXPECT_EQ(c_.data, "") << "null is absent";
  EXPECT_EQ(good("{\"id\":1,\"refresh\":{\"token\":\"t\"}}").token, "t");
  good("{\"id\":1,\"sub_refresh\":{\"channel\":\"c\",\"token\":\"t\"}}");
  EXPECT_EQ(c_.channel, "c");
  EXPECT_EQ(c_.token, "t");
  for (const char* name : {"unsubscribe", "presence", "presence_stats"})
    EXPECT_EQ(good("{\"id\":1,\"" + string(name) + "\":{\"channel\":\"c\"}}").channel, "c");
}

TEST_F(command_test, a_field_of_another_request_is_unknown) {
  const string all =
      "{\"channel\":\"c\",\"data\":1,\"method\":\"m\",\"token\":\"t\",\"type\":1,\"limit\":1}";
  const struct {
    const char* name;
    const char* fields;
  } rows[] = {{"unsubscribe", "c"},  {"publish", "cdp"}, {"presence", "c"}, {"presence_stats", "c"},
              {"ping", ""},          {"send", "d"},      {"rpc", "dm"},     {"refresh", "t"},
              {"sub_refresh", "ct"}, {"history", "cl"}};
  for (const auto& r : rows) {
    const string_view has = r.fields;
    good("{\"id\":1,\"" + string(r.name) + "\":" + all + "}");
    EXPECT_EQ(c_.channel.empty(), has.find('c') == has.npos) << r.name;
    EXPECT_EQ(c_.data.empty(), has.find('d') == has.npos) << r.name;
    EXPECT_EQ(c_.method.empty(), has.find('m') == has.npos) << r.name;
    EXPECT_EQ(c_.token.empty(), has.find('t') == has.npos) << r.name;
    EXPECT_EQ(c_.publish_type == 0, has.find('p') == has.npos) << r.name;
    EXPECT_EQ(c_.limit == 0, has.find('l') == has.npos) << r.name;
  }
  good("{\"id\":1,\"ping\":{\"channel\":5,\"data\":[],\"method\":{},\"token\":true}}");
}

TEST_F(command_test, wrong_types_of_every_field) {
  const struct {
    const char* request;
    const char* field;
    const char* type;
  } rows[] = {
      {"connect", "token", "text"},
      {"connect", "name", "text"},
      {"connect", "version", "text"},
      {"connect", "subs", "object"},
      {"subscribe", "channel", "text"},
      {"subscribe", "token", "text"},
      {"subscribe", "recover", "flag"},
      {"subscribe", "epoch", "text"},
      {"subscribe", "offset", "u64"},
      {"subscribe", "positioned", "flag"},
      {"subscribe", "recoverable", "flag"},
      {"subscribe", "join_leave", "flag"},
      {"subscribe", "delta", "text"},
      {"subscribe", "flag", "i64"},
      {"subscribe", "type", "i32"},
      {"unsubscribe", "channel", "text"},
      {"publish", "channel", "text"},
      {"publish", "type", "i32"},
      {"presence", "channel", "text"},
      {"presence_stats", "channel", "text"},
      {"history", "channel", "text"},
      {"history", "limit", "i32"},
      {"history", "since", "object"},
      {"history", "reverse", "flag"},
      {"rpc", "method", "text"},
      {"refresh", "token", "text"},
      {"sub_refresh", "channel", "text"},
      {"sub_refresh", "token", "text"},
  };
  const struct {
    const char* value;
    string_view types;  // that it is good for
  } values[] = {
      {"\"1\"", "text"},
      {"\"\"", "text"},
      {"true", "flag"},
      {"null", "text flag u64 i64 i32 object"},
      {"{}", "object"},
      {"[]", ""},
      {"1.5", ""},
      {"1e2", ""},
      {"0", "u64 i64 i32"},
      {"-1", "i64 i32"},
      {"2147483647", "u64 i64 i32"},
      {"2147483648", "u64 i64"},
      {"-2147483648", "i64 i32"},
      {"-2147483649", "i64"},
      {"9223372036854775807", "u64 i64"},
      {"9223372036854775808", "u64"},
      {"18446744073709551615", "u64"},
      {"18446744073709551616", ""},
      {"-9223372036854775809", ""},
  };
  for (const auto& r : rows) {
    for (const auto& v : values) {
      const string line =
          string("{\"id\":1,\"") + r.request + "\":{\"" + r.field + "\":" + v.value + "}}";
      const bool is_good = v.types.find(r.type) != string_view::npos;
      EXPECT_EQ(parse(line), is_good ? err::ok : err::malformed) << line;
    }
  }
  for (const char* inner : {"{\"offset\":-1}", "{\"offset\":\"1\"}", "{\"epoch\":1}"}) {
    EXPECT_EQ(parse("{\"id\":1,\"history\":{\"since\":" + string(inner) + "}}"), err::malformed);
    EXPECT_EQ(parse("{\"id\":1,\"connect\":{\"subs\":{\"a\":" + string(inner) + "}}}"),
              err::malformed);
  }
  EXPECT_EQ(parse("{\"id\":1,\"connect\":{\"subs\":{\"a\":1}}}"), err::malformed);
  EXPECT_EQ(parse("{\"id\":1,\"connect\":{\"subs\":[]}}"), err::malformed);
}

TEST_F(command_test, strings_are_unescaped) {
  good(
      "{\"id\":1,\"rpc\":{\"method\":\"\\\"\\\\\\/"
      "\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00"
      "\"}}");
  EXPECT_EQ(c_.method, "\"\\/\b\f\n\r\tA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  EXPECT_EQ(good("{\"id\":1,\"rpc\":{\"method\":\"a\\u0000b\"}}").method, string_view("a\0b", 3));
  EXPECT_EQ(good("{\"id\":1,\"rpc\":{\"method\":\"\xF0\x9F\x98\x80\"}}").method,
            "\xF0\x9F\x98\x80");
  for (const char* text :
       {"\\x", "\\u12", "\\u12g4", "\\ud800", "\\ud800x", "\\ud800\\u0041", "\\udc00", "a\tb",
        "a\nb", "\x01", "\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    EXPECT_EQ(parse("{\"id\":1,\"rpc\":{\"method\":\"" + string(text) + "\"}}"), err::malformed)
        << text;
    EXPECT_EQ(parse("{\"id\":1,\"rpc\":{\"data\":{\"" + string(text) + "\":\"\"}}}"),
              err::malformed)
        << text;
    EXPECT_EQ(parse("{\"id\":1,\"" + string(text) + "\":1}"), err::malformed) << text;
  }
}

TEST_F(command_test, the_views_of_one_command_do_not_disturb_each_other) {
  string line = "{\"id\":1,\"connect\":{\"token\":\"\\u0041t\",\"data\":[\n1\n],\"subs\":{";
  for (int i = 0; i < 500; ++i)
    line += (i > 0 ? "," : "") + string("\"\\u0063") + std::to_string(i) + "\":{\"data\":[\r\n" +
            std::to_string(i) + "\n],\"epoch\":\"\\u0065" + std::to_string(i) + "\"}";
  good(line + "},\"name\":\"\\u006e\"}}");
  EXPECT_EQ(c_.token, "At");
  EXPECT_EQ(c_.name, "n");
  EXPECT_EQ(c_.data, "[1]");
  ASSERT_EQ(c_.subs.size(), 500u);
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(c_.subs[i].channel, "c" + std::to_string(i));
    ASSERT_EQ(c_.subs[i].epoch, "e" + std::to_string(i));
    ASSERT_EQ(c_.subs[i].data, "[" + std::to_string(i) + "]");
  }
}

// ---- raw JSON

// What is passed on as raw JSON, of each request that has some.
const char* const kRawFields[] = {
    "{\"id\":1,\"connect\":{\"data\":@}}",
    "{\"id\":1,\"publish\":{\"data\":@,\"channel\":\"c\"}}",
    "{\"id\":1,\"publish\":{\"channel\":\"c\", \"data\" : @ }}",
    "{\"send\":{\"data\":@}}",
    "{\"id\":1,\"rpc\":{\"data\":@}}",
    "{\"id\":1,\"subscribe\":{\"data\":@}}",
};

string with(string line, const string& value) {
  return line.replace(line.find('@'), 1, value);
}

TEST_F(command_test, raw_json_is_the_text_that_was_sent) {
  for (const char* field : kRawFields) {
    for (const char* value : {"1", "-0.5e-7", "true", "false", "\"\"", "\"a\\nb\\u0041\\/\"", "{}",
                              "[]", "{ \"b\" : 1,\t\"a\":[ ] ,\"b\":2}", "18446744073709551615",
                              "0.10", "\"\xE2\x80\xA8\"", "\"\\ud83d\\ude00\"", "[[],{}]"}) {
      good(with(field, value));
      const string_view raw = c_.kind == kind::subscribe ? c_.sub.data : c_.data;
      EXPECT_EQ(raw, value) << field;
    }
  }
}

TEST_F(command_test, newlines_between_tokens_are_taken_out) {
  for (const char* field : kRawFields) {
    good(with(field, "\r\n[\n1\r,\n\n{\"a\"\n:\r\n\"x\\n\" }\n]\n"));
    EXPECT_EQ(c_.kind == kind::subscribe ? c_.sub.data : c_.data, "[1,{\"a\":\"x\\n\" }]") << field;
    good(with(field, "\n\"x\"\r"));
    EXPECT_EQ(c_.kind == kind::subscribe ? c_.sub.data : c_.data, "\"x\"") << field;
  }
}

// Values that break a receiver's batch or JSON when they are passed on.
const char* const kBadValues[] = {"",
                                  "{",
                                  "]",
                                  "{]",
                                  "[1,]",
                                  "[1 2]",
                                  "{\"a\"}",
                                  "{\"a\":}",
                                  "{\"a\":1,}",
                                  "{a:1}",
                                  "{1:1}",
                                  "nul",
                                  "nulll",
                                  "True",
                                  "truefalse",
                                  "1 2",
                                  "1\n2",
                                  "tr\nue",
                                  "01",
                                  "-",
                                  "-a",
                                  "1.",
                                  ".1",
                                  "1e",
                                  "1e+",
                                  "0x10",
                                  "Infinity",
                                  "\"",
                                  "\"a\nb\"",
                                  "\"a\rb\"",
                                  "\"a\tb\"",
                                  "\"\x1F\"",
                                  "\"\\a\"",
                                  "\"\\u00\"",
                                  "\"\\uD800\"",
                                  "\"\\uDC00\\uD800\"",
                                  "\"\x80\"",
                                  "\"\xC3\"",
                                  "\"\xE0\x80\x80\"",
                                  "\"\xF8\x88\x80\x80\x80\"",
                                  "[\xEF\xBB\xBF]",
                                  "\xEF\xBB\xBF[]",
                                  "[\"a\" \"b\"]",
                                  "[1}",
                                  "{\"a\":1]",
                                  "[]]",
                                  "[][]",
                                  "{}}",
                                  "\f1",
                                  "\v1",
                                  "\xC2\xA0"
                                  "1",
                                  "/* */1",
                                  "'a'",
                                  "1e400",
                                  "-1e400",
                                  "18446744073709551616",
                                  "-9223372036854775809",
                                  "123456789012345678901234567890"};

TEST_F(command_test, bad_raw_json_is_refused_everywhere) {
  for (const char* value : kBadValues) {
    for (const char* field : kRawFields)
      EXPECT_EQ(parse(with(field, value)), err::malformed) << with(field, value);
    EXPECT_EQ(parse(with("{\"id\":1,\"ping\":{},\"unknown\":@}", value)), err::malformed)
        << value << " also where nobody looks";
    EXPECT_EQ(check(value), err::malformed) << value;
    EXPECT_EQ(rpc(with("{\"data\":@}", value)), err::malformed) << value;
  }
}

TEST_F(command_test, depth_at_its_maximum_and_one_more) {
  constexpr uint32_t kMax = core::kJsonDepthMax;
  for (int again = 0; again < 2; ++again) {
    EXPECT_EQ(check(nested(kMax)), err::ok);
    EXPECT_EQ(check(nested(kMax + 1)), err::too_big);
    EXPECT_EQ(check(nested(kMax + 1, "")), err::ok) << "an empty one is a leaf";
    EXPECT_EQ(check(nested(kMax + 2, "")), err::too_big);
    EXPECT_EQ(check(nested(100'000)), err::too_big);
    EXPECT_EQ(check(string(100'000, '[')), err::malformed) << "never closed";
    EXPECT_EQ(check(string(100'000, '{')), err::malformed);
    // A command counts as a whole: its data stands two deep.
    for (const char* field : kRawFields) {
      EXPECT_EQ(parse(with(field, nested(kMax - 2))), err::ok) << field;
      EXPECT_EQ(parse(with(field, nested(kMax - 1))), err::malformed) << field;
    }
    EXPECT_EQ(parse("{\"x\":" + nested(kMax - 1) + "}"), err::ok);
    EXPECT_EQ(parse("{\"x\":" + nested(kMax) + "}"), err::malformed);
    EXPECT_EQ(rpc("{\"data\":" + nested(kMax - 1) + "}"), err::ok);
    EXPECT_EQ(rpc("{\"data\":" + nested(kMax) + "}"), err::malformed);
    // The second round after a text for which the parser had to grow.
    EXPECT_EQ(check("\"" + string(500'000, 'x') + "\""), err::ok);
  }
}

TEST_F(command_test, json_check_appends_one_line) {
  string out = "before:";
  EXPECT_EQ(check(" \n{\"a\" :\r\n[1,\n2]}\n ", &out), err::ok);
  EXPECT_EQ(out, "before:{\"a\" :[1,2]}");
  EXPECT_EQ(checked("\"\\n\""), "\"\\n\"");
  EXPECT_EQ(checked("\t1\t"), "1");
  EXPECT_EQ(checked("null"), "null");
  EXPECT_EQ(check(string_view("\0", 1)), err::malformed);
  EXPECT_EQ(check(string_view("1\0", 2)), err::malformed);
  EXPECT_EQ(check(string_view("\"\0\"", 3)), err::malformed);
}

TEST_F(command_test, json_check_reads_no_byte_too_many) {
  const string text = "{\"key\":[\"\\u00e9\xC3\xA9\",-12.5e+3,true,false,null,{}],\"k\":\"\\\\\"}";
  for (size_t n = 0; n < text.size(); ++n) EXPECT_EQ(check(text.substr(0, n)), err::malformed) << n;
  for (size_t pad = 0; pad < 130; ++pad)
    EXPECT_EQ(checked("[\"" + string(pad, 'x') + "\"]").size(), pad + 4);
}

TEST_F(command_test, a_parser_takes_its_maximum_and_not_one_byte_more) {
  for (const uint32_t max : {100'000u, core::kWsMessageBytesMax, core::kHttpBodyBytesMax}) {
    command_parser_free(p_);
    p_ = command_parser_new(max);
    EXPECT_EQ(check("\"" + string(max - 2, 'x') + "\""), err::ok) << max;
    EXPECT_EQ(check("\"" + string(max - 1, 'x') + "\""), err::too_big) << max;
    EXPECT_EQ(rpc("{\"key\":\"" + string(max - 10, 'x') + "\"}"), err::ok) << max;
    EXPECT_EQ(rpc("{\"key\":\"" + string(max - 9, 'x') + "\"}"), err::malformed) << max;
    EXPECT_EQ(checked("1"), "1") << "the parser goes on";
  }
}

// All texts of a few bytes over JSON's alphabet: what is accepted is what a strict reader accepts,
// and what comes out is one valid line that is accepted again, unchanged.
TEST_F(command_test, json_check_agrees_with_a_strict_reader) {
  const string_view alphabet = "{}[]:,\"\\u1-.e \nn\x01\xC3";
  uint64_t accepted = 0;
  string text;
  const auto each = [&](auto&& self, size_t left) -> void {
    string out;
    const err rc = json_check(p_, text, &out);
    const json_strict strict(text);
    ASSERT_EQ(rc == err::ok, strict.is_valid()) << text;
    if (rc == err::ok) {
      ++accepted;
      const json_strict line(out);
      ASSERT_TRUE(line.is_valid() && !line.has_newline()) << text;
      string twice;
      ASSERT_EQ(json_check(p_, out, &twice), err::ok);
      ASSERT_EQ(twice, out);
    }
    if (left == 0) return;
    for (const char c : alphabet) {
      text.push_back(c);
      self(self, left - 1);
      text.pop_back();
      if (HasFatalFailure()) return;
    }
  };
  each(each, 4);
  EXPECT_GT(accepted, 100u);
}

// ---- rpc

TEST_F(command_test, rpc_fields_of_the_chat_methods) {
  EXPECT_EQ(rpc("{\"channel\":\"\\u0063\",\"key\":\"k\\n\",\"data\":{\n\"a\":1},\"offset\":9,"
                "\"limit\":-5,\"x\":[]}"),
            err::ok);
  EXPECT_EQ(f_.channel, "c");
  EXPECT_EQ(f_.key, "k\n");
  EXPECT_EQ(f_.data, "{\"a\":1}");
  EXPECT_EQ(f_.offset, 9u);
  EXPECT_TRUE(f_.has_offset);
  EXPECT_EQ(f_.limit, -5);
  EXPECT_EQ(rpc("{}"), err::ok);
  EXPECT_TRUE(f_.channel.empty() && f_.key.empty() && f_.data.empty());
  EXPECT_TRUE(!f_.has_offset && f_.offset == 0 && f_.limit == 0) << "nothing is left";
  EXPECT_EQ(rpc("{\"offset\":0}"), err::ok);
  EXPECT_TRUE(f_.has_offset);
  EXPECT_EQ(rpc("{\"offset\":null,\"channel\":null,\"key\":null,\"data\":null}"), err::ok);
  EXPECT_FALSE(f_.has_offset);
  EXPECT_EQ(rpc("{\"offset\":18446744073709551615}"), err::ok);
  EXPECT_EQ(f_.offset, UINT64_MAX);
}

TEST_F(command_test, rpc_errors) {
  for (const char* text : {"",
                           " ",
                           "null",
                           "1",
                           "[]",
                           "\"a\"",
                           "{",
                           "{}x",
                           "{\"channel\":1}",
                           "{\"channel\":[]}",
                           "{\"key\":1}",
                           "{\"key\":{}}",
                           "{\"offset\":-1}",
                           "{\"offset\":\"1\"}",
                           "{\"offset\":1.0}",
                           "{\"offset\":18446744073709551616}",
                           "{\"limit\":\"1\"}",
                           "{\"limit\":true}",
                           "{\"limit\":9223372036854775808}",
                           "{\"limit\":1.5}"})
    EXPECT_EQ(rpc(text), err::malformed) << text;
}

TEST_F(command_test, rpc_of_a_commands_data) {
  const command& c = good(
      "{\"id\":1,\"rpc\":{\"method\":\"send\",\"data\":{\n\"channel\":\"c\",\"data\":[\n\"x\"]}}}");
  ASSERT_EQ(rpc_parse(p_, c.data, &f_), err::ok) << "the text may be the parser's own";
  EXPECT_EQ(f_.channel, "c");
  EXPECT_EQ(f_.data, "[\"x\"]");
}

}  // namespace
}  // namespace proto
