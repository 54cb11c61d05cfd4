// How often the calling thread has called malloc, calloc and realloc.
#pragma once

#include <cstdint>

bool malloc_is_counted();  // false with sanitizers: there is nothing to compare
uint64_t malloc_count();
