// Replies and pushes as JSON text.
#include "proto/reply.h"

#include <charconv>

namespace proto {

namespace {

// Writes "key": with a comma before it unless it is the first of its object.
void key(std::string* out, std::string_view name) noexcept {
  if (out->back() != '{') out->push_back(',');
  out->push_back('"');
  out->append(name);
  out->append("\":");
}

void flag(std::string* out, std::string_view name, bool value) noexcept {
  if (!value) return;
  key(out, name);
  out->append("true");
}

void number(std::string* out, std::string_view name, uint64_t value) noexcept {
  if (value == 0) return;
  key(out, name);
  json_u64(out, value);
}

void text(std::string* out, std::string_view name, std::string_view value) noexcept {
  if (value.empty()) return;
  key(out, name);
  json_string(out, value);
}

void raw(std::string* out, std::string_view name, std::string_view value) noexcept {
  if (value.empty()) return;
  key(out, name);
  out->append(value);
}

void reply_begin(std::string* out, uint32_t id, std::string_view name) noexcept {
  out->append("{\"id\":");
  json_u64(out, id);
  key(out, name);
}

void push_begin(std::string* out, std::string_view channel, std::string_view name) noexcept {
  out->append("{\"push\":{\"channel\":");
  json_string(out, channel);
  key(out, name);
}

}  // namespace

void json_string(std::string* out, std::string_view value) noexcept {
  static constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  size_t clean = 0;  // start of what needs no escape
  for (size_t i = 0; i < value.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(value[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out->append(value.substr(clean, i - clean));
    clean = i + 1;
    out->push_back('\\');
    switch (c) {
      case '"':
      case '\\':
        out->push_back(static_cast<char>(c));
        break;
      case '\n':
        out->push_back('n');
        break;
      case '\r':
        out->push_back('r');
        break;
      case '\t':
        out->push_back('t');
        break;
      case '\b':
        out->push_back('b');
        break;
      case '\f':
        out->push_back('f');
        break;
      default:
        out->append("u00");
        out->push_back(kHex[c >> 4]);
        out->push_back(kHex[c & 15]);
    }
  }
  out->append(value.substr(clean));
  out->push_back('"');
}

void json_u64(std::string* out, uint64_t v) noexcept {
  char digits[20];
  const auto [end, rc] = std::to_chars(digits, digits + sizeof digits, v);
  (void)rc;  // twenty digits hold every value
  out->append(digits, end);
}

void json_i64(std::string* out, int64_t v) noexcept {
  char digits[20];
  const auto [end, rc] = std::to_chars(digits, digits + sizeof digits, v);
  (void)rc;
  out->append(digits, end);
}

void client_info(std::string* out, std::string_view user, std::string_view client,
                 std::string_view conn_info, std::string_view chan_info) noexcept {
  out->push_back('{');
  text(out, "user", user);
  text(out, "client", client);
  raw(out, "conn_info", conn_info);
  raw(out, "chan_info", chan_info);
  out->push_back('}');
}

void publication_object(std::string* out, uint64_t offset, std::string_view data,
                        std::string_view info, std::string_view tags) noexcept {
  out->push_back('{');
  raw(out, "data", data);
  raw(out, "info", info);
  number(out, "offset", offset);
  raw(out, "tags", tags);
  out->push_back('}');
}

void push_publication(std::string* out, std::string_view channel, uint64_t offset,
                      std::string_view data, std::string_view info, std::string_view tags,
                      uint32_t* object_at, uint32_t* object_len) noexcept {
  constexpr size_t kNamesAndOffset = 120;
  out->reserve(out->size() + channel.size() + data.size() + info.size() + tags.size() +
               kNamesAndOffset);
  push_begin(out, channel, "pub");
  *object_at = static_cast<uint32_t>(out->size());
  publication_object(out, offset, data, info, tags);
  *object_len = static_cast<uint32_t>(out->size()) - *object_at;
  out->append("}}");
}

void push_publication_gaps(std::string* out, std::string_view channel, bool has_offset,
                           std::string_view data, std::string_view info,
                           std::string_view tags_before_time, push_gaps* at) noexcept {
  const auto here = [out] { return static_cast<uint32_t>(out->size()); };
  *at = {};
  push_begin(out, channel, "pub");
  at->object_at = here();
  out->append("{\"data\":");
  at->data_at = here();
  out->append(data);
  if (!info.empty()) {
    out->append(",\"info\":");
    at->info_at = here();
    out->append(info);
  }
  if (has_offset) {
    out->append(",\"offset\":");
    at->offset_at = here();
  }
  if (!tags_before_time.empty()) {
    out->append(",\"tags\":");
    at->tags_at = here();
    out->append(tags_before_time).append("\"time\":\"");
    at->time_at = here();
    out->append("\"}");
    at->tags_bytes = here() - at->tags_at;
  }
  out->push_back('}');
  at->object_bytes = here() - at->object_at;
  out->append("}}");
}

void push_join(std::string* out, std::string_view channel, std::string_view info) noexcept {
  push_begin(out, channel, "join");
  out->append("{\"info\":").append(info).append("}}}");
}

void push_leave(std::string* out, std::string_view channel, std::string_view info) noexcept {
  push_begin(out, channel, "leave");
  out->append("{\"info\":").append(info).append("}}}");
}

void push_unsubscribe(std::string* out, std::string_view channel, uint32_t code,
                      std::string_view reason) noexcept {
  push_begin(out, channel, "unsubscribe");
  out->append("{\"code\":");
  json_u64(out, code);
  out->append(",\"reason\":");
  json_string(out, reason);
  out->append("}}}");
}

void push_subscribe(std::string* out, std::string_view channel, const subscribe_push& s) noexcept {
  push_begin(out, channel, "subscribe");
  out->push_back('{');
  flag(out, "recoverable", s.recoverable);
  text(out, "epoch", s.epoch);
  number(out, "offset", s.offset);
  flag(out, "positioned", s.positioned);
  raw(out, "data", s.data);
  out->append("}}}");
}

void reply_error(std::string* out, uint32_t id, uint32_t code, std::string_view message,
                 bool is_temporary) noexcept {
  reply_begin(out, id, "error");
  out->push_back('{');
  number(out, "code", code);
  text(out, "message", message);
  flag(out, "temporary", is_temporary);
  out->append("}}");
}

void reply_empty(std::string* out, uint32_t id, std::string_view name) noexcept {
  reply_begin(out, id, name);
  out->append("{}}");
}

void reply_rpc(std::string* out, uint32_t id, std::string_view data) noexcept {
  out->reserve(out->size() + data.size() + 40);
  reply_begin(out, id, "rpc");
  out->push_back('{');
  raw(out, "data", data);
  out->append("}}");
}

void subscribe_object(std::string* out, const subscribe_result& r) noexcept {
  out->push_back('{');
  flag(out, "expires", r.expires);
  number(out, "ttl", r.ttl);
  flag(out, "recoverable", r.recoverable);
  text(out, "epoch", r.epoch);
  if (!r.publications.empty()) {
    key(out, "publications");
    out->append("[").append(r.publications).append("]");
  }
  flag(out, "recovered", r.recovered);
  number(out, "offset", r.offset);
  flag(out, "positioned", r.positioned);
  raw(out, "data", r.data);
  flag(out, "was_recovering", r.was_recovering);
  out->push_back('}');
}

void reply_subscribe(std::string* out, uint32_t id, const subscribe_result& r) noexcept {
  reply_begin(out, id, "subscribe");
  subscribe_object(out, r);
  out->push_back('}');
}

void reply_connect(std::string* out, uint32_t id, const connect_result& r) noexcept {
  reply_begin(out, id, "connect");
  out->push_back('{');
  text(out, "client", r.client);
  text(out, "version", r.version);
  flag(out, "expires", r.expires);
  number(out, "ttl", r.ttl);
  raw(out, "data", r.data);
  if (!r.subs.empty()) {
    key(out, "subs");
    out->push_back('{');
    for (const auto& [channel, object] : r.subs) {
      if (out->back() != '{') out->push_back(',');
      json_string(out, channel);
      out->push_back(':');
      out->append(object);
    }
    out->push_back('}');
  }
  number(out, "ping", r.ping_s);
  flag(out, "pong", r.pong);
  text(out, "session", r.session);
  text(out, "node", r.node);
  out->append("}}");
}

void reply_refresh(std::string* out, uint32_t id, std::string_view client, std::string_view version,
                   bool expires, uint32_t ttl) noexcept {
  reply_begin(out, id, "refresh");
  out->push_back('{');
  text(out, "client", client);
  text(out, "version", version);
  flag(out, "expires", expires);
  number(out, "ttl", ttl);
  out->append("}}");
}

void reply_sub_refresh(std::string* out, uint32_t id, bool expires, uint32_t ttl) noexcept {
  reply_begin(out, id, "sub_refresh");
  out->push_back('{');
  flag(out, "expires", expires);
  number(out, "ttl", ttl);
  out->append("}}");
}

void history_object(std::string* out, std::string_view publications, uint64_t offset,
                    std::string_view epoch) noexcept {
  out->append("{\"publications\":[").append(publications).append("],\"epoch\":");
  json_string(out, epoch);
  out->append(",\"offset\":");
  json_u64(out, offset);
  out->push_back('}');
}

void reply_history(std::string* out, uint32_t id, std::string_view publications, uint64_t offset,
                   std::string_view epoch) noexcept {
  reply_begin(out, id, "history");
  history_object(out, publications, offset, epoch);
  out->push_back('}');
}

void presence_object(
    std::string* out,
    std::span<const std::pair<std::string_view, std::string_view>> members) noexcept {
  out->append("{\"presence\":{");
  for (const auto& [client, info] : members) {
    if (out->back() != '{') out->push_back(',');
    json_string(out, client);
    out->push_back(':');
    out->append(info);
  }
  out->append("}}");
}

void reply_presence(
    std::string* out, uint32_t id,
    std::span<const std::pair<std::string_view, std::string_view>> members) noexcept {
  reply_begin(out, id, "presence");
  presence_object(out, members);
  out->push_back('}');
}

void presence_stats_object(std::string* out, uint32_t clients, uint32_t users) noexcept {
  out->append("{\"num_clients\":");
  json_u64(out, clients);
  out->append(",\"num_users\":");
  json_u64(out, users);
  out->push_back('}');
}

void reply_presence_stats(std::string* out, uint32_t id, uint32_t clients,
                          uint32_t users) noexcept {
  reply_begin(out, id, "presence_stats");
  presence_stats_object(out, clients, users);
  out->push_back('}');
}

}  // namespace proto
