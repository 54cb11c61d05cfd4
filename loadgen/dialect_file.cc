// From tables to a dialect: each key is named once, in the function that reads its table; then what
// does not go together.
#include "loadgen/dialect_file.h"

#include <algorithm>
#include <filesystem>

#include "core/config.h"
#include "loadgen/scenario_table.h"

namespace loadgen {
namespace {

using place = text_place;
using places = std::initializer_list<text_place>;

// A text that is sent.
void read_sent(table_reader* t, const char* key, places allowed, text_pattern* out) {
  std::string text, why;
  t->text(key, &text);
  if (!text_parse(text, allowed, out, &why)) return t->problem(key, std::move(why));
  if (t->has(key) && t->find(key)->kind == file_kind::text && text.empty())
    t->problem(key, "must not be empty: leave it out when nothing is sent");
}

bool parse_matched(const std::string& text, places allowed, text_pattern* out, std::string* why) {
  if (text.empty()) {
    *why = "must not be empty: every message begins so";
    return false;
  }
  return text_parse(text, allowed, out, why) && text_can_match(*out, why);
}

// A text that a message begins with. False: it is not there, or wrong.
bool read_matched(table_reader* t, const char* key, places allowed, text_pattern* out) {
  std::string text, why;
  t->text(key, &text);
  if (!t->has(key) || t->find(key)->kind != file_kind::text) return false;
  if (parse_matched(text, allowed, out, &why)) return true;
  t->problem(key, std::move(why));
  return false;
}

void add_rule(dialect_file* f, rule_kind kind, text_pattern&& text) {
  dialect_rule rule;
  rule.kind = kind;
  rule.text = std::move(text);
  f->rules.push_back(std::move(rule));
}

void add_reply(dialect_file* f, reply_to to, bool is_error, text_pattern&& text) {
  dialect_rule rule;
  rule.kind = rule_kind::reply;
  rule.to = text_has(text, place::id) ? reply_to::id : to;
  rule.is_error = is_error;
  rule.text = std::move(text);
  f->rules.push_back(std::move(rule));
}

// send, reply and error of a command.
void read_command(table_reader* t, reply_to to, places allowed, dialect_file* f, text_pattern* send,
                  bool* is_answered) {
  text_pattern reply, error;
  read_sent(t, "send", allowed, send);
  *is_answered = read_matched(t, "reply", {place::id, place::channel, place::any}, &reply);
  const bool has_error =
      read_matched(t, "error", {place::id, place::channel, place::error, place::any}, &error);
  if (t->has("error") && !t->has("reply"))
    t->problem("error", "needs reply: a command that is not answered is done when it is written");
  if (t->has("reply") && !t->has("send"))
    t->problem("reply", "needs send: nothing would be answered");
  for (const auto& [key, text] :
       {std::pair<const char*, const text_pattern*>{"reply", &reply}, {"error", &error}}) {
    if (text_has(*text, place::id) && !text_has(*send, place::id))
      t->problem(key, "has ${id}, and send has none: the server cannot know it");
  }
  if (*is_answered) add_reply(f, to, false, std::move(reply));
  if (has_error) add_reply(f, to, true, std::move(error));
}

void read_upgrade(table_reader* t, dialect_file* f) {
  std::string target = "/", why;
  t->text("target", &target);
  t->text("protocol", &f->protocol);
  t->end();
  const auto is_bare = [](const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
  };
  if (!target.starts_with("/") || !is_bare(target))
    t->problem("target", "must begin with '/', of visible ASCII: \"/ws?format=json\"");
  if (!text_parse(target, {place::channel, place::user, place::token}, &f->target, &why))
    t->problem("target", std::move(why));
  if (!is_bare(f->protocol) || f->protocol.find(',') != std::string::npos)
    t->problem("protocol", "must be one name of a sub-protocol, of visible ASCII");
}

void read_connect(table_reader* t, dialect_file* f) {
  text_pattern after, end;
  const bool is_greeted = read_matched(t, "after", {place::any}, &after);
  read_command(t, reply_to::connect, {place::user, place::token, place::id}, f, &f->connect,
               &f->traits.answers_connect);
  f->traits.waits_for_connect = f->traits.answers_connect;
  t->boolean("wait", &f->traits.waits_for_connect);
  const bool has_end = read_matched(t, "end", {place::any}, &end);
  t->end();
  if (t->has("wait") && !t->has("reply"))
    t->problem("wait", "needs reply: there is nothing to wait for");
  if (is_greeted) add_rule(f, rule_kind::greeting, std::move(after));
  if (has_end) add_rule(f, rule_kind::over, std::move(end));
  f->traits.is_greeted = is_greeted;
}

void read_join(table_reader* t, dialect_file* f) {
  read_command(t, reply_to::subscribe, {place::channel, place::id}, f, &f->subscribe,
               &f->traits.answers_subscribe);
  t->end();
  if (!t->has("send"))
    t->problem("send",
               "is missing: what is sent to join a channel? Without [join] a connection is "
               "in its channel from the upgrade on");
}

void read_leave(table_reader* t, dialect_file* f) {
  read_command(t, reply_to::unsubscribe, {place::channel, place::id}, f, &f->unsubscribe,
               &f->traits.answers_unsubscribe);
  t->end();
  if (!t->has("send")) t->problem("send", "is missing: what is sent to leave a channel?");
  f->traits.has_unsubscribe = true;
}

void read_publish(table_reader* t, dialect_file* f) {
  read_command(t, reply_to::publish, {place::channel, place::data, place::id}, f, &f->publish,
               &f->traits.answers_publish);
  t->end();
  if (!t->has("send")) return t->problem("send", "is missing: what is sent to publish?");
  if (!text_has(f->publish, place::data))
    t->problem("send", "must hold ${data}, the message's JSON");
}

void read_publication(table_reader* t, dialect_file* f) {
  const bool is_read =
      read_matched(t, "message", {place::channel, place::data, place::any}, &f->publication);
  t->end();
  if (!t->has("message"))
    return t->problem("message", "is missing: how does a received message begin?");
  if (is_read && !text_has(f->publication, place::data))
    t->problem("message", "must hold ${data}, the message's JSON");
}

void read_ping(table_reader* t, dialect_file* f) {
  text_pattern ping;
  const bool has_ping = read_matched(t, "message", {place::any}, &ping);
  t->text("answer", &f->pong);
  t->end();
  if (!t->has("message")) t->problem("message", "is missing: how does a ping begin?");
  if (!t->has("answer")) t->problem("answer", "is missing: what answers a ping?");
  if (has_ping) add_rule(f, rule_kind::ping, std::move(ping));
}

// False: the table is not there.
bool read_table(table_reader* top, const char* key, void (*read)(table_reader* t, dialect_file* f),
                dialect_file* f) {
  const file_value* v = top->tables(key, false);
  if (v == nullptr) return top->has(key);
  table_reader t{v->tables[0], "[" + std::string(key) + "]", top->problems, {}};
  read(&t, f);
  return true;
}

void read_ignored(table_reader* top, dialect_file* f) {
  std::vector<std::string> texts;
  std::string why;
  top->texts("ignore", &texts);
  for (const std::string& text : texts) {
    text_pattern p;
    if (parse_matched(text, {place::any}, &p, &why)) {
      add_rule(f, rule_kind::ignored, std::move(p));
    } else {
      top->problem("ignore", in_quotes(text) + " " + why);
    }
  }
}

void read_all(const file_table& file, problem_list* problems, dialect_file* f) {
  table_reader top{file, "", problems, {}};
  f->traits = {};
  f->traits.has_offsets = f->traits.has_keys = f->traits.has_presence = false;
  f->traits.has_unsubscribe = false;
  f->traits.answers_connect = f->traits.answers_subscribe = f->traits.answers_unsubscribe =
      f->traits.answers_publish = false;
  top.text("about", &f->about);
  top.boolean("lines", &f->has_lines);
  f->target = {{text_place::literal, "/"}};
  (void)read_table(&top, "upgrade", read_upgrade, f);
  (void)read_table(&top, "connect", read_connect, f);
  const bool has_join = read_table(&top, "join", read_join, f);
  if (read_table(&top, "leave", read_leave, f) && !has_join)
    top.problem("leave", "needs [join]: who is in from the upgrade on cannot leave");
  if (!read_table(&top, "publish", read_publish, f))
    problems->add(file.line, "[publish] is missing: what is sent to publish?");
  if (!read_table(&top, "publication", read_publication, f))
    problems->add(file.line, "[publication] is missing: how does a received message begin?");
  (void)read_table(&top, "ping", read_ping, f);
  read_ignored(&top, f);
  top.end();
  f->traits.is_channel_in_target = text_has(f->target, place::channel);
  f->traits.is_token_in_target = text_has(f->target, place::token);
  f->traits.has_token = f->traits.is_token_in_target || text_has(f->connect, place::token);
  // What is rare and special comes before what is general: an error often begins as a reply does.
  const auto rank = [](const dialect_rule& r) {
    return r.kind == rule_kind::reply ? (r.is_error ? 0 : 2) : r.kind == rule_kind::ping ? 1 : 3;
  };
  std::stable_sort(
      f->rules.begin(), f->rules.end(),
      [&rank](const dialect_rule& a, const dialect_rule& b) { return rank(a) < rank(b); });
}

}  // namespace

core::err dialect_file_parse(const std::string& text, const std::string& name, dialect_file* out,
                             std::vector<std::string>* problems) noexcept {
  *out = {};
  out->name = std::filesystem::path(name).filename().string();
  if (constexpr std::string_view kEnd = ".toml"; out->name.ends_with(kEnd))
    out->name.resize(out->name.size() - kEnd.size());
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

core::err dialect_file_read(const std::string& path, dialect_file* out,
                            std::vector<std::string>* problems) noexcept {
  std::string text;
  const core::err rc = small_file_read(path, "dialect", &text, problems);
  return rc == core::err::ok ? dialect_file_parse(text, path, out, problems) : rc;
}

core::err dialect_find(const std::string& name, dialect_file* out,
                       std::vector<std::string>* problems) noexcept {
  std::string all = "centrifuge";
  std::vector<std::string> names = {all};
  for (size_t i = 0; i < kDialectFileCount; ++i) {
    if (name == kDialectFiles[i].name)
      return dialect_file_parse(std::string(kDialectFiles[i].text), name, out, problems);
    names.emplace_back(kDialectFiles[i].name);
    all += ", " + names.back();
  }
  core::err rc = core::err::not_found;
  if (name.find('/') != std::string::npos || name.ends_with(".toml")) {
    rc = dialect_file_read(name, out, problems);
    if (rc != core::err::ok && problems->empty())
      problems->push_back(name + ": " + core::err_text(rc));
    return rc;
  }
  const std::string near = core::config_nearest(name, names);
  problems->push_back("--dialect " + in_quotes(name) + " is unknown: it is one of " + all +
                      ", or a FILE.toml" + (near.empty() ? "" : "; did you mean " + near + "?"));
  return rc;
}

core::err dialect_fits(const dialect_file& f, const scenario& asked, bool has_secret,
                       std::string* why) noexcept {
  const std::string who = "the dialect " + f.name + " ";
  if (has_secret && !f.traits.has_token)
    *why = who + "has no ${token}: run it without --token-hmac-secret";
  if (asked.churn_rate > 0 && !f.traits.has_unsubscribe)
    *why = who + "has no [leave], and the scenario's [churn] rate makes members leave";
  const bool is_shared = std::any_of(asked.rooms.begin(), asked.rooms.end(),
                                     [](const room_group& g) { return g.shared; });
  const bool has_one = f.subscribe.empty() || !text_has(f.publish, place::channel);
  if (is_shared && (has_one || f.traits.is_channel_in_target))
    *why = who +
           "has one channel a connection, and the scenario's shared rooms put a connection in "
           "several";
  uint64_t rooms = 0;
  for (const room_group& g : asked.rooms) rooms += g.count;
  if (rooms > 1 && f.subscribe.empty() && !f.traits.is_channel_in_target)
    *why = who + "has no channels, everybody gets everything: the scenario may have one room";
  return why->empty() ? core::err::ok : core::err::invalid;
}

}  // namespace loadgen
