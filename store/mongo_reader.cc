// A page has two parts: below the first publication of the channel's tail MongoDB has everything,
// from there on the spool has. The border moves upwards while a page is read, so it is looked at
// again wherever the page goes on. Every find is a range of the index (channel, offset).
#include "store/mongo_reader.h"

#include <algorithm>

#include "core/log.h"

namespace store {
namespace {

constexpr int64_t kUserChannelsMax = 10'000;  // of one user that are looked at
constexpr uint64_t kTailAtOnce = 512;         // publications of the tail under the lock
constexpr size_t kLastsAtOnce = 100;          // (channel, offset) pairs in one find

// A channel at one moment.
struct snapshot {
  bool is_known = false;
  uint64_t top = 0, removed_up_to = 0;
  std::vector<blanked> blanks;
};

struct window {
  uint64_t low = 1, high = 0;  // offsets, inclusive
};

snapshot look(mongo_core* c, const std::string& name) noexcept {
  snapshot s;
  const std::lock_guard<std::mutex> held(c->lock);
  const auto it = c->channels.find(name);
  if (it == c->channels.end() || !it->second->is_known) return s;
  const mongo_channel& m = *it->second;
  s.is_known = true;
  s.top = m.top;
  s.removed_up_to = m.removed_up_to;
  s.blanks = m.blanks;
  return s;
}

// Some of the tail's publications within the window, from its low or its high end. Returns where
// the tail begins now; everything before is in MongoDB. The window's end at which to go on moves.
uint64_t take_tail(mongo_core* c, const std::string& name, bool is_reverse, uint64_t count_max,
                   window* w, std::vector<tail_entry>* out) noexcept {
  out->clear();
  const std::lock_guard<std::mutex> held(c->lock);
  const auto it = c->channels.find(name);
  if (it == c->channels.end() || !it->second->is_known) return w->high + 1;
  const mongo_channel& m = *it->second;
  const uint64_t first = tail_first(m);
  const uint64_t high = std::min(w->high, m.top);
  for (uint64_t n = std::min(count_max, kTailAtOnce); n > 0 && w->low <= w->high; --n) {
    const uint64_t at = is_reverse ? w->high : w->low;
    if (at < first || at > high) break;
    out->push_back(m.tail[at - first]);
    is_reverse ? --w->high : ++w->low;
  }
  return first;
}

bool has_failed(mongo_core* c, const mongo_failure& f) noexcept {
  if (!f) return false;
  static core::log_limit once;
  if (core::log_limit_pass(&once, 1000))
    core::log_warn("MongoDB does not answer a read", {{"reason", f.text}, {"code", f.code}});
  if (f.code == 0) c->is_connected.store(false, std::memory_order_relaxed);
  return true;
}

// Options of every find by (channel, offset).
doc page_options(int32_t direction, int64_t limit) {
  doc o;
  o.sub("sort", doc().small("channel", direction).small("offset", direction))
      .sub("hint", doc().small("channel", 1).small("offset", 1));
  if (limit > 0) o.number("limit", limit);
  return o;
}

doc page_filter(const std::string& channel, uint64_t low, uint64_t high) {
  doc f;
  f.text("channel", channel).sub("offset", doc().number_u64("$gte", low).number_u64("$lte", high));
  return f;
}

struct channel_place {
  uint64_t top = 0;
  int64_t last_ms = 0;
};

// What the database says of a channel: its document may be behind its publications after a loss of
// the spool.
mongo_failure find_place(mongo_core* c, mongo_client* client, const std::string& name,
                         channel_place* out) noexcept {
  uint64_t shift = 0;
  mongo_failure f = mongo_find_each(client, kChannels, doc().text("_id", name),
                                    doc().number("limit", 1), [&](const bson_t& d) {
                                      out->top = static_cast<uint64_t>(doc_number(d, "top"));
                                      out->last_ms = doc_number(d, "last");
                                      shift = static_cast<uint64_t>(doc_number(d, "shift"));
                                      return true;
                                    });
  if (f) return f;
  f = mongo_find_each(client, kPublications, page_filter(name, 1, INT64_MAX), page_options(-1, 1),
                      [&](const bson_t& d) {
                        const auto offset = static_cast<uint64_t>(doc_number(d, "offset"));
                        if (offset <= out->top) return true;
                        out->top = offset;
                        out->last_ms = doc_number(d, "time");
                        return true;
                      });
  // Epochs that have begun since may have used the offsets behind it.
  if (!f && c->shift > shift) out->top += c->shift - shift;
  return f;
}

void blank(const snapshot& s, stored_publication* p) {
  for (const blanked& b : s.blanks)
    if (p->pub.offset == b.target || (p->refers == b.target && p->pub.offset < b.by))
      p->pub.data = "null";
}

// Puts it on the page. False: the page is cut.
bool take(stored_publication* p, const snapshot& s, page_budget* budget, read_result* out) {
  blank(s, p);
  out->is_cut = !page_take(budget, publication_bytes(p->pub), out->pubs.empty());
  if (!out->is_cut) out->pubs.push_back(std::move(p->pub));
  return !out->is_cut;
}

bool read_entry(const tail_entry& e, stored_publication* p) noexcept {
  std::string bytes;
  spool_record r;
  bson_t d;
  if (spool_read(e.place, &bytes) == core::err::ok && record_parse(bytes, &r) &&
      doc_view(r.bson, &d) && publication_parse(d, p))
    return true;
  core::log_error("a record of the spool cannot be read", {{"seq", e.place.seq}});
  return false;
}

// MongoDB's publications in the window. False: failed or cut.
bool read_stored(mongo_core* c, mongo_client* client, const snapshot& s, const window& w,
                 const read_request& q, page_budget* budget, read_result* out) noexcept {
  const auto limit = static_cast<int64_t>(q.limit - out->pubs.size());
  const mongo_failure f =
      mongo_find_each(client, kPublications, page_filter(q.channel, w.low, w.high),
                      page_options(q.is_reverse ? -1 : 1, limit), [&](const bson_t& d) {
                        stored_publication p;
                        return !publication_parse(d, &p) || take(&p, s, budget, out);
                      });
  if (has_failed(c, f)) out->rc = core::err::unavailable;
  return !out->is_cut && out->rc == core::err::ok;
}

// The window, from one end to the other. What a drain brings over meanwhile is found in MongoDB.
void read_both(mongo_core* c, mongo_client* client, const snapshot& s, window w,
               const read_request& q, read_result* out) noexcept {
  page_budget budget{q.bytes_max};
  std::vector<tail_entry> some;
  while (w.low <= w.high && out->pubs.size() < q.limit) {
    const uint64_t first =
        take_tail(c, q.channel, q.is_reverse, q.limit - out->pubs.size(), &w, &some);
    for (const tail_entry& e : some) {
      stored_publication p;
      if (!read_entry(e, &p)) {
        out->rc = core::err::io;
        return;
      }
      if (!take(&p, s, &budget, out)) return;
    }
    if (!some.empty()) continue;
    const window stored = {w.low, std::min(w.high, first - 1)};
    if (!read_stored(c, client, s, stored, q, &budget, out) || q.is_reverse) return;
    w.low = stored.high + 1;
  }
}

// Moves the window to the first publication that is young enough; empty: none is.
bool find_young(mongo_core* c, mongo_client* client, const read_request& q, int64_t oldest_ms,
                window* w) noexcept {
  std::vector<tail_entry> some;
  while (w->low <= w->high) {
    const uint64_t from = w->low;
    const uint64_t first = take_tail(c, q.channel, false, kTailAtOnce, w, &some);
    for (size_t i = 0; i < some.size(); ++i) {
      if (some[i].time_ms <= oldest_ms) continue;
      w->low = from + i;
      return true;
    }
    if (!some.empty()) continue;
    const uint64_t last = std::min(w->high, first - 1);
    bool is_found = false;
    doc filter = page_filter(q.channel, w->low, last);
    filter.sub("time", doc().date("$gt", oldest_ms));
    const mongo_failure f =
        mongo_find_each(client, kPublications, filter, page_options(1, 1), [&](const bson_t& d) {
          w->low = static_cast<uint64_t>(doc_number(d, "offset"));
          is_found = true;
          return false;
        });
    if (has_failed(c, f)) return false;
    if (is_found) return true;
    w->low = last + 1;
  }
  return true;
}

void read_window(mongo_core* c, mongo_client* client, const snapshot& s, const read_request& q,
                 read_result* out) noexcept {
  window w;
  w.low = std::max(keep_floor(q.keep, s.top), s.removed_up_to) + 1;
  w.high = s.top;
  const int64_t oldest_ms = keep_oldest_ms(q.keep, q.now_ms);
  if (oldest_ms != kNoAge && !find_young(c, client, q, oldest_ms, &w)) {
    out->rc = core::err::unavailable;
    return;
  }
  if (!q.is_reverse && q.since > 0) {
    if (q.since >= w.high) return;
    w.low = std::max(w.low, q.since + 1);
  }
  if (q.is_reverse && q.since > 0) w.high = std::min(w.high, q.since - 1);
  read_both(c, client, s, w, q, out);
}

// The channel's state, from the database when nobody has written to it since the start. Then it is
// looked at again: what was written meanwhile may be there in part.
bool look_or_ask(mongo_core* c, mongo_client* client, const std::string& name,
                 snapshot* out) noexcept {
  *out = look(c, name);
  if (out->is_known) return true;
  channel_place place;
  if (has_failed(c, find_place(c, client, name, &place))) return false;
  *out = look(c, name);
  if (!out->is_known) out->top = place.top;
  return true;
}

struct listed {
  user_channel u;
  int64_t last_ms = 0;
};

mongo_failure find_listed(mongo_client* client, const std::string& user,
                          std::vector<listed>* out) noexcept {
  return mongo_find_each(client, kUserChannels, doc().text("user", user),
                         doc().number("limit", kUserChannelsMax), [&](const bson_t& d) {
                           listed l;
                           l.u.channel = doc_text(d, "channel");
                           l.u.read_offset = static_cast<uint64_t>(doc_number(d, "read"));
                           out->push_back(std::move(l));
                           return true;
                         });
}

// Positions as the database has them, then as we know them better.
mongo_failure find_positions(mongo_core* c, mongo_client* client,
                             std::vector<listed>* all) noexcept {
  doc names;
  std::unordered_map<std::string_view, listed*> by_name;
  for (size_t i = 0; i < all->size(); ++i) {
    listed& l = (*all)[i];
    l.u.top.epoch = c->epoch;
    l.u.top.offset = c->shift;
    names.text(std::to_string(i).c_str(), l.u.channel);
    by_name[l.u.channel] = &l;
  }
  const mongo_failure f = mongo_find_each(
      client, kChannels, doc().sub("_id", doc().array("$in", names)), doc(), [&](const bson_t& d) {
        const auto it = by_name.find(doc_text(d, "_id"));
        if (it == by_name.end()) return true;
        it->second->u.top.offset =
            static_cast<uint64_t>(doc_number(d, "top")) + c->shift -
            std::min(c->shift, static_cast<uint64_t>(doc_number(d, "shift")));
        it->second->last_ms = doc_number(d, "last");
        return true;
      });
  const std::lock_guard<std::mutex> held(c->lock);
  for (listed& l : *all) {
    const auto it = c->channels.find(l.u.channel);
    if (it == c->channels.end() || !it->second->is_known) continue;
    l.u.top.offset = it->second->top;
    l.last_ms = it->second->last_ms;
  }
  return f;
}

// The newest publication of each, if it is kept: from the tail, the others with a few finds.
bool find_lasts(mongo_core* c, mongo_client* client, std::vector<listed>* all) noexcept {
  std::unordered_map<std::string, listed*> wanted;
  doc pairs;
  std::vector<tail_entry> some;
  const auto ask = [&] {
    if (wanted.empty()) return true;
    const mongo_failure f = mongo_find_each(client, kPublications, doc().array("$or", pairs), doc(),
                                            [&](const bson_t& d) {
                                              stored_publication p;
                                              if (!publication_parse(d, &p)) return true;
                                              const auto it = wanted.find(p.channel);
                                              if (it != wanted.end())
                                                it->second->u.last = std::move(p.pub);
                                              return true;
                                            });
    wanted.clear();
    return !has_failed(c, f);
  };
  for (listed& l : *all) {
    const uint64_t top = l.u.top.offset;
    const snapshot s = look(c, l.u.channel);
    if (top == 0 || top <= s.removed_up_to) continue;
    window w = {top, top};
    take_tail(c, l.u.channel, false, 1, &w, &some);
    if (!some.empty()) {
      stored_publication p;
      if (!read_entry(some[0], &p)) return false;
      blank(s, &p);
      l.u.last = std::move(p.pub);
      continue;
    }
    pairs.sub(std::to_string(wanted.size()).c_str(),
              doc().text("channel", l.u.channel).number_u64("offset", top));
    wanted[l.u.channel] = &l;
    if (wanted.size() < kLastsAtOnce) continue;
    if (!ask()) return false;
    pairs.clear();
  }
  return ask();
}

void look_up_channel(mongo_core* c, mongo_client* client, lookup* l) noexcept {
  channel_place place;
  l->is_failed = has_failed(c, find_place(c, client, l->name, &place));
  if (l->is_failed) return;
  l->top = place.top;
  l->last_ms = place.last_ms;
  doc filter;
  filter.text("channel", l->name).sub("expires", doc().date("$gt", l->now_ms));
  const mongo_failure f = mongo_find_each(
      client, kKeys, filter, doc().number("limit", static_cast<int64_t>(kMongoKeysMax) + 1),
      [&](const bson_t& d) {
        known_key k;
        k.hash = doc_bytes(d, "hash");
        k.offset = static_cast<uint64_t>(doc_number(d, "offset"));
        k.time_ms = doc_number(d, "time");
        k.expires_ms = doc_number(d, "expires");
        l->keys.emplace_back(doc_bytes(d, "scope"), std::move(k));
        return true;
      });
  l->is_failed = has_failed(c, f);
  l->has_all_keys = l->keys.size() <= kMongoKeysMax;
}

void look_up_key(mongo_core* c, mongo_client* client, lookup* l) noexcept {
  doc filter;
  filter.text("channel", l->name)
      .bytes("scope", l->scope)
      .sub("expires", doc().date("$gt", l->now_ms));
  const mongo_failure f =
      mongo_find_each(client, kKeys, filter, doc().number("limit", 1), [&](const bson_t& d) {
        l->is_found = true;
        l->key.hash = doc_bytes(d, "hash");
        l->key.offset = static_cast<uint64_t>(doc_number(d, "offset"));
        l->key.time_ms = doc_number(d, "time");
        l->key.expires_ms = doc_number(d, "expires");
        return false;
      });
  l->is_failed = has_failed(c, f);
}

void look_up_reference(mongo_core* c, mongo_client* client, lookup* l) noexcept {
  const mongo_failure f =
      mongo_find_each(client, kPublications, page_filter(l->name, l->offset, l->offset),
                      page_options(1, 1), [&](const bson_t& d) {
                        l->is_found = publication_parse(d, &l->referred);
                        return false;
                      });
  l->is_failed = has_failed(c, f);
}

}  // namespace

void mongo_read_page(mongo_core* c, mongo_client* client, const read_request& q,
                     read_result* out) noexcept {
  snapshot s;
  out->top.epoch = c->epoch;
  if (!look_or_ask(c, client, q.channel, &s)) {
    out->rc = core::err::unavailable;
    return;
  }
  out->top.offset = s.top;
  if (q.limit == 0) return;
  read_window(c, client, s, q, out);
  if (out->rc == core::err::ok) return;
  const core::err rc = out->rc;
  *out = {};
  out->rc = rc;
}

void mongo_read_user_channels(mongo_core* c, mongo_client* client, const std::string& user,
                              uint32_t limit, user_channels_result* out) noexcept {
  std::vector<listed> all;
  bool is_failed = has_failed(c, find_listed(client, user, &all));
  if (!is_failed && !all.empty()) is_failed = has_failed(c, find_positions(c, client, &all));
  std::sort(all.begin(), all.end(), [](const listed& a, const listed& b) {
    return a.last_ms != b.last_ms ? a.last_ms > b.last_ms : a.u.channel < b.u.channel;
  });
  if (all.size() > limit) all.resize(limit);
  if (is_failed || !find_lasts(c, client, &all)) {
    out->rc = core::err::unavailable;
    return;
  }
  for (listed& l : all) {
    const uint64_t top = l.u.top.offset;
    l.u.unread = top > l.u.read_offset ? top - l.u.read_offset : 0;
    out->channels.push_back(std::move(l.u));
  }
}

void mongo_look_up(mongo_core* c, mongo_client* client, lookup* l) noexcept {
  switch (l->kind) {
    case lookup_kind::channel:
      return look_up_channel(c, client, l);
    case lookup_kind::key:
      return look_up_key(c, client, l);
    case lookup_kind::reference:
      return look_up_reference(c, client, l);
  }
}

}  // namespace store
