// One loop of the tool: its connections, its part of the schedule, its clock.
#include "loadgen/worker.h"

#include <pthread.h>

#include <algorithm>

#include "core/assert.h"

namespace loadgen {
namespace {

constexpr uint64_t kLateUs = 1000;      // a send that is later than this is counted
constexpr uint32_t kDuesPerTurn = 512;  // then the sockets' turn
constexpr uint64_t kPlacesMax = 1u << 26;

worker* worker_of(core::alarm* a) noexcept {
  return static_cast<worker*>(core::loop_data(a->home));
}

uint64_t next_due(const worker* w) noexcept {
  uint64_t at = w->dues.empty() ? UINT64_MAX : w->dues.top().at_us;
  const uint64_t start = w->all->start_us.load(std::memory_order_relaxed);
  if (w->is_started && w->next_action < w->actions.size())
    at = std::min(at, start + w->all->plan->actions[w->actions[w->next_action]].at_us);
  return at;
}

void arm(worker* w) noexcept {
  const uint64_t at = next_due(w);
  if (at == UINT64_MAX || at == w->armed_us || !w->is_clock_open) return;
  w->armed_us = at;
  core::alarm_set(&w->clock, at);
}

peer* peer_at(const worker* w, uint32_t index) noexcept {
  return w->peers[index / w->all->workers.size()];
}

// How far the tool is behind its schedule. What waits for its connection, or is sent again, is late
// by the server's doing.
void note_late(worker* w, const action& a) noexcept {
  const uint64_t due = w->all->start_us.load(std::memory_order_relaxed) + a.at_us;
  const uint64_t late = w->now_us > due ? w->now_us - due : 0;
  worker_record(w, latency_class::late, late);
  if (late > kLateUs) w->late.add();
}

void do_action(worker* w, const action& a) noexcept {
  peer* p = peer_at(w, a.peer);
  const uint32_t i = peer_membership(p, a.room);
  switch (a.kind) {
    case action_kind::publish:
      if (i == UINT32_MAX) return;
      note_late(w, a);
      return peer_publish(p, i, p->rooms[i].next_number++, a.at_us, a.is_retried);
    case action_kind::leave:
      if (i != UINT32_MAX && p->rooms[i].is_wanted) peer_unsubscribe(p, i);
      return;
    case action_kind::join:
      if (i == UINT32_MAX || p->rooms[i].is_wanted) return;
      p->rooms[i].is_wanted = true;
      return peer_subscribe(p, i);
    case action_kind::cut:
      return peer_cut(p);
    case action_kind::slow:
      return worker_slow(w, p);
    case action_kind::unslow:
      if (p->is_slow && p->has_link) core::conn_resume_read(&p->link);
      p->is_slow = false;
      return;
    case action_kind::history:
      if (i != UINT32_MAX && w->speech->traits.has_offsets) {
        const uint64_t top = std::max<uint64_t>(1, checker_top(w->checks, a.room));
        peer_history(p, i, random_below(&w->random, top), false);
      }
      return;
    case action_kind::presence:
      if (i != UINT32_MAX && w->speech->traits.has_presence) peer_presence(p, i, false);
      return;
  }
}

void do_due(const due& d) noexcept {
  if (d.who->home->all->is_ending.load(std::memory_order_relaxed)) return;
  switch (d.kind) {
    case due_kind::connect:
      return peer_dial(d.who);
    case due_kind::retry_publish:
      return peer_publish(d.who, d.membership, d.number, d.due_us, false);
    case due_kind::again:
      return peer_repeat(d.who, d.membership, d.number, d.due_us, pending_kind::again);
    case due_kind::conflict:
      return peer_repeat(d.who, d.membership, d.number, d.due_us, pending_kind::conflict);
    case due_kind::subscribe:
      return peer_subscribe(d.who, d.membership);
  }
}

void on_clock(core::alarm* a) noexcept {
  worker* w = worker_of(a);
  worker_now(w);
  w->armed_us = UINT64_MAX;
  const uint64_t start = w->all->start_us.load(std::memory_order_relaxed);
  for (uint32_t n = 0; n < kDuesPerTurn && next_due(w) <= w->now_us; ++n) {
    if (w->is_started && w->next_action < w->actions.size()) {
      const action& next = w->all->plan->actions[w->actions[w->next_action]];
      if (start + next.at_us <= w->now_us) {
        ++w->next_action;
        do_action(w, next);
        continue;
      }
    }
    const due d = w->dues.top();
    w->dues.pop();
    do_due(d);
  }
  arm(w);
}

// Messages that count as begun but whose end is not known.
uint64_t messages_waiting(const worker* w) noexcept {
  uint64_t n = w->actions.size() - w->next_action;
  for (const peer* p : w->peers) {
    n += p->unsent.size();
    n += static_cast<uint64_t>(
        std::count_if(p->waiting.begin(), p->waiting.end(), [](const pending& x) {
          return x.kind == pending_kind::publish || x.kind == pending_kind::again ||
                 x.kind == pending_kind::conflict;
        }));
  }
  std::priority_queue<due> dues = w->dues;  // few at the end
  for (; !dues.empty(); dues.pop())
    n += dues.top().kind != due_kind::connect && dues.top().kind != due_kind::subscribe;
  return n;
}

// Where the message stands among the room's arrivals.
uint64_t arrival_place(const worker* w, local_room* r, const stamp& s, uint64_t offset) noexcept {
  if (offset != 0) {
    if (r->arrivals.empty()) r->arrivals_from = offset;
    return offset - r->arrivals_from;  // one from before wraps, and counts for nothing
  }
  return static_cast<uint64_t>(s.number) * w->all->plan->rooms[s.room].publishers + s.publisher;
}

}  // namespace

const char* latency_class_name(latency_class c) noexcept {
  static constexpr const char* kNames[] = {"delivery", "delivery/slow", "last",     "ack",
                                           "connect",  "subscribe",     "recovery", "history",
                                           "presence", "late"};
  static_assert(std::size(kNames) == static_cast<size_t>(latency_class::kCount));
  return kNames[static_cast<size_t>(c)];
}

worker* worker_new(world* all, core::loop* home, uint32_t index) {
  auto* w = new worker;
  w->all = all;
  w->home = home;
  w->index = index;
  const dialect_file* described = all->options->speech;
  w->speech.reset(described != nullptr ? dialect_described(*described) : dialect_centrifuge());
  w->random = random_from(all->asked->seed, 1'000'000 + index);
  w->rooms.resize(all->plan->rooms.size());
  w->seconds.resize(all->seconds);
  w->by_group.resize(all->asked->rooms.size());
  w->checks = checker_new(worker_rooms(all, *w->speech));
  return w;
}

std::vector<check_room> worker_rooms(const world* all, const dialect& speech) {
  std::vector<check_room> rooms;
  for (size_t i = 0; i < all->plan->rooms.size(); ++i) {
    const room_plan& r = all->plan->rooms[i];
    rooms.push_back({all->channels[i], r.publishers,
                     all->asked->rooms[r.group].has_history && speech.traits.has_offsets});
  }
  return rooms;
}

void worker_log(worker* w, check_log* log) noexcept {
  check_log_clock(
      log,
      [](const void* user) noexcept {
        const auto* of = static_cast<const worker*>(user);
        const uint64_t start = of->all->start_us.load(std::memory_order_relaxed);
        return start != 0 && of->now_us > start ? of->now_us - start : 0;
      },
      w);
  checker_listen(
      w->checks,
      [](void* user, const check_record& r) noexcept {
        check_log_add(static_cast<check_log*>(user), r);
      },
      log);
}

void worker_free(worker* w) noexcept {
  for (peer* p : w->peers) delete p;
  checker_free(w->checks);
  delete w;
}

uint64_t worker_now(worker* w) noexcept {
  return w->now_us = core::system_clock()->mono_us();
}

void worker_begin(worker* w) noexcept {
  worker_now(w);
  clockid_t own;
  CORE_ASSERT(pthread_getcpuclockid(pthread_self(), &own) == 0);
  w->cpu_clock.store(own, std::memory_order_relaxed);
  CORE_ASSERT(core::alarm_open(&w->clock, w->home, on_clock) == core::err::ok);
  w->is_clock_open = true;
  const schedule& plan = *w->all->plan;
  const auto loops = static_cast<uint32_t>(w->all->workers.size());
  for (uint32_t i = w->index; i < plan.peers; i += loops) w->peers.push_back(peer_new(w, i));
  for (uint32_t r = 0; r < plan.rooms.size(); ++r) {
    for (uint32_t k = 0; k < plan.rooms[r].members.size(); ++k) {
      const uint32_t index = plan.rooms[r].members[k];
      if (index % loops != w->index) continue;
      membership& m = peer_at(w, index)->rooms.emplace_back();
      m.room = r;
      m.member = checker_member(w->checks, r, index);
      if (k < plan.rooms[r].publishers) m.ordinal = k;
    }
  }
  for (uint32_t i = 0; i < plan.actions.size(); ++i) {
    if (plan.actions[i].peer % loops == w->index) w->actions.push_back(i);
  }
  const double gap_us = 1e6 * loops / std::max(1.0, w->all->asked->connect_rate);
  for (size_t i = 0; i < w->peers.size(); ++i)
    w->dues.push({w->now_us + static_cast<uint64_t>(gap_us * static_cast<double>(i)),
                  due_kind::connect, w->peers[i], 0, 0, 0});
  arm(w);
}

void worker_go(worker* w) noexcept {
  worker_now(w);
  w->is_started = true;
  checker_start(w->checks);
  if (w->all->asked->arrivals == arrival_kind::window) {
    for (uint32_t r = 0; r < w->rooms.size(); ++r) {
      w->rooms[r].window_left = w->all->asked->messages;
      for (uint32_t n = 0; n < w->all->asked->window; ++n) worker_window(w, r);
    }
  }
  arm(w);
}

void worker_window(worker* w, uint32_t room) noexcept {
  local_room* r = &w->rooms[room];
  const room_plan& plan = w->all->plan->rooms[room];
  if (r->window_left == 0) return;
  for (uint32_t tries = 0; tries < plan.publishers; ++tries) {
    const uint32_t index = plan.members[r->window_next++ % plan.publishers];
    if (index % w->all->workers.size() != w->index) continue;
    peer* p = peer_at(w, index);
    const uint32_t i = peer_membership(p, room);
    --r->window_left;
    const uint64_t start = w->all->start_us.load(std::memory_order_relaxed);
    peer_publish(p, i, p->rooms[i].next_number++, w->now_us > start ? w->now_us - start : 0, false);
    return;
  }
}

void worker_later(worker* w, const due& d) noexcept {
  w->dues.push(d);
  arm(w);
}

void worker_record(worker* w, latency_class c, uint64_t us) noexcept {
  histogram_record(&w->latencies[static_cast<size_t>(c)], us);
}

second_slot* worker_second(worker* w, uint64_t run_us) noexcept {
  return &w->seconds[std::min<size_t>(run_us / 1'000'000, w->seconds.size() - 1)];
}

bool phase_is_measured(const world* all, uint64_t run_us) noexcept {
  for (size_t i = 0; i < all->phase_end_us.size(); ++i) {
    if (run_us < all->phase_end_us[i]) return all->asked->phases[i].is_measured;
  }
  return all->asked->arrivals == arrival_kind::window;
}

void worker_slow(worker* w, peer* p) noexcept {
  if (!p->may_be_late) {
    for (const membership& m : p->rooms) {
      if (m.has_been_in && w->rooms[m.room].members > 0) --w->rooms[m.room].members;
    }
  }
  p->is_slow = p->may_be_late = true;
  if (p->has_link) core::conn_pause_read(&p->link);
}

void worker_delivered(worker* w, const peer& to, const stamp& s, uint64_t offset) noexcept {
  const uint64_t start = w->all->start_us.load(std::memory_order_relaxed);
  const uint64_t now = w->now_us > start ? w->now_us - start : 0;
  const uint64_t latency = now > s.due_us ? now - s.due_us : 0;
  w->delivered.add();
  second_slot* second = worker_second(w, now);
  second->delivered += 1;
  const bool is_measured = phase_is_measured(w->all, s.due_us);
  if (to.may_be_late) {
    if (is_measured) worker_record(w, latency_class::slow, latency);
    return;
  }
  if (is_measured) {
    histogram_record(&second->delivery, latency);
    worker_record(w, latency_class::delivery, latency);
    if (w->by_group.size() > 1)
      histogram_record(&w->by_group[w->all->plan->rooms[s.room].group], latency);
  }
  local_room* r = &w->rooms[s.room];
  const uint64_t place = arrival_place(w, r, s, offset);
  if (place >= kPlacesMax) return;
  if (place >= r->arrivals.size())
    r->arrivals.resize(std::max<size_t>(place + 1, r->arrivals.size() * 2));
  if (++r->arrivals[place] != r->members) return;
  if (is_measured) worker_record(w, latency_class::last, latency);
  if (w->all->asked->arrivals == arrival_kind::window) worker_window(w, s.room);
}

void worker_cut_share(worker* w, double share) noexcept {
  worker_now(w);
  for (peer* p : w->peers) {
    if (random_unit(&w->random) < share) peer_cut(p);
  }
}

void worker_report(worker* w) noexcept {
  worker_now(w);
  std::vector<uint64_t> tops(w->rooms.size());
  for (uint32_t r = 0; r < w->rooms.size(); ++r) {
    std::atomic<uint64_t>& top = w->all->tops[r];
    const uint64_t mine = checker_top(w->checks, r);
    uint64_t known = top.load(std::memory_order_relaxed);
    while (mine > known && !top.compare_exchange_weak(known, mine, std::memory_order_relaxed)) {
    }
    tops[r] = std::max(known, mine);
  }
  std::vector<uint32_t> acked_to;
  for (uint32_t r = 0; r < w->rooms.size(); ++r) {
    for (uint32_t p = 0; p < w->all->plan->rooms[r].publishers; ++p) {
      std::atomic<uint32_t>& known = w->all->acked_to[acked_to.size()];
      const uint32_t mine = checker_acked_to(w->checks, r, p);  // 0: another loop's
      if (mine > 0) known.store(mine, std::memory_order_relaxed);
      acked_to.push_back(known.load(std::memory_order_relaxed));
    }
  }
  const auto set = [](core::counter* c, uint64_t v) { c->v.store(v, std::memory_order_relaxed); };
  set(&w->owed, checker_owed(w->checks, tops, acked_to));
  set(&w->waiting, messages_waiting(w));
  set(&w->finals, w->final_reads);
}

void worker_final(worker* w) noexcept {
  worker_now(w);
  for (uint32_t r = 0; r < w->rooms.size(); ++r) {
    const room_plan& plan = w->all->plan->rooms[r];
    const room_group& group = w->all->asked->rooms[plan.group];
    if (plan.members[0] % w->all->workers.size() != w->index) continue;
    const bool has_history = group.has_history && w->speech->traits.has_offsets;
    const bool has_presence = w->all->asked->checks_presence && w->speech->traits.has_presence;
    bool is_read = false;
    for (const uint32_t index : plan.members) {
      if (index % w->all->workers.size() != w->index) continue;
      peer* p = peer_at(w, index);
      const uint32_t i = peer_membership(p, r);
      if (p->state != peer_state::ready || !p->rooms[i].is_in) continue;
      if (has_history && w->rooms[r].final_from != UINT64_MAX) {
        ++w->final_reads;
        peer_history(p, i, w->rooms[r].final_from, true);
      }
      if (has_presence) {
        ++w->final_reads;
        peer_presence(p, i, true);
      }
      is_read = true;
      break;
    }
    if (!is_read)
      checker_note(w->checks, violation_kind::refused, w->all->channels[r], 0, UINT32_MAX,
                   w->now_us - w->all->start_us.load(std::memory_order_relaxed),
                   "nobody was there to read it back at the end");
  }
  w->finals.v.store(w->final_reads, std::memory_order_relaxed);
}

void worker_end(worker* w) noexcept {
  worker_now(w);
  for (peer* p : w->peers) {
    if (p->has_link) core::conn_close(&p->link, core::end_reason::client_closed);
  }
  if (w->is_clock_open) core::alarm_close(&w->clock, nullptr);
  w->is_clock_open = false;
}

}  // namespace loadgen
