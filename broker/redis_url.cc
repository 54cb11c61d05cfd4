// The URL of Redis: scheme, login, servers, path, options; each error names what is allowed.
#include "broker/redis_url.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>

namespace broker {
namespace {

constexpr size_t kPasswordFileBytesMax = 4096;
constexpr uint32_t kTimeoutMsMin = 100;
constexpr uint32_t kTimeoutMsMax = 60'000;
constexpr uint32_t kDbMax = 1'000'000;
constexpr size_t kUnixPathBytesMax = 107;  // sockaddr_un

struct scheme_row {
  std::string_view name;
  redis_topology topology;
  bool is_tls;
  bool is_unix;
};
constexpr scheme_row kSchemes[] = {
    {"redis", redis_topology::servers, false, false},
    {"rediss", redis_topology::servers, true, false},
    {"redis+unix", redis_topology::servers, false, true},
    {"unix", redis_topology::servers, false, true},
    {"redis-sentinel", redis_topology::sentinel, false, false},
    {"rediss-sentinel", redis_topology::sentinel, true, false},
    {"redis-cluster", redis_topology::cluster, false, false},
    {"rediss-cluster", redis_topology::cluster, true, false},
};
constexpr const char* kSchemesText =
    "the scheme must be redis, rediss, redis+unix, redis-sentinel, rediss-sentinel, redis-cluster "
    "or "
    "rediss-cluster, as in redis://127.0.0.1:6379";

// What a parse works on. A function that finds something wrong says so in `why` and returns false.
struct parser {
  redis_url url;
  const scheme_row* scheme = nullptr;
  std::string* why;
  bool fail(std::string text) {
    *why = "Redis URL: " + std::move(text);
    return false;
  }
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool decode(std::string_view in, std::string* out) {
  out->clear();
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] != '%') {
      out->push_back(in[i]);
      continue;
    }
    if (i + 2 >= in.size() || hex_digit(in[i + 1]) < 0 || hex_digit(in[i + 2]) < 0) return false;
    const int byte = hex_digit(in[i + 1]) * 16 + hex_digit(in[i + 2]);
    if (byte == 0) return false;  // no name, path or password of a file may hold it
    out->push_back(static_cast<char>(byte));
    i += 2;
  }
  return true;
}

bool read_number(std::string_view text, uint32_t least, uint32_t most, uint32_t* out) {
  uint32_t v = 0;
  const auto [end, rc] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (rc != std::errc() || end != text.data() + text.size() || v < least || v > most) return false;
  *out = v;
  return true;
}

// Up to the first of `marks`; the rest keeps its mark.
std::string_view cut(std::string_view* text, std::string_view marks) {
  const size_t at = std::min(text->find_first_of(marks), text->size());
  const std::string_view head = text->substr(0, at);
  text->remove_prefix(at);
  return head;
}

bool parse_login(parser* p, std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view user = text.substr(0, colon);
  const std::string_view password =
      colon == text.npos ? std::string_view() : text.substr(colon + 1);
  if (!decode(user, &p->url.login.user) || !decode(password, &p->url.login.password))
    return p->fail("before '@', a '%' must begin an escape such as %40 (and not %00)");
  if (colon != text.npos && password.empty())
    return p->fail(
        "the password before '@' is empty; leave out the ':' and set password_file, or the login");
  return true;
}

bool add_server(parser* p, redis_endpoint&& e) {
  auto& all = p->url.servers;
  if (std::find(all.begin(), all.end(), e) != all.end())
    return p->fail("the server " + redis_endpoint_text(e) + " is named twice");
  if (all.size() == kRedisServersMax)
    return p->fail("at most " + std::to_string(kRedisServersMax) + " servers are allowed");
  all.push_back(std::move(e));
  return true;
}

bool is_host_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
         c == '.' || c == '_';
}

bool parse_host(parser* p, std::string_view text) {
  redis_endpoint e;
  std::string_view port;
  bool has_port = false;
  if (!text.empty() && text[0] == '[') {
    const size_t end = text.find(']');
    if (end == text.npos) return p->fail("the ']' behind an IPv6 address is missing");
    e.host = text.substr(1, end - 1);
    const bool is_v6 =
        e.host.find(':') != e.host.npos && std::all_of(e.host.begin(), e.host.end(), [](char c) {
          return hex_digit(c) >= 0 || c == ':' || c == '.';
        });
    if (!is_v6) return p->fail("between '[' and ']' an IPv6 address is allowed, as in [::1]:6379");
    text.remove_prefix(end + 1);
    has_port = !text.empty();
    if (has_port && text[0] != ':') return p->fail("behind ']' only ':' and a port are allowed");
    port = has_port ? text.substr(1) : text;
  } else {
    const size_t colon = text.find(':');
    has_port = colon != text.npos;
    e.host = text.substr(0, colon);
    port = has_port ? text.substr(colon + 1) : std::string_view();
    if (port.find(':') != port.npos)
      return p->fail("an IPv6 address stands in brackets, as in [::1]:6379");
    if (e.host.empty()) return p->fail("a host is missing, as in redis://127.0.0.1:6379");
    if (e.host.size() > 253 || !std::all_of(e.host.begin(), e.host.end(), is_host_char))
      return p->fail("a host is a name or an address: letters, digits, '-', '.', '_', up to 253");
  }
  uint32_t number = p->url.topology == redis_topology::sentinel ? kSentinelPort : kRedisPort;
  if (has_port && !read_number(port, 1, 65535, &number))
    return p->fail("the port of " + e.host + " must be a number from 1 to 65535");
  e.port = static_cast<uint16_t>(number);
  return add_server(p, std::move(e));
}

bool parse_hosts(parser* p, std::string_view text) {
  const size_t at = text.rfind('@');
  if (at != text.npos) {
    if (!parse_login(p, text.substr(0, at))) return false;
    text.remove_prefix(at + 1);
  }
  for (;;) {
    if (!parse_host(p, cut(&text, ","))) return false;
    if (text.empty()) return true;
    text.remove_prefix(1);
  }
}

bool parse_unix_paths(parser* p, std::string_view text) {
  for (;;) {
    redis_endpoint e;
    const std::string_view path = cut(&text, ",");
    if (!decode(path, &e.path)) return p->fail("in a path, a '%' must begin an escape such as %2C");
    if (e.path.size() < 2 || e.path[0] != '/')
      return p->fail("a socket's path begins with '/', as in redis+unix:///run/redis/redis.sock");
    if (e.path.size() > kUnixPathBytesMax)
      return p->fail("a socket's path has at most " + std::to_string(kUnixPathBytesMax) + " bytes");
    if (!add_server(p, std::move(e))) return false;
    if (text.empty()) return true;
    text.remove_prefix(1);
  }
}

bool parse_db(parser* p, std::string_view text) {
  if (!read_number(text, 0, kDbMax, &p->url.db))
    return p->fail("the database must be a number from 0 on, as in redis://127.0.0.1:6379/1");
  if (p->url.topology == redis_topology::cluster && p->url.db != 0)
    return p->fail("a cluster has only database 0");
  return true;
}

// What follows the servers: "/1", "/NAME" or "/NAME/1" for Sentinel.
bool parse_path(parser* p, std::string_view path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  if (p->url.topology == redis_topology::sentinel) {
    const std::string_view name = cut(&path, "/");
    if (!decode(name, &p->url.master_name) || p->url.master_name.empty())
      return p->fail(
          "the master's name is missing, as in redis-sentinel://127.0.0.1:26379/mymaster");
    if (path.starts_with('/')) path.remove_prefix(1);
  }
  return path.empty() || parse_db(p, path);
}

// "2500" or "2500ms" or "2s".
bool read_ms(std::string_view text, uint32_t* out) {
  uint32_t factor = 1;
  if (text.ends_with("ms")) {
    text.remove_suffix(2);
  } else if (text.ends_with("s")) {
    text.remove_suffix(1);
    factor = 1000;
  }
  uint32_t v = 0;
  if (!read_number(text, 0, kTimeoutMsMax / factor, &v) || v * factor < kTimeoutMsMin) return false;
  *out = v * factor;
  return true;
}

bool set_text(std::string* to, std::string&& value) {
  if (!to->empty()) return false;
  *to = std::move(value);
  return !to->empty();
}

constexpr const char* kOptionsText =
    "connect_timeout, command_timeout, db, user, password_file, sentinel_user, sentinel_password, "
    "sentinel_password_file, ca, cert, key, sni and verify";

bool parse_option(parser* p, std::string_view key, std::string&& value) {
  redis_url& u = p->url;
  struct text_row {
    std::string_view key;
    std::string* to;
    bool is_tls;
    bool is_sentinel;
  };
  const text_row texts[] = {
      {"user", &u.login.user, false, false},
      {"password_file", &u.login.password_file, false, false},
      {"sentinel_user", &u.sentinel_login.user, false, true},
      {"sentinel_password", &u.sentinel_login.password, false, true},
      {"sentinel_password_file", &u.sentinel_login.password_file, false, true},
      {"ca", &u.ca_file, true, false},
      {"cert", &u.cert_file, true, false},
      {"key", &u.key_file, true, false},
      {"sni", &u.sni, true, false},
  };
  const std::string name(key);
  for (const text_row& row : texts) {
    if (row.key != key) continue;
    if (row.is_tls && !u.is_tls)
      return p->fail("the option " + name + " needs TLS: rediss:// in place of redis://");
    if (row.is_sentinel && u.topology != redis_topology::sentinel)
      return p->fail("the option " + name + " needs redis-sentinel://");
    return set_text(row.to, std::move(value)) ||
           p->fail("the option " + name + " is empty or set twice");
  }
  if (key == "connect_timeout" || key == "command_timeout") {
    uint32_t* to = key[2] == 'n' ? &u.connect_timeout_ms : &u.command_timeout_ms;
    return read_ms(value, to) ||
           p->fail(name + " must be from 100ms to 60s, as in " + name + "=2s");
  }
  if (key == "db") return parse_db(p, value);
  if (key == "verify") {
    if (!u.is_tls) return p->fail("the option verify needs TLS: rediss:// in place of redis://");
    u.is_verified = value != "none";
    return value == "full" || value == "none" || p->fail("verify must be full or none");
  }
  return p->fail("unknown option; known are " + std::string(kOptionsText));
}

bool parse_options(parser* p, std::string_view text) {
  while (!text.empty()) {
    text.remove_prefix(1);  // '?' or '&'
    std::string_view pair = cut(&text, "&");
    const std::string_view key = cut(&pair, "=");
    std::string value;
    if (pair.empty())
      return p->fail("an option is name=value; known are " + std::string(kOptionsText));
    if (!decode(pair.substr(1), &value))
      return p->fail("in an option, a '%' must begin an escape such as %26");
    if (!parse_option(p, key, std::move(value))) return false;
  }
  return true;
}

bool check(parser* p) {
  const redis_url& u = p->url;
  for (const redis_login* l : {&u.login, &u.sentinel_login}) {
    if (!l->password.empty() && !l->password_file.empty())
      return p->fail("a password and a password file are given; one is allowed");
    if (!l->user.empty() && l->password.empty() && l->password_file.empty())
      return p->fail("a user without a password: set it (user:password@) or password_file");
  }
  if (u.cert_file.empty() != u.key_file.empty())
    return p->fail("cert and key belong together: both or none");
  return true;
}

bool parse(parser* p, std::string_view text) {
  if (text.size() > kRedisUrlBytesMax)
    return p->fail("longer than " + std::to_string(kRedisUrlBytesMax) + " bytes");
  for (const char c : text)
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7F')
      return p->fail("blanks and control characters are not allowed; escape them as in %20");
  const size_t colon = text.find("://");
  for (const scheme_row& row : kSchemes)
    if (colon != text.npos && row.name == text.substr(0, colon)) p->scheme = &row;
  if (p->scheme == nullptr) return p->fail(kSchemesText);
  p->url.topology = p->scheme->topology;
  p->url.is_tls = p->scheme->is_tls;
  text.remove_prefix(colon + 3);
  if (text.find('#') != text.npos) return p->fail("'#' is not allowed; escape it as %23");
  if (p->scheme->is_unix) {
    if (!parse_unix_paths(p, cut(&text, "?"))) return false;
  } else {
    const std::string_view hosts = cut(&text, "/?");
    if (text.find('@') != text.npos)  // or a piece of the password would be taken for a host
      return p->fail(
          "an '@' behind the servers: in a password '/' is written %2F, '?' %3F, '@' %40");
    if (!parse_hosts(p, hosts) || !parse_path(p, cut(&text, "?"))) return false;
  }
  return parse_options(p, text) && check(p);
}

core::err read_file(std::string* password, const std::string& file, std::string* why) {
  if (file.empty()) return core::err::ok;
  std::ifstream in(file, std::ios::binary);
  std::string text(kPasswordFileBytesMax + 1, '\0');
  if (!in.is_open()) {
    *why = "password file " + file + ": " + strerror(errno);
    return core::err::io;
  }
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  const size_t bytes = text.size();
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty() || bytes > kPasswordFileBytesMax) {
    *why = "password file " + file + ": must hold the password alone, 1 to 4096 bytes";
    return core::err::invalid;
  }
  *password = std::move(text);
  return core::err::ok;
}

}  // namespace

std::string redis_endpoint_text(const redis_endpoint& e) {
  if (!e.path.empty()) return "unix:" + e.path;
  const bool is_v6 = e.host.find(':') != e.host.npos;
  return (is_v6 ? "[" + e.host + "]" : e.host) + ":" + std::to_string(e.port);
}

core::err redis_url_parse(std::string_view text, redis_url* out, std::string* why) {
  parser p;
  p.why = why;
  if (!parse(&p, text)) return core::err::invalid;
  *out = std::move(p.url);
  return core::err::ok;
}

core::err redis_url_read_files(redis_url* url, std::string* why) {
  for (redis_login* l : {&url->login, &url->sentinel_login}) {
    const core::err rc = read_file(&l->password, l->password_file, why);
    if (rc != core::err::ok) return rc;
  }
  return core::err::ok;
}

std::string redis_url_redacted(std::string_view text) {
  const size_t scheme = text.find("://");
  std::string out(text.substr(0, scheme == text.npos ? 0 : scheme + 3));
  std::string_view rest = text.substr(out.size());
  // The last '@' of all: whatever stands before it may belong to a password with unescaped marks.
  if (const size_t at = rest.rfind('@'); at != rest.npos) {
    const std::string_view login = rest.substr(0, at);
    const size_t colon = login.find(':');
    const bool is_user_known = colon != login.npos && scheme != text.npos;
    out += is_user_known ? std::string(login.substr(0, colon)) + ":***" : "***";
    rest.remove_prefix(at);
  }
  const std::string key = "sentinel_password=";
  for (size_t at = rest.find(key); at != rest.npos; at = rest.find(key)) {
    out += rest.substr(0, at + key.size());
    out += "***";
    rest.remove_prefix(at + key.size());
    rest.remove_prefix(std::min(rest.find('&'), rest.size()));
  }
  out += rest;
  return out;
}

}  // namespace broker
