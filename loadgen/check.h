// Is every message there, once, in one order, whole? One checker for each loop of the tool, merged
// at the end. Pure: no I/O, no clock.
//
// Rooms with offsets: message k of a room stands at offset base + k; the first to see it on this
// loop says which message that is, everybody else must have the same. Each receiver has the next
// offset it expects; what it skips is missing until it comes (reordered) or the run ends (lost).
// Rooms without: each publisher's numbers must come without holes, and all receivers must see all
// messages in the order in which this loop first saw them.
//
// Memory: 12 bytes for each publication and loop, 40 for each member.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loadgen/check_event.h"
#include "loadgen/result.h"
#include "loadgen/stamp.h"

namespace loadgen {

struct check_room {
  std::string channel;
  uint32_t publishers = 1;
  bool has_offsets = true;
};

inline constexpr uint32_t kMissingMax =
    100'000;  // offsets a receiver may miss before it is given up ("lost", the rest counted)
inline constexpr uint64_t kOffsetJumpMax =
    1 << 20;  // beyond what anyone has seen: such an offset is itself wrong

inline constexpr uint64_t kEpochGapMin =
    1 << 12;  // further apart: of two epochs, in rooms where a fault was allowed to begin a new one

struct checker;
checker* checker_new(std::vector<check_room> rooms) noexcept;
void checker_free(checker* c) noexcept;
// Tells of every call below that can change a judgement, in order. One listener; null: none.
void checker_listen(checker* c, check_listener on_event, void* user) noexcept;
// The same call again, from a record. False: it names a room, member or publisher that is not there
// (damaged or foreign); nothing has happened. finish, cut and room have no effect here.
bool checker_apply(checker* c, const check_record& r) noexcept;

// A receiver of a room; the number names it in the calls below. It is not in the room until
// checker_join().
uint32_t checker_member(checker* c, uint32_t room, uint32_t receiver) noexcept;
// From here on everything behind `offset` must come (rooms without offsets: everything from the
// next message on).
void checker_join(checker* c, uint32_t member, uint64_t offset) noexcept;
// What later messages have overtaken is lost; what was still to come is not owed any more.
void checker_leave(checker* c, uint32_t member) noexcept;
// It was away and is told that it cannot have what it missed.
void checker_unrecovered(checker* c, uint32_t member, uint64_t offset, uint64_t now_us,
                         bool is_allowed) noexcept;
// From now on the server may have lost what it kept until now: history, and which keys were used.
// What it has from the newest epoch on is judged as ever, and so is what receivers are told.
void checker_may_lose(checker* c) noexcept;
// The last offset seen; where to recover from.
uint64_t checker_position(const checker* c, uint32_t member) noexcept;

// A message came. offset 0 in rooms without offsets. Returns true when it is a delivery that was
// due (not a repetition).
bool checker_take(checker* c, uint32_t member, uint64_t offset, const stamp& s,
                  uint64_t now_us) noexcept;
// A frame or its message could not be read. offset 0: nobody knows which; otherwise it counts as
// come, but wrong.
void checker_corrupt(checker* c, uint32_t member, uint64_t offset, uint64_t now_us,
                     const char* what) noexcept;
void checker_note(checker* c, violation_kind kind, const std::string& channel, uint64_t offset,
                  uint32_t receiver, uint64_t now_us, std::string&& text) noexcept;

// The first message is about to be sent: members that have joined by now must see everything.
void checker_start(checker* c) noexcept;
// This message was refused, or nobody knows whether it was taken: receivers need not have it.
void checker_refused(checker* c, uint32_t room, uint32_t publisher, uint32_t number) noexcept;
// A publish was answered (rooms with offsets: with its offset).
void checker_acked(checker* c, uint32_t room, uint32_t publisher, uint32_t number, uint64_t offset,
                   uint64_t now_us) noexcept;
// An acknowledged publish was sent again with its key: it must be answered as a duplicate, with the
// first offset.
void checker_repeated(checker* c, uint32_t room, uint32_t publisher, uint32_t number,
                      uint64_t offset, bool is_duplicate, uint64_t now_us) noexcept;
// One publication of the room's history as it was read at the end.
void checker_history(checker* c, uint32_t room, uint64_t offset, const stamp& s,
                     uint64_t now_us) noexcept;
// All of the room's history has been read, from the first offset of the run to `top`: it must hold
// whatever was acknowledged or delivered, and have no hole.
void checker_history_end(checker* c, uint32_t room, uint64_t top) noexcept;

uint64_t checker_top(const checker* c,
                     uint32_t room) noexcept;  // highest offset seen, acknowledged or read
// The end, once, for all loops' checkers. What they know of publications and acknowledgements is
// put together in the first; differences are violations. Then whoever is in a room and behind its
// top has lost something. Members and counts stay each checker's own.
void checkers_judge(const std::vector<checker*>& all, uint64_t now_us) noexcept;
// The highest number of this publisher's that was acknowledged, plus 1.
uint32_t checker_acked_to(const checker* c, uint32_t room, uint32_t publisher) noexcept;
// How many deliveries members are still owed, if all there is is `tops` (by room: the highest
// offset) and, in rooms without offsets, `acked_to` (by room and publisher, one after another). Of
// a hole in such a room nobody knows: its message may have been refused.
uint64_t checker_owed(const checker* c, const std::vector<uint64_t>& tops,
                      const std::vector<uint32_t>& acked_to) noexcept;

const uint64_t* checker_counts(const checker* c) noexcept;  // by violation_kind
const std::vector<violation>& checker_violations(
    const checker* c) noexcept;  // the first kViolationsKept

}  // namespace loadgen
