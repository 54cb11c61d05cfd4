// The inside of a session, shared by chat/session*.cc.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "chat/codes.h"
#include "chat/rate.h"
#include "chat/request.h"
#include "chat/session.h"
#include "core/limits.h"
#include "core/timer_wheel.h"
#include "core/uuid.h"
#include "proto/command.h"
#include "proto/reply.h"
#include "proto/token.h"

namespace chat {

enum class session_state : uint8_t { fresh, connecting, connected, ended };

struct operation;

// What only few subscriptions have.
struct subscription_extra {
  std::string name;       // while the owner has not answered
  std::string chan_info;  // raw JSON or empty
  int64_t expire_at_s = 0;
  // The subscribe was answered with a time-out and the owner's answer is still to come, which will
  // be undone. Until then the place is taken: a second subscribe could overtake the undoing.
  operation* late = nullptr;
  uint32_t end_code = 0;  // the server has unsubscribed it while it was on its way
  std::string end_text;
};

// Invariant: channel is null while the subscribe is on its way to the owner; then extra->name is
// set.
struct subscription {
  hub_channel* channel = nullptr;
  std::unique_ptr<subscription_extra> extra;
  uint32_t entry = 0;
  bool is_server_side = false, is_positioned = false, has_presence = false, has_join_leave = false;
};

// One user's sessions on this loop; the name is shared by them. The anonymous user has one too,
// with an empty name.
struct user_entry {
  std::string name;
  session* first = nullptr;
  uint32_t count = 0;
};

// An outstanding request of a session, to an owner or to the store. The request's `user` points
// here; the session may be gone or have answered already (s is null).
struct operation {
  session* s = nullptr;
  operation* prev = nullptr;
  operation* next = nullptr;
  uint64_t due_ms = 0;
  uint32_t id = 0;        // of the command
  std::string channel;    // of a subscribe
  void* extra = nullptr;  // the kind's own; owned, freed by whoever ends the operation
  void (*free_extra)(void* extra) noexcept = nullptr;
  void (*done)(session* s, operation* op, request* r) noexcept =
      nullptr;           // s is connected or connecting; r is null: timed out
  bool is_late = false;  // timed out, and no longer in the session's list
};

// While the server-side subscriptions of a connect are on their way.
struct connect_part {
  uint32_t id = 0;
  uint32_t waiting = 0;
  bool is_begun = false;  // all have been started
  uint32_t bytes = 0;     // of `results`
  // Pushes of subscriptions that are live already: an SDK knows of them by the reply, and would
  // drop what comes before. Bounded as the out-queue is.
  std::vector<core::frame*> held;
  uint64_t held_bytes = 0;
  error failed = error::ok;
  std::vector<std::pair<std::string, std::string>> results;  // channel -> finished subscribe object
  connect_part() = default;
  connect_part(const connect_part&) = delete;
  connect_part& operator=(const connect_part&) = delete;
  ~connect_part() {
    for (core::frame* f : held) core::frame_unref(f);
  }
};

struct deferred_command {
  std::string channel;  // empty: concerns everything
  std::string line;
  uint64_t arrived_ms = 0;
};

struct session {
  node_loop* node = nullptr;
  const link_ops* ops = nullptr;
  void* link = nullptr;
  user_entry* user = nullptr;  // set when connected
  session* user_prev = nullptr;
  session* user_next = nullptr;
  session* prev = nullptr;  // all of the loop
  session* next = nullptr;
  core::timer alarm;  // the next of everything that is due
  std::vector<subscription> subs;
  std::unique_ptr<std::string> info;  // raw JSON of the token, when it has one
  std::unique_ptr<connect_part> connecting;
  std::unique_ptr<std::deque<deferred_command>> deferred;
  // Channels whose subscription the server ended with "insufficient state": the client is about to
  // come again, and what it sends until then is refused as temporary.
  std::unique_ptr<std::vector<std::string>> sent_back;
  operation* oldest = nullptr;  // by due_ms
  operation* newest = nullptr;
  uint64_t ping_ms = 0;     // next ping; while a pong is awaited, its deadline
  uint64_t heard_ms = 0;    // the last bytes from the client
  uint64_t arrived_ms = 0;  // of the command that is being done
  int64_t exp_s = 0;        // 0: never
  rate_bucket commands, publishes, typings;
  uint32_t errors = 0;  // error replies in the current minute
  uint32_t errors_since_s = 0;
  uint32_t deferred_bytes = 0;
  uint8_t client[core::kUuidBytes] = {};
  proto::format format = proto::format::json;
  session_state state = session_state::fresh;
  core::end_reason end_due = core::end_reason::none;  // ends when nothing is owed any more
  bool is_pong_due = false;
  bool is_draining_deferred = false;
  bool must_drain_again = false;
  bool is_refused = false;  // the last connect was; what was sent behind it is dropped
};

struct sessions {
  node_loop* node = nullptr;
  session* first = nullptr;
  uint32_t count = 0;
  std::unordered_map<std::string, std::unique_ptr<user_entry>> users;
};

// session.cc
inline const settings& config_of(const session* s) noexcept {
  return *s->node->config;
}
inline uint64_t now_ms(const session* s) noexcept {
  return s->node->now_ms(s->node->self);
}
inline int64_t now_s(const session* s) noexcept {
  return config_of(s).clock->wall_ms() / 1000;
}
// A time from outside, so that arithmetic with it cannot overflow; far enough is for ever.
inline int64_t bounded_s(int64_t unix_s) noexcept {
  constexpr int64_t kFar = 10'000'000'000'000;
  return std::clamp<int64_t>(unix_s, -kFar, kFar);
}
// The bucket of commands lets connect and a subscribe of every channel through at once, as SDKs
// send them in one frame.
inline uint32_t commands_burst(const settings& config) noexcept {
  return std::max(config.commands_burst, config.channels_per_client_max + 1);
}
// How much an answer may have without making the client slow.
inline size_t session_room(const session* s) noexcept {
  constexpr size_t kReplyBytes = 1024;  // what stands around the part that is measured
  const size_t queued = s->ops->queued == nullptr ? 0 : s->ops->queued(s->link);
  const size_t taken = queued + kReplyBytes;
  return taken < config_of(s).queue_bytes_max ? config_of(s).queue_bytes_max - taken : 0;
}
std::string client_text(const session* s) noexcept;
std::string_view user_name(const session* s) noexcept;
std::string info_object(const session* s, std::string_view chan_info) noexcept;  // ClientInfo
void session_send(session* s, std::string_view text) noexcept;                   // one message
void session_end(session* s, core::end_reason why) noexcept;  // close frame by the reason's row
// Ends behind the replies that are due, also those of commands on their way (kAnswerMs at most).
// What comes from the client until then is not read.
void session_end_behind(session* s, core::end_reason why) noexcept;
void session_end_if_due(session* s) noexcept;  // after an answer
inline bool session_is_over(const session* s) noexcept {
  return s->state == session_state::ended || s->end_due != core::end_reason::none;
}
void session_end_code(session* s, core::end_reason why, uint16_t code,
                      std::string_view text) noexcept;
void session_arm(session* s) noexcept;  // the alarm, after anything due has changed
// False: the user has connections_per_user_max connections on this node already.
bool session_join_user(session* s, std::string_view name) noexcept;
void session_leave_user(session* s) noexcept;

// session_command.cc
void session_error(session* s, uint32_t id, error code) noexcept;  // may end the session (3509)
void session_resume_deferred(session* s) noexcept;  // something that commands waited for is there
// The connect has failed: what waited for it is answered with too_many_requests, nothing was done.
void session_refuse_deferred(session* s) noexcept;

// session_operation.cc
// Answers wait until the command is this old, so that they leave within kCommandMsMax, whatever
// tick it is.
inline constexpr uint32_t kAnswerMs = core::kCommandMsMax - 500;
// An operation that is due when the current command is; done runs when that passes.
operation* operation_new(session* s, uint32_t id,
                         void (*done)(session* s, operation* op, request* r) noexcept) noexcept;
// The answer has come by another way than a request. Takes op; nullptr: nobody waits any more. Who
// gets the session calls session_end_if_due() behind the reply.
session* operation_end(operation* op) noexcept;
// A request with an operation behind it; done runs with the session or not at all. A subscribe that
// is granted when nobody waits any more is undone.
request* operation_request(session* s, uint32_t id, request_kind kind, std::string_view channel,
                           uint16_t ns,
                           void (*done)(session* s, operation* op, request* r) noexcept) noexcept;

void operations_time_out(session* s, uint64_t now) noexcept;
void operations_detach(session* s) noexcept;  // the session is gone, late answers find nobody

// session_connect.cc
void command_connect(session* s, const proto::command& c) noexcept;
void command_refresh(session* s, const proto::command& c) noexcept;

// Calls fn with each of the finished objects that stand behind each other with commas, until it
// returns false.
template <typename F>
void each_object(std::string_view joined, F fn) noexcept {
  int depth = 0;
  bool is_in_text = false;
  for (size_t i = 0, begin = 0; i < joined.size(); ++i) {
    const char c = joined[i];
    if (is_in_text) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        is_in_text = false;
      }
    } else if (c == '"') {
      is_in_text = true;
    } else if (c == '{' || c == '[') {
      if (depth++ == 0) begin = i;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      if (!fn(joined.substr(begin, i + 1 - begin))) return;
    }
  }
}

// session_subscribe.cc
subscription* subscription_find(session* s, std::string_view channel) noexcept;  // pending ones too
bool subscription_is_live(const subscription* sub) noexcept;
// Gives it back to hub and owner. `reason` is for the log.
void subscription_remove(session* s, subscription* sub, const char* reason) noexcept;
inline bool subscription_is_late(const subscription* sub) noexcept {
  return sub->extra != nullptr && sub->extra->late != nullptr;
}
void subscription_forget_late(session* s, const operation* op) noexcept;
// May the session subscribe without a token?
error subscription_rights(const session* s, std::string_view channel,
                          const namespace_settings& ns) noexcept;
void command_subscribe(session* s, const proto::command& c) noexcept;
void command_unsubscribe(session* s, const proto::command& c) noexcept;
void command_sub_refresh(session* s, const proto::command& c) noexcept;
void subscription_expire(session* s) noexcept;  // those whose time is over
struct subscribe_options {
  bool is_server_side = false, wants_recover = false, positioned = false, recoverable = false,
       join_leave = false;
  bool reject_unrecovered = false;
  int presence = -1;  // -1: the namespace's
  store::position since;
  std::string chan_info, data;
  int64_t expire_at_s = 0;
  uint32_t id = 0;
  // The finished result, or an error; the session is alive. Without it the command's reply is sent.
  void (*done)(session* s, std::string_view channel, error code,
               const proto::subscribe_result* r) noexcept = nullptr;
};
void subscription_begin(session* s, std::string_view channel, uint16_t ns,
                        subscribe_options&& o) noexcept;

void forget_sent_back(session* s, std::string_view channel) noexcept;
// For a command that needs a subscription which is not there.
error not_subscribed(const session* s, std::string_view channel) noexcept;

// session_publish.cc
bool may_publish(const session* s, const namespace_settings& ns, std::string_view channel) noexcept;
void command_publish(session* s, const proto::command& c) noexcept;
void rpc_send(session* s, uint32_t id, const proto::rpc_fields& f) noexcept;
void rpc_typing(session* s, uint32_t id, const proto::rpc_fields& f) noexcept;
void rpc_change(session* s, uint32_t id, const proto::rpc_fields& f, bool is_delete) noexcept;

// session_online.cc
void rpc_online(session* s, uint32_t id, const proto::rpc_fields& f) noexcept;

// session_query.cc
bool may_read_history(session* s, const namespace_settings& ns, std::string_view channel) noexcept;
void command_presence(session* s, const proto::command& c) noexcept;
void command_history(session* s, const proto::command& c) noexcept;

// session_rpc.cc
void command_rpc(session* s, const proto::command& c) noexcept;

}  // namespace chat
