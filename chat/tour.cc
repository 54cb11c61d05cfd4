// The steps of a tour: to each loop in turn, and back to the origin.
#include "chat/tour.h"

namespace chat {
namespace {

// The loop of step i: the origin first, then the others in their order.
core::loop* stop_of(const tour* t, uint32_t i) noexcept {
  return (*t->origin->loops)[(t->origin->index + i) % t->origin->loops->size()];
}

void run(core::loop* here, core::msg* m) noexcept {
  auto* t = static_cast<tour*>(m);
  if (t->visited < t->origin->loops->size()) {
    node_loop* n = node_loop_of(here);
    if (t->visit(n)) tour_go_on(t, n);
    return;
  }
  t->finish();
  delete t;
}

}  // namespace

// After the last loop comes the origin again.
void tour_go_on(tour* t, node_loop* here) noexcept {
  if (here->loops->size() > 1) {
    core::loop_post_reserved(stop_of(t, ++t->visited), t);
    return;
  }
  t->finish();
  delete t;
}

bool tour_start(tour* t, node_loop* origin) noexcept {
  t->origin = origin;
  t->run = run;
  t->drop = [](core::msg* m) noexcept { delete static_cast<tour*>(m); };
  const auto loops = static_cast<uint32_t>(origin->loops->size());
  uint32_t reserved = 0;
  if (loops > 1) {
    while (reserved < loops && core::loop_reserve(stop_of(t, reserved), 1)) ++reserved;
    if (reserved < loops) {
      while (reserved > 0) core::loop_unreserve(stop_of(t, --reserved), 1);
      origin->counters->mailbox_full.add();
      delete t;
      return false;
    }
  }
  if (t->visit(origin)) tour_go_on(t, origin);
  return true;
}

}  // namespace chat
