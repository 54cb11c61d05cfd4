// One connection asks a Sentinel for the master every second, one hears of failovers there, one
// tries the master that is named. A Sentinel that does not answer is left for the next one.
#include "broker/redis_sentinel.h"

#include <charconv>
#include <string>
#include <utility>

#include "core/assert.h"
#include "core/loop.h"

namespace broker {
namespace {

constexpr std::string_view kSwitchChannel = "+switch-master";

struct ask_timer : core::timer {
  redis_sentinel* owner;
};

}  // namespace

// Invariant: asker and listener are connected to the same Sentinel, servers[at]. trial is set while
// a named master has not shown that it is one.
struct redis_sentinel {
  redis_conn_options options;  // of asker and listener
  core::loop* home;
  const redis_sentinel_events* events;
  void* user;
  ask_timer timer;
  redis_conn* asker;
  redis_conn* listener;
  redis_conn* trial;
  redis_endpoint named;   // being tried
  redis_endpoint master;  // told
  std::string down;       // the reason that was told last
  size_t at;
  bool is_asking;
  bool is_moving;  // what is told of asker and listener now is our own doing
};

namespace {

void ask(redis_sentinel* s) noexcept;
void next_sentinel(redis_sentinel* s, std::string_view why) noexcept;

void set_timer(redis_sentinel* s) noexcept {
  core::timer_start(core::loop_timers(s->home), &s->timer, core::loop_now_ms(s->home),
                    kSentinelAskMs);
}

void tell_down(redis_sentinel* s, std::string why) noexcept {
  if (s->down == why) return;
  s->down = std::move(why);
  s->events->on_down(s->user, s, s->down);
}

void end_trial(redis_sentinel* s) noexcept {
  if (s->trial != nullptr) redis_conn_close(std::exchange(s->trial, nullptr));
}

// ---- The master that is named
// ---------------------------------------------------------------------

void on_trial_ready(void* user, redis_conn*, const redis_server_info&) noexcept {
  auto* s = static_cast<redis_sentinel*>(user);
  end_trial(s);
  s->down.clear();
  if (s->master == s->named) return;
  s->master = s->named;
  s->events->on_master(s->user, s, s->master);
}

// It goes on trying by itself, until a Sentinel names another. A Sentinel that is cut off from the
// others does not learn of a failover: another one is asked.
void on_trial_down(void* user, redis_conn*, bool, std::string_view why) noexcept {
  auto* s = static_cast<redis_sentinel*>(user);
  if (s->options.url->servers.size() > 1) next_sentinel(s, "the master that it names is away");
  tell_down(s, "the master " + redis_endpoint_text(s->named) + ": " + std::string(why));
}

constexpr redis_conn_events kTrialEvents = {.on_ready = on_trial_ready, .on_down = on_trial_down};

void try_master(redis_sentinel* s, const redis_endpoint& e) noexcept {
  if (s->trial != nullptr && s->named == e) return;
  end_trial(s);
  s->named = e;
  if (s->master == e && s->down.empty()) return;
  redis_conn_options o = s->options;
  o.is_sentinel = false;
  o.at = e;
  s->trial = redis_conn_open(o, s->home, &kTrialEvents, s);
}

// ---- The Sentinel
// -----------------------------------------------------------------------------------

void next_sentinel(redis_sentinel* s, std::string_view why) noexcept {
  const auto& all = s->options.url->servers;
  s->at = (s->at + 1) % all.size();
  s->is_moving = true;
  redis_conn_move(s->listener, all[s->at], why);
  redis_conn_move(s->asker, all[s->at], why);
  s->is_moving = false;
}

// [host, port]
bool read_master(const redis_reply& r, redis_endpoint* out) {
  if (r.type != redis_type::array || r.count != 2 || r.items[0].text.empty()) return false;
  const std::string_view port = r.items[1].text;
  uint16_t number = 0;
  const auto [end, rc] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (rc != std::errc() || end != port.data() + port.size() || number == 0) return false;
  *out = {std::string(r.items[0].text), number, ""};
  return true;
}

void on_named(void* user, core::err rc, const redis_reply* r) noexcept {
  if (rc == core::err::closed) return;  // ours: the object may be on its way out
  auto* s = static_cast<redis_sentinel*>(user);
  s->is_asking = false;
  if (rc != core::err::ok) return;  // the timer, or the next on_ready(), asks again
  redis_endpoint e;
  if (read_master(*r, &e)) {
    try_master(s, e);
    return;
  }
  const std::string here = redis_endpoint_text(redis_conn_at(s->asker));
  next_sentinel(s, "it does not know the master");
  tell_down(s, "the Sentinel " + here + " does not know the master " + s->options.url->master_name);
}

void ask(redis_sentinel* s) noexcept {
  if (s->is_asking) return;
  const std::string_view argv[] = {"SENTINEL", "get-master-addr-by-name",
                                   s->options.url->master_name};
  s->is_asking = redis_conn_command(s->asker, argv, on_named, s) == core::err::ok;
}

void on_asker_ready(void* user, redis_conn*, const redis_server_info&) noexcept {
  ask(static_cast<redis_sentinel*>(user));
}

void on_asker_down(void* user, redis_conn* c, bool was_ready, std::string_view why) noexcept {
  auto* s = static_cast<redis_sentinel*>(user);
  if (!was_ready && !s->is_moving)
    tell_down(s, "the Sentinel " + redis_endpoint_text(redis_conn_at(c)) + ": " + std::string(why));
}

constexpr redis_conn_events kAskerEvents = {.on_ready = on_asker_ready, .on_down = on_asker_down};

void on_listener_ready(void* user, redis_conn* c, const redis_server_info&) noexcept {
  (void)redis_conn_subscribe(c, redis_sub::channel, std::span(&kSwitchChannel, 1));
  ask(static_cast<redis_sentinel*>(user));
}

// "NAME old-host old-port new-host new-port"; the question that follows tells more surely.
void on_switch(void* user, redis_conn*, redis_sub, std::string_view,
               std::string_view text) noexcept {
  auto* s = static_cast<redis_sentinel*>(user);
  if (text.starts_with(s->options.url->master_name + " ")) ask(s);
}

constexpr redis_conn_events kListenerEvents = {.on_ready = on_listener_ready,
                                               .on_message = on_switch};

void on_timer(core::timer* t) noexcept {
  redis_sentinel* s = static_cast<ask_timer*>(t)->owner;
  set_timer(s);
  if (redis_conn_state(s->asker) == redis_state::ready) {
    ask(s);
  } else if (redis_conn_state(s->asker) == redis_state::waiting) {
    next_sentinel(s, "it does not answer");
  }
}

}  // namespace

redis_sentinel* redis_sentinel_open(const redis_conn_options& options, core::loop* home,
                                    const redis_sentinel_events* events, void* user) noexcept {
  CORE_ASSERT(options.url != nullptr && options.url->topology == redis_topology::sentinel);
  auto* s = new redis_sentinel{};
  s->options = options;
  s->options.is_sentinel = true;
  s->options.role = redis_role::commands;
  s->options.at = options.url->servers[0];
  s->home = home;
  s->events = events;
  s->user = user;
  s->timer.owner = s;
  s->timer.fire = on_timer;
  s->asker = redis_conn_open(s->options, home, &kAskerEvents, s);
  redis_conn_options listening = s->options;
  listening.role = redis_role::subscriber;
  s->listener = redis_conn_open(listening, home, &kListenerEvents, s);
  set_timer(s);
  return s;
}

void redis_sentinel_close(redis_sentinel* s) noexcept {
  core::timer_stop(core::loop_timers(s->home), &s->timer);
  end_trial(s);
  redis_conn_close(s->listener);
  redis_conn_close(s->asker);
  delete s;
}

void redis_sentinel_ask(redis_sentinel* s) noexcept {
  // Its state is unknown to us now: whatever is named will be tried, the same one too.
  if (s->down.empty()) s->down = "the master is being looked for";
  ask(s);
}

}  // namespace broker
