// Immutable bytes, ready for the wire, shared by many out-queues. The only reference-counted thing
// in the program.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace core {

// One allocation: this head, then the bytes. A frame is never changed once a second holder exists.
struct frame {
  std::atomic<uint32_t> refs;
  uint32_t offset;  // where the wire bytes begin: a header may be written into the room in front of
                    // the payload
  uint32_t len;     // wire bytes
  uint32_t cap;     // bytes allocated behind this head
};

// Allocates a frame with one reference and len 0; bytes are written by frame_bytes() and then
// frame_set().
frame* frame_new(uint32_t cap_bytes) noexcept;
// A frame that holds a copy of `bytes`, one reference.
frame* frame_copy(std::string_view bytes) noexcept;

inline char* frame_bytes(frame* f) noexcept {
  return reinterpret_cast<char*>(f + 1);
}
inline std::string_view frame_view(const frame* f) noexcept {
  return {reinterpret_cast<const char*>(f + 1) + f->offset, f->len};
}

// Any thread. frame_ref(f, n) takes n further references in one atomic add and returns f.
inline frame* frame_ref(frame* f, uint32_t n = 1) noexcept {
  f->refs.fetch_add(n, std::memory_order_relaxed);
  return f;
}
void frame_free(frame* f) noexcept;  // only for frame_unref()
inline void frame_unref(frame* f, uint32_t n = 1) noexcept {
  if (f->refs.fetch_sub(n, std::memory_order_acq_rel) == n) frame_free(f);
}

// Frames alive in the process; tests assert 0 at their end.
int64_t frame_live() noexcept;

}  // namespace core
