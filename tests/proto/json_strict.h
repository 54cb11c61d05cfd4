// A second opinion on JSON, independent of the library that the server uses: RFC 8259 by hand,
// slow and strict. Tests and fuzz targets hold what the server passes on against it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace proto {

class json_strict {
 public:
  explicit json_strict(std::string_view text) : text_(text) {
    space();
    is_valid_ = value(0);
    space();
    is_valid_ = is_valid_ && at_ == text_.size();
  }
  bool is_valid() const { return is_valid_; }
  uint32_t depth() const { return depth_; }  // of containers that hold something
  bool has_newline() const { return text_.find_first_of("\r\n") != std::string_view::npos; }
  // A number that a parser of 64 bit integers and doubles may refuse.
  bool has_wild_number() const { return has_wild_number_; }

 private:
  static constexpr uint32_t kRecursionMax = 5000;

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool word(std::string_view w) {
    if (text_.substr(at_, w.size()) != w) return false;
    at_ += w.size();
    return true;
  }
  void space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != text_.npos) ++at_;
  }
  bool value(uint32_t depth) {
    if (depth > kRecursionMax) return false;
    switch (peek()) {
      case '{':
        return list('{', '}', depth);
      case '[':
        return list('[', ']', depth);
      case '"':
        return text();
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }
  bool list(char open, char close, uint32_t depth) {
    take(open);
    space();
    if (take(close)) return true;
    depth_ = std::max(depth_, depth + 1);
    do {
      space();
      if (open == '{') {
        if (!text()) return false;
        space();
        if (!take(':')) return false;
        space();
      }
      if (!value(depth + 1)) return false;
      space();
    } while (take(','));
    return take(close);
  }
  size_t digits() {
    const size_t from = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ - from;
  }
  bool number() {
    take('-');
    const bool is_zero = peek() == '0';
    const size_t whole = digits();
    if (whole == 0 || (is_zero && whole > 1)) return false;
    if (whole > 18) has_wild_number_ = true;
    if (take('.') && digits() == 0) return false;
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      has_wild_number_ = true;
      if (peek() == '+' || peek() == '-') ++at_;
      return digits() > 0;
    }
    return true;
  }
  bool text() {
    if (!take('"')) return false;
    while (at_ < text_.size()) {
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') return take('"');
      if (c < 0x20) return false;
      if (c == '\\' ? !escape() : !utf8()) return false;
    }
    return false;
  }
  bool hex4(uint32_t* out) {
    *out = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const size_t digit = std::string_view("0123456789abcdefABCDEF").find(peek());
      if (at_ >= text_.size() || digit == std::string_view::npos) return false;
      *out = *out << 4 | static_cast<uint32_t>(digit < 16 ? digit : digit - 6);
    }
    return true;
  }
  // Surrogates come in pairs: half of one is no character, and many receivers refuse it.
  bool escape() {
    take('\\');
    if (peek() != 'u') {
      if (at_ >= text_.size() || std::string_view("\"\\/bfnrt").find(peek()) == text_.npos)
        return false;
      ++at_;
      return true;
    }
    ++at_;
    uint32_t unit, low;
    if (!hex4(&unit) || (unit >= 0xDC00 && unit < 0xE000)) return false;
    if (unit < 0xD800 || unit >= 0xE000) return true;
    return take('\\') && take('u') && hex4(&low) && low >= 0xDC00 && low < 0xE000;
  }
  bool utf8() {
    const auto first = static_cast<unsigned char>(text_[at_++]);
    if (first < 0x80) return true;
    const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    if (first < 0xC2 || first > 0xF4) return false;
    uint32_t code = first & (0x3Fu >> more);
    for (int i = 0; i < more; ++i) {
      if (at_ >= text_.size()) return false;
      const auto c = static_cast<unsigned char>(text_[at_++]);
      if ((c & 0xC0) != 0x80) return false;
      code = code << 6 | (c & 0x3F);
    }
    constexpr uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    return code >= kLeast[more] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
  }

  std::string_view text_;
  size_t at_ = 0;
  uint32_t depth_ = 0;
  bool is_valid_ = false;
  bool has_wild_number_ = false;
};

}  // namespace proto
