// What a database needs before it is written to: indexes, the schema's version, and the one
// writer's place.
#pragma once

#include "store/mongo_impl.h"

namespace store {

// Who writes to the database, as its document `writer` says.
struct writer_place {
  std::string epoch;
  uint64_t shift = 0;
  uint64_t backlog_max = 0;  // as many of its publications may be in its spool alone
  int64_t turn = 0;          // counts who has taken the place; not kept beside the spool
};

// The document `writer`.
struct mongo_writer {
  bool is_there = false;
  std::string spool;
  writer_place place;
  int64_t seen_ms = 0, schema = 0;
  bool is_released = false;
  std::string import;  // kImportNew, kImportMore, or empty
};
// An import has the place: into an empty database, which no node serves before it is whole, or of
// more into one that is, which may be served if it never ends.
inline constexpr const char* kWriter = "writer";
inline constexpr const char* kImportNew = "new";
inline constexpr const char* kImportMore = "more";
inline constexpr const char* kMongoImportIsOpen =
    "the database has a history that is not whole: an import into it has not ended. Run the "
    "import again";
mongo_failure mongo_find_writer(mongo_client* client, mongo_writer* out) noexcept;
std::string mongo_host_name();

// Idempotent. Servers that speak the protocol but know no expiry or partial indexes get plain ones.
mongo_failure mongo_make_indexes(mongo_client* client) noexcept;

// The place as this node has last seen it, kept beside the spool so that it can start while MongoDB
// is away. False: there is none.
bool place_load(const std::string& spool_dir, writer_place* out) noexcept;
bool place_save(const std::string& spool_dir, const writer_place& p) noexcept;

enum class setup_result : uint8_t { done, away, refused };

// Indexes and place. `has_records`: the spool has something that was written under a place.
// away: MongoDB does not answer; refused: *why says so, for good.
setup_result mongo_setup(mongo_core* c, mongo_client* client, bool has_records, writer_place* place,
                         std::string* why) noexcept;

// Tells that we are alive. refused: somebody else has taken the place.
setup_result mongo_stay(mongo_core* c, mongo_client* client) noexcept;
// A clean end with nothing left in the spool: whoever comes next loses nothing.
void mongo_leave(mongo_core* c, mongo_client* client) noexcept;

// One round of retention and expired keys. `between` runs between two steps of it; false: stop.
struct sweep_pause {
  bool (*between)(void* user) noexcept;
  void* user;
};
mongo_failure mongo_sweep(mongo_client* client, int64_t now_ms, const sweep_pause& p) noexcept;

}  // namespace store
