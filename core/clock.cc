// The system's clock and randomness.
#include "core/clock.h"

#include <sys/random.h>
#include <time.h>

#include "core/assert.h"

namespace core {

namespace {

class system_clock_source final : public clock_source {
 public:
  uint64_t mono_us() const noexcept override { return read(CLOCK_MONOTONIC) / 1000; }
  int64_t wall_ms() const noexcept override {
    return static_cast<int64_t>(read(CLOCK_REALTIME) / 1'000'000);
  }

 private:
  static uint64_t read(clockid_t which) noexcept {
    timespec t;
    clock_gettime(which, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
  }
};

class system_random_source final : public random_source {
 public:
  void fill(void* bytes, size_t n) noexcept override {
    char* at = static_cast<char*>(bytes);
    while (n > 0) {
      const ssize_t got = getrandom(at, n, 0);
      if (got < 0) continue;  // EINTR
      at += got;
      n -= static_cast<size_t>(got);
    }
  }
};

}  // namespace

const clock_source* system_clock() noexcept {
  static const system_clock_source source;
  return &source;
}

random_source* system_random() noexcept {
  static system_random_source source;
  return &source;
}

uint32_t random_below(random_source* r, uint32_t bound) noexcept {
  CORE_ASSERT(bound > 0);
  const uint32_t fair =
      UINT32_MAX - UINT32_MAX % bound;  // values from here on would favour the small ones
  uint32_t v;
  do {
    r->fill(&v, sizeof v);
  } while (v >= fair);
  return v % bound;
}

}  // namespace core
