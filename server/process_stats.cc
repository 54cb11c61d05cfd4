// Reads /proc and the control group's files.
#include "server/process_stats.h"

#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace server {
namespace {

uint64_t count_fds() noexcept {
  // Since Linux 6.2 the directory's size is the number of descriptors: no walk over many thousands.
  struct stat st {};
  if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) return static_cast<uint64_t>(st.st_size);
  DIR* dir = opendir("/proc/self/fd");
  if (dir == nullptr) return 0;
  uint64_t n = 0;
  while (const dirent* e = readdir(dir)) n += e->d_name[0] != '.';
  closedir(dir);
  return n > 0 ? n - 1 : 0;  // without the walk's own
}

double read_start_time() {
  std::ifstream in("/proc/self/stat");
  std::string line;
  std::getline(in, line);
  // Field 22, counted behind the name in parentheses, which may hold spaces.
  size_t at = line.rfind(')');
  for (int field = 2; at != std::string::npos && field < 22; ++field) at = line.find(' ', at + 1);
  if (at == std::string::npos) return 0;
  const double since_boot_s =
      std::strtod(line.c_str() + at + 1, nullptr) / static_cast<double>(sysconf(_SC_CLK_TCK));
  timespec wall{}, boot{};
  clock_gettime(CLOCK_REALTIME, &wall);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  return static_cast<double>(wall.tv_sec - boot.tv_sec) +
         static_cast<double>(wall.tv_nsec - boot.tv_nsec) / 1e9 + since_boot_s;
}

uint64_t read_number(const std::string& path) {
  std::ifstream in(path);
  uint64_t n = 0;
  return in >> n ? n : 0;  // "max" is no number
}

uint64_t read_memory_limit() {
  uint64_t limit =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    const bool is_v2 = controllers.empty();
    if (!is_v2 && ("," + controllers + ",").find(",memory,") == std::string::npos) continue;
    const std::string root = is_v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char* file = is_v2 ? "/memory.max" : "/memory.limit_in_bytes";
    // A parent's limit binds too; in a container the path may lead nowhere and the root is the
    // group.
    while (true) {
      const uint64_t n = read_number(root + (path == "/" ? "" : path) + file);
      if (n > 0) limit = std::min(limit, n);
      if (path.empty() || path == "/") break;
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
  return limit;
}

}  // namespace

process_stats process_read() noexcept {
  process_stats p;
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  p.cpu_s = static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
            static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) p.max_fds = files.rlim_cur;
  try {
    std::ifstream in("/proc/self/statm");
    uint64_t total = 0, resident = 0;
    in >> total >> resident;
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    p.virtual_bytes = total * page;
    p.resident_bytes = resident * page;
    p.open_fds = count_fds();
    static const double start = read_start_time();
    p.start_time_s = start;
  } catch (...) {
    // The figures that could not be read stay 0.
  }
  return p;
}

uint32_t process_cores() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
}

uint64_t process_memory_limit_bytes() noexcept {
  try {
    static const uint64_t limit = read_memory_limit();
    return limit;
  } catch (...) {
    return 0;
  }
}

}  // namespace server
