// Client commands over simdjson: the whole line is validated by the DOM parser, then the fields are
// taken On-Demand, so that raw JSON stays the exact text that was sent.
#include "proto/command.h"

#include <new>

#include "core/assert.h"
#include "core/limits.h"
#include "proto/json_read.h"

namespace proto {

using core::err;
static_assert(simdjson::SIMDJSON_PADDING <= 64, "what callers promise behind a line");

namespace {

// simdjson refuses the depth that it is given, too.
constexpr size_t kDepthMax = core::kJsonDepthMax + 1;
constexpr size_t kBytesFirst = 16 * 1024;

bool parse_subscribe(command_parser* p, od::value v, subscribe_request* s) noexcept {
  return each_field(v, [p, s](std::string_view name, od::value f) {
    if (name == "channel") return get_text(f, &s->channel);
    if (name == "token") return get_text(f, &s->token);
    if (name == "recover") return get_flag(f, &s->recover);
    if (name == "epoch") return get_text(f, &s->epoch);
    if (name == "offset") return get_u64(f, &s->offset);
    if (name == "data") return get_raw(p, f, &s->data);
    if (name == "positioned") return get_flag(f, &s->positioned);
    if (name == "recoverable") return get_flag(f, &s->recoverable);
    if (name == "join_leave") return get_flag(f, &s->join_leave);
    if (name == "delta") return get_text(f, &s->delta);
    if (name == "flag") return get_signed(f, &s->flag);
    if (name == "type") return get_signed(f, &s->type);
    if (name == "tf") s->has_filter = true;
    return true;
  });
}

bool parse_connect(command_parser* p, od::value v, command* c) noexcept {
  return each_field(v, [p, c](std::string_view name, od::value f) {
    if (name == "token") return get_text(f, &c->token);
    if (name == "data") return get_raw(p, f, &c->data);
    if (name == "name") return get_text(f, &c->name);
    if (name == "version") return get_text(f, &c->version);
    if (name != "subs") return true;
    return each_field(f, [p, c](std::string_view channel, od::value sub) {
      c->subs.emplace_back();
      const bool is_good = parse_subscribe(p, sub, &c->subs.back());
      c->subs.back().channel = channel;  // the map's key is the channel
      return is_good;
    });
  });
}

bool parse_history(od::value v, command* c) noexcept {
  return each_field(v, [c](std::string_view name, od::value f) {
    if (name == "channel") return get_text(f, &c->channel);
    if (name == "limit") return get_signed(f, &c->limit);
    if (name == "reverse") return get_flag(f, &c->reverse);
    if (name != "since") return true;
    c->has_since = true;
    return each_field(f, [c](std::string_view part, od::value s) {
      if (part == "offset") return get_u64(s, &c->since_offset);
      if (part == "epoch") return get_text(s, &c->since_epoch);
      return true;
    });
  });
}

// Which fields a flat request has; those of other requests are unknown to it.
enum flat_field : uint8_t { kChannel = 1, kData = 2, kMethod = 4, kToken = 8, kType = 16 };

constexpr struct {
  std::string_view name;
  command_kind kind;
  uint8_t fields;
} kRequests[] = {
    // in the schema's order: the first of several in one command is taken
    {"connect", command_kind::connect, 0},
    {"subscribe", command_kind::subscribe, 0},
    {"unsubscribe", command_kind::unsubscribe, kChannel},
    {"publish", command_kind::publish, kChannel | kData | kType},
    {"presence", command_kind::presence, kChannel},
    {"presence_stats", command_kind::presence_stats, kChannel},
    {"history", command_kind::history, 0},
    {"ping", command_kind::ping, 0},
    {"send", command_kind::send, kData},
    {"rpc", command_kind::rpc, kData | kMethod},
    {"refresh", command_kind::refresh, kToken},
    {"sub_refresh", command_kind::sub_refresh, kChannel | kToken},
};

command_kind kind_of(std::string_view name) noexcept {
  for (const auto& r : kRequests) {
    if (r.name == name) return r.kind;
  }
  return command_kind::none;
}

uint8_t fields_of(command_kind kind) noexcept {
  for (const auto& r : kRequests) {
    if (r.kind == kind) return r.fields;
  }
  return 0;
}

// publish, send, rpc, refresh, sub_refresh, unsubscribe, presence, presence_stats, ping.
bool parse_flat(command_parser* p, od::value v, command* c) noexcept {
  return each_field(v, [p, c, has = fields_of(c->kind)](std::string_view name, od::value f) {
    if (name == "channel") return !(has & kChannel) || get_text(f, &c->channel);
    if (name == "data") return !(has & kData) || get_raw(p, f, &c->data);
    if (name == "method") return !(has & kMethod) || get_text(f, &c->method);
    if (name == "token") return !(has & kToken) || get_text(f, &c->token);
    if (name == "type") return !(has & kType) || get_signed(f, &c->publish_type);
    return true;
  });
}

bool parse_request(command_parser* p, od::value v, command* c) noexcept {
  switch (c->kind) {
    case command_kind::connect:
      return parse_connect(p, v, c);
    case command_kind::subscribe:
      if (!parse_subscribe(p, v, &c->sub)) return false;
      c->channel = c->sub.channel;
      return true;
    case command_kind::history:
      return parse_history(v, c);
    default:
      return parse_flat(p, v, c);
  }
}

void clear(command* c) noexcept {
  std::vector<subscribe_request> subs = std::move(c->subs);
  subs.clear();
  *c = {};
  c->subs = std::move(subs);
}

// Pass one finds the id and which request it is (the schema's first), pass two takes its fields:
// keys may come in any order.
err parse_fields(command_parser* p, const char* line, uint32_t len, size_t room,
                 command* out) noexcept {
  od::document doc;
  if (p->fields.iterate(line, len, room).get(doc) != simdjson::SUCCESS) return err::malformed;
  od::object root;
  if (doc.get_object().get(root) != simdjson::SUCCESS) return err::malformed;
  bool has_any = false;
  for (auto field : root) {
    std::string_view name;
    od::value value;
    if (field.unescaped_key().get(name) != simdjson::SUCCESS ||
        field.value().get(value) != simdjson::SUCCESS)
      return err::malformed;
    if (is_null(value)) continue;
    if (name == "id") {
      uint64_t id;
      if (!get_u64(value, &id) || id > UINT32_MAX) return err::malformed;
      out->id = static_cast<uint32_t>(id);
      has_any = has_any || id != 0;
      continue;
    }
    has_any = true;
    const command_kind kind = kind_of(name);
    if (kind != command_kind::none && (out->kind == command_kind::none || kind < out->kind))
      out->kind = kind;
  }
  if (!has_any) out->kind = command_kind::pong;
  if (out->kind == command_kind::pong || out->kind == command_kind::none) return err::ok;
  doc.rewind();
  if (doc.get_object().get(root) != simdjson::SUCCESS) return err::malformed;
  for (auto field : root) {
    std::string_view name;
    od::value value;
    if (field.unescaped_key().get(name) != simdjson::SUCCESS ||
        field.value().get(value) != simdjson::SUCCESS)
      return err::malformed;
    if (kind_of(name) != out->kind || is_null(value)) continue;
    return parse_request(p, value, out) ? err::ok : err::malformed;
  }
  return err::malformed;
}

}  // namespace

command_parser* command_parser_new(uint32_t bytes_max) noexcept {
  auto* p = new command_parser(bytes_max);
  CORE_ASSERT(p->check.allocate(kBytesFirst, kDepthMax) ==
              simdjson::SUCCESS);  // grows with what is parsed; the depth stays
  return p;
}
void command_parser_free(command_parser* p) noexcept {
  delete p;
}

err command_parse(command_parser* p, char* line, uint32_t len, command* out) noexcept {
  clear(out);
  p->flat.clear();
  if (len > core::kWsMessageBytesMax) return err::malformed;
  p->flat.reserve(len);  // views into it must not move
  if (check_text(p, line, len) != err::ok) return err::malformed;
  return parse_fields(p, line, len, len + simdjson::SIMDJSON_PADDING, out);
}

err json_check(command_parser* p, std::string_view text, std::string* out) noexcept {
  p->padded.assign(text);
  p->padded.append(simdjson::SIMDJSON_PADDING, ' ');
  const err rc = check_text(p, p->padded.data(), text.size());
  if (rc != err::ok) return rc;
  while (!text.empty() &&
         (text.back() == ' ' || text.back() == '\t' || text.back() == '\n' || text.back() == '\r'))
    text.remove_suffix(1);
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t' || text.front() == '\n' ||
                           text.front() == '\r'))
    text.remove_prefix(1);
  append_flat(out, text);
  return err::ok;
}

namespace {

bool get_users(od::value v, rpc_fields* out) noexcept {
  od::json_type type;
  if (v.type().get(type) != simdjson::SUCCESS) return false;
  if (type == od::json_type::null) return true;
  od::array list;
  if (v.get_array().get(list) != simdjson::SUCCESS) return false;
  out->users.clear();
  for (auto element : list) {
    od::value one;
    std::string_view user;
    if (element.get(one) != simdjson::SUCCESS || !get_text(one, &user)) return false;
    out->has_too_many_users = out->users.size() >= kRpcUsersMax;
    if (!out->has_too_many_users) out->users.push_back(user);
  }
  return true;
}

}  // namespace

err rpc_parse(command_parser* p, std::string_view object, rpc_fields* out) noexcept {
  *out = {};
  p->padded.assign(object);
  p->padded.append(simdjson::SIMDJSON_PADDING, ' ');
  p->flat.clear();
  p->flat.reserve(object.size());
  if (check_text(p, p->padded.data(), object.size()) != err::ok) return err::malformed;
  od::document doc;
  od::value root;
  if (p->fields.iterate(p->padded.data(), object.size(), p->padded.size()).get(doc) !=
      simdjson::SUCCESS)
    return err::malformed;
  if (doc.get_value().get(root) != simdjson::SUCCESS) return err::malformed;
  const bool is_good = each_field(root, [p, out](std::string_view name, od::value f) {
    if (name == "channel") return get_text(f, &out->channel);
    if (name == "key") return get_text(f, &out->key);
    if (name == "data") return get_raw(p, f, &out->data);
    if (name == "limit") return get_signed(f, &out->limit);
    if (name == "offset") return out->has_offset = get_u64(f, &out->offset);
    if (name == "users") return get_users(f, out);
    return true;
  });
  return is_good ? err::ok : err::malformed;
}

}  // namespace proto
