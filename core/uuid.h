// Random ids of clients and nodes (RFC 9562 version 4). Leaf header.
#pragma once

#include <cstdint>
#include <string>

#include "core/clock.h"

namespace core {

inline constexpr uint32_t kUuidBytes = 16;

void uuid_fill(random_source* r, uint8_t (&id)[kUuidBytes]) noexcept;
std::string uuid_text(const uint8_t (&id)[kUuidBytes]) noexcept;  // 36 characters, lower case

}  // namespace core
