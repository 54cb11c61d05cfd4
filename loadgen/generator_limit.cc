// The three ways in which a tool shows that it is the bottleneck.
#include "loadgen/generator_limit.h"

#include "loadgen/text.h"

namespace loadgen {

std::string generator_limit_text(const generator_load& load) {
  std::string out;
  const auto add = [&out](const std::string& reason) { out += (out.empty() ? "" : "; ") + reason; };
  if (load.cpu_share > kLimitCpuShare)
    add("a loop of the tool was busy for " + share_text(load.cpu_share) + " of the time (limit " +
        share_text(kLimitCpuShare) + ")");
  if (load.ceiling_per_s > 0 && load.delivered_per_s > kLimitCeilingShare * load.ceiling_per_s)
    add("a loop of the tool received " + number_text(load.delivered_per_s) + " messages/s, " +
        share_text(load.delivered_per_s / load.ceiling_per_s) + " of its own ceiling of " +
        number_text(load.ceiling_per_s) + " (limit " + share_text(kLimitCeilingShare) + ")");
  if (load.has_schedule && load.late_p99_us > kLimitLateUs)
    add("one of a hundred messages was sent " + duration_text(load.late_p99_us) +
        " or more behind its time (limit " + duration_text(kLimitLateUs) + ")");
  return out;
}

}  // namespace loadgen
