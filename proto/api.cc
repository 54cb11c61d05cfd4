// Server API requests over simdjson: the whole body is validated first, then each call's fields are
// copied out.
#include "proto/api.h"

#include "core/limits.h"
#include "proto/json_read.h"
#include "proto/reply.h"

namespace proto {

using core::api_method;
using core::err;

namespace {

constexpr std::string_view kMethods[] = {
    // by api_method
    "publish",  "broadcast", "subscribe",      "unsubscribe", "disconnect",
    "refresh",  "presence",  "presence_stats", "history",     "history_remove",
    "channels", "info",      "batch"};
static_assert(std::size(kMethods) == static_cast<size_t>(api_method::unknown));

bool copy_text(od::value v, std::string* out) noexcept {
  std::string_view text;
  if (!get_text(v, &text)) return false;
  out->assign(text);
  return true;
}

bool copy_raw(command_parser* p, od::value v, std::string* out) noexcept {
  std::string_view raw;
  p->flat.clear();
  if (!get_raw(p, v, &raw)) return false;
  out->assign(raw);
  return true;
}

bool copy_texts(od::value v, std::vector<std::string>* out) noexcept {
  od::array list;
  if (v.get_array().get(list) != simdjson::SUCCESS) return false;
  for (auto item : list) {
    od::value value;
    if (item.get(value) != simdjson::SUCCESS) return false;
    if (!copy_text(value, &out->emplace_back())) return false;
  }
  return true;
}

// A map of strings, written anew: clients get it as it stands here.
bool copy_tags(od::value v, std::string* out) noexcept {
  out->assign("{");
  const bool is_good = each_field(v, [out](std::string_view name, od::value tag) {
    std::string_view text;
    if (!get_text(tag, &text)) return false;
    if (out->size() > 1) out->push_back(',');
    json_string(out, name);
    out->push_back(':');
    json_string(out, text);
    return true;
  });
  out->push_back('}');
  return is_good;
}

bool parse_position(od::value v, api_call* c) noexcept {
  c->has_since = true;
  return each_field(v, [c](std::string_view name, od::value f) {
    if (name == "offset") return get_u64(f, &c->since_offset);
    if (name == "epoch") return copy_text(f, &c->since_epoch);
    return true;
  });
}

bool parse_disconnect(od::value v, api_call* c) noexcept {
  return each_field(v, [c](std::string_view name, od::value f) {
    if (name == "code") return get_signed(f, &c->code);
    if (name == "reason") return copy_text(f, &c->reason);
    return true;
  });
}

bool parse_switch(od::value v, bool* has, bool* value) noexcept {
  *has = true;
  *value = false;
  return each_field(v, [value](std::string_view name, od::value f) {
    return name != "value" || get_flag(f, value);
  });
}

bool parse_override(od::value v, api_call* c) noexcept {
  return each_field(v, [c](std::string_view name, od::value f) {
    if (name == "presence") return parse_switch(f, &c->has_presence, &c->presence);
    if (name == "join_leave") return parse_switch(f, &c->has_join_leave, &c->join_leave);
    c->refusal = "this override is not offered: presence and join_leave are";
    return true;
  });
}

// What a call cannot be served with, although the schema has it.
bool refuse_field(api_call* c, std::string_view name, std::string_view remedy) noexcept {
  c->refusal = std::string(name).append(" is not offered: ").append(remedy);
  return true;
}

constexpr std::string_view kInsteadOfVersion = "use idempotency_key against repeated publications";

bool parse_field(command_parser* p, std::string_view name, od::value f, api_call* c) noexcept {
  if (name == "channel") return copy_text(f, &c->channels.emplace_back());
  if (name == "channels") return copy_texts(f, &c->channels);
  if (name == "data") return copy_raw(p, f, &c->data);
  if (name == "tags") return copy_tags(f, &c->tags);
  if (name == "idempotency_key") return copy_text(f, &c->idempotency_key);
  if (name == "skip_history") return get_flag(f, &c->skip_history);
  if (name == "user") return copy_text(f, &c->user);
  if (name == "client") return copy_text(f, &c->client);
  if (name == "session") return copy_text(f, &c->session);
  if (name == "info") return copy_raw(p, f, &c->info);
  if (name == "recover_since" || name == "since") return parse_position(f, c);
  if (name == "override") return parse_override(f, c);
  if (name == "whitelist") return copy_texts(f, &c->whitelist);
  if (name == "disconnect") return c->method != api_method::disconnect || parse_disconnect(f, c);
  if (name == "expired") return get_flag(f, &c->expired);
  if (name == "expire_at") return get_signed(f, &c->expire_at);
  if (name == "limit") return get_signed(f, &c->limit);
  if (name == "reverse") return get_flag(f, &c->reverse);
  if (name == "pattern") return copy_text(f, &c->pattern);
  if (name == "b64data" || name == "b64info") {
    std::string_view text;
    if (!get_text(f, &text)) return false;
    return text.empty() ||
           refuse_field(c, name, "channels carry JSON, so put it into data or info");
  }
  if (name == "version") {
    uint64_t version;
    if (!get_u64(f, &version)) return false;
    return version == 0 || refuse_field(c, name, kInsteadOfVersion);
  }
  if (name == "version_epoch") {
    std::string_view text;
    if (!get_text(f, &text)) return false;
    return text.empty() || refuse_field(c, name, kInsteadOfVersion);
  }
  return true;
}

bool names_channel(api_method m) noexcept {
  return m == api_method::publish || m == api_method::subscribe || m == api_method::unsubscribe ||
         m == api_method::presence || m == api_method::presence_stats || m == api_method::history ||
         m == api_method::history_remove;
}

bool names_user(api_method m) noexcept {
  return m == api_method::subscribe || m == api_method::unsubscribe ||
         m == api_method::disconnect || m == api_method::refresh;
}

// What is missing or wrong in a call whose fields have the right types.
void check_call(api_call* c) noexcept {
  if (!c->refusal.empty()) return;
  const api_method m = c->method;
  const bool has_data = m == api_method::publish || m == api_method::broadcast;
  if (m == api_method::unknown) {
    c->refusal = "there is no such method";
  } else if (m == api_method::batch) {
    c->refusal = "a batch cannot hold a batch";
  } else if (names_channel(m) && (c->channels.size() != 1 || c->channels[0].empty())) {
    c->refusal = "channel is missing";
  } else if (m == api_method::broadcast && c->channels.empty()) {
    c->refusal = "channels is missing";
  } else if (has_data && c->data.empty()) {
    c->refusal = "data is missing";
  } else if (names_user(m) && c->user.empty()) {
    c->refusal = "user is missing";
  } else if (m == api_method::disconnect && c->code != 0 && (c->code < 3000 || c->code > 4999)) {
    c->refusal = "the code of a disconnect lies in 3000 … 4999";
  } else if (c->idempotency_key.size() > core::kKeyBytesMax) {
    c->refusal = "idempotency_key is longer than " + std::to_string(core::kKeyBytesMax) + " bytes";
  } else if (c->tags.size() > core::kInfoBytesMax) {
    c->refusal = "tags are larger than " + std::to_string(core::kInfoBytesMax) + " bytes";
  } else if (c->info.size() > core::kInfoBytesMax) {
    c->refusal = "info is larger than " + std::to_string(core::kInfoBytesMax) + " bytes";
  } else if (m == api_method::subscribe && c->data.size() > kApiSubscribeDataBytesMax) {
    c->refusal = "the data of a subscribe is larger than " +
                 std::to_string(kApiSubscribeDataBytesMax) + " bytes";
  } else if (c->whitelist.size() > kApiChannelsMax) {
    c->refusal = "a whitelist holds at most " + std::to_string(kApiChannelsMax) + " clients";
  } else if (c->reason.size() > 123) {
    c->refusal = "the reason of a disconnect is longer than the 123 bytes that a close frame holds";
  }
}

bool parse_call(command_parser* p, od::value v, api_call* c) noexcept {
  const bool is_good = each_field(
      v, [p, c](std::string_view name, od::value f) { return parse_field(p, name, f, c); });
  if (is_good) check_call(c);
  return is_good;
}

// {"publish":{…}}
bool parse_command(command_parser* p, od::value v, api_call* c) noexcept {
  const bool is_good = each_field(v, [p, c](std::string_view name, od::value f) {
    if (c->method != api_method::unknown) return true;  // the first method counts
    c->method = api_method_find(name);
    if (c->method == api_method::unknown) return true;
    return parse_call(p, f, c);
  });
  if (is_good && c->method == api_method::unknown) check_call(c);
  return is_good;
}

err parse_batch(command_parser* p, od::value v, api_request* out, std::string* why) noexcept {
  out->is_batch = true;
  size_t channels = 0;
  const bool is_good = each_field(v, [&](std::string_view name, od::value f) {
    if (name == "parallel") return get_flag(f, &out->is_parallel);
    if (name != "commands") return true;
    od::array list;
    if (f.get_array().get(list) != simdjson::SUCCESS) return false;
    for (auto item : list) {
      od::value command;
      if (item.get(command) != simdjson::SUCCESS ||
          !parse_command(p, command, &out->calls.emplace_back()))
        return false;
      channels += out->calls.back().channels.size();
      if (out->calls.size() > kApiCommandsMax || channels > kApiChannelsMax) return false;
    }
    return true;
  });
  if (is_good) return err::ok;
  if (out->calls.size() > kApiCommandsMax) {
    *why = "a batch holds at most " + std::to_string(kApiCommandsMax) + " commands";
  } else if (channels > kApiChannelsMax) {
    *why = "a batch names at most " + std::to_string(kApiChannelsMax) + " channels";
  } else {
    *why =
        "expected {\"commands\":[{\"publish\":{…}}, …]}, each command with the fields of its "
        "method";
  }
  return err::malformed;
}

}  // namespace

api_method api_method_find(std::string_view name) noexcept {
  size_t i = 0;
  while (i < std::size(kMethods) && kMethods[i] != name) ++i;
  return static_cast<api_method>(i);
}

std::string_view api_method_name(api_method m) noexcept {
  return m < api_method::unknown ? kMethods[static_cast<size_t>(m)] : "unknown";
}

err api_parse(command_parser* p, api_method method, std::string_view body, api_request* out,
              std::string* why) noexcept {
  *out = {};
  p->padded.assign(body.empty() ? "{}" : body);
  const size_t len = p->padded.size();
  p->padded.append(simdjson::SIMDJSON_PADDING, ' ');
  const err rc = check_text(p, p->padded.data(), len);
  if (rc != err::ok) {
    *why = rc == err::too_big
               ? "the body is nested deeper than " + std::to_string(core::kJsonDepthMax) + " levels"
               : "the body is not valid JSON";
    return err::malformed;
  }
  od::document doc;
  od::value root;
  if (p->fields.iterate(p->padded.data(), len, p->padded.size()).get(doc) != simdjson::SUCCESS ||
      doc.get_value().get(root) != simdjson::SUCCESS) {
    *why = "the body is not a JSON object";
    return err::malformed;
  }
  if (method == api_method::batch) return parse_batch(p, root, out, why);
  api_call* c = &out->calls.emplace_back();
  c->method = method;
  if (!parse_call(p, root, c)) {
    *why =
        "the body is not a JSON object with the fields of " + std::string(api_method_name(method));
    return err::malformed;
  }
  if (c->channels.size() > kApiChannelsMax)
    c->refusal = "a broadcast names at most " + std::to_string(kApiChannelsMax) + " channels";
  return err::ok;
}

void api_error_object(std::string* out, uint32_t code, std::string_view message) noexcept {
  out->append("{\"code\":");
  json_u64(out, code);
  out->append(",\"message\":");
  json_string(out, message);
  out->push_back('}');
}

}  // namespace proto
