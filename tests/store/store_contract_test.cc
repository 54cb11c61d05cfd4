// The contract on every store; a new one is one line in the list.
#include "tests/store/store_contract.h"
#include "store/mongo.h"
#include "tests/store/mongo_server.h"

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

store::store* open_mongo(const scratch_dir& dir, uint64_t bytes_max) {
  store::mongo_options o;
  o.url = mongo_server::shared().fresh_url();
  o.spool_dir = dir.file("spool");
  if (bytes_max > 0) {
    o.spool_bytes_max = bytes_max;
    o.spool_segment_bytes = bytes_max / 4;
  }
  store::store* s = nullptr;
  std::string why;
  EXPECT_EQ(store::open_mongo(o, &s, &why), core::err::ok) << why;
  return s;
}

INSTANTIATE_TEST_SUITE_P(all, store_contract,
                         ::testing::Values(store_factory{"memory", open_memory},
                                           store_factory{"sqlite", open_sqlite},
                                           store_factory{"mongo", open_mongo, mongo_missing}),
                         [](const auto& factory) { return factory.param.name; });

// In a file these are bounded by the disk.
TEST(memory_test, counts_keys_channels_and_markers_into_its_bound) {
  loops l(1);
  const std::unique_ptr<store::store> s(store::open_memory(64 * 1024));
  client c{s.get(), l.at(0)};
  const uint64_t empty = s->stats().bytes;
  int n = 0;
  const auto keyed = [&](int64_t time_ms) {
    store::append_request r =
        with_key(message("a", "1", time_ms), "k" + std::to_string(n++), "h", 1000);
    r.keep.size_max = 1;
    return c.append(std::move(r)).rc;
  };
  while (keyed(1000) == core::err::ok) ASSERT_LT(n, 10'000) << "keys are not bounded";
  EXPECT_EQ(keyed(2000), core::err::ok) << "those of before have expired";
  n = 0;
  while (c.mark("alice", "c" + std::to_string(n), 1) == core::err::ok)
    ASSERT_LT(++n, 10'000) << "markers are not bounded";
  EXPECT_EQ(c.join({"bob"}, "a"), core::err::io);
  EXPECT_EQ(c.mark("alice", "c0", 2), core::err::ok) << "that one is there";
  while (n-- > 0) EXPECT_EQ(c.leave("alice", "c" + std::to_string(n)), core::err::ok);
  while (c.append(message("c" + std::to_string(++n), "1")).rc == core::err::ok) {
    ASSERT_EQ(c.remove_history("c" + std::to_string(n)), core::err::ok);
    ASSERT_LT(n, 10'000) << "channels are not bounded";
  }
  EXPECT_GT(s->stats().bytes, empty);
  s->close();
}

}  // namespace
}  // namespace store_test
