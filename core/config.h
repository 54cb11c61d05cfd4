// Layered settings: defaults < TOML file < environment < flags, every problem reported at once,
// with the nearest known name. Knows no setting itself: the table comes from its user.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"

namespace core {

enum class setting_type : uint8_t { boolean, integer, text, text_list, duration_ms, bytes };

// One row of the table. `key` is the TOML path ("client.ping_interval"); the flag is "--" + `flag`
// when it is not empty; the environment name is PARLEY_ + key in upper case with '.' as '_' (or
// `env` when given).
struct setting {
  const char* key;
  const char* flag;
  const char* env;
  setting_type type;
  const char* default_text;
  int64_t min, max;     // integer, duration_ms, bytes
  const char* allowed;  // text: "a|b|c", or ""
  const char* unit;
  const char* help;  // one sentence, with the reason for default or limit
  bool is_secret;    // printed as ***
};

struct config_origin {
  std::string key, value, from;
};  // from: "default", "file:LINE", "env NAME", "flag --name"
using config_origin_list = std::vector<config_origin>;

struct config_value {
  std::string text;
  std::vector<std::string> list;
  int64_t number = 0;
  bool flag = false;
  std::string from;
};

// A TOML table array or sub-tables that the table of settings cannot hold ([namespace.NAME]) is
// given as rows of a second table, once per NAME.
struct config {
  std::map<std::string, config_value> values;  // by key
  std::map<std::string, std::map<std::string, config_value>>
      groups;  // group "namespace": NAME -> key -> value; only what was set
};

struct config_schema {
  std::vector<setting> settings;
  std::string file_key;  // the setting that names the file, which cannot stand in the file itself
  std::string group;     // "namespace": tables [namespace.NAME]
  std::string group_unnamed;  // "channel": the table of the member whose NAME is ""
  std::vector<setting> group_settings;
};

// Loads all layers. Durations are "25s", "300ms", "5m", "24h", "7d" or a number of seconds; bytes
// "64KiB", "1MiB", "1GiB", "512". On invalid *problems has one sentence each, and *out holds what
// could be read. `flags` are pairs of a setting's flag (without dashes) and its text; a text_list's
// flag may come several times. In `environment` (as environ has it, may be nullptr) a text_list is
// separated by commas. Names PARLEY_SERVICE_… and PARLEY_PORT… are Kubernetes' own and ignored. A
// layer replaces a list as a whole. file_path "" is no file. A secret's value never stands in a
// problem.
err config_load(const config_schema& schema, const std::string& file_path,
                const std::vector<std::pair<std::string, std::string>>& flags,
                const char* const* environment, config* out,
                std::vector<std::string>* problems) noexcept;

// The known name that is nearest to `name` by edit distance, or "" when none is near.
std::string config_nearest(std::string_view name, const std::vector<std::string>& known);

// The text of a setting -> value, as the layers do it; false with the rest of a sentence ("must be
// …") in *why. Units: milliseconds, bytes.
bool config_convert(const setting& s, std::string_view text, config_value* out, std::string* why);
std::string config_duration_text(int64_t ms);   // 90000 -> "90s", 300000 -> "5m"
std::string config_bytes_text(int64_t bytes);   // 65536 -> "64KiB"
std::string config_env_name(const setting& s);  // "PARLEY_CLIENT_PING_INTERVAL"

std::string config_print(const config_schema& schema,
                         const config& c);  // TOML with a comment "# from …" behind each
std::string config_markdown(const config_schema& schema);  // docs/CONFIG.md

}  // namespace core
