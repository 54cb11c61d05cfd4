// RESP2: commands to bytes, bytes to replies. The adapter of hiredis, 0.14 and 1.x alike: its
// reader does the framing, with object functions of ours that build a reply in one reused block, so
// that a Pub/Sub message allocates nothing. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/err.h"

namespace broker {

enum class redis_type : uint8_t { nil, status, string, error, integer, array };

// A reply and all it points to is valid until the callback that got it returns.
struct redis_reply {
  redis_type type = redis_type::nil;
  int64_t integer = 0;                 // integer
  std::string_view text;               // status, string, error
  const redis_reply* items = nullptr;  // array
  uint32_t count = 0;                  // array
  bool is_error() const noexcept { return type == redis_type::error; }
  // "MOVED", "NOSCRIPT": the first word of an error, or empty.
  std::string_view error_code() const noexcept;
  // An error for a log line: without the command's arguments, which some errors quote and which may
  // be a message's text; at most 200 bytes.
  std::string_view error_shown() const noexcept;
};

using redis_argv = std::span<const std::string_view>;

// Size of the command on the wire, and the bytes themselves into exactly that room. Arguments may
// hold any byte.
size_t redis_command_size(redis_argv argv) noexcept;
void redis_command_write(redis_argv argv, char* out) noexcept;
// The head of a command whose arguments follow by redis_argument_write(): for thousands of them.
size_t redis_argument_size(std::string_view arg) noexcept;
char* redis_argument_write(std::string_view arg, char* out) noexcept;  // returns the end
size_t redis_head_size(size_t arguments) noexcept;
char* redis_head_write(size_t arguments, char* out) noexcept;

struct redis_reader;
// bytes_max bounds what one reply may hold, as it arrives and as it is built.
redis_reader* redis_reader_new(uint32_t bytes_max) noexcept;
void redis_reader_free(redis_reader* r) noexcept;

// Reads on, resuming at any byte; gives each complete reply to on_reply, which says whether to go
// on (false: the rest of the input is ignored and the reader is of no further use; ok). malformed,
// too_big: the reader is of no further use; redis_reader_error() says why.
using redis_reader_cb = bool (*)(void* user, const redis_reply& r) noexcept;
core::err redis_reader_feed(redis_reader* r, std::string_view bytes, redis_reader_cb on_reply,
                            void* user) noexcept;
std::string redis_reader_error(const redis_reader* r);

// Bytes that the reader holds now, for tests and metrics.
size_t redis_reader_held(const redis_reader* r) noexcept;

}  // namespace broker
