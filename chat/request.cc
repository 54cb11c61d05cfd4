// The way of a request to the channel's owner and back, and the room for those that must not be
// lost.
//
// A request that wants an answer may be refused: its asker is told too_many_requests. An
// unsubscribe may not, or the owner would count a subscriber for ever. Reserving a mailbox slot for
// each living subscription would use up the mailbox (one connection has many subscriptions), so a
// loop keeps the unsubscribes that met a full mailbox in a list for each owner's loop and sends
// them from a timer. The list is bounded by the loop's own subscriptions: an entry stands for a
// subscription that the owner has granted and that is not yet given back, and while the list is not
// empty no request of this loop passes to that owner (it is refused), so no new subscription can be
// granted that could add another entry. The same rule keeps the order: nothing overtakes an
// unsubscribe. update_member replaces an earlier one of the same client in the list, so it too is
// bounded by subscriptions.
#include "chat/request.h"

#include <deque>

#include "chat/owner.h"
#include "core/assert.h"

namespace chat {

struct unsent {
  struct retry_timer : core::timer {
    unsent* list = nullptr;
  };
  node_loop* node = nullptr;
  std::vector<std::deque<request*>> to;  // by loop
  uint32_t count = 0;
  retry_timer timer;
};

namespace {

constexpr uint32_t kRetryMs = core::kTimerTickMs;

// A post that fails calls drop() inside; the poster then wants the request back rather than freed.
thread_local core::msg* t_posting = nullptr;

void drop_request(core::msg* m) noexcept {
  if (m == t_posting) {
    t_posting = nullptr;
    return;
  }
  request_free(static_cast<request*>(m));
}

void run_at_owner(core::loop* here, core::msg* m) noexcept {
  owner_handle(node_loop_of(here)->owned, static_cast<request*>(m));
}

void run_answer(core::loop* here, core::msg* m) noexcept {
  auto* r = static_cast<request*>(m);
  r->done(node_loop_of(here), r);
}

// False: r still belongs to the caller.
bool post(core::loop* to, request* r) noexcept {
  r->run = run_at_owner;
  t_posting = r;
  const core::err rc = core::loop_post(to, r);
  t_posting = nullptr;
  return rc == core::err::ok;
}

bool send_kept(unsent* u, uint32_t index) noexcept {
  std::deque<request*>& list = u->to[index];
  while (!list.empty()) {
    if (!post((*u->node->loops)[index], list.front())) return false;
    list.pop_front();
    --u->count;
  }
  return true;
}

void send_all_kept(core::timer* t) noexcept {
  unsent* u = static_cast<unsent::retry_timer*>(t)->list;
  for (uint32_t i = 0; i < u->to.size(); ++i) (void)send_kept(u, i);
  if (u->count > 0) timer_start(u->node->timers, t, u->node->now_ms(u->node->self), kRetryMs);
}

void keep(unsent* u, uint32_t index, request* r) noexcept {
  std::deque<request*>& list = u->to[index];
  if (r->kind == request_kind::update_member) {
    for (request*& old : list) {
      if (old->kind != request_kind::update_member || old->channel != r->channel ||
          old->who.client != r->who.client)
        continue;
      request_free(old);
      old = r;
      return;
    }
  }
  list.push_back(r);
  if (u->count++ == 0)
    timer_start(u->node->timers, &u->timer, u->node->now_ms(u->node->self), kRetryMs);
}

bool must_arrive(const request* r) noexcept {
  return r->kind == request_kind::unsubscribe || r->kind == request_kind::update_member;
}

void refuse(request* r) noexcept {
  r->from->counters->mailbox_full.add();
  if (r->done == nullptr) {
    request_free(r);
    return;
  }
  r->code = error::too_many_requests;
  r->done(r->from, r);
}

void submit_remote(core::loop* to, request* r) noexcept {
  node_loop* n = r->from;
  const uint32_t index = core::loop_index(to);
  const bool wants_answer = r->done != nullptr;
  r->is_remote = true;
  const bool is_free = send_kept(n->waiting, index);
  if (!wants_answer && must_arrive(r)) {
    if (!is_free || !post(to, r)) keep(n->waiting, index, r);
    return;
  }
  if (!is_free || (wants_answer && !core::loop_reserve(r->from_loop, 1))) {
    refuse(r);
    return;
  }
  if (post(to, r)) return;
  if (wants_answer) core::loop_unreserve(r->from_loop, 1);
  refuse(r);
}

}  // namespace

request* request_new(node_loop* from, request_kind kind, std::string_view channel,
                     uint16_t ns) noexcept {
  auto* r = new request;
  r->kind = kind;
  r->from = from;
  r->from_loop = from->self;
  r->channel.assign(channel);
  r->ns = ns;
  r->drop = drop_request;
  return r;
}

void request_free(request* r) noexcept {
  if (r->forget_user != nullptr) r->forget_user(r->user);
  delete r;
}

void request_submit(request* r) noexcept {
  if (r->kind == request_kind::publish) r->pub.channel = r->channel;
  if (r->kind == request_kind::history) r->read.channel = r->channel;
  core::loop* to = owner_loop(r->from, r->channel);
  if (to == r->from_loop) {
    owner_handle(r->from->owned, r);
  } else {
    submit_remote(to, r);
  }
}

void request_answer(request* r) noexcept {
  if (r->done == nullptr) {
    request_free(r);
  } else if (r->is_remote) {
    r->run = run_answer;
    core::loop_post_reserved(r->from_loop, r);
  } else {
    r->done(r->from, r);
  }
}

unsent* unsent_new(node_loop* n) noexcept {
  auto* u = new unsent;
  u->node = n;
  u->to.resize(n->loops->size());
  u->timer.fire = send_all_kept;
  u->timer.list = u;
  return u;
}

void unsent_free(unsent* u) noexcept {
  timer_stop(u->node->timers, &u->timer);
  for (auto& list : u->to) {
    for (request* r : list) request_free(r);
  }
  delete u;
}

uint32_t unsent_count(const unsent* u) noexcept {
  return u->count;
}

}  // namespace chat
