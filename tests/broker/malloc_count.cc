// Counts what this thread allocates, by standing in front of glibc's malloc. Not with sanitizers,
// which have their own.
#include "malloc_count.h"

#include <stdlib.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace {
thread_local uint64_t t_count = 0;
}
extern "C" {
void* __libc_malloc(size_t n);
void* __libc_calloc(size_t n, size_t size);
void* __libc_realloc(void* p, size_t n);
void* malloc(size_t n) {
  ++t_count;
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  ++t_count;
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  ++t_count;
  return __libc_realloc(p, n);
}
}
bool malloc_is_counted() {
  return true;
}
uint64_t malloc_count() {
  return t_count;
}
#else
bool malloc_is_counted() {
  return false;
}
uint64_t malloc_count() {
  return 0;
}
#endif
