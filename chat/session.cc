// A session's life: opening, the alarm (ping, pong, expiry, time-outs), dispatch of commands, the
// end.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "chat/session_impl.h"
#include "chat/user_slots.h"
#include "core/assert.h"
#include "core/limits.h"
#include "core/uuid.h"
#include "proto/ws.h"

namespace chat {

namespace {

session* session_of(core::timer* t) noexcept {
  return reinterpret_cast<session*>(reinterpret_cast<char*>(t) - offsetof(session, alarm));
}

void ping_or_end(session* s, uint64_t now) noexcept {
  if (s->state != session_state::connected || now < s->ping_ms) return;
  const settings& config = config_of(s);
  if (s->is_pong_due) {
    s->is_pong_due = false;
    // ping_ms is pong_wait_ms after the ping, `now` may be a tick later: it must not count.
    if (s->heard_ms + config.pong_wait_ms < s->ping_ms) {
      session_end(s, core::end_reason::no_pong);
      return;
    }
    s->ping_ms = now + config.ping_ms - std::min(config.ping_ms - 1, config.pong_wait_ms);
    return;
  }
  session_send(s, "{}");
  s->is_pong_due = true;
  s->ping_ms = now + config.pong_wait_ms;
}

void on_alarm(core::timer* t) noexcept {
  session* s = session_of(t);
  const uint64_t now = now_ms(s);
  operations_time_out(s, now);
  session_end_if_due(s);
  if (s->state == session_state::fresh && now >= s->ping_ms)
    session_end(s, core::end_reason::stale);
  ping_or_end(s, now);
  if (s->state == session_state::connected && s->exp_s != 0 &&
      now_s(s) * 1000 >= s->exp_s * 1000 + core::kExpiredGraceMs)
    session_end(s, core::end_reason::expired);
  if (s->state == session_state::connected) subscription_expire(s);
  session_arm(s);
}

}  // namespace

sessions* sessions_new(node_loop* n) noexcept {
  auto* all = new sessions;
  all->node = n;
  return all;
}

void sessions_free(sessions* all) noexcept {
  while (all->first != nullptr) session_closed(all->first);
  delete all;
}

session* session_open(node_loop* n, const link_ops* ops, void* link,
                      proto::format format) noexcept {
  auto* s = new session;
  s->node = n;
  s->ops = ops;
  s->link = link;
  s->format = format;
  core::uuid_fill(config_of(s).random, s->client);
  const uint64_t now = now_ms(s);
  s->heard_ms = now;
  s->ping_ms = now + core::kStaleMsMax;
  rate_fill(&s->commands, now, commands_burst(config_of(s)));
  rate_fill(&s->publishes, now, config_of(s).publishes_burst);
  rate_fill(&s->typings, now, config_of(s).typings_burst);
  s->alarm.fire = on_alarm;
  sessions* all = n->clients;
  s->next = all->first;
  if (all->first != nullptr) all->first->prev = s;
  all->first = s;
  ++all->count;
  session_arm(s);
  return s;
}

void session_closed(session* s) noexcept {
  sessions* all = s->node->clients;
  const bool was_connected = s->user != nullptr;
  s->state = session_state::ended;
  core::timer_stop(s->node->timers, &s->alarm);
  operations_detach(s);
  while (!s->subs.empty()) subscription_remove(s, &s->subs.back(), "disconnected");
  session_leave_user(s);
  if (was_connected) s->node->counters->clients_connected.sub();
  (s->prev != nullptr ? s->prev->next : all->first) = s->next;
  if (s->next != nullptr) s->next->prev = s->prev;
  --all->count;
  delete s;
}

std::string client_text(const session* s) noexcept {
  return core::uuid_text(s->client);
}

std::string session_client(const session* s) noexcept {
  return client_text(s);
}

std::string_view session_user(const session* s) noexcept {
  return user_name(s);
}

std::string_view user_name(const session* s) noexcept {
  return s->user == nullptr ? std::string_view() : std::string_view(s->user->name);
}

std::string info_object(const session* s, std::string_view chan_info) noexcept {
  std::string out;
  out.reserve(128);
  proto::client_info(&out, user_name(s), client_text(s),
                     s->info == nullptr ? std::string_view() : std::string_view(*s->info),
                     chan_info);
  return out;
}

void session_send(session* s, std::string_view text) noexcept {
  if (s->state == session_state::ended) return;
  s->node->counters->messages_out.add();
  s->ops->send(s->link, proto::ws_text_frame(text));
}

void session_end(session* s, core::end_reason why) noexcept {
  session_end_code(s, why, core::end_reason_code(why), core::end_reason_text(why));
}

void session_end_behind(session* s, core::end_reason why) noexcept {
  if (session_is_over(s)) return;
  s->end_due = why;
  session_end_if_due(s);
}

void session_end_if_due(session* s) noexcept {
  if (s->end_due != core::end_reason::none && s->oldest == nullptr && s->deferred == nullptr &&
      !s->is_draining_deferred)
    session_end(s, s->end_due);
}

void session_end_code(session* s, core::end_reason why, uint16_t code,
                      std::string_view text) noexcept {
  if (s->state == session_state::ended) return;
  s->state = session_state::ended;
  core::timer_stop(s->node->timers, &s->alarm);
  s->ops->disconnect(s->link, why, code, text);
}

void session_arm(session* s) noexcept {
  if (s->state == session_state::ended) return;
  const uint64_t now = now_ms(s);
  // A connect on its way ends by its operations.
  uint64_t due = s->state == session_state::connecting ? UINT64_MAX : s->ping_ms;
  if (s->oldest != nullptr) due = std::min(due, s->oldest->due_ms);
  const auto wall_due = [&](int64_t expires_s) {
    const int64_t left = expires_s * 1000 + core::kExpiredGraceMs - config_of(s).clock->wall_ms();
    due = std::min(due, now + static_cast<uint64_t>(std::max<int64_t>(left, 0)));
  };
  if (s->exp_s != 0) wall_due(s->exp_s);
  for (const subscription& sub : s->subs) {
    if (sub.extra != nullptr && sub.extra->expire_at_s != 0) wall_due(sub.extra->expire_at_s);
  }
  core::timer_start(s->node->timers, &s->alarm, now, due > now ? due - now : 0);
}

bool session_join_user(session* s, std::string_view name) noexcept {
  if (!user_slot_take(s->node, name)) return false;
  auto& users = s->node->clients->users;
  auto [found, is_new] = users.try_emplace(std::string(name));
  if (is_new) {
    found->second = std::make_unique<user_entry>();
    found->second->name.assign(name);
  }
  user_entry* u = found->second.get();
  s->user = u;
  s->user_next = u->first;
  if (u->first != nullptr) u->first->user_prev = s;
  u->first = s;
  ++u->count;
  return true;
}

void session_leave_user(session* s) noexcept {
  user_entry* u = s->user;
  if (u == nullptr) return;
  (s->user_prev != nullptr ? s->user_prev->user_next : u->first) = s->user_next;
  if (s->user_next != nullptr) s->user_next->user_prev = s->user_prev;
  auto& users = s->node->clients->users;
  s->user = nullptr;
  s->user_prev = s->user_next = nullptr;
  user_slot_give(s->node, u->name);
  if (--u->count > 0) return;
  users.erase(users.find(u->name));
}

void session_deliver(session* s, core::frame* f) noexcept {
  if (s->state == session_state::connected) {
    s->ops->send(s->link, f);
    return;
  }
  connect_part* part = s->connecting.get();
  if (s->state != session_state::connecting) {
    core::frame_unref(f);
    return;
  }
  part->held.push_back(f);
  part->held_bytes += core::frame_view(f).size();
  if (part->held_bytes > config_of(s).queue_bytes_max) session_end(s, core::end_reason::slow);
}

proto::format session_format(const session* s) noexcept {
  return s->format;
}

}  // namespace chat
