// BSON as the store writes and reads it: a builder, field access, and the documents of
// publications. Pure, but for the random part of an _id.
#pragma once

#include <bson/bson.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "store/publication.h"

namespace store {

// A document under construction; owns it.
class doc {
 public:
  doc() noexcept { bson_init(&b_); }
  ~doc() { bson_destroy(&b_); }
  doc(const doc& other) { bson_copy_to(&other.b_, &b_); }
  doc& operator=(const doc&) = delete;

  doc& text(const char* key, std::string_view v) noexcept;
  doc& number(const char* key, int64_t v) noexcept;
  doc& number_u64(const char* key, uint64_t v) noexcept;  // beyond INT64_MAX: INT64_MAX
  doc& small(const char* key, int32_t v) noexcept;
  doc& date(const char* key, int64_t ms) noexcept;
  doc& bytes(const char* key, std::string_view v) noexcept;
  doc& flag(const char* key, bool v) noexcept;
  doc& sub(const char* key, const doc& v) noexcept;
  doc& array(const char* key, const doc& v) noexcept;  // v has the keys "0", "1" …
  doc& raw(const char* key, std::string_view bson) noexcept;
  doc& id(const char* key) noexcept;  // a new ObjectId
  doc& all_of(const doc& other) noexcept;
  doc& same(const char* key, const bson_t& d) noexcept;  // what d has there, if anything

  void clear() noexcept { bson_reinit(&b_); }

  const bson_t* get() const noexcept { return &b_; }
  std::string_view view() const noexcept {
    return {reinterpret_cast<const char*>(bson_get_data(&b_)), b_.len};
  }

 private:
  bson_t b_;
};

// Fields of a document somebody else made: another type, or no such field, is the fallback.
std::string_view doc_text(const bson_t& d, const char* key) noexcept;
std::string_view doc_bytes(const bson_t& d, const char* key) noexcept;
int64_t doc_number(const bson_t& d, const char* key, int64_t fallback = 0) noexcept;  // date: ms
bool doc_flag(const bson_t& d, const char* key) noexcept;
// False: not the bytes of a document. *out borrows them.
bool doc_view(std::string_view bytes, bson_t* out) noexcept;

// One document of collection `publications`.
struct stored_publication {
  std::string channel, user, epoch;
  uint64_t refers = 0;
  bool is_deleted = false;  // blanked: its data is "null"
  publication pub;
};
doc publication_doc(const stored_publication& p, std::string_view key_scope) noexcept;
// False: no publication (its offset or its channel is missing).
bool publication_parse(const bson_t& d, stored_publication* out) noexcept;
// The same message? One that was blanked since is the same whatever its data.
bool publication_same(const stored_publication& a, const stored_publication& b) noexcept;

}  // namespace store
