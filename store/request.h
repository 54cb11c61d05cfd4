// Requests on their way through a store and back: each is allocated once, and carries its own
// answer.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "store/page.h"
#include "store/store.h"

namespace store {

inline constexpr uint32_t kRequestBytes = 512;  // of a queued request beside its strings

struct remove_history_write {
  std::string channel;
  uint64_t up_to = 0;    // what came later stays; set when it begins
  bool is_done = false;  // false: goes on in the next transaction
};
struct add_user_channel_write {
  std::vector<std::string> users;
  std::string channel;
};
struct remove_user_channel_write {
  std::string user, channel;
};
struct mark_read_write {
  std::string user, channel;
  uint64_t offset;
};
struct append_write {
  append_request request;
  append_result result;
  append_cb cb;
};

// A request on its way through the writer; the answer travels back in it.
struct write {
  write* next = nullptr;
  core::loop* home = nullptr;
  void* user = nullptr;
  done_cb done = nullptr;  // all but appends; may be nullptr
  core::err rc = core::err::ok;
  core::err refused = core::err::ok;  // it alone has failed: left out of its transaction
  uint64_t bytes = 0;
  bool has_slot = false;
  std::variant<append_write, remove_history_write, add_user_channel_write,
               remove_user_channel_write, mark_read_write>
      what;
};

struct write_list {
  write* first = nullptr;
  write* last = nullptr;
  uint32_t count = 0;
  void push(write* w) noexcept {
    w->next = nullptr;
    (last == nullptr ? first : last->next) = w;
    last = w;
    ++count;
  }
  void push_front(write* w) noexcept {
    w->next = first;
    first = w;
    if (last == nullptr) last = w;
    ++count;
  }
  write* pop() noexcept {
    write* w = first;
    first = w->next;
    if (first == nullptr) last = nullptr;
    --count;
    return w;
  }
};

// The answers of one transaction for one loop.
struct answers : core::msg {
  core::loop* home = nullptr;
  write_list list;
};

inline void run_answers(core::loop*, core::msg* m) noexcept {
  const std::unique_ptr<answers> a(static_cast<answers*>(m));
  while (a->list.count > 0) {
    const std::unique_ptr<write> w(a->list.pop());
    if (auto* append = std::get_if<append_write>(&w->what))
      append->cb(w->user, std::move(append->result));
    else
      w->done(w->user, w->rc);
  }
}

inline void drop_answers(core::msg* m) noexcept {
  const std::unique_ptr<answers> a(static_cast<answers*>(m));
  while (a->list.count > 0) delete a->list.pop();
}

// A read is the message of its answer.
struct page_read {
  read_request request;
  read_result result;
  read_cb cb;
};
struct user_channels_read {
  std::string user;
  uint32_t limit;
  user_channels_result result;
  user_channels_cb cb;
};
// The readers' lock, and how much they have read that the loops have not taken yet. Shared with the
// answers, which may outlive the store.
struct read_room {
  std::mutex lock;
  std::condition_variable wake;
  uint64_t bytes = 0;
};
struct read_op : core::msg {
  read_op* next_read = nullptr;
  core::loop* home = nullptr;
  void* user = nullptr;
  std::shared_ptr<read_room> room;
  uint64_t bytes = 0;  // of the result, counted in `room`
  std::variant<page_read, user_channels_read> what;
  ~read_op() {
    if (bytes == 0) return;
    {
      const std::lock_guard<std::mutex> held(room->lock);
      room->bytes -= bytes;
    }
    room->wake.notify_one();
  }
};

inline uint64_t result_bytes(const read_result& r) noexcept {
  uint64_t sum = r.pubs.size() * sizeof(publication);
  for (const publication& p : r.pubs) sum += publication_bytes(p);
  return sum;
}

inline uint64_t result_bytes(const user_channels_result& r) noexcept {
  uint64_t sum = r.channels.size() * sizeof(user_channel);
  for (const user_channel& c : r.channels) sum += c.channel.size() + publication_bytes(c.last);
  return sum;
}

inline void run_read_answer(core::loop*, core::msg* m) noexcept {
  const std::unique_ptr<read_op> r(static_cast<read_op*>(m));
  if (auto* page = std::get_if<page_read>(&r->what))
    page->cb(r->user, std::move(page->result));
  else if (auto* list = std::get_if<user_channels_read>(&r->what))
    list->cb(r->user, std::move(list->result));
}

inline uint64_t append_bytes(const append_request& r) noexcept {
  return r.channel.size() + r.user.size() + r.pub.data.size() + r.pub.info.size() +
         r.pub.tags.size() + r.key_scope.size() + r.key_hash.size();
}

}  // namespace store
