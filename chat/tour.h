// One message that goes from loop to loop of the node and comes back. The slots of all its steps
// are reserved before it starts, so it either makes the whole way or is refused with nothing done.
#pragma once

#include "chat/node.h"

namespace chat {

struct tour : core::msg {
  node_loop* origin = nullptr;
  uint32_t visited = 0;
  virtual ~tour() = default;
  // On each loop's thread, the origin's first. False: it stays there until tour_go_on().
  virtual bool visit(node_loop* here) noexcept = 0;
  virtual void finish() noexcept = 0;  // at the origin; then it is deleted
};

// On the origin's thread. False: no room, t has been deleted.
bool tour_start(tour* t, node_loop* origin) noexcept;
void tour_go_on(tour* t, node_loop* here) noexcept;

}  // namespace chat
