// WebSocket (RFC 6455), client side: the handshake, frames from a server, masked frames to it. No
// I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/err.h"

namespace proto {

// "GET target HTTP/1.1" with the upgrade's headers. `key` is 24 base64 characters; protocol may be
// empty.
std::string ws_client_request(std::string_view host, std::string_view target, std::string_view key,
                              std::string_view protocol) noexcept;
// The server's answer at the beginning of `in`: again (its head is not complete), ok with *head_len
// bytes taken, malformed with *why (another status, not an upgrade to websocket, a wrong accept
// value, an extension that nobody asked for, no end within 64 KiB). RFC 6455 section 4.1.
core::err ws_client_answer(std::string_view in, std::string_view key, size_t* head_len,
                           std::string* why) noexcept;

// The header of a server's frame (RFC 6455 section 5.2).
struct ws_frame_head {
  uint8_t opcode = 0;  // 0 continuation, 1 text, 2 binary, 8 close, 9 ping, 10 pong
  bool is_fin = false;
  uint64_t payload = 0;  // bytes
  size_t size = 0;       // of the header, bytes
};
// again: the header is not complete. malformed: masked, reserved bits or opcodes, a length that is
// not in its shortest form, a control frame that is too long or fragmented.
core::err ws_frame_head_read(std::string_view in, ws_frame_head* h) noexcept;

// What a connection holds between reads; empty when it is not mid-frame.
struct ws_client {
  std::string rest;     // bytes of an unfinished frame
  std::string message;  // of a fragmented message
  bool is_in_message = false;
  bool is_stopped = false;
};

struct ws_client_events {
  void (*on_message)(void* user,
                     std::string_view payload) noexcept;  // text or binary; valid until return
  void (*on_ping)(void* user, std::string_view payload) noexcept;  // answer with a pong
  void (*on_close)(void* user, uint16_t code, std::string_view reason) noexcept;  // 1005: no code
};

// Takes all bytes. malformed: a header that ws_frame_head_read() refuses, a broken sequence of
// fragments, a close code that may not be sent (section 7.4). too_big: a message beyond bytes_max;
// it is refused as soon as its header is known. Text is not checked for UTF-8. After
// ws_client.is_stopped (set it in an event; a close frame sets it before on_close) the rest is
// ignored. `c` must outlive the call.
core::err ws_client_feed(ws_client* c, std::string_view in, uint64_t bytes_max,
                         const ws_client_events* events, void* user) noexcept;

enum class ws_opcode : uint8_t { text = 1, close = 8, ping = 9, pong = 10 };
// Appends one whole frame, masked with `mask` (any number; RFC 6455 wants it unpredictable).
void ws_client_frame(std::string* out, ws_opcode opcode, std::string_view payload,
                     uint32_t mask) noexcept;

}  // namespace proto
