// The servers of the broker over Redis: found by URL or by Sentinel, greeted, refused, lost.
#include <utility>

#include "broker/redis_impl.h"
#include "core/log.h"

namespace broker {
namespace {

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
          server_from(user)->owner->on_messages_lost(server_from(user), was_ready, why);
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
        [](void* user, redis_conn*, redis_sub, std::string_view channel, bool is_asked) noexcept {
          if (is_asked)
            server_from(user)->owner->on_confirmed(server_from(user), channel, false);
          else
            server_from(user)->owner->on_slot_left(server_from(user), channel);
        },
    .on_refused =
        [](void* user, redis_conn*, redis_sub, std::string_view channel,
           std::string_view error) noexcept {
          server_from(user)->owner->on_refused(server_from(user), channel, error);
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

constexpr redis_sentinel_events kSentinelEvents = {
    .on_master =
        [](void* user, redis_sentinel*, const redis_endpoint& master) noexcept {
          static_cast<redis_broker*>(user)->on_master(master);
        },
    .on_down =
        [](void* user, redis_sentinel*, std::string_view why) noexcept {
          static_cast<redis_broker*>(user)->on_no_master(why);
        }};

constexpr redis_cluster_events kClusterEvents = {
    .on_map = [](void* user, redis_cluster*,
                 const redis_slot_map& m) noexcept { static_cast<redis_broker*>(user)->on_map(m); },
    .on_down =
        [](void* user, redis_cluster*, std::string_view why) noexcept {
          static_cast<redis_broker*>(user)->on_no_map(why);
        }};

}  // namespace

redis_conn_options redis_broker::connection_options() const {
  redis_conn_options to;
  to.url = options_.url;
  to.tls = options_.tls;
  to.resolver = options_.resolver;
  to.random = options_.random;
  to.name = "parley-" + options_.node.substr(0, 8);
  return to;
}

// The servers of the URL, one that Sentinels name, or those that a cluster's map will name.
void redis_broker::open_servers() noexcept {
  nowhere_.partitions = options_.partitions;
  if (options_.url->topology == redis_topology::cluster) {
    cluster_ = redis_cluster_open(connection_options(), home_, &kClusterEvents, this);
    return;
  }
  if (options_.url->topology == redis_topology::sentinel) {
    add_server();
    sentinel_ = redis_sentinel_open(connection_options(), home_, &kSentinelEvents, this);
  } else {
    for (const redis_endpoint& at : options_.url->servers) connect(add_server(), at);
  }
  for (uint32_t p = 0; p < options_.partitions; ++p)
    partitions_[p].at = servers_[p % servers_.size()].get();
}

server* redis_broker::add_server() noexcept {
  auto s = std::make_unique<server>();
  s->owner = this;
  s->index = static_cast<uint32_t>(servers_.size());
  servers_.push_back(std::move(s));
  return servers_.back().get();
}

// For the first time, or elsewhere: what was asked of the old one is answered with a time-out.
void redis_broker::connect(server* s, const redis_endpoint& at) noexcept {
  if (s->commands != nullptr) {
    redis_conn_move(s->commands, at, "the master is another one");
    if (!is_closed_) redis_conn_move(s->messages, at, "the master is another one");
    return;
  }
  redis_conn_options to = connection_options();
  to.at = at;
  s->commands = redis_conn_open(to, home_, &kCommandEvents, s);
  to.role = redis_role::subscriber;
  s->messages = redis_conn_open(to, home_, &kMessageEvents, s);
}

void redis_broker::close_servers() noexcept {
  if (sentinel_ != nullptr) redis_sentinel_close(std::exchange(sentinel_, nullptr));
  if (cluster_ != nullptr) redis_cluster_close(std::exchange(cluster_, nullptr));
  for (auto& s : servers_) {
    if (s->commands == nullptr) continue;
    redis_conn_close(s->commands);
    redis_conn_close(s->messages);
  }
}

void redis_broker::on_master(const redis_endpoint& master) noexcept {
  core::log_info("sentinels name a master", {{"server", redis_endpoint_text(master)}});
  connect(servers_.front().get(), master);
}

void redis_broker::on_no_master(std::string_view why) noexcept {
  server* s = servers_.front().get();
  if (!s->has_commands) s->why = why;
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000))
    core::log_warn("sentinels name no master", {{"reason", why}});
}

bool redis_broker::is_ready() noexcept {
  if (is_closed_) return false;
  if (is_cluster() && nowhere_.partitions > 0) return false;
  for (const auto& s : servers_) {
    if (is_cluster() && s->partitions == 0) continue;
    if (!s->has_commands || !s->has_messages || s->must_audit) return false;
  }
  return audits_ == 0 && repairs_ == 0;
}

std::string redis_broker::why_not_ready() noexcept {
  if (is_closed_) return "closed";
  if (is_cluster() && nowhere_.partitions > 0)
    return "redis: " + (nowhere_.why.empty() ? "asking the cluster for its slots" : nowhere_.why);
  for (const auto& s : servers_) {
    if (is_cluster() && s->partitions == 0) continue;
    const std::string name =
        s->commands == nullptr
            ? "redis: "
            : "redis at " + redis_endpoint_text(redis_conn_at(s->commands)) + ": ";
    if (!s->has_commands || !s->has_messages)
      return name + (s->why.empty() ? "connecting" : s->why);
    if (s->must_audit) return name + "comparing what was missed";
  }
  if (audits_ > 0) return "redis: comparing what was missed";
  if (repairs_ > 0) return "redis: reading what was missed";
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
                    {{"server", redis_endpoint_text(redis_conn_at(s->commands))}, {"reason", why}});
  s->why = std::move(why);
  s->refused_ms = std::max<uint64_t>(core::loop_now_ms(home_), 1);
  tick_later();
}

// Version 1 of the keys (redis_script.h), partitions, which server of how many.
std::string redis_broker::layout_of(const server* s) const {
  if (is_cluster()) return "1 " + std::to_string(options_.partitions) + " cluster";
  return "1 " + std::to_string(options_.partitions) + " " + std::to_string(s->index) + "/" +
         std::to_string(servers_.size());
}

// What a server keeps must stay, and be kept by all nodes in the same places.
void redis_broker::on_commands_ready(server* s) noexcept {
  const redis_server_info& about = redis_conn_info(s->commands);
  s->refused_ms = 0;
  if ((about.mode == "cluster") != is_cluster()) {
    refuse(s, is_cluster() ? "it is no node of a Redis Cluster"
                           : "it is a node of a Redis Cluster: the URL would be "
                             "redis-cluster://HOST:PORT");
    return;
  }
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
  s->is_greeted = true;
  if (is_layout_known_) return load_scripts(s);
  if (!is_cluster() || server_at(0) == s) ask_layout(s);  // the others of a cluster wait
}

void redis_broker::ask_layout(server* s) noexcept {
  const std::string name = shared_name("layout");
  const std::string mine = layout_of(s);
  const std::string_view words[] = {"SET", name, mine, "NX", "GET"};
  (void)redis_conn_command(s->commands, words, layout_read, s);
}

void redis_broker::on_layout(server* s, core::err rc, const redis_reply* r) noexcept {
  if (rc != core::err::ok || is_closed_) return;
  const std::string mine = layout_of(s);
  if (r->type == redis_type::nil || r->text == mine) {
    if (!is_cluster()) return load_scripts(s);
    if (is_layout_known_) return;
    is_layout_known_ = true;
    for (const auto& each : servers_)
      if (each->is_greeted) load_scripts(each.get());
    return;
  }
  const redis_redirect to =
      redis_redirect_read(r->is_error() ? r->text : std::string_view(), redis_conn_at(s->commands));
  if (is_cluster() && to.kind == redis_redirect_kind::moved) return note_moved(0, to.to);
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
    core::log_error("redis refuses a script", {{"reason", r->error_shown()}});
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
  away_all(s);
  audit(s);
  must_note_peers_ = true;
  if (is_cluster()) move_all_on();
  tick_later();
  note_ready();
}

void redis_broker::on_commands_lost(server* s, std::string_view why) noexcept {
  if (s->has_commands) core::loop_counters(home_)->broker_lost_connections.add();
  if (sentinel_ != nullptr) redis_sentinel_ask(sentinel_);
  if (cluster_ != nullptr) redis_cluster_ask(cluster_);
  if (s->refused_ms == 0) s->why = why;
  s->has_commands = s->is_greeted = false;
  note_ready();
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000))
    core::log_warn("redis is away",
                   {{"server", redis_endpoint_text(redis_conn_at(s->commands))}, {"reason", why}});
}

}  // namespace broker
