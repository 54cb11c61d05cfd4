// What every driver of the gate has: `driver N` does its one thing N times. Start-up is the same
// for every N, so that (I(2N) - I(N)) / N is what once costs. A driver checks its own result: one
// that did nothing must not count as fast.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

void run(uint64_t times);

inline void must(bool is_so, const char* what) {
  if (is_so) return;
  std::fprintf(stderr, "driver: %s\n", what);
  std::abort();
}

int main(int argc, char** argv) {
  must(argc == 2, "usage: driver TIMES");
  run(std::strtoull(argv[1], nullptr, 10));
  return 0;
}
