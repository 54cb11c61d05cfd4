// The rpc `online`: who of a list of users is connected to any node. A user is where the presence
// of the personal channel is, so that a node that dies takes its users with it and nothing else has
// to be kept.
#include "chat/session_impl.h"

namespace chat {
namespace {

constexpr size_t kUsersPerCommand = 20;  // of rate

struct online_wait {
  operation* op = nullptr;
  std::vector<std::string> users;
  std::vector<broker::presence_counts> counts;
  size_t waiting = 1;  // the one that asks
  bool is_failed = false;
};

// Of one request; `of` goes with the last of them.
struct online_question {
  online_wait* of;
  size_t index;
};

void on_forgotten(void* user) noexcept {  // the node ends
  const std::unique_ptr<online_question> q(static_cast<online_question*>(user));
  if (--q->of->waiting == 0) delete q->of;
}

void on_late(session* s, operation* op, request*) noexcept {
  session_error(s, op->id, error::internal);
}

void append_user(std::string* out, const std::string& user, const broker::presence_counts& c) {
  proto::json_string(out, user);
  out->append(c.clients > 0 ? ":{\"online\":true" : ":{\"online\":false");
  if (c.left_ms > 0) {
    out->append(",\"last_seen\":");
    proto::json_u64(out, static_cast<uint64_t>(c.left_ms));
  }
  out->push_back('}');
}

void one_answered(online_wait* t) noexcept {
  if (--t->waiting > 0) return;
  const std::unique_ptr<online_wait> done(t);
  const uint32_t id = t->op->id;
  session* s = operation_end(t->op);
  if (s == nullptr) return;
  if (t->is_failed) {
    session_error(s, id, error::internal);
  } else {
    std::string data = "{\"users\":{";
    for (size_t i = 0; i < t->users.size(); ++i) {
      if (i > 0) data.push_back(',');
      append_user(&data, t->users[i], t->counts[i]);
    }
    data.append("}}");
    std::string out;
    proto::reply_rpc(&out, id, data);
    session_send(s, out);
  }
  session_end_if_due(s);
}

void on_counts(node_loop*, request* r) noexcept {
  const std::unique_ptr<online_question> q(static_cast<online_question*>(r->user));
  r->forget_user = nullptr;
  if (r->code == error::ok)
    q->of->counts[q->index] = r->counts;
  else
    q->of->is_failed = true;
  request_free(r);
  one_answered(q->of);
}

void ask(node_loop* n, online_wait* t, size_t index, std::string_view channel,
         uint16_t ns) noexcept {
  request* r = request_new(n, request_kind::presence_stats, channel, ns);
  r->user = new online_question{t, index};
  r->forget_user = on_forgotten;
  r->done = on_counts;
  request_submit(r);
}

error check(session* s, const proto::rpc_fields& f) noexcept {
  const settings& config = config_of(s);
  if (user_name(s).empty()) return error::permission_denied;
  std::string channel;
  uint16_t ns;
  if (!config.has_online || !personal_channel(config, user_name(s), &channel, &ns) ||
      !config.namespaces[ns].presence)
    return error::not_available;
  if (f.users.empty() || f.has_too_many_users) return error::bad_request;
  for (size_t i = kUsersPerCommand; i <= f.users.size(); i += kUsersPerCommand) {
    if (!rate_take(&s->commands, now_ms(s), config.commands_per_s, commands_burst(config)))
      return error::too_many_requests;
  }
  return error::ok;
}

}  // namespace

void rpc_online(session* s, uint32_t id, const proto::rpc_fields& f) noexcept {
  if (const error code = check(s, f); code != error::ok) {
    session_error(s, id, code);
    return;
  }
  auto* t = new online_wait;
  t->op = operation_new(s, id, on_late);
  for (const std::string_view user : f.users) {  // each once
    if (std::find(t->users.begin(), t->users.end(), user) == t->users.end())
      t->users.emplace_back(user);
  }
  t->counts.resize(t->users.size());
  t->waiting += t->users.size();
  node_loop* n = s->node;  // the session may end on the way
  for (size_t i = 0; i < t->users.size(); ++i) {
    std::string channel;
    uint16_t ns;
    if (personal_channel(*n->config, t->users[i], &channel, &ns))
      ask(n, t, i, channel, ns);
    else
      one_answered(t);  // nobody can have such a name
  }
  one_answered(t);
}

}  // namespace chat
