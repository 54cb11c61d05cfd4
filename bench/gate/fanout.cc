// What does it cost to hand one frame to 100 connections and to write it to their sockets? In it:
// 100 reads at the other ends, the same on both sides of a comparison. All in one thread and one
// iteration: between threads the count would depend on who sleeps when.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <string>
#include <vector>

#include "core/conn.h"
#include "core/frame.h"
#include "core/loop.h"
#include "driver.h"
#include "proto/ws.h"

namespace {

constexpr uint32_t kMembers = 100;

struct room {
  core::conn conns[kMembers];
  int ends[kMembers];
  std::string text = std::string(250, 'x');
  std::atomic<uint64_t> closed{0};
  uint64_t times = 0;
};
room* r;

constexpr core::conn_events kEvents = {
    [](core::conn*, char*, uint32_t) noexcept {}, [](core::conn*) noexcept {},
    [](core::conn*, core::end_reason) noexcept { r->closed.fetch_add(1); }};

void on_loop(core::loop* l, void (*fn)(core::loop*)) {
  struct call {
    void (*fn)(core::loop*);
    std::promise<void> done;
  } c{fn, {}};
  must(core::loop_call(
           l,
           [](core::loop* here, void* user) noexcept {
             auto* self = static_cast<call*>(user);
             self->fn(here);
             self->done.set_value();
           },
           &c),
       "the loop takes no call");
  c.done.get_future().wait();
}

}  // namespace

void run(uint64_t times) {
  r = new room;
  core::loop_group* g = nullptr;
  must(core::loop_group_create(1, {}, &g) == core::err::ok, "no loop");
  static constexpr core::loop_group_events kGroup = {[](void*, core::loop*) noexcept {},
                                                     [](void*, core::loop*) noexcept {}};
  core::loop_group_start(g, &kGroup, nullptr);
  core::loop* l = core::loop_group_at(g, 0);
  on_loop(l, [](core::loop* here) {
    for (uint32_t i = 0; i < kMembers; ++i) {
      int both[2];
      must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) == 0, "no sockets");
      fcntl(both[0], F_SETFL, O_NONBLOCK);
      r->ends[i] = both[1];
      must(core::conn_init(&r->conns[i], here, both[0], &kEvents, 1 << 20) == core::err::ok,
           "no connection");
    }
  });
  r->times = times;
  on_loop(l, [](core::loop*) {
    char bytes[512];
    for (uint64_t n = 0; n < r->times; ++n) {
      core::frame* f = proto::ws_text_frame(r->text);
      for (core::conn& c : r->conns) {
        core::frame_ref(f, 1);
        core::conn_send(&c, f);
      }
      core::frame_unref(f);
      for (core::conn& c : r->conns) core::conn_flush(&c);
      for (const int end : r->ends)
        must(read(end, bytes, sizeof bytes) == 254, "a frame did not arrive whole");
    }
  });
  on_loop(l, [](core::loop*) {
    for (core::conn& c : r->conns) core::conn_close(&c, core::end_reason::shutdown);
  });
  core::loop_group_stop(g);
  core::loop_group_free(g);
  must(r->closed == kMembers && core::frame_live() == 0, "connections or frames are left");
}
