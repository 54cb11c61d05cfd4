// The checker's tables, shared by check.cc (while the run goes on) and check_end.cc (when it is
// over).
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "loadgen/check.h"
#include "loadgen/check_offsets.h"

namespace loadgen {

// Of one publisher in one room: where its messages stand. Index: the message's number; 0: not
// known.
struct checked_publisher {
  std::vector<uint64_t> seen;   // offset, or place + 1 in rooms without offsets
  std::vector<uint64_t> acked;  // offset by the acknowledgement; 1 in rooms without offsets
  uint32_t acked_to = 0;        // the highest acknowledged number + 1
  std::set<uint32_t> refused;   // numbers that receivers need not have
};

struct checked_room {
  check_room about;
  uint64_t base = 0;             // offset of the first message of the run; 0: nobody has joined yet
  offset_table offsets;          // of a room with offsets
  std::vector<uint64_t> hashes;  // of one without: by place
  uint32_t in_step = 0;          // members that are
  std::vector<checked_publisher> publishers;
  uint64_t top = 0;    // highest offset known
  uint64_t floor = 0;  // the position with which the newest epoch began, as far as was told
  bool is_history_read = false;
  bool may_have_gaps = false;  // a position was allowed to be lost: a new epoch begins higher
};

struct checked_member {
  uint32_t room = 0, receiver = 0;
  uint64_t next = 0;  // offset; or the greatest place of what it has, plus 1
  bool is_in = false, is_from_start = false;
  bool is_in_step = false;  // in a room without offsets: what it sees comes behind all that has a
                            // place
};

// Of a member in a room without offsets: the next number of each publisher; made with its first
// message.
struct number_state {
  std::vector<uint32_t> next;  // number + 1; 0: nothing seen yet
  std::vector<std::set<uint32_t>> missing;
};

template <typename T>
T* checked_at(std::vector<T>* v, size_t i) noexcept {
  if (i >= v->size()) v->resize(std::max(i + 1, v->size() + v->size() / 2));
  return &(*v)[i];
}

// A number that was missing in a room without offsets when its member left: lost, unless it turns
// out to have been refused.
struct left_number {
  uint32_t room, receiver, publisher, number;
};

struct checker {
  bool is_started = false;
  bool may_lose_history = false;
  std::vector<checked_room> rooms;
  std::vector<checked_member> members;
  std::unordered_map<uint32_t, std::set<uint64_t>> missing;  // by member: offsets it has skipped
  std::unordered_map<uint32_t, number_state> numbers;        // by member
  std::vector<left_number> left;
  uint64_t now_us = 0;  // of the last call that had a time
  check_listener on_event = nullptr;
  void* user = nullptr;
  uint64_t counts[static_cast<size_t>(violation_kind::kCount)] = {};
  std::vector<violation> kept;
};

// The room begins at `base` from now on, if that is less. False: it is too far away to be true.
bool checked_room_reach(checked_room* r, uint64_t base) noexcept;
// Only for rooms where there may be two: a new one begins far above.
inline bool checked_is_other_epoch(uint64_t a, uint64_t b) noexcept {
  return (a > b ? a - b : b - a) > kEpochGapMin;
}
void checked_room_floor(checked_room* r, uint64_t floor) noexcept;
std::string checker_name_of(const stamp& s);  // "message 3 of publisher 1"
void checker_found(checker* c, violation_kind kind, const checked_room& r, uint64_t offset,
                   uint32_t receiver, uint64_t now_us, std::string&& text,
                   uint64_t times = 1) noexcept;

}  // namespace loadgen
