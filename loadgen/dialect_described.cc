// A dialect made of a file's texts. Publications are tried first, because there is one for each
// delivery; a message that nothing in the file describes cannot be read.
#include <algorithm>

#include "loadgen/dialect_file.h"

namespace loadgen {
namespace {

struct described final : dialect {
  explicit described(const dialect_file& of) noexcept
      : dialect(of.traits), f(of), has_channel(text_has(of.publication, text_place::channel)) {}
  const dialect_file f;
  const bool has_channel;  // in publications

  static text_values values(uint32_t id, std::string_view channel) noexcept {
    text_values v;
    v.id = id;
    v.channel = channel;
    return v;
  }
  static text_values values(uint32_t id, const dialect_login& who) noexcept {
    return {who.channel, {}, who.user, who.token, id};
  }

  void target(std::string* out, const dialect_login& who) noexcept override {
    text_write(f.target, values(0, who), out);
  }
  std::string_view subprotocol() const noexcept override { return f.protocol; }
  void connect(std::string* out, uint32_t id, const dialect_login& who) noexcept override {
    text_write(f.connect, values(id, who), out);
  }
  void subscribe(std::string* out, uint32_t id, std::string_view channel,
                 const dialect_position*) noexcept override {
    text_write(f.subscribe, values(id, channel), out);
  }
  void unsubscribe(std::string* out, uint32_t id, std::string_view channel) noexcept override {
    text_write(f.unsubscribe, values(id, channel), out);
  }
  void publish(std::string* out, uint32_t id, std::string_view channel, std::string_view data,
               publish_method, std::string_view) noexcept override {
    text_values v = values(id, channel);
    v.data = data;
    text_write(f.publish, v, out);
  }
  void history(std::string*, uint32_t, std::string_view, const dialect_position&,
               uint32_t) noexcept override {}
  void presence(std::string*, uint32_t, std::string_view) noexcept override {}

  bool read(std::string_view message, const dialect_events& events, void* user) noexcept override {
    if (!f.has_lines) return read_one(message, events, user);
    while (!message.empty()) {
      const size_t end = std::min(message.find('\n'), message.size());
      const std::string_view line = message.substr(0, end);
      message.remove_prefix(std::min(end + 1, message.size()));
      if (!line.empty() && !read_one(line, events, user)) return false;
    }
    return true;
  }

  bool read_one(std::string_view message, const dialect_events& events, void* user) noexcept {
    text_found found;
    if (text_match(f.publication, message, &found)) {
      if (has_channel) {
        events.on_publication(user, found.channel, 0, found.data);
      } else {
        events.on_bare_publication(user, found.data);
      }
      return true;
    }
    for (const dialect_rule& rule : f.rules) {
      found = {};
      if (!text_match(rule.text, message, &found)) continue;
      follow(rule, found, events, user);
      return true;
    }
    return false;
  }

  void follow(const dialect_rule& rule, const text_found& found, const dialect_events& events,
              void* user) noexcept {
    switch (rule.kind) {
      case rule_kind::ping:
        return events.on_answer_due(user, f.pong);
      case rule_kind::greeting:
        return events.on_greeting(user);
      case rule_kind::over:
        return events.on_over(user);
      case rule_kind::ignored:
        return;
      case rule_kind::reply:
        break;
    }
    dialect_reply r;
    r.to = rule.to;
    r.id = found.id;
    r.channel = found.channel;
    r.message = found.error;
    r.error = rule.is_error ? 1 : 0;
    events.on_reply(user, r);
  }
};

}  // namespace

dialect* dialect_described(const dialect_file& f) noexcept {
  return new described(f);
}

}  // namespace loadgen
