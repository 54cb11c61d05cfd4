// The readers' statements.
#include "store/sqlite_reader.h"

#include "store/page.h"

namespace store {
namespace {

// Everything between begin and end sees one state of the file (WAL).
template <typename Fn>
bool in_snapshot(reader* r, Fn fn) noexcept {
  if (!query(&r->begin).run()) return false;
  const bool is_ok = fn();
  const core::err why = r->file.last;
  const bool is_ended = query(&r->end).run();
  if (!is_ok) r->file.last = why;
  return is_ok && is_ended;
}

publication column_publication(query* q) {
  publication p;
  p.offset = q->column_u64(0);
  p.time_ms = q->column_int(1);
  p.data = q->column_text(2);
  p.info = q->column_text(3);
  p.tags = q->column_text(4);
  return p;
}

// The last offset before the page's window: by size, and by age the one before the oldest that is
// young enough.
bool find_floor(reader* r, int64_t id, uint64_t top, const read_request& req,
                uint64_t* floor) noexcept {
  *floor = keep_floor(req.keep, top);
  const int64_t oldest_ms = keep_oldest_ms(req.keep, req.now_ms);
  if (oldest_ms == kNoAge) return true;
  query q(&r->oldest_inside);
  const step s = q.number(id).number_u64(*floor).number(oldest_ms).next();
  *floor = s == step::row ? q.column_u64(0) - 1 : top;
  return s != step::failed;
}

bool read_page(reader* r, const read_request& req, read_result* out) noexcept {
  int64_t id = 0;
  {
    query q(&r->top);
    const step s = q.text(req.channel).next();
    if (s != step::row) return s == step::done;
    id = q.column_int(0);
    out->top.offset = q.column_u64(1);
  }
  uint64_t low = 0;  // exclusive, as `high`
  if (req.limit == 0) return true;
  if (!find_floor(r, id, out->top.offset, req, &low)) return false;
  uint64_t high = out->top.offset + 1;
  if (req.is_reverse && req.since > 0) high = std::min(high, req.since);
  if (!req.is_reverse) low = std::max(low, req.since);
  if (low >= out->top.offset) return true;
  query q(req.is_reverse ? &r->page_down : &r->page_up);
  q.number(id).number_u64(low).number_u64(high).number(req.limit);
  out->pubs.reserve(std::min<uint64_t>({req.limit, high - std::min(low, high), kPageReserveMax}));
  page_budget budget{req.bytes_max};
  for (;;) {
    const step s = q.next();
    if (s != step::row) return s == step::done;
    publication p = column_publication(&q);
    if (!page_take(&budget, publication_bytes(p), out->pubs.empty())) {
      out->is_cut = true;
      return true;
    }
    out->pubs.push_back(std::move(p));
  }
}

bool read_user_channels(reader* r, const std::string& user, uint32_t limit,
                        user_channels_result* out) noexcept {
  query q(&r->channels);
  q.text(user).number(limit);
  for (;;) {
    const step s = q.next();
    if (s != step::row) return s == step::done;
    user_channel u;
    u.channel = q.column_text(0);
    u.read_offset = q.column_u64(1);
    u.top.offset = q.column_u64(2);
    u.unread = u.top.offset > u.read_offset ? u.top.offset - u.read_offset : 0;
    u.top.epoch = r->epoch;
    query newest(&r->last);
    const step n = newest.number(q.column_int(3)).number_u64(u.top.offset).next();
    if (n == step::failed) return false;
    if (n == step::row) u.last = column_publication(&newest);
    out->channels.push_back(std::move(u));
  }
}

}  // namespace

bool reader_prepare(reader* r) noexcept {
  db* d = &r->file;
  return r->begin.prepare(d, "BEGIN") && r->end.prepare(d, "COMMIT") &&
         r->top.prepare(d, "SELECT id, top FROM channel WHERE name = ?") &&
         // Walks over what is too old and not yet swept.
         r->oldest_inside.prepare(
             d,
             "SELECT offset FROM publication WHERE channel_id = ? AND offset > ? AND time_ms > ? "
             "ORDER BY offset LIMIT 1") &&
         r->page_up.prepare(
             d,
             "SELECT offset, time_ms, data, info, tags FROM publication "
             "WHERE channel_id = ? AND offset > ? AND offset < ? ORDER BY offset LIMIT ?") &&
         r->page_down.prepare(
             d,
             "SELECT offset, time_ms, data, info, tags FROM publication "
             "WHERE channel_id = ? AND offset > ? AND offset < ? ORDER BY offset DESC LIMIT ?") &&
         r->channels.prepare(d,
                             "SELECT u.channel, u.read_offset, coalesce(c.top, 0), coalesce(c.id, "
                             "0) FROM user_channel AS u "
                             "LEFT JOIN channel AS c ON c.name = u.channel WHERE u.user = ? "
                             "ORDER BY coalesce(c.last_ms, 0) DESC, u.channel LIMIT ?") &&
         r->last.prepare(d,
                         "SELECT offset, time_ms, data, info, tags FROM publication WHERE "
                         "channel_id = ? AND offset = ?");
}

void reader_close(reader* r) noexcept {
  for (statement* s : {&r->begin, &r->end, &r->top, &r->oldest_inside, &r->page_up, &r->page_down,
                       &r->channels, &r->last})
    s->finish();
  db_close(&r->file);
}

void reader_page(reader* r, const read_request& q, read_result* out) noexcept {
  if (!in_snapshot(r, [&] { return read_page(r, q, out); })) {
    *out = {};
    out->rc = r->file.last;
    return;
  }
  out->top.epoch = r->epoch;
}

void reader_user_channels(reader* r, const std::string& user, uint32_t limit,
                          user_channels_result* out) noexcept {
  if (in_snapshot(r, [&] { return read_user_channels(r, user, limit, out); })) return;
  *out = {};
  out->rc = r->file.last;
}

}  // namespace store
