// What a peer is answered and told: the checker and the figures hear of it.
#include <algorithm>

#include "loadgen/peer_impl.h"

namespace loadgen {
namespace {

struct taking {
  peer* who;
  uint32_t membership;
  uint64_t last;
};

void take_recovered(void* user, uint64_t offset, std::string_view text) noexcept {
  auto* t = static_cast<taking*>(user);
  worker* w = t->who->home;
  const membership& m = t->who->rooms[t->membership];
  stamp s;
  if (stamp_read(text, &s, nullptr, nullptr) != stamp_result::ok) {
    checker_corrupt(w->checks, m.member, offset, peer_run_us(w),
                    "a recovered message has changed on the way");
  } else if (s.run == w->all->run && checker_take(w->checks, m.member, offset, s, peer_run_us(w))) {
    w->delivered.add();
  }
}

void take_history(void* user, uint64_t offset, std::string_view text) noexcept {
  auto* t = static_cast<taking*>(user);
  worker* w = t->who->home;
  const membership& m = t->who->rooms[t->membership];
  t->last = std::max(t->last, offset);
  stamp s;
  const stamp_result read = stamp_read(text, &s, nullptr, nullptr);
  if (read == stamp_result::ok && s.run == w->all->run) {
    checker_history(w->checks, m.room, offset, s, peer_run_us(w));
  } else if (read == stamp_result::corrupt) {
    checker_corrupt(w->checks, m.member, 0, peer_run_us(w), "a message in history has changed");
  }
}

uint16_t epoch_number(worker* w, uint32_t room, std::string_view epoch) noexcept {
  std::vector<std::string>& known = w->rooms[room].epochs;
  const auto at = std::find(known.begin(), known.end(), epoch);
  if (at != known.end()) return static_cast<uint16_t>(at - known.begin());
  known.emplace_back(epoch);
  return static_cast<uint16_t>(known.size() - 1);
}

void on_subscribed(peer* p, const pending& was, const dialect_reply& r) noexcept {
  worker* w = p->home;
  membership* m = &p->rooms[was.membership];
  if (r.error != 0) {
    constexpr uint32_t kAlreadySubscribed = 105;
    if (r.is_temporary && !w->all->is_ending.load(std::memory_order_relaxed)) {
      worker_later(w, {w->now_us + kPeerRetryUs, due_kind::subscribe, p, was.membership, 0, 0});
    } else if (r.error != kAlreadySubscribed) {
      peer_refused(p, peer_channel(p, was.membership),
                   "subscribe: error " + std::to_string(r.error) + " " + std::string(r.message));
    }
    return;
  }
  if (!m->is_wanted) return;  // it left again meanwhile
  worker_record(w, latency_class::subscribe, w->now_us - was.since_us);
  m->epoch = epoch_number(w, m->room, r.epoch);
  const bool asked_recovery = was.number != 0;
  if (!asked_recovery) {
    checker_leave(w->checks, m->member);
    checker_join(w->checks, m->member, peer_has_offsets(p, m->room) ? r.offset : 0);
    local_room& here = w->rooms[m->room];
    here.final_from = std::min(here.final_from, r.offset);
  } else if (r.is_recovered) {
    w->recovered.add();
    worker_record(w, latency_class::recovery, w->now_us - p->begun_us);
    taking t{p, was.membership, 0};
    each_publication(r.publications, take_recovered, &t);
  } else {
    w->unrecovered.add();
    const bool is_allowed =
        p->may_be_late || w->all->may_lose_recovery.load(std::memory_order_relaxed);
    checker_unrecovered(w->checks, m->member, r.offset, peer_run_us(w), is_allowed);
  }
  if (!m->has_been_in) {
    m->has_been_in = true;
    ++w->rooms[m->room].members;
  }
  peer_entered(p, m);
  peer_become_ready(p);
}

void plan_repeat(peer* p, const pending& was) noexcept {
  const world* all = p->home->all;
  const membership& m = p->rooms[was.membership];
  if (!p->home->speech->traits.has_keys) return;
  uint64_t after_us = 0;
  const repeat_kind how =
      schedule_repeat(*all->asked, all->plan->rooms[m.room], m.ordinal, was.number, &after_us);
  if (how == repeat_kind::none) return;
  peer_repeat_later(p, how == repeat_kind::again ? pending_kind::again : pending_kind::conflict,
                    was, after_us);
}

void on_repeated(peer* p, const pending& was, const dialect_reply& r) noexcept {
  constexpr uint32_t kKeyConflict = 113;
  worker* w = p->home;
  const membership& m = p->rooms[was.membership];
  const bool is_conflict = was.kind == pending_kind::conflict;
  if (r.error != 0 && r.is_temporary) return peer_repeat_later(p, was.kind, was, kPeerRetryUs);
  if (is_conflict && r.error == kKeyConflict) return w->conflicts.add();
  if (r.error != 0)
    return peer_refused(
        p, peer_channel(p, was.membership),
        "a key used again: error " + std::to_string(r.error) + " " + std::string(r.message));
  if (is_conflict)
    return checker_note(w->checks, violation_kind::stored_twice, peer_channel(p, was.membership),
                        r.offset, p->index, peer_run_us(w),
                        "the key of message " + std::to_string(was.number) + " of publisher " +
                            std::to_string(m.ordinal) + " was taken again, for other data");
  w->duplicates.add();
  checker_repeated(w->checks, m.room, m.ordinal, was.number, r.offset, r.is_duplicate,
                   peer_run_us(w));
}

void on_published(peer* p, const pending& was, const dialect_reply& r) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[was.membership];
  const uint64_t now = peer_run_us(w);
  if (r.error == 0) {
    w->acked.add();
    worker_second(w, now)->acked += 1;
    if (r.is_duplicate) w->duplicates.add();
    const uint64_t latency = now > was.since_us ? now - was.since_us : 0;
    if (phase_is_measured(w->all, was.since_us)) {
      worker_record(w, latency_class::ack, latency);
      histogram_record(&worker_second(w, now)->ack, latency);
    }
    checker_acked(w->checks, m.room, m.ordinal, was.number,
                  peer_has_offsets(p, m.room) ? r.offset : 0, now);
    return plan_repeat(p, was);
  }
  worker_second(w, now)->errors += 1;
  if (r.is_temporary &&
      peer_has_keys(p, m.room)) {  // nothing is known: the same key again is harmless
    w->errors.add();
    worker_later(w, {w->now_us + kPeerRetryUs, due_kind::retry_publish, p, was.membership,
                     was.number, was.since_us});
    return;
  }
  checker_refused(w->checks, m.room, m.ordinal, was.number);
  if (r.is_temporary) {
    w->errors.add();
  } else {
    peer_refused(p, peer_channel(p, was.membership),
                 "publish: error " + std::to_string(r.error) + " " + std::string(r.message));
  }
}

void on_history(peer* p, const pending& was, const dialect_reply& r) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[was.membership];
  const bool is_final = was.kind == pending_kind::final_history;
  if (r.error != 0) {
    if (is_final && r.is_temporary)
      return peer_history(p, was.membership, w->rooms[m.room].final_from, true);
    peer_refused(p, peer_channel(p, was.membership),
                 "history: error " + std::to_string(r.error) + " " + std::string(r.message));
    if (is_final) --w->final_reads;
    return;
  }
  taking t{p, was.membership, 0};
  each_publication(r.publications, take_history, &t);
  if (!is_final) {
    worker_record(w, latency_class::history, w->now_us - was.since_us);
  } else if (t.last > 0 && t.last < r.offset) {
    w->rooms[m.room].final_from = t.last;
    peer_history(p, was.membership, t.last, true);
  } else {
    checker_history_end(w->checks, m.room, r.offset);
    --w->final_reads;
  }
}

void on_presence(peer* p, const pending& was, const dialect_reply& r) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[was.membership];
  const bool is_final = was.kind == pending_kind::final_presence;
  if (is_final) --w->final_reads;
  if (r.error != 0) {
    constexpr uint32_t kNotAvailable = 108;
    if (r.error != kNotAvailable)
      peer_refused(p, peer_channel(p, was.membership),
                   "presence: error " + std::to_string(r.error) + " " + std::string(r.message));
    return;
  }
  if (!is_final) return worker_record(w, latency_class::presence, w->now_us - was.since_us);
  const uint32_t here = w->all->present[m.room].load(std::memory_order_relaxed);
  if (r.clients == here) return;
  checker_note(w->checks, violation_kind::presence, peer_channel(p, was.membership), 0, p->index,
               peer_run_us(w),
               "presence says " + std::to_string(r.clients) + " clients where " +
                   std::to_string(here) + " are subscribed");
}

// Of those that a reply without an id may be meant for.
std::vector<pending>::iterator oldest_of(peer* p, const dialect_reply& r) noexcept {
  const auto is_meant = [&](const pending& x) {
    switch (r.to) {
      case reply_to::connect:
        return x.kind == pending_kind::connect;
      case reply_to::subscribe:
        return x.kind == pending_kind::subscribe;
      case reply_to::unsubscribe:
        return x.kind == pending_kind::unsubscribe;
      case reply_to::publish:
        return x.kind == pending_kind::publish;
      case reply_to::id:
        break;
    }
    return false;
  };
  auto oldest = p->waiting.end();
  for (auto x = p->waiting.begin(); x != p->waiting.end(); ++x) {
    if (!is_meant(*x) || (oldest != p->waiting.end() && x->id > oldest->id)) continue;
    const bool is_of_channel = r.channel.empty() || x->kind == pending_kind::connect ||
                               peer_channel(p, x->membership) == r.channel;
    if (is_of_channel) oldest = x;
  }
  return oldest;
}

void on_reply(void* user, const dialect_reply& r) noexcept {
  auto* p = static_cast<peer*>(user);
  worker* w = p->home;
  const auto at = r.to == reply_to::id
                      ? std::find_if(p->waiting.begin(), p->waiting.end(),
                                     [&r](const pending& x) { return x.id == r.id; })
                      : oldest_of(p, r);
  if (at == p->waiting.end()) return;
  if (w->all->may_lose_history.load(std::memory_order_relaxed)) checker_may_lose(w->checks);
  const pending was = *at;
  *at = p->waiting.back();
  p->waiting.pop_back();
  switch (was.kind) {
    case pending_kind::connect:
      if (r.error != 0 && r.is_temporary) {  // it comes again, as an SDK does
        w->errors.add();
        core::conn_close(&p->link, core::end_reason::client_closed);
        return;
      }
      if (r.error != 0) {
        peer_refused(p, "",
                     "connect: error " + std::to_string(r.error) + " " + std::string(r.message));
        core::conn_close(&p->link, core::end_reason::client_closed);
        return;
      }
      worker_record(w, latency_class::connect, w->now_us - was.since_us);
      p->state = peer_state::subscribing;
      if (w->speech->traits.waits_for_connect) peer_subscribe_all(p);
      return peer_become_ready(p);
    case pending_kind::subscribe:
      return on_subscribed(p, was, r);
    case pending_kind::publish:
      return on_published(p, was, r);
    case pending_kind::again:
    case pending_kind::conflict:
      return on_repeated(p, was, r);
    case pending_kind::history:
    case pending_kind::final_history:
      return on_history(p, was, r);
    case pending_kind::presence:
    case pending_kind::final_presence:
      return on_presence(p, was, r);
    case pending_kind::unsubscribe:
      return;
  }
}

void on_publication(void* user, std::string_view channel, uint64_t offset,
                    std::string_view text) noexcept {
  auto* p = static_cast<peer*>(user);
  worker* w = p->home;
  stamp s;
  const stamp_result read = stamp_read(text, &s, nullptr, nullptr);
  if (read == stamp_result::foreign || (read == stamp_result::ok && s.run != w->all->run)) return;
  const uint64_t now = peer_run_us(w);
  for (const membership& m : p->rooms) {
    if (w->all->channels[m.room] != channel) continue;
    if (read == stamp_result::corrupt)
      return checker_corrupt(w->checks, m.member, offset, now, "a message has changed on the way");
    if (!checker_take(w->checks, m.member, peer_has_offsets(p, m.room) ? offset : 0, s, now))
      return;
    worker_delivered(w, *p, s, offset);
    const uint64_t latency = now > s.due_us ? now - s.due_us : 0;
    const double deadline_us = w->all->asked->delivery_deadline_s * 1e6;
    if (static_cast<double>(latency) > deadline_us && !p->may_be_late &&
        now > w->all->late_until_us.load(std::memory_order_relaxed))
      checker_note(w->checks, violation_kind::delayed, w->all->channels[m.room], offset, p->index,
                   now, "it came " + std::to_string(latency / 1000) + " ms after its time");
    return;
  }
}

// The connection's room, or of several that which the message itself names.
void on_bare_publication(void* user, std::string_view text) noexcept {
  auto* p = static_cast<peer*>(user);
  stamp s;
  const bool is_named = stamp_read(text, &s, nullptr, nullptr) == stamp_result::ok;
  uint32_t i = p->rooms.size() > 1 && is_named ? peer_membership(p, s.room) : 0;
  if (i == UINT32_MAX) i = 0;  // the checker says whose it is
  if (i < p->rooms.size()) on_publication(user, peer_channel(p, i), 0, text);
}

void on_greeting(void* user) noexcept {
  auto* p = static_cast<peer*>(user);
  if (p->state == peer_state::connecting && p->waiting.empty()) peer_hello(p);
}

void on_over(void* user) noexcept {
  core::conn_close(&static_cast<peer*>(user)->link, core::end_reason::client_closed);
}

void on_answer_due(void* user, std::string_view text) noexcept {
  peer_send(static_cast<peer*>(user), text);
}

void on_lost_subscription(void* user, std::string_view channel, bool may_return) noexcept {
  auto* p = static_cast<peer*>(user);
  for (uint32_t i = 0; i < p->rooms.size(); ++i) {
    if (peer_channel(p, i) != channel) continue;
    peer_left(p, &p->rooms[i]);
    if (!may_return)
      return peer_refused(p, std::string(channel), "the server unsubscribed a member");
    p->state = peer_state::subscribing;
    p->begun_us = p->home->now_us;
    return peer_subscribe(p, i);
  }
}

}  // namespace

const dialect_events kPeerDialectEvents = {on_publication, on_bare_publication,  on_reply,
                                           on_answer_due,  on_lost_subscription, on_greeting,
                                           on_over};

void peer_answered(peer* p, uint32_t id) noexcept {
  dialect_reply done;
  done.id = id;
  on_reply(p, done);
}

}  // namespace loadgen
