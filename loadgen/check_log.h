// The logs of a run: what each loop's checker was told, in order, so that it can be judged again.
//
//   DIR/loop-0.log, loop-1.log …     one file a loop
//   file:  "parley check log 1\n" block block …
//   block: bytes 4, number 4, CRC-32 4 (little endian; of the number and what follows), then
//   records
//
// Block 0 holds the header and the rooms. Each block is read without those before it; a record is
// a kind and variable-length numbers, 4 to 15 bytes for a delivery. A loop fills a block and hands
// it to one thread, which writes: no call of a loop waits for the disk. Beyond the bounds the logs
// end with a `cut` record that says why, and the run goes on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/err.h"
#include "loadgen/check.h"

namespace loadgen {

inline constexpr size_t kLogBlockBytes = 64 * 1024;
inline constexpr uint64_t kLogBlockUs = 1'000'000;  // a block goes out after so long: what a kill
                                                    // of the tool may cost
inline constexpr size_t kLogTextBytesMax = 1024;  // of a channel's name, of a violation's sentence
inline constexpr uint64_t kLogQueueBytesMax = 16u << 20;   // filled and not yet written
inline constexpr uint64_t kLogBytesMax = 4ull << 30;       // of all loops together
inline constexpr uint64_t kLogDeliveriesMax = 20'000'000;  // "auto" keeps logs up to here: 200 MB

struct check_log_header {
  std::string scenario, started, tool_version;
  uint64_t seed = 0;
  uint32_t run = 0;  // random: logs of one run have the same
  uint32_t loop = 0, loops = 1;
};

struct check_logs;  // of a run
struct check_log;   // of a loop

// Removes the logs of an earlier run, so that none stand beside the report of another.
void check_logs_clear(const std::string& dir) noexcept;
// Makes `dir`, clears it, writes the headers. io, with the reason.
core::err check_logs_open(const std::string& dir, const check_log_header& head,
                          const std::vector<check_room>& rooms, uint64_t bytes_max,
                          check_logs** out, std::string* why) noexcept;
check_log* check_logs_at(check_logs* logs, uint32_t loop) noexcept;
// Where records without a time get theirs. Its loop's thread, like check_log_add().
void check_log_clock(check_log* l, uint64_t (*now_us)(const void* user) noexcept,
                     const void* user) noexcept;
void check_log_add(check_log* l, const check_record& r) noexcept;
// The loops have ended: writes what is left, frees. Empty *why: the logs are whole.
void check_logs_close(check_logs* logs, std::string* why) noexcept;

struct check_log_reader;
// not_found, io; malformed: no log, or not even its header can be read.
core::err check_log_open(const std::string& path, check_log_reader** out,
                         std::string* why) noexcept;
const check_log_header& check_log_about(const check_log_reader* r) noexcept;
const std::vector<check_room>& check_log_rooms(const check_log_reader* r) noexcept;
// The next record; its texts are valid until the next call. False: the end, or damage.
bool check_log_next(check_log_reader* r, check_record* out) noexcept;
// Why it ended where it did: "the block at byte 65555 is cut off". Empty: between two blocks.
const std::string& check_log_damage(const check_log_reader* r) noexcept;
void check_log_free(check_log_reader* r) noexcept;  // null: nothing

}  // namespace loadgen
