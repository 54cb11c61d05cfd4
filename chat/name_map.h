// A hash table of objects that carry their own name: 8 bytes a bucket and no node per entry,
// because idle channels are many.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace chat {

// The head of an object in a name_map; derive from it. The text is in the object's own allocation.
struct named {
  named* next = nullptr;  // in the bucket
  const char* text = nullptr;
  uint32_t hash = 0;
  uint16_t bytes = 0;
  uint16_t ns = 0;  // index of the channel's namespace
  std::string_view name() const noexcept { return {text, bytes}; }
};

struct name_map {
  std::vector<named*> buckets;  // a power of two, or empty
  uint32_t count = 0;
};

named* name_map_find(const name_map* m, std::string_view name) noexcept;
// n->text and n->bytes are set; no other entry has the name.
void name_map_add(name_map* m, named* n) noexcept;
void name_map_remove(name_map* m, named* n) noexcept;

// Every entry; fn may remove the entry it is given, and no other.
template <typename F>
void name_map_each(const name_map* m, F fn) noexcept {
  for (size_t i = 0; i < m->buckets.size(); ++i) {
    for (named *n = m->buckets[i], *next; n != nullptr; n = next) {
      next = n->next;
      fn(n);
    }
  }
}

}  // namespace chat
