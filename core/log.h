// One line per event, as logfmt or JSON: ts, level, msg, then key=value pairs. Any thread; a line
// is one write(2).
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace core {

enum class log_level : uint8_t { debug, info, warn, error };
enum class log_format : uint8_t { logfmt, json };

struct log_field {
  std::string_view key;
  std::string value;
  bool is_number = false;
  log_field(std::string_view k, std::string_view v) : key(k), value(v) {}
  log_field(std::string_view k, const char* v) : key(k), value(v) {}
  log_field(std::string_view k, const std::string& v) : key(k), value(v) {}
  template <typename N>
  requires std::is_arithmetic_v<N> log_field(std::string_view k, N v)
      : key(k), value(std::to_string(v)), is_number(true) {}
};

void log_setup(log_format format, log_level least,
               int fd) noexcept;  // once, before threads start; default logfmt, info, 2
bool log_enabled(log_level level) noexcept;
// Secrets never go here: no tokens, keys, or message bodies.
void log_write(log_level level, std::string_view msg,
               std::initializer_list<log_field> fields = {}) noexcept;

inline void log_debug(std::string_view m, std::initializer_list<log_field> f = {}) {
  if (log_enabled(log_level::debug)) log_write(log_level::debug, m, f);
}
inline void log_info(std::string_view m, std::initializer_list<log_field> f = {}) {
  log_write(log_level::info, m, f);
}
inline void log_warn(std::string_view m, std::initializer_list<log_field> f = {}) {
  log_write(log_level::warn, m, f);
}
inline void log_error(std::string_view m, std::initializer_list<log_field> f = {}) {
  log_write(log_level::error, m, f);
}

// True at most once per `every_ms` and call site: `static log_limit once; if (log_limit_pass(&once,
// 1000)) …`.
struct log_limit {
  std::atomic<uint64_t> last_ms{0};
};
bool log_limit_pass(log_limit* l, uint32_t every_ms) noexcept;

}  // namespace core
