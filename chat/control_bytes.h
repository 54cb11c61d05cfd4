// What nodes tell each other by broker control, as bytes: a kind, then numbers (little endian) and
// texts with their lengths. Nodes of different versions meet in a rolling restart: an unknown kind
// is dropped, and a kind's bytes never change.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace chat {

enum class control_kind : uint8_t { user_op = 1, status = 2, channels_asked = 3, channels = 4 };

inline void control_put(std::string* out, uint64_t v, uint32_t bytes) noexcept {
  for (uint32_t i = 0; i < bytes; ++i) out->push_back(static_cast<char>(v >> (8 * i)));
}

inline void control_put(std::string* out, std::string_view text) noexcept {
  control_put(out, text.size(), 4);
  out->append(text);
}

// After the first thing that is not there, everything reads as 0 and empty.
struct control_cursor {
  std::string_view left;
  bool is_good = true;

  uint64_t number(uint32_t bytes) noexcept {
    is_good = is_good && left.size() >= bytes;
    if (!is_good) return 0;
    uint64_t v = 0;
    for (uint32_t i = 0; i < bytes; ++i)
      v |= static_cast<uint64_t>(static_cast<unsigned char>(left[i])) << (8 * i);
    left.remove_prefix(bytes);
    return v;
  }
  std::string_view text() noexcept {
    const uint64_t bytes = number(4);
    is_good = is_good && bytes <= left.size();
    if (!is_good) return {};
    const std::string_view t = left.substr(0, bytes);
    left.remove_prefix(bytes);
    return t;
  }
  bool is_done() const noexcept { return is_good && left.empty(); }
};

}  // namespace chat
