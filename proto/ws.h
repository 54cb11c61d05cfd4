// WebSocket (RFC 6455), server side: input and control frames over wslay, data frames written by
// ourselves because an unmasked frame is the same for every receiver. No I/O.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/end_reason.h"
#include "core/frame.h"

namespace proto {

// Bytes of a server-to-client header: 2, 4 or 10 (RFC 6455 section 5.2).
inline constexpr uint32_t kWsHeaderBytesMax = 10;
// Writes the header of an unmasked, unfragmented text frame so that it ends at `end`; returns its
// first byte.
char* ws_header_before(char* end, uint64_t payload_bytes) noexcept;

// A text frame with a copy of the payload, one reference.
core::frame* ws_text_frame(std::string_view payload) noexcept;
// Control frames; payload <= 125 bytes, code 0 makes an empty close frame. Longer reasons are cut
// at a UTF-8 boundary.
core::frame* ws_pong_frame(std::string_view payload) noexcept;
core::frame* ws_close_frame(uint16_t code, std::string_view reason) noexcept;

struct ws_reader;  // about 4.5 KB with wslay's context, and a buffer: lent to a connection while it
                   // is mid-message, then given back

// Called from ws_feed(). None may free the reader; after ws_stop() no further call comes.
struct ws_events {
  // A whole text message, valid UTF-8. `bytes` has 64 further readable and writable bytes behind
  // len. May be changed in place.
  void (*on_text)(void* user, char* bytes, uint32_t len) noexcept;
  void (*on_ping)(void* user, std::string_view payload) noexcept;  // answer with a pong
  void (*on_pong)(void* user) noexcept;
  // The peer's close frame; code 1005 when it has none. Answer with a close frame of the same code,
  // then drain.
  void (*on_close)(void* user, uint16_t code, std::string_view reason) noexcept;
};

ws_reader* ws_reader_new() noexcept;
void ws_reader_free(ws_reader* r) noexcept;
// Must be at a message boundary; points the reader at another connection.
void ws_reader_lend(ws_reader* r, const ws_events* events, void* user,
                    uint32_t message_bytes_max) noexcept;
void ws_reader_limit(ws_reader* r, uint32_t message_bytes_max) noexcept;
// Forgets a partial message and gives back most of the buffer, so that the reader can be lent
// again; call it whenever it is given back.
void ws_reader_reset(ws_reader* r) noexcept;
// No byte of an unfinished frame or message is held.
bool ws_reader_is_idle(const ws_reader* r) noexcept;
// Takes all bytes. none: go on. Otherwise the connection must be failed: protocol_error (1002),
// bad_utf8 (1007), message_too_big (1009), unsupported_data (1003: a binary message on a JSON
// connection). `bytes` may be changed in place and must have 64 readable and writable bytes behind
// it.
core::end_reason ws_feed(ws_reader* r, char* bytes, uint32_t len) noexcept;
// For differential tests: off, wslay reads every frame. On by default.
void ws_reader_use_fast_path(ws_reader* r, bool is_used) noexcept;
void ws_stop(ws_reader* r) noexcept;  // from inside an event: the rest of the input is ignored

}  // namespace proto
