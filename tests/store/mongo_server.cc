// fork(2) and exec(2) of a Java program, and a wait for its "ready".
#include "tests/store/mongo_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>

namespace store_test {
namespace {

std::string variable(const char* name) {
  const char* set = getenv(name);
  return set == nullptr ? "" : set;
}

std::string java_dir() {
  const std::string set = variable("MONGO_JAVA_DIR");
  return set.empty() ? PARLEY_MONGO_JAVA_DIR : set;
}

uint16_t unused_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&a), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size), 0);
  close(fd);
  return ntohs(a.sin_port);
}

}  // namespace

bool mongo_server::is_ours_to_stop() {
  return std::filesystem::exists(java_dir() + "/ready");
}

const std::string& mongo_missing() {
  static const std::string why =
      !variable("PARLEY_TEST_MONGODB_URI").empty() || mongo_server::is_ours_to_stop()
          ? ""
          : "NO MONGODB SERVER: ./dev mongo fetches one for tests, or set PARLEY_TEST_MONGODB_URI";
  return why;
}

mongo_server& mongo_server::shared() {
  static const std::unique_ptr<mongo_server> one(
      variable("PARLEY_TEST_MONGODB_URI").empty()
          ? new mongo_server
          : new mongo_server(variable("PARLEY_TEST_MONGODB_URI")));
  return *one;
}

mongo_server::mongo_server() : port_(unused_port()) {
  const std::string path = java_dir() + ":" + java_dir() + "/*", port = std::to_string(port_);
  int said[2];
  EXPECT_EQ(pipe(said), 0);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    dup2(said[1], STDOUT_FILENO);
    execlp("java", "java", "-Xmx1g", "-cp", path.c_str(), "FakeMongo", port.c_str(), nullptr);
    _exit(127);
  }
  close(said[1]);
  char first = 0;
  EXPECT_EQ(read(said[0], &first, 1), 1) << "the server did not start: java -cp '" << path << "'";
  close(said[0]);
}

mongo_server::~mongo_server() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void mongo_server::signal(int s) {
  ASSERT_GT(pid_, 0);
  ASSERT_EQ(::kill(pid_, s), 0);
}

std::string mongo_server::url(const std::string& database) const {
  if (given_.empty()) return "mongodb://127.0.0.1:" + std::to_string(port_) + "/" + database;
  // scheme://hosts[/database][?options]
  const size_t hosts = given_.find("://") + 3;
  const size_t options = std::min(given_.find('?'), given_.size());
  const size_t end = std::min({given_.find('/', hosts), options, given_.size()});
  return given_.substr(0, end) + "/" + database + given_.substr(options);
}

std::string mongo_server::fresh_url() {
  static std::atomic<int> count{0};
  return url("parley_test_" + std::to_string(getpid()) + "_" + std::to_string(++count));
}

}  // namespace store_test
