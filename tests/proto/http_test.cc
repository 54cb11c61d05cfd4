// HTTP requests from bytes: every rule of proto/http.h as a table, each input in one piece and at
// every cut, in exact-size blocks.
#include "proto/http.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/limits.h"

namespace {

using core::err;
using std::string;

constexpr uint32_t kBodyMax = 100;

struct outcome {
  err rc = err::again;
  int status = 0;
  string why, rest;  // rest: bytes behind the request
  proto::http_request request;
  string summary() const {
    if (rc == err::again) return "again";
    if (rc != err::ok) return std::to_string(status) + " " + why;
    string out =
        request.method_name + " " + request.path + "?" + request.query + " body=" + request.body;
    for (const proto::http_header& h : request.headers) out += " [" + h.name + "=" + h.value + "]";
    return out + (request.is_keep_alive ? " keep" : " close") +
           (request.is_upgrade ? " upgrade" : "") + " rest=" + rest;
  }
};

outcome parse(const string& input, size_t cut, uint32_t head_max = core::kHttpHeadBytesMax) {
  outcome o;
  proto::http_parser* p = proto::http_parser_new();
  proto::http_parser_reset(p, head_max, kBodyMax);
  EXPECT_TRUE(proto::http_parser_is_empty(p));
  const size_t step = cut == 0 ? 1 : cut;
  for (size_t at = 0; at < input.size() && o.rc == err::again;) {
    const size_t n = cut == 0 ? 1 : at == 0 ? std::min(step, input.size()) : input.size() - at;
    std::unique_ptr<char[]> block(new char[n]);
    memcpy(block.get(), input.data() + at, n);
    uint32_t consumed = 0;
    o.rc = proto::http_feed(p, block.get(), static_cast<uint32_t>(n), &consumed);
    EXPECT_LE(consumed, n);
    EXPECT_FALSE(proto::http_parser_is_empty(p));
    at += consumed;
    if (o.rc == err::ok) o.rest = input.substr(at);
  }
  o.status = proto::http_parser_status(p);
  o.why = proto::http_parser_why(p);
  if (o.rc == err::ok) o.request = *proto::http_parser_request(p);
  proto::http_parser_free(p);
  return o;
}

// The outcome, after checking that no cut changes it.
outcome parsed(const string& input, uint32_t head_max = core::kHttpHeadBytesMax) {
  const outcome whole = parse(input, input.size(), head_max);
  const string expected = whole.summary();
  EXPECT_EQ(parse(input, 0, head_max).summary(), expected) << "in one-byte pieces";
  for (size_t cut = 1; cut < std::min<size_t>(input.size(), 400); ++cut) {
    const string got = parse(input, cut, head_max).summary();
    EXPECT_EQ(got, expected) << "cut at " << cut;
    if (got != expected) break;
  }
  return whole;
}

const string kHost = "Host: a\r\n";
string get(const string& headers) {
  return "GET / HTTP/1.1\r\n" + headers + "\r\n";
}
string post(const string& headers, const string& body) {
  return "POST /x HTTP/1.1\r\n" + kHost + headers + "\r\n" + body;
}

TEST(http, reads_a_request) {
  const outcome o = parsed(
      "GET /a%20b?x=1&y=2 HTTP/1.1\r\nHOST: example.com:80\r\nAccept:\t*/* "
      "\r\nX-Empty:\r\n\r\nnext");
  ASSERT_EQ(o.rc, err::ok);
  EXPECT_EQ(o.request.method, proto::http_method::get);
  EXPECT_EQ(o.request.target, "/a%20b?x=1&y=2");
  EXPECT_EQ(o.request.path, "/a%20b");
  EXPECT_EQ(o.request.query, "x=1&y=2");
  EXPECT_EQ(o.request.header("host"), "example.com:80");
  EXPECT_EQ(o.request.header("accept"), "*/*");
  EXPECT_EQ(o.request.header_count("x-empty"), 1u);
  EXPECT_EQ(o.request.header("x-empty"), "");
  EXPECT_EQ(o.request.header("none"), "");
  EXPECT_TRUE(o.request.is_keep_alive);
  EXPECT_FALSE(o.request.is_upgrade);
  EXPECT_EQ(o.rest, "next");
}

TEST(http, methods) {
  const std::pair<const char*, proto::http_method> table[] = {
      {"GET", proto::http_method::get},
      {"HEAD", proto::http_method::head},
      {"POST", proto::http_method::post},
      {"OPTIONS", proto::http_method::options},
      {"DELETE", proto::http_method::other}};
  for (const auto& [name, method] : table) {
    const outcome o = parsed(string(name) + " / HTTP/1.1\r\n" + kHost + "\r\n");
    ASSERT_EQ(o.rc, err::ok) << name;
    EXPECT_EQ(o.request.method, method) << name;
    EXPECT_EQ(o.request.method_name, name);
  }
}

TEST(http, keep_alive) {
  EXPECT_TRUE(parsed(get(kHost)).request.is_keep_alive);
  EXPECT_FALSE(parsed(get(kHost + "Connection: foo, Close\r\n")).request.is_keep_alive);
  EXPECT_FALSE(parsed("GET / HTTP/1.0\r\n\r\n").request.is_keep_alive);
  EXPECT_TRUE(parsed("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").request.is_keep_alive);
}

TEST(http, bodies) {
  EXPECT_EQ(parsed(post("Content-Length: 5\r\n", "helloX")).request.body, "hello");
  EXPECT_EQ(parsed(post("Content-Length: 5\r\n", "helloX")).rest, "X");
  EXPECT_EQ(parsed(post("Content-Length: 0\r\n", "X")).rest, "X");
  EXPECT_EQ(parsed(post("Content-Length: 5\r\n", "hell")).rc, err::again);
  const outcome o = parsed(post("Transfer-Encoding: Chunked\r\n",
                                "3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\nX"));
  ASSERT_EQ(o.rc, err::ok) << o.why;
  EXPECT_EQ(o.request.body, "abc0123456789");
  EXPECT_EQ(o.rest, "X");
}

TEST(http, body_limit_at_max_and_beyond) {
  EXPECT_EQ(parsed(post("Content-Length: 100\r\n", string(100, 'b'))).rc, err::ok);
  EXPECT_EQ(parsed(post("Content-Length: 101\r\n", "")).status, 413);
  EXPECT_EQ(
      parsed(post("Transfer-Encoding: chunked\r\n", "64\r\n" + string(100, 'b') + "\r\n0\r\n\r\n"))
          .rc,
      err::ok);
  EXPECT_EQ(parsed(post("Transfer-Encoding: chunked\r\n", "65\r\n")).status, 413);
  EXPECT_EQ(
      parsed(post("Transfer-Encoding: chunked\r\n", "64\r\n" + string(100, 'b') + "\r\n1\r\n"))
          .status,
      413);
  EXPECT_EQ(parsed(post("Transfer-Encoding: chunked\r\n", "100000000\r\n")).status, 413);
}

TEST(http, head_limit_at_max_and_beyond) {
  const string head = get(kHost + "A: b\r\n");
  const uint32_t n = static_cast<uint32_t>(head.size());
  EXPECT_EQ(parsed(head, n).rc, err::ok);
  EXPECT_EQ(parsed(head, n - 1).rc, err::too_big);
  EXPECT_EQ(parsed(head, n - 1).status, 431);
  EXPECT_EQ(parsed("GET /" + string(100, 'x') + " HTTP/1.1\r\n", 50).status, 414);
  string headers = kHost;
  for (uint32_t i = 1; i < core::kHttpHeadersMax; ++i) headers += "A: b\r\n";
  EXPECT_EQ(parsed(get(headers)).rc, err::ok);
  EXPECT_EQ(parsed(get(headers + "A: b\r\n")).status, 431);
}

TEST(http, refusals) {
  const std::pair<string, int> table[] = {
      {get(""), 400},                     // no Host
      {get(kHost + "Host: b\r\n"), 400},  // two
      {get("Host: a b\r\n"), 400},
      {get("Host: a/b\r\n"), 400},
      {"GET / HTTP/1.1\n" + kHost + "\r\n", 400},  // bare LF
      {"GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400},  // bare CR
      {"GET / HTTP/1.1\r\rHost: a\r\n\r\n", 400},
      {get(kHost + "A: b\r\n c\r\n"), 400},  // obs-fold
      {get(kHost + "A: b\r\n\tc\r\n"), 400},
      {get(" A: b\r\n" + kHost), 400},
      {get(kHost + "A : b\r\n"), 400},  // space before the colon
      {get(kHost + "A\t: b\r\n"), 400},
      {get(kHost + ": b\r\n"), 400},
      {get(kHost + "A\r\n"), 400},
      {get(kHost + "A(: b\r\n"), 400},
      {get(kHost + string("A: b\0c\r\n", 8)), 400},  // NUL
      {get(kHost + "A: \x01\r\n"), 400},
      {get(kHost + "A: \x7F\r\n"), 400},
      {"GET  / HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"GET / HTTP/1.1 \r\n" + kHost + "\r\n", 400},
      {"GET /a b HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"GET /\x80 HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"GET x HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"GET * HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"GET /\r\n\r\n", 400},  // HTTP/0.9
      {"G(T / HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"\r\n\r\n", 400},
      {string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), 400},  // TLS
      {"GET / HTTX/1.1\r\n" + kHost + "\r\n", 400},
      {"GET / HTTP/1.10\r\n" + kHost + "\r\n", 400},
      {"GET / http/1.1\r\n" + kHost + "\r\n", 400},
      {"GET / HTTP/2.0\r\n" + kHost + "\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"GET / HTTP/0.9\r\n" + kHost + "\r\n", 505},
      {"GET / HTTP/1.2\r\n" + kHost + "\r\n", 505},
      {"BREW / HTTP/1.1\r\n" + kHost + "\r\n", 501},
      {post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", ""), 400},  // request smuggling
      {post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", ""), 400},
      {post("Content-Length: 5\r\nContent-Length: 5\r\n", ""), 400},
      {post("Content-Length: 5, 5\r\n", ""), 400},
      {post("Content-Length: +5\r\n", ""), 400},
      {post("Content-Length: -5\r\n", ""), 400},
      {post("Content-Length: 0x5\r\n", ""), 400},
      {post("Content-Length: 5 5\r\n", ""), 400},
      {post("Content-Length:\r\n", ""), 400},
      {post("Content-Length: 99999999999999999999\r\n", ""), 400},
      {post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""), 400},
      {post("Transfer-Encoding: gzip\r\n", ""), 501},
      {post("Transfer-Encoding: gzip, chunked\r\n", ""), 501},
      {post("Transfer-Encoding: chunked, identity\r\n", ""), 501},
      {post("Transfer-Encoding: xchunked\r\n", ""), 501},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {post("Transfer-Encoding: chunked\r\n", "\r\n"), 400},  // chunks
      {post("Transfer-Encoding: chunked\r\n", "g\r\n"), 400},
      {post("Transfer-Encoding: chunked\r\n", "0x3\r\nabc\r\n"), 400},
      {post("Transfer-Encoding: chunked\r\n", "3 \r\nabc\r\n"), 400},
      {post("Transfer-Encoding: chunked\r\n", "3\nabc\r\n"), 400},
      {post("Transfer-Encoding: chunked\r\n", "3\r\nabcd\r\n"), 400},
      {post("Transfer-Encoding: chunked\r\n", "3\r\nabc\n0\r\n\r\n"), 400},
      {post("Transfer-Encoding: chunked\r\n", "3\r\nabc\rX"), 400},
      {post("Transfer-Encoding: chunked\r\n", "3;a\nb\r\nabc\r\n"), 400},
      {post("Transfer-Encoding: chunked\r\n", "0\r\nA: b\n\r\n"), 400},
      {post("Transfer-Encoding: chunked\r\n", "0\r\n\rX"), 400},
      {post("Transfer-Encoding: chunked\r\n", "1;" + string(1025, 'e') + "\r\n"), 431},
      {"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 400},
      {get(kHost + "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 1\r\n"), 400},
      {get(kHost + "Upgrade: websocket\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n"),
       400},
  };
  for (const auto& [input, status] : table) {
    SCOPED_TRACE(input.substr(0, 120));
    const outcome o = parsed(input);
    EXPECT_EQ(o.status, status) << o.summary();
    EXPECT_EQ(o.rc,
              status == 413 || status == 414 || status == 431 ? err::too_big : err::malformed);
    EXPECT_FALSE(o.why.empty());
    EXPECT_NE(o.why, "malformed request") << "left to llhttp, whose strictness differs by version";
  }
}

TEST(http, one_empty_line_before_a_request_is_forgiven) {
  EXPECT_EQ(parsed("\r\n" + get(kHost)).rc, err::ok);
}

TEST(http, absolute_target) {
  const outcome o = parsed("GET http://b/c?d HTTP/1.1\r\n" + kHost + "\r\n");
  ASSERT_EQ(o.rc, err::ok) << o.why;
  EXPECT_EQ(o.request.path, "/c");
  EXPECT_EQ(o.request.query, "d");
  EXPECT_EQ(parsed("CONNECT b:1 HTTP/1.1\r\n" + kHost + "\r\n").request.method,
            proto::http_method::other);
  EXPECT_EQ(parsed("GET http://b HTTP/1.1\r\n" + kHost + "\r\n").request.path, "/");
}

TEST(http, upgrade_leaves_the_rest) {
  const outcome o =
      parsed(get(kHost + "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n") + "\x81\x80");
  ASSERT_EQ(o.rc, err::ok);
  EXPECT_TRUE(o.request.is_upgrade);
  EXPECT_EQ(o.rest, "\x81\x80");
  EXPECT_FALSE(parsed(get(kHost + "Upgrade: websocket\r\n")).request.is_upgrade);
  EXPECT_FALSE(parsed(get(kHost + "Upgrade: h2c\r\nConnection: upgrade\r\n")).request.is_upgrade);
}

TEST(http, parser_can_be_used_again) {
  proto::http_parser* p = proto::http_parser_new();
  for (int i = 0; i < 3; ++i) {
    proto::http_parser_reset(p, 1000, 10);
    const string input = post("Content-Length: 2\r\n", "hi");
    uint32_t consumed = 0;
    EXPECT_FALSE(proto::http_parser_has_head(p));
    ASSERT_EQ(proto::http_feed(p, input.data(), static_cast<uint32_t>(input.size() - 1), &consumed),
              err::again);
    EXPECT_TRUE(proto::http_parser_has_head(p));
    ASSERT_EQ(proto::http_feed(p, "i", 1, &consumed), err::ok);
    EXPECT_EQ(proto::http_parser_request(p)->body, "hi");
  }
  proto::http_parser_free(p);
}

TEST(http, query_values) {
  string v;
  EXPECT_TRUE(proto::http_query_value("a=1&b=x%20y+z&c", "b", &v));
  EXPECT_EQ(v, "x y z");
  EXPECT_TRUE(proto::http_query_value("a=1&c", "c", &v));
  EXPECT_EQ(v, "");
  EXPECT_TRUE(proto::http_query_value("%61=%4", "a", &v));
  EXPECT_EQ(v, "%4");
  EXPECT_FALSE(proto::http_query_value("a=1", "b", &v));
  EXPECT_FALSE(proto::http_query_value("", "b", &v));
}

TEST(http, replies) {
  string out;
  proto::http_reply(&out, 200, "text/plain", "X-A: b\r\n", "hello", true);
  EXPECT_TRUE(out.starts_with("HTTP/1.1 200 OK\r\nDate: ")) << out;
  EXPECT_TRUE(
      out.ends_with("GMT\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nConnection: "
                    "keep-alive\r\nX-A: b\r\n\r\nhello"))
      << out;
  out.clear();
  proto::http_reply(&out, 200, "text/plain", "", "hello", false, true);
  EXPECT_TRUE(out.ends_with("Content-Length: 5\r\nConnection: close\r\n\r\n")) << out;
  out.clear();
  proto::http_reply(&out, 304, "", "", "", true);
  EXPECT_EQ(out.find("Content-Length"), string::npos);
}

// Once the head is known, a body may be bounded lower: at the bound and beyond, declared or in
// chunks.
TEST(http, a_body_may_be_limited_behind_the_head) {
  const auto feed = [](const string& input, uint32_t body_max, const string& more, int* status) {
    proto::http_parser* p = proto::http_parser_new();
    proto::http_parser_reset(p, core::kHttpHeadBytesMax, kBodyMax);
    uint32_t consumed = 0;
    err rc = proto::http_feed(p, input.data(), static_cast<uint32_t>(input.size()), &consumed);
    EXPECT_EQ(rc, err::again);
    EXPECT_TRUE(proto::http_parser_has_head(p));
    rc = proto::http_parser_limit_body(p, body_max);
    if (rc == err::ok)
      rc = proto::http_feed(p, more.data(), static_cast<uint32_t>(more.size()), &consumed);
    *status = proto::http_parser_status(p);
    proto::http_parser_free(p);
    return rc;
  };
  const string head = "POST / HTTP/1.1\r\nHost: a\r\n";
  const string declared = head + "Content-Length: 10\r\n\r\n123";
  const string chunked = head + "Transfer-Encoding: chunked\r\n\r\n4\r\nab";
  int status = 0;
  EXPECT_EQ(feed(declared, 10, "4567890", &status), err::ok);
  EXPECT_EQ(feed(declared, 9, "", &status), err::too_big);
  EXPECT_EQ(feed(declared, 1000, "4567890", &status), err::ok) << "never raises the bound";
  EXPECT_EQ(feed(chunked, 3, "", &status), err::too_big);
  EXPECT_EQ(feed(chunked, 6, "cd\r\n2\r\nef\r\n0\r\n\r\n", &status), err::ok);
  EXPECT_EQ(feed(chunked, 6, "cd\r\n3\r\nefg\r\n0\r\n\r\n", &status), err::too_big);
  EXPECT_EQ(status, 413);
}

}  // namespace
