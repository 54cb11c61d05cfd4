// Commands over one connection: order, one write an iteration, bounds, logins, and servers that are
// not what they should be.
#include "broker/redis_conn.h"

#include <gtest/gtest.h>

#include <atomic>

#include "broker/redis_dial.h"
#include "broker/redis_slots.h"
#include "redis_server.h"
#include "redis_text.h"
#include "redis_user.h"

namespace broker {
namespace {

class redis_conn_test : public testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_REDIS(); }
  core::loop_world w{1};
};

struct order {
  std::vector<std::string> replies;
  std::atomic<int> count{0};
};

void keep(void* user, core::err rc, const redis_reply* r) noexcept {
  auto* o = static_cast<order*>(user);
  o->replies.push_back(rc == core::err::ok ? redis_text(*r)
                                           : std::string("!") + core::err_name(rc));
  o->count.fetch_add(1);
}

core::err command(redis_conn* c, std::initializer_list<std::string_view> argv, order* o) {
  return redis_conn_command(c, redis_argv(argv.begin(), argv.size()), keep, o);
}

TEST_F(redis_conn_test, knows_its_server) {
  redis_server s({"maxmemory 50mb", "maxmemory-policy noeviction", "appendonly yes"});
  redis_conn_options o;
  o.name = "parley-test";
  redis_user u(&w, s.url(), o);
  ASSERT_TRUE(u.wait_ready());
  const redis_server_info i = u.seen().info;
  EXPECT_EQ(i.run_id.size(), 40u);
  EXPECT_EQ(i.repl_id.size(), 40u);
  EXPECT_EQ(i.mode, "standalone");
  EXPECT_TRUE(i.is_master);
  EXPECT_EQ(i.maxmemory, 50u * 1024 * 1024);
  EXPECT_EQ(i.maxmemory_policy, "noeviction");
  EXPECT_TRUE(i.has_aof);
  EXPECT_NE(i.version, "");
  EXPECT_EQ(u.call({"CLIENT", "GETNAME"}), "\"parley-test\"");
}

TEST_F(redis_conn_test, replies_come_in_order_and_a_batch_is_one_write) {
  redis_server s;
  redis_user u(&w, s.url());
  ASSERT_TRUE(u.wait_ready());
  order o;
  uint64_t writes = 0;
  u.on_loop([&](redis_conn* c) {
    writes = core::loop_counters(core::loop_current())->writes.get();
    for (int i = 0; i < 500; ++i) {
      const std::string n = std::to_string(i);
      ASSERT_EQ(command(c,
                        i % 10 == 9 ? std::initializer_list<std::string_view>{"NOSUCH"}
                                    : std::initializer_list<std::string_view>{"ECHO", n},
                        &o),
                core::err::ok);
    }
    EXPECT_EQ(redis_conn_pending(c), 500u);
  });
  w.until(0, [&](core::loop*) { return o.count == 500; });
  u.on_loop([&](redis_conn* c) {
    EXPECT_EQ(core::loop_counters(core::loop_current())->writes.get(), writes + 1);
    EXPECT_EQ(redis_conn_counted(c).commands, 500u);
    EXPECT_EQ(redis_conn_counted(c).errors, 50u);
    EXPECT_EQ(redis_conn_pending(c), 0u);
  });
  for (int i = 0; i < 500; ++i) {
    if (i % 10 == 9) {
      EXPECT_EQ(o.replies[static_cast<size_t>(i)].substr(0, 20), "-ERR unknown command");
    } else {
      EXPECT_EQ(o.replies[static_cast<size_t>(i)], "\"" + std::to_string(i) + "\"");
    }
  }
}

TEST_F(redis_conn_test, tcp_large_values_and_databases) {
  redis_server s;
  redis_user u(&w, "redis://127.0.0.1:" + std::to_string(s.port()) + "/3");
  ASSERT_TRUE(u.wait_ready());
  const std::string large(3'000'000, 'v');
  EXPECT_EQ(u.call({"SET", "k", large}), "+OK");
  EXPECT_EQ(u.call({"GET", "k"}), "\"" + large + "\"");
  EXPECT_EQ(s.call({"EXISTS", "k"}), "0") << "database 0 has it not";
  EXPECT_EQ(u.call({"EVAL", "return {1,{'a',false},redis.error_reply('ERR x')}", "0"}),
            "[1 [\"a\" nil] -ERR x]");
}

TEST_F(redis_conn_test, slots_are_those_of_the_server) {
  redis_server s({"cluster-enabled yes"});
  redis_user u(&w, s.url());
  ASSERT_TRUE(u.wait_ready());
  for (const char* key : {"foo", "{user1000}.following", "foo{}{bar}", "foo{{bar}}zap",
                          "foo{bar}{zap}", "", "{}", "x{"})
    EXPECT_EQ(u.call({"CLUSTER", "KEYSLOT", key}), std::to_string(redis_slot(key))) << key;
  for (const std::string& tag : redis_partition_tags(16))
    EXPECT_EQ(u.call({"CLUSTER", "KEYSLOT", "s:{" + tag + "}:x"}), std::to_string(redis_slot(tag)));
}

TEST_F(redis_conn_test, bounds) {
  redis_server s;
  redis_conn_options o;
  o.pending_max = 10;
  o.pending_bytes_max = 300'000;
  redis_user u(&w, s.url(), o);
  ASSERT_TRUE(u.wait_ready());
  order got;
  const std::string large(299'960, 'x');
  u.on_loop([&](redis_conn* c) {
    EXPECT_EQ(command(c, {}, &got), core::err::invalid);
    for (int i = 0; i < 10; ++i) EXPECT_EQ(command(c, {"PING"}, &got), core::err::ok);
    EXPECT_EQ(command(c, {"PING"}, &got), core::err::full);
    EXPECT_EQ(redis_conn_subscribe(c, redis_sub::channel, {}), 0u);
  });
  w.until(0, [&](core::loop*) { return got.count == 10; });
  u.on_loop([&](redis_conn* c) {
    EXPECT_EQ(command(c, {"ECHO", large + std::string(100, 'x')}, &got), core::err::too_big);
    EXPECT_EQ(command(c, {"ECHO", large}, &got), core::err::ok);
    EXPECT_EQ(command(c, {"PING", "0123456789"}, &got), core::err::full);
    EXPECT_EQ(redis_conn_counted(c).full, 2u);
  });
  w.until(0, [&](core::loop*) { return got.count == 11; });
  EXPECT_EQ(got.replies.back().size(), large.size() + 2);
}

TEST_F(redis_conn_test, close_answers_and_then_is_silent) {
  redis_server s;
  redis_user u(&w, s.url());
  ASSERT_TRUE(u.wait_ready());
  order got;
  u.on_loop([&](redis_conn* c) {
    for (int i = 0; i < 3; ++i) ASSERT_EQ(command(c, {"PING"}, &got), core::err::ok);
  });
  w.until(0, [&](core::loop*) { return got.count == 3; });
  u.on_loop([&](redis_conn* c) {
    for (int i = 0; i < 3; ++i) ASSERT_EQ(command(c, {"PING"}, &got), core::err::ok);
    redis_conn_close(c);
    EXPECT_EQ(got.count, 6);
  });
  u.forget();
  EXPECT_EQ(got.replies.back(), "!closed");
  EXPECT_EQ(u.seen().downs, 0);
}

// Closing inside every event, at every state.
TEST_F(redis_conn_test, close_inside_events) {
  redis_server s;
  for (const char* where : {"ready", "down", "message", "subscribed"}) {
    redis_conn_options o;
    o.role = redis_role::subscriber;
    redis_user u(&w, s.url(), o);
    std::atomic<bool> is_closed{false};
    u.hook = [&](redis_conn* c, const char* event) {
      if (is_closed || strcmp(event, where) != 0) return;
      is_closed = true;
      redis_conn_close(c);
      EXPECT_EQ(redis_conn_state(c), redis_state::closed);
      EXPECT_EQ(redis_conn_subscribe(c, redis_sub::channel, {}), 0u);
    };
    if (strcmp(where, "ready") != 0) {
      u.wait_ready();
      u.subscribe(redis_sub::channel, {"a", "b"});
      if (strcmp(where, "subscribed") != 0)
        u.wait("both", [](const redis_seen& r) { return r.subscribed == 2; });
      if (strcmp(where, "message") == 0) s.call({"PUBLISH", "a", "1"});
      if (strcmp(where, "down") == 0) s.call({"CLIENT", "KILL", "TYPE", "pubsub"});
    }
    w.until(0, [&](core::loop*) { return is_closed.load(); });
    u.forget();
  }
}

// ---- Logins -------------------------------------------------------------------------------------

const char* const kSecret = "open-sesame-4711";

TEST_F(redis_conn_test, acl_user) {
  redis_server s({std::string("user alice on >") + kSecret + " ~* &* +@all", "user default off"});
  redis_user right(&w, "redis+unix://" + s.socket_path() + "?user=alice&password_file=/x");
  EXPECT_EQ(right.wait_down(), "the server wants a password; the URL has none")
      << "the file was not read";
  redis_user u(&w,
               "redis://alice:" + std::string(kSecret) + "@127.0.0.1:" + std::to_string(s.port()));
  ASSERT_TRUE(u.wait_ready());
  EXPECT_EQ(u.call({"ACL", "WHOAMI"}), "\"alice\"");
}

TEST_F(redis_conn_test, wrong_logins_say_what_is_wrong_and_no_secret) {
  redis_server locked({std::string("requirepass ") + kSecret});
  redis_server open;
  redis_server narrow({std::string("user bob on >") + kSecret + " +auth"});
  const std::string port = "127.0.0.1:" + std::to_string(locked.port());
  const std::pair<std::string, const char*> table[] = {
      {"redis://:wrong-" + std::string(kSecret) + "@" + port,
       "the user name or the password is wrong"},
      {"redis://nobody:" + std::string(kSecret) + "@" + port,
       "the user name or the password is wrong"},
      {"redis://" + port, "the server wants a password; the URL has none"},
      {"redis://:" + std::string(kSecret) + "@127.0.0.1:" + std::to_string(open.port()),
       "the server has no password for the default user; the URL has one"},
      {"redis://bob:" + std::string(kSecret) + "@127.0.0.1:" + std::to_string(narrow.port()),
       "INFO was refused: NOPERM"},
      {"redis://127.0.0.1:" + std::to_string(open.port()) + "/99",
       "database 99 was refused: ERR DB index"},
  };
  for (const auto& [url, part] : table) {
    redis_conn_options o;
    o.name = "n";
    redis_user u(&w, url, o);
    const std::string why = u.wait_down();
    EXPECT_NE(why.find(part), why.npos) << why;
    EXPECT_EQ(why.find("sesame"), why.npos) << why;
    EXPECT_EQ(u.seen().ready, 0);
  }
}

// ---- Servers that are not what they should be
// ------------------------------------------------------

TEST_F(redis_conn_test, a_replica_is_refused_unless_allowed) {
  redis_server master;
  redis_server replica({"replicaof 127.0.0.1 " + std::to_string(master.port())});
  redis_user u(&w, replica.url());
  EXPECT_EQ(u.wait_down(), "a replica, not writable");
  redis_conn_options o;
  o.is_replica_allowed = true;
  redis_user reads(&w, replica.url(), o);
  ASSERT_TRUE(reads.wait_ready());
  EXPECT_FALSE(reads.seen().info.is_master);
  replica.call({"REPLICAOF", "NO", "ONE"});
  EXPECT_TRUE(u.wait_ready()) << "by itself, after the promotion";
  EXPECT_NE(u.seen().info.repl_id, reads.seen().info.repl_id) << "a promotion shows";
}

TEST_F(redis_conn_test, a_demoted_server_is_left) {
  redis_server other;
  redis_server s;
  redis_user u(&w, s.url());
  ASSERT_TRUE(u.wait_ready());
  s.call({"CLIENT", "NO-EVICT", "on"});
  s.call({"REPLICAOF", "127.0.0.1", std::to_string(other.port())});
  if (u.seen().downs == 0)
    u.call({"SET", "k", "v"});  // the server may have cut the connection itself
  u.wait_down();
  u.wait("the replica's refusal",
         [](const redis_seen& r) { return r.why == "a replica, not writable"; });
  EXPECT_EQ(u.seen().ready, 1);
}

TEST_F(redis_conn_test, a_sentinel_is_no_server) {
  redis_server s({}, true);
  redis_user u(&w, s.url());
  EXPECT_NE(u.wait_down().find("a Sentinel, not a server"), std::string::npos);
  redis_server real;
  redis_conn_options o;
  o.is_sentinel = true;
  redis_user v(&w, real.url(), o);
  EXPECT_EQ(v.wait_down(), "a server, not a Sentinel");
}

TEST_F(redis_conn_test, unreachable) {
  redis_user refused(&w, "redis://127.0.0.1:" + std::to_string(free_port()));
  EXPECT_EQ(refused.wait_down(), "Connection refused");
  redis_user missing(&w, "unix:///nowhere/at/all");
  EXPECT_EQ(missing.wait_down(), "No such file or directory");
  redis_user name(&w, "redis://redis.invalid");
  EXPECT_EQ(name.wait_down(), "not a numeric address, and no resolver");
  EXPECT_EQ(name.call({"PING"}), "!unavailable");
  redis_user tls(&w, "rediss://127.0.0.1");
  EXPECT_EQ(tls.wait_down(), "TLS is asked for and not set up");
}

TEST_F(redis_conn_test, names_are_resolved_off_the_loop) {
  redis_server s;
  redis_resolver* r = redis_resolver_open();
  redis_conn_options o;
  o.resolver = r;
  {
    redis_user unknown(&w, "redis://no-such-name.invalid", o);
    const std::string why = unknown.wait_down();
    EXPECT_EQ(why.find("the name no-such-name.invalid is not known: "), 0u) << why;
    redis_user u(&w, "redis://localhost:" + std::to_string(s.port()), o);
    EXPECT_TRUE(u.wait_ready());
    redis_user closed(&w, "redis://other-name.invalid", o);  // closed while its name is looked up
  }
  redis_resolver_close(r);
}

// ---- Hostile peers ------------------------------------------------------------------------------

void send_all(int fd, const std::string& bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t n = send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n <= 0) return;
    at += static_cast<size_t>(n);
  }
}

std::string url_of(const redis_endpoint& e) {
  return "redis://:" + std::string(kSecret) + "@" + redis_endpoint_text(e) +
         "?connect_timeout=500ms";
}

const std::string kInfo =
    "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nrun_id:r\r\nrole:master\r\n";
std::string info_reply(const std::string& text = kInfo) {
  return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
}

TEST_F(redis_conn_test, peers_that_are_not_redis) {
  const std::pair<std::string, const char*> table[] = {
      {"HTTP/1.1 400 Bad Request\r\n\r\n", "not RESP2"},
      {"+OK\r\n+OK\r\n", "INFO's reply is no text"},
      {"+OK\r\n" + info_reply(""), "this is not Redis"},
      {"+OK\r\n" + info_reply() + "+surprise\r\n", "a reply to nothing"},
      {"-ERR unknown command 'AUTH', with args beginning with: '" + std::string(kSecret) + "'\r\n",
       "AUTH was refused"},
      {"-ERR max number of clients reached\r\n", "max number of clients"},
      {"-LOADING Redis is loading the dataset in memory\r\n", "LOADING"},
      {"+OK\r\n" + info_reply(kInfo + "loading:1\r\n"), "is loading its data"},
      {"+OK\r\n-NOPERM \x01 no\r\n", "INFO was refused: NOPERM ? no"},
      {"", "the server closed the connection"},
  };
  for (const auto& [bytes, part] : table) {
    scripted_server s([&](int fd) {
      send_all(fd, bytes);
      shutdown(fd, SHUT_WR);
      char sink[1024];
      while (recv(fd, sink, sizeof sink, 0) > 0) {
      }
    });
    redis_user u(&w, url_of(s.at()));
    const std::string why = u.wait_down();
    EXPECT_NE(why.find(part), why.npos) << why;
    EXPECT_EQ(why.find("sesame"), why.npos) << why;
  }
}

// Valkey's INFO, as its 8.x writes it.
TEST_F(redis_conn_test, valkey_tells_who_it_is) {
  const std::string text =
      "# "
      "Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\nserver_mode:"
      "cluster\r\nrun_id:r\r\n"
      "\r\n# "
      "Replication\r\nrole:master\r\nmaster_replid:a\r\nmaster_replid2:b\r\nmaster_repl_offset:"
      "12\r\nsecond_repl_offset:7\r\n";
  scripted_server s([&](int fd) {
    send_all(fd, "+OK\r\n" + info_reply(text));
    char sink[1024];
    while (recv(fd, sink, sizeof sink, 0) > 0) {
    }
  });
  redis_user u(&w, url_of(s.at()));
  ASSERT_TRUE(u.wait_ready());
  const redis_server_info i = u.seen().info;
  EXPECT_EQ(i.product + " " + i.version + " " + i.mode, "valkey 8.1.0 cluster");
  EXPECT_EQ(i.repl_id + i.repl_id2, "ab");
  EXPECT_EQ(i.repl_offset, 12u);
  EXPECT_EQ(i.repl_offset2, 7u);
}

TEST_F(redis_conn_test, a_peer_that_says_nothing_is_given_up) {
  std::atomic<bool> is_over{false};
  scripted_server s([&](int fd) {
    char sink[1024];
    while (!is_over && recv(fd, sink, sizeof sink, 0) > 0) {
    }
  });
  redis_user u(&w, url_of(s.at()));
  EXPECT_EQ(u.wait_down(), "no answer in time while connecting");
  is_over = true;
}

}  // namespace
}  // namespace broker
