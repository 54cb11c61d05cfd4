// What a run asks of a server: read from a small TOML file, every problem reported at once. Pure
// but for reading the file.
//
// The file's keys, and the fields they fill where the names differ:
//
//   name, about, seed, arrivals ("poisson", "fixed", "window"), window, messages, connect_rate,
//   delivery_deadline_s, drain_s, checks_presence
//   [[rooms]]    name, channel, count, members, publishers, rate, zipf, bytes, method ("send",
//                "publish"), history (has_history), recovery (is_recovered; default: as history),
//                shared, retry_share, again_share, conflict_share
//   [[phases]]   name, shape ("steady", "ramp", "spike"), seconds, factor, factor_to, measured
//   [[faults]]   kind ("kill", "stop", "pause", "restart", "cut", "run"), target, at, every,
//   jitter,
//                count, seconds, share, command, may_lose_recovery, may_lose_history, at_end
//   [idle] connections   [churn] rate, away_s, reconnect_rate   [slow] readers, seconds
//   [history] rate, page   [presence] rate
//   [objective]  the names of its fields
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/err.h"

namespace loadgen {

// rpc send with a key, or the protocol's publish.
enum class publish_method : uint8_t { send, publish };
// window: closed, keeps `window` messages outstanding in each room.
enum class arrival_kind : uint8_t { poisson, fixed, window };

// [[rooms]]: `count` rooms of the same kind, each with `members` receivers; the members of one
// group are its own connections unless `shared` is set: then room i's members are taken from the
// connections of the scenario's first group, spread evenly.
struct room_group {
  std::string name = "rooms";    // label in reports; each group has its own
  std::string channel = "load";  // room i is "<channel>-<run>-<name>-<i>"; "dm" makes user-limited
                                 // channels dm:#a,b of two members
  uint32_t count = 1, members = 2;
  uint32_t publishers = 1;  // of the members of a room
  double rate = 1;  // messages a second in each room, of all its publishers together, before the
                    // phase's factor; 0: silent
  double zipf = 0;  // > 0: the group's whole rate, count * rate, is shared over its rooms by rank
  uint32_t bytes = 128;  // of data
  publish_method method = publish_method::send;
  bool has_history = true;   // offsets are there and checked, and history is read at the end
  bool is_recovered = true;  // a reconnect asks for recovery and must get it
  bool shared = false;
  double retry_share = 0;  // of sends: sent again with the same key, at once or after a reconnect
  // Of sends: when one has been acknowledged, within kRepeatWithinS, its key is used again. With
  // the same data it must be answered as a duplicate, with the first offset; with other data it
  // must be refused.
  double again_share = 0, conflict_share = 0;
};

enum class phase_shape : uint8_t { steady, ramp, spike };
// [[phases]] one after another; a run without phases is one of `seconds = 10`.
struct phase {
  std::string name;
  phase_shape shape = phase_shape::steady;
  double seconds = 10;
  double factor = 1, factor_to = 1;  // of all rates, also of [churn], [history] and [presence];
                                     // ramp goes from one to the other, spike has factor_to in its
                                     // middle third; steady: both are the same
  bool is_measured = true;  // its messages count for latencies; correctness is always checked
};

enum class fault_kind : uint8_t { kill, stop, pause, restart, cut, run };
// [[faults]]: at a time after the first phase's begin, or `every` seconds with seeded jitter until
// the phases' end.
struct fault {
  fault_kind kind = fault_kind::cut;
  std::string target;  // name of a --process NAME=COMMAND of the command line; not of cut and run
  double at = 0, every = 0, jitter = 0;  // jitter: up to so much later; at most `every`
  uint32_t count = 1;   // of `every`; left out in a file: as many as begin before the phases' end
  double seconds = 1;   // pause, stop: how long it stays so
  double share = 1;     // cut: of the connections
  std::string command;  // run: a shell command
  bool at_end = false;  // once, when all has been delivered, before history is read back
  // Expected outcomes, no violations: recovered:false afterwards; that what was kept before is
  // gone, history and used keys (and recovered:false).
  bool may_lose_recovery = false, may_lose_history = false;
};

// [objective]: what the run must keep, besides correctness. Less than zero: not asked.
struct objective {
  double delivery_p50_ms = -1, delivery_p99_ms = -1, delivery_p999_ms = -1, delivery_max_ms = -1;
  double ack_p99_ms = -1, connect_p99_ms = -1, subscribe_p99_ms = -1, recovery_p99_ms = -1,
         history_p99_ms = -1;
  double server_cpu_us_per_delivery = -1, late_sends_share = -1, reconnect_all_s = -1,
         errors_share = -1;
  bool operator==(const objective&) const = default;
};

struct scenario {
  std::string name, about, file;
  uint64_t seed = 1;
  arrival_kind arrivals = arrival_kind::poisson;
  uint32_t window = 1;  // of arrivals = "window", with `messages` for each room
  uint32_t messages = 0;
  double connect_rate = 2000;  // connections a second
  uint32_t idle = 0;  // [idle] connections that are connected and subscribe nothing (one that
                      // subscribes and is silent: a group of count rooms, members = 1, rate = 0)
  double churn_rate = 0;  // [churn] members a second that unsubscribe, and subscribe again after
                          // churn_away_s; never publishers
  double churn_away_s = 1;
  double reconnect_rate = 0;  // [churn] connections a second that are cut and come back
  uint32_t slow_readers = 0;  // [slow] members that stop reading at the first phase; they come back
                              // after slow_s
  double slow_s = 5;
  double history_rate = 0;  // [history] page reads a second, over all rooms with history
  uint32_t history_page = 50;
  double presence_rate = 0;        // [presence] presence and presence_stats reads a second
  double delivery_deadline_s = 5;  // a delivery later than this is a violation (delayed), unless a
                                   // fault was under way
  double drain_s = 10;             // after the last phase: time for everything to arrive
  bool checks_presence = true;     // at the end presence of every room is compared
  std::vector<room_group> rooms;
  std::vector<phase> phases;
  std::vector<fault> faults;
  objective goals;
};

// What a file may ask for at most. A machine's own limits (descriptors, ports) come earlier.
inline constexpr uint32_t kConnectionsMax = 1'000'000;   // and of rooms
inline constexpr uint32_t kMembershipsMax = 20'000'000;  // over all rooms: 40 bytes each and loop
inline constexpr uint32_t kPhasesMax = 100;              // an action keeps its phase in a byte
inline constexpr double kRateMax = 10e6;                 // of anything, a second
inline constexpr double kScenarioSecondsMax = 7 * 24 * 3600.0;

// not_found, io, or invalid with every problem in *problems ("file:line: what is wrong, what is
// allowed; the nearest known name"), by line. *out is complete when it is ok, else what could be
// read.
core::err scenario_read(const std::string& path, scenario* out,
                        std::vector<std::string>* problems) noexcept;
// The same from text, for tests; `name` stands for the file in problems, and for a missing `name`.
core::err scenario_parse(const std::string& text, const std::string& name, scenario* out,
                         std::vector<std::string>* problems) noexcept;

uint32_t scenario_connections(
    const scenario& s) noexcept;  // members of all groups that are not shared, and idle ones
double scenario_seconds(const scenario& s) noexcept;  // of all phases

}  // namespace loadgen
