// The channels that this loop owns: their position, recent publications, which loops have
// subscribers. The only one who talks to broker and store for them.
//
// State of a channel: unknown -> loading (its position is being read; requests wait) -> live. It is
// forgotten kOwnerLingerMs after the last subscriber, or earlier when more than
// kOwnerIdleChannelsMax linger. Invariant while live with history: `top` is
// the newest committed publication; everything up to it has been handed to every loop in the
// channel's set, in order, or that loop is marked behind.
//
// Subscribe: the loop is added to the set and the answer is posted in one step, so publications
// after the answer's position reach the loop after the answer, and those up to it are in the answer
// (recovery) or before the client's time. Nothing is missed or doubled.
#pragma once

#include "chat/node.h"
#include "chat/request.h"

namespace chat {

owner* owner_new(node_loop* n) noexcept;
void owner_free(owner* o) noexcept;
// Takes r; on the owner's loop.
void owner_handle(owner* o, request* r) noexcept;
// For the server API: names and client counts of channels that have subscribers and whose whole
// name fits the glob `pattern` (* and ?; "" fits all).
struct channel_count {
  std::string channel;
  uint32_t clients;
};
void owner_channels(owner* o, std::string_view pattern, std::vector<channel_count>* out) noexcept;
void owner_totals(const owner* o, uint32_t* channels,
                  uint32_t* subscriptions) noexcept;  // likewise, without names
// The broker's callbacks; user is the owner.
const broker::broker_events* owner_broker_events() noexcept;

}  // namespace chat
