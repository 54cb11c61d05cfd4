// What servers may ask of a node: the operations of the HTTP server API, without HTTP. On any loop;
// the answer comes on the same loop, exactly once, perhaps inside the call.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "chat/codes.h"
#include "chat/node.h"
#include "chat/owner.h"
#include "chat/request.h"
#include "chat/roster.h"

namespace chat {

struct api_publish_request {
  std::string channel, data;  // data: checked raw JSON
  std::string tags;           // checked raw JSON object of strings, or empty
  std::string idempotency_key;
  bool skip_history = false;
};
struct api_publish_result {
  error code = error::ok;
  store::position at;
  bool is_duplicate = false;
};
using api_publish_cb = void (*)(void* user, api_publish_result&& r) noexcept;
void api_publish(node_loop* n, api_publish_request&& r, api_publish_cb cb, void* user) noexcept;

// Presence, presence_stats, history, remove_history: the request's answer as the owner gives it;
// the callee must not free r.
using api_request_cb = void (*)(void* user, request* r) noexcept;
void api_presence(node_loop* n, std::string_view channel, bool is_stats_only, api_request_cb cb,
                  void* user) noexcept;
struct api_history_request {
  std::string channel;
  int64_t limit = 0;
  bool has_since = false;
  store::position since;
  bool reverse = false;
};
void api_history(node_loop* n, const api_history_request& h, api_request_cb cb,
                 void* user) noexcept;  // fills request.publications
void api_history_remove(node_loop* n, std::string_view channel, api_request_cb cb,
                        void* user) noexcept;

// Operations on users, done on every loop of the node and sent to the other nodes by broker
// control.
struct api_user_op {
  enum class kind : uint8_t { subscribe, unsubscribe, disconnect, refresh } what = kind::disconnect;
  std::string user, client, session, channel, info, data, text, recover_epoch;
  std::vector<std::string> whitelist;  // disconnect: clients that stay
  uint32_t code = 0;  // disconnect: default 3503 "force disconnect"; unsubscribe: 2000
  int64_t expire_at = 0;
  bool is_expired = false;
  bool presence = false, has_presence = false, join_leave = false, has_join_leave = false;
  bool has_recover_since = false;
  uint64_t recover_offset = 0;
};
// ok also when it concerned nobody; other nodes are told, once, without waiting for them.
// too_many_requests: nothing was done.
using api_code_cb = void (*)(void* user, error code) noexcept;
void api_user(node_loop* n, api_user_op&& op, api_code_cb cb, void* user) noexcept;

// Of all nodes; internal: one of them did not answer, and `channels` is what the others have.
using api_channels_cb = void (*)(void* user, error code,
                                 const std::vector<channel_count>& channels) noexcept;
void api_channels(node_loop* n, std::string_view pattern, api_channels_cb cb, void* user) noexcept;

// This node first, then the others as they said last.
using api_info_cb = void (*)(void* user, error code,
                             const std::vector<node_status>& nodes) noexcept;
void api_info(node_loop* n, api_info_cb cb, void* user) noexcept;

// What another node's api_user() sent by broker control; bytes that are no such message are ignored
// and logged.
void api_control(node_loop* n, std::string_view bytes) noexcept;
// The operation as those bytes, and back; false: malformed.
void api_user_encode(const api_user_op& op, std::string* out) noexcept;
bool api_user_decode(std::string_view bytes, api_user_op* op) noexcept;

}  // namespace chat
