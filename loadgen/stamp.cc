// Writing and reading of load messages. Reading is on the way of every delivery: one search for the
// marker, one for the end, 56 table look-ups, and the checksum.
#include "loadgen/stamp.h"

#include <algorithm>
#include <array>

#include "core/assert.h"
#include "loadgen/random.h"

namespace loadgen {
namespace {

constexpr std::string_view kMarker = "{\"l\":\"";
constexpr std::string_view kPadMarker = "\",\"x\":\"";
constexpr std::string_view kEnd = "\"}";
constexpr std::string_view kPad =
    "pad pad pad pad pad pad pad pad pad pad pad pad pad pad pad pad ";
constexpr size_t kDigits = 4 * 8 + 16;  // before the checksum's 8
constexpr size_t kChecksumAt = kMarker.size() + kDigits;
constexpr size_t kPadAt = kChecksumAt + 8 + kPadMarker.size();
static_assert(kPadAt + kEnd.size() == kStampBytesMin);

constexpr auto kHexValues = [] {
  std::array<int8_t, 256> values{};
  for (int8_t& v : values) v = -1;
  for (int i = 0; i < 10; ++i) values[static_cast<size_t>('0' + i)] = static_cast<int8_t>(i);
  for (int i = 0; i < 6; ++i) values[static_cast<size_t>('a' + i)] = static_cast<int8_t>(10 + i);
  return values;
}();

void put_hex(char* to, uint64_t value, unsigned digits) noexcept {
  for (unsigned i = digits; i-- > 0; value >>= 4) to[i] = "0123456789abcdef"[value & 15];
}

// One branch for all digits: a wrong one makes *wrong negative.
uint64_t take_hex(const char* at, unsigned digits, int* wrong) noexcept {
  uint64_t value = 0;
  for (unsigned i = 0; i < digits; ++i) {
    const int v = kHexValues[static_cast<unsigned char>(at[i])];
    *wrong |= v;
    value = value << 4 | static_cast<uint64_t>(v & 15);
  }
  return value;
}

// CRC-32 as zlib has it, eight bytes a step. zlib's own goes through texts of our size byte by
// byte, which was two thirds of the cost of reading a message (128 bytes: 280 ns with it, 110 with
// this).
constexpr auto kChecksums = [] {
  std::array<std::array<uint32_t, 256>, 8> t{};
  for (uint32_t i = 0; i < 256; ++i) {
    t[0][i] = i;
    for (int bit = 0; bit < 8; ++bit) t[0][i] = t[0][i] >> 1 ^ (t[0][i] % 2 == 0 ? 0 : 0xedb88320);
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t i = 0; i < 256; ++i) t[k][i] = t[k - 1][i] >> 8 ^ t[0][t[k - 1][i] & 255];
  }
  return t;
}();

uint32_t add_bytes(uint32_t sum, std::string_view part) noexcept {
  const auto* p = reinterpret_cast<const unsigned char*>(part.data());
  size_t left = part.size();
  for (; left >= 8; left -= 8, p += 8) {
    sum ^= p[0] | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24;
    sum = kChecksums[7][sum & 255] ^ kChecksums[6][sum >> 8 & 255] ^
          kChecksums[5][sum >> 16 & 255] ^ kChecksums[4][sum >> 24] ^ kChecksums[3][p[4]] ^
          kChecksums[2][p[5]] ^ kChecksums[1][p[6]] ^ kChecksums[0][p[7]];
  }
  for (; left > 0; --left, ++p) sum = sum >> 8 ^ kChecksums[0][(sum ^ *p) & 255];
  return sum;
}

uint32_t checksum(std::string_view data) noexcept {
  return ~add_bytes(add_bytes(~uint32_t{0}, data.substr(0, kChecksumAt)),
                    data.substr(kChecksumAt + 8));
}

// From its '{' to its '}', when the shape is right; else as far as it is.
bool find_end(std::string_view text, size_t at, size_t* len) noexcept {
  const std::string_view rest = text.substr(at);
  *len = std::min<size_t>(rest.size(), kPadAt);
  if (rest.size() < kStampBytesMin || rest.substr(kChecksumAt + 8, kPadMarker.size()) != kPadMarker)
    return false;
  const size_t quote = rest.find('"', kPadAt);
  *len = quote == std::string_view::npos ? rest.size() : quote;
  if (rest.substr(*len, kEnd.size()) != kEnd) return false;
  *len += kEnd.size();
  return true;
}

}  // namespace

void stamp_write(std::string* out, const stamp& s, uint32_t bytes) noexcept {
  const size_t at = out->size(), len = std::max(bytes, kStampBytesMin);
  out->resize(at + len);
  char* to = out->data() + at;
  char* digits = std::copy(kMarker.begin(), kMarker.end(), to);
  put_hex(digits, s.run, 8);
  put_hex(digits + 8, s.room, 8);
  put_hex(digits + 16, s.publisher, 8);
  put_hex(digits + 24, s.number, 8);
  put_hex(digits + 32, s.due_us, 16);
  char* pad = std::copy(kPadMarker.begin(), kPadMarker.end(), to + kChecksumAt + 8);
  for (size_t left = len - kStampBytesMin; left > 0;) {
    const size_t part = std::min(left, kPad.size());
    pad = std::copy_n(kPad.begin(), part, pad);
    left -= part;
  }
  std::copy(kEnd.begin(), kEnd.end(), pad);
  put_hex(to + kChecksumAt, checksum({to, len}), 8);
}

stamp_result stamp_read(std::string_view text, stamp* out, size_t* data_at,
                        size_t* data_len) noexcept {
  size_t unused = 0;
  size_t* at = data_at != nullptr ? data_at : &unused;
  size_t* len = data_len != nullptr ? data_len : &unused;
  *len = 0;
  const size_t begin = text.find(kMarker);
  *at = begin == std::string_view::npos ? 0 : begin;
  if (begin == std::string_view::npos) return stamp_result::foreign;
  size_t size = 0;
  const bool is_whole = find_end(text, begin, &size);
  *len = size;
  if (!is_whole) return stamp_result::corrupt;
  const char* digits = text.data() + begin + kMarker.size();
  int wrong = 0;
  stamp s;
  s.run = static_cast<uint32_t>(take_hex(digits, 8, &wrong));
  s.room = static_cast<uint32_t>(take_hex(digits + 8, 8, &wrong));
  s.publisher = static_cast<uint32_t>(take_hex(digits + 16, 8, &wrong));
  s.number = static_cast<uint32_t>(take_hex(digits + 24, 8, &wrong));
  s.due_us = take_hex(digits + 32, 16, &wrong);
  const auto sum = static_cast<uint32_t>(take_hex(digits + kDigits, 8, &wrong));
  if (wrong < 0 || sum != checksum(text.substr(begin, size))) return stamp_result::corrupt;
  *out = s;
  return stamp_result::ok;
}

uint64_t stamp_hash(const stamp& s) noexcept {
  return random_mix(s.room, uint64_t{s.publisher} << 32 | s.number);
}

}  // namespace loadgen
