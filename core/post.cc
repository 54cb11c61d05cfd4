// The mailbox: a bounded intrusive queue of many producers and one consumer, and the one wake-up
// for many posts.
//
//   producers:  tail <- m (swap), before->next <- m, is_awake <- true; who found it false sends the
//   wake-up the loop:   runs what is there after poll and before it; is_awake <- false, looks once
//   more, sleeps
#include "core/post.h"

#include "core/assert.h"
#include "core/loop_impl.h"

namespace core {

namespace {

void push(loop* l, msg* m) noexcept {
  m->next.store(nullptr, std::memory_order_relaxed);
  msg* before = l->tail.exchange(m, std::memory_order_acq_rel);
  before->next.store(m, std::memory_order_release);
}

// nullptr: empty, or a producer is between its two steps and will wake the loop afterwards.
msg* pop(loop* l) noexcept {
  msg* head = l->head;
  msg* next = head->next.load(std::memory_order_acquire);
  if (head == &l->stub) {
    if (next == nullptr) return nullptr;
    l->head = next;
    head = next;
    next = next->next.load(std::memory_order_acquire);
  }
  if (next != nullptr) {
    l->head = next;
    return head;
  }
  if (l->tail.load(std::memory_order_acquire) != head) return nullptr;
  push(l, &l->stub);
  next = head->next.load(std::memory_order_acquire);
  if (next == nullptr) return nullptr;
  l->head = next;
  return head;
}

bool is_empty(const loop* l) noexcept {
  return l->head == &l->stub && l->stub.next.load(std::memory_order_acquire) == nullptr;
}

// A swap, not a store, here and in mailbox_sleep(): each side then sees what the other did before
// its own swap.
void wake(loop* l) noexcept {
  if (!l->is_awake.exchange(true, std::memory_order_acq_rel)) uv_async_send(&l->wake);
}

}  // namespace

void mailbox_open(loop* l, uint32_t max) noexcept {
  l->mailbox_max = max;
  l->head = &l->stub;
  l->tail.store(&l->stub, std::memory_order_relaxed);
}

void mailbox_run(loop* l) noexcept {
  for (uint32_t i = 0; i < kMailboxTurnMax; ++i) {
    msg* m = pop(l);
    if (m == nullptr) return;
    l->held.fetch_sub(1, std::memory_order_relaxed);
    m->run(l, m);
  }
}

void mailbox_sleep(loop* l) noexcept {
  l->is_awake.exchange(false, std::memory_order_acq_rel);
  if (!is_empty(l)) wake(l);  // the rest of a full turn, or a post that saw us awake
}

void mailbox_drop(loop* l) noexcept {
  while (msg* m = pop(l)) {
    l->held.fetch_sub(1, std::memory_order_relaxed);
    m->drop(m);
  }
}

bool loop_reserve(loop* to, uint32_t n) noexcept {
  uint32_t held = to->held.load(std::memory_order_relaxed);
  do {
    if (held > to->mailbox_max || n > to->mailbox_max - held) return false;
  } while (!to->held.compare_exchange_weak(held, held + n, std::memory_order_relaxed));
  return true;
}

void loop_unreserve(loop* to, uint32_t n) noexcept {
  const uint32_t before = to->held.fetch_sub(n, std::memory_order_relaxed);
  CORE_ASSERT(before >= n);
}

void loop_post_reserved(loop* to, msg* m) noexcept {
  if (to->is_ended.load(std::memory_order_acquire)) {
    loop_unreserve(to, 1);
    m->drop(m);
    return;
  }
  push(to, m);
  wake(to);
}

err loop_post(loop* to, msg* m) noexcept {
  if (to->is_ended.load(std::memory_order_acquire)) {
    m->drop(m);
    return err::closed;
  }
  if (!loop_reserve(to, 1)) {
    m->drop(m);
    return err::full;
  }
  push(to, m);
  wake(to);
  return err::ok;
}

uint32_t loop_index(const loop* l) noexcept {
  return l->index;
}

}  // namespace core
