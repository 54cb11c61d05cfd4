// Load messages and server frames for the tests of the proxy, made without the code under test.
#pragma once

#include <cstdio>
#include <string>

namespace loadgen {

// The data of a message, as stamp.h has it; the checksum is not real.
inline std::string load_data(unsigned room, unsigned number, const std::string& pad = "padding") {
  char stamp[80];
  std::snprintf(stamp, sizeof stamp, "%08x%08x%08x%08x%016x%08x", 0xabcdu, room, 1u, number,
                number * 1000, 0xc0ffeeu + number);
  return std::string("{\"l\":\"") + stamp + "\",\"x\":\"" + pad + "\"}";
}

// A push of it.
inline std::string load_line(unsigned room, unsigned number, const std::string& pad = "padding") {
  return "{\"push\":{\"channel\":\"room-" + std::to_string(room) +
         "\",\"pub\":{\"data\":" + load_data(room, number, pad) +
         ",\"offset\":" + std::to_string(number) + "}}}";
}

// An unmasked frame; first: 0x81 text, 0x82 binary, ...
inline std::string server_frame(int first, const std::string& payload) {
  std::string out(1, static_cast<char>(first));
  const size_t n = payload.size();
  if (n < 126) {
    out.push_back(static_cast<char>(n));
  } else if (n < 65536) {
    out.push_back(126);
    out.push_back(static_cast<char>(n >> 8));
    out.push_back(static_cast<char>(n));
  } else {
    out.push_back(127);
    for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(n >> shift));
  }
  return out + payload;
}
inline std::string text_frame(const std::string& payload) {
  return server_frame(0x81, payload);
}

}  // namespace loadgen
