// WebSocket input over wslay's frame reader, with everything above the frame (sequence, limits,
// UTF-8, close codes) here, and the frames that a server sends.
//
// wslay's frame layer is used rather than its event layer: the latter refuses the close codes
// 1012-1014, skips bytes of a close reason that arrives in pieces, and queues pongs without a
// bound.
//
//   ws_feed --whole text frame in the input--> unmasked in place --------> on_text
//           --anything else--> wslay_frame_recv --pieces--> buffer ------> on_text, on_ping,
//           on_close …
#include "proto/ws.h"

#include <wslay/wslay.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/assert.h"
#include "core/limits.h"

namespace proto {

using core::end_reason;

namespace {

constexpr uint32_t kPaddingBytes = 64;           // readable and writable behind what on_text() gets
constexpr uint32_t kControlBytesMax = 125;       // RFC 6455 section 5.5
constexpr uint32_t kBufferBytesKept = 4 * 1024;  // of a reader that is not lent
constexpr uint16_t kNoStatus = 1005;    // told for a close frame without a code, never sent
constexpr uint32_t kHeadBytesMax = 14;  // RFC 6455 section 5.2
constexpr uint8_t kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10;

// UTF-8 as bytes come (Unicode table 3-7): how many continuation bytes are due, and the range of
// the next one.
struct utf8_state {
  uint8_t due = 0;
  uint8_t low = 0x80, high = 0xBF;
};

bool utf8_lead(utf8_state* u, uint8_t b) noexcept {
  u->low = 0x80;
  u->high = 0xBF;
  if (b >= 0xC2 && b <= 0xDF) {
    u->due = 1;
  } else if (b >= 0xE0 && b <= 0xEF) {
    u->due = 2;
    if (b == 0xE0) u->low = 0xA0;   // overlong
    if (b == 0xED) u->high = 0x9F;  // surrogates
  } else if (b >= 0xF0 && b <= 0xF4) {
    u->due = 3;
    if (b == 0xF0) u->low = 0x90;   // overlong
    if (b == 0xF4) u->high = 0x8F;  // beyond U+10FFFF
  } else {
    return false;
  }
  return true;
}

// False at the first byte that no valid text can continue with.
bool utf8_feed(utf8_state* u, const char* bytes, size_t n) noexcept {
  size_t i = 0;
  while (i < n) {
    uint64_t eight;
    if (u->due == 0 && n - i >= sizeof eight) {
      memcpy(&eight, bytes + i, sizeof eight);
      if ((eight & 0x8080808080808080ull) == 0) {
        i += sizeof eight;
        continue;
      }
    }
    const uint8_t b = static_cast<uint8_t>(bytes[i++]);
    if (u->due > 0) {
      if (b < u->low || b > u->high) return false;
      --u->due;
      u->low = 0x80;
      u->high = 0xBF;
    } else if (b >= 0x80 && !utf8_lead(u, b)) {
      return false;
    }
  }
  return true;
}

void unmask(char* bytes, uint64_t n, const char* key) noexcept {
  uint64_t wide_key;
  memcpy(&wide_key, key, 4);
  memcpy(reinterpret_cast<char*>(&wide_key) + 4, key, 4);
  uint64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    memcpy(&eight, bytes + i, 8);
    eight ^= wide_key;
    memcpy(bytes + i, &eight, 8);
  }
  for (; i < n; ++i) bytes[i] = static_cast<char>(bytes[i] ^ key[i % 4]);
}

// What a peer may put into a close frame (RFC 6455 section 7.4 and the IANA registry).
bool is_close_code(uint16_t code) noexcept {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
         (code >= 3000 && code <= 4999);
}

}  // namespace

// Invariant: wslay holds nothing beyond the current frame, because it is given each frame's header
// and payload and no more; between frames head_len is 0. `len` bytes of the message are in
// `buffer`.
struct ws_reader {
  wslay_frame_context_ptr wire = nullptr;
  const ws_events* events = nullptr;
  void* user = nullptr;
  uint32_t message_bytes_max = 0;
  const char* input = nullptr;  // what wslay may still take
  uint32_t input_len = 0;
  uint8_t head[kHeadBytesMax];  // the current frame's header, as far as wslay has been given it
  uint8_t head_len = 0;
  uint64_t payload_due =
      0;  // of the current frame, once the header is complete: not yet given to wslay
  uint64_t frame_left = 0;  // payload bytes of the current frame that have not come yet
  bool is_in_frame = false;
  bool is_in_message = false;  // a text message has begun and is not finished
  bool is_stopped = false;
  bool has_fast_path = true;
  bool is_fin = false;
  uint8_t opcode = 0;  // of the current frame
  uint8_t control_len = 0;
  uint32_t fragments = 0;
  utf8_state utf8;
  char* buffer = nullptr;
  uint32_t len = 0, cap = 0;
  char control[kControlBytesMax];
};

namespace {

// Bytes of the header that begins with what is in `head`.
uint32_t head_size(const ws_reader* r) noexcept {
  if (r->head_len < 2) return 2;
  const uint8_t second = r->head[1];
  const uint32_t length = second & 0x7F;
  return 2u + (length == 127 ? 8u : length == 126 ? 2u : 0u) + ((second & 0x80) != 0 ? 4u : 0u);
}

uint64_t head_payload(const ws_reader* r) noexcept {
  const uint32_t length = r->head[1] & 0x7F;
  const uint32_t bytes = length == 127 ? 8 : length == 126 ? 2 : 0;
  if (bytes == 0) return length;
  uint64_t payload = 0;
  for (uint32_t i = 0; i < bytes; ++i) payload = payload << 8 | r->head[2 + i];
  return payload;
}

ssize_t on_wire_read(uint8_t* out, size_t room, int, void* user) noexcept {
  ws_reader* r = static_cast<ws_reader*>(user);
  const bool is_head = r->head_len < head_size(r);
  const uint64_t due = is_head ? head_size(r) - r->head_len : r->payload_due;
  const size_t n = static_cast<size_t>(std::min<uint64_t>({room, r->input_len, due}));
  if (n == 0) return -1;
  memcpy(out, r->input, n);
  if (is_head) {
    memcpy(r->head + r->head_len, r->input, n);
    r->head_len = static_cast<uint8_t>(r->head_len + n);
    if (r->head_len == head_size(r)) r->payload_due = head_payload(r);
  } else {
    r->payload_due -= n;
  }
  r->input += n;
  r->input_len -= static_cast<uint32_t>(n);
  return static_cast<ssize_t>(n);
}

void wire_open(ws_reader* r) noexcept {
  const wslay_frame_callbacks callbacks = {nullptr, on_wire_read, nullptr};
  CORE_ASSERT(wslay_frame_context_init(&r->wire, &callbacks, r) ==
              0);  // fails for want of memory alone
}

void buffer_reserve(ws_reader* r, uint32_t more) noexcept {
  const uint32_t needed = r->len + more + kPaddingBytes;
  if (needed <= r->cap) return;
  const uint32_t cap = std::max({needed, r->cap * 2, kBufferBytesKept});
  char* bigger = static_cast<char*>(realloc(r->buffer, cap));
  CORE_ASSERT(bigger != nullptr);
  r->buffer = bigger;
  r->cap = cap;
}

bool is_too_big(const ws_reader* r, uint64_t payload) noexcept {
  return payload > r->message_bytes_max || r->len + payload > r->message_bytes_max;
}

// May a frame with this header come now? Nothing of its payload is needed to tell.
end_reason head_refusal(const ws_reader* r, uint8_t opcode, bool has_rsv, bool is_masked,
                        uint64_t payload) noexcept {
  if (has_rsv || !is_masked) return end_reason::protocol_error;
  if (opcode == kClose || opcode == kPing || opcode == kPong) return end_reason::none;
  if (opcode > kBinary || (opcode == kContinuation) != r->is_in_message)
    return end_reason::protocol_error;
  if (opcode == kBinary) return end_reason::unsupported_data;
  return is_too_big(r, payload) ? end_reason::message_too_big : end_reason::none;
}

// wslay tells a header only with the first byte of its payload: what is wrong with it is said
// before that, so that nobody waits for a payload that must not come.
end_reason head_check(const ws_reader* r) noexcept {
  if (r->is_in_frame || r->head_len < 2 || r->head_len < head_size(r)) return end_reason::none;
  return head_refusal(r, r->head[0] & 0x0F, (r->head[0] & 0x70) != 0, (r->head[1] & 0x80) != 0,
                      head_payload(r));
}

end_reason frame_start(ws_reader* r, const wslay_frame_iocb& f) noexcept {
  const end_reason refusal = head_refusal(r, f.opcode, f.rsv != 0, f.mask != 0, f.payload_length);
  if (refusal != end_reason::none) return refusal;
  r->is_in_frame = true;
  r->is_fin = f.fin != 0;
  r->opcode = f.opcode;
  r->frame_left = f.payload_length;
  r->control_len = 0;
  if (wslay_is_ctrl_frame(f.opcode)) return end_reason::none;
  if (f.opcode == kText) {
    r->is_in_message = true;
    r->fragments = 0;
    r->utf8 = {};
  }
  return ++r->fragments > core::kWsFragmentsMax ? end_reason::message_too_big : end_reason::none;
}

end_reason frame_piece(ws_reader* r, const char* bytes, uint32_t n) noexcept {
  r->frame_left -= n;
  if (n == 0) return end_reason::none;
  if (wslay_is_ctrl_frame(r->opcode)) {
    memcpy(r->control + r->control_len, bytes, n);
    r->control_len = static_cast<uint8_t>(r->control_len + n);
    return end_reason::none;
  }
  buffer_reserve(r, n);
  memcpy(r->buffer + r->len, bytes, n);
  r->len += n;
  return utf8_feed(&r->utf8, bytes, n) ? end_reason::none : end_reason::bad_utf8;
}

end_reason close_received(ws_reader* r) noexcept {
  if (r->control_len == 0) {
    r->is_stopped = true;
    r->events->on_close(r->user, kNoStatus, {});
    return end_reason::none;
  }
  if (r->control_len == 1) return end_reason::protocol_error;
  const uint16_t code = static_cast<uint16_t>(static_cast<uint8_t>(r->control[0]) << 8 |
                                              static_cast<uint8_t>(r->control[1]));
  if (!is_close_code(code)) return end_reason::protocol_error;
  utf8_state u;
  const std::string_view reason(r->control + 2, r->control_len - 2u);
  if (!utf8_feed(&u, reason.data(), reason.size()) || u.due != 0) return end_reason::bad_utf8;
  r->is_stopped = true;  // nothing behind a close frame counts
  r->events->on_close(r->user, code, reason);
  return end_reason::none;
}

end_reason frame_end(ws_reader* r) noexcept {
  r->is_in_frame = false;
  r->head_len = 0;
  switch (r->opcode) {
    case kClose:
      return close_received(r);
    case kPing:
      r->events->on_ping(r->user, {r->control, r->control_len});
      return end_reason::none;
    case kPong:
      r->events->on_pong(r->user);
      return end_reason::none;
    default:
      break;
  }
  if (!r->is_fin) return end_reason::none;
  if (r->utf8.due != 0) return end_reason::bad_utf8;
  buffer_reserve(r, 0);
  const uint32_t len = r->len;
  r->is_in_message = false;
  r->len = 0;
  r->events->on_text(r->user, r->buffer, len);
  return end_reason::none;
}

end_reason feed_wire(ws_reader* r) noexcept {
  while (!r->is_stopped) {
    wslay_frame_iocb f;
    memset(&f, 0, sizeof f);
    const ssize_t n = wslay_frame_recv(r->wire, &f);
    if (n == WSLAY_ERR_WANT_READ) {
      if (r->input_len == 0) return head_check(r);
      continue;
    }
    if (n < 0) return end_reason::protocol_error;
    end_reason why = r->is_in_frame ? end_reason::none : frame_start(r, f);
    if (why == end_reason::none)
      why = frame_piece(r, reinterpret_cast<const char*>(f.data),
                        static_cast<uint32_t>(f.data_length));
    if (why == end_reason::none && r->frame_left == 0) why = frame_end(r);
    if (why != end_reason::none) return why;
  }
  return end_reason::none;
}

// The usual case: a text message in one frame that lies in the input completely. Anything else is
// left to wslay and says nothing here. *taken is 0 when it is not the usual case.
end_reason feed_fast(ws_reader* r, char* bytes, uint32_t len, uint32_t* taken) noexcept {
  constexpr uint32_t kMaskBytes = 4;
  *taken = 0;
  if (len < 2 + kMaskBytes || static_cast<uint8_t>(bytes[0]) != (0x80 | kText))
    return end_reason::none;
  const uint8_t second = static_cast<uint8_t>(bytes[1]);
  uint32_t payload = second & 0x7F;
  uint32_t at = 2;
  if ((second & 0x80) == 0 || payload == 127)
    return end_reason::none;  // 127: longer than the fast path is for
  if (payload == 126) {
    payload =
        static_cast<uint32_t>(static_cast<uint8_t>(bytes[2]) << 8 | static_cast<uint8_t>(bytes[3]));
    at = 4;
    if (payload < 126) return end_reason::none;
  }
  if (len < at + kMaskBytes || len - at - kMaskBytes < payload || payload > r->message_bytes_max)
    return end_reason::none;
  char* text = bytes + at + kMaskBytes;
  unmask(text, payload, bytes + at);
  utf8_state u;
  if (!utf8_feed(&u, text, payload) || u.due != 0) return end_reason::bad_utf8;
  *taken = at + kMaskBytes + payload;
  char behind[kPaddingBytes];  // the callee may write there, but it is the next frame's
  memcpy(behind, text + payload, sizeof behind);
  r->events->on_text(r->user, text, payload);
  if (*taken < len) memcpy(text + payload, behind, sizeof behind);
  return end_reason::none;
}

}  // namespace

ws_reader* ws_reader_new() noexcept {
  ws_reader* r = new (std::nothrow) ws_reader;
  CORE_ASSERT(r != nullptr);
  wire_open(r);
  return r;
}

void ws_reader_free(ws_reader* r) noexcept {
  if (r == nullptr) return;
  wslay_frame_context_free(r->wire);
  free(r->buffer);
  delete r;
}

void ws_reader_lend(ws_reader* r, const ws_events* events, void* user,
                    uint32_t message_bytes_max) noexcept {
  CORE_ASSERT(ws_reader_is_idle(r));
  r->events = events;
  r->user = user;
  r->message_bytes_max = message_bytes_max;
  r->is_stopped = false;
}

void ws_reader_limit(ws_reader* r, uint32_t message_bytes_max) noexcept {
  r->message_bytes_max = message_bytes_max;
}

void ws_reader_use_fast_path(ws_reader* r, bool is_used) noexcept {
  r->has_fast_path = is_used;
}

void ws_reader_reset(ws_reader* r) noexcept {
  if (r->head_len != 0 || r->is_stopped) {
    wslay_frame_context_free(r->wire);
    wire_open(r);
  }
  r->head_len = 0;
  r->payload_due = 0;
  r->frame_left = 0;
  r->is_in_frame = r->is_in_message = r->is_stopped = false;
  r->len = 0;
  r->input_len = 0;
  if (r->cap > kBufferBytesKept) {
    free(r->buffer);
    r->buffer = nullptr;
    r->cap = 0;
  }
}

bool ws_reader_is_idle(const ws_reader* r) noexcept {
  return r->head_len == 0 && !r->is_in_message && !r->is_stopped;
}

end_reason ws_feed(ws_reader* r, char* bytes, uint32_t len) noexcept {
  while (len > 0 && !r->is_stopped && r->has_fast_path && ws_reader_is_idle(r)) {
    uint32_t taken;
    const end_reason why = feed_fast(r, bytes, len, &taken);
    if (why != end_reason::none) return why;
    if (taken == 0) break;
    bytes += taken;
    len -= taken;
  }
  if (len == 0 || r->is_stopped) return end_reason::none;
  r->input = bytes;
  r->input_len = len;
  const end_reason why = feed_wire(r);
  r->input = nullptr;
  r->input_len = 0;
  return why;
}

void ws_stop(ws_reader* r) noexcept {
  r->is_stopped = true;
}

char* ws_header_before(char* end, uint64_t payload_bytes) noexcept {
  const uint32_t size_bytes = payload_bytes > 0xFFFF ? 8 : payload_bytes > 125 ? 2 : 0;
  for (uint32_t i = 0; i < size_bytes; ++i) *--end = static_cast<char>(payload_bytes >> (8 * i));
  *--end = static_cast<char>(size_bytes == 8 ? 127 : size_bytes == 2 ? 126 : payload_bytes);
  *--end = static_cast<char>(0x80 | kText);
  return end;
}

core::frame* ws_text_frame(std::string_view payload) noexcept {
  core::frame* f = core::frame_new(static_cast<uint32_t>(kWsHeaderBytesMax + payload.size()));
  char* body = core::frame_bytes(f) + kWsHeaderBytesMax;
  if (!payload.empty()) memcpy(body, payload.data(), payload.size());
  const char* first = ws_header_before(body, payload.size());
  f->offset = static_cast<uint32_t>(first - core::frame_bytes(f));
  f->len = static_cast<uint32_t>(body - first + static_cast<ptrdiff_t>(payload.size()));
  return f;
}

namespace {

core::frame* control_frame(uint8_t opcode, std::string_view a, std::string_view b) noexcept {
  char bytes[2 + kControlBytesMax];
  bytes[0] = static_cast<char>(0x80 | opcode);
  bytes[1] = static_cast<char>(a.size() + b.size());
  if (!a.empty()) memcpy(bytes + 2, a.data(), a.size());
  if (!b.empty()) memcpy(bytes + 2 + a.size(), b.data(), b.size());
  return core::frame_copy({bytes, 2 + a.size() + b.size()});
}

}  // namespace

core::frame* ws_pong_frame(std::string_view payload) noexcept {
  return control_frame(kPong, {}, payload.substr(0, kControlBytesMax));
}

core::frame* ws_close_frame(uint16_t code, std::string_view reason) noexcept {
  if (code == 0) return control_frame(kClose, {}, {});
  const char status[2] = {static_cast<char>(code >> 8), static_cast<char>(code & 0xFF)};
  size_t n = std::min<size_t>(reason.size(), kControlBytesMax - sizeof status);
  if (n < reason.size()) {
    while (n > 0 && (static_cast<uint8_t>(reason[n]) & 0xC0) == 0x80) --n;
  }
  return control_frame(kClose, {status, sizeof status}, reason.substr(0, n));
}

}  // namespace proto
