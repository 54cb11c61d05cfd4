// The inside of an owner, shared by chat/owner*.cc. An owned channel is small, as most have one
// subscriber and nothing to say.
#pragma once

#include <string>
#include <vector>

#include "chat/name_map.h"
#include "chat/owner.h"
#include "chat/recent.h"

namespace chat {

// unknown channels have no object. lost: the position could not be read; a timer tries again,
// requests wait no longer than for one try.
enum class channel_state : uint8_t { loading, live, lost };

// One loop of the channel's set.
struct loop_link {
  uint32_t subscribers = 0;
  uint16_t loop = 0;
  bool is_behind = false;  // its mailbox was full: publications above `handed` are held back
  bool needs_insufficient =
      false;  // … and can no longer be made up for: its positioned subscribers must come back
  uint64_t handed = 0;  // only while behind
};

struct owned_channel;

struct loading {
  owner* at = nullptr;
  owned_channel* channel = nullptr;
  std::vector<request*> waiting;
};

struct owned_channel : named {
  loop_link only;  // the set's first place: most channels need no more
  loop_link* links = &only;
  uint16_t link_count = 0, link_cap = 1;
  channel_state state = channel_state::loading;
  bool has_history = false, is_idle = false, is_listed_behind = false;
  uint8_t epoch_bytes = 0;
  char epoch[16];
  uint32_t pins = 0;  // requests that wait for the store on its behalf: it is not forgotten
  uint32_t idle_since_s = 0;
  uint64_t top = 0;
  recent* ring = nullptr;
  loading* load = nullptr;
  owned_channel* idle_before = nullptr;  // among those without subscribers, longest first
  owned_channel* idle_after = nullptr;
  std::string_view epoch_text() const noexcept { return {epoch, epoch_bytes}; }
};

// A granted subscription whose join is still to be published, while its answer is being given.
struct coming_join {
  const std::string* channel = nullptr;
  const std::string* client = nullptr;
  broker::publish_request join;
  bool is_due = false;
  coming_join* outer = nullptr;
};

struct owner_timer : core::timer {
  owner* at = nullptr;
};

struct owner {
  node_loop* node = nullptr;
  name_map channels;
  recent_pool recents;
  owned_channel* idle_first = nullptr;
  owned_channel* idle_last = nullptr;
  uint32_t idle_count = 0;
  std::vector<owned_channel*> behind;  // have a link that is behind
  std::vector<bool> has_spare;         // by loop: a slot is reserved there for "insufficient"
  uint32_t lost = 0;                   // channels in state lost
  request* at_work = nullptr;          // wait for broker or store
  coming_join* joins = nullptr;        // on the stack
  owner_timer retry, sweep;
};

// owner.cc
void owner_begin(owner* o, request* r) noexcept;  // r waits for broker or store
void owner_end(request* r) noexcept;
const namespace_settings& owner_namespace(const owner* o, uint16_t ns) noexcept;
uint64_t owner_now_ms(const owner* o) noexcept;

// owner_channel.cc: their life and their set of loops
owned_channel* owned_find(const owner* o, std::string_view name) noexcept;
// Both take r, which waits until the channel is live; then comes owner_subscribe(), again.
void owned_new(owner* o, request* r) noexcept;
void owned_wait(owner* o, owned_channel* c, request* r) noexcept;
void owned_settle(owner* o, owned_channel* c) noexcept;  // something that holds it may have gone
void owned_lost(owner* o, owned_channel* c) noexcept;
void owned_free(owner* o, owned_channel* c) noexcept;             // only memory
loop_link* owned_link(owned_channel* c, uint32_t loop) noexcept;  // nullptr: not in the set
void owned_add_subscriber(owner* o, owned_channel* c, uint32_t loop) noexcept;
void owned_remove_subscriber(owner* o, owned_channel* c, uint32_t loop) noexcept;
void owner_sweep(core::timer* t) noexcept;

// owner_subscribe.cc
void owner_subscribe(owner* o, request* r) noexcept;
void owner_unsubscribe(owner* o, request* r) noexcept;

// owner_deliver.cc
void owner_on_event(void* user, std::string_view channel, const broker::event& e) noexcept;
void owner_on_lost(void* user, std::string_view channel) noexcept;
void owner_make_push(void* user, const broker::publish_request& r,
                     broker::push_template* out) noexcept;
bool owner_catch_up(owner* o, owned_channel* c,
                    loop_link* l) noexcept;  // true: nothing is held back any more
void owner_insufficient(owner* o, owned_channel* c) noexcept;  // for all loops of the set
void owner_retry(core::timer* t) noexcept;
bool owner_spares_take(owner* o) noexcept;  // what is missing; true: none is missing any more
void owner_spares_give_back(owner* o) noexcept;
void owner_forget_behind(owner* o, owned_channel* c) noexcept;

}  // namespace chat
