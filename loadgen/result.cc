// Names of violations, and what a run's result comes to.
#include "loadgen/result.h"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace loadgen {

const char* violation_name(violation_kind k) noexcept {
  static constexpr const char* kNames[] = {
      "lost",        "duplicated", "reordered",       "different",
      "corrupted",   "delayed",    "unacked_history", "stored_twice",
      "unrecovered", "presence",   "refused"};
  static_assert(std::size(kNames) == static_cast<size_t>(violation_kind::kCount));
  return kNames[static_cast<size_t>(k)];
}

uint64_t result_violations(const run_result& r) noexcept {
  return std::accumulate(std::begin(r.violations), std::end(r.violations), uint64_t{0});
}

std::string result_unjudged_text(const run_result& r) {
  std::string out;
  for (size_t k = 0; k < std::size(r.is_unjudged); ++k) {
    const auto kind = static_cast<violation_kind>(k);
    if (!r.is_unjudged[k]) continue;
    const char* needed = kind == violation_kind::unacked_history ? "history"
                         : kind == violation_kind::unrecovered   ? "recovery"
                         : kind == violation_kind::stored_twice  ? "keys"
                         : kind == violation_kind::presence      ? "presence"
                                                                 : "this";
    out += std::string(out.empty() ? "" : ", ") + needed + " (" + violation_name(kind) + ")";
  }
  return out;
}

bool result_is_correct(const run_result& r) noexcept {
  return result_violations(r) == 0;
}

bool result_is_kept(const run_result& r) noexcept {
  return std::all_of(r.objectives.begin(), r.objectives.end(),
                     [](const objective_row& o) { return o.is_kept; });
}

int result_exit_code(const run_result& r) noexcept {
  if (!result_is_correct(r)) return 2;
  return result_is_kept(r) ? 0 : 1;
}

}  // namespace loadgen
