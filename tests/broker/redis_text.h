// A reply as text, for comparisons: +OK, -ERR x, 42, "string", nil, [a b].
#pragma once

#include <string>

#include "broker/redis_wire.h"

namespace broker {

inline std::string redis_text(const redis_reply& r) {
  switch (r.type) {
    case redis_type::nil:
      return "nil";
    case redis_type::status:
      return "+" + std::string(r.text);
    case redis_type::error:
      return "-" + std::string(r.text);
    case redis_type::string:
      return "\"" + std::string(r.text) + "\"";
    case redis_type::integer:
      return std::to_string(r.integer);
    case redis_type::array:
      break;
  }
  std::string out = "[";
  for (uint32_t i = 0; i < r.count; ++i) out += (i == 0 ? "" : " ") + redis_text(r.items[i]);
  return out + "]";
}

}  // namespace broker
