// Status messages on a timer, questions with a time limit; a map of who was heard.
#include "chat/roster.h"

#include <algorithm>
#include <map>
#include <set>

#include "chat/control_bytes.h"
#include "chat/session.h"
#include "chat/tour.h"
#include "core/log.h"

namespace chat {

namespace {

constexpr uint32_t kHelloMs = 500;  // answers to a hello are spread over so long
constexpr uint32_t kCheckMs = 500;  // for the silent, and for late answers
constexpr uint8_t kHello = 1, kBye = 2;

struct known_node {
  node_status status;
  uint64_t heard_ms = 0;
};

struct question {
  std::set<std::string> waiting;  // ids of nodes
  std::vector<channel_count> found;
  uint64_t due_ms = 0;
  error code = error::ok;
  roster_channels_cb cb = nullptr;
  void* user = nullptr;
};

}  // namespace

struct roster : core::timer {
  node_loop* node = nullptr;
  std::map<std::string, known_node> others;
  std::map<uint64_t, question> questions;
  uint64_t next_question = 1;
  uint64_t status_due_ms = 0;
  bool has_said_hello = false;
  bool has_left = false;
};

namespace {

uint64_t now_of(const roster* r) noexcept {
  return r->node->now_ms(r->node->self);
}

std::string status_bytes(uint8_t flags, const node_status& s) {
  std::string out;
  control_put(&out, static_cast<uint8_t>(control_kind::status), 1);
  control_put(&out, flags, 1);
  for (const std::string* text : {&s.id, &s.name, &s.version}) control_put(&out, *text);
  control_put(&out, static_cast<uint64_t>(s.started_ms), 8);
  for (const uint32_t n : {s.clients, s.users, s.channels, s.subscriptions})
    control_put(&out, n, 4);
  return out;
}

void tell_status(roster* r, const node_status& s) noexcept {
  if (r->has_left) return;
  const std::string bytes = status_bytes(r->has_said_hello ? 0 : kHello, s);
  if (r->node->bus->control(bytes) == core::err::ok) r->has_said_hello = true;
}

struct status_tour final : tour {
  node_status sum;
  bool visit(node_loop* here) noexcept override {
    roster_add(here, &sum);
    return true;
  }
  void finish() noexcept override { tell_status(origin->others, sum); }
};

void plan(roster* r) noexcept {
  const uint64_t now = now_of(r);
  const uint64_t due = std::min(std::max(r->status_due_ms, now), now + kCheckMs);
  core::timer_start(r->node->timers, r, now, due - now);
}

// The callback may ask again.
void end_question(roster* r, std::map<uint64_t, question>::iterator q, error code) noexcept {
  question done = std::move(q->second);
  r->questions.erase(q);
  done.cb(done.user, code, std::move(done.found));
}

void on_timer(core::timer* t) noexcept {
  auto* r = static_cast<roster*>(t);
  const uint64_t now = now_of(r);
  std::erase_if(r->others, [&](const auto& o) { return o.second.heard_ms + kRosterGoneMs <= now; });
  std::vector<uint64_t> late;
  for (const auto& [id, q] : r->questions)
    if (q.due_ms <= now) late.push_back(id);
  for (const uint64_t id : late) end_question(r, r->questions.find(id), error::internal);
  if (now >= r->status_due_ms) {
    r->status_due_ms = now + kRosterPeriodMs;
    auto* status = new status_tour;
    status->sum = roster_self(r->node);
    (void)tour_start(status, r->node);
  }
  plan(r);
}

void hear_status(roster* r, control_cursor c) noexcept {
  const uint64_t flags = c.number(1);
  node_status s;
  for (std::string* text : {&s.id, &s.name, &s.version}) *text = c.text();
  s.started_ms = static_cast<int64_t>(c.number(8));
  for (uint32_t* n : {&s.clients, &s.users, &s.channels, &s.subscriptions})
    *n = static_cast<uint32_t>(c.number(4));
  if (!c.is_done() || s.id.empty()) return;
  if ((flags & kBye) != 0) {
    r->others.erase(s.id);
    for (auto q = r->questions.begin(); q != r->questions.end();) {
      const auto here = q++;
      if (here->second.waiting.erase(s.id) > 0 && here->second.waiting.empty())
        end_question(r, here, here->second.code);
    }
    return;
  }
  const std::string id = s.id;
  r->others[id] = {std::move(s), now_of(r)};
  if ((flags & kHello) == 0) return;
  const uint64_t soon = now_of(r) + core::random_below(r->node->config->random, kHelloMs);
  r->status_due_ms = std::min(r->status_due_ms, soon);
  plan(r);
}

struct answer_tour final : tour {
  std::string pattern, asker;
  uint64_t question = 0;
  std::vector<channel_count> found;
  bool visit(node_loop* here) noexcept override {
    owner_channels(here->owned, pattern, &found);
    return true;
  }
  void finish() noexcept override {
    std::string out;
    control_put(&out, static_cast<uint8_t>(control_kind::channels), 1);
    control_put(&out, asker);
    control_put(&out, question, 8);
    control_put(&out, origin->config->node_id);
    std::string rows;
    bool is_cut = false;
    for (const channel_count& c : found) {
      is_cut = rows.size() + c.channel.size() + 8 > kRosterAnswerBytesMax;
      if (is_cut) break;
      control_put(&rows, c.channel);
      control_put(&rows, c.clients, 4);
    }
    control_put(&out, is_cut ? 1 : 0, 1);
    if (!is_cut) out.append(rows);
    (void)origin->bus->control(out);  // lost: the asker is told that it got no answer
  }
};

void hear_question(roster* r, control_cursor c) noexcept {
  auto* t = new answer_tour;
  t->asker = c.text();
  t->question = c.number(8);
  t->pattern = c.text();
  if (!c.is_done() || r->has_left)
    delete t;
  else
    (void)tour_start(t, r->node);
}

void hear_answer(roster* r, control_cursor c) noexcept {
  if (c.text() != r->node->config->node_id) return;
  const auto q = r->questions.find(c.number(8));
  const std::string from(c.text());
  const bool is_cut = c.number(1) != 0;
  if (!c.is_good || q == r->questions.end() || q->second.waiting.erase(from) == 0) return;
  if (is_cut) q->second.code = error::limit_exceeded;
  while (c.is_good && !c.left.empty()) {
    const std::string_view channel = c.text();
    const auto clients = static_cast<uint32_t>(c.number(4));
    if (c.is_good) q->second.found.push_back({std::string(channel), clients});
  }
  if (!c.is_good) q->second.code = error::internal;
  if (q->second.waiting.empty()) end_question(r, q, q->second.code);
}

}  // namespace

roster* roster_new(node_loop* n) noexcept {
  auto* r = new roster;
  r->node = n;
  r->fire = on_timer;
  r->status_due_ms = now_of(r) + core::random_below(n->config->random, kHelloMs);
  plan(r);
  return r;
}

void roster_free(roster* r) noexcept {
  if (r == nullptr) return;
  core::timer_stop(r->node->timers, r);
  delete r;
}

void roster_hear(roster* r, std::string_view bytes) noexcept {
  control_cursor c{bytes};
  switch (static_cast<control_kind>(c.number(1))) {
    case control_kind::status:
      return hear_status(r, c);
    case control_kind::channels_asked:
      return hear_question(r, c);
    case control_kind::channels:
      return hear_answer(r, c);
    case control_kind::user_op:
      break;
  }
}

std::vector<node_status> roster_others(const roster* r) {
  std::vector<node_status> all;
  for (const auto& [id, o] : r->others) all.push_back(o.status);
  std::sort(all.begin(), all.end(), [](const node_status& a, const node_status& b) {
    return std::tie(a.name, a.id) < std::tie(b.name, b.id);
  });
  return all;
}

void roster_leave(roster* r) noexcept {
  r->has_left = true;
  (void)r->node->bus->control(status_bytes(kBye, roster_self(r->node)));
}

bool roster_is_alone(const roster* r) noexcept {
  return r->others.empty();
}

core::err roster_ask_channels(roster* r, std::string_view pattern, roster_channels_cb cb,
                              void* user) noexcept {
  std::string out;
  control_put(&out, static_cast<uint8_t>(control_kind::channels_asked), 1);
  control_put(&out, r->node->config->node_id);
  control_put(&out, r->next_question, 8);
  control_put(&out, pattern);
  if (const core::err rc = r->node->bus->control(out); rc != core::err::ok) return rc;
  question q;
  for (const auto& [id, o] : r->others) q.waiting.insert(id);
  q.due_ms = now_of(r) + kRosterAnswerMs;
  q.cb = cb;
  q.user = user;
  r->questions.emplace(r->next_question++, std::move(q));
  return core::err::ok;
}

node_status roster_self(const node_loop* n) {
  node_status s;
  s.id = n->config->node_id;
  s.name = n->config->node_name;
  s.version = n->config->version;
  s.started_ms = n->config->started_ms;
  return s;
}

void roster_add(const node_loop* here, node_status* sum) noexcept {
  uint32_t channels, subscriptions;
  owner_totals(here->owned, &channels, &subscriptions);
  sum->channels += channels;
  sum->subscriptions += subscriptions;
  sum->clients += sessions_count(here->clients);
  sum->users += sessions_users(here->clients);
}

}  // namespace chat
