// The nodes that share the broker: who is there and with how much load, and questions to all of
// them. On loop 0; everything on its thread.
//
// Each node tells its status every kRosterPeriodMs by broker control, at once when somebody new
// says hello, and says goodbye when it stops. Who has been silent for kRosterGoneMs is gone. So the
// cost grows with nodes, not with clients, and nobody keeps a list that a crash leaves wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "chat/codes.h"
#include "chat/node.h"
#include "chat/owner.h"

namespace chat {

inline constexpr uint32_t kRosterPeriodMs = 4000;
inline constexpr uint32_t kRosterGoneMs = 3 * kRosterPeriodMs + 500;
inline constexpr uint32_t kRosterAnswerMs = 2000;  // what one question may take
inline constexpr uint32_t kRosterAnswerBytesMax = 1024 * 1024;

struct node_status {
  std::string id, name, version;
  int64_t started_ms = 0;  // Unix time
  // users: of all loops added up, so a user with clients on two loops counts on both.
  uint32_t clients = 0, users = 0, channels = 0, subscriptions = 0;
};

struct roster;

roster* roster_new(node_loop* n) noexcept;
void roster_free(roster* r) noexcept;  // what is asked gets no answer

// A control message of another node: the kinds that are not user operations.
void roster_hear(roster* r, std::string_view bytes) noexcept;
// The others, by name and id.
std::vector<node_status> roster_others(const roster* r);
// Goodbye: nobody waits for this node's answers any more. It tells no status after it.
void roster_leave(roster* r) noexcept;

// The channels of all other nodes, as owner_channels() finds them. Not ok: nobody was asked. Else
// the callback comes once: internal when a node did not answer in time, limit_exceeded when one has
// more than kRosterAnswerBytesMax.
using roster_channels_cb = void (*)(void* user, error code,
                                    std::vector<channel_count>&& found) noexcept;
core::err roster_ask_channels(roster* r, std::string_view pattern, roster_channels_cb cb,
                              void* user) noexcept;
bool roster_is_alone(const roster* r) noexcept;

// This node's status without numbers; and the numbers of one loop.
node_status roster_self(const node_loop* n);
void roster_add(const node_loop* here, node_status* sum) noexcept;

}  // namespace chat
