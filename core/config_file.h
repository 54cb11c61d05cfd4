// A TOML file as flat entries: what core/config.cc needs of the TOML library. Seam between the two,
// not for others.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/err.h"

namespace core {

enum class config_kind : uint8_t { table, boolean, integer, text, text_list, other };

struct config_entry {
  std::vector<std::string> path;  // "namespace", "chat", "presence"
  config_kind kind = config_kind::other;
  std::string text;  // of a boolean, an integer, a text
  std::vector<std::string> list;
  uint32_t line = 0;
};

// Entries in the order of a walk: a table stands before what is in it. not_found, io, too_big (more
// than 1 MiB), malformed, with a sentence in *why.
err config_file_read(const std::string& path, std::vector<config_entry>* out,
                     std::string* why) noexcept;

}  // namespace core
