// /metrics: the loops' plain counters summed into families at the moment of the scrape, serialized
// by prometheus-cpp.
#include "server/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <sstream>

#include "chat/codes.h"
#include "core/metrics.h"
#include "server/process_stats.h"
#include "server/server.h"

namespace server {
namespace {

using core::loop_metrics;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using labels = std::vector<ClientMetric::Label>;

// What a family is made from at a scrape.
struct scrape {
  node* n;
  std::vector<const loop_metrics*> loops;
  store::store_stats store;
  process_stats process;
  loki_stats logs;

  template <typename F>
  double sum(F pick) const {
    uint64_t total = 0;
    for (const loop_metrics* m : loops) total += pick(*m).get();
    // A gauge may pass from one loop's counter to another's while they are read.
    return total > (uint64_t{1} << 63) ? 0.0 : static_cast<double>(total);
  }
};

void add(MetricFamily* f, labels l, double value) {
  ClientMetric m;
  m.label = std::move(l);
  if (f->type == MetricType::Counter) {
    m.counter.value = value;
  } else {
    m.gauge.value = value;
  }
  f->metric.push_back(std::move(m));
}

template <typename F>
void add_histogram(MetricFamily* f, labels l, const scrape& s, F pick) {
  ClientMetric m;
  m.label = std::move(l);
  uint64_t count = 0, sum_us = 0;
  for (size_t i = 0; i < core::kLatencyBuckets; ++i) {
    for (const loop_metrics* loop : s.loops) count += pick(*loop).buckets[i].get();
    const double bound = i + 1 < core::kLatencyBuckets
                             ? static_cast<double>(core::kLatencyBoundsUs[i]) / 1e6
                             : std::numeric_limits<double>::infinity();
    m.histogram.bucket.push_back({count, bound});
  }
  for (const loop_metrics* loop : s.loops) sum_us += pick(*loop).sum_us.get();
  m.histogram.sample_count = count;
  m.histogram.sample_sum = static_cast<double>(sum_us) / 1e6;
  f->metric.push_back(std::move(m));
}

constexpr const char* kRouteNames[] = {"page",   "websocket", "api",     "auth_guest",
                                       "health", "ready",     "metrics", "other"};
constexpr const char* kClassNames[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
constexpr const char* kApiNames[] = {"publish",    "broadcast",      "subscribe", "unsubscribe",
                                     "disconnect", "refresh",        "presence",  "presence_stats",
                                     "history",    "history_remove", "channels",  "info",
                                     "batch",      "unknown"};
static_assert(std::size(kRouteNames) == static_cast<size_t>(core::http_route::kCount));
static_assert(std::size(kClassNames) == static_cast<size_t>(core::http_class::kCount));
static_assert(std::size(kApiNames) == static_cast<size_t>(core::api_method::kCount));

// The protocol's codes and ours follow each other from kErrorCodeFirst on.
#define ONE(name, code, text, is_temporary) +1
constexpr uint32_t kKnownErrors = 0 CHAT_ERROR_MAP(ONE);
#undef ONE
static_assert(kKnownErrors <= core::kErrorCodeCount);

// CPU time since the last scrape. Scrapes that come close together (two Prometheus servers) share a
// figure.
double cpu_percent(const process_stats& p) {
  constexpr uint64_t kWindowUsMin = 1'000'000;
  static std::mutex lock;
  static uint64_t last_us = 0;
  static double last_cpu_s = 0, last_percent = 0;
  const std::lock_guard<std::mutex> held(lock);
  const uint64_t now_us = core::system_clock()->mono_us();
  if (last_us != 0 && now_us - last_us < kWindowUsMin) return last_percent;
  const double wall_s =
      last_us == 0 ? std::max(0.001, static_cast<double>(core::system_clock()->wall_ms()) / 1000 -
                                         p.start_time_s)
                   : static_cast<double>(now_us - last_us) / 1e6;
  last_percent = std::clamp(100 * (p.cpu_s - last_cpu_s) / wall_s / process_cores(), 0.0, 100.0);
  last_us = now_us;
  last_cpu_s = p.cpu_s;
  return last_percent;
}

struct metric_row {
  const char* name;
  MetricType type;
  const char* label;  // names for the documentation
  const char* help;
  void (*fill)(const scrape& s, MetricFamily* f);
};

#define SUM_OF(field)                                                                         \
  [](const scrape& s, MetricFamily* f) {                                                      \
    add(f, {}, s.sum([](const loop_metrics& m) -> const core::counter& { return m.field; })); \
  }
#define OF_STORE(field) \
  [](const scrape& s, MetricFamily* f) { add(f, {}, static_cast<double>(s.store.field)); }
#define OF_PROCESS(field) \
  [](const scrape& s, MetricFamily* f) { add(f, {}, static_cast<double>(s.process.field)); }
// Without Loki there is no such series, so that an alert on it is silent.
#define OF_LOKI(field)                                                       \
  [](const scrape& s, MetricFamily* f) {                                     \
    if (s.n->logs != nullptr) add(f, {}, static_cast<double>(s.logs.field)); \
  }

void fill_http(const scrape& s, MetricFamily* f) {
  for (size_t r = 0; r < std::size(kRouteNames); ++r) {
    for (size_t c = 0; c < std::size(kClassNames); ++c) {
      const double n =
          s.sum([&](const loop_metrics& m) -> const core::counter& { return m.http[r][c]; });
      if (n > 0 || c == static_cast<size_t>(core::http_class::c2xx))
        add(f, {{"route", kRouteNames[r]}, {"code", kClassNames[c]}}, n);
    }
  }
}
void fill_http_duration(const scrape& s, MetricFamily* f) {
  for (size_t r = 0; r < std::size(kRouteNames); ++r) {
    add_histogram(
        f, {{"route", kRouteNames[r]}}, s,
        [&](const loop_metrics& m) -> const core::latency_histogram& { return m.http_us[r]; });
  }
}
void fill_messages(const scrape& s, MetricFamily* f) {
  add(f, {{"direction", "in"}},
      s.sum([](const loop_metrics& m) -> const core::counter& { return m.messages_in; }));
  add(f, {{"direction", "out"}},
      s.sum([](const loop_metrics& m) -> const core::counter& { return m.messages_out; }));
}
void fill_bytes(const scrape& s, MetricFamily* f) {
  add(f, {{"direction", "in"}},
      s.sum([](const loop_metrics& m) -> const core::counter& { return m.bytes_in; }));
  add(f, {{"direction", "out"}},
      s.sum([](const loop_metrics& m) -> const core::counter& { return m.bytes_out; }));
}
void fill_calls(const scrape& s, MetricFamily* f) {
  add(f, {{"call", "read"}},
      s.sum([](const loop_metrics& m) -> const core::counter& { return m.reads; }));
  add(f, {{"call", "write"}},
      s.sum([](const loop_metrics& m) -> const core::counter& { return m.writes; }));
}
void fill_ended(const scrape& s, MetricFamily* f) {
  for (size_t i = 1; i < static_cast<size_t>(core::end_reason::kCount); ++i) {
    add(f, {{"reason", core::end_reason_name(static_cast<core::end_reason>(i))}},
        s.sum([&](const loop_metrics& m) -> const core::counter& { return m.ended[i]; }));
  }
}
void fill_errors(const scrape& s, MetricFamily* f) {
  for (uint32_t i = 0; i < core::kErrorCodeCount; ++i) {
    const double n =
        s.sum([&](const loop_metrics& m) -> const core::counter& { return m.errors[i]; });
    if (n > 0 || i < kKnownErrors) add(f, {{"code", std::to_string(core::kErrorCodeFirst + i)}}, n);
  }
}
void fill_api(const scrape& s, MetricFamily* f) {
  for (size_t i = 0; i < std::size(kApiNames); ++i) {
    add(f, {{"method", kApiNames[i]}},
        s.sum([&](const loop_metrics& m) -> const core::counter& { return m.api_calls[i]; }));
  }
}
void fill_recoveries(const scrape& s, MetricFamily* f) {
  add(f, {{"recovered", "true"}},
      s.sum([](const loop_metrics& m) -> const core::counter& { return m.recovered; }));
  add(f, {{"recovered", "false"}},
      s.sum([](const loop_metrics& m) -> const core::counter& { return m.unrecovered; }));
}
void fill_lag(const scrape& s, MetricFamily* f) {
  for (core::loop* l : s.n->loops)
    add(f, {{"loop", std::to_string(core::loop_index(l))}},
        static_cast<double>(core::loop_lag_us(l)) / 1e6);
}
void fill_commit(const scrape& s, MetricFamily* f) {
  add_histogram(f, {}, s, [](const loop_metrics& m) -> const core::latency_histogram& {
    return m.commit_us;
  });
}
void fill_memory(const scrape& s, MetricFamily* f) {
  const uint64_t limit = process_memory_limit_bytes();
  add(f, {},
      limit == 0
          ? 0
          : 100 * static_cast<double>(s.process.resident_bytes) / static_cast<double>(limit));
}
void fill_cpu(const scrape& s, MetricFamily* f) {
  add(f, {}, cpu_percent(s.process));
}
void fill_build(const scrape& s, MetricFamily* f) {
  add(f,
      {{"version", s.n->config.chat.version},
       {"store", store_name(s.n->config.store)},
       {"broker", s.n->config.has_redis ? "redis" : "local"}},
      1);
}
void fill_broker_ready(const scrape& s, MetricFamily* f) {
  add(f, {}, node_broker_ready(s.n, s.store) ? 1 : 0);
}
void fill_loki_dropped(const scrape& s, MetricFamily* f) {
  for (size_t i = 0; s.n->logs != nullptr && i < std::size(s.logs.dropped_lines); ++i)
    add(f, {{"reason", loki_drop_name(static_cast<loki_drop>(i))}},
        static_cast<double>(s.logs.dropped_lines[i]));
}
void fill_draining(const scrape& s, MetricFamily* f) {
  add(f, {}, s.n->is_draining.load(std::memory_order_relaxed) ? 1 : 0);
}
void fill_loops(const scrape& s, MetricFamily* f) {
  add(f, {}, static_cast<double>(s.loops.size()));
}

constexpr MetricType kCounter = MetricType::Counter, kGauge = MetricType::Gauge,
                     kHistogram = MetricType::Histogram;

const metric_row kMetrics[] = {
    {"http_requests_total", kCounter, "route, code",
     "HTTP requests that were answered, by route and class of the status.", fill_http},
    {"http_request_duration_seconds", kHistogram, "route",
     "From the first byte of an HTTP request to its answer.", fill_http_duration},
    {"ws_connections_active", kGauge, "", "WebSocket connections that are open.",
     SUM_OF(websockets_open)},
    {"ws_messages_total", kCounter, "direction",
     "Commands of clients (in) and messages queued to clients (out).", fill_messages},
    {"cpu_usage_percent", kGauge, "",
     "CPU time of the process since the last scrape, of the cores that it may use.", fill_cpu},
    {"memory_usage_percent", kGauge, "",
     "Resident memory of the process, of its control group's limit or the machine's memory.",
     fill_memory},
    {"parley_connections_accepted_total", kCounter, "", "TCP connections accepted.",
     SUM_OF(connections_accepted)},
    {"parley_connections_open", kGauge, "", "TCP connections of clients that are open.",
     SUM_OF(connections_open)},
    {"parley_connections_ended_total", kCounter, "reason",
     "Connections that ended, by reason; see ERRORS.md.", fill_ended},
    {"parley_clients_connected", kGauge, "", "Clients whose connect command was accepted.",
     SUM_OF(clients_connected)},
    {"parley_accept_emfile_total", kCounter, "", "Accepts that met the limit of open descriptors.",
     SUM_OF(accept_emfile)},
    {"parley_handshakes_refused_total", kCounter, "",
     "WebSocket handshakes and connections refused.", SUM_OF(handshake_refused)},
    {"parley_publications_total", kCounter, "", "Publications, counted once each.",
     SUM_OF(publications)},
    {"parley_deliveries_total", kCounter, "", "Publications times subscribers.",
     SUM_OF(deliveries)},
    {"parley_duplicates_total", kCounter, "", "Publishes answered from an idempotency key.",
     SUM_OF(duplicates)},
    {"parley_deliveries_behind_total", kCounter, "",
     "Deliveries to a loop whose mailbox was full; it catches up by itself.",
     SUM_OF(deliveries_behind)},
    {"parley_mailbox_full_total", kCounter, "",
     "Requests refused because a loop's mailbox was full.", SUM_OF(mailbox_full)},
    {"parley_subscriptions", kGauge, "", "Subscriptions of clients.", SUM_OF(subscriptions)},
    {"parley_channels", kGauge, "", "Channels that are in use on this node.",
     SUM_OF(channels_owned)},
    {"parley_channels_subscribed", kGauge, "",
     "Channels with subscribers, counted once for each loop that has some.",
     SUM_OF(channels_subscribed)},
    {"parley_recoveries_total", kCounter, "recovered", "Answers to recovery requests.",
     fill_recoveries},
    {"parley_unsubscribes_insufficient_total", kCounter, "",
     "Subscriptions sent back to recover (unsubscribe code 2500).",
     SUM_OF(unsubscribes_insufficient)},
    {"parley_errors_total", kCounter, "code", "Error replies to clients by code; see ERRORS.md.",
     fill_errors},
    {"parley_api_calls_total", kCounter, "method", "Calls of the server API.", fill_api},
    {"parley_network_bytes_total", kCounter, "direction",
     "Bytes read from and written to connections.", fill_bytes},
    {"parley_network_calls_total", kCounter, "call",
     "System calls that read and write connections.", fill_calls},
    {"parley_writes_partial_total", kCounter, "", "Writes that a full socket buffer cut short.",
     SUM_OF(writes_partial)},
    {"parley_queue_bytes", kGauge, "", "Bytes waiting in the connections' out-queues.",
     SUM_OF(queue_bytes)},
    {"parley_contexts_lent", kGauge, "",
     "Read and parse states that connections hold in the middle of a message.",
     SUM_OF(contexts_lent)},
    {"parley_broker_ready", kGauge, "",
     "1 while the broker carries messages on every loop; GET /ready says why it does not.",
     fill_broker_ready},
    {"parley_broker_connections_open", kGauge, "", "Connections to the broker's servers.",
     SUM_OF(dialled_open)},
    {"parley_broker_connections_lost_total", kCounter, "",
     "Connections to the broker's servers that were in use and broke.",
     SUM_OF(broker_lost_connections)},
    {"parley_broker_audits_total", kCounter, "",
     "Channels whose newest offset was compared with the broker's after a reconnect.",
     SUM_OF(broker_audits)},
    {"parley_broker_repairs_total", kCounter, "", "Reads that filled a hole in a channel.",
     SUM_OF(broker_repairs)},
    {"parley_broker_redirections_total", kCounter, "",
     "Calls that a server of a Redis Cluster sent to another one or put off, because a slot moves.",
     SUM_OF(broker_redirections)},
    {"parley_broker_repaired_total", kCounter, "", "Publications that came by such a read.",
     SUM_OF(broker_repaired)},
    {"parley_broker_lost_total", kCounter, "",
     "Channels whose subscribers were sent back (2500), as what they missed is not there any more.",
     SUM_OF(broker_lost)},
    {"parley_loops", kGauge, "", "Event loops.", fill_loops},
    {"parley_loop_iterations_total", kCounter, "", "Iterations of the event loops.",
     SUM_OF(iterations)},
    {"parley_loop_lag_seconds", kGauge, "loop",
     "For how long the loop's iteration has been running, as the watchdog saw it.", fill_lag},
    {"parley_commit_duration_seconds", kHistogram, "",
     "From a publish at its channel's owner to its commit.", fill_commit},
    {"parley_store_queue", kGauge, "", "Requests waiting for the store.", OF_STORE(queue)},
    {"parley_store_queue_max", kGauge, "", "How many may wait; beyond it publishes get error 111.",
     OF_STORE(queue_max)},
    {"parley_store_commits_total", kCounter, "", "Transactions of the store.", OF_STORE(commits)},
    {"parley_store_publications_total", kCounter, "", "Publications that the store has committed.",
     OF_STORE(committed)},
    {"parley_store_failures_total", kCounter, "", "Requests that the store could not do.",
     OF_STORE(failures)},
    {"parley_store_bytes", kGauge, "", "Size of the store.", OF_STORE(bytes)},
    {"parley_store_ready", kGauge, "", "1 while the store can commit.", OF_STORE(is_ready)},
    {"parley_store_connected", kGauge, "",
     "With mongodb://: 1 while MongoDB takes what it is given.", OF_STORE(is_connected)},
    {"parley_store_backlog", kGauge, "",
     "Publications that are committed to the spool and not yet in MongoDB.", OF_STORE(backlog)},
    {"parley_store_backlog_max", kGauge, "",
     "How many there may be; beyond it publishes get error 111.", OF_STORE(backlog_max)},
    {"parley_store_backlog_age_seconds", kGauge, "", "For how long the oldest of them has waited.",
     [](const scrape& s, MetricFamily* f) {
       add(f, {}, static_cast<double>(s.store.backlog_age_ms) / 1e3);
     }},
    {"parley_store_stored_total", kCounter, "", "Publications that were brought to MongoDB.",
     OF_STORE(stored)},
    {"parley_store_batches_total", kCounter, "", "Bulk writes that brought them.",
     OF_STORE(batches)},
    {"parley_store_batch_seconds_total", kCounter, "", "Time that those took together.",
     [](const scrape& s, MetricFamily* f) {
       add(f, {}, static_cast<double>(s.store.batch_us) / 1e6);
     }},
    {"parley_store_retries_total", kCounter, "", "Bulk writes that were tried again.",
     OF_STORE(retries)},
    {"parley_store_duplicates_total", kCounter, "",
     "Publications that MongoDB had already, as after a crash; harmless.", OF_STORE(duplicates)},
    {"parley_store_dead_letters_total", kCounter, "",
     "Publications that MongoDB refuses for good; they are in the collection dead_letters.",
     OF_STORE(dead_letters)},
    {"parley_store_conflicts_total", kCounter, "",
     "Publications in whose place MongoDB has others: their channel is stopped. Alarm at the "
     "first.",
     OF_STORE(conflicts)},
    {"parley_log_loki_pushed_lines_total", kCounter, "",
     "With log.loki_url, as all of these: log lines that Loki has taken.", OF_LOKI(pushed_lines)},
    {"parley_log_loki_dropped_lines_total", kCounter, "reason",
     "Log lines that did not get there: the queue was full, the line too_long, refused by Loki "
     "(some of these may be there), failed too often.",
     fill_loki_dropped},
    {"parley_log_loki_retries_total", kCounter, "", "Pushes that were tried again.",
     OF_LOKI(retries)},
    {"parley_log_loki_queue_bytes", kGauge, "", "Log lines that wait for Loki.",
     OF_LOKI(queue_bytes)},
    {"parley_log_loki_queue_bytes_max", kGauge, "", "How many may wait.", OF_LOKI(queue_bytes_max)},
    {"parley_log_loki_connected", kGauge, "", "1 while Loki takes what it is given.",
     OF_LOKI(is_connected)},
    {"parley_draining", kGauge, "", "1 while the node sends its clients away before it stops.",
     fill_draining},
    {"parley_build_info", kGauge, "version, store, broker", "Always 1.", fill_build},
    {"process_cpu_seconds_total", kCounter, "", "User and system CPU time of the process.",
     OF_PROCESS(cpu_s)},
    {"process_resident_memory_bytes", kGauge, "", "Resident memory of the process.",
     OF_PROCESS(resident_bytes)},
    {"process_virtual_memory_bytes", kGauge, "", "Virtual memory of the process.",
     OF_PROCESS(virtual_bytes)},
    {"process_open_fds", kGauge, "", "Open file descriptors.", OF_PROCESS(open_fds)},
    {"process_max_fds", kGauge, "", "Limit of open file descriptors.", OF_PROCESS(max_fds)},
    {"process_start_time_seconds", kGauge, "", "When the process started, Unix time.",
     OF_PROCESS(start_time_s)},
};
#undef OF_LOKI
#undef SUM_OF
#undef OF_STORE
#undef OF_PROCESS

}  // namespace

std::string metrics_text(node* n) {
  scrape s{n, {}, {}, process_read(), {}};
  for (core::loop* l : n->loops) s.loops.push_back(core::loop_counters(l));
  if (n->history != nullptr) s.store = n->history->stats();
  if (n->logs != nullptr) s.logs = loki_stats_of(n->logs);
  std::vector<MetricFamily> families;
  families.reserve(std::size(kMetrics));
  for (const metric_row& row : kMetrics) {
    MetricFamily f;
    f.name = row.name;
    f.help = row.help;
    f.type = row.type;
    row.fill(s, &f);
    if (!f.metric.empty()) families.push_back(std::move(f));
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return out.str();
}

std::string metrics_markdown() {
  std::string out =
      "# Metrics\n\n"
      "Printed by `parleyd --print-metrics-doc`; a test keeps it current. `GET /metrics` answers "
      "in the Prometheus text format. Loops count for themselves and are summed at the scrape.\n\n"
      "| metric | type | labels | what it says |\n|---|---|---|---|\n";
  for (const metric_row& row : kMetrics) {
    const char* type = row.type == kCounter ? "counter"
                       : row.type == kGauge ? "gauge"
                                            : "histogram";
    out += "| `" + std::string(row.name) + "` | " + type + " | " + row.label + " | " + row.help +
           " |\n";
  }
  return out;
}

}  // namespace server
