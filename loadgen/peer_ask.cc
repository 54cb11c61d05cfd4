// What a peer sends: publishes, subscribes, questions; and what it notes about itself.
#include "loadgen/peer_impl.h"

namespace loadgen {
namespace {

constexpr uint32_t kHistoryPage = 300;

void write_publish(peer* p, pending_kind how, uint32_t index, uint32_t number,
                   uint64_t due_us) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[index];
  const room_group& g = peer_group(p, m.room);
  const uint64_t stamped_us = how == pending_kind::conflict ? due_us + 1 : due_us;  // other data
  w->text.clear();
  stamp_write(&w->text, {w->all->run, m.room, m.ordinal, number, stamped_us}, g.bytes);
  char key[64];
  std::snprintf(key, sizeof key, "%08x-%x-%x-%x", w->all->run, m.room, m.ordinal, number);
  const uint32_t id = peer_expect(p, how, index, number, due_us);
  w->scratch.clear();
  w->speech->publish(&w->scratch, id, peer_channel(p, index), w->text, g.method, key);
  peer_send(p, w->scratch);
}

// Where a publish has no answer, what was written shortly before an end may not have come out.
void keep_written(const peer* p, uint32_t index, uint32_t number) noexcept {
  worker* w = p->home;
  while (!w->last_written.empty() && w->last_written.front().at_us + kPeerWrittenUs < w->now_us)
    w->last_written.pop_front();
  w->last_written.push_back({p, index, number, w->now_us});
}

void send_publish(peer* p, uint32_t index, uint32_t number, uint64_t due_us) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[index];
  write_publish(p, pending_kind::publish, index, number, due_us);
  w->sent.add();
  const uint64_t now = peer_run_us(w);
  worker_second(w, now)->sent += 1;
  if (!w->speech->traits.answers_publish) {
    p->waiting.pop_back();
    checker_acked(w->checks, m.room, m.ordinal, number, 0, now);
    w->acked.add();
    keep_written(p, index, number);
  }
}

void all_in(peer* p) noexcept {
  worker* w = p->home;
  p->state = peer_state::ready;
  if (!p->has_been_ready) {
    p->has_been_ready = true;
    w->ready.add();
  }
  p->is_cut = false;
  std::vector<peer::job> jobs = std::move(p->unsent);
  p->unsent.clear();
  for (const peer::job& j : jobs) send_publish(p, j.membership, j.number, j.due_us);
}

}  // namespace

void peer_send(peer* p, std::string_view text) noexcept {
  worker* w = p->home;
  std::string frame;
  frame.reserve(text.size() + 14);
  proto::ws_client_frame(&frame, proto::ws_opcode::text, text,
                         static_cast<uint32_t>(random_next(&w->random)));
  core::conn_send(&p->link, core::frame_copy(frame));
}

uint32_t peer_expect(peer* p, pending_kind kind, uint32_t membership_index, uint32_t number,
                     uint64_t since_us) noexcept {
  p->waiting.push_back({++p->last_id, kind, membership_index, number, since_us});
  return p->last_id;
}

void peer_note_error(worker* w, std::string&& text) noexcept {
  w->errors.add();
  if (w->last_error.empty()) w->last_error = std::move(text);
}

const std::string& peer_channel(const peer* p, uint32_t membership_index) noexcept {
  return p->home->all->channels[p->rooms[membership_index].room];
}

void peer_refused(peer* p, const std::string& channel, std::string&& what) noexcept {
  worker* w = p->home;
  peer_note_error(w, std::string(what));
  checker_note(w->checks, violation_kind::refused, channel, 0, p->index, peer_run_us(w),
               std::move(what));
}

void peer_entered(peer* p, membership* m) noexcept {
  if (m->is_in) return;
  m->is_in = true;
  p->home->all->present[m->room].fetch_add(1, std::memory_order_relaxed);
}

void peer_left(peer* p, membership* m) noexcept {
  if (!m->is_in) return;
  m->is_in = false;
  p->home->all->present[m->room].fetch_sub(1, std::memory_order_relaxed);
}

void peer_become_ready(peer* p) noexcept {
  if (p->state != peer_state::subscribing) return;
  for (const membership& m : p->rooms) {
    if (m.is_wanted && !m.is_in) return;
  }
  all_in(p);
}

void peer_repeat_later(peer* p, pending_kind how, const pending& was, uint64_t after_us) noexcept {
  const due_kind kind = how == pending_kind::again ? due_kind::again : due_kind::conflict;
  worker_later(p->home,
               {p->home->now_us + after_us, kind, p, was.membership, was.number, was.since_us});
}

void peer_publish(peer* p, uint32_t index, uint32_t number, uint64_t due_us,
                  bool is_twice) noexcept {
  if (p->state != peer_state::ready || !p->rooms[index].is_in) {
    p->unsent.push_back({index, number, due_us});
    return;
  }
  send_publish(p, index, number, due_us);
  if (!is_twice || !peer_has_keys(p, p->rooms[index].room)) return;
  p->home->retried.add();
  send_publish(p, index, number, due_us);
}

void peer_repeat(peer* p, uint32_t index, uint32_t number, uint64_t due_us,
                 pending_kind how) noexcept {
  if (p->state != peer_state::ready || !p->rooms[index].is_in)
    return peer_repeat_later(p, how, {0, how, index, number, due_us}, kPeerRetryUs);
  p->home->retried.add();
  write_publish(p, how, index, number, due_us);
}

void peer_subscribe(peer* p, uint32_t index) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[index];
  if (p->state != peer_state::connecting && p->state != peer_state::subscribing &&
      p->state != peer_state::ready)
    return;
  const bool recovers = m.has_been_in && peer_has_offsets(p, m.room) &&
                        peer_group(p, m.room).is_recovered && p->begun_us != 0 && m.is_wanted &&
                        !m.is_in;
  dialect_position since;
  if (recovers) {
    since.offset = checker_position(w->checks, m.member);
    since.epoch = w->rooms[m.room].epochs[m.epoch];
  }
  std::string text;
  const uint32_t id = peer_expect(p, pending_kind::subscribe, index, recovers ? 1 : 0, w->now_us);
  w->speech->subscribe(&text, id, peer_channel(p, index), recovers ? &since : nullptr);
  if (!text.empty()) peer_send(p, text);
  if (!w->speech->traits.answers_subscribe) peer_answered(p, id);
}

void peer_unsubscribe(peer* p, uint32_t index) noexcept {
  worker* w = p->home;
  membership* m = &p->rooms[index];
  m->is_wanted = false;
  m->has_been_in = false;  // it comes back as a newcomer
  if (m->is_in && w->rooms[m->room].members > 0) --w->rooms[m->room].members;
  peer_left(p, m);
  checker_leave(w->checks, m->member);
  if (p->state != peer_state::ready) return;
  std::string text;
  const uint32_t id = peer_expect(p, pending_kind::unsubscribe, index, 0, w->now_us);
  w->speech->unsubscribe(&text, id, peer_channel(p, index));
  peer_send(p, text);
  if (!w->speech->traits.answers_unsubscribe) peer_answered(p, id);
}

void peer_history(peer* p, uint32_t index, uint64_t since, bool is_final) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[index];
  if (p->state != peer_state::ready || !m.is_in) return;
  std::string text;
  const uint32_t id = peer_expect(p, is_final ? pending_kind::final_history : pending_kind::history,
                                  index, 0, w->now_us);
  w->speech->history(&text, id, peer_channel(p, index), {since, w->rooms[m.room].epochs[m.epoch]},
                     is_final ? kHistoryPage : w->all->asked->history_page);
  peer_send(p, text);
}

void peer_presence(peer* p, uint32_t index, bool is_final) noexcept {
  if (p->state != peer_state::ready || !p->rooms[index].is_in) return;
  std::string text;
  const uint32_t id =
      peer_expect(p, is_final ? pending_kind::final_presence : pending_kind::presence, index, 0,
                  p->home->now_us);
  p->home->speech->presence(&text, id, peer_channel(p, index));
  peer_send(p, text);
}

}  // namespace loadgen
