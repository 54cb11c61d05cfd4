// Users' channels and read markers in Redis: a hash for each user, in the user's partition. The
// newest message of each channel is read from the channel's own stream.
#include <algorithm>

#include "broker/redis_impl.h"

namespace broker {
namespace {

class redis_lists final : public store::store {
 public:
  explicit redis_lists(redis_broker* b) : broker_(b) {}

  core::err append(core::loop*, ::store::append_request&&, ::store::append_cb,
                   void*) noexcept override {
    return core::err::unavailable;
  }
  core::err read(core::loop*, ::store::read_request&&, ::store::read_cb, void*) noexcept override {
    return core::err::unavailable;
  }
  core::err remove_history(core::loop*, std::string, ::store::done_cb, void*) noexcept override {
    return core::err::unavailable;
  }
  core::err add_user_channel(core::loop*, std::vector<std::string> users, std::string channel,
                             ::store::done_cb cb, void* user) noexcept override {
    return broker_->list_add(users, channel, cb, user);
  }
  core::err remove_user_channel(core::loop*, std::string user_id, std::string channel,
                                ::store::done_cb cb, void* user) noexcept override {
    return broker_->list_remove(user_id, channel, cb, user);
  }
  core::err mark_read(core::loop*, std::string user_id, std::string channel, uint64_t offset,
                      ::store::done_cb cb, void* user) noexcept override {
    return broker_->list_mark(user_id, channel, offset, cb, user);
  }
  core::err user_channels(core::loop*, std::string user_id, uint32_t limit,
                          ::store::user_channels_cb cb, void* user) noexcept override {
    return broker_->list_read(user_id, limit, cb, user);
  }
  ::store::store_stats stats() noexcept override {
    ::store::store_stats s;
    s.is_ready = true;
    return s;
  }
  void close() noexcept override {}

 private:
  redis_broker* const broker_;
};

}  // namespace

// One call of a gathering; a refused one counts as answered.
core::err redis_broker::list_call(const std::string& who, redis_script script,
                                  const std::vector<std::string>& arguments, op* o) noexcept {
  const std::vector<std::string> keys = {key('l', who)};
  return started(o, call(partition_of(who), script, keys, arguments, o));
}

core::err redis_broker::list_add(const std::vector<std::string>& users, const std::string& channel,
                                 store::done_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  auto all = std::make_shared<gathering>();
  all->on_done = cb;
  all->user = user;
  core::err rc = core::err::ok;
  for (const std::string& who : users) {
    op* o = op_new(&redis_broker::list_done, channel, nullptr);
    o->gathered = all;
    rc = list_call(who, redis_script::list_add, {channel}, o);
    if (rc != core::err::ok) break;
    ++all->waiting;
  }
  if (rc == core::err::ok) return rc;
  if (all->waiting == 0) return rc;
  all->rc = rc;  // answered when those that went out are
  return core::err::ok;
}

core::err redis_broker::list_remove(const std::string& who, const std::string& channel,
                                    store::done_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new(&redis_broker::list_done, channel, nullptr);
  o->gathered = std::make_shared<gathering>();
  o->gathered->on_done = cb;
  o->gathered->user = user;
  o->gathered->waiting = 1;
  return list_call(who, redis_script::list_remove, {channel}, o);
}

core::err redis_broker::list_mark(const std::string& who, const std::string& channel,
                                  uint64_t offset, store::done_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new(&redis_broker::list_done, channel, nullptr);
  o->gathered = std::make_shared<gathering>();
  o->gathered->on_done = cb;
  o->gathered->user = user;
  o->gathered->waiting = 1;
  return list_call(who, redis_script::list_mark, {channel, std::to_string(offset)}, o);
}

void redis_broker::list_done(op* o, core::err rc, const redis_reply&) noexcept {
  const std::shared_ptr<gathering> all = std::move(o->gathered);
  op_free(o);
  if (rc != core::err::ok) all->rc = rc;
  if (--all->waiting == 0 && all->on_done != nullptr) all->on_done(all->user, all->rc);
}

core::err redis_broker::list_read(const std::string& who, uint32_t limit,
                                  store::user_channels_cb cb, void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new(&redis_broker::list_names, who, nullptr);
  o->limit = limit;
  o->gathered = std::make_shared<gathering>();
  o->gathered->on_channels = cb;
  o->gathered->user = user;
  return list_call(who, redis_script::list_read, {}, o);
}

void redis_broker::list_names(op* o, core::err rc, const redis_reply& r) noexcept {
  const std::shared_ptr<gathering> all = std::move(o->gathered);
  const uint32_t limit = o->limit;
  op_free(o);
  all->result.rc = rc;
  for (uint32_t i = 0; rc == core::err::ok && i + 1 < r.count; i += 2) {
    if (all->result.channels.size() == limit) break;
    store::user_channel c;
    c.channel = std::string(r.items[i].text);
    c.read_offset = redis_u64(r.items[i + 1]);
    all->result.channels.push_back(std::move(c));
  }
  all->waiting = 1;  // this one
  for (size_t i = 0; i < all->result.channels.size(); ++i) {
    const std::string& channel = all->result.channels[i].channel;
    op* each = op_new(&redis_broker::list_ends, channel, nullptr);
    each->gathered = all;
    each->number = i;
    const std::vector<std::string> keys = {partition_key(partition_of(channel), 'g'),
                                           key('m', channel), key('s', channel)};
    const std::string marker = std::to_string(all->result.channels[i].read_offset);
    const core::err sent =
        started(each, call(partition_of(channel), redis_script::end, keys, {marker}, each));
    if (sent == core::err::ok)
      ++all->waiting;
    else
      all->result.rc = sent;
  }
  op* last = op_new(&redis_broker::list_ends, "", nullptr);
  last->gathered = all;
  last->number = UINT64_MAX;
  list_ends(last, core::err::ok, {});
}

void redis_broker::list_ends(op* o, core::err rc, const redis_reply& r) noexcept {
  const std::shared_ptr<gathering> all = std::move(o->gathered);
  const uint64_t index = o->number;
  op_free(o);
  if (rc != core::err::ok) all->result.rc = rc;
  if (index != UINT64_MAX && rc == core::err::ok && r.count >= 3) {
    store::user_channel* c = &all->result.channels[index];
    c->top = {redis_u64(r.items[0]), std::string(r.items[1].text)};
    c->unread = redis_u64(r.items[2]);
    envelope e;
    if (r.count > 3 && envelope_read(r.items[3].text, &e) == core::err::ok)
      c->last = envelope_publication(e);
  }
  if (--all->waiting > 0) return;
  if (all->result.rc != core::err::ok) all->result.channels.clear();
  std::stable_sort(all->result.channels.begin(), all->result.channels.end(),
                   [](const store::user_channel& a, const store::user_channel& b) {
                     return a.last.time_ms > b.last.time_ms;
                   });
  all->on_channels(all->user, std::move(all->result));
}

store::store* open_redis_lists(broker* b) noexcept {
  return new redis_lists(static_cast<redis_broker*>(b));
}

}  // namespace broker
