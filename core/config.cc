// Settings in layers: converts texts to values, finds the layer that wins, collects every problem.
#include "core/config.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "core/config_file.h"

namespace core {
namespace {

constexpr std::string_view kEnvPrefix = "PARLEY_";

struct unit {
  const char* name;
  int64_t factor;
};
constexpr unit kDurationUnits[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
constexpr unit kByteUnits[] = {
    {"B", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024}};

bool parse_integer(std::string_view text, int64_t* out) noexcept {
  const auto r = std::from_chars(text.data(), text.data() + text.size(), *out);
  return r.ec == std::errc() && r.ptr == text.data() + text.size() && !text.empty();
}

// "25s" by a list of units; a bare number counts in `bare` units.
template <size_t N>
bool parse_with_unit(std::string_view text, const unit (&units)[N], int64_t bare,
                     int64_t* out) noexcept {
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  int64_t number = 0;
  if (!parse_integer(text.substr(0, digits), &number)) return false;
  int64_t factor = 0;
  if (digits == text.size()) factor = bare;
  for (const unit& u : units) {
    if (text.substr(digits) == u.name) factor = u.factor;
  }
  return factor != 0 && !__builtin_mul_overflow(number, factor, out);
}

template <size_t N>
std::string text_with_unit(int64_t value, const unit (&units)[N], const char* zero) {
  if (value == 0) return zero;
  const unit* best = &units[0];
  for (const unit& u : units) {
    if (value % u.factor == 0) best = &u;
  }
  return std::to_string(value / best->factor) + best->name;
}

std::string number_text(setting_type type, int64_t v) {
  if (type == setting_type::duration_ms) return config_duration_text(v);
  if (type == setting_type::bytes) return config_bytes_text(v);
  return std::to_string(v);
}

bool check_range(const setting& s, int64_t v, std::string* why) {
  if (v >= s.min && v <= s.max) return true;
  *why = "must be between " + number_text(s.type, s.min) + " and " + number_text(s.type, s.max);
  return false;
}

bool is_allowed_text(const char* allowed, std::string_view text) noexcept {
  std::string_view rest = allowed;
  while (true) {
    const size_t bar = rest.find('|');
    if (rest.substr(0, bar) == text) return true;
    if (bar == std::string_view::npos) return false;
    rest.remove_prefix(bar + 1);
  }
}

uint32_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<uint32_t> row(b.size() + 1);
  for (uint32_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (uint32_t i = 1; i <= a.size(); ++i) {
    uint32_t diagonal = row[0];
    row[0] = i;
    for (uint32_t j = 1; j <= b.size(); ++j) {
      const uint32_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string_view last_part(std::string_view key) noexcept {
  return key.substr(key.rfind('.') + 1);
}

const char* kind_demand(setting_type type) noexcept {
  switch (type) {
    case setting_type::boolean:
      return "must be true or false";
    case setting_type::integer:
      return "must be a whole number";
    case setting_type::text:
      return "must be a text in quotes";
    case setting_type::text_list:
      return "must be a list of texts";
    case setting_type::duration_ms:
      return "must be a duration in quotes, as \"300ms\", \"25s\", \"5m\", \"24h\", \"7d\", or a "
             "number of seconds";
    case setting_type::bytes:
      return "must be a size in quotes, as \"512\", \"64KiB\", \"1MiB\", or a number of bytes";
  }
  return "";
}

bool kind_fits(setting_type type, config_kind kind) noexcept {
  switch (type) {
    case setting_type::boolean:
      return kind == config_kind::boolean;
    case setting_type::integer:
      return kind == config_kind::integer;
    case setting_type::text:
      return kind == config_kind::text;
    case setting_type::text_list:
      return kind == config_kind::text_list;
    case setting_type::duration_ms:
    case setting_type::bytes:
      return kind == config_kind::integer || kind == config_kind::text;
  }
  return false;
}

// One load: the schema, where results go, and how a problem is said.
struct loading {
  const config_schema& schema;
  config* out;
  std::vector<std::string>* problems;

  void problem(const std::string& where, const std::string& what) {
    problems->push_back(where + ": " + what);
  }
  const setting* find(std::string_view key) const {
    for (const setting& s : schema.settings) {
      if (key == s.key) return &s;
    }
    return nullptr;
  }
  void set(const setting& s, std::string_view text, const std::string& from,
           const std::string& where, std::map<std::string, config_value>* to) {
    config_value v;
    std::string why;
    if (!config_convert(s, text, &v, &why)) {
      // A value that is no secret helps to find the line; a secret stays out of logs and terminals.
      problem(where, std::string(s.key) + " " + why +
                         (s.is_secret ? "" : ", not \"" + std::string(text) + "\""));
      return;
    }
    v.from = from;
    (*to)[s.key] = std::move(v);
  }
};

std::vector<std::string> keys_of(const std::vector<setting>& settings) {
  std::vector<std::string> keys;
  for (const setting& s : settings) keys.emplace_back(s.key);
  return keys;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& known,
                         const char* before = "") {
  const std::string near = config_nearest(name, known);
  return near.empty() ? "" : std::string("; did you mean ") + before + near + "?";
}

void set_entry(loading* l, const setting& s, const config_entry& e, const std::string& where,
               std::map<std::string, config_value>* to) {
  const std::string from = "file:" + std::to_string(e.line);
  if (!kind_fits(s.type, e.kind)) {
    l->problem(where, std::string(s.key) + " " + kind_demand(s.type));
  } else if (s.type == setting_type::text_list) {
    config_value v;
    v.list = e.list;
    v.from = from;
    (*to)[s.key] = std::move(v);
  } else {
    l->set(s, e.text, from, where, to);
  }
}

std::string join(const std::vector<std::string>& path) {
  std::string key;
  for (const std::string& part : path) key += (key.empty() ? "" : ".") + part;
  return key;
}

// [namespace.NAME] and [channel]: true when the entry is in one of them.
bool take_group_entry(loading* l, const config_entry& e, const std::string& where) {
  if (l->schema.group.empty()) return false;
  const bool is_unnamed = e.path[0] == l->schema.group_unnamed;
  if (!is_unnamed && e.path[0] != l->schema.group) return false;
  const size_t depth = is_unnamed ? 1 : 2;
  if (e.path.size() < depth) {
    if (e.kind != config_kind::table)
      l->problem(where, e.path[0] + " must be tables, as [" + e.path[0] + ".NAME]");
    return true;
  }
  const std::string name = is_unnamed ? "" : e.path[1];
  if (e.path.size() == depth) {
    if (e.kind != config_kind::table) {
      l->problem(where, join(e.path) + " must be a table");
    } else if (!is_unnamed && name.empty()) {
      l->problem(where, "a " + l->schema.group +
                            " needs a name; channels without one have the table [" +
                            l->schema.group_unnamed + "]");
    } else {
      l->out->groups[name];
    }
    return true;
  }
  const std::string option =
      join({e.path.begin() + static_cast<std::ptrdiff_t>(depth), e.path.end()});
  for (const setting& s : l->schema.group_settings) {
    if (option != s.key) continue;
    set_entry(l, s, e, where, &l->out->groups[name]);
    return true;
  }
  l->problem(where,
             "unknown option " + option + " of " +
                 join({e.path.begin(), e.path.begin() + static_cast<std::ptrdiff_t>(depth)}) +
                 did_you_mean(option, keys_of(l->schema.group_settings)));
  return true;
}

bool is_section(const config_schema& schema, const std::string& key) {
  return std::any_of(schema.settings.begin(), schema.settings.end(), [&](const setting& s) {
    return std::string_view(s.key).starts_with(key + ".");
  });
}

void load_file(loading* l, const std::string& path) {
  std::vector<config_entry> entries;
  std::string why;
  if (config_file_read(path, &entries, &why) != err::ok) {
    l->problems->push_back(why);
    return;
  }
  std::vector<std::string> known = keys_of(l->schema.settings);
  std::vector<std::string> sections;
  for (const std::string& k : known) {
    if (k.find('.') != std::string::npos) sections.push_back(k.substr(0, k.rfind('.')));
  }
  sections.push_back(l->schema.group);
  sections.push_back(l->schema.group_unnamed);
  std::string unknown_section;  // its problem has been told; what is in it tells nothing new
  for (const config_entry& e : entries) {
    const std::string key = join(e.path);
    const std::string where = path + ":" + std::to_string(e.line);
    if (!unknown_section.empty() && key.starts_with(unknown_section + ".")) continue;
    if (take_group_entry(l, e, where)) continue;
    if (key == l->schema.file_key) {
      l->problem(where, key + " cannot stand in a file");
    } else if (const setting* s = l->find(key)) {
      set_entry(l, *s, e, where, &l->out->values);
    } else if (e.kind == config_kind::table) {
      if (is_section(l->schema, key)) continue;
      l->problem(where, "unknown table [" + key + "]" + did_you_mean(key, sections));
      unknown_section = key;
    } else {
      l->problem(where, "unknown key " + key + did_you_mean(key, known));
    }
  }
}

void load_environment(loading* l, const char* const* environment) {
  std::vector<std::string> known;
  for (const setting& s : l->schema.settings) known.push_back(config_env_name(s));
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const std::string_view line = *environment;
    const std::string name(line.substr(0, line.find('=')));
    if (!name.starts_with(kEnvPrefix) || name.size() == line.size()) continue;
    const auto at = std::find(known.begin(), known.end(), name);
    if (at != known.end()) {
      const setting& s = l->schema.settings[static_cast<size_t>(at - known.begin())];
      l->set(s, line.substr(name.size() + 1), "env " + name, "environment " + name,
             &l->out->values);
    } else if (!name.starts_with("PARLEY_SERVICE_") && !name.starts_with("PARLEY_PORT")) {
      l->problem("environment", "unknown name " + name + did_you_mean(name, known));
    }
  }
}

void load_flags(loading* l, const std::vector<std::pair<std::string, std::string>>& flags) {
  std::vector<std::string> known;
  for (const setting& s : l->schema.settings) {
    if (*s.flag != '\0') known.emplace_back(s.flag);
  }
  for (const auto& flag : flags) {
    const std::string& name = flag.first;
    const std::string& text = flag.second;
    const auto s =
        std::find_if(l->schema.settings.begin(), l->schema.settings.end(),
                     [&](const setting& x) { return *x.flag != '\0' && name == x.flag; });
    if (s == l->schema.settings.end()) {
      l->problem("command line", "unknown flag --" + name + did_you_mean(name, known, "--"));
      continue;
    }
    const std::string from = "flag --" + name;
    if (s->type != setting_type::text_list) {
      l->set(*s, text, from, "command line --" + name, &l->out->values);
      continue;
    }
    config_value& v = l->out->values[s->key];
    if (v.from != from) v = config_value{};
    v.list.push_back(text);  // each use of the flag is one element, commas and all
    v.from = from;
  }
}

std::string toml_string(std::string_view s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') out.push_back('\\');
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      constexpr char kHex[] = "0123456789ABCDEF";
      const auto u = static_cast<unsigned char>(c);
      out += std::string("\\u00") + kHex[u >> 4] + kHex[u & 15];
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

std::string toml_value(const setting& s, const config_value& v) {
  switch (s.type) {
    case setting_type::boolean:
      return v.flag ? "true" : "false";
    case setting_type::integer:
      return std::to_string(v.number);
    case setting_type::duration_ms:
      return toml_string(config_duration_text(v.number));
    case setting_type::bytes:
      return toml_string(config_bytes_text(v.number));
    case setting_type::text:
      return toml_string(s.is_secret && !v.text.empty() ? "***" : v.text);
    case setting_type::text_list: {
      std::string out = "[";
      for (const std::string& item : v.list)
        out += (out.size() > 1 ? ", " : "") + toml_string(s.is_secret ? "***" : item);
      return out + "]";
    }
  }
  return "";
}

void print_row(std::string* out, const setting& s, const config_value& v) {
  *out += std::string(last_part(s.key)) + " = " + toml_value(s, v) + "  # from " + v.from + "\n";
}

std::string type_text(const setting& s) {
  const std::string range = " " + number_text(s.type, s.min) + " … " + number_text(s.type, s.max);
  std::string allowed = s.allowed;
  for (size_t at = 0; (at = allowed.find('|', at)) != std::string::npos; at += 4)
    allowed.replace(at, 1, "` `");
  switch (s.type) {
    case setting_type::boolean:
      return "true or false";
    case setting_type::integer:
      return "number" + range;
    case setting_type::duration_ms:
      return "duration" + range;
    case setting_type::bytes:
      return "size" + range;
    case setting_type::text_list:
      return "list of texts";
    case setting_type::text:
      return allowed.empty() ? "text" : "`" + allowed + "`";
  }
  return "";
}

void markdown_rows(std::string* out, const std::vector<setting>& settings,
                   std::string_view section) {
  for (const setting& s : settings) {
    const std::string_view key = s.key;
    const size_t dot = key.rfind('.');
    if ((dot == std::string_view::npos ? std::string_view() : key.substr(0, dot)) != section)
      continue;
    const std::string flag = *s.flag == '\0' ? "" : "`--" + std::string(s.flag) + "`";
    const std::string text = *s.default_text == '\0' ? "" : "`" + std::string(s.default_text) + "`";
    *out += "| `" + std::string(key) + "` | " + flag + " | `" + config_env_name(s) + "` | " +
            type_text(s) + " | " + s.unit + " | " + text + " | " + s.help + " |\n";
  }
}

}  // namespace

std::string config_duration_text(int64_t ms) {
  return text_with_unit(ms, kDurationUnits, "0s");
}
std::string config_bytes_text(int64_t bytes) {
  return text_with_unit(bytes, kByteUnits, "0B");
}

std::string config_env_name(const setting& s) {
  if (*s.env != '\0') return s.env;
  std::string name(kEnvPrefix);
  for (const char* c = s.key; *c != '\0'; ++c)
    name.push_back(*c == '.' ? '_' : *c >= 'a' && *c <= 'z' ? static_cast<char>(*c - 32) : *c);
  return name;
}

bool config_convert(const setting& s, std::string_view text, config_value* out, std::string* why) {
  bool is_good = true;
  out->text = text;
  switch (s.type) {
    case setting_type::boolean:
      out->flag = text == "true" || text == "1";
      is_good = out->flag || text == "false" || text == "0";
      break;
    case setting_type::integer:
      is_good = parse_integer(text, &out->number);
      break;
    case setting_type::duration_ms:
      is_good = parse_with_unit(text, kDurationUnits, 1000, &out->number);
      break;
    case setting_type::bytes:
      is_good = parse_with_unit(text, kByteUnits, 1, &out->number);
      break;
    case setting_type::text:
      if (*s.allowed == '\0' || is_allowed_text(s.allowed, text)) return true;
      *why = "must be one of " + std::string(s.allowed);
      return false;
    case setting_type::text_list:
      for (size_t at = 0; at < text.size();) {
        const size_t comma = std::min(text.find(',', at), text.size());
        if (comma > at) out->list.emplace_back(text.substr(at, comma - at));
        at = comma + 1;
      }
      return true;
  }
  if (!is_good) {
    *why = kind_demand(s.type);
    return false;
  }
  return s.type == setting_type::boolean || check_range(s, out->number, why);
}

std::string config_nearest(std::string_view name, const std::vector<std::string>& known) {
  // A third of the name may be wrong, and two letters in a short one (they may have changed
  // places). A key without its table, or in the wrong one, is found by its last part.
  const auto best_of = [&](auto part, size_t length_min) {
    std::string best;
    uint32_t best_distance =
        std::max<uint32_t>(2, static_cast<uint32_t>(part(name).size() / 3)) + 1;
    for (const std::string& k : known) {
      if (k.empty() || part(name).size() < length_min) continue;
      const uint32_t d = edit_distance(part(name), part(k));
      if (d < best_distance && d < part(name).size()) {
        best = k;
        best_distance = d;
      }
    }
    return best;
  };
  const std::string near = best_of([](std::string_view k) { return k; }, 1);
  return near.empty() ? best_of(last_part, 3) : near;
}

err config_load(const config_schema& schema, const std::string& file_path,
                const std::vector<std::pair<std::string, std::string>>& flags,
                const char* const* environment, config* out,
                std::vector<std::string>* problems) noexcept {
  try {
    loading l{schema, out, problems};
    for (const setting& s : schema.settings)
      l.set(s, s.default_text, "default", "default", &out->values);
    if (!file_path.empty()) load_file(&l, file_path);
    load_environment(&l, environment);
    load_flags(&l, flags);
    return problems->empty() ? err::ok : err::invalid;
  } catch (...) {
    return err::full;
  }
}

std::string config_print(const config_schema& schema, const config& c) {
  std::string out;
  // TOML wants keys without a table first.
  for (const bool is_top : {true, false}) {
    std::string section;
    for (const setting& s : schema.settings) {
      const std::string_view key = s.key;
      const size_t dot = key.rfind('.');
      const auto v = c.values.find(s.key);
      if ((dot == std::string_view::npos) != is_top || v == c.values.end()) continue;
      if (!is_top && key.substr(0, dot) != section) {
        section = key.substr(0, dot);
        out += "\n[" + section + "]\n";
      }
      print_row(&out, s, v->second);
    }
  }
  for (const auto& [name, options] : c.groups) {
    out += name.empty() ? "\n[" + schema.group_unnamed + "]\n"
                        : "\n[" + schema.group + "." + toml_string(name) + "]\n";
    for (const setting& s : schema.group_settings) {
      const auto v = options.find(s.key);
      if (v != options.end()) print_row(&out, s, v->second);
    }
  }
  return out;
}

std::string config_markdown(const config_schema& schema) {
  constexpr const char* kHead =
      "| key | flag | environment | value | unit | default | what it is, and why so "
      "|\n|---|---|---|---|---|---|---|\n";
  std::string out = kHead;
  markdown_rows(&out, schema.settings, "");
  std::vector<std::string> done;
  for (const setting& s : schema.settings) {
    const std::string key = s.key;
    if (key.find('.') == std::string::npos) continue;
    const std::string section = key.substr(0, key.rfind('.'));
    if (std::find(done.begin(), done.end(), section) != done.end()) continue;
    done.push_back(section);
    out += "\n### [" + section + "]\n\n" + kHead;
    markdown_rows(&out, schema.settings, section);
  }
  if (schema.group.empty()) return out;
  out += "\n### [" + schema.group + ".NAME] and [" + schema.group_unnamed +
         "]\n\n| option | value | unit | what it is, and why so |\n|---|---|---|---|\n";
  for (const setting& s : schema.group_settings)
    out += "| `" + std::string(s.key) + "` | " + type_text(s) + " | " + s.unit + " | " + s.help +
           " |\n";
  return out;
}

}  // namespace core
