// Where Redis is and how to log in there, as one URL:
//
//   redis://[user[:password]@]host[:port][,host[:port]…][/db][?options]   several: channels are
//   hashed over them redis+unix:///path[,/path…][?db=1&options]
//   redis-sentinel://[user:password@]host[:port],…/NAME[/db][?options]    ports default to 26379
//   redis-cluster://[user:password@]host[:port],…[?options]               seeds of one cluster
//
// `rediss` in place of `redis` means TLS. User, password, names and paths are percent-decoded.
// Pure, but for redis_url_read_files().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"

namespace broker {

inline constexpr uint32_t kRedisServersMax = 64;  // in one URL
inline constexpr uint32_t kRedisUrlBytesMax = 16 * 1024;
inline constexpr uint16_t kRedisPort = 6379;
inline constexpr uint16_t kSentinelPort = 26379;

// One server: a unix socket when path is set, else host (name or numeric, without brackets) and
// port.
struct redis_endpoint {
  std::string host;
  uint16_t port = 0;
  std::string path;
  bool operator==(const redis_endpoint&) const = default;
};

// "127.0.0.1:6379", "[::1]:6379", "unix:/run/redis.sock": what logs and errors show.
std::string redis_endpoint_text(const redis_endpoint& e);

enum class redis_topology : uint8_t { servers, sentinel, cluster };

struct redis_login {
  std::string user;  // empty: the default user
  std::string password;
  std::string password_file;  // read by redis_url_read_files() into password
};

struct redis_url {
  redis_topology topology = redis_topology::servers;
  std::vector<redis_endpoint> servers;  // or sentinels, or seeds; at least one, no two alike
  redis_login login;
  uint32_t db = 0;
  std::string master_name;  // sentinel
  redis_login sentinel_login;
  uint32_t connect_timeout_ms = 2000;  // first packet to ready, name resolution included
  uint32_t command_timeout_ms = 3000;  // command accepted to reply
  bool is_tls = false;
  bool is_verified = true;  // verify=none switches the check of the server's certificate off
  std::string ca_file;      // PEM; empty: the system's
  std::string cert_file;    // PEM; client certificate and key, both or none
  std::string key_file;
  std::string sni;  // name to ask for and to verify; empty: the host
};

// invalid: *why says what is wrong and what is allowed; it never contains the password (nor any
// part of what stands before '@'). *out is changed on ok only.
core::err redis_url_parse(std::string_view text, redis_url* out, std::string* why);

// Reads password_file and sentinel_login.password_file, without the line end. Blocks; at start. io
// or invalid (empty, more than 4 KiB): *why names the file.
core::err redis_url_read_files(redis_url* url, std::string* why);

// The URL again, for logs: every password is "***". Also for text that does not parse.
std::string redis_url_redacted(std::string_view text);

}  // namespace broker
