// One TCP connection: recv(2) into the loop's buffer, a ring of shared frames out, close and drain.
#include "core/conn.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/assert.h"
#include "core/limits.h"
#include "core/loop_impl.h"

namespace core {

static_assert(sizeof(conn) <= 288, "an idle connection holds one of these");

namespace {

constexpr uint32_t kReadsPerTurn =
    2;  // full buffers: another connection's turn comes after half a megabyte
constexpr uint32_t kVectorsMax = 64;        // frames a sendmsg(2)
constexpr uint32_t kRoomBytes = 16 * 1024;  // of a frame that conn_room() begins
constexpr uint32_t kWritesPerTurn =
    4;  // sendmsg calls of one connection in a flush while the socket takes everything

// While a connection drains: the end if the peer does not end it. Allocated then, so that an idle
// connection does not pay for it.
struct drain_timer : timer {
  conn* owner;
};

void poll_for(conn* c) noexcept;

frame** queue_new(loop* l, uint32_t cap) noexcept {
  if (cap == kQueueCapFirst && !l->free_queues.empty()) {
    frame** q = l->free_queues.back();
    l->free_queues.pop_back();
    return q;
  }
  return new frame*[cap];
}

void queue_give_back(conn* c) noexcept {
  if (c->queue == nullptr) return;
  loop* l = c->home;
  if (c->queue_cap == kQueueCapFirst && l->free_queues.size() < kQueuesKept) {
    l->free_queues.push_back(c->queue);
  } else {
    delete[] c->queue;
  }
  c->queue = nullptr;
  c->queue_cap = c->queue_head = 0;
}

void queue_push(conn* c, frame* f) noexcept {
  if (c->queue_count == c->queue_cap) {
    const uint32_t cap = c->queue_cap == 0 ? kQueueCapFirst : c->queue_cap * 2;
    frame** bigger = queue_new(c->home, cap);
    for (uint32_t i = 0; i < c->queue_count; ++i)
      bigger[i] = c->queue[(c->queue_head + i) & (c->queue_cap - 1)];
    queue_give_back(c);
    c->queue = bigger;
    c->queue_cap = cap;
    c->queue_head = 0;
  }
  c->queue[(c->queue_head + c->queue_count) & (c->queue_cap - 1)] = f;
  ++c->queue_count;
}

void queue_drop(conn* c) noexcept {
  for (uint32_t i = 0; i < c->queue_count; ++i)
    frame_unref(c->queue[(c->queue_head + i) & (c->queue_cap - 1)]);
  c->home->counters.queue_bytes.sub(c->queue_bytes);
  c->queue_count = c->queue_bytes = c->head_sent = 0;
  queue_give_back(c);
}

void queue_take(conn* c, size_t sent) noexcept {
  c->queue_bytes -= static_cast<uint32_t>(sent);
  c->home->counters.queue_bytes.sub(sent);
  sent += c->head_sent;
  while (c->queue_count > 0) {
    frame* f = c->queue[c->queue_head];
    if (sent < f->len) break;
    sent -= f->len;
    frame_unref(f);
    c->queue_head = (c->queue_head + 1) & (c->queue_cap - 1);
    --c->queue_count;
  }
  c->head_sent = static_cast<uint32_t>(sent);
  if (c->queue_count == 0) queue_give_back(c);
}

ssize_t write_some(conn* c, size_t* wanted) noexcept {
  iovec vectors[kVectorsMax];
  const uint32_t n = std::min(c->queue_count, kVectorsMax);
  *wanted = 0;
  for (uint32_t i = 0; i < n; ++i) {
    std::string_view bytes = frame_view(c->queue[(c->queue_head + i) & (c->queue_cap - 1)]);
    if (i == 0) bytes.remove_prefix(c->head_sent);
    vectors[i] = {const_cast<char*>(bytes.data()), bytes.size()};
    *wanted += bytes.size();
  }
  c->home->counters.writes.add();
  if (n == 1) return ::send(c->fd, vectors[0].iov_base, vectors[0].iov_len, MSG_NOSIGNAL);
  msghdr m{};
  m.msg_iov = vectors;
  m.msg_iovlen = n;
  return ::sendmsg(c->fd, &m, MSG_NOSIGNAL);
}

drain_timer* drain_of(conn* c) noexcept {
  return static_cast<drain_timer*>(c->poll.data);
}

void on_drain_end(timer* t) noexcept {
  conn* c = static_cast<drain_timer*>(t)->owner;
  conn_close(c, c->why);
}

void drain_wait(conn* c) noexcept {
  timer_start(&c->home->timers, drain_of(c), loop_now_ms(c->home), kWsCloseWaitMsMax);
}

// Everything is written. Without the peer's end the kernel sends ours now, and that end is waited
// for.
void end_when_written(conn* c) noexcept {
  if (c->state != conn_state::draining || c->queue_count > 0) return;
  if (c->is_eof) {
    conn_close(c, c->why);
  } else {
    ::shutdown(c->fd, SHUT_WR);
  }
}

// Draining: the peer's bytes are read and thrown away, so that its end is seen and no reset
// overtakes our last frame.
void discard(conn* c) noexcept {
  const ssize_t got = ::recv(c->fd, loop_read_buffer(c->home), kReadBytes, 0);
  c->home->counters.reads.add();
  if (got > 0) c->home->counters.bytes_in.add(static_cast<uint64_t>(got));
  if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) return;
  if (got < 0 || c->queue_count == 0) {
    conn_close(c, c->why);
    return;
  }
  c->is_eof = true;  // half closed: it still reads what is queued
  poll_for(c);
}

void read_turn(conn* c) noexcept {
  loop* l = c->home;
  for (uint32_t i = 0; i < kReadsPerTurn && c->state == conn_state::open && !c->is_read_paused;
       ++i) {
    const ssize_t got = ::recv(c->fd, loop_read_buffer(l), kReadBytes, 0);
    l->counters.reads.add();
    if (got < 0) {
      if (errno != EAGAIN && errno != EINTR) conn_close(c, end_reason::client_reset);
      return;
    }
    if (got == 0) {
      c->is_eof = true;  // told once; poll would report it for ever
      c->events->on_eof(c);
      poll_for(c);
      return;
    }
    l->counters.bytes_in.add(static_cast<uint64_t>(got));
    c->events->on_data(c, loop_read_buffer(l), static_cast<uint32_t>(got));
    if (got < static_cast<ssize_t>(kReadBytes)) return;
  }
}

void on_poll(uv_poll_t* h, int status, int events) noexcept {
  conn* c = reinterpret_cast<conn*>(h);
  loop_enter(c->home);
  if (status < 0) {
    conn_close(c, end_reason::client_reset);
    return;
  }
  if ((events & UV_WRITABLE) != 0 && c->is_write_blocked) {
    c->is_write_blocked = false;
    conn_flush(c);
    poll_for(c);
  }
  if ((events & UV_READABLE) == 0) return;
  if (c->state == conn_state::open) {
    read_turn(c);
  } else if (c->state == conn_state::draining) {
    discard(c);
  }
}

void poll_for(conn* c) noexcept {
  if (c->state == conn_state::closing) return;
  uint8_t events = 0;
  if (!c->is_eof && (!c->is_read_paused || c->state == conn_state::draining)) events |= UV_READABLE;
  if (c->is_write_blocked) events |= UV_WRITABLE;
  if (events == c->polled) return;  // libuv would make two system calls of it
  c->polled = events;
  if (events == 0) {
    uv_poll_stop(&c->poll);
  } else {
    CORE_ASSERT(uv_poll_start(&c->poll, events, on_poll) == 0);
  }
}

void on_poll_closed(uv_handle_t* h) noexcept {
  conn* c = reinterpret_cast<conn*>(h);
  loop_enter(c->home);
  loop_metrics& m = c->home->counters;
  if (c->side == conn_side::accepted) {
    m.connections_open.sub();
    m.ended[static_cast<size_t>(c->why)].add();
  } else {
    m.dialled_open.sub();
  }
  const int fd = c->fd;
  c->events->on_closed(c, c->why);  // may free c; conn_peer() still knows the peer in it
  ::close(fd);
}

}  // namespace

err conn_init(conn* c, loop* home, int fd, const conn_events* events, uint32_t queue_bytes_max,
              conn_side side) noexcept {
  *c = conn{};
  c->home = home;
  c->side = side;
  c->events = events;
  c->queue_bytes_max = queue_bytes_max;
  c->fd = fd;
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
               sizeof one);  // not TCP (a test's socketpair): no harm
  if (uv_poll_init(&home->uv, &c->poll, fd) != 0) {
    ::close(fd);
    return err::io;
  }
  c->poll.data = nullptr;
  poll_for(c);
  if (side == conn_side::accepted) {
    home->counters.connections_accepted.add();
    home->counters.connections_open.add();
  } else {
    home->counters.dialled_open.add();
  }
  return err::ok;
}

void conn_send(conn* c, frame* f) noexcept {
  if (c->state != conn_state::open || f->len == 0) {
    frame_unref(f);
    return;
  }
  // The bound may have become smaller than what waits: an upgrade behind unread answers.
  if (c->queue_bytes > c->queue_bytes_max || f->len > c->queue_bytes_max - c->queue_bytes) {
    frame_unref(f);
    conn_close(c, end_reason::slow);
    return;
  }
  queue_push(c, f);
  c->queue_bytes += f->len;
  c->home->counters.queue_bytes.add(f->len);
  if (!c->is_touched && !c->is_write_blocked) loop_touch(c->home, c);
}

char* conn_room(conn* c, uint32_t len) noexcept {
  if (c->state != conn_state::open || c->queue_bytes > c->queue_bytes_max ||
      len > c->queue_bytes_max - c->queue_bytes)
    return nullptr;
  frame* f = nullptr;
  if (c->queue_count > 0) {
    frame* last = c->queue[(c->queue_head + c->queue_count - 1) & (c->queue_cap - 1)];
    const bool is_ours_alone = last->refs.load(std::memory_order_acquire) == 1;
    if (is_ours_alone && last->cap - last->offset - last->len >= len) f = last;
  }
  if (f == nullptr) {
    f = frame_new(std::max(len, kRoomBytes));
    queue_push(c, f);
  }
  char* room = frame_bytes(f) + f->offset + f->len;
  f->len += len;
  c->queue_bytes += len;
  c->home->counters.queue_bytes.add(len);
  if (!c->is_touched && !c->is_write_blocked) loop_touch(c->home, c);
  return room;
}

void conn_flush(conn* c) noexcept {
  if (c->state == conn_state::closing || c->is_write_blocked) return;
  bool is_blocked = false;
  for (uint32_t i = 0; c->queue_count > 0 && !is_blocked; ++i) {
    if (i == kWritesPerTurn) {  // the others' turn; the socket is writable, so the next iteration
                                // goes on
      is_blocked = true;
      break;
    }
    size_t wanted = 0;
    const ssize_t sent = write_some(c, &wanted);
    if (sent >= 0) {
      c->home->counters.bytes_out.add(static_cast<uint64_t>(sent));
      queue_take(c, static_cast<size_t>(sent));
      is_blocked = static_cast<size_t>(sent) < wanted;
      if (is_blocked) c->home->counters.writes_partial.add();
      if (sent > 0 && c->state == conn_state::draining)
        drain_wait(c);  // it does read, so it gets more time
    } else if (errno == EAGAIN) {
      is_blocked = true;
    } else if (errno != EINTR) {
      conn_close(c, end_reason::client_reset);
      return;
    }
  }
  c->is_write_blocked = is_blocked;
  if (is_blocked) poll_for(c);
  end_when_written(c);
}

void conn_drain(conn* c, end_reason why) noexcept {
  if (c->state != conn_state::open) return;
  c->state = conn_state::draining;
  c->why = why;
  auto* t = new drain_timer;
  t->owner = c;
  t->fire = on_drain_end;
  c->poll.data = t;
  drain_wait(c);
  poll_for(c);
  if (c->queue_count > 0) {
    if (!c->is_write_blocked) loop_touch(c->home, c);
  } else {
    end_when_written(c);
  }
}

void conn_close(conn* c, end_reason why) noexcept {
  if (c->state == conn_state::closing) return;
  if (c->state == conn_state::open) c->why = why;
  c->state = conn_state::closing;
  if (drain_timer* t = drain_of(c); t != nullptr) {
    timer_stop(&c->home->timers, t);
    c->poll.data = nullptr;
    delete t;
  }
  queue_drop(c);  // when touched it stays in the list: that is flushed before the struct can go
  uv_close(reinterpret_cast<uv_handle_t*>(&c->poll), on_poll_closed);
}

void conn_pause_read(conn* c) noexcept {
  if (c->is_read_paused) return;
  c->is_read_paused = true;
  poll_for(c);
}

void conn_resume_read(conn* c) noexcept {
  if (!c->is_read_paused) return;
  c->is_read_paused = false;
  poll_for(c);
}

void conn_peer(const conn* c, char* out, uint32_t cap) noexcept {
  sockaddr_storage a{};
  socklen_t size = sizeof a;
  char host[INET6_ADDRSTRLEN] = "";
  if (cap > 0) out[0] = '\0';
  if (c->fd < 0 || ::getpeername(c->fd, reinterpret_cast<sockaddr*>(&a), &size) != 0) return;
  if (a.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&a);
    inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    std::snprintf(out, cap, "%s:%d", host, ntohs(v4->sin_port));
  } else if (a.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&a);
    inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    std::snprintf(out, cap, "[%s]:%d", host, ntohs(v6->sin6_port));
  }
}

}  // namespace core
