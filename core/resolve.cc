// getaddrinfo() on a thread that its caller may outwait.
#include "core/resolve.h"

#include <netdb.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "core/clock.h"
#include "core/dial.h"

namespace core {
namespace {

constexpr auto kLook = std::chrono::milliseconds(50);  // how soon an earlier deadline is seen

// Shared, as either side may be the last: the one case of this in the house beside Redis' resolver.
struct lookup {
  std::mutex lock;
  std::condition_variable changed;
  std::string host, why;
  std::vector<std::string> addresses;
  bool is_done = false;
};

void look_up(lookup* q) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int rc = ::getaddrinfo(q->host.c_str(), nullptr, &hints, &found);
  std::vector<std::string> addresses;
  for (const addrinfo* a = rc == 0 ? found : nullptr; a != nullptr; a = a->ai_next) {
    char text[NI_MAXHOST] = {};
    if (::getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) ==
        0)
      addresses.emplace_back(text);
  }
  if (rc == 0) ::freeaddrinfo(found);
  const std::lock_guard<std::mutex> held(q->lock);
  q->addresses = std::move(addresses);
  if (rc != 0) q->why = ::gai_strerror(rc);
  q->is_done = true;
  q->changed.notify_one();
}

}  // namespace

err resolve(const std::string& host, const std::atomic<uint64_t>& until_us,
            std::vector<std::string>* addresses, std::string* why) noexcept {
  try {
    if (dial_is_numeric(host)) {
      *addresses = {host};
      return err::ok;
    }
    auto q = std::make_shared<lookup>();
    q->host = host;
    std::thread([q] { look_up(q.get()); }).detach();
    std::unique_lock<std::mutex> held(q->lock);
    while (!q->is_done) {
      if (system_clock()->mono_us() >= until_us.load(std::memory_order_relaxed)) {
        *why = "the resolver does not answer";
        return err::timeout;
      }
      q->changed.wait_for(held, kLook);
    }
    *addresses = q->addresses;
    *why = q->why;
    return q->addresses.empty() ? err::unavailable : err::ok;
  } catch (const std::exception& e) {
    *why = e.what();
    return err::unavailable;
  }
}

}  // namespace core
