// A server API body of any bytes, as a call of every method: what is passed on as raw JSON is valid
// JSON on one line, limits are kept, and the same body gives the same calls again.
#include "proto/api.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "core/limits.h"
#include "tests/proto/json_strict.h"

namespace {

using core::api_method;
using core::err;

void require(bool is_so) {
  if (!is_so) abort();
}

// Harmless for every receiver of a batch of lines.
void require_safe(proto::command_parser* p, std::string_view raw) {
  if (raw.empty()) return;
  const proto::json_strict strict(raw);
  require(strict.is_valid() && !strict.has_newline() && strict.depth() <= core::kJsonDepthMax);
  std::string again;
  require(proto::json_check(p, raw, &again) == err::ok && again == raw);
}

void check_call(proto::command_parser* other, const proto::api_call& c) {
  require_safe(other, c.data);
  require_safe(other, c.info);
  require_safe(other, c.tags);
  require(c.refusal.find('\n') == std::string::npos && c.refusal.size() < 200);
  if (!c.refusal.empty()) return;
  require(c.method < api_method::batch);
  require(c.channels.size() <= proto::kApiChannelsMax);
  require(c.idempotency_key.size() <= core::kKeyBytesMax && c.reason.size() <= 123);
  require(c.info.size() <= core::kInfoBytesMax && c.tags.size() <= core::kInfoBytesMax);
  if (c.method == api_method::publish)
    require(c.channels.size() == 1 && !c.channels[0].empty() && !c.data.empty());
  if (c.method == api_method::disconnect)
    require(c.code == 0 || (c.code >= 3000 && c.code <= 4999));
  if (c.method != api_method::disconnect) require(c.code == 0 && c.reason.empty());
}

bool is_same(const proto::api_call& a, const proto::api_call& b) {
  return a.method == b.method && a.refusal == b.refusal && a.channels == b.channels &&
         a.data == b.data && a.info == b.info && a.tags == b.tags && a.user == b.user &&
         a.whitelist == b.whitelist && a.since_offset == b.since_offset && a.limit == b.limit;
}

void check_method(proto::command_parser* p, proto::command_parser* other, api_method m,
                  std::string_view body) {
  proto::api_request r, again;
  std::string why;
  const err rc = proto::api_parse(p, m, body, &r, &why);
  require(rc == err::ok || rc == err::malformed);
  require((rc == err::ok) == why.empty());
  require(why.size() < 200);
  if (rc != err::ok) return;
  require(body.empty() || proto::json_strict(body).is_valid());
  require(r.is_batch == (m == api_method::batch) && r.calls.size() <= proto::kApiCommandsMax);
  require(r.is_batch || (r.calls.size() == 1 && r.calls[0].method == m));
  for (const proto::api_call& c : r.calls) check_call(other, c);
  require(proto::api_parse(p, m, body, &again, &why) == err::ok);
  require(again.calls.size() == r.calls.size() && again.is_parallel == r.is_parallel);
  for (size_t i = 0; i < r.calls.size(); ++i) require(is_same(r.calls[i], again.calls[i]));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static proto::command_parser* const p = proto::command_parser_new();
  static proto::command_parser* const other = proto::command_parser_new();
  // A copy of exact size: no padding is promised.
  const std::unique_ptr<char[]> block(new char[size]);
  if (size > 0) memcpy(block.get(), data, size);
  for (size_t m = 0; m <= static_cast<size_t>(api_method::batch); ++m)
    check_method(p, other, static_cast<api_method>(m), {block.get(), size});
  return 0;
}
