// One batch on its way to MongoDB, tried until all of it is there. Nothing here knows threads.
#pragma once

#include <map>
#include <set>

#include "store/mongo_impl.h"

namespace store {

struct batch_item {
  mongo_channel* channel = nullptr;
  spool_place place;
  std::string bytes;    // the record's
  spool_record record;  // views into it
  bool is_removal = false;
  bool is_there = false;  // the publication is in MongoDB, or in the dead letters
  bool is_stuck = false;  // MongoDB has other content there, or has for one before it
  uint32_t refusals = 0;  // answers with a write error for it
};

struct batch {
  std::vector<std::unique_ptr<batch_item>> items;  // one channel's in their order
  uint32_t tries = 0;
  uint32_t blank_refusals = 0, key_refusals = 0, position_refusals = 0;  // tries with write errors
};

// What goes with publications, as updates that may be done twice.
struct key_place {
  std::string_view channel, scope, hash;
  uint64_t offset = 0;
  int64_t time_ms = 0, expires_ms = 0;
};
mongo_update key_update(const key_place& k) noexcept;  // an upsert
struct channel_top {
  std::string_view channel;
  uint64_t top = 0, shift = 0;
  int64_t last_ms = 0;
  retention keep;
};
mongo_update top_update(const channel_top& t) noexcept;  // an upsert
mongo_update blank_update(std::string_view channel, uint64_t offset) noexcept;

// One try; what has succeeded is not done again. True: everything that is not stuck is in MongoDB
// for good. False: to be tried again; *failure says why.
bool batch_try(mongo_core* c, mongo_client* client, batch* b, mongo_failure* failure) noexcept;

}  // namespace store
