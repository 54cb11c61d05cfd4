// A write-ahead spool: records on local disk, kept until somewhere better has them.
//
// Files DIR/<first sequence number, 16 hex digits>.spool, the segments, little-endian:
//   segment  "PRLYSPL1" | id, 16 random bytes of the spool | first seq u64 | crc u32 | 0 u32,
//   frames frame    magic u32 | body bytes u32 | first seq u64 | records u32 | crc u32 | body |
//   0-pad to 8 body     for each record: bytes u32 | crc u32 | the record seal     magic u32 | crc
//   u32 | seq behind the frame u64
// A frame is one group of records, written at once and synced. Its seal follows when the sync has
// returned, itself unsynced. So what a crash may leave torn is the one frame at the very end, and
// it has no seal: it is cut off when the spool is opened, for nobody was told of it. Anything else
// that does not fit its checksum is damage and refused. (Beyond what a file can tell: an end that
// was cut off later, or the last frame damaged after a loss of power that took its seal.)
// Checksums are CRC-32 over the id and what they stand for, so that no bytes of a user pass for a
// frame.
//
// A segment is removed when every record of it, and of all before it, is stored: what is replayed
// at a start is a suffix of what was added, some of which may have been stored before.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/err.h"

namespace store {

struct spool;
struct spool_segment;

inline constexpr uint32_t kSpoolRecordBytesMax = 16u << 20;  // what a MongoDB document may have
inline constexpr uint32_t kSpoolGroupBytesMax = 64u << 20;   // a frame's length; before that `full`
inline constexpr uint32_t kSpoolIdBytes = 16;

struct spool_options {
  std::string dir;                       // made when it is missing, its parent is not
  uint64_t segment_bytes = 16ull << 20;  // a new segment begins beyond it: what is read at a start
                                         // although it was stored before
  uint64_t bytes_max = 4ull << 30;       // of all segments; beyond it `full`
};

// Where a record stands; holds the segment's file open, also when it is removed meanwhile.
struct spool_place {
  std::shared_ptr<spool_segment> segment;
  uint64_t seq = 0;
  uint32_t at = 0;     // of the record's head in the file
  uint32_t bytes = 0;  // of the record
};

struct spool_stats {
  uint64_t bytes = 0;     // of all segments
  uint64_t segments = 0;  // files
  uint64_t records = 0;   // not yet stored
  uint64_t syncs = 0;     // groups since the start
  uint64_t torn = 0;      // bytes cut off at the end when it was opened
};

// During spool_open(), for each record in the order of its sequence number; `record` is valid until
// return. False: the record means nothing to the caller, the spool is refused as damaged there.
using spool_replay_cb = bool (*)(void* user, const spool_place& place,
                                 std::string_view record) noexcept;

// Opens or makes a spool and replays what is in it. conflict: another process has it; malformed:
// damaged, *why names file and offset and nothing was changed; io. *why is a sentence for the user.
core::err spool_open(const spool_options& o, spool_replay_cb on_record, void* user, spool** out,
                     std::string* why) noexcept;
// What was added and not committed is dropped. With nothing left to store the next start replays
// nothing. Places stay readable.
void spool_close(spool* s) noexcept;

// kSpoolIdBytes random bytes, made with the first segment: a spool that was lost has another one.
std::string_view spool_id(const spool* s) noexcept;
bool spool_is_new(const spool* s) noexcept;  // made by this spool_open()

// Add and commit: one thread at a time.
// Puts a record into the group that the next commit writes; the place can be read after it.
// full: bytes_max or the group's bound would be passed; too_big: kSpoolRecordBytesMax.
core::err spool_add(spool* s, std::string_view record, spool_place* place) noexcept;
// Writes and syncs the group. io: all of it is gone from the spool, as if it had not been added,
// and its sequence numbers will be given again; a later commit may succeed.
core::err spool_commit(spool* s) noexcept;

// Any thread. The record's bytes; malformed: they have changed on the disk; io.
core::err spool_read(const spool_place& place, std::string* record) noexcept;
// Any thread, once for each record, in any order: it need not be kept any longer.
void spool_stored(spool* s, const spool_place& place) noexcept;
spool_stats spool_measure(spool* s) noexcept;  // any thread

}  // namespace store
