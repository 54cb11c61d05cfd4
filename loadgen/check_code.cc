// One byte for the kind and two flags, then the fields that the kind has. Deliveries of one message
// to many receivers follow each other, so the message is written once.
#include "loadgen/check_code.h"

#include <iterator>

#include "loadgen/check_log.h"

namespace loadgen {
namespace {

constexpr uint8_t kMember = 1, kReceiver = 2, kMessage = 4, kOffset = 8, kKind = 16, kChannel = 32,
                  kText = 64;
constexpr uint8_t kFields[] = {
    kMessage | kChannel,                             // room
    kMessage | kReceiver,                            // member
    0,                                               // start
    kMember | kOffset,                               // join
    kMember,                                         // leave
    kMember | kOffset,                               // unrecovered
    kMember | kMessage | kOffset,                    // take
    kMember | kOffset | kText,                       // corrupt
    kKind | kChannel | kOffset | kReceiver | kText,  // note
    kMessage,                                        // refused
    kMessage | kOffset,                              // acked
    kMessage | kOffset,                              // repeated
    kMember | kMessage | kOffset,                    // history
    kMessage | kOffset,                              // history_end
    0,                                               // finish
    kText,                                           // cut
    0,                                               // may_lose
};
static_assert(std::size(kFields) == static_cast<size_t>(check_event::kCount));

constexpr uint8_t kIsSo = 0x40, kIsSame = 0x80, kWhat = 0x3f;
static_assert(static_cast<size_t>(check_event::kCount) <= kWhat);

bool is_same(const check_coder& c, const check_record& r) noexcept {
  return r.offset == c.offset && r.message.number == c.message.number &&
         r.message.publisher == c.message.publisher && r.message.room == c.message.room &&
         r.message.due_us == c.message.due_us;
}

// Differences both ways, small ones short.
void signed_encode(uint64_t difference, std::string* out) noexcept {
  const auto d = static_cast<int64_t>(difference);
  number_encode(static_cast<uint64_t>(d) << 1 ^ static_cast<uint64_t>(d >> 63), out);
}

bool signed_decode(std::string_view* in, uint64_t* difference) noexcept {
  uint64_t n = 0;
  if (!number_decode(in, &n)) return false;
  *difference = n >> 1 ^ (~(n & 1) + 1);
  return true;
}

template <typename T>
bool narrow_decode(std::string_view* in, T* out) noexcept {
  uint64_t n = 0;
  if (!number_decode(in, &n) || n > static_cast<T>(~T{0})) return false;
  *out = static_cast<T>(n);
  return true;
}

bool message_decode(check_coder* c, std::string_view* in, bool has_offset,
                    check_record* r) noexcept {
  uint64_t before = 0;
  if (!narrow_decode(in, &r->message.room) || !narrow_decode(in, &r->message.publisher) ||
      !narrow_decode(in, &r->message.number) || !signed_decode(in, &before))
    return false;
  r->message.due_us = c->time_us - before;
  c->message = r->message;
  if (!has_offset) c->offset = 0;
  return true;
}

}  // namespace

void number_encode(uint64_t n, std::string* out) noexcept {
  for (; n >= 0x80; n >>= 7) out->push_back(static_cast<char>(n | 0x80));
  out->push_back(static_cast<char>(n));
}

bool number_decode(std::string_view* in, uint64_t* n) noexcept {
  *n = 0;
  for (size_t i = 0; i < in->size() && i < 10; ++i) {
    const auto byte = static_cast<uint8_t>((*in)[i]);
    *n |= uint64_t{byte & 0x7fu} << (7 * i);
    if (byte >= 0x80) continue;
    in->remove_prefix(i + 1);
    return true;
  }
  return false;
}

void text_encode(std::string_view text, size_t bytes_max, std::string* out) noexcept {
  text = text.substr(0, bytes_max);
  number_encode(text.size(), out);
  out->append(text);
}

bool text_decode(std::string_view* in, size_t bytes_max, std::string_view* text) noexcept {
  uint64_t size = 0;
  if (!number_decode(in, &size) || size > bytes_max || size > in->size()) return false;
  *text = in->substr(0, size);
  in->remove_prefix(size);
  return true;
}

void check_encode(check_coder* c, const check_record& r, std::string* out) noexcept {
  const auto what = static_cast<uint8_t>(r.what);
  const uint8_t fields = kFields[what];
  const bool has_both = (fields & kMessage) != 0 && (fields & kOffset) != 0;
  const bool same = has_both && is_same(*c, r);
  out->push_back(static_cast<char>(what | (r.is_so ? kIsSo : 0) | (same ? kIsSame : 0)));
  signed_encode(r.now_us - c->time_us, out);
  c->time_us = r.now_us;
  if ((fields & kMember) != 0) number_encode(r.member, out);
  if ((fields & kReceiver) != 0) number_encode(r.receiver, out);
  if (!same && (fields & kMessage) != 0) {
    number_encode(r.message.room, out);
    number_encode(r.message.publisher, out);
    number_encode(r.message.number, out);
    signed_encode(r.now_us - r.message.due_us, out);
    c->message = r.message;
    c->offset = (fields & kOffset) != 0 ? r.offset : 0;
  }
  if (!same && (fields & kOffset) != 0) number_encode(r.offset, out);
  if ((fields & kKind) != 0) number_encode(static_cast<uint64_t>(r.kind), out);
  if ((fields & kChannel) != 0) text_encode(r.channel, kLogTextBytesMax, out);
  if ((fields & kText) != 0) text_encode(r.text, kLogTextBytesMax, out);
}

bool check_decode(check_coder* c, std::string_view* in, check_record* r) noexcept {
  *r = {};
  if (in->empty()) return false;
  const auto head = static_cast<uint8_t>(in->front());
  in->remove_prefix(1);
  const uint8_t what = head & kWhat;
  if (what >= std::size(kFields)) return false;
  const uint8_t fields = kFields[what];
  const bool has_both = (fields & kMessage) != 0 && (fields & kOffset) != 0;
  const bool same = (head & kIsSame) != 0;
  if (same && !has_both) return false;
  r->what = static_cast<check_event>(what);
  r->is_so = (head & kIsSo) != 0;
  uint64_t passed = 0;
  if (!signed_decode(in, &passed)) return false;
  r->now_us = c->time_us += passed;
  if ((fields & kMember) != 0 && !narrow_decode(in, &r->member)) return false;
  if ((fields & kReceiver) != 0 && !narrow_decode(in, &r->receiver)) return false;
  if (same) {
    r->message = c->message;
    r->offset = c->offset;
  } else if ((fields & kMessage) != 0 && !message_decode(c, in, (fields & kOffset) != 0, r)) {
    return false;
  }
  if (!same && (fields & kOffset) != 0) {
    if (!number_decode(in, &r->offset)) return false;
    if ((fields & kMessage) != 0) c->offset = r->offset;
  }
  if ((fields & kKind) != 0) {
    uint64_t kind = 0;
    if (!number_decode(in, &kind) || kind >= static_cast<uint64_t>(violation_kind::kCount))
      return false;
    r->kind = static_cast<violation_kind>(kind);
  }
  if ((fields & kChannel) != 0 && !text_decode(in, kLogTextBytesMax, &r->channel)) return false;
  return (fields & kText) == 0 || text_decode(in, kLogTextBytesMax, &r->text);
}

}  // namespace loadgen
