// /proc/PID/task/*/schedstat is precise but forgets threads that have ended; /proc/PID/stat knows
// those too, in clock ticks. The larger is the truth.
#include "loadgen/proc_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace loadgen {
namespace {

// A file of /proc, at most `cap` bytes of it; empty when it is not there.
std::string_view read_file(const char* path, char* buffer, size_t cap) noexcept {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t n = ::read(fd, buffer, cap);
  ::close(fd);
  return {buffer, n > 0 ? static_cast<size_t>(n) : 0};
}

uint64_t number_of(std::string_view text) noexcept {
  uint64_t n = 0;
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

struct stat_line {
  uint64_t cpu_ticks = 0, started_ticks = 0;
};

// proc(5): the name, in parentheses, may hold anything; utime is field 14, stime 15, starttime 22.
bool read_stat(int pid, stat_line* out) noexcept {
  char path[64], buffer[1024];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  std::string_view text = read_file(path, buffer, sizeof buffer);
  const size_t name_end = text.rfind(") ");
  if (name_end == std::string_view::npos) return false;
  text.remove_prefix(name_end + 2);
  for (int field = 3; !text.empty(); ++field) {
    if (field == 14 || field == 15) out->cpu_ticks += number_of(text);
    if (field == 22) {
      out->started_ticks = number_of(text);
      return true;
    }
    text.remove_prefix(std::min(text.find(' '), text.size() - 1) + 1);
  }
  return false;
}

void read_threads(proc_usage* u) noexcept {
  char path[64], buffer[128];
  std::snprintf(path, sizeof path, "/proc/%d/task", u->pid);
  DIR* d = ::opendir(path);
  if (d == nullptr) return;
  std::map<int, uint64_t> now;
  while (const dirent* e = ::readdir(d)) {
    const int tid = std::atoi(e->d_name);
    if (tid <= 0) continue;
    std::snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", u->pid, tid);
    const std::string_view text = read_file(path, buffer, sizeof buffer);
    if (!text.empty()) now[tid] = number_of(text);
  }
  ::closedir(d);
  for (const auto& [tid, ns] : u->threads) {
    const auto it = now.find(tid);
    if (it == now.end() || it->second < ns)
      u->ended_ns += ns;  // ended, or another thread has its id
  }
  u->threads = std::move(now);
}

uint64_t read_rss(int pid) noexcept {
  char path[64], buffer[4096];
  std::snprintf(path, sizeof path, "/proc/%d/status", pid);
  const std::string_view text = read_file(path, buffer, sizeof buffer);
  const size_t at = text.find("\nVmRSS:");
  return at == std::string_view::npos ? 0 : number_of(text.substr(at + 7)) * 1024;
}

}  // namespace

bool proc_usage_open(proc_usage* u, int pid) noexcept {
  *u = {};
  stat_line s;
  if (pid <= 0 || !read_stat(pid, &s)) return false;
  u->pid = pid;
  u->started_ticks = s.started_ticks;
  return proc_usage_read(u);
}

bool proc_usage_read(proc_usage* u) noexcept {
  static const auto kTickNs = static_cast<uint64_t>(1'000'000'000 / ::sysconf(_SC_CLK_TCK));
  stat_line s;
  if (u->pid == 0 || !read_stat(u->pid, &s) || s.started_ticks != u->started_ticks) return false;
  read_threads(u);
  uint64_t sum = u->ended_ns;
  for (const auto& [tid, ns] : u->threads) sum += ns;
  u->cpu_ns = std::max({u->cpu_ns, sum, s.cpu_ticks * kTickNs});
  u->rss_bytes = read_rss(u->pid);
  return true;
}

uint64_t proc_ticks_now() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_BOOTTIME, &t);
  const auto hz = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  return static_cast<uint64_t>(t.tv_sec) * hz +
         static_cast<uint64_t>(t.tv_nsec) * hz / 1'000'000'000;
}

}  // namespace loadgen
