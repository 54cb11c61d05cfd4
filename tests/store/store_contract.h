// What every store must do. A store is one more factory in store_contract_test.cc.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "tests/store/harness.h"

namespace store_test {

struct store_factory {
  const char* name;
  // `bytes_max` 0: unbounded. In `dir` the store may keep files.
  store::store* (*open)(const scratch_dir& dir, uint64_t bytes_max);
  const std::string& (*missing)() = nullptr;  // not empty: why it cannot be tested
};

class store_contract : public ::testing::TestWithParam<store_factory> {
 protected:
  void SetUp() override {
    if (GetParam().missing != nullptr && !GetParam().missing().empty())
      GTEST_SKIP() << GetParam().missing();
    open(0);
  }
  void TearDown() override {
    if (s_ != nullptr) s_->close();
  }
  void open(uint64_t bytes_max) {
    if (s_ != nullptr) s_->close();
    dir_ = std::make_unique<scratch_dir>();
    s_.reset(GetParam().open(*dir_, bytes_max));
    ASSERT_NE(s_, nullptr);
    c_ = {s_.get(), loops_.at(0)};
  }
  void say_many(const std::string& channel, int count, int64_t time_ms = 1000) {
    for (int i = 1; i <= count; ++i)
      ASSERT_EQ(c_.say(channel, std::to_string(i), time_ms).rc, core::err::ok);
  }

  std::unique_ptr<scratch_dir> dir_;
  loops loops_{2};
  std::unique_ptr<store::store> s_;
  client c_;
};

TEST_P(store_contract, gives_offsets_from_one_in_each_channel) {
  const auto first = c_.say("a", "1");
  EXPECT_EQ(first.rc, core::err::ok);
  EXPECT_EQ(first.offset, 1u);
  EXPECT_EQ(first.time_ms, 1000);
  EXPECT_EQ(first.pub.offset, 1u);
  EXPECT_EQ(first.pub.data, "1");
  EXPECT_FALSE(first.is_duplicate);
  EXPECT_EQ(c_.say("a", "2").offset, 2u);
  EXPECT_EQ(c_.say("b", "1").offset, 1u);
  EXPECT_EQ(c_.say("a", "3").offset, 3u);
  EXPECT_EQ(c_.pages("a"), "1:1 2:2 3:3");
}

TEST_P(store_contract, has_one_epoch_also_for_empty_channels) {
  const std::string epoch = c_.read(page("nobody", 0, 0)).top.epoch;
  EXPECT_FALSE(epoch.empty());
  EXPECT_LE(epoch.size(), 16u);
  for (const char ch : epoch) EXPECT_TRUE(isalnum(static_cast<unsigned char>(ch)));
  EXPECT_EQ(c_.say("a", "1").epoch, epoch);
  EXPECT_EQ(c_.read(page("a", 0, 10)).top.epoch, epoch);
}

TEST_P(store_contract, gives_back_every_byte) {
  store::append_request r = message(std::string("ch\xc3\xa4"), "{\"a\":\"\xf0\x9f\x98\x80\"}");
  r.user = std::string("a\0b", 3);
  r.pub.info = "{\"user\":\"x\"}";
  r.pub.tags = "{\"time\":\"1\"}";
  r.pub.offset = 77;  // ignored
  EXPECT_EQ(c_.append(r).offset, 1u);
  const auto got = c_.read(page(r.channel, 0, 1));
  ASSERT_EQ(got.pubs.size(), 1u);
  EXPECT_EQ(got.pubs[0].offset, 1u);
  EXPECT_EQ(got.pubs[0].data, r.pub.data);
  EXPECT_EQ(got.pubs[0].info, r.pub.info);
  EXPECT_EQ(got.pubs[0].tags, r.pub.tags);
  EXPECT_EQ(got.pubs[0].time_ms, 1000);
}

TEST_P(store_contract, answers_on_the_loop_that_asked_and_never_inside_the_call) {
  for (const uint32_t i : {0u, 1u}) {
    pending<store::append_result> p{.home = loops_.at(i)};
    auto answer = p.promise.get_future();
    {
      blocked_loop block(loops_.at(i));
      ASSERT_EQ(
          s_->append(loops_.at(i), message("a", "x"), pending<store::append_result>::answered, &p),
          core::err::ok);
      EXPECT_NE(answer.wait_for(std::chrono::seconds(0)), std::future_status::ready);
    }
    EXPECT_EQ(answer.get().rc, core::err::ok);  // pending checks the thread
  }
}

// Appends of one loop, many in flight.
struct burst {
  std::mutex lock;
  std::condition_variable changed;
  std::map<std::string, std::vector<uint64_t>> offsets;  // as answered
  uint32_t waiting = 0;
  struct one {
    burst* all;
    std::string channel;
  };
  void append(store::store* s, core::loop* home, const std::string& channel) {
    auto* o = new one{this, channel};
    {
      const std::lock_guard<std::mutex> held(lock);
      ++waiting;
    }
    ASSERT_EQ(s->append(
                  home, message(channel, "x"),
                  [](void* user, store::append_result&& r) noexcept {
                    const std::unique_ptr<one> self(static_cast<one*>(user));
                    const std::lock_guard<std::mutex> held(self->all->lock);
                    EXPECT_EQ(r.rc, core::err::ok);
                    self->all->offsets[self->channel].push_back(r.offset);
                    --self->all->waiting;
                    self->all->changed.notify_all();
                  },
                  o),
              core::err::ok);
  }
  void wait() {
    std::unique_lock<std::mutex> held(lock);
    changed.wait(held, [&] { return waiting == 0; });
  }
};

TEST_P(store_contract, commits_one_loops_appends_in_the_order_of_the_calls) {
  burst b;
  for (int i = 0; i < 900; ++i)
    b.append(s_.get(), loops_.at(0), i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c");
  b.wait();
  for (const char* channel : {"a", "b", "c"}) {
    const auto& got = b.offsets[channel];
    ASSERT_EQ(got.size(), 300u);
    for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], i + 1) << channel;
  }
}

TEST_P(store_contract, shares_a_channels_offsets_between_loops_without_holes) {
  burst b[2];
  std::thread others([&] {
    for (int i = 0; i < 300; ++i) b[1].append(s_.get(), loops_.at(1), "a");
  });
  for (int i = 0; i < 300; ++i) b[0].append(s_.get(), loops_.at(0), "a");
  others.join();
  std::set<uint64_t> all;
  for (burst& each : b) {
    each.wait();
    EXPECT_TRUE(std::is_sorted(each.offsets["a"].begin(), each.offsets["a"].end()));
    all.insert(each.offsets["a"].begin(), each.offsets["a"].end());
  }
  EXPECT_EQ(all.size(), 600u);
  EXPECT_EQ(*all.begin(), 1u);
  EXPECT_EQ(*all.rbegin(), 600u);
}

TEST_P(store_contract, pages_forwards) {
  say_many("a", 5);
  EXPECT_EQ(text(c_.read(page("a", 0, 2)).pubs), "1:1 2:2");
  EXPECT_EQ(text(c_.read(page("a", 2, 2)).pubs), "3:3 4:4");
  EXPECT_EQ(text(c_.read(page("a", 4, 2)).pubs), "5:5");
  EXPECT_EQ(text(c_.read(page("a", 5, 2)).pubs), "");
  EXPECT_EQ(text(c_.read(page("a", UINT64_MAX, 2)).pubs), "");
  EXPECT_EQ(c_.read(page("a", 5, 2)).top.offset, 5u);
  EXPECT_EQ(text(c_.read(page("a", 0, UINT32_MAX)).pubs), "1:1 2:2 3:3 4:4 5:5");
}

TEST_P(store_contract, pages_backwards) {
  say_many("a", 5);
  EXPECT_EQ(text(c_.read(page("a", 0, 2, true)).pubs), "5:5 4:4");
  EXPECT_EQ(text(c_.read(page("a", 4, 2, true)).pubs), "3:3 2:2");
  EXPECT_EQ(text(c_.read(page("a", 2, 2, true)).pubs), "1:1");
  EXPECT_EQ(text(c_.read(page("a", 1, 2, true)).pubs), "");
  EXPECT_EQ(text(c_.read(page("a", UINT64_MAX, 1, true)).pubs), "5:5");
}

TEST_P(store_contract, tells_the_position_alone_with_limit_zero) {
  say_many("a", 3);
  const auto r = c_.read(page("a", 0, 0));
  EXPECT_EQ(r.top.offset, 3u);
  EXPECT_TRUE(r.pubs.empty());
  EXPECT_FALSE(r.is_cut);
  EXPECT_EQ(c_.top("nobody"), 0u);
}

TEST_P(store_contract, binds_history_size_when_reading) {
  say_many("a", 5);
  store::read_request r = page("a", 0, 10);
  for (const auto& [size_max, expected] :
       std::map<uint64_t, std::string>{{1, "5:5"},
                                       {4, "2:2 3:3 4:4 5:5"},
                                       {5, "1:1 2:2 3:3 4:4 5:5"},
                                       {6, "1:1 2:2 3:3 4:4 5:5"},
                                       {UINT64_MAX, "1:1 2:2 3:3 4:4 5:5"}}) {
    r.keep.size_max = size_max;
    EXPECT_EQ(text(c_.read(r).pubs), expected) << size_max;
  }
  r.keep.size_max = 2;
  r.since = 1;
  EXPECT_EQ(text(c_.read(r).pubs), "4:4 5:5");
  r.since = 5;
  r.is_reverse = true;
  EXPECT_EQ(text(c_.read(r).pubs), "4:4");
}

TEST_P(store_contract, binds_history_age_when_reading) {
  for (int i = 1; i <= 4; ++i) c_.say("a", std::to_string(i), 1000 * i);
  store::read_request r = page("a", 0, 10);
  r.keep.ttl_ms = 1000;
  r.now_ms = 3999;
  EXPECT_EQ(text(c_.read(r).pubs), "3:3 4:4");
  r.now_ms = 4000;  // 3 is now as old as the bound
  EXPECT_EQ(text(c_.read(r).pubs), "4:4");
  r.now_ms = 5000;
  EXPECT_EQ(text(c_.read(r).pubs), "");
  EXPECT_EQ(c_.read(r).top.offset, 4u);
  r.keep.ttl_ms = UINT64_MAX;
  EXPECT_EQ(text(c_.read(r).pubs), "1:1 2:2 3:3 4:4");
}

TEST_P(store_contract, leaves_no_hole_in_a_page_after_a_step_of_the_clock) {
  for (const int64_t t : {1000, 5000, 2000, 6000}) c_.say("a", std::to_string(t), t);
  store::read_request r = page("a", 0, 10);
  r.keep.ttl_ms = 1000;
  r.now_ms = 5500;  // 2000 is too old, but 5000 before it is not
  EXPECT_EQ(text(c_.read(r).pubs), "2:5000 3:2000 4:6000");
  r.since = 2;
  EXPECT_EQ(text(c_.read(r).pubs), "3:2000 4:6000");
  r.since = 0;
  r.is_reverse = true;
  EXPECT_EQ(text(c_.read(r).pubs), "4:6000 3:2000 2:5000");
}

TEST_P(store_contract, cuts_a_page_by_bytes) {
  for (int i = 0; i < 3; ++i) {
    store::append_request m = message("a", "1234");
    m.pub.info = "123";
    m.pub.tags = "123";
    c_.append(m);
  }
  store::read_request r = page("a", 0, 10);
  for (const auto& [bytes_max, expected] :
       std::map<uint64_t, size_t>{{0, 3}, {1, 1}, {10, 1}, {19, 1}, {20, 2}, {29, 2}, {30, 3}}) {
    r.bytes_max = bytes_max;
    for (const bool is_reverse : {false, true}) {
      r.is_reverse = is_reverse;
      const auto got = c_.read(r);
      EXPECT_EQ(got.pubs.size(), expected) << bytes_max;
      EXPECT_EQ(got.is_cut, expected < 3) << bytes_max;
    }
  }
  r.bytes_max = 20;
  r.limit = 2;
  EXPECT_FALSE(c_.read(r).is_cut);  // the limit ended it
}

TEST_P(store_contract, stores_a_key_once) {
  const auto first = c_.append(with_key(message("a", "1", 1000), "alice/k", "h"));
  EXPECT_EQ(first.offset, 1u);
  c_.say("a", "2");
  const auto again = c_.append(with_key(message("a", "1", 5000), "alice/k", "h"));
  EXPECT_EQ(again.rc, core::err::ok);
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.offset, 1u);
  EXPECT_EQ(again.time_ms, 1000);
  EXPECT_EQ(again.epoch, first.epoch);
  EXPECT_EQ(c_.append(with_key(message("a", "other"), "alice/k", "h2")).rc, core::err::conflict);
  EXPECT_EQ(c_.append(with_key(message("a", "3"), "bob/k", "h2")).offset, 3u);
  EXPECT_EQ(c_.append(with_key(message("b", "1"), "alice/k", "h2")).offset, 1u);
  EXPECT_EQ(c_.pages("a"), "1:1 2:2 3:3");
}

TEST_P(store_contract, takes_keys_as_bytes) {
  const std::string scope("a\0\xff", 3), hash("\0\xfe", 2);
  EXPECT_EQ(c_.append(with_key(message("a", "1"), scope, hash)).offset, 1u);
  EXPECT_TRUE(c_.append(with_key(message("a", "1"), scope, hash)).is_duplicate);
  EXPECT_EQ(c_.append(with_key(message("a", "1"), scope, std::string("\0\xff", 2))).rc,
            core::err::conflict);
  EXPECT_EQ(c_.append(with_key(message("a", "1"), std::string("a\0\xfe", 3), hash)).offset, 2u);
}

TEST_P(store_contract, forgets_a_key_after_its_time) {
  c_.append(with_key(message("a", "1", 1000), "k", "h", 500));
  EXPECT_TRUE(c_.append(with_key(message("a", "1", 1499), "k", "h", 500)).is_duplicate);
  const auto later = c_.append(with_key(message("a", "new", 1500), "k", "h2", 500));
  EXPECT_EQ(later.offset, 2u);
  EXPECT_FALSE(later.is_duplicate);
  EXPECT_TRUE(c_.append(with_key(message("a", "new", 1999), "k", "h2", 500)).is_duplicate);
}

TEST_P(store_contract, keeps_a_key_when_the_history_is_removed) {
  c_.append(with_key(message("a", "1"), "k", "h"));
  EXPECT_EQ(c_.remove_history("a"), core::err::ok);
  EXPECT_TRUE(c_.append(with_key(message("a", "1"), "k", "h")).is_duplicate);
}

TEST_P(store_contract, refuses_a_reference_to_nothing) {
  EXPECT_EQ(c_.append(reference("nobody", "alice", 1, false)).rc, core::err::not_found);
  say_many("a", 2);
  EXPECT_EQ(c_.append(reference("a", "alice", 3, false)).rc, core::err::not_found);
  EXPECT_EQ(c_.append(reference("a", "alice", UINT64_MAX, true)).rc, core::err::not_found);
  store::append_request r = reference("a", "alice", 1, false);
  r.keep.size_max = 1;
  EXPECT_EQ(c_.append(r).rc, core::err::not_found);
  r.keep = {.ttl_ms = 500};
  r.pub.time_ms = 1500;
  EXPECT_EQ(c_.append(r).rc, core::err::not_found);
  EXPECT_EQ(c_.say("a", "3").offset, 3u) << "a refused request burns no offset";
  EXPECT_EQ(c_.remove_history("a"), core::err::ok);
  EXPECT_EQ(c_.append(reference("a", "alice", 1, false)).rc, core::err::not_found);
  EXPECT_EQ(c_.top("nobody"), 0u);
}

TEST_P(store_contract, refuses_a_reference_to_anothers_message) {
  say_many("a", 1);
  EXPECT_EQ(c_.append(reference("a", "bob", 1, true)).rc, core::err::denied);
  EXPECT_EQ(c_.append(reference("a", "", 1, true)).rc, core::err::denied);
  store::append_request anonymous = message("a", "2");
  anonymous.user = "";
  c_.append(anonymous);
  EXPECT_EQ(c_.append(reference("a", "", 2, true)).rc, core::err::denied)
      << "one nobody is not another";
  EXPECT_EQ(c_.pages("a"), "1:1 2:2");
}

TEST_P(store_contract, stores_an_edit_beside_the_original) {
  say_many("a", 2);
  EXPECT_EQ(c_.append(reference("a", "alice", 1, false)).offset, 3u);
  EXPECT_EQ(c_.pages("a"), "1:1 2:2 3:\"edited\"");
}

TEST_P(store_contract, refuses_an_edit_of_an_edit) {
  say_many("a", 1);
  EXPECT_EQ(c_.append(reference("a", "alice", 1, false)).offset, 2u);
  EXPECT_EQ(c_.append(reference("a", "alice", 2, false)).rc, core::err::not_found)
      << "deleting the original would not find it";
  EXPECT_EQ(c_.append(reference("a", "alice", 2, true)).rc, core::err::not_found);
  EXPECT_EQ(c_.append(reference("a", "alice", 1, false)).offset, 3u);
}

TEST_P(store_contract, blanks_a_deleted_message_and_its_edits) {
  say_many("a", 2);
  say_many("b", 1);
  c_.append(reference("a", "alice", 1, false));
  c_.append(reference("a", "alice", 2, false));
  c_.append(reference("b", "alice", 1, false));
  EXPECT_EQ(c_.append(reference("a", "alice", 1, true)).offset, 5u);
  EXPECT_EQ(c_.pages("a"), "1:null 2:2 3:null 4:\"edited\" 5:\"deleted\"");
  EXPECT_EQ(c_.pages("b"), "1:1 2:\"edited\"");
}

TEST_P(store_contract, removes_history_but_not_the_position) {
  say_many("a", 3);
  const std::string epoch = c_.read(page("a", 0, 0)).top.epoch;
  EXPECT_EQ(c_.remove_history("a"), core::err::ok);
  EXPECT_EQ(c_.remove_history("nobody"), core::err::ok);
  EXPECT_EQ(c_.pages("a"), "");
  EXPECT_EQ(c_.read(page("a", 0, 0)).top.offset, 3u);
  EXPECT_EQ(c_.read(page("a", 0, 0)).top.epoch, epoch);
  EXPECT_EQ(c_.say("a", "4").offset, 4u);
  EXPECT_EQ(c_.pages("a"), "4:4");
  EXPECT_EQ(text(c_.read(page("a", 0, 9, true)).pubs), "4:4");
  EXPECT_EQ(text(c_.read(page("a", 2, 9)).pubs), "4:4");
}

TEST_P(store_contract, lists_a_users_channels_newest_message_first) {
  c_.say("old", "o", 1000);
  c_.say("new", "n1", 2000);
  c_.say("new", "n2", 3000);
  c_.say("other", "x", 9000);
  for (const char* ch : {"empty", "old", "new"}) EXPECT_EQ(c_.join({"alice"}, ch), core::err::ok);
  EXPECT_EQ(c_.join({"bob", "carol"}, "other"), core::err::ok);
  const auto r = c_.channels("alice");
  ASSERT_EQ(r.channels.size(), 3u);
  EXPECT_EQ(r.channels[0].channel, "new");
  EXPECT_EQ(r.channels[0].top.offset, 2u);
  EXPECT_EQ(r.channels[0].last.data, "n2");
  EXPECT_EQ(r.channels[0].last.offset, 2u);
  EXPECT_EQ(r.channels[0].read_offset, 0u);
  EXPECT_EQ(r.channels[0].unread, 2u);
  EXPECT_EQ(r.channels[1].channel, "old");
  EXPECT_EQ(r.channels[2].channel, "empty");
  EXPECT_EQ(r.channels[2].unread, 0u);
  EXPECT_EQ(r.channels[2].top.offset, 0u);
  EXPECT_EQ(r.channels[2].last.offset, 0u);
  EXPECT_EQ(r.channels[2].top.epoch, r.channels[0].top.epoch);
  EXPECT_EQ(c_.channels("alice", 2).channels.size(), 2u);
  EXPECT_EQ(c_.channels("alice", 3).channels.size(), 3u);
  EXPECT_EQ(c_.channels("alice", 0).channels.size(), 0u);
  EXPECT_EQ(c_.channels("carol").channels.size(), 1u);
  EXPECT_EQ(c_.channels("nobody").channels.size(), 0u);
}

TEST_P(store_contract, moves_the_read_marker_forward_only) {
  const auto marker = [&] { return c_.channels("alice").channels.at(0).read_offset; };
  EXPECT_EQ(c_.mark("alice", "a", 5), core::err::ok);  // makes the channel known
  EXPECT_EQ(marker(), 5u);
  EXPECT_EQ(c_.mark("alice", "a", 4), core::err::ok);
  EXPECT_EQ(marker(), 5u);
  EXPECT_EQ(c_.mark("alice", "a", 6), core::err::ok);
  EXPECT_EQ(marker(), 6u);
  EXPECT_EQ(c_.channels("alice").channels.at(0).unread, 0u) << "a marker beyond the top";
  EXPECT_EQ(c_.join({"alice", "bob"}, "a"), core::err::ok);
  EXPECT_EQ(marker(), 6u);
  EXPECT_EQ(c_.leave("alice", "a"), core::err::ok);
  EXPECT_EQ(c_.leave("alice", "a"), core::err::ok);
  EXPECT_TRUE(c_.channels("alice").channels.empty());
  EXPECT_EQ(c_.channels("bob").channels.size(), 1u);
}

TEST_P(store_contract, takes_requests_that_want_no_answer) {
  ASSERT_EQ(s_->add_user_channel(loops_.at(0), {"alice"}, "a", nullptr, nullptr), core::err::ok);
  EXPECT_EQ(c_.mark("alice", "a", 1), core::err::ok);  // behind it in the queue
  EXPECT_EQ(c_.channels("alice").channels.size(), 1u);
}

// A callback may run before its message is counted out.
inline bool reserve_soon(core::loop* l, uint32_t slots) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < until) {
    if (core::loop_reserve(l, slots)) return true;
    std::this_thread::yield();
  }
  return false;
}

TEST_P(store_contract, refuses_when_the_mailbox_has_no_room_for_the_answer) {
  constexpr uint32_t kMax = 8;
  loops small(1, kMax);
  client c{s_.get(), small.at(0)};
  ASSERT_EQ(c.say("a", "1").rc, core::err::ok);
  ASSERT_TRUE(reserve_soon(small.at(0), kMax));
  {
    EXPECT_EQ(c.say("a", "x").rc, core::err::full);
    EXPECT_EQ(c.read(page("a", 0, 1)).rc, core::err::full);
    EXPECT_EQ(c.remove_history("a"), core::err::full);
    EXPECT_EQ(c.join({"u"}, "a"), core::err::full);
    EXPECT_EQ(c.leave("u", "a"), core::err::full);
    EXPECT_EQ(c.mark("u", "a", 1), core::err::full);
    EXPECT_EQ(c.channels("u").rc, core::err::full);
    core::loop_unreserve(small.at(0), 1);
    EXPECT_EQ(c.say("a", "2").offset, 2u) << "one slot is enough for one request";
    core::loop_unreserve(small.at(0), kMax - 1);
  }
  ASSERT_TRUE(reserve_soon(small.at(0), kMax));
  core::loop_unreserve(small.at(0), kMax);
  // A batch gives back what it does not use: all slots are free again.
  burst b;
  {
    blocked_loop block(small.at(0));
    for (uint32_t i = 0; i < kMax; ++i) b.append(s_.get(), small.at(0), "b");
  }
  b.wait();
  ASSERT_TRUE(reserve_soon(small.at(0), kMax));
  core::loop_unreserve(small.at(0), kMax);
}

TEST_P(store_contract, commits_and_answers_what_is_queued_when_it_closes) {
  burst b;
  for (int i = 0; i < 200; ++i) b.append(s_.get(), loops_.at(0), "a");
  s_->close();
  b.wait();
  EXPECT_EQ(b.offsets["a"].size(), 200u);
  s_->close();
  EXPECT_EQ(c_.say("a", "x").rc, core::err::closed);
  EXPECT_EQ(c_.read(page("a", 0, 1)).rc, core::err::closed);
  EXPECT_EQ(c_.remove_history("a"), core::err::closed);
  EXPECT_EQ(c_.join({"u"}, "a"), core::err::closed);
  EXPECT_EQ(c_.leave("u", "a"), core::err::closed);
  EXPECT_EQ(c_.mark("u", "a", 1), core::err::closed);
  EXPECT_EQ(c_.channels("u").rc, core::err::closed);
  EXPECT_FALSE(s_->stats().is_ready);
}

TEST_P(store_contract, drops_answers_for_loops_that_have_ended) {
  loops gone(1);
  gone.stop();
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(s_->append(
                  gone.at(0), message("a", "x"),
                  [](void*, store::append_result&&) noexcept { ADD_FAILURE(); }, nullptr),
              core::err::ok);
    ASSERT_EQ(s_->read(
                  gone.at(0), page("a", 0, 1),
                  [](void*, store::read_result&&) noexcept { ADD_FAILURE(); }, nullptr),
              core::err::ok);
    ASSERT_EQ(
        s_->mark_read(
            gone.at(0), "u", "a", 1, [](void*, core::err) noexcept { ADD_FAILURE(); }, nullptr),
        core::err::ok);
  }
  s_->close();
}

TEST_P(store_contract, tells_when_a_publication_is_stored) {
  say_many("a", 3);
  for (const uint64_t offset : {3, 1, 2}) EXPECT_EQ(c_.stored("a", offset), core::err::ok);
  EXPECT_EQ(c_.stored("a", 3), core::err::ok) << "again";
}

TEST_P(store_contract, answers_io_when_full_and_loses_nothing) {
  if (GetParam().missing != nullptr) GTEST_SKIP() << "its bound is of what waits: mongo_test";
  open(256 * 1024);
  const std::string big(8 * 1024, 'x');
  uint64_t stored = 0;
  store::append_result last;
  while ((last = c_.say("a", big)).rc == core::err::ok) {
    ASSERT_EQ(last.offset, ++stored);
    ASSERT_LT(stored, 100u) << "the bound does not bind";
  }
  EXPECT_EQ(last.rc, core::err::io);
  EXPECT_EQ(c_.say("a", big).rc, core::err::io);
  EXPECT_EQ(c_.append(with_key(message("new", big), "k", "h")).rc, core::err::io);
  EXPECT_EQ(c_.top("new"), 0u);
  const auto all = c_.read(page("a", 0, 1000));
  EXPECT_EQ(all.top.offset, stored) << "no offset is burnt";
  EXPECT_EQ(all.pubs.size(), stored);
  EXPECT_GE(s_->stats().failures, 3u);
  ASSERT_EQ(c_.remove_history("a"), core::err::ok);
  EXPECT_EQ(c_.say("a", big).offset, stored + 1) << "it tries again";
  const auto first = c_.append(with_key(message("new", "1"), "k", "h"));
  EXPECT_EQ(first.offset, 1u) << "a failed append has not used its key";
  EXPECT_FALSE(first.is_duplicate);
  EXPECT_TRUE(s_->stats().is_ready);
}

TEST_P(store_contract, counts_what_it_does) {
  EXPECT_TRUE(s_->stats().is_ready);
  say_many("a", 3);
  c_.append(with_key(message("a", "k"), "k", "h"));
  c_.append(with_key(message("a", "k"), "k", "h"));
  const auto s = s_->stats();
  EXPECT_EQ(s.committed, 4u);
  EXPECT_GE(s.commits, 4u);
  EXPECT_EQ(s.failures, 0u);
  EXPECT_EQ(s.queue, 0u);
  EXPECT_GT(s.bytes, 0u);
}

// A channel as the contract describes it, in its simplest form.
struct model {
  struct row {
    store::publication pub;
    std::string user;
    uint64_t refers;
  };
  std::vector<row> rows;
  uint64_t top = 0;
  std::map<std::string, std::pair<std::string, uint64_t>> keys;

  core::err append(const store::append_request& r, uint64_t* offset, bool* is_duplicate) {
    const auto k = keys.find(r.key_scope);
    if (!r.key_scope.empty() && k != keys.end()) {
      *offset = k->second.second;
      *is_duplicate = true;
      return k->second.first == r.key_hash ? core::err::ok : core::err::conflict;
    }
    if (r.refers > 0) {
      const auto it = std::find_if(rows.begin(), rows.end(),
                                   [&](const row& x) { return x.pub.offset == r.refers; });
      if (it == rows.end() || it->refers > 0) return core::err::not_found;
      if (it->user != r.user) return core::err::denied;
      for (row& x : rows)
        if (r.is_delete && (x.pub.offset == r.refers || x.refers == r.refers)) x.pub.data = "null";
    }
    rows.push_back({r.pub, r.user, r.refers});
    rows.back().pub.offset = *offset = ++top;
    if (!r.key_scope.empty()) keys[r.key_scope] = {r.key_hash, top};
    return core::err::ok;
  }
  std::string read(const store::read_request& r, bool* is_cut) const {
    std::vector<store::publication> window;
    size_t first = 0;
    while (first < rows.size() &&
           ((r.keep.size_max > 0 && rows[first].pub.offset + r.keep.size_max <= top) ||
            (r.keep.ttl_ms > 0 &&
             rows[first].pub.time_ms + static_cast<int64_t>(r.keep.ttl_ms) <= r.now_ms)))
      ++first;
    for (size_t i = first; i < rows.size(); ++i) {
      const uint64_t o = rows[i].pub.offset;
      if (r.since == 0 || (r.is_reverse ? o < r.since : o > r.since)) window.push_back(rows[i].pub);
    }
    if (r.is_reverse) std::reverse(window.begin(), window.end());
    if (window.size() > r.limit) window.resize(r.limit);
    uint64_t bytes = 0;
    *is_cut = false;
    for (size_t i = 0; i < window.size(); ++i) {
      bytes += window[i].data.size();
      if (i == 0 || r.bytes_max == 0 || bytes <= r.bytes_max) continue;
      window.resize(i);
      *is_cut = true;
    }
    return text(window);
  }
};

TEST_P(store_contract, agrees_with_a_model_on_random_requests) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  std::map<std::string, model> models;
  for (int i = 0; i < 1500; ++i) {
    const std::string channel(1, static_cast<char>('a' + below(3)));
    model& m = models[channel];
    const uint32_t what = below(100);
    if (what < 50) {
      store::append_request r =
          message(channel, std::string(below(20), 'd') + std::to_string(i), 1000 + below(2000));
      r.user = below(2) == 0 ? "alice" : "bob";
      if (below(4) == 0)
        r = with_key(std::move(r), "k" + std::to_string(below(20)), "h" + std::to_string(below(2)),
                     INT32_MAX);
      if (below(4) == 0) r.refers = below(static_cast<uint32_t>(m.top) + 2);
      r.is_delete = r.refers > 0 && below(2) == 0;
      uint64_t offset = 0;
      bool is_duplicate = false;
      const core::err expected = m.append(r, &offset, &is_duplicate);
      const auto got = c_.append(r);
      ASSERT_EQ(got.rc, expected) << i;
      if (expected != core::err::ok) continue;
      ASSERT_EQ(got.offset, offset) << i;
      ASSERT_EQ(got.is_duplicate, is_duplicate) << i;
    } else if (what < 98) {
      store::read_request r =
          page(channel, below(2) == 0 ? 0 : below(static_cast<uint32_t>(m.top) + 3), below(30),
               below(2) == 0);
      if (below(3) == 0) r.bytes_max = 1 + below(200);
      if (below(3) == 0) r.keep.size_max = 1 + below(40);
      if (below(3) == 0) r.keep.ttl_ms = 1 + below(2000);
      r.now_ms = 2000 + below(2000);
      bool is_cut = false;
      const std::string expected = m.read(r, &is_cut);
      const auto got = c_.read(r);
      ASSERT_EQ(text(got.pubs), expected) << i;
      ASSERT_EQ(got.is_cut, is_cut) << i;
      ASSERT_EQ(got.top.offset, m.top) << i;
    } else {
      m.rows.clear();
      ASSERT_EQ(c_.remove_history(channel), core::err::ok);
    }
  }
}

}  // namespace store_test
