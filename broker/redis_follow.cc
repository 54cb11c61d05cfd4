// What follows the slots of a cluster: servers that are found and left, partitions that change
// theirs, and their subscriptions.
//
// Subscriptions follow their partition: they are wanted at the new server and are `away` until it
// has confirmed all of them and the audit has compared their positions, as after a reconnect. An
// answer about a position that was asked before a move counts for nothing (subscription::turn): it
// may come from the new server, where nobody listened yet.
#include <algorithm>
#include <utility>

#include "broker/redis_impl.h"
#include "core/log.h"

namespace broker {
namespace {

constexpr uint32_t kMovedHoldMs = 2000;  // so long a redirection counts more than a map: gossip
constexpr uint32_t kServersMax = 1024;
constexpr uint32_t kWantAgainMs = 300;
constexpr uint32_t kPeersMs = 60'000;  // peers are noted so often; a new one at once
constexpr uint32_t kPeersAgainMs = 1000;

}  // namespace

// ---- servers of a cluster

// Known already, or connected now. Never null: beyond the bound it is nowhere.
server* redis_broker::server_for(const redis_endpoint& at) noexcept {
  for (const auto& s : servers_)
    if (redis_conn_at(s->commands) == at) return s.get();
  if (servers_.size() >= kServersMax) return &nowhere_;
  server* s = add_server();
  connect(s, at);
  return s;
}

// What was asked of it is answered with a time-out first.
void redis_broker::remove_server(size_t i) noexcept {
  server* s = servers_[i].get();
  core::log_info("redis is no master of the cluster any more",
                 {{"server", redis_endpoint_text(redis_conn_at(s->commands))}});
  redis_conn_move(s->commands, redis_conn_at(s->commands), "it is no master any more");
  if (is_closed_) return;
  redis_conn_move(s->messages, redis_conn_at(s->messages), "it is no master any more");
  if (is_closed_) return;
  redis_conn_close(s->commands);
  redis_conn_close(s->messages);
  for (partition_state& p : partitions_)
    if (p.asking == s) p.asking = nullptr;
  servers_.erase(servers_.begin() + static_cast<ptrdiff_t>(i));
  for (size_t n = i; n < servers_.size(); ++n) servers_[n]->index = static_cast<uint32_t>(n);
}

void redis_broker::on_no_map(std::string_view why) noexcept {
  nowhere_.why = why;
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000))
    core::log_warn("the cluster's slots are not known", {{"reason", why}});
}

void redis_broker::on_map(const redis_slot_map& m) noexcept {
  const uint64_t now = core::loop_now_ms(home_);
  std::vector<server*> masters;
  for (const redis_endpoint& e : m.nodes) masters.push_back(server_for(e));
  std::vector<std::pair<uint32_t, server*>> moves;
  for (uint32_t number = 0; number < partitions_.size(); ++number) {
    const partition_state& p = partitions_[number];
    const uint16_t owner = m.owner[p.slot];
    server* to = owner == redis_slot_map::kNoOwner ? &nowhere_ : masters[owner];
    const bool is_held = p.moved_ms != 0 && now < p.moved_ms + kMovedHoldMs;
    if (to != p.at && !is_held) moves.emplace_back(number, to);
  }
  nowhere_.why = "not every slot has a server";
  if (!moves.empty()) assign(moves);
  for (size_t i = servers_.size(); i-- > 0 && !is_closed_;) {
    const server* s = servers_[i].get();
    const bool is_named = s->named_ms != 0 && now < s->named_ms + kMovedHoldMs;
    if (s->partitions > 0 || is_named || std::count(masters.begin(), masters.end(), s) > 0)
      continue;
    remove_server(i);
  }
  if (!is_closed_) note_ready();
}

void redis_broker::note_moved(uint32_t number, const redis_endpoint& to) noexcept {
  partition_state& p = partitions_[number];
  p.moved_ms = std::max<uint64_t>(core::loop_now_ms(home_), 1);
  server* s = server_for(to);
  s->named_ms = p.moved_ms;
  redis_cluster_ask(cluster_);
  if (s != p.at) assign({{number, s}});
}

// Partitions to servers; what is subscribed there follows.
void redis_broker::assign(const std::vector<std::pair<uint32_t, server*>>& moves) noexcept {
  std::vector<bool> is_moved(partitions_.size());
  for (const auto& [number, to] : moves) {
    partition_state& p = partitions_[number];
    if (!p.at->has_commands || !to->has_commands) must_renew_ = true;  // presence was not written
    --p.at->partitions;
    ++to->partitions;
    p.at = to;
    p.asking = nullptr;
    to->must_audit = true;
    is_moved[number] = true;
    if (number != 0) continue;
    if (core::loop_index(home_) == 0 && to != &nowhere_)
      want(to, {0, true, shared_name("control")});
    if (!is_layout_known_ && to->is_greeted) ask_layout(to);
  }
  must_note_peers_ = true;
  std::vector<std::pair<std::string, uint64_t>> mine;
  for (const auto& [channel, sub] : subscriptions_)
    if (is_moved[sub->partition]) mine.emplace_back(channel, sub->id);
  for (const auto& [channel, id] : mine) {
    subscription* sub = find(channel, id);
    if (sub == nullptr) continue;
    server* to = server_at(sub->partition);
    sub->turn = 0;
    sub->is_out = false;
    if (to != &nowhere_) want(to, {id, true, key('c', channel)});
    if (sub->cb == nullptr) {
      sub->state = sub_state::away;
      give_answers(sub, true);
    } else if (to == &nowhere_) {
      fail_subscribe(sub, core::err::unavailable);
    } else {
      sub->state = sub_state::asked;
    }
    if (is_closed_) return;
  }
  tick_later();
  note_ready();
}

// ---- subscriptions that follow a slot

void redis_broker::on_slot_left(server* s, std::string_view pubsub) noexcept {
  if (is_closed_) return;
  if (pubsub == shared_name("control")) {
    if (server_at(0) == s) want(s, {0, true, std::string(pubsub)});  // it says where
    return;
  }
  const auto found = subscriptions_.find(std::string(redis_channel_of(options_.prefix, pubsub)));
  if (found == subscriptions_.end() || server_at(found->second->partition) != s) return;
  subscription* sub = found->second.get();
  sub->state = sub->cb == nullptr ? sub_state::away : sub_state::asked;
  sub->turn = 0;
  s->must_audit = true;
  want(s, {sub->id, true, std::string(pubsub)});
  if (sub->cb == nullptr) give_answers(sub, true);
  if (!is_closed_) note_ready();
}

void redis_broker::on_refused(server* s, std::string_view pubsub, std::string_view error) noexcept {
  if (is_closed_ || s->confirmations.empty()) return;
  const uint64_t id = s->confirmations.front();
  s->confirmations.pop_front();
  const redis_redirect to = redis_redirect_read(error, redis_conn_at(s->messages));
  const bool is_moved = is_cluster() && to.kind == redis_redirect_kind::moved;
  static core::log_limit once;
  if (!is_moved && core::log_limit_pass(&once, 1000))
    core::log_error("redis refuses a subscription", {{"channel", pubsub}, {"reason", error}});
  subscription* sub =
      id == 0 ? nullptr : find(std::string(redis_channel_of(options_.prefix, pubsub)), id);
  const bool is_control = id == 0 && pubsub == shared_name("control");
  const uint32_t number = sub == nullptr ? 0 : sub->partition;
  if ((sub != nullptr || is_control) && server_at(number) == s) {  // else it is wanted elsewhere
    if (is_moved && ++partitions_[number].hops <= kHopsMax) {
      note_moved(number, to.to);
    } else if (sub != nullptr && sub->cb != nullptr) {
      fail_subscribe(sub, core::err::unavailable);
    } else {
      if (sub != nullptr) sub->is_out = true;
      s->must_audit = true;
      want_again_ms_ = core::loop_now_ms(home_) + kWantAgainMs;
      is_control_out_ |= is_control;
      tick_later();
    }
  }
  if (!is_closed_) audit(s);
}

void redis_broker::want_again() noexcept {
  if (want_again_ms_ == 0 || core::loop_now_ms(home_) < want_again_ms_) return;
  want_again_ms_ = 0;
  if (std::exchange(is_control_out_, false)) want(server_at(0), {0, true, shared_name("control")});
  for (const auto& [channel, sub] : subscriptions_) {
    if (!std::exchange(sub->is_out, false)) continue;
    partitions_[sub->partition].hops = 0;
    want(server_at(sub->partition), {sub->id, true, key('c', channel)});
  }
}

// ---- peers

// Each partition's generation is told which masters there are beside its own: redis_script.h.
void redis_broker::note_peers() noexcept {
  const uint64_t now = core::loop_now_ms(home_);
  if (!is_cluster() || core::loop_index(home_) != 0) return;
  if (now < peers_due_ms_ && !must_note_peers_) return;
  must_note_peers_ = false;
  peers_due_ms_ = now + kPeersMs;
  std::vector<std::string> masters;
  for (const auto& s : servers_) {
    if (!s->has_commands) continue;
    const redis_server_info& about = redis_conn_info(s->commands);
    masters.push_back(about.run_id + ":" + about.repl_id);
  }
  for (uint32_t number = 0; number < partitions_.size(); ++number) {
    if (!server_at(number)->has_commands) continue;
    op* o = op_new(&redis_broker::noted, "", nullptr);
    if (started(o, call(number, redis_script::peers, {partition_key(number, 'g')}, masters, o)) !=
        core::err::ok)
      peers_due_ms_ = now + kPeersAgainMs;
  }
}

void redis_broker::noted(op* o, core::err rc, const redis_reply&) noexcept {
  op_free(o);
  if (rc != core::err::ok)
    peers_due_ms_ = std::min(peers_due_ms_, core::loop_now_ms(home_) + kPeersAgainMs);
}

}  // namespace broker
