// Cutting texts at their places, and the two uses of the parts.
#include "loadgen/dialect_text.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "core/config.h"
#include "loadgen/stamp.h"
#include "proto/reply.h"

namespace loadgen {
namespace {

constexpr std::string_view kOpen = "${";

std::string in_braces(text_place p) {
  return "${" + std::string(text_place_name(p)) + "}";
}

std::string allowed_text(std::initializer_list<text_place> allowed) {
  if (allowed.size() == 0) return "none may be here";
  std::string out = "allowed here: ";
  for (const text_place* p = allowed.begin(); p != allowed.end(); ++p)
    out += (p == allowed.begin() ? "" : ", ") + in_braces(*p);
  return out;
}

bool find_place(const std::string& name, std::initializer_list<text_place> allowed, text_place* out,
                std::string* why) {
  std::vector<std::string> names;
  for (const text_place p : allowed) {
    names.emplace_back(text_place_name(p));
    if (name != names.back()) continue;
    *out = p;
    return true;
  }
  const std::string near = core::config_nearest(name, names);
  *why = "has ${" + name + "}, which has no meaning in it; " + allowed_text(allowed) +
         (near.empty() ? "" : "; did you mean ${" + near + "}?");
  return false;
}

// How much of `text`, which begins with a message's data, that is. `behind` follows it in the
// pattern.
size_t data_size(std::string_view text, const std::string& behind) noexcept {
  stamp unused;
  size_t at = 0, len = 0;
  if (stamp_read(text, &unused, &at, &len) != stamp_result::foreign) return at + len;
  return text.find(behind);
}

bool is_load_message(std::string_view text) noexcept {
  stamp unused;
  size_t at = 0, len = 0;
  return stamp_read(text, &unused, &at, &len) != stamp_result::foreign && at == 0;
}

bool take_id(std::string_view text, size_t* size, uint32_t* id) noexcept {
  const auto [end, rc] = std::from_chars(text.data(), text.data() + text.size(), *id);
  *size = static_cast<size_t>(end - text.data());
  return rc == std::errc();
}

// The value of a place at the beginning of `text`: *size bytes of it.
bool take_place(text_place place, std::string_view text, const text_part* next, size_t* size,
                text_found* out) noexcept {
  if (place == text_place::id) return take_id(text, size, &out->id);
  if (next == nullptr) {
    *size = text.size();
  } else if (place == text_place::data) {
    *size = data_size(text, next->literal);
  } else {
    *size = text.find(next->literal);
  }
  if (*size > text.size()) return false;
  if (place == text_place::channel) out->channel = text.substr(0, *size);
  if (place == text_place::error) out->error = text.substr(0, *size);
  if (place == text_place::data) out->data = text;
  return true;
}

}  // namespace

const char* text_place_name(text_place p) noexcept {
  static constexpr const char* kNames[] = {"",     "channel", "data",  "id",
                                           "user", "token",   "error", "any"};
  static_assert(std::size(kNames) == static_cast<size_t>(text_place::kCount));
  return kNames[static_cast<size_t>(p)];
}

bool text_parse(std::string_view text, std::initializer_list<text_place> allowed, text_pattern* out,
                std::string* why) {
  out->clear();
  while (!text.empty()) {
    const size_t open = std::min(text.find(kOpen), text.size());
    if (open > 0) out->push_back({text_place::literal, std::string(text.substr(0, open))});
    text.remove_prefix(open);
    if (text.empty()) break;
    const size_t close = text.find('}');
    if (close == std::string_view::npos) {
      *why = "has a ${ without its }";
      return false;
    }
    text_part part;
    const std::string name(text.substr(kOpen.size(), close - kOpen.size()));
    if (!find_place(name, allowed, &part.place, why)) return false;
    out->push_back(part);
    text.remove_prefix(close + 1);
  }
  return true;
}

bool text_has(const text_pattern& p, text_place place) noexcept {
  return std::any_of(p.begin(), p.end(), [place](const text_part& x) { return x.place == place; });
}

bool text_can_match(const text_pattern& p, std::string* why) {
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i].place == text_place::literal) continue;
    if (i + 1 < p.size() && p[i + 1].place != text_place::literal) {
      *why = "has nothing between " + in_braces(p[i].place) + " and " + in_braces(p[i + 1].place) +
             ": nobody could say where the first ends";
      return false;
    }
    const auto again = std::find_if(
        p.begin(), p.begin() + static_cast<ptrdiff_t>(i),
        [&](const text_part& x) { return x.place == p[i].place && x.place != text_place::any; });
    if (again != p.begin() + static_cast<ptrdiff_t>(i)) {
      *why = "has " + in_braces(p[i].place) + " twice";
      return false;
    }
  }
  return true;
}

void text_write(const text_pattern& p, const text_values& v, std::string* out) noexcept {
  for (const text_part& part : p) {
    switch (part.place) {
      case text_place::literal:
        out->append(part.literal);
        break;
      case text_place::channel:
        out->append(v.channel);
        break;
      case text_place::data:
        out->append(v.data);
        break;
      case text_place::id:
        proto::json_u64(out, v.id);
        break;
      case text_place::user:
        out->append(v.user);
        break;
      case text_place::token:
        out->append(v.token);
        break;
      case text_place::error:
      case text_place::any:
      case text_place::kCount:
        break;
    }
  }
}

bool text_match(const text_pattern& p, std::string_view message, text_found* out) noexcept {
  if (!p.empty() && p[0].place == text_place::data && !is_load_message(message)) return false;
  for (size_t i = 0; i < p.size(); ++i) {
    size_t size = p[i].literal.size();
    if (p[i].place == text_place::literal) {
      if (!message.starts_with(p[i].literal)) return false;
    } else if (!take_place(p[i].place, message, i + 1 < p.size() ? &p[i + 1] : nullptr, &size,
                           out)) {
      return false;
    }
    message.remove_prefix(size);
  }
  return true;
}

}  // namespace loadgen
