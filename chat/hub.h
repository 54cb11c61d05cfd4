// Who of this loop's clients is subscribed to what: delivery appends a reference of one shared
// frame to each out-queue.
#pragma once

#include <cstdint>
#include <string_view>

#include "chat/node.h"
#include "core/frame.h"
#include "proto/format.h"

namespace chat {

struct session;

enum class delivery_kind : uint8_t { publication, join_leave };

// A channel that has subscribers on this loop; an entry of it is 8 bytes.
struct hub_channel;

// How the hub reaches a subscriber; chat/session.h says what each does. deliver() takes one
// reference and may remove its own entry (a slow client), no other.
struct hub_receiver {
  void (*deliver)(session* s, core::frame* f) noexcept;
  void (*moved)(session* s, hub_channel* c, uint32_t entry) noexcept;
  void (*insufficient)(session* s, hub_channel* c) noexcept;
};
extern const hub_receiver kHubSessions;  // session_deliver() and so on

hub* hub_new(node_loop* n, const hub_receiver* receiver = &kHubSessions) noexcept;
void hub_free(hub* h) noexcept;

// Adds; *entry is where it stands, kept up to date through session_entry_moved(). Returns the
// channel's object, whose name is shared by all subscriptions of the loop.
hub_channel* hub_add(hub* h, std::string_view channel, uint16_t ns, session* s,
                     bool wants_join_leave, uint32_t* entry) noexcept;
void hub_remove(hub* h, hub_channel* c,
                uint32_t entry) noexcept;  // frees c with its last subscriber
std::string_view hub_name(const hub_channel* c) noexcept;
uint16_t hub_namespace(const hub_channel* c) noexcept;

// Queues the frame to all subscribers (join_leave: to those that want them). Borrows the frame:
// takes as many references as there are receivers in one add. frames[format] may be null for a
// format that no subscriber uses. Counts deliveries and messages_out.
void hub_deliver(hub* h, std::string_view channel, core::frame* const frames[],
                 delivery_kind kind) noexcept;
// Every subscriber with a position is unsubscribed with 2500 (server-side subscriptions:
// disconnected with 3010). Calls insufficient() of each; it may remove its own entry and add
// others.
void hub_insufficient(hub* h, std::string_view channel) noexcept;

uint32_t hub_subscribers(const hub* h, std::string_view channel) noexcept;

}  // namespace chat
