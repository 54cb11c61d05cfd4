// The Centrifuge client protocol, version 2, JSON. Publications are found by their marker without
// parsing JSON, because there is one for each delivery; replies are few and go through simdjson.
#include <simdjson.h>

#include <charconv>

#include "loadgen/dialect.h"
#include "loadgen/stamp.h"
#include "proto/reply.h"

namespace loadgen {
namespace {

constexpr std::string_view kPush = "{\"push\":{\"channel\":\"";
constexpr std::string_view kPub = "\",\"pub\":{";
constexpr std::string_view kOffset = "\"offset\":";

uint64_t offset_behind(std::string_view text) noexcept {
  const size_t at = text.find(kOffset);
  uint64_t offset = 0;
  if (at != std::string_view::npos)
    std::from_chars(text.data() + at + kOffset.size(), text.data() + text.size(), offset);
  return offset;
}

// The line is a publication in the usual shape, whose data is one of our messages.
bool read_publication(std::string_view line, const dialect_events& events, void* user) noexcept {
  if (!line.starts_with(kPush)) return false;
  const size_t end = line.find('"', kPush.size());
  if (end == std::string_view::npos || line.substr(end, kPub.size()) != kPub) return false;
  const std::string_view channel = line.substr(kPush.size(), end - kPush.size());
  const std::string_view text = line.substr(end + kPub.size());
  if (channel.find('\\') != std::string_view::npos) return false;
  stamp s;
  size_t at = 0, len = 0;
  if (stamp_read(text, &s, &at, &len) == stamp_result::foreign) {
    events.on_publication(user, channel, 0, text);
    return true;
  }
  events.on_publication(user, channel, offset_behind(text.substr(std::min(text.size(), at + len))),
                        text);
  return true;
}

struct centrifuge final : dialect {
  centrifuge() noexcept : dialect(dialect_traits{}) {}
  simdjson::dom::parser parser;
  std::string padded;

  void target(std::string* out, const dialect_login&) noexcept override {
    out->append("/connection/websocket");
  }
  std::string_view subprotocol() const noexcept override { return {}; }

  static void begin(std::string* out, uint32_t id, std::string_view method) noexcept {
    out->append("{\"id\":");
    proto::json_u64(out, id);
    out->append(",\"").append(method).append("\":{");
  }
  static void channel_field(std::string* out, std::string_view channel) noexcept {
    out->append("\"channel\":");
    proto::json_string(out, channel);
  }
  void simple(std::string* out, uint32_t id, std::string_view method,
              std::string_view channel) noexcept {
    begin(out, id, method);
    channel_field(out, channel);
    out->append("}}");
  }

  void connect(std::string* out, uint32_t id, const dialect_login& who) noexcept override {
    begin(out, id, "connect");
    if (!who.token.empty()) {
      out->append("\"token\":");
      proto::json_string(out, who.token);
    }
    out->append("}}");
  }
  void subscribe(std::string* out, uint32_t id, std::string_view channel,
                 const dialect_position* since) noexcept override {
    begin(out, id, "subscribe");
    channel_field(out, channel);
    if (since != nullptr) {
      out->append(",\"recover\":true,\"offset\":");
      proto::json_u64(out, since->offset);
      out->append(",\"epoch\":");
      proto::json_string(out, since->epoch);
    }
    out->append("}}");
  }
  void unsubscribe(std::string* out, uint32_t id, std::string_view channel) noexcept override {
    simple(out, id, "unsubscribe", channel);
  }
  void presence(std::string* out, uint32_t id, std::string_view channel) noexcept override {
    simple(out, id, "presence_stats", channel);
  }
  void publish(std::string* out, uint32_t id, std::string_view channel, std::string_view data,
               publish_method how, std::string_view key) noexcept override {
    const bool is_send = how == publish_method::send;
    begin(out, id, is_send ? "rpc" : "publish");
    if (is_send) out->append("\"method\":\"send\",\"data\":{");
    channel_field(out, channel);
    out->append(",\"data\":").append(data);
    if (is_send) {
      out->append(",\"key\":");
      proto::json_string(out, key);
      out->push_back('}');
    }
    out->append("}}");
  }
  void history(std::string* out, uint32_t id, std::string_view channel,
               const dialect_position& since, uint32_t limit) noexcept override {
    begin(out, id, "history");
    channel_field(out, channel);
    out->append(",\"limit\":");
    proto::json_u64(out, limit);
    out->append(",\"since\":{\"offset\":");
    proto::json_u64(out, since.offset);
    out->append(",\"epoch\":");
    proto::json_string(out, since.epoch);
    out->append("}}}");
  }

  bool read(std::string_view message, const dialect_events& events, void* user) noexcept override {
    while (!message.empty()) {
      const size_t end = std::min(message.find('\n'), message.size());
      const std::string_view line = message.substr(0, end);
      message.remove_prefix(std::min(end + 1, message.size()));
      if (line.empty() || read_publication(line, events, user)) continue;
      if (line == "{}") {
        events.on_answer_due(user, "{}");
      } else if (!read_line(line, events, user)) {
        return false;
      }
    }
    return true;
  }

  bool read_line(std::string_view line, const dialect_events& events, void* user) noexcept {
    padded.assign(line);
    padded.append(simdjson::SIMDJSON_PADDING, ' ');
    simdjson::dom::element root;
    if (parser.parse(reinterpret_cast<const uint8_t*>(padded.data()), line.size(), false)
                .get(root) != simdjson::SUCCESS ||
        !root.is_object())
      return false;
    uint64_t id = 0;
    if (root["id"].get(id) != simdjson::SUCCESS) return read_push(root, line, events, user);
    read_reply(root, line, static_cast<uint32_t>(id), events, user);
    return true;
  }

  static bool read_push(simdjson::dom::element root, std::string_view line,
                        const dialect_events& events, void* user) noexcept {
    simdjson::dom::element push, part;
    if (root["push"].get(push) != simdjson::SUCCESS) return false;
    std::string_view channel;
    if (push["channel"].get(channel) != simdjson::SUCCESS) channel = {};
    if (push["pub"].get(part) == simdjson::SUCCESS) {
      uint64_t offset = 0;
      if (part["offset"].get(offset) != simdjson::SUCCESS) offset = 0;
      events.on_publication(user, channel, offset, line);
    } else if (push["unsubscribe"].get(part) == simdjson::SUCCESS) {
      uint64_t code = 0;
      if (part["code"].get(code) != simdjson::SUCCESS) code = 0;
      events.on_lost_subscription(user, channel, code >= 2500);
    }
    return true;
  }

  static void read_reply(simdjson::dom::element root, std::string_view line, uint32_t id,
                         const dialect_events& events, void* user) noexcept {
    dialect_reply r;
    r.id = id;
    simdjson::dom::element part;
    uint64_t number = 0;
    if (root["error"].get(part) == simdjson::SUCCESS) {
      r.error = part["code"].get(number) == simdjson::SUCCESS ? static_cast<uint32_t>(number)
                                                              : UINT32_MAX;
      if (part["message"].get(r.message) != simdjson::SUCCESS) r.message = {};
      if (part["temporary"].get(r.is_temporary) != simdjson::SUCCESS) r.is_temporary = false;
      events.on_reply(user, r);
      return;
    }
    if (root["rpc"].get(part) == simdjson::SUCCESS) {
      simdjson::dom::element data;
      if (part["data"].get(data) == simdjson::SUCCESS) part = data;
    } else if (root["subscribe"].get(part) != simdjson::SUCCESS &&
               root["history"].get(part) != simdjson::SUCCESS &&
               root["presence_stats"].get(part) != simdjson::SUCCESS) {
      events.on_reply(user, r);
      return;
    }
    if (!part.is_object()) return events.on_reply(user, r);
    if (part["offset"].get(r.offset) != simdjson::SUCCESS) r.offset = 0;
    if (part["epoch"].get(r.epoch) != simdjson::SUCCESS) r.epoch = {};
    if (part["was_recovering"].get(r.was_recovering) != simdjson::SUCCESS) r.was_recovering = false;
    if (part["recovered"].get(r.is_recovered) != simdjson::SUCCESS) r.is_recovered = false;
    if (part["duplicate"].get(r.is_duplicate) != simdjson::SUCCESS) r.is_duplicate = false;
    simdjson::dom::element list;
    if (part["publications"].get(list) == simdjson::SUCCESS) r.publications = line;
    if (part["num_clients"].get(r.clients) != simdjson::SUCCESS) r.clients = 0;
    events.on_reply(user, r);
  }
};

}  // namespace

dialect* dialect_centrifuge() noexcept {
  return new centrifuge;
}

void each_publication(std::string_view text,
                      void (*take)(void* user, uint64_t offset, std::string_view text) noexcept,
                      void* user) noexcept {
  constexpr std::string_view kMarker = "{\"l\":\"";
  for (size_t at = text.find(kMarker); at != std::string_view::npos;) {
    const size_t next = text.find(kMarker, at + kMarker.size());
    const std::string_view one = text.substr(at, next == std::string_view::npos ? next : next - at);
    stamp s;
    size_t data_at = 0, len = 0;
    (void)stamp_read(one, &s, &data_at, &len);
    take(user, offset_behind(one.substr(std::min(one.size(), data_at + len))), one);
    at = next;
  }
}

}  // namespace loadgen
