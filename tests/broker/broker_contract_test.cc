// The contract on every broker; a new one is one line in the list.
#include "tests/broker/broker_contract.h"

namespace broker_test {
namespace {

broker_setup open_local_memory(const scratch_dir&, core::loop* home,
                               const broker::broker_events* events, void* user) {
  broker_setup s;
  s.history.reset(store::open_memory());
  s.bus.reset(broker::open_local(s.history.get(), home, events, user));
  return s;
}

broker_setup open_local_sqlite(const scratch_dir& dir, core::loop* home,
                               const broker::broker_events* events, void* user) {
  store::sqlite_options o;
  o.path = dir.file("chat.sqlite");
  store::store* history = nullptr;
  std::string why;
  EXPECT_EQ(store::open_sqlite(o, &history, &why), core::err::ok) << why;
  broker_setup s;
  s.history.reset(history);
  s.bus.reset(broker::open_local(history, home, events, user));
  return s;
}

INSTANTIATE_TEST_SUITE_P(all, broker_contract,
                         ::testing::Values(broker_factory{"local_memory", open_local_memory},
                                           broker_factory{"local_sqlite", open_local_sqlite}),
                         [](const auto& factory) { return factory.param.name; });

}  // namespace
}  // namespace broker_test
