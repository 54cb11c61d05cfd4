// The broker over Redis, on one loop: its connections and calls. Publishing is in redis_publish.cc,
// hearing in redis_subscribe.cc, repair in redis_repair.cc, presence in redis_presence.cc.
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

#include "broker/redis_impl.h"
#include "core/assert.h"
#include "core/log.h"
#include "store/page.h"

namespace broker {
namespace {

constexpr uint32_t kTickMs = 100;
constexpr uint32_t kRefusedMs = 5000;  // then a refused server is asked again
constexpr uint32_t kScripts = static_cast<uint32_t>(redis_script::kCount);

server* server_from(void* user) noexcept {
  return static_cast<server*>(user);
}

constexpr redis_conn_events kCommandEvents = {
    .on_ready =
        [](void* user, redis_conn*, const redis_server_info&) noexcept {
          server_from(user)->owner->on_commands_ready(server_from(user));
        },
    .on_down =
        [](void* user, redis_conn*, bool, std::string_view why) noexcept {
          server_from(user)->owner->on_commands_lost(server_from(user), why);
        }};

constexpr redis_conn_events kMessageEvents = {
    .on_ready =
        [](void* user, redis_conn*, const redis_server_info&) noexcept {
          server_from(user)->owner->on_messages_ready(server_from(user));
        },
    .on_down =
        [](void* user, redis_conn*, bool was_ready, std::string_view why) noexcept {
          if (was_ready) server_from(user)->owner->on_messages_lost(server_from(user), why);
        },
    .on_message =
        [](void* user, redis_conn*, redis_sub, std::string_view channel,
           std::string_view payload) noexcept {
          server_from(user)->owner->on_message(server_from(user), channel, payload);
        },
    .on_subscribed =
        [](void* user, redis_conn*, redis_sub, std::string_view channel) noexcept {
          server_from(user)->owner->on_confirmed(server_from(user), channel, true);
        },
    .on_unsubscribed =
        [](void* user, redis_conn*, redis_sub, std::string_view channel, bool) noexcept {
          server_from(user)->owner->on_confirmed(server_from(user), channel, false);
        },
    .on_refused =
        [](void* user, redis_conn*, redis_sub, std::string_view channel,
           std::string_view error) noexcept {
          static core::log_limit once;
          if (core::log_limit_pass(&once, 1000))
            core::log_error("redis refuses a subscription",
                            {{"channel", channel}, {"error", error}});
          server_from(user)->owner->on_confirmed(server_from(user), channel, false);
        },
    .on_room =
        [](void* user, redis_conn*) noexcept {
          server_from(user)->owner->send_wants(server_from(user));
        }};

void layout_read(void* user, core::err rc, const redis_reply* r) noexcept {
  server_from(user)->owner->on_layout(server_from(user), rc, r);
}

void script_loaded(void* user, core::err rc, const redis_reply* r) noexcept {
  server_from(user)->owner->on_script(server_from(user), rc, r);
}

void answered(void* user, core::err rc, const redis_reply* r) noexcept {
  op* o = static_cast<op*>(user);
  o->owner->on_answer(o, rc, r);
}

}  // namespace

redis_broker::redis_broker(const redis_options& o, core::loop* home, const broker_events* events,
                           void* user)
    : options_(o), home_(home), events_(events), user_(user) {
  CORE_ASSERT(o.url != nullptr && !o.url->servers.empty() && o.node.size() >= 8);
  char salt[5] = "0000";
  for (int i = 0; i < 4; ++i) salt[i] = "0123456789abcdef"[core::random_below(o.random, 16)];
  nonce_head_ = o.node.substr(0, 4) + salt;
  o.random->fill(&epoch_seed_, sizeof epoch_seed_);
  timer_.owner = this;
  timer_.fire = [](core::timer* t) noexcept { static_cast<broker_timer*>(t)->owner->on_tick(); };
  for (const redis_endpoint& at : o.url->servers) {
    auto s = std::make_unique<server>();
    s->owner = this;
    s->index = static_cast<uint32_t>(servers_.size());
    redis_conn_options to;
    to.at = at;
    to.url = o.url;
    to.tls = o.tls;
    to.resolver = o.resolver;
    to.random = o.random;
    to.name = "parley-" + o.node.substr(0, 8);
    s->commands = redis_conn_open(to, home, &kCommandEvents, s.get());
    to.role = redis_role::subscriber;
    s->messages = redis_conn_open(to, home, &kMessageEvents, s.get());
    servers_.push_back(std::move(s));
  }
}

redis_broker::~redis_broker() {
  close();
  while (ops_ != nullptr) op_free(ops_);
}

// What waits for an answer goes with the object.
void redis_broker::close() noexcept {
  if (is_closed_) return;
  is_closed_ = true;
  core::timer_stop(core::loop_timers(home_), &timer_);
  for (auto& s : servers_) {
    redis_conn_close(s->commands);
    redis_conn_close(s->messages);
  }
  subscriptions_.clear();
  note_ready();
}

bool redis_broker::is_ready() noexcept {
  if (is_closed_) return false;
  for (const auto& s : servers_)
    if (!s->has_commands || !s->has_messages || s->must_audit || s->audits > 0 || s->repairs > 0)
      return false;
  return true;
}

std::string redis_broker::why_not_ready() noexcept {
  if (is_closed_) return "closed";
  for (const auto& s : servers_) {
    const std::string name = "redis at " + redis_endpoint_text(redis_conn_at(s->commands)) + ": ";
    if (!s->has_commands || !s->has_messages)
      return name + (s->why.empty() ? "connecting" : s->why);
    if (s->must_audit || s->audits > 0) return name + "comparing what was missed";
    if (s->repairs > 0) return name + "reading what was missed";
  }
  return {};
}

void redis_broker::note_ready() noexcept {
  const bool is = is_ready();
  if (is == was_ready_) return;
  was_ready_ = is;
  core::counter& gauge = core::loop_counters(home_)->broker_ready;
  if (is)
    gauge.add();
  else
    gauge.sub();
}

// A server that must not carry the chat, for a reason that somebody has to take away.
void redis_broker::refuse(server* s, std::string&& why) noexcept {
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000))
    core::log_error("redis is refused",
                    {{"server", redis_endpoint_text(redis_conn_at(s->commands))}, {"why", why}});
  s->why = std::move(why);
  s->refused_ms = std::max<uint64_t>(core::loop_now_ms(home_), 1);
  tick_later();
}

// Version 1 of the keys (redis_script.h), partitions, which server of how many.
std::string redis_broker::layout_of(const server* s) const {
  return "1 " + std::to_string(options_.partitions) + " " + std::to_string(s->index) + "/" +
         std::to_string(servers_.size());
}

// What a server keeps must stay, and be kept by all nodes in the same places.
void redis_broker::on_commands_ready(server* s) noexcept {
  const redis_server_info& about = redis_conn_info(s->commands);
  s->refused_ms = 0;
  if (about.maxmemory > 0 && !about.maxmemory_policy.empty() &&
      about.maxmemory_policy != "noeviction") {
    refuse(s, "it evicts keys when memory is short (maxmemory-policy " + about.maxmemory_policy +
                  "): set maxmemory-policy noeviction");
    return;
  }
  if (!about.has_aof) {
    static core::log_limit once;
    if (core::log_limit_pass(&once, 3'600'000))
      core::log_warn(
          "redis writes no log (appendonly no): what it has not saved when it restarts is "
          "lost, and clients are told so",
          {{"server", redis_endpoint_text(redis_conn_at(s->commands))}});
  }
  const std::string name = options_.prefix + ":layout";
  const std::string mine = layout_of(s);
  const std::string_view words[] = {"SET", name, mine, "NX", "GET"};
  (void)redis_conn_command(s->commands, words, layout_read, s);
}

void redis_broker::on_layout(server* s, core::err rc, const redis_reply* r) noexcept {
  if (rc != core::err::ok || is_closed_) return;
  const std::string mine = layout_of(s);
  if (r->type == redis_type::nil || r->text == mine) return load_scripts(s);
  refuse(s, r->is_error()
                ? "it does not take the key " + options_.prefix + ":layout: " + std::string(r->text)
                : "its keys are laid out as \"" + std::string(r->text.substr(0, 80)) +
                      "\", this node's setting is \"" + mine +
                      "\": use the same broker.partitions and servers in the same order on all "
                      "nodes, or another broker.prefix");
}

void redis_broker::load_scripts(server* s) noexcept {
  s->loaded = 0;
  for (uint32_t i = 0; i < kScripts; ++i) {
    const std::string text = redis_script_text(static_cast<redis_script>(i));
    const std::string_view words[] = {"SCRIPT", "LOAD", text};
    (void)redis_conn_command(s->commands, words, script_loaded, s);
  }
}

void redis_broker::on_script(server* s, core::err rc, const redis_reply* r) noexcept {
  if (rc != core::err::ok || is_closed_) return;
  if (r->is_error()) {
    core::log_error("redis refuses a script", {{"error", r->text}});
    redis_conn_move(s->commands, redis_conn_at(s->commands), "a script is refused");
    return;
  }
  s->digests[s->loaded++] = std::string(r->text);
  if (s->loaded < kScripts) return;
  s->has_commands = true;
  s->why.clear();
  const redis_server_info& about = redis_conn_info(s->commands);
  core::log_info("redis is there", {{"server", redis_endpoint_text(redis_conn_at(s->commands))},
                                    {"version", about.version}});
  presence_connected();
  s->must_audit = true;
  audit(s);
  tick_later();
  note_ready();
}

void redis_broker::on_commands_lost(server* s, std::string_view why) noexcept {
  if (s->has_commands) core::loop_counters(home_)->broker_lost_connections.add();
  if (s->refused_ms == 0) s->why = why;
  s->has_commands = false;
  note_ready();
  s->audits = 0;
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000))
    core::log_warn("redis is away",
                   {{"server", redis_endpoint_text(redis_conn_at(s->commands))}, {"why", why}});
}

op* redis_broker::op_new(op_done done, const std::string& channel, void* user) noexcept {
  op* o = new op;
  o->owner = this;
  o->done = done;
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

core::err redis_broker::started(op* o, core::err rc) noexcept {
  if (rc != core::err::ok) op_free(o);
  return rc;
}

uint32_t redis_broker::partition_of(std::string_view channel) const noexcept {
  return redis_partition(channel, options_.partitions);
}
server* redis_broker::server_at(uint32_t partition) noexcept {
  return servers_[partition % servers_.size()].get();
}
server* redis_broker::server_of(std::string_view channel) noexcept {
  return server_at(partition_of(channel));
}
std::string redis_broker::key(char kind, const std::string& channel) const {
  return redis_key(options_.prefix, partition_of(channel), kind, channel);
}
std::string redis_broker::partition_key(uint32_t partition, char kind,
                                        std::string_view rest) const {
  return redis_key(options_.prefix, partition, kind, rest);
}

// The name of the generation that a script would begin, another for each call and without a system
// call: splitmix64 (prng.di.unimi.it) of a random seed.
std::string redis_broker::epoch_candidate() noexcept {
  uint64_t z = epoch_seed_ + ++next_epoch_ * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return store::epoch_from(z ^ (z >> 31));
}

core::err redis_broker::call(server* s, redis_script script, const std::vector<std::string>& keys,
                             const std::vector<std::string>& arguments, op* o) noexcept {
  if (!s->has_commands) return core::err::unavailable;
  std::string epoch;
  const std::string count = std::to_string(keys.size());
  std::vector<std::string_view> words = {"EVALSHA", s->digests[static_cast<uint32_t>(script)],
                                         count};
  words.reserve(words.size() + keys.size() + arguments.size() + 4);
  words.insert(words.end(), keys.begin(), keys.end());
  if (redis_script_has_generation(script)) {
    const redis_server_info& about = redis_conn_info(s->commands);
    epoch = epoch_candidate();
    words.insert(words.end(), {about.run_id, about.repl_id, epoch, options_.first_base});
  }
  words.insert(words.end(), arguments.begin(), arguments.end());
  o->at = s;
  return redis_conn_command(s->commands, words, answered, o);
}

// A refusal of the server is `unavailable`: nothing was done. A connection that was lost on the way
// is `timeout`: nobody knows.
void redis_broker::on_answer(op* o, core::err rc, const redis_reply* r) noexcept {
  if (rc == core::err::closed || is_closed_) return;
  static const redis_reply kNone;
  if (rc == core::err::ok && r->is_error()) {
    static core::log_limit once;
    if (core::log_limit_pass(&once, 1000))
      core::log_error("redis refuses a command", {{"error", r->text.substr(0, 200)}});
    rc = core::err::unavailable;
    if (r->error_code() == "READONLY" || r->error_code() == "NOSCRIPT")
      redis_conn_move(o->at->commands, redis_conn_at(o->at->commands),
                      "the server is not what it was");
    if (is_closed_) return;
  }
  (this->*o->done)(o, rc, r == nullptr ? kNone : *r);
}

core::err redis_broker::control(std::string_view bytes) noexcept {
  if (is_closed_) return core::err::closed;
  server* s = servers_.front().get();
  if (!s->has_commands) return core::err::unavailable;
  std::string whole = options_.node.substr(0, 8);
  whole.append(bytes);
  const std::string to = options_.prefix + ":control";
  const std::string_view words[] = {"PUBLISH", to, whole};
  return redis_conn_command(s->commands, words, nullptr, nullptr);
}

void redis_broker::tick_later() noexcept {
  if (!core::timer_runs(&timer_))
    core::timer_start(core::loop_timers(home_), &timer_, core::loop_now_ms(home_), kTickMs);
}

// Ten times a second: messages that did not come, audits that could not be asked, the lease.
void redis_broker::on_tick() noexcept {
  tick_later();
  answer_late();
  if (is_closed_) return;
  for (auto& s : servers_) {
    audit(s.get());
    if (s->refused_ms != 0 && core::loop_now_ms(home_) >= s->refused_ms + kRefusedMs) {
      s->refused_ms = core::loop_now_ms(home_);
      redis_conn_move(s->commands, redis_conn_at(s->commands), "refused");
    }
  }
  note_ready();
  if (core::loop_now_ms(home_) >= lease_due_ms_) refresh_lease();
}

broker* open_redis(const redis_options& o, core::loop* home, const broker_events* events,
                   void* user) noexcept {
  return new redis_broker(o, home, events, user);
}

}  // namespace broker
