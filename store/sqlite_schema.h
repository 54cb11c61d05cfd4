// The tables of the database file, made and changed by numbered migrations, and the checks when it
// is opened.
#pragma once

#include <string>

#include "core/err.h"
#include "store/sqlite_db.h"

namespace store {

// Texts in table meta beside the epoch. `import`: an import into the file has begun and not ended.
// `shift`: of a history that was in mongo, carried on.
inline constexpr const char* kMetaImport = "import";
inline constexpr const char* kMetaShift = "shift";
inline constexpr const char* kImportIsOpen =
    "has a history that is not whole: an import into it has not ended. Run the import again";

// The number of the newest migration; stands in the file as user_version.
int64_t schema_version() noexcept;

// Brings the file to schema_version(), each migration in a transaction of its own, and makes its
// epoch when it is new. io with a sentence in *why: made by a newer version, another program's
// database, damaged, or cannot be written.
//
// The check for damage is small, as a full one reads the whole file: the header, the schema, and
// the first and the last row of each table, which walks down both edges of its tree. Damage
// elsewhere is met by the request that reads it.
core::err schema_open(db* d, std::string* epoch, std::string* why) noexcept;

// False with a sentence in *why: an import into it is open, or it cannot be read.
bool schema_is_whole(db* d, std::string* why) noexcept;

}  // namespace store
