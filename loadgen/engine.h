// One run: connects everybody, follows the schedule, makes the faults, waits for what is under way,
// reads history back, and says what it saw.
#pragma once

#include <string>
#include <vector>

#include "core/err.h"
#include "loadgen/dialect_file.h"
#include "loadgen/process.h"
#include "loadgen/result.h"
#include "loadgen/scenario.h"
#include "loadgen/schedule.h"

namespace loadgen {

struct engine_options {
  std::string url;           // as given, for the report
  std::string host, target;  // numeric host; target empty: the dialect's
  uint16_t port = 0;
  std::vector<std::string>
      sources;              // addresses to connect from, in turns; empty: the system's choice
  std::string hmac_secret;  // signs a token for each connection; empty: no tokens
  uint32_t loops = 1;
  const dialect_file* speech = nullptr;  // borrowed; null: the Centrifuge protocol
  std::vector<process*> processes;       // that faults may name; borrowed
  std::string ready_url;                 // of a restarted process
  std::string log_dir;                   // of processes' output
  std::string check_log_dir;             // check_log.h; empty: none are kept
  uint64_t check_log_bytes_max = 0;
  double ceiling_per_core_s = 0;  // ceiling.h: what a loop can receive a second; 0: not known
  int server_pid = 0;             // 0: the first process's, or not known
  std::string metrics_url;
  // Once a second, on the calling thread; may be null. `stage`: "connecting", "steady 3/5" …
  void (*on_second)(void* user, const char* stage, const second_sample& s) = nullptr;
  void* user = nullptr;
};

// Blocks. ok: *out is complete, correct or not. unavailable, invalid: it could not be run, *why
// says why.
core::err engine_run(const scenario& asked, const schedule& plan, const engine_options& o,
                     run_result* out, std::string* why);

}  // namespace loadgen
