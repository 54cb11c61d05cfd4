// Publishing: the protocol's publish, and the chat methods that publish (send, typing, edit,
// delete).
#include "chat/session_impl.h"
#include "core/hash.h"
#include "core/limits.h"

namespace chat {

namespace {

// Rights, size and rate; ok or the error to answer.
error check_publish(session* s, std::string_view channel, std::string_view data,
                    uint16_t* ns_index) noexcept {
  const settings& config = config_of(s);
  const channel_rule rule = channel_namespace(config, channel, ns_index);
  if (rule != channel_rule::ok)
    return rule == channel_rule::bad_name ? error::bad_request : error::unknown_channel;
  const namespace_settings& ns = config.namespaces[*ns_index];
  if (!may_publish(s, ns, channel)) return not_subscribed(s, channel);
  if (data.empty() || data.size() > ns.publication_bytes_max) return error::bad_request;
  if (!rate_take(&s->publishes, now_ms(s), config.publishes_per_s, config.publishes_burst))
    return error::too_many_requests;
  return error::ok;
}

std::string_view chan_info_of(session* s, std::string_view channel) noexcept {
  const subscription* sub = subscription_find(s, channel);
  return sub == nullptr || sub->extra == nullptr ? std::string_view()
                                                 : std::string_view(sub->extra->chan_info);
}

request* publish_request(session* s, uint32_t id, std::string_view channel, uint16_t ns_index,
                         std::string_view data,
                         void (*done)(session* s, operation* op, request* r) noexcept) noexcept {
  request* r = operation_request(s, id, request_kind::publish, channel, ns_index, done);
  const namespace_settings& ns = config_of(s).namespaces[ns_index];
  r->pub.has_history = ns.has_history;
  r->pub.keep = ns.keep;
  r->pub.user.assign(user_name(s));
  r->pub.info = info_object(s, chan_info_of(s, channel));
  r->pub.data.assign(data);
  if (ns.has_history) r->pub.tags_before_time = "{";
  return r;
}

// "My channels" are also those that one has posted to without being in.
void remember_channel(session* s, const request* r) noexcept {
  const subscription* sub = subscription_find(s, r->channel);
  if (user_name(s).empty() || channel_is_personal(r->channel) ||
      !config_of(s).namespaces[r->ns].has_history || (sub != nullptr && subscription_is_live(sub)))
    return;
  (void)s->node->history->add_user_channel(s->node->self, {std::string(user_name(s))}, r->channel,
                                           nullptr, nullptr);
}

void on_published(session* s, operation* op, request* r) noexcept {
  const error code = r == nullptr ? error::internal : r->code;
  if (code != error::ok) {
    session_error(s, op->id, code);
    return;
  }
  remember_channel(s, r);
  std::string out;
  proto::reply_empty(&out, op->id, "publish");
  session_send(s, out);
}

void on_sent(session* s, operation* op, request* r) noexcept {
  const error code = r == nullptr ? error::internal : r->code;
  if (code != error::ok) {
    session_error(s, op->id, code);
    return;
  }
  remember_channel(s, r);
  std::string data;
  data.reserve(128);
  data.append("{\"offset\":");
  proto::json_u64(&data, r->top.offset);
  data.append(",\"epoch\":");
  proto::json_string(&data, r->top.epoch);
  data.append(",\"time\":");
  proto::json_i64(&data, r->time_ms);
  data.append(r->is_duplicate ? ",\"duplicate\":true}" : ",\"duplicate\":false}");
  std::string out;
  proto::reply_rpc(&out, op->id, data);
  session_send(s, out);
}

void set_key(session* s, request* r, std::string_view kind, std::string_view key) noexcept {
  const std::string who = user_name(s).empty() ? client_text(s) : std::string(user_name(s));
  r->pub.key_scope.reserve(kind.size() + who.size() + 1 + key.size());
  r->pub.key_scope.assign(kind).append(who).append("\n").append(key);  // no name has a newline
  // The same words said again as an edit of something are another request.
  r->pub.key_hash =
      core::digest(r->pub.refers == 0 ? r->pub.data
                                      : r->pub.data + (r->pub.is_delete ? "\ndelete " : "\nedit ") +
                                            std::to_string(r->pub.refers));
  r->pub.key_ttl_ms = config_of(s).idempotency_ttl_ms;
  r->pub.tags_before_time.reserve(key.size() + 32);
  r->pub.tags_before_time = "{\"key\":";
  proto::json_string(&r->pub.tags_before_time, key);
  r->pub.tags_before_time.push_back(',');
}

void drop_answer(node_loop*, request* r) noexcept {
  request_free(r);
}

}  // namespace

bool may_publish(const session* s, const namespace_settings& ns,
                 std::string_view channel) noexcept {
  if (config_of(s).is_insecure) return true;
  const bool is_anonymous = user_name(s).empty();
  if (is_anonymous ? ns.allow_publish_for_anonymous : ns.allow_publish_for_client)
    return !channel_is_user_limited(channel) || channel_admits(channel, user_name(s));
  const subscription* sub = subscription_find(const_cast<session*>(s), channel);
  return ns.allow_publish_for_subscriber && !is_anonymous && sub != nullptr &&
         subscription_is_live(sub);
}

void command_publish(session* s, const proto::command& c) noexcept {
  uint16_t ns;
  const error code =
      c.publish_type != 0 ? error::bad_request : check_publish(s, c.channel, c.data, &ns);
  if (code != error::ok) {
    session_error(s, c.id, code);
    return;
  }
  request_submit(publish_request(s, c.id, c.channel, ns, c.data, on_published));
}

void rpc_send(session* s, uint32_t id, const proto::rpc_fields& f) noexcept {
  uint16_t ns;
  error code = f.key.empty() || f.key.size() > core::kKeyBytesMax
                   ? error::bad_request
                   : check_publish(s, f.channel, f.data, &ns);
  if (code == error::ok && !config_of(s).namespaces[ns].has_history) code = error::not_available;
  if (code != error::ok) {
    session_error(s, id, code);
    return;
  }
  request* r = publish_request(s, id, f.channel, ns, f.data, on_sent);
  set_key(s, r, user_name(s).empty() ? "c" : "u", f.key);
  request_submit(r);
}

void rpc_change(session* s, uint32_t id, const proto::rpc_fields& f, bool is_delete) noexcept {
  uint16_t ns;
  const std::string_view data = is_delete ? std::string_view("null") : f.data;
  error code =
      !f.has_offset || f.offset == 0 || user_name(s).empty() || f.key.size() > core::kKeyBytesMax
          ? error::bad_request
          : check_publish(s, f.channel, data, &ns);
  if (code == error::ok && !config_of(s).namespaces[ns].has_history) code = error::not_available;
  if (code != error::ok) {
    session_error(s, id, code);
    return;
  }
  request* r = publish_request(s, id, f.channel, ns, data, on_sent);
  r->pub.refers = f.offset;
  r->pub.is_delete = is_delete;
  if (!f.key.empty()) set_key(s, r, "u", f.key);
  r->pub.tags_before_time.append(is_delete ? "\"delete\":\"" : "\"edit\":\"");
  proto::json_u64(&r->pub.tags_before_time, f.offset);
  r->pub.tags_before_time.append("\",");
  request_submit(r);
}

void rpc_typing(session* s, uint32_t id, const proto::rpc_fields& f) noexcept {
  const settings& config = config_of(s);
  uint16_t ns;
  const channel_rule rule = channel_namespace(config, f.channel, &ns);
  error code = rule == channel_rule::bad_name            ? error::bad_request
               : rule == channel_rule::unknown_namespace ? error::unknown_channel
                                                         : error::ok;
  if (code == error::ok) {
    const subscription* sub = subscription_find(s, f.channel);
    const bool is_in = sub != nullptr && subscription_is_live(sub);
    if (!is_in && !may_publish(s, config.namespaces[ns], f.channel))
      code = not_subscribed(s, f.channel);
  }
  if (code != error::ok) {
    session_error(s, id, code);
    return;
  }
  if (rate_take(&s->typings, now_ms(s), config.typings_per_s, config.typings_burst)) {
    request* r = request_new(s->node, request_kind::publish, f.channel, ns);
    r->pub.data = "{\"typing\":true}";
    r->pub.info = info_object(s, chan_info_of(s, f.channel));
    r->pub.user.assign(user_name(s));
    r->pub.tags_before_time = "{\"type\":\"typing\",";
    r->done = drop_answer;
    request_submit(r);
  }
  std::string out;
  proto::reply_rpc(&out, id, "{}");
  session_send(s, out);
}

void tell_user(node_loop* n, std::string_view user, std::string&& data) noexcept {
  std::string channel;
  uint16_t ns;
  if (!personal_channel(*n->config, user, &channel, &ns)) return;
  request* r = request_new(n, request_kind::publish, channel, ns);
  r->pub.data = std::move(data);
  r->done = drop_answer;
  request_submit(r);
}

}  // namespace chat
