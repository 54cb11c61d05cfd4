// What the tool itself can do: measured against the sink (sink.h), so that a run can say whether
// the tool or the server was the limit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/err.h"

namespace loadgen {

struct ceiling_options {
  uint32_t members = 100;  // of the one room that the messages go to
  uint32_t deliveries = 1'000'000;
  uint32_t bytes = 128;         // of a message
  uint32_t connections = 2000;  // that are made and then idle; 0: not measured
};

// Of one loop of the tool. Rates a core come from its processor time, so that a sink that is the
// slower one, and other programs on the machine, do not lower them.
struct ceiling {
  double deliveries_per_core_s = 0, cpu_us_per_delivery = 0;
  double deliveries_per_s = 0;  // that were reached; the sink may be what is slow
  double connections_per_core_s = 0, cpu_us_per_connection = 0, bytes_per_connection = 0;
  uint32_t members = 0, deliveries = 0, bytes = 0, connections = 0;
  std::string tool_version;
};

// Blocks; forks, see sink.h. Deliveries are counted and checked as in every run: one that is wrong
// is an error. unavailable, io: *why is a sentence.
core::err ceiling_measure(const ceiling_options& o, ceiling* out, std::string* why) noexcept;

std::string ceiling_text(const ceiling& c);
std::string ceiling_json(const ceiling& c);
// What ceiling_json() wrote. not_found, io, malformed: *why is a sentence with the path.
core::err ceiling_read(const std::string& path, ceiling* out, std::string* why) noexcept;
core::err ceiling_parse(std::string_view text, ceiling* out, std::string* why) noexcept;

}  // namespace loadgen
