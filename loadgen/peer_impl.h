// The inside of a peer, shared by peer*.cc: the connection is in peer.cc, what it asks in
// peer_ask.cc, what it is answered in peer_answer.cc.
#pragma once

#include "loadgen/worker.h"

namespace loadgen {

inline constexpr uint64_t kPeerRetryUs = 100'000;  // after a temporary error
// What was written so long before a connection's end has come out, unless the server is to blame.
inline constexpr uint64_t kPeerWrittenUs = 1'000'000;

inline uint64_t peer_run_us(const worker* w) noexcept {
  const uint64_t start = w->all->start_us.load(std::memory_order_relaxed);
  return start != 0 && w->now_us > start ? w->now_us - start : 0;
}
inline const room_group& peer_group(const peer* p, uint32_t room) noexcept {
  return p->home->all->asked->rooms[p->home->all->plan->rooms[room].group];
}
inline bool peer_has_offsets(const peer* p, uint32_t room) noexcept {
  return peer_group(p, room).has_history && p->home->speech->traits.has_offsets;
}
// Its messages can be sent again: the server knows them by their key.
inline bool peer_has_keys(const peer* p, uint32_t room) noexcept {
  return peer_group(p, room).method == publish_method::send && p->home->speech->traits.has_keys;
}
const std::string& peer_channel(const peer* p, uint32_t membership_index) noexcept;

void peer_send(peer* p, std::string_view text) noexcept;
// The id of the command that is about to be sent, and what its reply means.
uint32_t peer_expect(peer* p, pending_kind kind, uint32_t membership_index, uint32_t number,
                     uint64_t since_us) noexcept;
void peer_repeat_later(peer* p, pending_kind how, const pending& was, uint64_t after_us) noexcept;

void peer_note_error(worker* w, std::string&& text) noexcept;
// An error that the scenario does not allow.
void peer_refused(peer* p, const std::string& channel, std::string&& what) noexcept;
void peer_entered(peer* p, membership* m) noexcept;
void peer_left(peer* p, membership* m) noexcept;
void peer_hello(peer* p) noexcept;  // the server may be spoken to
void peer_subscribe_all(peer* p) noexcept;
void peer_become_ready(peer* p) noexcept;  // if it is in everywhere: what waited goes out

// A command without an answer is done.
void peer_answered(peer* p, uint32_t id) noexcept;

extern const dialect_events kPeerDialectEvents;

}  // namespace loadgen
