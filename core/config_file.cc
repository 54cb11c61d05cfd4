// The adapter of toml++: reads a file and flattens it.
#include "core/config_file.h"

#include <fstream>
#include <sstream>

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace core {
namespace {

constexpr uint32_t kConfigFileBytesMax =
    1024 * 1024;  // a settings file is a few KiB; a wrong path may be a database

void flatten(const toml::table& t, const std::vector<std::string>& path,
             std::vector<config_entry>* out) {
  for (const auto& [key, node] : t) {
    config_entry e;
    e.path = path;
    e.path.emplace_back(key.str());
    e.line = static_cast<uint32_t>(node.source().begin.line);
    if (const toml::table* sub = node.as_table()) {
      e.kind = config_kind::table;
      out->push_back(e);
      flatten(*sub, e.path, out);
      continue;
    }
    if (const auto* b = node.as_boolean()) {
      e.kind = config_kind::boolean;
      e.text = b->get() ? "true" : "false";
    } else if (const auto* i = node.as_integer()) {
      e.kind = config_kind::integer;
      e.text = std::to_string(i->get());
    } else if (const auto* s = node.as_string()) {
      e.kind = config_kind::text;
      e.text = s->get();
    } else if (const toml::array* a = node.as_array()) {
      e.kind = config_kind::text_list;
      for (const toml::node& item : *a) {
        const auto* text = item.as_string();
        if (text == nullptr) {
          e.kind = config_kind::other;
          break;
        }
        e.list.push_back(text->get());
      }
    }
    out->push_back(std::move(e));
  }
}

}  // namespace

err config_file_read(const std::string& path, std::vector<config_entry>* out,
                     std::string* why) noexcept {
  try {
    std::ifstream in(path, std::ios::binary);
    if (!in) {
      *why = "the file " + path + " cannot be opened";
      return err::not_found;
    }
    std::string text(kConfigFileBytesMax + 1, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (in.bad() || (in.gcount() == 0 && !in.eof())) {
      *why = "the file " + path + " cannot be read";
      return err::io;
    }
    text.resize(static_cast<size_t>(in.gcount()));
    if (text.size() > kConfigFileBytesMax) {
      *why = "the file " + path + " is larger than 1 MiB, so it is not a settings file";
      return err::too_big;
    }
    const toml::parse_result r = toml::parse(std::string_view(text));
    if (!r) {
      *why = path + ":" + std::to_string(r.error().source().begin.line) + ": " +
             std::string(r.error().description());
      return err::malformed;
    }
    flatten(r.table(), {}, out);
    return err::ok;
  } catch (...) {
    *why = "the file " + path + " cannot be read";
    return err::io;
  }
}

}  // namespace core
