// One client of this loop: the protocol's commands in, replies and pushes out. States: fresh ->
// connecting -> connected -> ended.
//
// Commands are answered in the order that their results come; those of one channel keep their
// order: while a subscribe (or the connect) is on its way to the owner, later commands that concern
// the channel (or all) wait in the session's bounded queue.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "chat/hub.h"
#include "chat/node.h"
#include "core/end_reason.h"
#include "core/frame.h"
#include "proto/format.h"

namespace chat {

struct session;

// How a session reaches its connection. All on the loop's thread. After close() or disconnect() no
// further call is made for it.
struct link_ops {
  void (*send)(void* link, core::frame* f) noexcept;  // takes one reference
  // Sends a close frame with code and text behind what is queued, then closes.
  void (*disconnect)(void* link, core::end_reason why, uint16_t code,
                     std::string_view text) noexcept;
  // The client is accepted: larger messages may come.
  void (*connected)(void* link) noexcept;
  // Bytes that wait in the out-queue; may be null: unknown, taken as none. Recoveries that would
  // make the client slow are answered as not recovered.
  uint32_t (*queued)(void* link) noexcept = nullptr;
};

sessions* sessions_new(node_loop* n) noexcept;
void sessions_free(sessions* s) noexcept;

// A WebSocket has opened. The session is stale (3502) when no connect command comes within
// kStaleMsMax.
session* session_open(node_loop* n, const link_ops* ops, void* link, proto::format format) noexcept;
// One message: newline-separated commands. May disconnect. `bytes` has 64 readable and writable
// bytes behind len.
void session_message(session* s, char* bytes, uint32_t len) noexcept;
// The connection is gone: subscriptions and presence are given back, the session is freed.
void session_closed(session* s) noexcept;
// Who it is, for log lines. The user is empty before the connect command, and of the anonymous.
std::string_view session_user(const session* s) noexcept;
std::string session_client(const session* s) noexcept;

// For the hub, hot: format and frame queue of one subscriber.
void session_deliver(session* s, core::frame* f) noexcept;  // takes one reference
proto::format session_format(const session* s) noexcept;
void session_entry_moved(session* s, hub_channel* c, uint32_t entry) noexcept;
void session_insufficient(session* s, hub_channel* c) noexcept;  // see hub_insufficient()

// An ephemeral publication of the server on a user's personal channel; any loop of the node.
void tell_user(node_loop* n, std::string_view user, std::string&& data) noexcept;

// For the server API and the drain; on the session's loop. Filters: empty fits all. Each returns
// how many sessions it touched.
struct session_filter {
  std::string_view user, client, session;
  const std::vector<std::string>* except = nullptr;
};  // except: client ids
uint32_t sessions_disconnect(sessions* s, const session_filter& f, uint16_t code,
                             std::string_view text) noexcept;
uint32_t sessions_unsubscribe(sessions* s, const session_filter& f, std::string_view channel,
                              uint32_t code, std::string_view text) noexcept;
struct server_subscribe {
  std::string_view channel, info, data;  // raw JSON or empty
  int64_t expire_at = 0;
  bool presence = false, has_presence = false, join_leave = false, has_join_leave = false,
       recover = false;
  std::string_view recover_epoch;
  uint64_t recover_offset = 0;
  bool has_recover_since = false;
};
uint32_t sessions_subscribe(sessions* s, const session_filter& f,
                            const server_subscribe& sub) noexcept;
uint32_t sessions_refresh(sessions* s, const session_filter& f, int64_t expire_at,
                          bool is_expired) noexcept;
uint32_t sessions_count(const sessions* s) noexcept;
uint32_t sessions_users(
    const sessions* s) noexcept;  // different users of this loop; anonymous counts as one
// Drain: 3001 to `count` sessions, at random; returns how many are left.
uint32_t sessions_shutdown_some(sessions* s, uint32_t count) noexcept;

}  // namespace chat
