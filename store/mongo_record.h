// What the spool keeps for MongoDB: a publication with what goes with it, or a removal of history.
// Pure.
#pragma once

#include <string>
#include <string_view>

#include "store/mongo_doc.h"
#include "store/store.h"

namespace store {

enum class record_kind : uint8_t { publication = 1, removal = 2 };

// Views are into the record.
struct spool_record {
  record_kind kind = record_kind::publication;
  std::string_view channel;
  uint64_t offset = 0;    // removal: everything up to it goes
  std::string_view bson;  // publication: the document as MongoDB gets it
  int64_t time_ms = 0;
  std::string_view user;
  uint64_t refers = 0;
  bool is_delete = false;  // blanks `refers` and the edits of it
  std::string_view key_scope, key_hash;
  int64_t key_expires_ms = 0;
  retention keep;
};

std::string record_of_publication(const append_request& r, uint64_t offset,
                                  const std::string& epoch) noexcept;
std::string record_of_removal(std::string_view channel, uint64_t up_to) noexcept;
// False: not a record of this version.
bool record_parse(std::string_view bytes, spool_record* out) noexcept;

}  // namespace store
