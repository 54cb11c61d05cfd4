// A strict reader of one table of a scenario or dialect file: each key is asked for once, by its
// name, type and range; every problem is collected, and what nobody asked for is unknown.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "core/err.h"
#include "loadgen/scenario_file.h"

namespace loadgen {

// All problems of a file, by line.
struct problem_list {
  std::string file;
  std::multimap<uint32_t, std::string> by_line;
  void add(uint32_t line, std::string&& text) { by_line.emplace(line, std::move(text)); }
};

// "file:line: text", by line.
std::vector<std::string> problem_texts(const problem_list& from);
// A small text file. not_found, io, or invalid when it is larger than 1 MiB: then *problems says
// that it is no `what` ("scenario").
core::err small_file_read(const std::string& path, const char* what, std::string* out,
                          std::vector<std::string>* problems);

std::string plain_number(double v);  // "0.5", "1000000"
std::string in_quotes(const std::string& text);

template <typename E>
struct choice {
  const char* name;
  E value;
};

// A missing key leaves *out as it is, and so does a wrong value.
struct table_reader {
  const file_table& from;
  std::string name;  // "[churn]", "[[rooms]]"; empty: the top
  problem_list* problems;
  std::vector<std::string> known;

  bool has(const char* key) const { return find(key) != nullptr; }
  const file_value* find(const char* key) const;
  uint32_t line(const char* key) const;  // the key's, or the table's when it is missing
  void problem(const char* key, std::string&& text);  // `text` goes on after the key's name
  // For each of the keys that is there.
  void refuse(std::initializer_list<const char*> keys, const std::string& text);

  void boolean(const char* key, bool* out);
  void text(const char* key, std::string* out);
  void texts(const char* key, std::vector<std::string>* out);
  void integer(const char* key, uint32_t* out, uint32_t min, uint32_t max);
  void integer64(const char* key, uint64_t* out, uint64_t min, uint64_t max);
  void number(const char* key, double* out, double min, double max);
  template <typename E, size_t n>
  void one_of(const char* key, E* out, const choice<E> (&choices)[n]) {
    std::vector<std::string> names;
    for (const choice<E>& c : choices) names.emplace_back(c.name);
    const size_t at = index_of(key, names);
    if (at < n) *out = choices[at].value;
  }
  // [key] or [[key]]; null: there is none, or it is something else.
  const file_value* tables(const char* key, bool is_list);
  void end();  // reports the unknown ones, each with the nearest known name

 private:
  const file_value* take(const char* key);
  std::string full(const std::string& key) const;
  size_t index_of(const char* key, const std::vector<std::string>& names);
};

}  // namespace loadgen
