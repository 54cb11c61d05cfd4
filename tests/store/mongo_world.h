// Verbs for tests of the store in MongoDB over the fake: open, close, speak, wait until it is
// stored.
#pragma once

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "store/mongo.h"
#include "tests/store/harness.h"
#include "tests/store/mongo_fake.h"

namespace store_test {

class hand_clock final : public core::clock_source {
 public:
  uint64_t mono_us() const noexcept override { return core::system_clock()->mono_us(); }
  int64_t wall_ms() const noexcept override { return now_ms.load(); }
  std::atomic<int64_t> now_ms{1'000'000};
};

// Until it holds; the event is the store's own doing.
template <typename Fn>
void eventually(Fn holds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!holds()) {
    ASSERT_LT(std::chrono::steady_clock::now(), until) << "did not happen";
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// A store and a loop to call it from.
struct mongo_node {
  store::mongo_options o;
  std::unique_ptr<store::store> s;
  client c;

  core::err open(loops* l, std::string* why) {
    store::store* made = nullptr;
    const core::err rc = store::open_mongo(o, &made, why);
    s.reset(made);
    c = {made, l->at(0)};
    return rc;
  }
  void close() {
    if (s != nullptr) s->close();
    s.reset();
  }
};

class mongo_world : public ::testing::Test {
 protected:
  mongo_world() { serve({}); }
  void TearDown() override {
    if (fake_ != nullptr) fake_->stop_playing();
    node_.close();
  }
  void serve(const fake_options& o) {
    fake_ = std::make_unique<mongo_fake>(o);
    node_.o = options("spool");
  }
  store::mongo_options options(const char* spool) {
    store::mongo_options o;
    o.url = fake_->url();
    o.spool_dir = dir_.file(spool);
    o.writers = 1;
    o.retry_ms_max = 20;
    o.start_ms = 0;
    o.close_ms = 5000;
    o.clock = &clock_;
    return o;
  }
  void open() {
    std::string why;
    ASSERT_EQ(node_.open(&loops_, &why), core::err::ok) << why;
  }
  store::append_result say(const std::string& channel, const std::string& data) {
    return node_.c.say(channel, data);
  }
  void say_all(const std::string& channel, uint32_t first, uint32_t last) {
    for (uint32_t i = first; i <= last; ++i) {
      const auto r = say(channel, std::to_string(i));
      ASSERT_EQ(r.rc, core::err::ok) << i;
      ASSERT_EQ(r.offset, i);
    }
  }
  store::store_stats stats() { return node_.s->stats(); }
  void drained() {
    eventually([&] { return stats().backlog == 0; });
  }
  // These publications go together in one insert.
  template <typename Fn>
  void together(Fn speak) {
    const auto before = static_cast<uint32_t>(fake_->commands("insert", "publications").size());
    fake_->play({.command = "insert", .collection = "publications", .is_held = true});
    ASSERT_EQ(say("first", "x").rc, core::err::ok);
    ASSERT_TRUE(fake_->wait_for("insert", "publications", before + 1));
    speak();
    fake_->release_held();
  }
  fake_play on_insert() { return {.command = "insert", .collection = "publications"}; }

  scratch_dir dir_;
  hand_clock clock_;
  std::unique_ptr<mongo_fake> fake_;
  loops loops_{1};
  mongo_node node_;
};

// "1:a 2:b", the data of these messages one after the other.
inline std::string count_up(uint32_t first, uint32_t last) {
  std::string out;
  for (uint32_t i = first; i <= last; ++i)
    out += (out.empty() ? "" : " ") + std::to_string(i) + ":" + std::to_string(i);
  return out;
}

}  // namespace store_test
