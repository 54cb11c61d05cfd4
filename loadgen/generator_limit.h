// Was the tool the limit of a run, and not the server? Pure.
#pragma once

#include <string>

namespace loadgen {

// A loop of the tool that is busier than this may be what is slow: in an open system with seven
// tenths of its time in use, waiting for the processor begins to be as long as the work.
inline constexpr double kLimitCpuShare = 0.7;      // of a core
inline constexpr double kLimitCeilingShare = 0.7;  // of what a loop can take (ceiling.h)
inline constexpr double kLimitLateUs = 1000;       // p99 of how late messages were sent

// Over the measured phases, of the loop that is highest in each.
struct generator_load {
  double cpu_share = 0;        // of a core
  double delivered_per_s = 0;  // messages received
  double ceiling_per_s = 0;    // what a loop can receive; 0: not known
  double late_p99_us = 0;
  bool has_schedule = true;  // false: a closed loop, where late says nothing
};

// Every reason that holds, as a sentence without its end; empty: the tool was not the limit.
std::string generator_limit_text(const generator_load& load);

}  // namespace loadgen
