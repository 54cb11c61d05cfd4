// What `run` and `capacity` begin with: the scenario, the processes, the tool's own ceiling.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "loadgen/command_line.h"
#include "loadgen/engine.h"
#include "loadgen/live.h"
#include "loadgen/metrics_listen.h"

namespace loadgen {

inline constexpr int kExitCannotRun = 3;

int cannot_run(const std::string& why);  // says so; kExitCannotRun
bool write_file(const std::filesystem::path& path, const std::string& text);

// Whoever watches a run.
struct progress {
  live_view view;
  metrics_page* page = nullptr;  // --metrics-listen
  ~progress() { metrics_page_close(page); }
};

// With the factors of the command line. Not ok: *why has every problem, a line each.
core::err read_scenario(const command_line& c, scenario* out, std::string* why);

struct processes {
  std::vector<process*> all;
  ~processes() {
    for (process* p : all) process_free(p);
  }
};
core::err start_processes(const command_line& c, processes* out, std::string* ready_url,
                          std::string* why);

// All of the options but processes and logs.
core::err setup_engine(const command_line& c, progress* shown, engine_options* o, std::string* why);

// --dialect: what it is goes to *f, which the options borrow.
core::err setup_dialect(const command_line& c, const scenario& asked, dialect_file* f,
                        engine_options* o, std::string* why);

// --metrics-listen. It makes a thread: after find_ceiling().
core::err open_page(const command_line& c, progress* shown, std::string* why);

uint64_t deliveries_of(const scenario& asked, const schedule& plan);
// --ceiling; 0: not known. They fork: call them before any thread is made. find_ceiling() measures
// only for a run that could come near it.
core::err measure_ceiling(const command_line& c, double* per_core_s, std::string* why);
core::err find_ceiling(const command_line& c, const scenario& asked, const schedule& plan,
                       double* per_core_s, std::string* why);

}  // namespace loadgen
