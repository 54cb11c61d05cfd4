// Chained hashing through the entries themselves.
#include "chat/name_map.h"

#include <functional>

#include "core/assert.h"

namespace chat {
namespace {

constexpr size_t kBucketsMin = 16;

uint32_t hash_of(std::string_view name) noexcept {
  return static_cast<uint32_t>(std::hash<std::string_view>()(name));
}

// Chains hold one entry on average at most. The table does not shrink: 8 bytes for each channel of
// the busiest moment.
void resize(name_map* m, size_t size) noexcept {
  std::vector<named*> buckets(size, nullptr);
  for (named* chain : m->buckets) {
    while (chain != nullptr) {
      named* n = chain;
      chain = n->next;
      named** head = &buckets[n->hash & (size - 1)];
      n->next = *head;
      *head = n;
    }
  }
  m->buckets.swap(buckets);
}

}  // namespace

named* name_map_find(const name_map* m, std::string_view name) noexcept {
  if (m->count == 0) return nullptr;
  const uint32_t hash = hash_of(name);
  for (named* n = m->buckets[hash & (m->buckets.size() - 1)]; n != nullptr; n = n->next) {
    if (n->hash == hash && n->name() == name) return n;
  }
  return nullptr;
}

void name_map_add(name_map* m, named* n) noexcept {
  if (m->count >= m->buckets.size())
    resize(m, m->buckets.empty() ? kBucketsMin : m->buckets.size() * 2);
  n->hash = hash_of(n->name());
  named** head = &m->buckets[n->hash & (m->buckets.size() - 1)];
  n->next = *head;
  *head = n;
  ++m->count;
}

void name_map_remove(name_map* m, named* n) noexcept {
  named** at = &m->buckets[n->hash & (m->buckets.size() - 1)];
  while (*at != n) {
    CORE_ASSERT(*at != nullptr);
    at = &(*at)->next;
  }
  *at = n->next;
  n->next = nullptr;
  --m->count;
}

}  // namespace chat
