// The options of namespaces: what each changes, and what does not fit together.
#include <algorithm>

#include "server/settings_making.h"

namespace server {
namespace {

using option_map = std::map<std::string, core::config_value>;

struct bool_option {
  const char* key;
  bool chat::namespace_settings::*member;
};
constexpr bool_option kBoolOptions[] = {
    {"force_recovery", &chat::namespace_settings::force_recovery},
    {"allow_recovery", &chat::namespace_settings::allow_recovery},
    {"force_positioning", &chat::namespace_settings::force_positioning},
    {"allow_positioning", &chat::namespace_settings::allow_positioning},
    {"presence", &chat::namespace_settings::presence},
    {"join_leave", &chat::namespace_settings::join_leave},
    {"force_push_join_leave", &chat::namespace_settings::force_push_join_leave},
    {"allow_subscribe_for_client", &chat::namespace_settings::allow_subscribe_for_client},
    {"allow_subscribe_for_anonymous", &chat::namespace_settings::allow_subscribe_for_anonymous},
    {"allow_publish_for_client", &chat::namespace_settings::allow_publish_for_client},
    {"allow_publish_for_subscriber", &chat::namespace_settings::allow_publish_for_subscriber},
    {"allow_publish_for_anonymous", &chat::namespace_settings::allow_publish_for_anonymous},
    {"allow_history_for_client", &chat::namespace_settings::allow_history_for_client},
    {"allow_history_for_subscriber", &chat::namespace_settings::allow_history_for_subscriber},
    {"allow_history_for_anonymous", &chat::namespace_settings::allow_history_for_anonymous},
    {"allow_presence_for_client", &chat::namespace_settings::allow_presence_for_client},
    {"allow_presence_for_subscriber", &chat::namespace_settings::allow_presence_for_subscriber},
    {"allow_presence_for_anonymous", &chat::namespace_settings::allow_presence_for_anonymous},
    {"allow_user_limited_channels", &chat::namespace_settings::allow_user_limited_channels},
    {"acknowledge_stored", &chat::namespace_settings::acknowledge_stored},
};

// What the options of one table change, and what does not fit together.
void apply_options(making* m, const std::string& table, const option_map& options,
                   chat::namespace_settings* ns) {
  const auto has = [&](const char* key) { return options.find(key) != options.end(); };
  const auto number = [&](const char* key, uint64_t otherwise) {
    return has(key) ? static_cast<uint64_t>(options.at(key).number) : otherwise;
  };
  for (const bool_option& o : kBoolOptions) {
    if (has(o.key)) ns->*o.member = options.at(o.key).flag;
  }
  ns->publication_bytes_max =
      static_cast<uint32_t>(number("publication_size_max", ns->publication_bytes_max));

  bool is_forever = ns->has_history;
  if (has("history_size") || has("history_ttl")) is_forever = false;
  if (has("history_forever")) is_forever = options.at("history_forever").flag;
  ns->keep.size_max = number("history_size", 0);
  ns->keep.ttl_ms = number("history_ttl", 0);
  ns->has_history = is_forever || (ns->keep.size_max > 0 && ns->keep.ttl_ms > 0);
  if (is_forever && ns->keep.ttl_ms > 0)
    m->problem(table + ": history_forever and history_ttl exclude each other");
  if (!is_forever && (ns->keep.size_max > 0) != (ns->keep.ttl_ms > 0)) {
    m->problem(table +
               ": history needs both history_size and history_ttl, or history_forever = true");
  }
  if (!ns->has_history) {
    for (const auto member :
         {&chat::namespace_settings::force_recovery, &chat::namespace_settings::allow_recovery,
          &chat::namespace_settings::force_positioning,
          &chat::namespace_settings::allow_positioning,
          &chat::namespace_settings::acknowledge_stored}) {
      for (const bool_option& o : kBoolOptions) {
        if (o.member != member || !(ns->*member)) continue;
        // A built-in recovery goes with the built-in history; one that was asked for needs some.
        if (has(o.key))
          m->problem(table + ": " + o.key +
                     " needs history (history_size and history_ttl, or history_forever)");
        ns->*member = false;
      }
    }
  }
  if (!ns->join_leave && ns->force_push_join_leave)
    m->problem(table + ": force_push_join_leave needs join_leave");
  if (ns->publication_bytes_max > m->out->chat.queue_bytes_max / 2) {
    m->problem(table + ": publication_size_max (" +
               core::config_bytes_text(ns->publication_bytes_max) +
               ") must be at most half of client.queue_size_max (" +
               core::config_bytes_text(m->out->chat.queue_bytes_max) + ")");
  }
}

bool is_namespace_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
             std::string::npos;
}

// For --print-config: every option of every namespace, with "default" where the file says nothing.
void describe_namespace(making* m, const chat::namespace_settings& ns) {
  option_map& options = m->c->groups[ns.name];
  const auto put = [&](const char* key, bool flag, uint64_t number) {
    core::config_value v;
    v.flag = flag;
    v.number = static_cast<int64_t>(number);
    v.from = "default";
    const auto old = options.find(key);
    if (old != options.end()) v.from = old->second.from;
    options[key] = v;
  };
  for (const bool_option& o : kBoolOptions) put(o.key, ns.*o.member, 0);
  put("history_size", false, ns.keep.size_max);
  put("history_ttl", false, ns.keep.ttl_ms);
  put("history_forever", ns.has_history && ns.keep.ttl_ms == 0, 0);
  put("publication_size_max", false, ns.publication_bytes_max);
}

}  // namespace

void make_namespaces(making* m) {
  chat::settings* s = &m->out->chat;
  chat::settings_defaults(s);
  const auto groups = m->c->groups;
  for (const auto& group : groups) {
    const std::string& name = group.first;
    const auto& options = group.second;
    const std::string table = name.empty() ? "[channel]" : "[namespace." + name + "]";
    if (!name.empty() && !is_namespace_name(name)) {
      m->problem(table + ": a namespace's name has 1 to 64 letters, digits, '_', '-' or '.'");
      continue;
    }
    auto ns = std::find_if(s->namespaces.begin(), s->namespaces.end(),
                           [&](const chat::namespace_settings& n) { return n.name == name; });
    if (ns == s->namespaces.end()) {
      ns = s->namespaces.insert(s->namespaces.end(), chat::namespace_settings{});
      ns->name = name;
    }
    apply_options(m, table, options, &*ns);
  }
  // Streams are memory: none is without a bound.
  if (m->out->store == store_kind::none) {
    const uint64_t most = m->number("broker.history_size_max");
    for (chat::namespace_settings& ns : s->namespaces) {
      if (ns.has_history &&
          (ns.keep.size_max == store::retention::kForever || ns.keep.size_max > most))
        ns.keep.size_max = most;
    }
  }
  if (s->namespaces.size() > 65535) m->problem("there are more than 65535 namespaces");
  for (const chat::namespace_settings& ns : s->namespaces) {
    // Also tables that the file does not name must fit the queue.
    if (groups.count(ns.name) == 0 && ns.publication_bytes_max > s->queue_bytes_max / 2) {
      m->problem("client.queue_size_max must be at least twice the publication_size_max (" +
                 core::config_bytes_text(ns.publication_bytes_max) + ") of " +
                 (ns.name.empty() ? "[channel]" : "[namespace." + ns.name + "]"));
    }
    describe_namespace(m, ns);
  }
}

}  // namespace server
