// The broker over Redis, on one loop: subscriptions, publishes, repair. Presence is in
// redis_presence.cc.
//
//   publish --script--> stream + PUBLISH --message--> on_message: next offset? --yes--> on_event
//                                                                 a hole? --> read script -->
//                                                                 events
//
// Why nothing is lost or doubled between a subscribe's position and the events after it: SUBSCRIBE
// is confirmed first, the position is asked after that, so every publication above the position
// comes as a message behind the confirmation; what comes at or below it is dropped. Pub/Sub may
// lose messages (a broken connection, an overflowing output buffer): the offsets tell. `told` is
// the newest offset that the user has; a message above told + 1 starts a repair, which reads what
// is missing from the stream and delivers it first. What is lost at the end of a channel, with no
// message behind it, shows when the connection has come back: then all channels are audited, their
// positions asked in batches and compared. A message without a hole needs no question at all.
//
// A publish is answered when its own message has been told here, so that authors see their push
// before the answer; if the message does not come, a repair brings it.
#include "broker/redis.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <unordered_map>

#include "broker/presence.h"
#include "broker/redis_envelope.h"
#include "broker/redis_script.h"
#include "core/assert.h"
#include "core/log.h"
#include "core/loop.h"
#include "store/page.h"

namespace broker {
namespace {

constexpr uint32_t kBatch = 512;        // channels of one SUBSCRIBE or one question for positions
constexpr uint32_t kRepairPage = 1000;  // publications a read
constexpr uint64_t kRepairBytes = 4u << 20;
constexpr uint32_t kHoldMs = 250;  // an answer waits so long for its own message
constexpr uint32_t kTickMs = 100;
constexpr uint32_t kScripts = static_cast<uint32_t>(redis_script::kCount);

class redis_broker;

// asked: SUBSCRIBE is on its way. placing: its position is. live. repairing: a read is on its way.
// away: the connection has gone, or its audit is not done.
enum class sub_state : uint8_t { asked, placing, live, repairing, away };

struct op;

struct subscription {
  uint64_t id = 0;
  std::string channel, epoch;
  uint64_t told = 0;
  uint64_t heard = 0;  // newest offset that came while not live
  sub_state state = sub_state::asked;
  bool has_history = false;
  position_cb cb = nullptr;  // of the subscribe, until answered
  void* user = nullptr;
  std::vector<op*> held;  // publishes that wait for their message, by offset
};

enum class op_kind : uint8_t { publish, relay, position, audit, repair, history, remove };

// A call that waits for a server. Listed by the broker, so that those whose answer never comes go
// with it.
struct op {
  redis_broker* owner = nullptr;
  op* prev = nullptr;
  op* next = nullptr;
  op_kind kind = op_kind::publish;
  std::string channel;
  void* user = nullptr;
  uint64_t subscription = 0;
  std::vector<std::string> channels;  // audit
  publish_result result;
  uint64_t held_since_ms = 0;
  std::string nonce;  // relay
  store::retention keep;
  int64_t now_ms = 0;
  uint64_t refers = 0;
  union {
    publish_cb on_publish;
    position_cb on_position;  // of a subscription that was left before its answer; else null
    store::read_cb on_read;
    store::done_cb on_done;
  };
  op() noexcept : on_publish(nullptr) {}
};

struct server {
  redis_broker* owner = nullptr;
  uint32_t index = 0;
  redis_conn* commands = nullptr;
  redis_conn* messages = nullptr;
  std::string digests[kScripts];  // of the loaded scripts
  uint32_t loaded = 0;
  bool has_commands = false, has_messages = false;
  // Confirmations are answered in the order of the commands: subscription ids, 0 for the others.
  std::deque<uint64_t> confirmations;
  uint32_t audits = 0;  // under way
  bool must_audit = false;
};

struct broker_timer : core::timer {
  redis_broker* owner = nullptr;
};

class redis_broker final : public broker {
 public:
  redis_broker(const redis_options& o, core::loop* home, const broker_events* events, void* user);
  ~redis_broker() override;

  core::err publish(publish_request&& r, publish_cb cb, void* user) noexcept override;
  core::err subscribe(const std::string& channel, bool has_history, position_cb cb,
                      void* user) noexcept override;
  void unsubscribe(const std::string& channel) noexcept override;
  core::err history(store::read_request&& r, store::read_cb cb, void* user) noexcept override;
  core::err remove_history(const std::string& channel, store::done_cb cb,
                           void* user) noexcept override;
  core::err presence_add(const std::string& channel, member&& m) noexcept override {
    return is_closed_ ? core::err::closed : presence_.add(channel, m);
  }
  void presence_remove(const std::string& channel, std::string_view client) noexcept override {
    presence_.remove(channel, client);
  }
  core::err presence(const std::string& channel, uint32_t limit, presence_cb cb,
                     void* user) noexcept override {
    if (is_closed_) return core::err::closed;
    cb(user, core::err::ok, presence_.members(channel, limit));
    return core::err::ok;
  }
  core::err presence_stats(const std::string& channel, counts_cb cb, void* user) noexcept override {
    if (is_closed_) return core::err::closed;
    cb(user, core::err::ok, presence_.counts(channel));
    return core::err::ok;
  }
  core::err control(std::string_view bytes) noexcept override;
  bool is_ready() noexcept override;
  void close() noexcept override;

  void on_commands_ready(server* s) noexcept;
  void on_commands_lost(server* s, std::string_view why) noexcept;
  void on_messages_ready(server* s) noexcept;
  void on_messages_lost(server* s, std::string_view why) noexcept;
  void on_push(server* s, std::string_view kind, std::string_view channel,
               std::string_view payload) noexcept;
  void on_script(server* s, core::err rc, const redis_reply& r) noexcept;
  void on_answer(op* o, core::err rc, const redis_reply& r) noexcept;
  void on_tick() noexcept;

 private:
  op* op_new(op_kind kind, const std::string& channel, void* user) noexcept;
  void op_free(op* o) noexcept;
  core::err started(op* o, core::err rc) noexcept {
    if (rc != core::err::ok) op_free(o);
    return rc;
  }
  uint32_t partition_of(std::string_view channel) const noexcept {
    return redis_partition(channel, options_.partitions);
  }
  server* server_of(std::string_view channel) noexcept {
    return servers_[partition_of(channel) % servers_.size()].get();
  }
  std::string key(char kind, const std::string& channel) const {
    return redis_key(options_.prefix, partition_of(channel), kind, channel);
  }
  std::string control_channel() const { return options_.prefix + ":control"; }
  core::err call(server* s, redis_script script, const std::vector<std::string>& keys,
                 const std::vector<std::string>& arguments, op* o) noexcept;
  core::err relay(publish_request&& r, publish_cb cb, void* user) noexcept;
  void ask_position(subscription* s) noexcept;
  void leave(std::unique_ptr<subscription> gone) noexcept;
  void fail_subscribe(subscription* s, core::err rc) noexcept;
  void repair(subscription* s) noexcept;
  void audit(server* s) noexcept;
  void resubscribe(server* s) noexcept;
  void message(subscription* s, const envelope& e) noexcept;
  bool tell(const std::string& channel, uint64_t id, const envelope& e) noexcept;
  void give_answers(subscription* s, bool all) noexcept;
  void lose(const std::string& channel, uint64_t id) noexcept;
  subscription* find(const std::string& channel, uint64_t id) noexcept;
  core::err failure(server* s, core::err rc, const redis_reply& r) noexcept;
  void tick_later() noexcept;

  void published(op* o, core::err rc, const redis_reply& r) noexcept;
  void relayed(op* o, core::err rc, const redis_reply& r) noexcept;
  void positioned(op* o, core::err rc, const redis_reply& r) noexcept;
  void audited(op* o, core::err rc, const redis_reply& r) noexcept;
  void repaired(op* o, core::err rc, const redis_reply& r) noexcept;
  void read(op* o, core::err rc, const redis_reply& r) noexcept;
  void removed(op* o, core::err rc, const redis_reply& r) noexcept;

  const redis_options options_;
  core::loop* const home_;
  const broker_events* const events_;
  void* const user_;
  std::vector<std::unique_ptr<server>> servers_;
  std::unordered_map<std::string, std::unique_ptr<subscription>> subscriptions_;
  std::unordered_map<std::string, op*> relays_;  // by nonce: wait for their message
  presence_table presence_;
  op* ops_ = nullptr;
  uint64_t next_id_ = 1, next_nonce_ = 1;
  std::string nonce_head_;
  broker_timer timer_;
  bool is_closed_ = false;
};

// ---- the connections

void commands_ready(void* user, const redis_server&) noexcept {
  auto* s = static_cast<server*>(user);
  s->owner->on_commands_ready(s);
}
void commands_lost(void* user, std::string_view why) noexcept {
  auto* s = static_cast<server*>(user);
  s->owner->on_commands_lost(s, why);
}
void messages_ready(void* user, const redis_server&) noexcept {
  auto* s = static_cast<server*>(user);
  s->owner->on_messages_ready(s);
}
void messages_lost(void* user, std::string_view why) noexcept {
  auto* s = static_cast<server*>(user);
  s->owner->on_messages_lost(s, why);
}
void push_arrived(void* user, std::string_view kind, std::string_view channel,
                  std::string_view payload) noexcept {
  auto* s = static_cast<server*>(user);
  s->owner->on_push(s, kind, channel, payload);
}
constexpr redis_conn_events kCommandEvents = {
    commands_ready, commands_lost,
    [](void*, std::string_view, std::string_view, std::string_view) noexcept {}};
constexpr redis_conn_events kMessageEvents = {messages_ready, messages_lost, push_arrived};

void script_loaded(void* user, core::err rc, const redis_reply& r) noexcept {
  auto* s = static_cast<server*>(user);
  s->owner->on_script(s, rc, r);
}
void answered(void* user, core::err rc, const redis_reply& r) noexcept {
  op* o = static_cast<op*>(user);
  o->owner->on_answer(o, rc, r);
}

redis_broker::redis_broker(const redis_options& o, core::loop* home, const broker_events* events,
                           void* user)
    : options_(o), home_(home), events_(events), user_(user) {
  CORE_ASSERT(!o.servers.empty() && o.node.size() >= 8);
  uint32_t salt = core::random_below(o.random, 0x10000);
  char text[5];
  for (int i = 0; i < 4; ++i, salt >>= 4) text[i] = "0123456789abcdef"[salt & 15];
  text[4] = 0;
  nonce_head_ = o.node.substr(0, 4) + text;
  timer_.owner = this;
  timer_.fire = [](core::timer* t) noexcept { static_cast<broker_timer*>(t)->owner->on_tick(); };
  for (const redis_endpoint& to : o.servers) {
    auto s = std::make_unique<server>();
    s->owner = this;
    s->index = static_cast<uint32_t>(servers_.size());
    s->commands =
        redis_open(home, to, false, &kCommandEvents, s.get(), options_.clock, options_.random);
    s->messages =
        redis_open(home, to, true, &kMessageEvents, s.get(), options_.clock, options_.random);
    servers_.push_back(std::move(s));
  }
}

redis_broker::~redis_broker() {
  close();
  while (ops_ != nullptr) op_free(ops_);
}

void redis_broker::close() noexcept {
  if (is_closed_) return;
  is_closed_ = true;
  core::timer_stop(core::loop_timers(home_), &timer_);
  for (auto& s : servers_) {
    redis_close(s->commands);
    redis_close(s->messages);
  }
  subscriptions_.clear();
}

bool redis_broker::is_ready() noexcept {
  if (is_closed_) return false;
  for (const auto& s : servers_)
    if (!s->has_commands || !s->has_messages || s->must_audit || s->audits > 0) return false;
  return true;
}

void redis_broker::on_commands_ready(server* s) noexcept {
  s->loaded = 0;
  for (uint32_t i = 0; i < kScripts; ++i) {
    const std::string text = redis_script_text(static_cast<redis_script>(i));
    const std::string_view words[] = {"SCRIPT", "LOAD", text};
    (void)redis_command(s->commands, words, script_loaded, s);
  }
}

void redis_broker::on_script(server* s, core::err rc, const redis_reply& r) noexcept {
  if (rc != core::err::ok) return;
  if (r.is(redis_kind::error)) {
    redis_reconnect(s->commands, "a script is refused: " + std::string(r.text()));
    return;
  }
  s->digests[s->loaded++] = std::string(r.text());
  if (s->loaded < kScripts) return;
  s->has_commands = true;
  const redis_server& about = redis_server_of(s->commands);
  core::log_info("redis is there",
                 {{"server", options_.servers[s->index].client_name}, {"version", about.version}});
  s->must_audit = true;
  audit(s);
}

void redis_broker::on_commands_lost(server* s, std::string_view why) noexcept {
  s->has_commands = false;
  s->audits = 0;
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000)) core::log_warn("redis is away", {{"why", why}});
}

void redis_broker::on_messages_ready(server* s) noexcept {
  s->has_messages = true;
  if (options_.hears_control && s->index == 0) {
    s->confirmations.push_back(0);
    const std::string name = control_channel();
    const std::string_view words[] = {"SUBSCRIBE", name};
    (void)redis_command(s->messages, words, nullptr, nullptr);
  }
  resubscribe(s);
}

// A subscribe that has no answer yet fails, the others wait for the connection.
void redis_broker::on_messages_lost(server* s, std::string_view) noexcept {
  s->has_messages = false;
  s->must_audit = true;
  s->confirmations.clear();
  std::vector<std::pair<std::string, uint64_t>> mine;
  for (const auto& [channel, sub] : subscriptions_)
    if (server_of(channel) == s) mine.emplace_back(channel, sub->id);
  for (const auto& [channel, id] : mine) {
    subscription* sub = find(channel, id);
    if (sub == nullptr) continue;
    if (sub->cb != nullptr) {
      fail_subscribe(sub, core::err::unavailable);
    } else {
      sub->state = sub_state::away;
      give_answers(sub, true);  // nobody waits for a connection; the audit brings the message
    }
    if (is_closed_) return;
  }
}

void redis_broker::resubscribe(server* s) noexcept {
  std::vector<std::string> names;
  const auto flush = [&] {
    if (names.empty()) return;
    std::vector<std::string_view> words = {"SUBSCRIBE"};
    words.insert(words.end(), names.begin(), names.end());
    (void)redis_command(s->messages, words, nullptr, nullptr);
    names.clear();
  };
  for (const auto& [channel, sub] : subscriptions_) {
    if (server_of(channel) != s) continue;
    names.push_back(key('c', channel));
    s->confirmations.push_back(sub->id);
    if (names.size() == kBatch) flush();
  }
  flush();
  s->must_audit = true;
  if (s->confirmations.empty()) audit(s);
}

// Compares what we have with what is there, when everything is subscribed again.
void redis_broker::audit(server* s) noexcept {
  if (!s->has_commands || !s->has_messages || !s->confirmations.empty() || !s->must_audit) return;
  s->must_audit = false;
  std::unordered_map<uint32_t, std::vector<std::string>> by_partition;
  for (const auto& [channel, sub] : subscriptions_) {
    if (server_of(channel) != s || sub->cb != nullptr) continue;
    if (!sub->has_history) {
      sub->state = sub_state::live;
      continue;
    }
    if (sub->state == sub_state::live) sub->state = sub_state::away;
    by_partition[partition_of(channel)].push_back(channel);
  }
  for (auto& [partition, channels] : by_partition) {
    for (size_t from = 0; from < channels.size(); from += kBatch) {
      op* o = op_new(op_kind::audit, "", nullptr);
      std::vector<std::string> keys = {redis_key(options_.prefix, partition, 'g')};
      for (size_t i = from; i < std::min(channels.size(), from + kBatch); ++i) {
        keys.push_back(key('m', channels[i]));
        o->channels.push_back(channels[i]);
      }
      if (started(o, call(s, redis_script::positions, keys, {}, o)) == core::err::ok)
        ++s->audits;
      else
        s->must_audit = true;
    }
  }
}

void redis_broker::audited(op* o, core::err rc, const redis_reply& r) noexcept {
  server* s = server_of(o->channels.front());
  if (s->audits > 0) --s->audits;
  if (rc != core::err::ok || r.size() != 2 * o->channels.size()) {
    s->must_audit = true;
    tick_later();
    op_free(o);
    return;
  }
  const std::vector<std::string> channels = std::move(o->channels);
  op_free(o);
  std::vector<std::pair<uint64_t, std::string>> places;
  redis_reply at = r.first();
  for (size_t i = 0; i < channels.size(); ++i) {
    const auto top = static_cast<uint64_t>(at.integer());
    at = at.next();
    places.emplace_back(top, std::string(at.text()));
    at = at.next();
  }
  for (size_t i = 0; i < channels.size() && !is_closed_; ++i) {
    const auto found = subscriptions_.find(channels[i]);
    if (found == subscriptions_.end()) continue;
    subscription* sub = found->second.get();
    if (sub->state != sub_state::away) continue;
    if (sub->epoch != places[i].second || places[i].first < sub->told) {
      lose(channels[i], sub->id);
      continue;
    }
    sub->state = sub_state::live;
    sub->heard = std::max(sub->heard, places[i].first);
    if (sub->heard > sub->told) repair(sub);
  }
}

// ---- calls

op* redis_broker::op_new(op_kind kind, const std::string& channel, void* user) noexcept {
  op* o = new op;
  o->owner = this;
  o->kind = kind;
  o->channel = channel;
  o->user = user;
  o->next = ops_;
  if (ops_ != nullptr) ops_->prev = o;
  ops_ = o;
  return o;
}

void redis_broker::op_free(op* o) noexcept {
  (o->prev == nullptr ? ops_ : o->prev->next) = o->next;
  if (o->next != nullptr) o->next->prev = o->prev;
  delete o;
}

core::err redis_broker::call(server* s, redis_script script, const std::vector<std::string>& keys,
                             const std::vector<std::string>& arguments, op* o) noexcept {
  if (!s->has_commands) return core::err::unavailable;
  const redis_server& about = redis_server_of(s->commands);
  const std::string epoch = store::epoch_new();
  const std::string count = std::to_string(keys.size());
  std::vector<std::string_view> words = {"EVALSHA", s->digests[static_cast<uint32_t>(script)],
                                         count};
  words.insert(words.end(), keys.begin(), keys.end());
  for (const std::string_view w :
       {std::string_view(about.run_id), std::string_view(about.replication_id),
        std::string_view(epoch), std::string_view(options_.first_base)})
    words.push_back(w);
  words.insert(words.end(), arguments.begin(), arguments.end());
  return redis_command(s->commands, words, answered, o);
}

// What a server's refusal means for the caller.
core::err redis_broker::failure(server* s, core::err rc, const redis_reply& r) noexcept {
  if (rc != core::err::ok || !r.is(redis_kind::error)) return rc;
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000))
    core::log_error("redis refuses a command", {{"error", r.text().substr(0, 200)}});
  if (r.is_error("READONLY") || r.is_error("NOSCRIPT"))
    redis_reconnect(s->commands, "the server is not what it was");
  return core::err::unavailable;
}

void redis_broker::on_answer(op* o, core::err rc, const redis_reply& r) noexcept {
  if (o->kind == op_kind::audit) return audited(o, rc, r);
  rc = failure(server_of(o->channel), rc, r);
  switch (o->kind) {
    case op_kind::publish:
      return published(o, rc, r);
    case op_kind::relay:
      return relayed(o, rc, r);
    case op_kind::position:
      return positioned(o, rc, r);
    case op_kind::repair:
      return repaired(o, rc, r);
    case op_kind::history:
      return read(o, rc, r);
    case op_kind::remove:
      return removed(o, rc, r);
    case op_kind::audit:
      return;
  }
}

// ---- publishing

core::err redis_broker::publish(publish_request&& r, publish_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  if (r.kind != event_kind::publication || !r.has_history) return relay(std::move(r), cb, user);
  push_template push;
  events_->make_push(user_, r, &push);
  std::string head;
  envelope_head(&head, r.is_delete ? envelope_kind::remove : envelope_kind::publication, r.user,
                r.is_delete ? 0 : r.refers, push);
  op* o = op_new(op_kind::publish, r.channel, user);
  o->on_publish = cb;
  std::vector<std::string> keys = {redis_key(options_.prefix, partition_of(r.channel), 'g'),
                                   key('m', r.channel), key('s', r.channel), key('b', r.channel),
                                   key('e', r.channel)};
  if (!r.key_scope.empty()) keys.push_back(key('k', r.channel) + "|" + r.key_scope);
  const std::vector<std::string> arguments = {"PUBLISH",
                                              key('c', r.channel),
                                              std::move(head),
                                              std::string(kEnvelopeNonceBytes, '-'),
                                              r.user,
                                              push.text,
                                              std::to_string(push.offset_at),
                                              std::to_string(push.time_at),
                                              std::to_string(r.keep.size_max),
                                              std::to_string(r.keep.ttl_ms),
                                              r.key_hash,
                                              std::to_string(r.key_ttl_ms),
                                              std::to_string(r.refers),
                                              r.is_delete ? "1" : "0"};
  return started(o, call(server_of(r.channel), redis_script::publish, keys, arguments, o));
}

void redis_broker::published(op* o, core::err rc, const redis_reply& r) noexcept {
  publish_result* result = &o->result;
  result->rc = rc;
  if (rc == core::err::ok) {
    const redis_reply status = r.first(), offset = status.next(), time = offset.next();
    result->is_duplicate = status.text() == "duplicate";
    result->rc = status.text() == "ok" || result->is_duplicate ? core::err::ok
                 : status.text() == "conflict"                 ? core::err::conflict
                 : status.text() == "not_found"                ? core::err::not_found
                 : status.text() == "denied"                   ? core::err::denied
                                                               : core::err::io;
    result->offset = static_cast<uint64_t>(offset.integer());
    result->time_ms = time.integer();
    result->epoch = std::string(time.next().text());
  }
  const auto found = subscriptions_.find(o->channel);
  subscription* s = found == subscriptions_.end() ? nullptr : found->second.get();
  const bool is_heard_here = s != nullptr && s->has_history && s->cb == nullptr &&
                             s->state != sub_state::away && s->epoch == result->epoch;
  if (result->rc == core::err::ok && is_heard_here && s->told < result->offset) {
    o->held_since_ms = core::loop_now_ms(home_);
    s->held.push_back(o);
    tick_later();
    return;
  }
  const publish_cb cb = o->on_publish;
  void* user = o->user;
  publish_result done = std::move(*result);
  op_free(o);
  cb(user, std::move(done));
}

// Messages without a place: a plain PUBLISH, and the answer waits for the message if it comes here.
core::err redis_broker::relay(publish_request&& r, publish_cb cb, void* user) noexcept {
  server* s = server_of(r.channel);
  if (!s->has_commands) return core::err::unavailable;
  push_template push;
  events_->make_push(user_, r, &push);
  const envelope_kind kind = r.kind == event_kind::join    ? envelope_kind::join
                             : r.kind == event_kind::leave ? envelope_kind::leave
                                                           : envelope_kind::publication;
  op* o = op_new(op_kind::relay, r.channel, user);
  o->on_publish = cb;
  o->result.time_ms = kind == envelope_kind::publication ? options_.clock->wall_ms() : 0;
  char digits[9];
  uint64_t n = next_nonce_++;
  for (int i = 0; i < 8; ++i, n >>= 4) digits[7 - i] = "0123456789abcdef"[n & 15];
  o->nonce = nonce_head_ + std::string(digits, 8);
  std::string head, bytes;
  envelope_head(&head, kind, r.user, 0, push);
  envelope_finish(&bytes, head, o->nonce, r.user, push, options_.clock->wall_ms());
  const std::string to = key('c', r.channel);
  const std::string_view words[] = {"PUBLISH", to, bytes};
  const auto found = subscriptions_.find(r.channel);
  if (found != subscriptions_.end() && found->second->state != sub_state::asked)
    relays_[o->nonce] = o;
  const core::err rc = redis_command(s->commands, words, answered, o);
  if (rc != core::err::ok) relays_.erase(o->nonce);
  return started(o, rc);
}

// The answer and the message may come in either order.
void redis_broker::relayed(op* o, core::err rc, const redis_reply&) noexcept {
  o->result.rc = rc;
  const auto waiting = relays_.find(o->nonce);
  if (rc == core::err::ok && waiting != relays_.end()) {
    o->held_since_ms = core::loop_now_ms(home_);
    tick_later();
    return;
  }
  relays_.erase(o->nonce);
  const publish_cb cb = o->on_publish;
  void* user = o->user;
  publish_result done = std::move(o->result);
  op_free(o);
  cb(user, std::move(done));
}

core::err redis_broker::control(std::string_view bytes) noexcept {
  if (is_closed_) return core::err::closed;
  server* s = servers_.front().get();
  std::string whole = options_.node.substr(0, 8);
  whole.append(bytes);
  const std::string to = control_channel();
  const std::string_view words[] = {"PUBLISH", to, whole};
  return s->has_commands ? redis_command(s->commands, words, nullptr, nullptr)
                         : core::err::unavailable;
}

// ---- subscribing

subscription* redis_broker::find(const std::string& channel, uint64_t id) noexcept {
  const auto found = subscriptions_.find(channel);
  return found == subscriptions_.end() || found->second->id != id ? nullptr : found->second.get();
}

core::err redis_broker::subscribe(const std::string& channel, bool has_history, position_cb cb,
                                  void* user) noexcept {
  if (is_closed_) return core::err::closed;
  server* s = server_of(channel);
  if (!s->has_commands || !s->has_messages) return core::err::unavailable;
  const std::string name = key('c', channel);
  const std::string_view words[] = {"SUBSCRIBE", name};
  const core::err rc = redis_command(s->messages, words, nullptr, nullptr);
  if (rc != core::err::ok) return rc;
  auto sub = std::make_unique<subscription>();
  sub->id = next_id_++;
  sub->channel = channel;
  sub->has_history = has_history;
  sub->cb = cb;
  sub->user = user;
  s->confirmations.push_back(sub->id);
  auto& place = subscriptions_[channel];
  std::unique_ptr<subscription> before = std::move(place);
  place = std::move(sub);
  if (before != nullptr) leave(std::move(before));
  return core::err::ok;
}

// What it still owes: the answers of publishes, and its own.
void redis_broker::leave(std::unique_ptr<subscription> gone) noexcept {
  give_answers(gone.get(), true);
  if (gone->cb == nullptr || is_closed_) return;
  if (!gone->has_history) return gone->cb(gone->user, core::err::ok, store::position{});
  op* o = op_new(op_kind::position, gone->channel, gone->user);
  o->on_position = gone->cb;
  const std::vector<std::string> keys = {
      redis_key(options_.prefix, partition_of(gone->channel), 'g'), key('m', gone->channel)};
  const core::err rc =
      started(o, call(server_of(gone->channel), redis_script::positions, keys, {}, o));
  if (rc != core::err::ok) gone->cb(gone->user, rc, store::position{});
}

void redis_broker::unsubscribe(const std::string& channel) noexcept {
  const auto found = subscriptions_.find(channel);
  if (found == subscriptions_.end()) return;
  std::unique_ptr<subscription> gone = std::move(found->second);
  subscriptions_.erase(found);
  server* s = server_of(channel);
  if (s->has_messages) {
    const std::string name = key('c', channel);
    const std::string_view words[] = {"UNSUBSCRIBE", name};
    if (redis_command(s->messages, words, nullptr, nullptr) == core::err::ok)
      s->confirmations.push_back(0);
  }
  leave(std::move(gone));
}

void redis_broker::fail_subscribe(subscription* s, core::err rc) noexcept {
  const position_cb cb = s->cb;
  void* user = s->user;
  subscriptions_.erase(std::string(s->channel));
  cb(user, rc, store::position{});
}

void redis_broker::ask_position(subscription* s) noexcept {
  s->state = sub_state::placing;
  op* o = op_new(op_kind::position, s->channel, nullptr);
  o->subscription = s->id;
  const std::vector<std::string> keys = {redis_key(options_.prefix, partition_of(s->channel), 'g'),
                                         key('m', s->channel)};
  const core::err rc =
      started(o, call(server_of(s->channel), redis_script::positions, keys, {}, o));
  if (rc != core::err::ok) fail_subscribe(s, rc);
}

void redis_broker::positioned(op* o, core::err rc, const redis_reply& r) noexcept {
  const std::string channel = std::move(o->channel);
  subscription* s = find(channel, o->subscription);
  const position_cb left = o->on_position;
  void* user = o->user;
  op_free(o);
  if (rc == core::err::ok && r.size() != 2) rc = core::err::io;
  if (left != nullptr) {
    store::position at;
    if (rc == core::err::ok)
      at = {static_cast<uint64_t>(r.first().integer()), std::string(r.first().next().text())};
    return left(user, rc, at);
  }
  if (s == nullptr || s->cb == nullptr) return;
  if (rc != core::err::ok) return fail_subscribe(s, rc);
  s->told = static_cast<uint64_t>(r.first().integer());
  s->epoch = std::string(r.first().next().text());
  s->state = sub_state::live;
  const position_cb cb = s->cb;
  s->cb = nullptr;
  const uint64_t id = s->id;
  cb(s->user, core::err::ok, store::position{s->told, s->epoch});
  // A message that came while the position was asked, of a publication that it does not cover.
  s = is_closed_ ? nullptr : find(channel, id);
  if (s != nullptr && s->state == sub_state::live && s->heard > s->told) repair(s);
}

void redis_broker::on_push(server* s, std::string_view kind, std::string_view pubsub,
                           std::string_view payload) noexcept {
  if (is_closed_) return;
  if (kind == "message") {
    if (pubsub == control_channel()) {
      if (payload.size() > 8 &&
          payload.substr(0, 8) != std::string_view(options_.node).substr(0, 8))
        events_->on_control(user_, payload.substr(8));
      return;
    }
    envelope e;
    const auto found = subscriptions_.find(std::string(redis_channel_of(options_.prefix, pubsub)));
    if (found == subscriptions_.end()) return;
    if (envelope_read(payload, &e) != core::err::ok) {
      static core::log_limit once;
      if (core::log_limit_pass(&once, 1000))
        core::log_warn("a message of redis is not understood", {{"channel", pubsub}});
      return;
    }
    message(found->second.get(), e);
    return;
  }
  if (kind != "subscribe" && kind != "unsubscribe") return;
  if (s->confirmations.empty()) return;
  const uint64_t id = s->confirmations.front();
  s->confirmations.pop_front();
  if (id != 0) {
    subscription* sub = find(std::string(redis_channel_of(options_.prefix, pubsub)), id);
    if (sub != nullptr && sub->cb != nullptr && sub->state == sub_state::asked) {
      if (sub->has_history) {
        ask_position(sub);
      } else {
        sub->state = sub_state::live;
        const position_cb cb = sub->cb;
        sub->cb = nullptr;
        cb(sub->user, core::err::ok, store::position{});
      }
    }
  }
  if (!is_closed_ && s->confirmations.empty()) audit(s);
}

// ---- hearing

bool redis_broker::tell(const std::string& channel, uint64_t id, const envelope& e) noexcept {
  event out;
  out.kind = e.kind == envelope_kind::join              ? event_kind::join
             : e.kind == envelope_kind::leave           ? event_kind::leave
             : e.kind == envelope_kind::history_removed ? event_kind::history_removed
                                                        : event_kind::publication;
  out.push = &e.push;
  out.parts = e.parts;
  out.offset = e.offset;
  out.time_ms = e.time_ms;
  out.is_delete = e.kind == envelope_kind::remove;
  events_->on_event(user_, channel, out);
  return !is_closed_ && find(channel, id) != nullptr;
}

void redis_broker::message(subscription* s, const envelope& e) noexcept {
  const std::string channel = s->channel;
  const uint64_t id = s->id;
  if (e.offset == 0) {  // without a place
    const std::string nonce(e.nonce);
    if (s->cb == nullptr) (void)tell(channel, id, e);
    if (is_closed_) return;
    const auto waiting = relays_.find(nonce);
    if (waiting == relays_.end()) return;
    op* o = waiting->second;
    relays_.erase(waiting);
    if (o->held_since_ms > 0) relayed(o, core::err::ok, {});
    return;
  }
  if (!s->has_history) return;
  if (s->state != sub_state::live) {
    s->heard = std::max(s->heard, e.offset);
    return;
  }
  if (e.epoch != s->epoch) {
    if (e.offset > s->told) lose(channel, id);
    return;
  }
  if (e.offset <= s->told) return;
  if (e.offset != s->told + 1) {
    s->heard = std::max(s->heard, e.offset);
    repair(s);
    return;
  }
  s->told = e.offset;
  if (!tell(channel, id, e)) return;
  s = find(channel, id);
  if (s != nullptr && !s->held.empty()) give_answers(s, false);
}

// Publishes whose message has been told; `all`: it will not be.
void redis_broker::give_answers(subscription* s, bool all) noexcept {
  std::vector<op*> due;
  auto keep = s->held.begin();
  for (op* o : s->held) {
    if (all || o->result.offset <= s->told)
      due.push_back(o);
    else
      *keep++ = o;
  }
  s->held.erase(keep, s->held.end());
  for (op* o : due) {
    if (is_closed_) return;  // the rest goes with the broker
    const publish_cb cb = o->on_publish;
    void* user = o->user;
    publish_result done = std::move(o->result);
    op_free(o);
    cb(user, std::move(done));
  }
}

void redis_broker::lose(const std::string& channel, uint64_t id) noexcept {
  if (subscription* s = find(channel, id)) {
    s->state = sub_state::live;
    give_answers(s, true);
  }
  if (!is_closed_ && find(channel, id) != nullptr) events_->on_lost(user_, channel);
}

void redis_broker::repair(subscription* s) noexcept {
  s->state = sub_state::repairing;
  op* o = op_new(op_kind::repair, s->channel, nullptr);
  o->subscription = s->id;
  const std::vector<std::string> keys = {redis_key(options_.prefix, partition_of(s->channel), 'g'),
                                         key('m', s->channel), key('s', s->channel),
                                         key('b', s->channel)};
  const std::vector<std::string> arguments = {
      std::to_string(s->told),      "0", std::to_string(kRepairPage),
      std::to_string(kRepairBytes), "0", "0"};
  if (started(o, call(server_of(s->channel), redis_script::read, keys, arguments, o)) !=
      core::err::ok) {
    s->state = sub_state::away;  // the audit brings it back
    server_of(s->channel)->must_audit = true;
    tick_later();
  }
}

void redis_broker::repaired(op* o, core::err rc, const redis_reply& r) noexcept {
  const std::string channel = std::move(o->channel);
  const uint64_t id = o->subscription;
  op_free(o);
  subscription* s = find(channel, id);
  if (s == nullptr || s->state != sub_state::repairing) return;
  if (rc != core::err::ok || r.size() < 3) {
    s->state = sub_state::away;
    server_of(channel)->must_audit = true;
    tick_later();
    return;
  }
  const redis_reply top = r.first(), epoch = top.next();
  s->state = sub_state::live;
  if (epoch.text() != s->epoch) return lose(channel, id);
  redis_reply at = epoch.next();
  const uint32_t count = r.size() - 3;
  for (uint32_t i = 0; i < count; ++i) {
    at = at.next();
    envelope e;
    // What the stream no longer has cannot be made up for.
    if (envelope_read(at.text(), &e) != core::err::ok || e.offset != s->told + 1)
      return lose(channel, id);
    s->told = e.offset;
    if (!tell(channel, id, e)) return;
    s = find(channel, id);
  }
  if (count == 0 && s->heard > s->told) return lose(channel, id);
  give_answers(s, false);
  s = is_closed_ ? nullptr : find(channel, id);
  if (s != nullptr && s->state == sub_state::live && s->heard > s->told) repair(s);
}

// ---- history

core::err redis_broker::history(store::read_request&& r, store::read_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new(op_kind::history, r.channel, user);
  o->on_read = cb;
  const std::vector<std::string> keys = {redis_key(options_.prefix, partition_of(r.channel), 'g'),
                                         key('m', r.channel), key('s', r.channel),
                                         key('b', r.channel)};
  const std::vector<std::string> arguments = {
      std::to_string(r.since),     r.is_reverse ? "1" : "0",        std::to_string(r.limit),
      std::to_string(r.bytes_max), std::to_string(r.keep.size_max), std::to_string(r.keep.ttl_ms)};
  return started(o, call(server_of(r.channel), redis_script::read, keys, arguments, o));
}

void redis_broker::read(op* o, core::err rc, const redis_reply& r) noexcept {
  store::read_result result;
  result.rc = rc;
  if (rc == core::err::ok && r.size() < 3) result.rc = core::err::io;
  if (result.rc == core::err::ok) {
    const redis_reply top = r.first(), epoch = top.next(), cut = epoch.next();
    result.top.offset = static_cast<uint64_t>(top.integer());
    result.top.epoch = std::string(epoch.text());
    result.is_cut = cut.text() == "1";
    redis_reply at = cut;
    for (uint32_t i = 3; i < r.size(); ++i) {
      at = at.next();
      envelope e;
      if (envelope_read(at.text(), &e) != core::err::ok) continue;
      result.pubs.push_back(envelope_publication(e));
    }
  }
  const store::read_cb cb = o->on_read;
  void* user = o->user;
  op_free(o);
  cb(user, std::move(result));
}

core::err redis_broker::remove_history(const std::string& channel, store::done_cb cb,
                                       void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new(op_kind::remove, channel, user);
  o->on_done = cb;
  std::string head, bytes;
  envelope_head(&head, envelope_kind::history_removed, {}, 0, {});
  envelope_finish(&bytes, head, std::string(kEnvelopeNonceBytes, '-'), {}, {},
                  options_.clock->wall_ms());
  const std::vector<std::string> keys = {redis_key(options_.prefix, partition_of(channel), 'g'),
                                         key('m', channel), key('s', channel), key('b', channel),
                                         key('e', channel)};
  const std::vector<std::string> arguments = {"PUBLISH", key('c', channel), bytes};
  return started(o, call(server_of(channel), redis_script::remove, keys, arguments, o));
}

void redis_broker::removed(op* o, core::err rc, const redis_reply&) noexcept {
  const store::done_cb cb = o->on_done;
  void* user = o->user;
  op_free(o);
  cb(user, rc);
}

// ---- time

void redis_broker::tick_later() noexcept {
  if (!core::timer_runs(&timer_))
    core::timer_start(core::loop_timers(home_), &timer_, core::loop_now_ms(home_), kTickMs);
}

// Messages that did not come, and audits that could not be asked.
void redis_broker::on_tick() noexcept {
  const uint64_t now = core::loop_now_ms(home_);
  const auto is_late = [now](const op* o) {
    return o->held_since_ms > 0 && o->held_since_ms + kHoldMs <= now;
  };
  std::vector<op*> late;
  bool is_waiting = false;
  for (const auto& [nonce, o] : relays_) {
    is_waiting = true;
    if (is_late(o)) late.push_back(o);
  }
  for (op* o : late) relays_.erase(o->nonce);
  for (op* o : late) {
    if (is_closed_) return;
    relayed(o, core::err::ok, {});
  }
  std::vector<subscription*> missing;
  for (const auto& [channel, s] : subscriptions_) {
    if (s->held.empty()) continue;
    is_waiting = true;
    if (s->state == sub_state::live && is_late(s->held.front())) missing.push_back(s.get());
  }
  for (subscription* s : missing) {
    s->heard = std::max(s->heard, s->held.back()->result.offset);
    repair(s);
  }
  bool has_audit = false;
  for (auto& s : servers_) {
    audit(s.get());
    has_audit = has_audit || s->must_audit;
  }
  if (is_waiting || has_audit) tick_later();
}

}  // namespace

broker* open_redis(const redis_options& o, core::loop* home, const broker_events* events,
                   void* user) noexcept {
  return new redis_broker(o, home, events, user);
}

}  // namespace broker
