// Verbs for tests of stores: running loops, and calls that wait for their answer.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <condition_variable>
#include <filesystem>
#include <future>
#include <mutex>
#include <string>

#include "core/loop.h"
#include "store/store.h"

namespace store_test {

// A directory that goes with the test.
class scratch_dir {
 public:
  scratch_dir() {
    std::string name = (std::filesystem::temp_directory_path() / "parley-store-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~scratch_dir() { std::filesystem::remove_all(path_); }
  std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class loops {
 public:
  explicit loops(uint32_t count, uint32_t mailbox_max = 65536) {
    core::loop_options o;
    o.mailbox_max = mailbox_max;
    EXPECT_EQ(core::loop_group_create(count, o, &group_), core::err::ok);
    static constexpr core::loop_group_events kEvents = {[](void*, core::loop*) noexcept {},
                                                        [](void*, core::loop*) noexcept {}};
    core::loop_group_start(group_, &kEvents, nullptr);
  }
  ~loops() {
    stop();
    core::loop_group_free(group_);
  }
  core::loop* at(uint32_t i) { return core::loop_group_at(group_, i); }
  void stop() { core::loop_group_stop(group_); }

 private:
  core::loop_group* group_ = nullptr;
};

// Keeps a loop's thread busy until it goes out of scope, so that its mailbox fills and nothing is
// answered.
class blocked_loop {
 public:
  explicit blocked_loop(core::loop* l) {
    EXPECT_TRUE(core::loop_call(
        l,
        [](core::loop*, void* user) noexcept {
          auto* self = static_cast<blocked_loop*>(user);
          std::unique_lock<std::mutex> held(self->lock_);
          self->is_blocked_ = true;
          self->changed_.notify_all();
          self->changed_.wait(held, [&] { return self->is_free_; });
          self->is_blocked_ = false;
          self->changed_.notify_all();
        },
        this));
    std::unique_lock<std::mutex> held(lock_);
    changed_.wait(held, [&] { return is_blocked_; });
  }
  ~blocked_loop() {
    std::unique_lock<std::mutex> held(lock_);
    is_free_ = true;
    changed_.notify_all();
    changed_.wait(held, [&] { return !is_blocked_; });
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  bool is_blocked_ = false, is_free_ = false;
};

// One answer that is waited for.
template <typename T>
struct pending {
  std::promise<T> promise;
  core::loop* home = nullptr;

  static void answered(void* user, T&& r) noexcept {
    finish(static_cast<pending*>(user), std::move(r));
  }
  static void finish(pending* p, T r) noexcept {
    EXPECT_EQ(core::loop_current(), p->home);
    p->promise.set_value(std::move(r));
  }
  T wait() { return promise.get_future().get(); }
};

inline void done_answered(void* user, core::err rc) noexcept {
  pending<core::err>::finish(static_cast<pending<core::err>*>(user), rc);
}

inline store::append_request message(std::string channel, std::string data,
                                     int64_t time_ms = 1000) {
  store::append_request r;
  r.channel = std::move(channel);
  r.user = "alice";
  r.pub.time_ms = time_ms;
  r.pub.data = std::move(data);
  return r;
}

inline store::append_request with_key(store::append_request r, std::string scope, std::string hash,
                                      int64_t ttl_ms = 60'000) {
  r.key_scope = std::move(scope);
  r.key_hash = std::move(hash);
  r.key_ttl_ms = ttl_ms;
  return r;
}

inline store::append_request reference(std::string channel, std::string user, uint64_t refers,
                                       bool is_delete) {
  store::append_request r = message(std::move(channel), is_delete ? "\"deleted\"" : "\"edited\"");
  r.user = std::move(user);
  r.refers = refers;
  r.is_delete = is_delete;
  return r;
}

inline store::read_request page(std::string channel, uint64_t since, uint32_t limit,
                                bool is_reverse = false) {
  store::read_request r;
  r.channel = std::move(channel);
  r.since = since;
  r.limit = limit;
  r.is_reverse = is_reverse;
  return r;
}

// "3:a 4:b", offset and data.
inline std::string text(const std::vector<store::publication>& pubs) {
  std::string out;
  for (const store::publication& p : pubs)
    out += (out.empty() ? "" : " ") + std::to_string(p.offset) + ":" + p.data;
  return out;
}

// Calls that wait. A refused call is told as the answer's rc.
struct client {
  store::store* s = nullptr;
  core::loop* home = nullptr;

  store::append_result append(store::append_request r) {
    pending<store::append_result> p{.home = home};
    const core::err rc = s->append(home, std::move(r), pending<store::append_result>::answered, &p);
    return rc == core::err::ok ? p.wait() : store::append_result{.rc = rc};
  }
  store::append_result say(const std::string& channel, const std::string& data,
                           int64_t time_ms = 1000) {
    return append(message(channel, data, time_ms));
  }
  store::read_result read(store::read_request r) {
    pending<store::read_result> p{.home = home};
    const core::err rc = s->read(home, std::move(r), pending<store::read_result>::answered, &p);
    return rc == core::err::ok ? p.wait() : store::read_result{.rc = rc};
  }
  // ok at once where the store says that it is there.
  core::err stored(const std::string& channel, uint64_t offset) {
    pending<core::err> p{.home = home};
    bool is_there = false;
    const core::err rc = s->when_stored(home, channel, offset, &is_there, done_answered, &p);
    return rc == core::err::ok && !is_there ? p.wait() : rc;
  }
  std::string pages(const std::string& channel) {
    return text(read(page(channel, 0, 1'000'000)).pubs);
  }
  uint64_t top(const std::string& channel) { return read(page(channel, 0, 0)).top.offset; }
  core::err remove_history(const std::string& channel) {
    pending<core::err> p{.home = home};
    const core::err rc = s->remove_history(home, channel, done_answered, &p);
    return rc == core::err::ok ? p.wait() : rc;
  }
  core::err join(std::vector<std::string> users, const std::string& channel) {
    pending<core::err> p{.home = home};
    const core::err rc = s->add_user_channel(home, std::move(users), channel, done_answered, &p);
    return rc == core::err::ok ? p.wait() : rc;
  }
  core::err leave(const std::string& user, const std::string& channel) {
    pending<core::err> p{.home = home};
    const core::err rc = s->remove_user_channel(home, user, channel, done_answered, &p);
    return rc == core::err::ok ? p.wait() : rc;
  }
  core::err mark(const std::string& user, const std::string& channel, uint64_t offset) {
    pending<core::err> p{.home = home};
    const core::err rc = s->mark_read(home, user, channel, offset, done_answered, &p);
    return rc == core::err::ok ? p.wait() : rc;
  }
  store::user_channels_result channels(const std::string& user, uint32_t limit = 100) {
    pending<store::user_channels_result> p{.home = home};
    const core::err rc =
        s->user_channels(home, user, limit, pending<store::user_channels_result>::answered, &p);
    return rc == core::err::ok ? p.wait() : store::user_channels_result{.rc = rc};
  }
};

}  // namespace store_test
