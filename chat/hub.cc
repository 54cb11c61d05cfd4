// Delivery to this loop's subscribers: one contiguous array of tagged session pointers a channel.
#include "chat/hub.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "chat/name_map.h"
#include "chat/session.h"
#include "core/assert.h"

namespace chat {

const hub_receiver kHubSessions = {session_deliver, session_entry_moved, session_insufficient};

// A subscriber is a session's address with "wants joins and leaves" in its lowest bit: sessions are
// aligned to 8. Most channels of a chat have few subscribers (one's own personal channel: one), so
// the first stands in the channel itself.
struct hub_channel : named {
  uintptr_t first = 0;
  uintptr_t* entries = &first;
  uint32_t count = 0, cap = 1;
  uint32_t joins_wanted = 0;  // entries with the bit
  uint32_t pins =
      0;  // somebody walks the entries: the object stays although the last subscriber goes
};

struct hub {
  node_loop* node;
  hub_receiver receiver;
  name_map channels;
};

namespace {

constexpr uintptr_t kWantsJoinLeave = 1;

session* session_of(uintptr_t entry) noexcept {
  return reinterpret_cast<session*>(entry & ~kWantsJoinLeave);
}

hub_channel* channel_new(hub* h, std::string_view name, uint16_t ns) noexcept {
  void* bytes = ::operator new(sizeof(hub_channel) + name.size());
  char* text = static_cast<char*>(bytes) + sizeof(hub_channel);
  memcpy(text, name.data(), name.size());
  auto* c = new (bytes) hub_channel;
  c->text = text;
  c->bytes = static_cast<uint16_t>(name.size());
  c->ns = ns;
  name_map_add(&h->channels, c);
  h->node->counters->channels_subscribed.add();
  return c;
}

void channel_free(hub_channel* c) noexcept {
  if (c->entries != &c->first) free(c->entries);
  c->~hub_channel();
  ::operator delete(c);
}

// The name is free for a new object from here on, also while this one is pinned.
void channel_end(hub* h, hub_channel* c) noexcept {
  name_map_remove(&h->channels, c);
  h->node->counters->channels_subscribed.sub();
  if (c->pins == 0) channel_free(c);
}

void unpin(hub_channel* c) noexcept {
  if (--c->pins == 0 && c->count == 0) channel_free(c);
}

void entries_resize(hub_channel* c, uint32_t cap) noexcept {
  uintptr_t* to = &c->first;
  if (cap > 1) {
    to = static_cast<uintptr_t*>(malloc(cap * sizeof(uintptr_t)));
    CORE_ASSERT(to != nullptr);
  }
  memcpy(to, c->entries, c->count * sizeof(uintptr_t));
  if (c->entries != &c->first) free(c->entries);
  c->entries = to;
  c->cap = cap;
}

}  // namespace

hub* hub_new(node_loop* n, const hub_receiver* receiver) noexcept {
  return new hub{n, *receiver, {}};
}

void hub_free(hub* h) noexcept {
  name_map_each(&h->channels, [](named* c) { channel_free(static_cast<hub_channel*>(c)); });
  delete h;
}

hub_channel* hub_add(hub* h, std::string_view channel, uint16_t ns, session* s,
                     bool wants_join_leave, uint32_t* entry) noexcept {
  auto* c = static_cast<hub_channel*>(name_map_find(&h->channels, channel));
  if (c == nullptr) c = channel_new(h, channel, ns);
  if (c->count == c->cap) entries_resize(c, c->cap < 4 ? 4 : c->cap * 2);
  *entry = c->count;
  c->entries[c->count++] =
      reinterpret_cast<uintptr_t>(s) | (wants_join_leave ? kWantsJoinLeave : 0);
  if (wants_join_leave) ++c->joins_wanted;
  h->node->counters->subscriptions.add();
  return c;
}

void hub_remove(hub* h, hub_channel* c, uint32_t entry) noexcept {
  CORE_ASSERT(entry < c->count);
  if ((c->entries[entry] & kWantsJoinLeave) != 0) --c->joins_wanted;
  h->node->counters->subscriptions.sub();
  const uint32_t last = --c->count;
  if (entry != last) {
    c->entries[entry] = c->entries[last];
    h->receiver.moved(session_of(c->entries[entry]), c, entry);
  }
  if (c->count == 0) {
    channel_end(h, c);
  } else if (c->count < c->cap / 4) {
    entries_resize(c, c->cap / 2 < 4 ? 1 : c->cap / 2);
  }
}

std::string_view hub_name(const hub_channel* c) noexcept {
  return c->name();
}
uint16_t hub_namespace(const hub_channel* c) noexcept {
  return c->ns;
}

// Backwards, because deliver() may remove its own entry: what moves into its place is the last one,
// which has had the frame.
void hub_deliver(hub* h, std::string_view channel, core::frame* const frames[],
                 delivery_kind kind) noexcept {
  core::frame* f = frames[static_cast<size_t>(proto::format::json)];
  auto* c = static_cast<hub_channel*>(name_map_find(&h->channels, channel));
  if (c == nullptr || f == nullptr) return;
  const bool is_for_all = kind == delivery_kind::publication;
  const uint32_t receivers = is_for_all ? c->count : c->joins_wanted;
  if (receivers == 0) return;
  core::frame_ref(f, receivers);
  ++c->pins;
  const auto deliver = h->receiver.deliver;
  uint32_t given = 0;
  for (uint32_t i = c->count; i-- > 0;) {
    const uintptr_t e = c->entries[i];
    if (!is_for_all && (e & kWantsJoinLeave) == 0) continue;
    ++given;
    deliver(session_of(e), f);
  }
  CORE_ASSERT(given == receivers);
  unpin(c);
  h->node->counters->messages_out.add(receivers);
  if (is_for_all) h->node->counters->deliveries.add(receivers);
}

void hub_insufficient(hub* h, std::string_view channel) noexcept {
  auto* c = static_cast<hub_channel*>(name_map_find(&h->channels, channel));
  if (c == nullptr) return;
  ++c->pins;
  for (uint32_t i = c->count; i-- > 0;) {
    if (i < c->count) h->receiver.insufficient(session_of(c->entries[i]), c);
  }
  unpin(c);
}

uint32_t hub_subscribers(const hub* h, std::string_view channel) noexcept {
  const auto* c = static_cast<hub_channel*>(name_map_find(&h->channels, channel));
  return c == nullptr ? 0 : c->count;
}

}  // namespace chat
