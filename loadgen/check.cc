// The checker's tables: what stands at which place of a room, and how far each member is.
#include "loadgen/check.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "core/assert.h"

namespace loadgen {
namespace {

// Of one publisher in one room: where its messages stand. Index: the message's number; 0: not
// known.
struct publisher_log {
  std::vector<uint64_t> seen;   // offset, or place + 1 in rooms without offsets
  std::vector<uint64_t> acked;  // offset by the acknowledgement; 1 in rooms without offsets
  std::set<uint32_t> refused;   // numbers that receivers need not have
};

struct room {
  check_room about;
  uint64_t base = 0;             // offset of the first message of the run; 0: nobody has joined yet
  std::vector<uint64_t> hashes;  // by place; 0: not seen yet
  std::vector<publisher_log> publishers;
  uint64_t top = 0;              // highest offset known
  std::vector<bool> in_history;  // by place, when history was read
  bool is_history_read = false;
};

struct member {
  uint32_t room = 0, receiver = 0;
  uint64_t next = 0;  // offset, or place
  bool is_in = false, is_from_start = false;
};

// Of a member in a room without offsets: the next number of each publisher; made with its first
// message.
struct number_state {
  std::vector<uint32_t> next;  // number + 1; 0: nothing seen yet
  std::vector<std::set<uint32_t>> missing;
};

template <typename T>
T* at(std::vector<T>* v, size_t i) noexcept {
  if (i >= v->size()) v->resize(std::max(i + 1, v->size() + v->size() / 2));
  return &(*v)[i];
}

}  // namespace

struct checker {
  bool is_started = false;
  std::vector<room> rooms;
  std::vector<member> members;
  std::unordered_map<uint32_t, std::set<uint64_t>> missing;  // by member: offsets it has skipped
  std::unordered_map<uint32_t, number_state> numbers;        // by member
  uint64_t counts[static_cast<size_t>(violation_kind::kCount)] = {};
  std::vector<violation> kept;
};

namespace {

std::string name_of(const stamp& s) {
  return "message " + std::to_string(s.number) + " of publisher " + std::to_string(s.publisher);
}

void note(checker* c, violation_kind kind, const room& r, uint64_t offset, uint32_t receiver,
          uint64_t now_us, std::string&& text, uint64_t times = 1) noexcept {
  c->counts[static_cast<size_t>(kind)] += times;
  if (c->kept.size() < kViolationsKept)
    c->kept.push_back({kind, r.about.channel, offset, receiver, now_us, std::move(text)});
}

publisher_log* log_of(room* r, uint32_t publisher) noexcept {
  return publisher < r->publishers.size() ? &r->publishers[publisher] : nullptr;
}

// Somebody has `s` at `offset`: is that what everybody has there, and the only place where it is?
bool agree(checker* c, room* r, uint64_t offset, const stamp& s, uint32_t receiver,
           uint64_t now_us) noexcept {
  const uint64_t hash = stamp_hash(s) | 1;  // 0 means: not seen
  if (offset > std::max(r->top, r->base) + kOffsetJumpMax) {
    note(c, violation_kind::different, *r, offset, receiver, now_us,
         name_of(s) + " came with an offset far beyond everything published");
    return false;
  }
  uint64_t* known = at(&r->hashes, offset - r->base);
  if (*known == hash) return true;
  if (*known != 0) {
    note(c, violation_kind::different, *r, offset, receiver, now_us,
         name_of(s) + " stands where others have another message");
    return false;
  }
  *known = hash;
  r->top = std::max(r->top, offset);
  publisher_log* log = log_of(r, s.publisher);
  if (log == nullptr) {
    note(c, violation_kind::different, *r, offset, receiver, now_us,
         name_of(s) + ": the room has no such publisher");
    return true;
  }
  uint64_t* place = at(&log->seen, s.number);
  if (*place != 0 && *place != offset)
    note(c, violation_kind::stored_twice, *r, offset, receiver, now_us,
         name_of(s) + " also stands at offset " + std::to_string(*place));
  *place = offset;
  return true;
}

void skip_to(checker* c, uint32_t index, uint64_t offset, uint64_t now_us) noexcept {
  member& m = c->members[index];
  std::set<uint64_t>& missing = c->missing[index];
  uint64_t skipped = m.next;
  for (; skipped < offset && missing.size() < kMissingMax; ++skipped) missing.insert(skipped);
  if (skipped < offset)
    note(c, violation_kind::lost, c->rooms[m.room], skipped, m.receiver, now_us,
         "too much is missing to be listed: it is counted as lost", offset - skipped);
}

bool take_offset(checker* c, uint32_t index, uint64_t offset, const stamp& s,
                 uint64_t now_us) noexcept {
  member& m = c->members[index];
  room& r = c->rooms[m.room];
  if (offset == 0 || offset < r.base) {
    note(c, violation_kind::different, r, offset, m.receiver, now_us,
         name_of(s) +
             (offset == 0 ? " came without an offset" : " has an offset from before the run"));
    return false;
  }
  if (!agree(c, &r, offset, s, m.receiver, now_us)) return false;
  if (offset < m.next) {
    const auto missing = c->missing.find(index);
    if (missing != c->missing.end() && missing->second.erase(offset) > 0) {
      note(c, violation_kind::reordered, r, offset, m.receiver, now_us,
           name_of(s) + " came behind later ones");
      return true;
    }
    note(c, violation_kind::duplicated, r, offset, m.receiver, now_us, name_of(s) + " came again");
    return false;
  }
  if (offset > m.next) skip_to(c, index, offset, now_us);
  m.next = offset + 1;
  return true;
}

// The message's place in the order in which this loop first saw the room's messages.
uint64_t place_of(room* r, const stamp& s) noexcept {
  publisher_log* log = log_of(r, s.publisher);
  uint64_t* place = at(&log->seen, s.number);
  if (*place == 0) {
    r->hashes.push_back(stamp_hash(s) | 1);
    *place = r->hashes.size();
  }
  return *place - 1;
}

bool take_number(checker* c, uint32_t index, const stamp& s, uint64_t now_us) noexcept {
  member& m = c->members[index];
  room& r = c->rooms[m.room];
  if (log_of(&r, s.publisher) == nullptr) {
    note(c, violation_kind::different, r, 0, m.receiver, now_us,
         name_of(s) + ": the room has no such publisher");
    return false;
  }
  number_state& n = c->numbers[index];
  if (n.next.empty()) {
    n.next.resize(r.publishers.size());
    n.missing.resize(r.publishers.size());
  }
  const uint64_t place = place_of(&r, s);
  uint32_t& next = n.next[s.publisher];
  if (next == 0)  // whoever joins later begins with what comes first
    next = m.is_from_start ? 1 : s.number + 1;
  if (s.number + 1 < next) {
    if (n.missing[s.publisher].erase(s.number) == 0) {
      note(c, violation_kind::duplicated, r, place + 1, m.receiver, now_us,
           name_of(s) + " came again");
      return false;
    }
    note(c, violation_kind::reordered, r, place + 1, m.receiver, now_us,
         name_of(s) + " came behind later ones");
    return true;
  }
  for (uint32_t k = next - 1; k < s.number && n.missing[s.publisher].size() < kMissingMax; ++k)
    n.missing[s.publisher].insert(k);
  next = s.number + 2;
  if (place < m.next)
    note(c, violation_kind::reordered, r, place + 1, m.receiver, now_us,
         name_of(s) + " came in another order than elsewhere");
  m.next = std::max(m.next, place + 1);
  return true;
}

}  // namespace

checker* checker_new(std::vector<check_room> rooms) noexcept {
  auto* c = new checker;
  for (check_room& about : rooms) {
    room& r = c->rooms.emplace_back();
    r.publishers.resize(about.publishers);
    r.about = std::move(about);
  }
  return c;
}

void checker_free(checker* c) noexcept {
  delete c;
}

uint32_t checker_member(checker* c, uint32_t room_index, uint32_t receiver) noexcept {
  member& m = c->members.emplace_back();
  m.room = room_index;
  m.receiver = receiver;
  return static_cast<uint32_t>(c->members.size() - 1);
}

void checker_join(checker* c, uint32_t index, uint64_t offset) noexcept {
  member& m = c->members[index];
  room& r = c->rooms[m.room];
  m.is_in = true;
  m.is_from_start = !c->is_started;
  if (!r.about.has_offsets) {
    c->numbers.erase(index);
    m.next = 0;
    return;
  }
  if (r.base == 0) {
    r.base = offset + 1;
    r.top = std::max(r.top, offset);
  } else if (offset + 1 < r.base) {  // another loop's, or an earlier epoch's: places move up
    r.hashes.insert(r.hashes.begin(), r.base - offset - 1, 0);
    r.base = offset + 1;
  }
  m.next = offset + 1;
  c->missing.erase(index);
}

void checker_leave(checker* c, uint32_t index) noexcept {
  c->members[index].is_in = false;
  c->missing.erase(index);
  c->numbers.erase(index);
}

void checker_unrecovered(checker* c, uint32_t index, uint64_t offset, uint64_t now_us,
                         bool is_allowed) noexcept {
  member& m = c->members[index];
  if (!is_allowed)
    note(c, violation_kind::unrecovered, c->rooms[m.room], offset, m.receiver, now_us,
         "recovered:false from offset " + std::to_string(m.next == 0 ? 0 : m.next - 1));
  checker_join(c, index, offset);
}

uint64_t checker_position(const checker* c, uint32_t index) noexcept {
  const uint64_t next = c->members[index].next;
  return next == 0 ? 0 : next - 1;
}

bool checker_take(checker* c, uint32_t index, uint64_t offset, const stamp& s,
                  uint64_t now_us) noexcept {
  member& m = c->members[index];
  if (s.room != m.room) {
    note(c, violation_kind::different, c->rooms[m.room], offset, m.receiver, now_us,
         name_of(s) + " belongs to another room");
    return false;
  }
  if (!m.is_in) return false;
  return c->rooms[m.room].about.has_offsets ? take_offset(c, index, offset, s, now_us)
                                            : take_number(c, index, s, now_us);
}

void checker_corrupt(checker* c, uint32_t index, uint64_t offset, uint64_t now_us,
                     const char* what) noexcept {
  member* m = &c->members[index];
  const room& r = c->rooms[m->room];
  note(c, violation_kind::corrupted, r, offset, m->receiver, now_us, what);
  if (!m->is_in || !r.about.has_offsets || offset < r.base ||
      offset > std::max(r.top, r.base) + kOffsetJumpMax)
    return;
  if (offset >= m->next) {
    skip_to(c, index, offset, now_us);
    m->next = offset + 1;
  } else if (const auto missing = c->missing.find(index); missing != c->missing.end()) {
    missing->second.erase(offset);
  }
}

void checker_note(checker* c, violation_kind kind, const std::string& channel, uint64_t offset,
                  uint32_t receiver, uint64_t now_us, std::string&& text) noexcept {
  ++c->counts[static_cast<size_t>(kind)];
  if (c->kept.size() < kViolationsKept)
    c->kept.push_back({kind, channel, offset, receiver, now_us, std::move(text)});
}

void checker_start(checker* c) noexcept {
  c->is_started = true;
}

void checker_refused(checker* c, uint32_t room_index, uint32_t publisher,
                     uint32_t number) noexcept {
  c->rooms[room_index].publishers[publisher].refused.insert(number);
}

void checker_acked(checker* c, uint32_t room_index, uint32_t publisher, uint32_t number,
                   uint64_t offset, uint64_t now_us) noexcept {
  room& r = c->rooms[room_index];
  publisher_log* log = log_of(&r, publisher);
  CORE_ASSERT(log != nullptr);
  if (!r.about.has_offsets) {
    *at(&log->acked, number) = 1;
    return;
  }
  uint64_t* place = at(&log->acked, number);
  if (*place != 0 && *place != offset) {
    const stamp s{0, room_index, publisher, number, 0};
    note(c, violation_kind::stored_twice, r, offset, UINT32_MAX, now_us,
         name_of(s) + " was acknowledged with offset " + std::to_string(*place) + " before");
  }
  *place = offset;
  if (offset <= std::max(r.top, r.base) + kOffsetJumpMax) r.top = std::max(r.top, offset);
}

void checker_history(checker* c, uint32_t room_index, uint64_t offset, const stamp& s,
                     uint64_t now_us) noexcept {
  room& r = c->rooms[room_index];
  if (s.room != room_index) {
    note(c, violation_kind::different, r, offset, UINT32_MAX, now_us,
         "history holds " + name_of(s) + " of another room");
    return;
  }
  if (r.base == 0) r.base = 1;
  if (offset < r.base || !agree(c, &r, offset, s, UINT32_MAX, now_us)) return;
  const size_t place = offset - r.base;
  if (place >= r.in_history.size()) r.in_history.resize(place + 1);
  r.in_history[place] = true;
}

void checker_history_end(checker* c, uint32_t room_index, uint64_t top) noexcept {
  room& r = c->rooms[room_index];
  r.is_history_read = true;
  if (top <= std::max(r.top, r.base) + kOffsetJumpMax) r.top = std::max(r.top, top);
}

namespace {

void merge_room(checker* c, room* r, const room* from, uint64_t now_us) noexcept {
  if (from->base == 0) {
    r->top = std::max(r->top, from->top);
  } else if (r->about.has_offsets) {
    if (r->base == 0) r->base = from->base;
    if (from->base < r->base) {
      r->hashes.insert(r->hashes.begin(), r->base - from->base, 0);
      r->base = from->base;
    }
    for (size_t i = 0; i < from->hashes.size(); ++i) {
      if (from->hashes[i] == 0) continue;
      uint64_t* mine = at(&r->hashes, from->base + i - r->base);
      if (*mine != 0 && *mine != from->hashes[i])
        note(c, violation_kind::different, *r, from->base + i, UINT32_MAX, now_us,
             "receivers on two loops of the tool have different messages here");
      *mine = from->hashes[i];
    }
    r->top = std::max(r->top, from->top);
  }
  for (size_t p = 0; p < r->publishers.size(); ++p) {
    r->publishers[p].refused.insert(from->publishers[p].refused.begin(),
                                    from->publishers[p].refused.end());
    for (size_t n = 0; n < from->publishers[p].acked.size(); ++n) {
      if (from->publishers[p].acked[n] != 0)
        *at(&r->publishers[p].acked, n) = from->publishers[p].acked[n];
    }
    for (size_t n = 0; r->about.has_offsets && n < from->publishers[p].seen.size(); ++n) {
      if (from->publishers[p].seen[n] != 0)
        *at(&r->publishers[p].seen, n) = from->publishers[p].seen[n];
    }
  }
}

// Acknowledged means: at that offset, and in history.
void check_acks(checker* c, uint32_t room_index, uint64_t now_us) noexcept {
  room& r = c->rooms[room_index];
  for (uint32_t p = 0; p < r.publishers.size(); ++p) {
    const std::vector<uint64_t>& acked = r.publishers[p].acked;
    for (uint32_t n = 0; n < acked.size(); ++n) {
      if (acked[n] == 0 || acked[n] < r.base) continue;
      const stamp s{0, room_index, p, n, 0};
      const size_t place = acked[n] - r.base;
      const bool is_known = place < r.hashes.size() && r.hashes[place] == (stamp_hash(s) | 1);
      const bool is_kept =
          !r.is_history_read || (place < r.in_history.size() && r.in_history[place]);
      if (is_known && is_kept) continue;
      note(c, is_known ? violation_kind::unacked_history : violation_kind::lost, r, acked[n],
           UINT32_MAX, now_us,
           name_of(s) + (is_known ? " was acknowledged and is not in history"
                                  : " was acknowledged and nobody has it there"));
    }
  }
}

}  // namespace

void checker_merge(checker* into, const checker* from, uint64_t now_us) noexcept {
  for (size_t i = 0; i < into->rooms.size(); ++i)
    merge_room(into, &into->rooms[i], &from->rooms[i], now_us);
}

uint64_t checker_top(const checker* c, uint32_t room_index) noexcept {
  return c->rooms[room_index].top;
}

namespace {

// In a room without offsets: the holes, and for those who were there from the start what did not
// come at the end.
void finish_numbers(checker* c, uint32_t index, const room& all, uint64_t now_us) noexcept {
  const member& m = c->members[index];
  const auto found = c->numbers.find(index);
  for (uint32_t p = 0; p < all.publishers.size(); ++p) {
    const publisher_log& log = all.publishers[p];
    const bool has_seen = found != c->numbers.end() && found->second.next[p] != 0;
    std::set<uint32_t> lost;
    if (has_seen) lost = found->second.missing[p];
    const uint32_t next = has_seen ? found->second.next[p] - 1 : 0;
    for (uint32_t n = next; (has_seen || m.is_from_start) && n < log.acked.size(); ++n) {
      if (log.acked[n] != 0) lost.insert(n);
    }
    for (const uint32_t n : lost) {
      if (log.refused.count(n) == 0)
        note(c, violation_kind::lost, all, 0, m.receiver, now_us,
             name_of({0, m.room, p, n, 0}) + " never came");
    }
  }
}

}  // namespace

void checker_finish(checker* c, const checker* merged, uint64_t now_us) noexcept {
  for (uint32_t i = 0; i < c->members.size(); ++i) {
    const member& m = c->members[i];
    const room& all = merged->rooms[m.room];
    if (!m.is_in) continue;
    if (!all.about.has_offsets) {
      finish_numbers(c, i, all, now_us);
      continue;
    }
    if (const auto missing = c->missing.find(i); missing != c->missing.end()) {
      for (const uint64_t offset : missing->second)
        note(c, violation_kind::lost, all, offset, m.receiver, now_us,
             "never came, although later ones did");
    }
    if (all.top >= m.next)
      note(c, violation_kind::lost, all, m.next, m.receiver, now_us,
           "nothing came from here to offset " + std::to_string(all.top), all.top - m.next + 1);
  }
  if (c != merged) return;
  for (uint32_t i = 0; i < c->rooms.size(); ++i) {
    if (c->rooms[i].about.has_offsets) check_acks(c, i, now_us);
  }
}

uint64_t checker_owed(const checker* c, const std::vector<uint64_t>& tops) noexcept {
  uint64_t owed = 0;
  for (const member& m : c->members) {
    if (m.is_in && c->rooms[m.room].about.has_offsets && tops[m.room] >= m.next)
      owed += tops[m.room] - m.next + 1;
  }
  for (const auto& [index, missing] : c->missing) owed += missing.size();
  return owed;
}

const uint64_t* checker_counts(const checker* c) noexcept {
  return c->counts;
}
const std::vector<violation>& checker_violations(const checker* c) noexcept {
  return c->kept;
}

}  // namespace loadgen
