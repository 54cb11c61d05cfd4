// parley-load's command line: CLI11 stands behind it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/err.h"
#include "loadgen/ceiling.h"
#include "loadgen/check_replay.h"

namespace loadgen {

enum class subcommand : uint8_t { run, schedule, compare, check, ceiling, capacity, help, version };

struct command_line {
  subcommand what = subcommand::help;
  std::string text;  // help: what to print
  // run, schedule
  std::string scenario, url, hmac_secret, out_dir = "load-report", metrics_url, metrics_listen;
  std::vector<std::string> ready_urls;  // URL of all, or NAME=URL of one
  std::vector<std::string> sources, processes, injuries;
  int pid = 0;
  uint32_t loops = 1, latency_ms = 0;
  bool has_seed = false, is_quiet = false;
  uint64_t seed = 0;
  double rate_factor = 1, time_factor = 1;
  std::string dialect = "centrifuge";
  std::string logs = "auto";
  uint32_t logs_mb = 4096;
  std::string ceiling_file = "auto";  // auto, off, or what `ceiling --out` wrote
  // ceiling
  ceiling_options sink;
  std::string ceiling_out;
  // capacity
  std::vector<std::string> objectives;  // "delivery_p99_ms=50"
  double minutes = 10, width = 0.1, start_factor = 1;
  // check
  replay_options check;
  // compare
  std::vector<std::string> base, head;
  bool is_json = false;
};

// argv without the program's name. invalid: *message is a sentence.
core::err command_line_parse(int argc, const char* const* argv, command_line* out,
                             std::string* message) noexcept;

// "ws://127.0.0.1:8000/connection/websocket" -> host, port, target ("" when there is no path).
core::err url_parse(const std::string& url, std::string* host, uint16_t* port, std::string* target,
                    std::string* why);

}  // namespace loadgen
