// Records of the checker as bytes, for check_log.h. Pure.
#pragma once

#include <string>
#include <string_view>

#include "loadgen/check_event.h"

namespace loadgen {

// What a block's next record is written against. Both sides begin each block with a fresh one.
struct check_coder {
  uint64_t time_us = 0, offset = 0;
  stamp message;
};

void check_encode(check_coder* c, const check_record& r, std::string* out) noexcept;
// Takes one record from the front of *in. False: these bytes are none. Texts are views of *in.
bool check_decode(check_coder* c, std::string_view* in, check_record* out) noexcept;

void number_encode(uint64_t n, std::string* out) noexcept;  // 7 bits a byte, the lowest first
bool number_decode(std::string_view* in, uint64_t* n) noexcept;
void text_encode(std::string_view text, size_t bytes_max, std::string* out) noexcept;
bool text_decode(std::string_view* in, size_t bytes_max, std::string_view* text) noexcept;

}  // namespace loadgen
