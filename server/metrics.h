// The table of metrics: /metrics is built from it (metrics_text() in server.h) and docs/METRICS.md
// is printed from it.
#pragma once

#include <string>

namespace server {

std::string metrics_markdown();  // docs/METRICS.md

}  // namespace server
