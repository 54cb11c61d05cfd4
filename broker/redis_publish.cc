// Publishing over Redis, and what reads or removes what was published.
#include "broker/redis_impl.h"

namespace broker {
namespace {

constexpr uint32_t kHoldMs = 250;  // an answer waits so long for its own message

const std::string kNoNonce(kEnvelopeNonceBytes, '-');

core::err status_error(std::string_view status) noexcept {
  if (status == "ok" || status == "duplicate") return core::err::ok;
  if (status == "conflict") return core::err::conflict;
  if (status == "not_found") return core::err::not_found;
  if (status == "denied") return core::err::denied;
  return core::err::io;
}

}  // namespace

core::err redis_broker::publish(publish_request&& r, publish_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  if (r.kind != event_kind::publication || !r.has_history) return relay(std::move(r), cb, user);
  push_template push;
  events_->make_push(user_, r, &push);
  std::string head;
  // A delete is no edit: it stays when what it refers to is blanked again.
  envelope_head(&head, r.is_delete ? envelope_kind::remove : envelope_kind::publication, r.user,
                r.is_delete ? 0 : r.refers, push);
  op* o = op_new(&redis_broker::published, r.channel, user);
  o->on_publish = cb;
  std::vector<std::string> keys = {partition_key(partition_of(r.channel), 'g'), key('m', r.channel),
                                   key('s', r.channel), key('b', r.channel), key('e', r.channel)};
  if (!r.key_scope.empty()) keys.push_back(key('k', r.channel) + "|" + r.key_scope);
  const std::vector<std::string> arguments = {publish_verb(),
                                              key('c', r.channel),
                                              std::move(head),
                                              kNoNonce,
                                              r.user,
                                              std::move(push.text),
                                              std::to_string(push.offset_at),
                                              std::to_string(push.time_at),
                                              std::to_string(r.keep.size_max),
                                              std::to_string(r.keep.ttl_ms),
                                              r.key_hash,
                                              std::to_string(r.key_ttl_ms),
                                              std::to_string(r.refers),
                                              r.is_delete ? "1" : "0"};
  return started(o, call(partition_of(r.channel), redis_script::publish, keys, arguments, o));
}

void redis_broker::published(op* o, core::err rc, const redis_reply& r) noexcept {
  publish_result* result = &o->result;
  result->rc = rc;
  if (rc == core::err::ok && r.count == 5) {
    result->rc = status_error(r.items[0].text);
    result->is_duplicate = r.items[0].text == "duplicate";
    result->offset = redis_u64(r.items[1]);
    result->time_ms = static_cast<int64_t>(redis_u64(r.items[2]));
    result->epoch = std::string(r.items[3].text);
    result->is_first = r.items[4].text == "1";
  } else if (rc == core::err::ok) {
    result->rc = core::err::io;
  }
  const auto found = subscriptions_.find(o->channel);
  subscription* s = found == subscriptions_.end() ? nullptr : found->second.get();
  const bool is_heard_here = s != nullptr && s->has_history && s->cb == nullptr &&
                             s->state != sub_state::away && s->epoch == result->epoch;
  if (result->rc == core::err::ok && is_heard_here && s->told < result->offset) {
    o->held_since_ms = core::loop_now_ms(home_);
    s->held.push_back(o);
    return;
  }
  answer_publish(o);
}

void redis_broker::answer_publish(op* o) noexcept {
  const publish_cb cb = o->on_publish;
  void* user = o->user;
  publish_result done = std::move(o->result);
  op_free(o);
  cb(user, std::move(done));
}

// Messages without a place: a plain PUBLISH, and the answer waits for the message if it comes here.
core::err redis_broker::relay(publish_request&& r, publish_cb cb, void* user) noexcept {
  const uint32_t p = partition_of(r.channel);
  if (!server_at(p)->has_commands) return core::err::unavailable;
  push_template push;
  events_->make_push(user_, r, &push);
  const envelope_kind kind = r.kind == event_kind::join    ? envelope_kind::join
                             : r.kind == event_kind::leave ? envelope_kind::leave
                                                           : envelope_kind::publication;
  op* o = op_new(&redis_broker::relayed, r.channel, user);
  o->on_publish = cb;
  const int64_t now_ms = options_.clock->wall_ms();
  o->result.time_ms = kind == envelope_kind::publication ? now_ms : 0;
  char digits[9] = "00000000";
  for (uint64_t n = next_nonce_++, i = 8; i-- > 0; n >>= 4) digits[i] = "0123456789abcdef"[n & 15];
  o->nonce = nonce_head_ + digits;
  std::string head, bytes;
  envelope_head(&head, kind, r.user, 0, push);
  envelope_finish(&bytes, head, o->nonce, r.user, push, now_ms);
  const auto found = subscriptions_.find(r.channel);
  if (found != subscriptions_.end() && found->second->state == sub_state::live)
    relays_[o->nonce] = o;
  const core::err rc = command(p, {publish_verb(), key('c', r.channel), std::move(bytes)}, o);
  if (rc != core::err::ok) relays_.erase(o->nonce);
  return started(o, rc);
}

// The answer and the message may come in either order.
void redis_broker::relayed(op* o, core::err rc, const redis_reply&) noexcept {
  o->result.rc = rc;
  const auto waiting = relays_.find(o->nonce);
  if (rc == core::err::ok && waiting != relays_.end() && o->held_since_ms == 0) {
    o->held_since_ms = core::loop_now_ms(home_);
    return;
  }
  if (waiting != relays_.end()) relays_.erase(waiting);
  answer_publish(o);
}

// Messages that did not come.
void redis_broker::answer_late() noexcept {
  const uint64_t now = core::loop_now_ms(home_);
  const auto is_late = [now](const op* o) {
    return o->held_since_ms > 0 && o->held_since_ms + kHoldMs <= now;
  };
  std::vector<op*> late;
  for (const auto& [nonce, o] : relays_)
    if (is_late(o)) late.push_back(o);
  for (op* o : late) relays_.erase(o->nonce);
  for (op* o : late) {
    if (is_closed_) return;  // the rest goes with the broker
    answer_publish(o);
  }
  std::vector<subscription*> missing;
  for (const auto& [channel, s] : subscriptions_)
    if (!s->held.empty() && s->state == sub_state::live && is_late(s->held.front()))
      missing.push_back(s.get());
  for (subscription* s : missing) {
    s->heard = std::max(s->heard, s->held.back()->result.offset);
    repair(s);
  }
}

core::err redis_broker::history(store::read_request&& r, store::read_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new(&redis_broker::read, r.channel, user);
  o->on_read = cb;
  const std::vector<std::string> keys = {partition_key(partition_of(r.channel), 'g'),
                                         key('m', r.channel), key('s', r.channel),
                                         key('b', r.channel)};
  const std::vector<std::string> arguments = {
      std::to_string(r.since),     r.is_reverse ? "1" : "0",        std::to_string(r.limit),
      std::to_string(r.bytes_max), std::to_string(r.keep.size_max), std::to_string(r.keep.ttl_ms)};
  return started(o, call(partition_of(r.channel), redis_script::read, keys, arguments, o));
}

void redis_broker::read(op* o, core::err rc, const redis_reply& r) noexcept {
  store::read_result result;
  result.rc = rc == core::err::ok && r.count < 3 ? core::err::io : rc;
  if (result.rc == core::err::ok) {
    result.top = {redis_u64(r.items[0]), std::string(r.items[1].text)};
    result.is_cut = r.items[2].text == "1";
    result.pubs.reserve(r.count - 3);
    for (uint32_t i = 3; i < r.count; ++i) {
      envelope e;
      if (envelope_read(r.items[i].text, &e) == core::err::ok)
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
  op* o = op_new(&redis_broker::removed, channel, user);
  o->on_done = cb;
  std::string head, bytes;
  envelope_head(&head, envelope_kind::history_removed, {}, 0, {});
  envelope_finish(&bytes, head, kNoNonce, {}, {}, options_.clock->wall_ms());
  const std::vector<std::string> keys = {partition_key(partition_of(channel), 'g'),
                                         key('m', channel), key('s', channel), key('b', channel),
                                         key('e', channel)};
  const std::vector<std::string> arguments = {publish_verb(), key('c', channel), bytes};
  return started(o, call(partition_of(channel), redis_script::remove, keys, arguments, o));
}

void redis_broker::removed(op* o, core::err rc, const redis_reply&) noexcept {
  const store::done_cb cb = o->on_done;
  void* user = o->user;
  op_free(o);
  cb(user, rc);
}

}  // namespace broker
