// Reading checked JSON with simdjson: what command.cc and api.cc share. Inside of proto/, not for
// others.
//
// The DOM parser validates a whole text first (UTF-8, depth, syntax); then fields are taken
// On-Demand, so that raw JSON stays the exact text that was sent.
#pragma once

#include <simdjson.h>

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

#include "core/err.h"
#include "core/limits.h"

namespace proto {

namespace od = simdjson::ondemand;

// The views of a command point into the line or into the On-Demand parser's string buffer; raw
// fields with newlines into `flat`.
struct command_parser {
  explicit command_parser(uint32_t bytes_max) : check(bytes_max), fields(bytes_max) {}
  simdjson::dom::parser check;
  od::parser fields;
  std::string padded;  // copies of input without padding
  std::string flat;    // raw values whose newlines were taken out
};

// too_big: deeper than kJsonDepthMax, or longer than the parser's bytes_max.
inline core::err check_text(command_parser* p, const char* text, size_t len) noexcept {
  // Newer versions of simdjson skip a byte order mark; passed on, it is no JSON.
  if (std::string_view(text, len).starts_with("\xEF\xBB\xBF")) return core::err::malformed;
  simdjson::dom::element root;
  const auto rc = p->check.parse(reinterpret_cast<const uint8_t*>(text), len, false).get(root);
  if (rc == simdjson::DEPTH_ERROR || rc == simdjson::CAPACITY) return core::err::too_big;
  return rc == simdjson::SUCCESS ? core::err::ok : core::err::malformed;
}

inline bool get_text(od::value v, std::string_view* out) noexcept {
  return v.get_string().get(*out) == simdjson::SUCCESS;
}

inline bool get_flag(od::value v, bool* out) noexcept {
  return v.get_bool().get(*out) == simdjson::SUCCESS;
}

inline bool get_u64(od::value v, uint64_t* out) noexcept {
  return v.get_uint64().get(*out) == simdjson::SUCCESS;
}

template <typename N>
bool get_signed(od::value v, N* out) noexcept {
  int64_t n;
  if (v.get_int64().get(n) != simdjson::SUCCESS || n < std::numeric_limits<N>::min() ||
      n > std::numeric_limits<N>::max())
    return false;
  *out = static_cast<N>(n);
  return true;
}

// The value's text as it was sent, spaces around it cut off.
inline bool raw_text(od::value v, std::string_view* out) noexcept {
  std::string_view raw;
  if (simdjson::to_json_string(v).get(raw) != simdjson::SUCCESS) return false;
  while (!raw.empty() &&
         (raw.back() == ' ' || raw.back() == '\t' || raw.back() == '\n' || raw.back() == '\r'))
    raw.remove_suffix(1);
  while (!raw.empty() &&
         (raw.front() == ' ' || raw.front() == '\t' || raw.front() == '\n' || raw.front() == '\r'))
    raw.remove_prefix(1);
  *out = raw;
  return true;
}

// Inside strings a raw newline is not valid JSON, so in checked text every newline is only space
// between tokens. One that parts two tokens (there is none in valid JSON that needs it) may go
// without harm.
inline void append_flat(std::string* out, std::string_view raw) noexcept {
  size_t at = 0;
  while (at < raw.size()) {
    const size_t end = std::min(raw.find_first_of("\r\n", at), raw.size());
    out->append(raw.substr(at, end - at));
    at = end + 1;
  }
}

inline bool get_raw(command_parser* p, od::value v, std::string_view* out) noexcept {
  if (!raw_text(v, out)) return false;
  if (out->find_first_of("\r\n") == std::string_view::npos) return true;
  const size_t at = p->flat.size();
  append_flat(&p->flat, *out);
  *out = std::string_view(p->flat).substr(at);
  return true;
}

// A JSON null is an absent field, as in the protocol's schema.
inline bool is_null(od::value v) noexcept {
  od::json_type type;
  return v.type().get(type) == simdjson::SUCCESS && type == od::json_type::null;
}

// Calls take(name, value) for every field that is not null; false when the value is no object or
// take() refuses.
template <typename Take>
bool each_field(od::value v, Take take) noexcept {
  od::object object;
  if (v.get_object().get(object) != simdjson::SUCCESS) return false;
  for (auto field : object) {
    std::string_view name;
    od::value value;
    if (field.unescaped_key().get(name) != simdjson::SUCCESS ||
        field.value().get(value) != simdjson::SUCCESS)
      return false;
    if (!is_null(value) && !take(name, value)) return false;
  }
  return true;
}

}  // namespace proto
