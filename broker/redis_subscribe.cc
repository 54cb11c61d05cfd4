// Hearing: subscriptions and messages. redis.cc says why nothing is missed.
#include <algorithm>

#include "broker/redis_impl.h"
#include "core/log.h"

namespace broker {

// ---- what the connection is told

void redis_broker::want(server* s, wanted&& w) noexcept {
  s->wants.push_back(std::move(w));
  if (s->has_messages) send_wants(s);
}

// In their order; what the connection does not take now it takes when it has room.
void redis_broker::send_wants(server* s) noexcept {
  while (!s->wants.empty()) {
    const bool is_in = s->wants.front().is_in;
    std::vector<std::string_view> names;
    for (const wanted& w : s->wants) {
      if (w.is_in != is_in) break;
      names.push_back(w.pubsub);
    }
    const size_t taken = (is_in ? redis_conn_subscribe : redis_conn_unsubscribe)(
        s->messages, is_cluster() ? redis_sub::shard : redis_sub::channel, names);
    for (size_t i = 0; i < taken; ++i) {
      s->confirmations.push_back(s->wants.front().id);
      s->wants.pop_front();
    }
    if (taken < names.size()) return;
  }
}

void redis_broker::on_messages_ready(server* s) noexcept {
  s->has_messages = true;
  if (s->has_commands) s->why.clear();
  s->wants.clear();
  if (core::loop_index(home_) == 0 && server_at(0) == s)
    s->wants.push_back({0, true, shared_name("control")});
  for (const auto& [channel, sub] : subscriptions_) {
    if (server_at(sub->partition) != s) continue;
    sub->is_out = false;
    s->wants.push_back({sub->id, true, key('c', channel)});
  }
  s->must_audit = true;
  send_wants(s);
  audit(s);
}

// A subscribe that has no answer yet fails, the others wait for the connection.
void redis_broker::on_messages_lost(server* s, bool was_ready, std::string_view why) noexcept {
  if (was_ready) core::loop_counters(home_)->broker_lost_connections.add();
  if (s->why.empty()) s->why = why;
  s->has_messages = false;
  note_ready();
  s->must_audit = true;
  s->confirmations.clear();
  s->wants.clear();
  std::vector<std::pair<std::string, uint64_t>> mine;
  for (const auto& [channel, sub] : subscriptions_)
    if (server_at(sub->partition) == s) mine.emplace_back(channel, sub->id);
  for (const auto& [channel, id] : mine) {
    subscription* sub = find(channel, id);
    if (sub == nullptr) continue;
    if (sub->cb != nullptr) {
      fail_subscribe(sub, core::err::unavailable);
    } else {
      sub->state = sub_state::away;
      sub->turn = 0;
      give_answers(sub, true);  // nobody waits for a connection; the audit brings the message
    }
    if (is_closed_) return;
  }
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
  auto sub = std::make_unique<subscription>();
  sub->id = next_id_++;
  sub->channel = channel;
  sub->partition = partition_of(channel);
  sub->has_history = has_history;
  sub->cb = cb;
  sub->user = user;
  const uint64_t id = sub->id;
  auto& place = subscriptions_[channel];
  std::unique_ptr<subscription> before = std::move(place);
  place = std::move(sub);
  want(s, {id, true, key('c', channel)});
  if (before != nullptr) leave(std::move(before));
  return core::err::ok;
}

void redis_broker::unsubscribe(const std::string& channel) noexcept {
  const auto found = subscriptions_.find(channel);
  if (found == subscriptions_.end()) return;
  std::unique_ptr<subscription> gone = std::move(found->second);
  subscriptions_.erase(found);
  server* s = server_of(channel);
  if (s->has_messages) want(s, {0, false, key('c', channel)});
  leave(std::move(gone));
}

// What it still owes: the answers of publishes, and its own.
void redis_broker::leave(std::unique_ptr<subscription> gone) noexcept {
  give_answers(gone.get(), true);
  if (gone->cb == nullptr || is_closed_) return;
  if (!gone->has_history) return gone->cb(gone->user, core::err::ok, store::position{});
  op* o = op_new(&redis_broker::positioned, gone->channel, gone->user);
  o->on_position = gone->cb;
  const core::err rc = ask_position(gone->channel, o);
  if (rc != core::err::ok) gone->cb(gone->user, rc, store::position{});
}

void redis_broker::fail_subscribe(subscription* s, core::err rc) noexcept {
  const position_cb cb = s->cb;
  void* user = s->user;
  subscriptions_.erase(std::string(s->channel));
  cb(user, rc, store::position{});
}

core::err redis_broker::ask_position(const std::string& channel, op* o) noexcept {
  const std::vector<std::string> keys = {partition_key(partition_of(channel), 'g'),
                                         key('m', channel)};
  return started(o, call(partition_of(channel), redis_script::positions, keys, {}, o));
}

void redis_broker::ask_position(subscription* s) noexcept {
  s->state = sub_state::placing;
  op* o = op_new(&redis_broker::positioned, s->channel, nullptr);
  o->subscription = s->id;
  o->on_position = nullptr;
  o->turn = s->turn = next_turn_++;
  const core::err rc = ask_position(s->channel, o);
  if (rc != core::err::ok) fail_subscribe(s, rc);
}

void redis_broker::positioned(op* o, core::err rc, const redis_reply& r) noexcept {
  const std::string channel = std::move(o->channel);
  subscription* s = find(channel, o->subscription);
  const position_cb left = o->on_position;
  const uint64_t turn = o->turn;
  void* user = o->user;
  op_free(o);
  if (rc == core::err::ok && r.count != 2) rc = core::err::io;
  store::position at;
  if (rc == core::err::ok) at = {redis_u64(r.items[0]), std::string(r.items[1].text)};
  if (left != nullptr) return left(user, rc, at);
  if (s == nullptr || s->cb == nullptr || s->turn != turn) return;
  if (rc != core::err::ok) return fail_subscribe(s, rc);
  s->told = at.offset;
  s->epoch = at.epoch;
  s->state = sub_state::live;
  const position_cb cb = s->cb;
  s->cb = nullptr;
  const uint64_t id = s->id;
  cb(s->user, core::err::ok, at);
  // A message that came while the position was asked, of a publication that it does not cover.
  s = is_closed_ ? nullptr : find(channel, id);
  if (s != nullptr && s->state == sub_state::live && s->heard > s->told) repair(s);
}

void redis_broker::on_confirmed(server* s, std::string_view pubsub, bool is_in) noexcept {
  if (is_closed_ || s->confirmations.empty()) return;
  const uint64_t id = s->confirmations.front();
  s->confirmations.pop_front();
  subscription* sub =
      id == 0 ? nullptr : find(std::string(redis_channel_of(options_.prefix, pubsub)), id);
  if (sub != nullptr && is_in && server_at(sub->partition) == s)
    partitions_[sub->partition].hops = 0;
  // It may be wanted elsewhere by now.
  if (sub != nullptr && sub->cb != nullptr && sub->state == sub_state::asked && is_in &&
      server_at(sub->partition) == s) {
    if (sub->has_history) {
      ask_position(sub);
    } else {
      sub->state = sub_state::live;
      const position_cb cb = sub->cb;
      sub->cb = nullptr;
      cb(sub->user, core::err::ok, store::position{});
    }
  }
  if (!is_closed_) audit(s);
}

// ---- hearing

void redis_broker::on_message(server*, std::string_view pubsub, std::string_view payload) noexcept {
  if (is_closed_) return;
  const std::string_view channel = redis_channel_of(options_.prefix, pubsub);
  if (channel.empty()) {  // control
    const std::string_view me = std::string_view(options_.node).substr(0, 8);
    if (payload.size() > 8 && payload.substr(0, 8) != me)
      events_->on_control(user_, payload.substr(8));
    return;
  }
  const auto found = subscriptions_.find(std::string(channel));
  if (found == subscriptions_.end()) return;
  envelope e;
  if (envelope_read(payload, &e) == core::err::ok) {
    message(found->second.get(), e);
    return;
  }
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000))
    core::log_warn("a message of redis is not understood", {{"channel", channel}});
}

// False: the subscription has gone meanwhile.
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
    const auto waiting = is_closed_ ? relays_.end() : relays_.find(nonce);
    if (waiting == relays_.end()) return;
    op* o = waiting->second;
    relays_.erase(waiting);
    if (o->held_since_ms > 0) answer_publish(o);
    return;
  }
  if (!s->has_history) return;
  if (s->state != sub_state::live) {
    s->heard = std::max(s->heard, e.offset);
    return;
  }
  if (e.offset <= s->told) return;
  if (e.epoch != s->epoch) return lose(channel, id);
  if (e.offset != s->told + 1) {
    s->heard = std::max(s->heard, e.offset);
    repair(s);
    return;
  }
  s->told = e.offset;
  if (!tell(channel, id, e)) return;
  s = find(channel, id);
  if (!s->held.empty()) give_answers(s, false);
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
    answer_publish(o);
  }
}

}  // namespace broker
