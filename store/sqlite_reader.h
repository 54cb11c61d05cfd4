// What a reading connection does: a page of a channel and a user's channels, each in one snapshot.
#pragma once

#include <string>

#include "store/sqlite_db.h"
#include "store/store.h"

namespace store {

struct reader {
  db file;
  std::string epoch;
  statement begin, end, top, oldest_inside, page_up, page_down, channels, last;
};

bool reader_prepare(reader* r) noexcept;
void reader_close(reader* r) noexcept;

// out->rc is io or unavailable when it failed, with nothing else set.
void reader_page(reader* r, const read_request& q, read_result* out) noexcept;
void reader_user_channels(reader* r, const std::string& user, uint32_t limit,
                          user_channels_result* out) noexcept;

}  // namespace store
