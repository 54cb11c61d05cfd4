// The store in MongoDB: history in a replica set or a sharded cluster, durable on this node's disk
// first. docs/ARCHITECTURE.md has its way of a message.
#pragma once

#include "store/store.h"

namespace store {

struct mongo_options {
  std::string url;        // as MongoDB documents connection strings; database `parley` without one
  std::string spool_dir;  // made when it is missing; goes with the database as long as it is used
  uint64_t spool_bytes_max = 4ull << 30;  // beyond either bound appends are `unavailable`
  uint64_t backlog_max = 2'000'000;  // publications not yet in MongoDB: 50 bytes of memory each
  uint64_t spool_segment_bytes = 16ull << 20;
  uint32_t writers = 2;  // threads that bring batches to MongoDB
  uint32_t readers = 2;  // threads
  uint32_t batch_count_max = 1000;
  uint64_t batch_bytes_max = 4ull << 20;
  uint32_t batch_age_ms = 5;     // how long a small batch waits for more
  uint32_t retry_ms_max = 5000;  // the longest pause between two tries
  uint32_t queue_max = 65536;    // appends, reads and markers not yet answered, each
  uint64_t queue_bytes_max = 256ull << 20;
  uint64_t read_bytes_max = 64ull << 20;  // of answers on their way to the loops; the readers wait
  uint32_t sweep_ms = 10'000;             // retention and expired keys
  uint32_t stored_ms = 10'000;            // when_stored() waits so long
  uint32_t start_ms = 30'000;  // how long a start waits for MongoDB when the spool cannot do alone
  uint32_t marker_ms = 5000;   // a read marker that MongoDB has not taken by then is `unavailable`
  uint32_t close_ms = 5000;    // for the backlog; what is left waits in the spool
  uint32_t lease_ms = 20'000;  // a writer that was not seen for so long is gone
  const core::clock_source* clock = core::system_clock();
};

// invalid: the connection string; conflict: another process has the spool or writes to the
// database; malformed: the spool is damaged; unavailable: MongoDB does not answer and the spool is
// new; io. *why is a sentence for the user, without the connection string. With a spool that was
// used before, it opens also while MongoDB is away.
core::err open_mongo(const mongo_options& o, store** out, std::string* why) noexcept;

// Whether it is a connection string, and one that can be used; connects nothing.
core::err mongo_url_check(const std::string& url, std::string* why) noexcept;

}  // namespace store
