// What ThreadSanitizer cannot see: the driver is not built with it, and shares its picture of the
// servers between threads by a count of its own.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:libmongoc-1.0.so\nrace:libbson-1.0.so\n";
}
