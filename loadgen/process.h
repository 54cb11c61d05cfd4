// Named processes that a run may start, kill, stop, pause and restart, by their ids. Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "core/err.h"

namespace loadgen {

// `--process NAME=COMMAND`: run by `/bin/sh -c 'exec COMMAND'` (variables: `env A=b program`) in a
// process group of its own, without input; it dies with the tool, and what its group leaves behind
// dies with it. Or `--process NAME=pid:1234` for one that is there already (it can be killed,
// stopped and paused, not restarted; it alone is meant, not its group, and never another process
// that gets its id later).
struct process;
// invalid; not_found: there is no such pid; io.
core::err process_parse(const std::string& text, process** out, std::string* why) noexcept;
const std::string& process_name(const process* p) noexcept;
int process_pid(const process* p) noexcept;  // 0: does not run

// Starts it with output to log_path (appended). Waits until `ready_url`
// ("http://127.0.0.1:8000/health") answers 200 or ready_ms pass (timeout, and it runs on); empty:
// no wait. conflict: it runs. denied: one that was there already. invalid: the ready_url. io: it
// cannot be started, or has ended before it was ready.
core::err process_start(process* p, const std::string& log_path, const std::string& ready_url,
                        uint32_t ready_ms, std::string* why) noexcept;

// Its own ready_url, in place of what process_start() is given. Before it is started.
void process_ready_at(process* p, const std::string& ready_url) noexcept;

// These return closed when it does not run, io when the system refuses.
// SIGKILL, and waits for its end; timeout: not even that has ended it in ten seconds.
core::err process_kill(process* p) noexcept;
// SIGTERM (one that is paused goes on), waits; timeout: it was killed then.
core::err process_stop(process* p, uint32_t wait_ms) noexcept;
core::err process_pause(process* p) noexcept;   // SIGSTOP
core::err process_resume(process* p) noexcept;  // SIGCONT
void process_free(process* p) noexcept;         // one that we started is killed; null: nothing

}  // namespace loadgen
