// What writing and reading a log file share.
#pragma once

#include <string>
#include <string_view>

#include "loadgen/check_log.h"

namespace loadgen {

inline constexpr std::string_view kLogMagic = "parley check log 1\n";
inline constexpr std::string_view kLogMagicAnyVersion = "parley check log ";
inline constexpr size_t kLogHeadBytes = 12;  // of a block
// A block ends with the record that fills it.
inline constexpr size_t kLogPayloadBytesMax = kLogBlockBytes + 4 * kLogTextBytesMax;

uint32_t log_crc(uint32_t number, std::string_view bytes) noexcept;
std::string log_file_name(uint32_t loop);            // "loop-0.log"
bool is_log_file(const std::string& name) noexcept;  // no path

}  // namespace loadgen
