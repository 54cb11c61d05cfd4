// One making of settings, for the settings*.cc only: values with where they came from go in,
// settings and every problem come out.
#pragma once

#include <string>
#include <vector>

#include "core/config.h"
#include "server/settings.h"

namespace server {

struct making {
  core::config* c;
  settings* out;
  std::vector<std::string>* problems;

  const core::config_value& at(const char* key) const {
    static const core::config_value none;
    const auto v = c->values.find(key);
    return v == c->values.end() ? none : v->second;  // missing: its problem has been told
  }
  uint32_t number(const char* key) const { return static_cast<uint32_t>(at(key).number); }
  bool flag(const char* key) const { return at(key).flag; }
  const std::string& text(const char* key) const { return at(key).text; }
  void problem(const std::string& what) { problems->push_back(what); }
};

// [channel] and [namespace.*]. After the store's settings: streams bound what is kept.
void make_namespaces(making* m);
// [log]. After the node's name is known.
void make_log(making* m);

}  // namespace server
