// The names of errors and end reasons, and what a failed assert does.
#include "core/err.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include "core/assert.h"
#include "core/end_reason.h"

namespace core {

void assert_failed(const char* what, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
  std::abort();
}

const char* err_name(err e) noexcept {
  static constexpr const char* kNames[] = {
#define X(name, text) #name,
      CORE_ERR_MAP(X)
#undef X
  };
  return kNames[static_cast<size_t>(e)];
}

const char* err_text(err e) noexcept {
  static constexpr const char* kTexts[] = {
#define X(name, text) text,
      CORE_ERR_MAP(X)
#undef X
  };
  return kTexts[static_cast<size_t>(e)];
}

namespace {
struct end_row {
  const char* name;
  uint16_t code;
  const char* text;
};
constexpr end_row kEnds[] = {
#define X(name, code, text) {#name, code, text},
    CORE_END_REASON_MAP(X)
#undef X
};
}  // namespace

const char* end_reason_name(end_reason r) noexcept {
  return kEnds[static_cast<size_t>(r)].name;
}
uint16_t end_reason_code(end_reason r) noexcept {
  return kEnds[static_cast<size_t>(r)].code;
}
const char* end_reason_text(end_reason r) noexcept {
  return kEnds[static_cast<size_t>(r)].text;
}

}  // namespace core
