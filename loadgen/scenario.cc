// From tables to a scenario: each key is named once, in the function that reads its table; what is
// left over is unknown. Then what does not go together.
#include "loadgen/scenario.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "loadgen/scenario_table.h"
#include "loadgen/stamp.h"

namespace loadgen {
namespace {

constexpr uint32_t kDataBytesMax = 1 << 20;
constexpr double kSecondsMax = 24 * 3600;  // of a pause, a deadline …
constexpr double kAwayShareMax = 0.25;     // beyond it, who leaves next is hardly by chance

constexpr choice<arrival_kind> kArrivals[] = {{"poisson", arrival_kind::poisson},
                                              {"fixed", arrival_kind::fixed},
                                              {"window", arrival_kind::window}};
constexpr choice<publish_method> kMethods[] = {{"send", publish_method::send},
                                               {"publish", publish_method::publish}};
constexpr choice<phase_shape> kShapes[] = {
    {"steady", phase_shape::steady}, {"ramp", phase_shape::ramp}, {"spike", phase_shape::spike}};
constexpr choice<fault_kind> kFaultKinds[] = {
    {"kill", fault_kind::kill},       {"stop", fault_kind::stop}, {"pause", fault_kind::pause},
    {"restart", fault_kind::restart}, {"cut", fault_kind::cut},   {"run", fault_kind::run}};

bool is_of(const std::string& text, const char* extra, size_t max) {
  return !text.empty() && text.size() <= max &&
         std::all_of(text.begin(), text.end(), [extra](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  std::string_view(extra).find(c) != std::string_view::npos;
         });
}

void read_room(table_reader* t, room_group* g) {
  t->text("name", &g->name);
  t->text("channel", &g->channel);
  t->integer("count", &g->count, 1, kConnectionsMax);
  t->integer("members", &g->members, 1, kConnectionsMax);
  t->integer("publishers", &g->publishers, 1, kConnectionsMax);
  t->number("rate", &g->rate, 0, kRateMax);
  t->number("zipf", &g->zipf, 0, 10);
  t->integer("bytes", &g->bytes, kStampBytesMin, kDataBytesMax);
  t->one_of("method", &g->method, kMethods);
  t->boolean("history", &g->has_history);
  g->is_recovered = g->has_history;
  t->boolean("recovery", &g->is_recovered);
  t->boolean("shared", &g->shared);
  t->number("retry_share", &g->retry_share, 0, 1);
  t->number("again_share", &g->again_share, 0, 1);
  t->number("conflict_share", &g->conflict_share, 0, 1);
  t->end();
  if (!is_of(g->name, "_-.", 32))
    t->problem("name", "must be 1 to 32 letters, digits, '-', '_' or '.'");
  if (g->name == "slow")
    t->problem("name", "\"slow\" stands for the slow readers in reports: take another");
  if (!is_of(g->channel, "_-.:", 64))
    t->problem("channel", "must be 1 to 64 letters, digits, '-', '_', '.' or ':'");
  if (g->publishers > g->members)
    t->problem("publishers", "must be at most members (" + std::to_string(g->members) + ")");
  if (g->channel == "dm" && g->members != 2)
    t->problem("members", "must be 2 in rooms of channel \"dm\"");
  if (g->is_recovered && !g->has_history)
    t->problem("recovery", "needs history: without it nothing can be recovered");
  for (const auto& [key, share] : {std::pair<const char*, double>{"retry_share", g->retry_share},
                                   {"again_share", g->again_share},
                                   {"conflict_share", g->conflict_share}}) {
    if (share > 0 && g->method == publish_method::publish)
      t->problem(key, "needs method = \"send\": a publish has no key");
  }
  if (g->again_share + g->conflict_share > 1)
    t->problem("conflict_share", "and again_share together must be at most 1");
}

void read_phase(table_reader* t, phase* p) {
  t->text("name", &p->name);
  t->one_of("shape", &p->shape, kShapes);
  t->number("seconds", &p->seconds, 0.001, kScenarioSecondsMax);
  t->number("factor", &p->factor, 0, 1e6);
  t->number("factor_to", &p->factor_to, 0, 1e6);
  t->boolean("measured", &p->is_measured);
  t->end();
  if (p->shape == phase_shape::steady) {
    t->refuse({"factor_to"}, "needs shape = \"ramp\" or \"spike\"");
    p->factor_to = p->factor;
  } else if (!t->has("factor_to")) {
    t->problem("shape", "needs factor_to: where it leads");
  }
}

void read_fault(table_reader* t, double run_seconds, fault* f) {
  t->one_of("kind", &f->kind, kFaultKinds);
  t->text("target", &f->target);
  t->number("at", &f->at, 0, kScenarioSecondsMax);
  t->number("every", &f->every, 0.001, kScenarioSecondsMax);
  t->number("jitter", &f->jitter, 0, kScenarioSecondsMax);
  t->integer("count", &f->count, 1, 1'000'000);
  t->number("seconds", &f->seconds, 0.001, kSecondsMax);
  t->number("share", &f->share, 0, 1);
  t->text("command", &f->command);
  t->boolean("may_lose_recovery", &f->may_lose_recovery);
  t->boolean("may_lose_history", &f->may_lose_history);
  t->boolean("at_end", &f->at_end);
  t->end();
  const bool is_cut = f->kind == fault_kind::cut, is_run = f->kind == fault_kind::run;
  if (!t->has("kind")) t->problem("kind", "is missing: what shall happen?");
  const std::string what = t->has("kind") ? t->find("kind")->text : "cut";
  if (is_cut || is_run) {
    t->refuse({"target"}, "has no meaning with kind = " + in_quotes(what));
  } else if (f->target.empty()) {
    t->problem("target", "is missing: the name of a --process");
  }
  if (!is_cut) t->refuse({"share"}, "needs kind = \"cut\"");
  if (!is_run) t->refuse({"command"}, "needs kind = \"run\"");
  if (is_run && f->command.empty()) t->problem("command", "is missing: what shall be run?");
  if (f->kind != fault_kind::pause && f->kind != fault_kind::stop)
    t->refuse({"seconds"}, "needs kind = \"pause\" or \"stop\"");
  if (f->at_end) t->refuse({"at", "every", "jitter", "count"}, "has no meaning with at_end");
  if (f->at >= run_seconds)
    t->problem("at", "must be before the phases' end (" + plain_number(run_seconds) + " s)");
  if (f->every <= 0) {
    t->refuse({"count"}, "needs every");
  } else if (f->jitter > f->every) {
    t->problem("jitter", "must be at most every (" + plain_number(f->every) + " s)");
  } else if (!t->has("count") && f->at < run_seconds) {
    f->count = static_cast<uint32_t>(std::ceil((run_seconds - f->at) / f->every - 1e-9));
  }
}

void read_objective(table_reader* t, objective* o) {
  constexpr double kMsMax = 1e9;
  t->number("delivery_p50_ms", &o->delivery_p50_ms, 0, kMsMax);
  t->number("delivery_p99_ms", &o->delivery_p99_ms, 0, kMsMax);
  t->number("delivery_p999_ms", &o->delivery_p999_ms, 0, kMsMax);
  t->number("delivery_max_ms", &o->delivery_max_ms, 0, kMsMax);
  t->number("ack_p99_ms", &o->ack_p99_ms, 0, kMsMax);
  t->number("connect_p99_ms", &o->connect_p99_ms, 0, kMsMax);
  t->number("subscribe_p99_ms", &o->subscribe_p99_ms, 0, kMsMax);
  t->number("recovery_p99_ms", &o->recovery_p99_ms, 0, kMsMax);
  t->number("history_p99_ms", &o->history_p99_ms, 0, kMsMax);
  t->number("server_cpu_us_per_delivery", &o->server_cpu_us_per_delivery, 0, 1e6);
  t->number("late_sends_share", &o->late_sends_share, 0, 1);
  t->number("reconnect_all_s", &o->reconnect_all_s, 0, kSecondsMax);
  t->number("errors_share", &o->errors_share, 0, 1);
  t->end();
}

void read_top(table_reader* t, scenario* s) {
  t->text("name", &s->name);
  t->text("about", &s->about);
  t->integer64("seed", &s->seed, 0, INT64_MAX);
  t->one_of("arrivals", &s->arrivals, kArrivals);
  t->integer("window", &s->window, 1, 100'000);
  t->integer("messages", &s->messages, 1, 100'000'000);
  t->number("connect_rate", &s->connect_rate, 1, kRateMax);
  t->number("delivery_deadline_s", &s->delivery_deadline_s, 0.001, kSecondsMax);
  t->number("drain_s", &s->drain_s, 0, kSecondsMax);
  t->boolean("checks_presence", &s->checks_presence);
}

template <typename Read>
void read_one(table_reader* top, const char* key, Read read) {
  const file_value* v = top->tables(key, false);
  if (v == nullptr) return;
  table_reader t{v->tables[0], "[" + std::string(key) + "]", top->problems, {}};
  read(&t);
}

template <typename Item, typename Read>
void read_list(table_reader* top, const char* key, std::vector<Item>* out, Read read) {
  const file_value* v = top->tables(key, true);
  if (v == nullptr) return;
  for (const file_table& table : v->tables) {
    table_reader t{table, "[[" + std::string(key) + "]]", top->problems, {}};
    read(&t, &out->emplace_back());
  }
}

void read_activities(table_reader* top, scenario* s) {
  read_one(top, "idle", [s](table_reader* t) {
    t->integer("connections", &s->idle, 0, kConnectionsMax);
    t->end();
  });
  read_one(top, "churn", [s](table_reader* t) {
    t->number("rate", &s->churn_rate, 0, kRateMax);
    t->number("away_s", &s->churn_away_s, 0.001, kSecondsMax);
    t->number("reconnect_rate", &s->reconnect_rate, 0, kRateMax);
    t->end();
  });
  read_one(top, "slow", [s](table_reader* t) {
    t->integer("readers", &s->slow_readers, 0, kConnectionsMax);
    t->number("seconds", &s->slow_s, 0.001, kSecondsMax);
    t->end();
  });
  read_one(top, "history", [s](table_reader* t) {
    t->number("rate", &s->history_rate, 0, kRateMax);
    t->integer("page", &s->history_page, 1, 100'000);
    t->end();
  });
  read_one(top, "presence", [s](table_reader* t) {
    t->number("rate", &s->presence_rate, 0, kRateMax);
    t->end();
  });
  read_one(top, "objective", [s](table_reader* t) { read_objective(t, &s->goals); });
}

// Where a group's table stands.
struct room_places {
  const file_value* list;
  uint32_t at(size_t i, const char* key) const {
    const file_table& t = list->tables[i];
    for (const file_value& v : t.values) {
      if (v.key == key) return v.line;
    }
    return t.line;
  }
};

// Groups that live on the first one's connections.
void check_shared(const scenario& s, const room_places& at, problem_list* problems) {
  if (s.rooms[0].shared)
    return problems->add(at.at(0, "shared"),
                         "[[rooms]] shared is not for the first group: its connections are those "
                         "that others share");
  const uint64_t people = uint64_t{s.rooms[0].count} * s.rooms[0].members;
  bool has_dm = s.rooms[0].channel == "dm";
  for (size_t i = 1; i < s.rooms.size(); ++i) {
    const room_group& g = s.rooms[i];
    if (!g.shared) continue;
    if (g.members > people)
      problems->add(at.at(i, "members"), "[[rooms]] members must be at most the first group's " +
                                             std::to_string(people) + " connections");
    if (g.channel != "dm") continue;
    if (has_dm)
      problems->add(at.at(i, "channel"),
                    "[[rooms]] channel \"dm\" is there for these connections already: two would "
                    "have one channel");
    has_dm = true;
    if (g.count > people * (people - 1) / 2)
      problems->add(at.at(i, "count"), "[[rooms]] count must be at most " +
                                           std::to_string(people * (people - 1) / 2) +
                                           ": so many pairs are there");
  }
}

void check_rooms(const scenario& s, const file_value* list, problem_list* problems) {
  const room_places at{list};
  uint64_t connections = s.idle, memberships = 0, rooms = 0;
  for (size_t i = 0; i < s.rooms.size(); ++i) {
    const room_group& g = s.rooms[i];
    const bool is_twice = std::any_of(s.rooms.begin(), s.rooms.begin() + static_cast<ptrdiff_t>(i),
                                      [&g](const room_group& o) { return o.name == g.name; });
    if (is_twice)
      problems->add(at.at(i, "name"),
                    "[[rooms]] name " + in_quotes(g.name) + " is there twice: each needs its own");
    rooms += g.count;
    memberships += uint64_t{g.count} * g.members;
    if (!g.shared) connections += uint64_t{g.count} * g.members;
  }
  check_shared(s, at, problems);
  const auto too_many = [&](uint64_t n, uint64_t max, const char* what) {
    if (n > max)
      problems->add(list->line, "[[rooms]] make " + std::to_string(n) + " " + what +
                                    ", at most are allowed: " + std::to_string(max));
  };
  too_many(connections, kConnectionsMax, "connections");
  too_many(rooms, kConnectionsMax, "rooms");
  too_many(memberships, kMembershipsMax, "memberships");
}

void check_window(table_reader* top, const scenario& s, const file_value* rooms) {
  if (s.arrivals != arrival_kind::window)
    return top->refuse({"window", "messages"}, "needs arrivals = \"window\"");
  if (s.messages == 0)
    top->problem("arrivals", "= \"window\" needs messages: how many for each room?");
  if (rooms == nullptr)
    return top->problem("arrivals", "= \"window\" needs [[rooms]]: nobody publishes");
  for (const file_table& table : rooms->tables) {
    table_reader t{table, "[[rooms]]", top->problems, {}};
    t.refuse({"rate", "zipf", "retry_share", "again_share", "conflict_share"},
             "has no meaning with arrivals = \"window\"");
  }
}

void check_activities(table_reader* top, const scenario& s) {
  const auto line = [top](const char* table, const char* key) {
    const file_value* v = top->find(table);
    if (v == nullptr || v->tables.empty()) return uint32_t{0};
    return table_reader{v->tables[0], "", top->problems, {}}.line(key);
  };
  uint64_t listeners = 0, people = 0;
  bool has_history = false;
  double factor = 0;
  for (const room_group& g : s.rooms) {
    listeners += uint64_t{g.count} * (g.members - std::min(g.members, g.publishers));
    people += g.shared ? 0 : uint64_t{g.count} * g.members;
    has_history |= g.has_history;
  }
  for (const phase& p : s.phases) factor = std::max({factor, p.factor, p.factor_to});
  const double away = s.churn_rate * factor * s.churn_away_s;
  const double away_max = kAwayShareMax * static_cast<double>(listeners);
  if (away > away_max)
    top->problems->add(line("churn", "rate"),
                       "[churn] rate, times the greatest factor, times away_s makes " +
                           plain_number(away) + " members be away at a time; of " +
                           std::to_string(listeners) + " that do not publish at most " +
                           plain_number(away_max) + " may be");
  if (s.slow_readers > people)
    top->problems->add(line("slow", "readers"), "[slow] readers must be at most the rooms' " +
                                                    std::to_string(people) + " connections");
  if (s.history_rate > 0 && !has_history)
    top->problems->add(line("history", "rate"), "[history] rate needs [[rooms]] with history");
  if (s.presence_rate > 0 && s.rooms.empty())
    top->problems->add(line("presence", "rate"), "[presence] rate needs [[rooms]]");
  if (s.reconnect_rate > 0 && people + s.idle == 0)
    top->problems->add(line("churn", "reconnect_rate"), "[churn] reconnect_rate needs connections");
}

void read_phases(table_reader* top, scenario* s) {
  read_list(top, "phases", &s->phases, read_phase);
  if (s->phases.size() > kPhasesMax)
    top->problem("phases", "are " + std::to_string(s->phases.size()) +
                               ", at most are allowed: " + std::to_string(kPhasesMax));
  if (s->phases.empty()) s->phases.emplace_back();
  for (size_t i = 0; i < s->phases.size(); ++i) {
    std::string& name = s->phases[i].name;
    if (name.empty()) name = s->phases.size() == 1 ? "load" : "phase " + std::to_string(i + 1);
  }
  if (scenario_seconds(*s) > kScenarioSecondsMax)
    top->problem("phases", "last longer than " + plain_number(kScenarioSecondsMax) + " s together");
  if (std::none_of(s->phases.begin(), s->phases.end(),
                   [](const phase& p) { return p.is_measured; }))
    top->problem("phases", "must be measured, one at least");
}

void read_all(const file_table& file, problem_list* problems, scenario* s) {
  table_reader top{file, "", problems, {}};
  read_top(&top, s);
  read_list(&top, "rooms", &s->rooms, read_room);
  read_phases(&top, s);
  const double seconds = scenario_seconds(*s);
  read_list(&top, "faults", &s->faults,
            [seconds](table_reader* t, fault* f) { read_fault(t, seconds, f); });
  read_activities(&top, s);
  top.end();
  const file_value* rooms = s->rooms.empty() ? nullptr : top.find("rooms");
  if (rooms == nullptr && s->idle == 0)
    problems->add(file.line, "[[rooms]] or [idle] connections must be there: nobody is to connect");
  if (rooms != nullptr) check_rooms(*s, rooms, problems);
  check_window(&top, *s, rooms);
  check_activities(&top, *s);
}

}  // namespace

core::err scenario_parse(const std::string& text, const std::string& name, scenario* out,
                         std::vector<std::string>* problems) noexcept {
  *out = {};
  out->file = name;
  out->name = std::filesystem::path(name).stem().string();
  problem_list found{name, {}};
  file_table file;
  uint32_t line = 0;
  std::string why;
  if (file_table_parse(text, &file, &line, &why)) {
    read_all(file, &found, out);
  } else {
    found.add(line, std::move(why));
  }
  for (std::string& problem : problem_texts(found)) problems->push_back(std::move(problem));
  return found.by_line.empty() ? core::err::ok : core::err::invalid;
}

core::err scenario_read(const std::string& path, scenario* out,
                        std::vector<std::string>* problems) noexcept {
  std::string text;
  const core::err rc = small_file_read(path, "scenario", &text, problems);
  if (rc != core::err::ok) return rc;
  return scenario_parse(text, path, out, problems);
}

uint32_t scenario_connections(const scenario& s) noexcept {
  uint32_t n = s.idle;
  for (const room_group& g : s.rooms) n += g.shared ? 0 : g.count * g.members;
  return n;
}

double scenario_seconds(const scenario& s) noexcept {
  double seconds = 0;
  for (const phase& p : s.phases) seconds += p.seconds;
  return seconds;
}

}  // namespace loadgen
