// What a terminal shows while a run is under way: a few lines, redrawn in place once a second;
// where there is no terminal, one line now and then. Latencies are merged at the run's end. Pure
// but for live_show() and live_clear().
#pragma once

#include <cstdint>
#include <string>

#include "loadgen/result.h"

namespace loadgen {

inline constexpr uint64_t kLiveLineEveryS = 10;  // without a terminal

struct live_view {
  bool is_terminal = false, is_quiet = false;
  uint64_t seconds = 0;
  second_sample before;  // for rates
  int lines = 0;         // on the screen now
};

std::string live_lines(const char* stage, const second_sample& s, const second_sample& before);
std::string live_line(const char* stage, const second_sample& s, const second_sample& before);

void live_show(live_view* v, const char* stage, const second_sample& s) noexcept;  // on stderr
void live_clear(live_view* v) noexcept;

}  // namespace loadgen
