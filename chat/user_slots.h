// How many connections a user has on all loops of a node: the one limit that no loop can keep
// alone.
#pragma once

#include <string_view>

#include "chat/node.h"

namespace chat {

// Any loop. Counts one more connection of the user; false: it has connections_per_user_max already.
// Without that bound, and for the anonymous user, nothing is counted.
bool user_slot_take(const node_loop* n, std::string_view user) noexcept;
void user_slot_give(const node_loop* n, std::string_view user) noexcept;

}  // namespace chat
