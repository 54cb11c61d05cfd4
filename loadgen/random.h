// Numbers from a seed, the same on every machine and library: schedules and faults are made from
// them. Pure.
#pragma once

#include <cstdint>

namespace loadgen {

// xoshiro256** (prng.di.unimi.it), seeded by splitmix64.
struct random_stream {
  uint64_t s[4];
};

// Streams of one seed with different `stream` numbers are independent: one for each actor, so that
// adding an actor does not move the others.
random_stream random_from(uint64_t seed, uint64_t stream) noexcept;
uint64_t random_next(random_stream* r) noexcept;
// Uniform in [0, bound); bound > 0.
uint64_t random_below(random_stream* r, uint64_t bound) noexcept;
double random_unit(random_stream* r) noexcept;  // uniform in [0, 1)
// > 0. Made by comparisons alone: a logarithm's last bit differs between libraries.
double random_exponential(random_stream* r, double mean) noexcept;
// One number for several, for `stream` above: an actor's kind, group, room …
uint64_t random_mix(uint64_t a, uint64_t b) noexcept;

// Rank 0 … n-1 with weight 1 / (rank + 1)^s, by a table that the caller makes once; n > 0, s >= 0.
struct zipf_table;
zipf_table* zipf_new(uint32_t n, double s) noexcept;
void zipf_free(zipf_table* t) noexcept;
uint32_t zipf_pick(const zipf_table* t, random_stream* r) noexcept;
double zipf_share(const zipf_table* t, uint32_t rank) noexcept;  // of all; sums to 1

}  // namespace loadgen
