// What the reader threads do: pages, users' channels, and the sequencer's lookups. Each call blocks
// on MongoDB, unless the backlog has all that is asked for.
#pragma once

#include "store/mongo_impl.h"

namespace store {

void mongo_read_page(mongo_core* c, mongo_client* client, const read_request& q,
                     read_result* out) noexcept;
void mongo_read_user_channels(mongo_core* c, mongo_client* client, const std::string& user,
                              uint32_t limit, user_channels_result* out) noexcept;
void mongo_look_up(mongo_core* c, mongo_client* client, lookup* l) noexcept;

}  // namespace store
