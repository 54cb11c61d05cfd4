// Redis URLs: every form, every option, every refusal, and no password in any text.
#include "broker/redis_url.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace broker {
namespace {

redis_url parsed(const std::string& text) {
  redis_url u;
  std::string why;
  EXPECT_EQ(redis_url_parse(text, &u, &why), core::err::ok) << text << ": " << why;
  return u;
}

std::string refused(const std::string& text) {
  redis_url u;
  u.db = 77;
  std::string why;
  EXPECT_EQ(redis_url_parse(text, &u, &why), core::err::invalid) << text;
  EXPECT_EQ(u.db, 77u) << "unchanged";
  return why;
}

std::string servers(const redis_url& u) {
  std::string out;
  for (const redis_endpoint& e : u.servers) out += redis_endpoint_text(e) + " ";
  return out;
}

TEST(redis_url, one_server) {
  const redis_url u = parsed("redis://localhost");
  EXPECT_EQ(servers(u), "localhost:6379 ");
  EXPECT_EQ(u.topology, redis_topology::servers);
  EXPECT_FALSE(u.is_tls);
  EXPECT_TRUE(u.is_verified);
  EXPECT_EQ(u.db, 0u);
  EXPECT_EQ(u.login.user + u.login.password, "");
  EXPECT_EQ(u.connect_timeout_ms, 2000u);
  EXPECT_EQ(u.command_timeout_ms, 3000u);
}

TEST(redis_url, everything_at_once) {
  const redis_url u = parsed(
      "rediss://al%40ice:p%3Aa%2Fs%25s@redis.example:7000,[::1]:7001,10.0.0.1/"
      "15?connect_timeout=500ms&command_timeout=2s"
      "&ca=/etc/ca%20s.pem&cert=/c.pem&key=/k.pem&sni=other.example&verify=none");
  EXPECT_EQ(servers(u), "redis.example:7000 [::1]:7001 10.0.0.1:6379 ");
  EXPECT_EQ(u.login.user, "al@ice");
  EXPECT_EQ(u.login.password, "p:a/s%s");
  EXPECT_EQ(u.db, 15u);
  EXPECT_EQ(u.connect_timeout_ms, 500u);
  EXPECT_EQ(u.command_timeout_ms, 2000u);
  EXPECT_TRUE(u.is_tls);
  EXPECT_FALSE(u.is_verified);
  EXPECT_EQ(u.ca_file, "/etc/ca s.pem");
  EXPECT_EQ(u.cert_file + u.key_file + u.sni, "/c.pem/k.pemother.example");
}

TEST(redis_url, logins) {
  EXPECT_EQ(parsed("redis://:secret@h").login.password, "secret");
  EXPECT_EQ(parsed("redis://:secret@h").login.user, "");
  EXPECT_EQ(parsed("redis://u@h?password_file=/run/secret").login.password_file, "/run/secret");
  EXPECT_EQ(parsed("redis://h?user=u&password_file=/run/secret").login.user, "u");
  EXPECT_EQ(parsed("redis://u:p:q@h").login.password, "p:q");
}

TEST(redis_url, unix_sockets) {
  const redis_url u = parsed("redis+unix:///run/a.sock,/run/b%2Cc.sock?db=3");
  EXPECT_EQ(servers(u), "unix:/run/a.sock unix:/run/b,c.sock ");
  EXPECT_EQ(u.db, 3u);
  EXPECT_EQ(servers(parsed("unix:///run/a.sock")), "unix:/run/a.sock ");
  EXPECT_EQ(parsed("unix:///" + std::string(106, 'a')).servers[0].path.size(), 107u);
  refused("unix:///" + std::string(107, 'a'));
}

TEST(redis_url, sentinels) {
  const redis_url u = parsed(
      "redis-sentinel://u:pw@s1,s2:5000/my%20master/2?sentinel_user=su&sentinel_password=s%26p");
  EXPECT_EQ(u.topology, redis_topology::sentinel);
  EXPECT_EQ(servers(u), "s1:26379 s2:5000 ");
  EXPECT_EQ(u.master_name, "my master");
  EXPECT_EQ(u.db, 2u);
  EXPECT_EQ(u.sentinel_login.user + " " + u.sentinel_login.password, "su s&p");
  EXPECT_TRUE(parsed("rediss-sentinel://s/m").is_tls);
}

TEST(redis_url, clusters) {
  const redis_url u = parsed("redis-cluster://:pw@a:7000,b:7001");
  EXPECT_EQ(u.topology, redis_topology::cluster);
  EXPECT_EQ(servers(u), "a:7000 b:7001 ");
  EXPECT_TRUE(parsed("rediss-cluster://a").is_tls);
  EXPECT_EQ(parsed("redis-cluster://a/0").db, 0u);
}

TEST(redis_url, refusals_name_what_is_allowed) {
  const std::pair<const char*, const char*> table[] = {
      {"", "the scheme must be"},
      {"redis:/h", "the scheme must be"},
      {"http://h", "the scheme must be"},
      {"redis://", "a host is missing"},
      {"redis://:6379", "a host is missing"},
      {"redis://a,,b", "a host is missing"},
      {"redis://a,", "a host is missing"},
      {"redis://h:0", "from 1 to 65535"},
      {"redis://h:65536", "from 1 to 65535"},
      {"redis://h:", "from 1 to 65535"},
      {"redis://h:6x", "from 1 to 65535"},
      {"redis://::1", "in brackets"},
      {"redis://[::1", "']'"},
      {"redis://[::1]x", "only ':'"},
      {"redis://[h]", "an IPv6 address is allowed"},
      {"redis://h%20h", "letters, digits"},
      {"redis://h h", "blanks"},
      {"redis://h\n", "blanks"},
      {"redis://a,a:6379", "named twice"},
      {"redis://h/x", "the database must be a number"},
      {"redis://h/-1", "the database must be a number"},
      {"redis://h/1/2", "the database must be a number"},
      {"redis-cluster://h/1", "only database 0"},
      {"redis-cluster://h?db=1", "only database 0"},
      {"redis-sentinel://h", "the master's name is missing"},
      {"redis-sentinel://h/", "the master's name is missing"},
      {"unix://run/a.sock", "begins with '/'"},
      {"unix:///", "begins with '/'"},
      {"unix:///a%zz", "escape"},
      {"redis://h?", "an option is name=value"},
      {"redis://h?db", "an option is name=value"},
      {"redis://h?pool=4", "known are connect_timeout"},
      {"redis://h?db=1&", "an option is name=value"},
      {"redis://h?ca=/x", "needs TLS"},
      {"redis://h?verify=none", "needs TLS"},
      {"rediss://h?verify=maybe", "full or none"},
      {"rediss://h?cert=/x", "belong together"},
      {"rediss://h?ca=", "empty or set twice"},
      {"rediss://h?ca=/a&ca=/b", "empty or set twice"},
      {"redis://h?sentinel_user=u", "redis-sentinel"},
      {"redis://h?connect_timeout=99", "100ms to 60s"},
      {"redis://h?connect_timeout=60001", "100ms to 60s"},
      {"redis://h?command_timeout=61s", "100ms to 60s"},
      {"redis://h?command_timeout=5m", "100ms to 60s"},
      {"redis://u@h", "a user without a password"},
      {"redis://u:@h", "is empty"},
      {"redis://u:%00@h", "escape"},
      {"redis://u:%4@h", "escape"},
      {"redis://u:p@h?password_file=/x", "one is allowed"},
      {"redis://h#x", "'#'"},
      {"redis://u:p/w@h", "%2F"},
      {"redis://u:p?w@h", "%2F"},
  };
  for (const auto& [text, part] : table) {
    const std::string why = refused(text);
    EXPECT_NE(why.find(part), why.npos) << text << ": " << why;
  }
}

TEST(redis_url, limits) {
  std::string many = "redis://h0";
  for (uint32_t i = 1; i < kRedisServersMax; ++i) many += ",h" + std::to_string(i);
  EXPECT_EQ(parsed(many).servers.size(), kRedisServersMax);
  EXPECT_NE(refused(many + ",more").find("at most 64"), std::string::npos);
  const std::string longest = "redis://:" + std::string(kRedisUrlBytesMax - 11, 'p') + "@h";
  ASSERT_EQ(longest.size(), kRedisUrlBytesMax);
  parsed(longest);
  refused(longest + "h");
  parsed("redis://h?connect_timeout=100&command_timeout=60000ms");
  parsed("redis://" + std::string(253, 'h'));
  refused("redis://" + std::string(254, 'h'));
}

TEST(redis_url, no_password_in_any_text) {
  const char* table[] = {"redis://u:hunter2@h:0",
                         "redis://u:hunter2@",
                         "redis://u:hunter2@h/x",
                         "redis://:hunter2@h?pool=hunter2",
                         "http://u:hunter2@h",
                         "redis://u:%zzhunter2@h",
                         "redis://u:hunter2/x@h",
                         "redis://hunter2/x@h",
                         "redis://u:hunter2?x@h",
                         "redis://hunter2@h",
                         "redis://u:x@hunter2@h:0",
                         "redis://hunter2,hunter2/@h",
                         "redis-sentinel://h/?sentinel_password=hunter2"};
  for (const char* text : table) {
    EXPECT_EQ(refused(text).find("hunter2"), std::string::npos) << refused(text);
    const std::string shown = redis_url_redacted(text);
    const bool is_option =
        std::string(text).find("pool") != std::string::npos;  // no place for a secret
    EXPECT_TRUE(is_option || shown.find("hunter2") == std::string::npos) << shown;
  }
}

TEST(redis_url, redacted) {
  EXPECT_EQ(redis_url_redacted("rediss://u:pw@h:1/2?ca=/x"), "rediss://u:***@h:1/2?ca=/x");
  EXPECT_EQ(redis_url_redacted("redis://:pw@h"), "redis://:***@h");
  EXPECT_EQ(redis_url_redacted("redis://pw@h"), "redis://***@h");
  EXPECT_EQ(redis_url_redacted("redis://h"), "redis://h");
  EXPECT_EQ(redis_url_redacted("u:pw@h"), "***@h");
  EXPECT_EQ(redis_url_redacted("redis-sentinel://h/m?sentinel_password=a&sentinel_password=b&db=1"),
            "redis-sentinel://h/m?sentinel_password=***&sentinel_password=***&db=1");
}

class password_file {
 public:
  explicit password_file(const std::string& text) {
    char name[] = "/tmp/parley-pw-XXXXXX";
    close(mkstemp(name));
    path = name;
    std::ofstream(path, std::ios::binary) << text;
  }
  ~password_file() { std::remove(path.c_str()); }
  std::string path;
};

TEST(redis_url, password_files) {
  const password_file good("pass word\r\n"), empty("\n"), most(std::string(4096, 'p')),
      more(std::string(4097, 'p'));
  std::string why;
  redis_url u = parsed("redis-sentinel://u@h/m?password_file=" + good.path +
                       "&sentinel_password_file=" + most.path);
  ASSERT_EQ(redis_url_read_files(&u, &why), core::err::ok) << why;
  EXPECT_EQ(u.login.password, "pass word");
  EXPECT_EQ(u.sentinel_login.password, std::string(4096, 'p'));
  for (const password_file* f : {&empty, &more}) {
    u.login.password_file = f->path;
    EXPECT_EQ(redis_url_read_files(&u, &why), core::err::invalid);
    EXPECT_NE(why.find(f->path), why.npos);
  }
  u.login.password_file = "/nowhere/at/all";
  EXPECT_EQ(redis_url_read_files(&u, &why), core::err::io);
  EXPECT_NE(why.find("/nowhere/at/all: No such file"), why.npos) << why;
}

}  // namespace
}  // namespace broker
