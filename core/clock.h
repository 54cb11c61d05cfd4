// Time and randomness behind a seam, so that tests own both. Leaf header.
#pragma once

#include <cstddef>
#include <cstdint>

namespace core {

class clock_source {
 public:
  virtual ~clock_source() = default;
  virtual uint64_t mono_us() const noexcept = 0;  // never goes back
  virtual int64_t wall_ms() const noexcept = 0;   // Unix time
};

class random_source {
 public:
  virtual ~random_source() = default;
  virtual void fill(void* bytes, size_t n) noexcept = 0;
};

const clock_source* system_clock() noexcept;  // any thread
random_source* system_random() noexcept;      // any thread; getrandom(2), cryptographically strong

// Uniform in [0, bound); bound > 0.
uint32_t random_below(random_source* r, uint32_t bound) noexcept;

}  // namespace core
