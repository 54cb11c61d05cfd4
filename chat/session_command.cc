// Commands of a session: from a message to the command's function, in the order that a channel
// needs, within the rate; and error replies.
#include <algorithm>
#include <cstring>

#include "chat/session_impl.h"
#include "core/assert.h"
#include "core/limits.h"

namespace chat {

namespace {

constexpr uint32_t kErrorWindowS = 60;

void defer(session* s, std::string_view channel, std::string_view line) noexcept {
  if (s->deferred == nullptr) s->deferred = std::make_unique<std::deque<deferred_command>>();
  if (s->deferred->size() >= core::kDeferredCommandsMax ||
      s->deferred_bytes + line.size() > core::kDeferredBytesMax) {
    session_end(s, core::end_reason::too_many_requests);
    return;
  }
  s->deferred_bytes += static_cast<uint32_t>(line.size());
  s->deferred->push_back({std::string(channel), std::string(line), s->arrived_ms});
}

bool is_pending(const subscription* sub) noexcept {
  return !subscription_is_live(sub) && !subscription_is_late(sub);
}

// Must the command wait, because the connect or a subscribe of its channel is on its way, or an
// earlier one of the channel waits?
bool must_wait(session* s, std::string_view channel) noexcept {
  if (s->state == session_state::connecting) return true;
  if (channel.empty()) return false;
  const subscription* sub = subscription_find(s, channel);
  if (sub != nullptr && is_pending(sub)) return true;
  return s->deferred != nullptr &&
         std::any_of(s->deferred->begin(), s->deferred->end(),
                     [&](const deferred_command& d) { return d.channel == channel; });
}

void dispatch(session* s, const proto::command& c) noexcept {
  switch (c.kind) {
    case proto::command_kind::connect:
      command_connect(s, c);
      return;
    case proto::command_kind::subscribe:
      command_subscribe(s, c);
      return;
    case proto::command_kind::unsubscribe:
      command_unsubscribe(s, c);
      return;
    case proto::command_kind::publish:
      command_publish(s, c);
      return;
    case proto::command_kind::presence:
    case proto::command_kind::presence_stats:
      command_presence(s, c);
      return;
    case proto::command_kind::history:
      command_history(s, c);
      return;
    case proto::command_kind::rpc:
      command_rpc(s, c);
      return;
    case proto::command_kind::refresh:
      command_refresh(s, c);
      return;
    case proto::command_kind::sub_refresh:
      command_sub_refresh(s, c);
      return;
    case proto::command_kind::ping: {
      std::string out;
      proto::reply_empty(&out, c.id, "ping");
      session_send(s, out);
      return;
    }
    case proto::command_kind::none:
      session_error(s, c.id, error::method_not_found);
      return;
    case proto::command_kind::send:
    case proto::command_kind::pong:
      return;  // take_line() has seen to these
  }
}

// An rpc names its channel in its data. Looked at only when something may have to wait; the
// command's views are made anew, as they do not outlive a parse.
std::string channel_of_rpc(session* s, proto::command* c, char* line, uint32_t len) noexcept {
  const bool may_wait = s->deferred != nullptr ||
                        std::any_of(s->subs.begin(), s->subs.end(),
                                    [](const subscription& sub) { return is_pending(&sub); });
  if (!may_wait || c->data.empty()) return {};
  proto::rpc_fields f;
  std::string channel;
  if (proto::rpc_parse(s->node->parser, c->data, &f) == core::err::ok) channel.assign(f.channel);
  const core::err rc = proto::command_parse(s->node->parser, line, len, c);
  CORE_ASSERT(rc == core::err::ok);
  return channel;
}

// One more reply that says no; beyond the bound the session ends. A flood of them is one of work.
void count_refusal(session* s) noexcept {
  const uint32_t second = static_cast<uint32_t>(now_ms(s) / 1000);
  if (second - s->errors_since_s >= kErrorWindowS) {
    s->errors_since_s = second;
    s->errors = 0;
  }
  if (++s->errors > config_of(s).refused_max) session_end(s, core::end_reason::too_many_errors);
}

// The rate is of commands that come, so that those which wait are bounded by it too.
bool takes_rate(session* s, const proto::command& c) noexcept {
  const settings& config = config_of(s);
  if (rate_take(&s->commands, now_ms(s), config.commands_per_s, commands_burst(config)))
    return true;
  if (c.kind != proto::command_kind::unsubscribe) {
    session_error(s, c.id, error::too_many_requests);
    return false;
  }
  count_refusal(s);  // never errs, but a flood of them ends like any other
  return s->state != session_state::ended;
}

void do_command(session* s, proto::command* c, char* line, uint32_t len) noexcept {
  const std::string of_rpc =
      c->kind == proto::command_kind::rpc ? channel_of_rpc(s, c, line, len) : std::string();
  const std::string_view channel = of_rpc.empty() ? c->channel : std::string_view(of_rpc);
  if (must_wait(s, channel)) {
    defer(s, channel, {line, len});
    return;
  }
  if (now_ms(s) >= s->arrived_ms + kAnswerMs && c->kind != proto::command_kind::unsubscribe) {
    session_error(s, c->id, error::too_many_requests);  // has waited for its whole time
    return;
  }
  dispatch(s, *c);
}

void take_line(session* s, char* line, uint32_t len) noexcept {
  proto::command c;
  if (proto::command_parse(s->node->parser, line, len, &c) != core::err::ok) {
    session_end_behind(s, core::end_reason::bad_request);
    return;
  }
  if (c.kind == proto::command_kind::pong) return;
  s->node->counters->messages_in.add();
  const bool is_first = s->state == session_state::fresh;
  if (c.kind == proto::command_kind::send && !is_first) {
    session_end_behind(s, core::end_reason::not_available);
    return;
  }
  // SDKs send subscribes behind a connect without waiting for its answer. They are no offence when
  // it was refused, and are dropped, within the rate.
  const bool is_in_turn = is_first == (c.kind == proto::command_kind::connect);
  const bool is_behind_refusal = is_first && !is_in_turn && s->is_refused;
  if (c.id == 0 || !(is_in_turn || is_behind_refusal)) {
    session_end_behind(s, core::end_reason::bad_request);
    return;
  }
  if (takes_rate(s, c) && is_in_turn) do_command(s, &c, line, len);
}

}  // namespace

void session_message(session* s, char* bytes, uint32_t len) noexcept {
  if (session_is_over(s)) return;
  s->heard_ms = s->arrived_ms = now_ms(s);
  uint32_t at = 0, lines = 0;
  while (at < len && !session_is_over(s)) {
    const void* newline = memchr(bytes + at, '\n', len - at);
    const uint32_t end =
        newline == nullptr ? len : static_cast<uint32_t>(static_cast<const char*>(newline) - bytes);
    if (end > at) {
      if (++lines > core::kCommandsPerFrameMax) {
        session_end_behind(s, core::end_reason::bad_request);
        return;
      }
      take_line(s, bytes + at, end - at);
    }
    at = end + 1;
  }
}

void session_resume_deferred(session* s) noexcept {
  if (s->is_draining_deferred) {
    s->must_drain_again = true;
    return;
  }
  s->is_draining_deferred = true;
  const uint64_t arrived_ms = s->arrived_ms;
  do {
    s->must_drain_again = false;
    const std::unique_ptr<std::deque<deferred_command>> waiting = std::move(s->deferred);
    if (waiting == nullptr) break;
    s->deferred_bytes = 0;
    const core::end_reason end_due = s->end_due;
    for (deferred_command& d : *waiting) {
      if (s->state == session_state::ended) break;
      if (s->end_due != end_due) {  // one of them has ended it: the younger ones are not read
        s->deferred.reset();
        break;
      }
      const uint32_t len = static_cast<uint32_t>(d.line.size());
      d.line.append(64, ' ');  // what the parser may read
      s->arrived_ms = d.arrived_ms;
      proto::command c;
      if (proto::command_parse(s->node->parser, d.line.data(), len, &c) == core::err::ok)
        do_command(s, &c, d.line.data(), len);
    }
  } while (s->must_drain_again && s->state != session_state::ended);
  s->arrived_ms = arrived_ms;
  s->is_draining_deferred = false;
  session_end_if_due(s);
}

void session_refuse_deferred(session* s) noexcept {
  const std::unique_ptr<std::deque<deferred_command>> waiting = std::move(s->deferred);
  s->deferred_bytes = 0;
  if (waiting == nullptr) return;
  for (deferred_command& d : *waiting) {
    const uint32_t len = static_cast<uint32_t>(d.line.size());
    d.line.append(64, ' ');
    proto::command c;
    if (proto::command_parse(s->node->parser, d.line.data(), len, &c) == core::err::ok)
      session_error(s, c.id, error::too_many_requests);
  }
}

void session_error(session* s, uint32_t id, error code) noexcept {
  const uint32_t row = static_cast<uint32_t>(code) - core::kErrorCodeFirst;
  if (row < core::kErrorCodeCount) s->node->counters->errors[row].add();
  std::string out;
  proto::reply_error(&out, id, static_cast<uint32_t>(code), error_text(code),
                     error_is_temporary(code));
  session_send(s, out);
  count_refusal(s);
}

}  // namespace chat
