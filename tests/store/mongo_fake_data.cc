// Scans over a vector: small and plainly right.
#include "tests/store/mongo_fake_data.h"

#include <algorithm>
#include <cstring>

namespace store_test {
namespace {

int rank(const bson_iter_t& v) {
  switch (bson_iter_type(&v)) {
    case BSON_TYPE_INT32:
    case BSON_TYPE_INT64:
    case BSON_TYPE_DOUBLE:
      return 1;
    case BSON_TYPE_UTF8:
      return 2;
    case BSON_TYPE_DOCUMENT:
      return 3;
    case BSON_TYPE_BINARY:
      return 5;
    case BSON_TYPE_OID:
      return 7;
    case BSON_TYPE_BOOL:
      return 8;
    case BSON_TYPE_DATE_TIME:
      return 9;
    default:
      return 0;
  }
}

std::string bytes_of(const bson_iter_t& v) {
  uint32_t n = 0;
  if (BSON_ITER_HOLDS_UTF8(&v)) {
    const char* s = bson_iter_utf8(&v, &n);
    return {s, n};
  }
  if (BSON_ITER_HOLDS_OID(&v)) return {reinterpret_cast<const char*>(bson_iter_oid(&v)), 12};
  if (BSON_ITER_HOLDS_BINARY(&v)) {
    const uint8_t* s = nullptr;
    bson_iter_binary(&v, nullptr, &n, &s);
    return {reinterpret_cast<const char*>(s), n};
  }
  return {};
}

int64_t number_of(const bson_iter_t& v) {
  return BSON_ITER_HOLDS_DATE_TIME(&v) ? bson_iter_date_time(&v) : bson_iter_as_int64(&v);
}

int compare(const bson_iter_t& a, const bson_iter_t& b) {
  if (rank(a) != rank(b)) return rank(a) < rank(b) ? -1 : 1;
  if (rank(a) == 1 || rank(a) >= 8) {
    const int64_t x = number_of(a), y = number_of(b);
    return x < y ? -1 : x > y;
  }
  return bytes_of(a).compare(bytes_of(b));
}

bool holds(const bson_t& d, const bson_t& filter, int32_t* code);

// One operator of {field: {$op: value}}.
bool holds_operator(const bson_iter_t* have, const char* op, const bson_iter_t& want,
                    int32_t* code) {
  if (strcmp(op, "$in") == 0) {
    bson_iter_t each;
    const fake_view list(want);
    bson_iter_init(&each, list.get());
    while (bson_iter_next(&each))
      if (have != nullptr && compare(*have, each) == 0) return true;
    return false;
  }
  if (have != nullptr && rank(*have) != rank(want)) have = nullptr;
  const int c = have != nullptr ? compare(*have, want) : 0;
  if (strcmp(op, "$gt") == 0) return have != nullptr && c > 0;
  if (strcmp(op, "$gte") == 0) return have != nullptr && c >= 0;
  if (strcmp(op, "$lt") == 0) return have != nullptr && c < 0;
  if (strcmp(op, "$lte") == 0) return have != nullptr && c <= 0;
  *code = kFakeUnknown;
  return false;
}

bool holds_field(const bson_t& d, const bson_iter_t& f, int32_t* code) {
  bson_iter_t at, op;
  const bool is_there = bson_iter_init_find(&at, &d, bson_iter_key(&f));
  const bool is_document = BSON_ITER_HOLDS_DOCUMENT(&f);
  if (!is_document) return is_there && compare(at, f) == 0;
  const fake_view ops(f);
  bson_iter_init(&op, ops.get());
  while (bson_iter_next(&op))
    if (!holds_operator(is_there ? &at : nullptr, bson_iter_key(&op), op, code)) return false;
  return true;
}

bool holds_any(const bson_t& d, const bson_iter_t& list_at, int32_t* code) {
  bson_iter_t each;
  const fake_view list(list_at);
  bson_iter_init(&each, list.get());
  while (bson_iter_next(&each))
    if (holds(d, fake_view(each), code)) return true;
  return false;
}

bool holds(const bson_t& d, const bson_t& filter, int32_t* code) {
  bson_iter_t f;
  bson_iter_init(&f, &filter);
  while (bson_iter_next(&f)) {
    if (strcmp(bson_iter_key(&f), "$or") == 0) {
      if (!holds_any(d, f, code)) return false;
    } else if (!holds_field(d, f, code)) {
      return false;
    }
  }
  return true;
}

void append_value(bson_t* out, const bson_iter_t& v) {
  bson_append_iter(out, bson_iter_key(&v), -1, &v);
}

// The fields that an update gives this document, by name.
int32_t new_values(const bson_t& d, const bson_t& what, std::map<std::string, bson_iter_t>* out) {
  bson_iter_t op, field, old;
  bson_iter_init(&op, &what);
  while (bson_iter_next(&op)) {
    const bool is_max = strcmp(bson_iter_key(&op), "$max") == 0;
    if (!is_max && strcmp(bson_iter_key(&op), "$set") != 0) return kFakeUnknown;
    const fake_view fields(op);
    bson_iter_init(&field, fields.get());
    while (bson_iter_next(&field)) {
      const char* name = bson_iter_key(&field);
      if (is_max && bson_iter_init_find(&old, &d, name) && compare(old, field) >= 0) continue;
      (*out)[name] = field;
    }
  }
  return 0;
}

int32_t changed(const bson_t& d, const bson_t& what, fake_document* out) {
  std::map<std::string, bson_iter_t> values;
  const int32_t code = new_values(d, what, &values);
  bson_t made;
  bson_init(&made);
  bson_iter_t old;
  bson_iter_init(&old, &d);
  while (bson_iter_next(&old)) {
    const auto v = values.find(bson_iter_key(&old));
    append_value(&made, v == values.end() ? old : v->second);
    if (v != values.end()) values.erase(v);
  }
  for (const auto& [name, v] : values) append_value(&made, v);
  *out = fake_copy(made);
  bson_destroy(&made);
  return code;
}

// What an upsert begins with: the filter's equalities.
fake_document begun(const bson_t& filter) {
  bson_t out;
  bson_init(&out);
  bson_iter_t f;
  if (!bson_iter_init_find(&f, &filter, "_id")) bson_concat(&out, store::doc().id("_id").get());
  bson_iter_init(&f, &filter);
  while (bson_iter_next(&f))
    if (!BSON_ITER_HOLDS_DOCUMENT(&f)) append_value(&out, f);
  fake_document d = fake_copy(out);
  bson_destroy(&out);
  return d;
}

bool is_before(const fake_document& a, const fake_document& b, const bson_t& sort) {
  const fake_view x(a), y(b);
  bson_iter_t s, xs, ys;
  bson_iter_init(&s, &sort);
  while (bson_iter_next(&s)) {
    const bool has_x = bson_iter_init_find(&xs, x.get(), bson_iter_key(&s));
    const bool has_y = bson_iter_init_find(&ys, y.get(), bson_iter_key(&s));
    const int c = has_x && has_y ? compare(xs, ys) : has_x - has_y;
    if (c != 0) return (c < 0) == (bson_iter_as_int64(&s) > 0);
  }
  return false;
}

// Equal for equal values of the key's fields.
std::string key_of(const bson_t& d, const bson_t& key) {
  std::string out;
  bson_iter_t k, v;
  bson_iter_init(&k, &key);
  while (bson_iter_next(&k)) {
    const bool is_there = bson_iter_init_find(&v, &d, bson_iter_key(&k));
    const int r = is_there ? rank(v) : 0;
    const std::string value = r == 1 || r >= 8 ? std::to_string(number_of(v))
                              : is_there       ? bytes_of(v)
                                               : "";
    out += std::to_string(r) + " " + std::to_string(value.size()) + " " + value;
  }
  return out;
}

}  // namespace

fake_view::fake_view(const bson_iter_t& document_or_array) {
  uint32_t n = 0;
  const uint8_t* at = nullptr;
  if (BSON_ITER_HOLDS_ARRAY(&document_or_array))
    bson_iter_array(&document_or_array, &n, &at);
  else
    bson_iter_document(&document_or_array, &n, &at);
  bson_init_static(&b_, at, n);
}

fake_document fake_copy(const bson_t& d) {
  return {reinterpret_cast<const char*>(bson_get_data(&d)), d.len};
}

std::string fake_json(const bson_t& d, const char* path) {
  bson_iter_t root, at;
  if (!bson_iter_init(&root, &d) || !bson_iter_find_descendant(&root, path, &at)) return {};
  bson_t wrapped;
  bson_init(&wrapped);
  bson_append_iter(&wrapped, "v", -1, &at);
  char* text = bson_as_relaxed_extended_json(&wrapped, nullptr);
  std::string out = text;
  bson_free(text);
  bson_destroy(&wrapped);
  constexpr std::string_view kBefore = "{ \"v\" : ", kAfter = " }";
  return out.substr(kBefore.size(), out.size() - kBefore.size() - kAfter.size());
}

void fake_collection::make_unique(const bson_t& key) {
  const fake_document mine = fake_copy(key);
  for (const unique_index& u : unique_)
    if (u.key == mine) return;
  unique_.push_back({mine, {}});
  for (const fake_document& d : documents_) unique_.back().values.insert(key_of(fake_view(d), key));
}

bool fake_collection::move_keys(const bson_t* old, const bson_t* d) {
  for (const unique_index& u : unique_) {
    if (d == nullptr) break;
    const std::string mine = key_of(*d, fake_view(u.key));
    if (old != nullptr && key_of(*old, fake_view(u.key)) == mine) continue;
    if (u.values.count(mine) > 0) return false;
  }
  for (unique_index& u : unique_) {
    if (old != nullptr) u.values.erase(key_of(*old, fake_view(u.key)));
    if (d != nullptr) u.values.insert(key_of(*d, fake_view(u.key)));
  }
  return true;
}

int32_t fake_collection::insert(const bson_t& d) {
  if (!move_keys(nullptr, &d)) return kFakeDuplicateKey;
  documents_.push_back(fake_copy(d));
  return 0;
}

fake_collection::change fake_collection::update(const bson_t& filter, const bson_t& what,
                                                bool is_upsert, bool is_many) {
  change c;
  for (fake_document& d : documents_) {
    if (!holds(fake_view(d), filter, &c.code)) continue;
    fake_document made;
    c.code = changed(fake_view(d), what, &made);
    if (c.code != 0) return c;
    const fake_view before(d), after(made);
    if (!move_keys(before.get(), after.get())) c.code = kFakeDuplicateKey;
    if (c.code != 0) return c;
    d = std::move(made);
    ++c.matched;
    if (!is_many) return c;
  }
  if (c.code != 0 || c.matched > 0 || !is_upsert) return c;
  const fake_document base = begun(filter);
  fake_document made;
  c.code = changed(fake_view(base), what, &made);
  if (c.code == 0) c.code = insert(fake_view(made));
  c.is_upserted = c.code == 0;
  return c;
}

int32_t fake_collection::remove(const bson_t& filter, uint64_t* count) {
  int32_t code = 0;
  *count = std::erase_if(documents_, [&](const fake_document& d) {
    const fake_view gone(d);
    if (!holds(gone, filter, &code)) return false;
    move_keys(gone.get(), nullptr);
    return true;
  });
  return code;
}

int32_t fake_collection::find(const bson_t& filter, const bson_t* sort, int64_t limit,
                              std::vector<fake_document>* out) const {
  int32_t code = 0;
  for (const fake_document& d : documents_)
    if (holds(fake_view(d), filter, &code)) out->push_back(d);
  if (sort != nullptr)
    std::stable_sort(out->begin(), out->end(), [&](const fake_document& a, const fake_document& b) {
      return is_before(a, b, *sort);
    });
  if (limit > 0 && out->size() > static_cast<size_t>(limit)) out->resize(limit);
  return code;
}

}  // namespace store_test
