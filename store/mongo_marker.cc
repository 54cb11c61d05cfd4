// One thread, one unordered bulk a turn. An unordered bulk may do two updates of one document in
// any order, so what concerns the same (user, channel) twice is told in two bulks.
#include "store/mongo_marker.h"

#include <algorithm>
#include <set>

#include "core/log.h"
#include "store/mongo_drain.h"

namespace store {
namespace {

constexpr uint32_t kMarkersMax = 1000;  // requests a turn
constexpr uint64_t kMarkerBytesMax = 4ull << 20;
constexpr uint32_t kTurnMs = 1000;

struct change_set {
  std::vector<mongo_update> updates;
  std::set<std::pair<std::string, std::string>> who;
};

mongo_failure flush(mongo_client* client, change_set* s) noexcept {
  if (s->updates.empty()) return {};
  const mongo_bulk_result r = mongo_change(client, kUserChannels, s->updates);
  s->updates.clear();
  s->who.clear();
  if (r.failure || r.errors.empty()) return r.failure;
  return {r.errors[0].code, r.errors[0].text + " "};
}

mongo_failure put(mongo_client* client, change_set* s, const std::string& user,
                  const std::string& channel, uint64_t read) noexcept {
  mongo_failure f;
  if (!s->who.emplace(user, channel).second) {
    f = flush(client, s);
    s->who.emplace(user, channel);
  }
  s->updates.push_back(user_channel_update(user, channel, read));
  return f;
}

// All of them, in their order. What is done twice is harmless.
mongo_failure bring(mongo_client* client, const write_list& batch) noexcept {
  change_set s;
  mongo_failure f;
  for (const write* w = batch.first; w != nullptr && !f; w = w->next) {
    if (const auto* a = std::get_if<add_user_channel_write>(&w->what)) {
      for (const std::string& user : a->users)
        if (!f) f = put(client, &s, user, a->channel, 0);
    } else if (const auto* m = std::get_if<mark_read_write>(&w->what)) {
      f = put(client, &s, m->user, m->channel, m->offset);
    } else if (const auto* r = std::get_if<remove_user_channel_write>(&w->what)) {
      f = flush(client, &s);
      if (!f)
        f = mongo_remove(client, kUserChannels,
                         doc().text("user", r->user).text("channel", r->channel));
    }
  }
  return f ? f : flush(client, &s);
}

bool is_ending(mongo_core* c) noexcept {
  const std::lock_guard<std::mutex> held(c->lock);
  return c->is_fenced || (c->is_closing && mono_us() >= c->close_by_us);
}

}  // namespace

mongo_update user_channel_update(const std::string& user, const std::string& channel,
                                 uint64_t read) noexcept {
  mongo_update u;
  u.filter.text("user", user).text("channel", channel);
  u.update.sub("$max", doc().number_u64("read", read));
  u.is_upsert = true;
  return u;
}

void mongo_mark(mongo_core* c, write_queue* queue) noexcept {
  mongo_client* client = mongo_client_take(c->pool);
  write_list batch;
  for (;;) {
    const bool is_open = queue->take(&batch, kMarkersMax, kMarkerBytesMax, kTurnMs);
    if (batch.count == 0) {
      if (!is_open) break;
      continue;
    }
    const uint64_t give_up_us = mono_us() + 1000ull * c->options.marker_ms;
    for (uint32_t tries = 1; batch.count > 0; ++tries) {
      const mongo_failure f = bring(client, batch);
      const bool is_late = mono_us() >= give_up_us || is_ending(c);
      // Of two upserts that meet one finds the other's document, and will find it the next time.
      const bool has_met = f.code == kDuplicateKey && !is_late;
      const bool is_refused = f && !mongo_is_transient(f.code) && !has_met;
      const core::err rc = f ? core::err::unavailable : core::err::ok;
      write_list done, kept;
      while (batch.count > 0) {
        write* w = batch.pop();
        w->rc = rc;
        const bool is_done = !f || is_refused || (is_late && (w->has_slot || is_ending(c)));
        (is_done ? done : kept).push(w);
      }
      c->counters.failures.fetch_add(queue->answer(&done), std::memory_order_relaxed);
      batch = kept;
      if (f) {
        mongo_tell(c, "MongoDB does not take users' channels", f);
        mongo_wait(c, mongo_pause_ms(tries, c->options.retry_ms_max));
      } else {
        c->is_connected.store(true, std::memory_order_relaxed);
      }
      // Those that nobody waits for go again together with what has come meanwhile.
      if (batch.count > 0 && is_late)
        static_cast<void>(queue->take(&batch, kMarkersMax, kMarkerBytesMax, 0));
    }
  }
  mongo_client_give(c->pool, client);
}

}  // namespace store
