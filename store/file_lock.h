// A lock beside a file, so that a second process that wants the same file fails with a clear
// sentence.
#pragma once

#include <string>

#include "core/err.h"

namespace store {

// flock(2) on `path` + ".lock", which is left behind when it is released (removing it would race
// with the next opener). The kernel releases it when the process ends, however it ends. conflict:
// held by another opener; io.
core::err file_lock_take(const std::string& path, int* fd, std::string* why) noexcept;
void file_lock_release(int fd) noexcept;

}  // namespace store
