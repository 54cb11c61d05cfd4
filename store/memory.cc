// The store in memory: the fake of the tests and `--store memory`. One mutex, no thread; answers go
// through the mailbox as those of every store do.
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>

#include "store/page.h"
#include "store/store.h"

namespace store {
namespace {

// What an entry costs beside its strings, roughly, so that many small ones meet the bound too.
constexpr uint64_t kEntryBytes = 200;

struct kept {
  publication pub;
  std::string user;
  uint64_t refers = 0;
};

struct key_entry {
  std::string hash;
  uint64_t offset = 0;
  int64_t time_ms = 0;
  int64_t expires_ms = 0;
};

// pubs holds consecutive offsets and ends with `top` unless it is empty.
struct channel {
  uint64_t top = 0;
  int64_t last_ms = 0;
  std::deque<kept> pubs;
  std::unordered_map<std::string, key_entry> keys;  // by scope
};

template <typename Result>
struct answer : core::msg {
  void (*cb)(void* user, Result&& r) noexcept = nullptr;
  void* user = nullptr;
  Result result;
};

struct done_answer : core::msg {
  done_cb cb = nullptr;
  void* user = nullptr;
  core::err rc = core::err::ok;
};

template <typename Answer>
void drop_answer(core::msg* m) noexcept {
  delete static_cast<Answer*>(m);
}

template <typename Result>
void run_answer(core::loop*, core::msg* m) noexcept {
  auto* a = static_cast<answer<Result>*>(m);
  a->cb(a->user, std::move(a->result));
  delete a;
}

template <typename Result>
void answer_post(core::loop* home, void (*cb)(void*, Result&&) noexcept, void* user, Result&& r) {
  auto* a = new answer<Result>;
  a->cb = cb;
  a->user = user;
  a->result = std::move(r);
  a->run = run_answer<Result>;
  a->drop = drop_answer<answer<Result>>;
  core::loop_post_reserved(home, a);
}

uint64_t cost(const kept& k) noexcept {
  return kEntryBytes + k.user.size() + publication_bytes(k.pub);
}

// A key stands in its channel and in the list of expiries.
uint64_t key_cost(const std::string& channel, const std::string& scope) noexcept {
  return 2 * kEntryBytes + channel.size() + 2 * scope.size();
}

class memory_store final : public store {
 public:
  explicit memory_store(uint64_t bytes_max) : epoch_(epoch_new()), bytes_max_(bytes_max) {}

  core::err append(core::loop* home, append_request&& r, append_cb cb,
                   void* user) noexcept override {
    const core::err rc = enter(home, true);
    if (rc != core::err::ok) return rc;
    append_result result;
    {
      const std::lock_guard<std::mutex> held(lock_);
      result = append_locked(std::move(r));
      if (result.rc == core::err::io) ++failures_;
    }
    answer_post(home, cb, user, std::move(result));
    return core::err::ok;
  }

  core::err read(core::loop* home, read_request&& r, read_cb cb, void* user) noexcept override {
    const core::err rc = enter(home, true);
    if (rc != core::err::ok) return rc;
    read_result result;
    {
      const std::lock_guard<std::mutex> held(lock_);
      read_locked(r, &result);
    }
    answer_post(home, cb, user, std::move(result));
    return core::err::ok;
  }

  core::err remove_history(core::loop* home, std::string name, done_cb cb,
                           void* user) noexcept override {
    return change(home, cb, user, [&] {
      const auto it = channels_.find(name);
      while (it != channels_.end() && !it->second.pubs.empty()) pop_oldest(&it->second);
      return core::err::ok;
    });
  }

  core::err add_user_channel(core::loop* home, std::vector<std::string> users, std::string name,
                             done_cb cb, void* user) noexcept override {
    return change(home, cb, user, [&] {
      for (const std::string& u : users)
        if (marker(u, name) == nullptr) return core::err::io;
      return core::err::ok;
    });
  }

  core::err remove_user_channel(core::loop* home, std::string user_id, std::string name, done_cb cb,
                                void* user) noexcept override {
    return change(home, cb, user, [&] {
      const auto it = users_.find(user_id);
      if (it == users_.end()) return core::err::ok;
      if (it->second.erase(name) > 0) bytes_ -= marker_cost(user_id, name);
      if (it->second.empty()) users_.erase(it);
      return core::err::ok;
    });
  }

  core::err mark_read(core::loop* home, std::string user_id, std::string name, uint64_t offset,
                      done_cb cb, void* user) noexcept override {
    return change(home, cb, user, [&] {
      uint64_t* known = marker(user_id, name);
      if (known == nullptr) return core::err::io;
      *known = std::max(*known, offset);
      return core::err::ok;
    });
  }

  core::err user_channels(core::loop* home, std::string user_id, uint32_t limit,
                          user_channels_cb cb, void* user) noexcept override {
    const core::err rc = enter(home, true);
    if (rc != core::err::ok) return rc;
    user_channels_result result;
    {
      const std::lock_guard<std::mutex> held(lock_);
      user_channels_locked(user_id, limit, &result);
    }
    answer_post(home, cb, user, std::move(result));
    return core::err::ok;
  }

  store_stats stats() noexcept override {
    const std::lock_guard<std::mutex> held(lock_);
    store_stats s;
    s.commits = s.committed = committed_;
    s.failures = failures_;
    s.bytes = bytes_;
    s.is_ready = !is_closed_;
    return s;
  }

  void close() noexcept override {
    const std::lock_guard<std::mutex> held(lock_);
    is_closed_ = true;
  }

 private:
  // ok: a slot of `home` is reserved when an answer is due.
  core::err enter(core::loop* home, bool has_answer) noexcept {
    {
      const std::lock_guard<std::mutex> held(lock_);
      if (is_closed_) return core::err::closed;
    }
    return !has_answer || core::loop_reserve(home, 1) ? core::err::ok : core::err::full;
  }

  template <typename Fn>
  core::err change(core::loop* home, done_cb cb, void* user, Fn fn) noexcept {
    const core::err rc = enter(home, cb != nullptr);
    if (rc != core::err::ok) return rc;
    core::err result = core::err::ok;
    {
      const std::lock_guard<std::mutex> held(lock_);
      result = fn();
      if (result != core::err::ok) ++failures_;
    }
    if (cb == nullptr) return core::err::ok;
    auto* a = new done_answer;
    a->rc = result;
    a->cb = cb;
    a->user = user;
    a->run = [](core::loop*, core::msg* m) noexcept {
      auto* self = static_cast<done_answer*>(m);
      self->cb(self->user, self->rc);
      delete self;
    };
    a->drop = drop_answer<done_answer>;
    core::loop_post_reserved(home, a);
    return core::err::ok;
  }

  static uint64_t marker_cost(const std::string& user_id, const std::string& name) noexcept {
    return 2 * kEntryBytes + user_id.size() + name.size();
  }

  // Of a user in a channel, made when there is none; nullptr: full.
  uint64_t* marker(const std::string& user_id, const std::string& name) {
    const auto user = users_.find(user_id);
    if (user != users_.end()) {
      const auto known = user->second.find(name);
      if (known != user->second.end()) return &known->second;
    }
    if (bytes_ + marker_cost(user_id, name) > bytes_max_) return nullptr;
    bytes_ += marker_cost(user_id, name);
    return &users_[user_id][name];
  }

  append_result append_locked(append_request&& r) {
    append_result out;
    forget_keys(r.pub.time_ms);
    const auto found = channels_.find(r.channel);
    channel* c = found == channels_.end() ? nullptr : &found->second;
    if (c != nullptr && !r.key_scope.empty()) {
      const auto k = c->keys.find(r.key_scope);
      if (k != c->keys.end() && k->second.expires_ms > r.pub.time_ms) {
        if (k->second.hash != r.key_hash) {
          out.rc = core::err::conflict;
          return out;
        }
        out.offset = k->second.offset;
        out.time_ms = k->second.time_ms;
        out.epoch = epoch_;
        out.is_duplicate = true;
        return out;
      }
    }
    kept* referred = nullptr;
    if (r.refers > 0) {
      out.rc = find_referred(c, r, &referred);
      if (out.rc != core::err::ok) return out;
    }
    kept k{std::move(r.pub), std::move(r.user), r.refers};
    const uint64_t channel_cost = c == nullptr ? kEntryBytes + r.channel.size() : 0;
    const uint64_t of_key = r.key_scope.empty() ? 0 : key_cost(r.channel, r.key_scope);
    if (bytes_ + cost(k) + channel_cost + of_key > bytes_max_) {
      out.rc = core::err::io;
      return out;
    }
    bytes_ += channel_cost + of_key;
    if (c == nullptr) c = &channels_[r.channel];
    if (referred != nullptr && r.is_delete) blank(c, referred);
    k.pub.offset = ++c->top;
    c->last_ms = k.pub.time_ms;
    if (!r.key_scope.empty()) {
      const int64_t expires_ms = k.pub.time_ms + r.key_ttl_ms;
      c->keys[r.key_scope] =
          key_entry{std::move(r.key_hash), k.pub.offset, k.pub.time_ms, expires_ms};
      expiries_.emplace(expires_ms, std::make_pair(r.channel, std::move(r.key_scope)));
    }
    out.offset = k.pub.offset;
    out.time_ms = k.pub.time_ms;
    out.epoch = epoch_;
    out.pub = k.pub;
    bytes_ += cost(k);
    ++committed_;
    c->pubs.push_back(std::move(k));
    trim(c, r.keep, out.time_ms);
    return out;
  }

  core::err find_referred(channel* c, const append_request& r, kept** out) noexcept {
    if (c == nullptr || c->pubs.empty() || r.refers < c->pubs.front().pub.offset ||
        r.refers > c->top || r.refers <= keep_floor(r.keep, c->top))
      return core::err::not_found;
    kept* k = &c->pubs[r.refers - c->pubs.front().pub.offset];
    if (k->pub.time_ms <= keep_oldest_ms(r.keep, r.pub.time_ms) || k->refers > 0)
      return core::err::not_found;
    if (r.user.empty() || k->user != r.user) return core::err::denied;
    *out = k;
    return core::err::ok;
  }

  void blank(channel* c, kept* target) {
    const uint64_t offset = target->pub.offset;
    for (kept& k : c->pubs) {
      if (k.pub.offset != offset && k.refers != offset) continue;
      bytes_ -= cost(k);
      k.pub.data = "null";
      bytes_ += cost(k);
    }
  }

  void trim(channel* c, const retention& keep, int64_t now_ms) {
    const uint64_t floor = keep_floor(keep, c->top);
    const int64_t oldest_ms = keep_oldest_ms(keep, now_ms);
    while (!c->pubs.empty() &&
           (c->pubs.front().pub.offset <= floor || c->pubs.front().pub.time_ms <= oldest_ms))
      pop_oldest(c);
  }

  void pop_oldest(channel* c) {
    bytes_ -= cost(c->pubs.front());
    c->pubs.pop_front();
  }

  void forget_keys(int64_t now_ms) {
    while (!expiries_.empty() && expiries_.begin()->first <= now_ms) {
      const auto& [name, scope] = expiries_.begin()->second;
      auto& keys = channels_[name].keys;
      const auto k = keys.find(scope);
      if (k != keys.end() && k->second.expires_ms <= now_ms) {
        bytes_ -= key_cost(name, scope);
        keys.erase(k);
      }
      expiries_.erase(expiries_.begin());
    }
  }

  void read_locked(const read_request& r, read_result* out) {
    out->top.epoch = epoch_;
    const auto it = channels_.find(r.channel);
    if (it == channels_.end()) return;
    const channel& c = it->second;
    out->top.offset = c.top;
    if (r.limit == 0 || c.pubs.empty()) return;
    const int64_t oldest_ms = keep_oldest_ms(r.keep, r.now_ms);
    const uint64_t first = c.pubs.front().pub.offset;
    uint64_t low = std::max(first, keep_floor(r.keep, c.top) + 1);
    while (low <= c.top && c.pubs[low - first].pub.time_ms <= oldest_ms) ++low;
    if (low > c.top) return;
    uint64_t high = c.top;
    if (r.is_reverse && r.since > 0) high = std::min(high, r.since - 1);
    if (!r.is_reverse) {
      if (r.since >= c.top) return;
      low = std::max(low, r.since + 1);
    }
    page_budget budget{r.bytes_max};
    for (uint64_t n = 0; low + n <= high; ++n) {
      if (n == r.limit) return;
      const publication& p = c.pubs[(r.is_reverse ? high - n : low + n) - first].pub;
      if (!page_take(&budget, publication_bytes(p), n == 0)) {
        out->is_cut = true;
        return;
      }
      out->pubs.push_back(p);
    }
  }

  void user_channels_locked(const std::string& user_id, uint32_t limit, user_channels_result* out) {
    const auto it = users_.find(user_id);
    if (it == users_.end()) return;
    std::vector<std::pair<int64_t, user_channel>> found;
    for (const auto& [name, marker] : it->second) {
      user_channel u;
      u.channel = name;
      u.read_offset = marker;
      u.top.epoch = epoch_;
      int64_t last_ms = 0;
      const auto c = channels_.find(name);
      if (c != channels_.end()) {
        u.top.offset = c->second.top;
        u.unread = u.top.offset > marker ? u.top.offset - marker : 0;
        last_ms = c->second.last_ms;
        if (!c->second.pubs.empty()) u.last = c->second.pubs.back().pub;
      }
      found.emplace_back(last_ms, std::move(u));
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (auto& [last_ms, u] : found) {
      if (out->channels.size() == limit) break;
      out->channels.push_back(std::move(u));
    }
  }

  const std::string epoch_;
  const uint64_t bytes_max_;
  std::mutex lock_;
  std::unordered_map<std::string, channel> channels_;
  std::unordered_map<std::string, std::map<std::string, uint64_t>>
      users_;  // user -> channel -> read offset
  std::multimap<int64_t, std::pair<std::string, std::string>>
      expiries_;  // of keys: (channel, scope)
  uint64_t bytes_ = 0;
  uint64_t committed_ = 0;
  uint64_t failures_ = 0;
  bool is_closed_ = false;
};

}  // namespace

store* open_memory(uint64_t bytes_max) noexcept {
  return new memory_store(bytes_max);
}

}  // namespace store
