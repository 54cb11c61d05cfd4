// What a broker said, in order: for the tests of all brokers.
#pragma once

#include <functional>
#include <memory>

#include "broker/broker.h"
#include "proto/reply.h"
#include "tests/store/harness.h"

namespace broker_test {

using store_test::loops;
using store_test::scratch_dir;

struct log_entry {
  std::string what;  // "event", "join", "leave", "lost", "published", "subscribed"
  std::string channel;
  store::publication pub;
  broker::publish_result published;
  store::position position;
  size_t number = 0;  // of the subscribe that is answered
  bool is_delete = false;
};

// Everything the broker said, in order. Written on the loop, read by the test when it waits.
struct journal {
  std::mutex lock;
  std::condition_variable changed;
  std::vector<log_entry> entries;
  std::function<void(const log_entry&)> hook;  // on the loop, at once

  void add(log_entry e) {
    if (hook) hook(e);
    const std::lock_guard<std::mutex> held(lock);
    entries.push_back(std::move(e));
    changed.notify_all();
  }
  // Entries of this kind, in this channel or ("") in all.
  size_t count(const std::string& what, const std::string& channel = "") {
    const std::lock_guard<std::mutex> held(lock);
    return count_locked(what, channel);
  }
  log_entry wait(const std::string& what, size_t n, const std::string& channel = "") {
    std::unique_lock<std::mutex> held(lock);
    changed.wait(held, [&] { return count_locked(what, channel) >= n; });
    for (const log_entry& e : entries)
      if (e.what == what && (channel.empty() || e.channel == channel) && --n == 0) return e;
    return {};
  }
  size_t count_locked(const std::string& what, const std::string& channel) const {
    size_t n = 0;
    for (const log_entry& e : entries)
      n += e.what == what && (channel.empty() || e.channel == channel);
    return n;
  }
  // "event a 1" …
  std::vector<std::string> lines() {
    const std::lock_guard<std::mutex> held(lock);
    std::vector<std::string> out;
    for (const log_entry& e : entries) {
      const uint64_t offset = e.what == "published"    ? e.published.offset
                              : e.what == "subscribed" ? e.position.offset
                                                       : e.pub.offset;
      out.push_back(e.what + " " + e.channel + " " + std::to_string(offset));
    }
    return out;
  }
};

// Gives a callback its channel's name.
struct asked {
  journal* to;
  std::string channel;
  size_t number = 0;
};

inline void on_published(void* user, broker::publish_result&& r) noexcept {
  const std::unique_ptr<asked> a(static_cast<asked*>(user));
  a->to->add({.what = "published", .channel = a->channel, .published = std::move(r)});
}

inline void on_subscribed(void* user, core::err rc, const store::position& p) noexcept {
  const std::unique_ptr<asked> a(static_cast<asked*>(user));
  EXPECT_EQ(rc, core::err::ok);
  a->to->add({.what = "subscribed", .channel = a->channel, .position = p, .number = a->number});
}

// What a finished push says, by where its parts stand.
inline store::publication read_push(const broker::event& e) {
  store::publication p;
  const auto part = [&](uint32_t at, uint32_t bytes) {
    return std::string(e.push->substr(at, bytes));
  };
  p.offset = e.offset;
  p.time_ms = e.time_ms;
  p.data = part(e.parts.data_at, e.parts.data_bytes);
  p.info = part(e.parts.info_at, e.parts.info_bytes);
  p.tags = part(e.parts.tags_at, e.parts.tags_bytes);
  std::string object;
  proto::publication_object(&object, p.offset, p.data, p.info, p.tags);
  EXPECT_EQ(part(e.parts.object_at, e.parts.object_bytes), object);
  EXPECT_EQ(e.push->substr(0, 9), "{\"push\":{");
  return p;
}

// {"push":{"channel":"a","join":{"info":{…}}}}
inline store::publication read_member_push(std::string_view push) {
  store::publication p;
  const size_t at = push.find("{\"info\":") + 8;
  p.info = std::string(push.substr(at, push.size() - at - 3));
  return p;
}

inline void journal_event(void* user, std::string_view channel, const broker::event& e) noexcept {
  const bool is_publication = e.kind == broker::event_kind::publication;
  log_entry entry;
  entry.what = is_publication                        ? "event"
               : e.kind == broker::event_kind::join  ? "join"
               : e.kind == broker::event_kind::leave ? "leave"
                                                     : "removed";
  entry.channel = std::string(channel);
  entry.is_delete = e.is_delete;
  if (e.pub != nullptr)
    entry.pub = *e.pub;
  else if (e.push != nullptr && e.kind != broker::event_kind::history_removed)
    entry.pub = is_publication ? read_push(e) : read_member_push(*e.push);
  static_cast<journal*>(user)->add(std::move(entry));
}

inline void journal_make_push(void*, const broker::publish_request& r,
                              broker::push_template* out) noexcept {
  if (r.kind == broker::event_kind::join) return proto::push_join(&out->text, r.channel, r.info);
  if (r.kind == broker::event_kind::leave) return proto::push_leave(&out->text, r.channel, r.info);
  proto::push_gaps g;
  proto::push_publication_gaps(&out->text, r.channel, r.has_history, r.data, r.info,
                               r.tags_before_time, &g);
  out->offset_at = g.offset_at;
  out->time_at = g.time_at;
  out->parts = {g.object_at, g.object_bytes,
                g.data_at,   static_cast<uint32_t>(r.data.size()),
                g.info_at,   static_cast<uint32_t>(r.info.size()),
                g.tags_at,   g.tags_bytes};
}

inline const broker::broker_events kJournalEvents = {
    journal_event,
    [](void* user, std::string_view channel) noexcept {
      static_cast<journal*>(user)->add({.what = "lost", .channel = std::string(channel)});
    },
    [](void*, std::string_view) noexcept {}, journal_make_push};

inline broker::publish_request message(std::string channel, std::string data) {
  broker::publish_request r;
  r.channel = std::move(channel);
  r.has_history = true;
  r.user = "alice";
  r.data = std::move(data);
  return r;
}

}  // namespace broker_test
