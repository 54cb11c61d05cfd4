// Checks of our own bugs: on in every build, never about what a peer or a backend controls.
#pragma once

namespace core {
[[noreturn]] void assert_failed(const char* what, const char* file, int line) noexcept;
}

#define CORE_ASSERT(cond)                               \
  do {                                                  \
    if (!(cond)) [[unlikely]]                           \
      ::core::assert_failed(#cond, __FILE__, __LINE__); \
  } while (0)
#define CORE_UNREACHABLE(text) ::core::assert_failed(text, __FILE__, __LINE__)
