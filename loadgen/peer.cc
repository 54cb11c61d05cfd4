// One connection: dial, handshake, connect, subscribe, then messages; after an end it comes back by
// itself, as the SDKs do.
#include <algorithm>

#include "core/dial.h"
#include "core/log.h"
#include "loadgen/peer_impl.h"
#include "proto/token.h"

namespace loadgen {
namespace {

constexpr uint32_t kQueueBytesMax = 8u << 20;
constexpr uint64_t kMessageBytesMax = 16u << 20;
constexpr uint64_t kReconnectMinUs = 20'000, kReconnectMaxUs = 200'000;
constexpr int64_t kTokenTtlS = 24 * 3600;
constexpr std::string_view kKey =
    "bG9hZC1nZW5lcmF0b3IhIQ==";         // one for all: it proves nothing about a load tool
constexpr uint16_t kFinalCodes = 3500;  // close codes from here to 3999 tell SDKs not to return

peer* peer_of(core::conn* c) noexcept {
  return reinterpret_cast<peer*>(c);
}
void on_message(void* user, std::string_view payload) noexcept {
  auto* p = static_cast<peer*>(user);
  worker* w = p->home;
  if (p->home->speech->read(payload, kPeerDialectEvents, p)) return;
  if (!p->rooms.empty())
    checker_corrupt(w->checks, p->rooms[0].member, 0, peer_run_us(w),
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
    peer_refused(p, "",
                 "the server closed a connection for good: " + std::to_string(code) + " " +
                     std::string(reason));
  core::conn_close(&p->link, core::end_reason::client_closed);
}

constexpr proto::ws_client_events kWireEvents = {on_message, on_ping, on_close};

std::string token_of(const peer* p) {
  const world* all = p->home->all;
  if (all->options->hmac_secret.empty()) return {};
  return proto::token_sign(all->options->hmac_secret, all->users[p->index], {}, {},
                           core::system_clock()->wall_ms() / 1000, kTokenTtlS);
}

// Of the upgrade.
std::string target_of(const peer* p) {
  const worker* w = p->home;
  if (!w->all->options->target.empty()) return w->all->options->target;
  const std::string token = w->speech->traits.is_token_in_target ? token_of(p) : "";
  dialect_login who{w->all->users[p->index], token, {}};
  if (!p->rooms.empty()) who.channel = peer_channel(p, 0);
  std::string target;
  w->speech->target(&target, who);
  return target;
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
    p->state = peer_state::connecting;
    if (!w->speech->traits.is_greeted) peer_hello(p);
  }
  if (proto::ws_client_feed(&p->wire, in, kMessageBytesMax, &kWireEvents, p) == core::err::ok)
    return;
  if (!p->rooms.empty())
    checker_corrupt(w->checks, p->rooms[0].member, 0, peer_run_us(w),
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
      peer_refused(p, peer_channel(p, x.membership), "the connection ended while it was read back");
    }
    if (x.kind == pending_kind::again || x.kind == pending_kind::conflict)
      peer_repeat_later(p, x.kind, x, kPeerRetryUs);
    if (x.kind != pending_kind::publish) continue;
    const membership& m = p->rooms[x.membership];
    if (peer_has_keys(p, m.room)) {
      p->unsent.push_back({x.membership, x.number, x.since_us});
    } else {
      checker_refused(p->home->checks, m.room, m.ordinal, x.number);
    }
  }
}

void forget_written(const peer* p) noexcept {
  worker* w = p->home;
  for (const written& x : w->last_written) {
    if (x.by != p || x.at_us + kPeerWrittenUs < w->now_us) continue;
    const membership& m = p->rooms[x.membership];
    checker_refused(w->checks, m.room, m.ordinal, x.number);
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
  // At the end nobody leaves: what has not come by then is lost.
  const bool is_ending = w->all->is_ending.load(std::memory_order_relaxed);
  for (membership& m : p->rooms) {
    peer_left(p, &m);
    if (!is_ending && (!peer_has_offsets(p, m.room) || !peer_group(p, m.room).is_recovered))
      checker_leave(w->checks, m.member);
  }
  if (is_ending) return;
  keep_unsent(p);
  forget_written(p);
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
  core::conn_send(&p->link, core::frame_copy(proto::ws_client_request(
                                o.host + ":" + std::to_string(o.port), target_of(p), kKey,
                                w->speech->subprotocol())));
}

// Connect and all subscriptions in one go, as the SDKs do, unless the dialect wants an answer
// first.
void peer_hello(peer* p) noexcept {
  worker* w = p->home;
  const std::string token = token_of(p);
  const uint32_t id = peer_expect(p, pending_kind::connect, 0, 0, p->dialled_us);
  std::string text;
  w->speech->connect(&text, id, {w->all->users[p->index], token, {}});
  if (!text.empty()) peer_send(p, text);
  if (!w->speech->traits.answers_connect) peer_answered(p, id);
  if (!w->speech->traits.waits_for_connect) peer_subscribe_all(p);
}

void peer_subscribe_all(peer* p) noexcept {
  for (uint32_t i = 0; i < p->rooms.size(); ++i) {
    if (p->rooms[i].is_wanted) peer_subscribe(p, i);
  }
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
