// Plots as inline SVG: several lines over one axis, gaps where nothing is known, marks for faults,
// and the numbers behind the pixels for the page's read-out. Colours are the page's classes
// (report_style.h). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "loadgen/result.h"

namespace loadgen {

enum class plot_axis : uint8_t {
  seconds,    // of the run
  percentile  // x is a quantile 0 … below 1; drawn so that 90, 99, 99.9 % are equally far apart
};
enum class plot_unit : uint8_t { duration_us, number, bytes };

// Styles 1 … 7: each has a colour and, from 3 on, a pattern of its own, so that colour is never all
// that tells lines apart.
struct plot_line {
  std::string name;
  uint32_t style = 1;
  std::vector<double> y;  // as many as the plot's x; NaN: a gap
};

struct plot {
  std::string title, note;
  uint32_t width = 1080, height = 300;
  plot_axis axis = plot_axis::seconds;
  plot_unit unit = plot_unit::number;
  bool is_log = false;    // of y; values of zero and below are gaps then
  std::vector<double> x;  // rising
  std::vector<plot_line> lines;
  std::vector<fault_mark> marks;  // seconds only
};

inline constexpr size_t kPlotPointsMax = 720;     // of a line: about one a pixel and a half
inline constexpr size_t kPlotMarksNumbered = 20;  // more are ticks without numbers

bool plot_is_empty(const plot& p) noexcept;  // no line has a value
// A <figure>; foreign text in names and marks is escaped.
std::string plot_figure(const plot& p);

// Values where an axis from `low` to `high` is labelled: about `count` round ones; of a logarithmic
// one decades, or 1-2-5 steps when there are few.
std::vector<double> axis_ticks(double low, double high, size_t count);
std::vector<double> axis_ticks_log(double low, double high);

}  // namespace loadgen
