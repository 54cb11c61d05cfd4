// The store put together: queues, threads, start and end. mongo_impl.h has the picture.
#include "store/mongo.h"

#include <algorithm>

#include "core/log.h"
#include "store/mongo_drain.h"
#include "store/mongo_marker.h"
#include "store/mongo_reader.h"
#include "store/mongo_sequencer.h"
#include "store/mongo_setup.h"

namespace store {
namespace {

constexpr uint32_t kSetupPauseMs = 500;
constexpr uint32_t kWaitsMs = 200;  // how much later than its time a wait may end

class mongo_store final : public store {
 public:
  explicit mongo_store(const mongo_options& o)
      : core_(o),
        appends_(o.queue_max, o.queue_bytes_max),
        markers_(o.queue_max, o.queue_bytes_max),
        reads_(o.queue_max, o.read_bytes_max),
        sequencer_(&core_, &appends_, &lookups_, reads_.room()) {}
  ~mongo_store() override { close(); }

  core::err open(std::string* why) noexcept;

  core::err append(core::loop* home, append_request&& r, append_cb cb,
                   void* user) noexcept override {
    const uint64_t bytes = append_bytes(r);
    return appends_.push(home, user, nullptr, true, bytes, [&] {
      return append_write{std::move(r), {}, cb};
    });
  }
  core::err when_stored(core::loop* home, const std::string& channel, uint64_t offset,
                        bool* is_there, done_cb cb, void* user) noexcept override;
  core::err remove_history(core::loop* home, std::string channel, done_cb cb,
                           void* user) noexcept override {
    const uint64_t bytes = channel.size();
    return appends_.push(home, user, cb, cb != nullptr, bytes, [&] {
      return remove_history_write{std::move(channel), 0, false};
    });
  }
  core::err add_user_channel(core::loop* home, std::vector<std::string> users, std::string channel,
                             done_cb cb, void* user) noexcept override {
    uint64_t bytes = channel.size();
    for (const std::string& u : users) bytes += sizeof u + u.size();
    return markers_.push(home, user, cb, cb != nullptr, bytes, [&] {
      return add_user_channel_write{std::move(users), std::move(channel)};
    });
  }
  core::err remove_user_channel(core::loop* home, std::string user_id, std::string channel,
                                done_cb cb, void* user) noexcept override {
    const uint64_t bytes = user_id.size() + channel.size();
    return markers_.push(home, user, cb, cb != nullptr, bytes, [&] {
      return remove_user_channel_write{std::move(user_id), std::move(channel)};
    });
  }
  core::err mark_read(core::loop* home, std::string user_id, std::string channel, uint64_t offset,
                      done_cb cb, void* user) noexcept override {
    const uint64_t bytes = user_id.size() + channel.size();
    return markers_.push(home, user, cb, cb != nullptr, bytes, [&] {
      return mark_read_write{std::move(user_id), std::move(channel), offset};
    });
  }
  core::err read(core::loop* home, read_request&& r, read_cb cb, void* user) noexcept override {
    return reads_.push(home, user, [&] { return page_read{std::move(r), {}, cb}; });
  }
  core::err user_channels(core::loop* home, std::string user_id, uint32_t limit,
                          user_channels_cb cb, void* user) noexcept override {
    return reads_.push(home, user, [&] {
      return user_channels_read{std::move(user_id), limit, {}, cb};
    });
  }

  store_stats stats() noexcept override;
  void close() noexcept override;

 private:
  core::err open_spool(std::string* why) noexcept;
  core::err choose_place(std::string* why) noexcept;
  core::err wait_for_place(std::string* why) noexcept;
  // `epoch`, unless empty, is the only one that we may go on with.
  setup_result set_up(mongo_client* client, const std::string& epoch, writer_place* place,
                      std::string* why) noexcept;
  void start() noexcept;
  void read_loop() noexcept;
  void keep_loop() noexcept;
  bool stay() noexcept;
  void sweep() noexcept;
  void keep_place(mongo_client* client) noexcept;
  void fence(const std::string& why) noexcept;
  uint64_t backlog_age_ms() const noexcept;
  void end_waits(uint64_t due_us, core::err rc) noexcept;

  mongo_core core_;
  write_queue appends_, markers_;
  read_queue reads_;
  lookup_queue lookups_;
  sequencer sequencer_;
  struct {
    mongo_client* client = nullptr;
    uint64_t stay_us = 0;  // when the place is to be told of again
  } keeper_;               // its thread's
  bool is_open_ = false;
  std::atomic<bool> is_closed_{false};
  std::thread sequence_thread_, marker_thread_, keeper_thread_;
  std::vector<std::thread> drains_, readers_;
};

core::err mongo_store::open_spool(std::string* why) noexcept {
  spool_options o;
  o.dir = core_.options.spool_dir;
  o.segment_bytes = core_.options.spool_segment_bytes;
  o.bytes_max = core_.options.spool_bytes_max;
  return spool_open(
      o,
      [](void* user, const spool_place& place, std::string_view record) noexcept {
        return static_cast<sequencer*>(user)->replay(place, record);
      },
      &sequencer_, &core_.log, why);
}

// Before the threads: as long as the start may take. Nobody knows epoch and positions without it.
core::err mongo_store::wait_for_place(std::string* why) noexcept {
  const uint64_t until = mono_us() + 1000ull * core_.options.start_ms;
  mongo_client* client = mongo_client_take(core_.pool);
  writer_place place;
  setup_result r;
  while ((r = set_up(client, "", &place, why)) == setup_result::away && mono_us() < until)
    mongo_wait(&core_, kSetupPauseMs);
  mongo_client_give(core_.pool, client);
  if (r == setup_result::away) {
    *why = "MongoDB at " + mongo_pool_hosts(core_.pool) + " does not answer, and the spool in " +
           core_.options.spool_dir + " cannot do without it the first time: " + *why;
    return core::err::unavailable;
  }
  if (r == setup_result::refused) return core::err::conflict;
  core_.epoch = place.epoch;
  core_.shift = place.shift;
  return core::err::ok;
}

setup_result mongo_store::set_up(mongo_client* client, const std::string& epoch,
                                 writer_place* place, std::string* why) noexcept {
  const setup_result r =
      mongo_setup(&core_, client, spool_measure(core_.log).records > 0, place, why);
  if (r != setup_result::done) return r;
  if (!place_save(core_.options.spool_dir, *place)) {
    *why = "the file \"place\" cannot be written in " + core_.options.spool_dir;
    return setup_result::refused;
  }
  if (!epoch.empty() && place->epoch != epoch) {
    *why = "the database has begun another epoch; a restart goes on with that";
    return setup_result::refused;
  }
  core_.is_connected.store(true, std::memory_order_relaxed);
  const std::lock_guard<std::mutex> held(core_.lock);
  core_.turn = place->turn;
  core_.backlog_max = core_.options.backlog_max;
  core_.is_taken = true;
  return r;
}

// A spool that was used before knows its place; whether it still has it is asked in the background.
core::err mongo_store::choose_place(std::string* why) noexcept {
  writer_place place;
  if (spool_is_new(core_.log) || !place_load(core_.options.spool_dir, &place))
    return wait_for_place(why);
  core_.epoch = place.epoch;
  core_.shift = place.shift;
  core_.backlog_max = std::min(core_.options.backlog_max, place.backlog_max);
  mongo_client* client = mongo_client_take(core_.pool);
  writer_place asked;
  const setup_result r = set_up(client, "", &asked, why);
  mongo_client_give(core_.pool, client);
  if (r == setup_result::refused) return core::err::conflict;
  if (r == setup_result::done) {
    core_.epoch = asked.epoch;
    core_.shift = asked.shift;
  } else {
    core::log_warn("MongoDB does not answer; publications wait in the spool",
                   {{"server", mongo_pool_hosts(core_.pool)}, {"reason", *why}});
  }
  return core::err::ok;
}

core::err mongo_store::open(std::string* why) noexcept {
  const mongo_options& o = core_.options;
  const uint32_t clients = std::max(o.writers, 1u) + std::max(o.readers, 1u) + 2;
  core::err rc = mongo_pool_open(o.url, {}, clients, &core_.pool, why);
  if (rc != core::err::ok) return rc;
  for (uint32_t i = 0; i < std::max(o.writers, 1u); ++i)
    core_.backlogs.push_back(std::make_unique<backlog>());
  rc = open_spool(why);
  if (rc == core::err::ok) rc = choose_place(why);
  if (rc == core::err::ok) {
    start();
    return rc;
  }
  core_.channels.clear();
  if (core_.log != nullptr) spool_close(core_.log);
  mongo_pool_close(core_.pool);
  return rc;
}

void mongo_store::start() noexcept {
  is_open_ = true;
  sequence_thread_ = std::thread([this] { sequencer_.run(); });
  marker_thread_ = std::thread([this] { mongo_mark(&core_, &markers_); });
  keeper_thread_ = std::thread([this] { keep_loop(); });
  for (uint32_t i = 0; i < core_.backlogs.size(); ++i)
    drains_.emplace_back([this, i] { mongo_drain(&core_, i); });
  for (uint32_t i = 0; i < std::max(core_.options.readers, 1u); ++i)
    readers_.emplace_back([this] { read_loop(); });
}

void mongo_store::read_loop() noexcept {
  mongo_client* client = mongo_client_take(core_.pool);
  const auto has_lookup = [&] {
    const std::lock_guard<std::mutex> held(lookups_.lock);
    return !lookups_.asked.empty();
  };
  for (bool is_ended = false; !is_ended;) {
    read_op* r = reads_.take(has_lookup, &is_ended);
    std::unique_ptr<lookup> l;
    {
      const std::lock_guard<std::mutex> held(lookups_.lock);
      if (!lookups_.asked.empty()) {
        l = std::move(lookups_.asked.front());
        lookups_.asked.pop_front();
        is_ended = false;
      }
    }
    if (l != nullptr) {
      mongo_look_up(&core_, client, l.get());
      sequencer_.answered(std::move(l));
    }
    if (r == nullptr) continue;
    core::err rc = core::err::ok;
    if (auto* page = std::get_if<page_read>(&r->what)) {
      mongo_read_page(&core_, client, page->request, &page->result);
      rc = page->result.rc;
    } else if (auto* list = std::get_if<user_channels_read>(&r->what)) {
      mongo_read_user_channels(&core_, client, list->user, list->limit, &list->result);
      rc = list->result.rc;
    }
    if (rc != core::err::ok) core_.counters.failures.fetch_add(1, std::memory_order_relaxed);
    reads_.answer(r);
  }
  mongo_client_give(core_.pool, client);
}

void mongo_store::fence(const std::string& why) noexcept {
  core::log_error("the store has stopped: " + why);
  {
    const std::lock_guard<std::mutex> held(core_.lock);
    core_.is_fenced = true;
  }
  core_.taken.notify_all();
}

// Takes the place when the start could not, and holds it.
void mongo_store::keep_place(mongo_client* client) noexcept {
  bool is_taken = false;
  {
    const std::lock_guard<std::mutex> held(core_.lock);
    is_taken = core_.is_taken;
  }
  if (is_taken) {
    const setup_result r = mongo_stay(&core_, client);
    if (r == setup_result::refused) fence("another node has taken over its database");
    core_.is_connected.store(r == setup_result::done, std::memory_order_relaxed);
    return;
  }
  writer_place place;
  std::string why;
  if (set_up(client, core_.epoch, &place, &why) == setup_result::refused) return fence(why);
  core_.taken.notify_all();
}

core::err mongo_store::when_stored(core::loop* home, const std::string& channel, uint64_t offset,
                                   bool* is_there, done_cb cb, void* user) noexcept {
  if (!core::loop_reserve(home, 1)) return core::err::full;
  auto w = std::make_unique<stored_wait>();
  w->home = home;
  w->cb = cb;
  w->user = user;
  w->offset = offset;
  w->due_us = mono_us() + 1000ull * core_.options.stored_ms;
  w->run = [](core::loop*, core::msg* m) noexcept {
    const std::unique_ptr<stored_wait> done(static_cast<stored_wait*>(m));
    done->cb(done->user, done->rc);
  };
  w->drop = [](core::msg* m) noexcept { delete static_cast<stored_wait*>(m); };
  core::err rc = core::err::ok;
  bool is_first = false;
  {
    const std::lock_guard<std::mutex> held(core_.lock);
    const auto it = core_.channels.find(channel);
    // What is not in a tail has been brought there.
    *is_there = it == core_.channels.end() || offset < tail_first(*it->second);
    if (core_.is_closing)
      rc = core::err::closed;
    else if (core_.waits >= core_.options.queue_max)
      rc = core::err::full;
    if (rc == core::err::ok && !*is_there) {
      it->second->waits.push_back(std::move(w));
      is_first = ++core_.waits == 1;
    }
  }
  if (is_first) core_.taken.notify_all();
  if (*is_there || rc != core::err::ok) core::loop_unreserve(home, 1);
  return rc;
}

// Those that are due by then.
void mongo_store::end_waits(uint64_t due_us, core::err rc) noexcept {
  std::vector<std::unique_ptr<stored_wait>> late;
  {
    const std::lock_guard<std::mutex> held(core_.lock);
    if (core_.waits == 0) return;
    for (const auto& [name, m] : core_.channels) {
      if (m->waits.empty()) continue;
      for (auto& w : take_waits(&core_, m.get(), [&](const auto& x) { return x.due_us <= due_us; }))
        late.push_back(std::move(w));
    }
  }
  answer_waits(&late, rc);
}

// Between two steps of a sweep, which may take longer than the lease. False: the end.
bool mongo_store::stay() noexcept {
  end_waits(mono_us(), core::err::timeout);
  if (mono_us() >= keeper_.stay_us) {
    keep_place(keeper_.client);
    keeper_.stay_us = mono_us() + 250ull * core_.options.lease_ms;
  }
  const std::lock_guard<std::mutex> held(core_.lock);
  return !core_.is_closing && !core_.is_fenced;
}

void mongo_store::sweep() noexcept {
  const sweep_pause pause = {
      [](void* user) noexcept { return static_cast<mongo_store*>(user)->stay(); }, this};
  const mongo_failure f = mongo_sweep(keeper_.client, core_.options.clock->wall_ms(), pause);
  if (f) mongo_tell(&core_, "MongoDB does not delete what retention has ended", f);
}

void mongo_store::keep_loop() noexcept {
  keeper_ = {mongo_client_take(core_.pool), mono_us()};
  uint64_t sweep_us = mono_us() + 1000ull * core_.options.sweep_ms;
  for (;;) {
    bool is_taken = false;
    {
      std::unique_lock<std::mutex> held(core_.lock);
      if (core_.is_closing || core_.is_fenced) break;
      is_taken = core_.is_taken;
      const uint64_t now = mono_us();
      uint64_t due = is_taken ? std::min(sweep_us, keeper_.stay_us) : now + 1000ull * kSetupPauseMs;
      if (core_.waits > 0) due = std::min<uint64_t>(due, now + 1000ull * kWaitsMs);
      if (due > now) core_.taken.wait_for(held, std::chrono::microseconds(due - now));
      if (core_.is_closing || core_.is_fenced) break;
    }
    if (!is_taken) keeper_.stay_us = 0;
    if (stay() && is_taken && mono_us() >= sweep_us) {
      sweep();
      sweep_us = mono_us() + 1000ull * core_.options.sweep_ms;
    }
  }
  mongo_client_give(core_.pool, keeper_.client);
}

// With the lock.
uint64_t mongo_store::backlog_age_ms() const noexcept {
  const int64_t now_ms = core_.options.clock->wall_ms();
  int64_t oldest_ms = now_ms;
  for (const auto& b : core_.backlogs) {
    if (b->records.empty() || b->records.front().removed != nullptr) continue;
    const mongo_channel& m = *b->records.front().channel;
    oldest_ms = std::min(oldest_ms, m.tail[m.kept_back].time_ms);
  }
  return static_cast<uint64_t>(now_ms - oldest_ms);
}

store_stats mongo_store::stats() noexcept {
  store_stats s;
  const mongo_counters& n = core_.counters;
  s.queue = appends_.waiting() + markers_.waiting() + reads_.waiting();
  s.queue_max = 3ull * core_.options.queue_max;
  s.commits = n.commits.load(std::memory_order_relaxed);
  s.committed = n.committed.load(std::memory_order_relaxed);
  s.failures = n.failures.load(std::memory_order_relaxed);
  bool is_fenced = false;
  {
    const std::lock_guard<std::mutex> held(core_.lock);
    s.backlog = core_.waiting;
    s.backlog_max = core_.backlog_max;
    s.backlog_age_ms = backlog_age_ms();
    is_fenced = core_.is_fenced;
  }
  if (!is_closed_.load(std::memory_order_relaxed)) s.bytes = spool_measure(core_.log).bytes;
  s.batches = n.batches.load(std::memory_order_relaxed);
  s.batch_us = n.batch_us.load(std::memory_order_relaxed);
  s.stored = n.stored.load(std::memory_order_relaxed);
  s.retries = n.retries.load(std::memory_order_relaxed);
  s.duplicates = n.duplicates.load(std::memory_order_relaxed);
  s.dead_letters = n.dead_letters.load(std::memory_order_relaxed);
  s.conflicts = n.conflicts.load(std::memory_order_relaxed);
  s.is_connected = core_.is_connected.load(std::memory_order_relaxed);
  if (is_closed_.load(std::memory_order_relaxed))
    s.why = "closed";
  else if (is_fenced)
    s.why = "another node writes to the database";
  else if (!sequencer_.can_commit())
    s.why = "the spool cannot be written";
  else if (s.backlog >= s.backlog_max)
    s.why = "as much waits for MongoDB as store.backlog_max allows";
  else if (s.bytes >= core_.options.spool_bytes_max)
    s.why = "the spool holds as much as store.spool_size_max allows";
  s.is_ready = s.why.empty();
  return s;
}

// Appends first, as the readers do its lookups; then the drains have their time.
void mongo_store::close() noexcept {
  if (!is_open_) return;
  is_open_ = false;
  appends_.close();
  markers_.close();
  sequence_thread_.join();
  {
    const std::lock_guard<std::mutex> held(core_.lock);
    core_.is_closing = true;
    core_.close_by_us = mono_us() + 1000ull * core_.options.close_ms;
  }
  core_.taken.notify_all();
  for (const auto& b : core_.backlogs) b->wake.notify_all();
  for (std::thread& t : drains_) t.join();
  marker_thread_.join();
  keeper_thread_.join();
  reads_.close();
  for (std::thread& t : readers_) t.join();
  end_waits(UINT64_MAX, core::err::timeout);
  is_closed_.store(true, std::memory_order_relaxed);
  if (core_.waiting == 0 && core_.is_taken && !core_.is_fenced) {
    mongo_client* client = mongo_client_take(core_.pool);
    mongo_leave(&core_, client);
    mongo_client_give(core_.pool, client);
  } else if (core_.waiting > 0) {
    core::log_warn("publications wait in the spool for the next start",
                   {{"publications", core_.waiting}, {"directory", core_.options.spool_dir}});
  }
  core_.channels.clear();
  spool_close(core_.log);
  mongo_pool_close(core_.pool);
}

}  // namespace

core::err open_mongo(const mongo_options& o, store** out, std::string* why) noexcept {
  auto s = std::make_unique<mongo_store>(o);
  const core::err rc = s->open(why);
  if (rc == core::err::ok) *out = s.release();
  return rc;
}

}  // namespace store
