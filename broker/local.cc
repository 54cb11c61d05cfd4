// The broker of a single node: the store orders and keeps, everything else happens inside the call
// on the loop.
//
// Why nothing is lost or doubled between a subscribe's position and the events after it:
// The position is read by one of the store's reader threads while its writer commits, so the
// answers of reads and appends reach the loop in any order relative to each other; only the appends
// of one channel come in their own order. Let p be the top that the read saw.
//   - An append with offset k <= p whose answer comes after the read's must not become an event:
//   the position covers it.
//   - An append with offset k > p whose answer came before the read's was no event, as nobody was
//   subscribed yet, and
//     will never be one: the position must cover it.
// So while the read is on its way the newest answered offset is remembered (`told`), the position
// answered is max(p, told), and from then on an append's answer is an event exactly when its offset
// is above `told`, which it then becomes. What the position covers is committed, so whoever reads
// the history up to it finds it. As only this loop appends to the channel, answers come without
// holes from there on: offset told + 1 is next, always. Anything else means that somebody else
// writes to the store, and is reported as lost.
#include <unordered_map>

#include "broker/broker.h"
#include "broker/presence.h"
#include "core/log.h"

namespace broker {
namespace {

class local_broker;

// A call that waits for the store. Listed by the broker, so that those whose answer never comes go
// with it.
struct op {
  local_broker* owner = nullptr;
  op* prev = nullptr;
  op* next = nullptr;
  std::string channel;
  void* user = nullptr;
  uint64_t subscription = 0;  // subscribe
  bool is_delete = false;     // publish
  union {
    publish_cb on_publish;
    position_cb on_position;
    store::read_cb on_read;
    store::done_cb on_done;
  };
  op() noexcept : on_publish(nullptr) {}
};

enum class sub_state : uint8_t { reading, live };

struct subscription {
  uint64_t id = 0;  // of this subscribe call: an answer to an earlier one is stale
  uint64_t told =
      0;  // reading: newest offset answered meanwhile; live: everything up to it is told or covered
  sub_state state = sub_state::reading;
  bool has_history = false;
};

std::string make_tags(std::string_view before_time, int64_t time_ms) {
  if (before_time.empty()) return {};
  std::string tags;
  tags.reserve(before_time.size() + 32);
  tags.append(before_time);
  tags += "\"time\":\"" + std::to_string(time_ms) + "\"}";
  return tags;
}

class local_broker final : public broker {
 public:
  local_broker(store::store* s, core::loop* home, const broker_events* events, void* user,
               const core::clock_source* clock)
      : store_(s), home_(home), events_(events), user_(user), clock_(clock) {}
  ~local_broker() override {
    while (ops_ != nullptr) op_free(ops_);
  }

  core::err publish(publish_request&& r, publish_cb cb, void* user) noexcept override;
  core::err subscribe(const std::string& channel, bool has_history, position_cb cb,
                      void* user) noexcept override;
  void unsubscribe(const std::string& channel) noexcept override { subscriptions_.erase(channel); }
  core::err history(store::read_request&& r, store::read_cb cb, void* user) noexcept override;
  core::err remove_history(const std::string& channel, store::done_cb cb,
                           void* user) noexcept override;

  core::err presence_add(const std::string& channel, member&& m) noexcept override {
    return is_closed_ ? core::err::closed : presence_.add(channel, m);
  }
  void presence_remove(const std::string& channel, std::string_view client) noexcept override {
    if (!presence_.has(channel)) return;
    presence_.remove(channel, client);
    if (channel.starts_with('#') && !presence_.has(channel)) left_.note(channel, clock_->wall_ms());
  }
  core::err presence(const std::string& channel, uint32_t limit, presence_cb cb,
                     void* user) noexcept override {
    if (is_closed_) return core::err::closed;
    cb(user, core::err::ok, presence_.members(channel, limit));
    return core::err::ok;
  }
  core::err presence_stats(const std::string& channel, counts_cb cb, void* user) noexcept override {
    if (is_closed_) return core::err::closed;
    presence_counts counts = presence_.counts(channel);
    if (counts.clients == 0) counts.left_ms = left_.at(channel, clock_->wall_ms());
    cb(user, core::err::ok, counts);
    return core::err::ok;
  }

  core::err control(std::string_view) noexcept override {
    return is_closed_ ? core::err::closed : core::err::ok;
  }
  bool is_ready() noexcept override { return !is_closed_ && store_->stats().is_ready; }
  std::string why_not_ready() noexcept override {
    return is_closed_ ? "closed" : store_->stats().is_ready ? "" : "the store cannot commit";
  }
  void close() noexcept override {
    is_closed_ = true;
    subscriptions_.clear();
  }

 private:
  core::err publish_ephemeral(publish_request&& r, publish_cb cb, void* user) noexcept;
  void on_appended(op* o, store::append_result&& r) noexcept;
  void on_position(op* o, const store::read_result& r) noexcept;
  void tell(const std::string& channel, const store::publication& pub, bool is_delete) noexcept;

  op* op_new(const std::string& channel, void* user) {
    op* o = new op;
    o->owner = this;
    o->channel = channel;
    o->user = user;
    o->next = ops_;
    if (ops_ != nullptr) ops_->prev = o;
    ops_ = o;
    return o;
  }
  void op_free(op* o) noexcept {
    (o->prev == nullptr ? ops_ : o->prev->next) = o->next;
    if (o->next != nullptr) o->next->prev = o->prev;
    delete o;
  }
  // What the store refused is not waited for.
  core::err started(op* o, core::err rc) noexcept {
    if (rc != core::err::ok) op_free(o);
    return rc;
  }

  store::store* const store_;
  core::loop* const home_;
  const broker_events* const events_;
  void* const user_;
  const core::clock_source* const clock_;
  std::unordered_map<std::string, subscription> subscriptions_;
  presence_table presence_;
  last_seen left_;
  op* ops_ = nullptr;
  uint64_t next_subscription_ = 1;
  bool is_closed_ = false;
};

core::err local_broker::publish(publish_request&& r, publish_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  if (r.kind != event_kind::publication || !r.has_history)
    return publish_ephemeral(std::move(r), cb, user);
  op* o = op_new(r.channel, user);
  o->on_publish = cb;
  o->is_delete = r.is_delete;
  store::append_request a;
  a.channel = std::move(r.channel);
  a.user = std::move(r.user);
  a.pub.time_ms = clock_->wall_ms();
  a.pub.data = std::move(r.data);
  a.pub.info = std::move(r.info);
  a.pub.tags = make_tags(r.tags_before_time, a.pub.time_ms);
  a.keep = r.keep;
  a.key_scope = std::move(r.key_scope);
  a.key_hash = std::move(r.key_hash);
  a.key_ttl_ms = r.key_ttl_ms;
  a.refers = r.refers;
  a.is_delete = r.is_delete;
  const auto answered = [](void* u, store::append_result&& result) noexcept {
    op* self = static_cast<op*>(u);
    self->owner->on_appended(self, std::move(result));
  };
  return started(o, store_->append(home_, std::move(a), answered, o));
}

core::err local_broker::publish_ephemeral(publish_request&& r, publish_cb cb, void* user) noexcept {
  store::publication pub;
  publish_result result;
  pub.info = std::move(r.info);
  if (r.kind == event_kind::publication) {
    pub.time_ms = result.time_ms = clock_->wall_ms();
    pub.data = std::move(r.data);
    pub.tags = make_tags(r.tags_before_time, pub.time_ms);
  }
  const auto s = subscriptions_.find(r.channel);
  event e;
  e.kind = r.kind;
  e.pub = &pub;
  if (s != subscriptions_.end() && s->second.state == sub_state::live)
    events_->on_event(user_, r.channel, e);
  if (!is_closed_) cb(user, std::move(result));  // on_event() may have closed us
  return core::err::ok;
}

void local_broker::tell(const std::string& channel, const store::publication& pub,
                        bool is_delete) noexcept {
  const auto found = subscriptions_.find(channel);
  if (found == subscriptions_.end()) return;
  subscription& s = found->second;
  const uint64_t told = s.told;
  if (s.has_history) s.told = std::max(told, pub.offset);
  if (s.state != sub_state::live || (s.has_history && pub.offset <= told)) return;
  if (s.has_history && pub.offset != told + 1) {
    core::log_error("a channel was written by someone else",
                    {{"channel", channel}, {"offset", pub.offset}, {"told", told}});
    events_->on_lost(user_, channel);
    return;
  }
  event e;
  e.pub = &pub;
  e.is_delete = is_delete;
  events_->on_event(user_, channel, e);
}

void local_broker::on_appended(op* o, store::append_result&& r) noexcept {
  const std::string channel = std::move(o->channel);
  const publish_cb cb = o->on_publish;
  void* user = o->user;
  const bool is_delete = o->is_delete;
  op_free(o);
  if (is_closed_) return;
  if (r.rc == core::err::ok && !r.is_duplicate) tell(channel, r.pub, is_delete);
  if (is_closed_) return;
  publish_result result;
  result.rc = r.rc;
  result.offset = r.offset;
  result.epoch = std::move(r.epoch);
  result.time_ms = r.time_ms;
  result.is_duplicate = r.is_duplicate;
  result.is_first = r.offset == 1;
  cb(user, std::move(result));
}

core::err local_broker::subscribe(const std::string& channel, bool has_history, position_cb cb,
                                  void* user) noexcept {
  if (is_closed_) return core::err::closed;
  subscription s;
  s.id = next_subscription_++;
  s.has_history = has_history;
  if (!has_history) {
    s.state = sub_state::live;
    subscriptions_[channel] = s;
    cb(user, core::err::ok, store::position{});
    return core::err::ok;
  }
  op* o = op_new(channel, user);
  o->subscription = s.id;
  o->on_position = cb;
  store::read_request read;
  read.channel = channel;
  const auto answered = [](void* u, store::read_result&& result) noexcept {
    op* self = static_cast<op*>(u);
    self->owner->on_position(self, result);
  };
  const core::err rc = started(o, store_->read(home_, std::move(read), answered, o));
  if (rc == core::err::ok) subscriptions_[channel] = s;
  return rc;
}

void local_broker::on_position(op* o, const store::read_result& r) noexcept {
  const std::string channel = std::move(o->channel);
  const uint64_t id = o->subscription;
  const position_cb cb = o->on_position;
  void* user = o->user;
  op_free(o);
  if (is_closed_) return;
  store::position top = r.top;
  const auto s = subscriptions_.find(channel);
  if (s != subscriptions_.end() && s->second.id == id) {
    if (r.rc != core::err::ok) {
      subscriptions_.erase(s);
    } else {
      s->second.told = top.offset = std::max(top.offset, s->second.told);
      s->second.state = sub_state::live;
    }
  }
  cb(user, r.rc, top);
}

core::err local_broker::history(store::read_request&& r, store::read_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new({}, user);
  o->on_read = cb;
  const auto answered = [](void* u, store::read_result&& result) noexcept {
    op* self = static_cast<op*>(u);
    const op done = *self;
    self->owner->op_free(self);
    if (!done.owner->is_closed_) done.on_read(done.user, std::move(result));
  };
  return started(o, store_->read(home_, std::move(r), answered, o));
}

core::err local_broker::remove_history(const std::string& channel, store::done_cb cb,
                                       void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new({}, user);
  o->on_done = cb;
  const auto answered = [](void* u, core::err rc) noexcept {
    op* self = static_cast<op*>(u);
    const op done = *self;
    self->owner->op_free(self);
    if (!done.owner->is_closed_) done.on_done(done.user, rc);
  };
  return started(o, store_->remove_history(home_, channel, answered, o));
}

}  // namespace

broker* open_local(store::store* s, core::loop* home, const broker_events* events, void* user,
                   const core::clock_source* clock) noexcept {
  return new local_broker(s, home, events, user, clock);
}

}  // namespace broker
