// A Prometheus page of a run in progress: GET /metrics. A thread of its own answers, one connection
// after the other, so that a slow scraper never delays the run.
#pragma once

#include <string>

#include "core/err.h"
#include "loadgen/result.h"

namespace loadgen {

struct metrics_page;

// `address`: HOST:PORT with a numeric HOST ([::1]:9100, 127.0.0.1:0). invalid, io: *why is a
// sentence. *port is the one that is listened on.
core::err metrics_page_open(const std::string& address, metrics_page** out, uint16_t* port,
                            std::string* why) noexcept;
// The last second; any thread.
void metrics_page_set(metrics_page* p, const char* stage, const second_sample& s) noexcept;
void metrics_page_close(metrics_page* p) noexcept;  // null: nothing

std::string metrics_page_text(const char* stage, const second_sample& s);

}  // namespace loadgen
