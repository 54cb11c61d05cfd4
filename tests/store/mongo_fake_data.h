// One collection of a fake MongoDB, in memory: as much of queries, updates and unique indexes as
// Parley's commands use. What it does not know it refuses, so that no test passes on a guess.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "store/mongo_doc.h"

namespace store_test {

inline constexpr int32_t kFakeDuplicateKey = 11000;
inline constexpr int32_t kFakeUnknown = 9;  // FailedToParse: the fake cannot do that

// A document's bytes; views into them are good as long as it lives.
using fake_document = std::string;

// A bson_t points into itself, so it stays where it was made.
class fake_view {
 public:
  explicit fake_view(std::string_view bytes) { store::doc_view(bytes, &b_); }
  explicit fake_view(const bson_iter_t& document_or_array);
  fake_view(const fake_view&) = delete;
  fake_view& operator=(const fake_view&) = delete;
  operator const bson_t&() const { return b_; }
  const bson_t* get() const { return &b_; }

 private:
  bson_t b_;
};
fake_document fake_copy(const bson_t& d);
// A value by its dotted path, as relaxed extended JSON; empty: there is none.
std::string fake_json(const bson_t& d, const char* path);

class fake_collection {
 public:
  struct change {
    int32_t code = 0;
    uint64_t matched = 0;
    bool is_upserted = false;
  };
  // Returns 0 or an error's code.
  int32_t insert(const bson_t& d);
  change update(const bson_t& filter, const bson_t& what, bool is_upsert, bool is_many);
  int32_t remove(const bson_t& filter, uint64_t* count);
  // `sort` may be nullptr; limit 0: all.
  int32_t find(const bson_t& filter, const bson_t* sort, int64_t limit,
               std::vector<fake_document>* out) const;
  void make_unique(const bson_t& key);  // harmless when it is there
  const std::vector<fake_document>& all() const { return documents_; }

 private:
  struct unique_index {
    fake_document key;
    std::set<std::string> values;
  };
  // Gives the place of `old` (nullptr: none) in the unique indexes to `d`.
  bool move_keys(const bson_t* old, const bson_t* d);

  std::vector<fake_document> documents_;
  std::vector<unique_index> unique_ = {{fake_document(store::doc().small("_id", 1).view()), {}}};
};

}  // namespace store_test
