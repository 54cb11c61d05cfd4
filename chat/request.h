// What a session's loop asks of a channel's owner, and the answer in the same object.
//
// A request is made on the asking loop, travels to the owner's loop and comes back; done() then
// runs on the asking loop and frees it. When both are the same loop there is no mailbox and done()
// may run INSIDE request_submit().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/broker.h"
#include "chat/codes.h"
#include "chat/node.h"
#include "core/frame.h"

namespace chat {

enum class request_kind : uint8_t {
  subscribe,
  unsubscribe,
  publish,
  presence,
  presence_stats,
  history,
  remove_history,
  update_member
};

struct request : core::msg {
  request_kind kind = request_kind::publish;
  node_loop* from = nullptr;  // used on the asking loop only
  core::loop* from_loop = nullptr;
  void (*done)(node_loop* here,
               request* r) noexcept = nullptr;  // takes r; nullptr: no answer wanted (unsubscribe)
  void* user = nullptr;  // the asker's; never a bare session pointer when the session may go away
  uint64_t tag = 0;      // the asker's
  // Frees user when the request ends without an answer, as the node ends; nullptr: nothing to free.
  void (*forget_user)(void* user) noexcept = nullptr;

  std::string channel;
  uint16_t ns = 0;  // index of the namespace

  // subscribe, unsubscribe: the client. has_presence, has_join_leave: this subscription is shown /
  // announced.
  broker::member who;
  bool has_presence = false, has_join_leave = false;
  bool wants_recover = false;   // since is the client's position; epoch empty fits any, "_" none
  bool wants_position = false;  // positioned or recoverable: the answer's position is exact
  store::position since;
  // publish
  broker::publish_request pub;
  // history
  store::read_request read;
  bool has_since_epoch = false;  // since.epoch must be the channel's, else unrecoverable_position
  uint32_t limit = 0;            // presence

  // answer
  error code = error::ok;
  store::position top;  // subscribe, history, publish (of the publication)
  bool is_recovered = false;
  std::string publications;  // finished publication objects joined by commas: recovery and history
  std::vector<store::publication> pubs;  // history when wants_raw
  bool wants_raw = false;
  std::vector<broker::member> members;
  broker::presence_counts counts;
  int64_t time_ms = 0;
  bool is_duplicate = false;
  bool is_first = false;

  // the owner's, while it works on it
  owner* at = nullptr;
  request* before = nullptr;  // among those that wait for broker or store
  request* after = nullptr;
  uint64_t started_us = 0;
  uint64_t recovered_to = 0;  // a recovery: `publications` holds since.offset + 1 .. this one
  uint32_t rounds = 0;        // … and how many reads it has taken
  bool is_remote = false;     // came by mailbox: the answer goes back by it
};

request* request_new(node_loop* from, request_kind kind, std::string_view channel,
                     uint16_t ns) noexcept;
void request_free(request* r) noexcept;

// Takes r. Sends it to the owner; fills what only copies the channel (pub.channel, read.channel).
// When it cannot be queued the answer is too_many_requests, through done(), perhaps inside this
// call. Without done(): unsubscribe and update_member never fail, they are kept and sent as soon as
// there is room, and nothing of this loop overtakes them on the way to that owner; a publish is
// dropped and counted (mailbox_full).
void request_submit(request* r) noexcept;

// Owner side: sends the answer back (or frees r when done is nullptr). Takes r.
void request_answer(request* r) noexcept;

// The requests of a loop that are kept, see request.cc for why they are bounded.
unsent* unsent_new(node_loop* n) noexcept;
void unsent_free(unsent* u) noexcept;
uint32_t unsent_count(const unsent* u) noexcept;

}  // namespace chat
