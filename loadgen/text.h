// Numbers and foreign text as the reports show them. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace loadgen {

// Three digits and the unit that fits; "–" for what is below zero or no number.
std::string duration_text(double us);   // "87 µs", "1.24 ms", "3.02 s", "12 min 5 s"
std::string bytes_text(double bytes);   // "34.5 MiB"
std::string number_text(double value);  // "0.042", "12.3", "45.6 k", "1.20 M"
std::string count_text(uint64_t n);     // "1,234,567"
std::string share_text(double share);   // "12.3 %"
// A value in the unit that its name ends with: ("delivery_p99_ms", 12.5) -> "12.5 ms".
std::string named_text(std::string_view name, double value);
std::string seconds_text(uint64_t us);  // a point in time: "12.345 s"
std::string digest_text(uint64_t v);    // 16 hexadecimal digits
// Filled with spaces to `width` characters (printf counts bytes): numbers stand at the right.
std::string column_text(const std::string& text, size_t width, bool is_left = false);

// Bytes that are not UTF-8 become U+FFFD.
std::string utf8_text(std::string_view text);
// For HTML and XML, between tags and in quoted attributes; control characters become U+FFFD.
std::string markup_text(std::string_view text);
// One line without control characters.
std::string line_text(std::string_view text);
// One line that Markdown shows as it is, also in a table's cell.
std::string markdown_text(std::string_view text);

}  // namespace loadgen
