// One connection: dial, handshake, connect, subscribe, then messages; after an end it comes back by
// itself, as the SDKs do.
#include <algorithm>

#include "core/dial.h"
#include "core/log.h"
#include "loadgen/worker.h"
#include "proto/token.h"

namespace loadgen {
namespace {

constexpr uint32_t kQueueBytesMax = 8u << 20;
constexpr uint64_t kMessageBytesMax = 16u << 20;
constexpr uint64_t kReconnectMinUs = 20'000, kReconnectMaxUs = 200'000;
constexpr uint64_t kRetryUs = 100'000;  // after a temporary error
constexpr int64_t kTokenTtlS = 24 * 3600;
constexpr uint32_t kHistoryPage = 300;
constexpr std::string_view kKey =
    "bG9hZC1nZW5lcmF0b3IhIQ==";         // one for all: it proves nothing about a load tool
constexpr uint16_t kFinalCodes = 3500;  // close codes from here to 3999 tell SDKs not to return

peer* peer_of(core::conn* c) noexcept {
  return reinterpret_cast<peer*>(c);
}
uint64_t run_us(const worker* w) noexcept {
  const uint64_t start = w->all->start_us.load(std::memory_order_relaxed);
  return start != 0 && w->now_us > start ? w->now_us - start : 0;
}
const room_group& group_of(const peer* p, uint32_t room) noexcept {
  return p->home->all->asked->rooms[p->home->all->plan->rooms[room].group];
}
bool has_offsets(const peer* p, uint32_t room) noexcept {
  return group_of(p, room).has_history && p->home->speech->has_offsets();
}

void send_text(peer* p, std::string_view text) noexcept {
  worker* w = p->home;
  std::string frame;
  frame.reserve(text.size() + 14);
  proto::ws_client_frame(&frame, proto::ws_opcode::text, text,
                         static_cast<uint32_t>(random_next(&w->random)));
  core::conn_send(&p->link, core::frame_copy(frame));
}

uint32_t expect(peer* p, pending_kind kind, uint32_t membership_index, uint32_t number,
                uint64_t since_us) noexcept {
  p->waiting.push_back({++p->last_id, kind, membership_index, number, since_us});
  return p->last_id;
}

void note_error(worker* w, std::string&& text) noexcept {
  w->errors.add();
  if (w->last_error.empty()) w->last_error = std::move(text);
}

const std::string& channel_of(const peer* p, uint32_t membership_index) noexcept {
  return p->home->all->channels[p->rooms[membership_index].room];
}

void refused(peer* p, const std::string& channel, std::string&& what) noexcept {
  worker* w = p->home;
  note_error(w, std::string(what));
  checker_note(w->checks, violation_kind::refused, channel, 0, p->index, run_us(w),
               std::move(what));
}

void entered(peer* p, membership* m) noexcept {
  if (m->is_in) return;
  m->is_in = true;
  p->home->all->present[m->room].fetch_add(1, std::memory_order_relaxed);
}

void left(peer* p, membership* m) noexcept {
  if (!m->is_in) return;
  m->is_in = false;
  p->home->all->present[m->room].fetch_sub(1, std::memory_order_relaxed);
}

void write_publish(peer* p, pending_kind how, uint32_t index, uint32_t number,
                   uint64_t due_us) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[index];
  const room_group& g = group_of(p, m.room);
  const uint64_t stamped_us = how == pending_kind::conflict ? due_us + 1 : due_us;  // other data
  w->text.clear();
  stamp_write(&w->text, {w->all->run, m.room, m.ordinal, number, stamped_us}, g.bytes);
  char key[64];
  std::snprintf(key, sizeof key, "%08x-%x-%x-%x", w->all->run, m.room, m.ordinal, number);
  const uint32_t id = expect(p, how, index, number, due_us);
  w->scratch.clear();
  w->speech->publish(&w->scratch, id, channel_of(p, index), w->text, g.method, key);
  send_text(p, w->scratch);
}

void send_publish(peer* p, uint32_t index, uint32_t number, uint64_t due_us) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[index];
  write_publish(p, pending_kind::publish, index, number, due_us);
  w->sent.add();
  const uint64_t now = run_us(w);
  worker_second(w, now)->sent += 1;
  if (!w->speech->has_acks()) {
    p->waiting.pop_back();
    checker_acked(w->checks, m.room, m.ordinal, number, 0, now);
    w->acked.add();
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

void become_ready(peer* p) noexcept {
  if (p->state != peer_state::subscribing) return;
  for (const membership& m : p->rooms) {
    if (m.is_wanted && !m.is_in) return;
  }
  all_in(p);
}

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
    checker_corrupt(w->checks, m.member, offset, run_us(w),
                    "a recovered message has changed on the way");
  } else if (s.run == w->all->run && checker_take(w->checks, m.member, offset, s, run_us(w))) {
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
    checker_history(w->checks, m.room, offset, s, run_us(w));
  } else if (read == stamp_result::corrupt) {
    checker_corrupt(w->checks, m.member, 0, run_us(w), "a message in history has changed");
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
      worker_later(w, {w->now_us + kRetryUs, due_kind::subscribe, p, was.membership, 0, 0});
    } else if (r.error != kAlreadySubscribed) {
      refused(p, channel_of(p, was.membership),
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
    checker_join(w->checks, m->member, has_offsets(p, m->room) ? r.offset : 0);
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
    checker_unrecovered(w->checks, m->member, r.offset, run_us(w), is_allowed);
  }
  if (!m->has_been_in) {
    m->has_been_in = true;
    ++w->rooms[m->room].members;
  }
  entered(p, m);
  become_ready(p);
}

void repeat_later(peer* p, pending_kind how, const pending& was, uint64_t after_us) noexcept {
  const due_kind kind = how == pending_kind::again ? due_kind::again : due_kind::conflict;
  worker_later(p->home,
               {p->home->now_us + after_us, kind, p, was.membership, was.number, was.since_us});
}

void plan_repeat(peer* p, const pending& was) noexcept {
  const world* all = p->home->all;
  const membership& m = p->rooms[was.membership];
  uint64_t after_us = 0;
  const repeat_kind how =
      schedule_repeat(*all->asked, all->plan->rooms[m.room], m.ordinal, was.number, &after_us);
  if (how == repeat_kind::none) return;
  repeat_later(p, how == repeat_kind::again ? pending_kind::again : pending_kind::conflict, was,
               after_us);
}

void on_repeated(peer* p, const pending& was, const dialect_reply& r) noexcept {
  constexpr uint32_t kKeyConflict = 113;
  worker* w = p->home;
  const membership& m = p->rooms[was.membership];
  const bool is_conflict = was.kind == pending_kind::conflict;
  if (r.error != 0 && r.is_temporary) return repeat_later(p, was.kind, was, kRetryUs);
  if (is_conflict && r.error == kKeyConflict) return w->conflicts.add();
  if (r.error != 0)
    return refused(
        p, channel_of(p, was.membership),
        "a key used again: error " + std::to_string(r.error) + " " + std::string(r.message));
  if (is_conflict)
    return checker_note(w->checks, violation_kind::stored_twice, channel_of(p, was.membership),
                        r.offset, p->index, run_us(w),
                        "the key of message " + std::to_string(was.number) + " of publisher " +
                            std::to_string(m.ordinal) + " was taken again, for other data");
  w->duplicates.add();
  checker_repeated(w->checks, m.room, m.ordinal, was.number, r.offset, r.is_duplicate, run_us(w));
}

void on_published(peer* p, const pending& was, const dialect_reply& r) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[was.membership];
  const uint64_t now = run_us(w);
  if (r.error == 0) {
    w->acked.add();
    worker_second(w, now)->acked += 1;
    if (r.is_duplicate) w->duplicates.add();
    const uint64_t latency = now > was.since_us ? now - was.since_us : 0;
    if (phase_is_measured(w->all, was.since_us)) {
      worker_record(w, latency_class::ack, latency);
      histogram_record(&worker_second(w, now)->ack, latency);
    }
    checker_acked(w->checks, m.room, m.ordinal, was.number, has_offsets(p, m.room) ? r.offset : 0,
                  now);
    return plan_repeat(p, was);
  }
  worker_second(w, now)->errors += 1;
  const bool is_send = group_of(p, m.room).method == publish_method::send;
  if (r.is_temporary && is_send) {  // nothing is known: the same key again is harmless
    w->errors.add();
    worker_later(w, {w->now_us + kRetryUs, due_kind::retry_publish, p, was.membership, was.number,
                     was.since_us});
    return;
  }
  checker_refused(w->checks, m.room, m.ordinal, was.number);
  if (r.is_temporary) {
    w->errors.add();
  } else {
    refused(p, channel_of(p, was.membership),
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
    refused(p, channel_of(p, was.membership),
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
      refused(p, channel_of(p, was.membership),
              "presence: error " + std::to_string(r.error) + " " + std::string(r.message));
    return;
  }
  if (!is_final) return worker_record(w, latency_class::presence, w->now_us - was.since_us);
  const uint32_t here = w->all->present[m.room].load(std::memory_order_relaxed);
  if (r.clients == here) return;
  checker_note(w->checks, violation_kind::presence, channel_of(p, was.membership), 0, p->index,
               run_us(w),
               "presence says " + std::to_string(r.clients) + " clients where " +
                   std::to_string(here) + " are subscribed");
}

void on_reply(void* user, const dialect_reply& r) noexcept {
  auto* p = static_cast<peer*>(user);
  worker* w = p->home;
  const auto at = std::find_if(p->waiting.begin(), p->waiting.end(),
                               [&r](const pending& x) { return x.id == r.id; });
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
        refused(p, "", "connect: error " + std::to_string(r.error) + " " + std::string(r.message));
        core::conn_close(&p->link, core::end_reason::client_closed);
        return;
      }
      worker_record(w, latency_class::connect, w->now_us - was.since_us);
      p->state = peer_state::subscribing;
      return become_ready(p);
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
  const uint64_t now = run_us(w);
  for (const membership& m : p->rooms) {
    if (w->all->channels[m.room] != channel) continue;
    if (read == stamp_result::corrupt)
      return checker_corrupt(w->checks, m.member, offset, now, "a message has changed on the way");
    if (!checker_take(w->checks, m.member, has_offsets(p, m.room) ? offset : 0, s, now)) return;
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

void on_answer_due(void* user, std::string_view text) noexcept {
  send_text(static_cast<peer*>(user), text);
}

void on_lost_subscription(void* user, std::string_view channel, bool may_return) noexcept {
  auto* p = static_cast<peer*>(user);
  for (uint32_t i = 0; i < p->rooms.size(); ++i) {
    if (channel_of(p, i) != channel) continue;
    left(p, &p->rooms[i]);
    if (!may_return) return refused(p, std::string(channel), "the server unsubscribed a member");
    p->state = peer_state::subscribing;
    p->begun_us = p->home->now_us;
    return peer_subscribe(p, i);
  }
}

constexpr dialect_events kDialectEvents = {on_publication, on_reply, on_answer_due,
                                           on_lost_subscription};

void on_message(void* user, std::string_view payload) noexcept {
  auto* p = static_cast<peer*>(user);
  worker* w = p->home;
  if (p->home->speech->read(payload, kDialectEvents, p)) return;
  if (!p->rooms.empty())
    checker_corrupt(w->checks, p->rooms[0].member, 0, run_us(w),
                    "a message from the server cannot be read");
}

void on_ping(void* user, std::string_view payload) noexcept {
  auto* p = static_cast<peer*>(user);
  std::string frame;
  proto::ws_client_frame(&frame, proto::ws_opcode::pong, payload,
                         static_cast<uint32_t>(random_next(&p->home->random)));
  core::conn_send(&p->link, core::frame_copy(frame));
}

void on_close(void* user, uint16_t code, std::string_view reason) noexcept {
  auto* p = static_cast<peer*>(user);
  if (code >= kFinalCodes && code < 4000 &&
      !p->home->all->is_ending.load(std::memory_order_relaxed))
    refused(p, "",
            "the server closed a connection for good: " + std::to_string(code) + " " +
                std::string(reason));
  core::conn_close(&p->link, core::end_reason::client_closed);
}

constexpr proto::ws_client_events kWireEvents = {on_message, on_ping, on_close};

// The handshake is done: connect and all subscriptions in one go, as the SDKs do.
void say_hello(peer* p) noexcept {
  worker* w = p->home;
  p->state = peer_state::connecting;
  std::string token;
  const world* all = w->all;
  if (!all->options->hmac_secret.empty())
    token = proto::token_sign(all->options->hmac_secret, all->users[p->index], {}, {},
                              core::system_clock()->wall_ms() / 1000, kTokenTtlS);
  std::string text;
  w->speech->connect(&text, expect(p, pending_kind::connect, 0, 0, p->dialled_us), token,
                     all->users[p->index]);
  send_text(p, text);
  for (uint32_t i = 0; i < p->rooms.size(); ++i) {
    if (p->rooms[i].is_wanted) peer_subscribe(p, i);
  }
}

void on_data(core::conn* c, char* bytes, uint32_t len) noexcept {
  peer* p = peer_of(c);
  worker* w = p->home;
  worker_now(w);
  std::string_view in(bytes, len);
  std::string joined;
  if (p->state == peer_state::upgrading) {
    joined = std::move(p->wire.rest);
    p->wire.rest = {};
    joined.append(in);
    size_t head = 0;
    std::string why;
    const core::err rc = proto::ws_client_answer(joined, kKey, &head, &why);
    if (rc == core::err::again) {
      p->wire.rest = std::move(joined);
      return;
    }
    if (rc != core::err::ok) {
      w->connect_failures.add();
      if (w->last_error.empty()) w->last_error = why;
      core::conn_close(c, core::end_reason::client_closed);
      return;
    }
    in = std::string_view(joined).substr(head);
    say_hello(p);
  }
  if (proto::ws_client_feed(&p->wire, in, kMessageBytesMax, &kWireEvents, p) == core::err::ok)
    return;
  if (!p->rooms.empty())
    checker_corrupt(w->checks, p->rooms[0].member, 0, run_us(w),
                    "the server's frames cannot be read");
  core::conn_close(c, core::end_reason::protocol_error);
}

void on_eof(core::conn* c) noexcept {
  core::conn_close(c, core::end_reason::client_closed);
}

// What was on its way: keyed sends go again after the reconnect; of plain publishes nobody knows.
void keep_unsent(peer* p) noexcept {
  std::vector<pending> waiting = std::move(p->waiting);
  p->waiting.clear();
  for (const pending& x : waiting) {
    if (x.kind == pending_kind::final_history || x.kind == pending_kind::final_presence) {
      --p->home->final_reads;
      refused(p, channel_of(p, x.membership), "the connection ended while it was read back");
    }
    if (x.kind == pending_kind::again || x.kind == pending_kind::conflict)
      repeat_later(p, x.kind, x, kRetryUs);
    if (x.kind != pending_kind::publish) continue;
    const membership& m = p->rooms[x.membership];
    if (group_of(p, m.room).method == publish_method::send) {
      p->unsent.push_back({x.membership, x.number, x.since_us});
    } else {
      checker_refused(p->home->checks, m.room, m.ordinal, x.number);
    }
  }
}

void on_closed(core::conn* c, core::end_reason) noexcept {
  peer* p = peer_of(c);
  worker* w = p->home;
  worker_now(w);
  const bool was_up = p->state == peer_state::ready || p->state == peer_state::subscribing;
  p->has_link = false;
  p->state = peer_state::off;
  p->is_slow = false;
  p->wire = {};
  for (membership& m : p->rooms) {
    left(p, &m);
    if (!has_offsets(p, m.room) || !group_of(p, m.room).is_recovered)
      checker_leave(w->checks, m.member);
  }
  if (w->all->is_ending.load(std::memory_order_relaxed)) return;
  keep_unsent(p);
  if (was_up) {
    w->reconnects.add();
    if (!p->is_cut) p->begun_us = w->now_us;
  } else {
    w->connect_failures.add();
  }
  const uint64_t pause =
      kReconnectMinUs + random_below(&w->random, kReconnectMaxUs - kReconnectMinUs);
  worker_later(w, {w->now_us + pause, due_kind::connect, p, 0, 0, 0});
}

constexpr core::conn_events kConnEvents = {on_data, on_eof, on_closed};

}  // namespace

peer* peer_new(worker* w, uint32_t index) noexcept {
  auto* p = new peer;
  p->home = w;
  p->index = index;
  return p;
}

void peer_dial(peer* p) noexcept {
  worker* w = p->home;
  const engine_options& o = *w->all->options;
  if (p->has_link || w->all->is_ending.load(std::memory_order_relaxed)) return;
  p->dialled_us = w->now_us;
  if (!p->has_been_ready || p->begun_us == 0) p->begun_us = w->now_us;
  core::dial_address a{o.host, o.port,
                       o.sources.empty() ? std::string() : o.sources[p->index % o.sources.size()]};
  int fd = -1;
  core::err rc = core::dial(a, &fd);
  if (rc == core::err::ok)
    rc = core::conn_init(&p->link, w->home, fd, &kConnEvents, kQueueBytesMax);
  if (rc != core::err::ok) {
    w->connect_failures.add();
    if (w->last_error.empty())
      w->last_error = std::string("connecting failed: ") + core::err_text(rc);
    worker_later(w, {w->now_us + kReconnectMaxUs, due_kind::connect, p, 0, 0, 0});
    return;
  }
  p->has_link = true;
  p->state = peer_state::upgrading;
  const std::string_view target =
      o.target.empty() ? w->speech->target() : std::string_view(o.target);
  core::conn_send(&p->link, core::frame_copy(proto::ws_client_request(
                                o.host + ":" + std::to_string(o.port), target, kKey, {})));
}

void peer_publish(peer* p, uint32_t index, uint32_t number, uint64_t due_us,
                  bool is_twice) noexcept {
  if (p->state != peer_state::ready || !p->rooms[index].is_in) {
    p->unsent.push_back({index, number, due_us});
    return;
  }
  send_publish(p, index, number, due_us);
  if (!is_twice) return;
  p->home->retried.add();
  send_publish(p, index, number, due_us);
}

void peer_repeat(peer* p, uint32_t index, uint32_t number, uint64_t due_us,
                 pending_kind how) noexcept {
  if (p->state != peer_state::ready || !p->rooms[index].is_in)
    return repeat_later(p, how, {0, how, index, number, due_us}, kRetryUs);
  p->home->retried.add();
  write_publish(p, how, index, number, due_us);
}

void peer_subscribe(peer* p, uint32_t index) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[index];
  if (p->state != peer_state::connecting && p->state != peer_state::subscribing &&
      p->state != peer_state::ready)
    return;
  const bool recovers = m.has_been_in && has_offsets(p, m.room) &&
                        group_of(p, m.room).is_recovered && p->begun_us != 0 && m.is_wanted &&
                        !m.is_in && checker_position(w->checks, m.member) != UINT64_MAX;
  dialect_position since;
  if (recovers) {
    since.offset = checker_position(w->checks, m.member);
    since.epoch = w->rooms[m.room].epochs[m.epoch];
  }
  std::string text;
  const uint32_t id = expect(p, pending_kind::subscribe, index, recovers ? 1 : 0, w->now_us);
  w->speech->subscribe(&text, id, channel_of(p, index), recovers ? &since : nullptr);
  send_text(p, text);
}

void peer_unsubscribe(peer* p, uint32_t index) noexcept {
  worker* w = p->home;
  membership* m = &p->rooms[index];
  m->is_wanted = false;
  m->has_been_in = false;  // it comes back as a newcomer
  if (m->is_in && w->rooms[m->room].members > 0) --w->rooms[m->room].members;
  left(p, m);
  checker_leave(w->checks, m->member);
  if (p->state != peer_state::ready) return;
  std::string text;
  w->speech->unsubscribe(&text, expect(p, pending_kind::unsubscribe, index, 0, w->now_us),
                         channel_of(p, index));
  send_text(p, text);
}

void peer_history(peer* p, uint32_t index, uint64_t since, bool is_final) noexcept {
  worker* w = p->home;
  const membership& m = p->rooms[index];
  if (p->state != peer_state::ready || !m.is_in) return;
  std::string text;
  const uint32_t id = expect(p, is_final ? pending_kind::final_history : pending_kind::history,
                             index, 0, w->now_us);
  w->speech->history(&text, id, channel_of(p, index), {since, w->rooms[m.room].epochs[m.epoch]},
                     is_final ? kHistoryPage : w->all->asked->history_page);
  send_text(p, text);
}

void peer_presence(peer* p, uint32_t index, bool is_final) noexcept {
  if (p->state != peer_state::ready || !p->rooms[index].is_in) return;
  std::string text;
  const uint32_t id = expect(p, is_final ? pending_kind::final_presence : pending_kind::presence,
                             index, 0, p->home->now_us);
  p->home->speech->presence(&text, id, channel_of(p, index));
  send_text(p, text);
}

void peer_cut(peer* p) noexcept {
  if (!p->has_link) return;
  p->begun_us = p->home->now_us;
  p->is_cut = true;
  core::conn_close(&p->link, core::end_reason::client_reset);
}

uint32_t peer_membership(const peer* p, uint32_t room) noexcept {
  for (uint32_t i = 0; i < p->rooms.size(); ++i) {
    if (p->rooms[i].room == room) return i;
  }
  return UINT32_MAX;
}

}  // namespace loadgen
