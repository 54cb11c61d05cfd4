// What the operator chose: limits of clients and the rules of namespaces. Made once before the
// loops start, then shared and constant.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "proto/token.h"
#include "store/publication.h"

namespace chat {

// Option names are Centrifugo's channel options, so that its documentation applies.
struct namespace_settings {
  std::string name;          // "": channels without a namespace
  bool has_history = false;  // history_size and history_ttl > 0, or "forever"
  store::retention keep;     // history_size, history_ttl
  bool force_recovery = false, allow_recovery = false;
  bool force_positioning = false, allow_positioning = false;
  bool presence = false;
  bool join_leave = false;             // join and leave events exist
  bool force_push_join_leave = false;  // … and go to every subscriber, asked or not
  bool allow_subscribe_for_client = false, allow_subscribe_for_anonymous = false;
  bool allow_publish_for_client = false, allow_publish_for_subscriber = false,
       allow_publish_for_anonymous = false;
  bool allow_history_for_client = false, allow_history_for_subscriber = false,
       allow_history_for_anonymous = false;
  bool allow_presence_for_client = false, allow_presence_for_subscriber = false,
       allow_presence_for_anonymous = false;
  bool allow_user_limited_channels = false;
  bool acknowledge_stored = false;  // authors are answered when the store has it for good
  uint32_t publication_bytes_max = 64 * 1024;  // data of one publication; beyond: error 107
};

struct settings {
  std::vector<namespace_settings> namespaces;  // [0] is the one without name
  proto::token_keys token_keys;
  proto::token_keys sub_token_keys;  // empty: token_keys serve both
  bool allow_anonymous = false;      // clients without a token may connect
  bool is_insecure =
      false;  // --insecure-dev: no token needed; every right in every channel; expiry ignored
  bool has_personal_channel = true;  // connect subscribes user U to "#U"
  bool has_online = true;            // users may ask by rpc which users are connected
  std::string version;               // told in connect replies
  std::string node_name;
  std::string node_id;     // of this start
  int64_t started_ms = 0;  // Unix time
  uint32_t ping_ms = 25'000, pong_wait_ms = 10'000;
  uint32_t queue_bytes_max = 1024 * 1024;  // out-queue of a connection
  uint32_t recovery_bytes_max =
      512 * 1024;  // beyond: recovered:false; at most half of queue_bytes_max and 512 KiB
  uint32_t channels_per_client_max = 128;
  uint32_t connections_per_user_max = 0;                   // 0: no bound
  uint64_t connections_max = 0;                            // 0: no bound but the descriptors
  uint32_t handshakes_per_s = 0, handshakes_burst = 1000;  // of each loop; 0: no bound
  // Token buckets per connection: commands a second and how many may come at once. 0: no bound. The
  // burst of commands also allows connect plus a subscribe of every channel.
  uint32_t commands_per_s = 200, commands_burst = 400;
  uint32_t publishes_per_s = 100, publishes_burst = 200;
  uint32_t typings_per_s = 2, typings_burst = 4;
  uint32_t refused_max = 1000;  // error replies in a minute before 3509
  int64_t idempotency_ttl_ms = 24 * 3600 * 1000;
  uint32_t shutdown_ms = 5000;  // pacing of the 3001 batches
  const core::clock_source* clock = core::system_clock();
  core::random_source* random = core::system_random();
};

// What a deployment without a config file has: no namespace and `dm:` keep history for good with
// recovery, presence and join_leave; `live:` keeps none; users subscribe, subscribers publish and
// read history and presence.
void settings_defaults(settings* s) noexcept;

// Channel names: 1..255 bytes of printable ASCII or UTF-8 without spaces and control characters;
// `ns:rest`.
enum class channel_rule : uint8_t { ok, bad_name, unknown_namespace };
// The channel's namespace: its index in settings.namespaces. A channel that begins with '$' (token
// needed) or '#' works likewise: the namespace is what stands before the first ':' without a
// leading '$'.
channel_rule channel_namespace(const settings& s, std::string_view channel,
                               uint16_t* index) noexcept;
inline bool channel_needs_token(std::string_view channel) noexcept {
  return !channel.empty() && channel[0] == '$';
}
bool channel_is_user_limited(std::string_view channel) noexcept;  // has a '#'
// "#alice": the channel that connect subscribes alice to. False: the user's name makes no channel,
// or one that would admit others ("a,b", "x#bob"); such a user has none.
bool personal_channel(const settings& s, std::string_view user, std::string* channel,
                      uint16_t* index) noexcept;
bool channel_is_personal(std::string_view channel) noexcept;
bool channel_users_sorted(
    std::string_view channel) noexcept;  // "dm:#alice,bob": strictly ascending
bool channel_admits(
    std::string_view channel,
    std::string_view user) noexcept;  // is `user` one of the names after the last '#'?
std::vector<std::string> channel_users(std::string_view channel) noexcept;
uint32_t channel_partition(std::string_view channel) noexcept;  // FNV-1a 64 mod kPartitions

}  // namespace chat
