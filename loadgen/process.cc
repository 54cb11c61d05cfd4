// Each process has a keeper: the thread that forks it, waits for it and reaps it. It lives as long
// as the process, so that PR_SET_PDEATHSIG, which means the forking thread's end, strikes at the
// end of the tool and not before.
#include "loadgen/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>

#include "loadgen/sampler.h"

namespace loadgen {
namespace {

constexpr auto kKillMax = std::chrono::seconds(10);
constexpr auto kReadyPause =
    std::chrono::milliseconds(20);  // between two questions whether it is ready
constexpr uint32_t kReadyAskMs = 1000;

using clock = std::chrono::steady_clock;

int pidfd_open(pid_t pid) noexcept {
  return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

bool is_ended(int pidfd, int ms) noexcept {
  pollfd p{pidfd, POLLIN, 0};
  return ::poll(&p, 1, ms) == 1;
}

}  // namespace

struct process {
  std::string name, command, ready_url;
  // One that was there already.
  bool is_foreign = false;
  int foreign_pid = 0;
  int pidfd = -1;
  // One of ours. Under the lock: its id is given back to the system only with pid set to 0, so that
  // a signal never meets another process.
  mutable std::mutex lock;
  mutable std::condition_variable changed;
  std::thread keeper;
  int pid = 0;
  int exit_status = 0;     // of the last one, as wait(2) gives it
  int log = -1;            // given to the keeper with is_wanted
  int failure = 0;         // errno of the fork
  bool is_wanted = false;  // the keeper is asked to start it
  bool is_ending = false;
};

namespace {

// In the child: only async-signal-safe calls.
[[noreturn]] void become(const char* command, int log, pid_t tool) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != tool) _exit(127);  // it ended before the line above
  ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int s : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD}) ::signal(s, SIG_DFL);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  if (nothing > 2) ::close(nothing);
  ::execl("/bin/sh", "sh", "-c", command, static_cast<char*>(nullptr));
  _exit(127);
}

void keep_one(process* p, std::unique_lock<std::mutex>* held) {
  const std::string command = "exec " + p->command;
  const pid_t tool = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(command.c_str(), p->log, tool);
  ::close(p->log);
  p->log = -1;
  p->is_wanted = false;
  p->failure = pid < 0 ? errno : 0;
  if (pid > 0) {
    ::setpgid(pid, pid);  // in both, so that the group is there whoever comes first
    p->pid = pid;
  }
  p->changed.notify_all();
  if (pid < 0) return;
  held->unlock();
  siginfo_t info;
  while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  held->lock();
  ::kill(-pid, SIGKILL);  // what it leaves behind; its id is still its own
  ::waitpid(pid, &p->exit_status, 0);
  p->pid = 0;
  p->changed.notify_all();
}

void keep(process* p) {
  std::unique_lock<std::mutex> held(p->lock);
  for (;;) {
    p->changed.wait(held, [p] { return p->is_wanted || p->is_ending; });
    if (p->is_wanted) {
      keep_one(p, &held);
    } else {
      return;
    }
  }
}

core::err send(process* p, int sig) noexcept {
  if (p->is_foreign) {
    if (is_ended(p->pidfd, 0)) return core::err::closed;
    if (::syscall(SYS_pidfd_send_signal, p->pidfd, sig, nullptr, 0) == 0) return core::err::ok;
    return errno == ESRCH ? core::err::closed : core::err::io;
  }
  const std::lock_guard<std::mutex> held(p->lock);
  if (p->pid == 0) return core::err::closed;
  return ::kill(-p->pid, sig) == 0 ? core::err::ok : core::err::io;
}

bool wait_end(process* p, std::chrono::milliseconds limit) {
  if (p->is_foreign) return is_ended(p->pidfd, static_cast<int>(limit.count()));
  std::unique_lock<std::mutex> held(p->lock);
  return p->changed.wait_for(held, limit, [p] { return p->pid == 0; });
}

std::string status_text(int status) {
  if (WIFSIGNALED(status)) return std::string("by ") + strsignal(WTERMSIG(status));
  return "with status " + std::to_string(WEXITSTATUS(status));
}

core::err spawn(process* p, const std::string& log_path, std::string* why) {
  std::unique_lock<std::mutex> held(p->lock);
  if (p->pid != 0 || p->is_wanted) {
    *why = p->name + " runs already";
    return core::err::conflict;
  }
  p->log = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (p->log < 0) {
    *why = log_path + " cannot be written: " + std::strerror(errno);
    return core::err::io;
  }
  if (!p->keeper.joinable()) p->keeper = std::thread(keep, p);
  p->is_wanted = true;
  p->changed.notify_all();
  p->changed.wait(held, [p] { return !p->is_wanted; });
  if (p->failure == 0) return core::err::ok;
  *why = p->name + " cannot be started: " + std::strerror(p->failure);
  return core::err::io;
}

core::err wait_ready(process* p, const std::string& log_path, const std::string& url,
                     uint32_t ready_ms, std::string* why) {
  const clock::time_point until = clock::now() + std::chrono::milliseconds(ready_ms);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - clock::now());
    std::string body;
    int status = 0;
    if (left.count() > 0) {
      const core::err rc = http_get(
          url, static_cast<uint32_t>(std::min<int64_t>(left.count(), kReadyAskMs)), &body, &status);
      if (rc == core::err::ok && status == 200) return core::err::ok;
      if (rc == core::err::invalid) {
        *why = "\"" + url + "\" is no address to ask whether " + p->name + " is ready";
        return rc;
      }
    }
    if (wait_end(p, std::min<std::chrono::milliseconds>(
                        kReadyPause, std::max(left, std::chrono::milliseconds(0))))) {
      const std::lock_guard<std::mutex> held(p->lock);
      *why = p->name + " has ended " + status_text(p->exit_status) + ", see " + log_path;
      return core::err::io;
    }
    if (left.count() > 0) continue;
    *why = p->name + " was not ready within " + std::to_string(ready_ms) + " ms, see " + log_path;
    return core::err::timeout;
  }
}

core::err adopt(process* p, std::string_view digits, std::string* why) {
  const auto [end, rc] =
      std::from_chars(digits.data(), digits.data() + digits.size(), p->foreign_pid);
  if (rc != std::errc() || end != digits.data() + digits.size() || p->foreign_pid <= 1) {
    *why = "\"pid:" + std::string(digits) + "\" names no process";
    return core::err::invalid;
  }
  p->is_foreign = true;
  p->pidfd = pidfd_open(p->foreign_pid);  // close-on-exec by itself
  if (p->pidfd >= 0 && !is_ended(p->pidfd, 0)) return core::err::ok;
  const bool is_gone =
      p->pidfd >= 0 || errno == ESRCH || errno == EINVAL;  // EINVAL: the id of a thread
  *why = "process " + std::string(digits) +
         (is_gone ? " does not run" : std::string(" cannot be watched: ") + std::strerror(errno));
  return is_gone ? core::err::not_found : core::err::io;
}

}  // namespace

core::err process_parse(const std::string& text, process** out, std::string* why) noexcept {
  const size_t equals = text.find('=');
  const auto is_blank = [](const std::string& s) {
    return s.find_first_not_of(" \t") == std::string::npos;
  };
  if (equals == std::string::npos || equals == 0 || is_blank(text.substr(equals + 1)) ||
      text.find('/') < equals) {
    *why = "\"" + text + "\": NAME=COMMAND or NAME=pid:NUMBER is wanted, a name without '/'";
    return core::err::invalid;
  }
  auto* p = new process;
  p->name = text.substr(0, equals);
  p->command = text.substr(equals + 1);
  const core::err rc = p->command.starts_with("pid:")
                           ? adopt(p, std::string_view(p->command).substr(4), why)
                           : core::err::ok;
  if (rc == core::err::ok) {
    *out = p;
  } else {
    process_free(p);
  }
  return rc;
}

const std::string& process_name(const process* p) noexcept {
  return p->name;
}

int process_pid(const process* p) noexcept {
  if (p->is_foreign) return is_ended(p->pidfd, 0) ? 0 : p->foreign_pid;
  const std::lock_guard<std::mutex> held(p->lock);
  return p->pid;
}

core::err process_start(process* p, const std::string& log_path, const std::string& ready_url,
                        uint32_t ready_ms, std::string* why) noexcept {
  if (p->is_foreign) {
    *why = p->name + " was not started by this tool, so that it cannot start it again";
    return core::err::denied;
  }
  const core::err rc = spawn(p, log_path, why);
  const std::string& url = p->ready_url.empty() ? ready_url : p->ready_url;
  if (rc != core::err::ok || url.empty()) return rc;
  return wait_ready(p, log_path, url, ready_ms, why);
}

void process_ready_at(process* p, const std::string& ready_url) noexcept {
  p->ready_url = ready_url;
}

core::err process_kill(process* p) noexcept {
  const core::err rc = send(p, SIGKILL);
  if (rc != core::err::ok) return rc;
  return wait_end(p, kKillMax) ? core::err::ok : core::err::timeout;
}

core::err process_stop(process* p, uint32_t wait_ms) noexcept {
  const core::err rc = send(p, SIGTERM);
  if (rc != core::err::ok) return rc;
  (void)send(p, SIGCONT);
  if (wait_end(p, std::chrono::milliseconds(wait_ms))) return core::err::ok;
  (void)process_kill(p);
  return core::err::timeout;
}

core::err process_pause(process* p) noexcept {
  return send(p, SIGSTOP);
}

core::err process_resume(process* p) noexcept {
  return send(p, SIGCONT);
}

void process_free(process* p) noexcept {
  if (p == nullptr) return;
  if (!p->is_foreign) (void)send(p, SIGKILL);
  {
    const std::lock_guard<std::mutex> held(p->lock);
    p->is_ending = true;
  }
  p->changed.notify_all();
  if (p->keeper.joinable()) p->keeper.join();
  if (p->pidfd >= 0) ::close(p->pidfd);
  delete p;
}

}  // namespace loadgen
