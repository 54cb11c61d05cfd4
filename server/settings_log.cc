// [log]: levels of components, and what goes to Loki.
#include <algorithm>

#include "server/log_levels.h"
#include "server/settings_making.h"

namespace server {
namespace {

// Loki takes 15 labels; level and node are ours, some are left to what comes behind us.
constexpr size_t kLabelsMax = 10;
constexpr size_t kLabelValueBytesMax = 1024;  // Loki: 2,048

constexpr std::string_view kPushPath = "/loki/api/v1/push";

bool is_label_name(std::string_view s) noexcept {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !s.empty() && s.size() <= 64 && is_letter(s[0]) && !s.starts_with("__") &&
         std::all_of(s.begin(), s.end(),
                     [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

bool has_label(const loki_labels& labels, std::string_view name) noexcept {
  return std::any_of(labels.begin(), labels.end(), [&](const auto& l) { return l.first == name; });
}

void make_labels(making* m, loki_labels* out) {
  for (const std::string& item : m->at("log.loki_labels").list) {
    const size_t at = item.find('=');
    const std::string name = item.substr(0, at);
    const std::string value = at == std::string::npos ? "" : item.substr(at + 1);
    if (!is_label_name(name) || value.empty() || value.size() > kLabelValueBytesMax) {
      m->problem("log.loki_labels: \"" + item +
                 "\" must be NAME=VALUE, the name of letters, digits and '_'");
    } else if (name == "level") {
      m->problem("log.loki_labels: level is the line's own");
    } else if (has_label(*out, name)) {
      m->problem("log.loki_labels: " + name + " stands there twice");
    } else {
      out->emplace_back(name, value);
    }
  }
  if (!has_label(*out, "node")) out->emplace_back("node", m->out->chat.node_name);
  if (out->size() > kLabelsMax)
    m->problem("log.loki_labels: at most " + std::to_string(kLabelsMax) +
               " with node, so that Loki takes them");
}

void make_loki(making* m) {
  settings* s = m->out;
  const std::string& url = m->text("log.loki_url");
  s->has_loki = !url.empty();
  if (s->has_loki && !core::http_target_parse(url, &s->loki.target)) {
    m->problem(url.starts_with("https:")
                   ? "log.loki_url: https is left to an agent that reads standard error, see "
                     "docs/LOGS.md"
                   : "log.loki_url must be http://HOST[:PORT][/PATH], as http://127.0.0.1:3100");
  }
  if (s->loki.target.path == "/") s->loki.target.path = kPushPath;
  make_labels(m, &s->loki.labels);
  s->loki.queue_bytes_max = static_cast<uint64_t>(m->at("log.loki_queue_size_max").number);
  s->loki.batch_ms = m->number("log.loki_batch_age");
  s->loki.flush_ms_max = m->number("log.loki_flush_max");
}

}  // namespace

void make_log(making* m) {
  settings* s = m->out;
  s->log_format =
      m->text("log.format") == "json" ? core::log_format::json : core::log_format::logfmt;
  (void)core::log_level_find(m->text("log.level"), &s->log_level);
  for (const std::string& item : m->at("log.levels").list) {
    log_level_change c;
    if (!log_level_change_parse(item, &c) || !c.is_of_one) {
      m->problem("log.levels: \"" + item + "\" must be COMPONENT=LEVEL, as broker=debug");
    } else {
      s->log_levels.emplace_back(c.component, c.level);
    }
  }
  make_loki(m);
}

void settings_apply_log(const settings& s) {
  core::log_setup(s.log_format, s.log_level, 2);
  for (const auto& [component, level] : s.log_levels) core::log_level_set(component, level);
  core::log_node(s.chat.node_name);
}

}  // namespace server
