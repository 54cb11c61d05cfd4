// A drain takes what has gathered, waits a moment when that is little, and tries until MongoDB has
// it. So batches are small when it is quiet and large under load.
#include "store/mongo_drain.h"

#include <algorithm>

#include "core/log.h"
#include "store/mongo_batch.h"

namespace store {
namespace {

constexpr uint32_t kPauseMsMin = 50;

bool is_over(const mongo_core& c) noexcept {  // with the lock
  return c.is_fenced || (c.is_closing && mono_us() >= c.close_by_us);
}

// False: the end.
bool wait_for_records(mongo_core* c, backlog* b, std::unique_lock<std::mutex>* held) noexcept {
  while (b->records.empty()) {
    if (c->is_closing || c->is_fenced) return false;
    b->wake.wait_for(*held, std::chrono::seconds(1));
  }
  const uint64_t due = b->oldest_us + 1000ull * c->options.batch_age_ms;
  while (b->records.size() < c->options.batch_count_max && !c->is_closing) {
    const uint64_t now = mono_us();
    if (now >= due) break;
    b->wake.wait_for(*held, std::chrono::microseconds(due - now));
  }
  return !is_over(*c);
}

// From the front on, without taking anything away. A removal is a batch of its own.
void gather(mongo_core* c, const backlog& b, batch* out) noexcept {
  std::map<mongo_channel*, size_t> taken;
  uint64_t bytes = 0;
  for (const backlog_entry& e : b.records) {
    if (out->items.size() >= c->options.batch_count_max || bytes >= c->options.batch_bytes_max)
      return;
    if (e.removed != nullptr && !out->items.empty()) return;
    auto i = std::make_unique<batch_item>();
    i->channel = e.channel;
    i->is_removal = e.removed != nullptr;
    i->is_stuck = e.channel->is_stuck;
    i->place = i->is_removal ? e.removed->place
                             : e.channel->tail[e.channel->kept_back + taken[e.channel]++].place;
    bytes += i->place.bytes;
    out->items.push_back(std::move(i));
    if (e.removed != nullptr) return;
  }
}

// False: the spool cannot be read, now.
bool read_records(batch* b) noexcept {
  for (auto& i : b->items) {
    if (spool_read(i->place, &i->bytes) != core::err::ok || !record_parse(i->bytes, &i->record)) {
      static core::log_limit once;
      if (core::log_limit_pass(&once, 1000))
        core::log_error("a record of the spool cannot be read; it stays there",
                        {{"seq", i->place.seq}});
      return false;
    }
  }
  return true;
}

// The batch is in MongoDB: readers find it there, the spool need not keep it.
void finish(mongo_core* c, backlog* b, const batch& done) noexcept {
  std::vector<std::unique_ptr<stored_wait>> stored_now;
  {
    const std::lock_guard<std::mutex> held(c->lock);
    for (const auto& i : done.items) {
      b->records.pop_front();
      mongo_channel* m = i->channel;
      if (i->is_stuck) {
        m->kept_back += !i->is_removal;  // stays in the tail, and counts against the bound
        continue;
      }
      --c->waiting;
      if (i->is_removal) {
        --m->removals;
        continue;
      }
      m->tail.pop_front();
      std::erase_if(m->blanks, [&](const blanked& x) { return x.by <= i->record.offset; });
    }
    for (const auto& i : done.items) {
      if (i->channel->waits.empty()) continue;
      const uint64_t first = tail_first(*i->channel);
      for (auto& w : take_waits(c, i->channel, [&](const auto& x) { return x.offset < first; }))
        stored_now.push_back(std::move(w));
    }
    b->oldest_us = mono_us();
  }
  answer_waits(&stored_now, core::err::ok);
  uint64_t stored = 0;
  for (const auto& i : done.items) {
    if (i->is_stuck) continue;
    stored += !i->is_removal;
    spool_stored(c->log, i->place);
  }
  c->counters.stored.fetch_add(stored, std::memory_order_relaxed);
  c->counters.batches.fetch_add(1, std::memory_order_relaxed);
}

// False: the end came first.
bool bring(mongo_core* c, mongo_client* client, batch* b) noexcept {
  bool is_read = false;
  for (;;) {
    const uint64_t began = mono_us();
    mongo_failure f;
    if (!is_read) is_read = read_records(b);
    if (is_read && batch_try(c, client, b, &f)) {
      c->counters.batch_us.fetch_add(mono_us() - began, std::memory_order_relaxed);
      if (!c->is_connected.exchange(true, std::memory_order_relaxed))
        core::log_info("MongoDB takes publications", {{"server", mongo_pool_hosts(c->pool)}});
      return true;
    }
    c->counters.retries.fetch_add(1, std::memory_order_relaxed);
    if (f) mongo_tell(c, "MongoDB does not take a batch; it is tried again", f);
    mongo_wait(c, mongo_pause_ms(b->tries, c->options.retry_ms_max));
    const std::lock_guard<std::mutex> held(c->lock);
    if (is_over(*c)) return false;
  }
}

}  // namespace

uint32_t mongo_pause_ms(uint32_t tries, uint32_t ms_max) noexcept {
  const uint32_t ms = std::min<uint32_t>(ms_max, kPauseMsMin << std::min(tries, 12u));
  return std::max(1u, ms / 2 + core::random_below(core::system_random(), ms / 2 + 1));
}

void mongo_wait(mongo_core* c, uint32_t ms) noexcept {
  std::unique_lock<std::mutex> held(c->lock);
  if (c->is_closing && mono_us() >= c->close_by_us) return;
  c->taken.wait_for(held, std::chrono::milliseconds(ms));
}

void mongo_tell(mongo_core* c, const char* what, const mongo_failure& f) noexcept {
  c->is_connected.store(false, std::memory_order_relaxed);
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000))
    core::log_warn(what, {{"reason", f.text}, {"code", f.code}});
}

void mongo_drain(mongo_core* c, uint32_t index) noexcept {
  backlog* b = c->backlogs[index].get();
  {
    std::unique_lock<std::mutex> held(c->lock);
    c->taken.wait(held, [&] { return c->is_taken || c->is_fenced || c->is_closing; });
    if (!c->is_taken) return;
  }
  mongo_client* client = mongo_client_take(c->pool);
  for (;;) {
    batch next;
    {
      std::unique_lock<std::mutex> held(c->lock);
      if (!wait_for_records(c, b, &held)) break;
      gather(c, *b, &next);
    }
    if (!bring(c, client, &next)) break;
    finish(c, b, next);
  }
  mongo_client_give(c->pool, client);
}

}  // namespace store
