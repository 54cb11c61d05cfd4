// What a checker is told, one record a call: what logs keep, so that a run can be judged again.
#pragma once

#include <cstdint>
#include <string_view>

#include "loadgen/result.h"
#include "loadgen/stamp.h"

namespace loadgen {

// The numbers are those of the log files: new ones go to the end, none changes its meaning.
enum class check_event : uint8_t {
  room,         // message.publisher: how many; is_so: it has offsets; channel
  member,       // receiver, message.room; members are numbered as they come
  start,        // the first message is about to be sent
  join,         // offset
  leave,        //
  unrecovered,  // offset; is_so: it was allowed
  take,         // message, offset
  corrupt,      // offset, text
  note,         // kind, channel, offset, receiver, text
  refused,      // message without its time
  acked,        // the same, and offset
  repeated,     // the same; is_so: answered as a duplicate
  history,      // message, offset; member: the room that was read
  history_end,  // message.room, offset
  finish,       // the run is over, and was judged
  cut,          // the log ends here, before the run: text says why
  may_lose,     //
  kCount
};
const char* check_event_name(check_event e) noexcept;  // "take"

inline constexpr uint64_t kNoTime = UINT64_MAX;

struct check_record {
  check_event what = check_event::start;
  bool is_so = false;
  violation_kind kind = violation_kind::lost;
  uint32_t member = 0;
  uint32_t receiver = 0;
  stamp message;  // but for its run
  uint64_t offset = 0;
  uint64_t now_us = kNoTime;       // on the run's clock; kNoTime: the call had none
  std::string_view channel, text;  // borrowed
};

// Called within the checker's calls, before they take effect. It may not call the checker.
using check_listener = void (*)(void* user, const check_record& r) noexcept;

}  // namespace loadgen
