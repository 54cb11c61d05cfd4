// The inside of a run, shared by engine.cc, worker.cc and peer.cc: what all loops know, what one
// loop has, what a connection is.
//
//   main thread: phases, faults, samples --loop_call--> worker (one a loop): due actions --> peers
//   --> dialect --> checker, histograms
#pragma once

#include <time.h>

#include <atomic>
#include <deque>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "core/alarm.h"
#include "core/conn.h"
#include "core/loop.h"
#include "loadgen/check_log.h"
#include "loadgen/engine.h"
#include "loadgen/histogram.h"
#include "loadgen/random.h"
#include "proto/ws_client.h"

namespace loadgen {

struct worker;
struct peer;

// Constant once the loops run, but for the atomics.
struct world {
  const scenario* asked = nullptr;
  const schedule* plan = nullptr;
  const engine_options* options = nullptr;
  uint32_t run = 0;
  std::vector<std::string> channels;   // by room
  std::vector<std::string> users;      // by peer
  std::vector<uint64_t> phase_end_us;  // by phase, after the start
  std::vector<worker*> workers;
  std::unique_ptr<std::atomic<uint32_t>[]> present;  // by room: members that are subscribed
  std::unique_ptr<std::atomic<uint64_t>[]>
      tops;  // by room: the highest offset that any loop knows, as of its last report
  std::unique_ptr<std::atomic<uint32_t>[]>
      acked_to;  // by room and publisher, one after another: the highest acknowledged number + 1,
                 // as of the last report of the publisher's loop
  std::atomic<uint64_t> start_us{0};  // of the first phase, on the monotonic clock
  std::atomic<uint64_t> late_until_us{
      0};  // after the start: a fault is under way, deliveries may be late
  std::atomic<bool> may_lose_recovery{false}, may_lose_history{false};
  std::atomic<bool> is_ending{false};
  size_t seconds = 0;  // of the series
};

enum class latency_class : uint8_t {
  delivery,
  slow,  // delivery to one who did not read for a while: late by design, so by itself
  last,
  ack,
  connect,
  subscribe,
  recovery,
  history,
  presence,
  late,
  kCount
};
const char* latency_class_name(latency_class c) noexcept;

// One second as one loop saw it.
struct second_slot {
  uint64_t sent = 0, acked = 0, delivered = 0, errors = 0;
  histogram delivery, ack;
};

enum class due_kind : uint8_t { connect, retry_publish, subscribe, again, conflict };

struct due {
  uint64_t at_us;  // monotonic
  due_kind kind;
  peer* who;
  uint32_t membership;
  uint32_t number;
  uint64_t due_us;  // of the message, after the start
  bool operator<(const due& o) const noexcept {
    return at_us > o.at_us;
  }  // the queue's top is the earliest
};

// A room as this loop's members see it.
struct local_room {
  std::vector<std::string> epochs;  // by number; recovery says which one a position is of
  std::vector<uint32_t> arrivals;   // by place: members of this loop that have it
  uint64_t arrivals_from = 0;       // offset of place 0: the first that came, anywhere above 0
  uint32_t members = 0;             // of this loop, but for the slow ones
  uint64_t final_from =
      UINT64_MAX;  // history is read behind this offset: the least that a member began with
  uint32_t window_left = 0;  // window mode: messages still to begin
  uint32_t window_next = 0;  // publishers take turns
};

// A publish that has no answer.
struct written {
  const peer* by;
  uint32_t membership, number;
  uint64_t at_us;  // monotonic
};

struct worker {
  world* all = nullptr;
  core::loop* home = nullptr;
  uint32_t index = 0;
  std::unique_ptr<dialect> speech;
  checker* checks = nullptr;
  random_stream random{};
  core::alarm clock;
  std::vector<peer*> peers;
  std::vector<uint32_t> actions;  // indices of the plan's, of this loop's peers
  size_t next_action = 0;
  std::priority_queue<due> dues;
  std::deque<written> last_written;  // of the last second
  std::vector<local_room> rooms;     // by room
  std::vector<second_slot> seconds;
  histogram latencies[static_cast<size_t>(latency_class::kCount)];
  std::vector<histogram> by_group;  // delivery
  uint64_t now_us = 0;              // of this callback, monotonic
  uint32_t final_reads = 0;         // under way at the end
  uint64_t armed_us = UINT64_MAX;   // when the clock fires
  bool is_started = false, is_clock_open = false;
  std::string scratch, text;
  // Read by the main thread.
  core::counter ready, sent, acked, delivered, errors, retried, duplicates, conflicts, reconnects,
      recovered, unrecovered, late, connect_failures, waiting, owed, finals;
  std::atomic<clockid_t> cpu_clock{0};  // of its thread; 0 until that runs
  std::string last_error;  // main thread: after the loops have ended, or when connecting failed (by
                           // loop_call)
};

enum class peer_state : uint8_t { off, upgrading, connecting, subscribing, ready };

struct membership {
  uint32_t room = 0;
  uint32_t member = 0;            // the checker's
  uint32_t ordinal = UINT32_MAX;  // among the room's publishers
  uint32_t next_number = 0;
  uint16_t epoch = 0;
  bool is_wanted = true, is_in = false, has_been_in = false;
};

enum class pending_kind : uint8_t {
  connect,
  subscribe,
  unsubscribe,
  publish,
  again,     // a key that was acknowledged, with its data
  conflict,  // with other data
  history,
  final_history,
  presence,
  final_presence
};

struct pending {
  uint32_t id;
  pending_kind kind;
  uint32_t membership;
  uint32_t number;  // publish
  uint64_t
      since_us;  // connect, subscribe, history: monotonic; publish: its due time after the start
};

struct peer {
  core::conn link;  // first: a conn* is a peer*
  worker* home = nullptr;
  uint32_t index = 0;
  uint32_t last_id = 0;
  peer_state state = peer_state::off;
  bool has_link = false, has_been_ready = false, is_slow = false, may_be_late = false,
       is_cut = false;
  proto::ws_client wire;
  std::vector<membership> rooms;
  std::vector<pending> waiting;
  struct job {
    uint32_t membership, number;
    uint64_t due_us;
  };
  std::vector<job> unsent;
  uint64_t begun_us = 0;  // of the first connecting; after a cut: of the cut
  uint64_t dialled_us = 0;
};

// peer.cc
peer* peer_new(worker* w, uint32_t index) noexcept;
void peer_dial(peer* p) noexcept;
void peer_publish(peer* p, uint32_t membership_index, uint32_t number, uint64_t due_us,
                  bool is_twice) noexcept;
void peer_repeat(peer* p, uint32_t membership_index, uint32_t number, uint64_t due_us,
                 pending_kind how) noexcept;
void peer_subscribe(peer* p, uint32_t membership_index) noexcept;
void peer_unsubscribe(peer* p, uint32_t membership_index) noexcept;
void peer_history(peer* p, uint32_t membership_index, uint64_t since, bool is_final) noexcept;
void peer_presence(peer* p, uint32_t membership_index, bool is_final) noexcept;
void peer_cut(peer* p) noexcept;
uint32_t peer_membership(const peer* p, uint32_t room) noexcept;  // UINT32_MAX: none

// worker.cc
worker* worker_new(world* all, core::loop* home, uint32_t index);
void worker_free(worker* w) noexcept;
std::vector<check_room> worker_rooms(const world* all, const dialect& speech);  // to check
void worker_log(worker* w, check_log* log) noexcept;  // before it begins: what the checker is told
void worker_begin(worker* w) noexcept;  // on its loop: connects everybody, at the scenario's rate
void worker_go(worker* w) noexcept;     // the start is set: follows the schedule
void worker_cut_share(worker* w, double share) noexcept;
void worker_report(worker* w) noexcept;  // `waiting`: publishes on their way
void worker_final(worker* w) noexcept;   // reads history and presence back
void worker_end(worker* w) noexcept;     // closes everything
void worker_later(worker* w, const due& d) noexcept;
uint64_t worker_now(worker* w) noexcept;  // reads the clock
void worker_record(worker* w, latency_class c, uint64_t us) noexcept;
void worker_delivered(worker* w, const peer& to, const stamp& s, uint64_t offset) noexcept;
void worker_slow(worker* w, peer* p) noexcept;  // it reads nothing from now on
void worker_window(
    worker* w,
    uint32_t room) noexcept;  // window mode: everybody here has a message: the next may go
second_slot* worker_second(worker* w, uint64_t run_us) noexcept;
bool phase_is_measured(const world* all, uint64_t run_us) noexcept;

}  // namespace loadgen
