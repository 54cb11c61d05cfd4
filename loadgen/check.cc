// The checker while a run goes on: what stands at which place of a room, and how far each member
// is.
#include "loadgen/check.h"

#include "core/assert.h"
#include "loadgen/check_impl.h"

namespace loadgen {

std::string checker_name_of(const stamp& s) {
  return "message " + std::to_string(s.number) + " of publisher " + std::to_string(s.publisher);
}

void checker_found(checker* c, violation_kind kind, const checked_room& r, uint64_t offset,
                   uint32_t receiver, uint64_t now_us, std::string&& text,
                   uint64_t times) noexcept {
  c->counts[static_cast<size_t>(kind)] += times;
  if (c->kept.size() < kViolationsKept)
    c->kept.push_back({kind, r.about.channel, offset, receiver, now_us, std::move(text)});
}

namespace {

void tell(checker* c, const check_record& r) noexcept {
  if (r.now_us != kNoTime) c->now_us = r.now_us;
  if (c->on_event != nullptr) c->on_event(c->user, r);
}

check_record record_of(check_event what, uint64_t now_us = kNoTime) noexcept {
  check_record r;
  r.what = what;
  r.now_us = now_us;
  return r;
}

check_record record_of(check_event what, uint32_t member, uint64_t offset,
                       uint64_t now_us) noexcept {
  check_record r = record_of(what, now_us);
  r.member = member;
  r.offset = offset;
  return r;
}

check_record record_of(check_event what, const stamp& s, uint64_t offset,
                       uint64_t now_us) noexcept {
  check_record r = record_of(what, now_us);
  r.message = s;
  r.offset = offset;
  return r;
}

checked_publisher* log_of(checked_room* r, uint32_t publisher) noexcept {
  return publisher < r->publishers.size() ? &r->publishers[publisher] : nullptr;
}

// Nobody knows how far a new epoch jumps.
bool is_too_far(const checked_room& r, uint64_t offset) noexcept {
  return !r.may_have_gaps && offset > std::max(r.top, r.base) + kOffsetJumpMax;
}

// A server that has forgotten the first place and its key takes a repetition for a new message.
bool may_be_anew(const checker* c, uint64_t before, uint64_t now) noexcept {
  return c->may_lose_history && checked_is_other_epoch(before, now);
}

// Somebody has `s` at `offset`: is that what everybody has there, and the only place where it is?
bool agree(checker* c, checked_room* r, uint64_t offset, const stamp& s, uint32_t receiver,
           uint64_t now_us) noexcept {
  const uint64_t hash = stamp_hash(s) | 1;  // 0 means: not seen
  if (is_too_far(*r, offset)) {
    checker_found(c, violation_kind::different, *r, offset, receiver, now_us,
                  checker_name_of(s) + " came with an offset far beyond everything published");
    return false;
  }
  uint64_t* known = r->offsets.place(offset);
  if (*known == hash) return true;
  if (*known != 0) {
    checker_found(c, violation_kind::different, *r, offset, receiver, now_us,
                  checker_name_of(s) + " stands where others have another message");
    return false;
  }
  *known = hash;
  r->top = std::max(r->top, offset);
  checked_publisher* log = log_of(r, s.publisher);
  if (log == nullptr) {
    checker_found(c, violation_kind::different, *r, offset, receiver, now_us,
                  checker_name_of(s) + ": the room has no such publisher");
    return true;
  }
  uint64_t* place = checked_at(&log->seen, s.number);
  if (*place != 0 && *place != offset && !may_be_anew(c, *place, offset))
    checker_found(c, violation_kind::stored_twice, *r, offset, receiver, now_us,
                  checker_name_of(s) + " also stands at offset " + std::to_string(*place));
  *place = offset;
  return true;
}

void skip_to(checker* c, uint32_t index, uint64_t offset, uint64_t now_us) noexcept {
  checked_member& m = c->members[index];
  std::set<uint64_t>& missing = c->missing[index];
  uint64_t skipped = m.next;
  for (; skipped < offset && missing.size() < kMissingMax; ++skipped) missing.insert(skipped);
  if (skipped < offset)
    checker_found(c, violation_kind::lost, c->rooms[m.room], skipped, m.receiver, now_us,
                  "too much is missing to be listed: it is counted as lost", offset - skipped);
}

bool take_offset(checker* c, uint32_t index, uint64_t offset, const stamp& s,
                 uint64_t now_us) noexcept {
  checked_member& m = c->members[index];
  checked_room& r = c->rooms[m.room];
  if (offset == 0 || offset < r.base) {
    checker_found(c, violation_kind::different, r, offset, m.receiver, now_us,
                  checker_name_of(s) + (offset == 0 ? " came without an offset"
                                                    : " has an offset from before the run"));
    return false;
  }
  if (!agree(c, &r, offset, s, m.receiver, now_us)) return false;
  if (offset < m.next) {
    const auto missing = c->missing.find(index);
    if (missing != c->missing.end() && missing->second.erase(offset) > 0) {
      checker_found(c, violation_kind::reordered, r, offset, m.receiver, now_us,
                    checker_name_of(s) + " came behind later ones");
      return true;
    }
    checker_found(c, violation_kind::duplicated, r, offset, m.receiver, now_us,
                  checker_name_of(s) + " came again");
    return false;
  }
  if (offset > m.next) skip_to(c, index, offset, now_us);
  m.next = offset + 1;
  return true;
}

void set_in_step(checked_room* r, checked_member* m, bool is) noexcept {
  if (m->is_in_step) --r->in_step;
  if (is) ++r->in_step;
  m->is_in_step = is;
}

// The message's place, plus 1, in the order in which this loop first saw the room's messages; 0: it
// has none yet. A newcomer may be read before those who have yet to see what came before it: it
// gives no places until it sees a message that has one, unless it is alone.
uint64_t place_of(checked_room* r, checked_member* m, const stamp& s) noexcept {
  uint64_t* place = checked_at(&log_of(r, s.publisher)->seen, s.number);
  if (*place == 0 && !m->is_in_step && r->in_step > 0) return 0;
  set_in_step(r, m, true);
  if (*place == 0) {
    r->hashes.push_back(stamp_hash(s) | 1);
    *place = r->hashes.size();
  }
  return *place;
}

bool take_number(checker* c, uint32_t index, const stamp& s, uint64_t now_us) noexcept {
  checked_member& m = c->members[index];
  checked_room& r = c->rooms[m.room];
  if (log_of(&r, s.publisher) == nullptr) {
    checker_found(c, violation_kind::different, r, 0, m.receiver, now_us,
                  checker_name_of(s) + ": the room has no such publisher");
    return false;
  }
  number_state& n = c->numbers[index];
  if (n.next.empty()) {
    n.next.resize(r.publishers.size());
    n.missing.resize(r.publishers.size());
  }
  const uint64_t place = place_of(&r, &m, s);
  uint32_t& next = n.next[s.publisher];
  if (next == 0)  // whoever joins later begins with what comes first
    next = m.is_from_start ? 1 : s.number + 1;
  if (s.number + 1 < next) {
    if (n.missing[s.publisher].erase(s.number) == 0) {
      checker_found(c, violation_kind::duplicated, r, place, m.receiver, now_us,
                    checker_name_of(s) + " came again");
      return false;
    }
    checker_found(c, violation_kind::reordered, r, place, m.receiver, now_us,
                  checker_name_of(s) + " came behind later ones");
    return true;
  }
  for (uint32_t k = next - 1; k < s.number && n.missing[s.publisher].size() < kMissingMax; ++k)
    n.missing[s.publisher].insert(k);
  next = s.number + 2;
  if (place != 0 && place <= m.next)
    checker_found(c, violation_kind::reordered, r, place, m.receiver, now_us,
                  checker_name_of(s) + " came in another order than elsewhere");
  m.next = std::max(m.next, place);
  return true;
}

}  // namespace

checker* checker_new(std::vector<check_room> rooms) noexcept {
  auto* c = new checker;
  for (check_room& about : rooms) {
    checked_room& r = c->rooms.emplace_back();
    r.publishers.resize(about.publishers);
    r.about = std::move(about);
  }
  return c;
}

void checker_free(checker* c) noexcept {
  delete c;
}

void checker_listen(checker* c, check_listener on_event, void* user) noexcept {
  c->on_event = on_event;
  c->user = user;
}

uint32_t checker_member(checker* c, uint32_t room_index, uint32_t receiver) noexcept {
  check_record about = record_of(check_event::member);
  about.receiver = receiver;
  about.message.room = room_index;
  tell(c, about);
  checked_member& m = c->members.emplace_back();
  m.room = room_index;
  m.receiver = receiver;
  return static_cast<uint32_t>(c->members.size() - 1);
}

namespace {

// Its stay in the room is over: what came later has overtaken what is still missing.
void settle(checker* c, uint32_t index) noexcept {
  const checked_member& m = c->members[index];
  if (const auto at = c->missing.find(index); at != c->missing.end()) {
    for (const uint64_t offset : at->second)
      checker_found(c, violation_kind::lost, c->rooms[m.room], offset, m.receiver, c->now_us,
                    "had not come when the receiver left, although later ones had");
    c->missing.erase(at);
  }
  if (const auto at = c->numbers.find(index); at != c->numbers.end()) {
    for (uint32_t p = 0; p < at->second.missing.size(); ++p) {
      for (const uint32_t n : at->second.missing[p]) c->left.push_back({m.room, m.receiver, p, n});
    }
    c->numbers.erase(at);
  }
}

void join(checker* c, uint32_t index, uint64_t offset) noexcept {
  checked_member& m = c->members[index];
  checked_room& r = c->rooms[m.room];
  settle(c, index);
  m.is_in = true;
  m.is_from_start = !c->is_started;
  if (!r.about.has_offsets) {
    m.next = 0;
    set_in_step(&r, &m, m.is_from_start);
    return;
  }
  m.next = offset + 1;
  if (r.base == 0) {
    r.base = offset + 1;
    r.top = std::max(r.top, offset);
  } else if (offset + 1 < r.base && !checked_room_reach(&r, offset + 1)) {
    checker_found(c, violation_kind::different, r, offset, m.receiver, c->now_us,
                  "the room's position is far below what it was");
    m.next = r.base;
  }
}

}  // namespace

void checker_join(checker* c, uint32_t index, uint64_t offset) noexcept {
  tell(c, record_of(check_event::join, index, offset, kNoTime));
  join(c, index, offset);
}

void checker_leave(checker* c, uint32_t index) noexcept {
  tell(c, record_of(check_event::leave, index, 0, kNoTime));
  checked_member& m = c->members[index];
  m.is_in = false;
  set_in_step(&c->rooms[m.room], &m, false);
  settle(c, index);
}

void checker_unrecovered(checker* c, uint32_t index, uint64_t offset, uint64_t now_us,
                         bool is_allowed) noexcept {
  check_record about = record_of(check_event::unrecovered, index, offset, now_us);
  about.is_so = is_allowed;
  tell(c, about);
  const checked_member& m = c->members[index];
  if (is_allowed) {
    c->rooms[m.room].may_have_gaps = true;
    checked_room_floor(&c->rooms[m.room], offset);
  }
  if (!is_allowed)
    checker_found(c, violation_kind::unrecovered, c->rooms[m.room], offset, m.receiver, now_us,
                  "recovered:false from offset " + std::to_string(m.next == 0 ? 0 : m.next - 1));
  join(c, index, offset);
}

void checker_may_lose(checker* c) noexcept {
  if (c->may_lose_history) return;
  tell(c, record_of(check_event::may_lose));
  c->may_lose_history = true;
}

uint64_t checker_position(const checker* c, uint32_t index) noexcept {
  const uint64_t next = c->members[index].next;
  return next == 0 ? 0 : next - 1;
}

bool checker_take(checker* c, uint32_t index, uint64_t offset, const stamp& s,
                  uint64_t now_us) noexcept {
  check_record about = record_of(check_event::take, s, offset, now_us);
  about.member = index;
  tell(c, about);
  const checked_member& m = c->members[index];
  if (s.room != m.room) {
    checker_found(c, violation_kind::different, c->rooms[m.room], offset, m.receiver, now_us,
                  checker_name_of(s) + " belongs to another room");
    return false;
  }
  if (!m.is_in) return false;
  return c->rooms[m.room].about.has_offsets ? take_offset(c, index, offset, s, now_us)
                                            : take_number(c, index, s, now_us);
}

void checker_corrupt(checker* c, uint32_t index, uint64_t offset, uint64_t now_us,
                     const char* what) noexcept {
  check_record about = record_of(check_event::corrupt, index, offset, now_us);
  about.text = what;
  tell(c, about);
  checked_member* m = &c->members[index];
  const checked_room& r = c->rooms[m->room];
  checker_found(c, violation_kind::corrupted, r, offset, m->receiver, now_us, what);
  if (!m->is_in || !r.about.has_offsets || offset < r.base || is_too_far(r, offset)) return;
  if (offset >= m->next) {
    skip_to(c, index, offset, now_us);
    m->next = offset + 1;
  } else if (const auto missing = c->missing.find(index); missing != c->missing.end()) {
    missing->second.erase(offset);
  }
}

void checker_note(checker* c, violation_kind kind, const std::string& channel, uint64_t offset,
                  uint32_t receiver, uint64_t now_us, std::string&& text) noexcept {
  check_record about = record_of(check_event::note, 0, offset, now_us);
  about.kind = kind;
  about.channel = channel;
  about.receiver = receiver;
  about.text = text;
  tell(c, about);
  ++c->counts[static_cast<size_t>(kind)];
  if (c->kept.size() < kViolationsKept)
    c->kept.push_back({kind, channel, offset, receiver, now_us, std::move(text)});
}

void checker_start(checker* c) noexcept {
  tell(c, record_of(check_event::start));
  c->is_started = true;
}

void checker_refused(checker* c, uint32_t room_index, uint32_t publisher,
                     uint32_t number) noexcept {
  tell(c, record_of(check_event::refused, {0, room_index, publisher, number, 0}, 0, kNoTime));
  c->rooms[room_index].publishers[publisher].refused.insert(number);
}

namespace {

void acked(checker* c, const stamp& s, uint64_t offset, uint64_t now_us) noexcept {
  checked_room& r = c->rooms[s.room];
  checked_publisher* log = log_of(&r, s.publisher);
  CORE_ASSERT(log != nullptr);
  uint64_t* place = checked_at(&log->acked, s.number);
  log->acked_to = std::max(log->acked_to, s.number + 1);
  if (!r.about.has_offsets) {
    *place = 1;
    return;
  }
  if (offset == 0)
    return checker_found(c, violation_kind::different, r, 0, UINT32_MAX, now_us,
                         checker_name_of(s) + " was acknowledged without an offset");
  if (*place != 0 && *place != offset && !may_be_anew(c, *place, offset))
    checker_found(
        c, violation_kind::stored_twice, r, offset, UINT32_MAX, now_us,
        checker_name_of(s) + " was acknowledged with offset " + std::to_string(*place) + " before");
  *place = offset;
  if (!is_too_far(r, offset)) r.top = std::max(r.top, offset);
}

}  // namespace

void checker_acked(checker* c, uint32_t room_index, uint32_t publisher, uint32_t number,
                   uint64_t offset, uint64_t now_us) noexcept {
  const stamp s{0, room_index, publisher, number, 0};
  tell(c, record_of(check_event::acked, s, offset, now_us));
  acked(c, s, offset, now_us);
}

void checker_repeated(checker* c, uint32_t room_index, uint32_t publisher, uint32_t number,
                      uint64_t offset, bool is_duplicate, uint64_t now_us) noexcept {
  const stamp s{0, room_index, publisher, number, 0};
  check_record about = record_of(check_event::repeated, s, offset, now_us);
  about.is_so = is_duplicate;
  tell(c, about);
  const checked_room& r = c->rooms[room_index];
  const std::vector<uint64_t>& acks = r.publishers[publisher].acked;
  const bool is_anew = number < acks.size() && may_be_anew(c, acks[number], offset);
  if (!is_duplicate && !is_anew)
    checker_found(
        c, violation_kind::stored_twice, c->rooms[room_index], offset, UINT32_MAX, now_us,
        checker_name_of(s) + " was sent again with its key and was not answered as a duplicate");
  acked(c, s, offset, now_us);
}

void checker_history(checker* c, uint32_t room_index, uint64_t offset, const stamp& s,
                     uint64_t now_us) noexcept {
  check_record about = record_of(check_event::history, s, offset, now_us);
  about.member = room_index;
  tell(c, about);
  checked_room& r = c->rooms[room_index];
  if (s.room != room_index) {
    checker_found(c, violation_kind::different, r, offset, UINT32_MAX, now_us,
                  "history holds " + checker_name_of(s) + " of another room");
    return;
  }
  if (r.base == 0) r.base = 1;
  if (offset < r.base || !agree(c, &r, offset, s, UINT32_MAX, now_us)) return;
  r.offsets.keep(offset);
}

void checker_history_end(checker* c, uint32_t room_index, uint64_t top) noexcept {
  tell(c, record_of(check_event::history_end, {0, room_index, 0, 0, 0}, top, kNoTime));
  checked_room& r = c->rooms[room_index];
  r.is_history_read = true;
  if (r.may_have_gaps && checked_is_other_epoch(r.top, top)) return;  // nothing came in this epoch
  if (!is_too_far(r, top)) r.top = std::max(r.top, top);
}

}  // namespace loadgen
