// A private redis-server for a test: a unix socket and a port in a directory of its own, gone with
// the test. REDIS_SERVER_BIN names another binary (valkey-server). Without one the tests are
// skipped, loudly.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace broker_test {

inline std::string redis_binary() {
  if (const char* named = getenv("REDIS_SERVER_BIN")) return named;
  for (const char* path : {"/usr/bin/redis-server", "/usr/local/bin/redis-server",
                           "/usr/bin/valkey-server", "/usr/local/bin/valkey-server"})
    if (access(path, X_OK) == 0) return path;
  return "";
}

#define SKIP_WITHOUT_REDIS()                                                               \
  if (broker_test::redis_binary().empty())                                                 \
  GTEST_SKIP() << "no redis-server: apt install redis-server, or set REDIS_SERVER_BIN to " \
                  "one (valkey-server serves as well)"

class redis_process {
 public:
  explicit redis_process(std::string dir, std::vector<std::string> more = {})
      : dir_(std::move(dir)), more_(std::move(more)) {
    start();
  }
  ~redis_process() { kill_9(); }
  redis_process(const redis_process&) = delete;
  redis_process& operator=(const redis_process&) = delete;

  void start() {
    std::vector<std::string> words = {
        redis_binary(), "--port",     "0",      "--unixsocket", path(), "--dir",
        dir_,           "--save",     "",       "--appendonly", "yes",  "--appendfsync",
        "always",       "--loglevel", "warning"};
    words.insert(words.end(), more_.begin(), more_.end());
    std::vector<char*> arguments;
    for (std::string& w : words) arguments.push_back(w.data());
    arguments.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      (void)!freopen((dir_ + "/redis.log").c_str(), "a", stdout);
      dup2(1, 2);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    for (int i = 0; i < 1000 && !answers(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_TRUE(answers()) << "redis-server does not come up, see " << dir_ << "/redis.log";
  }
  void kill_9() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    kill(pid_, SIGCONT);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  void stop() { kill(pid_, SIGSTOP); }
  void go_on() { kill(pid_, SIGCONT); }
  void forget_data() { std::filesystem::remove_all(dir_ + "/appendonlydir"); }
  std::string path() const { return dir_ + "/redis.sock"; }
  // A command on a connection of its own, words without spaces; the raw answer.
  std::string ask(const std::string& line) {
    const int fd = open_socket();
    if (fd < 0) return "";
    const std::string whole = line + "\r\n";
    (void)!write(fd, whole.data(), whole.size());
    char buffer[65536];
    const ssize_t n = read(fd, buffer, sizeof buffer);
    close(fd);
    return n <= 0 ? "" : std::string(buffer, static_cast<size_t>(n));
  }

 private:
  int open_socket() {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path().copy(to.sun_path, sizeof to.sun_path - 1);
    if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) return fd;
    close(fd);
    return -1;
  }
  bool answers() { return ask("PING") == "+PONG\r\n"; }

  std::string dir_;
  std::vector<std::string> more_;
  pid_t pid_ = 0;
};

}  // namespace broker_test
