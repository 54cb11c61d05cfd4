// Requests of the HTTP server API from bytes, and its replies: the JSON of the published server
// libraries. No I/O. Facts: the "Server API walkthrough" page of the Centrifugo documentation.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"
#include "core/metrics.h"
#include "proto/command.h"

namespace proto {

inline constexpr uint32_t kApiCommandsMax = 1000;    // of one batch
inline constexpr uint32_t kApiChannelsMax = 10'000;  // of one broadcast, and of a whole batch
inline constexpr uint32_t kApiSubscribeDataBytesMax =
    64 * 1024;  // goes into one push, beside the channel

// One call; only the fields of its method are set. Owns everything: it waits for answers while the
// parser serves others.
struct api_call {
  core::api_method method = core::api_method::unknown;
  std::string refusal;  // not empty: the call is answered with error 107 and this sentence
  std::string user, client, session;
  std::vector<std::string> channels;     // broadcast several, others that name a channel one
  std::string data, info, tags;          // checked raw JSON on one line, or empty
  std::string idempotency_key, pattern;  // publish and broadcast; channels
  std::vector<std::string> whitelist;    // disconnect: clients that stay
  uint32_t code = 0;                     // disconnect; 0: the default
  std::string reason;
  int64_t expire_at = 0, limit = 0;
  uint64_t since_offset = 0;  // history's since, subscribe's recover_since
  std::string since_epoch;
  bool has_since = false, reverse = false, skip_history = false, expired = false;
  bool has_presence = false, presence = false, has_join_leave = false,
       join_leave = false;  // subscribe's override
};

struct api_request {
  std::vector<api_call> calls;  // one, unless is_batch
  bool is_batch = false;
  bool is_parallel = false;  // a batch whose calls need not wait for each other
};

core::api_method api_method_find(
    std::string_view name) noexcept;  // unknown when there is none of that name
std::string_view api_method_name(core::api_method m) noexcept;

// The body of one HTTP request to /api/<method>; an empty body is an empty object. malformed: not a
// JSON object, too deep, or a field of a wrong type, with a sentence in *why. What is good JSON but
// not a good call has a refusal. The parser's bytes_max must be at least body.size().
core::err api_parse(command_parser* p, core::api_method method, std::string_view body,
                    api_request* out, std::string* why) noexcept;

// Appends {"code":…,"message":…}.
void api_error_object(std::string* out, uint32_t code, std::string_view message) noexcept;

}  // namespace proto
