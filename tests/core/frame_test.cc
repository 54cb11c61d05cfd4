// Frames, names of errors and end reasons, the clock and randomness.
#include "core/frame.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/assert.h"
#include "core/clock.h"
#include "core/end_reason.h"
#include "core/err.h"

namespace core {
namespace {

TEST(frame_test, holds_a_copy_until_the_last_reference) {
  const int64_t before = frame_live();
  std::string text = "hello";
  frame* f = frame_copy(text);
  text = "other";
  EXPECT_EQ(frame_view(f), "hello");
  EXPECT_EQ(frame_live(), before + 1);
  EXPECT_EQ(frame_ref(f, 3), f);
  frame_unref(f, 2);
  frame_unref(f);
  EXPECT_EQ(frame_view(f), "hello");
  frame_unref(f);
  EXPECT_EQ(frame_live(), before);
}

TEST(frame_test, offset_moves_the_view_and_cap_is_exact) {
  frame* f = frame_new(8);
  EXPECT_EQ(f->cap, 8u);
  EXPECT_EQ(frame_view(f), "");
  std::memcpy(frame_bytes(f), "..abcdef", 8);  // ASan: all 8, no more
  f->offset = 2;
  f->len = 6;
  EXPECT_EQ(frame_view(f), "abcdef");
  frame_unref(f);
  frame* empty = frame_copy("");
  EXPECT_EQ(frame_view(empty), "");
  frame_unref(empty);
}

TEST(frame_test, is_freed_once_by_many_threads) {
  const int64_t before = frame_live();
  frame* f = frame_copy("x");
  frame_ref(f, 4000);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([f] {
      for (int k = 0; k < 1000; ++k) frame_unref(f);
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(frame_live(), before + 1);
  frame_unref(f);
  EXPECT_EQ(frame_live(), before);
}

TEST(err_test, each_has_its_name_and_text) {
  EXPECT_STREQ(err_name(err::ok), "ok");
  EXPECT_STREQ(err_name(err::too_big), "too_big");
  EXPECT_STREQ(err_text(err::too_big), "a configured size limit would be exceeded");
  EXPECT_STREQ(err_name(err::timeout), "timeout");
  std::set<std::string> names, texts;
  constexpr int kErrors = static_cast<int>(err::timeout) + 1;
  for (int i = 0; i < kErrors; ++i) {
    names.insert(err_name(static_cast<err>(i)));
    texts.insert(err_text(static_cast<err>(i)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(kErrors));
  EXPECT_EQ(texts.size(), static_cast<size_t>(kErrors));
}

TEST(end_reason_test, names_differ_and_codes_are_the_protocols) {
  std::set<std::string> names;
  for (uint8_t i = 0; i < static_cast<uint8_t>(end_reason::kCount); ++i)
    names.insert(end_reason_name(static_cast<end_reason>(i)));
  EXPECT_EQ(names.size(), static_cast<size_t>(end_reason::kCount));
  EXPECT_EQ(end_reason_code(end_reason::slow), 3008);
  EXPECT_STREQ(end_reason_text(end_reason::slow), "slow");
  EXPECT_EQ(end_reason_code(end_reason::too_many_errors), 3509);
  EXPECT_EQ(end_reason_code(end_reason::client_closed), 0);
}

TEST(clock_test, mono_does_not_go_back) {
  uint64_t last = system_clock()->mono_us();
  for (int i = 0; i < 1000; ++i) {
    const uint64_t now = system_clock()->mono_us();
    ASSERT_GE(now, last);
    last = now;
  }
  EXPECT_GT(system_clock()->wall_ms(), 1'600'000'000'000);
}

class fixed_random final : public random_source {
 public:
  void fill(void* bytes, size_t n) noexcept override {
    ASSERT_EQ(n, sizeof(uint32_t));
    std::memcpy(bytes, &values[at++], n);
  }
  std::vector<uint32_t> values;
  size_t at = 0;
};

TEST(clock_test, random_below_refuses_what_would_be_unfair) {
  fixed_random r;
  r.values = {UINT32_MAX, UINT32_MAX - 1,
              7};  // 2^32-1 is divisible by 3 and 5: only the last value is too many for 3
  EXPECT_EQ(random_below(&r, 3), (UINT32_MAX - 1) % 3);
  EXPECT_EQ(r.at, 2u);
  EXPECT_EQ(random_below(&r, 5), 2u);
  for (int i = 0; i < 100; ++i) EXPECT_LT(random_below(system_random(), 3), 3u);
  EXPECT_EQ(random_below(system_random(), 1), 0u);
}

TEST(assert_test, a_failed_assert_ends_the_process) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(CORE_ASSERT(1 == 2), "assertion failed: 1 == 2");
}

}  // namespace
}  // namespace core
