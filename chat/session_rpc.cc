// The chat methods by rpc: the table, and those that do not publish.
#include <algorithm>

#include "chat/session_impl.h"
#include "core/limits.h"

namespace chat {

namespace {

// A reply stays below the 512 KiB that SDKs take: the names' quotes and backslashes doubled, and
// the numbers.
constexpr uint32_t kMyChannelsMax = 500;
constexpr uint32_t kMyChannelBytes = 2 * core::kChannelBytesMax + 170;
static_assert(kMyChannelBytes * (kMyChannelsMax + 1) < core::kWsPayloadOutBytesMax);

void reply(session* s, uint32_t id, std::string_view data) noexcept {
  std::string out;
  proto::reply_rpc(&out, id, data);
  session_send(s, out);
}

void whoami(session* s, uint32_t id, const proto::rpc_fields&) noexcept {
  std::string data = "{\"user\":";
  proto::json_string(&data, user_name(s));
  data.append(",\"client\":");
  proto::json_string(&data, client_text(s));
  if (s->info != nullptr) data.append(",\"info\":").append(*s->info);
  data.push_back('}');
  reply(s, id, data);
}

// What a method that waits for the store keeps; the session is found through the operation.
struct store_wait {
  operation* op;
  node_loop* node;
  std::string channel, user;
  uint64_t offset;
};

void on_late(session* s, operation* op, request*) noexcept {
  session_error(s, op->id, error::internal);
}

store_wait* wait_new(session* s, uint32_t id, std::string_view channel, uint64_t offset) noexcept {
  return new store_wait{operation_new(s, id, on_late), s->node, std::string(channel),
                        std::string(user_name(s)), offset};
}

// The store did not take it.
void refuse(session* s, store_wait* t, core::err rc) noexcept {
  const uint32_t id = t->op->id;
  (void)operation_end(t->op);
  delete t;
  session_error(s, id, error_from(rc));
}

// May the session know what is said there now? Its list keeps channels that it was in once.
bool may_read(session* s, std::string_view channel) noexcept {
  uint16_t ns;
  if (channel_namespace(config_of(s), channel, &ns) != channel_rule::ok) return false;
  const subscription* sub = subscription_find(s, channel);
  const namespace_settings& rules = config_of(s).namespaces[ns];
  return (sub != nullptr && subscription_is_live(sub)) ||
         subscription_rights(s, channel, rules) == error::ok || may_read_history(s, rules, channel);
}

void append_channel(std::string* out, const store::user_channel& c) noexcept {
  out->append("{\"channel\":");
  proto::json_string(out, c.channel);
  out->append(",\"offset\":");
  proto::json_u64(out, c.top.offset);
  out->append(",\"epoch\":");
  proto::json_string(out, c.top.epoch);
  out->append(",\"read\":");
  proto::json_u64(out, c.read_offset);
  out->append(",\"unread\":");
  proto::json_u64(out, c.unread);
}

void on_channels(void* user, store::user_channels_result&& r) noexcept {
  const std::unique_ptr<store_wait> t(static_cast<store_wait*>(user));
  const uint32_t id = t->op->id;
  session* s = operation_end(t->op);
  if (s == nullptr) return;
  if (r.rc != core::err::ok) {
    session_error(s, id, error_from(r.rc));
    session_end_if_due(s);
    return;
  }
  // All channels are told; their last messages, the newest first, as long as they fit.
  const size_t names_bytes = kMyChannelBytes * (r.channels.size() + 1);
  const size_t all_bytes = std::min<size_t>(core::kWsPayloadOutBytesMax, session_room(s));
  size_t room = all_bytes > names_bytes ? all_bytes - names_bytes : 0;
  std::string data = "{\"channels\":[";
  for (const store::user_channel& c : r.channels) {
    if (data.back() != '[') data.push_back(',');
    append_channel(&data, c);
    if (c.last.offset != 0 && may_read(s, c.channel)) {
      std::string last = ",\"last\":";
      proto::publication_object(&last, c.last.offset, c.last.data, c.last.info, c.last.tags);
      if (last.size() <= room) {
        room -= last.size();
        data.append(last);
      }
    }
    data.push_back('}');
  }
  data.append("]}");
  reply(s, id, data);
  session_end_if_due(s);
}

void channels(session* s, uint32_t id, const proto::rpc_fields&) noexcept {
  if (user_name(s).empty()) {
    session_error(s, id, error::permission_denied);
    return;
  }
  store_wait* t = wait_new(s, id, {}, 0);
  const core::err rc =
      s->node->history->user_channels(s->node->self, t->user, kMyChannelsMax, on_channels, t);
  if (rc != core::err::ok) refuse(s, t, rc);
}

void on_done(store_wait* t, core::err rc) noexcept {
  const uint32_t id = t->op->id;
  session* s = operation_end(t->op);
  if (s == nullptr) return;
  if (rc != core::err::ok) {
    session_error(s, id, error_from(rc));
  } else {
    reply(s, id, "{}");
  }
  session_end_if_due(s);
}

void on_marked(void* user, core::err rc) noexcept {
  const std::unique_ptr<store_wait> t(static_cast<store_wait*>(user));
  if (rc == core::err::ok) {
    std::string data = "{\"type\":\"read\",\"channel\":";
    proto::json_string(&data, t->channel);
    data.append(",\"offset\":");
    proto::json_u64(&data, t->offset);
    data.push_back('}');
    tell_user(t->node, t->user, std::move(data));
  }
  on_done(t.get(), rc);
}

error check_mine(session* s, std::string_view channel) noexcept {
  uint16_t ns;
  if (user_name(s).empty()) return error::permission_denied;
  const channel_rule rule = channel_namespace(config_of(s), channel, &ns);
  if (rule != channel_rule::ok)
    return rule == channel_rule::bad_name ? error::bad_request : error::unknown_channel;
  return config_of(s).namespaces[ns].has_history ? error::ok : error::not_available;
}

void read(session* s, uint32_t id, const proto::rpc_fields& f) noexcept {
  error code = f.has_offset ? check_mine(s, f.channel) : error::bad_request;
  // A marker makes the channel one of the user's: not one that they may not enter.
  if (code == error::ok && !may_read(s, f.channel)) code = error::permission_denied;
  if (code != error::ok) {
    session_error(s, id, code);
    return;
  }
  store_wait* t = wait_new(s, id, f.channel, f.offset);
  const core::err rc =
      s->node->history->mark_read(s->node->self, t->user, t->channel, t->offset, on_marked, t);
  if (rc != core::err::ok) refuse(s, t, rc);
}

void on_left(void* user, core::err rc) noexcept {
  const std::unique_ptr<store_wait> t(static_cast<store_wait*>(user));
  on_done(t.get(), rc);
}

void leave(session* s, uint32_t id, const proto::rpc_fields& f) noexcept {
  const error code = check_mine(s, f.channel);
  if (code != error::ok) {
    session_error(s, id, code);
    return;
  }
  store_wait* t = wait_new(s, id, f.channel, 0);
  const std::string channel(f.channel);
  const core::err rc =
      s->node->history->remove_user_channel(s->node->self, t->user, t->channel, on_left, t);
  if (rc != core::err::ok) {
    refuse(s, t, rc);
    return;
  }
  subscription* sub = subscription_find(s, channel);
  if (sub == nullptr || !subscription_is_live(sub)) return;
  std::string out;
  proto::push_unsubscribe(&out, channel, kUnsubscribeServer, "left");
  session_send(s, out);
  subscription_remove(s, sub, "left");
}

void edit(session* s, uint32_t id, const proto::rpc_fields& f) noexcept {
  rpc_change(s, id, f, false);
}
void remove(session* s, uint32_t id, const proto::rpc_fields& f) noexcept {
  rpc_change(s, id, f, true);
}

constexpr struct {
  std::string_view name;
  void (*run)(session* s, uint32_t id, const proto::rpc_fields& f) noexcept;
} kMethods[] = {
    {"send", rpc_send},     {"typing", rpc_typing}, {"whoami", whoami},
    {"channels", channels}, {"read", read},         {"edit", edit},
    {"delete", remove},     {"leave", leave},       {"online", rpc_online},
};

}  // namespace

void command_rpc(session* s, const proto::command& c) noexcept {
  for (const auto& m : kMethods) {
    if (m.name != c.method) continue;
    proto::rpc_fields f;
    const uint32_t id = c.id;
    if (!c.data.empty() && c.data != "null" &&
        proto::rpc_parse(s->node->parser, c.data, &f) != core::err::ok) {
      session_error(s, id, error::bad_request);
      return;
    }
    m.run(s, id, f);
    return;
  }
  session_error(s, c.id, error::not_available);
}

}  // namespace chat
