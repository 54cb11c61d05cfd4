// The lock file: flock(2), with the holder's process id in it for the sentence.
#include "store/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

namespace store {
namespace {

std::string holder(int fd) {
  char text[24] = {};
  const ssize_t n = pread(fd, text, sizeof text - 1, 0);
  return n > 0 ? "process " + std::string(text, strspn(text, "0123456789")) : "another process";
}

// Two names of one file (links) are one lock.
std::string real_path(const std::string& path) {
  char resolved[PATH_MAX];
  return realpath(path.c_str(), resolved) != nullptr ? resolved : path;
}

}  // namespace

core::err file_lock_take(const std::string& path, int* fd, std::string* why) noexcept {
  const std::string name = real_path(path) + ".lock";
  const int f = open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (f < 0) {
    *why = "cannot open " + name + ": " + strerror(errno);
    return core::err::io;
  }
  if (flock(f, LOCK_EX | LOCK_NB) != 0) {
    const int e = errno;
    *why = e == EWOULDBLOCK
               ? path + " is in use by " + holder(f) + "; one database serves one server"
               : "cannot lock " + name + ": " + strerror(e);
    close(f);
    return e == EWOULDBLOCK ? core::err::conflict : core::err::io;
  }
  // Only told in the sentence above, so a full disk is no reason to fail.
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(f, 0) != 0 || pwrite(f, pid.data(), pid.size(), 0) < 0) errno = 0;
  *fd = f;
  return core::err::ok;
}

void file_lock_release(int fd) noexcept {
  if (fd >= 0) close(fd);
}

}  // namespace store
