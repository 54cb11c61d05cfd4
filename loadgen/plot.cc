// From values to pixels, and from pixels to SVG.
#include "loadgen/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "loadgen/text.h"
#include "proto/reply.h"

namespace loadgen {
namespace {

constexpr double kLeft = 66, kRight = 14, kTop = 20, kBottom = 34;
constexpr double kLogRoom = 1.25;  // below and above the values

struct scale {
  double from = 0, to = 1;  // values, as drawn (logarithms of a logarithmic axis)
  double pixel_from = 0, pixel_to = 1;
  double pixel(double drawn) const {
    return pixel_from + (drawn - from) / (to - from) * (pixel_to - pixel_from);
  }
};

struct canvas {
  const plot* what;
  scale x, y;
  std::vector<double> ticks;  // of y, as values
  std::string out;
};

void add(std::string* out, const char* format, ...) __attribute__((format(printf, 2, 3)));
void add(std::string* out, const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  const int n = std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  out->append(text, static_cast<size_t>(std::clamp(n, 0, static_cast<int>(sizeof text) - 1)));
}

bool is_drawn(const plot& p, double v) {
  return std::isfinite(v) && (!p.is_log || v > 0);
}

double drawn_x(const plot& p, double v) {
  return p.axis == plot_axis::percentile ? -std::log10(1 - v) : v;
}

double drawn_y(const plot& p, double v) {
  return p.is_log ? std::log10(v) : v;
}

std::string value_text(const plot& p, double v) {
  switch (p.unit) {
    case plot_unit::duration_us:
      return duration_text(v);
    case plot_unit::bytes:
      return bytes_text(v);
    case plot_unit::number:
      return number_text(v);
  }
  return {};
}

// A tick's value is round: "1 ms", not "1.00 ms".
std::string tick_text(const plot& p, double v) {
  std::string text = value_text(p, v);
  const size_t end = std::min(text.find(' '), text.size());
  const size_t point = text.find('.');
  if (point == std::string::npos || point > end) return text;
  size_t keep = end;
  while (text[keep - 1] == '0') --keep;
  if (keep == point + 1) --keep;
  return text.erase(keep, end - keep);
}

// Round in the unit that bytes_text() will choose.
std::vector<double> axis_ticks_bytes(double low, double high, size_t count) {
  double unit = 1;
  while (high / unit >= 999.5) unit *= 1024;
  std::vector<double> out = axis_ticks(low / unit, high / unit, count);
  for (double& v : out) v *= unit;
  return out;
}

// Seconds are round in minutes and hours too.
std::vector<double> axis_ticks_time(double from, double to, size_t count) {
  static constexpr double kSteps[] = {60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600};
  const double rough = (to - from) / static_cast<double>(count);
  if (rough <= 20) return axis_ticks(from, to, count);
  double step = 30;
  for (const double next : kSteps) {
    if (step < rough) step = next;
  }
  std::vector<double> out;
  for (double v = std::ceil(from / step) * step; v <= to; v += step) out.push_back(v);
  return out;
}

// A percentile gets as many digits as tell it from its neighbours: labels none to spare.
std::string position_text(const plot& p, double x, bool is_label) {
  char text[48];
  if (p.axis == plot_axis::percentile) {
    const int nines = static_cast<int>(std::ceil(-std::log10(1 - x) - 1e-9));
    std::snprintf(text, sizeof text, "%.*f %%", std::max(0, nines - (is_label ? 2 : 1)), x * 100);
  } else if (x < 120) {
    std::snprintf(text, sizeof text, "%.4g s", x);
  } else {
    return duration_text(x * 1e6);
  }
  return text;
}

void fit_y(canvas* c) {
  const plot& p = *c->what;
  double low = INFINITY, high = -INFINITY;
  for (const plot_line& l : p.lines) {
    for (const double v : l.y) {
      if (!is_drawn(p, v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
  }
  if (p.is_log) {
    low /= kLogRoom;
    high *= kLogRoom;
    c->ticks = axis_ticks_log(low, high);
  } else {
    low = std::min(0.0, low);
    high = high > low ? high * 1.04 : low + 1;
    const size_t count = p.height > 250 ? 6 : 4;
    c->ticks = p.unit == plot_unit::bytes ? axis_ticks_bytes(low, high, count)
                                          : axis_ticks(low, high, count);
  }
  c->y = {drawn_y(p, low), drawn_y(p, high), p.height - kBottom, kTop};
}

void fit_x(canvas* c) {
  const plot& p = *c->what;
  double from = p.x.empty() ? 0 : drawn_x(p, p.x.front());
  double to = p.x.empty() ? 1 : drawn_x(p, p.x.back());
  for (const fault_mark& m : p.marks) to = std::max(to, m.at_s);
  if (p.axis == plot_axis::seconds) from = std::min(0.0, from);
  if (to <= from) to = from + 1;
  c->x = {from, to, kLeft, p.width - kRight};
}

void draw_y_axis(canvas* c) {
  const plot& p = *c->what;
  for (const double v : c->ticks) {
    const double y = c->y.pixel(drawn_y(p, v));
    if (y < kTop - 1) continue;
    add(&c->out, "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>", kLeft,
        p.width - kRight, y, y);
    add(&c->out, "<text class=\"tick\" text-anchor=\"end\" x=\"%.0f\" y=\"%.1f\">%s</text>",
        kLeft - 8, y + 4, tick_text(p, v).c_str());
  }
}

void draw_x_label(canvas* c, double drawn, const std::string& text) {
  const double x = c->x.pixel(drawn);
  const double base = c->what->height - kBottom;
  add(&c->out, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/>", x, x, base,
      base + 5);
  const bool is_last = x > c->what->width - kRight - 16;
  add(&c->out, "<text class=\"tick\" text-anchor=\"%s\" x=\"%.1f\" y=\"%.0f\">%s</text>",
      is_last ? "end" : "middle", is_last ? c->what->width - 2 : x, base + 20, text.c_str());
}

void draw_x_axis(canvas* c) {
  const plot& p = *c->what;
  const double base = p.height - kBottom;
  add(&c->out, "<line class=\"axis\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>", kLeft,
      p.width - kRight, base, base);
  if (p.axis == plot_axis::seconds) {
    for (const double v : axis_ticks_time(c->x.from, c->x.to, p.width / 100))
      draw_x_label(c, v, position_text(p, v, true));
    return;
  }
  for (const double q : {0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999}) {
    if (drawn_x(p, q) <= c->x.to + 1e-9) draw_x_label(c, drawn_x(p, q), position_text(p, q, true));
  }
}

// Runs of points that are there; one that stands alone is a dot.
void draw_line(canvas* c, const plot_line& l) {
  const plot& p = *c->what;
  std::string path, dots;
  for (size_t i = 0; i < l.y.size(); ++i) {
    if (!is_drawn(p, l.y[i])) continue;
    const double x = c->x.pixel(drawn_x(p, p.x[i])), y = c->y.pixel(drawn_y(p, l.y[i]));
    const bool is_joined = i > 0 && is_drawn(p, l.y[i - 1]);
    const bool goes_on = i + 1 < l.y.size() && is_drawn(p, l.y[i + 1]);
    if (is_joined || goes_on) add(&path, "%s%.1f %.1f", is_joined ? "L" : "M", x, y);
    if (!is_joined && !goes_on)
      add(&dots, "<circle class=\"d%u\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", l.style, x, y);
  }
  if (!path.empty())
    c->out += "<path class=\"l" + std::to_string(l.style) + "\" d=\"" + path + "\"><title>" +
              markup_text(l.name) + "</title></path>";
  c->out += dots;
}

void draw_marks(canvas* c) {
  const plot& p = *c->what;
  const bool is_numbered = p.marks.size() <= kPlotMarksNumbered;
  for (size_t i = 0; i < p.marks.size(); ++i) {
    const double x = c->x.pixel(p.marks[i].at_s);
    c->out += std::string(is_numbered ? "<g class=\"mark\">" : "<g class=\"mark many\">") +
              "<title>" +
              markup_text(p.marks[i].text + " at " + position_text(p, p.marks[i].at_s, false)) +
              "</title>";
    add(&c->out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/>", x, x,
        is_numbered ? kTop - 4 : kTop, is_numbered ? p.height - kBottom : kTop + 10);
    if (is_numbered)
      add(&c->out,
          "<circle cx=\"%.1f\" cy=\"%.0f\" r=\"8\"/><text x=\"%.1f\" y=\"%.0f\">%zu</text>", x,
          kTop - 10, x, kTop - 6, i + 1);
    c->out += "</g>";
  }
}

std::string legend(const plot& p) {
  if (p.lines.size() < 2) return "";  // the title says it
  std::string out = "<span class=\"legend\">";
  for (const plot_line& l : p.lines) {
    add(&out,
        "<span><svg width=\"26\" height=\"10\" aria-hidden=\"true\"><path class=\"l%u\" d=\"M1 "
        "5L25 5\"/></svg>",
        l.style);
    out += markup_text(l.name) + "</span>";
  }
  return out + "</span>";
}

// {"x":[pixels],"t":["12 s"],"l":[{"n":"p50","s":1,"y":[pixels or null],"v":["1.2 ms"]}]}; what
// could end the script element is written as an escape.
std::string readings(const canvas& c) {
  const plot& p = *c.what;
  std::string x = "\"x\":[", t = "],\"t\":[", lines = "],\"l\":[";
  for (size_t i = 0; i < p.x.size(); ++i) {
    add(&x, i == 0 ? "%.1f" : ",%.1f", c.x.pixel(drawn_x(p, p.x[i])));
    t += i == 0 ? "" : ",";
    proto::json_string(&t, position_text(p, p.x[i], false));
  }
  for (const plot_line& l : p.lines) {
    std::string y = "\"y\":[", v = "],\"v\":[";
    for (size_t i = 0; i < l.y.size(); ++i) {
      if (i > 0) y += ',', v += ',';
      if (!is_drawn(p, l.y[i])) {
        y += "null";
        v += "null";
        continue;
      }
      add(&y, "%.1f", c.y.pixel(drawn_y(p, l.y[i])));
      proto::json_string(&v, value_text(p, l.y[i]));
    }
    lines += (&l == &p.lines[0] ? "{\"n\":" : ",{\"n\":");
    proto::json_string(&lines, line_text(l.name));
    lines += ",\"s\":" + std::to_string(l.style) + "," + y + v + "]}";
  }
  std::string out;
  for (const char one : "{" + x + t + lines + "]}") {
    if (one == '<') {
      out += "\\u003c";
    } else {
      out += one;
    }
  }
  return "<script type=\"application/json\">" + out + "</script>";
}

}  // namespace

bool plot_is_empty(const plot& p) noexcept {
  return std::none_of(p.lines.begin(), p.lines.end(), [&p](const plot_line& l) {
    return std::any_of(l.y.begin(), l.y.end(), [&p](double v) { return is_drawn(p, v); });
  });
}

std::string plot_figure(const plot& p) {
  const std::string title = markup_text(p.title);
  std::string head =
      "<figure class=\"plot\"><figcaption><b>" + title + "</b>" + legend(p) + "</figcaption>";
  const std::string note =
      p.note.empty() ? "" : "<p class=\"note\">" + markup_text(p.note) + "</p>";
  if (plot_is_empty(p)) return head + "<p class=\"empty\">nothing was measured</p></figure>\n";
  canvas c{&p, {}, {}, {}, {}};
  fit_x(&c);
  fit_y(&c);
  add(&c.out,
      "<svg class=\"chart\" viewBox=\"0 0 %u %u\" role=\"img\" tabindex=\"0\" data-top=\"%.0f\" "
      "data-base=\"%.0f\" aria-label=\"",
      p.width, p.height, kTop, p.height - kBottom);
  c.out += title + "\">";
  draw_y_axis(&c);
  draw_x_axis(&c);
  // The first line is the most important: it is drawn last, on top.
  for (size_t i = p.lines.size(); i > 0; --i) draw_line(&c, p.lines[i - 1]);
  draw_marks(&c);
  return head + c.out + "</svg>" + readings(c) + note + "</figure>\n";
}

std::vector<double> axis_ticks(double low, double high, size_t count) {
  const double rough = (high - low) / static_cast<double>(std::max<size_t>(1, count));
  const double decade = std::pow(10, std::floor(std::log10(rough)));
  double step = decade * 10;
  for (const double round : {1.0, 2.0, 5.0}) {
    if (decade * round >= rough * 0.999) {
      step = decade * round;
      break;
    }
  }
  std::vector<double> out;
  for (double v = std::ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step)
    out.push_back(std::abs(v) < step * 1e-9 ? 0 : v);
  return out;
}

std::vector<double> axis_ticks_log(double low, double high) {
  std::vector<double> out;
  const bool is_fine = std::log10(high / low) < 2.5;
  for (int decade = static_cast<int>(std::floor(std::log10(low))); std::pow(10, decade) <= high;
       ++decade) {
    for (const double round : {1.0, 2.0, 5.0}) {
      const double v = round * std::pow(10, decade);
      if (v >= low && v <= high && (is_fine || round == 1)) out.push_back(v);
    }
  }
  return out;
}

}  // namespace loadgen
