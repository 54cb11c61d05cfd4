// The life of an owned channel: reading its position, the loops that have subscribers, being
// forgotten.
#include <cstdlib>
#include <cstring>
#include <new>

#include "chat/owner_state.h"
#include "core/assert.h"
#include "core/log.h"

namespace chat {
namespace {

constexpr uint32_t kSweepMs = 1000;

void idle_remove(owner* o, owned_channel* c) noexcept {
  if (!c->is_idle) return;
  (c->idle_before == nullptr ? o->idle_first : c->idle_before->idle_after) = c->idle_after;
  (c->idle_after == nullptr ? o->idle_last : c->idle_after->idle_before) = c->idle_before;
  c->idle_before = c->idle_after = nullptr;
  c->is_idle = false;
  --o->idle_count;
}

void sweep_later(owner* o) noexcept {
  if (!timer_runs(&o->sweep)) timer_start(o->node->timers, &o->sweep, owner_now_ms(o), kSweepMs);
}

void idle_add(owner* o, owned_channel* c) noexcept {
  c->is_idle = true;
  c->idle_since_s = static_cast<uint32_t>(owner_now_ms(o) / 1000);
  c->idle_before = o->idle_last;
  (o->idle_last == nullptr ? o->idle_first : o->idle_last->idle_after) = c;
  o->idle_last = c;
  ++o->idle_count;
  sweep_later(o);
}

void forget(owner* o, owned_channel* c) noexcept {
  idle_remove(o, c);
  if (c->state == channel_state::live) o->node->bus->unsubscribe(std::string(c->name()));
  if (c->state == channel_state::lost) --o->lost;
  name_map_remove(&o->channels, c);
  o->node->counters->channels_owned.sub();
  owned_free(o, c);
}

void on_position(void* user, core::err rc, const store::position& p) noexcept {
  auto* l = static_cast<loading*>(user);
  owner* o = l->at;
  owned_channel* c = l->channel;
  c->load = nullptr;
  if (p.epoch.size() > sizeof c->epoch)
    rc = core::err::unavailable;  // not what the contract says: unusable
  if (rc == core::err::ok) {
    c->state = channel_state::live;
    c->top = p.offset;
    c->epoch_bytes = static_cast<uint8_t>(p.epoch.size());
    memcpy(c->epoch, p.epoch.data(), p.epoch.size());
  } else {
    static core::log_limit once;
    if (core::log_limit_pass(&once, 1000))
      core::log_warn("a channel's position cannot be read",
                     {{"channel", c->name()}, {"reason", core::err_name(rc)}});
    c->state = channel_state::lost;
    ++o->lost;
    sweep_later(o);
  }
  ++c->pins;
  for (request* r : l->waiting) {
    if (rc == core::err::ok) {
      owner_subscribe(o, r);
    } else {
      r->code = error_from(rc);
      request_answer(r);
    }
  }
  delete l;
  --c->pins;
  owned_settle(o, c);
}

// Reads the position; r (may be null) is the first to wait for it.
void load(owner* o, owned_channel* c, request* r) noexcept {
  if (c->state == channel_state::lost) --o->lost;
  c->state = channel_state::loading;
  auto* l = new loading;
  l->at = o;
  l->channel = c;
  if (r != nullptr) l->waiting.push_back(r);
  c->load = l;
  ++c->pins;  // the answer may come inside
  const core::err rc =
      o->node->bus->subscribe(std::string(c->name()), c->has_history, on_position, l);
  if (rc != core::err::ok) on_position(l, rc, {});
  --c->pins;
  owned_settle(o, c);
}

}  // namespace

owned_channel* owned_find(const owner* o, std::string_view name) noexcept {
  return static_cast<owned_channel*>(name_map_find(&o->channels, name));
}

void owned_new(owner* o, request* r) noexcept {
  const std::string_view name = r->channel;
  void* bytes = ::operator new(sizeof(owned_channel) + name.size());
  char* text = static_cast<char*>(bytes) + sizeof(owned_channel);
  memcpy(text, name.data(), name.size());
  auto* c = new (bytes) owned_channel;
  c->text = text;
  c->bytes = static_cast<uint16_t>(name.size());
  c->ns = r->ns;
  c->has_history = owner_namespace(o, r->ns).has_history;
  name_map_add(&o->channels, c);
  o->node->counters->channels_owned.add();
  load(o, c, r);
}

void owned_free(owner* o, owned_channel* c) noexcept {
  if (c->is_listed_behind) owner_forget_behind(o, c);
  recent_drop(&o->recents, &c->ring);
  if (c->links != &c->only) free(c->links);
  if (c->load != nullptr) {
    for (request* r : c->load->waiting) request_free(r);
    delete c->load;
  }
  c->~owned_channel();
  ::operator delete(c);
}

void owned_wait(owner* o, owned_channel* c, request* r) noexcept {
  if (c->state == channel_state::lost) {
    load(o, c, r);
  } else if (c->load->waiting.size() >= core::kOwnerWaitingMax) {
    r->code = error::too_many_requests;
    request_answer(r);
  } else {
    c->load->waiting.push_back(r);
  }
}

void owned_settle(owner* o, owned_channel* c) noexcept {
  const bool is_held = c->link_count > 0 || c->pins > 0 || c->state == channel_state::loading;
  if (is_held) {
    idle_remove(o, c);
  } else if (!c->is_idle) {
    idle_add(o, c);
  }
}

// What was known is void: positioned subscribers come back by themselves, the position is read
// again.
void owned_lost(owner* o, owned_channel* c) noexcept {
  if (c->state != channel_state::live) return;
  recent_drop(&o->recents, &c->ring);
  o->node->bus->unsubscribe(std::string(c->name()));
  ++c->pins;
  load(o, c, nullptr);
  owner_insufficient(o, c);
  --c->pins;
  owned_settle(o, c);
}

loop_link* owned_link(owned_channel* c, uint32_t loop) noexcept {
  for (uint32_t i = 0; i < c->link_count; ++i) {
    if (c->links[i].loop == loop) return &c->links[i];
  }
  return nullptr;
}

void owned_add_subscriber(owner* o, owned_channel* c, uint32_t loop) noexcept {
  loop_link* l = owned_link(c, loop);
  if (l == nullptr) {
    if (c->link_count == c->link_cap) {
      const auto cap = static_cast<uint16_t>(c->link_cap < 4 ? 4 : c->link_cap * 2);
      auto* to = static_cast<loop_link*>(malloc(cap * sizeof(loop_link)));
      CORE_ASSERT(to != nullptr);
      memcpy(to, c->links, c->link_count * sizeof(loop_link));
      if (c->links != &c->only) free(c->links);
      c->links = to;
      c->link_cap = cap;
    }
    l = &c->links[c->link_count++];
    *l = loop_link();
    l->loop = static_cast<uint16_t>(loop);
  }
  ++l->subscribers;
  owned_settle(o, c);
}

void owned_remove_subscriber(owner* o, owned_channel* c, uint32_t loop) noexcept {
  loop_link* l = owned_link(c, loop);
  CORE_ASSERT(l != nullptr && l->subscribers > 0);
  if (--l->subscribers > 0) return;
  *l = c->links[--c->link_count];
  owned_settle(o, c);
}

void owner_sweep(core::timer* t) noexcept {
  owner* o = static_cast<owner_timer*>(t)->at;
  const uint64_t now_s = owner_now_ms(o) / 1000;
  // The list is in the order of idle_since, so the first that must stay ends the round.
  while (o->idle_first != nullptr &&
         (o->idle_first->idle_since_s + core::kOwnerLingerMs / 1000 < now_s ||
          o->idle_count > core::kOwnerIdleChannelsMax))
    forget(o, o->idle_first);
  if (o->lost > 0) {
    std::vector<owned_channel*> again;
    name_map_each(&o->channels, [&](named* n) {
      auto* c = static_cast<owned_channel*>(n);
      if (c->state == channel_state::lost && c->link_count > 0) again.push_back(c);
    });
    for (owned_channel* c : again) {
      if (c->state == channel_state::lost) load(o, c, nullptr);
    }
  }
  if (o->idle_first != nullptr || o->lost > 0) sweep_later(o);
}

}  // namespace chat
