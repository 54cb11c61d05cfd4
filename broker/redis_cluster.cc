// One connection asks one node, a replica too, for the slots and, behind that, for the masters that
// have none. A node that does not answer, or knows only a part of the slots, is left for the next.
#include "broker/redis_cluster.h"

#include <string>
#include <utility>
#include <vector>

#include "core/assert.h"
#include "core/loop.h"

namespace broker {
namespace {

struct ask_timer : core::timer {
  redis_cluster* owner;
};

}  // namespace

// Invariant: is_asking from the first question to the answer of the second one.
struct redis_cluster {
  redis_conn_options options;
  core::loop* home;
  const redis_cluster_events* events;
  void* user;
  ask_timer timer;
  redis_conn* asker;
  redis_slot_map map;  // as of the first answer
  redis_slot_map known;
  std::string down;  // the reason that was told last
  size_t at;
  uint64_t asked_ms;
  bool is_asking;
  bool is_moving;  // what is told of the asker now is our own doing
};

namespace {

void set_timer(redis_cluster* c, uint64_t delay_ms) noexcept {
  core::timer_start(core::loop_timers(c->home), &c->timer, core::loop_now_ms(c->home), delay_ms);
}

void tell_down(redis_cluster* c, std::string why) noexcept {
  if (c->down == why) return;
  c->down = std::move(why);
  c->events->on_down(c->user, c, c->down);
}

void next_node(redis_cluster* c, std::string_view why) noexcept {
  const auto& seeds = c->options.url->servers;
  const size_t all = seeds.size() + c->known.nodes.size();
  c->at = (c->at + 1) % all;
  c->is_moving = true;
  redis_conn_move(c->asker,
                  c->at < seeds.size() ? seeds[c->at] : c->known.nodes[c->at - seeds.size()], why);
  c->is_moving = false;
}

std::string here(const redis_cluster* c) {
  return redis_endpoint_text(redis_conn_at(c->asker));
}

void on_nodes(void* user, core::err rc, const redis_reply* r) noexcept {
  if (rc == core::err::closed) return;  // ours: the object may be on its way out
  auto* c = static_cast<redis_cluster*>(user);
  c->is_asking = false;
  if (rc != core::err::ok) return;  // the timer, or the next on_ready(), asks again
  if (r->type == redis_type::string)
    redis_slot_map_add_masters(&c->map, r->text, redis_conn_at(c->asker));
  if (c->map.slots_owned == 0) {
    tell_down(c, "the node " + here(c) + " knows no server that has slots");
    return next_node(c, "it knows no slots");
  }
  c->down.clear();
  c->known = c->map;
  c->events->on_map(c->user, c, c->known);
}

void on_slots(void* user, core::err rc, const redis_reply* r) noexcept {
  if (rc == core::err::closed) return;
  auto* c = static_cast<redis_cluster*>(user);
  if (rc != core::err::ok) {
    c->is_asking = false;
    return;
  }
  if (redis_slot_map_read(*r, redis_conn_at(c->asker), &c->map) == core::err::ok) {
    const std::string_view argv[] = {"CLUSTER", "NODES"};
    if (redis_conn_command(c->asker, argv, on_nodes, c) == core::err::ok) return;
  }
  c->is_asking = false;
  const std::string at = here(c);
  const std::string said = r->is_error() ? std::string(r->text.substr(0, 100)) : "not a map";
  next_node(c, "it tells no slots");
  tell_down(c, "the node " + at + " tells no slots: " + said);
}

void ask(redis_cluster* c) noexcept {
  if (c->is_asking) return;
  const std::string_view argv[] = {"CLUSTER", "SLOTS"};
  c->is_asking = redis_conn_command(c->asker, argv, on_slots, c) == core::err::ok;
  if (c->is_asking) c->asked_ms = core::loop_now_ms(c->home);
}

void on_asker_ready(void* user, redis_conn*, const redis_server_info&) noexcept {
  ask(static_cast<redis_cluster*>(user));
}

void on_asker_down(void* user, redis_conn* conn, bool was_ready, std::string_view why) noexcept {
  auto* c = static_cast<redis_cluster*>(user);
  if (c->is_moving) return;
  if (!was_ready)
    tell_down(c, "the node " + redis_endpoint_text(redis_conn_at(conn)) + ": " + std::string(why));
  set_timer(c, kClusterAskAgainMs);  // another one
}

constexpr redis_conn_events kAskerEvents = {.on_ready = on_asker_ready, .on_down = on_asker_down};

void on_timer(core::timer* t) noexcept {
  redis_cluster* c = static_cast<ask_timer*>(t)->owner;
  set_timer(c,
            redis_conn_state(c->asker) == redis_state::ready ? kClusterAskMs : kClusterAskAgainMs);
  if (redis_conn_state(c->asker) == redis_state::ready) {
    ask(c);
  } else if (redis_conn_state(c->asker) == redis_state::waiting) {
    next_node(c, "it does not answer");
  }
}

}  // namespace

redis_cluster* redis_cluster_open(const redis_conn_options& options, core::loop* home,
                                  const redis_cluster_events* events, void* user) noexcept {
  CORE_ASSERT(options.url != nullptr && options.url->topology == redis_topology::cluster);
  auto* c = new redis_cluster{};
  c->options = options;
  c->options.role = redis_role::commands;
  c->options.is_replica_allowed = true;
  c->options.at = options.url->servers[0];
  c->home = home;
  c->events = events;
  c->user = user;
  c->timer.owner = c;
  c->timer.fire = on_timer;
  c->asker = redis_conn_open(c->options, home, &kAskerEvents, c);
  set_timer(c, kClusterAskMs);
  return c;
}

void redis_cluster_close(redis_cluster* c) noexcept {
  core::timer_stop(core::loop_timers(c->home), &c->timer);
  redis_conn_close(c->asker);
  delete c;
}

void redis_cluster_ask(redis_cluster* c) noexcept {
  if (redis_conn_state(c->asker) != redis_state::ready || c->is_asking) return;
  const uint64_t now = core::loop_now_ms(c->home);
  const uint64_t due = c->asked_ms + kClusterAskAgainMs;
  set_timer(c, now >= due ? 0 : due - now);
}

}  // namespace broker
