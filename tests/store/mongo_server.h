// A server that speaks MongoDB's protocol, for tests: the one at PARLEY_TEST_MONGODB_URI, else
// mongo-java-server from build/mongo-java or MONGO_JAVA_DIR (`./dev mongo` fetches it), started on
// loopback and ended with the test program. It is a fake: CONTRIBUTING.md says what it cannot show.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <memory>
#include <string>

namespace store_test {

// Why there is no server; empty: there is one.
const std::string& mongo_missing();

#define SKIP_WITHOUT_MONGO() \
  if (!store_test::mongo_missing().empty()) GTEST_SKIP() << store_test::mongo_missing()

class mongo_server {
 public:
  // One that all tests of the program share. Each takes a database of its own.
  static mongo_server& shared();

  // A process of its own, in memory; never the one at PARLEY_TEST_MONGODB_URI.
  mongo_server();
  ~mongo_server();
  mongo_server(const mongo_server&) = delete;
  mongo_server& operator=(const mongo_server&) = delete;

  // A database that nobody has used.
  std::string fresh_url();
  std::string url(const std::string& database) const;
  uint16_t port() const { return port_; }
  void signal(int s);  // SIGSTOP, SIGCONT
  // Whether tests/mongo/ can run one: with PARLEY_TEST_MONGODB_URI alone there is none to stop.
  static bool is_ours_to_stop();

 private:
  explicit mongo_server(std::string given) : given_(std::move(given)) {}
  std::string given_;  // PARLEY_TEST_MONGODB_URI
  uint16_t port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace store_test
