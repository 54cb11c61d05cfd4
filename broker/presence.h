// Who is in which channel, on one loop: one compact entry a client, listed by channel, found by
// (channel, client).
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "broker/broker.h"

namespace broker {

// A client in a channel, in one allocation: this head (32 bytes), then the bytes of client, user
// and info. With the table's node and slot an entry costs about 90 bytes beside its strings.
struct presence_entry {
  presence_entry* prev;  // in the channel's list
  presence_entry* next;
  struct presence_channel* channel;
  uint16_t client_bytes;
  uint16_t user_bytes;
  uint32_t info_bytes : 30;
  uint32_t has_join_leave : 1;
  mutable uint32_t is_announced : 1;  // the broker's: others know of it
};

inline std::string_view presence_client(const presence_entry* e) noexcept {
  return {reinterpret_cast<const char*>(e + 1), e->client_bytes};
}
inline std::string_view presence_user(const presence_entry* e) noexcept {
  return {reinterpret_cast<const char*>(e + 1) + e->client_bytes, e->user_bytes};
}
inline std::string_view presence_info(const presence_entry* e) noexcept {
  return {reinterpret_cast<const char*>(e + 1) + e->client_bytes + e->user_bytes, e->info_bytes};
}

// Invariant: count is the length of the list that begins at first, oldest member first.
struct presence_channel {
  presence_entry* first = nullptr;
  presence_entry* last = nullptr;
  uint32_t count = 0;
};

struct presence_key {
  const presence_channel* channel;
  std::string_view client;
};

struct presence_hash {
  using is_transparent = void;
  size_t operator()(const presence_key& k) const noexcept {
    return std::hash<std::string_view>()(k.client) ^
           (std::hash<const void*>()(k.channel) * 0x9e3779b97f4a7c15u);
  }
  size_t operator()(const presence_entry* e) const noexcept {
    return (*this)(presence_key{e->channel, presence_client(e)});
  }
};

struct presence_equal {
  using is_transparent = void;
  static presence_key key(const presence_entry* e) noexcept {
    return {e->channel, presence_client(e)};
  }
  static presence_key key(const presence_key& k) noexcept { return k; }
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const noexcept {
    const presence_key x = key(a), y = key(b);
    return x.channel == y.channel && x.client == y.client;
  }
};

// When channels were left, the newest kLastSeenMax.
class last_seen {
 public:
  void note(const std::string& channel, int64_t now_ms);
  int64_t at(const std::string& channel, int64_t now_ms) const noexcept;  // 0: not known

 private:
  std::unordered_map<std::string, int64_t> left_;
  std::deque<std::pair<std::string, int64_t>> order_;  // those that were overtaken stay until then
};

class presence_table {
 public:
  presence_table() = default;
  presence_table(const presence_table&) = delete;
  presence_table& operator=(const presence_table&) = delete;
  ~presence_table();

  // too_big: client or user is longer than 65535 bytes, or info than 2^30 - 1.
  core::err add(const std::string& channel, const member& m) noexcept;
  void remove(const std::string& channel, std::string_view client) noexcept;
  std::vector<member> members(const std::string& channel, uint32_t limit) const noexcept;
  // Counts the distinct users by walking over all clients: an operator's question, not a message's
  // path.
  presence_counts counts(const std::string& channel) const noexcept;
  const presence_entry* find(const std::string& channel, std::string_view client) const noexcept;
  bool has(const std::string& channel) const noexcept { return channels_.count(channel) > 0; }
  // fn(const std::string& channel, const presence_entry*); it may not change the table.
  template <typename Fn>
  void each(Fn fn) const {
    for (const auto& [channel, c] : channels_)
      for (const presence_entry* e = c.first; e != nullptr; e = e->next) fn(channel, e);
  }

 private:
  std::unordered_map<std::string, presence_channel> channels_;  // those with members
  std::unordered_set<presence_entry*, presence_hash, presence_equal> entries_;
};

}  // namespace broker
