// Which upgrades are accepted, and with what answer.
#include "proto/upgrade.h"

#include <gtest/gtest.h>

#include <string>

namespace {

using std::string;

struct handshake {
  proto::http_request r;
  proto::upgrade_rules rules;
  handshake() {
    r.method = proto::http_method::get;
    r.method_name = "GET";
    r.path = "/connection/websocket";
    r.is_upgrade = true;
    r.headers = {{"host", "chat.example.com"},
                 {"upgrade", "websocket"},
                 {"connection", "Upgrade"},
                 {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="},
                 {"sec-websocket-version", "13"}};
  }
  handshake& set(const string& name, const string& value) {
    for (auto& h : r.headers) {
      if (h.name == name) {
        h.value = value;
        return *this;
      }
    }
    return add(name, value);
  }
  handshake& add(const string& name, const string& value) {
    r.headers.push_back({name, value});
    return *this;
  }
  handshake& drop(const string& name) {
    std::erase_if(r.headers, [&](const proto::http_header& h) { return h.name == name; });
    return *this;
  }
  handshake& query(const string& q) {
    r.query = q;
    return *this;
  }
  handshake& allow(const string& origin) {
    rules.allowed_origins.push_back(origin);
    return *this;
  }
  proto::upgrade_answer answer() { return proto::upgrade_check(r, rules); }
  int status() { return answer().status; }
};

TEST(upgrade, example_of_the_rfc) {
  EXPECT_EQ(proto::upgrade_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_EQ(handshake().answer().bytes,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
            "Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
}

TEST(upgrade, refusals) {
  handshake post;
  post.r.method = proto::http_method::post;
  EXPECT_EQ(post.status(), 400);
  handshake plain;
  plain.r.is_upgrade = false;
  EXPECT_EQ(plain.status(), 426);
  EXPECT_EQ(handshake().drop("host").status(), 400);
  EXPECT_EQ(handshake().drop("sec-websocket-version").status(), 426);
  EXPECT_EQ(handshake().set("sec-websocket-version", "8").status(), 426);
  EXPECT_EQ(handshake().add("sec-websocket-version", "13").status(), 426);
  EXPECT_NE(handshake()
                .set("sec-websocket-version", "8")
                .answer()
                .bytes.find("Sec-WebSocket-Version: 13\r\n"),
            string::npos);
  EXPECT_TRUE(plain.answer().bytes.starts_with("HTTP/1.1 426 "));
  EXPECT_FALSE(plain.answer().why.empty());
}

TEST(upgrade, key) {
  EXPECT_EQ(handshake().drop("sec-websocket-key").status(), 400);
  EXPECT_EQ(handshake().add("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").status(), 400);
  for (const char* key :
       {"", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZR==",
        "dGhlIHNhbXBsZSBub25jZQ=A", "dGhl!HNhbXBsZSBub25jZQ=="}) {
    EXPECT_EQ(handshake().set("sec-websocket-key", key).status(), 400) << key;
  }
}

TEST(upgrade, origin_is_the_host_by_default) {
  EXPECT_EQ(handshake().status(), 101) << "no Origin: not a browser";
  EXPECT_EQ(handshake().set("origin", "https://chat.example.com").status(), 101);
  EXPECT_EQ(handshake().set("origin", "http://Chat.Example.Com").status(), 101);
  EXPECT_EQ(handshake().set("origin", "https://chat.example.com:443").status(), 101);
  EXPECT_EQ(
      handshake().set("origin", "http://localhost:8000").set("host", "localhost:8000").status(),
      101);
  EXPECT_EQ(
      handshake().set("origin", "http://localhost:8001").set("host", "localhost:8000").status(),
      403);
  EXPECT_EQ(handshake().set("origin", "https://chat.example.com.evil.com").status(), 403);
  EXPECT_EQ(handshake().set("origin", "https://evil.com").status(), 403);
  EXPECT_EQ(handshake().set("origin", "null").status(), 403);
  EXPECT_EQ(handshake().set("origin", "file://chat.example.com").status(), 403);
  EXPECT_EQ(handshake()
                .set("origin", "https://chat.example.com")
                .add("origin", "https://evil.com")
                .status(),
            403);
}

TEST(upgrade, allow_list) {
  EXPECT_EQ(handshake().set("origin", "https://a.com").allow("https://a.com").status(), 101);
  EXPECT_EQ(handshake().set("origin", "http://a.com").allow("https://a.com").status(), 403);
  EXPECT_EQ(handshake().set("origin", "https://chat.example.com").allow("https://a.com").status(),
            403)
      << "the list replaces the default";
  EXPECT_EQ(handshake().set("origin", "https://x.a.com").allow("https://*.a.com").status(), 101);
  EXPECT_EQ(handshake().set("origin", "https://a.com").allow("https://*.a.com").status(), 403);
  EXPECT_EQ(handshake().set("origin", "https://.a.com").allow("https://*.a.com").status(), 403);
  EXPECT_EQ(handshake().set("origin", "https://evila.com").allow("https://*.a.com").status(), 403);
  EXPECT_EQ(handshake().set("origin", "null").allow("*").status(), 101);
}

TEST(upgrade, protocols) {
  EXPECT_NE(handshake()
                .set("sec-websocket-protocol", "centrifuge-json")
                .answer()
                .bytes.find("Sec-WebSocket-Protocol: centrifuge-json\r\n"),
            string::npos);
  EXPECT_EQ(handshake()
                .set("sec-websocket-protocol", "other")
                .answer()
                .bytes.find("Sec-WebSocket-Protocol"),
            string::npos);
  EXPECT_EQ(handshake().set("sec-websocket-protocol", "centrifuge-protobuf").status(), 400);
  EXPECT_EQ(
      handshake().set("sec-websocket-protocol", "centrifuge-protobuf, centrifuge-json").status(),
      101);
  EXPECT_EQ(handshake().query("format=protobuf").status(), 400);
  EXPECT_EQ(handshake().query("cf_protocol=protobuf").status(), 400);
  EXPECT_EQ(handshake().query("format=json").status(), 101);
}

}  // namespace
