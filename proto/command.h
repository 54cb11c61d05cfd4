// Client commands of the Centrifuge protocol (version 2, JSON) from bytes: centrifugal/protocol
// definitions/client.proto. No I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"
#include "core/limits.h"

namespace proto {

enum class command_kind : uint8_t {
  pong,  // {}: no id and no request
  connect,
  subscribe,
  unsubscribe,
  publish,
  presence,
  presence_stats,
  history,
  ping,
  send,
  rpc,
  refresh,
  sub_refresh,
  none  // an id, but no request that we know
};

struct subscribe_request {
  std::string_view channel, token, epoch;
  std::string_view data;  // raw JSON or empty
  std::string_view delta;
  uint64_t offset = 0;
  int64_t flag = 0;
  int32_t type = 0;
  bool recover = false, positioned = false, recoverable = false, join_leave = false;
  bool has_filter = false;  // field tf
};

// One command; only the fields of its kind are set. Views are valid until the next parse of the
// same parser, and point into the line or the parser. Raw JSON (data) has been validated
// completely: UTF-8, depth <= kJsonDepthMax, no raw newline left.
struct command {
  uint32_t id = 0;
  command_kind kind = command_kind::none;
  std::string_view token;          // connect, refresh, sub_refresh
  std::string_view channel;        // all that have one
  std::string_view data;           // connect, publish, send, rpc: raw JSON, or empty when absent
  std::string_view name, version;  // connect
  std::string_view method;         // rpc
  int32_t publish_type = 0;
  int32_t limit = 0;  // history
  bool has_since = false, reverse = false;
  uint64_t since_offset = 0;
  std::string_view since_epoch;
  subscribe_request sub;                // subscribe
  std::vector<subscribe_request> subs;  // connect: positions of server-side subscriptions
};

struct command_parser;  // one per loop
// bytes_max: of any text that it is given; its memory grows with what has been parsed.
command_parser* command_parser_new(uint32_t bytes_max = core::kWsMessageBytesMax) noexcept;
void command_parser_free(command_parser* p) noexcept;

// Parses one line (no newline in it). `line` has at least 64 readable bytes behind len. malformed:
// not a JSON object, a field of the wrong type, id over 32 bits, invalid JSON anywhere, deeper than
// kJsonDepthMax, longer than bytes_max or kWsMessageBytesMax. An integer beyond 64 bits and a
// number beyond a double count as invalid, as does half a surrogate pair. Unknown fields are
// ignored, null is an absent field, and of a field that comes twice the last counts.
core::err command_parse(command_parser* p, char* line, uint32_t len, command* out) noexcept;

// Validates any JSON text completely and appends it to *out as one line: insignificant newlines are
// taken out. `text` needs no padding and may not be a view that the parser gave. malformed as
// above, or too_big (deeper than kJsonDepthMax, longer than bytes_max): nothing is appended.
// Depth counts containers that hold something.
core::err json_check(command_parser* p, std::string_view text, std::string* out) noexcept;

// Fields of a small JSON object that an rpc carries (chat methods). Views are valid until the next
// parse.
struct rpc_fields {
  std::string_view channel, key;
  std::string_view data;  // raw JSON or empty
  uint64_t offset = 0;
  int64_t limit = 0;
  bool has_offset = false;
  std::vector<std::string_view> users;  // at most kRpcUsersMax are looked at
  bool has_too_many_users = false;
};
inline constexpr size_t kRpcUsersMax = 200;
// malformed: no object, or a field of the wrong type. `object` may be a command's data.
core::err rpc_parse(command_parser* p, std::string_view object, rpc_fields* out) noexcept;

}  // namespace proto
