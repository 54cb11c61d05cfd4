// The hub: who gets which frame, moving entries, and going away in the middle of a delivery.
#include "chat/hub.h"

#include <gtest/gtest.h>

#include <memory>

#include "tests/chat/fixture.h"

namespace {

struct alignas(8) receiver {
  chat::hub* local = nullptr;
  chat::hub_channel* channel = nullptr;
  uint32_t entry = 0;
  int frames = 0, insufficient = 0;
  bool leaves_on_frame = false, is_in = false;
};

receiver* of(chat::session* s) {
  return reinterpret_cast<receiver*>(s);
}

void leave(receiver* r) {
  r->is_in = false;
  chat::hub_remove(r->local, r->channel, r->entry);
}

constexpr chat::hub_receiver kReceivers = {
    [](chat::session* s, core::frame* f) noexcept {
      ++of(s)->frames;
      core::frame_unref(f);
      if (of(s)->leaves_on_frame) leave(of(s));
    },
    [](chat::session* s, chat::hub_channel*, uint32_t entry) noexcept { of(s)->entry = entry; },
    [](chat::session* s, chat::hub_channel*) noexcept {
      ++of(s)->insufficient;
      if (of(s)->leaves_on_frame) leave(of(s));
    }};

class hub_test : public testing::Test {
 protected:
  hub_test() : w(1) {
    w.start();
    chat::hub_free(w.at(0)->local);
    h = w.at(0)->local = chat::hub_new(w.at(0), &kReceivers);
    f = core::frame_copy("x");
  }
  ~hub_test() override {
    EXPECT_EQ(f->refs.load(), 1u);  // every reference that was taken was given
    core::frame_unref(f);
  }
  receiver* add(const std::string& channel, bool wants_joins = false) {
    all.push_back(std::make_unique<receiver>());
    receiver* r = all.back().get();
    r->local = h;
    r->is_in = true;
    r->channel =
        chat::hub_add(h, channel, 7, reinterpret_cast<chat::session*>(r), wants_joins, &r->entry);
    return r;
  }
  void deliver(const std::string& channel,
               chat::delivery_kind kind = chat::delivery_kind::publication) {
    core::frame* frames[] = {f};
    chat::hub_deliver(h, channel, frames, kind);
  }

  fixture::world w;
  chat::hub* h;
  core::frame* f;
  std::vector<std::unique_ptr<receiver>> all;
};

TEST_F(hub_test, DeliversToTheChannelAlone) {
  receiver* a = add("a");
  receiver* b = add("b");
  EXPECT_EQ(chat::hub_name(a->channel), "a");
  EXPECT_EQ(chat::hub_namespace(a->channel), 7);
  deliver("a");
  deliver("nobody");
  EXPECT_EQ(a->frames, 1);
  EXPECT_EQ(b->frames, 0);
  EXPECT_EQ(w.counters(0).deliveries.get(), 1u);
  EXPECT_EQ(w.counters(0).messages_out.get(), 1u);
  leave(a);
  leave(b);
}

TEST_F(hub_test, JoinsGoToThoseThatWantThem) {
  add("a");
  receiver* wants = add("a", true);
  deliver("a", chat::delivery_kind::join_leave);
  EXPECT_EQ(all[0]->frames, 0);
  EXPECT_EQ(wants->frames, 1);
  EXPECT_EQ(w.counters(0).deliveries.get(), 0u);
  leave(wants);
  deliver("a", chat::delivery_kind::join_leave);
  EXPECT_EQ(all[0]->frames, 0);
}

TEST_F(hub_test, EntriesMoveAndTheChannelGoesWithTheLast) {
  std::mt19937_64 dice(fixture::seed());
  for (int i = 0; i < 100; ++i) add("a", i % 3 == 0);
  EXPECT_EQ(chat::hub_subscribers(h, "a"), 100u);
  EXPECT_EQ(w.counters(0).channels_subscribed.get(), 1u);
  uint32_t left = 100;
  while (left > 0) {
    receiver* r = all[dice() % all.size()].get();
    if (!r->is_in) continue;
    leave(r);
    --left;
    for (auto& each : all) each->frames = 0;
    deliver("a");
    for (auto& each : all) ASSERT_EQ(each->frames, each->is_in ? 1 : 0);
    EXPECT_EQ(chat::hub_subscribers(h, "a"), left);
  }
  EXPECT_EQ(w.counters(0).subscriptions.get(), 0u);
  EXPECT_EQ(w.counters(0).channels_subscribed.get(), 0u);
}

TEST_F(hub_test, AReceiverMayLeaveWhileItIsServed) {
  for (int i = 0; i < 10; ++i) add("a")->leaves_on_frame = i % 3 != 1;
  deliver("a");
  for (auto& r : all) EXPECT_EQ(r->frames, 1);
  EXPECT_EQ(chat::hub_subscribers(h, "a"), 3u);
  for (auto& r : all) r->leaves_on_frame = true;
  chat::hub_insufficient(h, "a");
  EXPECT_EQ(chat::hub_subscribers(h, "a"), 0u);
  EXPECT_EQ(w.counters(0).channels_subscribed.get(), 0u);
  for (auto& r : all)
    EXPECT_EQ(r->insufficient,
              r->frames == 1 && &r - &all[0] >= 0 && (&r - &all[0]) % 3 == 1 ? 1 : 0);
}

TEST_F(hub_test, ManyChannels) {
  for (int i = 0; i < 1000; ++i) add("c" + std::to_string(i));
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(chat::hub_subscribers(h, "c" + std::to_string(i)), 1u);
  EXPECT_EQ(w.counters(0).channels_subscribed.get(), 1000u);
  for (int i = 0; i < 1000; i += 2) leave(all[static_cast<size_t>(i)].get());
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(chat::hub_subscribers(h, "c" + std::to_string(i)), static_cast<uint32_t>(i % 2));
}

}  // namespace
