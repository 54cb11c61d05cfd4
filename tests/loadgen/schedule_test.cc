// Schedules: the same from the same seed, the right rate at each moment, nobody moved by others,
// and nothing that cannot be done.
#include "loadgen/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "loadgen/random.h"

namespace loadgen {
namespace {

using std::string;
using std::vector;

room_group group(const char* name, uint32_t count, uint32_t members, uint32_t publishers,
                 double rate) {
  room_group g;
  g.name = name;
  g.count = count;
  g.members = members;
  g.publishers = publishers;
  g.rate = rate;
  return g;
}

phase lasting(double seconds, phase_shape shape = phase_shape::steady, double factor = 1,
              double factor_to = 1) {
  phase p;
  p.seconds = seconds;
  p.shape = shape;
  p.factor = factor;
  p.factor_to = factor_to;
  return p;
}

scenario asking(vector<room_group> rooms, vector<phase> phases) {
  scenario s;
  s.rooms = std::move(rooms);
  s.phases = std::move(phases);
  return s;
}

schedule made(const scenario& s) {
  schedule out;
  string why;
  EXPECT_EQ(schedule_make(s, &out, &why), core::err::ok) << why;
  return out;
}

vector<action> of_kind(const schedule& s, action_kind kind) {
  vector<action> out;
  std::copy_if(s.actions.begin(), s.actions.end(), std::back_inserter(out),
               [kind](const action& a) { return a.kind == kind; });
  return out;
}

vector<uint64_t> times(const schedule& s, action_kind kind,
                       const std::function<bool(const action&)>& is_wanted = {}) {
  vector<uint64_t> out;
  for (const action& a : s.actions) {
    if (a.kind == kind && (!is_wanted || is_wanted(a))) out.push_back(a.at_us);
  }
  return out;
}

// Of a room by its group and its place there.
vector<uint64_t> room_times(const scenario& asked, const schedule& s, const string& name,
                            uint32_t index) {
  return times(s, action_kind::publish, [&](const action& a) {
    const room_plan& room = s.rooms[a.room];
    return asked.rooms[room.group].name == name && room.index == index;
  });
}

// Everything that can be asked for.
scenario mixed() {
  scenario s = asking({group("a", 10, 8, 3, 5), group("b", 20, 4, 2, 1)},
                      {lasting(4), lasting(6, phase_shape::ramp, 1, 3)});
  s.rooms[0].retry_share = 0.1;
  s.rooms[1].shared = true;
  s.rooms[1].zipf = 1;
  s.idle = 7;
  s.churn_rate = 3;
  s.reconnect_rate = 2;
  s.slow_readers = 4;
  s.slow_s = 3;
  s.history_rate = 10;
  s.presence_rate = 10;
  return s;
}

TEST(schedule_test, OneSeedIsOneScheduleAndAnotherIsAnother) {
  scenario s = mixed();
  const uint64_t digest = schedule_digest(made(s));
  EXPECT_EQ(schedule_digest(made(s)), digest);
  std::set<uint64_t> all = {digest};
  for (s.seed = 2; s.seed < 20; ++s.seed) all.insert(schedule_digest(made(s)));
  EXPECT_EQ(all.size(), 19u);
}

// If this changes, no run can be compared with an older one of its seed.
TEST(schedule_test, TheScheduleOfASeedNeverChanges) {
  EXPECT_EQ(schedule_digest(made(mixed())), 12459705003885363113u);
}

TEST(schedule_test, TheDigestIsOfEverything) {
  const schedule s = made(mixed());
  const uint64_t digest = schedule_digest(s);
  const vector<std::function<void(schedule*)>> changes = {
      [](schedule* c) { ++c->peers; },
      [](schedule* c) { ++c->first_idle; },
      [](schedule* c) { ++c->rooms[3].members[1]; },
      [](schedule* c) { ++c->rooms[3].group; },
      [](schedule* c) { ++c->rooms[3].index; },
      [](schedule* c) { ++c->rooms[3].publishers; },
      [](schedule* c) { c->rooms.pop_back(); },
      [](schedule* c) { ++c->actions[5].at_us; },
      [](schedule* c) { ++c->actions[5].peer; },
      [](schedule* c) { ++c->actions[5].room; },
      [](schedule* c) { ++c->actions[5].phase; },
      [](schedule* c) { c->actions[5].is_retried = !c->actions[5].is_retried; },
      [](schedule* c) { c->actions[5].kind = action_kind::presence; },
      [](schedule* c) { c->actions.pop_back(); },
      [](schedule* c) { std::swap(c->actions[5], c->actions[6]); }};
  for (size_t i = 0; i < changes.size(); ++i) {
    schedule changed = s;
    changes[i](&changed);
    EXPECT_NE(schedule_digest(changed), digest) << i;
  }
}

TEST(schedule_test, ActionsAreSortedAndWithinThePhases) {
  const schedule s = made(mixed());
  ASSERT_FALSE(s.actions.empty());
  for (size_t i = 0; i < s.actions.size(); ++i) {
    const action& a = s.actions[i];
    ASSERT_LE(s.actions[i == 0 ? 0 : i - 1].at_us, a.at_us);
    ASSERT_LT(a.at_us, 10'000'000u);
    ASSERT_EQ(a.phase, a.at_us < 4'000'000 ? 0 : 1) << i;
    ASSERT_LT(a.peer, s.peers);
    ASSERT_TRUE(a.room == kNoRoom || a.room < s.rooms.size());
  }
}

TEST(schedule_test, EverybodyPublishesOnlyWhereTheyArePublishers) {
  const schedule s = made(mixed());
  for (const action& a : of_kind(s, action_kind::publish)) {
    const room_plan& room = s.rooms[a.room];
    const auto end = room.members.begin() + room.publishers;
    ASSERT_NE(std::find(room.members.begin(), end, a.peer), end);
  }
}

// Rooms and connections.

TEST(schedule_test, GroupsHaveConnectionsOfTheirOwnAndIdleOnesCarryOn) {
  scenario s = asking({group("a", 3, 4, 2, 1), group("b", 2, 5, 1, 1)}, {lasting(1)});
  s.idle = 6;
  const schedule plan = made(s);
  EXPECT_EQ(plan.first_idle, 22u);
  EXPECT_EQ(plan.peers, 28u);
  EXPECT_EQ(plan.peers, scenario_connections(s));
  ASSERT_EQ(plan.rooms.size(), 5u);
  uint32_t next = 0;
  for (const room_plan& room : plan.rooms) {
    EXPECT_EQ(room.members.size(), room.group == 0 ? 4u : 5u);
    EXPECT_EQ(room.publishers, room.group == 0 ? 2u : 1u);
    for (const uint32_t member : room.members) EXPECT_EQ(member, next++);
  }
  EXPECT_EQ(plan.rooms[4].index, 1u);
}

TEST(schedule_test, SharedRoomsTakeDifferentPeopleAndEverybodyEquallyOften) {
  for (const uint32_t people : {3u, 10u, 97u, 100u}) {
    for (const uint32_t members : {1u, 3u, 7u, 10u, people}) {
      if (members > people) continue;
      for (const uint32_t count : {1u, 7u, 50u}) {
        scenario s = asking(
            {group("all", 1, people, 1, 1), group("shared", count, members, (members + 1) / 2, 1)},
            {lasting(1)});
        s.rooms[1].shared = true;
        const schedule plan = made(s);
        EXPECT_EQ(plan.peers, people);
        vector<uint32_t> rooms_of(people);
        for (const room_plan& room : plan.rooms) {
          const std::set<uint32_t> different(room.members.begin(), room.members.end());
          ASSERT_EQ(different.size(), room.members.size());
          ASSERT_LT(*different.rbegin(), people);
          for (const uint32_t m : room.members) ++rooms_of[m];
        }
        const auto [least, most] = std::minmax_element(rooms_of.begin(), rooms_of.end());
        ASSERT_LE(*most - *least, 1u) << people << " " << members << " " << count;
      }
    }
  }
}

TEST(schedule_test, SharedRoomsOfEverybodyHaveDifferentPublishers) {
  scenario s = asking({group("all", 1, 12, 1, 1), group("shared", 6, 12, 2, 1)}, {lasting(1)});
  s.rooms[1].shared = true;
  const schedule plan = made(s);
  std::set<uint32_t> publishers;
  for (size_t i = 1; i < plan.rooms.size(); ++i)
    publishers.insert(plan.rooms[i].members.begin(), plan.rooms[i].members.begin() + 2);
  EXPECT_EQ(publishers.size(), 12u);
}

TEST(schedule_test, SharedRoomsMixTheTeamsOfTheFirstGroup) {
  scenario s = asking({group("team", 10, 10, 1, 1), group("shared", 40, 5, 1, 1)}, {lasting(1)});
  s.rooms[1].shared = true;
  const schedule plan = made(s);
  for (size_t i = 10; i < plan.rooms.size(); ++i) {
    std::set<uint32_t> teams;
    for (const uint32_t member : plan.rooms[i].members) teams.insert(member / 10);
    EXPECT_GE(teams.size(), 4u) << i;
  }
}

TEST(schedule_test, SharedPairsAreAllDifferentAndEven) {
  for (const uint32_t people : {3u, 4u, 5u, 8u, 9u, 40u, 41u}) {
    const uint32_t pairs = people * (people - 1) / 2;
    for (const uint32_t count : {1u, people / 2, people, pairs}) {
      scenario s =
          asking({group("all", 1, people, 1, 1), group("d", count, 2, 2, 1)}, {lasting(1)});
      s.rooms[1].shared = true;
      s.rooms[1].channel = "dm";
      const schedule plan = made(s);
      std::set<std::pair<uint32_t, uint32_t>> seen;
      vector<uint32_t> rooms_of(people);
      for (size_t i = 1; i < plan.rooms.size(); ++i) {
        const uint32_t a = plan.rooms[i].members[0], b = plan.rooms[i].members[1];
        ASSERT_NE(a, b);
        ASSERT_LT(std::max(a, b), people);
        ASSERT_TRUE(seen.insert(std::minmax(a, b)).second) << people << " " << i;
        ++rooms_of[a];
        ++rooms_of[b];
      }
      // An odd number of people: one sits out in each round.
      const auto [least, most] = std::minmax_element(rooms_of.begin(), rooms_of.end());
      EXPECT_LE(*most - *least, 1 + people % 2) << people << " " << count;
    }
  }
}

// Arrivals.

TEST(schedule_test, PoissonArrivalsHaveTheMeanAndTheVarianceOfTheirRate) {
  // 400 rooms of 20 publishers; counts of each publisher in windows of a second.
  constexpr uint32_t kRooms = 400, kPublishers = 20, kSeconds = 20;
  constexpr double kRate = 40, kMean = kRate / kPublishers;
  const schedule s =
      made(asking({group("a", kRooms, kPublishers, kPublishers, kRate)}, {lasting(kSeconds)}));
  vector<uint32_t> counts(size_t{kRooms} * kPublishers * kSeconds);
  for (const action& a : s.actions) ++counts[a.peer * kSeconds + a.at_us / 1'000'000];
  double sum = 0, squares = 0;
  for (const uint32_t c : counts) {
    sum += c;
    squares += static_cast<double>(c) * c;
  }
  const double n = static_cast<double>(counts.size()), mean = sum / n;
  EXPECT_NEAR(mean, kMean, 5 * std::sqrt(kMean / n));
  EXPECT_NEAR(squares / n - mean * mean, kMean, 5 * kMean * std::sqrt(3 / n));
}

TEST(schedule_test, PoissonGapsAreExponential) {
  const schedule s = made(asking({group("a", 1, 1, 1, 1000)}, {lasting(200)}));
  const vector<uint64_t> at = times(s, action_kind::publish);
  vector<double> seen(20), expected(20, static_cast<double>(at.size() - 1) / 20);
  double both = 0;
  for (size_t i = 1; i < at.size(); ++i) {
    const auto gap = static_cast<double>(at[i] - at[i - 1]) / 1000;  // mean 1
    ++seen[std::min<size_t>(19, static_cast<size_t>((1 - std::exp(-gap)) * 20))];
    if (i > 1) both += (gap - 1) * (static_cast<double>(at[i - 1] - at[i - 2]) / 1000 - 1);
  }
  double chi = 0;
  for (size_t i = 0; i < 20; ++i)
    chi += (seen[i] - expected[i]) * (seen[i] - expected[i]) / expected[i];
  EXPECT_LT(chi, 19 + 5 * std::sqrt(38.0) + 10);
  EXPECT_LT(std::abs(both / static_cast<double>(at.size())), 0.012);  // no gap knows the one before
}

// The rate at each moment: arrivals in a hundred slices against the integral of the factor.
void expect_rate(arrival_kind arrivals, const vector<phase>& phases, double seconds,
                 const std::function<double(double)>& factor) {
  constexpr uint32_t kPublishers = 50;
  constexpr double kRate = 20'000;
  constexpr int kSlices = 100, kSteps = 200;
  scenario asked = asking({group("a", 1, kPublishers, kPublishers, kRate)}, phases);
  asked.arrivals = arrivals;
  const schedule s = made(asked);
  vector<double> seen(kSlices);
  for (const action& a : s.actions)
    ++seen[static_cast<size_t>(static_cast<double>(a.at_us) / 1e6 / seconds * kSlices)];
  double chi = 0, most = 0;
  for (int i = 0; i < kSlices; ++i) {
    double area = 0;
    for (int k = 0; k < kSteps; ++k)
      area += factor((i + (k + 0.5) / kSteps) / kSlices * seconds) * seconds / kSlices / kSteps;
    const double expected = kRate * area, off = seen[static_cast<size_t>(i)] - expected;
    if (expected < 1) {
      EXPECT_LT(std::abs(off), 10) << i;
      continue;
    }
    chi += off * off / expected;
    most = std::max(most, std::abs(off));
  }
  if (arrivals == arrival_kind::poisson) {
    EXPECT_LT(chi, kSlices + 5 * std::sqrt(2.0 * kSlices) + 10);
  } else {
    EXPECT_LE(most, kPublishers + 1);  // one for each publisher, at the ends of a slice
  }
}

struct schedule_rate_test : testing::TestWithParam<arrival_kind> {};
INSTANTIATE_TEST_SUITE_P(, schedule_rate_test,
                         testing::Values(arrival_kind::poisson, arrival_kind::fixed));

TEST_P(schedule_rate_test, IsEvenInASteadyPhase) {
  expect_rate(GetParam(), {lasting(10, phase_shape::steady, 0.7)}, 10, [](double) { return 0.7; });
}

TEST_P(schedule_rate_test, RisesInARamp) {
  expect_rate(GetParam(), {lasting(10, phase_shape::ramp, 0, 2)}, 10,
              [](double t) { return t / 5; });
}

TEST_P(schedule_rate_test, FallsInARamp) {
  expect_rate(GetParam(), {lasting(10, phase_shape::ramp, 3, 0)}, 10,
              [](double t) { return 3 * (1 - t / 10); });
}

TEST_P(schedule_rate_test, StandsInTheMiddleOfASpike) {
  expect_rate(GetParam(), {lasting(9, phase_shape::spike, 0.5, 3)}, 9,
              [](double t) { return t >= 3 && t < 6 ? 3 : 0.5; });
}

TEST_P(schedule_rate_test, FollowsOnePhaseAfterTheOther) {
  expect_rate(GetParam(),
              {lasting(2), lasting(3, phase_shape::ramp, 1, 2), lasting(1, phase_shape::steady, 0),
               lasting(4, phase_shape::ramp, 2, 0.5)},
              10, [](double t) {
                return t < 2 ? 1.0 : t < 5 ? 1 + (t - 2) / 3 : t < 6 ? 0.0 : 2 - 1.5 * (t - 6) / 4;
              });
}

TEST(schedule_test, FixedArrivalsAreEvenlySpreadFromAnOffsetOfTheirOwn) {
  scenario asked = asking({group("a", 1, 10, 10, 100)}, {lasting(10)});
  asked.arrivals = arrival_kind::fixed;
  const schedule s = made(asked);
  std::set<uint64_t> offsets;
  for (uint32_t peer = 0; peer < 10; ++peer) {
    const vector<uint64_t> at =
        times(s, action_kind::publish, [peer](const action& a) { return a.peer == peer; });
    ASSERT_EQ(at.size(), 100u);
    EXPECT_LT(at[0], 100'000u);
    offsets.insert(at[0]);
    for (size_t i = 1; i < at.size(); ++i)
      ASSERT_NEAR(static_cast<double>(at[i] - at[0]), static_cast<double>(i) * 1e5, 1.5);
  }
  EXPECT_EQ(offsets.size(), 10u);
}

TEST(schedule_test, ZipfSharesTheWholeRateByRank) {
  scenario asked = asking({group("a", 100, 3, 3, 20)}, {lasting(100)});
  asked.rooms[0].zipf = 1.1;
  const schedule s = made(asked);
  zipf_table* shares = zipf_new(100, 1.1);
  vector<double> seen(100);
  for (const action& a : s.actions) ++seen[a.room];
  double chi = 0;
  for (uint32_t i = 0; i < 100; ++i) {
    const double expected = 20 * 100 * 100 * zipf_share(shares, i);
    chi += (seen[i] - expected) * (seen[i] - expected) / expected;
  }
  zipf_free(shares);
  EXPECT_LT(chi, 100 + 5 * std::sqrt(200.0) + 10);
  EXPECT_NEAR(static_cast<double>(s.actions.size()), 200'000, 5 * std::sqrt(200'000));
}

TEST(schedule_test, AWindowHasNoPublishes) {
  scenario asked = mixed();
  asked.arrivals = arrival_kind::window;
  const schedule s = made(asked);
  EXPECT_TRUE(of_kind(s, action_kind::publish).empty());
  EXPECT_FALSE(of_kind(s, action_kind::history).empty());
}

TEST(schedule_test, SilentRoomsAndPhasesHaveNoActions) {
  EXPECT_TRUE(made(asking({group("a", 5, 3, 1, 0)}, {lasting(10)})).actions.empty());
  EXPECT_TRUE(made(asking({group("a", 5, 3, 1, 9)}, {lasting(10, phase_shape::steady, 0)}))
                  .actions.empty());
}

TEST(schedule_test, RetriesHaveTheirShareAndMoveNobody) {
  scenario asked = asking({group("a", 10, 5, 5, 100)}, {lasting(50)});
  const schedule without = made(asked);
  asked.rooms[0].retry_share = 0.2;
  const schedule with = made(asked);
  ASSERT_EQ(with.actions.size(), without.actions.size());
  double retried = 0;
  for (size_t i = 0; i < with.actions.size(); ++i) {
    ASSERT_EQ(with.actions[i].at_us, without.actions[i].at_us);
    ASSERT_FALSE(without.actions[i].is_retried);
    retried += with.actions[i].is_retried;
  }
  const auto n = static_cast<double>(with.actions.size());
  EXPECT_NEAR(retried / n, 0.2, 5 * std::sqrt(0.16 / n));
}

// An actor more does not move the others.

TEST(schedule_test, MoreRoomsGroupsAndActivitiesMoveNobody) {
  const scenario small = asking({group("a", 3, 4, 2, 10), group("b", 2, 3, 3, 5)}, {lasting(10)});
  const schedule before = made(small);
  scenario larger = small;
  larger.rooms[0].count = 5;
  larger.rooms.insert(larger.rooms.begin(), group("new", 4, 6, 2, 7));
  larger.idle = 10;
  larger.churn_rate = 2;
  larger.reconnect_rate = 3;
  larger.slow_readers = 2;
  larger.history_rate = larger.presence_rate = 5;
  const schedule after = made(larger);
  for (const auto& [name, count] : {std::pair{"a", 3u}, std::pair{"b", 2u}}) {
    for (uint32_t i = 0; i < count; ++i) {
      const vector<uint64_t> at = room_times(small, before, name, i);
      EXPECT_GT(at.size(), 20u);
      EXPECT_EQ(at, room_times(larger, after, name, i)) << name << i;
    }
  }
}

TEST(schedule_test, ALongerRunBeginsLikeTheShorter) {
  const schedule shorter = made(asking({group("a", 3, 4, 2, 10)}, {lasting(5)}));
  const schedule longer = made(asking({group("a", 3, 4, 2, 10)}, {lasting(9)}));
  ASSERT_LT(shorter.actions.size(), longer.actions.size());
  for (size_t i = 0; i < shorter.actions.size(); ++i) {
    ASSERT_EQ(shorter.actions[i].at_us, longer.actions[i].at_us);
    ASSERT_EQ(shorter.actions[i].peer, longer.actions[i].peer);
  }
}

TEST(schedule_test, ReadersOfHistoryDoNotMoveThoseOfPresence) {
  scenario asked = mixed();
  const vector<uint64_t> before = times(made(asked), action_kind::presence);
  asked.history_rate = 50;
  EXPECT_EQ(times(made(asked), action_kind::presence), before);
}

// What members do besides.

TEST(schedule_test, WhoLeavesIsInDoesNotPublishAndComesBack) {
  scenario asked = mixed();
  asked.churn_rate = 12;  // many are away at a time
  asked.churn_away_s = 1.5;
  const schedule s = made(asked);
  std::set<uint32_t> slow;
  for (const action& a : of_kind(s, action_kind::slow)) slow.insert(a.peer);
  std::set<std::pair<uint32_t, uint32_t>> away;
  uint32_t leaves = 0;
  for (const action& a : s.actions) {
    const std::pair who(a.room, a.peer);
    if (a.kind == action_kind::leave) {
      const room_plan& room = s.rooms[a.room];
      const auto at = std::find(room.members.begin(), room.members.end(), a.peer);
      ASSERT_GE(at - room.members.begin(), room.publishers);
      ASSERT_NE(at, room.members.end());
      ASSERT_EQ(slow.count(a.peer), 0u);
      ASSERT_TRUE(away.insert(who).second);
      ++leaves;
    } else if (a.kind == action_kind::join) {
      ASSERT_EQ(away.erase(who), 1u);
    } else if (a.kind == action_kind::history || a.kind == action_kind::presence) {
      ASSERT_EQ(away.count(who), 0u);
    }
  }
  EXPECT_TRUE(away.empty());
  EXPECT_GT(leaves, 100u);
}

TEST(schedule_test, LeavesHaveTheirRateAndTheirTime) {
  scenario asked = asking({group("a", 10, 100, 5, 1)}, {lasting(100)});
  asked.churn_rate = 20;
  asked.churn_away_s = 2;
  const schedule s = made(asked);
  std::map<uint32_t, uint64_t> left;
  for (const action& a : s.actions) {
    if (a.kind == action_kind::leave) left[a.peer] = a.at_us;
    ASSERT_TRUE(a.kind != action_kind::join || a.at_us - left[a.peer] == 2'000'000);
  }
  // The last two seconds have none: who left then would not be back.
  const auto leaves = static_cast<double>(of_kind(s, action_kind::leave).size());
  EXPECT_NEAR(leaves, 20 * 98, 5 * std::sqrt(20 * 98));
}

TEST(schedule_test, NobodyLeavesWhereEverybodyPublishes) {
  scenario asked = asking({group("a", 10, 3, 3, 1)}, {lasting(10)});
  asked.churn_rate = 5;
  EXPECT_TRUE(of_kind(made(asked), action_kind::leave).empty());
}

TEST(schedule_test, SlowReadersAreDifferentListenersAndComeBack) {
  scenario asked = asking({group("a", 5, 10, 4, 1)}, {lasting(6), lasting(6)});
  asked.slow_readers = 20;
  asked.slow_s = 8;
  const schedule s = made(asked);
  std::set<uint32_t> slow, back;
  for (const action& a : of_kind(s, action_kind::slow)) {
    EXPECT_EQ(a.at_us, 0u);
    EXPECT_GE(a.peer % 10, 4u);
    slow.insert(a.peer);
  }
  for (const action& a : of_kind(s, action_kind::unslow)) {
    EXPECT_EQ(a.at_us, 8'000'000u);
    EXPECT_EQ(a.phase, 1);
    back.insert(a.peer);
  }
  EXPECT_EQ(slow.size(), 20u);
  EXPECT_EQ(slow, back);
}

TEST(schedule_test, WhenListenersAreTooFewPublishersReadSlowlyToo) {
  scenario asked = asking({group("a", 5, 3, 2, 1)}, {lasting(6)});
  asked.slow_readers = 9;
  asked.slow_s = 100;  // longer than the run: they come back at its end
  const schedule s = made(asked);
  std::set<uint32_t> slow;
  for (const action& a : of_kind(s, action_kind::slow)) slow.insert(a.peer);
  EXPECT_EQ(slow.size(), 9u);
  for (uint32_t room = 0; room < 5; ++room) EXPECT_EQ(slow.count(room * 3 + 2), 1u);
  for (const action& a : of_kind(s, action_kind::unslow)) EXPECT_EQ(a.at_us, 5'999'999u);
}

TEST(schedule_test, CutsMeetEverybodyButSlowReaders) {
  scenario asked = asking({group("a", 5, 4, 1, 0)}, {lasting(100)});
  asked.idle = 10;
  asked.slow_readers = 3;
  asked.reconnect_rate = 20;
  const schedule s = made(asked);
  std::set<uint32_t> slow, cut;
  for (const action& a : of_kind(s, action_kind::slow)) slow.insert(a.peer);
  for (const action& a : of_kind(s, action_kind::cut)) {
    EXPECT_EQ(a.room, kNoRoom);
    cut.insert(a.peer);
  }
  EXPECT_EQ(cut.size(), 27u);
  for (const uint32_t peer : slow) EXPECT_EQ(cut.count(peer), 0u);
}

TEST(schedule_test, ReadsHaveTheirRateAndGoToRoomsThatHaveWhatIsRead) {
  scenario asked = asking({group("a", 5, 4, 1, 0), group("b", 5, 4, 1, 0)}, {lasting(100)});
  asked.rooms[0].has_history = false;
  asked.history_rate = 20;
  asked.presence_rate = 30;
  const schedule s = made(asked);
  std::set<std::pair<uint32_t, uint32_t>> who;
  for (const action& a : of_kind(s, action_kind::history)) {
    ASSERT_EQ(s.rooms[a.room].group, 1u);
    const vector<uint32_t>& members = s.rooms[a.room].members;
    ASSERT_NE(std::find(members.begin(), members.end(), a.peer), members.end());
    who.insert({a.room, a.peer});
  }
  EXPECT_EQ(who.size(), 20u);  // every member of every room
  EXPECT_NEAR(static_cast<double>(of_kind(s, action_kind::history).size()), 2000,
              5 * std::sqrt(2000));
  EXPECT_NEAR(static_cast<double>(of_kind(s, action_kind::presence).size()), 3000,
              5 * std::sqrt(3000));
}

TEST(schedule_test, FactorsChangeAllRates) {
  scenario asked = mixed();
  asked.phases = {lasting(100, phase_shape::steady, 3)};
  const schedule s = made(asked);
  EXPECT_NEAR(static_cast<double>(of_kind(s, action_kind::history).size()), 3000,
              5 * std::sqrt(3000));
  EXPECT_NEAR(static_cast<double>(of_kind(s, action_kind::leave).size()), 891, 5 * std::sqrt(891));
}

// Keys that are used again.

TEST(schedule_test, WhatBecomesOfAKeyIsTheSeedsChoice) {
  room_group g = group("a", 1, 5, 3, 1);
  g.again_share = 0.2;
  g.conflict_share = 0.1;
  const scenario s = asking({g}, {lasting(10)});
  scenario other = s;
  other.seed = 2;
  const room_plan room = made(s).rooms[0];
  uint32_t kinds[3] = {}, differences = 0;
  for (uint32_t n = 0; n < 3000; ++n) {
    uint64_t after_us = 0, again_us = 0;
    const repeat_kind k = schedule_repeat(s, room, n % 3, n, &after_us);
    EXPECT_EQ(schedule_repeat(s, room, n % 3, n, &again_us), k);
    EXPECT_EQ(again_us, after_us);
    EXPECT_LT(after_us, static_cast<uint64_t>(kRepeatWithinS * 1e6));
    ++kinds[static_cast<size_t>(k)];
    differences += schedule_repeat(other, room, n % 3, n, &again_us) != k;
  }
  EXPECT_NEAR(kinds[static_cast<size_t>(repeat_kind::again)], 600, 5 * std::sqrt(600));
  EXPECT_NEAR(kinds[static_cast<size_t>(repeat_kind::conflict)], 300, 5 * std::sqrt(300));
  EXPECT_GT(differences, 100u);
  uint64_t unused = 0;
  g.again_share = g.conflict_share = 0;
  EXPECT_EQ(schedule_repeat(asking({g}, {lasting(1)}), room, 0, 0, &unused), repeat_kind::none);
}

// Size.

TEST(schedule_test, TooMuchIsRefusedBeforeItIsMade) {
  schedule out;
  string why;
  const scenario s = asking({group("a", 1000, 2, 1, 10'000)}, {lasting(20)});
  EXPECT_EQ(schedule_make(s, &out, &why), core::err::too_big);
  EXPECT_NE(why.find("200000000 actions"), string::npos) << why;
  EXPECT_NE(why.find("at most 100000000"), string::npos) << why;
  EXPECT_TRUE(out.actions.empty());
  scenario window = s;
  window.arrivals = arrival_kind::window;  // no publishes, nothing too big
  EXPECT_EQ(schedule_make(window, &out, &why), core::err::ok);
}

TEST(schedule_test, AMillionActionsAreMadeAtOnce) {
  const schedule s = made(asking({group("a", 100, 10, 10, 1000)}, {lasting(10)}));
  EXPECT_NEAR(static_cast<double>(s.actions.size()), 1e6, 5000);
  EXPECT_TRUE(std::is_sorted(s.actions.begin(), s.actions.end(),
                             [](const action& a, const action& b) { return a.at_us < b.at_us; }));
}

}  // namespace
}  // namespace loadgen
