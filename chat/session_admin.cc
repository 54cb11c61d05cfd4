// What the server API and the drain do to sessions of a loop.
#include <algorithm>

#include "chat/session_impl.h"

namespace chat {

namespace {

// The sessions that fit; collected first, since what is done to them may change the lists.
// is_early: also those whose connect is on its way.
std::vector<session*> matching(sessions* all, const session_filter& f,
                               bool is_early = false) noexcept {
  std::vector<session*> out;
  const auto look = [&](session* s) {
    if (s->state != session_state::connected &&
        !(is_early && s->state == session_state::connecting))
      return;
    const std::string client = client_text(s);
    if ((!f.client.empty() && f.client != client) || (!f.session.empty() && f.session != client))
      return;
    if (f.except != nullptr &&
        std::find(f.except->begin(), f.except->end(), client) != f.except->end())
      return;
    out.push_back(s);
  };
  if (f.user.empty()) {
    for (session* s = all->first; s != nullptr; s = s->next) look(s);
  } else if (const auto u = all->users.find(std::string(f.user)); u != all->users.end()) {
    for (session* s = u->second->first; s != nullptr; s = s->user_next) look(s);
  }
  return out;
}

// The subscribe push has no place for publications: what was missed follows as pushes of its own.
void on_subscribed(session* s, std::string_view channel, error code,
                   const proto::subscribe_result* r) noexcept {
  if (code != error::ok) return;
  std::string out;
  proto::subscribe_push push;
  push.recoverable = r->recoverable;
  push.positioned = r->positioned;
  push.epoch = r->epoch;
  push.offset = r->offset;
  push.data = r->data;
  proto::push_subscribe(&out, channel, push);
  session_send(s, out);
  each_object(r->publications, [&](std::string_view object) {
    out.assign("{\"push\":{\"channel\":");
    proto::json_string(&out, channel);
    out.append(",\"pub\":").append(object).append("}}");
    session_send(s, out);
    return true;
  });
}

}  // namespace

uint32_t sessions_disconnect(sessions* all, const session_filter& f, uint16_t code,
                             std::string_view text) noexcept {
  const std::vector<session*> found = matching(all, f, true);
  for (session* s : found) session_end_code(s, core::end_reason::api_disconnect, code, text);
  return static_cast<uint32_t>(found.size());
}

uint32_t sessions_unsubscribe(sessions* all, const session_filter& f, std::string_view channel,
                              uint32_t code, std::string_view text) noexcept {
  uint32_t touched = 0;
  for (session* s : matching(all, f)) {
    forget_sent_back(s, channel);
    subscription* sub = subscription_find(s, channel);
    if (sub == nullptr) continue;
    if (subscription_is_late(sub)) continue;  // is being undone
    ++touched;
    if (!subscription_is_live(sub)) {  // once it is granted: its subscriber is owed the answer
      sub->extra->end_code = code;
      sub->extra->end_text.assign(text);
      continue;
    }
    std::string out;
    proto::push_unsubscribe(&out, channel, code, text);
    session_send(s, out);
    subscription_remove(s, sub, "server");
  }
  return touched;
}

uint32_t sessions_subscribe(sessions* all, const session_filter& f,
                            const server_subscribe& sub) noexcept {
  uint16_t ns;
  if (channel_namespace(*all->node->config, sub.channel, &ns) != channel_rule::ok) return 0;
  uint32_t touched = 0;
  for (session* s : matching(all, f)) {
    if (subscription_find(s, sub.channel) != nullptr ||
        s->subs.size() >= all->node->config->channels_per_client_max)
      continue;
    subscribe_options o;
    o.is_server_side = true;
    o.chan_info.assign(sub.info);
    o.data.assign(sub.data);
    o.expire_at_s = bounded_s(sub.expire_at);
    if (sub.has_presence) o.presence = sub.presence ? 1 : 0;
    o.join_leave = sub.has_join_leave && sub.join_leave;
    if (sub.has_recover_since) {
      o.wants_recover = true;
      o.since = {sub.recover_offset, std::string(sub.recover_epoch)};
    }
    o.done = on_subscribed;
    s->arrived_ms = now_ms(s);
    subscription_begin(s, sub.channel, ns, std::move(o));
    ++touched;
  }
  return touched;
}

uint32_t sessions_refresh(sessions* all, const session_filter& f, int64_t expire_at,
                          bool is_expired) noexcept {
  const std::vector<session*> found = matching(all, f, is_expired);
  for (session* s : found) {
    if (is_expired) {
      session_end(s, core::end_reason::expired);
    } else {
      s->exp_s = bounded_s(expire_at);
      session_arm(s);
    }
  }
  return static_cast<uint32_t>(found.size());
}

uint32_t sessions_count(const sessions* all) noexcept {
  return all->count;
}
uint32_t sessions_users(const sessions* all) noexcept {
  return static_cast<uint32_t>(all->users.size());
}

uint32_t sessions_shutdown_some(sessions* all, uint32_t count) noexcept {
  std::vector<session*> living;
  for (session* s = all->first; s != nullptr; s = s->next) {
    if (s->state != session_state::ended) living.push_back(s);
  }
  for (size_t i = 0; i < living.size() && i < count; ++i) {
    const size_t j =
        i + core::random_below(all->node->config->random, static_cast<uint32_t>(living.size() - i));
    std::swap(living[i], living[j]);
    session_end(living[i], core::end_reason::shutdown);
  }
  return static_cast<uint32_t>(living.size() > count ? living.size() - count : 0);
}

}  // namespace chat
