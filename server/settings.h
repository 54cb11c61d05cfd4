// Everything that can be set, with where each value came from. The one table of settings is in
// settings.cc: key, flag, environment name, type, unit, default, limits, reason; docs/CONFIG.md is
// printed from it.
#pragma once

#include <string>
#include <vector>

#include "broker/redis_url.h"
#include "chat/settings.h"
#include "core/config.h"
#include "core/listener.h"
#include "core/log.h"
#include "proto/upgrade.h"
#include "server/loki.h"
#include "store/mongo.h"
#include "store/store.h"

namespace server {

enum class store_kind : uint8_t { memory, sqlite, mongo, none };

struct settings {
  core::listen_address listen;  // default 127.0.0.1:8000
  uint32_t loops = 0;           // 0: the cores the process may use
  store_kind store = store_kind::sqlite;
  store::sqlite_options sqlite;  // path default "parley.sqlite"
  store::mongo_options mongo;
  uint64_t store_bytes_max = 0;  // 0: memory takes its default, sqlite has no bound but the disk
  bool has_redis = false;        // else the broker is `local`
  broker::redis_url redis;
  std::string redis_prefix;
  uint32_t redis_partitions = 128;
  uint32_t redis_lease_ms = 15'000;
  chat::settings chat;
  proto::upgrade_rules upgrade;  // allowed_origins
  std::vector<std::string> api_keys;
  bool has_guest_tokens = false;  // POST /auth/guest; only with insecure_dev or [guest] enabled
  bool has_page = true;           // serve the chat page at /
  bool is_development =
      false;  // no token key was given: a secret for this run was made, loopback only
  uint32_t mailbox_max = 65536;
  core::log_format log_format = core::log_format::logfmt;
  core::log_level log_level = core::log_level::info;
  std::vector<std::pair<core::log_component, core::log_level>> log_levels;  // of single ones
  bool has_loki = false;
  loki_options loki;
};

inline const char* store_name(store_kind k) noexcept {
  switch (k) {
    case store_kind::memory:
      return "memory";
    case store_kind::sqlite:
      return "sqlite";
    case store_kind::mongo:
      return "mongo";
    case store_kind::none:
      return "none";
  }
  return "none";
}

// Format and levels of the log, to standard error; also its node.
void settings_apply_log(const settings& s);

// The table of all settings.
const core::config_schema& settings_schema() noexcept;

// From the layers to settings. `c` gets every value with where it came from, namespaces with their
// built-in options too (for --print-config). invalid: *message holds every problem, one a line.
core::err settings_from(const std::vector<std::pair<std::string, std::string>>& flags,
                        const char* const* environment, settings* out, core::config* c,
                        std::string* message) noexcept;

std::string settings_markdown();  // docs/CONFIG.md

// argv without the program's name. Reads file, environment, flags; on err::invalid *message holds
// every problem, one a line.
core::err settings_load(int argc, const char* const* argv, settings* out,
                        core::config_origin_list* origins, std::string* message) noexcept;

}  // namespace server
