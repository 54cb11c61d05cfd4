// Shared frames: one malloc each.
#include "core/frame.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "core/assert.h"

namespace core {

namespace {
std::atomic<int64_t> g_frames{0};
}

frame* frame_new(uint32_t cap_bytes) noexcept {
  void* memory = std::malloc(sizeof(frame) + cap_bytes);
  CORE_ASSERT(memory != nullptr);
  frame* f = new (memory) frame;
  f->refs.store(1, std::memory_order_relaxed);
  f->offset = 0;
  f->len = 0;
  f->cap = cap_bytes;
  g_frames.fetch_add(1, std::memory_order_relaxed);
  return f;
}

frame* frame_copy(std::string_view bytes) noexcept {
  frame* f = frame_new(static_cast<uint32_t>(bytes.size()));
  if (!bytes.empty()) std::memcpy(frame_bytes(f), bytes.data(), bytes.size());
  f->len = static_cast<uint32_t>(bytes.size());
  return f;
}

void frame_free(frame* f) noexcept {
  g_frames.fetch_sub(1, std::memory_order_relaxed);
  f->~frame();
  std::free(f);
}

int64_t frame_live() noexcept {
  return g_frames.load(std::memory_order_relaxed);
}

}  // namespace core
