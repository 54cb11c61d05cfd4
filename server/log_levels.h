// Levels of the log by component: as texts, and POST /api/log_levels, which tells and changes those
// of this node.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/log.h"

namespace server {

struct log_level_change {
  bool is_of_one = false;  // else of all components
  core::log_component component = core::log_component::other;
  core::log_level level = core::log_level::info;
};

// "debug", "broker=debug". False: neither.
bool log_level_change_parse(std::string_view text, log_level_change* out) noexcept;

// The body of the call: {"levels":["info","broker=debug"]}, in this order; nothing or {} changes
// nothing. False: *why is a sentence for the caller, and nothing was changed.
bool log_levels_read(std::string_view body, std::vector<log_level_change>* out, std::string* why);
void log_levels_apply(const std::vector<log_level_change>& changes) noexcept;
std::string log_levels_json();  // {"result":{"levels":{"core":"info",…}}}

}  // namespace server
