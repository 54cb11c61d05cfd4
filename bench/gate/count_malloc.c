// LD_PRELOAD: how often and for how many bytes a process allocates. Written to $MALLOC_COUNT_TO at
// its end. glibc's own names are called, so that nothing has to be looked up while it is counted.
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

static atomic_ullong calls, bytes;

static void note(size_t n) {
  atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&bytes, n, memory_order_relaxed);
}

void* malloc(size_t n) {
  note(n);
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t size) {
  note(n * size);
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t n) {
  note(n);
  return __libc_realloc(p, n);
}
void* memalign(size_t align, size_t n) {
  note(n);
  return __libc_memalign(align, n);
}
void* aligned_alloc(size_t align, size_t n) { return memalign(align, n); }
int posix_memalign(void** out, size_t align, size_t n) {
  *out = memalign(align, n);
  return *out == NULL ? 12 : 0;
}

__attribute__((destructor)) static void write_counts(void) {
  const char* path = getenv("MALLOC_COUNT_TO");
  FILE* f = path == NULL ? NULL : fopen(path, "w");
  if (f == NULL) return;
  fprintf(f, "%llu %llu\n", (unsigned long long)atomic_load(&calls), (unsigned long long)atomic_load(&bytes));
  fclose(f);
}
