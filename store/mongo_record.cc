// A record is a BSON document around the publication's own, so that the latter goes on untouched.
#include "store/mongo_record.h"

#include <algorithm>

namespace store {

std::string record_of_publication(const append_request& r, uint64_t offset,
                                  const std::string& epoch) noexcept {
  stored_publication p;
  p.channel = r.channel;
  p.user = r.user;
  p.epoch = epoch;
  p.refers = r.refers;
  p.pub = r.pub;
  p.pub.offset = offset;
  doc d;
  d.small("kind", static_cast<int32_t>(record_kind::publication))
      .sub("doc", publication_doc(p, r.key_scope));
  if (r.is_delete) d.flag("delete", true);
  if (!r.key_scope.empty())
    d.bytes("hash", r.key_hash).number("expires", r.pub.time_ms + r.key_ttl_ms);
  if (r.keep.size_max != retention::kForever) d.number_u64("size_max", r.keep.size_max);
  if (r.keep.ttl_ms != retention::kForever) d.number_u64("ttl_ms", r.keep.ttl_ms);
  return std::string(d.view());
}

std::string record_of_removal(std::string_view channel, uint64_t up_to) noexcept {
  doc d;
  d.small("kind", static_cast<int32_t>(record_kind::removal))
      .text("channel", channel)
      .number_u64("up_to", up_to);
  return std::string(d.view());
}

bool record_parse(std::string_view bytes, spool_record* out) noexcept {
  bson_t d;
  if (!doc_view(bytes, &d)) return false;
  const int64_t kind = doc_number(d, "kind");
  if (kind == static_cast<int64_t>(record_kind::removal)) {
    out->kind = record_kind::removal;
    out->channel = doc_text(d, "channel");
    out->offset = static_cast<uint64_t>(doc_number(d, "up_to"));
    return !out->channel.empty();
  }
  bson_iter_t at;
  if (kind != static_cast<int64_t>(record_kind::publication) ||
      !bson_iter_init_find(&at, &d, "doc") || !BSON_ITER_HOLDS_DOCUMENT(&at))
    return false;
  uint32_t n = 0;
  const uint8_t* inner = nullptr;
  bson_iter_document(&at, &n, &inner);
  bson_t p;
  if (!bson_init_static(&p, inner, n)) return false;
  out->kind = record_kind::publication;
  out->bson = {reinterpret_cast<const char*>(inner), n};
  out->channel = doc_text(p, "channel");
  out->offset = static_cast<uint64_t>(doc_number(p, "offset"));
  out->time_ms = doc_number(p, "time");
  out->user = doc_text(p, "user");
  out->refers = static_cast<uint64_t>(doc_number(p, "refers"));
  out->key_scope = doc_bytes(p, "key");
  out->is_delete = doc_flag(d, "delete");
  out->key_hash = doc_bytes(d, "hash");
  out->key_expires_ms = doc_number(d, "expires");
  out->keep = {static_cast<uint64_t>(doc_number(d, "size_max")),
               static_cast<uint64_t>(doc_number(d, "ttl_ms"))};
  return out->offset > 0 && !out->channel.empty();
}

}  // namespace store
