// Rings of recent publications and who loses them.
#include "chat/recent.h"

#include <algorithm>
#include <cstdlib>

#include "core/assert.h"

namespace chat {
namespace {

constexpr uint32_t kEntriesMin = 4;
constexpr uint32_t kEntryOverhead =
    sizeof(core::frame) +
    2 * sizeof(recent_entry);  // a ring is at least half full after it has grown

uint32_t cost_of(const recent_entry& e) noexcept {
  return e.push->cap + kEntryOverhead;
}

void unlink(recent_pool* p, recent* r) noexcept {
  (r->newer == nullptr ? p->newest : r->newer->older) = r->older;
  (r->older == nullptr ? p->oldest : r->older->newer) = r->newer;
  r->newer = r->older = nullptr;
}

void link_newest(recent_pool* p, recent* r) noexcept {
  r->older = p->newest;
  (p->newest == nullptr ? p->oldest : p->newest->newer) = r;
  p->newest = r;
}

recent* recent_new(recent_pool* p, recent** home) noexcept {
  auto* r = new recent;
  r->home = home;
  *home = r;
  r->bytes = sizeof(recent);
  p->bytes += r->bytes;
  link_newest(p, r);
  return r;
}

void pop_first(recent_pool* p, recent* r) noexcept {
  const recent_entry& e = r->entries[r->head];
  const uint32_t cost = cost_of(e);
  core::frame_unref(e.push);
  r->bytes -= cost;
  p->bytes -= cost;
  r->head = (r->head + 1) % r->cap;
  --r->count;
  ++r->first;
}

void grow(recent* r) noexcept {
  const uint32_t cap = std::min(std::max(r->cap * 2, kEntriesMin), core::kRecentPublicationsMax);
  auto* to = static_cast<recent_entry*>(malloc(cap * sizeof(recent_entry)));
  CORE_ASSERT(to != nullptr);
  for (uint32_t i = 0; i < r->count; ++i) to[i] = r->entries[(r->head + i) % r->cap];
  free(r->entries);
  r->entries = to;
  r->head = 0;
  r->cap = cap;
}

}  // namespace

void recent_push(recent_pool* p, recent** home, uint64_t offset, const recent_entry& e) noexcept {
  const uint32_t cost = cost_of(e);
  if (*home != nullptr && offset != (*home)->first + (*home)->count) recent_drop(p, home);
  if (cost + sizeof(recent) > core::kRecentBytesMax || cost > p->bytes_max) {
    recent_drop(p, home);
    return;
  }
  recent* r = *home != nullptr ? *home : recent_new(p, home);
  if (r->count == 0) r->first = offset;
  while (r->count >= core::kRecentPublicationsMax ||
         (r->count > 0 && r->bytes + cost > core::kRecentBytesMax))
    pop_first(p, r);
  if (r->count == r->cap) grow(r);
  recent_entry* at = &r->entries[(r->head + r->count++) % r->cap];
  *at = e;
  core::frame_ref(e.push);
  r->bytes += cost;
  p->bytes += cost;
  recent_touch(p, r);
  while (p->bytes > p->bytes_max && p->oldest != r) recent_drop(p, p->oldest->home);
}

void recent_drop(recent_pool* p, recent** home) noexcept {
  recent* r = *home;
  if (r == nullptr) return;
  while (r->count > 0) pop_first(p, r);
  p->bytes -= r->bytes;
  unlink(p, r);
  free(r->entries);
  delete r;
  *home = nullptr;
}

void recent_touch(recent_pool* p, recent* r) noexcept {
  if (p->newest == r) return;
  unlink(p, r);
  link_newest(p, r);
}

const recent_entry* recent_find(const recent* r, uint64_t offset) noexcept {
  if (r == nullptr || offset < r->first || offset - r->first >= r->count) return nullptr;
  return &r->entries[(r->head + static_cast<uint32_t>(offset - r->first)) % r->cap];
}

}  // namespace chat
