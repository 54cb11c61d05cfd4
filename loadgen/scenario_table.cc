// The reader's types and their sentences.
#include "loadgen/scenario_table.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "core/config.h"

namespace loadgen {

std::vector<std::string> problem_texts(const problem_list& from) {
  std::vector<std::string> out;
  for (const auto& [line, text] : from.by_line)
    out.push_back(from.file + ":" + std::to_string(std::max(1u, line)) + ": " + text);
  return out;
}

core::err small_file_read(const std::string& path, const char* what, std::string* out,
                          std::vector<std::string>* problems) {
  constexpr size_t kFileBytesMax = 1 << 20;  // a wrong path may be a database
  std::ifstream in(path, std::ios::binary);
  if (!in) return core::err::not_found;
  std::string text(kFileBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (in.gcount() == 0 && !in.eof())) return core::err::io;
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > kFileBytesMax) {
    problems->push_back(path + ":1: the file is larger than 1 MiB, so it is not a " + what);
    return core::err::invalid;
  }
  *out = std::move(text);
  return core::err::ok;
}

std::string plain_number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", v);
  return text;
}

std::string in_quotes(const std::string& text) {
  std::string out = "\"";
  return out.append(text).append("\"");
}

const file_value* table_reader::find(const char* key) const {
  const auto at = std::find_if(from.values.begin(), from.values.end(),
                               [key](const file_value& v) { return v.key == key; });
  return at == from.values.end() ? nullptr : &*at;
}

uint32_t table_reader::line(const char* key) const {
  const file_value* v = find(key);
  return v != nullptr ? v->line : from.line;
}

std::string table_reader::full(const std::string& key) const {
  return name.empty() ? key : name + " " + key;
}

void table_reader::problem(const char* key, std::string&& text) {
  problems->add(line(key), full(key) + " " + text);
}

void table_reader::refuse(std::initializer_list<const char*> keys, const std::string& text) {
  for (const char* key : keys) {
    if (has(key)) problem(key, std::string(text));
  }
}

const file_value* table_reader::take(const char* key) {
  known.emplace_back(key);
  return find(key);
}

void table_reader::boolean(const char* key, bool* out) {
  const file_value* v = take(key);
  if (v == nullptr) return;
  if (v->kind != file_kind::boolean) return problem(key, "must be true or false");
  *out = v->flag;
}

void table_reader::text(const char* key, std::string* out) {
  const file_value* v = take(key);
  if (v == nullptr) return;
  if (v->kind != file_kind::text) return problem(key, "must be a text in quotes");
  *out = v->text;
}

void table_reader::texts(const char* key, std::vector<std::string>* out) {
  const file_value* v = take(key);
  if (v == nullptr) return;
  if (v->kind != file_kind::text_list)
    return problem(key, "must be a list of texts in quotes, [\"…\", \"…\"]");
  *out = v->texts;
}

void table_reader::integer(const char* key, uint32_t* out, uint32_t min, uint32_t max) {
  uint64_t wide = *out;
  integer64(key, &wide, min, max);
  *out = static_cast<uint32_t>(wide);
}

void table_reader::integer64(const char* key, uint64_t* out, uint64_t min, uint64_t max) {
  const file_value* v = take(key);
  if (v == nullptr) return;
  const bool is_right = v->kind == file_kind::integer && v->integer >= 0 &&
                        static_cast<uint64_t>(v->integer) >= min &&
                        static_cast<uint64_t>(v->integer) <= max;
  if (!is_right)
    return problem(
        key, "must be a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  *out = static_cast<uint64_t>(v->integer);
}

void table_reader::number(const char* key, double* out, double min, double max) {
  const file_value* v = take(key);
  if (v == nullptr) return;
  const bool is_number = v->kind == file_kind::integer || v->kind == file_kind::number;
  if (!is_number || !(v->number >= min && v->number <= max))  // nan is in no range
    return problem(key, "must be a number from " + plain_number(min) + " to " + plain_number(max));
  *out = v->number;
}

size_t table_reader::index_of(const char* key, const std::vector<std::string>& names) {
  const file_value* v = take(key);
  if (v == nullptr) return names.size();
  const bool is_text = v->kind == file_kind::text;
  const auto at = std::find(names.begin(), names.end(), v->text);
  if (is_text && at != names.end()) return static_cast<size_t>(at - names.begin());
  std::string all;
  for (const std::string& n : names) all += (all.empty() ? "" : ", ") + in_quotes(n);
  const std::string near = is_text ? core::config_nearest(v->text, names) : std::string();
  problem(key, "must be one of " + all +
                   (near.empty() ? "" : "; did you mean " + in_quotes(near) + "?"));
  return names.size();
}

const file_value* table_reader::tables(const char* key, bool is_list) {
  const file_value* v = take(key);
  if (v == nullptr || v->kind == (is_list ? file_kind::table_list : file_kind::table)) return v;
  problem(key, is_list ? "must be tables, each under [[" + std::string(key) + "]]"
                       : "must be one table, under [" + std::string(key) + "]");
  return nullptr;
}

void table_reader::end() {
  for (const file_value& v : from.values) {
    if (std::find(known.begin(), known.end(), v.key) != known.end()) continue;
    const std::string near = core::config_nearest(v.key, known);
    problems->add(
        v.line, full(v.key) + " is unknown" + (near.empty() ? "" : "; did you mean " + near + "?"));
  }
}

}  // namespace loadgen
