// getaddrinfo(3) on one thread with a queue; socket(2), connect(2).
#include "broker/redis_dial.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "core/post.h"

namespace broker {
namespace {

constexpr size_t kLookupsMax = 4096;  // waiting, of all loops
constexpr size_t kAddressesMax = 16;  // of one name; more are of no use to a client

int ask_system(const std::string& host, uint16_t port, int flags, std::vector<redis_address>* out) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int rc = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (rc != 0) return rc;
  for (const addrinfo* a = found; a != nullptr && out->size() < kAddressesMax; a = a->ai_next) {
    redis_address address{};
    memcpy(&address.bytes, a->ai_addr, a->ai_addrlen);
    address.size = a->ai_addrlen;
    out->push_back(address);
  }
  ::freeaddrinfo(found);
  return 0;
}

}  // namespace

bool redis_address_known(const redis_endpoint& e, redis_address* out, std::string* why) {
  *out = {};
  why->clear();
  if (!e.path.empty()) {
    auto* un = reinterpret_cast<sockaddr_un*>(&out->bytes);
    if (e.path.size() >= sizeof un->sun_path) {
      *why = "the socket's path is too long";
      return false;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, e.path.c_str(), e.path.size() + 1);
    out->size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + e.path.size() + 1);
    return true;
  }
  std::vector<redis_address> found;
  const std::string& host = e.host == "localhost" ? "127.0.0.1" : e.host;
  if (ask_system(host, e.port, AI_NUMERICHOST, &found) != 0 || found.empty()) return false;
  *out = found[0];
  return true;
}

int redis_dial(const redis_address& to, int* fd) noexcept {
  *fd = ::socket(to.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (*fd < 0) return errno;
  int code = 0;
  if (::connect(*fd, reinterpret_cast<const sockaddr*>(&to.bytes), to.size) != 0) code = errno;
  if (code == EINPROGRESS) {  // loopback knows a refusal already
    socklen_t size = sizeof code;
    ::getsockopt(*fd, SOL_SOCKET, SO_ERROR, &code, &size);
  }
  if (code == 0) return 0;
  ::close(*fd);
  *fd = -1;
  return code;
}

// A lookup is a message: to the thread by the queue, back by the loop's mailbox. `cb` and `user`
// belong to the loop's thread, the rest to whoever holds it.
struct redis_lookup : core::msg {
  core::loop* home = nullptr;
  std::string host;
  uint16_t port = 0;
  redis_resolved_cb cb = nullptr;  // null: cancelled
  void* user = nullptr;
  std::vector<redis_address> found;
  std::string why;
};

namespace {

// Shared by the resolver and its thread: the thread may hang in the system's resolver when the
// resolver is closed, and is left behind then.
struct lookup_queue {
  std::mutex lock;
  std::condition_variable changed;
  std::deque<redis_lookup*> waiting;
  bool is_closing = false;
};

void answer(core::loop*, core::msg* m) noexcept {
  auto* q = static_cast<redis_lookup*>(m);
  if (q->cb != nullptr) q->cb(q->user, std::move(q->found), std::move(q->why));
  delete q;
}

void forget(core::msg* m) noexcept {
  delete static_cast<redis_lookup*>(m);
}

redis_lookup* next_lookup(lookup_queue* w) noexcept {
  std::unique_lock<std::mutex> held(w->lock);
  w->changed.wait(held, [w] { return w->is_closing || !w->waiting.empty(); });
  if (w->is_closing) return nullptr;
  redis_lookup* q = w->waiting.front();
  w->waiting.pop_front();
  return q;
}

void serve(const std::shared_ptr<lookup_queue>& w) noexcept {
  while (redis_lookup* q = next_lookup(w.get())) {
    const int rc = ask_system(q->host, q->port, AI_ADDRCONFIG, &q->found);
    if (rc != 0) q->why = "the name " + q->host + " is not known: " + ::gai_strerror(rc);
    // Under the lock: after redis_resolver_close() the loops may be gone.
    std::lock_guard<std::mutex> held(w->lock);
    if (w->is_closing) {
      delete q;
      return;
    }
    core::loop_post_reserved(q->home, q);
  }
}

}  // namespace

struct redis_resolver {
  std::shared_ptr<lookup_queue> queue;
};

redis_resolver* redis_resolver_open() noexcept {
  auto* r = new redis_resolver{std::make_shared<lookup_queue>()};
  std::thread([queue = r->queue] { serve(queue); }).detach();
  return r;
}

void redis_resolver_close(redis_resolver* r) noexcept {
  if (r == nullptr) return;
  {
    std::lock_guard<std::mutex> held(r->queue->lock);
    r->queue->is_closing = true;
    for (redis_lookup* q : r->queue->waiting) delete q;
    r->queue->waiting.clear();
  }
  r->queue->changed.notify_all();
  delete r;
}

redis_lookup* redis_resolve(redis_resolver* r, core::loop* home, const redis_endpoint& e,
                            redis_resolved_cb cb, void* user) noexcept {
  std::lock_guard<std::mutex> held(r->queue->lock);
  if (r->queue->waiting.size() >= kLookupsMax || !core::loop_reserve(home, 1)) return nullptr;
  auto* q = new redis_lookup;
  q->run = answer;
  q->drop = forget;
  q->home = home;
  q->host = e.host;
  q->port = e.port;
  q->cb = cb;
  q->user = user;
  r->queue->waiting.push_back(q);
  r->queue->changed.notify_one();
  return q;
}

void redis_lookup_cancel(redis_lookup* q) noexcept {
  q->cb = nullptr;
}

}  // namespace broker
