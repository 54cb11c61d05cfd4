// A table with a lock: it is asked once a connection, never for a message, and only when there is a
// bound.
#include "chat/user_slots.h"

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "core/assert.h"

namespace chat {
namespace {

// Nodes of one process (tests) are told apart by their list of loops.
using slot_key = std::pair<const void*, std::string>;
std::mutex g_lock;
std::map<slot_key, uint32_t> g_counts;

bool is_counted(const node_loop* n, std::string_view user) noexcept {
  return n->config->connections_per_user_max > 0 && !user.empty();
}

}  // namespace

bool user_slot_take(const node_loop* n, std::string_view user) noexcept {
  if (!is_counted(n, user)) return true;
  const std::lock_guard<std::mutex> held(g_lock);
  uint32_t& count = g_counts[{n->loops, std::string(user)}];
  if (count >= n->config->connections_per_user_max) return false;
  ++count;
  return true;
}

void user_slot_give(const node_loop* n, std::string_view user) noexcept {
  if (!is_counted(n, user)) return;
  const std::lock_guard<std::mutex> held(g_lock);
  const auto at = g_counts.find({n->loops, std::string(user)});
  CORE_ASSERT(at != g_counts.end() && at->second > 0);
  if (--at->second == 0) g_counts.erase(at);
}

}  // namespace chat
