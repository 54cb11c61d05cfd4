// A broker whose every step a test chooses: committing, telling, reading and answering are
// separate, so that any race can be made.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "broker/broker.h"

namespace fixture {

class script_broker : public broker::broker {
 public:
  using publish_request = ::broker::publish_request;
  using publish_result = ::broker::publish_result;
  using publish_cb = ::broker::publish_cb;
  using member = ::broker::member;

  script_broker(const ::broker::broker_events* events, void* user) : events_(events), user_(user) {}

  core::err publish(publish_request&& r, publish_cb cb, void* user) noexcept override {
    if (refuse != core::err::ok) return refuse;
    if (r.kind != ::broker::event_kind::publication || !r.has_history) {
      store::publication p;
      p.info = r.info;
      p.data = r.data;
      if (r.kind == ::broker::event_kind::join) ++joins;
      if (r.kind == ::broker::event_kind::leave) ++leaves;
      ::broker::event e;
      e.kind = r.kind;
      e.pub = &p;
      if (is_live(r.channel)) events_->on_event(user_, r.channel, e);
      cb(user, {});
      return core::err::ok;
    }
    publishes.push_back({std::move(r), cb, user, 0});
    return core::err::ok;
  }
  core::err subscribe(const std::string& channel, bool has_history, ::broker::position_cb cb,
                      void* user) noexcept override {
    if (refuse != core::err::ok) return refuse;
    ++subscribes;
    if (!has_history) {
      live_[channel] = {true, 0};
      cb(user, core::err::ok, {});
      return core::err::ok;
    }
    live_[channel] = {false, 0};
    positions.push_back({channel, cb, user, 0, false});
    return core::err::ok;
  }
  void unsubscribe(const std::string& channel) noexcept override {
    ++unsubscribes;
    live_.erase(channel);
  }
  core::err history(store::read_request&& r, store::read_cb cb, void* user) noexcept override {
    if (refuse != core::err::ok) return refuse;
    reads.push_back({std::move(r), cb, user, {}, false});
    return core::err::ok;
  }
  core::err remove_history(const std::string& channel, store::done_cb cb,
                           void* user) noexcept override {
    kept[channel].clear();
    cb(user, core::err::ok);
    return core::err::ok;
  }
  core::err presence_add(const std::string& channel, member&& m) noexcept override {
    if (refuse != core::err::ok) return refuse;
    present[channel][m.client] = m;
    return core::err::ok;
  }
  void presence_remove(const std::string& channel, std::string_view client) noexcept override {
    present[channel].erase(std::string(client));
  }
  core::err presence(const std::string& channel, uint32_t, ::broker::presence_cb cb,
                     void* user) noexcept override {
    std::vector<member> all;
    for (const auto& [client, m] : present[channel]) all.push_back(m);
    cb(user, core::err::ok, all);
    return core::err::ok;
  }
  core::err presence_stats(const std::string& channel, ::broker::counts_cb cb,
                           void* user) noexcept override {
    cb(user, core::err::ok, {static_cast<uint32_t>(present[channel].size()), 1});
    return core::err::ok;
  }
  core::err control(std::string_view bytes) noexcept override {
    controls.emplace_back(bytes);
    return core::err::ok;
  }
  bool is_ready() noexcept override { return true; }
  std::string why_not_ready() noexcept override { return {}; }
  void close() noexcept override {}

  // The steps. commit: the oldest uncommitted publication gets its offset and is readable. tell:
  // the oldest committed one becomes an event, and is answered.
  bool commit() {
    for (auto& p : publishes) {
      if (p.offset != 0) continue;
      store::publication pub;
      p.offset = pub.offset = ++tops[p.r.channel];
      pub.data = p.r.data;
      pub.time_ms = time_ms;
      kept[p.r.channel].push_back(pub);
      return true;
    }
    return false;
  }
  bool tell() {
    if (publishes.empty() || publishes.front().offset == 0) return false;
    publishing p = std::move(publishes.front());
    publishes.pop_front();
    store::publication pub;
    pub.offset = p.offset;
    pub.data = p.r.data;
    pub.time_ms = time_ms;
    told_[p.r.channel] = p.offset;
    const auto l = live_.find(p.r.channel);
    if (l != live_.end() && l->second.is_live && p.offset > l->second.from) {
      ::broker::event e;
      e.pub = &pub;
      e.is_delete = p.r.is_delete;
      events_->on_event(user_, p.r.channel, e);
    }
    publish_result result;
    result.offset = p.offset;
    result.epoch = epoch;
    p.cb(p.user, std::move(result));
    return true;
  }
  bool position_read(size_t i) {
    if (i >= positions.size() || positions[i].is_read) return false;
    positions[i].is_read = true;
    positions[i].top = tops[positions[i].channel];
    return true;
  }
  bool position_answer(size_t i, core::err rc = core::err::ok) {
    if (i >= positions.size()) return false;
    position_read(i);
    const positioning p = positions[i];
    positions.erase(positions.begin() + static_cast<long>(i));
    const uint64_t top = std::max(p.top, told_[p.channel]);
    if (rc == core::err::ok) live_[p.channel] = {true, top};
    p.cb(p.user, rc, {top, epoch});
    return true;
  }
  bool read(size_t i) {
    if (i >= reads.size() || reads[i].is_read) return false;
    reading& q = reads[i];
    q.is_read = true;
    q.result.top = {tops[q.r.channel], epoch};
    const uint64_t top = tops[q.r.channel];
    const uint64_t floor =
        q.r.keep.size_max != 0 && top > q.r.keep.size_max ? top - q.r.keep.size_max : 0;
    uint64_t bytes = 0;
    for (const store::publication& p : kept[q.r.channel]) {
      if (p.offset <= q.r.since || p.offset <= floor || q.result.pubs.size() >= q.r.limit) continue;
      bytes += p.data.size();
      if (q.r.bytes_max != 0 && bytes > q.r.bytes_max && !q.result.pubs.empty()) {
        q.result.is_cut = true;
        break;
      }
      q.result.pubs.push_back(p);
    }
    return true;
  }
  bool read_answer(size_t i, core::err rc = core::err::ok) {
    if (i >= reads.size()) return false;
    read(i);
    reading q = std::move(reads[i]);
    reads.erase(reads.begin() + static_cast<long>(i));
    q.result.rc = rc;
    q.cb(q.user, std::move(q.result));
    return true;
  }
  // Any one step; false: nothing is waiting.
  bool step(std::mt19937_64* dice) {
    if (publishes.empty() && positions.empty() && reads.empty()) return false;
    const size_t i = (*dice)() % 8;
    switch ((*dice)() % 6) {
      case 0:
        return commit(), true;
      case 1:
        return tell(), true;
      case 2:
        return position_read(i % (positions.size() + 1)), true;
      case 3:
        return position_answer(i % (positions.size() + 1)), true;
      case 4:
        return read(i % (reads.size() + 1)), true;
      default:
        return read_answer(i % (reads.size() + 1)), true;
    }
  }
  void finish() {
    while (!publishes.empty() || !positions.empty() || !reads.empty()) {
      while (position_answer(0)) {
      }
      commit();
      tell();
      while (read_answer(0)) {
      }
    }
  }
  void lose(const std::string& channel) { events_->on_lost(user_, channel); }
  bool is_live(const std::string& channel) const {
    const auto l = live_.find(channel);
    return l != live_.end() && l->second.is_live;
  }

  struct publishing {
    publish_request r;
    publish_cb cb;
    void* user;
    uint64_t offset;
  };
  struct positioning {
    std::string channel;
    ::broker::position_cb cb;
    void* user;
    uint64_t top;
    bool is_read;
  };
  struct reading {
    store::read_request r;
    store::read_cb cb;
    void* user;
    store::read_result result;
    bool is_read;
  };
  std::deque<publishing> publishes;
  std::deque<positioning> positions;
  std::deque<reading> reads;
  std::map<std::string, std::vector<store::publication>> kept;
  std::map<std::string, uint64_t> tops;
  std::map<std::string, std::map<std::string, member>> present;
  std::vector<std::string> controls;
  std::string epoch = "e1";
  int64_t time_ms = 0;
  core::err refuse = core::err::ok;
  int joins = 0, leaves = 0, subscribes = 0, unsubscribes = 0;

 private:
  struct line {
    bool is_live;
    uint64_t from;
  };
  const ::broker::broker_events* events_;
  void* user_;
  std::map<std::string, line> live_;
  std::map<std::string, uint64_t> told_;
};

}  // namespace fixture
