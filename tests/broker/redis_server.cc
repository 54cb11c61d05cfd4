// fork(2) and exec(2) of a server, and small peers on threads.
#include "redis_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "broker/redis_wire.h"
#include "redis_text.h"

namespace broker {
namespace {

constexpr int kStartMsMax = 20'000;
constexpr uint16_t kPortMax = 65535 - 10'000;  // a cluster's bus listens 10,000 above

int listen_on_loopback(uint16_t* port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&a), size), 0);
  EXPECT_EQ(listen(fd, 64), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size), 0);
  *port = ntohs(a.sin_port);
  return fd;
}

int connect_unix(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  strncpy(a.sun_path, path.c_str(), sizeof a.sun_path - 1);
  const timeval limit{10, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a) == 0) return fd;
  close(fd);
  return -1;
}

std::string ask(int fd, const std::vector<std::string>& words) {
  const std::vector<std::string_view> argv(words.begin(), words.end());
  std::string bytes(redis_command_size(argv), '\0');
  redis_command_write(argv, bytes.data());
  if (send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
    return "!send";
  redis_reader* r = redis_reader_new(64 << 20);
  std::string reply = "!";
  bool is_there = false;
  struct answer {
    std::string* reply;
    bool* is_there;
  } to{&reply, &is_there};
  auto take = [](void* user, const redis_reply& got) noexcept {
    auto* a = static_cast<answer*>(user);
    *a->reply = redis_text(got);
    *a->is_there = true;
    return false;
  };
  char part[4096];
  while (!is_there) {
    const ssize_t n = recv(fd, part, sizeof part, 0);
    if (n <= 0 || redis_reader_feed(r, {part, static_cast<size_t>(n)}, take, &to) != core::err::ok)
      break;
  }
  redis_reader_free(r);
  return reply;
}

std::string find_program() {
  if (const char* set = getenv("REDIS_SERVER_BIN"); set != nullptr && *set != '\0') return set;
  const char* path = getenv("PATH");
  for (const char* name :
       {"redis-server", "valkey-server", "redis-check-rdb", "valkey-check-rdb"}) {
    std::string_view rest = path == nullptr ? "/usr/bin" : path;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(':'), rest.size());
      const std::string file = std::string(rest.substr(0, end)) + "/" + name;
      if (access(file.c_str(), X_OK) == 0) return file;
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return "";
}

}  // namespace

const std::string& redis_program() {
  static const std::string program = find_program();
  return program;
}

uint16_t free_port() {
  uint16_t port = 0;
  do {
    close(listen_on_loopback(&port));
  } while (port > kPortMax);
  return port;
}

redis_server::redis_server(std::vector<std::string> settings, bool is_sentinel)
    : settings_(std::move(settings)), is_sentinel_(is_sentinel) {
  char name[] = "/tmp/parley-redis-XXXXXX";
  dir_ = mkdtemp(name);
  port_ = free_port();
  start();
}

redis_server::~redis_server() {
  kill();
  // A child that saves for it may still write there.
  std::error_code failed;
  for (int i = 0; i < 100; ++i) {
    std::filesystem::remove_all(dir_, failed);
    if (!failed) return;
    poll(nullptr, 0, 20);
  }
}

void redis_server::start() {
  {
    std::ofstream conf(dir_ + "/conf");
    conf << "bind 127.0.0.1\nport " << port_ << "\nunixsocket " << socket_path() << "\ndir " << dir_
         << "\nlogfile " << dir_ << "/log\n";
    if (!is_sentinel_) conf << "save \"\"\nenable-debug-command yes\n";
    for (const std::string& line : settings_) conf << line << "\n";
  }
  std::filesystem::remove(socket_path());
  const std::string conf_file = dir_ + "/conf";
  const pid_t parent = getpid();
  pid_ = fork();
  ASSERT_GE(pid_, 0);
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    const char* name = is_sentinel_ ? "redis-sentinel" : "redis-server";  // it goes by its name
    execl(redis_program().c_str(), name, conf_file.c_str(), nullptr);
    _exit(127);
  }
  for (int waited = 0; waited < kStartMsMax; waited += 5) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      std::ifstream log(dir_ + "/log");
      FAIL() << "the server ended: " << std::string(std::istreambuf_iterator<char>(log), {});
    }
    const std::string reply = call({"PING"});
    if (reply == "+PONG" || reply.starts_with("-NO")) return;
    poll(nullptr, 0, 5);
  }
  FAIL() << "the server did not start";
}

void redis_server::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void redis_server::signal(int s) {
  ASSERT_EQ(::kill(pid_, s), 0);
}

std::string redis_server::call(const std::vector<std::string>& argv) {
  const int fd = connect_unix(socket_path());
  if (fd < 0) return "!connect";
  if (!login.empty()) ask(fd, login);
  std::string reply = ask(fd, argv);
  close(fd);
  return reply;
}

scripted_server::scripted_server(std::function<void(int fd)> serve) : serve_(std::move(serve)) {
  listening_ = listen_on_loopback(&port_);
  thread_ = std::thread([this] {
    for (;;) {
      const int fd = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const timeval limit{10, 0};
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      if (!is_ending_) serve_(fd);
      close(fd);
    }
  });
}

scripted_server::~scripted_server() {
  is_ending_ = true;
  shutdown(listening_, SHUT_RDWR);
  thread_.join();
  close(listening_);
}

silent_proxy::silent_proxy(uint16_t to) : to_(to) {
  listening_ = listen_on_loopback(&port_);
  thread_ = std::thread([this] { run(); });
}

silent_proxy::~silent_proxy() {
  is_ending_ = true;
  thread_.join();
  for (const pair& p : pairs_) {
    close(p.a);
    close(p.b);
  }
  close(listening_);
}

bool silent_proxy::pass(int from, int to) {
  char bytes[16 * 1024];
  const ssize_t n = recv(from, bytes, sizeof bytes, 0);
  return n > 0 && send(to, bytes, static_cast<size_t>(n), MSG_NOSIGNAL) == n;
}

void silent_proxy::run() {
  while (!is_ending_) {
    std::vector<pollfd> fds = {{listening_, POLLIN, 0}};
    if (!is_held_) {
      for (const pair& p : pairs_) {
        fds.push_back({p.a, POLLIN, 0});
        fds.push_back({p.b, POLLIN, 0});
      }
    }
    poll(fds.data(), fds.size(), 10);  // looks at is_held_ and is_ending_ that often
    for (size_t i = 0; 2 * i + 2 < fds.size() && !is_held_; ++i) {
      pair& p = pairs_[i];
      const bool is_broken = (fds[2 * i + 1].revents != 0 && !pass(p.a, p.b)) ||
                             (fds[2 * i + 2].revents != 0 && !pass(p.b, p.a));
      if (!is_broken) continue;
      close(p.a);
      close(p.b);
      pairs_.erase(pairs_.begin() + static_cast<ptrdiff_t>(i));
      break;  // the indices are wrong now
    }
    if ((fds[0].revents & POLLIN) == 0) continue;
    const int a = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
    const int b = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(to_);
    if (connect(b, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
      close(a);
      close(b);
    } else {
      pairs_.push_back({a, b});
    }
  }
}

}  // namespace broker
