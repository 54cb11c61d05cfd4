// Reads a segment's bytes: which records are whole, where a torn end begins, what is damage. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace store {

struct segment_scan {
  uint64_t end_seq = 0;     // of the records that are whole, one behind the last
  uint64_t end = 0;         // bytes up to the last whole frame, or its seal
  bool has_seal = false;    // the last frame's; true also without a frame
  bool is_damaged = false;  // at `damage`, `why` says what
  uint64_t damage = 0;
  const char* why = "";
};

// False: the record means nothing to the caller.
using scan_record_cb = bool (*)(void* user, uint64_t seq, uint32_t at,
                                std::string_view record) noexcept;

// `file` is the whole segment, whose head is good and says `first_seq`. next_first_seq: of the
// segment behind it, 0 when there is none. Only the newest segment may have a torn end; what an
// older one holds beyond the next one's beginning was refused when it was written.
segment_scan scan_segment(std::string_view id, std::string_view file, uint64_t first_seq,
                          uint64_t next_first_seq, scan_record_cb on_record, void* user) noexcept;

}  // namespace store
