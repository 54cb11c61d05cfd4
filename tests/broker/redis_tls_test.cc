// TLS to Redis with a throw-away authority: verified by default, refused for each thing that can be
// wrong.
#include "broker/redis_tls.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "broker/redis_conn.h"
#include "redis_server.h"
#include "redis_user.h"

namespace broker {
namespace {

// Two authorities; the first signs the server's certificate (redis.test, 127.0.0.1) and a client's.
class authority {
 public:
  authority() {
    char name[] = "/tmp/parley-ca-XXXXXX";
    dir = mkdtemp(name);
    std::ofstream(dir + "/ext") << "subjectAltName=DNS:redis.test,IP:127.0.0.1\n";
    const std::string key =
        "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 ";
    is_made = run(key + "-subj /CN=ca -keyout ca.key -out ca.pem") &&
              run(key + "-subj /CN=other -keyout other.key -out other.pem") &&
              sign("server", " -extfile ext") && sign("client", "");
  }
  ~authority() { std::filesystem::remove_all(dir); }
  std::string file(const char* name) const { return dir + "/" + name; }
  std::string dir;
  bool is_made = false;

 private:
  bool run(const std::string& command) {
    return system(("cd " + dir + " && " + command + " >log 2>&1").c_str()) == 0;
  }
  bool sign(const std::string& name, const std::string& more) {
    return run("openssl req -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=" +
               name + " -keyout " + name + ".key -out " + name + ".csr") &&
           run("openssl x509 -req -days 2 -in " + name +
               ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -out " + name + ".pem" + more);
  }
};

class redis_tls_test : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_REDIS();
    if (!ca.is_made)
      GTEST_SKIP() << "NO OPENSSL: install openssl, the test makes its certificates with it";
    tls_port = free_port();
    server = std::make_unique<redis_server>(std::vector<std::string>{
        "tls-port " + std::to_string(tls_port), "tls-cert-file " + ca.file("server.pem"),
        "tls-key-file " + ca.file("server.key"), "tls-ca-cert-file " + ca.file("ca.pem"),
        std::string("tls-auth-clients ") + "optional"});
  }
  void TearDown() override {
    for (redis_tls* t : made) redis_tls_close(t);
  }
  std::string url(const std::string& query, const std::string& host = "127.0.0.1") const {
    return "rediss://" + host + ":" + std::to_string(tls_port) + "?" + query;
  }
  redis_tls* open(const std::string& text) {
    redis_url u;
    std::string why;
    EXPECT_EQ(redis_url_parse(text, &u, &why), core::err::ok) << why;
    redis_tls* t = nullptr;
    EXPECT_EQ(redis_tls_open(u, &t, &why), core::err::ok) << why;
    made.push_back(t);
    return t;
  }
  // "" when it gets ready, else the reason.
  std::string outcome(const std::string& text) {
    redis_conn_options o;
    o.tls = open(text);
    redis_user u(&w, text, o);
    u.wait("an outcome", [](const redis_seen& s) { return s.ready + s.downs > 0; });
    return u.seen().ready > 0 ? "" : u.seen().why;
  }
  authority ca;
  std::unique_ptr<redis_server> server;
  uint16_t tls_port = 0;
  std::vector<redis_tls*> made;
  core::loop_world w{1};
};

TEST_F(redis_tls_test, commands_and_large_values) {
  const std::string text = url("ca=" + ca.file("ca.pem"));
  redis_conn_options o;
  o.tls = open(text);
  redis_user u(&w, text, o);
  ASSERT_TRUE(u.wait_ready());
  const std::string large(2'000'000, 'v');
  EXPECT_EQ(u.call({"SET", "k", large}), "+OK");
  EXPECT_EQ(u.call({"GET", "k"}), "\"" + large + "\"");
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(u.call({"ECHO", std::to_string(i)}), "\"" + std::to_string(i) + "\"");
  server->call({"CLIENT", "KILL", "TYPE", "normal"});
  u.wait_down();
  EXPECT_TRUE(u.wait_ready(2));
}

TEST_F(redis_tls_test, subscriptions) {
  const std::string text = url("ca=" + ca.file("ca.pem"));
  redis_conn_options o;
  o.tls = open(text);
  o.role = redis_role::subscriber;
  redis_user u(&w, text, o);
  ASSERT_TRUE(u.wait_ready());
  std::vector<std::string> channels;
  for (int i = 0; i < 40'000; ++i) channels.push_back("channel:" + std::to_string(i));
  u.subscribe(redis_sub::channel, channels);
  u.wait("all", [](const redis_seen& s) { return s.subscribed == 40'000; });
  server->call({"PUBLISH", "channel:39999", "x"});
  u.wait("it", [](const redis_seen& s) { return s.message_count == 1; });
}

TEST_F(redis_tls_test, what_is_verified) {
  const std::string right = "ca=" + ca.file("ca.pem");
  EXPECT_EQ(outcome(url(right)), "") << "the address is in the certificate";
  EXPECT_EQ(outcome(url(right + "&sni=redis.test")), "") << "the name is in the certificate";
  EXPECT_EQ(outcome(url(right, "localhost")), "TLS: certificate verify failed: hostname mismatch");
  EXPECT_EQ(outcome(url(right + "&sni=other.test")),
            "TLS: certificate verify failed: hostname mismatch");
  EXPECT_EQ(outcome(url("ca=" + ca.file("other.pem"))).find("TLS: certificate verify failed: "),
            0u);
  EXPECT_EQ(outcome(url("connect_timeout=1s")).find("TLS: certificate verify failed: "), 0u)
      << "the system's roots";
  EXPECT_EQ(outcome(url("verify=none&sni=other.test")), "");
}

TEST_F(redis_tls_test, client_certificates) {
  server->call({"CONFIG", "SET", "tls-auth-clients", "yes"});
  const std::string trusts = "ca=" + ca.file("ca.pem");
  EXPECT_EQ(
      outcome(url(trusts + "&cert=" + ca.file("client.pem") + "&key=" + ca.file("client.key"))),
      "");
  EXPECT_NE(outcome(url(trusts)), "");
}

TEST_F(redis_tls_test, the_wrong_kind_of_port) {
  const std::string trusts = "ca=" + ca.file("ca.pem");
  const std::string plain =
      "rediss://127.0.0.1:" + std::to_string(server->port()) + "?connect_timeout=500ms&" + trusts;
  EXPECT_EQ(outcome(plain), "no answer to TLS in time; is this the TLS port?");
  redis_user u(&w, "redis://127.0.0.1:" + std::to_string(tls_port));
  EXPECT_NE(u.wait_down(), "");
}

TEST_F(redis_tls_test, files_that_are_wrong) {
  const std::pair<std::string, std::string> table[] = {
      {"ca=/nowhere", "ca /nowhere: "},
      {"ca=" + ca.file("ext"), "ca " + ca.file("ext") + ": "},
      {"cert=/nowhere&key=" + ca.file("client.key"), "cert /nowhere: "},
      {"cert=" + ca.file("client.pem") + "&key=/nowhere", "key /nowhere: "},
      {"cert=" + ca.file("client.pem") + "&key=" + ca.file("server.key"),
       "key " + ca.file("server.key") + ": "},
  };
  for (const auto& [query, part] : table) {
    redis_url u;
    std::string why;
    ASSERT_EQ(redis_url_parse("rediss://h?" + query, &u, &why), core::err::ok) << why;
    redis_tls* t = nullptr;
    EXPECT_EQ(redis_tls_open(u, &t, &why), core::err::invalid) << query;
    EXPECT_EQ(why.find("TLS to Redis: " + part), 0u) << why;
    EXPECT_EQ(t, nullptr);
  }
}

}  // namespace
}  // namespace broker
