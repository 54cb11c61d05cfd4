// Encoding and checking. The numbers are, in this order: author bytes (2), offset_at, time_at,
// object_at, object_bytes, data_at, data_bytes, info_at, info_bytes, tags_at, tags_bytes (4 each),
// refers (8); 50 bytes and two that are zero. Places count in the push without its numbers.
#include "broker/redis_envelope.h"

#include <charconv>
#include <cstring>

namespace broker {
namespace {

constexpr uint32_t kNumbersAt = 2;
constexpr uint32_t kEpochAt = kNumbersAt + kEnvelopeNumbersBytes;
constexpr uint32_t kOffsetAt = kEpochAt + kEnvelopeEpochBytes;
constexpr uint32_t kOffsetDigits = 16;
constexpr uint32_t kTimeAt = kOffsetAt + kOffsetDigits;
constexpr uint32_t kTimeDigits = 13;
constexpr uint32_t kNonceAt = kTimeAt + kTimeDigits;
static_assert(kNonceAt + kEnvelopeNonceBytes == kEnvelopeHeadBytes);

template <typename T>
void put(std::string* out, T value) noexcept {
  for (size_t i = 0; i < sizeof(T); ++i)
    out->push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}

template <typename T>
T take(const char** at) noexcept {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i)
    value |= static_cast<uint64_t>(static_cast<unsigned char>((*at)[i])) << (8 * i);
  *at += sizeof(T);
  return static_cast<T>(value);
}

void digits(std::string* out, uint64_t value, uint32_t width) noexcept {
  const std::string text = std::to_string(value);
  if (text.size() < width) out->append(width - text.size(), '0');
  out->append(text);
}

bool number(std::string_view text, uint64_t* value) noexcept {
  const auto [end, rc] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return rc == std::errc() && end == text.data() + text.size();
}

uint32_t digits_of(uint64_t value) noexcept {
  uint32_t n = 1;
  while (value >= 10) {
    value /= 10;
    ++n;
  }
  return n;
}

bool is_within(uint32_t at, uint32_t bytes, size_t size) noexcept {
  return at <= size && bytes <= size - at;
}

}  // namespace

void envelope_head(std::string* out, envelope_kind kind, std::string_view author, uint64_t refers,
                   const push_template& push) noexcept {
  const push_layout& p = push.parts;
  out->push_back(kEnvelopeVersion);
  out->push_back(static_cast<char>(kind));
  put<uint16_t>(out, author.size());
  for (const uint32_t n : {push.offset_at, push.time_at, p.object_at, p.object_bytes, p.data_at,
                           p.data_bytes, p.info_at, p.info_bytes, p.tags_at, p.tags_bytes})
    put<uint32_t>(out, n);
  put<uint64_t>(out, refers);
  put<uint16_t>(out, 0);
}

void envelope_finish(std::string* out, std::string_view head, std::string_view nonce,
                     std::string_view author, const push_template& push, int64_t time_ms) noexcept {
  out->append(head).append("--------");
  digits(out, 0, kOffsetDigits);
  digits(out, static_cast<uint64_t>(time_ms), kTimeDigits);
  out->append(nonce).append(author);
  if (push.time_at == 0) {
    out->append(push.text);
    return;
  }
  out->append(push.text, 0, push.time_at)
      .append(std::to_string(time_ms))
      .append(push.text, push.time_at);
}

core::err envelope_read(std::string_view bytes, envelope* out) noexcept {
  if (bytes.size() < kEnvelopeHeadBytes || bytes[0] != kEnvelopeVersion)
    return core::err::malformed;
  out->kind = static_cast<envelope_kind>(bytes[1]);
  const char* at = bytes.data() + kNumbersAt;
  const auto author_bytes = take<uint16_t>(&at);
  const auto offset_at = take<uint32_t>(&at);
  const auto time_at = take<uint32_t>(&at);
  push_layout* p = &out->parts;
  for (uint32_t* n : {&p->object_at, &p->object_bytes, &p->data_at, &p->data_bytes, &p->info_at,
                      &p->info_bytes, &p->tags_at, &p->tags_bytes})
    *n = take<uint32_t>(&at);
  out->refers = take<uint64_t>(&at);
  uint64_t time_ms = 0;
  if (!number(bytes.substr(kOffsetAt, kOffsetDigits), &out->offset) ||
      !number(bytes.substr(kTimeAt, kTimeDigits), &time_ms) ||
      !is_within(kEnvelopeHeadBytes, author_bytes, bytes.size()))
    return core::err::malformed;
  out->time_ms = static_cast<int64_t>(time_ms);
  out->epoch = bytes.substr(kEpochAt, kEnvelopeEpochBytes);
  out->nonce = bytes.substr(kNonceAt, kEnvelopeNonceBytes);
  out->author = bytes.substr(kEnvelopeHeadBytes, author_bytes);
  out->push = bytes.substr(kEnvelopeHeadBytes + author_bytes);
  // The numbers are in the text now: what stands behind them has moved, what holds them has grown.
  const uint32_t offset_digits = offset_at > 0 ? digits_of(out->offset) : 0;
  const uint32_t time_digits = time_at > 0 ? digits_of(time_ms) : 0;
  if (p->tags_bytes > 0) {
    if (p->tags_at > offset_at) p->tags_at += offset_digits;
    p->tags_bytes += time_digits;
  }
  if (p->object_bytes > 0) p->object_bytes += offset_digits + time_digits;
  const size_t size = out->push.size();
  if (!is_within(p->object_at, p->object_bytes, size) ||
      !is_within(p->data_at, p->data_bytes, size) || !is_within(p->info_at, p->info_bytes, size) ||
      !is_within(p->tags_at, p->tags_bytes, size))
    return core::err::malformed;
  switch (out->kind) {
    case envelope_kind::publication:
    case envelope_kind::remove:
    case envelope_kind::join:
    case envelope_kind::leave:
    case envelope_kind::history_removed:
      return core::err::ok;
  }
  return core::err::malformed;
}

store::publication envelope_publication(const envelope& e) {
  const auto part = [&](uint32_t at, uint32_t bytes) {
    return std::string(e.push.substr(at, bytes));
  };
  store::publication p;
  p.offset = e.offset;
  p.time_ms = e.time_ms;
  p.data = part(e.parts.data_at, e.parts.data_bytes);
  p.info = part(e.parts.info_at, e.parts.info_bytes);
  p.tags = part(e.parts.tags_at, e.parts.tags_bytes);
  return p;
}

}  // namespace broker
