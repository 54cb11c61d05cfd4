// Replies and pushes of the Centrifuge protocol (version 2) as JSON text, appended to a string; the
// caller frames them. No I/O. Facts: client.proto's field names; empty and zero fields are left
// out; `bytes` fields are embedded JSON.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace proto {

// Appends a JSON string literal with its quotes. Invalid UTF-8 must not come here.
void json_string(std::string* out, std::string_view text) noexcept;
void json_u64(std::string* out, uint64_t v) noexcept;
void json_i64(std::string* out, int64_t v) noexcept;

// {"user":…,"client":…,"conn_info":…,"chan_info":…}; the infos are raw JSON or empty.
void client_info(std::string* out, std::string_view user, std::string_view client,
                 std::string_view conn_info, std::string_view chan_info) noexcept;

// The object of one publication: {"data":…,"info":…,"offset":…,"tags":…}. offset 0, empty info and
// tags are left out.
void publication_object(std::string* out, uint64_t offset, std::string_view data,
                        std::string_view info, std::string_view tags) noexcept;

// Pushes. *object_at/_len tell where in *out the publication object stands (so that recovery can
// splice it).
void push_publication(std::string* out, std::string_view channel, uint64_t offset,
                      std::string_view data, std::string_view info, std::string_view tags,
                      uint32_t* object_at, uint32_t* object_len) noexcept;
// The same with gaps that a broker fills: the offset (when has_offset) is due at offset_at, the
// time, digits within the last tag, at time_at (when there are tags: `tags_before_time` is "{" or
// "{…,"). 0: no such gap. All places are in *out, which must be empty, as if the gaps stayed empty.
struct push_gaps {
  uint32_t offset_at = 0, time_at = 0;
  uint32_t object_at = 0, object_bytes = 0;
  uint32_t data_at = 0, info_at = 0, tags_at = 0, tags_bytes = 0;  // 0: no info, no tags
};
void push_publication_gaps(std::string* out, std::string_view channel, bool has_offset,
                           std::string_view data, std::string_view info,
                           std::string_view tags_before_time, push_gaps* at) noexcept;
void push_join(std::string* out, std::string_view channel, std::string_view info) noexcept;
void push_leave(std::string* out, std::string_view channel, std::string_view info) noexcept;
void push_unsubscribe(std::string* out, std::string_view channel, uint32_t code,
                      std::string_view reason) noexcept;
struct subscribe_push {
  bool recoverable = false, positioned = false;
  std::string_view epoch;
  uint64_t offset = 0;
  std::string_view data;
};
void push_subscribe(std::string* out, std::string_view channel, const subscribe_push& s) noexcept;

void reply_error(std::string* out, uint32_t id, uint32_t code, std::string_view text,
                 bool is_temporary) noexcept;
// {"id":1,"<name>":{}}: unsubscribe, publish, ping …
void reply_empty(std::string* out, uint32_t id, std::string_view name) noexcept;
// {"id":1,"rpc":{"data":…}}
void reply_rpc(std::string* out, uint32_t id, std::string_view data) noexcept;

struct subscribe_result {
  bool expires = false;
  uint32_t ttl = 0;
  bool recoverable = false, positioned = false, recovered = false, was_recovering = false;
  std::string_view epoch;
  uint64_t offset = 0;
  std::string_view publications;  // finished objects joined by commas, or empty
  std::string_view data;
};
void subscribe_object(std::string* out,
                      const subscribe_result& r) noexcept;  // {"recoverable":true,…}
void reply_subscribe(std::string* out, uint32_t id,
                     const subscribe_result& r) noexcept;  // {"id":1,"subscribe":{…}}

struct connect_result {
  std::string_view client, version, node, data, session;
  bool expires = false;
  uint32_t ttl = 0;
  uint32_t ping_s = 0;
  bool pong = false;
  std::span<const std::pair<std::string, std::string>>
      subs;  // channel -> finished subscribe object
};
void reply_connect(std::string* out, uint32_t id, const connect_result& r) noexcept;
void reply_refresh(std::string* out, uint32_t id, std::string_view client, std::string_view version,
                   bool expires, uint32_t ttl) noexcept;
void reply_sub_refresh(std::string* out, uint32_t id, bool expires, uint32_t ttl) noexcept;
// `publications`: finished objects joined by commas. offset is written even when it is 0.
void history_object(std::string* out, std::string_view publications, uint64_t offset,
                    std::string_view epoch) noexcept;
void reply_history(std::string* out, uint32_t id, std::string_view publications, uint64_t offset,
                   std::string_view epoch) noexcept;
// pairs: client uuid, finished ClientInfo object.
void presence_object(
    std::string* out,
    std::span<const std::pair<std::string_view, std::string_view>> members) noexcept;
void reply_presence(
    std::string* out, uint32_t id,
    std::span<const std::pair<std::string_view, std::string_view>> members) noexcept;
void presence_stats_object(std::string* out, uint32_t clients, uint32_t users) noexcept;
void reply_presence_stats(std::string* out, uint32_t id, uint32_t clients, uint32_t users) noexcept;

}  // namespace proto
