// Users' channels and read markers: straight to MongoDB, in bulk. Nothing of them is in the spool;
// a subscribe or a read brings them again.
#pragma once

#include "store/mongo_impl.h"
#include "store/request_queue.h"

namespace store {

// Until the queue is closed and empty. While MongoDB is away those that are waited for are answered
// `unavailable` after options.marker_ms, the others are tried until the store closes.
void mongo_mark(mongo_core* c, write_queue* queue) noexcept;

// Makes (user, channel) known, its marker at least `read`.
mongo_update user_channel_update(const std::string& user, const std::string& channel,
                                 uint64_t read) noexcept;

}  // namespace store
