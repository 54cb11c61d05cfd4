// What does it cost to post a message to a loop and to have it run there, ten an iteration? The
// loop posts to itself: between two threads the count would depend on who sleeps when.
#include <future>

#include "core/loop.h"
#include "core/post.h"
#include "driver.h"

namespace {

constexpr uint64_t kBatch = 10;
uint64_t left = 0, ran = 0;
std::promise<void> done;

struct note : core::msg {
  explicit note(bool is_last) {
    run = is_last ? run_last : run_one;
    drop = [](core::msg* m) noexcept { delete static_cast<note*>(m); };
  }
  static void run_one(core::loop*, core::msg* m) noexcept {
    delete static_cast<note*>(m);
    ++ran;
  }
  static void run_last(core::loop* here, core::msg* m) noexcept {
    run_one(here, m);
    post_batch(here);
  }
  static void post_batch(core::loop* here) noexcept {
    if (left < kBatch) return done.set_value();
    left -= kBatch;
    for (uint64_t i = 1; i <= kBatch; ++i)
      must(core::loop_post(here, new note(i == kBatch)) == core::err::ok, "a post is refused");
  }
};

}  // namespace

void run(uint64_t times) {
  left = times;
  core::loop_group* g = nullptr;
  must(core::loop_group_create(1, {}, &g) == core::err::ok, "no loop");
  static constexpr core::loop_group_events kEvents = {[](void*, core::loop*) noexcept {},
                                                      [](void*, core::loop*) noexcept {}};
  core::loop_group_start(g, &kEvents, nullptr);
  must(core::loop_call(
           core::loop_group_at(g, 0),
           [](core::loop* here, void*) noexcept { note::post_batch(here); }, nullptr),
       "the loop takes no call");
  done.get_future().wait();
  core::loop_group_stop(g);
  core::loop_group_free(g);
  must(ran == times / kBatch * kBatch, "messages are missing");
}
