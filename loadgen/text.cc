// Numbers by hand, since locales may not touch them; text by one UTF-8 decoder for all outputs.
#include "loadgen/text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace loadgen {
namespace {

constexpr std::string_view kNone = "–";
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::string three_digits(double v) {
  char text[48];
  if (v < 0.9995) {
    std::snprintf(text, sizeof text, "%.3g", v);
  } else {
    const int decimals = v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2;
    std::snprintf(text, sizeof text, "%.*f", decimals, v);
  }
  return text;
}

std::string with_unit(double v, const char* unit) {
  return three_digits(v) + " " + unit;
}

bool is_number(double v) {
  return std::isfinite(v) && v >= 0;
}

// The length of the well-formed character at the front, 0 when there is none. RFC 3629, table of
// section 4.
size_t character_length(std::string_view t) {
  const auto at = [t](size_t i) { return i < t.size() ? static_cast<unsigned char>(t[i]) : 0u; };
  const auto is_tail = [at](size_t i) { return (at(i) & 0xC0) == 0x80; };
  const unsigned first = at(0), second = at(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return is_tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool is_good = is_tail(1) && is_tail(2) && !(first == 0xE0 && second < 0xA0) &&
                         !(first == 0xED && second > 0x9F);
    return is_good ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool is_good = is_tail(1) && is_tail(2) && is_tail(3) &&
                         !(first == 0xF0 && second < 0x90) && !(first == 0xF4 && second > 0x8F);
    return is_good ? 4 : 0;
  }
  return 0;
}

// C0, DEL, C1, and the two that XML knows no way to write.
bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7F;
  if (character.size() == 2)
    return first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
  return character == "\xEF\xBF\xBE" || character == "\xEF\xBF\xBF";
}

// Calls take(character) for each; what is not UTF-8 comes as U+FFFD.
template <typename F>
void each_character(std::string_view text, F take) {
  while (!text.empty()) {
    const size_t n = character_length(text);
    take(n == 0 ? kReplacement : text.substr(0, n));
    text.remove_prefix(n == 0 ? 1 : n);
  }
}

}  // namespace

std::string duration_text(double us) {
  if (!is_number(us)) return std::string(kNone);
  if (us < 999.5 && us == std::floor(us)) return std::to_string(static_cast<int>(us)) + " µs";
  if (us < 999.5) return with_unit(us, "µs");
  if (us < 999.5e3) return with_unit(us / 1e3, "ms");
  if (us < 119.5e6) return with_unit(us / 1e6, "s");
  const auto s = static_cast<uint64_t>(std::llround(us / 1e6));
  const uint64_t larger = s >= 7200 ? 3600 : 60;
  const uint64_t rest = s % larger / (larger / 60);
  std::string out = std::to_string(s / larger) + (larger == 60 ? " min" : " h");
  if (rest > 0) out += " " + std::to_string(rest) + (larger == 60 ? " s" : " min");
  return out;
}

std::string bytes_text(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (!is_number(bytes)) return std::string(kNone);
  size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return with_unit(bytes, kUnits[unit]);
}

std::string number_text(double value) {
  if (!is_number(value)) return std::string(kNone);
  if (value == std::floor(value) && value < 1000) return std::to_string(static_cast<int>(value));
  if (value < 999.5) return three_digits(value);
  if (value < 999.5e3) return with_unit(value / 1e3, "k");
  if (value < 999.5e6) return with_unit(value / 1e6, "M");
  return with_unit(value / 1e9, "G");
}

std::string count_text(uint64_t n) {
  std::string out = std::to_string(n);
  for (size_t i = out.size(); i > 3; i -= 3) out.insert(i - 3, ",");
  return out;
}

std::string share_text(double share) {
  return is_number(share) ? with_unit(share * 100, "%") : std::string(kNone);
}

std::string named_text(std::string_view name, double value) {
  if (!is_number(value)) return std::string(kNone);
  if (name.ends_with("_ms")) return duration_text(value * 1e3);
  if (name.ends_with("_us")) return duration_text(value);
  if (name.ends_with("_s")) return duration_text(value * 1e6);
  if (name.ends_with("_share")) return share_text(value);
  if (name.find("_us_per_") != std::string_view::npos) return with_unit(value, "µs");
  if (name.ends_with("_bytes")) return bytes_text(value);
  return number_text(value);
}

std::string seconds_text(uint64_t us) {
  char text[40];
  std::snprintf(text, sizeof text, "%.3f s", static_cast<double>(us) / 1e6);
  return text;
}

std::string digest_text(uint64_t v) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(v));
  return text;
}

std::string column_text(const std::string& text, size_t width, bool is_left) {
  const auto wide = static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
  const std::string space(wide < width ? width - wide : 0, ' ');
  return is_left ? text + space : space + text;
}

std::string utf8_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  each_character(text, [&out](std::string_view c) { out += c; });
  return out;
}

std::string markup_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  each_character(text, [&out](std::string_view c) {
    if (c == "&") {
      out += "&amp;";
    } else if (c == "<") {
      out += "&lt;";
    } else if (c == ">") {
      out += "&gt;";
    } else if (c == "\"") {
      out += "&quot;";
    } else if (c == "'") {
      out += "&#39;";
    } else if (c == "\n" || c == "\t") {
      out += " ";
    } else {
      out += is_control(c) ? kReplacement : c;
    }
  });
  return out;
}

std::string line_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  each_character(text, [&out](std::string_view c) {
    if (c == "\n" || c == "\t") {
      out += " ";
    } else {
      out += is_control(c) ? kReplacement : c;
    }
  });
  return out;
}

std::string markdown_text(std::string_view text) {
  static constexpr std::string_view kSpecial = "\\`*_[]|~>";
  std::string out;
  for (const char c : line_text(text)) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else {
      if (kSpecial.find(c) != std::string_view::npos) out += '\\';
      out += c;
    }
  }
  return out;
}

}  // namespace loadgen
