// A user operation as bytes for the other nodes.
#include "chat/api.h"
#include "chat/control_bytes.h"

namespace chat {
namespace {

constexpr uint32_t kWhitelistMax = 65536;  // entries another node may send

}  // namespace

void api_user_encode(const api_user_op& op, std::string* out) noexcept {
  control_put(out, static_cast<uint8_t>(control_kind::user_op), 1);
  control_put(out, static_cast<uint8_t>(op.what), 1);
  const bool flags[] = {op.is_expired, op.presence,       op.has_presence,
                        op.join_leave, op.has_join_leave, op.has_recover_since};
  uint32_t bits = 0;
  for (size_t i = 0; i < std::size(flags); ++i) bits |= static_cast<uint32_t>(flags[i]) << i;
  control_put(out, bits, 1);
  control_put(out, op.code, 4);
  control_put(out, static_cast<uint64_t>(op.expire_at), 8);
  control_put(out, op.recover_offset, 8);
  for (const std::string* text : {&op.user, &op.client, &op.session, &op.channel, &op.info,
                                  &op.data, &op.text, &op.recover_epoch})
    control_put(out, *text);
  control_put(out, op.whitelist.size(), 4);
  for (const std::string& client : op.whitelist) control_put(out, client);
}

bool api_user_decode(std::string_view bytes, api_user_op* op) noexcept {
  control_cursor c{bytes};
  if (c.number(1) != static_cast<uint8_t>(control_kind::user_op)) return false;
  const uint64_t what = c.number(1);
  const uint64_t bits = c.number(1);
  op->code = static_cast<uint32_t>(c.number(4));
  op->expire_at = static_cast<int64_t>(c.number(8));
  op->recover_offset = c.number(8);
  for (std::string* text : {&op->user, &op->client, &op->session, &op->channel, &op->info,
                            &op->data, &op->text, &op->recover_epoch})
    *text = c.text();
  const uint64_t clients = c.number(4);
  if (!c.is_good || clients > kWhitelistMax ||
      what > static_cast<uint64_t>(api_user_op::kind::refresh) || bits >= 1u << 6)
    return false;
  op->what = static_cast<api_user_op::kind>(what);
  bool* const flags[] = {&op->is_expired, &op->presence,       &op->has_presence,
                         &op->join_leave, &op->has_join_leave, &op->has_recover_since};
  for (size_t i = 0; i < std::size(flags); ++i) *flags[i] = (bits >> i & 1) != 0;
  op->whitelist.clear();
  for (uint64_t i = 0; i < clients && c.is_good; ++i) op->whitelist.emplace_back(c.text());
  return c.is_done();
}

}  // namespace chat
