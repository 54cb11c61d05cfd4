// A server of one answer at a time, for the tests of what asks by HTTP: it says what it is told to,
// to the letter.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace core {

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
  // From now on connections are closed as soon as they are accepted.
  void cut(bool is_cut) { is_cut_ = is_cut; }
  int asked() const { return asked_; }
  // The last question, head and body; when asked() has said that there is one.
  std::string question() {
    const std::lock_guard<std::mutex> held(lock_);
    return questions_.empty() ? "" : questions_.back();
  }
  std::vector<std::string> questions() {
    const std::lock_guard<std::mutex> held(lock_);
    return questions_;
  }
  // Waits until it was asked so often.
  bool wait_asked(int n, int ms = 10'000) {
    std::unique_lock<std::mutex> held(lock_);
    return changed_.wait_for(held, std::chrono::milliseconds(ms), [&] { return asked_ >= n; });
  }

 private:
  static std::string read_question(int fd) {
    std::string q;
    char c;
    while (!q.ends_with("\r\n\r\n") && recv(fd, &c, 1, 0) == 1) q.push_back(c);
    const size_t at = q.find("Content-Length: ");
    size_t left = at == std::string::npos ? 0 : std::stoul(q.substr(at + 16));
    for (char bytes[65536]; left > 0;) {
      const ssize_t n = recv(fd, bytes, std::min(left, sizeof bytes), 0);
      if (n <= 0) break;
      q.append(bytes, static_cast<size_t>(n));
      left -= static_cast<size_t>(n);
    }
    return q;
  }
  void serve() {
    while (!is_ending_) {
      const int fd = accept4(door_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      if (is_cut_) {
        close(fd);
        continue;
      }
      std::string q = read_question(fd);
      int n = 0;
      {
        const std::lock_guard<std::mutex> held(lock_);
        questions_.push_back(std::move(q));
        n = asked_++;
        changed_.notify_all();
      }
      for (const std::string& piece : answer_(n))
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
  std::atomic<bool> is_cut_{false};
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<std::string> questions_;
  std::vector<int> kept_;
  std::thread thread_;
};

}  // namespace core
