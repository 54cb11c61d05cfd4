// The checker when the run is over: what all loops know put together, and what was never made good.
#include "loadgen/check.h"
#include "loadgen/check_impl.h"

namespace loadgen {

bool checked_room_reach(checked_room* r, uint64_t base) noexcept {
  if (base >= r->base) return true;
  if (r->base - base > kOffsetJumpMax && !r->may_have_gaps) return false;
  r->base = base;
  return true;
}

// The newest epoch's, and of that the lowest that anybody was told.
void checked_room_floor(checked_room* r, uint64_t floor) noexcept {
  if (r->floor == 0 || checked_is_other_epoch(r->floor, floor))
    r->floor = std::max(r->floor, floor);
  else
    r->floor = std::min(r->floor, floor);
}

namespace {

void merge_offsets(checker* c, checked_room* r, const checked_room* from,
                   uint64_t now_us) noexcept {
  for (const offset_stretch& s : from->offsets.stretches()) {
    for (size_t i = 0; i < s.hashes.size(); ++i) {
      if (s.hashes[i] == 0) continue;
      uint64_t* mine = r->offsets.place(s.base + i);
      if (*mine != 0 && *mine != s.hashes[i])
        checker_found(c, violation_kind::different, *r, s.base + i, UINT32_MAX, now_us,
                      "receivers on two loops of the tool have different messages here");
      *mine = s.hashes[i];
    }
    for (size_t i = 0; i < s.in_history.size(); ++i) {
      if (s.in_history[i]) r->offsets.keep(s.base + i);
    }
  }
}

void merge_room(checker* c, checked_room* r, const checked_room* from, uint64_t now_us) noexcept {
  r->may_have_gaps |= from->may_have_gaps;
  if (from->floor != 0) checked_room_floor(r, from->floor);
  if (from->base == 0) {
    r->top = std::max(r->top, from->top);
  } else if (r->about.has_offsets) {
    if (r->base == 0) r->base = from->base;
    if (!checked_room_reach(r, from->base))
      return checker_found(c, violation_kind::different, *r, from->base, UINT32_MAX, now_us,
                           "receivers on two loops of the tool are far apart");
    merge_offsets(c, r, from, now_us);
    r->top = std::max(r->top, from->top);
    r->is_history_read |= from->is_history_read;
  }
  for (size_t p = 0; p < r->publishers.size(); ++p) {
    r->publishers[p].refused.insert(from->publishers[p].refused.begin(),
                                    from->publishers[p].refused.end());
    for (size_t n = 0; n < from->publishers[p].acked.size(); ++n) {
      if (from->publishers[p].acked[n] != 0)
        *checked_at(&r->publishers[p].acked, n) = from->publishers[p].acked[n];
    }
    for (size_t n = 0; r->about.has_offsets && n < from->publishers[p].seen.size(); ++n) {
      if (from->publishers[p].seen[n] != 0)
        *checked_at(&r->publishers[p].seen, n) = from->publishers[p].seen[n];
    }
  }
}

// Acknowledged means: at that offset, and in history. Delivered means: in history.
void check_message(checker* c, const checked_room& r, const stamp& s, uint64_t acked, uint64_t seen,
                   uint64_t now_us) noexcept {
  const uint64_t offset = acked != 0 ? acked : seen;
  if (offset == 0 || offset < r.base) return;
  if (c->may_lose_history && offset <= r.floor) return;
  const bool is_there = r.offsets.hash(offset) == (stamp_hash(s) | 1);
  if (!is_there && acked != 0) {
    checker_found(c, violation_kind::lost, r, acked, UINT32_MAX, now_us,
                  checker_name_of(s) + " was acknowledged and nobody has it there");
  } else if (is_there && r.is_history_read && !r.offsets.is_kept(offset)) {
    checker_found(c, violation_kind::unacked_history, r, offset, UINT32_MAX, now_us,
                  checker_name_of(s) + (acked != 0 ? " was acknowledged" : " was delivered") +
                      " and is not in history");
  }
}

void check_room_end(checker* c, uint32_t room_index, uint64_t now_us) noexcept {
  const checked_room& r = c->rooms[room_index];
  std::set<uint64_t> acknowledged;  // where nothing else is known to stand
  for (uint32_t p = 0; p < r.publishers.size(); ++p) {
    const checked_publisher& log = r.publishers[p];
    for (uint32_t n = 0; n < std::max(log.acked.size(), log.seen.size()); ++n) {
      const uint64_t acked = n < log.acked.size() ? log.acked[n] : 0;
      const uint64_t seen = n < log.seen.size() ? log.seen[n] : 0;
      check_message(c, r, {0, room_index, p, n, 0}, acked, seen, now_us);
      if (acked >= r.base && acked != seen) acknowledged.insert(acked);
    }
  }
  if (!r.is_history_read || r.base == 0 || r.may_have_gaps) return;
  for (uint64_t offset = r.base; offset <= r.top; ++offset) {
    if (r.offsets.hash(offset) == 0 && acknowledged.count(offset) == 0)
      checker_found(c, violation_kind::lost, r, offset, UINT32_MAX, now_us,
                    "history has a hole here, and nobody has seen what stood in it");
  }
}

}  // namespace

namespace {

// In a room without offsets: the holes, and for those who were there from the start what did not
// come at the end.
void finish_numbers(checker* c, uint32_t index, const checked_room& all, uint64_t now_us) noexcept {
  const checked_member& m = c->members[index];
  const auto found = c->numbers.find(index);
  for (uint32_t p = 0; p < all.publishers.size(); ++p) {
    const checked_publisher& log = all.publishers[p];
    const bool has_seen = found != c->numbers.end() && found->second.next[p] != 0;
    std::set<uint32_t> lost;
    if (has_seen) lost = found->second.missing[p];
    const uint32_t next = has_seen ? found->second.next[p] - 1 : 0;
    for (uint32_t n = next; (has_seen || m.is_from_start) && n < log.acked.size(); ++n) {
      if (log.acked[n] != 0) lost.insert(n);
    }
    for (const uint32_t n : lost) {
      if (log.refused.count(n) == 0)
        checker_found(c, violation_kind::lost, all, 0, m.receiver, now_us,
                      checker_name_of({0, m.room, p, n, 0}) + " never came");
    }
  }
}

void finish(checker* c, const checker* merged, uint64_t now_us) noexcept {
  for (const left_number& l : c->left) {
    const checked_room& all = merged->rooms[l.room];
    if (all.publishers[l.publisher].refused.count(l.number) == 0)
      checker_found(c, violation_kind::lost, all, 0, l.receiver, now_us,
                    checker_name_of({0, l.room, l.publisher, l.number, 0}) +
                        " had not come when the receiver left, although later ones had");
  }
  for (uint32_t i = 0; i < c->members.size(); ++i) {
    const checked_member& m = c->members[i];
    const checked_room& all = merged->rooms[m.room];
    if (!m.is_in) continue;
    if (!all.about.has_offsets) {
      finish_numbers(c, i, all, now_us);
      continue;
    }
    if (const auto missing = c->missing.find(i); missing != c->missing.end()) {
      for (const uint64_t offset : missing->second)
        checker_found(c, violation_kind::lost, all, offset, m.receiver, now_us,
                      "never came, although later ones did");
    }
    if (all.top >= m.next)
      checker_found(c, violation_kind::lost, all, m.next, m.receiver, now_us,
                    "nothing came from here to offset " + std::to_string(all.top),
                    all.top - m.next + 1);
  }
  if (c != merged) return;
  for (uint32_t i = 0; i < c->rooms.size(); ++i) {
    if (c->rooms[i].about.has_offsets) check_room_end(c, i, now_us);
  }
}

}  // namespace

void checkers_judge(const std::vector<checker*>& all, uint64_t now_us) noexcept {
  for (checker* c : all) {
    check_record about;
    about.what = check_event::finish;
    about.now_us = now_us;
    if (c->on_event != nullptr) c->on_event(c->user, about);
  }
  checker* merged = all[0];
  for (size_t l = 1; l < all.size(); ++l) {
    merged->may_lose_history |= all[l]->may_lose_history;
    for (size_t i = 0; i < merged->rooms.size(); ++i)
      merge_room(merged, &merged->rooms[i], &all[l]->rooms[i], now_us);
  }
  for (checker* c : all) finish(c, merged, now_us);
}

uint64_t checker_top(const checker* c, uint32_t room_index) noexcept {
  return c->rooms[room_index].top;
}

uint32_t checker_acked_to(const checker* c, uint32_t room_index, uint32_t publisher) noexcept {
  return c->rooms[room_index].publishers[publisher].acked_to;
}

namespace {

// Of a member of a room without offsets, whose publishers have come to acked_to[0], [1] …
uint64_t owed_numbers(const checker* c, uint32_t index, const uint32_t* acked_to) noexcept {
  const checked_member& m = c->members[index];
  const auto found = c->numbers.find(index);
  uint64_t owed = 0;
  for (size_t p = 0; p < c->rooms[m.room].publishers.size(); ++p) {
    const bool has_seen = found != c->numbers.end() && found->second.next[p] != 0;
    const uint32_t next = has_seen ? found->second.next[p] - 1 : 0;
    if ((has_seen || m.is_from_start) && acked_to[p] > next) owed += acked_to[p] - next;
  }
  return owed;
}

}  // namespace

uint64_t checker_owed(const checker* c, const std::vector<uint64_t>& tops,
                      const std::vector<uint32_t>& acked_to) noexcept {
  uint64_t owed = 0;
  std::vector<size_t> begins(c->rooms.size());  // in acked_to
  for (size_t r = 0, at = 0; r < begins.size(); at += c->rooms[r++].publishers.size())
    begins[r] = at;
  for (uint32_t i = 0; i < c->members.size(); ++i) {
    const checked_member& m = c->members[i];
    if (!m.is_in) continue;
    if (!c->rooms[m.room].about.has_offsets) {
      owed += owed_numbers(c, i, &acked_to[begins[m.room]]);
    } else if (tops[m.room] >= m.next) {
      owed += tops[m.room] - m.next + 1;
    }
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
