// A link of the proxy: bytes to the server as they are, bytes of the server through the injuries
// and the latency.
#include "loadgen/proxy_link.h"

#include <sys/socket.h>

#include <algorithm>

#include "core/clock.h"
#include "core/dial.h"

namespace loadgen {
namespace {

constexpr uint32_t kQueueBytesMax =
    16 * 1024 * 1024;  // never reached: sending ends at kQueueHigh, and a piece has 2 MiB at most
constexpr uint32_t kQueueHigh = 1024 * 1024;    // of a socket: beyond it the other side waits
constexpr uint64_t kLateMax = 4 * 1024 * 1024;  // of a link: 50 ms at 80 MB/s
constexpr uint64_t kLateTotalMax =
    256 * 1024 * 1024;  // of all: beyond it each link has only kLateSmall
constexpr uint64_t kLateSmall = 64 * 1024;
constexpr uint64_t kHeldUs = 500'000;  // a message to swap waits for the next one of its room
constexpr uint32_t kCheckUsMin = 1000, kCheckUsMax = 32'000;  // a full socket is looked at again

uint64_t now_us() noexcept {
  return core::system_clock()->mono_us();
}

proxy_end* end_of(core::conn* c) noexcept {
  return reinterpret_cast<proxy_end*>(c);
}

uint64_t late_max(const proxy_link* l) noexcept {
  const uint64_t all = l->home->late_bytes + core::loop_counters(l->home->home)->queue_bytes.get();
  return all > kLateTotalMax ? kLateSmall : kLateMax;
}

void drop_late(proxy_link* l) noexcept {
  while (late_bytes* first = l->late_first) {
    l->late_first = first->next;
    core::frame_unref(first->bytes);
    delete first;
  }
  l->late_last = nullptr;
  l->home->late_bytes -= l->late_size;
  l->late_size = 0;
}

void send_due(proxy_link* l, uint64_t now) noexcept {
  while (l->late_first != nullptr && l->late_first->due_us <= now &&
         l->client.c.queue_bytes < kQueueHigh) {
    late_bytes* first = l->late_first;
    l->late_first = first->next;
    if (l->late_first == nullptr) l->late_last = nullptr;
    l->late_size -= first->bytes->len;
    l->home->late_bytes -= first->bytes->len;
    core::conn_send(&l->client.c, first->bytes);
    delete first;
    l->check_us = kCheckUsMin;
  }
}

// What has come through the injuries: to the client, at its time.
void on_injured(void* user, std::string_view bytes, uint32_t delay_ms) noexcept {
  auto* l = static_cast<proxy_link*>(user);
  if (l->client.c.state != core::conn_state::open) return;
  const uint64_t now = now_us();
  const uint64_t due = now + (uint64_t{l->home->options.latency_ms} + delay_ms) * 1000;
  core::frame* f = core::frame_copy(bytes);
  if (due <= now && l->late_first == nullptr && l->client.c.queue_bytes < kQueueHigh) {
    core::conn_send(&l->client.c, f);
    return;
  }
  auto* late = new late_bytes{nullptr, due, f};
  (l->late_first == nullptr ? l->late_first : l->late_last->next) = late;
  l->late_last = late;
  l->late_size += f->len;
  l->home->late_bytes += f->len;
}

void on_client_data(core::conn* c, char* bytes, uint32_t len) noexcept {
  proxy_link* l = end_of(c)->of;
  core::conn_send(&l->server.c, core::frame_copy({bytes, len}));
  if (l->server.c.queue_bytes <= kQueueHigh) return;
  core::conn_pause_read(c);
  proxy_link_pump(l);
}

// The client says no more: what it has said goes out. Nothing that the server still sends would be
// read.
void on_client_eof(core::conn* c) noexcept {
  proxy_link* l = end_of(c)->of;
  if (l->has_server) core::conn_drain(&l->server.c, core::end_reason::client_closed);
  core::conn_close(c, core::end_reason::client_closed);
}

void on_server_data(core::conn* c, char* bytes, uint32_t len) noexcept {
  proxy_link* l = end_of(c)->of;
  injured_feed(&l->home->plan, &l->stream, {bytes, len}, on_injured, l);
  if (l->stream.held == nullptr) {
    l->held_until_us = 0;
  } else if (l->held_until_us == 0 || l->held_frame != l->stream.held->frame) {
    l->held_until_us = now_us() + kHeldUs;
    l->held_frame = l->stream.held->frame;
  }
  if (l->late_size + l->client.c.queue_bytes > late_max(l)) core::conn_pause_read(c);
  if (l->late_first != nullptr || l->held_until_us != 0 || c->is_read_paused) proxy_link_pump(l);
}

void end_server_stream(proxy_link* l) noexcept {
  if (l->is_server_done) return;
  l->is_server_done = true;
  injured_end(&l->home->plan, &l->stream, on_injured, l);
  l->held_until_us = 0;
  proxy_link_pump(l);
}

void on_server_eof(core::conn* c) noexcept {
  end_server_stream(end_of(c)->of);
}

void set_linger(core::conn* c) noexcept {
  const linger now{1, 0};
  ::setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void wake_at(proxy_link* l, uint64_t at) noexcept {
  proxy* p = l->home;
  if (l->wake_us == at) return;
  if (l->wake_us != 0) p->wakes.erase({l->wake_us, l});
  l->wake_us = at;
  if (at == 0) return;
  p->wakes.insert({at, l});
  if (at >= p->armed_us || !p->is_clock_open) return;
  p->armed_us = at;
  core::alarm_set(&p->clock, at);
}

void end_closed(proxy_link* l) noexcept {
  if (--l->open_ends > 0) return;
  wake_at(l, 0);
  drop_late(l);
  if (l->stream.held != nullptr) --l->home->plan.swaps_begun;
  l->home->links.erase(l->stream.number);
  delete l;
}

void on_client_closed(core::conn* c, core::end_reason why) noexcept {
  proxy_link* l = end_of(c)->of;
  drop_late(l);
  // A server's end that drains has the client's last bytes on their way, and ends by itself.
  if (l->has_server && l->server.c.state == core::conn_state::open) {
    if (why == core::end_reason::client_reset) set_linger(&l->server.c);
    core::conn_close(&l->server.c, why);
  }
  end_closed(l);
}

void on_server_closed(core::conn* c, core::end_reason) noexcept {
  proxy_link* l = end_of(c)->of;
  end_server_stream(l);
  end_closed(l);
}

constexpr core::conn_events kClientEvents = {on_client_data, on_client_eof, on_client_closed};
constexpr core::conn_events kServerEvents = {on_server_data, on_server_eof, on_server_closed};

// When there is something to do next; 0: only when something comes.
uint64_t next_wake(const proxy_link* l, uint64_t now) noexcept {
  uint64_t at = UINT64_MAX;
  const uint64_t check = now + l->check_us;
  if (l->late_first != nullptr) at = l->late_first->due_us > now ? l->late_first->due_us : check;
  if (l->server.c.is_read_paused && l->late_first == nullptr) at = check;
  if (l->client.c.is_read_paused) at = std::min(at, check);
  if (l->held_until_us != 0) at = std::min(at, std::max(l->held_until_us, now + kCheckUsMin));
  return at == UINT64_MAX ? 0 : at;
}

}  // namespace

void proxy_link_pump(proxy_link* l) noexcept {
  const uint64_t now = now_us();
  l->check_us = std::clamp(l->check_us * 2, kCheckUsMin, kCheckUsMax);
  if (l->client.c.state != core::conn_state::open) {
    drop_late(l);
    wake_at(l, 0);
    return;
  }
  if (l->held_until_us != 0 && l->held_until_us <= now &&
      injured_release(&l->home->plan, &l->stream, on_injured, l))
    l->held_until_us = 0;
  send_due(l, now);
  if (l->is_server_done && l->late_first == nullptr) {
    wake_at(l, 0);
    core::conn_drain(&l->client.c, core::end_reason::client_closed);
    return;
  }
  if (l->server.c.is_read_paused && l->late_size + l->client.c.queue_bytes < late_max(l) / 2) {
    l->check_us = kCheckUsMin;
    core::conn_resume_read(&l->server.c);
  }
  if (l->client.c.is_read_paused && l->server.c.queue_bytes < kQueueHigh / 2) {
    l->check_us = kCheckUsMin;
    core::conn_resume_read(&l->client.c);
  }
  wake_at(l, next_wake(l, now));
}

void proxy_link_open(proxy* p, int fd) noexcept {
  auto* l = new proxy_link;
  l->home = p;
  l->client.of = l->server.of = l;
  if (core::conn_init(&l->client.c, p->home, fd, &kClientEvents, kQueueBytesMax) != core::err::ok) {
    delete l;
    return;
  }
  l->open_ends = 1;
  l->stream = injured_stream_make(p->plan, static_cast<uint32_t>(++p->plan.report.connections));
  p->links.emplace(l->stream.number, l);
  int server = -1;
  if (core::dial({p->options.host, p->options.port, ""}, &server) == core::err::ok &&
      core::conn_init(&l->server.c, p->home, server, &kServerEvents, kQueueBytesMax) ==
          core::err::ok) {
    l->has_server = true;
    ++l->open_ends;
    return;
  }
  proxy_link_close(l, true);
}

void proxy_link_close(proxy_link* l, bool is_reset) noexcept {
  const core::end_reason why =
      is_reset ? core::end_reason::client_reset : core::end_reason::shutdown;
  for (proxy_end* e : {&l->client, &l->server}) {
    if (e->c.fd < 0 || (e == &l->server && !l->has_server)) continue;  // closed, or not opened
    if (is_reset) set_linger(&e->c);
    core::conn_close(&e->c, why);
  }
}

}  // namespace loadgen
