// The checks of a WebSocket upgrade and the bytes of its answer.
#include "proto/upgrade.h"

#include <openssl/evp.h>

#include <algorithm>

#include "core/assert.h"

namespace proto {

namespace {

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455 section 1.3
constexpr std::string_view kJsonProtocol = "centrifuge-json";
constexpr std::string_view kProtobufProtocol = "centrifuge-protobuf";

std::string lower(std::string_view s) noexcept {
  std::string out(s);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

// 16 bytes in base64: 22 characters, of which the last carries 2 bits, and "==".
bool is_key(std::string_view key) noexcept {
  if (key.size() != 24 || key.substr(22) != "==") return false;
  const bool has_alphabet = std::all_of(key.begin(), key.begin() + 22, [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
  });
  return has_alphabet && std::string_view("AQgw").find(key[21]) != std::string_view::npos;
}

std::string without_default_port(std::string_view scheme, std::string host) noexcept {
  const std::string_view port = scheme == "https" ? ":443" : ":80";
  if (host.ends_with(port)) host.resize(host.size() - port.size());
  return host;
}

// "https://*.example.com" stands for every name below example.com, not for example.com itself.
bool matches(std::string_view rule, std::string_view origin) noexcept {
  if (rule == "*" || rule == origin) return true;
  const size_t star = rule.find("://*.");
  if (star == rule.npos) return false;
  const std::string_view scheme = rule.substr(0, star + 3), tail = rule.substr(star + 4);
  return origin.starts_with(scheme) && origin.ends_with(tail) &&
         origin.size() > scheme.size() + tail.size();
}

bool is_origin_allowed(const http_request& r, const upgrade_rules& rules) noexcept {
  if (r.header_count("origin") == 0) return true;
  if (r.header_count("origin") > 1) return false;
  const std::string origin = lower(r.header("origin"));
  if (!rules.allowed_origins.empty()) {
    return std::any_of(rules.allowed_origins.begin(), rules.allowed_origins.end(),
                       [&](const std::string& rule) { return matches(lower(rule), origin); });
  }
  const size_t colon = origin.find("://");
  if (colon == origin.npos) return false;
  const std::string scheme = origin.substr(0, colon);
  if (scheme != "http" && scheme != "https") return false;
  return without_default_port(scheme, origin.substr(colon + 3)) ==
         without_default_port(scheme, lower(r.header("host")));
}

bool offers(const http_request& r, std::string_view protocol) noexcept {
  for (const http_header& h : r.headers) {
    if (h.name != "sec-websocket-protocol") continue;
    for (std::string_view rest = h.value; !rest.empty();) {
      std::string_view word = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(word.size() + 1, rest.size()));
      while (!word.empty() && (word.front() == ' ' || word.front() == '\t')) word.remove_prefix(1);
      while (!word.empty() && (word.back() == ' ' || word.back() == '\t')) word.remove_suffix(1);
      if (word == protocol) return true;
    }
  }
  return false;
}

bool asks_protobuf(const http_request& r) noexcept {
  std::string value;
  for (const char* name : {"format", "cf_protocol"}) {
    if (http_query_value(r.query, name, &value) && lower(value) == "protobuf") return true;
  }
  return offers(r, kProtobufProtocol) && !offers(r, kJsonProtocol);
}

upgrade_answer refuse(int status, const char* why) noexcept {
  upgrade_answer a;
  a.status = status;
  a.why = why;
  http_reply(&a.bytes, status, "text/plain; charset=utf-8",
             status == 426 ? "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n" : "",
             a.why + "\n", false);
  return a;
}

}  // namespace

std::string upgrade_accept(std::string_view key) noexcept {
  const std::string text = std::string(key).append(kGuid);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int digest_len = 0;
  CORE_ASSERT(EVP_Digest(text.data(), text.size(), digest, &digest_len, EVP_sha1(), nullptr) == 1);
  unsigned char base64[64];
  const int n = EVP_EncodeBlock(base64, digest, static_cast<int>(digest_len));
  return {reinterpret_cast<const char*>(base64), static_cast<size_t>(n)};
}

upgrade_answer upgrade_check(const http_request& r, const upgrade_rules& rules) noexcept {
  if (r.method != http_method::get) return refuse(400, "a WebSocket begins with GET");
  if (!r.is_upgrade) return refuse(426, "this is a WebSocket endpoint");
  if (r.header_count("host") != 1 || r.header("host").empty())
    return refuse(400, "Host is missing");
  if (r.header_count("sec-websocket-version") != 1 || r.header("sec-websocket-version") != "13")
    return refuse(426, "WebSocket version 13 is spoken here");
  if (r.header_count("sec-websocket-key") != 1 || !is_key(r.header("sec-websocket-key")))
    return refuse(400, "malformed Sec-WebSocket-Key");
  if (!is_origin_allowed(r, rules)) return refuse(403, "this origin is not allowed");
  if (asks_protobuf(r)) return refuse(400, "only the JSON protocol is spoken here");
  upgrade_answer a;
  a.bytes =
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
      "Upgrade\r\nSec-WebSocket-Accept: ";
  a.bytes.append(upgrade_accept(r.header("sec-websocket-key"))).append("\r\n");
  if (offers(r, kJsonProtocol))
    a.bytes.append("Sec-WebSocket-Protocol: ").append(kJsonProtocol).append("\r\n");
  a.bytes.append("\r\n");
  return a;
}

}  // namespace proto
