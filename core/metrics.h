// Counters of one loop: plain numbers with a single writer, summed when somebody scrapes. Leaf
// header.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/end_reason.h"

namespace core {

// Written by one thread with a relaxed load and store (no locked instruction), read by any.
struct counter {
  std::atomic<uint64_t> v{0};
  void add(uint64_t n = 1) noexcept {
    v.store(v.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void sub(uint64_t n = 1) noexcept {
    v.store(v.load(std::memory_order_relaxed) - n, std::memory_order_relaxed);
  }
  uint64_t get() const noexcept { return v.load(std::memory_order_relaxed); }
};

// Upper bounds in microseconds; the last bucket is +Inf.
inline constexpr uint64_t kLatencyBoundsUs[] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 3000000};
inline constexpr size_t kLatencyBuckets =
    sizeof(kLatencyBoundsUs) / sizeof(kLatencyBoundsUs[0]) + 1;

struct latency_histogram {
  counter buckets[kLatencyBuckets];  // not cumulative
  counter sum_us;
  void record(uint64_t us) noexcept {
    size_t i = 0;
    while (i < kLatencyBuckets - 1 && us > kLatencyBoundsUs[i]) ++i;
    buckets[i].add();
    sum_us.add(us);
  }
};

// Error codes of the client protocol lie in 100..113.
inline constexpr uint32_t kErrorCodeFirst = 100;
inline constexpr uint32_t kErrorCodeCount = 20;

enum class http_route : uint8_t {
  page,
  websocket,
  api,
  auth_guest,
  health,
  ready,
  metrics,
  other,
  kCount
};
enum class http_class : uint8_t { c1xx, c2xx, c3xx, c4xx, c5xx, kCount };
enum class api_method : uint8_t {
  publish,
  broadcast,
  subscribe,
  unsubscribe,
  disconnect,
  refresh,
  presence,
  presence_stats,
  history,
  history_remove,
  channels,
  info,
  batch,
  unknown,
  kCount
};

struct loop_metrics {
  // connections
  counter connections_accepted;
  counter connections_open;   // TCP, accepted
  counter dialled_open;       // TCP, to servers that the node needs
  counter websockets_open;    // upgraded
  counter clients_connected;  // connect command accepted
  counter ended[static_cast<size_t>(end_reason::kCount)];
  counter accept_emfile;
  counter handshake_refused;
  // bytes and system calls
  counter bytes_in, bytes_out, reads, writes, writes_partial, iterations;
  counter queue_bytes;  // waiting in out-queues now
  // messages
  counter messages_in;                // client commands
  counter messages_out;               // frames queued to clients
  counter publications;               // committed or ephemeral, counted at the owner
  counter deliveries;                 // publication x subscriber
  counter duplicates;                 // publishes answered from an idempotency key
  counter subscriptions;              // now
  counter channels_owned;             // now
  counter channels_subscribed;        // now, on this loop
  counter recovered, unrecovered;     // answers to recovery requests
  counter errors[kErrorCodeCount];    // error replies by code - kErrorCodeFirst
  counter unsubscribes_insufficient;  // 2500
  counter mailbox_full;
  counter deliveries_behind;    // deliveries that met a full mailbox
  latency_histogram commit_us;  // publish accepted by the owner -> committed
  // broker
  counter broker_ready;             // 1 or 0
  counter broker_lost_connections;  // that were in use
  counter broker_audits;            // channels whose position was compared after that
  counter broker_repairs;           // reads of a hole
  counter broker_redirections;      // calls that a cluster's server sent elsewhere or put off
  counter broker_repaired;          // publications that came by a repair
  counter broker_lost;              // channels whose continuity could not be kept
  // http
  counter http[static_cast<size_t>(http_route::kCount)][static_cast<size_t>(http_class::kCount)];
  latency_histogram http_us[static_cast<size_t>(http_route::kCount)];
  counter api_calls[static_cast<size_t>(api_method::kCount)];
  // read and parse state lent now
  counter contexts_lent;
};

}  // namespace core
