// `parley-load capacity`: the highest rate at which a server keeps an objective, by runs of one
// scenario at multiples of its rates.
#pragma once

#include <string>
#include <vector>

#include "loadgen/capacity_search.h"
#include "loadgen/command_line.h"

namespace loadgen {

// One probe, for the reports.
struct capacity_probe {
  double factor = 0;
  probe_outcome outcome = probe_outcome::failed;
  double delivered_per_s = 0;                                 // reached
  double delivery_p99_ms = 0, server_cpu = -1, tool_cpu = 0;  // cpu: cores; -1: not known
  std::string why;                                            // missed, limited, failed
};

struct capacity_result {
  std::string scenario, objective, tool_version;
  double rate = 0;  // deliveries a second that the scenario asks for at factor 1
  capacity_answer answer;
  std::vector<capacity_probe> probes;
};

std::string capacity_json(const capacity_result& r);
std::string capacity_markdown(const capacity_result& r);
std::string capacity_html(const capacity_result& r);
std::string capacity_summary(const capacity_result& r);  // one or two sentences

// Exit code: 0 an interval or a bound; 2 a message was lost or changed; 3 it could not be run.
int capacity_command(const command_line& c);

}  // namespace loadgen
