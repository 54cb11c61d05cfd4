// Subscriptions of a session: rights, the way to the owner and back, going live in the hub, the
// end.
#include <algorithm>

#include "chat/session_impl.h"
#include "core/assert.h"
#include "core/limits.h"
#include "core/log.h"

namespace chat {

namespace {

constexpr int64_t kRejectUnrecovered = 2;  // bit of the request's flag
constexpr uint32_t kReplyBytes = 1024;     // of a subscribe reply without publications and data

std::string_view name_of(const subscription& sub) noexcept {
  return sub.channel != nullptr ? hub_name(sub.channel) : std::string_view(sub.extra->name);
}

const namespace_settings& ns_of(const session* s, uint16_t ns) noexcept {
  return config_of(s).namespaces[ns];
}

// What the answer of the owner needs to know of the question.
struct subscribe_operation {
  subscribe_options options;
  bool is_positioned = false, is_recoverable = false, wants_join_leave = false;
};

// A line of a subscription's life. Only where channels come and go, never by publication.
void log_channel(const session* s, std::string_view what, std::string_view channel,
                 std::string_view reason = {}) noexcept {
  if (!core::log_enabled(core::log_level::debug)) return;
  const std::string client = client_text(s);
  if (reason.empty()) {
    core::log_debug(what, {{"channel", channel}, {"user", user_name(s)}, {"client", client}});
  } else {
    core::log_debug(
        what,
        {{"reason", reason}, {"channel", channel}, {"user", user_name(s)}, {"client", client}});
  }
}

void fill_member(const session* s, std::string_view chan_info, request* r) noexcept {
  r->who.client = client_text(s);
  r->who.user.assign(user_name(s));
  r->who.info = info_object(s, chan_info);
}

void send_leave(session* s, std::string_view channel, uint16_t ns,
                const subscription& sub) noexcept {
  request* r = request_new(s->node, request_kind::unsubscribe, channel, ns);
  fill_member(s, sub.extra == nullptr ? std::string_view() : std::string_view(sub.extra->chan_info),
              r);
  r->has_presence = sub.has_presence;
  r->has_join_leave = sub.has_join_leave;
  request_submit(r);
}

void erase(session* s, subscription* sub) noexcept {
  const size_t at = static_cast<size_t>(sub - s->subs.data());
  if (at + 1 != s->subs.size()) s->subs[at] = std::move(s->subs.back());
  s->subs.pop_back();
}

uint32_t ttl_of(const session* s, int64_t expire_at_s) noexcept {
  return static_cast<uint32_t>(std::clamp<int64_t>(expire_at_s - now_s(s), 1, UINT32_MAX));
}

void answer(session* s, const subscribe_options& o, std::string_view channel, error code,
            const proto::subscribe_result* r) noexcept {
  if (o.done != nullptr) {
    o.done(s, channel, code, r);
  } else if (code != error::ok) {
    session_error(s, o.id, code);
  } else {
    std::string out;
    proto::reply_subscribe(&out, o.id, *r);
    session_send(s, out);
  }
}

// A connect reply has a recovery of each server-side subscription, and replies of several
// subscribes may wait in the out-queue together: what one recovery may have is not enough to know.
bool recovery_fits(const session* s, size_t bytes) noexcept {
  if (const connect_part* part = s->connecting.get()) {
    constexpr uint32_t kOtherFieldsBytes = 20 * 1024;  // a token's data and the reply's own fields
    constexpr uint32_t kObjectBytes = 700;             // a subscription without publications
    if (part->bytes + bytes + static_cast<uint64_t>(part->waiting) * kObjectBytes +
            kOtherFieldsBytes >
        core::kWsPayloadOutBytesMax)
      return false;
  } else if (bytes + kReplyBytes > core::kWsPayloadOutBytesMax) {
    return false;
  }
  return bytes <= session_room(s);
}

// The server has taken back what was on its way to be granted.
void end_as_told(session* s, std::string_view channel, uint32_t code,
                 std::string_view text) noexcept {
  subscription* sub = subscription_find(s, channel);
  if (sub == nullptr || s->state == session_state::ended) return;
  std::string out;
  proto::push_unsubscribe(&out, channel, code, text);
  session_send(s, out);
  subscription_remove(s, sub, "server");
}

// The answer did not come in time. The place stays taken until it does.
void on_owner_late(session* s, operation* op, const subscribe_options& o) noexcept {
  subscription* sub = subscription_find(s, op->channel);
  sub->extra->late = op;
  op->s = s;
  const std::string channel = op->channel;
  answer(s, o, channel, error::internal, nullptr);
  session_resume_deferred(s);
}

void on_owner_answer(session* s, operation* op, request* r) noexcept {
  const std::unique_ptr<subscribe_operation> q(static_cast<subscribe_operation*>(op->extra));
  op->extra = nullptr;
  subscription* sub = subscription_find(s, op->channel);
  CORE_ASSERT(sub != nullptr && sub->channel == nullptr);
  const subscribe_options& o = q->options;
  if (r == nullptr) {
    on_owner_late(s, op, o);
    return;
  }
  if (r->code != error::ok) {
    erase(s, sub);
    answer(s, o, op->channel, r->code, nullptr);
    session_resume_deferred(s);
    return;
  }
  const bool is_recovering = o.wants_recover && q->is_recoverable;
  const bool is_recovered =
      is_recovering && r->is_recovered && recovery_fits(s, r->publications.size());
  if (is_recovering && !is_recovered && o.reject_unrecovered) {
    send_leave(s, op->channel, r->ns, *sub);
    erase(s, sub);
    answer(s, o, op->channel, error::unrecoverable_position, nullptr);
    session_resume_deferred(s);
    return;
  }
  const uint32_t end_code = sub->extra->end_code;
  const std::string end_text = std::move(sub->extra->end_text);
  sub->channel = hub_add(s->node->local, r->channel, r->ns, s, q->wants_join_leave, &sub->entry);
  const int64_t expires = o.expire_at_s;
  if (o.chan_info.empty() && expires == 0) {
    sub->extra.reset();
  } else {
    sub->extra->name.clear();
    sub->extra->name.shrink_to_fit();
  }
  proto::subscribe_result result;
  result.expires = expires != 0;
  if (result.expires) result.ttl = ttl_of(s, expires);
  result.recoverable = q->is_recoverable;
  result.positioned = q->is_positioned;
  result.data = o.data;
  if (q->is_positioned) {
    result.epoch = r->top.epoch;
    result.offset = r->top.offset;
  }
  if (is_recovering) {
    result.was_recovering = true;
    result.recovered = is_recovered;
    (is_recovered ? s->node->counters->recovered : s->node->counters->unrecovered).add();
    if (is_recovered) {
      result.publications = r->publications;
      result.offset = o.since.offset;
    }
  }
  log_channel(s, "subscribed", r->channel,
              !is_recovering ? std::string_view()
              : is_recovered ? std::string_view("recovered")
                             : std::string_view("not_recovered"));
  answer(s, o, r->channel, error::ok, &result);
  if (end_code != 0) end_as_told(s, r->channel, end_code, end_text);
  if (expires != 0) session_arm(s);
  session_resume_deferred(s);
}

// What a token lets through; ok, an error, or the session is over (error::unauthorized).
error check_token(session* s, std::string_view token, std::string_view channel,
                  subscribe_options* o) noexcept {
  const settings& config = config_of(s);
  proto::token_claims claims;
  std::string why;
  const proto::token_keys& keys =
      config.sub_token_keys.empty() ? config.token_keys : config.sub_token_keys;
  proto::token_result rc = proto::token_verify(keys, token, now_s(s), &claims, &why);
  if (rc == proto::token_result::expired && config.is_insecure) rc = proto::token_result::ok;
  if (rc == proto::token_result::expired) return error::token_expired;
  if (rc == proto::token_result::invalid) {
    log_channel(s, "a subscription token was refused", channel, why);
    return error::permission_denied;
  }
  if (claims.channel != channel || claims.sub != user_name(s) ||
      (!claims.client.empty() && claims.client != client_text(s))) {
    log_channel(s, "a subscription token was refused", channel, "it is another's");
    session_end_behind(s, core::end_reason::invalid_token);
    return error::unauthorized;
  }
  o->chan_info = claims.info;
  o->expire_at_s =
      config.is_insecure ? 0 : bounded_s(claims.expire_at >= 0 ? claims.expire_at : claims.exp);
  return error::ok;
}

}  // namespace

error subscription_rights(const session* s, std::string_view channel,
                          const namespace_settings& ns) noexcept {
  if (config_of(s).is_insecure) return error::ok;
  if (channel_needs_token(channel)) return error::permission_denied;
  if (channel_is_user_limited(channel)) {
    if (!ns.allow_user_limited_channels) return error::permission_denied;
    if (!channel_users_sorted(channel)) return error::bad_request;
    return channel_admits(channel, user_name(s)) && !user_name(s).empty()
               ? error::ok
               : error::permission_denied;
  }
  const bool is_allowed =
      user_name(s).empty() ? ns.allow_subscribe_for_anonymous : ns.allow_subscribe_for_client;
  return is_allowed ? error::ok : error::permission_denied;
}

subscription* subscription_find(session* s, std::string_view channel) noexcept {
  for (subscription& sub : s->subs) {
    if (name_of(sub) == channel) return &sub;
  }
  return nullptr;
}

bool subscription_is_live(const subscription* sub) noexcept {
  return sub->channel != nullptr;
}

void subscription_remove(session* s, subscription* sub, const char* reason) noexcept {
  forget_sent_back(s, name_of(*sub));
  if (sub->channel != nullptr) {
    const std::string channel(hub_name(sub->channel));
    const uint16_t ns = hub_namespace(sub->channel);
    log_channel(s, "unsubscribed", channel, reason);
    hub_remove(s->node->local, sub->channel, sub->entry);
    subscription gone = std::move(*sub);
    erase(s, sub);
    send_leave(s, channel, ns, gone);
  } else {
    if (subscription_is_late(sub)) sub->extra->late->s = nullptr;
    erase(s, sub);  // its answer will find nobody and be undone
  }
}

void subscription_forget_late(session* s, const operation* op) noexcept {
  subscription* sub = subscription_find(s, op->channel);
  CORE_ASSERT(sub != nullptr && sub->extra->late == op);
  erase(s, sub);
}

void subscription_begin(session* s, std::string_view channel, uint16_t ns_index,
                        subscribe_options&& o) noexcept {
  const namespace_settings& ns = ns_of(s, ns_index);
  auto q = std::make_unique<subscribe_operation>();
  q->is_recoverable = ns.has_history && (ns.force_recovery ||
                                         (ns.allow_recovery && (o.recoverable || o.wants_recover)));
  q->is_positioned =
      q->is_recoverable ||
      (ns.has_history && (ns.force_positioning || (ns.allow_positioning && o.positioned)));
  q->wants_join_leave = ns.join_leave && (ns.force_push_join_leave || o.join_leave);

  subscription sub;
  sub.extra = std::make_unique<subscription_extra>();
  sub.extra->name.assign(channel);
  sub.extra->chan_info = o.chan_info;
  sub.extra->expire_at_s = o.expire_at_s;
  sub.is_server_side = o.is_server_side;
  sub.is_positioned = q->is_positioned;
  sub.has_presence = o.presence < 0 ? ns.presence : o.presence != 0;
  sub.has_join_leave = ns.join_leave;

  request* r =
      operation_request(s, o.id, request_kind::subscribe, channel, ns_index, on_owner_answer);
  auto* op = static_cast<operation*>(r->user);
  op->channel.assign(channel);
  fill_member(s, o.chan_info, r);
  r->has_presence = sub.has_presence;
  r->has_join_leave = sub.has_join_leave;
  r->wants_position = q->is_positioned;
  r->wants_recover = q->is_recoverable && o.wants_recover;
  r->since = o.since;
  s->subs.push_back(std::move(sub));
  // "My channels": made by the first subscribe of a user to a channel that keeps history. The
  // personal channel is not one.
  if (ns.has_history && !user_name(s).empty() && !channel_is_personal(channel)) {
    (void)s->node->history->add_user_channel(s->node->self, {std::string(user_name(s))}, r->channel,
                                             nullptr, nullptr);
  }
  q->options = std::move(o);
  op->free_extra = [](void* extra) noexcept { delete static_cast<subscribe_operation*>(extra); };
  op->extra = q.release();
  request_submit(r);
}

void command_subscribe(session* s, const proto::command& c) noexcept {
  const settings& config = config_of(s);
  const proto::subscribe_request& q = c.sub;
  uint16_t ns;
  const channel_rule rule = channel_namespace(config, q.channel, &ns);
  error code = rule == channel_rule::bad_name            ? error::bad_request
               : rule == channel_rule::unknown_namespace ? error::unknown_channel
                                                         : error::ok;
  if (code == error::ok && q.has_filter) code = error::bad_request;
  if (code == error::ok && q.type != 0) code = error::permission_denied;
  if (const subscription* had = subscription_find(s, q.channel);
      code == error::ok && had != nullptr)
    code = subscription_is_late(had) ? error::too_many_requests : error::already_subscribed;
  if (code == error::ok && s->subs.size() >= config.channels_per_client_max)
    code = error::limit_exceeded;
  subscribe_options o;
  if (code == error::ok)
    code = q.token.empty() ? subscription_rights(s, q.channel, config.namespaces[ns])
                           : check_token(s, q.token, q.channel, &o);
  if (session_is_over(s)) return;
  if (code != error::ok) {
    if (code == error::permission_denied) forget_sent_back(s, q.channel);
    session_error(s, c.id, code);
    return;
  }
  o.id = c.id;
  o.wants_recover = q.recover;
  o.positioned = q.positioned;
  o.recoverable = q.recoverable;
  o.join_leave = q.join_leave;
  o.reject_unrecovered = (q.flag & kRejectUnrecovered) != 0;
  o.since = {q.offset, std::string(q.epoch)};
  const std::string channel(q.channel);
  subscription_begin(s, channel, ns, std::move(o));
}

void command_unsubscribe(session* s, const proto::command& c) noexcept {
  forget_sent_back(s, c.channel);
  // A late one is undone already.
  subscription* sub = subscription_find(s, c.channel);
  if (sub != nullptr && subscription_is_live(sub)) subscription_remove(s, sub, "client");
  std::string out;
  proto::reply_empty(&out, c.id, "unsubscribe");
  session_send(s, out);
}

void command_sub_refresh(session* s, const proto::command& c) noexcept {
  subscription* sub = subscription_find(s, c.channel);
  if (sub == nullptr || !subscription_is_live(sub)) {
    session_error(s, c.id, error::permission_denied);
    return;
  }
  subscribe_options o;
  const error code = check_token(s, c.token, c.channel, &o);
  if (session_is_over(s)) return;
  if (code != error::ok) {
    session_error(s, c.id, code);
    return;
  }
  if (sub->extra == nullptr && o.expire_at_s != 0)
    sub->extra = std::make_unique<subscription_extra>();
  if (sub->extra != nullptr) sub->extra->expire_at_s = o.expire_at_s;
  std::string out;
  proto::reply_sub_refresh(&out, c.id, o.expire_at_s != 0,
                           o.expire_at_s != 0 ? ttl_of(s, o.expire_at_s) : 0);
  session_send(s, out);
  session_arm(s);
}

void subscription_expire(session* s) noexcept {
  const int64_t wall = config_of(s).clock->wall_ms();
  for (size_t i = 0; i < s->subs.size();) {
    subscription* sub = &s->subs[i];
    if (!subscription_is_live(sub) || sub->extra == nullptr || sub->extra->expire_at_s == 0 ||
        wall < sub->extra->expire_at_s * 1000 + core::kExpiredGraceMs) {
      ++i;
      continue;
    }
    std::string out;
    proto::push_unsubscribe(&out, name_of(*sub), kUnsubscribeExpired, "subscription expired");
    session_send(s, out);
    subscription_remove(s, sub, "expired");
  }
}

void session_entry_moved(session* s, hub_channel* c, uint32_t entry) noexcept {
  for (subscription& sub : s->subs) {
    if (sub.channel == c) sub.entry = entry;
  }
}

void session_insufficient(session* s, hub_channel* c) noexcept {
  const auto sub = std::find_if(s->subs.begin(), s->subs.end(),
                                [c](const subscription& x) { return x.channel == c; });
  if (sub == s->subs.end() || !sub->is_positioned || s->state == session_state::ended) return;
  s->node->counters->unsubscribes_insufficient.add();
  if (sub->is_server_side) {
    session_end(s, core::end_reason::insufficient_state);
    return;
  }
  std::string out;
  proto::push_unsubscribe(&out, name_of(*sub), kUnsubscribeInsufficient, "insufficient state");
  session_send(s, out);
  std::string channel(name_of(*sub));
  subscription_remove(s, &*sub, "insufficient_state");
  if (s->sent_back == nullptr) s->sent_back = std::make_unique<std::vector<std::string>>();
  if (s->sent_back->size() >= config_of(s).channels_per_client_max)
    s->sent_back->erase(s->sent_back->begin());
  s->sent_back->push_back(std::move(channel));
}

void forget_sent_back(session* s, std::string_view channel) noexcept {
  if (s->sent_back != nullptr) std::erase(*s->sent_back, channel);
}

error not_subscribed(const session* s, std::string_view channel) noexcept {
  const bool is_sent_back =
      s->sent_back != nullptr &&
      std::find(s->sent_back->begin(), s->sent_back->end(), channel) != s->sent_back->end();
  return is_sent_back ? error::internal : error::permission_denied;
}

}  // namespace chat
