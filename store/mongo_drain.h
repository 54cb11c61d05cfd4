// The threads that bring the backlog to MongoDB.
#pragma once

#include "store/mongo_impl.h"

namespace store {

// Runs until the store closes and the backlog is empty, or its time is up: what is left waits in
// the spool.
void mongo_drain(mongo_core* c, uint32_t index) noexcept;

// The next pause before trying again: doubled each time, half of it by chance, at least 25 ms.
uint32_t mongo_pause_ms(uint32_t tries, uint32_t ms_max) noexcept;
// Waits so long, or until the store closes or is fenced.
void mongo_wait(mongo_core* c, uint32_t ms) noexcept;
// Tells a failure, not more often than each second.
void mongo_tell(mongo_core* c, const char* what, const mongo_failure& f) noexcept;

}  // namespace store
