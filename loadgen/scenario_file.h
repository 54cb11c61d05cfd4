// A TOML text as plain tables with line numbers: all that scenario.cc and dialect_file.cc need to
// know of TOML. toml++ stands behind it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace loadgen {

enum class file_kind : uint8_t {
  boolean,
  integer,
  number,
  text,
  text_list,
  table,
  table_list,
  other
};

struct file_value;

struct file_table {
  uint32_t line = 0;
  std::vector<file_value> values;
};

struct file_value {
  std::string key;
  uint32_t line = 0;
  file_kind kind = file_kind::other;
  bool flag = false;
  int64_t integer = 0;
  double number = 0;  // of an integer, too
  std::string text;
  std::vector<std::string> texts;  // text_list; an empty array is one
  std::vector<file_table> tables;  // table: one
};

// False: it is not TOML; *line and *why say where and why.
bool file_table_parse(std::string_view text, file_table* out, uint32_t* line, std::string* why);

}  // namespace loadgen
