// One TCP connection on one loop: reads into the loop's shared buffer, a bounded out-queue of
// shared frames, one vectored write per touched connection and loop iteration, close with a reason.
//
// An idle connection holds this struct and nothing else: no read buffer, no write request, no timer
// of libuv's. The socket is polled with uv_poll_t and read and written by recv(2) and sendmsg(2)
// directly: libuv 1.44 writes one queued request per iteration and allocates for more than four
// vectors.
#pragma once

#include <uv.h>

#include <cstdint>
#include <string_view>

#include "core/end_reason.h"
#include "core/err.h"
#include "core/frame.h"
#include "core/timer_wheel.h"

namespace core {

struct loop;
struct conn;

struct conn_events {
  // Bytes have arrived; the view is valid until return, and has 64 readable bytes behind it that
  // may be overwritten by the callee before it returns (padding for simdjson). The callee may send
  // and close.
  void (*on_data)(conn* c, char* bytes, uint32_t len) noexcept;
  // The peer has shut its writing side; the callee decides (most close). Once.
  void (*on_eof)(conn* c) noexcept;
  // The last call: the struct may be freed in it. Never inside a call of conn_close().
  void (*on_closed)(conn* c, end_reason why) noexcept;
};

// Who asked for the connection: a client, or we (to a server that we need).
enum class conn_side : uint8_t { accepted, dialled };
enum class conn_state : uint8_t { open, draining, closing };

// Embedded in its user's struct. Invariant: queue_bytes is the sum of the unsent bytes of the
// queued frames.
struct conn {
  uv_poll_t poll;  // first: the handle is the connection; its data is the drain's timer
  loop* home;
  const conn_events* events;
  frame** queue;  // ring of frames, allocated when something is queued, freed when all is sent
  uint32_t queue_head;  // index of the oldest
  uint32_t queue_count;
  uint32_t queue_cap;  // 0 or a power of two
  uint32_t head_sent;  // bytes of the oldest frame that are already sent
  uint32_t queue_bytes;
  uint32_t queue_bytes_max;  // beyond it the connection is closed as slow
  conn* touched_next;        // the loop's list of connections to flush
  int fd;
  conn_state state;
  end_reason why;
  bool is_touched;
  bool is_write_blocked;  // waits for the socket to become writable
  bool is_read_paused;
  bool is_eof;     // the peer has shut its writing side
  uint8_t polled;  // what the socket is polled for: UV_READABLE, UV_WRITABLE
  conn_side side;
};

// Takes the connected, non-blocking socket `fd`. TCP_NODELAY is set. On an error the fd is closed.
err conn_init(conn* c, loop* home, int fd, const conn_events* events, uint32_t queue_bytes_max,
              conn_side side = conn_side::accepted) noexcept;

// Takes one reference of `f`; it is written at the end of the iteration. A closing or draining
// connection drops it. Beyond queue_bytes_max the queue is dropped and the connection closed with
// end_reason::slow.
void conn_send(conn* c, frame* f) noexcept;

// Room for `len` further bytes at the end of the queue, for whoever makes many small pieces in one
// iteration (pipelined commands): they share a frame, and the iteration's write. The caller fills
// it before it returns to the loop. nullptr: closing or draining, or it would be beyond
// queue_bytes_max (the connection stays open).
char* conn_room(conn* c, uint32_t len) noexcept;

// Writes what is queued now; called by the loop at the end of an iteration, and for what must go
// out at once.
void conn_flush(conn* c) noexcept;

// No further sends: writes what is queued, shuts the writing side, and closes when the peer does or
// when nothing has been written for kWsCloseWaitMsMax. What the peer sends meanwhile is thrown
// away.
void conn_drain(conn* c, end_reason why) noexcept;

// Closes now; queued frames are dropped. Idempotent: the first reason wins. on_closed() follows in
// a later iteration.
void conn_close(conn* c, end_reason why) noexcept;

void conn_pause_read(conn* c) noexcept;
void conn_resume_read(conn* c) noexcept;

// The peer's address as text ("127.0.0.1:4711"); "" when unknown.
void conn_peer(const conn* c, char* out, uint32_t cap) noexcept;

}  // namespace core
