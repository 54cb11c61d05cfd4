// What moves out of and into MongoDB share: a connection with patience, and whether a database is
// at rest.
#pragma once

#include <chrono>
#include <thread>

#include "store/mongo_setup.h"
#include "store/transfer.h"

namespace store {

inline constexpr uint32_t kTransferPauseMs = 500;

// A client of its own pool, and patience.
struct mongo_connection {
  mongo_transfer_options options;
  mongo_pool* pool = nullptr;
  mongo_client* client = nullptr;

  ~mongo_connection() {
    if (client != nullptr) mongo_client_give(pool, client);
    if (pool != nullptr) mongo_pool_close(pool);
  }
  core::err open(const mongo_transfer_options& o, std::string* why) noexcept {
    options = o;
    if (mongo_pool_open(o.url, {}, 1, &pool, why) != core::err::ok) return core::err::invalid;
    client = mongo_client_take(pool);
    return core::err::ok;
  }
  std::string name() const { return "MongoDB at " + mongo_pool_hosts(pool); }
  // Until it succeeds: an election takes some seconds. `fn` may be run again after any failure.
  template <typename Fn>
  core::err ask(std::string* why, Fn fn) noexcept {
    const uint64_t until = mono_us() + 1000ull * options.give_up_ms;
    for (;;) {
      const mongo_failure f = fn();
      if (!f) return core::err::ok;
      const bool is_transient = mongo_is_transient(f.code);
      if (!is_transient || mono_us() >= until) {
        *why = name() + (is_transient ? " does not answer: " : " refuses: ") + f.text;
        return is_transient ? core::err::unavailable : core::err::io;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(kTransferPauseMs));
    }
  }
};

// denied: somebody writes to it, or its last writer did not end cleanly; invalid: a newer
// version's.
core::err mongo_check_rest(const mongo_connection& c, const mongo_writer& w,
                           std::string* why) noexcept;

}  // namespace store
