// Who does what when, made from the seed before the run: two runs of one seed have the same
// schedule, whatever the server does. Pure.
//
// Each actor (a publisher of a room, whoever lets members leave …) has a random stream of its own,
// named after its group and its place: another group, more rooms or readers do not move the times
// of the others.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loadgen/scenario.h"

namespace loadgen {

// One room of the run. Members are peer indices, all different; the first `publishers` of them
// publish.
struct room_plan {
  uint32_t group = 0;
  uint32_t index = 0;  // in its group
  std::vector<uint32_t> members;
  uint32_t publishers = 1;
};

enum class action_kind : uint8_t { publish, leave, join, cut, slow, unslow, history, presence };

inline constexpr uint32_t kNoRoom = UINT32_MAX;

struct action {
  uint64_t at_us = 0;  // after the begin of the first phase, before the end of the last
  action_kind kind = action_kind::publish;
  uint8_t phase = 0;
  bool is_retried = false;  // publish: sent twice with the same key
  uint32_t peer = 0;
  uint32_t room = 0;  // kNoRoom: cut, slow, unslow
};

// Sorted by at_us, then by the order of making. For arrivals = window there are no publish actions.
// Who leaves is in and does not publish, is joined by the end, and is not one of the slow readers;
// history and presence are asked by members that are in. Slow readers are members that publish
// nowhere, as far as there are any.
struct schedule {
  std::vector<room_plan> rooms;
  uint32_t peers = 0;  // connections: members, then idle ones, which are in no room
  uint32_t first_idle = 0;
  std::vector<action> actions;
};

// err::too_big when the scenario asks for more than kActionsMax actions; *why says by how much.
inline constexpr uint64_t kActionsMax = 100'000'000;
core::err schedule_make(const scenario& s, schedule* out, std::string* why) noexcept;
// What becomes of a message's key once the message is acknowledged: decided by the seed alone.
enum class repeat_kind : uint8_t { none, again, conflict };
inline constexpr double kRepeatWithinS = 2;
repeat_kind schedule_repeat(const scenario& s, const room_plan& room, uint32_t publisher,
                            uint32_t number, uint64_t* after_us) noexcept;
// A digest of everything in it: equal schedules have equal ones.
uint64_t schedule_digest(const schedule& s) noexcept;

}  // namespace loadgen
