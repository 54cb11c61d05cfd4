// The record behind the verbs.
#include "redis_user.h"

#include <chrono>
#include <future>

#include "redis_text.h"

namespace broker {

template <typename Fn>
void redis_user::record(const char* event, redis_conn* c, Fn fn) {
  {
    std::lock_guard<std::mutex> held(lock_);
    fn(&seen_);
  }
  changed_.notify_all();
  if (hook) hook(c, event);
}

struct user_events {
  static redis_user* of(void* user) { return static_cast<redis_user*>(user); }
  static void on_ready(void* user, redis_conn* c, const redis_server_info& info) noexcept {
    of(user)->record("ready", c, [&](redis_seen* s) {
      ++s->ready;
      s->info = info;
    });
  }
  static void on_down(void* user, redis_conn* c, bool, std::string_view why) noexcept {
    of(user)->record("down", c, [&](redis_seen* s) {
      ++s->downs;
      s->why = why;
    });
  }
  static void on_message(void* user, redis_conn* c, redis_sub, std::string_view channel,
                         std::string_view payload) noexcept {
    of(user)->record("message", c, [&](redis_seen* s) {
      ++s->message_count;
      if (of(user)->keeps_messages)
        s->messages.push_back(std::string(channel) + "=" + std::string(payload));
    });
  }
  static void on_subscribed(void* user, redis_conn* c, redis_sub,
                            std::string_view channel) noexcept {
    of(user)->record("subscribed", c, [&](redis_seen* s) {
      ++s->subscribed;
      s->last = channel;
    });
  }
  static void on_unsubscribed(void* user, redis_conn* c, redis_sub, std::string_view channel,
                              bool is_asked) noexcept {
    of(user)->record("unsubscribed", c, [&](redis_seen* s) {
      ++(is_asked ? s->unsubscribed : s->unasked);
      s->last = channel;
    });
  }
  static void on_refused(void* user, redis_conn* c, redis_sub, std::string_view channel,
                         std::string_view error) noexcept {
    of(user)->record("refused", c, [&](redis_seen* s) {
      ++s->refused;
      s->last = channel;
      s->refusal = error;
    });
  }
  static void on_room(void* user, redis_conn* c) noexcept {
    of(user)->record("room", c, [](redis_seen* s) { ++s->rooms; });
    of(user)->go_on(c);
  }
  static constexpr redis_conn_events kEvents = {
      on_ready, on_down, on_message, on_subscribed, on_unsubscribed, on_refused, on_room};
};

redis_user::redis_user(core::loop_world* w, const std::string& url, redis_conn_options options,
                       const redis_endpoint* at)
    : w_(w) {
  std::string why;
  EXPECT_EQ(redis_url_parse(url, &url_, &why), core::err::ok) << why;
  options.url = &url_;
  options.at = at != nullptr ? *at : url_.servers[0];
  w_->on(0, [&](core::loop* l) { c_ = redis_conn_open(options, l, &user_events::kEvents, this); });
}

redis_user::~redis_user() {
  close();
}

void redis_user::close() {
  w_->on(0, [&](core::loop*) {
    if (c_ != nullptr) redis_conn_close(std::exchange(c_, nullptr));
  });
}

bool redis_user::wait(const char* what, const std::function<bool(const redis_seen&)>& is_so) {
  std::unique_lock<std::mutex> held(lock_);
  const bool is_there =
      changed_.wait_for(held, std::chrono::seconds(30), [&] { return is_so(seen_); });
  EXPECT_TRUE(is_there) << "waited for " << what << "; last down: " << seen_.why;
  return is_there;
}

bool redis_user::wait_ready(int times) {
  return wait("ready", [times](const redis_seen& s) { return s.ready >= times; });
}

std::string redis_user::wait_down(int times) {
  wait("down", [times](const redis_seen& s) { return s.downs >= times; });
  return seen().why;
}

redis_seen redis_user::seen() {
  std::lock_guard<std::mutex> held(lock_);
  return seen_;
}

void redis_user::on_loop(const std::function<void(redis_conn*)>& fn) {
  w_->on(0, [&](core::loop*) { fn(c_); });
}

std::string redis_user::call(const std::vector<std::string>& words) {
  const std::vector<std::string_view> argv(words.begin(), words.end());
  std::promise<std::string> promise;
  auto answer = [](void* user, core::err rc, const redis_reply* r) noexcept {
    static_cast<std::promise<std::string>*>(user)->set_value(
        rc == core::err::ok ? redis_text(*r) : std::string("!") + core::err_name(rc));
  };
  on_loop([&](redis_conn* c) {
    const core::err rc = redis_conn_command(c, argv, answer, &promise);
    if (rc != core::err::ok) promise.set_value(std::string("!") + core::err_name(rc));
  });
  return promise.get_future().get();
}

void redis_user::go_on(redis_conn* c) {
  std::vector<std::string_view> rest(wish_.channels.begin() + static_cast<ptrdiff_t>(wish_.at),
                                     wish_.channels.end());
  if (rest.empty()) return;
  wish_.at += wish_.is_subscribe ? redis_conn_subscribe(c, wish_.kind, rest)
                                 : redis_conn_unsubscribe(c, wish_.kind, rest);
}

void redis_user::subscribe(redis_sub kind, const std::vector<std::string>& channels) {
  on_loop([&](redis_conn* c) {
    wish_ = {kind, true, channels, 0};
    go_on(c);
  });
}

void redis_user::unsubscribe(redis_sub kind, const std::vector<std::string>& channels) {
  on_loop([&](redis_conn* c) {
    wish_ = {kind, false, channels, 0};
    go_on(c);
  });
}

}  // namespace broker
