// The contract on every store; a new one is one line in the list.
#include "tests/store/store_contract.h"

namespace store_test {
namespace {

store::store* open_memory(const scratch_dir&, uint64_t bytes_max) {
  return bytes_max == 0 ? store::open_memory() : store::open_memory(bytes_max);
}

store::store* open_sqlite(const scratch_dir& dir, uint64_t bytes_max) {
  store::sqlite_options o;
  o.path = dir.file("chat.sqlite");
  o.bytes_max = bytes_max;
  store::store* s = nullptr;
  std::string why;
  EXPECT_EQ(store::open_sqlite(o, &s, &why), core::err::ok) << why;
  return s;
}

INSTANTIATE_TEST_SUITE_P(all, store_contract,
                         ::testing::Values(store_factory{"memory", open_memory},
                                           store_factory{"sqlite", open_sqlite}),
                         [](const auto& factory) { return factory.param.name; });

}  // namespace
}  // namespace store_test
