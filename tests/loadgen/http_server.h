// A server of one answer at a time, for the tests of what asks by HTTP: it says what it is told to,
// to the letter.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace loadgen {

class http_server {
 public:
  // answer(n) are the pieces that the n-th question is answered with; what is behind the last is
  // the end, or, with is_silent, nothing.
  using answer_fn = std::function<std::vector<std::string>(int n)>;
  explicit http_server(answer_fn answer, bool is_silent = false)
      : answer_(std::move(answer)), is_silent_(is_silent) {
    door_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof a;
    if (bind(door_, reinterpret_cast<sockaddr*>(&a), size) != 0 || listen(door_, 16) != 0 ||
        getsockname(door_, reinterpret_cast<sockaddr*>(&a), &size) != 0)
      std::abort();
    port_ = ntohs(a.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~http_server() {
    is_ending_ = true;
    shutdown(door_, SHUT_RDWR);  // wakes accept()
    thread_.join();
    close(door_);
    for (const int fd : kept_) close(fd);
  }
  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  int asked() const { return asked_; }
  // The last question; when asked() has said that there is one.
  const std::string& question() const { return question_; }

 private:
  void serve() {
    while (!is_ending_) {
      const int fd = accept4(door_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      question_.clear();
      char c;
      while (!question_.ends_with("\r\n\r\n") && recv(fd, &c, 1, 0) == 1) question_.push_back(c);
      for (const std::string& piece : answer_(asked_++))
        (void)send(fd, piece.data(), piece.size(), MSG_NOSIGNAL);
      if (is_silent_) {
        kept_.push_back(fd);
      } else {
        close(fd);
      }
    }
  }

  answer_fn answer_;
  bool is_silent_;
  int door_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> is_ending_{false};
  std::atomic<int> asked_{0};
  std::string question_;
  std::vector<int> kept_;
  std::thread thread_;
};

}  // namespace loadgen
