// Client side of the handshake and of framing.
#include "proto/ws_client.h"

#include <algorithm>
#include <cstring>

#include "proto/upgrade.h"

namespace proto {

using core::err;

namespace {

constexpr uint8_t kContinuation = 0, kBinary = 2;
constexpr size_t kHeadBytesMax = 64 * 1024;  // of the answer: what a load balancer adds fits

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

// `text` without case is `lower_case`.
bool is_same(std::string_view text, std::string_view lower_case) noexcept {
  return std::equal(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                    [](char a, char b) { return lower(a) == b; });
}

std::string_view trimmed(std::string_view s) noexcept {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// Value of a header in a response head, names compared without case; empty when it is not there.
std::string_view header_of(std::string_view head, std::string_view name) noexcept {
  for (size_t at = head.find("\r\n"); at != std::string_view::npos && at + 2 < head.size();
       at = head.find("\r\n", at + 2)) {
    const std::string_view line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
    if (line.size() <= name.size() || line[name.size()] != ':') continue;
    if (is_same(line.substr(0, name.size()), name)) return trimmed(line.substr(name.size() + 1));
  }
  return {};
}

err refuse(std::string* why, std::string_view text) noexcept {
  *why = text;
  return err::malformed;
}

// Is `word` one of the comma-separated words of a header's value?
bool has_word(std::string_view value, std::string_view word) noexcept {
  while (!value.empty()) {
    const size_t comma = std::min(value.find(','), value.size());
    if (is_same(trimmed(value.substr(0, comma)), word)) return true;
    value.remove_prefix(std::min(comma + 1, value.size()));
  }
  return false;
}

// RFC 6455 section 7.4: what may stand in a close frame.
bool is_close_code(uint16_t code) noexcept {
  return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) ||
         (code >= 3000 && code <= 4999);
}

err take_control(ws_client* c, const ws_frame_head& h, std::string_view payload,
                 const ws_client_events* events, void* user) noexcept {
  if (h.opcode == static_cast<uint8_t>(ws_opcode::ping)) {
    events->on_ping(user, payload);
  } else if (h.opcode == static_cast<uint8_t>(ws_opcode::close)) {
    if (payload.size() == 1) return err::malformed;
    const uint16_t code = payload.empty()
                              ? 1005
                              : static_cast<uint16_t>(static_cast<uint8_t>(payload[0]) << 8 |
                                                      static_cast<uint8_t>(payload[1]));
    if (!payload.empty() && !is_close_code(code)) return err::malformed;
    c->is_stopped = true;
    events->on_close(user, code, payload.substr(std::min<size_t>(payload.size(), 2)));
  }
  return err::ok;
}

err take_frame(ws_client* c, const ws_frame_head& h, std::string_view payload, uint64_t bytes_max,
               const ws_client_events* events, void* user) noexcept {
  if (h.opcode >= 8) return take_control(c, h, payload, events, user);
  if ((h.opcode == kContinuation) != c->is_in_message) return err::malformed;
  if (!c->is_in_message && h.is_fin) {
    events->on_message(user, payload);
    return err::ok;
  }
  if (c->message.size() + payload.size() > bytes_max) return err::too_big;
  c->message.append(payload);
  c->is_in_message = !h.is_fin;
  if (!h.is_fin) return err::ok;
  const std::string whole = std::move(c->message);
  c->message = {};
  events->on_message(user, whole);
  return err::ok;
}

}  // namespace

std::string ws_client_request(std::string_view host, std::string_view target, std::string_view key,
                              std::string_view protocol) noexcept {
  std::string out;
  out.append("GET ").append(target).append(" HTTP/1.1\r\nHost: ").append(host);
  out.append(
         "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
         "13\r\nSec-WebSocket-Key: ")
      .append(key)
      .append("\r\n");
  if (!protocol.empty()) out.append("Sec-WebSocket-Protocol: ").append(protocol).append("\r\n");
  return out.append("\r\n");
}

err ws_client_answer(std::string_view in, std::string_view key, size_t* head_len,
                     std::string* why) noexcept {
  const size_t end = in.substr(0, kHeadBytesMax).find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (in.size() < kHeadBytesMax) return err::again;
    return refuse(why, "the server's answer has no end");
  }
  const std::string_view head = in.substr(0, end + 2);
  const std::string_view status = head.substr(0, head.find("\r\n"));
  if (!status.starts_with("HTTP/1.1 101") || (status.size() > 12 && status[12] != ' '))
    return refuse(why, "the server answered " + std::string(status));
  if (!is_same(header_of(head, "upgrade"), "websocket") ||
      !has_word(header_of(head, "connection"), "upgrade"))
    return refuse(why, "the server's answer is no upgrade to websocket");
  if (header_of(head, "sec-websocket-accept") != upgrade_accept(key))
    return refuse(why, "the server's Sec-WebSocket-Accept does not fit the key");
  if (!header_of(head, "sec-websocket-extensions").empty())
    return refuse(why, "the server uses an extension that was not asked for");
  *head_len = end + 4;
  return err::ok;
}

err ws_frame_head_read(std::string_view in, ws_frame_head* h) noexcept {
  if (in.size() < 2) return err::again;
  const auto first = static_cast<uint8_t>(in[0]), second = static_cast<uint8_t>(in[1]);
  if ((first & 0x70) != 0 || (second & 0x80) != 0) return err::malformed;
  h->opcode = first & 0x0F;
  h->is_fin = (first & 0x80) != 0;
  const uint32_t length = second & 0x7F;
  const bool is_control = h->opcode >= 8;
  if (is_control && (length > 125 || !h->is_fin)) return err::malformed;
  if (h->opcode > kBinary && (h->opcode < 8 || h->opcode > 10)) return err::malformed;
  const size_t more = length == 127 ? 8 : length == 126 ? 2 : 0;
  if (in.size() < 2 + more) return err::again;
  h->payload = more == 0 ? length : 0;
  for (size_t i = 0; i < more; ++i) h->payload = h->payload << 8 | static_cast<uint8_t>(in[2 + i]);
  h->size = 2 + more;
  const bool is_shortest = more == 0 || h->payload > (more == 2 ? 125u : 0xFFFFu);
  return !is_shortest || h->payload >> 63 != 0 ? err::malformed : err::ok;
}

namespace {

// The first frame of `in` with all its bytes: ok. again: bytes are missing.
err whole_frame(std::string_view in, uint64_t bytes_max, ws_frame_head* h) noexcept {
  const err rc = ws_frame_head_read(in, h);
  if (rc != err::ok) return rc;
  if (h->payload > bytes_max) return err::too_big;
  return in.size() - h->size < h->payload ? err::again : err::ok;
}

}  // namespace

err ws_client_feed(ws_client* c, std::string_view in, uint64_t bytes_max,
                   const ws_client_events* events, void* user) noexcept {
  if (c->is_stopped) return err::ok;
  ws_frame_head h;
  std::string joined;  // the events may change `c`, so that its `rest` is not read in place
  if (!c->rest.empty()) {
    c->rest.append(in);
    const err rc = whole_frame(c->rest, bytes_max, &h);
    if (rc == err::again) return err::ok;  // appended only: a large frame in many reads
    if (rc != err::ok) return rc;
    joined = std::move(c->rest);
    c->rest = {};
    in = joined;
  }
  while (!in.empty() && !c->is_stopped) {
    const err rc = whole_frame(in, bytes_max, &h);
    if (rc == err::again) break;
    if (rc != err::ok) return rc;
    const err taken = take_frame(c, h, in.substr(h.size, h.payload), bytes_max, events, user);
    if (taken != err::ok) return taken;
    in.remove_prefix(h.size + h.payload);
  }
  if (!c->is_stopped) c->rest.assign(in);
  return err::ok;
}

void ws_client_frame(std::string* out, ws_opcode opcode, std::string_view payload,
                     uint32_t mask) noexcept {
  out->push_back(static_cast<char>(0x80 | static_cast<uint8_t>(opcode)));
  const size_t n = payload.size();
  const uint32_t more = n > 0xFFFF ? 8 : n > 125 ? 2 : 0;
  out->push_back(static_cast<char>(0x80 | (more == 8 ? 127 : more == 2 ? 126 : n)));
  for (uint32_t i = more; i > 0; --i)
    out->push_back(static_cast<char>(static_cast<uint64_t>(n) >> (8 * (i - 1))));
  char key[4];
  memcpy(key, &mask, sizeof key);
  out->append(key, sizeof key);
  const size_t at = out->size();
  out->append(payload);
  for (size_t i = 0; i < n; ++i) (*out)[at + i] = static_cast<char>((*out)[at + i] ^ key[i % 4]);
}

}  // namespace proto
