// The server API over HTTP: who may call, and one request's calls as steps that run one after
// another or side by side.
//
//   request -> calls -> steps (a broadcast has one for each channel) -> chat/api.h -> a result for
//   each step -> one answer
//
// A run lives until every step that was started has answered (or the loop ends); its HTTP answer
// goes out when the last step is done, or after kApiMsMax: then what is still on its way is
// answered with error 100 (the outcome is unknown) and the rest with 111.
#include <cstddef>
#include <new>

#include "chat/api.h"
#include "core/assert.h"
#include "core/hash.h"
#include "core/limits.h"
#include "core/log.h"
#include "proto/api.h"
#include "proto/reply.h"
#include "server/edge.h"
#include "server/log_levels.h"
#include "server/routes.h"

namespace server {

using core::api_method;

namespace {

constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::string_view kJson = "application/json";
constexpr uint32_t kApiMsMax = 8000;  // server libraries give a call 10 s
constexpr uint32_t kStepsInFlightMax =
    256;  // of one request: what its data may hold of the store's queue
constexpr size_t kAnswerBytesMax =
    5u << 20;  // of what was read; with what was done and errors it stays below the 8 MiB that an
               // HTTP connection's out-queue holds
constexpr size_t kMemberBytes = 8;  // of JSON around each member of a presence
constexpr uint32_t kSharedParserBytesMax =
    64 * 1024;  // larger bodies get a parser of their own, so that the loop's stays small

struct run;

struct step {
  run* of = nullptr;
  uint32_t call = 0, channel = 0;
  bool is_started = false, is_done = false;
  chat::error code = chat::error::ok;
  std::string why;     // of an error; empty: the code's own text
  std::string result;  // JSON object
};

struct run {
  core::timer deadline;   // first: on_deadline() finds the run by it
  run* before = nullptr;  // the loop's list
  run* after = nullptr;
  http_exchange* x = nullptr;  // null: answered
  chat::node_loop* node = nullptr;
  core::timer_wheel* timers = nullptr;  // the loop's: outlives `node`
  proto::api_request request;
  std::vector<step> steps;
  uint32_t next = 0;  // first that is not started
  uint32_t in_flight = 0;
  size_t bytes = 0;      // of results
  bool is_full = false;  // a result did not fit any more
  bool is_pumping = false;
};

thread_local run* t_runs = nullptr;  // a loop is a thread

run* run_new() noexcept {
  auto* r = new (std::nothrow) run;
  CORE_ASSERT(r != nullptr);
  r->after = t_runs;
  if (t_runs != nullptr) t_runs->before = r;
  t_runs = r;
  return r;
}

void run_free(run* r) noexcept {
  (r->before == nullptr ? t_runs : r->before->after) = r->after;
  if (r->after != nullptr) r->after->before = r->before;
  delete r;
}

// Methods whose results can fill an answer. Others only tell what was done, which is always said.
bool is_large(api_method m) noexcept {
  return m == api_method::presence || m == api_method::history || m == api_method::channels;
}

const proto::api_call& call_of(const step* s) noexcept {
  return s->of->request.calls[s->call];
}
std::string_view channel_of(const step* s) noexcept {
  return call_of(s).channels[s->channel];
}

void append_reply(const step* s, std::string_view name, std::string* out) noexcept {
  if (s->code == chat::error::ok) {
    out->append("{\"").append(name).append("\":").append(s->result).append("}");
    return;
  }
  out->append("{\"error\":");
  proto::api_error_object(out, static_cast<uint32_t>(s->code),
                          s->why.empty() ? chat::error_text(s->code) : std::string_view(s->why));
  out->push_back('}');
}

// The answer of the call whose steps begin at *at, under `name`; moves *at behind them.
void append_call(const run* r, size_t* at, std::string_view name, std::string* out) noexcept {
  const uint32_t call = r->steps[*at].call;
  const bool is_list = r->request.calls[call].method == api_method::broadcast &&
                       r->request.calls[call].refusal.empty();
  if (!is_list) {
    append_reply(&r->steps[(*at)++], name, out);
    return;
  }
  out->append("{\"").append(name).append("\":{\"responses\":[");
  for (bool is_first = true; *at < r->steps.size() && r->steps[*at].call == call;
       is_first = false) {
    if (!is_first) out->push_back(',');
    append_reply(&r->steps[(*at)++], "result", out);
  }
  out->append("]}}");
}

void answer(run* r) noexcept {
  core::timer_stop(r->timers, &r->deadline);
  std::string out;
  size_t at = 0;
  if (r->request.is_batch) {
    out.append("{\"replies\":[");
    while (at < r->steps.size()) {
      if (at > 0) out.push_back(',');
      append_call(r, &at, proto::api_method_name(r->request.calls[r->steps[at].call].method), &out);
    }
    out.append("]}");
  } else {
    append_call(r, &at, "result", &out);
  }
  http_exchange* x = r->x;
  r->x = nullptr;
  http_answer(x, 200, kJson, "Cache-Control: no-store\r\n", out);
}

void pump(run* r) noexcept;

void refuse_full(step* s) noexcept {
  s->result.clear();
  s->why = "the answer is full: ask again for this one";
  s->code = chat::error::limit_exceeded;
  s->of->is_full = true;
}

// Takes a step's end; the run may be gone afterwards.
void finish(step* s, chat::error code) noexcept {
  run* r = s->of;
  s->is_done = true;
  s->code = code;
  if (is_large(call_of(s).method) && r->bytes + s->result.size() > kAnswerBytesMax) refuse_full(s);
  r->bytes += s->result.size();
  --r->in_flight;
  if (!r->is_pumping) pump(r);
}

void finish_late(step* s) noexcept {
  run* r = s->of;
  --r->in_flight;
  if (!r->is_pumping) pump(r);
}

// True: the answer has gone out already, so this one is of no use.
bool is_late(step* s) noexcept {
  if (s->of->x != nullptr) return false;
  finish_late(s);
  return true;
}

void on_published(void* user, chat::api_publish_result&& p) noexcept {
  auto* s = static_cast<step*>(user);
  if (is_late(s)) return;
  if (p.code == chat::error::ok) {
    s->result = "{";
    if (p.at.offset != 0) {
      s->result.append("\"offset\":");
      proto::json_u64(&s->result, p.at.offset);
      s->result.append(",\"epoch\":");
      proto::json_string(&s->result, p.at.epoch);
    }
    s->result.push_back('}');
  }
  finish(s, p.code);
}

void on_answer(void* user, chat::request* q) noexcept {
  auto* s = static_cast<step*>(user);
  if (is_late(s)) return;
  if (q->code == chat::error::ok) {
    if (q->kind == chat::request_kind::history) {
      proto::history_object(&s->result, q->publications, q->top.offset, q->top.epoch);
    } else if (q->kind == chat::request_kind::presence) {
      std::vector<std::pair<std::string_view, std::string_view>> members;
      size_t bytes = kMemberBytes * 4;
      for (const broker::member& m : q->members) {  // as many as fit
        bytes += m.client.size() + m.info.size() + kMemberBytes;
        if (bytes > kAnswerBytesMax) break;
        members.emplace_back(m.client, m.info);
      }
      proto::presence_object(&s->result, members);
    } else if (q->kind == chat::request_kind::presence_stats) {
      proto::presence_stats_object(&s->result, q->counts.clients, q->counts.users);
    } else {
      s->result = "{}";
    }
  }
  finish(s, q->code);
}

void on_code(void* user, chat::error code) noexcept {
  auto* s = static_cast<step*>(user);
  if (is_late(s)) return;
  s->result = "{}";
  finish(s, code);
}

void on_channels(void* user, chat::error code,
                 const std::vector<chat::channel_count>& channels) noexcept {
  auto* s = static_cast<step*>(user);
  if (is_late(s)) return;
  s->result = "{\"channels\":{";
  for (const chat::channel_count& c : channels) {
    if (s->result.back() != '{') s->result.push_back(',');
    proto::json_string(&s->result, c.channel);
    s->result.append(":{\"num_clients\":");
    proto::json_u64(&s->result, c.clients);
    s->result.push_back('}');
    if (s->result.size() <= kAnswerBytesMax) continue;
    s->result.clear();
    s->why = "there are too many channels for one answer: ask with a pattern";
    finish(s, chat::error::limit_exceeded);
    return;
  }
  s->result.append("}}");
  finish(s, code);
}

void on_info(void* user, chat::error code, const std::vector<chat::node_status>& nodes) noexcept {
  auto* s = static_cast<step*>(user);
  if (is_late(s)) return;
  const int64_t now_ms = core::system_clock()->wall_ms();
  s->result = "{\"nodes\":[";
  for (const chat::node_status& n : nodes) {
    s->result.append(s->result.back() == '[' ? "{\"uid\":" : ",{\"uid\":");
    proto::json_string(&s->result, n.id);
    s->result.append(",\"name\":");
    proto::json_string(&s->result, n.name);
    s->result.append(",\"version\":");
    proto::json_string(&s->result, n.version);
    const std::pair<std::string_view, uint64_t> numbers[] = {
        {"num_clients", n.clients},
        {"num_users", n.users},
        {"num_channels", n.channels},
        {"num_subs", n.subscriptions},
        {"uptime", static_cast<uint64_t>(std::max<int64_t>(0, now_ms - n.started_ms)) / 1000}};
    for (const auto& [name, value] : numbers) {
      s->result.append(",\"").append(name).append("\":");
      proto::json_u64(&s->result, value);
    }
    s->result.push_back('}');
  }
  s->result.append("]}");
  finish(s, code);
}

void start_user(step* s, chat::api_user_op::kind what) noexcept {
  const proto::api_call& c = call_of(s);
  chat::api_user_op op;
  op.what = what;
  op.user = c.user;
  op.client = c.client;
  op.session = c.session;
  if (!c.channels.empty()) op.channel = c.channels[0];
  op.info = c.info;
  op.data = c.data;
  op.text = c.reason;
  op.whitelist = c.whitelist;
  op.code = c.code;
  op.expire_at = c.expire_at;
  op.is_expired = c.expired;
  op.presence = c.presence;
  op.has_presence = c.has_presence;
  op.join_leave = c.join_leave;
  op.has_join_leave = c.has_join_leave;
  op.has_recover_since = c.has_since;
  op.recover_epoch = c.since_epoch;
  op.recover_offset = c.since_offset;
  chat::api_user(s->of->node, std::move(op), on_code, s);
}

void start_publish(step* s) noexcept {
  const proto::api_call& c = call_of(s);
  chat::api_publish_request q;
  q.channel = channel_of(s);
  q.data = c.data;
  q.tags = c.tags;
  q.idempotency_key = c.idempotency_key;
  q.skip_history = c.skip_history;
  chat::api_publish(s->of->node, std::move(q), on_published, s);
}

void start_history(step* s) noexcept {
  const proto::api_call& c = call_of(s);
  chat::api_history_request h;
  h.channel = channel_of(s);
  h.limit = c.limit;
  h.has_since = c.has_since;
  h.since = {c.since_offset, c.since_epoch};
  h.reverse = c.reverse;
  chat::api_history(s->of->node, h, on_answer, s);
}

// The step's end may come inside.
void start(step* s) noexcept {
  run* r = s->of;
  const proto::api_call& c = call_of(s);
  s->is_started = true;
  ++r->in_flight;
  if (!c.refusal.empty()) {
    s->why = "bad request: " + c.refusal;
    finish(s, chat::error::bad_request);
    return;
  }
  if (r->is_full && is_large(c.method)) {
    refuse_full(s);
    finish(s, s->code);
    return;
  }
  using kind = chat::api_user_op::kind;
  switch (c.method) {
    case api_method::publish:
    case api_method::broadcast:
      return start_publish(s);
    case api_method::subscribe:
      return start_user(s, kind::subscribe);
    case api_method::unsubscribe:
      return start_user(s, kind::unsubscribe);
    case api_method::disconnect:
      return start_user(s, kind::disconnect);
    case api_method::refresh:
      return start_user(s, kind::refresh);
    case api_method::presence:
    case api_method::presence_stats:
      return chat::api_presence(r->node, channel_of(s), c.method == api_method::presence_stats,
                                on_answer, s);
    case api_method::history:
      return start_history(s);
    case api_method::history_remove:
      return chat::api_history_remove(r->node, channel_of(s), on_answer, s);
    case api_method::channels:
      return chat::api_channels(r->node, c.pattern, on_channels, s);
    case api_method::info:
      return chat::api_info(r->node, on_info, s);
    case api_method::batch:
    case api_method::unknown:
    case api_method::kCount:
      break;
  }
  CORE_UNREACHABLE("such a call has a refusal");
}

// The node stops and the caller is gone: what is in flight is waited for, nothing more is begun.
bool is_over(const run* r) noexcept {
  return r->x->server->is_draining.load(std::memory_order_relaxed) &&
         r->x->peer->state == edge_state::gone;
}

// Calls of a batch wait for the one before, unless it is parallel; the channels of a broadcast do
// not wait for each other.
bool may_start(const run* r) noexcept {
  if (r->x == nullptr || r->next == r->steps.size() || is_over(r)) return false;
  if (r->in_flight == 0) return true;
  return r->in_flight < kStepsInFlightMax &&
         (r->request.is_parallel || r->steps[r->next].call == r->steps[r->next - 1].call);
}

// Starts what may start, answers when all is done, frees the run when nothing of it is on its way.
void pump(run* r) noexcept {
  r->is_pumping = true;
  while (may_start(r)) start(&r->steps[r->next++]);
  r->is_pumping = false;
  if (r->in_flight > 0) return;
  if (r->x != nullptr) answer(r);
  run_free(r);
}

void on_deadline(core::timer* t) noexcept {
  auto* r = reinterpret_cast<run*>(t);  // its first member
  for (step& s : r->steps) {
    if (s.is_done) continue;
    s.result.clear();
    s.code = s.is_started ? chat::error::internal : chat::error::too_many_requests;
  }
  answer(r);
}
static_assert(offsetof(run, deadline) == 0);

// Equal without telling by the time how much of it is.
bool is_key(const std::vector<std::string>& keys, std::string_view given) noexcept {
  const std::string digest = core::digest(given);
  bool is_one = false;
  for (const std::string& key : keys) {
    const std::string want = core::digest(key);
    uint8_t differs = want.size() != digest.size() || digest.empty();
    for (size_t i = 0; i < std::min(want.size(), digest.size()); ++i)
      differs |= static_cast<uint8_t>(want[i] ^ digest[i]);
    is_one |= differs == 0;
  }
  return is_one;
}

core::err parse(chat::node_loop* n, api_method method, std::string_view body,
                proto::api_request* out, std::string* why) noexcept {
  if (body.size() <= kSharedParserBytesMax)
    return proto::api_parse(n->parser, method, body, out, why);
  proto::command_parser* own = proto::command_parser_new(static_cast<uint32_t>(body.size()));
  const core::err rc = proto::api_parse(own, method, body, out, why);
  proto::command_parser_free(own);
  return rc;
}

void make_steps(run* r) noexcept {
  for (uint32_t i = 0; i < r->request.calls.size(); ++i) {
    const proto::api_call& c = r->request.calls[i];
    const size_t count =
        c.method == api_method::broadcast && c.refusal.empty() ? c.channels.size() : 1;
    for (uint32_t channel = 0; channel < count; ++channel) {
      step* s = &r->steps.emplace_back();
      s->call = i;
      s->channel = channel;
    }
  }
  for (step& s : r->steps) s.of = r;
}

// Of this node only: others are asked one by one.
void answer_log_levels(http_exchange* x, std::string_view body) noexcept {
  std::vector<log_level_change> changes;
  std::string why;
  if (!log_levels_read(body, &changes, &why)) {
    http_answer(x, 400, kText, {}, why + "\n");
    return;
  }
  log_levels_apply(changes);
  const std::string now = log_levels_json();
  if (!changes.empty())
    core::log_warn("the levels of the log were changed",
                   {{"levels", std::string_view(now).substr(0, now.size() - 1)}});
  http_answer(x, 200, kJson, {}, now);
}

}  // namespace

bool api_has_key(const node* n, const proto::http_request& r) noexcept {
  std::string_view given = r.header("x-api-key");
  constexpr std::string_view kScheme = "apikey ";
  const std::string_view authorization = r.header("authorization");
  if (given.empty() && authorization.starts_with(kScheme))
    given = authorization.substr(kScheme.size());
  return !given.empty() && is_key(n->config.api_keys, given);
}

void api_forget() noexcept {
  while (t_runs != nullptr) {
    run* r = t_runs;
    core::timer_stop(r->timers, &r->deadline);
    if (r->x != nullptr) http_answer(r->x, 503, kText, {}, "this node is shutting down\n");
    run_free(r);
  }
}

void api_request(http_exchange* x, proto::http_request&& r) noexcept {
  if (r.method != proto::http_method::post) {
    http_answer(x, 405, kText, "Allow: POST\r\n", "the server API is called by POST\n");
    return;
  }
  if (!api_has_key(x->server, r)) {
    const bool has_keys = !x->server->config.api_keys.empty();
    http_answer(x, 401, kText, "WWW-Authenticate: apikey\r\n",
                has_keys
                    ? "the X-API-Key header must hold an API key\n"
                    : "this server has no API key, so its API is closed: set one with --api-key\n");
    return;
  }
  const std::string_view name =
      std::string_view(r.path).substr(std::min(r.path.size(), std::string_view("/api/").size()));
  if (name == "log_levels") {
    answer_log_levels(x, r.body);
    return;
  }
  const api_method method = proto::api_method_find(name);
  chat::node_loop* n = chat::node_loop_of(x->here);
  n->counters->api_calls[static_cast<size_t>(method)].add();
  if (method == api_method::unknown) {
    http_answer(x, 404, kText, {}, "there is no such API method\n");
    return;
  }
  run* run_of = run_new();
  std::string why;
  if (parse(n, method, r.body, &run_of->request, &why) != core::err::ok) {
    run_free(run_of);
    http_answer(x, 400, kText, {}, why + "\n");
    return;
  }
  run_of->x = x;
  run_of->node = n;
  run_of->timers = n->timers;
  make_steps(run_of);
  run_of->deadline.fire = on_deadline;
  core::timer_start(n->timers, &run_of->deadline, n->now_ms(n->self), kApiMsMax);
  pump(run_of);
}

}  // namespace server
