// The proxy's thread: its door, its clock, its orders from other threads.
#include "loadgen/proxy.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <memory>

#include "core/assert.h"
#include "core/dial.h"
#include "core/post.h"
#include "loadgen/proxy_link.h"
#include "loadgen/random.h"

namespace loadgen {
namespace {

constexpr int kPortTries = 8;  // somebody else may take the port between choosing and listening

struct starting {
  proxy* p;
  std::promise<core::err> done;
  std::string why;
};

void on_accept(void* user, core::loop*, int fd) noexcept {
  proxy_link_open(static_cast<proxy*>(user), fd);
}

void on_clock(core::alarm* a) noexcept {
  auto* p = static_cast<proxy*>(core::loop_data(a->home));
  p->armed_us = 0;  // the pumps need not set it: that is done once, below
  const uint64_t now = core::system_clock()->mono_us();
  while (!p->wakes.empty() && p->wakes.begin()->first <= now) {
    proxy_link* l = p->wakes.begin()->second;
    p->wakes.erase(p->wakes.begin());
    l->wake_us = 0;
    proxy_link_pump(l);
  }
  p->armed_us = p->wakes.empty() ? UINT64_MAX : p->wakes.begin()->first;
  if (p->armed_us != UINT64_MAX) core::alarm_set(a, p->armed_us);
}

core::err open_door(proxy* p, std::string* why) {
  core::err rc = core::err::io;
  for (int i = 0; i < kPortTries; ++i) {
    p->address = {"127.0.0.1", 0};
    rc = core::listener_probe(&p->address, why);
    if (rc == core::err::ok)
      rc = core::listener_open(p->home, p->address, on_accept, p, &p->door, why);
    if (rc != core::err::conflict) break;
  }
  return rc;
}

void on_start(core::loop* home, void* user) noexcept {
  auto* s = static_cast<starting*>(user);
  proxy* p = s->p;
  core::loop_set_data(home, p);
  core::err rc = core::alarm_open(&p->clock, home, on_clock);
  p->is_clock_open = rc == core::err::ok;
  if (!p->is_clock_open) s->why = "no descriptor is left for the proxy's clock";
  if (p->is_clock_open) rc = open_door(p, &s->why);
  s->done.set_value(rc);
}

struct stopping {
  proxy* p;
  std::promise<void> done;
};

void on_stop(core::loop*, void* user) noexcept {
  auto* s = static_cast<stopping*>(user);
  proxy* p = s->p;
  if (p->door != nullptr) core::listener_close(p->door);
  if (p->is_clock_open) core::alarm_close(&p->clock, nullptr);
  p->is_clock_open = false;
  for (const auto& [number, l] : p->links) proxy_link_close(l, false);
  s->done.set_value();
}

// Posts until the mailbox takes it: few messages ever wait there.
void call(proxy* p, void (*fn)(core::loop*, void*) noexcept, void* user) {
  while (!core::loop_call(p->home, fn, user)) std::this_thread::yield();
}

void end(proxy* p) {
  stopping s{p, {}};
  call(p, on_stop, &s);
  s.done.get_future().wait();  // before the group stops: a loop without connections would end
                               // without having read its mail
  core::loop_group_stop(p->loops);
  core::loop_group_free(p->loops);
}

struct cut_order : core::msg {
  proxy* p;
  double share;
  uint64_t seed;
};

void on_cut(core::loop*, core::msg* m) noexcept {
  const std::unique_ptr<cut_order> order(static_cast<cut_order*>(m));
  std::vector<proxy_link*> links;
  for (const auto& [number, l] : order->p->links) links.push_back(l);
  if (links.empty() || !(order->share > 0)) return;
  const double wanted = std::round(std::min(order->share, 1.0) * static_cast<double>(links.size()));
  const size_t n = std::max<size_t>(1, static_cast<size_t>(wanted));
  random_stream r = random_from(order->seed, 0);
  for (size_t i = 0; i < n; ++i) {
    std::swap(links[i], links[i + random_below(&r, links.size() - i)]);
    proxy_link_close(links[i], true);
  }
}

constexpr core::loop_group_events kLoopEvents = {[](void*, core::loop*) noexcept {},
                                                 [](void*, core::loop*) noexcept {}};

core::err check(const proxy_options& o, std::string* why) {
  double sum = 0;
  for (const injury& i : o.injuries) sum += i.probability;
  if (sum > 1) {
    *why = "the probabilities of the injuries sum to more than 1";
    return core::err::invalid;
  }
  if (core::dial_is_numeric(o.host)) return core::err::ok;
  *why = "the proxy wants the server's address as numbers, not \"" + o.host + "\"";
  return core::err::invalid;
}

}  // namespace

core::err proxy_start(const proxy_options& o, proxy** out, uint16_t* port,
                      std::string* why) noexcept {
  core::err rc = check(o, why);
  if (rc != core::err::ok) return rc;
  auto p = std::make_unique<proxy>();
  p->options = o;
  p->plan = injury_plan_make(o.injuries, o.seed);
  p->plan.has_lines = o.has_lines;
  if (core::loop_group_create(1, core::loop_options{}, &p->loops) != core::err::ok) {
    *why = "the proxy's loop cannot be made";
    return core::err::io;
  }
  p->home = core::loop_group_at(p->loops, 0);
  core::loop_group_start(p->loops, &kLoopEvents, nullptr);
  starting s{p.get(), {}, {}};
  call(p.get(), on_start, &s);
  rc = s.done.get_future().get();
  if (rc != core::err::ok) {
    *why = s.why;
    end(p.get());
    return core::err::io;
  }
  *port = p->address.port;
  *out = p.release();
  return core::err::ok;
}

void proxy_cut(proxy* p, double share, uint64_t seed) noexcept {
  auto* m = new cut_order;
  m->p = p;
  m->share = share;
  m->seed = seed;
  m->run = on_cut;
  m->drop = [](core::msg* self) noexcept { delete static_cast<cut_order*>(self); };
  (void)core::loop_post(p->home, m);
}

void proxy_stop(proxy* p, proxy_report* report) noexcept {
  end(p);
  CORE_ASSERT(p->links.empty() && p->wakes.empty() && p->late_bytes == 0 &&
              p->plan.swaps_begun == 0);
  if (report != nullptr) *report = std::move(p->plan.report);
  delete p;
}

}  // namespace loadgen
