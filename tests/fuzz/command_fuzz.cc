// A client's line, JSON and rpc fields of any bytes: what is passed on as raw JSON is valid JSON on
// one line by a second opinion, is accepted again unchanged, and nothing valid is refused.
#include "proto/command.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "core/limits.h"
#include "tests/proto/json_strict.h"

namespace {

using core::err;

constexpr size_t kPadding = 64;

void require(bool is_so) {
  if (!is_so) abort();
}

bool is_utf8(std::string_view text) {
  std::string literal = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) literal.push_back(c);
  }
  // Without its ASCII every character is still whole.
  return proto::json_strict(literal + "\"").is_valid();
}

// Harmless for every receiver of a batch of lines.
void require_safe(proto::command_parser* p, std::string_view raw) {
  if (raw.empty()) return;
  const proto::json_strict strict(raw);
  require(strict.is_valid() && !strict.has_newline() && strict.depth() <= core::kJsonDepthMax);
  std::string again;
  require(proto::json_check(p, raw, &again) == err::ok && again == raw);
}

void check_json(proto::command_parser* p, std::string_view text) {
  std::string out = "x";
  const err rc = proto::json_check(p, text, &out);
  const proto::json_strict strict(text);
  if (rc != err::ok) {
    require(out == "x");
    require(!strict.is_valid() || strict.has_wild_number() ||
            strict.depth() >= core::kJsonDepthMax);
    require(rc != err::too_big || !strict.is_valid() || strict.depth() >= core::kJsonDepthMax);
    return;
  }
  require(strict.is_valid());
  require_safe(p, std::string_view(out).substr(1));
}

void check_line(proto::command_parser* p, proto::command_parser* other, std::string_view line) {
  const std::unique_ptr<char[]> block(new char[line.size() + kPadding]);
  if (!line.empty()) memcpy(block.get(), line.data(), line.size());
  memset(block.get() + line.size(), '}', kPadding);
  proto::command c;
  const err rc = proto::command_parse(p, block.get(), static_cast<uint32_t>(line.size()), &c);
  require(rc == err::ok || rc == err::malformed);
  if (rc != err::ok) return;
  require(proto::json_strict(line).is_valid());
  for (const std::string_view text : {c.token, c.channel, c.name, c.version, c.method,
                                      c.since_epoch, c.sub.channel, c.sub.token, c.sub.epoch})
    require(is_utf8(text));
  require_safe(other, c.data);
  require_safe(other, c.sub.data);
  require(c.sub.data.empty() || c.kind == proto::command_kind::subscribe);
  require(c.subs.empty() || c.kind == proto::command_kind::connect);
  for (const proto::subscribe_request& s : c.subs) require_safe(other, s.data);
  // Checked by a parser of its own, so the command's views are still what they were.
  const std::string method(c.method), data(c.data);
  proto::command twice;
  memcpy(block.get(), line.data(), line.size());
  require(proto::command_parse(p, block.get(), static_cast<uint32_t>(line.size()), &twice) ==
          err::ok);
  require(twice.id == c.id && twice.kind == c.kind && twice.method == method && twice.data == data);
}

void check_rpc(proto::command_parser* p, proto::command_parser* other, std::string_view text) {
  proto::rpc_fields f;
  const err rc = proto::rpc_parse(p, text, &f);
  require(rc == err::ok || rc == err::malformed);
  if (rc != err::ok) return;
  require(proto::json_strict(text).is_valid() && is_utf8(f.channel) && is_utf8(f.key));
  require_safe(other, f.data);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static proto::command_parser* const p = proto::command_parser_new();
  static proto::command_parser* const other = proto::command_parser_new();
  // A copy of exact size: json_check and rpc_parse are promised no padding.
  const std::unique_ptr<char[]> block(new char[size]);
  if (size > 0) memcpy(block.get(), data, size);
  const std::string_view text(block.get(), size);
  check_line(p, other, text);
  check_json(p, text);
  check_rpc(p, other, text);
  return 0;
}
