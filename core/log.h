// One line per event, as logfmt or JSON: ts, level, component, node, msg, then key=value pairs. Any
// thread; a line is one write(2). docs/LOGS.md has the keys.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace core {

enum class log_level : uint8_t { debug, info, warn, error };
inline constexpr size_t kLogLevels = 4;
const char* log_level_name(log_level level) noexcept;
bool log_level_find(std::string_view name, log_level* out) noexcept;

enum class log_format : uint8_t { logfmt, json };

// A line's component is the folder of the file that writes it.
#define CORE_LOG_COMPONENT_MAP(X) X(core) X(proto) X(broker) X(store) X(chat) X(server) X(other)
enum class log_component : uint8_t {
#define X(name) name,
  CORE_LOG_COMPONENT_MAP(X)
#undef X
      kCount
};
inline constexpr size_t kLogComponents = static_cast<size_t>(log_component::kCount);
const char* log_component_name(log_component c) noexcept;
bool log_component_find(std::string_view name, log_component* out) noexcept;
log_component log_component_of(const char* file) noexcept;  // __FILE__ or __builtin_FILE()

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

// Once, before threads start; default logfmt, info for every component, 2.
void log_setup(log_format format, log_level least, int fd) noexcept;
// Every line says `name` from now on; "" says none. Before threads start.
void log_node(std::string_view name);

// At run time; any thread.
void log_level_set(log_component c, log_level least) noexcept;
log_level log_level_get(log_component c) noexcept;
// The least of all components: what is below it is left out without a look at its component.
extern std::atomic<log_level> log_level_least;
bool log_enabled_in(log_component c, log_level level) noexcept;
inline bool log_enabled(log_level level, const char* file = __builtin_FILE()) noexcept {
  return level >= log_level_least.load(std::memory_order_relaxed) &&
         log_enabled_in(log_component_of(file), level);
}

// Gets every line that is written, without its newline, on the thread that writes it: may not
// block, may not log. `wall_ns` is Unix time.
struct log_sink {
  void (*line)(void* user, log_level level, int64_t wall_ns, std::string_view line) noexcept;
  void* user;
};
// Keeps `s`; nullptr: none. A thread that is writing a line may still call the one before: it may
// go when those threads have ended.
void log_sink_set(const log_sink* s) noexcept;

// Secrets never go here: no tokens, keys, or message bodies.
void log_write(log_level level, std::string_view msg, std::initializer_list<log_field> fields = {},
               const char* file = __builtin_FILE()) noexcept;

inline void log_debug(std::string_view m, std::initializer_list<log_field> f = {},
                      const char* file = __builtin_FILE()) {
  if (log_enabled(log_level::debug, file)) log_write(log_level::debug, m, f, file);
}
inline void log_info(std::string_view m, std::initializer_list<log_field> f = {},
                     const char* file = __builtin_FILE()) {
  log_write(log_level::info, m, f, file);
}
inline void log_warn(std::string_view m, std::initializer_list<log_field> f = {},
                     const char* file = __builtin_FILE()) {
  log_write(log_level::warn, m, f, file);
}
inline void log_error(std::string_view m, std::initializer_list<log_field> f = {},
                      const char* file = __builtin_FILE()) {
  log_write(log_level::error, m, f, file);
}

// True at most once per `every_ms` and call site: `static log_limit once; if (log_limit_pass(&once,
// 1000)) …`.
struct log_limit {
  std::atomic<uint64_t> last_ms{0};
};
bool log_limit_pass(log_limit* l, uint32_t every_ms) noexcept;

}  // namespace core
