// Handing publications to the loops that have subscribers: one message with one frame each; and
// what happens when a mailbox is full.
//
// A publication with an offset that does not fit marks (loop, channel) behind. From then on nothing
// with an offset goes to that loop for that channel, so that the order holds; a timer posts what is
// missing from the ring of recent publications. When the ring has lost it, the loop's positioned
// subscribers are told to come back (hub_insufficient), for which one slot a loop is reserved
// ahead. What has no offset (ephemeral publications, joins, leaves) is lost for that loop and
// counted.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "chat/hub.h"
#include "chat/owner_state.h"
#include "core/log.h"
#include "proto/reply.h"
#include "proto/ws.h"

namespace chat {
namespace {

constexpr uint32_t kRetryMs = core::kTimerTickMs;

struct delivery : core::msg {
  core::frame* push = nullptr;  // null: insufficient
  delivery_kind kind = delivery_kind::publication;
  uint16_t name_bytes = 0;
  std::string_view channel() const noexcept {
    return {reinterpret_cast<const char*>(this + 1), name_bytes};
  }
};

void delivery_free(core::msg* m) noexcept {
  auto* d = static_cast<delivery*>(m);
  if (d->push != nullptr) core::frame_unref(d->push);
  d->~delivery();
  ::operator delete(d);
}

void delivery_run(core::loop* here, core::msg* m) noexcept {
  auto* d = static_cast<delivery*>(m);
  hub* h = node_loop_of(here)->local;
  if (d->push != nullptr) {
    core::frame* frames[static_cast<size_t>(proto::format::kCount)] = {d->push};
    hub_deliver(h, d->channel(), frames, d->kind);
  } else {
    hub_insufficient(h, d->channel());
  }
  delivery_free(m);
}

// The name is copied behind the message: the receiving loop may know the channel no longer.
delivery* delivery_new(std::string_view channel, core::frame* push, delivery_kind kind) noexcept {
  auto* d = new (::operator new(sizeof(delivery) + channel.size())) delivery;
  memcpy(static_cast<void*>(d + 1), channel.data(), channel.size());
  d->name_bytes = static_cast<uint16_t>(channel.size());
  d->kind = kind;
  d->push = push == nullptr ? nullptr : core::frame_ref(push);
  d->run = delivery_run;
  d->drop = delivery_free;
  return d;
}

bool hand_over(owner* o, const owned_channel* c, uint32_t loop, core::frame* push,
               delivery_kind kind) noexcept {
  return core::loop_post((*o->node->loops)[loop], delivery_new(c->name(), push, kind)) ==
         core::err::ok;
}

void retry_later(owner* o) noexcept {
  if (!timer_runs(&o->retry)) timer_start(o->node->timers, &o->retry, owner_now_ms(o), kRetryMs);
}

void list_behind(owner* o, owned_channel* c) noexcept {
  if (c->is_listed_behind) return;
  c->is_listed_behind = true;
  o->behind.push_back(c);
  retry_later(o);
}

// Our own loop last: its sessions may call back, and then nothing of ours is in use any more.
void deliver(owner* o, owned_channel* c, core::frame* push, delivery_kind kind,
             uint64_t offset) noexcept {
  bool is_here = false;
  for (uint32_t i = 0; i < c->link_count; ++i) {
    loop_link* l = &c->links[i];
    if (l->loop == o->node->index) {
      is_here = true;
      continue;
    }
    const bool has_place = offset > 0;
    if (has_place && l->is_behind) continue;
    if (hand_over(o, c, l->loop, push, kind)) continue;
    o->node->counters->deliveries_behind.add();
    if (!has_place) continue;
    l->is_behind = true;
    l->handed = offset - 1;
    list_behind(o, c);
  }
  if (!is_here) return;
  core::frame* frames[static_cast<size_t>(proto::format::kCount)] = {push};
  hub_deliver(o->node->local, c->name(), frames, kind);
}

bool post_insufficient(owner* o, const owned_channel* c, uint32_t loop) noexcept {
  core::loop* to = (*o->node->loops)[loop];
  if (!o->has_spare[loop] && !core::loop_reserve(to, 1)) return false;
  core::loop_post_reserved(to, delivery_new(c->name(), nullptr, delivery_kind::publication));
  o->has_spare[loop] = core::loop_reserve(to, 1);
  if (!o->has_spare[loop]) retry_later(o);
  return true;
}

// The event's push as a frame; *r tells where the publication object stands in it.
core::frame* publication_frame(owner* o, const owned_channel* c, const broker::event& e,
                               recent_entry* r) noexcept {
  std::string_view whole;
  std::string* text = &o->node->scratch;
  text->clear();
  if (e.push != nullptr) {
    whole = *e.push;
    r->object_at = e.parts.object_at;
    r->object_bytes = e.parts.object_bytes;
    r->time_ms = e.time_ms;
  } else {
    const store::publication& p = *e.pub;
    proto::push_publication(text, c->name(), p.offset, p.data, p.info, p.tags, &r->object_at,
                            &r->object_bytes);
    r->time_ms = p.time_ms;
    whole = *text;
  }
  core::frame* push = proto::ws_text_frame(whole);
  r->object_at += static_cast<uint32_t>(core::frame_view(push).size() - whole.size());
  r->push = push;
  text->clear();
  return push;
}

void publication_event(owner* o, owned_channel* c, const broker::event& event) noexcept {
  const uint64_t offset = event.push != nullptr ? event.offset : event.pub->offset;
  const bool has_place = c->has_history && offset > 0;
  if (has_place && offset != c->top + 1) {
    if (offset <= c->top) return;  // known
    core::log_error("the broker left a hole in a channel",
                    {{"channel", c->name()}, {"offset", offset}, {"top", c->top}});
    owned_lost(o, c);
    return;
  }
  // The ring still has the text that is blank now; this one begins a new ring.
  if (event.is_delete) recent_drop(&o->recents, &c->ring);
  recent_entry e;
  core::frame* push = publication_frame(o, c, event, &e);
  if (has_place) {
    c->top = offset;
    recent_push(&o->recents, &c->ring, offset, e);
  }
  deliver(o, c, push, delivery_kind::publication, has_place ? offset : 0);
  core::frame_unref(push);
}

// Joins and leaves.
void member_event(owner* o, owned_channel* c, const broker::event& e) noexcept {
  if (c->link_count == 0) return;
  std::string* text = &o->node->scratch;
  text->clear();
  if (e.push == nullptr)
    (e.kind == broker::event_kind::join ? proto::push_join : proto::push_leave)(text, c->name(),
                                                                                e.pub->info);
  core::frame* push = proto::ws_text_frame(e.push == nullptr ? *text : *e.push);
  text->clear();
  deliver(o, c, push, delivery_kind::join_leave, 0);
  core::frame_unref(push);
}

}  // namespace

void owner_on_event(void* user, std::string_view channel, const broker::event& e) noexcept {
  auto* o = static_cast<owner*>(user);
  owned_channel* c = owned_find(o, channel);
  if (c == nullptr || c->state != channel_state::live) return;
  switch (e.kind) {
    case broker::event_kind::publication:
      publication_event(o, c, e);
      return;
    case broker::event_kind::join:
    case broker::event_kind::leave:
      member_event(o, c, e);
      return;
    case broker::event_kind::history_removed:
      recent_drop(&o->recents, &c->ring);
      return;
  }
}

void owner_make_push(void*, const broker::publish_request& r, broker::push_template* out) noexcept {
  if (r.kind == broker::event_kind::join) return proto::push_join(&out->text, r.channel, r.info);
  if (r.kind == broker::event_kind::leave) return proto::push_leave(&out->text, r.channel, r.info);
  proto::push_gaps g;
  proto::push_publication_gaps(&out->text, r.channel, r.has_history, r.data, r.info,
                               r.tags_before_time, &g);
  out->offset_at = g.offset_at;
  out->time_at = g.time_at;
  out->parts = {g.object_at, g.object_bytes,
                g.data_at,   static_cast<uint32_t>(r.data.size()),
                g.info_at,   static_cast<uint32_t>(r.info.size()),
                g.tags_at,   g.tags_bytes};
}

void owner_on_lost(void* user, std::string_view channel) noexcept {
  auto* o = static_cast<owner*>(user);
  if (owned_channel* c = owned_find(o, channel)) owned_lost(o, c);
}

bool owner_catch_up(owner* o, owned_channel* c, loop_link* l) noexcept {
  while (!l->needs_insufficient && l->handed < c->top) {
    const recent_entry* e = recent_find(c->ring, l->handed + 1);
    if (e == nullptr) {
      l->needs_insufficient = true;
    } else if (hand_over(o, c, l->loop, e->push, delivery_kind::publication)) {
      ++l->handed;
    } else {
      return false;
    }
  }
  if (l->needs_insufficient && !post_insufficient(o, c, l->loop)) return false;
  l->is_behind = l->needs_insufficient = false;
  return true;
}

void owner_insufficient(owner* o, owned_channel* c) noexcept {
  bool is_here = false;
  for (uint32_t i = 0; i < c->link_count; ++i) {
    loop_link* l = &c->links[i];
    if (l->loop == o->node->index) {
      is_here = true;
      continue;
    }
    l->is_behind = l->needs_insufficient = true;
    if (!owner_catch_up(o, c, l)) list_behind(o, c);
  }
  if (is_here) hub_insufficient(o->node->local, c->name());
}

void owner_retry(core::timer* t) noexcept {
  owner* o = static_cast<owner_timer*>(t)->at;
  for (size_t i = 0; i < o->behind.size();) {
    owned_channel* c = o->behind[i];
    bool is_behind = false;
    for (uint32_t k = 0; k < c->link_count; ++k) {
      if (c->links[k].is_behind && !owner_catch_up(o, c, &c->links[k])) is_behind = true;
    }
    if (is_behind) {
      ++i;
      continue;
    }
    c->is_listed_behind = false;
    o->behind[i] = o->behind.back();
    o->behind.pop_back();
  }
  if (!owner_spares_take(o) || !o->behind.empty()) retry_later(o);
}

void owner_forget_behind(owner* o, owned_channel* c) noexcept {
  o->behind.erase(std::find(o->behind.begin(), o->behind.end(), c));
  c->is_listed_behind = false;
}

bool owner_spares_take(owner* o) noexcept {
  const size_t loops = o->node->loops->size();
  bool has_all = true;
  o->has_spare.resize(loops, false);
  for (size_t i = 0; i < loops; ++i) {
    if (i == o->node->index || o->has_spare[i]) continue;
    o->has_spare[i] = core::loop_reserve((*o->node->loops)[i], 1);
    if (!o->has_spare[i]) has_all = false;
  }
  return has_all;
}

void owner_spares_give_back(owner* o) noexcept {
  for (size_t i = 0; i < o->has_spare.size(); ++i) {
    if (o->has_spare[i]) core::loop_unreserve((*o->node->loops)[i], 1);
  }
}

}  // namespace chat
