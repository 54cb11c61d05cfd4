// The bytes of a spool's segments: heads, seals, checksums. No files here.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "store/spool.h"

namespace store {

inline constexpr std::string_view kSegmentMagic = "PRLYSPL1";
inline constexpr uint32_t kFrameMagic = 0x4d52'4650;  // "PFRM"
inline constexpr uint32_t kSealMagic = 0x4c41'5350;   // "PSAL"
inline constexpr uint32_t kSegmentHeadBytes = 40, kFrameHeadBytes = 24, kRecordHeadBytes = 8,
                          kSealBytes = 16, kFrameAlign = 8;
static_assert(kSegmentHeadBytes % kFrameAlign == 0 && kSealBytes % kFrameAlign == 0);

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they are");

template <typename N>
N spool_get(const char* at) noexcept {
  N n;
  memcpy(&n, at, sizeof n);
  return n;
}
template <typename N>
void spool_put(std::string* out, N n) {
  out->append(reinterpret_cast<const char*>(&n), sizeof n);
}

inline uint32_t spool_crc(uint32_t from, const void* bytes, size_t n) noexcept {
  return static_cast<uint32_t>(crc32_z(from, static_cast<const Bytef*>(bytes), n));
}

inline uint32_t record_crc(std::string_view id, uint64_t seq, std::string_view record) noexcept {
  uint32_t c = spool_crc(0, id.data(), id.size());
  c = spool_crc(c, &seq, sizeof seq);
  return spool_crc(c, record.data(), record.size());
}

// Of the head without its last four bytes, and the body.
inline uint32_t frame_crc(std::string_view id, const char* head, std::string_view body) noexcept {
  uint32_t c = spool_crc(0, id.data(), id.size());
  c = spool_crc(c, head, kFrameHeadBytes - sizeof(uint32_t));
  return spool_crc(c, body.data(), body.size());
}

inline uint64_t frame_padded(uint64_t body) noexcept {
  return (kFrameHeadBytes + body + kFrameAlign - 1) / kFrameAlign * kFrameAlign;
}

inline std::string segment_head(std::string_view id, uint64_t first_seq) {
  std::string h(kSegmentMagic);
  h += id;
  spool_put(&h, first_seq);
  spool_put(&h, spool_crc(0, h.data(), h.size()));
  spool_put(&h, uint32_t{0});
  return h;
}

inline bool segment_head_parse(std::string_view file, std::string* id, uint64_t* first_seq) {
  if (file.size() < kSegmentHeadBytes || !file.starts_with(kSegmentMagic)) return false;
  *id = file.substr(kSegmentMagic.size(), kSpoolIdBytes);
  *first_seq = spool_get<uint64_t>(file.data() + kSegmentMagic.size() + kSpoolIdBytes);
  return file.substr(0, kSegmentHeadBytes) == segment_head(*id, *first_seq);
}

inline std::string frame_seal(std::string_view id, uint64_t end_seq) {
  std::string s;
  spool_put(&s, kSealMagic);
  uint32_t c = spool_crc(0, id.data(), id.size());
  spool_put(&s, spool_crc(c, &end_seq, sizeof end_seq));
  spool_put(&s, end_seq);
  return s;
}

// A seal stands at `at`: the sequence number behind it, 0: none.
inline uint64_t seal_parse(std::string_view id, std::string_view file, uint64_t at) noexcept {
  if (at + kSealBytes > file.size() || spool_get<uint32_t>(file.data() + at) != kSealMagic)
    return 0;
  const uint64_t end = spool_get<uint64_t>(file.data() + at + 8);
  return file.substr(at, kSealBytes) == frame_seal(id, end) ? end : 0;
}

struct frame_view {
  uint64_t first_seq = 0;
  uint32_t records = 0;
  std::string_view body;
};

// False: no whole frame with a right checksum stands at `at`.
inline bool frame_parse(std::string_view id, std::string_view file, uint64_t at,
                        frame_view* out) noexcept {
  if (at + kFrameHeadBytes > file.size()) return false;
  const char* head = file.data() + at;
  if (spool_get<uint32_t>(head) != kFrameMagic) return false;
  const uint32_t bytes = spool_get<uint32_t>(head + 4);
  if (bytes > kSpoolGroupBytesMax || at + frame_padded(bytes) > file.size()) return false;
  out->body = file.substr(at + kFrameHeadBytes, bytes);
  out->first_seq = spool_get<uint64_t>(head + 8);
  out->records = spool_get<uint32_t>(head + 16);
  const uint64_t used = kFrameHeadBytes + bytes;
  const std::string_view pad = file.substr(at + used, frame_padded(bytes) - used);
  return spool_get<uint32_t>(head + 20) == frame_crc(id, head, out->body) &&
         pad.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace store
