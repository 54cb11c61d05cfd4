// The driver behind a few calls: clients, bulk writes, finds, commands. Every call blocks its
// thread, a client belongs to one thread at a time, and no text that comes out of here holds a
// password.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"
#include "store/mongo_doc.h"

namespace store {

struct mongo_pool;
struct mongo_client;

// Milliseconds; an option of the connection string's own wins.
struct mongo_timeouts {
  int32_t connect = 3000;
  int32_t selection = 3000;   // for a server that can be asked
  int32_t socket = 10'000;    // without an answer: the outcome is unknown
  int32_t majority = 10'000;  // wtimeout: written, but not to a majority in this time
};

// Checks the connection string, connects nothing. *why is a sentence without the string.
core::err mongo_pool_open(const std::string& url, const mongo_timeouts& t, uint32_t clients_max,
                          mongo_pool** out, std::string* why) noexcept;
void mongo_pool_close(mongo_pool* p) noexcept;            // all clients were given back
std::string mongo_pool_hosts(const mongo_pool* p);        // "a:27017,b:27017", for logs
mongo_client* mongo_client_take(mongo_pool* p) noexcept;  // blocks while all are taken
void mongo_client_give(mongo_pool* p, mongo_client* c) noexcept;

struct mongo_failure {
  int32_t code = 0;  // the server's, 0: none
  std::string text;  // empty: no failure
  explicit operator bool() const noexcept { return !text.empty(); }
};

struct mongo_write_error {
  uint32_t index = 0;  // of the operation
  int32_t code = 0;
  std::string text;
};

// What a bulk came to. With a failure nothing is known of any operation (also: written, but not to
// a majority). Else those without an error are done for good.
struct mongo_bulk_result {
  mongo_failure failure;
  std::vector<mongo_write_error> errors;
  uint64_t matched = 0, upserted = 0;  // updates; a server that counts wrongly is known for inserts
};

inline constexpr int32_t kDuplicateKey = 11000;
inline constexpr int32_t kInvalidHere = -1;  // a write error that the driver found: not sent
// The same operation may succeed later: elections, shutdowns, timeouts, a full disk.
bool mongo_is_transient(int32_t code) noexcept;

struct mongo_update {
  doc filter, update;
  bool is_upsert = false, is_many = false;
};

// Unordered, acknowledged by a majority and journaled unless the connection string says otherwise.
mongo_bulk_result mongo_insert(mongo_client* c, const char* collection,
                               const std::vector<std::string_view>& documents) noexcept;
mongo_bulk_result mongo_change(mongo_client* c, const char* collection,
                               const std::vector<mongo_update>& updates) noexcept;
mongo_failure mongo_remove(mongo_client* c, const char* collection, const doc& filter) noexcept;

// From the primary. `row` returns false to stop.
using mongo_row_cb = bool (*)(void* user, const bson_t& row);
mongo_failure mongo_find(mongo_client* c, const char* collection, const doc& filter,
                         const doc& options, mongo_row_cb row, void* user) noexcept;
template <typename Fn>
mongo_failure mongo_find_each(mongo_client* c, const char* collection, const doc& filter,
                              const doc& options, Fn fn) noexcept {
  return mongo_find(
      c, collection, filter, options,
      [](void* user, const bson_t& row) { return (*static_cast<Fn*>(user))(row); }, &fn);
}
// About how many documents, from the collection's metadata; -1: not known.
int64_t mongo_count_about(mongo_client* c, const char* collection) noexcept;
mongo_failure mongo_command(mongo_client* c, const doc& command) noexcept;

}  // namespace store
