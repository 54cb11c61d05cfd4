// Thin over libbson. Strings go with their length: they may hold zero bytes.
#include "store/mongo_doc.h"

#include <algorithm>

namespace store {
namespace {

bool find(const bson_t& d, const char* key, bson_iter_t* at) noexcept {
  return bson_iter_init_find(at, &d, key);
}

}  // namespace

doc& doc::text(const char* key, std::string_view v) noexcept {
  bson_append_utf8(&b_, key, -1, v.data() == nullptr ? "" : v.data(), static_cast<int>(v.size()));
  return *this;
}
doc& doc::number(const char* key, int64_t v) noexcept {
  bson_append_int64(&b_, key, -1, v);
  return *this;
}
doc& doc::number_u64(const char* key, uint64_t v) noexcept {
  return number(key, static_cast<int64_t>(std::min<uint64_t>(v, INT64_MAX)));
}
doc& doc::small(const char* key, int32_t v) noexcept {
  bson_append_int32(&b_, key, -1, v);
  return *this;
}
doc& doc::date(const char* key, int64_t ms) noexcept {
  bson_append_date_time(&b_, key, -1, ms);
  return *this;
}
doc& doc::bytes(const char* key, std::string_view v) noexcept {
  bson_append_binary(&b_, key, -1, BSON_SUBTYPE_BINARY,
                     reinterpret_cast<const uint8_t*>(v.data() == nullptr ? "" : v.data()),
                     static_cast<uint32_t>(v.size()));
  return *this;
}
doc& doc::flag(const char* key, bool v) noexcept {
  bson_append_bool(&b_, key, -1, v);
  return *this;
}
doc& doc::sub(const char* key, const doc& v) noexcept {
  bson_append_document(&b_, key, -1, &v.b_);
  return *this;
}
doc& doc::array(const char* key, const doc& v) noexcept {
  bson_append_array(&b_, key, -1, &v.b_);
  return *this;
}
doc& doc::raw(const char* key, std::string_view bson) noexcept {
  bson_t d;
  if (doc_view(bson, &d)) bson_append_document(&b_, key, -1, &d);
  return *this;
}
doc& doc::id(const char* key) noexcept {
  bson_oid_t oid;
  bson_oid_init(&oid, nullptr);
  bson_append_oid(&b_, key, -1, &oid);
  return *this;
}
doc& doc::all_of(const doc& other) noexcept {
  bson_concat(&b_, &other.b_);
  return *this;
}
doc& doc::same(const char* key, const bson_t& d) noexcept {
  bson_iter_t at;
  if (find(d, key, &at)) bson_append_iter(&b_, key, -1, &at);
  return *this;
}

std::string_view doc_text(const bson_t& d, const char* key) noexcept {
  bson_iter_t at;
  if (!find(d, key, &at) || !BSON_ITER_HOLDS_UTF8(&at)) return {};
  uint32_t n = 0;
  const char* s = bson_iter_utf8(&at, &n);
  return {s, n};
}

std::string_view doc_bytes(const bson_t& d, const char* key) noexcept {
  bson_iter_t at;
  if (!find(d, key, &at) || !BSON_ITER_HOLDS_BINARY(&at)) return {};
  bson_subtype_t kind;
  uint32_t n = 0;
  const uint8_t* s = nullptr;
  bson_iter_binary(&at, &kind, &n, &s);
  return {reinterpret_cast<const char*>(s), n};
}

int64_t doc_number(const bson_t& d, const char* key, int64_t fallback) noexcept {
  bson_iter_t at;
  if (!find(d, key, &at)) return fallback;
  if (BSON_ITER_HOLDS_DATE_TIME(&at)) return bson_iter_date_time(&at);
  return BSON_ITER_HOLDS_NUMBER(&at) ? bson_iter_as_int64(&at) : fallback;
}

bool doc_flag(const bson_t& d, const char* key) noexcept {
  bson_iter_t at;
  return find(d, key, &at) && bson_iter_as_bool(&at);
}

bool doc_view(std::string_view bytes, bson_t* out) noexcept {
  return bson_init_static(out, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

doc publication_doc(const stored_publication& p, std::string_view key_scope) noexcept {
  doc d;
  d.id("_id")
      .text("channel", p.channel)
      .number_u64("offset", p.pub.offset)
      .text("epoch", p.epoch)
      .date("time", p.pub.time_ms)
      .text("user", p.user)
      .text("data", p.pub.data);
  if (!p.pub.info.empty()) d.text("info", p.pub.info);
  if (!p.pub.tags.empty()) d.text("tags", p.pub.tags);
  if (!key_scope.empty()) d.bytes("key", key_scope);
  if (p.refers > 0) d.number_u64("refers", p.refers);
  return d;
}

bool publication_parse(const bson_t& d, stored_publication* out) noexcept {
  out->channel = doc_text(d, "channel");
  out->user = doc_text(d, "user");
  out->epoch = doc_text(d, "epoch");
  out->refers = static_cast<uint64_t>(std::max<int64_t>(doc_number(d, "refers"), 0));
  out->is_deleted = doc_flag(d, "deleted");
  out->pub.offset = static_cast<uint64_t>(std::max<int64_t>(doc_number(d, "offset"), 0));
  out->pub.time_ms = doc_number(d, "time");
  out->pub.data = doc_text(d, "data");
  out->pub.info = doc_text(d, "info");
  out->pub.tags = doc_text(d, "tags");
  return out->pub.offset > 0 && !out->channel.empty();
}

bool publication_same(const stored_publication& a, const stored_publication& b) noexcept {
  return a.channel == b.channel && a.pub.offset == b.pub.offset && a.epoch == b.epoch &&
         a.pub.time_ms == b.pub.time_ms && a.user == b.user && a.refers == b.refers &&
         a.pub.info == b.pub.info && a.pub.tags == b.pub.tags &&
         (a.pub.data == b.pub.data || a.is_deleted || b.is_deleted);
}

}  // namespace store
