// What Pub/Sub has lost: the audit of all channels after a reconnect, and the repair of a hole.
#include <algorithm>

#include "broker/redis_impl.h"
#include "core/loop.h"

namespace broker {
namespace {

constexpr uint32_t kBatch = 512;        // channels whose positions are asked in one call
constexpr uint32_t kRepairPage = 1000;  // publications a read
constexpr uint64_t kRepairBytes = 4u << 20;

}  // namespace

// Compares what we have with what is there, when everything is subscribed again.
void redis_broker::audit(server* s) noexcept {
  if (!s->must_audit || !s->has_commands || !s->has_messages || !s->confirmations.empty() ||
      !s->wants.empty())
    return;
  s->must_audit = false;
  std::unordered_map<uint32_t, std::vector<std::string>> by_partition;
  for (const auto& [channel, sub] : subscriptions_) {
    if (sub->cb != nullptr || sub->state != sub_state::away || sub->turn != 0 ||
        server_at(sub->partition) != s)
      continue;
    if (sub->is_out) {
      s->must_audit = true;
    } else if (!sub->has_history) {
      sub->state = sub_state::live;
    } else {
      by_partition[sub->partition].push_back(channel);
    }
  }
  for (auto& [partition, channels] : by_partition) {
    core::loop_counters(home_)->broker_audits.add(channels.size());
    for (size_t from = 0; from < channels.size(); from += kBatch) {
      op* o = op_new(&redis_broker::audited, "", nullptr);
      o->turn = next_turn_++;
      std::vector<std::string> keys = {partition_key(partition, 'g')};
      for (size_t i = from; i < std::min<size_t>(channels.size(), from + kBatch); ++i) {
        keys.push_back(key('m', channels[i]));
        o->channels.push_back(channels[i]);
        subscriptions_[channels[i]]->turn = o->turn;
      }
      const core::err rc = call(partition, redis_script::positions, keys, {}, o);
      if (rc == core::err::ok) {
        ++audits_;
        continue;
      }
      for (const std::string& channel : o->channels) subscriptions_[channel]->turn = 0;
      op_free(o);
      s->must_audit = true;
    }
  }
}

// What the server says now is another one's word: all its channels are looked at.
void redis_broker::away_all(server* s) noexcept {
  for (const auto& [channel, sub] : subscriptions_) {
    if (sub->cb != nullptr || server_at(sub->partition) != s) continue;
    sub->state = sub_state::away;
    sub->turn = 0;
  }
  s->must_audit = true;
}

void redis_broker::audited(op* o, core::err rc, const redis_reply& r) noexcept {
  --audits_;
  const std::vector<std::string> channels = std::move(o->channels);
  const uint64_t turn = o->turn;
  op_free(o);
  const bool is_told = rc == core::err::ok && r.count == 2 * channels.size();
  for (size_t i = 0; i < channels.size() && !is_closed_; ++i) {
    const auto found = subscriptions_.find(channels[i]);
    if (found == subscriptions_.end()) continue;
    subscription* sub = found->second.get();
    if (sub->state != sub_state::away || sub->turn != turn) continue;
    sub->turn = 0;
    if (!is_told) {
      server_at(sub->partition)->must_audit = true;
      continue;
    }
    const uint64_t top = redis_u64(r.items[2 * i]);
    if (sub->epoch != r.items[2 * i + 1].text || top < sub->told) {
      lose(channels[i], sub->id);
      continue;
    }
    sub->state = sub_state::live;
    sub->heard = std::max(sub->heard, top);
    if (sub->heard > sub->told) repair(sub);
  }
  note_ready();
}

// Another epoch, or what the stream no longer has: the user begins anew.
void redis_broker::lose(const std::string& channel, uint64_t id) noexcept {
  if (subscription* s = find(channel, id)) {
    s->state = sub_state::live;
    give_answers(s, true);
  }
  if (is_closed_ || find(channel, id) == nullptr) return;
  core::loop_counters(home_)->broker_lost.add();
  events_->on_lost(user_, channel);
}

void redis_broker::repair(subscription* s) noexcept {
  s->state = sub_state::repairing;
  core::loop_counters(home_)->broker_repairs.add();
  op* o = op_new(&redis_broker::repaired, s->channel, nullptr);
  o->subscription = s->id;
  const std::vector<std::string> keys = {partition_key(s->partition, 'g'), key('m', s->channel),
                                         key('s', s->channel), key('b', s->channel)};
  const std::vector<std::string> arguments = {
      std::to_string(s->told),      "0", std::to_string(kRepairPage),
      std::to_string(kRepairBytes), "0", "0"};
  if (started(o, call(s->partition, redis_script::read, keys, arguments, o)) == core::err::ok) {
    ++repairs_;
  } else {
    s->state = sub_state::away;  // the audit brings it back
    s->turn = 0;
    server_at(s->partition)->must_audit = true;
  }
  note_ready();
}

void redis_broker::repaired(op* o, core::err rc, const redis_reply& r) noexcept {
  --repairs_;
  take_repair(o, rc, r);
  if (!is_closed_) note_ready();
}

void redis_broker::take_repair(op* o, core::err rc, const redis_reply& r) noexcept {
  const std::string channel = std::move(o->channel);
  const uint64_t id = o->subscription;
  op_free(o);
  subscription* s = find(channel, id);
  if (s == nullptr || s->state != sub_state::repairing) return;
  if (rc != core::err::ok || r.count < 3) {
    s->state = sub_state::away;
    s->turn = 0;
    server_at(s->partition)->must_audit = true;
    return;
  }
  s->state = sub_state::live;
  if (r.items[1].text != s->epoch) return lose(channel, id);
  for (uint32_t i = 3; i < r.count; ++i) {
    envelope e;
    if (envelope_read(r.items[i].text, &e) != core::err::ok || e.offset != s->told + 1)
      return lose(channel, id);
    s->told = e.offset;
    core::loop_counters(home_)->broker_repaired.add();
    if (!tell(channel, id, e)) return;
    s = find(channel, id);
  }
  if (r.count == 3 && s->heard > s->told) return lose(channel, id);
  give_answers(s, false);
  s = is_closed_ ? nullptr : find(channel, id);
  if (s != nullptr && s->state == sub_state::live && s->heard > s->told) repair(s);
}

}  // namespace broker
