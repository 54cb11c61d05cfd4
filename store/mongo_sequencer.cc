// One turn: what has come since the last, each request decided, one spool group, all answers. The
// order within a request is always: look, decide, write. A request that needs the database waits at
// the head of its channel, and what comes after it in that channel behind it; others go on.
#include "store/mongo_sequencer.h"

#include <algorithm>

#include "core/log.h"
#include "store/page.h"

namespace store {
namespace {

constexpr uint32_t kGroupCountMax = 2048;
constexpr uint64_t kGroupBytesMax = 4ull << 20;  // bounds how long one sync takes
constexpr uint32_t kTurnMs = 1000;               // when nothing comes
constexpr size_t kMongoKeysTotalMax = 500'000;   // of all channels, about 150 bytes each
constexpr int kEvictTries = 64;

}  // namespace

mongo_channel* sequencer::channel_of(const std::string& name) noexcept {
  const std::lock_guard<std::mutex> held(core_->lock);
  const auto it = core_->channels.find(name);
  if (it != core_->channels.end()) return it->second.get();
  if (core_->channels.size() >= kMongoChannelsMax || keys_total_ > kMongoKeysTotalMax) evict();
  auto m = std::make_unique<mongo_channel>();
  m->name = name;
  mongo_channel* made = m.get();
  core_->channels.emplace(name, std::move(m));
  return made;
}

// Some that nothing waits for; the database knows them.
void sequencer::evict() noexcept {
  int tries = kEvictTries;
  for (auto it = core_->channels.begin(); it != core_->channels.end() && tries > 0; --tries) {
    const mongo_channel& m = *it->second;
    const bool is_idle =
        m.tail.empty() && m.removals == 0 && m.waiting.count == 0 && !m.is_looking && m.group == 0;
    if (!is_idle) {
      ++it;
      continue;
    }
    keys_total_ -= std::min(keys_total_, m.keys.size());
    heads_.erase(it->second.get());
    it = core_->channels.erase(it);
  }
}

void sequencer::run() noexcept {
  write_list batch;
  for (bool is_open = true; is_open;) {
    is_open = writes_->take(&batch, kGroupCountMax, kGroupBytesMax, kTurnMs);
    std::deque<std::unique_ptr<lookup>> answers;
    {
      const std::lock_guard<std::mutex> held(lookups_->lock);
      answers.swap(lookups_->answered);
    }
    for (auto& l : answers) go_on(std::move(l));
    while (batch.count > 0) step(batch.pop());
    commit();
    // What still waits for the database keeps the queue's end away.
    bool is_looking = false;
    if (!is_open) {
      const std::lock_guard<std::mutex> held(core_->lock);
      for (const auto& [name, m] : core_->channels) is_looking = is_looking || m->is_looking;
    }
    is_open = is_open || is_looking;
  }
}

void sequencer::step(write* w) noexcept {
  const auto* a = std::get_if<append_write>(&w->what);
  mongo_channel* m = channel_of(a != nullptr ? a->request.channel
                                             : std::get<remove_history_write>(w->what).channel);
  if (m->waiting.count > 0) {
    m->waiting.push(w);
    return;
  }
  switch (decide(m, w)) {
    case verdict::answer:
      done_.push(w);
      break;
    case verdict::wait:
      m->waiting.push(w);
      break;
    case verdict::grouped:
      break;
  }
}

sequencer::verdict sequencer::decide(mongo_channel* m, write* w) noexcept {
  auto* a = std::get_if<append_write>(&w->what);
  bool is_refused = false;
  {
    const std::lock_guard<std::mutex> held(core_->lock);
    is_refused = core_->is_fenced || m->is_stuck;
  }
  if (is_refused) {
    (a != nullptr ? a->result.rc : w->rc) = core::err::unavailable;
    return verdict::answer;
  }
  if (!m->is_known) {
    ask(m, lookup_kind::channel, a);
    return verdict::wait;
  }
  if (a != nullptr) return decide_append(m, a, w);
  return decide_removal(m, &std::get<remove_history_write>(w->what), w);
}

sequencer::verdict sequencer::decide_append(mongo_channel* m, append_write* a, write* w) noexcept {
  verdict v = verdict::answer;
  if (!a->request.key_scope.empty() && !check_key(m, a, &v)) return v;
  if (a->request.refers > 0 && !check_reference(m, a, &v)) return v;
  const uint64_t offset = m->next_top + 1;
  a->result.rc = add(m, w, record_of_publication(a->request, offset, core_->epoch), offset, false);
  if (a->result.rc != core::err::ok) return verdict::answer;
  m->next_top = offset;
  if (!a->request.key_scope.empty()) remember_key(m, a->request, offset);
  return verdict::grouped;
}

// False: the request ends here, or waits.
bool sequencer::check_key(mongo_channel* m, append_write* a, verdict* v) noexcept {
  const append_request& r = a->request;
  const auto k = m->keys.find(r.key_scope);
  if (k == m->keys.end() || k->second.expires_ms <= r.pub.time_ms) {
    if (m->has_all_keys || heads_[m].is_key_checked) return true;
    ask(m, m->are_keys_asked ? lookup_kind::key : lookup_kind::channel, a);
    *v = verdict::wait;
    return false;
  }
  if (k->second.hash != r.key_hash) {
    a->result.rc = core::err::conflict;
    return false;
  }
  a->result.offset = k->second.offset;
  a->result.time_ms = k->second.time_ms;
  a->result.epoch = core_->epoch;
  a->result.is_duplicate = true;
  return false;
}

bool sequencer::check_reference(mongo_channel* m, append_write* a, verdict* v) noexcept {
  const append_request& r = a->request;
  // Its target, or the removal of it, may be in the open group.
  if (m->group > 0) commit();
  a->result.rc = core::err::not_found;
  if (r.refers > m->top || r.refers <= keep_floor(r.keep, m->top) || r.refers <= m->removed_up_to)
    return false;
  stored_publication p;
  bool is_found = false;
  if (!find_referred(m, a, &p, &is_found, v)) return false;
  if (!is_found || p.pub.time_ms <= keep_oldest_ms(r.keep, r.pub.time_ms) || p.refers > 0)
    return false;
  a->result.rc = r.user.empty() || p.user != r.user ? core::err::denied : core::err::ok;
  return a->result.rc == core::err::ok;
}

// False: it is asked for (*v is wait), or the spool cannot be read.
bool sequencer::find_referred(mongo_channel* m, append_write* a, stored_publication* out,
                              bool* is_found, verdict* v) noexcept {
  const uint64_t offset = a->request.refers;
  tail_entry entry;
  bool is_in_tail = false;
  {
    const std::lock_guard<std::mutex> held(core_->lock);
    const uint64_t first = tail_first(*m);
    is_in_tail = offset >= first;
    if (is_in_tail) entry = m->tail[offset - first];
  }
  if (is_in_tail) {
    std::string bytes;
    spool_record r;
    bson_t d;
    *is_found = spool_read(entry.place, &bytes) == core::err::ok && record_parse(bytes, &r) &&
                doc_view(r.bson, &d) && publication_parse(d, out);
    if (!*is_found) a->result.rc = core::err::io;
    return *is_found;
  }
  head_state& h = heads_[m];
  if (h.reference == nullptr) {
    a->result.rc = core::err::ok;
    ask(m, lookup_kind::reference, a);
    *v = verdict::wait;
    return false;
  }
  *is_found = h.reference->is_found;
  *out = h.reference->referred;
  return true;
}

sequencer::verdict sequencer::decide_removal(mongo_channel* m, remove_history_write* r,
                                             write* w) noexcept {
  const uint64_t up_to = m->next_top;
  if (up_to == 0) return verdict::answer;
  w->rc = add(m, w, record_of_removal(r->channel, up_to), up_to, true);
  return w->rc == core::err::ok ? verdict::grouped : verdict::answer;
}

core::err sequencer::add(mongo_channel* m, write* w, std::string_view record, uint64_t offset,
                         bool is_removal) noexcept {
  {
    const std::lock_guard<std::mutex> held(core_->lock);
    if (core_->waiting + group_.size() >= core_->backlog_max) return core::err::unavailable;
  }
  pending p = {m, w, {}, offset, is_removal};
  core::err rc = spool_add(core_->log, record, &p.place);
  if (rc == core::err::full && !group_.empty()) {  // the group's bound, not the spool's
    commit();
    rc = spool_add(core_->log, record, &p.place);
  }
  if (rc == core::err::full) return core::err::unavailable;
  if (rc != core::err::ok) return core::err::io;
  group_.push_back(std::move(p));
  done_.push(w);
  ++m->group;
  return core::err::ok;
}

void sequencer::remember_key(mongo_channel* m, const append_request& r, uint64_t offset) noexcept {
  const auto [it, is_new] = m->keys.insert_or_assign(
      r.key_scope, known_key{r.key_hash, offset, r.pub.time_ms, r.pub.time_ms + r.key_ttl_ms});
  keys_total_ += is_new;
  if (m->keys.size() > std::max(kMongoKeysMax, 2 * m->keys_kept)) trim_keys(m, r.pub.time_ms);
}

// Beyond the bound those that MongoDB has go; it is asked from then on.
void sequencer::trim_keys(mongo_channel* m, int64_t now_ms) noexcept {
  const size_t before = m->keys.size();
  std::erase_if(m->keys, [&](const auto& k) { return k.second.expires_ms <= now_ms; });
  uint64_t first = 0;
  {
    const std::lock_guard<std::mutex> held(core_->lock);
    first = tail_first(*m);
  }
  if (m->keys.size() > kMongoKeysMax) {
    m->has_all_keys = false;
    std::erase_if(m->keys, [&](const auto& k) { return k.second.offset < first; });
  }
  m->keys_kept = m->keys.size();
  keys_total_ -= before - m->keys.size();
}

void sequencer::ask(mongo_channel* m, lookup_kind kind, append_write* a) noexcept {
  auto l = std::make_unique<lookup>();
  l->kind = kind;
  l->channel = m;
  l->name = m->name;
  if (a != nullptr) {
    l->scope = a->request.key_scope;
    l->offset = a->request.refers;
    l->now_ms = a->request.pub.time_ms;
  } else {
    l->now_ms = core_->options.clock->wall_ms();
  }
  m->is_looking = true;
  {
    const std::lock_guard<std::mutex> room(readers_->lock);
    const std::lock_guard<std::mutex> held(lookups_->lock);
    lookups_->asked.push_back(std::move(l));
  }
  readers_->wake.notify_one();
}

void sequencer::answered(std::unique_ptr<lookup> l) noexcept {
  {
    const std::lock_guard<std::mutex> held(lookups_->lock);
    lookups_->answered.push_back(std::move(l));
  }
  writes_->poke();
}

void sequencer::learn(mongo_channel* m, lookup* l) noexcept {
  if (l->kind == lookup_kind::key) {
    heads_[m].is_key_checked = true;
    if (l->is_found) keys_total_ += m->keys.insert_or_assign(l->scope, l->key).second;
    return;
  }
  for (auto& [scope, key] : l->keys) keys_total_ += m->keys.emplace(scope, std::move(key)).second;
  m->has_all_keys = l->has_all_keys;
  m->are_keys_asked = true;
  if (m->is_known) return;
  const std::lock_guard<std::mutex> held(core_->lock);
  m->is_known = true;
  m->top = m->next_top = l->top;
  m->last_ms = l->last_ms;
}

// The first write that waits goes on with what the database said, and those behind it.
void sequencer::go_on(std::unique_ptr<lookup> l) noexcept {
  mongo_channel* m = l->channel;
  m->is_looking = false;
  if (l->is_failed) return refuse_waiting(m);
  if (l->kind == lookup_kind::reference)
    heads_[m].reference = std::move(l);
  else
    learn(m, l.get());
  while (m->waiting.count > 0) {
    write* w = m->waiting.pop();
    const verdict v = decide(m, w);
    if (v == verdict::wait) return m->waiting.push_front(w);
    if (v == verdict::answer) done_.push(w);
    heads_.erase(m);
  }
}

void sequencer::refuse_waiting(mongo_channel* m) noexcept {
  heads_.erase(m);
  while (m->waiting.count > 0) {
    write* w = m->waiting.pop();
    if (auto* a = std::get_if<append_write>(&w->what)) a->result.rc = core::err::unavailable;
    w->rc = core::err::unavailable;
    done_.push(w);
  }
}

void sequencer::commit() noexcept {
  if (!group_.empty()) {
    const core::err rc = spool_commit(core_->log);
    can_commit_.store(rc == core::err::ok, std::memory_order_relaxed);
    rc == core::err::ok ? settle() : undo(rc);
    for (const pending& p : group_) p.channel->group = 0;
    group_.clear();
  }
  if (done_.count > 0)
    core_->counters.failures.fetch_add(writes_->answer(&done_), std::memory_order_relaxed);
}

// The group is durable: readers see it, the drains get it.
void sequencer::settle() noexcept {
  uint64_t publications = 0;
  {
    const std::lock_guard<std::mutex> held(core_->lock);
    for (pending& p : group_) {
      publications += !p.is_removal;
      settle_one(p.channel, p.place, p.request, p.offset);
    }
  }
  for (const auto& b : core_->backlogs) b->wake.notify_one();
  core_->counters.commits.fetch_add(1, std::memory_order_relaxed);
  core_->counters.committed.fetch_add(publications, std::memory_order_relaxed);
}

void sequencer::settle_one(mongo_channel* m, const spool_place& place, write* w,
                           uint64_t offset) noexcept {
  auto* a = std::get_if<append_write>(&w->what);
  if (a == nullptr) return keep_removal(m, place, offset);
  const append_request& r = a->request;
  keep_publication(m, place, offset, r.pub.time_ms, r.is_delete ? r.refers : 0);
  a->result.offset = offset;
  a->result.time_ms = r.pub.time_ms;
  a->result.epoch = core_->epoch;
  a->result.pub = std::move(a->request.pub);
  a->result.pub.offset = offset;
}

void sequencer::keep_publication(mongo_channel* m, const spool_place& place, uint64_t offset,
                                 int64_t time_ms, uint64_t deletes) noexcept {
  m->top = offset;
  m->last_ms = time_ms;
  m->tail.push_back({place, time_ms});
  if (deletes > 0) m->blanks.push_back({deletes, offset});
  enqueue(m, nullptr);
}

void sequencer::keep_removal(mongo_channel* m, const spool_place& place, uint64_t up_to) noexcept {
  m->removed_up_to = up_to;
  ++m->removals;
  enqueue(m, std::make_unique<removal>(removal{place, up_to}));
}

void sequencer::enqueue(mongo_channel* m, std::unique_ptr<removal> removed) noexcept {
  backlog& b = *core_->backlogs[backlog_of(*core_, m->name)];
  if (b.records.empty()) b.oldest_us = mono_us();
  b.records.push_back({m, std::move(removed)});
  ++core_->waiting;
}

// Nothing of the group has happened.
void sequencer::undo(core::err why) noexcept {
  for (const pending& p : group_) {
    p.channel->next_top = p.channel->top;
    p.request->rc = why;
    auto* a = std::get_if<append_write>(&p.request->what);
    if (a == nullptr) continue;
    a->result.rc = why;
    if (!a->request.key_scope.empty()) keys_total_ -= p.channel->keys.erase(a->request.key_scope);
  }
  // Repeated within the group.
  for (write* w = done_.first; w != nullptr; w = w->next) {
    auto* a = std::get_if<append_write>(&w->what);
    if (a == nullptr || !a->result.is_duplicate) continue;
    const auto it = core_->channels.find(a->request.channel);
    if (it != core_->channels.end() && a->result.offset <= it->second->top) continue;
    a->result = {};
    a->result.rc = why;
  }
}

bool sequencer::replay(const spool_place& place, std::string_view record) noexcept {
  spool_record r;
  if (!record_parse(record, &r)) return false;
  mongo_channel* m = channel_of(std::string(r.channel));
  const std::lock_guard<std::mutex> held(core_->lock);
  const bool is_removal = r.kind == record_kind::removal;
  if (!m->is_known) {
    m->is_known = true;
    m->top = is_removal ? r.offset : r.offset - 1;
  }
  if (r.offset != m->top + !is_removal) return false;
  if (is_removal)
    keep_removal(m, place, r.offset);
  else
    keep_publication(m, place, r.offset, r.time_ms, r.is_delete ? r.refers : 0);
  m->next_top = m->top;
  if (r.key_scope.empty()) return true;
  keys_total_ += m->keys
                     .insert_or_assign(
                         std::string(r.key_scope),
                         known_key{std::string(r.key_hash), r.offset, r.time_ms, r.key_expires_ms})
                     .second;
  return true;
}

}  // namespace store
