// The built-in namespaces, and what a channel's name says about it.
#include "chat/settings.h"

#include "core/limits.h"

namespace chat {
namespace {

namespace_settings durable_namespace(const char* name) {
  namespace_settings ns;
  ns.name = name;
  ns.has_history = true;
  ns.force_recovery = true;
  ns.presence = true;
  ns.join_leave = true;
  ns.allow_subscribe_for_client = true;
  ns.allow_publish_for_subscriber = true;
  ns.allow_history_for_subscriber = true;
  ns.allow_presence_for_subscriber = true;
  ns.allow_user_limited_channels = true;
  return ns;
}

// Decodes one UTF-8 sequence (RFC 3629) and moves *at behind it; false when it is malformed.
bool utf8_next(std::string_view s, size_t* at, uint32_t* code) noexcept {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const uint32_t first = byte(*at);
  const uint32_t tails = first < 0x80                    ? 0
                         : first >= 0xc2 && first < 0xe0 ? 1
                         : first >= 0xe0 && first < 0xf0 ? 2
                         : first >= 0xf0 && first < 0xf5 ? 3
                                                         : 4;
  if (tails == 4 || s.size() - *at <= tails) return false;
  *code = tails == 0 ? first : first & (0x3fu >> tails);
  for (uint32_t i = 1; i <= tails; ++i) {
    const uint32_t c = byte(*at + i);
    if ((c & 0xc0) != 0x80) return false;
    *code = *code << 6 | (c & 0x3f);
  }
  *at += tails + 1;
  const bool is_overlong = (tails == 2 && *code < 0x800) || (tails == 3 && *code < 0x10000);
  return !is_overlong && *code <= 0x10ffff && (*code < 0xd800 || *code > 0xdfff);
}

// Spaces and invisible characters would make two names look the same.
bool is_name_character(uint32_t c) noexcept {
  if (c <= 0x20 || (c >= 0x7f && c <= 0xa0)) return false;
  if (c == 0x1680 || c == 0x3000 || c == 0x205f || c == 0xfeff) return false;
  return !((c >= 0x2000 && c <= 0x200f) || (c >= 0x2028 && c <= 0x202f) ||
           (c >= 0x2060 && c <= 0x206f));
}

bool is_good_name(std::string_view channel) noexcept {
  if (channel.empty() || channel.size() > core::kChannelBytesMax) return false;
  for (size_t at = 0; at < channel.size();) {
    uint32_t code = 0;
    if (!utf8_next(channel, &at, &code) || !is_name_character(code)) return false;
  }
  return true;
}

// The names behind the last '#', one call each; ends when fn returns false.
template <typename F>
void each_user(std::string_view channel, F fn) noexcept {
  const size_t hash = channel.rfind('#');
  if (hash == std::string_view::npos) return;
  std::string_view rest = channel.substr(hash + 1);
  while (true) {
    const size_t comma = rest.find(',');
    if (!fn(rest.substr(0, comma)) || comma == std::string_view::npos) return;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace

void settings_defaults(settings* s) noexcept {
  namespace_settings live = durable_namespace("live");
  live.has_history = live.force_recovery = live.presence = live.join_leave = false;
  s->namespaces = {durable_namespace(""), durable_namespace("dm"), live};
}

channel_rule channel_namespace(const settings& s, std::string_view channel,
                               uint16_t* index) noexcept {
  if (!is_good_name(channel)) return channel_rule::bad_name;
  std::string_view name = channel;
  if (name[0] == '$') name.remove_prefix(1);
  const size_t colon = name.find(':');
  // A ':' behind a '#' belongs to a user's name ("#auth0:7").
  if (colon == std::string_view::npos || name.find('#') < colon) {
    *index = 0;
    return channel_rule::ok;
  }
  name = name.substr(0, colon);
  for (size_t i = 1; i < s.namespaces.size(); ++i) {
    if (s.namespaces[i].name != name) continue;
    *index = static_cast<uint16_t>(i);
    return channel_rule::ok;
  }
  return channel_rule::unknown_namespace;
}

bool channel_is_user_limited(std::string_view channel) noexcept {
  return channel.find('#') != std::string_view::npos;
}

bool channel_is_personal(std::string_view channel) noexcept {
  return channel.size() > 1 && channel[0] == '#' &&
         channel.find_first_of("#,", 1) == std::string_view::npos;
}

bool personal_channel(const settings& s, std::string_view user, std::string* channel,
                      uint16_t* index) noexcept {
  channel->assign("#").append(user);
  return s.has_personal_channel && channel_is_personal(*channel) &&
         channel_namespace(s, *channel, index) == channel_rule::ok;
}

bool channel_users_sorted(std::string_view channel) noexcept {
  std::string_view before;
  bool is_sorted = channel_is_user_limited(channel);
  each_user(channel, [&](std::string_view user) {
    is_sorted = user > before;  // an empty name is never greater
    before = user;
    return is_sorted;
  });
  return is_sorted;
}

bool channel_admits(std::string_view channel, std::string_view user) noexcept {
  bool is_admitted = false;
  if (user.empty()) return false;  // anonymous is nobody's name
  each_user(channel, [&](std::string_view name) {
    is_admitted = name == user;
    return !is_admitted;
  });
  return is_admitted;
}

std::vector<std::string> channel_users(std::string_view channel) noexcept {
  std::vector<std::string> users;
  each_user(channel, [&](std::string_view name) {
    users.emplace_back(name);
    return true;
  });
  return users;
}

uint32_t channel_partition(std::string_view channel) noexcept {
  uint64_t hash = 14695981039346656037ull;  // FNV-1a, 64 bits
  for (const char c : channel) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return static_cast<uint32_t>(hash % core::kPartitions);
}

}  // namespace chat
