// presence, presence_stats and history of a client.
#include <algorithm>

#include "chat/session_impl.h"
#include "core/limits.h"

namespace chat {

namespace {

constexpr size_t kReplyBytes = 64;  // of a presence reply without members

error find_ns(const session* s, std::string_view channel, uint16_t* ns) noexcept {
  const channel_rule rule = channel_namespace(config_of(s), channel, ns);
  return rule == channel_rule::ok         ? error::ok
         : rule == channel_rule::bad_name ? error::bad_request
                                          : error::unknown_channel;
}

bool has_right(session* s, std::string_view channel, bool for_client, bool for_subscriber,
               bool for_anonymous) noexcept {
  if (config_of(s).is_insecure) return true;
  if (user_name(s).empty() ? for_anonymous : for_client)
    return !channel_is_user_limited(channel) || channel_admits(channel, user_name(s));
  const subscription* sub = subscription_find(s, channel);
  return for_subscriber && !user_name(s).empty() && sub != nullptr && subscription_is_live(sub);
}

void on_presence(session* s, operation* op, request* r) noexcept {
  if (r == nullptr || r->code != error::ok) {
    session_error(s, op->id, r == nullptr ? error::internal : r->code);
    return;
  }
  std::string out;
  if (r->kind == request_kind::presence_stats) {
    proto::reply_presence_stats(&out, op->id, r->counts.clients, r->counts.users);
  } else {
    std::vector<std::pair<std::string_view, std::string_view>> members;
    const size_t room = std::min<size_t>(core::kWsPayloadOutBytesMax, session_room(s));
    size_t bytes = kReplyBytes;
    for (const broker::member& m : r->members) {
      bytes += m.client.size() + m.info.size() + 4;
      if (bytes > room) break;
      members.emplace_back(m.client, m.info);
    }
    proto::reply_presence(&out, op->id, members);
  }
  session_send(s, out);
}

// The page's beginning that the out-queue has room for: a page may always be shorter than asked.
std::string_view fitting(const session* s, std::string_view page) noexcept {
  const size_t room = session_room(s);
  if (page.size() <= room) return page;
  size_t end = 0;
  each_object(page, [&](std::string_view object) {
    const auto to = static_cast<size_t>(object.data() + object.size() - page.data());
    if (to > room) return false;
    end = to;
    return true;
  });
  return page.substr(0, end);
}

void on_history(session* s, operation* op, request* r) noexcept {
  if (r == nullptr || r->code != error::ok) {
    session_error(s, op->id, r == nullptr ? error::internal : r->code);
    return;
  }
  const std::string_view page = fitting(s, r->publications);
  if (page.empty() && !r->publications.empty()) {
    session_error(s, op->id, error::too_many_requests);
    return;
  }
  std::string out;
  proto::reply_history(&out, op->id, page, r->top.offset, r->top.epoch);
  session_send(s, out);
}

}  // namespace

bool may_read_history(session* s, const namespace_settings& ns, std::string_view channel) noexcept {
  return ns.has_history &&
         has_right(s, channel, ns.allow_history_for_client, ns.allow_history_for_subscriber,
                   ns.allow_history_for_anonymous);
}

void command_presence(session* s, const proto::command& c) noexcept {
  uint16_t ns_index;
  error code = find_ns(s, c.channel, &ns_index);
  if (code == error::ok) {
    const namespace_settings& ns = config_of(s).namespaces[ns_index];
    if (!ns.presence) {
      code = error::not_available;
    } else if (!has_right(s, c.channel, ns.allow_presence_for_client,
                          ns.allow_presence_for_subscriber, ns.allow_presence_for_anonymous)) {
      code = not_subscribed(s, c.channel);
    }
  }
  if (code != error::ok) {
    session_error(s, c.id, code);
    return;
  }
  const request_kind kind = c.kind == proto::command_kind::presence ? request_kind::presence
                                                                    : request_kind::presence_stats;
  request* r = operation_request(s, c.id, kind, c.channel, ns_index, on_presence);
  r->limit = core::kPresenceEntriesMax;
  request_submit(r);
}

void command_history(session* s, const proto::command& c) noexcept {
  uint16_t ns_index;
  error code = find_ns(s, c.channel, &ns_index);
  if (code == error::ok) {
    const namespace_settings& ns = config_of(s).namespaces[ns_index];
    if (!ns.has_history) {
      code = error::not_available;
    } else if (!may_read_history(s, ns, c.channel)) {
      code = not_subscribed(s, c.channel);
    }
  }
  if (code != error::ok) {
    session_error(s, c.id, code);
    return;
  }
  request* r = operation_request(s, c.id, request_kind::history, c.channel, ns_index, on_history);
  r->read.limit = c.limit < 0
                      ? core::kHistoryPageMax
                      : std::min<uint32_t>(static_cast<uint32_t>(c.limit), core::kHistoryPageMax);
  r->read.is_reverse = c.reverse;
  r->read.bytes_max = config_of(s).recovery_bytes_max;
  if (c.has_since) {
    r->read.since = c.since_offset;
    r->since = {c.since_offset, std::string(c.since_epoch)};
    r->has_since_epoch = !c.since_epoch.empty();
  }
  request_submit(r);
}

}  // namespace chat
