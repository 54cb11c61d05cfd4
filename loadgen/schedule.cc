// Rooms and their members, and every action of a run.
//
// Rates change with the phases' factor. Arrivals are made where they do not: on the factor's
// integral, an axis on which each actor's rate is constant. Each arrival is then brought back to
// the time at which the integral has its value, so that the rate is right at each moment of a ramp,
// too.
#include "loadgen/schedule.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>

#include "core/assert.h"
#include "loadgen/random.h"

namespace loadgen {
namespace {

// Kinds of actors: part of the names of their streams, so they may not change.
enum class actor : uint64_t {
  publisher = 1,
  retry,
  churn,
  reconnect,
  slow,
  history,
  presence,
  repeat
};

// A stretch of time in which the factor is constant or goes straight from one value to another.
struct stretch {
  double begin_s, seconds, from, to;
  double area_before;  // the factor's integral up to its begin
  uint8_t phase;
  double area() const noexcept { return (from + to) / 2 * seconds; }
};

uint64_t micros(double seconds) noexcept {
  return static_cast<uint64_t>(seconds * 1e6);
}

struct timeline {
  std::vector<stretch> parts;
  double area = 0, end_s = 0;

  uint64_t last_us() const noexcept { return std::max<uint64_t>(1, micros(end_s)) - 1; }
  uint8_t phase_at(uint64_t us) const noexcept {
    uint8_t phase = 0;
    for (const stretch& p : parts) {
      if (micros(p.begin_s) <= us) phase = p.phase;
    }
    return phase;
  }
};

void timeline_add(timeline* t, double seconds, double from, double to, size_t phase) {
  t->parts.push_back({t->end_s, seconds, from, to, t->area, static_cast<uint8_t>(phase)});
  t->area += t->parts.back().area();
  t->end_s += seconds;
}

timeline timeline_of(const scenario& s) {
  CORE_ASSERT(s.phases.size() <= kPhasesMax);
  timeline t;
  for (size_t i = 0; i < s.phases.size(); ++i) {
    const phase& p = s.phases[i];
    switch (p.shape) {
      case phase_shape::steady:
        timeline_add(&t, p.seconds, p.factor, p.factor, i);
        break;
      case phase_shape::ramp:
        timeline_add(&t, p.seconds, p.factor, p.factor_to, i);
        break;
      case phase_shape::spike:
        timeline_add(&t, p.seconds / 3, p.factor, p.factor, i);
        timeline_add(&t, p.seconds / 3, p.factor_to, p.factor_to, i);
        timeline_add(&t, p.seconds / 3, p.factor, p.factor, i);
        break;
    }
  }
  return t;
}

// Where in a stretch the integral has grown by `area`: solves from*x + (to-from)/(2*seconds)*x^2 =
// area in the form that does not subtract like from like.
double time_in(const stretch& p, double area) noexcept {
  if (area <= 0) return 0;
  if (p.from == p.to) return area / p.from;
  const double slope = (p.to - p.from) / p.seconds;
  const double root = std::sqrt(std::max(0.0, p.from * p.from + 2 * slope * area));
  return 2 * area / (p.from + root);
}

struct maker {
  const scenario& asked;
  timeline time;
  schedule* out;
  std::vector<bool> publishes, is_slow;  // by peer

  random_stream stream(actor kind, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0) const noexcept {
    const uint64_t name = random_mix(random_mix(random_mix(static_cast<uint64_t>(kind), a), b), c);
    return random_from(asked.seed, name);
  }
  void add(uint64_t at_us, action_kind kind, uint8_t phase, uint32_t peer, uint32_t room,
           bool is_retried = false) {
    out->actions.push_back({at_us, kind, phase, is_retried, peer, room});
  }
};

// Calls make(at_us, phase) for each arrival of an actor with `rate` arrivals a second at factor 1.
template <typename Make>
void each_arrival(const maker& m, random_stream* r, double rate, bool is_fixed, Make make) {
  if (rate <= 0) return;
  const uint64_t last_us = m.time.last_us();
  const double mean = 1 / rate, offset = is_fixed ? random_unit(r) : 0;
  double area = is_fixed ? offset * mean : random_exponential(r, mean);
  size_t part = 0;
  for (uint64_t n = 1; area < m.time.area; ++n) {
    while (part + 1 < m.time.parts.size() && area >= m.time.parts[part + 1].area_before) ++part;
    const stretch& p = m.time.parts[part];
    const double at_s = p.begin_s + std::min(p.seconds, time_in(p, area - p.area_before));
    make(std::min(micros(at_s), last_us), p.phase);
    area = is_fixed ? (static_cast<double>(n) + offset) * mean : area + random_exponential(r, mean);
  }
}

uint64_t name_hash(const std::string& name) noexcept {
  uint64_t h = name.size();
  for (const char c : name) h = random_mix(h, static_cast<unsigned char>(c));
  return h;
}

// Pair `index` of a round-robin tournament of n: after each round everybody has had another
// partner, and no pair comes twice.
void pair_of(uint32_t index, uint32_t n, std::vector<uint32_t>* out) {
  const uint32_t wheel = n % 2 == 0 ? n - 1 : n, pairs = n / 2;
  const uint32_t round = index / pairs % wheel, k = index % pairs + (n % 2 == 0 ? 0 : 1);
  if (k == 0) {
    *out = {n - 1, round};  // the one in the middle of the wheel
  } else {
    *out = {(round + k) % wheel, (round + wheel - k) % wheel};
  }
}

// Near the golden section and without a common divisor, so that stepping by it meets everybody
// once.
uint32_t step_of(uint32_t n) noexcept {
  auto step = static_cast<uint32_t>(0.618 * n);
  while (std::gcd(std::max(1u, step), n) != 1) ++step;
  return std::max(1u, step);
}

// Members of room `index` out of the first group's `people` connections. All rooms together go
// around them evenly, and so do their publishers.
void share_members(const room_group& g, uint32_t index, uint32_t people,
                   std::vector<uint32_t>* out) {
  if (g.members == 2 && people > 2) return pair_of(index, people, out);
  const uint64_t step = step_of(people), begin = uint64_t{index} * g.members;
  for (uint32_t k = 0; k < g.members; ++k) {
    const uint64_t turned = (k + uint64_t{index} * g.publishers) % g.members;
    out->push_back(static_cast<uint32_t>((begin + turned) % people * step % people));
  }
}

void make_rooms(maker* m) {
  schedule* out = m->out;
  const uint32_t people =
      m->asked.rooms.empty() ? 0 : m->asked.rooms[0].count * m->asked.rooms[0].members;
  for (uint32_t g = 0; g < m->asked.rooms.size(); ++g) {
    const room_group& group = m->asked.rooms[g];
    for (uint32_t i = 0; i < group.count; ++i) {
      room_plan& room = out->rooms.emplace_back();
      room.group = g;
      room.index = i;
      room.publishers = group.publishers;
      room.members.reserve(group.members);
      if (group.shared) {
        share_members(group, i, people, &room.members);
      } else {
        for (uint32_t k = 0; k < group.members; ++k) room.members.push_back(out->peers++);
      }
    }
  }
  out->first_idle = out->peers;
  out->peers += m->asked.idle;
  m->publishes.resize(out->peers);
  m->is_slow.resize(out->peers);
  for (const room_plan& room : out->rooms) {
    for (uint32_t k = 0; k < room.publishers; ++k) m->publishes[room.members[k]] = true;
  }
}

struct zipf_deleter {
  void operator()(zipf_table* t) const noexcept { zipf_free(t); }
};

void make_publishes(maker* m) {
  if (m->asked.arrivals == arrival_kind::window) return;
  const bool is_fixed = m->asked.arrivals == arrival_kind::fixed;
  std::unique_ptr<zipf_table, zipf_deleter> shares;
  uint64_t name = 0;
  for (uint32_t i = 0; i < m->out->rooms.size(); ++i) {
    const room_plan& room = m->out->rooms[i];
    const room_group& g = m->asked.rooms[room.group];
    if (room.index == 0) {
      shares.reset(g.zipf > 0 ? zipf_new(g.count, g.zipf) : nullptr);
      name = name_hash(g.name);
    }
    const double rate =
        shares != nullptr ? g.rate * g.count * zipf_share(shares.get(), room.index) : g.rate;
    for (uint32_t k = 0; k < room.publishers; ++k) {
      random_stream times = m->stream(actor::publisher, name, room.index, k);
      random_stream retries = m->stream(actor::retry, name, room.index, k);
      each_arrival(
          *m, &times, rate / room.publishers, is_fixed, [&](uint64_t at_us, uint8_t phase) {
            const bool is_retried = g.retry_share > 0 && random_unit(&retries) < g.retry_share;
            m->add(at_us, action_kind::publish, phase, room.members[k], i, is_retried);
          });
    }
  }
}

// Those that publish nowhere first, each group of candidates in random order.
void make_slow(maker* m) {
  if (m->asked.slow_readers == 0) return;
  std::vector<uint32_t> candidates(m->out->first_idle);
  std::iota(candidates.begin(), candidates.end(), 0);
  random_stream r = m->stream(actor::slow);
  for (size_t i = candidates.size(); i > 1; --i)
    std::swap(candidates[i - 1], candidates[random_below(&r, i)]);
  std::stable_partition(candidates.begin(), candidates.end(),
                        [m](uint32_t peer) { return !m->publishes[peer]; });
  candidates.resize(std::min<size_t>(candidates.size(), m->asked.slow_readers));
  const uint64_t until_us = std::min(micros(m->asked.slow_s), m->time.last_us());
  for (const uint32_t peer : candidates) {
    m->is_slow[peer] = true;
    m->add(0, action_kind::slow, 0, peer, kNoRoom);
    m->add(until_us, action_kind::unslow, m->time.phase_at(until_us), peer, kNoRoom);
  }
}

// Who may leave: members that do not publish in the room, and read.
struct listener {
  uint32_t room, peer;
  uint64_t free_from_us = 0;  // it stays at least as long as it was away
};

void make_churn(maker* m) {
  std::vector<listener> listeners;
  for (uint32_t i = 0; i < m->out->rooms.size(); ++i) {
    const room_plan& room = m->out->rooms[i];
    for (size_t k = room.publishers; k < room.members.size(); ++k) {
      if (!m->is_slow[room.members[k]]) listeners.push_back({i, room.members[k]});
    }
  }
  if (listeners.empty()) return;
  random_stream r = m->stream(actor::churn);
  const uint64_t away_us = micros(m->asked.churn_away_s), last_us = m->time.last_us();
  each_arrival(*m, &r, m->asked.churn_rate, m->asked.arrivals == arrival_kind::fixed,
               [&](uint64_t at_us, uint8_t phase) {
                 size_t pick = random_below(&r, listeners.size());
                 for (size_t tried = 0; listeners[pick].free_from_us > at_us; ++tried) {
                   if (tried == listeners.size()) return;  // all are away
                   pick = (pick + 1) % listeners.size();
                 }
                 if (at_us + away_us > last_us) return;  // it would not be back
                 listener* l = &listeners[pick];
                 l->free_from_us = at_us + 2 * away_us;
                 m->add(at_us, action_kind::leave, phase, l->peer, l->room);
                 m->add(at_us + away_us, action_kind::join, m->time.phase_at(at_us + away_us),
                        l->peer, l->room);
               });
}

void make_cuts(maker* m) {
  if (m->out->peers == 0) return;
  random_stream r = m->stream(actor::reconnect);
  each_arrival(*m, &r, m->asked.reconnect_rate, m->asked.arrivals == arrival_kind::fixed,
               [&](uint64_t at_us, uint8_t phase) {
                 const auto peer = static_cast<uint32_t>(random_below(&r, m->out->peers));
                 if (!m->is_slow[peer]) m->add(at_us, action_kind::cut, phase, peer, kNoRoom);
               });
}

// Reads of rooms, each by one of its members that is in and reads.
void make_reads(maker* m, action_kind kind, actor who, double rate, bool needs_history) {
  std::vector<uint32_t> rooms;
  for (uint32_t i = 0; i < m->out->rooms.size(); ++i) {
    if (!needs_history || m->asked.rooms[m->out->rooms[i].group].has_history) rooms.push_back(i);
  }
  if (rooms.empty()) return;
  random_stream r = m->stream(who);
  each_arrival(*m, &r, rate, m->asked.arrivals == arrival_kind::fixed,
               [&](uint64_t at_us, uint8_t phase) {
                 const uint32_t i = rooms[random_below(&r, rooms.size())];
                 const room_plan& room = m->out->rooms[i];
                 uint64_t k = random_below(&r, room.members.size());
                 const bool may_be_away = m->asked.churn_rate > 0 && k >= room.publishers;
                 if (may_be_away || m->is_slow[room.members[k]]) k %= room.publishers;
                 m->add(at_us, kind, phase, room.members[k], i);
               });
}

double actions_expected(const scenario& s, const timeline& t) noexcept {
  double rate = 2 * s.churn_rate + s.reconnect_rate + s.history_rate + s.presence_rate;
  for (const room_group& g : s.rooms) {
    if (s.arrivals != arrival_kind::window) rate += g.rate * g.count;
  }
  return rate * t.area + 2.0 * s.slow_readers;
}

}  // namespace

core::err schedule_make(const scenario& s, schedule* out, std::string* why) noexcept {
  *out = {};
  maker m{s, timeline_of(s), out, {}, {}};
  const double expected = actions_expected(s, m.time);
  if (expected > static_cast<double>(kActionsMax)) {
    char text[160];
    std::snprintf(text, sizeof text,
                  "the scenario asks for %.0f actions, at most %.0f are allowed: a lower rate or "
                  "shorter phases",
                  expected, static_cast<double>(kActionsMax));
    *why = text;
    return core::err::too_big;
  }
  out->actions.reserve(static_cast<size_t>(expected + 5 * std::sqrt(expected) + 16));
  make_rooms(&m);
  make_publishes(&m);
  make_slow(&m);
  make_churn(&m);
  make_cuts(&m);
  make_reads(&m, action_kind::history, actor::history, s.history_rate, true);
  make_reads(&m, action_kind::presence, actor::presence, s.presence_rate, false);
  std::stable_sort(out->actions.begin(), out->actions.end(),
                   [](const action& a, const action& b) { return a.at_us < b.at_us; });
  return core::err::ok;
}

repeat_kind schedule_repeat(const scenario& s, const room_plan& room, uint32_t publisher,
                            uint32_t number, uint64_t* after_us) noexcept {
  const room_group& g = s.rooms[room.group];
  if (g.again_share + g.conflict_share <= 0) return repeat_kind::none;
  uint64_t name = random_mix(static_cast<uint64_t>(actor::repeat), name_hash(g.name));
  for (const uint32_t part : {room.index, publisher, number}) name = random_mix(name, part);
  random_stream r = random_from(s.seed, name);
  const double u = random_unit(&r);
  *after_us = random_below(&r, micros(kRepeatWithinS));
  if (u < g.again_share) return repeat_kind::again;
  return u < g.again_share + g.conflict_share ? repeat_kind::conflict : repeat_kind::none;
}

uint64_t schedule_digest(const schedule& s) noexcept {
  uint64_t h = random_mix(s.peers, s.first_idle);
  h = random_mix(h, s.rooms.size());
  for (const room_plan& room : s.rooms) {
    h = random_mix(h, uint64_t{room.group} << 32 | room.index);
    h = random_mix(h, uint64_t{room.publishers} << 32 | room.members.size());
    for (const uint32_t member : room.members) h = random_mix(h, member);
  }
  h = random_mix(h, s.actions.size());
  for (const action& a : s.actions) {
    const uint64_t what = static_cast<uint64_t>(a.kind) << 9 | uint64_t{a.phase} << 1 |
                          static_cast<uint64_t>(a.is_retried);
    h = random_mix(random_mix(h, a.at_us << 13 | what), uint64_t{a.peer} << 32 | a.room);
  }
  return h;
}

}  // namespace loadgen
