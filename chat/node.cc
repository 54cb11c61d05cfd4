// A loop's part of the node put together, and the table that finds it by its loop.
#include "chat/node.h"

#include <mutex>

#include "chat/hub.h"
#include "chat/owner.h"
#include "chat/request.h"
#include "chat/roster.h"
#include "chat/session.h"
#include "core/assert.h"

namespace chat {
namespace {

// Read by every message, written only when a node starts or ends: open addressing, so that readers
// need no lock. A dead entry (node is null) keeps its key until another loop takes the place, so
// that a reader's probing never ends too early.
constexpr uint32_t kLoopsMax = 4096;  // of all nodes of a process; a power of two

struct loop_entry {
  std::atomic<core::loop*> key{nullptr};
  std::atomic<node_loop*> node{nullptr};
};
loop_entry g_loops[kLoopsMax];
std::mutex g_loops_lock;

uint32_t first_place(const core::loop* l) noexcept {
  return static_cast<uint32_t>((reinterpret_cast<uintptr_t>(l) >> 4) * 0x9e3779b97f4a7c15ull >>
                               40) &
         (kLoopsMax - 1);
}

loop_entry* entry_find(const core::loop* l) noexcept {
  for (uint32_t i = 0, at = first_place(l); i < kLoopsMax; ++i, at = (at + 1) & (kLoopsMax - 1)) {
    core::loop* key = g_loops[at].key.load(std::memory_order_acquire);
    if (key == l) return &g_loops[at];
    if (key == nullptr) return nullptr;
  }
  return nullptr;
}

void forget(core::loop* l) noexcept {
  const std::lock_guard<std::mutex> held(g_loops_lock);
  if (loop_entry* e = entry_find(l)) e->node.store(nullptr, std::memory_order_release);
}

}  // namespace

node_loop* node_loop_of(core::loop* l) noexcept {
  loop_entry* e = entry_find(l);
  return e == nullptr ? nullptr : e->node.load(std::memory_order_acquire);
}

void node_loop_register(core::loop* l, node_loop* n) noexcept {
  const std::lock_guard<std::mutex> held(g_loops_lock);
  loop_entry* e = entry_find(l);
  for (uint32_t i = 0, at = first_place(l); e == nullptr && i < kLoopsMax;
       ++i, at = (at + 1) & (kLoopsMax - 1)) {
    if (g_loops[at].node.load(std::memory_order_relaxed) == nullptr) e = &g_loops[at];
  }
  CORE_ASSERT(e != nullptr);
  e->node.store(n, std::memory_order_release);
  e->key.store(l, std::memory_order_release);
}

node_loop* node_loop_new(const settings* config, core::loop* self,
                         const std::vector<core::loop*>* loops, core::timer_wheel* timers,
                         uint64_t (*now_ms)(const core::loop*) noexcept,
                         core::loop_metrics* counters, store::store* history,
                         const node_backends* backends) noexcept {
  auto* n = new node_loop;
  n->config = config;
  n->self = self;
  n->loops = loops;
  n->index = core::loop_index(self);
  n->timers = timers;
  n->now_ms = now_ms;
  n->counters = counters;
  n->history = history;
  n->parser = proto::command_parser_new();
  n->waiting = unsent_new(n);
  n->local = hub_new(n);
  n->owned = owner_new(n);
  if (backends == nullptr) {
    n->bus = broker::open_local(history, self, owner_broker_events(), n->owned, config->clock);
  } else {
    n->bus = backends->open_bus(backends->user, self, owner_broker_events(), n->owned);
    if (backends->open_lists != nullptr)
      n->history = n->lists = backends->open_lists(backends->user, n->bus);
  }
  n->clients = sessions_new(n);
  if (n->index == 0 && backends != nullptr) n->others = roster_new(n);
  return n;
}

void node_loop_free(node_loop* n) noexcept {
  sessions_free(n->clients);
  roster_free(n->others);
  n->bus->close();  // no callback after it
  owner_free(n->owned);
  hub_free(n->local);
  unsent_free(n->waiting);
  proto::command_parser_free(n->parser);
  forget(n->self);
  delete n->lists;
  delete n->bus;
  delete n;
}

}  // namespace chat
