// Random ids as bytes and as text.
#include "core/uuid.h"

namespace core {

void uuid_fill(random_source* r, uint8_t (&id)[kUuidBytes]) noexcept {
  r->fill(id, kUuidBytes);
  id[6] = static_cast<uint8_t>((id[6] & 0x0f) | 0x40);  // version 4
  id[8] = static_cast<uint8_t>((id[8] & 0x3f) | 0x80);  // the RFC's variant
}

std::string uuid_text(const uint8_t (&id)[kUuidBytes]) noexcept {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out(36, '-');
  char* to = out.data();
  for (uint32_t i = 0; i < kUuidBytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) ++to;
    *to++ = kHex[id[i] >> 4];
    *to++ = kHex[id[i] & 15];
  }
  return out;
}

}  // namespace core
