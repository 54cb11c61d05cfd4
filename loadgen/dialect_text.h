// Texts with places in them, ${channel} or ${data}: written as commands, matched against what a
// server sends. Pure.
//
// A text to be matched stands at the beginning of a message; what comes behind its last part is
// free. A place takes as little as it can: up to what stands behind it in the text.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace loadgen {

enum class text_place : uint8_t {
  literal,  // no place
  channel,
  data,  // of a message, JSON: stamp.h
  id,    // of a command, decimal: 1, 2, 3 … on each connection
  user,
  token,
  error,  // the server's words for why not
  any,
  kCount
};
const char* text_place_name(text_place p) noexcept;  // "channel"

struct text_part {
  text_place place = text_place::literal;
  std::string literal;
};
using text_pattern = std::vector<text_part>;

// False: *why goes on after the name of the key ("has ${chanel}, which …"). Only the `allowed`
// places may be there.
bool text_parse(std::string_view text, std::initializer_list<text_place> allowed, text_pattern* out,
                std::string* why);
bool text_has(const text_pattern& p, text_place place) noexcept;
// False: *why as above. Two places with nothing between them have no end; neither have two of one
// name one value.
bool text_can_match(const text_pattern& p, std::string* why);

struct text_values {
  std::string_view channel, data, user, token;
  uint32_t id = 0;
};
void text_write(const text_pattern& p, const text_values& v, std::string* out) noexcept;

struct text_found {
  std::string_view channel, error;
  std::string_view data;  // from where it begins to the end of the message
  uint32_t id = 0;
};
// A text that begins with ${data} matches only what begins with a load message: it could be
// anything else. *out is what was found until then when it does not match.
bool text_match(const text_pattern& p, std::string_view message, text_found* out) noexcept;

}  // namespace loadgen
