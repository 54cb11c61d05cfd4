// While a fault is under way, and for a deadline after the last, deliveries may be late.
#include "loadgen/faults.h"

#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "core/clock.h"
#include "loadgen/random.h"
#include "loadgen/worker.h"

namespace loadgen {
namespace {

constexpr uint32_t kPollMs = 50;
constexpr uint32_t kRestartMsMax = 20'000;

void sleep_ms(uint32_t ms) {
  const timespec t{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1'000'000};
  nanosleep(&t, nullptr);
}

uint64_t now_us() {
  return core::system_clock()->mono_us();
}

const char* fault_name(fault_kind k) {
  static constexpr const char* kNames[] = {"kill", "stop", "pause", "restart", "cut", "run"};
  return kNames[static_cast<size_t>(k)];
}

}  // namespace

std::vector<std::vector<fault_event>> plan_faults(const scenario& s) {
  std::map<std::string, std::vector<fault_event>> by_target;
  for (size_t i = 0; i < s.faults.size(); ++i) {
    const fault& f = s.faults[i];
    if (f.at_end) continue;
    random_stream r = random_from(s.seed, 2'000'000 + i);
    const uint32_t times = f.every > 0 ? f.count : 1;
    for (uint32_t n = 0; n < times; ++n) {
      const double at = f.at + f.every * n + f.jitter * random_unit(&r);
      if (f.every <= 0 || at < scenario_seconds(s)) by_target[f.target].push_back({at, &f});
    }
  }
  std::vector<std::vector<fault_event>> out;
  for (auto& [target, events] : by_target) {
    std::stable_sort(events.begin(), events.end(),
                     [](const fault_event& a, const fault_event& b) { return a.at_s < b.at_s; });
    out.push_back(std::move(events));
  }
  return out;
}

void fault_runner::start() {
  for (std::vector<fault_event>& events : plan_faults(asked_))
    threads_.emplace_back([this, mine = std::move(events)] { follow(mine); });
}

void fault_runner::stop() {
  is_stopping_.store(true);
  for (std::thread& t : threads_) t.join();
  threads_.clear();
}

bool fault_runner::at_end() {
  bool is_made = false;
  for (const fault& f : asked_.faults) {
    if (!f.at_end) continue;
    make_and_tell(f);
    is_made = true;
  }
  return is_made;
}

void fault_runner::follow(const std::vector<fault_event>& events) {
  const uint64_t start = all_->start_us.load();
  for (const fault_event& e : events) {
    const uint64_t at = start + static_cast<uint64_t>(e.at_s * 1e6);
    while (now_us() < at && !is_stopping_.load())
      sleep_ms(static_cast<uint32_t>(std::min<uint64_t>(kPollMs, (at - now_us()) / 1000 + 1)));
    if (is_stopping_.load()) return;
    make_and_tell(*e.what);
  }
}

// Records it, whatever comes of it.
void fault_runner::make_and_tell(const fault& f) {
  const uint64_t start = all_->start_us.load();
  if (f.may_lose_recovery || f.may_lose_history) all_->may_lose_recovery.store(true);
  if (f.may_lose_history) all_->may_lose_history.store(true);
  const std::string name = fault_name(f.kind);
  {
    const std::lock_guard<std::mutex> held(lock_);
    ++under_way_;
    all_->late_until_us.store(UINT64_MAX);
    made_->push_back({static_cast<double>(now_us() - start) / 1e6,
                      name + (f.target.empty() ? "" : " " + f.target)});
  }
  std::string why;
  const core::err rc = make(f, &why);
  const std::lock_guard<std::mutex> held(lock_);
  if (rc != core::err::ok)
    errors_.push_back(name + ": " + (why.empty() ? core::err_text(rc) : why));
  if (--under_way_ == 0)
    all_->late_until_us.store(now_us() - start +
                              static_cast<uint64_t>(asked_.delivery_deadline_s * 1e6));
}

core::err fault_runner::make(const fault& f, std::string* why) {
  if (f.kind == fault_kind::cut) {
    cut_connections(f.share);
    return core::err::ok;
  }
  if (f.kind == fault_kind::run) {
    if (std::system(f.command.c_str()) == 0) return core::err::ok;
    *why = "\"" + f.command + "\" failed";
    return core::err::io;
  }
  process* p = process_of(f.target);
  if (p == nullptr) {
    *why = "no --process is called " + f.target;
    return core::err::not_found;
  }
  core::err rc = core::err::ok;
  if (f.kind == fault_kind::pause) {
    rc = process_pause(p);
    sleep_ms(static_cast<uint32_t>(f.seconds * 1000));
    return rc == core::err::ok ? process_resume(p) : rc;
  }
  // kill, stop and restart: the process comes back at once (kill: by SIGKILL, the others by
  // SIGTERM).
  rc = f.kind == fault_kind::kill ? process_kill(p) : process_stop(p, kRestartMsMax);
  if (rc != core::err::ok && rc != core::err::timeout) return rc;
  if (f.kind == fault_kind::stop) sleep_ms(static_cast<uint32_t>(f.seconds * 1000));
  return process_start(p, options_.log_dir + "/" + process_name(p) + ".log", options_.ready_url,
                       kRestartMsMax, why);
}

process* fault_runner::process_of(const std::string& name) const {
  for (process* p : options_.processes) {
    if (process_name(p) == name) return p;
  }
  return nullptr;
}

void fault_runner::cut_connections(double share) {
  struct cut {
    worker* who;
    double share;
  };
  for (worker* w : all_->workers) {
    auto* c = new cut{w, share};
    if (!core::loop_call(
            w->home,
            [](core::loop*, void* user) noexcept {
              auto* made = static_cast<cut*>(user);
              worker_cut_share(made->who, made->share);
              delete made;
            },
            c))
      delete c;
  }
}

}  // namespace loadgen
