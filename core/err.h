// The closed set of results that functions return. Leaf header.
#pragma once

#include <cstdint>

namespace core {

#define CORE_ERR_MAP(X)                                              \
  X(ok, "success")                                                   \
  X(again, "no progress possible now; call again on the next event") \
  X(closed, "the object is closing or closed")                       \
  X(too_big, "a configured size limit would be exceeded")            \
  X(full, "a queue is full; the same call may succeed later")        \
  X(malformed, "the input breaks its format")                        \
  X(invalid, "the value is not allowed here")                        \
  X(not_found, "there is no such thing")                             \
  X(denied, "not allowed for this caller")                           \
  X(conflict, "the same key was used before with other content")     \
  X(io, "the system call failed; the log line carries the code")     \
  X(unavailable, "the backend cannot be reached now")                \
  X(timeout, "the outcome is unknown: the answer did not come in time")

enum class [[nodiscard]] err : uint8_t{
#define X(name, text) name,
    CORE_ERR_MAP(X)
#undef X
};

const char* err_name(err e) noexcept;  // "too_big"
const char* err_text(err e) noexcept;  // the sentence above

}  // namespace core
