// Text, and when it is due.
#include "server/transfer_progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "core/clock.h"

namespace server {
namespace {

constexpr uint64_t kBarUs = 100'000;      // smooth enough, and no cost
constexpr uint64_t kLineUs = 10'000'000;  // a log does not want more
constexpr size_t kBarCells = 30;

std::string grouped(uint64_t n) {
  const std::string digits = std::to_string(n);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

std::string duration(uint64_t s) {
  const std::string seconds = std::to_string(s % 60);
  const std::string minutes = std::to_string(s / 60 % 60);
  const auto two = [](const std::string& n) { return n.size() < 2 ? "0" + n : n; };
  if (s < 3600) return minutes + ":" + two(seconds);
  return std::to_string(s / 3600) + ":" + two(minutes) + ":" + two(seconds);
}

uint64_t now_us() {
  return core::system_clock()->mono_us();
}

}  // namespace

std::string transfer_text(const store::history_counts& so_far, const store::history_progress& p,
                          uint64_t elapsed_us, bool has_bar) {
  std::string text;
  const double part =
      p.all == 0 ? 0 : std::min(1.0, static_cast<double>(p.done) / static_cast<double>(p.all));
  if (p.all > 0 && has_bar) {
    const auto full = static_cast<size_t>(part * kBarCells);
    text = "[" + std::string(full, '#') + std::string(kBarCells - full, '-') + "] ";
  }
  if (p.all > 0) text += std::to_string(static_cast<int>(part * 100)) + " %  ";
  text += grouped(so_far.publications) + " publications";
  const double seconds = static_cast<double>(elapsed_us) / 1e6;
  if (seconds < 0.5) return text;
  text += "  " +
          grouped(static_cast<uint64_t>(static_cast<double>(so_far.publications) / seconds)) + "/s";
  if (part > 0)
    text += "  " + duration(static_cast<uint64_t>(seconds / part * (1 - part))) + " left";
  return text;
}

transfer_meter::transfer_meter(const char* name)
    : name_(name),
      is_terminal_(isatty(STDERR_FILENO) == 1),
      began_us_(now_us()),
      due_us_(began_us_ + (is_terminal_ ? kBarUs : kLineUs)) {}

uint64_t transfer_meter::elapsed_us() const noexcept {
  return now_us() - began_us_;
}

void transfer_meter::show(const store::history_counts& so_far,
                          const store::history_progress& p) noexcept {
  if (now_us() < due_us_) return;
  due_us_ = now_us() + (is_terminal_ ? kBarUs : kLineUs);
  const std::string text = transfer_text(so_far, p, elapsed_us(), is_terminal_);
  if (is_terminal_)
    std::fprintf(stderr, "\r%s\x1b[K", text.c_str());
  else
    std::fprintf(stderr, "parleyd %s: %s\n", name_, text.c_str());
  is_shown_ = is_terminal_;
}

void transfer_meter::clear() noexcept {
  if (is_shown_) std::fputs("\r\x1b[K", stderr);
  is_shown_ = false;
}

}  // namespace server
