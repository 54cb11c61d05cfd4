// The faults of a run in their time: those of one target one after the other, on a thread of its
// own, so that one process can be killed while another stands still.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "loadgen/engine.h"

namespace loadgen {

struct world;

// A fault with its time, in seconds of the run.
struct fault_event {
  double at_s = 0;
  const fault* what = nullptr;
};

// All but those at the end, as the seed has them; of each target in the order of their times.
std::vector<std::vector<fault_event>> plan_faults(const scenario& s);

class fault_runner {
 public:
  // Everything outlives it; `made` is filled until stop().
  fault_runner(const scenario& asked, const engine_options& o, world* all,
               std::vector<fault_mark>* made)
      : asked_(asked), options_(o), all_(all), made_(made) {}
  void start();   // when world::start_us is set
  void stop();    // waits for those under way, and makes no more
  bool at_end();  // makes those with at_end; false: there are none
  // After stop(): of each that failed a sentence.
  const std::vector<std::string>& errors() const { return errors_; }

 private:
  void follow(const std::vector<fault_event>& events);
  void make_and_tell(const fault& f);
  core::err make(const fault& f, std::string* why);
  process* process_of(const std::string& name) const;
  void cut_connections(double share);

  const scenario& asked_;
  const engine_options& options_;
  world* const all_;
  std::vector<std::thread> threads_;  // one a target
  std::atomic<bool> is_stopping_{false};
  std::mutex lock_;  // all below
  std::vector<fault_mark>* made_;
  std::vector<std::string> errors_;
  uint32_t under_way_ = 0;
};

}  // namespace loadgen
