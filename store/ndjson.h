// The lines of a history as NDJSON: one JSON object a line, flat, with a kind. docs/TRANSFER.md has
// the fields. Pure.
//
//   header, then records with a check line after each kNdjsonCheckLines of them or
//   kNdjsonCheckBytes, whatever comes first, then end
//
// Check and end lines have the CRC-32 of all bytes before them, so damage is noticed before
// anything that came after the last good check is given on.
#pragma once

#include <string>
#include <string_view>

#include "store/transfer.h"

namespace store {

inline constexpr int64_t kNdjsonVersion = 1;
inline constexpr uint64_t kNdjsonCheckLines = 1000;
inline constexpr uint64_t kNdjsonCheckBytes = 4ull << 20;
// A publication of a full HTTP body, each byte of it escaped with six, and what goes with it.
inline constexpr uint64_t kNdjsonLineBytesMax = 32ull << 20;

enum class ndjson_kind : uint8_t { header, record, check, end };

struct ndjson_line {
  ndjson_kind kind = ndjson_kind::record;
  history_head head;      // header
  history_record record;  // record
  history_counts counts;  // end
  uint32_t crc = 0;       // check, end
};

// Each appends a line with its newline.
void ndjson_put_head(const history_head& head, std::string* out) noexcept;
void ndjson_put(const history_record& r, std::string* out) noexcept;
void ndjson_put_check(uint32_t crc, std::string* out) noexcept;
void ndjson_put_end(const history_counts& c, uint32_t crc, std::string* out) noexcept;

// A line without its newline. malformed: *why says what is wrong and what is allowed.
core::err ndjson_parse(std::string_view line, ndjson_line* out, std::string* why) noexcept;

// The checksum of `bytes` behind bytes of the checksum `before` (0: none).
uint32_t ndjson_crc(uint32_t before, std::string_view bytes) noexcept;

// What holds between the lines of a file: a channel's record comes before what is in it, offsets
// rise and stay within its top.
struct ndjson_order {
  std::string channel;
  uint64_t top = 0, last = 0;  // offsets; last: of the publication before
};
core::err ndjson_check(ndjson_order* o, const history_record& r, std::string* why) noexcept;

}  // namespace store
