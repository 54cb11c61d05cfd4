// The command lines of `parleyd`, `parleyd token`, `parleyd export` and `parleyd import`. CLI11
// stays behind it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/config.h"
#include "core/err.h"

namespace server {

enum class command_action : uint8_t {
  serve,
  check_config,
  print_config,
  print_config_doc,
  print_errors_doc,
  print_metrics_doc,
  version,
  help
};

struct command_line {
  command_action action = command_action::serve;
  std::vector<std::pair<std::string, std::string>> flags;  // as config_load() takes them
  std::string text;                                        // help: what to print
};

// argv without the program's name. Each setting of the schema with a flag is one. invalid: *message
// says what is wrong.
core::err command_line_parse(const core::config_schema& schema, int argc, const char* const* argv,
                             command_line* out, std::string* message) noexcept;

struct token_line {
  std::string user, info, channel;
  int64_t ttl_s = 3600;
  bool is_help = false;
  std::vector<std::pair<std::string, std::string>> flags;  // --config, --token-hmac-secret
  std::string text;
};
core::err token_line_parse(int argc, const char* const* argv, token_line* out,
                           std::string* message) noexcept;

enum class transfer_direction : uint8_t { out, in };

struct transfer_line {
  std::string path;  // --out or --in; empty: standard output or input
  bool is_help = false;
  std::vector<std::pair<std::string, std::string>> flags;  // --config, --store
  std::string text;
};
core::err transfer_line_parse(transfer_direction d, int argc, const char* const* argv,
                              transfer_line* out, std::string* message) noexcept;

}  // namespace server
