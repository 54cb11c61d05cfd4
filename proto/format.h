// How protocol messages are encoded on a connection. Frames that are shared are made once per
// format.
#pragma once
#include <cstdint>
namespace proto {
enum class format : uint8_t { json, kCount };
}
