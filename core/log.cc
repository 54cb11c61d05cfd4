// Builds a log line, logfmt or JSON, and writes it with one write(2).
#include "core/log.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <mutex>

namespace core {

std::atomic<log_level> log_level_least{log_level::info};

namespace {

// What peers send may stand in a value: a line stays readable and its memory bounded.
constexpr size_t kLogValueBytesMax = 4096;
constexpr size_t kLogLineBytes = 256;  // most are shorter: one allocation rather than five

std::atomic<log_format> current_format{log_format::logfmt};
std::atomic<log_level> levels[kLogComponents] = {log_level::info, log_level::info, log_level::info,
                                                 log_level::info, log_level::info, log_level::info,
                                                 log_level::info};
static_assert(kLogComponents == 7, "each begins with a level");
std::atomic<int> current_fd{2};
std::atomic<const log_sink*> current_sink{nullptr};
std::string current_node;

constexpr const char* kLevelNames[] = {"debug", "info", "warn", "error"};
constexpr const char* kComponentNames[] = {
#define X(name) #name,
    CORE_LOG_COMPONENT_MAP(X)
#undef X
};
static_assert(std::size(kLevelNames) == kLogLevels);

// Length of the well-formed UTF-8 sequence (RFC 3629) at the beginning of `s`; 0 when there is
// none.
size_t utf8_length(std::string_view s) noexcept {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const auto tail = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < s.size() && at(i) >= low && at(i) <= high;
  };
  const unsigned c = at(0);
  if (c < 0x80) return 1;
  if (c >= 0xc2 && c <= 0xdf) return tail(1) ? 2 : 0;
  if (c >= 0xe0 && c <= 0xef)
    return tail(1, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf) && tail(2) ? 3 : 0;
  if (c >= 0xf0 && c <= 0xf4)
    return tail(1, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf) && tail(2) && tail(3) ? 4 : 0;
  return 0;
}

// The same escapes serve both formats: those of a JSON string.
void append_quoted(std::string* out, std::string_view s) {
  const bool is_cut = s.size() > kLogValueBytesMax;
  if (is_cut) s = s.substr(0, kLogValueBytesMax);
  out->push_back('"');
  while (!s.empty()) {
    const unsigned char c = static_cast<unsigned char>(s[0]);
    size_t n = utf8_length(s);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(s[0]);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (c == '\t') {
      out->append("\\t");
    } else if (c < 0x20 || c == 0x7f) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\u%04x", c);
      out->append(hex);
    } else if (n == 0) {
      out->append("\xef\xbf\xbd");  // U+FFFD: a log line is always UTF-8
      n = 1;
    } else {
      out->append(s.substr(0, n));
    }
    s.remove_prefix(n);
  }
  if (is_cut) out->append("\xe2\x80\xa6");
  out->push_back('"');
}

bool is_plain(std::string_view s) noexcept {
  if (s.empty() || s.size() > kLogValueBytesMax) return false;
  for (const char c : s) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\') return false;
  }
  return true;
}

void append_key(std::string* out, std::string_view key) {
  for (const char c : key)
    out->push_back(c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\' ? '_' : c);
}

// to_string() of a double also makes "nan" and "inf", which JSON does not know.
bool is_json_number(std::string_view s) noexcept {
  return !s.empty() && s.find_first_not_of("0123456789.-") == std::string_view::npos;
}

void append_field(std::string* out, log_format format, std::string_view key, std::string_view value,
                  bool is_number) {
  if (format == log_format::json) {
    out->append(out->empty() ? "{\"" : ",\"");
    append_key(out, key);
    out->append("\":");
    if (is_number && is_json_number(value)) {
      out->append(value);
    } else {
      append_quoted(out, value);
    }
    return;
  }
  if (!out->empty()) out->push_back(' ');
  append_key(out, key);
  out->push_back('=');
  if (is_plain(value)) {
    out->append(value);
  } else {
    append_quoted(out, value);
  }
}

std::string timestamp(const timespec& now) {
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", utc.tm_year + 1900,
                utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                now.tv_nsec / 1'000'000);
  return text;
}

void write_line(int fd, std::string_view line) noexcept {
  // A regular file or pipe takes the line at once; what a full pipe cut off is sent after it rather
  // than lost.
  while (!line.empty()) {
    const ssize_t n = write(fd, line.data(), line.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    line.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace

const char* log_level_name(log_level level) noexcept {
  return kLevelNames[static_cast<size_t>(level)];
}

bool log_level_find(std::string_view name, log_level* out) noexcept {
  for (size_t i = 0; i < kLogLevels; ++i) {
    if (name != kLevelNames[i]) continue;
    *out = static_cast<log_level>(i);
    return true;
  }
  return false;
}

const char* log_component_name(log_component c) noexcept {
  return kComponentNames[static_cast<size_t>(c)];
}

bool log_component_find(std::string_view name, log_component* out) noexcept {
  for (size_t i = 0; i < kLogComponents; ++i) {
    if (name != kComponentNames[i]) continue;
    *out = static_cast<log_component>(i);
    return true;
  }
  return false;
}

log_component log_component_of(const char* file) noexcept {
  std::string_view path(file);
  const size_t end = path.rfind('/');
  if (end == std::string_view::npos) return log_component::other;
  path = path.substr(0, end);
  log_component c = log_component::other;
  (void)log_component_find(path.substr(path.rfind('/') + 1), &c);
  return c;
}

void log_setup(log_format format, log_level least, int fd) noexcept {
  current_format.store(format, std::memory_order_relaxed);
  for (size_t i = 0; i < kLogComponents; ++i) log_level_set(static_cast<log_component>(i), least);
  current_fd.store(fd, std::memory_order_relaxed);
}

void log_node(std::string_view name) {
  current_node = name;
}

void log_level_set(log_component c, log_level level) noexcept {
  levels[static_cast<size_t>(c)].store(level, std::memory_order_relaxed);
  // Two threads that set at the same time may leave a least that is too high: under a lock.
  static std::mutex lock;
  const std::lock_guard<std::mutex> held(lock);
  log_level least = log_level::error;
  for (const auto& l : levels) least = std::min(least, l.load(std::memory_order_relaxed));
  log_level_least.store(least, std::memory_order_relaxed);
}

log_level log_level_get(log_component c) noexcept {
  return levels[static_cast<size_t>(c)].load(std::memory_order_relaxed);
}

bool log_enabled_in(log_component c, log_level level) noexcept {
  return level >= levels[static_cast<size_t>(c)].load(std::memory_order_relaxed);
}

void log_sink_set(const log_sink* s) noexcept {
  current_sink.store(s, std::memory_order_release);
}

void log_write(log_level level, std::string_view msg, std::initializer_list<log_field> fields,
               const char* file) noexcept {
  if (level < log_level_least.load(std::memory_order_relaxed)) return;
  const log_component component = log_component_of(file);
  if (!log_enabled_in(component, level)) return;
  const int saved_errno = errno;
  try {
    const log_format format = current_format.load(std::memory_order_relaxed);
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    std::string line;
    line.reserve(kLogLineBytes);
    append_field(&line, format, "ts", timestamp(now), false);
    append_field(&line, format, "level", log_level_name(level), false);
    append_field(&line, format, "component", log_component_name(component), false);
    if (!current_node.empty()) append_field(&line, format, "node", current_node, false);
    append_field(&line, format, "msg", msg, false);
    for (const log_field& f : fields) append_field(&line, format, f.key, f.value, f.is_number);
    line.append(format == log_format::json ? "}\n" : "\n");
    write_line(current_fd.load(std::memory_order_relaxed), line);
    const log_sink* sink = current_sink.load(std::memory_order_acquire);
    if (sink != nullptr)
      sink->line(sink->user, level, int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec,
                 std::string_view(line).substr(0, line.size() - 1));
  } catch (...) {
    write_line(current_fd.load(std::memory_order_relaxed),
               "level=error msg=\"out of memory for a log line\"\n");
  }
  errno = saved_errno;
}

bool log_limit_pass(log_limit* l, uint32_t every_ms) noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const uint64_t now_ms = static_cast<uint64_t>(now.tv_sec) * 1000 +
                          static_cast<uint64_t>(now.tv_nsec) / 1'000'000 + 1;  // never 0
  uint64_t last = l->last_ms.load(std::memory_order_relaxed);
  if (last != 0 && now_ms - last < every_ms) return false;
  return l->last_ms.compare_exchange_strong(last, now_ms, std::memory_order_relaxed);
}

}  // namespace core
