// The pump between a source and a sink, and the walk through a store.
#include "store/transfer.h"

#include <utility>

namespace store {
namespace {

// A page that is read from the front.
struct page_reader {
  history_page page;
  size_t at = 0;
  bool is_end = false;

  bool is_empty() const { return at == page.size(); }
  history_record& front() { return page[at]; }
  void restart() {
    page.clear();
    at = 0;
    is_end = false;
  }
};

// Of one channel at a time: its publications and its keys, merged by offset.
class walk final : public history_source {
 public:
  explicit walk(std::unique_ptr<history_reader> r) : reader_(std::move(r)) {}

  core::err begin(history_head* head, std::string* why) noexcept override {
    const core::err rc = reader_->begin(head, why);
    if (rc == core::err::ok) progress_.all = reader_->publications_about();
    return rc;
  }
  core::err next(history_page* page, std::string* why) noexcept override;
  history_progress progress() const noexcept override { return progress_; }

 private:
  enum class phase : uint8_t { channels, inside, user_channels, ended };

  core::err next_channel(history_record* out, std::string* why) noexcept;
  core::err next_inside(history_record* out, bool* is_there, std::string* why) noexcept;
  core::err next_user_channel(history_record* out, bool* is_there, std::string* why) noexcept;
  template <typename Fn>
  core::err fill(page_reader* p, Fn read) noexcept;

  const std::unique_ptr<history_reader> reader_;
  phase phase_ = phase::channels;
  page_reader channels_, publications_, keys_, user_channels_;
  std::string channel_, user_, user_channel_;
  uint64_t publication_ = 0, key_ = 0;  // offsets of the last ones
  history_progress progress_;
};

template <typename Fn>
core::err walk::fill(page_reader* p, Fn read) noexcept {
  if (!p->is_empty() || p->is_end) return core::err::ok;
  p->restart();
  const core::err rc = read(&p->page);
  p->is_end = p->page.empty();
  return rc;
}

core::err walk::next_channel(history_record* out, std::string* why) noexcept {
  const core::err rc =
      fill(&channels_, [&](history_page* to) { return reader_->channels(channel_, to, why); });
  if (rc != core::err::ok) return rc;
  if (channels_.is_empty()) {
    phase_ = phase::user_channels;
    return rc;
  }
  *out = std::move(channels_.front());
  ++channels_.at;
  channel_ = out->channel;
  publications_.restart();
  keys_.restart();
  publication_ = key_ = 0;
  phase_ = phase::inside;
  return rc;
}

core::err walk::next_inside(history_record* out, bool* is_there, std::string* why) noexcept {
  core::err rc = fill(&publications_, [&](history_page* to) {
    return reader_->publications(channel_, publication_, to, why);
  });
  if (rc == core::err::ok)
    rc = fill(&keys_, [&](history_page* to) { return reader_->keys(channel_, key_, to, why); });
  if (rc != core::err::ok) return rc;
  const bool has_publication = !publications_.is_empty();
  *is_there = has_publication || !keys_.is_empty();
  if (!*is_there) {
    phase_ = phase::channels;
    return rc;
  }
  if (!keys_.is_empty()) {
    history_record& k = keys_.front();
    const publication* p = has_publication ? &publications_.front().pub : nullptr;
    const bool is_of_it = p != nullptr && p->offset == k.pub.offset && p->time_ms == k.pub.time_ms;
    key_ = k.pub.offset;
    if (is_of_it) {
      history_record& r = publications_.front();
      r.key_scope = std::move(k.key_scope);
      r.key_hash = std::move(k.key_hash);
      r.key_expires_ms = k.key_expires_ms;
      ++keys_.at;
    } else if (p == nullptr || k.pub.offset <= p->offset) {
      *out = std::move(k);
      ++keys_.at;
      return rc;
    }
  }
  *out = std::move(publications_.front());
  ++publications_.at;
  ++progress_.done;
  publication_ = out->pub.offset;
  return rc;
}

core::err walk::next_user_channel(history_record* out, bool* is_there, std::string* why) noexcept {
  core::err rc = fill(&user_channels_, [&](history_page* to) {
    return reader_->user_channels(user_, user_channel_, to, why);
  });
  if (rc != core::err::ok) return rc;
  *is_there = !user_channels_.is_empty();
  if (!*is_there) {
    phase_ = phase::ended;
    return reader_->end(why);
  }
  *out = std::move(user_channels_.front());
  ++user_channels_.at;
  user_ = out->user;
  user_channel_ = out->channel;
  return rc;
}

core::err walk::next(history_page* page, std::string* why) noexcept {
  page->clear();
  core::err rc = core::err::ok;
  uint64_t bytes = 0;
  while (rc == core::err::ok && phase_ != phase::ended && page->size() < kHistoryPageMax &&
         bytes < kHistoryPageBytesMax) {
    history_record r;
    bool is_there = false;
    switch (phase_) {
      case phase::channels:
        rc = next_channel(&r, why);
        is_there = phase_ == phase::inside;
        break;
      case phase::inside:
        rc = next_inside(&r, &is_there, why);
        break;
      case phase::user_channels:
      case phase::ended:
        rc = next_user_channel(&r, &is_there, why);
        break;
    }
    if (rc != core::err::ok || !is_there) continue;
    bytes += history_bytes(r);
    page->push_back(std::move(r));
  }
  return rc;
}

}  // namespace

uint64_t history_bytes(const history_record& r) noexcept {
  return sizeof r + r.channel.size() + r.user.size() + r.pub.data.size() + r.pub.info.size() +
         r.pub.tags.size() + r.key_scope.size() + r.key_hash.size();
}

void history_count(history_counts* c, const history_record& r) noexcept {
  c->channels += r.kind == history_kind::channel;
  c->publications += r.kind == history_kind::publication;
  c->user_channels += r.kind == history_kind::user_channel;
  c->keys += r.kind == history_kind::key || !r.key_scope.empty();
}

std::string history_conflict(const history_record& r) {
  return "channel \"" + r.channel + "\" has another publication at offset " +
         std::to_string(r.pub.offset) +
         " than this history: both have gone on apart. Nothing was overwritten";
}

core::err transfer_run(history_source* from, history_sink* to, const transfer_watch& watch,
                       history_counts* counts, std::string* why) noexcept {
  history_head head;
  core::err rc = from->begin(&head, why);
  if (rc == core::err::ok) rc = to->begin(head, why);
  history_page page;
  while (rc == core::err::ok) {
    rc = from->next(&page, why);
    if (rc != core::err::ok) break;
    if (page.empty()) return to->end(*counts, why);
    rc = to->put(page, why);
    if (rc != core::err::ok) break;
    for (const history_record& r : page) history_count(counts, r);
    if (watch.on_page == nullptr || watch.on_page(watch.user, *counts, from->progress())) continue;
    *why = "stopped";
    rc = core::err::closed;
  }
  return rc;
}

std::unique_ptr<history_source> history_walk(std::unique_ptr<history_reader> reader) noexcept {
  return std::make_unique<walk>(std::move(reader));
}

}  // namespace store
