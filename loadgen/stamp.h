// What a load message carries, so that every receiver knows who sent it, which it is, when it was
// due, and that no byte of it has changed. Pure.
//
//   {"l":"<run 8><room 8><publisher 8><number 8><due_us 16><crc 8>","x":"pad pad …"}
//
// Hexadecimal digits, lower case. The padding has no quotes and no backslashes: its end is the
// message's. The checksum (CRC-32, zlib's) covers everything but itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace loadgen {

struct stamp {
  uint32_t run = 0;  // random for each run: messages of another run in a channel are none of ours
  uint32_t room = 0;
  uint32_t publisher = 0;  // its place among the room's publishers
  uint32_t number = 0;     // of this publisher in this room: 0, 1, 2 …
  uint64_t due_us = 0;     // intended time, on the run's clock (microseconds since its start)
};

inline constexpr uint32_t kStampBytesMin = 71;  // of data: smaller messages cannot carry a stamp

// Appends the data of a message: exactly max(bytes, kStampBytesMin) bytes of JSON.
void stamp_write(std::string* out, const stamp& s, uint32_t bytes) noexcept;

enum class stamp_result : uint8_t { ok, foreign, corrupt };  // foreign: no load message at all
// Reads the first load message in `text` (a frame's payload, or data alone). ok fills *out.
// *data_at and *data_len (may be null) get where its JSON stands, from its '{' to its '}'; corrupt:
// as far as it can be followed; foreign: 0 and 0.
stamp_result stamp_read(std::string_view text, stamp* out, size_t* data_at,
                        size_t* data_len) noexcept;

// What stands for the message in hashes: equal for equal (publisher, number, room), and different
// for any two of one room.
uint64_t stamp_hash(const stamp& s) noexcept;

}  // namespace loadgen
