// connect: token, user, server-side subscriptions, the reply; and refresh.
#include <algorithm>

#include "chat/session_impl.h"
#include "core/limits.h"
#include "core/log.h"

namespace chat {

namespace {

uint32_t ttl_of(const session* s, int64_t exp_s) noexcept {
  return static_cast<uint32_t>(std::clamp<int64_t>(exp_s - now_s(s), 1, UINT32_MAX));
}

void refuse_token(session* s, const std::string& why) noexcept {
  if (core::log_enabled(core::log_level::debug))
    core::log_debug("a token was refused",
                    {{"reason", why}, {"user", user_name(s)}, {"client", client_text(s)}});
  session_end_behind(s, core::end_reason::invalid_token);
}

// ok, or the session has been answered or ended.
bool take_token(session* s, const proto::command& c, proto::token_claims* claims) noexcept {
  const settings& config = config_of(s);
  if (c.token.empty()) {
    if (config.allow_anonymous || config.is_insecure) return true;
    session_error(s, c.id, error::unauthorized);
    return false;
  }
  std::string why;
  proto::token_result rc = proto::token_verify(config.token_keys, c.token, now_s(s), claims, &why);
  if (rc == proto::token_result::expired && config.is_insecure) rc = proto::token_result::ok;
  if (rc == proto::token_result::ok) return true;
  if (rc == proto::token_result::expired) {
    session_error(s, c.id, error::token_expired);
  } else {
    refuse_token(s, why);
  }
  return false;
}

int64_t expiry_of(const session* s, const proto::token_claims& claims) noexcept {
  if (config_of(s).is_insecure) return 0;
  return bounded_s(claims.expire_at >= 0 ? claims.expire_at : claims.exp);
}

void finish_connect(session* s) noexcept {
  std::unique_ptr<connect_part> part = std::move(s->connecting);
  if (part->failed != error::ok) {
    // Answered once; the client comes again from the start. What was granted is given back with the
    // session.
    std::string out;
    s->state = session_state::fresh;
    s->is_refused = true;
    s->ping_ms = now_ms(s) + core::kStaleMsMax;  // to try again
    while (!s->subs.empty()) subscription_remove(s, &s->subs.back(), "connect_failed");
    session_leave_user(s);
    s->node->counters->clients_connected.sub();
    s->info.reset();
    s->exp_s = 0;
    session_error(s, part->id, part->failed);
    session_refuse_deferred(s);
    return;
  }
  const settings& config = config_of(s);
  s->state = session_state::connected;
  const uint64_t now = now_ms(s);
  s->ping_ms = now + config.ping_ms / 2 +
               core::random_below(config.random, config.ping_ms / 2 +
                                                     1);  // spread: not all at once after a restart
  const std::string client = client_text(s);
  proto::connect_result r;
  r.client = client;
  r.version = config.version;
  r.node = config.node_name;
  r.expires = s->exp_s != 0;
  if (r.expires) r.ttl = ttl_of(s, s->exp_s);
  r.ping_s = std::max(1u, config.ping_ms / 1000);
  r.pong = true;
  r.subs = part->results;
  std::string out;
  proto::reply_connect(&out, part->id, r);
  session_send(s, out);
  s->ops->connected(s->link);
  for (core::frame* f : part->held) s->ops->send(s->link, f);
  part->held.clear();
  session_arm(s);
  session_resume_deferred(s);
}

void on_subscribed(session* s, std::string_view channel, error code,
                   const proto::subscribe_result* r) noexcept {
  connect_part* part = s->connecting.get();
  --part->waiting;
  if (code == error::ok) {
    std::string object;
    proto::subscribe_object(&object, *r);
    part->bytes += static_cast<uint32_t>(object.size() + 2 * channel.size() + 4);
    part->results.emplace_back(channel, std::move(object));
  } else if (part->failed == error::ok) {
    core::log_warn("a server-side subscription failed", {{"channel", channel},
                                                         {"code", static_cast<uint32_t>(code)},
                                                         {"user", user_name(s)},
                                                         {"client", client_text(s)}});
    part->failed = code;
  }
  if (part->waiting == 0 && part->is_begun) finish_connect(s);
}

struct wanted {
  std::string channel;
  subscribe_options options;
};

void add_wanted(std::vector<wanted>* list, const proto::token_sub& sub,
                const proto::command& c) noexcept {
  if (std::any_of(list->begin(), list->end(),
                  [&](const wanted& w) { return w.channel == sub.channel; }))
    return;
  wanted w;
  w.channel = sub.channel;
  w.options.is_server_side = true;
  w.options.chan_info = sub.info;
  w.options.data = sub.data;
  w.options.done = on_subscribed;
  for (const proto::subscribe_request& had : c.subs) {
    if (had.channel != sub.channel) continue;
    w.options.wants_recover = had.recover;
    w.options.since = {had.offset, std::string(had.epoch)};
  }
  list->push_back(std::move(w));
}

}  // namespace

void command_connect(session* s, const proto::command& c) noexcept {
  const settings& config = config_of(s);
  proto::token_claims claims;
  s->is_refused = !take_token(s, c, &claims);
  if (s->is_refused) return;
  if (!session_join_user(s, claims.sub)) {
    session_end(s, core::end_reason::connection_limit);
    return;
  }
  s->exp_s = expiry_of(s, claims);
  if (!claims.info.empty()) s->info = std::make_unique<std::string>(claims.info);
  s->node->counters->clients_connected.add();
  s->state = session_state::connecting;
  s->connecting = std::make_unique<connect_part>();
  s->connecting->id = c.id;

  std::vector<wanted> list;  // made before the first begins: the command's views end there
  proto::token_sub own;
  uint16_t own_ns;
  if (personal_channel(config, claims.sub, &own.channel, &own_ns)) add_wanted(&list, own, c);
  for (const proto::token_sub& sub : claims.subs) add_wanted(&list, sub, c);
  if (list.size() > config.channels_per_client_max) {
    session_end(s, core::end_reason::channel_limit);
    return;
  }
  connect_part* part = s->connecting.get();
  part->waiting = static_cast<uint32_t>(list.size());
  for (wanted& w : list) {
    uint16_t ns;
    const channel_rule rule = channel_namespace(config, w.channel, &ns);
    if (rule != channel_rule::ok) {
      on_subscribed(s, w.channel,
                    rule == channel_rule::bad_name ? error::bad_request : error::unknown_channel,
                    nullptr);
      continue;
    }
    subscription_begin(s, w.channel, ns, std::move(w.options));
    if (s->state != session_state::connecting) return;
  }
  part->is_begun = true;
  if (part->waiting == 0) finish_connect(s);
}

void command_refresh(session* s, const proto::command& c) noexcept {
  proto::token_claims claims;
  std::string why;
  const settings& config = config_of(s);
  proto::token_result rc = proto::token_verify(config.token_keys, c.token, now_s(s), &claims, &why);
  if (rc == proto::token_result::expired && config.is_insecure) rc = proto::token_result::ok;
  if (rc == proto::token_result::expired) {
    session_error(s, c.id, error::token_expired);
    return;
  }
  if (rc == proto::token_result::invalid || claims.sub != user_name(s)) {
    refuse_token(s, rc == proto::token_result::invalid ? why : "the token is another user's");
    return;
  }
  s->exp_s = expiry_of(s, claims);
  if (!claims.info.empty()) s->info = std::make_unique<std::string>(claims.info);
  std::string out;
  proto::reply_refresh(&out, c.id, client_text(s), config.version, s->exp_s != 0,
                       s->exp_s != 0 ? ttl_of(s, s->exp_s) : 0);
  session_send(s, out);
  session_arm(s);
}

}  // namespace chat
