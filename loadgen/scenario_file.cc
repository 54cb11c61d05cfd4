// The adapter of toml++.
#include "loadgen/scenario_file.h"

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
// Its parser asserts that a key begins like one, and reports an error for the same behind it: a
// mistake in a file ("[=") must reach the report.
#define TOML_ASSERT(expr) static_assert(true)
#include <toml++/toml.h>

#include <algorithm>

namespace loadgen {
namespace {

uint32_t line_of(const toml::node& node) {
  return static_cast<uint32_t>(node.source().begin.line);
}

void take_table(const toml::table& from, file_table* out);

file_value value_of(std::string_view key, const toml::node& node) {
  file_value v;
  v.key = key;
  v.line = line_of(node);
  if (const auto* b = node.as_boolean()) {
    v.kind = file_kind::boolean;
    v.flag = b->get();
  } else if (const auto* i = node.as_integer()) {
    v.kind = file_kind::integer;
    v.integer = i->get();
    v.number = static_cast<double>(i->get());
  } else if (const auto* f = node.as_floating_point()) {
    v.kind = file_kind::number;
    v.number = f->get();
  } else if (const auto* s = node.as_string()) {
    v.kind = file_kind::text;
    v.text = s->get();
  } else if (const auto* t = node.as_table()) {
    v.kind = file_kind::table;
    take_table(*t, &v.tables.emplace_back());
  } else if (const auto* a = node.as_array(); a != nullptr && a->is_array_of_tables()) {
    v.kind = file_kind::table_list;
    for (const toml::node& item : *a) take_table(*item.as_table(), &v.tables.emplace_back());
  } else if (const auto* texts = node.as_array();
             texts != nullptr && (texts->empty() || texts->is_homogeneous<std::string>())) {
    v.kind = file_kind::text_list;
    for (const toml::node& item : *texts) v.texts.push_back(item.as_string()->get());
  }
  return v;
}

void take_table(const toml::table& from, file_table* out) {
  out->line = line_of(from);
  for (const auto& [key, node] : from) {
    out->values.push_back(value_of(key.str(), node));
    // A value is where its key is, also when it begins on the next line.
    out->values.back().line = static_cast<uint32_t>(key.source().begin.line);
  }
  std::stable_sort(out->values.begin(), out->values.end(),
                   [](const file_value& a, const file_value& b) { return a.line < b.line; });
}

}  // namespace

bool file_table_parse(std::string_view text, file_table* out, uint32_t* line, std::string* why) {
  const toml::parse_result r = toml::parse(text);
  if (!r) {
    *line = static_cast<uint32_t>(r.error().source().begin.line);
    *why = r.error().description();
    return false;
  }
  take_table(r.table(), out);
  return true;
}

}  // namespace loadgen
