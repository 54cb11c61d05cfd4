// The chat part of a node: one object per loop, made by server/. No sockets, no Redis, no SQL here.
//
//   session (client's loop) --request--> owner (channel's loop) --> broker --> store
//   session <--reply-------- owner ;  hub (each loop with subscribers) <--delivery-- owner
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/broker.h"
#include "chat/settings.h"
#include "core/metrics.h"
#include "core/post.h"
#include "core/timer_wheel.h"
#include "proto/command.h"
#include "store/store.h"

namespace chat {

struct hub;       // local subscribers, chat/hub.h
struct owner;     // channels this loop owns, chat/owner.h
struct roster;    // the other nodes, chat/roster.h
struct sessions;  // clients of this loop, chat/session.h
struct unsent;    // requests that met a full mailbox and must not be lost, chat/request.h

// Everything is touched by the loop's thread alone, but for the constant parts.
struct node_loop {
  const settings* config = nullptr;  // constant
  core::loop* self = nullptr;
  const std::vector<core::loop*>* loops = nullptr;  // constant: all loops of the node
  uint32_t index = 0;
  core::timer_wheel* timers = nullptr;
  uint64_t (*now_ms)(const core::loop*) noexcept = nullptr;  // monotonic, cached per iteration
  core::loop_metrics* counters = nullptr;
  store::store* history = nullptr;  // shared by all loops, or `lists`
  store::store* lists = nullptr;    // of this loop alone
  broker::broker* bus = nullptr;
  proto::command_parser* parser = nullptr;
  hub* local = nullptr;
  owner* owned = nullptr;
  sessions* clients = nullptr;
  unsent* waiting = nullptr;
  roster* others = nullptr;  // on loop 0, when there can be any
  std::string scratch;       // for encoding; empty between uses
};

// Where a loop's broker comes from when it is not the local one, and, if not null, what keeps the
// users' channels beside it. The loop's part owns both.
struct node_backends {
  broker::broker* (*open_bus)(void* user, core::loop* self, const broker::broker_events* events,
                              void* owner) noexcept = nullptr;
  store::store* (*open_lists)(void* user, broker::broker* bus) noexcept = nullptr;
  void* user = nullptr;
};

// Creates the loop's part, with a local broker when `backends` is null; on the loop's thread, or
// before it runs.
node_loop* node_loop_new(const settings* config, core::loop* self,
                         const std::vector<core::loop*>* loops, core::timer_wheel* timers,
                         uint64_t (*now_ms)(const core::loop*) noexcept,
                         core::loop_metrics* counters, store::store* history,
                         const node_backends* backends = nullptr) noexcept;
void node_loop_free(node_loop* n) noexcept;  // no sessions left

// The node_loop of a loop on its own thread; set by whoever runs the loop (server/, tests).
node_loop* node_loop_of(core::loop* l) noexcept;
void node_loop_register(
    core::loop* l, node_loop* n) noexcept;  // before the loops start; node_loop_free() undoes it

inline core::loop* owner_loop(const node_loop* n, std::string_view channel) noexcept {
  return (*n->loops)[channel_partition(channel) % n->loops->size()];
}

}  // namespace chat
