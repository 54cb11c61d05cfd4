// One message of a channel as stores and brokers know it. They never look into the JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace store {

struct publication {
  uint64_t offset = 0;  // 1, 2, 3 …; 0 for an ephemeral one
  int64_t time_ms = 0;  // Unix time, the broker's
  std::string data;     // JSON text, no raw newline; "null" after a delete
  std::string info;     // finished ClientInfo JSON object, or empty
  std::string tags;     // finished JSON object of strings, or empty
};

// Where a channel stands.
struct position {
  uint64_t offset = 0;  // of the newest publication ever committed; 0: none yet
  std::string epoch;    // [A-Za-z0-9]{1,16}
};

// How much of a channel is kept; binds when reading, however late retention deletes.
struct retention {
  static constexpr uint64_t kForever = 0;
  uint64_t size_max = kForever;  // newest publications that count as history
  uint64_t ttl_ms = kForever;
};

}  // namespace store
