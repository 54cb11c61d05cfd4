// Subscribing: what was missed and going live, in one step; and unsubscribing.
//
// Recovery joins two sources, the store and the ring of recent publications. A read of the store
// takes time; what is committed meanwhile is in the ring, as the channel is pinned and its broker
// subscription lives. So: read since+1 .. X, then take X+1 .. top from the ring, and in that same
// step add the loop to the set. Never read above `top` (the read's limit): what is committed there,
// but has had no event yet, will be delivered. Anything that does not join without a hole is told
// as not recovered.
#include <algorithm>

#include "chat/owner_state.h"
#include "proto/reply.h"

namespace chat {
namespace {

// `{"data":0,"offset":1}` and a comma: more publications than fit even at this size need no read.
constexpr uint32_t kObjectBytesMin = 22;
// The ring may lose what a slow read still needs; then the rest is read again, this often at most.
constexpr uint32_t kRecoveryReadsMax = 4;

enum class recovery : uint8_t { complete, impossible, unread };

int64_t wall_ms(const owner* o) noexcept {
  return o->node->config->clock->wall_ms();
}

bool append_object(const owner* o, request* r, std::string_view object) noexcept {
  if (r->publications.size() + object.size() + 1 > o->node->config->recovery_bytes_max)
    return false;
  if (!r->publications.empty()) r->publications.push_back(',');
  r->publications.append(object);
  return true;
}

// Outside of what the namespace keeps, counted from the channel's top of now.
bool is_beyond_size(const owner* o, const owned_channel* c, const request* r) noexcept {
  const uint64_t size_max = owner_namespace(o, c->ns).keep.size_max;
  return size_max != store::retention::kForever && c->top - r->since.offset > size_max;
}

bool is_beyond_age(const owner* o, const owned_channel* c, int64_t time_ms) noexcept {
  const uint64_t ttl_ms = owner_namespace(o, c->ns).keep.ttl_ms;
  return ttl_ms != store::retention::kForever &&
         time_ms + static_cast<int64_t>(ttl_ms) <= wall_ms(o);
}

recovery recover_from_ring(owner* o, owned_channel* c, request* r) noexcept {
  if (r->recovered_to == c->top) return recovery::complete;
  const recent_entry* first = recent_find(c->ring, r->recovered_to + 1);
  if (first == nullptr) return recovery::unread;
  // With a time limit the oldest one decides: times do not go back but by a step of the clock.
  if (r->recovered_to == r->since.offset && is_beyond_age(o, c, first->time_ms))
    return recovery::impossible;
  recent_touch(&o->recents, c->ring);
  for (uint64_t offset = r->recovered_to + 1; offset <= c->top; ++offset) {
    const recent_entry* e = recent_find(c->ring, offset);
    if (!append_object(o, r, core::frame_view(e->push).substr(e->object_at, e->object_bytes)))
      return recovery::impossible;
  }
  r->recovered_to = c->top;
  return recovery::complete;
}

recovery recover(owner* o, owned_channel* c, request* r) noexcept {
  const bool is_same_epoch = r->since.epoch.empty() ||
                             r->since.epoch == c->epoch_text();  // "_" is no epoch, so it fits none
  if (!c->has_history || !is_same_epoch || r->since.offset > c->top || is_beyond_size(o, c, r))
    return recovery::impossible;
  if (r->rounds == 0) r->recovered_to = r->since.offset;
  if ((c->top - r->recovered_to) > o->node->config->recovery_bytes_max / kObjectBytesMin)
    return recovery::impossible;
  return recover_from_ring(o, c, r);
}

void publish_join(owner* o, coming_join* coming) noexcept {
  if (!coming->is_due) return;
  coming->is_due = false;
  (void)o->node->bus->publish(
      std::move(coming->join), [](void*, broker::publish_result&&) noexcept {}, nullptr);
}

// The step that must not be divided: answer and set.
void go_live(owner* o, owned_channel* c, request* r) noexcept {
  const uint32_t loop = core::loop_index(r->from_loop);
  loop_link* l = owned_link(c, loop);
  // What is held back for the loop would reach the new subscriber although its position covers it.
  const bool is_behind = l != nullptr && l->is_behind && !owner_catch_up(o, c, l);
  if (r->code == error::ok && is_behind) r->code = error::too_many_requests;
  r->who.has_join_leave = r->has_join_leave && owner_namespace(o, r->ns).join_leave;
  if (r->code == error::ok && r->has_presence)
    r->code = error_from(o->node->bus->presence_add(r->channel, broker::member(r->who)));
  if (r->code != error::ok) {
    r->publications.clear();
    r->is_recovered = false;
    owned_settle(o, c);
    request_answer(r);
    return;
  }
  if (!r->is_recovered) r->publications.clear();
  r->top = {c->top, std::string(c->epoch_text())};
  owned_add_subscriber(o, c, loop);
  if (!r->has_join_leave || !owner_namespace(o, r->ns).join_leave) {
    request_answer(r);
    return;
  }
  coming_join coming;
  const std::string channel = r->channel, client = r->who.client;
  coming.channel = &channel;
  coming.client = &client;
  coming.join.channel = r->channel;
  coming.join.kind = broker::event_kind::join;
  coming.join.info = r->who.info;
  coming.is_due = true;
  coming.outer = o->joins;
  o->joins = &coming;
  request_answer(r);
  // Behind the answer, so that one sees one's own join; but who has unsubscribed inside the answer
  // has joined before leaving.
  publish_join(o, &coming);
  o->joins = coming.outer;
}

void on_missed(void* user, store::read_result&& result) noexcept;

void read_missed(owner* o, owned_channel* c, request* r) noexcept {
  store::read_request q;
  q.channel = r->channel;
  q.since = r->recovered_to;
  q.limit = static_cast<uint32_t>(c->top - r->recovered_to);
  q.bytes_max = o->node->config->recovery_bytes_max;
  q.keep = owner_namespace(o, c->ns).keep;
  q.now_ms = wall_ms(o);
  ++r->rounds;
  ++c->pins;
  owner_begin(o, r);
  const core::err rc = o->node->bus->history(std::move(q), on_missed, r);
  if (rc == core::err::ok) return;
  owner_end(r);
  --c->pins;
  r->code = error_from(rc);
  go_live(o, c, r);
}

// Moves the read's publications into the answer; false: they do not follow each other.
bool take_missed(owner* o, const owned_channel* c, request* r,
                 const store::read_result& result) noexcept {
  if (result.top.epoch != c->epoch_text() || result.is_cut) return false;
  std::string object;
  for (const store::publication& p : result.pubs) {
    object.clear();
    proto::publication_object(&object, p.offset, p.data, p.info, p.tags);
    if (p.offset != r->recovered_to + 1 || !append_object(o, r, object)) return false;
    r->recovered_to = p.offset;
  }
  return true;
}

void on_missed(void* user, store::read_result&& result) noexcept {
  auto* r = static_cast<request*>(user);
  owner* o = r->at;
  owner_end(r);
  owned_channel* c = owned_find(o, r->channel);  // pinned
  --c->pins;
  if (c->state != channel_state::live) {  // lost meanwhile: begin anew
    r->rounds = 0;
    r->publications.clear();
    owned_wait(o, c, r);
    return;
  }
  if (result.rc != core::err::ok) {
    r->code = error_from(result.rc);
    go_live(o, c, r);
    return;
  }
  const uint64_t before = r->recovered_to;
  recovery found = recovery::impossible;
  if (take_missed(o, c, r, result)) found = recover(o, c, r);
  // A read that brought nothing will not bring it the next time.
  if (found == recovery::unread && r->recovered_to > before && r->rounds < kRecoveryReadsMax) {
    read_missed(o, c, r);
    return;
  }
  r->is_recovered = found == recovery::complete;
  go_live(o, c, r);
}

}  // namespace

void owner_subscribe(owner* o, request* r) noexcept {
  owned_channel* c = owned_find(o, r->channel);
  if (c == nullptr) {
    owned_new(o, r);
    return;
  }
  if (c->state != channel_state::live) {
    owned_wait(o, c, r);
    return;
  }
  if (r->wants_recover) {
    const recovery found = recover(o, c, r);
    if (found == recovery::unread) {
      read_missed(o, c, r);
      return;
    }
    r->is_recovered = found == recovery::complete;
  }
  go_live(o, c, r);
}

void owner_unsubscribe(owner* o, request* r) noexcept {
  for (coming_join* j = o->joins; j != nullptr; j = j->outer) {
    if (*j->channel == r->channel && *j->client == r->who.client) publish_join(o, j);
  }
  if (r->has_presence) o->node->bus->presence_remove(r->channel, r->who.client);
  if (owned_channel* c = owned_find(o, r->channel))
    owned_remove_subscriber(o, c, core::loop_index(r->from_loop));
  if (r->has_join_leave && owner_namespace(o, r->ns).join_leave) {
    broker::publish_request leave;
    leave.channel = r->channel;
    leave.kind = broker::event_kind::leave;
    leave.info = r->who.info;
    (void)o->node->bus->publish(
        std::move(leave), [](void*, broker::publish_result&&) noexcept {}, nullptr);
  }
  request_answer(r);
}

}  // namespace chat
