// Which server has which partition, and the way of a call there. With single servers that is fixed.
// Over a cluster the map, asked every second, tells it, and redirections tell it earlier:
//
//   MOVED      the partition is assigned to the server that it names, which is connected if it is
//              new; the call waits and goes there
//   ASK        the call goes there once, behind ASKING
//   TRYAGAIN   some of the call's keys have moved already, some not, or are new: it waits until the
//              slot has moved (the clock tries again), at the longest for command_timeout_ms
//
// A redirected call has not been done, so giving it up is `unavailable`, never a doubt. Calls of a
// partition keep their order (redis_impl.h, partition_state).
#include <algorithm>

#include "broker/redis_impl.h"

namespace broker {
namespace {

constexpr uint32_t kWaitingMax = 64 * 1024;  // calls that wait for a slot, of all partitions

void answered(void* user, core::err rc, const redis_reply* r) noexcept {
  op* o = static_cast<op*>(user);
  o->owner->on_answer(o, rc, r);
}

}  // namespace

// ---- calls

core::err redis_broker::call(uint32_t partition, redis_script script,
                             const std::vector<std::string>& keys,
                             const std::vector<std::string>& arguments, op* o) noexcept {
  if (!is_cluster()) return transmit(server_at(partition), script, keys, arguments, o);
  auto r = std::make_unique<request>();
  r->partition = partition;
  r->script = script;
  r->keys = keys;
  r->arguments = arguments;
  return submit(std::move(r), o);
}

core::err redis_broker::command(uint32_t partition, std::vector<std::string>&& words,
                                op* o) noexcept {
  if (!is_cluster()) return transmit(server_at(partition), redis_script::kCount, {}, words, o);
  auto r = std::make_unique<request>();
  r->partition = partition;
  r->arguments = std::move(words);
  return submit(std::move(r), o);
}

// Without an answer, and without following the slot.
void redis_broker::tell_server(uint32_t partition, const std::vector<std::string>& words) noexcept {
  const server* s = server_at(partition);
  const std::vector<std::string_view> argv(words.begin(), words.end());
  if (s->has_commands) (void)redis_conn_command(s->commands, argv, nullptr, nullptr);
}

core::err redis_broker::submit(std::unique_ptr<request> r, op* o) noexcept {
  partition_state& p = partitions_[r->partition];
  r->number = next_request_++;
  r->until_ms = core::loop_now_ms(home_) + options_.url->command_timeout_ms;
  o->again = std::move(r);
  if (p.is_moving) {
    if (waiting_ >= kWaitingMax) return core::err::full;
    wait_behind(o);
    return core::err::ok;
  }
  const core::err rc = transmit(p.at, o);
  if (rc == core::err::ok) ++p.out;
  return rc;
}

core::err redis_broker::transmit(server* s, op* o) noexcept {
  return transmit(s, o->again->script, o->again->keys, o->again->arguments, o);
}

core::err redis_broker::transmit(server* s, redis_script script,
                                 const std::vector<std::string>& keys,
                                 const std::vector<std::string>& arguments, op* o) noexcept {
  if (!s->has_commands) return core::err::unavailable;
  std::string epoch, count;
  std::vector<std::string_view> words;
  words.reserve(keys.size() + arguments.size() + 7);
  if (script != redis_script::kCount) {
    count = std::to_string(keys.size());
    words.insert(words.end(), {"EVALSHA", s->digests[static_cast<uint32_t>(script)], count});
    words.insert(words.end(), keys.begin(), keys.end());
    if (redis_script_has_generation(script)) {
      const redis_server_info& about = redis_conn_info(s->commands);
      epoch = epoch_candidate();
      words.insert(words.end(), {about.run_id, about.repl_id, epoch, options_.first_base});
    }
  }
  words.insert(words.end(), arguments.begin(), arguments.end());
  o->at = s;
  return redis_conn_command(s->commands, words, answered, o);
}

// ---- calls that follow a slot

// False: no redirection. True: it has gone on its way, or was given up.
bool redis_broker::redirected(op* o, std::string_view error) noexcept {
  const uint32_t number = o->again->partition;
  partition_state& p = partitions_[number];
  const redis_redirect to = redis_redirect_read(error, redis_conn_at(o->at->commands));
  if (to.kind == redis_redirect_kind::none && !error.starts_with("TRYAGAIN")) return false;
  core::loop_counters(home_)->broker_redirections.add();
  p.is_probing = false;
  ++p.hops;
  if (core::loop_now_ms(home_) >= o->again->until_ms) {
    give_up(o);
  } else {
    wait_behind(o);
  }
  if (is_closed_) return true;
  if (to.kind == redis_redirect_kind::moved) note_moved(number, to.to);
  if (to.kind == redis_redirect_kind::ask) p.asking = server_for(to.to);
  if (!is_closed_ && to.kind != redis_redirect_kind::none && p.hops <= kHopsMax) move_on(number);
  return true;
}

// In the order of the calls: those that are redirected now were made before those that wait.
void redis_broker::wait_behind(op* o) noexcept {
  partition_state& p = partitions_[o->again->partition];
  const auto at = std::upper_bound(
      p.waiting.begin(), p.waiting.end(), o,
      [](const op* a, const op* b) { return a->again->number < b->again->number; });
  p.waiting.insert(at, o);
  ++waiting_;
  if (p.is_moving) return;
  p.is_moving = true;
  moving_.push_back(o->again->partition);
  tick_later();
}

// The first one that waits, alone, when nothing is under way.
void redis_broker::move_on(uint32_t number) noexcept {
  partition_state& p = partitions_[number];
  if (!p.is_moving || p.out > 0) return;
  if (p.waiting.empty()) return flush(number);
  op* o = p.waiting.front();
  server* to = p.asking != nullptr ? p.asking : p.at;
  if (!to->has_commands) return;
  if (p.asking != nullptr) {
    const std::string_view asking[] = {"ASKING"};
    if (redis_conn_command(to->commands, asking, nullptr, nullptr) != core::err::ok) return;
  }
  if (transmit(to, o) != core::err::ok) return;
  p.asking = nullptr;
  p.waiting.erase(p.waiting.begin());
  --waiting_;
  ++p.out;
  p.is_probing = true;
}

// The slot has settled.
void redis_broker::flush(uint32_t number) noexcept {
  partition_state& p = partitions_[number];
  p.is_moving = p.is_probing = false;
  p.asking = nullptr;
  std::erase(moving_, number);
  const std::vector<op*> waiting = std::move(p.waiting);
  p.waiting.clear();
  waiting_ -= static_cast<uint32_t>(waiting.size());
  std::vector<op*> refused;
  for (op* o : waiting) {
    if (transmit(p.at, o) == core::err::ok)
      ++p.out;
    else
      refused.push_back(o);
  }
  for (op* o : refused) {
    if (is_closed_) return;  // the rest goes with the broker
    give_up(o);
  }
}

void redis_broker::give_up(op* o) noexcept {
  finish(o, core::err::unavailable, {});
}

// By the clock: what has waited too long, and the next try.
void redis_broker::move_all_on() noexcept {
  const uint64_t now = core::loop_now_ms(home_);
  const std::vector<uint32_t> moving = moving_;
  for (const uint32_t number : moving) {
    partition_state& p = partitions_[number];
    p.hops = 0;
    std::vector<op*> late;
    std::erase_if(p.waiting, [&](op* o) {
      if (now < o->again->until_ms) return false;
      late.push_back(o);
      return true;
    });
    waiting_ -= static_cast<uint32_t>(late.size());
    for (op* o : late) {
      give_up(o);
      if (is_closed_) return;
    }
    move_on(number);
    if (is_closed_) return;
  }
}

}  // namespace broker
