// The owner's desk: every request is handled, or begun and finished in the broker's answer.
#include "chat/owner.h"

#include <algorithm>

#include "chat/api.h"
#include "chat/owner_state.h"
#include "chat/session.h"
#include "proto/reply.h"

namespace chat {
namespace {

// What JSON adds to the sum of data, info and tags that a page is cut by: field names and the
// offset, below 64 bytes a publication.
constexpr uint64_t kPageBytesMax =
    core::kWsPayloadOutBytesMax - 64ull * core::kHistoryPageMax - 1024;

void answer(request* r, core::err rc) noexcept {
  r->code = error_from(rc);
  request_answer(r);
}

// After a call that takes a callback: when nothing was queued, the answer is here.
void begun(request* r, core::err rc) noexcept {
  if (rc == core::err::ok) return;  // r may be gone
  owner_end(r);
  answer(r, rc);
}

bool must_announce(const request* r) noexcept {
  return r->is_first && channel_is_user_limited(r->channel) && !channel_is_personal(r->channel);
}

void tell_users(node_loop* n, const std::string& channel) noexcept {
  for (const std::string& user : channel_users(channel)) {
    std::string data = "{\"type\":\"channel\",\"channel\":";
    proto::json_string(&data, channel);
    data.push_back('}');
    tell_user(n, user, std::move(data));
  }
}

// The first publication of a user-limited channel makes it known to everybody named, and then tells
// them; the author is answered behind that. Here and not where it was asked: the author may be gone
// by now, or be the server API. A repeated publication too, as the node may have ended between the
// commit and this.
void announce(owner* o, request* r) noexcept {
  const auto on_known = [](void* user, core::err rc) noexcept {
    auto* self = static_cast<request*>(user);
    owner_end(self);
    if (rc == core::err::ok) tell_users(self->at->node, self->channel);
    answer(self, core::err::ok);
  };
  owner_begin(o, r);
  const core::err rc = o->node->history->add_user_channel(o->node->self, channel_users(r->channel),
                                                          r->channel, on_known, r);
  if (rc == core::err::ok) return;
  owner_end(r);
  tell_users(o->node, r->channel);
  answer(r, core::err::ok);
}

void announce_or_answer(owner* o, request* r) noexcept {
  if (must_announce(r))
    announce(o, r);
  else
    answer(r, core::err::ok);
}

// It has been delivered; whoever is not told that it is stored may send it again with its key.
void wait_until_stored(owner* o, request* r) noexcept {
  const auto on_stored = [](void* user, core::err rc) noexcept {
    auto* self = static_cast<request*>(user);
    owner_end(self);
    if (rc == core::err::ok)
      announce_or_answer(self->at, self);
    else
      answer(self, rc);
  };
  bool is_there = false;
  owner_begin(o, r);
  const core::err rc = o->node->history->when_stored(o->node->self, r->channel, r->top.offset,
                                                     &is_there, on_stored, r);
  if (rc == core::err::ok && !is_there) return;
  owner_end(r);
  if (rc == core::err::ok)
    announce_or_answer(o, r);
  else
    answer(r, rc);
}

void on_published(void* user, broker::publish_result&& result) noexcept {
  auto* r = static_cast<request*>(user);
  owner* o = r->at;
  core::loop_metrics* m = o->node->counters;
  owner_end(r);
  if (result.rc == core::err::ok) {
    if (result.is_duplicate) {
      m->duplicates.add();
    } else {
      m->publications.add();
      m->commit_us.record(o->node->config->clock->mono_us() - r->started_us);
    }
  }
  r->top.offset = result.offset;
  r->top.epoch = std::move(result.epoch);
  r->time_ms = result.time_ms;
  r->is_duplicate = result.is_duplicate;
  r->is_first = result.is_first;
  if (result.rc != core::err::ok)
    answer(r, result.rc);
  else if (owner_namespace(o, r->ns).acknowledge_stored)
    wait_until_stored(o, r);
  else
    announce_or_answer(o, r);
}

void publish(owner* o, request* r) noexcept {
  r->pub.keep = owner_namespace(o, r->ns).keep;
  r->started_us = o->node->config->clock->mono_us();
  owner_begin(o, r);
  begun(r, o->node->bus->publish(std::move(r->pub), on_published, r));
}

void presence(owner* o, request* r) noexcept {
  const auto on_members = [](void* user, core::err rc,
                             const std::vector<broker::member>& members) noexcept {
    auto* self = static_cast<request*>(user);
    owner_end(self);
    if (rc == core::err::ok) self->members = members;
    answer(self, rc);
  };
  owner_begin(o, r);
  begun(r, o->node->bus->presence(r->channel,
                                  std::min(r->limit == 0 ? core::kPresenceEntriesMax : r->limit,
                                           core::kPresenceEntriesMax),
                                  on_members, r));
}

void presence_stats(owner* o, request* r) noexcept {
  const auto on_counts = [](void* user, core::err rc, broker::presence_counts counts) noexcept {
    auto* self = static_cast<request*>(user);
    owner_end(self);
    self->counts = counts;
    answer(self, rc);
  };
  owner_begin(o, r);
  begun(r, o->node->bus->presence_stats(r->channel, on_counts, r));
}

void on_history(void* user, store::read_result&& result) noexcept {
  auto* r = static_cast<request*>(user);
  owner_end(r);
  r->top = std::move(result.top);
  if (result.rc != core::err::ok) {
    answer(r, result.rc);
    return;
  }
  if (r->has_since_epoch && r->since.epoch != r->top.epoch) {
    r->code = error::unrecoverable_position;
    request_answer(r);
    return;
  }
  if (r->wants_raw) r->pubs = std::move(result.pubs);
  for (const store::publication& p : result.pubs) {
    if (!r->publications.empty()) r->publications.push_back(',');
    proto::publication_object(&r->publications, p.offset, p.data, p.info, p.tags);
  }
  answer(r, core::err::ok);
}

void history(owner* o, request* r) noexcept {
  r->read.keep = owner_namespace(o, r->ns).keep;
  r->read.now_ms = o->node->config->clock->wall_ms();
  r->read.limit = std::min(r->read.limit, core::kHistoryPageMax);
  r->read.bytes_max =
      std::min(r->read.bytes_max == 0 ? kPageBytesMax : r->read.bytes_max, kPageBytesMax);
  owner_begin(o, r);
  begun(r, o->node->bus->history(std::move(r->read), on_history, r));
}

void remove_history(owner* o, request* r) noexcept {
  const auto on_removed = [](void* user, core::err rc) noexcept {
    auto* self = static_cast<request*>(user);
    owner* at = self->at;
    owner_end(self);
    owned_channel* c = owned_find(at, self->channel);
    if (c != nullptr && rc == core::err::ok) recent_drop(&at->recents, &c->ring);
    answer(self, rc);
  };
  owner_begin(o, r);
  begun(r, o->node->bus->remove_history(r->channel, on_removed, r));
}

// * any text, ? one byte. Goes back to the last star only: linear in practice, quadratic at worst,
// on names of 255 bytes.
bool glob_fits(std::string_view pattern, std::string_view text) noexcept {
  size_t p = 0, t = 0, star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

uint32_t owned_clients(const owned_channel* c) noexcept {
  uint32_t clients = 0;
  for (uint32_t i = 0; i < c->link_count; ++i) clients += c->links[i].subscribers;
  return clients;
}

}  // namespace

void owner_begin(owner* o, request* r) noexcept {
  r->at = o;
  r->before = nullptr;
  r->after = o->at_work;
  if (o->at_work != nullptr) o->at_work->before = r;
  o->at_work = r;
}

void owner_end(request* r) noexcept {
  (r->before == nullptr ? r->at->at_work : r->before->after) = r->after;
  if (r->after != nullptr) r->after->before = r->before;
  r->before = r->after = nullptr;
}

const namespace_settings& owner_namespace(const owner* o, uint16_t ns) noexcept {
  return o->node->config->namespaces[ns];
}
uint64_t owner_now_ms(const owner* o) noexcept {
  return o->node->now_ms(o->node->self);
}

owner* owner_new(node_loop* n) noexcept {
  auto* o = new owner;
  o->node = n;
  o->retry.fire = owner_retry;
  o->sweep.fire = owner_sweep;
  o->retry.at = o->sweep.at = o;
  (void)owner_spares_take(o);  // a mailbox too small for it does without
  return o;
}

void owner_free(owner* o) noexcept {
  timer_stop(o->node->timers, &o->retry);
  timer_stop(o->node->timers, &o->sweep);
  owner_spares_give_back(o);
  name_map_each(&o->channels, [o](named* c) { owned_free(o, static_cast<owned_channel*>(c)); });
  while (request* r = o->at_work) {
    owner_end(r);
    request_free(r);
  }
  delete o;
}

void owner_handle(owner* o, request* r) noexcept {
  switch (r->kind) {
    case request_kind::subscribe:
      owner_subscribe(o, r);
      return;
    case request_kind::unsubscribe:
      owner_unsubscribe(o, r);
      return;
    case request_kind::publish:
      publish(o, r);
      return;
    case request_kind::presence:
      presence(o, r);
      return;
    case request_kind::presence_stats:
      presence_stats(o, r);
      return;
    case request_kind::history:
      history(o, r);
      return;
    case request_kind::remove_history:
      remove_history(o, r);
      return;
    case request_kind::update_member:
      r->who.has_join_leave = r->has_join_leave && owner_namespace(o, r->ns).join_leave;
      answer(r, r->has_presence ? o->node->bus->presence_add(r->channel, broker::member(r->who))
                                : core::err::ok);
      return;
  }
}

void owner_totals(const owner* o, uint32_t* channels, uint32_t* subscriptions) noexcept {
  *channels = *subscriptions = 0;
  name_map_each(&o->channels, [&](const named* n) {
    const uint32_t clients = owned_clients(static_cast<const owned_channel*>(n));
    *channels += clients > 0 ? 1 : 0;
    *subscriptions += clients;
  });
}

void owner_channels(owner* o, std::string_view pattern, std::vector<channel_count>* out) noexcept {
  name_map_each(&o->channels, [&](const named* n) {
    const auto* c = static_cast<const owned_channel*>(n);
    const uint32_t clients = owned_clients(c);
    if (clients > 0 && (pattern.empty() || glob_fits(pattern, c->name())))
      out->push_back({std::string(c->name()), clients});
  });
}

const broker::broker_events* owner_broker_events() noexcept {
  static constexpr broker::broker_events kEvents = {
      owner_on_event, owner_on_lost,
      [](void* user, std::string_view bytes) noexcept {
        api_control(static_cast<owner*>(user)->node, bytes);
      },
      owner_make_push};
  return &kEvents;
}

}  // namespace chat
