// A history out of a MongoDB database. Pages are ranges of the indexes; no cursor lives longer than
// one.
#include "store/mongo_transfer.h"

namespace store {
namespace {

std::string busy(const mongo_connection& c, const mongo_writer& w) {
  const int64_t age = c.options.clock->wall_ms() - w.seen_ms;
  return c.name() + " has a writer that was seen " +
         std::to_string(std::max<int64_t>(age, 0) / 1000) +
         " s ago: " + (w.import.empty() ? "stop parleyd" : "another import") +
         (w.import.empty() ? " first"
                           : ". If it is gone, try again in " +
                                 std::to_string(c.options.lease_ms / 1000) + " s");
}

doc by_offset(int32_t direction, size_t limit) {
  doc o;
  o.sub("sort", doc().small("channel", direction).small("offset", direction))
      .sub("hint", doc().small("channel", 1).small("offset", 1))
      .number("limit", static_cast<int64_t>(limit));
  return o;
}

uint64_t number_of(const bson_t& d, const char* key) {
  return static_cast<uint64_t>(std::max<int64_t>(doc_number(d, key), 0));
}

class mongo_reader_of_all final : public history_reader {
 public:
  core::err open(const mongo_transfer_options& o, std::string* why) noexcept {
    return c_.open(o, why);
  }
  core::err begin(history_head* head, std::string* why) noexcept override;
  core::err channels(const std::string& after, history_page* out,
                     std::string* why) noexcept override;
  core::err publications(const std::string& channel, uint64_t after, history_page* out,
                         std::string* why) noexcept override;
  core::err keys(const std::string& channel, uint64_t after, history_page* out,
                 std::string* why) noexcept override;
  core::err user_channels(const std::string& user, const std::string& channel, history_page* out,
                          std::string* why) noexcept override;
  core::err end(std::string* why) noexcept override;
  uint64_t publications_about() noexcept override {
    return static_cast<uint64_t>(std::max<int64_t>(mongo_count_about(c_.client, kPublications), 0));
  }

 private:
  struct found {
    history_record record;
    uint64_t shift = 0;  // of its document
  };
  mongo_failure find_channels(const std::string& after, std::vector<found>* out) noexcept;
  mongo_failure add_unlisted(const std::string& after, std::vector<found>* out) noexcept;
  mongo_failure first_published(const std::string& after, std::string* out) noexcept;
  mongo_failure complete(found* f) noexcept;
  mongo_failure find_user_channels(const doc& filter, history_page* out) noexcept;

  mongo_connection c_;
  mongo_writer writer_;
  int64_t now_ms_ = 0;
};

core::err mongo_reader_of_all::begin(history_head* head, std::string* why) noexcept {
  core::err rc = c_.ask(why, [&] { return mongo_find_writer(c_.client, &writer_); });
  if (rc != core::err::ok) return rc;
  if (!writer_.is_there) {
    *why = "there is no history in " + c_.name();
    return core::err::invalid;
  }
  rc = mongo_check_rest(c_, writer_, why);
  if (rc != core::err::ok) return rc;
  if (writer_.import == kImportNew) {
    *why = c_.name() + ": " + kMongoImportIsOpen;
    return core::err::invalid;
  }
  *head = {writer_.place.epoch, writer_.place.shift};
  now_ms_ = c_.options.clock->wall_ms();
  return rc;
}

core::err mongo_reader_of_all::end(std::string* why) noexcept {
  mongo_writer now;
  const core::err rc = c_.ask(why, [&] { return mongo_find_writer(c_.client, &now); });
  if (rc != core::err::ok) return rc;
  if (now.spool == writer_.spool && now.seen_ms == writer_.seen_ms) return rc;
  *why = "parleyd or an import has begun to write to " + c_.name() + " meanwhile: export again";
  return core::err::denied;
}

mongo_failure mongo_reader_of_all::find_channels(const std::string& after,
                                                 std::vector<found>* out) noexcept {
  doc options;
  options.sub("sort", doc().small("_id", 1)).number("limit", kHistoryPageMax);
  return mongo_find_each(c_.client, kChannels, doc().sub("_id", doc().text("$gt", after)), options,
                         [&](const bson_t& d) {
                           found f;
                           f.record.channel = doc_text(d, "_id");
                           f.record.top = number_of(d, "top");
                           f.record.last_ms = doc_number(d, "last");
                           f.record.keep = {number_of(d, "size_max"), number_of(d, "ttl_ms")};
                           f.shift = number_of(d, "shift");
                           out->push_back(std::move(f));
                           return true;
                         });
}

mongo_failure mongo_reader_of_all::first_published(const std::string& after,
                                                   std::string* out) noexcept {
  out->clear();
  return mongo_find_each(c_.client, kPublications, doc().sub("channel", doc().text("$gt", after)),
                         by_offset(1, 1), [&](const bson_t& d) {
                           *out = doc_text(d, "channel");
                           return false;
                         });
}

// A channel may have publications and no document, after a loss of the spool at that moment.
mongo_failure mongo_reader_of_all::add_unlisted(const std::string& after,
                                                std::vector<found>* out) noexcept {
  const std::string up_to = out->size() < kHistoryPageMax ? "" : out->back().record.channel;
  std::string last = after, name;
  for (size_t i = 0, added = 0; added < kHistoryPageMax; last = name) {
    const mongo_failure f = first_published(last, &name);
    if (f || name.empty() || (!up_to.empty() && name > up_to)) return f;
    while (i < out->size() && (*out)[i].record.channel < name) ++i;
    if (i < out->size() && (*out)[i].record.channel == name) continue;
    found unlisted;
    unlisted.record.channel = name;
    out->insert(out->begin() + static_cast<std::ptrdiff_t>(i), std::move(unlisted));
    if (++added == kHistoryPageMax) out->resize(i + 1);  // the rest is asked for again
  }
  return {};
}

// The position as a node finds it (mongo_reader.cc): its document may be behind its publications,
// and epochs since may have used the offsets behind them.
mongo_failure mongo_reader_of_all::complete(found* c) noexcept {
  history_record* r = &c->record;
  const mongo_failure f =
      mongo_find_each(c_.client, kPublications, doc().text("channel", r->channel), by_offset(-1, 1),
                      [&](const bson_t& d) {
                        const uint64_t offset = number_of(d, "offset");
                        if (offset <= r->top) return false;
                        r->top = offset;
                        r->last_ms = doc_number(d, "time");
                        return false;
                      });
  if (writer_.place.shift > c->shift) r->top += writer_.place.shift - c->shift;
  return f;
}

core::err mongo_reader_of_all::channels(const std::string& after, history_page* out,
                                        std::string* why) noexcept {
  std::vector<found> all;
  const core::err rc = c_.ask(why, [&] {
    all.clear();
    mongo_failure f = find_channels(after, &all);
    if (!f) f = add_unlisted(after, &all);
    for (found& c : all)
      if (!f) f = complete(&c);
    return f;
  });
  out->clear();
  for (found& c : all) out->push_back(std::move(c.record));
  return rc;
}

core::err mongo_reader_of_all::publications(const std::string& channel, uint64_t after,
                                            history_page* out, std::string* why) noexcept {
  doc filter;
  filter.text("channel", channel).sub("offset", doc().number_u64("$gt", after));
  return c_.ask(why, [&] {
    out->clear();
    uint64_t bytes = 0;
    return mongo_find_each(c_.client, kPublications, filter, by_offset(1, kHistoryPageMax),
                           [&](const bson_t& d) {
                             stored_publication p;
                             if (!publication_parse(d, &p)) return true;
                             out->emplace_back();
                             history_record& r = out->back();
                             r.kind = history_kind::publication;
                             r.channel = channel;
                             r.pub = std::move(p.pub);
                             r.user = std::move(p.user);
                             r.refers = p.refers;
                             r.is_deleted = p.is_deleted;
                             if (p.epoch != writer_.place.epoch) r.epoch = std::move(p.epoch);
                             bytes += history_bytes(r);
                             return bytes < kHistoryPageBytesMax;
                           });
  });
}

core::err mongo_reader_of_all::keys(const std::string& channel, uint64_t after, history_page* out,
                                    std::string* why) noexcept {
  doc filter, options;
  filter.text("channel", channel)
      .sub("offset", doc().number_u64("$gt", after))
      .sub("expires", doc().date("$gt", now_ms_));
  options.sub("sort", doc().small("offset", 1))
      .sub("hint", doc().small("channel", 1).small("scope", 1))
      .number("limit", kHistoryKeysMax);
  return c_.ask(why, [&] {
    out->clear();
    uint64_t bytes = 0;
    return mongo_find_each(c_.client, kKeys, filter, options, [&](const bson_t& d) {
      out->emplace_back();
      history_record& r = out->back();
      r.kind = history_kind::key;
      r.channel = channel;
      r.key_scope = doc_bytes(d, "scope");
      r.key_hash = doc_bytes(d, "hash");
      r.pub.offset = number_of(d, "offset");
      r.pub.time_ms = doc_number(d, "time");
      r.key_expires_ms = doc_number(d, "expires");
      bytes += history_bytes(r);
      return bytes < kHistoryKeysBytesMax;
    });
  });
}

mongo_failure mongo_reader_of_all::find_user_channels(const doc& filter,
                                                      history_page* out) noexcept {
  doc options;
  options.sub("sort", doc().small("user", 1).small("channel", 1))
      .sub("hint", doc().small("user", 1).small("channel", 1))
      .number("limit", kHistoryPageMax);
  return mongo_find_each(c_.client, kUserChannels, filter, options, [&](const bson_t& d) {
    out->emplace_back();
    history_record& r = out->back();
    r.kind = history_kind::user_channel;
    r.user = doc_text(d, "user");
    r.channel = doc_text(d, "channel");
    r.read_offset = number_of(d, "read");
    return true;
  });
}

// The rest of the user's, else those of the next users.
core::err mongo_reader_of_all::user_channels(const std::string& user, const std::string& channel,
                                             history_page* out, std::string* why) noexcept {
  return c_.ask(why, [&] {
    out->clear();
    const mongo_failure f = find_user_channels(
        doc().text("user", user).sub("channel", doc().text("$gt", channel)), out);
    if (f || !out->empty()) return f;
    return find_user_channels(doc().sub("user", doc().text("$gt", user)), out);
  });
}

}  // namespace

core::err mongo_check_rest(const mongo_connection& c, const mongo_writer& w,
                           std::string* why) noexcept {
  if (w.schema > kMongoSchema) {
    *why = c.name() + " was made by a newer version (schema " + std::to_string(w.schema) +
           ", this one knows " + std::to_string(kMongoSchema) + ")";
    return core::err::invalid;
  }
  if (w.is_released) return core::err::ok;
  const int64_t age = c.options.clock->wall_ms() - w.seen_ms;
  if (age < static_cast<int64_t>(c.options.lease_ms)) {
    *why = busy(c, w);
    return core::err::denied;
  }
  if (!w.import.empty()) return core::err::ok;
  *why = "the last parleyd of " + c.name() +
         " did not end with everything stored: its spool may have publications that are not here. "
         "Start it there again, wait until its backlog is empty, and stop it";
  return core::err::denied;
}

core::err open_mongo_source(const mongo_transfer_options& o, std::unique_ptr<history_source>* out,
                            std::string* why) noexcept {
  auto r = std::make_unique<mongo_reader_of_all>();
  const core::err rc = r->open(o, why);
  if (rc == core::err::ok) *out = history_walk(std::move(r));
  return rc;
}

}  // namespace store
