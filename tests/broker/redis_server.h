// Private Redis servers for tests: on a unix socket and a loopback port of their own, in a
// directory that goes with them, ended by their process id. Also a peer that answers as it is told,
// and a proxy that can fall silent.
//
// The program is REDIS_SERVER_BIN, or redis-server or valkey-server from PATH, or the same program
// under the name Debian's redis-tools gives it.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <atomic>
#include <functional>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "broker/redis_url.h"

namespace broker {

// The program, or "" when there is none.
const std::string& redis_program();

// In a test's or fixture's beginning: a missing server is a loud skip.
#define SKIP_WITHOUT_REDIS()           \
  if (broker::redis_program().empty()) \
  GTEST_SKIP() << "NO REDIS SERVER: install redis-tools or redis-server, or set REDIS_SERVER_BIN"

uint16_t free_port();

class redis_server {
 public:
  // Each argument is a line of redis.conf's language: "requirepass x". Waits until it answers.
  explicit redis_server(std::vector<std::string> settings = {}, bool is_sentinel = false);
  ~redis_server();
  redis_server(const redis_server&) = delete;
  redis_server& operator=(const redis_server&) = delete;

  void start();        // again, after kill(), with the same data and address
  void kill();         // -9, and waits for its end
  void signal(int s);  // SIGSTOP, SIGCONT
  pid_t pid() const { return pid_; }
  uint16_t port() const { return port_; }
  const std::string& dir() const { return dir_; }
  std::string socket_path() const { return dir_ + "/s"; }
  redis_endpoint tcp() const { return {"127.0.0.1", port_, ""}; }
  redis_endpoint local() const { return {"", 0, socket_path()}; }
  std::string url() const { return "redis+unix://" + socket_path(); }
  // A command over a connection of its own, and the reply as redis_text() has it. With "AUTH u p"
  // first when login is given.
  std::string call(const std::vector<std::string>& argv);
  std::vector<std::string> login;

 private:
  std::vector<std::string> settings_;
  std::string dir_;
  uint16_t port_ = 0;
  pid_t pid_ = -1;
  bool is_sentinel_;
};

// Listens on loopback and runs `serve` for each connection, one after the other, on a thread of its
// own.
class scripted_server {
 public:
  explicit scripted_server(std::function<void(int fd)> serve);
  ~scripted_server();
  redis_endpoint at() const { return {"127.0.0.1", port_, ""}; }

 private:
  std::function<void(int)> serve_;
  int listening_;
  uint16_t port_ = 0;
  std::atomic<bool> is_ending_{false};
  std::thread thread_;
};

// Passes bytes between loopback and a port, until told otherwise.
class silent_proxy {
 public:
  explicit silent_proxy(uint16_t to);
  ~silent_proxy();
  redis_endpoint at() const { return {"127.0.0.1", port_, ""}; }
  void hold(bool is_held) { is_held_ = is_held; }  // half-open: nothing passes, nothing is closed

 private:
  struct pair {
    int a, b;
  };
  void run();
  bool pass(int from, int to);
  uint16_t to_;
  int listening_;
  uint16_t port_ = 0;
  std::vector<pair> pairs_;
  std::atomic<bool> is_held_{false};
  std::atomic<bool> is_ending_{false};
  std::thread thread_;
};

}  // namespace broker
