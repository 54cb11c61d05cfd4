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

// A replica now, restarted, with another's data: all of it is asked anew by the handshake.
bool is_another_server(std::string_view code) noexcept {
  for (const char* c : {"READONLY", "NOSCRIPT", "STALE", "LOADING", "MASTERDOWN"})
    if (code == c) return true;
  return false;
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
  nowhere_.owner = this;
  partitions_.resize(o.partitions);
  if (o.url->topology == redis_topology::cluster) tags_ = redis_partition_tags(o.partitions);
  for (uint32_t p = 0; p < o.partitions; ++p) {
    if (o.url->topology != redis_topology::cluster) tags_.push_back(std::to_string(p));
    partitions_[p].at = &nowhere_;
    partitions_[p].slot = redis_slot(tags_[p]);
  }
  open_servers();
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
  close_servers();
  subscriptions_.clear();
  note_ready();
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
std::string redis_broker::key(char kind, const std::string& channel) const {
  return redis_key(options_.prefix, tags_[partition_of(channel)], kind, channel);
}
std::string redis_broker::shared_name(std::string_view what) const {
  std::string name = options_.prefix;
  if (options_.url->topology == redis_topology::cluster) name += ":{" + tags_[0] + "}";
  return name.append(":").append(what);
}
std::string redis_broker::partition_key(uint32_t partition, char kind,
                                        std::string_view rest) const {
  return redis_key(options_.prefix, tags_[partition], kind, rest);
}

// The name of the generation that a script would begin, another for each call and without a system
// call: splitmix64 (prng.di.unimi.it) of a random seed.
std::string redis_broker::epoch_candidate() noexcept {
  uint64_t z = epoch_seed_ + ++next_epoch_ * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return store::epoch_from(z ^ (z >> 31));
}

// A refusal of the server is `unavailable`: nothing was done. A connection that was lost on the way
// is `timeout`: nobody knows.
void redis_broker::on_answer(op* o, core::err rc, const redis_reply* r) noexcept {
  if (rc == core::err::closed || is_closed_) return;
  static const redis_reply kNone;
  if (o->again != nullptr) {
    partition_state& p = partitions_[o->again->partition];
    --p.out;
    if (rc == core::err::ok && r->is_error() && redirected(o, r->text)) return;
    p.hops = 0;
    if (p.is_moving && rc == core::err::ok && p.is_probing)
      flush(o->again->partition);
    else if (p.is_moving)
      move_on(o->again->partition);
    if (is_closed_) return;
  }
  if (rc == core::err::ok && r->is_error()) {
    static core::log_limit once;
    if (core::log_limit_pass(&once, 1000))
      core::log_error("redis refuses a command", {{"reason", r->error_shown()}});
    rc = core::err::unavailable;
    if (is_another_server(r->error_code()))
      redis_conn_move(o->at->commands, redis_conn_at(o->at->commands),
                      "the server is not what it was");
    if (is_closed_) return;
  }
  finish(o, rc, r == nullptr ? kNone : *r);
}

void redis_broker::finish(op* o, core::err rc, const redis_reply& r) noexcept {
  (this->*o->done)(o, rc, r);
}

core::err redis_broker::control(std::string_view bytes) noexcept {
  if (is_closed_) return core::err::closed;
  if (!server_at(0)->has_commands) return core::err::unavailable;
  std::string whole = options_.node.substr(0, 8);
  whole.append(bytes);
  tell_server(0, {publish_verb(), shared_name("control"), whole});
  return core::err::ok;
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
  move_all_on();
  if (is_closed_) return;
  want_again();
  for (auto& s : servers_) {
    audit(s.get());
    if (s->refused_ms != 0 && core::loop_now_ms(home_) >= s->refused_ms + kRefusedMs) {
      s->refused_ms = core::loop_now_ms(home_);
      redis_conn_move(s->commands, redis_conn_at(s->commands), "refused");
    }
  }
  note_peers();
  note_ready();
  if (core::loop_now_ms(home_) >= lease_due_ms_) refresh_lease();
}

broker* open_redis(const redis_options& o, core::loop* home, const broker_events* events,
                   void* user) noexcept {
  return new redis_broker(o, home, events, user);
}

}  // namespace broker
