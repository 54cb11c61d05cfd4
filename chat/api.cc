// The server API's operations: publications and questions go to a channel's owner; operations on
// users and counts visit every loop, and the other nodes.
#include "chat/api.h"

#include <algorithm>

#include "chat/control_bytes.h"
#include "chat/roster.h"
#include "chat/session.h"
#include "chat/tour.h"
#include "core/hash.h"
#include "core/limits.h"
#include "core/log.h"

namespace chat {
namespace {

error rule_error(channel_rule rule) noexcept {
  switch (rule) {
    case channel_rule::ok:
      return error::ok;
    case channel_rule::bad_name:
      return error::bad_request;
    case channel_rule::unknown_namespace:
      return error::unknown_channel;
  }
  return error::internal;
}

struct publish_wait {
  api_publish_cb cb;
  void* user;
};

// `{"a":"b"}` -> `{"a":"b",`: what the broker ends with the time. Ephemeral publications without
// tags get none.
std::string tags_before_time(std::string_view tags, bool has_history) noexcept {
  if (tags.empty()) return has_history ? "{" : "";
  const size_t last = tags.rfind('}');
  std::string out(tags.substr(0, last == std::string_view::npos ? 0 : last));
  while (!out.empty() &&
         (out.back() == ' ' || out.back() == '\t' || out.back() == '\n' || out.back() == '\r'))
    out.pop_back();
  if (out.size() > 1) out.push_back(',');
  return out;
}

void on_api_published(node_loop*, request* r) noexcept {
  auto* wait = static_cast<publish_wait*>(r->user);
  wait->cb(wait->user, {r->code, std::move(r->top), r->is_duplicate});
  request_free(r);
}

struct request_wait {
  api_request_cb cb;
  void* user;
};

void on_api_answer(node_loop*, request* r) noexcept {
  auto* wait = static_cast<request_wait*>(r->user);
  wait->cb(wait->user, r);
  request_free(r);
}

// allowed: what the namespace says about it, asked when the channel is a good one.
template <typename F>
void submit(node_loop* n, request_kind kind, std::string_view channel, api_request_cb cb,
            void* user, bool (*allowed)(const namespace_settings&), F fill) noexcept {
  uint16_t ns = 0;
  error code = rule_error(channel_namespace(*n->config, channel, &ns));
  if (code == error::ok && !allowed(n->config->namespaces[ns])) code = error::not_available;
  request* r = request_new(n, kind, channel, ns);
  if (code != error::ok) {
    r->code = code;
    cb(user, r);
    request_free(r);
    return;
  }
  fill(r);
  r->user = new request_wait{cb, user};
  r->forget_user = [](void* w) noexcept { delete static_cast<request_wait*>(w); };
  r->done = on_api_answer;
  request_submit(r);
}

bool has_presence(const namespace_settings& ns) noexcept {
  return ns.presence;
}
bool has_history(const namespace_settings& ns) noexcept {
  return ns.has_history;
}

void apply(node_loop* n, const api_user_op& op) noexcept {
  session_filter f;
  f.user = op.user;
  f.client = op.client;
  f.session = op.session;
  switch (op.what) {
    case api_user_op::kind::disconnect:
      f.except = op.whitelist.empty() ? nullptr : &op.whitelist;
      (void)sessions_disconnect(n->clients, f,
                                op.code == 0
                                    ? core::end_reason_code(core::end_reason::force_no_reconnect)
                                    : static_cast<uint16_t>(op.code),
                                op.code == 0 && op.text.empty()
                                    ? core::end_reason_text(core::end_reason::force_no_reconnect)
                                    : std::string_view(op.text));
      return;
    case api_user_op::kind::unsubscribe:
      (void)sessions_unsubscribe(
          n->clients, f, op.channel, op.code == 0 ? kUnsubscribeServer : op.code,
          op.code == 0 && op.text.empty() ? "server unsubscribe" : std::string_view(op.text));
      return;
    case api_user_op::kind::refresh:
      (void)sessions_refresh(n->clients, f, op.expire_at, op.is_expired);
      return;
    case api_user_op::kind::subscribe:
      break;
  }
  server_subscribe sub;
  sub.channel = op.channel;
  sub.info = op.info;
  sub.data = op.data;
  sub.expire_at = op.expire_at;
  sub.presence = op.presence;
  sub.has_presence = op.has_presence;
  sub.join_leave = op.join_leave;
  sub.has_join_leave = op.has_join_leave;
  sub.has_recover_since = op.has_recover_since;
  sub.recover = op.has_recover_since;
  sub.recover_epoch = op.recover_epoch;
  sub.recover_offset = op.recover_offset;
  (void)sessions_subscribe(n->clients, f, sub);
}

struct user_tour final : tour {
  api_user_op op;
  error code = error::ok;
  api_code_cb cb = nullptr;
  void* user = nullptr;
  bool visit(node_loop* here) noexcept override {
    apply(here, op);
    return true;
  }
  void finish() noexcept override {
    if (cb != nullptr) cb(user, code);
  }
};

// On loop 0 it waits for the answers of the other nodes.
struct channels_tour final : tour {
  std::string pattern;
  std::vector<channel_count> found;
  error code = error::ok;
  node_loop* asked_at = nullptr;
  api_channels_cb cb = nullptr;
  void* user = nullptr;
  bool visit(node_loop* here) noexcept override {
    owner_channels(here->owned, pattern, &found);
    if (here->others == nullptr || roster_is_alone(here->others)) return true;
    asked_at = here;
    if (roster_ask_channels(here->others, pattern, on_others, this) == core::err::ok) return false;
    code = error::internal;
    return true;
  }
  static void on_others(void* self, error code, std::vector<channel_count>&& more) noexcept {
    auto* t = static_cast<channels_tour*>(self);
    t->code = code;
    for (channel_count& c : more) t->found.push_back(std::move(c));
    tour_go_on(t, t->asked_at);
  }
  // A channel may have subscribers on several nodes.
  void finish() noexcept override {
    std::sort(found.begin(), found.end(),
              [](const channel_count& a, const channel_count& b) { return a.channel < b.channel; });
    size_t kept = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      if (kept > 0 && found[kept - 1].channel == found[i].channel)
        found[kept - 1].clients += found[i].clients;
      else if (kept++ != i)
        found[kept - 1] = std::move(found[i]);
    }
    found.resize(kept);
    cb(user, code, found);
  }
};

struct info_tour final : tour {
  std::vector<node_status> nodes = std::vector<node_status>(1);  // this one first
  api_info_cb cb = nullptr;
  void* user = nullptr;
  bool visit(node_loop* here) noexcept override {
    roster_add(here, &nodes.front());
    if (here->others == nullptr) return true;
    for (node_status& s : roster_others(here->others)) nodes.push_back(std::move(s));
    return true;
  }
  void finish() noexcept override { cb(user, error::ok, nodes); }
};

}  // namespace

void api_publish(node_loop* n, api_publish_request&& q, api_publish_cb cb, void* user) noexcept {
  uint16_t ns = 0;
  const error code = rule_error(channel_namespace(*n->config, q.channel, &ns));
  const namespace_settings& rules = n->config->namespaces[ns];
  if (code != error::ok || q.data.size() > rules.publication_bytes_max ||
      q.idempotency_key.size() > core::kKeyBytesMax) {
    cb(user, {code != error::ok ? code : error::bad_request, {}, false});
    return;
  }
  request* r = request_new(n, request_kind::publish, q.channel, ns);
  r->pub.has_history = rules.has_history && !q.skip_history;
  r->pub.tags_before_time = tags_before_time(q.tags, r->pub.has_history);
  if (!q.idempotency_key.empty()) {
    r->pub.key_scope = "api\n" + q.idempotency_key;  // no user's scope begins so
    r->pub.key_hash = core::digest(q.data);
    r->pub.key_ttl_ms = n->config->idempotency_ttl_ms;
  }
  r->pub.data = std::move(q.data);
  r->user = new publish_wait{cb, user};
  r->forget_user = [](void* w) noexcept { delete static_cast<publish_wait*>(w); };
  r->done = on_api_published;
  request_submit(r);
}

void api_presence(node_loop* n, std::string_view channel, bool is_stats_only, api_request_cb cb,
                  void* user) noexcept {
  submit(n, is_stats_only ? request_kind::presence_stats : request_kind::presence, channel, cb,
         user, has_presence, [](request* r) { r->limit = core::kPresenceEntriesMax; });
}

void api_history(node_loop* n, const api_history_request& h, api_request_cb cb,
                 void* user) noexcept {
  submit(n, request_kind::history, h.channel, cb, user, has_history, [&h](request* r) {
    r->read.limit = h.limit < 0
                        ? core::kHistoryPageMax
                        : static_cast<uint32_t>(std::min<int64_t>(h.limit, core::kHistoryPageMax));
    r->read.is_reverse = h.reverse;
    if (!h.has_since) return;
    r->read.since = h.since.offset;
    r->since = h.since;
    r->has_since_epoch = !h.since.epoch.empty();
  });
}

void api_history_remove(node_loop* n, std::string_view channel, api_request_cb cb,
                        void* user) noexcept {
  submit(n, request_kind::remove_history, channel, cb, user, has_history, [](request*) {});
}

void api_user(node_loop* n, api_user_op&& op, api_code_cb cb, void* user) noexcept {
  if (op.what == api_user_op::kind::subscribe || op.what == api_user_op::kind::unsubscribe) {
    uint16_t ns;
    const error code = rule_error(channel_namespace(*n->config, op.channel, &ns));
    if (code != error::ok) {
      cb(user, code);
      return;
    }
  }
  std::string bytes;
  api_user_encode(op, &bytes);
  auto* t = new user_tour;
  t->op = std::move(op);
  t->cb = cb;
  t->user = user;
  if (!tour_start(t, n)) {
    cb(user, error::too_many_requests);
    return;
  }
  // Told to the others only when it is done here: a refused operation has touched nobody.
  if (n->bus->control(bytes) != core::err::ok)
    core::log_warn("the other nodes were not told of a user operation", {});
}

void api_channels(node_loop* n, std::string_view pattern, api_channels_cb cb, void* user) noexcept {
  auto* t = new channels_tour;
  t->pattern.assign(pattern);
  t->cb = cb;
  t->user = user;
  if (!tour_start(t, n)) cb(user, error::too_many_requests, {});
}

void api_info(node_loop* n, api_info_cb cb, void* user) noexcept {
  auto* t = new info_tour;
  t->nodes.front() = roster_self(n);
  t->cb = cb;
  t->user = user;
  if (!tour_start(t, n)) cb(user, error::too_many_requests, {});
}

void api_control(node_loop* n, std::string_view bytes) noexcept {
  if (!bytes.empty() && static_cast<control_kind>(bytes[0]) != control_kind::user_op) {
    if (n->others != nullptr) roster_hear(n->others, bytes);
    return;
  }
  auto* t = new user_tour;
  if (!api_user_decode(bytes, &t->op)) {
    core::log_warn("a control message of another node is not understood",
                   {{"bytes", bytes.size()}});
    delete t;
  } else if (!tour_start(t, n)) {
    core::log_warn("no room for a control message of another node", {});
  }
}

}  // namespace chat
