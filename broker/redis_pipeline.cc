// Commands, subscriptions, and whose reply is whose. RESP2 answers in order; on a subscriber's
// connection confirmations and errors come in the order of the commands, messages and the server's
// own sunsubscribes between them.
#include <algorithm>
#include <cstring>
#include <utility>

#include "broker/redis_conn_impl.h"
#include "broker/redis_slots.h"
#include "core/assert.h"

namespace broker {
namespace {

constexpr size_t kRingSlotsFirst = 64;
constexpr size_t kRingSlotsKept = 1024;
constexpr size_t kChannelBytesMax = UINT16_MAX;
constexpr size_t kSubHeadBytesMax = 32;  // "*1001\r\n$12\r\nSUNSUBSCRIBE\r\n"

void batch_add(channel_batch* b, std::string_view name) {
  const auto len = static_cast<uint16_t>(name.size());
  b->names.append(reinterpret_cast<const char*>(&len), sizeof len).append(name);
}

bool batch_is_done(const channel_batch& b) noexcept {
  return b.at == b.names.size();
}

// The next name; *end is where the one behind it begins.
std::string_view batch_front(const channel_batch& b, size_t* end) noexcept {
  uint16_t len;
  memcpy(&len, b.names.data() + b.at, sizeof len);
  *end = b.at + sizeof len + len;
  return {b.names.data() + b.at + sizeof len, len};
}

bool is_batch(const pending& p) noexcept {
  return p.kind == pending_kind::subscribe || p.kind == pending_kind::unsubscribe;
}

pending pop(redis_conn* c) noexcept {
  if (c->expired > 0) --c->expired;
  return pending_pop(&c->pending);
}

void offer_room(redis_conn* c) noexcept {
  if (!c->is_room_wanted || c->unconfirmed > kRedisUnconfirmedChannelsMax / 2 ||
      c->pending.bytes > c->options.pending_bytes_max / 2)
    return;
  c->is_room_wanted = false;
  if (c->events->on_room != nullptr) c->events->on_room(c->user, c);
}

// ---- Replies ------------------------------------------------------------------------------------

void command_reply(redis_conn* c, const redis_reply& r) noexcept {
  const bool is_answered = c->expired > 0;
  const pending p = pop(c);
  const bool is_demoted = r.error_code() == "READONLY";
  if (r.is_error()) ++c->counted.errors;
  if (p.cb != nullptr && !is_answered) p.cb(p.user, core::err::ok, &r);
  if (is_demoted && !c->options.is_replica_allowed && c->state == redis_state::ready)
    redis_lose(c, "the server has become a replica, not writable");
}

// The front batch is refused as a whole: Redis checks a command before it does any of it.
void batch_refused(redis_conn* c, std::string_view error) noexcept {
  const pending p = pop(c);
  channel_batch* b = p.batch;
  ++c->counted.errors;
  while (!batch_is_done(*b)) {
    const std::string_view name = batch_front(*b, &b->at);
    --c->unconfirmed;
    if (c->state == redis_state::ready && c->events->on_refused != nullptr)
      c->events->on_refused(c->user, c, p.sub, name, error);
  }
  delete b;
}

// Is this what the front batch waits for? Then it is taken off.
bool take_confirmation(redis_conn* c, pending_kind kind, redis_sub sub,
                       std::string_view channel) noexcept {
  if (c->pending.count == 0) return false;
  pending* front = pending_at(&c->pending, 0);
  if (front->kind != kind || front->sub != sub) return false;
  size_t end = 0;
  if (batch_front(*front->batch, &end) != channel) return false;
  front->batch->at = end;
  --c->unconfirmed;
  if (batch_is_done(*front->batch)) delete pop(c).batch;
  return true;
}

struct push_row {
  std::string_view word;
  pending_kind kind;  // command: a message
  redis_sub sub;
};
constexpr push_row kPushes[] = {
    {"message", pending_kind::command, redis_sub::channel},
    {"smessage", pending_kind::command, redis_sub::shard},
    {"subscribe", pending_kind::subscribe, redis_sub::channel},
    {"ssubscribe", pending_kind::subscribe, redis_sub::shard},
    {"unsubscribe", pending_kind::unsubscribe, redis_sub::channel},
    {"sunsubscribe", pending_kind::unsubscribe, redis_sub::shard},
};

// False: nothing that a subscriber may get.
bool subscriber_push(redis_conn* c, const push_row& row, const redis_reply* items) noexcept {
  const std::string_view channel = items[1].text;
  const redis_conn_events& e = *c->events;
  switch (row.kind) {
    case pending_kind::command:
      ++c->counted.messages;
      c->counted.message_bytes += items[2].text.size();
      if (e.on_message != nullptr) e.on_message(c->user, c, row.sub, channel, items[2].text);
      return true;
    case pending_kind::subscribe:
      if (!take_confirmation(c, row.kind, row.sub, channel)) return false;
      if (e.on_subscribed != nullptr) e.on_subscribed(c->user, c, row.sub, channel);
      return true;
    default: {
      const bool is_asked = take_confirmation(c, row.kind, row.sub, channel);
      if (e.on_unsubscribed != nullptr) e.on_unsubscribed(c->user, c, row.sub, channel, is_asked);
      return true;
    }
  }
}

bool is_front(redis_conn* c, pending_kind kind) noexcept {
  return c->pending.count > 0 && pending_at(&c->pending, 0)->kind == kind;
}

bool subscriber_reply(redis_conn* c, const redis_reply& r) noexcept {
  if (r.type == redis_type::array && r.count == 3 && r.items[1].type == redis_type::string) {
    for (const push_row& row : kPushes)
      if (row.word == r.items[0].text) return subscriber_push(c, row, r.items);
    return false;
  }
  if (r.is_error()) {
    if (c->pending.count == 0) return false;
    if (is_batch(*pending_at(&c->pending, 0))) {
      batch_refused(c, r.text);
    } else {
      pop(c);  // a ping: it is an answer too
    }
    return true;
  }
  // A ping's answer: +PONG before the first subscription, then an array.
  const bool is_pong = (r.type == redis_type::array && r.count == 2 && r.items[0].text == "pong") ||
                       (r.type == redis_type::status && r.text == "PONG");
  if (!is_pong || !is_front(c, pending_kind::ping)) return false;
  pop(c);
  return true;
}

bool is_alive(const redis_conn* c) noexcept {
  return c->state == redis_state::handshaking || c->state == redis_state::ready;
}

bool on_reply(void* user, const redis_reply& r) noexcept {
  auto* c = static_cast<redis_conn*>(user);
  if (is_front(c, pending_kind::login)) {
    redis_login_reply(c, pop(c).step, r);
  } else if (c->state == redis_state::handshaking) {
    redis_lose(c, "a reply to nothing: this is not Redis");
  } else if (c->options.role == redis_role::commands) {
    if (c->pending.count == 0) {
      redis_lose(c, "a reply to nothing: this is not Redis");
    } else {
      command_reply(c, r);
    }
  } else if (!subscriber_reply(c, r)) {
    redis_lose(c, "a reply that no subscription has: this is not Redis");
  }
  if (c->state == redis_state::ready) offer_room(c);
  return is_alive(c);
}

}  // namespace

// ---- The ring -----------------------------------------------------------------------------------

void pending_push(pending_ring* q, const pending& p) noexcept {
  if (q->count == q->slots.size()) {
    std::vector<pending> bigger(std::max(q->slots.size() * 2, kRingSlotsFirst));
    for (size_t i = 0; i < q->count; ++i) bigger[i] = *pending_at(q, i);
    q->slots = std::move(bigger);
    q->head = 0;
  }
  ++q->count;
  *pending_at(q, q->count - 1) = p;
  q->bytes += p.bytes;
}

pending pending_pop(pending_ring* q) noexcept {
  const pending p = *pending_at(q, 0);
  q->head = (q->head + 1) & (q->slots.size() - 1);
  --q->count;
  q->bytes -= p.bytes;
  if (q->count == 0 && q->slots.size() > kRingSlotsKept) *q = {};
  return p;
}

// ---- Inside calls -------------------------------------------------------------------------------

bool redis_send_own(redis_conn* c, redis_argv argv, const pending& p) noexcept {
  const size_t bytes = redis_command_size(argv);
  char* out = redis_out_begin(c, bytes);
  if (out == nullptr) return false;
  redis_command_write(argv, out);
  redis_out_end(c, bytes);
  pending entry = p;
  entry.bytes = static_cast<uint32_t>(bytes);
  pending_push(&c->pending, entry);
  return true;
}

void redis_input(redis_conn* c, std::string_view bytes) noexcept {
  const core::err rc = redis_reader_feed(c->reader, bytes, on_reply, c);
  if (rc != core::err::ok) redis_lose(c, redis_reader_error(c->reader));
}

void redis_answer_all(redis_conn* c, core::err rc) noexcept {
  while (c->pending.count > 0) {
    const bool is_answered = c->expired > 0;
    const pending p = pop(c);
    delete p.batch;
    if (p.kind != pending_kind::command || is_answered) continue;
    if (rc == core::err::timeout) ++c->counted.timeouts;
    if (p.cb != nullptr) p.cb(p.user, rc, nullptr);
  }
  c->unconfirmed = 0;
}

// Deadlines stand in the order of the commands.
void redis_expire(redis_conn* c) noexcept {
  while (c->state == redis_state::ready && c->expired < c->pending.count) {
    pending* p = pending_at(&c->pending, c->expired);
    if (p->kind == pending_kind::command) {
      if (c->ran_ms < p->deadline_ms) return;
      ++c->counted.timeouts;
    }
    ++c->expired;
    const redis_reply_cb cb = p->cb;
    if (cb != nullptr) cb(p->user, core::err::timeout, nullptr);
  }
}

// ---- The contract -------------------------------------------------------------------------------

core::err redis_conn_command(redis_conn* c, redis_argv argv, redis_reply_cb cb,
                             void* user) noexcept {
  if (c->options.role == redis_role::subscriber || argv.empty()) return core::err::invalid;
  if (c->state != redis_state::ready) return core::err::unavailable;
  const size_t bytes = redis_command_size(argv);
  if (bytes > c->options.pending_bytes_max) return core::err::too_big;
  if (c->pending.count >= c->options.pending_max ||
      c->pending.bytes + bytes > c->options.pending_bytes_max) {
    ++c->counted.full;
    return core::err::full;
  }
  pending p;
  p.cb = cb;
  p.user = user;
  p.deadline_ms = c->ran_ms + c->options.url->command_timeout_ms;
  if (!redis_send_own(c, argv, p)) return core::err::unavailable;
  ++c->counted.commands;
  return core::err::ok;
}

namespace {

struct slotted {
  uint16_t slot;  // 0 for all of SUBSCRIBE
  uint32_t index;
};

// As many from the front as fit now.
size_t room_for(const redis_conn* c, std::span<const std::string_view> channels) noexcept {
  const size_t most =
      std::min<size_t>(channels.size(), kRedisUnconfirmedChannelsMax - c->unconfirmed);
  size_t bytes = c->pending.bytes;
  size_t n = 0;
  for (; n < most; ++n) {
    CORE_ASSERT(channels[n].size() <= kChannelBytesMax);
    bytes +=
        redis_argument_size(channels[n]) + kSubHeadBytesMax;  // each might get a command of its own
    if (bytes > c->options.pending_bytes_max) break;
  }
  return n;
}

bool send_batch(redis_conn* c, pending_kind kind, redis_sub sub,
                std::span<const std::string_view> channels,
                std::span<const slotted> which) noexcept {
  static constexpr std::string_view kVerbs[2][2] = {{"SUBSCRIBE", "SSUBSCRIBE"},
                                                    {"UNSUBSCRIBE", "SUNSUBSCRIBE"}};
  const std::string_view verb =
      kVerbs[kind == pending_kind::unsubscribe ? 1 : 0][sub == redis_sub::shard ? 1 : 0];
  size_t bytes = redis_head_size(which.size() + 1) + redis_argument_size(verb);
  for (const slotted& s : which) bytes += redis_argument_size(channels[s.index]);
  char* out = redis_out_begin(c, bytes);
  if (out == nullptr) return false;
  pending p;
  p.kind = kind;
  p.sub = sub;
  p.bytes = static_cast<uint32_t>(bytes);
  p.batch = new channel_batch;
  p.batch->names.reserve(bytes);
  out = redis_argument_write(verb, redis_head_write(which.size() + 1, out));
  for (const slotted& s : which) {
    out = redis_argument_write(channels[s.index], out);
    batch_add(p.batch, channels[s.index]);
  }
  redis_out_end(c, bytes);
  pending_push(&c->pending, p);
  c->unconfirmed += which.size();
  ++c->counted.commands;
  return true;
}

size_t send_batches(redis_conn* c, pending_kind kind, redis_sub sub,
                    std::span<const std::string_view> channels) noexcept {
  if (c->state != redis_state::ready || c->options.role == redis_role::commands) return 0;
  const size_t taken = room_for(c, channels);
  c->is_room_wanted |= taken < channels.size();
  std::vector<slotted> order(taken);
  for (size_t i = 0; i < taken; ++i) {
    order[i] = {sub == redis_sub::shard ? redis_slot(channels[i]) : uint16_t{0},
                static_cast<uint32_t>(i)};
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const slotted& a, const slotted& b) { return a.slot < b.slot; });
  for (size_t from = 0; from < taken;) {
    size_t to = from + 1;
    while (to < taken && to - from < kRedisChannelsPerCommand && order[to].slot == order[from].slot)
      ++to;
    if (!send_batch(c, kind, sub, channels, std::span(order).subspan(from, to - from)))
      return taken;
    from = to;
  }
  return taken;
}

}  // namespace

size_t redis_conn_subscribe(redis_conn* c, redis_sub kind,
                            std::span<const std::string_view> channels) noexcept {
  return send_batches(c, pending_kind::subscribe, kind, channels);
}

size_t redis_conn_unsubscribe(redis_conn* c, redis_sub kind,
                              std::span<const std::string_view> channels) noexcept {
  return send_batches(c, pending_kind::unsubscribe, kind, channels);
}

}  // namespace broker
