// `parley-load check LOGDIR`: a run's logs judged again, by the checker that judged the run.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"
#include "loadgen/check_log.h"
#include "loadgen/result.h"

namespace loadgen {

struct replay_result {
  check_log_header about;  // of loop 0
  size_t rooms = 0;
  uint64_t events = 0;
  uint64_t violations[static_cast<size_t>(violation_kind::kCount)] = {};
  std::vector<violation> kept;
  // Why a log is not whole, one sentence each. Then only what had happened until there is judged,
  // and nothing is said of what was still to come.
  std::vector<std::string> incomplete;
};

// not_found, io, malformed; conflict: logs of several runs, or some of one run's are missing. *why
// is a sentence.
core::err replay_logs(const std::string& dir, replay_result* out, std::string* why);

struct replay_options {
  std::string dir;
  bool is_dump = false;
  std::string channel;  // only this one; empty: all
  bool has_receiver = false;
  uint32_t receiver = 0;  // only this one
};
// Prints the verdict, or with is_dump every event, by time. Exit code: 0 clean; 2 violations; 3 the
// logs cannot be read, or are not whole and show none.
int replay_print(const replay_options& o, std::FILE* out);

// The inside of replay_print(). receiver UINT32_MAX: it concerns none.
bool replay_is_wanted(const replay_options& o, std::string_view channel, uint32_t receiver);
int replay_dump(const replay_options& o, const std::vector<check_log_reader*>& loops,
                std::FILE* out);

}  // namespace loadgen
