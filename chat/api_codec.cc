// A user operation as bytes for the other nodes: a version, flags and numbers (little endian), then
// texts with their lengths.
#include "chat/api.h"

namespace chat {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint32_t kWhitelistMax = 65536;  // entries another node may send

void put(std::string* out, uint64_t v, uint32_t bytes) noexcept {
  for (uint32_t i = 0; i < bytes; ++i) out->push_back(static_cast<char>(v >> (8 * i)));
}

void put_text(std::string* out, std::string_view text) noexcept {
  put(out, text.size(), 4);
  out->append(text);
}

struct cursor {
  std::string_view left;
  bool is_good = true;
};

uint64_t take(cursor* c, uint32_t bytes) noexcept {
  if (c->left.size() < bytes) {
    c->is_good = false;
    return 0;
  }
  uint64_t v = 0;
  for (uint32_t i = 0; i < bytes; ++i)
    v |= static_cast<uint64_t>(static_cast<unsigned char>(c->left[i])) << (8 * i);
  c->left.remove_prefix(bytes);
  return v;
}

void take_text(cursor* c, std::string* out) noexcept {
  const uint64_t bytes = take(c, 4);
  if (!c->is_good || bytes > c->left.size()) {
    c->is_good = false;
    return;
  }
  out->assign(c->left.substr(0, bytes));
  c->left.remove_prefix(bytes);
}

}  // namespace

void api_user_encode(const api_user_op& op, std::string* out) noexcept {
  put(out, kVersion, 1);
  put(out, static_cast<uint8_t>(op.what), 1);
  const bool flags[] = {op.is_expired, op.presence,       op.has_presence,
                        op.join_leave, op.has_join_leave, op.has_recover_since};
  uint32_t bits = 0;
  for (size_t i = 0; i < std::size(flags); ++i) bits |= static_cast<uint32_t>(flags[i]) << i;
  put(out, bits, 1);
  put(out, op.code, 4);
  put(out, static_cast<uint64_t>(op.expire_at), 8);
  put(out, op.recover_offset, 8);
  for (const std::string* text : {&op.user, &op.client, &op.session, &op.channel, &op.info,
                                  &op.data, &op.text, &op.recover_epoch})
    put_text(out, *text);
  put(out, op.whitelist.size(), 4);
  for (const std::string& client : op.whitelist) put_text(out, client);
}

bool api_user_decode(std::string_view bytes, api_user_op* op) noexcept {
  cursor c{bytes};
  if (take(&c, 1) != kVersion) return false;
  const uint64_t what = take(&c, 1);
  const uint64_t bits = take(&c, 1);
  op->code = static_cast<uint32_t>(take(&c, 4));
  op->expire_at = static_cast<int64_t>(take(&c, 8));
  op->recover_offset = take(&c, 8);
  for (std::string* text : {&op->user, &op->client, &op->session, &op->channel, &op->info,
                            &op->data, &op->text, &op->recover_epoch})
    take_text(&c, text);
  const uint64_t clients = take(&c, 4);
  if (!c.is_good || clients > kWhitelistMax ||
      what > static_cast<uint64_t>(api_user_op::kind::refresh) || bits >= 1u << 6)
    return false;
  op->what = static_cast<api_user_op::kind>(what);
  bool* const flags[] = {&op->is_expired, &op->presence,       &op->has_presence,
                         &op->join_leave, &op->has_join_leave, &op->has_recover_since};
  for (size_t i = 0; i < std::size(flags); ++i) *flags[i] = (bits >> i & 1) != 0;
  op->whitelist.clear();
  for (uint64_t i = 0; i < clients && c.is_good; ++i) take_text(&c, &op->whitelist.emplace_back());
  return c.is_good && c.left.empty();
}

}  // namespace chat
