// The contract on every broker; a new one is one line in the list.
#include "tests/broker/broker_contract.h"

#include <iostream>
#include <thread>

#include "broker/redis.h"
#include "tests/broker/redis_cluster_world.h"
#include "tests/broker/redis_server.h"

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

// On its loop, and ready.
template <typename Fn>
void on_loop(core::loop* home, Fn fn) {
  struct call {
    Fn* fn;
    std::promise<void> done;
  } c{&fn, {}};
  ASSERT_TRUE(core::loop_call(
      home,
      [](core::loop*, void* user) noexcept {
        auto* self = static_cast<call*>(user);
        (*self->fn)();
        self->done.set_value();
      },
      &c));
  c.done.get_future().wait();
}

struct redis_world {
  std::vector<std::unique_ptr<broker::redis_server>> servers;
  std::shared_ptr<broker::redis_cluster_world> cluster;
  broker::redis_url url;
};

constexpr int kCluster = 0;

broker_setup open_over_redis(core::loop* home, const broker::broker_events* events, void* user,
                             int servers) {
  broker_setup s;
  if (broker::redis_program().empty()) {
    std::cerr << "NO REDIS SERVER: install redis-server, or set REDIS_SERVER_BIN\n";
    return s;
  }
  auto all = std::make_shared<redis_world>();
  std::string url = "redis+unix://";
  for (int i = 0; i < servers; ++i) {
    all->servers.push_back(std::make_unique<broker::redis_server>());
    url += (i > 0 ? "," : "") + all->servers.back()->socket_path();
  }
  broker::redis_options o;
  if (servers == kCluster) {  // one for all tests, each under a prefix of its own
    static std::shared_ptr<broker::redis_cluster_world> world;
    static int tests = 0;
    if (world == nullptr) world = std::make_shared<broker::redis_cluster_world>();
    all->cluster = world;
    url = world->url();
    o.prefix = "test" + std::to_string(++tests);
  }
  std::string why;
  EXPECT_EQ(broker::redis_url_parse(url, &all->url, &why), core::err::ok) << why;
  o.url = &all->url;
  o.node = "node0001";
  o.first_base = "0";
  s.servers = all;
  on_loop(home, [&] { s.bus.reset(broker::open_redis(o, home, events, user)); });
  bool is_ready = false;
  for (int i = 0; i < 1000 && !is_ready; ++i) {
    on_loop(home, [&] { is_ready = s.bus->is_ready(); });
    if (!is_ready) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_TRUE(is_ready);
  return s;
}

broker_setup open_redis(const scratch_dir&, core::loop* home, const broker::broker_events* events,
                        void* user) {
  return open_over_redis(home, events, user, 1);
}
broker_setup open_two_redis(const scratch_dir&, core::loop* home,
                            const broker::broker_events* events, void* user) {
  return open_over_redis(home, events, user, 2);
}

broker_setup open_redis_cluster(const scratch_dir&, core::loop* home,
                                const broker::broker_events* events, void* user) {
  return open_over_redis(home, events, user, kCluster);
}

INSTANTIATE_TEST_SUITE_P(all, broker_contract,
                         ::testing::Values(broker_factory{"local_memory", open_local_memory},
                                           broker_factory{"local_sqlite", open_local_sqlite},
                                           broker_factory{"redis", open_redis},
                                           broker_factory{"two_redis", open_two_redis},
                                           broker_factory{"redis_cluster", open_redis_cluster}),
                         [](const auto& factory) { return factory.param.name; });

}  // namespace
}  // namespace broker_test
