// What travels through Redis for one event of a channel, and what its stream keeps: a head of fixed
// size, the author, the finished push. The author's node makes the head and the three pieces of the
// push; the publish script puts epoch, offset and time between them (redis_script.cc knows the same
// places), so that nobody parses JSON.
//
//   0 version '1' | 1 kind | 2 numbers, little-endian: see kEnvelope… | 54 epoch, 8 characters
//   | 62 offset, 16 digits | 78 time, 13 digits | 91 nonce, 16 characters | 107 author | push
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "broker/broker.h"

namespace broker {

inline constexpr char kEnvelopeVersion = '1';
inline constexpr uint32_t kEnvelopeHeadBytes = 107;
inline constexpr uint32_t kEnvelopeNumbersBytes = 52;
inline constexpr uint32_t kEnvelopeEpochBytes = 8;
inline constexpr uint32_t kEnvelopeNonceBytes = 16;

enum class envelope_kind : char {
  publication = 'p',
  remove = 'd',  // a publication that blanks the one it refers to
  join = 'j',
  leave = 'l',
  history_removed = 'h'
};

// The first 54 bytes. The script makes of it: head, epoch, offset, time, nonce, author, and the
// push with both numbers put in.
void envelope_head(std::string* out, envelope_kind kind, std::string_view author, uint64_t refers,
                   const push_template& push) noexcept;

// A whole envelope that no script has touched: without an offset, the time is the node's.
void envelope_finish(std::string* out, std::string_view head, std::string_view nonce,
                     std::string_view author, const push_template& push, int64_t time_ms) noexcept;

// A received one; views into it.
struct envelope {
  envelope_kind kind = envelope_kind::publication;
  std::string_view epoch, nonce, author, push;
  uint64_t offset = 0;
  int64_t time_ms = 0;
  uint64_t refers = 0;
  push_layout parts;  // of push
};
// malformed: not of this version, or its places are not within it.
core::err envelope_read(std::string_view bytes, envelope* out) noexcept;
store::publication envelope_publication(const envelope& e);

}  // namespace broker
