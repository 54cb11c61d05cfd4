// The hashed timer wheel: a slot per tick, later turns wait in the same slot.
#include "core/timer_wheel.h"

#include "core/assert.h"

namespace core {

namespace {

void unlink(timer* t) noexcept {
  t->prev->next = t->next;
  t->next->prev = t->prev;
  t->prev = t->next = nullptr;
}

void link_before(timer* head, timer* t) noexcept {
  t->prev = head->prev;
  t->next = head;
  head->prev->next = t;
  head->prev = t;
}

}  // namespace

void timer_wheel_init(timer_wheel* w, uint64_t now_ms) noexcept {
  for (timer& head : w->slots) head.prev = head.next = &head;
  w->tick = now_ms / kTimerTickMs;
  w->count = 0;
}

void timer_start(timer_wheel* w, timer* t, uint64_t now_ms, uint64_t delay_ms) noexcept {
  CORE_ASSERT(t->fire != nullptr);
  timer_stop(w, t);
  // An empty wheel stands still: it catches up here, not tick by tick in the next advance.
  if (w->count == 0 && now_ms / kTimerTickMs > w->tick) w->tick = now_ms / kTimerTickMs;
  const uint64_t delay_max = UINT64_MAX - now_ms - kTimerTickMs;  // for ever
  const uint64_t due =
      (now_ms + (delay_ms < delay_max ? delay_ms : delay_max) + kTimerTickMs - 1) / kTimerTickMs;
  t->due_tick = due > w->tick ? due : w->tick + 1;
  link_before(&w->slots[t->due_tick % kTimerSlots], t);
  ++w->count;
}

void timer_stop(timer_wheel* w, timer* t) noexcept {
  if (!timer_runs(t)) return;
  unlink(t);
  --w->count;
}

void timer_wheel_advance(timer_wheel* w, uint64_t now_ms) noexcept {
  const uint64_t target = now_ms / kTimerTickMs;
  if (w->count == 0) {
    if (target > w->tick) w->tick = target;
    return;
  }
  while (w->tick < target) {
    ++w->tick;
    // What is due moves to a list of its own first, so that fire() may start and stop any timer,
    // also those that are due now.
    timer due;
    due.prev = due.next = &due;
    timer* head = &w->slots[w->tick % kTimerSlots];
    for (timer* t = head->next; t != head;) {
      timer* next = t->next;
      if (t->due_tick <= w->tick) {
        unlink(t);
        link_before(&due, t);
      }
      t = next;
    }
    while (due.next != &due) {
      timer* t = due.next;
      unlink(t);
      --w->count;
      t->fire(t);
    }
  }
}

}  // namespace core
