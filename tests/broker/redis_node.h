// A node's broker over Redis on a loop of its own, with verbs for the test's thread.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

#include "broker/redis.h"
#include "tests/broker/journal.h"

namespace broker_test {

using store_test::pending;

inline constexpr uint32_t kLeaseMs = 900;

// One node with one loop.
class test_node {
 public:
  test_node(core::loop* home, const broker::redis_url* url, const std::string& id,
            uint32_t lease_ms = kLeaseMs)
      : home_(home) {
    broker::redis_options o;
    o.url = url;
    o.node = id;
    o.lease_ms = lease_ms;
    run([&] { bus_.reset(broker::open_redis(o, home, &kJournalEvents, &said)); });
  }
  // The loops have ended, close() has run.
  ~test_node() { bus_.reset(); }
  void close() {
    run([&] { bus_->close(); });
  }
  void run(const std::function<void()>& fn) {
    struct call {
      const std::function<void()>* fn;
      std::promise<void> done;
    } c{&fn, {}};
    ASSERT_TRUE(core::loop_call(
        home_,
        [](core::loop*, void* user) noexcept {
          auto* self = static_cast<call*>(user);
          (*self->fn)();
          self->done.set_value();
        },
        &c));
    c.done.get_future().wait();
  }
  broker::broker* bus() { return bus_.get(); }
  core::loop* home() { return home_; }
  bool is_ready() {
    bool is = false;
    run([&] { is = bus_->is_ready(); });
    return is;
  }
  std::string why() {
    std::string text;
    run([&] { text = bus_->why_not_ready(); });
    return text;
  }
  bool becomes_ready() {
    return within(10'000, [&] { return is_ready(); });
  }
  template <typename Fn>
  static bool within(int ms, Fn fn) {
    for (const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
         std::chrono::steady_clock::now() < until;) {
      if (fn()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return fn();
  }
  broker::publish_result publish(const broker::publish_request& r) {
    pending<broker::publish_result> p{.home = home_};
    core::err rc = core::err::ok;
    run([&] {
      rc = bus_->publish(broker::publish_request(r), pending<broker::publish_result>::answered, &p);
    });
    if (rc == core::err::ok) return p.wait();
    broker::publish_result refused;
    refused.rc = rc;
    return refused;
  }
  store::position subscribe(const std::string& channel, bool has_history = true) {
    const size_t before = said.count("subscribed", channel);
    auto* a = new asked{&said, channel, 0};
    run([&] { EXPECT_EQ(bus_->subscribe(channel, has_history, on_subscribed, a), core::err::ok); });
    return said.wait("subscribed", before + 1, channel).position;
  }
  store::read_result history(store::read_request r) {
    pending<store::read_result> p{.home = home_};
    run([&] {
      EXPECT_EQ(bus_->history(std::move(r), pending<store::read_result>::answered, &p),
                core::err::ok);
    });
    return p.wait();
  }
  std::string present(const std::string& channel) {
    using answer = std::pair<core::err, std::vector<broker::member>>;
    pending<answer> p{.home = home_};
    run([&] {
      EXPECT_EQ(bus_->presence(
                    channel, 1000,
                    [](void* user, core::err rc, const std::vector<broker::member>& m) noexcept {
                      pending<answer>::finish(static_cast<pending<answer>*>(user), {rc, m});
                    },
                    &p),
                core::err::ok);
    });
    const answer got = p.wait();
    std::vector<std::string> names;
    for (const auto& m : got.second) names.push_back(m.client + "/" + m.user);
    std::sort(names.begin(), names.end());
    std::string all;
    for (const std::string& n : names) all += n + " ";
    return all;
  }
  std::string counts(const std::string& channel) {
    pending<broker::presence_counts> p{.home = home_};
    run([&] {
      EXPECT_EQ(bus_->presence_stats(
                    channel,
                    [](void* user, core::err, broker::presence_counts c) noexcept {
                      pending<broker::presence_counts>::finish(
                          static_cast<pending<broker::presence_counts>*>(user), c);
                    },
                    &p),
                core::err::ok);
    });
    const auto c = p.wait();
    return std::to_string(c.clients) + "/" + std::to_string(c.users);
  }
  void enter(const std::string& channel, const std::string& client, const std::string& user) {
    run([&] {
      EXPECT_EQ(
          bus_->presence_add(channel, {client, user, "{\"client\":\"" + client + "\"}", true}),
          core::err::ok);
    });
  }
  // Offsets of the channel's events so far.
  std::vector<uint64_t> offsets(const std::string& channel) {
    const std::lock_guard<std::mutex> held(said.lock);
    std::vector<uint64_t> out;
    for (const log_entry& e : said.entries)
      if (e.what == "event" && e.channel == channel) out.push_back(e.pub.offset);
    return out;
  }

  journal said;

 private:
  core::loop* const home_;
  std::unique_ptr<broker::broker> bus_;
};

}  // namespace broker_test
