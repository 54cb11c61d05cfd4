// Injuries as the command line writes them.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "loadgen/proxy.h"

namespace loadgen {

const char* injury_name(injury_kind k) noexcept {
  static constexpr const char* kNames[] = {"drop", "duplicate", "swap", "delay", "corrupt"};
  static_assert(std::size(kNames) == static_cast<size_t>(injury_kind::kCount));
  return k < injury_kind::kCount ? kNames[static_cast<size_t>(k)] : "?";
}

namespace {

constexpr uint32_t kDelayMsMax = 600'000;

// "200ms", "2s"
bool read_delay(std::string_view text, uint32_t* ms) noexcept {
  uint32_t n = 0;
  const auto [end, rc] = std::from_chars(text.data(), text.data() + text.size(), n);
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  if (rc != std::errc() || (unit != "ms" && unit != "s") || n == 0 ||
      n > kDelayMsMax / (unit == "s" ? 1000 : 1))
    return false;
  *ms = unit == "s" ? n * 1000 : n;
  return true;
}

}  // namespace

core::err injury_parse(const std::string& text, injury* out, std::string* why) {
  const std::string_view all = text;
  const size_t equals = all.find('=');
  const std::string_view name = all.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : all.substr(equals + 1);
  injury i;
  while (i.kind < injury_kind::kCount && name != injury_name(i.kind))
    i.kind = static_cast<injury_kind>(static_cast<uint8_t>(i.kind) + 1);
  if (i.kind == injury_kind::kCount) {
    *why = "\"" + text + "\": the injuries are drop, duplicate, swap, delay and corrupt";
    return core::err::invalid;
  }
  const size_t colon = value.find(':');
  const std::string_view number = value.substr(0, colon);
  const auto [end, rc] =
      std::from_chars(number.data(), number.data() + number.size(), i.probability);
  if (rc != std::errc() || end != number.data() + number.size() ||
      !(i.probability >= 0 && i.probability <= 1)) {
    *why = "\"" + text + "\": a probability from 0 to 1 is wanted, as in " + std::string(name) +
           "=1e-6";
    return core::err::invalid;
  }
  if (colon != std::string_view::npos &&
      (i.kind != injury_kind::delay || !read_delay(value.substr(colon + 1), &i.delay_ms))) {
    *why = "\"" + text + "\": only a delay has a time, as in delay=0.001:8s, ten minutes at most";
    return core::err::invalid;
  }
  *out = i;
  return core::err::ok;
}

core::err injury_fit(injury* i, double deadline_s, std::string* why) {
  if (i->kind != injury_kind::delay) return core::err::ok;
  const double deadline_ms = deadline_s * 1000;
  const double delay_ms = i->delay_ms != 0 ? i->delay_ms : 2 * deadline_ms;
  if (delay_ms > deadline_ms && delay_ms <= kDelayMsMax) {
    i->delay_ms = static_cast<uint32_t>(std::ceil(delay_ms));
    return core::err::ok;
  }
  char text[192];
  std::snprintf(
      text, sizeof text,
      "a delay must be more than the scenario's delivery_deadline_s (%g s), or nothing is "
      "found, and ten minutes at most; a lower deadline in the scenario allows a shorter one",
      deadline_s);
  *why = text;
  return core::err::invalid;
}

}  // namespace loadgen
