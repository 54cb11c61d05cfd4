// One field with strings of a few characters: too little for a JSON library.
#include "server/log_levels.h"

#include <algorithm>

namespace server {
namespace {

struct reader {
  std::string_view text;
  size_t at = 0;

  bool take(char c) noexcept {
    at = std::min(text.find_first_not_of(" \t\r\n", at), text.size());
    if (at >= text.size() || text[at] != c) return false;
    ++at;
    return true;
  }
  // Names and levels have no escapes, and what has one is neither.
  bool take_string(std::string_view* out) noexcept {
    if (!take('"')) return false;
    const size_t end = text.find_first_of("\"\\", at);
    if (end == std::string_view::npos || text[end] != '"') return false;
    *out = text.substr(at, end - at);
    at = end + 1;
    return true;
  }
  bool is_at_end() noexcept {
    at = std::min(text.find_first_not_of(" \t\r\n", at), text.size());
    return at == text.size();
  }
};

bool read_list(reader* r, std::vector<std::string_view>* out) {
  if (!r->take('[')) return false;
  if (r->take(']')) return true;
  do {
    std::string_view item;
    if (!r->take_string(&item)) return false;
    out->push_back(item);
  } while (r->take(','));
  return r->take(']');
}

bool read_body(std::string_view body, std::vector<std::string_view>* out) {
  reader r{body};
  if (r.is_at_end()) return true;
  if (!r.take('{')) return false;
  if (r.take('}')) return r.is_at_end();
  std::string_view key;
  return r.take_string(&key) && key == "levels" && r.take(':') && read_list(&r, out) &&
         r.take('}') && r.is_at_end();
}

}  // namespace

bool log_level_change_parse(std::string_view text, log_level_change* out) noexcept {
  const size_t at = text.find('=');
  out->is_of_one = at != std::string_view::npos;
  if (!out->is_of_one) return core::log_level_find(text, &out->level);
  return core::log_component_find(text.substr(0, at), &out->component) &&
         core::log_level_find(text.substr(at + 1), &out->level);
}

bool log_levels_read(std::string_view body, std::vector<log_level_change>* out, std::string* why) {
  std::vector<std::string_view> items;
  if (!read_body(body, &items)) {
    *why = R"(expected a JSON object with one field: {"levels":["info","broker=debug"]})";
    return false;
  }
  for (const std::string_view item : items) {
    log_level_change c;
    if (!log_level_change_parse(item, &c)) {
      *why = "a level is debug, info, warn or error, or that of a component, as broker=debug";
      return false;
    }
    out->push_back(c);
  }
  return true;
}

void log_levels_apply(const std::vector<log_level_change>& changes) noexcept {
  for (const log_level_change& c : changes) {
    for (size_t i = 0; i < core::kLogComponents; ++i) {
      const auto component = static_cast<core::log_component>(i);
      if (!c.is_of_one || c.component == component) core::log_level_set(component, c.level);
    }
  }
}

std::string log_levels_json() {
  std::string out = R"({"result":{"levels":{)";
  for (size_t i = 0; i < core::kLogComponents; ++i) {
    const auto component = static_cast<core::log_component>(i);
    out.append(i == 0 ? "\"" : ",\"").append(core::log_component_name(component)).append("\":\"");
    out.append(core::log_level_name(core::log_level_get(component))).push_back('"');
  }
  return out + "}}}\n";
}

}  // namespace server
