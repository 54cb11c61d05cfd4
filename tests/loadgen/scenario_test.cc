// Scenario files: what is read, every kind of mistake with its line, and all files of the
// repository.
#include "loadgen/scenario.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "loadgen/schedule.h"
#include "loadgen/stamp.h"

namespace loadgen {
namespace {

using core::err;
using std::string;
using std::vector;
namespace fs = std::filesystem;

const fs::path kScenarios =
    fs::path(__FILE__).parent_path().parent_path().parent_path() / "loadgen" / "scenarios";

struct scenario_test : testing::Test {
  scenario s;
  vector<string> problems;
  void good(const string& text) {
    problems.clear();
    ASSERT_EQ(scenario_parse(text, "t.toml", &s, &problems), err::ok) << all();
  }
  // Exactly these, in this order; each begins as given ("3: [[rooms]] rate must …").
  void bad(const string& text, const vector<string>& expected) {
    problems.clear();
    ASSERT_EQ(scenario_parse(text, "t.toml", &s, &problems), err::invalid) << text;
    ASSERT_EQ(problems.size(), expected.size()) << text << all();
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(problems[i].substr(0, 7 + expected[i].size()), "t.toml:" + expected[i]) << text;
    }
  }
  string all() const {
    string out = "\n";
    for (const string& p : problems) out += p + "\n";
    return out;
  }
};

TEST_F(scenario_test, TheLeastIsARoom) {
  good("[[rooms]]\n");
  EXPECT_EQ(s.name, "t");
  EXPECT_EQ(s.file, "t.toml");
  EXPECT_EQ(s.seed, 1u);
  ASSERT_EQ(s.rooms.size(), 1u);
  EXPECT_EQ(s.rooms[0].name, "rooms");
  EXPECT_TRUE(s.rooms[0].is_recovered);
  ASSERT_EQ(s.phases.size(), 1u);
  EXPECT_DOUBLE_EQ(s.phases[0].seconds, 10);
  EXPECT_EQ(s.phases[0].name, "load");
  EXPECT_EQ(scenario_connections(s), 2u);
  EXPECT_DOUBLE_EQ(scenario_seconds(s), 10);
  EXPECT_LT(s.goals.delivery_p99_ms, 0);
}

TEST_F(scenario_test, EveryKeyIsRead) {
  good(R"(
name = "n"
about = "a"
seed = 77
arrivals = "fixed"
connect_rate = 10.5
delivery_deadline_s = 2
drain_s = 3
checks_presence = false
[[rooms]]
name = "r"
channel = "live:x"
count = 3
members = 4
publishers = 2
rate = 5.5
zipf = 1.2
bytes = 200
method = "publish"
history = false
[[rooms]]
name = "d"
channel = "dm"
shared = true
publishers = 2
retry_share = 0.25
recovery = false
[[phases]]
name = "up"
shape = "ramp"
seconds = 4
factor = 0.5
factor_to = 2
measured = false
[[phases]]
shape = "spike"
seconds = 6
factor_to = 3
[[faults]]
kind = "pause"
target = "server"
at = 1
seconds = 0.5
may_lose_recovery = true
[[faults]]
kind = "cut"
every = 3
jitter = 2
share = 0.5
[[faults]]
kind = "run"
at = 2
command = "true"
[idle]
connections = 6
[churn]
rate = 0.5
away_s = 0.5
reconnect_rate = 2
[slow]
readers = 2
seconds = 1
[history]
rate = 3
page = 20
[presence]
rate = 4
[objective]
delivery_p50_ms = 1
delivery_p99_ms = 2
delivery_p999_ms = 3
delivery_max_ms = 4
ack_p99_ms = 5
connect_p99_ms = 6
subscribe_p99_ms = 7
recovery_p99_ms = 8
history_p99_ms = 9
server_cpu_us_per_delivery = 10
late_sends_share = 0.5
reconnect_all_s = 11
errors_share = 0.25
)");
  EXPECT_EQ(s.name + s.about, "na");
  EXPECT_EQ(s.seed, 77u);
  EXPECT_EQ(s.arrivals, arrival_kind::fixed);
  EXPECT_DOUBLE_EQ(s.connect_rate + s.delivery_deadline_s + s.drain_s, 15.5);
  EXPECT_FALSE(s.checks_presence);
  ASSERT_EQ(s.rooms.size(), 2u);
  const room_group& r = s.rooms[0];
  EXPECT_EQ(r.name + r.channel, "rlive:x");
  EXPECT_EQ(r.count * 100 + r.members * 10 + r.publishers, 342u);
  EXPECT_DOUBLE_EQ(r.rate, 5.5);
  EXPECT_DOUBLE_EQ(r.zipf, 1.2);
  EXPECT_EQ(r.bytes, 200u);
  EXPECT_EQ(r.method, publish_method::publish);
  EXPECT_FALSE(r.has_history || r.is_recovered || r.shared);
  const room_group& d = s.rooms[1];
  EXPECT_TRUE(d.shared && d.has_history && !d.is_recovered);
  EXPECT_DOUBLE_EQ(d.retry_share, 0.25);
  ASSERT_EQ(s.phases.size(), 2u);
  EXPECT_EQ(s.phases[0].shape, phase_shape::ramp);
  EXPECT_FALSE(s.phases[0].is_measured);
  EXPECT_DOUBLE_EQ(s.phases[0].factor + s.phases[0].factor_to, 2.5);
  EXPECT_EQ(s.phases[1].name, "phase 2");
  EXPECT_EQ(s.phases[1].shape, phase_shape::spike);
  ASSERT_EQ(s.faults.size(), 3u);
  EXPECT_EQ(s.faults[0].kind, fault_kind::pause);
  EXPECT_EQ(s.faults[0].target, "server");
  EXPECT_DOUBLE_EQ(s.faults[0].at + s.faults[0].seconds, 1.5);
  EXPECT_TRUE(s.faults[0].may_lose_recovery);
  EXPECT_EQ(s.faults[1].kind, fault_kind::cut);
  EXPECT_DOUBLE_EQ(s.faults[1].every + s.faults[1].jitter + s.faults[1].share, 5.5);
  EXPECT_EQ(s.faults[1].count, 4u);  // at 0, 3, 6 and 9 of 10 seconds
  EXPECT_EQ(s.faults[2].command, "true");
  EXPECT_EQ(s.idle, 6u);
  EXPECT_DOUBLE_EQ(s.churn_rate + s.churn_away_s + s.reconnect_rate, 3);
  EXPECT_EQ(s.slow_readers, 2u);
  EXPECT_DOUBLE_EQ(s.slow_s, 1);
  EXPECT_DOUBLE_EQ(s.history_rate + s.presence_rate, 7);
  EXPECT_EQ(s.history_page, 20u);
  const objective& o = s.goals;
  EXPECT_DOUBLE_EQ(o.delivery_p50_ms + o.delivery_p99_ms + o.delivery_p999_ms + o.delivery_max_ms,
                   10);
  EXPECT_DOUBLE_EQ(o.ack_p99_ms + o.connect_p99_ms + o.subscribe_p99_ms + o.recovery_p99_ms, 26);
  EXPECT_DOUBLE_EQ(o.history_p99_ms + o.server_cpu_us_per_delivery + o.reconnect_all_s, 30);
  EXPECT_DOUBLE_EQ(o.late_sends_share + o.errors_share, 0.75);
  EXPECT_EQ(scenario_connections(s), 18u);
}

TEST_F(scenario_test, AWindowIsRead) {
  good("arrivals = \"window\"\nwindow = 4\nmessages = 100\n[[rooms]]\n");
  EXPECT_EQ(s.arrivals, arrival_kind::window);
  EXPECT_EQ(s.window * 1000 + s.messages, 4100u);
}

TEST_F(scenario_test, AllFaultKindsAreKnown) {
  const std::map<string, fault_kind> kinds = {{"kill", fault_kind::kill},
                                              {"stop", fault_kind::stop},
                                              {"pause", fault_kind::pause},
                                              {"restart", fault_kind::restart}};
  for (const auto& [name, kind] : kinds) {
    good("[[rooms]]\n[[faults]]\nkind = \"" + name + "\"\ntarget = \"a\"\n");
    EXPECT_EQ(s.faults[0].kind, kind);
    EXPECT_EQ(s.faults[0].count, 1u);
  }
}

TEST_F(scenario_test, UnknownNamesAreToldWithTheNearest) {
  bad("sed = 1\n[[rooms]]\nmember = 3\n[[room]]\n[churn]\naway = 1\n[objective]\np99 = 1\n",
      {"1: sed is unknown; did you mean seed?",
       "3: [[rooms]] member is unknown; did you mean members?",
       "4: room is unknown; did you mean rooms?",
       "6: [churn] away is unknown; did you mean away_s?", "8: [objective] p99 is unknown"});
  bad("quite_something_else = 1\n[[rooms]]\n", {"1: quite_something_else is unknown"});
  bad("arrivals = \"poison\"\n[[rooms]]\nmethod = \"sent\"\n",
      {"1: arrivals must be one of \"poisson\", \"fixed\", \"window\"; did you mean \"poisson\"?",
       "3: [[rooms]] method must be one of \"send\", \"publish\"; did you mean \"send\"?"});
}

TEST_F(scenario_test, WrongTypesAreTold) {
  bad("name = 1\nseed = \"x\"\nchecks_presence = \"yes\"\narrivals = 3\nconnect_rate = true\n"
      "[[rooms]]\nmembers = 2.5\nrate = \"5\"\nhistory = 1\n",
      {"1: name must be a text in quotes", "2: seed must be a whole number from 0 to 9223372",
       "3: checks_presence must be true or false", "4: arrivals must be one of ",
       "5: connect_rate must be a number from 1 to 10000000",
       "7: [[rooms]] members must be a whole number from 1 to 1000000",
       "8: [[rooms]] rate must be a number from 0 to 10000000",
       "9: [[rooms]] history must be true or false"});
}

TEST_F(scenario_test, TablesAndListsOfTablesAreToldApart) {
  bad("[rooms]\nmembers = 3\n[[idle]]\nconnections = 3\n",
      {"1: rooms must be tables, each under [[rooms]]", "1: [[rooms]] or [idle] connections must",
       "3: idle must be one table, under [idle]"});
  bad("churn = 3\nphases = [1, 2]\n[[rooms]]\n",
      {"1: churn must be one table, under [churn]",
       "2: phases must be tables, each under [[phases]]"});
}

TEST_F(scenario_test, ValuesAtTheirLimitsAreTakenAndBeyondRefused) {
  struct limit {
    string table, key;
    double least, most;
    bool is_whole;
  };
  const vector<limit> limits = {{"", "connect_rate", 1, kRateMax, false},
                                {"", "drain_s", 0, 86400, false},
                                {"[[rooms]]", "bytes", kStampBytesMin, 1 << 20, true},
                                {"[[rooms]]", "members", 1, kConnectionsMax, true},
                                {"[[rooms]]", "rate", 0, kRateMax, false},
                                {"[[rooms]]", "zipf", 0, 10, false},
                                {"[[rooms]]", "retry_share", 0, 1, false},
                                {"[[phases]]", "seconds", 0.001, kScenarioSecondsMax, false},
                                {"[[phases]]", "factor", 0, 1e6, false},
                                {"[idle]", "connections", 0, kConnectionsMax - 2, true},
                                {"[history]", "page", 1, 100000, true},
                                {"[objective]", "errors_share", 0, 1, false}};
  for (const limit& l : limits) {
    const auto text = [&l](double v) {
      std::ostringstream line;
      line.precision(12);
      line << l.key << " = " << v << "\n";
      const string rooms = l.table == "[[rooms]]" ? "" : "[[rooms]]\n";
      return l.table.empty() ? line.str() + rooms : rooms + l.table + "\n" + line.str();
    };
    const double over = l.is_whole ? 1 : 1e-3, under = l.is_whole ? 1 : 5e-4;
    good(text(l.least));
    good(text(l.most));
    problems.clear();
    EXPECT_EQ(scenario_parse(text(l.most + over), "t", &s, &problems), err::invalid) << l.key;
    problems.clear();
    EXPECT_EQ(scenario_parse(text(l.least - under), "t", &s, &problems), err::invalid) << l.key;
  }
  bad("[[rooms]]\nrate = nan\n", {"2: [[rooms]] rate must be a number"});
  bad("[[rooms]]\nrate = inf\n", {"2: [[rooms]] rate must be a number"});
  bad("[[rooms]]\ncount = -1\n", {"2: [[rooms]] count must be a whole number"});
}

TEST_F(scenario_test, RoomsThatCannotBe) {
  bad("[[rooms]]\npublishers = 3\n", {"2: [[rooms]] publishers must be at most members (2)"});
  bad("[[rooms]]\nchannel = \"dm\"\nmembers = 3\n", {"3: [[rooms]] members must be 2 in rooms"});
  bad("[[rooms]]\nhistory = false\nrecovery = true\n", {"3: [[rooms]] recovery needs history"});
  bad("[[rooms]]\nmethod = \"publish\"\nretry_share = 0.5\n",
      {"3: [[rooms]] retry_share needs method = \"send\""});
  bad("[[rooms]]\nmethod = \"publish\"\nagain_share = 0.5\nconflict_share = 0.1\n",
      {"3: [[rooms]] again_share needs method = \"send\"", "4: [[rooms]] conflict_share needs"});
  bad("[[rooms]]\nagain_share = 0.6\nconflict_share = 0.5\n",
      {"3: [[rooms]] conflict_share and again_share together must be at most 1"});
  bad("[[rooms]]\n[[faults]]\nkind = \"kill\"\ntarget = \"a\"\nat_end = true\nat = 1\n",
      {"6: [[faults]] at has no meaning with at_end"});
  bad("[[rooms]]\nname = \"\"\n", {"2: [[rooms]] name must be 1 to 32 letters"});
  bad("[[rooms]]\nname = \"slow\"\n", {"2: [[rooms]] name \"slow\" stands for the slow readers"});
  bad("[[rooms]]\nname = \"a b\"\nchannel = \"x#y\"\n",
      {"2: [[rooms]] name must", "3: [[rooms]] channel must be 1 to 64"});
  bad("[[rooms]]\n[[rooms]]\n", {"2: [[rooms]] name \"rooms\" is there twice"});
  bad("[[rooms]]\nshared = true\n", {"2: [[rooms]] shared is not for the first group"});
  bad("[[rooms]]\n[[rooms]]\nname = \"b\"\nshared = true\nmembers = 3\n",
      {"5: [[rooms]] members must be at most the first group's 2 connections"});
  bad("[[rooms]]\ncount = 1000\nmembers = 1001\n", {"1: [[rooms]] make 1001000 connections"});
  bad("[[rooms]]\nmembers = 1000\n[[rooms]]\nname = \"b\"\nshared = true\ncount = 30000\n"
      "members = 1000\n",
      {"1: [[rooms]] make 30001000 memberships"});
  bad("seed = 2\n", {"1: [[rooms]] or [idle] connections must be there"});
}

TEST_F(scenario_test, DirectChannelsAreOnePerPair) {
  const string four =
      "[[rooms]]\nname = \"all\"\nmembers = 4\n[[rooms]]\nname = \"d\"\n"
      "channel = \"dm\"\nshared = true\ncount = ";
  good(four + "6\n");
  bad(four + "7\n", {"8: [[rooms]] count must be at most 6"});
  bad(four + "2\n[[rooms]]\nname = \"e\"\nchannel = \"dm\"\nshared = true\n",
      {"11: [[rooms]] channel \"dm\" is there"});
  bad("[[rooms]]\nname = \"a\"\nchannel = \"dm\"\n[[rooms]]\nname = \"b\"\nchannel = \"dm\"\n"
      "shared = true\n",
      {"6: [[rooms]] channel \"dm\" is there"});
  good("[[rooms]]\nname = \"a\"\nchannel = \"dm\"\n[[rooms]]\nname = \"b\"\nchannel = \"dm\"\n");
}

TEST_F(scenario_test, PhasesThatCannotBe) {
  bad("[[rooms]]\n[[phases]]\nfactor_to = 2\n", {"3: [[phases]] factor_to needs shape"});
  bad("[[rooms]]\n[[phases]]\nshape = \"ramp\"\n", {"3: [[phases]] shape needs factor_to"});
  bad("[[rooms]]\n[[phases]]\nmeasured = false\n", {"2: phases must be measured"});
  bad("[[rooms]]\n[[phases]]\nseconds = 600000\n[[phases]]\nseconds = 600000\n",
      {"2: phases last longer than 604800 s together"});
  string many = "[[rooms]]\n";
  for (uint32_t i = 0; i < kPhasesMax; ++i) many += "[[phases]]\n";
  good(many);
  bad(many + "[[phases]]\n", {"2: phases are 101, at most are allowed: 100"});
}

TEST_F(scenario_test, FaultsThatCannotBe) {
  const auto fault = [](const string& text) { return "[[rooms]]\n[[faults]]\n" + text; };
  bad(fault("at = 1\n"), {"2: [[faults]] kind is missing"});
  bad(fault("kind = \"kill\"\n"), {"2: [[faults]] target is missing"});
  bad(fault("kind = \"cut\"\ntarget = \"x\"\n"),
      {"4: [[faults]] target has no meaning with kind = \"cut\""});
  bad(fault("kind = \"kill\"\ntarget = \"x\"\nshare = 1\ncommand = \"y\"\nseconds = 3\n"),
      {"5: [[faults]] share needs kind = \"cut\"", "6: [[faults]] command needs kind = \"run\"",
       "7: [[faults]] seconds needs kind = \"pause\" or \"stop\""});
  bad(fault("kind = \"run\"\n"), {"2: [[faults]] command is missing"});
  bad(fault("kind = \"cut\"\nat = 10\n"),
      {"4: [[faults]] at must be before the phases' end (10 s)"});
  bad(fault("kind = \"cut\"\ncount = 3\n"), {"4: [[faults]] count needs every"});
  bad(fault("kind = \"cut\"\nevery = 2\njitter = 3\n"),
      {"5: [[faults]] jitter must be at most every (2 s)"});
  bad(fault("kind = \"kil\"\ntarget = \"x\"\n"),
      {"3: [[faults]] kind must be one of \"kill\", \"stop\", \"pause\", \"restart\", \"cut\", "
       "\"run\"; did you mean \"kill\"?",
       "4: [[faults]] target has no meaning"});
}

TEST_F(scenario_test, ACountThatIsGivenIsKept) {
  good("[[rooms]]\n[[faults]]\nkind = \"cut\"\nat = 1\nevery = 3\ncount = 2\n");
  EXPECT_EQ(s.faults[0].count, 2u);
  good("[[rooms]]\n[[faults]]\nkind = \"cut\"\nat = 1\nevery = 3\n");
  EXPECT_EQ(s.faults[0].count, 3u);  // at 1, 4 and 7; 10 is the end
}

TEST_F(scenario_test, WindowsThatCannotBe) {
  bad("window = 2\nmessages = 3\n[[rooms]]\n",
      {"1: window needs arrivals = \"window\"", "2: messages needs arrivals"});
  bad("arrivals = \"window\"\n[[rooms]]\n", {"1: arrivals = \"window\" needs messages"});
  bad("arrivals = \"window\"\nmessages = 3\n[[rooms]]\nrate = 3\nzipf = 1\nretry_share = 0.1\n",
      {"4: [[rooms]] rate has no meaning", "5: [[rooms]] zipf has no meaning",
       "6: [[rooms]] retry_share has no meaning"});
  bad("arrivals = \"window\"\nmessages = 3\n[idle]\nconnections = 1\n",
      {"1: arrivals = \"window\" needs [[rooms]]"});
}

TEST_F(scenario_test, ActivitiesThatCannotBe) {
  bad("[[rooms]]\nmembers = 10\n[churn]\nrate = 1\naway_s = 3\n",
      {"4: [churn] rate, times the greatest factor, times away_s makes 3 members be away"});
  good("[[rooms]]\nmembers = 13\n[churn]\nrate = 1\naway_s = 3\n");
  bad("[[rooms]]\npublishers = 2\n[churn]\nrate = 0.1\n", {"4: [churn] rate"});
  bad("[[rooms]]\n[slow]\nreaders = 3\n",
      {"3: [slow] readers must be at most the rooms' 2 connections"});
  bad("[[rooms]]\nhistory = false\n[history]\nrate = 1\n",
      {"4: [history] rate needs [[rooms]] with history"});
  bad("[idle]\nconnections = 1\n[presence]\nrate = 1\n", {"4: [presence] rate needs [[rooms]]"});
}

TEST_F(scenario_test, AllProblemsComeAtOnceByLine) {
  bad("sed = 1\n[[rooms]]\nmembers = 0\n[idle]\nx = 1\n[[faults]]\nkind = \"kill\"\nat = 99\n",
      {"1: sed is unknown", "3: [[rooms]] members must", "5: [idle] x is unknown",
       "6: [[faults]] target is missing", "8: [[faults]] at must be"});
}

TEST_F(scenario_test, WhatIsNotTomlIsToldWithItsLine) {
  bad("seed = 1\n\nseed = \n", {"3: "});
  bad("[[rooms]]\ncount = 1\ncount = 2\n", {"3: "});
  bad("[[rooms]\n", {"1: "});
  bad("seed = 1\n[=\n", {"2: "});
}

TEST_F(scenario_test, NoCutAndNoByteOfAFileHarmsTheReader) {
  std::ifstream in(kScenarios / "smoke.toml");
  const string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  ASSERT_FALSE(text.empty());
  for (size_t i = 0; i < text.size(); i += 3) {
    problems.clear();
    (void)scenario_parse(text.substr(0, i), "t", &s, &problems);
    string damaged = text;
    damaged[i] = "=[]\"\n\x80"[i % 6];
    problems.clear();
    const err rc = scenario_parse(damaged, "t", &s, &problems);
    EXPECT_EQ(rc == err::ok, problems.empty());
  }
}

TEST_F(scenario_test, FilesThatAreNotThere) {
  EXPECT_EQ(scenario_read("/nowhere/x.toml", &s, &problems), err::not_found);
  EXPECT_EQ(scenario_read("/", &s, &problems), err::io);
  EXPECT_TRUE(problems.empty());
}

TEST_F(scenario_test, AFileThatIsNoScenarioIsRefused) {
  const fs::path path = fs::temp_directory_path() / ("scenario-" + std::to_string(getpid()));
  std::ofstream(path) << string((1 << 20) + 1, '#');
  EXPECT_EQ(scenario_read(path.string(), &s, &problems), err::invalid);
  fs::remove(path);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("larger than 1 MiB"), string::npos);
}

TEST_F(scenario_test, EveryFileOfTheRepositoryIsRightAndModest) {
  constexpr uint32_t kDescriptorsMax = 19'000;  // of 20,000: the rest is the tool's own
  constexpr double kSecondsMax = 30, kDeliveriesMax = 60'000;
  std::set<string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(kScenarios)) {
    const string file = entry.path().filename().string();
    if (entry.path().extension() != ".toml") continue;
    problems.clear();
    ASSERT_EQ(scenario_read(entry.path().string(), &s, &problems), err::ok) << all();
    EXPECT_EQ(s.name + ".toml", file);
    EXPECT_FALSE(s.about.empty()) << file;
    names.insert(s.name);
    EXPECT_LE(scenario_connections(s), kDescriptorsMax) << file;
    EXPECT_LE(s.name == "soak" ? 0 : scenario_seconds(s), kSecondsMax) << file;
    double deliveries = 0;
    for (const room_group& g : s.rooms) deliveries += g.rate * g.count * g.members;
    EXPECT_LE(deliveries, kDeliveriesMax) << file;
    std::ifstream in(entry.path());
    EXPECT_EQ(in.get(), '#') << file << " says first what it asks";
    schedule plan;
    string why;
    EXPECT_EQ(schedule_make(s, &plan, &why), err::ok) << file << ": " << why;
    EXPECT_EQ(plan.peers, scenario_connections(s)) << file;
  }
  const std::set<string> expected = {
      "room-1000", "room-10000",   "small-rooms", "pairs",    "direct", "zipf",  "churn",
      "idle",      "slow-readers", "history",     "presence", "deploy", "crash", "reconnect-storm",
      "soak",      "smoke"};
  std::set<string> missing;
  std::set_difference(expected.begin(), expected.end(), names.begin(), names.end(),
                      std::inserter(missing, missing.end()));
  EXPECT_TRUE(missing.empty()) << *missing.begin();
}

}  // namespace
}  // namespace loadgen
