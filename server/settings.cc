// From layered texts to the server's settings: relations between settings are checked here, all at
// once.
#include "server/settings.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "core/limits.h"
#include "server/command_line.h"
#include "server/settings_making.h"

namespace server {
namespace {

void make_broker(making* m) {
  settings* s = m->out;
  const std::string& bus = m->text("broker.url");
  s->has_redis = bus.starts_with("redis");
  std::string why;
  if (s->has_redis) {
    if (broker::redis_url_parse(bus, &s->redis, &why) != core::err::ok ||
        broker::redis_url_read_files(&s->redis, &why) != core::err::ok)
      m->problem("broker: " + why);

  } else if (bus != "local") {
    m->problem("broker must be `local` or a URL as redis://HOST:PORT, not \"" +
               bus.substr(0, bus.find(':')) + "\"");
  }
  s->redis_prefix = m->text("broker.prefix");
  if (s->redis_prefix.empty() || s->redis_prefix.size() > 64 ||
      s->redis_prefix.find_first_not_of(
          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != std::string::npos)
    m->problem("broker.prefix has 1 to 64 letters, digits, '_', '-' or '.'");
  s->redis_partitions = m->number("broker.partitions");
  s->redis_lease_ms = m->number("broker.lease");
}

void make_mongo(making* m) {
  store::mongo_options* o = &m->out->mongo;
  o->spool_dir = m->text("store.spool_dir");
  if (o->spool_dir.empty()) m->problem("store.spool_dir is a directory, not empty");
  o->spool_bytes_max = static_cast<uint64_t>(m->at("store.spool_size_max").number);
  o->backlog_max = m->number("store.backlog_max");
  o->writers = m->number("store.mongo_writers");
  o->readers = m->number("store.mongo_readers");
  o->batch_count_max = m->number("store.batch_count_max");
  o->batch_bytes_max = static_cast<uint64_t>(m->at("store.batch_size_max").number);
  o->batch_age_ms = m->number("store.batch_age");
  o->stored_ms = m->number("store.stored_timeout");
  o->retry_ms_max = m->number("store.retry_max");
  o->queue_max = m->number("store.queue_max");
  o->queue_bytes_max = static_cast<uint64_t>(m->at("store.queue_size_max").number);
  o->sweep_ms = m->number("store.sweep_interval");
  if (m->out->store == store_kind::mongo && m->at("store.size_max").number > 0)
    m->problem(
        "store.size_max bounds memory and sqlite; with mongodb:// it is store.spool_size_max");
}

void make_store(making* m) {
  settings* s = m->out;
  core::config_value* const value = &m->c->values["store.url"];
  if (s->has_redis && value->from == "default") value->text = "none";
  const std::string& url = value->text;
  const std::string allowed =
      "; there are `memory`, `sqlite:PATH`, `mongodb://…` and, with redis, `none`";
  const std::string scheme = url.substr(0, url.find(':'));  // what follows may hold a password
  if (url == "memory") {
    s->store = store_kind::memory;
  } else if (url.starts_with("sqlite:") && url.size() > 7) {
    s->store = store_kind::sqlite;
    s->sqlite.path = url.substr(7);
  } else if (url == "none") {
    s->store = store_kind::none;
  } else if (url.starts_with("mongodb://") || url.starts_with("mongodb+srv://")) {
    s->store = store_kind::mongo;
    s->mongo.url = url;
    std::string why;
    if (store::mongo_url_check(url, &why) != core::err::ok) m->problem("store: " + why);
  } else if (!url.empty() || !value->from.empty()) {
    m->problem("store must be one of those, not \"" + scheme + "\"" + allowed);
  }
  if (s->store == store_kind::none && !s->has_redis)
    m->problem("store `none` keeps no history: it goes with the broker redis://, whose streams do");
  if (s->store != store_kind::none && s->has_redis)
    m->problem(
        "the broker redis:// goes with the store `none` (its streams are the history), not "
        "with `" +
        scheme + "`, which one node has for itself");
  s->sqlite.is_full_sync = m->text("store.sqlite_sync") != "normal";
  s->sqlite.readers = m->number("store.sqlite_readers");
  s->sqlite.queue_max = m->number("store.queue_max");
  s->sqlite.queue_bytes_max = static_cast<uint64_t>(m->at("store.queue_size_max").number);
  s->store_bytes_max = static_cast<uint64_t>(m->at("store.size_max").number);
  s->sqlite.bytes_max = s->store_bytes_max;
  s->sqlite.commit_count_max = m->number("store.commit_max");
  s->sqlite.sweep_ms = m->number("store.sweep_interval");
  make_mongo(m);
}

proto::token_keys make_keys(making* m, const std::string& section) {
  proto::token_keys keys;
  for (const std::string& secret : m->at((section + ".hmac_secrets").c_str()).list) {
    if (secret.empty())
      m->problem(section + ".hmac_secrets: an empty secret would let everybody sign tokens");
    keys.hmac_secrets.push_back(secret);
  }
  for (const std::string& path : m->at((section + ".public_key_files").c_str()).list) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream pem;
    if (in) pem << in.rdbuf();
    if (pem.str().find("-----BEGIN PUBLIC KEY-----") == std::string::npos) {
      m->problem(section + ".public_key_files: " + path +
                 (in ? " holds no PEM public key" : " cannot be read"));
    } else {
      keys.public_pems.push_back(pem.str());
    }
  }
  keys.audience = m->text((section + ".audience").c_str());
  keys.issuer = m->text((section + ".issuer").c_str());
  return keys;
}

std::string random_secret() {
  unsigned char bytes[32];
  core::system_random()->fill(bytes, sizeof bytes);
  std::string hex;
  for (const unsigned char b : bytes) {
    hex.push_back("0123456789abcdef"[b >> 4]);
    hex.push_back("0123456789abcdef"[b & 15]);
  }
  return hex;
}

void make_access(making* m) {
  settings* s = m->out;
  s->chat.token_keys = make_keys(m, "token");
  s->chat.sub_token_keys = make_keys(m, "subscription_token");
  if (s->chat.sub_token_keys.empty() &&
      !(s->chat.sub_token_keys.audience.empty() && s->chat.sub_token_keys.issuer.empty())) {
    m->problem("subscription_token.audience and .issuer need keys in [subscription_token]");
  }
  s->chat.is_insecure = m->flag("insecure_dev");
  s->chat.allow_anonymous = m->flag("client.allow_anonymous");
  s->api_keys = m->at("api.keys").list;
  if (std::count(s->api_keys.begin(), s->api_keys.end(), "") != 0)
    m->problem("api.keys: an empty key would let everybody call the server API");
  const bool has_own_keys = !s->chat.token_keys.empty();
  s->is_development = !has_own_keys;
  s->has_guest_tokens = m->flag("guest.enabled") || s->chat.is_insecure || s->is_development;

  if (core::listen_address_parse(m->text("listen"), &s->listen) != core::err::ok) {
    m->problem("listen must be HOST:PORT, as 127.0.0.1:8000 or [::1]:8000, not \"" +
               m->text("listen") + "\"");
  } else if (!core::listen_address_is_loopback(s->listen)) {
    if (s->chat.is_insecure) {
      m->problem(
          "insecure_dev lets everybody do everything, so it serves loopback only; listen is " +
          m->text("listen"));
    } else if (!has_own_keys) {
      m->problem(
          "without a token key (--token-hmac-secret) the server is for development and serves "
          "loopback only; listen is " +
          m->text("listen"));
    }
  }
  if (m->flag("guest.enabled") && has_own_keys && s->chat.token_keys.hmac_secrets.empty()) {
    m->problem("guest.enabled needs a secret in token.hmac_secrets: public keys cannot sign");
  }
  if (!has_own_keys) s->chat.token_keys.hmac_secrets.push_back(random_secret());
}

void make_client(making* m) {
  chat::settings* s = &m->out->chat;
  s->has_personal_channel = m->flag("client.personal_channel");
  s->has_online = m->flag("client.online");
  s->ping_ms = m->number("client.ping_interval");
  s->pong_wait_ms = m->number("client.pong_timeout");
  s->queue_bytes_max = m->number("client.queue_size_max");
  s->recovery_bytes_max = m->number("client.recovery_size_max");
  s->channels_per_client_max = m->number("client.channels_max");
  s->connections_per_user_max = m->number("client.connections_per_user_max");
  s->connections_max = m->number("client.connections_max");
  s->handshakes_per_s = m->number("client.handshakes_per_second");
  s->handshakes_burst = m->number("client.handshakes_burst");
  s->commands_per_s = m->number("client.commands_per_second");
  s->commands_burst = m->number("client.commands_burst");
  s->publishes_per_s = m->number("client.publishes_per_second");
  s->publishes_burst = m->number("client.publishes_burst");
  s->typings_per_s = m->number("client.typings_per_second");
  s->typings_burst = m->number("client.typings_burst");
  s->refused_max = m->number("client.refused_per_minute_max");
  s->idempotency_ttl_ms = m->at("store.idempotency_ttl").number;
  s->shutdown_ms = m->number("shutdown.duration");

  if (s->recovery_bytes_max > s->queue_bytes_max / 2) {
    m->problem("client.recovery_size_max (" + core::config_bytes_text(s->recovery_bytes_max) +
               ") must be at most half of client.queue_size_max (" +
               core::config_bytes_text(s->queue_bytes_max) +
               "), or a recovery makes the client slow again");
  }
  if (s->pong_wait_ms >= s->ping_ms)
    m->problem("client.pong_timeout must be shorter than client.ping_interval");
  if (s->commands_per_s != 0 && s->commands_burst < s->channels_per_client_max + 1) {
    m->problem("client.commands_burst (" + std::to_string(s->commands_burst) +
               ") must allow connect and a subscribe of every channel: at least "
               "client.channels_max + 1 = " +
               std::to_string(s->channels_per_client_max + 1));
  }
}

void make_rest(making* m) {
  settings* s = m->out;
  s->loops = m->number("loops");
  s->upgrade.allowed_origins = m->at("http.allowed_origins").list;
  s->has_page = m->flag("http.page");
  s->mailbox_max = m->number("node.mailbox_max");
  s->chat.version = PARLEY_VERSION;
  s->chat.node_name = m->text("node.name");
  if (s->chat.node_name.empty()) {
    char host[256] = {};
    s->chat.node_name = gethostname(host, sizeof host - 1) == 0 ? host : "parley";
  }
  make_log(m);
}

std::string file_path(const std::vector<std::pair<std::string, std::string>>& flags,
                      const char* const* environment) {
  std::string path;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const std::string_view line = *environment;
    if (line.starts_with("PARLEY_CONFIG=")) path = line.substr(14);
  }
  for (const auto& [name, value] : flags) {
    if (name == "config") path = value;
  }
  return path;
}

std::string origin_text(const core::setting& s, const core::config_value& v) {
  const auto hidden = [&](const std::string& text) {
    return s.is_secret && !text.empty() ? "***" : text;
  };
  if (s.type != core::setting_type::text_list) return hidden(v.text);
  std::string all;
  for (const std::string& item : v.list) all += (all.empty() ? "" : ",") + hidden(item);
  return all;
}

}  // namespace

core::err settings_from(const std::vector<std::pair<std::string, std::string>>& flags,
                        const char* const* environment, settings* out, core::config* c,
                        std::string* message) noexcept {
  try {
    std::vector<std::string> problems;
    const core::err rc = core::config_load(settings_schema(), file_path(flags, environment), flags,
                                           environment, c, &problems);
    if (rc != core::err::ok && rc != core::err::invalid) {
      *message = core::err_text(rc);
      return rc;
    }
    making m{c, out, &problems};
    make_broker(&m);
    make_store(&m);
    make_access(&m);
    make_client(&m);
    make_namespaces(&m);
    make_rest(&m);
    for (const std::string& p : problems) *message += (message->empty() ? "" : "\n") + p;
    return problems.empty() ? core::err::ok : core::err::invalid;
  } catch (const std::exception& e) {
    *message = e.what();
    return core::err::invalid;
  }
}

core::err settings_load(int argc, const char* const* argv, settings* out,
                        core::config_origin_list* origins, std::string* message) noexcept {
  command_line line;
  const core::err rc = command_line_parse(settings_schema(), argc, argv, &line, message);
  if (rc != core::err::ok) return rc;
  core::config c;
  const core::err made = settings_from(line.flags, environ, out, &c, message);
  if (origins != nullptr) {
    for (const core::setting& s : settings_schema().settings) {
      const auto v = c.values.find(s.key);
      if (v != c.values.end())
        origins->push_back({s.key, origin_text(s, v->second), v->second.from});
    }
  }
  return made;
}

}  // namespace server
