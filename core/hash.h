// A short digest of content: tells whether the same idempotency key came with other data. Leaf
// header.
#pragma once

#include <string>
#include <string_view>

namespace core {

inline constexpr unsigned kDigestBytes = 16;

// The first kDigestBytes bytes of the SHA-256 of `bytes` (raw, not text). Any thread. "" when the
// library fails (out of memory).
std::string digest(std::string_view bytes) noexcept;

}  // namespace core
