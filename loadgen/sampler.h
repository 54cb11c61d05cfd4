// What the server and the tool use while a run goes on: /proc and the server's Prometheus page.
// Main thread; a sample takes at most kSampleMsMax.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"
#include "loadgen/result.h"

namespace loadgen {

inline constexpr uint32_t kSampleMsMax = 300;

struct sampler;
// pid 0: the server's processor and memory are not known (until sampler_follow() names one).
// metrics_url "": its metrics are not. `names`: metrics to keep, by name, samples of all labels
// added up.
sampler* sampler_new(int pid, const std::string& metrics_url,
                     const std::vector<std::string>& names);
void sampler_free(sampler* s) noexcept;  // null: nothing
// The server was restarted: its counters go on from where the old one's ended (as last seen: what
// it used after that is not known). The same process again: no effect. 0: it does not run now.
void sampler_follow(sampler* s, int pid) noexcept;
// Fills tool_cpu, server_cpu (cores since the last call), server_rss_bytes (0: it does not run
// now), server_metrics (what has been found).
void sampler_take(sampler* s, second_sample* out) noexcept;
// Since sampler_new(), as of now: CPU seconds of the server (schedstat of all its threads,
// nanoseconds precise; threads that have ended count), of the tool; never less than before; -1: not
// known.
double sampler_server_cpu_s(const sampler* s) noexcept;
double sampler_tool_cpu_s(const sampler* s) noexcept;
double sampler_rss_bytes(const sampler* s) noexcept;  // as last seen; -1: never

// Prometheus' text format, version 0.0.4: the samples of each name in `names`, added up over their
// labels. Names that do not occur, and values that are no finite numbers, are left out; lines that
// cannot be read are skipped.
std::map<std::string, double> metrics_sum(std::string_view text,
                                          const std::vector<std::string>& names);

// GET of a loopback or other numeric http:// address, bounded in time and size. Body in *body.
// invalid: the address; io: refused, or ended early; timeout, malformed, too_big. Any thread.
inline constexpr size_t kHttpGetBytesMax =
    16 * 1024 * 1024;  // the metrics page of a server with many labels
core::err http_get(const std::string& url, uint32_t ms, std::string* body, int* status) noexcept;

}  // namespace loadgen
