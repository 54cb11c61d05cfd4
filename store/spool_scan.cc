// The scan goes from frame to frame. Where one does not fit, what stands behind it decides: a frame
// or a seal there was written after it, so it was synced once and is damaged now; nothing there,
// and it is the group that a crash has cut.
#include "store/spool_scan.h"

#include "store/spool_format.h"

namespace store {
namespace {

// A whole frame or seal behind `at`, of records behind `seq`.
bool has_later(std::string_view id, std::string_view file, uint64_t at, uint64_t seq) noexcept {
  at = (at + kFrameAlign - 1) / kFrameAlign * kFrameAlign;
  for (; at + kSealBytes <= file.size(); at += kFrameAlign) {
    if (seal_parse(id, file, at) > seq) return true;
    frame_view f;
    if (frame_parse(id, file, at, &f) && f.first_seq >= seq) return true;
  }
  return false;
}

segment_scan damaged(segment_scan s, uint64_t at, const char* why) noexcept {
  s.is_damaged = true;
  s.damage = at;
  s.why = why;
  return s;
}

// Records of a frame whose checksum is right. nullptr: all are good.
const char* read_records(std::string_view id, const frame_view& f, uint64_t body_at,
                         scan_record_cb on_record, void* user, uint64_t* bad_at) noexcept {
  uint64_t at = 0;
  for (uint32_t i = 0; i < f.records; ++i) {
    *bad_at = body_at + at;
    if (f.body.size() - at < kRecordHeadBytes) return "a record without its head";
    const uint32_t bytes = spool_get<uint32_t>(f.body.data() + at);
    const uint32_t crc = spool_get<uint32_t>(f.body.data() + at + 4);
    if (bytes > f.body.size() - at - kRecordHeadBytes) return "a record longer than its group";
    const std::string_view record = f.body.substr(at + kRecordHeadBytes, bytes);
    if (crc != record_crc(id, f.first_seq + i, record)) return "a record with a wrong checksum";
    if (!on_record(user, f.first_seq + i, static_cast<uint32_t>(body_at + at), record))
      return "a record that means nothing to this version";
    at += kRecordHeadBytes + bytes;
  }
  return at == f.body.size() ? nullptr : "bytes behind the records of a group";
}

}  // namespace

segment_scan scan_segment(std::string_view id, std::string_view file, uint64_t first_seq,
                          uint64_t next_first_seq, scan_record_cb on_record, void* user) noexcept {
  segment_scan s;
  s.end_seq = first_seq;
  s.end = kSegmentHeadBytes;
  s.has_seal = true;
  uint64_t at = kSegmentHeadBytes;
  while (at < file.size() && (next_first_seq == 0 || s.end_seq < next_first_seq)) {
    frame_view f;
    if (!frame_parse(id, file, at, &f)) {
      if (next_first_seq > 0 || has_later(id, file, at + 1, s.end_seq))
        return damaged(s, at, "a group with a wrong checksum");
      return s;
    }
    if (f.first_seq != s.end_seq || f.records == 0)
      return damaged(s, at, "a group out of its place");
    uint64_t bad_at = 0;
    const char* why = read_records(id, f, at + kFrameHeadBytes, on_record, user, &bad_at);
    if (why != nullptr) return damaged(s, bad_at, why);
    s.end_seq += f.records;
    s.end = at += frame_padded(f.body.size());
    s.has_seal = seal_parse(id, file, at) == s.end_seq;
    if (!s.has_seal) {
      if (next_first_seq > s.end_seq || has_later(id, file, at, s.end_seq - 1))
        return damaged(s, at, "a seal with a wrong checksum");
      return s;
    }
    s.end = at += kSealBytes;
  }
  if (next_first_seq > 0 && s.end_seq != next_first_seq)
    return damaged(s, s.end, "an end before the next file's beginning");
  return s;
}

}  // namespace store
