// A history into a MongoDB database, in documents as a serving node writes them (mongo_impl.h). A
// page is one unordered bulk a collection.
#include <map>

#include "store/mongo_batch.h"
#include "store/mongo_marker.h"
#include "store/mongo_transfer.h"

namespace store {
namespace {

constexpr size_t kIdBytes = 16;  // as a spool's

// The server refuses something for good, or has something else.
struct refusal {
  core::err rc = core::err::ok;
  std::string why;
};

class mongo_sink final : public history_sink {
 public:
  ~mongo_sink() override { leave(false); }
  core::err open(const mongo_transfer_options& o, std::string* why) noexcept {
    return c_.open(o, why);
  }
  core::err begin(const history_head& head, std::string* why) noexcept override;
  core::err put(const history_page& page, std::string* why) noexcept override;
  core::err end(const history_counts& all, std::string* why) noexcept override;
  uint64_t passed_over() const noexcept override { return passed_over_; }

 private:
  using records = std::vector<const history_record*>;

  mongo_failure is_empty(bool* out) noexcept;
  mongo_failure take(const mongo_writer& before, const char* import, bool* is_ours) noexcept;
  mongo_failure leave(bool is_whole) noexcept;
  core::err stay(std::string* why) noexcept;
  mongo_failure insert(const char* collection, const records& all,
                       const std::vector<doc>& documents, records* twice, refusal* no) noexcept;
  mongo_failure change(const char* collection, const std::vector<mongo_update>& updates) noexcept;
  mongo_failure put_channels(const records& all, refusal* no) noexcept;
  mongo_failure put_publications(const records& all, refusal* no) noexcept;
  mongo_failure compare(const records& twice, refusal* no) noexcept;
  mongo_failure put_keys(const records& all, refusal* no) noexcept;
  mongo_failure renew_keys(const records& twice) noexcept;
  mongo_failure put_user_channels(const records& all) noexcept;
  stored_publication stored_of(const history_record& r) const;

  mongo_connection c_;
  history_head head_;
  std::string id_;  // in the writer's document
  bool has_place_ = false;
  uint64_t stay_us_ = 0;
  uint64_t passed_over_ = 0;
};

mongo_failure mongo_sink::is_empty(bool* out) noexcept {
  *out = true;
  for (const char* collection : {kPublications, kChannels, kKeys, kUserChannels}) {
    const mongo_failure f = mongo_find_each(c_.client, collection, doc(), doc().number("limit", 1),
                                            [&](const bson_t&) { return *out = false; });
    if (f || !*out) return f;
  }
  return {};
}

mongo_failure mongo_sink::take(const mongo_writer& before, const char* import,
                               bool* is_ours) noexcept {
  doc d;
  if (!before.is_there) d.text("_id", kWriter);
  d.bytes("spool", id_)
      .text("epoch", head_.epoch)
      .number_u64("shift", head_.shift)
      .number_u64("backlog_max", 0)
      .date("seen", c_.options.clock->wall_ms())
      .text("host", mongo_host_name())
      .flag("released", false)
      .small("schema", kMongoSchema)
      .text("import", import);
  stay_us_ = mono_us();
  if (!before.is_there) {
    const mongo_bulk_result r = mongo_insert(c_.client, kMeta, {d.view()});
    *is_ours = r.errors.empty();
    return r.failure;
  }
  mongo_update u;
  u.filter.text("_id", kWriter).bytes("spool", before.spool).date("seen", before.seen_ms);
  u.update.sub("$set", d);
  const mongo_bulk_result r = mongo_change(c_.client, kMeta, {u});
  *is_ours = r.errors.empty() && r.matched == 1;
  return r.failure;
}

mongo_failure mongo_sink::leave(bool is_whole) noexcept {
  if (!std::exchange(has_place_, false)) return {};
  mongo_update u;
  u.filter.text("_id", kWriter).bytes("spool", id_);
  u.update.sub("$set", doc().flag("released", true));
  if (is_whole) u.update.sub("$unset", doc().text("import", ""));
  const mongo_bulk_result r = mongo_change(c_.client, kMeta, {u});
  if (r.failure || !r.errors.empty()) has_place_ = is_whole;
  if (!r.failure && !r.errors.empty()) return {r.errors[0].code, r.errors[0].text + " "};
  return r.failure;
}

core::err mongo_sink::begin(const history_head& head, std::string* why) noexcept {
  head_ = head;
  id_.resize(kIdBytes);
  core::system_random()->fill(id_.data(), id_.size());
  mongo_writer there;
  bool is_new = false;
  core::err rc = c_.ask(why, [&] {
    mongo_failure f = mongo_make_indexes(c_.client);
    if (!f) f = mongo_find_writer(c_.client, &there);
    return f ? f : is_empty(&is_new);
  });
  if (rc == core::err::ok && there.is_there) rc = mongo_check_rest(c_, there, why);
  if (rc != core::err::ok) return rc;
  if (!is_new && there.place.epoch != head.epoch) {
    *why = c_.name() +
           (there.import == kImportNew ? " has an open import of another history (epoch "
                                       : " has a history of its own (epoch ") +
           there.place.epoch + "; this one: " + head.epoch +
           "). A history goes into an empty store, or into one that has it";
    return core::err::invalid;
  }
  if (!is_new) head_.shift = there.place.shift;
  const bool is_open = is_new || there.import == kImportNew;
  bool is_ours = false;
  // Once: when the answer is lost, the lease keeps others and us away for a moment.
  const mongo_failure f = take(there, is_open ? kImportNew : kImportMore, &is_ours);
  if (f) *why = c_.name() + " does not answer: " + f.text;
  if (f) return core::err::unavailable;
  has_place_ = is_ours;
  if (!is_ours) *why = "another parleyd or import wants to write to " + c_.name();
  return is_ours ? core::err::ok : core::err::denied;
}

core::err mongo_sink::stay(std::string* why) noexcept {
  if (mono_us() < stay_us_ + 250ull * c_.options.lease_ms) return core::err::ok;
  mongo_bulk_result r;
  const core::err rc = c_.ask(why, [&] {
    mongo_update u;
    u.filter.text("_id", kWriter).bytes("spool", id_);
    u.update.sub("$set", doc().date("seen", c_.options.clock->wall_ms()));
    r = mongo_change(c_.client, kMeta, {u});
    return r.failure;
  });
  if (rc != core::err::ok) return rc;
  stay_us_ = mono_us();
  if (r.matched == 1) return rc;
  has_place_ = false;
  *why = "somebody else has taken over " + c_.name();
  return core::err::denied;
}

// Into *twice those whose place in the unique index is taken.
mongo_failure mongo_sink::insert(const char* collection, const records& all,
                                 const std::vector<doc>& documents, records* twice,
                                 refusal* no) noexcept {
  std::vector<std::string_view> bytes;
  for (const doc& d : documents) bytes.push_back(d.view());
  if (bytes.empty()) return {};
  const mongo_bulk_result r = mongo_insert(c_.client, collection, bytes);
  if (r.failure) return r.failure;
  for (const mongo_write_error& e : r.errors) {
    const history_record& at = *all[e.index];
    if (e.code == kDuplicateKey) {
      twice->push_back(&at);
    } else if (mongo_is_transient(e.code)) {
      return {e.code, e.text + " "};
    } else {
      *no = {core::err::invalid, c_.name() + " refuses channel \"" + at.channel + "\", offset " +
                                     std::to_string(at.pub.offset) + ": " + e.text};
    }
  }
  return {};
}

mongo_failure mongo_sink::change(const char* collection,
                                 const std::vector<mongo_update>& updates) noexcept {
  if (updates.empty()) return {};
  const mongo_bulk_result r = mongo_change(c_.client, collection, updates);
  if (r.failure || r.errors.empty()) return r.failure;
  return {r.errors[0].code, r.errors[0].text + " "};
}

// What has gone on keeps its own.
mongo_failure mongo_sink::put_channels(const records& all, refusal* no) noexcept {
  std::vector<doc> documents;
  for (const history_record* r : all) {
    documents.emplace_back();
    documents.back()
        .text("_id", r->channel)
        .number_u64("shift", head_.shift)
        .number_u64("top", r->top)
        .date("last", r->last_ms)
        .number_u64("size_max", r->keep.size_max)
        .number_u64("ttl_ms", r->keep.ttl_ms);
  }
  records twice;
  const mongo_failure f = insert(kChannels, all, documents, &twice, no);
  if (f) return f;
  std::vector<mongo_update> updates;
  for (const history_record* r : twice) {
    updates.push_back(top_update({r->channel, r->top, head_.shift, r->last_ms, r->keep}));
    updates.back().filter.sub("top", doc().number_u64("$lte", r->top));
    updates.back().is_upsert = false;
  }
  return change(kChannels, updates);
}

stored_publication mongo_sink::stored_of(const history_record& r) const {
  stored_publication p;
  p.channel = r.channel;
  p.user = r.user;
  p.epoch = r.epoch.empty() ? head_.epoch : r.epoch;
  p.refers = r.refers;
  p.is_deleted = r.is_deleted;
  p.pub = r.pub;
  return p;
}

mongo_failure mongo_sink::put_publications(const records& all, refusal* no) noexcept {
  std::vector<doc> documents;
  for (const history_record* r : all) {
    documents.push_back(publication_doc(stored_of(*r), r->key_scope));
    if (r->is_deleted) documents.back().flag("deleted", true);
  }
  records twice;
  const mongo_failure f = insert(kPublications, all, documents, &twice, no);
  return f || twice.empty() ? f : compare(twice, no);
}

// What stands at these places already: by channel one find over their range.
mongo_failure mongo_sink::compare(const records& twice, refusal* no) noexcept {
  std::map<std::string_view, std::map<uint64_t, const history_record*>> wanted;
  for (const history_record* r : twice) wanted[r->channel][r->pub.offset] = r;
  std::vector<mongo_update> blanks;
  uint64_t same = 0;
  for (const auto& each : wanted) {
    const std::string_view channel = each.first;
    const std::map<uint64_t, const history_record*>& at = each.second;
    doc filter;
    filter.text("channel", channel)
        .sub("offset",
             doc().number_u64("$gte", at.begin()->first).number_u64("$lte", at.rbegin()->first));
    doc options;
    options.sub("sort", doc().small("channel", 1).small("offset", 1))
        .sub("hint", doc().small("channel", 1).small("offset", 1));
    const mongo_failure f =
        mongo_find_each(c_.client, kPublications, filter, options, [&](const bson_t& d) {
          stored_publication there;
          if (!publication_parse(d, &there)) return true;
          const auto it = at.find(there.pub.offset);
          if (it == at.end()) return true;
          const history_record& ours = *it->second;
          if (!publication_same(there, stored_of(ours))) {
            *no = {core::err::conflict, history_conflict(ours)};
            return false;
          }
          ++same;
          if (ours.is_deleted && !there.is_deleted)
            blanks.push_back(blank_update(channel, there.pub.offset));
          return true;
        });
    if (f || no->rc != core::err::ok) return f;
  }
  if (same < twice.size()) return {0, "what was there has been deleted meanwhile"};
  passed_over_ += same;
  return change(kPublications, blanks);
}

mongo_failure mongo_sink::put_keys(const records& all, refusal* no) noexcept {
  std::vector<doc> documents;
  for (const history_record* r : all) {
    documents.emplace_back();
    documents.back()
        .id("_id")
        .text("channel", r->channel)
        .bytes("scope", r->key_scope)
        .bytes("hash", r->key_hash)
        .number_u64("offset", r->pub.offset)
        .date("time", r->pub.time_ms)
        .date("expires", r->key_expires_ms);
  }
  records twice;
  const mongo_failure f = insert(kKeys, all, documents, &twice, no);
  return f || twice.empty() ? f : renew_keys(twice);
}

// Of two uses of a key the later one counts: the first has expired.
mongo_failure mongo_sink::renew_keys(const records& twice) noexcept {
  std::map<std::string_view, std::map<std::string_view, const history_record*>> wanted;
  for (const history_record* r : twice) wanted[r->channel][r->key_scope] = r;
  std::vector<mongo_update> updates;
  for (const auto& each : wanted) {
    const std::map<std::string_view, const history_record*>& by_scope = each.second;
    doc scopes, filter;
    size_t n = 0;
    for (const auto& [scope, r] : by_scope) scopes.bytes(std::to_string(n++).c_str(), scope);
    filter.text("channel", each.first).sub("scope", doc().array("$in", scopes));
    const mongo_failure f = mongo_find_each(c_.client, kKeys, filter, doc(), [&](const bson_t& d) {
      const auto it = by_scope.find(doc_bytes(d, "scope"));
      if (it == by_scope.end()) return true;
      const history_record& r = *it->second;
      const auto offset = static_cast<uint64_t>(doc_number(d, "offset"));
      const bool is_newer = offset == r.pub.offset ? doc_number(d, "expires") < r.key_expires_ms
                                                   : offset < r.pub.offset;
      if (is_newer)
        updates.push_back(key_update(
            {r.channel, r.key_scope, r.key_hash, r.pub.offset, r.pub.time_ms, r.key_expires_ms}));
      return true;
    });
    if (f) return f;
  }
  return change(kKeys, updates);
}

mongo_failure mongo_sink::put_user_channels(const records& all) noexcept {
  std::vector<mongo_update> updates;
  for (const history_record* r : all)
    updates.push_back(user_channel_update(r->user, r->channel, r->read_offset));
  return change(kUserChannels, updates);
}

// Positions first: whatever of the page is there, no offset of it is given again.
core::err mongo_sink::put(const history_page& page, std::string* why) noexcept {
  records channels, publications, keys, user_channels;
  for (const history_record& r : page) {
    if (r.kind == history_kind::channel) channels.push_back(&r);
    if (r.kind == history_kind::publication) publications.push_back(&r);
    if (r.kind == history_kind::user_channel) user_channels.push_back(&r);
    if (r.kind == history_kind::key || !r.key_scope.empty()) keys.push_back(&r);
  }
  core::err rc = stay(why);
  if (rc != core::err::ok) return rc;
  refusal no;
  rc = c_.ask(why, [&] {
    mongo_failure f = put_channels(channels, &no);
    if (!f && no.rc == core::err::ok) f = put_publications(publications, &no);
    if (!f && no.rc == core::err::ok) f = put_keys(keys, &no);
    if (!f && no.rc == core::err::ok) f = put_user_channels(user_channels);
    return f;
  });
  if (rc != core::err::ok || no.rc == core::err::ok) return rc;
  *why = no.why;
  return no.rc;
}

core::err mongo_sink::end(const history_counts&, std::string* why) noexcept {
  return c_.ask(why, [&] { return leave(true); });
}

}  // namespace

core::err open_mongo_sink(const mongo_transfer_options& o, std::unique_ptr<history_sink>* out,
                          std::string* why) noexcept {
  auto s = std::make_unique<mongo_sink>();
  const core::err rc = s->open(o, why);
  if (rc == core::err::ok) *out = std::move(s);
  return rc;
}

}  // namespace store
