// The checker: each kind of wrong history is found under its own name, and a right one is not.
#include "loadgen/check.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "loadgen/random.h"

namespace loadgen {
namespace {

using std::string;

struct check_test : testing::Test {
  checker* c = nullptr;
  uint32_t a = 0, b = 0;
  uint32_t publishers_;
  explicit check_test(bool has_offsets = true, uint32_t publishers = 2) : publishers_(publishers) {
    c = checker_new({{"room-0", publishers, has_offsets}, {"room-1", publishers, has_offsets}});
    a = checker_member(c, 0, 10);
    b = checker_member(c, 0, 11);
  }
  ~check_test() override { checker_free(c); }
  void both_in(uint64_t offset = 0) {
    checker_join(c, a, offset);
    checker_join(c, b, offset);
    checker_start(c);
  }
  static stamp message(uint32_t publisher, uint32_t number, uint32_t room = 0) {
    return {7, room, publisher, number, 0};
  }
  bool take(uint32_t who, uint64_t offset, uint32_t number, uint32_t publisher = 0) {
    return checker_take(c, who, offset, message(publisher, number), 1000);
  }
  void both(uint64_t offset, uint32_t number, uint32_t publisher = 0) {
    EXPECT_TRUE(take(a, offset, number, publisher));
    EXPECT_TRUE(take(b, offset, number, publisher));
  }
  uint64_t count(violation_kind k) const { return checker_counts(c)[static_cast<size_t>(k)]; }
  uint64_t total() const {
    uint64_t n = 0;
    for (size_t k = 0; k < static_cast<size_t>(violation_kind::kCount); ++k)
      n += checker_counts(c)[k];
    return n;
  }
  // As one loop alone knows it.
  std::vector<uint32_t> acked_to() const {
    std::vector<uint32_t> all;
    for (uint32_t room = 0; room < 2; ++room) {
      for (uint32_t p = 0; p < publishers_; ++p) all.push_back(checker_acked_to(c, room, p));
    }
    return all;
  }
  void finish() { checkers_judge({c}, 5000); }
};

TEST_F(check_test, ARightHistoryHasNoViolation) {
  both_in();
  for (uint32_t i = 0; i < 100; ++i) {
    both(i + 1, i / 2, i % 2);
    checker_acked(c, 0, i % 2, i / 2, i + 1, 0);
  }
  for (uint32_t i = 0; i < 100; ++i) checker_history(c, 0, i + 1, message(i % 2, i / 2), 0);
  checker_history_end(c, 0, 100);
  finish();
  EXPECT_EQ(total(), 0u);
}

TEST_F(check_test, AHoleIsLostAndNamed) {
  both_in();
  both(1, 0);
  EXPECT_TRUE(take(a, 2, 1));
  both(3, 2);
  finish();
  EXPECT_EQ(count(violation_kind::lost), 1u);
  EXPECT_EQ(total(), 1u);
  const violation& v = checker_violations(c).at(0);
  EXPECT_EQ(v.channel, "room-0");
  EXPECT_EQ(v.offset, 2u);
  EXPECT_EQ(v.receiver, 11u);
  EXPECT_EQ(v.at_us, 5000u);
}

TEST_F(check_test, TheEndThatNeverCameIsLost) {
  both_in();
  both(1, 0);
  for (uint32_t i = 1; i < 5; ++i) EXPECT_TRUE(take(a, i + 1, i));
  finish();
  EXPECT_EQ(count(violation_kind::lost), 4u);
}

TEST_F(check_test, AcknowledgedAndSeenByNobodyIsLostForAll) {
  both_in();
  both(1, 0);
  checker_acked(c, 0, 0, 1, 2, 0);
  EXPECT_EQ(checker_owed(c, {checker_top(c, 0), 0}, acked_to()), 2u);
  finish();
  EXPECT_EQ(count(violation_kind::lost), 3u);  // two receivers, and the acknowledgement itself
}

TEST_F(check_test, TwiceIsDuplicated) {
  both_in();
  both(1, 0);
  EXPECT_FALSE(take(b, 1, 0));
  finish();
  EXPECT_EQ(count(violation_kind::duplicated), 1u);
  EXPECT_EQ(total(), 1u);
}

TEST_F(check_test, BehindALaterOneIsReordered) {
  both_in();
  EXPECT_TRUE(take(a, 1, 0));
  EXPECT_TRUE(take(a, 2, 1));
  EXPECT_TRUE(take(b, 2, 1));
  EXPECT_TRUE(take(b, 1, 0));
  finish();
  EXPECT_EQ(count(violation_kind::reordered), 1u);
  EXPECT_EQ(total(), 1u);
}

TEST_F(check_test, ACorruptedMessageIsNotAlsoLost) {
  both_in();
  both(1, 0);
  EXPECT_TRUE(take(a, 2, 1));
  checker_corrupt(c, b, 2, 0, "it has changed");
  both(3, 2);
  checker_corrupt(c, b, 0, 0, "cannot be read");
  checker_corrupt(c, b, 4 + kOffsetJumpMax * 2, 0, "its offset is wrong too");
  both(4, 3);
  finish();
  EXPECT_EQ(count(violation_kind::corrupted), 3u);
  EXPECT_EQ(total(), 3u);
}

TEST_F(check_test, AnotherMessageAtAnOffsetIsDifferent) {
  both_in();
  EXPECT_TRUE(take(a, 1, 0));
  EXPECT_FALSE(take(b, 1, 0, 1));
  EXPECT_EQ(count(violation_kind::different), 1u);
}

TEST_F(check_test, AMessageOfAnotherRoomIsDifferent) {
  both_in();
  EXPECT_FALSE(checker_take(c, a, 1, message(0, 0, 1), 0));
  EXPECT_EQ(count(violation_kind::different), 1u);
}

TEST_F(check_test, OffsetsThatCannotBeAreDifferent) {
  both_in(5);
  EXPECT_FALSE(take(a, 0, 0));
  EXPECT_FALSE(take(a, 5, 0));
  EXPECT_FALSE(take(a, 6 + kOffsetJumpMax + 10, 0));
  EXPECT_TRUE(take(a, 6, 0));
  EXPECT_EQ(count(violation_kind::different), 3u);
}

TEST_F(check_test, OneMessageAtTwoOffsetsIsStoredTwice) {
  both_in();
  both(1, 0);
  both(2, 0);
  EXPECT_EQ(count(violation_kind::stored_twice), 1u);
}

TEST_F(check_test, OneMessageAcknowledgedTwiceHasOneOffset) {
  both_in();
  checker_acked(c, 0, 0, 0, 1, 0);
  checker_acked(c, 0, 0, 0, 1, 0);
  EXPECT_EQ(total(), 0u);
  checker_acked(c, 0, 0, 0, 2, 0);
  EXPECT_EQ(count(violation_kind::stored_twice), 1u);
}

TEST_F(check_test, AcknowledgedAndNotInHistory) {
  both_in();
  both(1, 0);
  both(2, 1);
  checker_acked(c, 0, 0, 0, 1, 0);
  checker_acked(c, 0, 0, 1, 2, 0);
  checker_history(c, 0, 1, message(0, 0), 0);
  checker_history_end(c, 0, 2);
  finish();
  EXPECT_EQ(count(violation_kind::unacked_history), 1u);
  EXPECT_EQ(checker_violations(c).at(0).offset, 2u);
}

TEST_F(check_test, DeliveredAndNotInHistory) {
  both_in();
  both(1, 0);
  both(2, 1);
  both(3, 2);
  for (const uint32_t n : {0, 2}) checker_history(c, 0, n + 1, message(0, n), 0);
  checker_history_end(c, 0, 3);
  finish();
  EXPECT_EQ(count(violation_kind::unacked_history), 1u);
  EXPECT_EQ(checker_violations(c).at(0).offset, 2u);
  EXPECT_EQ(total(), 1u);
}

TEST_F(check_test, AHoleOfHistoryThatNobodySawIsLost) {
  both_in();
  both(1, 0);
  for (const uint32_t who : {a, b}) checker_leave(c, who);
  checker_history(c, 0, 1, message(0, 0), 0);
  checker_history(c, 0, 3, message(0, 1), 0);
  checker_history_end(c, 0, 3);
  finish();
  EXPECT_EQ(count(violation_kind::lost), 1u);
  EXPECT_EQ(checker_violations(c).at(0).offset, 2u);
  EXPECT_EQ(total(), 1u);
}

TEST_F(check_test, WhereAPositionMayBeLostANewEpochMayBeginHigher) {
  both_in();
  both(1, 0);
  for (const uint32_t who : {a, b}) checker_unrecovered(c, who, 1000, 0, true);
  both(1001, 1);
  checker_history(c, 0, 1, message(0, 0), 0);
  checker_history(c, 0, 1001, message(0, 1), 0);
  checker_history_end(c, 0, 1001);
  finish();
  EXPECT_EQ(total(), 0u);
}

constexpr uint64_t kNewEpoch = 28'000'000'000'000;  // where one begins after a server has restarted

TEST_F(check_test, ANewEpochMayBeginAnywhereAboveWhenAFaultAllowsIt) {
  both_in();
  both(1, 0);
  for (const uint32_t who : {a, b}) checker_unrecovered(c, who, kNewEpoch, 0, true);
  both(kNewEpoch + 1, 1);
  checker_acked(c, 0, 0, 0, 1, 0);
  checker_acked(c, 0, 0, 1, kNewEpoch + 1, 0);
  checker_history(c, 0, 1, message(0, 0), 0);
  checker_history(c, 0, kNewEpoch + 1, message(0, 1), 0);
  checker_history_end(c, 0, kNewEpoch + 1);
  finish();
  EXPECT_EQ(total(), 0u);
}

TEST_F(check_test, WithoutThatSuchAnOffsetIsWrong) {
  both_in();
  both(1, 0);
  EXPECT_FALSE(take(a, kNewEpoch, 1));
  EXPECT_EQ(count(violation_kind::different), 1u);
}

TEST_F(check_test, InANewEpochLossAndDisagreementAreFoundAsEver) {
  both_in();
  both(1, 0);
  checker_unrecovered(c, a, kNewEpoch, 0, true);
  checker_unrecovered(c, b, kNewEpoch, 0, true);
  both(kNewEpoch + 1, 1);
  EXPECT_TRUE(take(a, kNewEpoch + 2, 2));
  EXPECT_FALSE(take(b, kNewEpoch + 2, 3));
  EXPECT_EQ(count(violation_kind::different), 1u);
  EXPECT_TRUE(take(a, kNewEpoch + 3, 4));
  finish();
  EXPECT_EQ(count(violation_kind::lost), 2u) << "what b did not get";
}

// One that is acknowledged before a restart and gone after it: history.
TEST_F(check_test, WhatWasKeptMayBeGoneOnlyWhenAFaultAllowsThatToo) {
  for (const bool is_allowed : {false, true}) {
    checker_free(c);
    c = checker_new({{"room-0", 2, true}});
    a = checker_member(c, 0, 10);
    b = checker_member(c, 0, 11);
    both_in();
    both(1, 0);
    checker_acked(c, 0, 0, 0, 1, 0);
    checker_acked(c, 0, 0, 1, 2, 0);  // nobody has it
    if (is_allowed) checker_may_lose(c);
    for (const uint32_t who : {a, b}) checker_unrecovered(c, who, kNewEpoch, 0, true);
    both(kNewEpoch + 1, 0);  // sent again with its key, which is forgotten, too
    checker_repeated(c, 0, 0, 0, kNewEpoch + 1, false, 0);
    both(kNewEpoch + 2, 2);
    checker_history(c, 0, kNewEpoch + 1, message(0, 0), 0);
    checker_history_end(c, 0, kNewEpoch + 2);
    finish();
    EXPECT_EQ(count(violation_kind::stored_twice), is_allowed ? 0u : 3u);
    EXPECT_EQ(count(violation_kind::lost), is_allowed ? 0u : 1u);
    EXPECT_EQ(count(violation_kind::unacked_history), 1u)
        << "the message of the new epoch that history does not have";
  }
}

TEST_F(check_test, AForgottenKeyIsNoExcuseWithinOneEpoch) {
  both_in();
  checker_may_lose(c);
  both(1, 0);
  both(2, 0);
  EXPECT_EQ(count(violation_kind::stored_twice), 1u);
}

TEST_F(check_test, TwoLoopsAgreeInANewEpoch) {
  checker* other = checker_new({{"room-0", 2, true}, {"room-1", 2, true}});
  const uint32_t there = checker_member(other, 0, 20);
  both_in();
  checker_join(other, there, 0);
  both(1, 0);
  EXPECT_TRUE(checker_take(other, there, 1, message(0, 0), 0));
  for (const uint32_t who : {a, b}) checker_unrecovered(c, who, kNewEpoch, 0, true);
  both(kNewEpoch + 1, 1);
  both(kNewEpoch + 2, 2);
  checker_unrecovered(other, there, kNewEpoch + 1, 0, true);
  EXPECT_TRUE(checker_take(other, there, kNewEpoch + 2, message(0, 3), 0));
  checkers_judge({c, other}, 0);
  EXPECT_EQ(total(), 1u) << "message 2 here, message 3 there";
  EXPECT_EQ(count(violation_kind::different), 1u);
  checker_free(other);
}

TEST_F(check_test, AnAcknowledgementHasAnOffset) {
  both_in();
  checker_acked(c, 0, 0, 0, 0, 0);
  EXPECT_EQ(count(violation_kind::different), 1u);
}

TEST_F(check_test, AKeyUsedAgainIsAnsweredAsADuplicateWithTheFirstOffset) {
  both_in();
  both(1, 0);
  checker_acked(c, 0, 0, 0, 1, 0);
  checker_repeated(c, 0, 0, 0, 1, true, 0);
  EXPECT_EQ(total(), 0u);
  checker_repeated(c, 0, 0, 0, 1, false, 0);
  EXPECT_EQ(count(violation_kind::stored_twice), 1u);
  checker_repeated(c, 0, 0, 0, 2, true, 0);
  EXPECT_EQ(count(violation_kind::stored_twice), 2u);
}

TEST_F(check_test, APositionFarBelowTheRoomsIsDifferent) {
  both_in(5 * kOffsetJumpMax);
  checker_join(c, b, 0);
  EXPECT_EQ(count(violation_kind::different), 1u);
  checker_join(c, b, 5 * kOffsetJumpMax - 10);
  EXPECT_EQ(total(), 1u);
}

TEST_F(check_test, HistoryThatDiffersFromWhatWasSeen) {
  both_in();
  both(1, 0);
  checker_history(c, 0, 1, message(1, 0), 0);
  EXPECT_EQ(count(violation_kind::different), 1u);
}

TEST_F(check_test, WhoeverLeavesIsOwedNothingMore) {
  both_in();
  both(1, 0);
  both(2, 1);
  EXPECT_TRUE(take(a, 3, 2));
  checker_leave(c, b);
  EXPECT_TRUE(take(a, 4, 3));
  checker_join(c, b, 4);
  EXPECT_TRUE(take(a, 5, 4));
  EXPECT_TRUE(take(b, 5, 4));
  finish();
  EXPECT_EQ(total(), 0u);
}

TEST_F(check_test, WhatWasOvertakenBeforeALeaveIsLost) {
  both_in();
  both(1, 0);
  EXPECT_TRUE(take(a, 2, 1));
  both(3, 2);
  checker_leave(c, b);
  EXPECT_EQ(count(violation_kind::lost), 1u);
  checker_join(c, b, 3);
  both(4, 3);
  finish();
  EXPECT_EQ(total(), 1u);
  const violation& v = checker_violations(c).at(0);
  EXPECT_EQ(v.offset, 2u);
  EXPECT_EQ(v.receiver, 11u);
  EXPECT_EQ(v.at_us, 1000u);  // of the last call that had a time
}

TEST_F(check_test, UnrecoveredIsAViolationUnlessAllowed) {
  both_in();
  both(1, 0);
  for (uint32_t i = 1; i < 10; ++i) EXPECT_TRUE(take(a, i + 1, i));
  checker_unrecovered(c, b, 10, 0, true);
  EXPECT_EQ(total(), 0u);
  checker_unrecovered(c, b, 10, 0, false);
  EXPECT_EQ(count(violation_kind::unrecovered), 1u);
  finish();
  EXPECT_EQ(total(), 1u);
  EXPECT_EQ(checker_position(c, b), 10u);
}

TEST_F(check_test, TooMuchMissingIsCountedNotKept) {
  both_in();
  EXPECT_TRUE(take(a, 1, 0));
  for (uint64_t top = kOffsetJumpMax / 2; top < 3 * kMissingMax; top += kOffsetJumpMax / 2)
    EXPECT_TRUE(take(a, top, static_cast<uint32_t>(top)));
  const uint64_t far = kMissingMax + 1000;
  checker_leave(c, a);
  checker_join(c, a, 0);
  EXPECT_TRUE(checker_take(c, a, far, message(0, static_cast<uint32_t>(far)), 0));
  EXPECT_EQ(count(violation_kind::lost), far - 1 - kMissingMax);
}

TEST_F(check_test, LoopsAreCompared) {
  both_in();
  both(1, 0);
  checker* other = checker_new({{"room-0", 2, true}, {"room-1", 2, true}});
  const uint32_t m = checker_member(other, 0, 12);
  checker_join(other, m, 0);
  EXPECT_TRUE(checker_take(other, m, 1, message(1, 0), 0));
  EXPECT_TRUE(checker_take(other, m, 2, message(0, 1), 0));
  checkers_judge({c, other}, 5000);
  EXPECT_EQ(count(violation_kind::different), 1u);
  EXPECT_EQ(count(violation_kind::lost), 2u);  // what the other loop saw, a and b have not
  EXPECT_EQ(checker_counts(other)[static_cast<size_t>(violation_kind::lost)], 0u);
  checker_free(other);
}

TEST_F(check_test, HistoryThatAnotherLoopReadIsJudged) {
  both_in(4);
  both(5, 0);
  checker_acked(c, 0, 0, 0, 5, 0);
  both(6, 1);
  checker_acked(c, 0, 0, 1, 6, 0);
  checker* other = checker_new({{"room-0", 2, true}, {"room-1", 2, true}});
  checker_join(other, checker_member(other, 0, 12), 6);  // it came later
  checker_join(other, checker_member(other, 0, 13), 4);
  checker_leave(other, 1);
  checker_history(other, 0, 6, message(0, 1), 0);
  checker_history_end(other, 0, 6);
  checkers_judge({c, other}, 5000);
  EXPECT_EQ(count(violation_kind::unacked_history), 1u);
  EXPECT_EQ(checker_violations(c).at(0).offset, 5u);
  EXPECT_EQ(total(), 1u);
  checker_free(other);
}

struct number_test : check_test {
  number_test() : check_test(false) {}
};

TEST_F(number_test, ARightHistoryHasNoViolation) {
  both_in();
  for (uint32_t i = 0; i < 50; ++i) {
    both(0, i, 0);
    both(0, i, 1);
    checker_acked(c, 0, 0, i, 0, 0);
    checker_acked(c, 0, 1, i, 0, 0);
  }
  finish();
  EXPECT_EQ(total(), 0u);
}

TEST_F(number_test, EachKindIsFound) {
  both_in();
  both(0, 0);
  EXPECT_TRUE(take(a, 0, 1));
  both(0, 2);
  finish();
  EXPECT_EQ(count(violation_kind::lost), 1u);
  EXPECT_FALSE(take(a, 0, 2));
  EXPECT_EQ(count(violation_kind::duplicated), 1u);
  EXPECT_TRUE(take(b, 0, 1));
  EXPECT_EQ(count(violation_kind::reordered), 1u);
}

TEST_F(number_test, AnotherOrderBetweenPublishers) {
  both_in();
  EXPECT_TRUE(take(a, 0, 0, 0));
  EXPECT_TRUE(take(a, 0, 0, 1));
  EXPECT_TRUE(take(b, 0, 0, 1));
  EXPECT_TRUE(take(b, 0, 0, 0));
  EXPECT_EQ(count(violation_kind::reordered), 1u);
}

TEST_F(number_test, TheFirstAndTheLastAreDueFromTheStart) {
  both_in();
  EXPECT_TRUE(take(a, 0, 0));
  EXPECT_TRUE(take(a, 0, 1));
  EXPECT_TRUE(take(b, 0, 1));  // the first never came
  EXPECT_TRUE(take(a, 0, 2));
  for (uint32_t i = 0; i < 3; ++i) checker_acked(c, 0, 0, i, 0, 0);
  finish();
  EXPECT_EQ(count(violation_kind::lost), 2u);
  EXPECT_EQ(total(), 2u);
}

// It came in between two messages, and its connection was read first.
TEST_F(number_test, ANewcomerMayBeAheadOfTheOthers) {
  checker_join(c, a, 0);
  checker_start(c);
  EXPECT_TRUE(take(a, 0, 0, 0));
  checker_join(c, b, 0);
  EXPECT_TRUE(take(b, 0, 0, 1));  // behind message 1 of publisher 0, which it was too late for
  EXPECT_TRUE(take(a, 0, 1, 0));
  EXPECT_TRUE(take(a, 0, 0, 1));
  both(0, 2, 0);
  EXPECT_EQ(total(), 0u);
  // From then on its order is everybody's.
  EXPECT_TRUE(take(b, 0, 1, 1));
  EXPECT_TRUE(take(b, 0, 3, 0));
  EXPECT_TRUE(take(a, 0, 3, 0));
  EXPECT_TRUE(take(a, 0, 1, 1));
  EXPECT_EQ(count(violation_kind::reordered), 1u);
  EXPECT_EQ(total(), 1u);
}

TEST_F(number_test, WhenAllAreNewcomersTheFirstSaysTheOrder) {
  both_in();
  for (const uint32_t who : {a, b}) {
    checker_leave(c, who);
    checker_join(c, who, 0);
  }
  both(0, 0, 0);
  EXPECT_TRUE(take(a, 0, 1, 0));
  EXPECT_TRUE(take(a, 0, 0, 1));
  EXPECT_TRUE(take(b, 0, 0, 1));
  EXPECT_TRUE(take(b, 0, 1, 0));
  EXPECT_EQ(count(violation_kind::reordered), 1u);
  EXPECT_EQ(total(), 1u);
}

TEST_F(number_test, WhatWasAcknowledgedIsOwedUntilItComes) {
  both_in();
  EXPECT_EQ(checker_owed(c, {0, 0}, acked_to()), 0u);
  for (const uint32_t n : {0u, 1u, 3u}) checker_acked(c, 0, 1, n, 0, 0);
  EXPECT_EQ(checker_acked_to(c, 0, 0), 0u);
  EXPECT_EQ(checker_acked_to(c, 0, 1), 4u);
  EXPECT_EQ(checker_owed(c, {0, 0}, acked_to()), 8u);
  both(0, 0, 1);
  EXPECT_EQ(checker_owed(c, {0, 0}, acked_to()), 6u);
  EXPECT_TRUE(take(a, 0, 3, 1));  // of a hole nobody knows
  EXPECT_EQ(checker_owed(c, {0, 0}, acked_to()), 3u);
  checker_leave(c, b);
  EXPECT_EQ(checker_owed(c, {0, 0}, acked_to()), 0u);
  checker_join(c, b, 0);  // a newcomer begins with what comes first
  EXPECT_EQ(checker_owed(c, {0, 0}, acked_to()), 0u);
  EXPECT_TRUE(take(b, 0, 3, 1));
  checker_acked(c, 0, 1, 4, 0, 0);
  EXPECT_EQ(checker_owed(c, {0, 0}, acked_to()), 2u);
}

TEST_F(number_test, WhatWasOvertakenBeforeALeaveIsLostUnlessRefused) {
  both_in();
  both(0, 0);
  EXPECT_TRUE(take(a, 0, 1));
  both(0, 3);  // b has neither 1 nor 2
  checker_leave(c, b);
  checker_refused(c, 0, 0, 2);
  checker_leave(c, a);
  finish();
  EXPECT_EQ(count(violation_kind::lost), 1u);
  EXPECT_EQ(checker_violations(c).at(0).receiver, 11u);
  EXPECT_EQ(total(), 1u);
}

TEST_F(number_test, RefusedAndLateComersAreNotOwed) {
  both_in();
  both(0, 0);
  checker_refused(c, 0, 0, 1);
  both(0, 2);
  checker_leave(c, b);
  EXPECT_TRUE(take(a, 0, 3));
  checker_join(c, b, 0);
  both(0, 4);
  for (const uint32_t n : {0, 2, 3, 4}) checker_acked(c, 0, 0, n, 0, 0);
  finish();
  EXPECT_EQ(total(), 0u);
}

// Random right histories with random damage: the damage is found, each kind with its count.
TEST(check_random_test, DamageIsCountedExactly) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_stream r = random_from(seed, 0);
    checker* c = checker_new({{"r", 3, true}});
    const uint32_t members = 2 + static_cast<uint32_t>(random_below(&r, 6)), messages = 50;
    for (uint32_t m = 0; m < members; ++m) checker_join(c, checker_member(c, 0, m), 0);
    checker_start(c);
    uint64_t lost = 0, duplicated = 0;
    for (uint32_t i = 0; i < messages; ++i) {
      const stamp s{1, 0, i % 3, i / 3, 0};
      checker_acked(c, 0, i % 3, i / 3, i + 1, 0);
      for (uint32_t m = 0; m < members; ++m) {
        const uint64_t roll = m == 0 ? 9 : random_below(&r, 40);  // one receiver is always right
        if (roll == 0) {
          ++lost;
          continue;
        }
        EXPECT_TRUE(checker_take(c, m, i + 1, s, 0));
        if (roll == 1) {
          ++duplicated;
          EXPECT_FALSE(checker_take(c, m, i + 1, s, 0));
        }
      }
    }
    checkers_judge({c}, 0);
    EXPECT_EQ(checker_counts(c)[static_cast<size_t>(violation_kind::lost)], lost);
    EXPECT_EQ(checker_counts(c)[static_cast<size_t>(violation_kind::duplicated)], duplicated);
    EXPECT_EQ(checker_counts(c)[static_cast<size_t>(violation_kind::reordered)], 0u);
    checker_free(c);
  }
}

}  // namespace
}  // namespace loadgen
