// The order of a batch: publications, then what goes with them (blanked ones, keys, positions).
// Each step may be repeated: a crash anywhere in between repeats all of it from the spool.
#include "store/mongo_batch.h"

#include <algorithm>

#include "core/log.h"

namespace store {
namespace {

// A document that the server refuses, with a code that may mean "not now", so often is refused for
// good.
constexpr uint32_t kRefusalsMax = 8;
// A dead letter keeps the document itself up to this, the reason always.
constexpr size_t kDeadLetterBytesMax = 12u << 20;

bool is_permanent(int32_t code, uint32_t refusals) noexcept {
  switch (code) {
    case kInvalidHere:  // the driver's own check
    case 2:             // BadValue
    case 22:            // InvalidBSON
    case 121:           // DocumentValidationFailure
    case 10334:         // BSONObjectTooLarge
    case 17280:         // KeyTooLong
    case 17419:         // the document would be too large
    case 17420:
      return true;
    default:
      return !mongo_is_transient(code) && refusals >= kRefusalsMax;
  }
}

// Its _id is the publication's, so that a replay buries it once.
doc dead_letter(const batch_item& i, const mongo_write_error& e, bool has_document) {
  doc d;
  bson_t refused;
  if (doc_view(i.record.bson, &refused)) d.same("_id", refused);
  d.text("channel", i.record.channel)
      .number_u64("offset", i.record.offset)
      .date("time", i.record.time_ms)
      .small("code", e.code)
      .text("reason", e.text)
      .number_u64("bytes", i.record.bson.size());
  // As bytes: whatever is wrong with the document is not wrong with these.
  if (has_document) d.bytes("document", i.record.bson);
  return d;
}

bool bury(mongo_core* c, mongo_client* client, batch_item* i, const mongo_write_error& e,
          mongo_failure* failure) noexcept {
  const bool is_small = i->record.bson.size() <= kDeadLetterBytesMax;
  const doc whole = dead_letter(*i, e, is_small);
  mongo_bulk_result r = mongo_insert(client, kDeadLetters, {whole.view()});
  if (!r.failure && !r.errors.empty() && r.errors[0].code != kDuplicateKey && is_small) {
    const doc reason = dead_letter(*i, e, false);  // the server may take less than that
    r = mongo_insert(client, kDeadLetters, {reason.view()});
  }
  if (!r.failure && !r.errors.empty() && r.errors[0].code != kDuplicateKey)
    r.failure = {r.errors[0].code, r.errors[0].text + " "};
  *failure = r.failure;
  if (r.failure) return false;
  core::log_error("MongoDB refuses a publication for good; it is in the dead letters",
                  {{"channel", i->record.channel},
                   {"offset", i->record.offset},
                   {"code", e.code},
                   {"reason", e.text}});
  c->counters.dead_letters.fetch_add(1, std::memory_order_relaxed);
  i->is_there = true;
  return true;
}

void alarm(mongo_core* c, batch* b, batch_item* i) noexcept {
  core::log_error("MongoDB has another publication at this place; the channel is stopped",
                  {{"channel", i->record.channel}, {"offset", i->record.offset}});
  c->counters.conflicts.fetch_add(1, std::memory_order_relaxed);
  for (auto& other : b->items)
    if (other->channel == i->channel && other->place.seq >= i->place.seq) other->is_stuck = true;
  const std::lock_guard<std::mutex> held(c->lock);
  i->channel->is_stuck = true;
}

// What stands at these places already: by channel one find over their range.
bool compare(mongo_core* c, mongo_client* client, batch* b, const std::vector<batch_item*>& twice,
             mongo_failure* failure) noexcept {
  std::map<mongo_channel*, std::pair<uint64_t, uint64_t>> ranges;
  std::map<std::pair<mongo_channel*, uint64_t>, batch_item*> wanted;
  for (batch_item* i : twice) {
    const auto [it, is_new] = ranges.try_emplace(i->channel, i->record.offset, i->record.offset);
    it->second.first = std::min(it->second.first, i->record.offset);
    it->second.second = std::max(it->second.second, i->record.offset);
    wanted[{i->channel, i->record.offset}] = i;
  }
  std::vector<batch_item*> others;
  for (const auto& [channel_at, range] : ranges) {
    mongo_channel* const channel = channel_at;  // lambdas of older clangs take no binding
    doc filter;
    filter.text("channel", channel->name)
        .sub("offset", doc().number_u64("$gte", range.first).number_u64("$lte", range.second));
    doc options;
    options.sub("hint", doc().small("channel", 1).small("offset", 1));
    *failure = mongo_find_each(client, kPublications, filter, options, [&](const bson_t& d) {
      stored_publication there, ours;
      bson_t mine;
      if (!publication_parse(d, &there)) return true;
      const auto it = wanted.find({channel, there.pub.offset});
      if (it == wanted.end() || !doc_view(it->second->record.bson, &mine)) return true;
      if (publication_parse(mine, &ours) && publication_same(there, ours))
        it->second->is_there = true;
      else
        others.push_back(it->second);
      return true;
    });
    if (*failure) return false;
  }
  for (batch_item* i : others)
    if (!i->is_stuck) alarm(c, b, i);
  uint64_t same = 0;
  for (const batch_item* i : twice) same += i->is_there;
  c->counters.duplicates.fetch_add(same, std::memory_order_relaxed);
  return true;
}

bool insert(mongo_core* c, mongo_client* client, batch* b, mongo_failure* failure) noexcept {
  std::vector<std::string_view> documents;
  std::vector<batch_item*> sent, twice;
  for (auto& i : b->items) {
    if (i->is_there || i->is_stuck || i->is_removal) continue;
    sent.push_back(i.get());
    documents.push_back(i->record.bson);
  }
  if (sent.empty()) return true;
  const mongo_bulk_result r = mongo_insert(client, kPublications, documents);
  *failure = r.failure;
  if (r.failure) return false;
  std::vector<const mongo_write_error*> errors(sent.size(), nullptr);
  for (const mongo_write_error& e : r.errors) errors[e.index] = &e;
  for (size_t n = 0; n < sent.size(); ++n) {
    if (errors[n] == nullptr) {
      sent[n]->is_there = true;
    } else if (errors[n]->code == kDuplicateKey) {
      twice.push_back(sent[n]);
    } else if (is_permanent(errors[n]->code, ++sent[n]->refusals)) {
      if (!bury(c, client, sent[n], *errors[n], failure)) return false;
    } else {
      *failure = {errors[n]->code, errors[n]->text + " "};
    }
  }
  mongo_failure asking;
  if (!twice.empty() && !compare(c, client, b, twice, &asking)) *failure = asking;
  for (const batch_item* i : sent)
    if (!i->is_there && !i->is_stuck && !*failure)
      *failure = {0, "a publication was deleted while it was compared"};
  return !*failure;
}

// Of updates, all of which must be done. One that is refused for good is told and left.
bool change(mongo_core* c, mongo_client* client, const char* collection,
            const std::vector<mongo_update>& updates, uint32_t* refusals,
            mongo_failure* failure) noexcept {
  if (updates.empty()) return true;
  const mongo_bulk_result r = mongo_change(client, collection, updates);
  *failure = r.failure;
  if (r.failure) return false;
  *refusals += !r.errors.empty();
  for (const mongo_write_error& e : r.errors) {
    if (is_permanent(e.code, *refusals)) {
      core::log_error("MongoDB refuses an update for good",
                      {{"collection", collection}, {"code", e.code}, {"reason", e.text}});
      c->counters.dead_letters.fetch_add(1, std::memory_order_relaxed);
    } else {
      *failure = {e.code, e.text + " "};
    }
  }
  return !*failure;
}

doc blanked_fields() {
  doc set;
  set.text("data", "null").flag("deleted", true);
  return set;
}

void add_blanks(const batch_item& i, std::vector<mongo_update>* out) {
  mongo_update edits;
  edits.filter.text("channel", i.record.channel)
      .number_u64("refers", i.record.refers)
      .sub("offset", doc().number_u64("$lt", i.record.offset));
  edits.update.sub("$set", blanked_fields());
  edits.is_many = true;
  out->push_back(blank_update(i.record.channel, i.record.refers));
  out->push_back(std::move(edits));
}

}  // namespace

mongo_update blank_update(std::string_view channel, uint64_t offset) noexcept {
  mongo_update u;
  u.filter.text("channel", channel).number_u64("offset", offset);
  u.update.sub("$set", blanked_fields());
  return u;
}

mongo_update key_update(const key_place& k) noexcept {
  mongo_update u;
  u.filter.text("channel", k.channel).bytes("scope", k.scope);
  doc set;
  set.bytes("hash", k.hash)
      .number_u64("offset", k.offset)
      .date("time", k.time_ms)
      .date("expires", k.expires_ms);
  u.update.sub("$set", set);
  u.is_upsert = true;
  return u;
}

mongo_update top_update(const channel_top& t) noexcept {
  mongo_update u;
  u.filter.text("_id", t.channel);
  doc set;
  set.date("last", t.last_ms)
      .number_u64("size_max", t.keep.size_max)
      .number_u64("ttl_ms", t.keep.ttl_ms);
  u.update.sub("$max", doc().number_u64("top", t.top).number_u64("shift", t.shift))
      .sub("$set", set);
  u.is_upsert = true;
  return u;
}

bool batch_try(mongo_core* c, mongo_client* client, batch* b, mongo_failure* failure) noexcept {
  ++b->tries;
  *failure = {};
  if (b->items.size() == 1 && b->items[0]->is_removal) {
    if (b->items[0]->is_stuck) return true;  // what stands there is not what was to be removed
    doc filter;
    filter.text("channel", b->items[0]->record.channel)
        .sub("offset", doc().number_u64("$lte", b->items[0]->record.offset));
    *failure = mongo_remove(client, kPublications, filter);
    return !*failure;
  }
  if (!insert(c, client, b, failure)) return false;
  std::vector<mongo_update> blanks, keys, positions;
  std::map<std::pair<mongo_channel*, std::string_view>, const batch_item*> last_uses;
  std::map<mongo_channel*, const batch_item*> newest;
  for (const auto& i : b->items) {
    if (i->is_stuck) continue;
    newest[i->channel] = i.get();
    if (i->record.is_delete) add_blanks(*i, &blanks);
    if (!i->record.key_scope.empty()) last_uses[{i->channel, i->record.key_scope}] = i.get();
  }
  // One update a key: unordered ones of the same document may be done in any order.
  for (const auto& [key, item] : last_uses) {
    const spool_record& r = item->record;
    keys.push_back(
        key_update({r.channel, r.key_scope, r.key_hash, r.offset, r.time_ms, r.key_expires_ms}));
  }
  for (const auto& [channel, item] : newest) {
    const spool_record& r = item->record;
    positions.push_back(top_update({r.channel, r.offset, c->shift, r.time_ms, r.keep}));
  }
  return change(c, client, kPublications, blanks, &b->blank_refusals, failure) &&
         change(c, client, kKeys, keys, &b->key_refusals, failure) &&
         change(c, client, kChannels, positions, &b->position_refusals, failure);
}

}  // namespace store
