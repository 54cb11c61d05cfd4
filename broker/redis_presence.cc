// Presence over nodes. Each loop of each node is a member of the lease: an identity (NODE.LOOP.n)
// that it refreshes with one command every third of the lease, however many clients it has. An
// entry in Redis names the identity that wrote it; entries of an identity whose lease has ended are
// not shown, and whoever sees it first takes them out and publishes the leaves, each once.
//
//   identity alive --lease ends--> claimed by one sweeper --> partition by partition: fenced
//   (writes no more), its entries taken out --> forgotten
//
// What a connection has lost on its way (adds, removals) is not counted up: after every reconnect,
// and when our own lease has lapsed (a stopped process), the loop takes a new identity, writes all
// its entries anew under it, and lets the old one end. So nothing old can come back: a late command
// of the old identity is fenced.
#include "broker/redis_impl.h"
#include "core/log.h"

namespace broker {
namespace {

constexpr uint32_t kRetryMs = 500;

// See redis_script.cc.
std::string make_entry(std::string_view identity, const presence_entry* e) {
  std::string out;
  const std::string_view user = presence_user(e);
  out.push_back(static_cast<char>(identity.size()));
  out.append(identity).push_back(e->has_join_leave ? '1' : '0');
  out.push_back(static_cast<char>(user.size() & 0xff));
  out.push_back(static_cast<char>(user.size() >> 8));
  out.append(user).append(presence_info(e));
  return out;
}

struct entry_view {
  std::string_view identity, user, info;
  bool has_join_leave = false;
};

bool read_entry(std::string_view bytes, entry_view* out) noexcept {
  const size_t head = bytes.empty() ? 0 : static_cast<unsigned char>(bytes[0]);
  if (bytes.size() < head + 4) return false;
  out->identity = bytes.substr(1, head);
  out->has_join_leave = bytes[1 + head] == '1';
  const size_t user_bytes = static_cast<unsigned char>(bytes[2 + head]) |
                            static_cast<size_t>(static_cast<unsigned char>(bytes[3 + head])) << 8;
  if (bytes.size() - head - 4 < user_bytes) return false;
  out->user = bytes.substr(head + 4, user_bytes);
  out->info = bytes.substr(head + 4 + user_bytes);
  return true;
}

}  // namespace

core::err redis_broker::presence_add(const std::string& channel, member&& m) noexcept {
  if (is_closed_) return core::err::closed;
  const core::err rc = presence_.add(channel, m);
  if (rc != core::err::ok) return rc;
  if (is_lapsed())
    new_identity();  // writes this one too
  else
    add_entry(channel, presence_.find(channel, m.client));
  return core::err::ok;
}

void redis_broker::add_entry(const std::string& channel, const presence_entry* e) noexcept {
  server* s = server_of(channel);
  if (!s->has_commands || identity_.empty()) return;  // comes with the connection
  const uint32_t p = partition_of(channel);
  op* o = op_new(&redis_broker::added, channel, nullptr);
  o->number = incarnation_;
  o->nonce = std::string(presence_client(e));
  const std::vector<std::string> keys = {partition_key(p, 'p', channel),
                                         partition_key(p, 'u', channel),
                                         partition_key(p, 'n', identity_), partition_key(p, 'f')};
  const std::vector<std::string> arguments = {identity_, o->nonce, make_entry(identity_, e),
                                              channel};
  if (started(o, call(p, redis_script::enter, keys, arguments, o)) != core::err::ok)
    must_renew_ = true;  // when there is room
}

// "new" although it was written before: a sweeper took it for dead and has told everybody.
void redis_broker::added(op* o, core::err rc, const redis_reply& r) noexcept {
  const std::string channel = std::move(o->channel), client = std::move(o->nonce);
  const uint64_t incarnation = o->number;
  op_free(o);
  if (rc != core::err::ok) {
    must_renew_ = true;  // also a removal
    return;
  }
  if (incarnation != incarnation_) return;
  if (r.text == "fenced") return new_identity();
  const presence_entry* e = presence_.find(channel, client);
  if (r.text != "new" || e == nullptr || !e->has_join_leave || !e->is_announced) {
    if (e != nullptr) e->is_announced = true;
    return;
  }
  publish_request join;
  join.channel = channel;
  join.kind = event_kind::join;
  join.info = std::string(presence_info(e));
  (void)relay(
      std::move(join), [](void*, publish_result&&) noexcept {}, nullptr);
}

void redis_broker::presence_remove(const std::string& channel, std::string_view client) noexcept {
  if (is_closed_) return;
  const std::string who(client);
  presence_.remove(channel, who);
  server* s = server_of(channel);
  if (!s->has_commands || identity_.empty()) return;
  const uint32_t p = partition_of(channel);
  op* o = op_new(&redis_broker::added, channel, nullptr);
  o->number = 0;  // of no incarnation: the answer is not looked at
  const std::vector<std::string> keys = {
      partition_key(p, 'p', channel), partition_key(p, 'u', channel),
      partition_key(p, 'n', identity_), partition_key(p, 'v', channel)};
  const std::vector<std::string> arguments = {identity_, who, channel,
                                              presence_.has(channel) ? "0" : "1"};
  if (started(o, call(p, redis_script::leave, keys, arguments, o)) != core::err::ok)
    must_renew_ = true;
}

core::err redis_broker::presence(const std::string& channel, uint32_t limit, presence_cb cb,
                                 void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new(&redis_broker::members_read, channel, user);
  o->on_members = cb;
  o->limit = limit;
  const std::vector<std::string> keys = {key('p', channel)};
  return started(
      o, call(partition_of(channel), redis_script::members, keys, {std::to_string(limit)}, o));
}

void redis_broker::members_read(op* o, core::err rc, const redis_reply& r) noexcept {
  std::vector<member> members;
  for (uint32_t i = 0; rc == core::err::ok && i + 1 < r.count && members.size() < o->limit;
       i += 2) {
    entry_view e;
    if (!read_entry(r.items[i + 1].text, &e)) continue;
    const auto known = leases_.find(std::string(e.identity));
    if (known != leases_.end() && !known->second) continue;  // its node has died
    members.push_back({std::string(r.items[i].text), std::string(e.user), std::string(e.info)});
  }
  const presence_cb cb = o->on_members;
  void* user = o->user;
  op_free(o);
  cb(user, rc, members);
}

core::err redis_broker::presence_stats(const std::string& channel, counts_cb cb,
                                       void* user) noexcept {
  if (is_closed_) return core::err::closed;
  op* o = op_new(&redis_broker::counts_read, channel, user);
  o->on_counts = cb;
  const std::vector<std::string> keys = {key('p', channel), key('u', channel), key('v', channel)};
  return started(o, call(partition_of(channel), redis_script::counts, keys, {}, o));
}

void redis_broker::counts_read(op* o, core::err rc, const redis_reply& r) noexcept {
  presence_counts counts;
  if (rc == core::err::ok && r.count == 3)
    counts = {static_cast<uint32_t>(redis_u64(r.items[0])),
              static_cast<uint32_t>(redis_u64(r.items[1])),
              static_cast<int64_t>(redis_u64(r.items[2]))};
  const counts_cb cb = o->on_counts;
  void* user = o->user;
  op_free(o);
  cb(user, rc, counts);
}

// ---- the lease

bool redis_broker::is_lapsed() const noexcept {
  return !identity_.empty() && core::loop_now_ms(home_) - lease_sent_ms_ > options_.lease_ms;
}

void redis_broker::presence_connected() noexcept {
  new_identity();
}

// Entries under the new name first, in the order of the connection; then the old name ends.
void redis_broker::new_identity() noexcept {
  const std::string old = identity_;
  identity_ = options_.node + "." + std::to_string(core::loop_index(home_)) + "." +
              std::to_string(++incarnation_);
  lease_sent_ms_ = core::loop_now_ms(home_);
  must_renew_ = false;
  refresh_lease();
  std::vector<std::pair<std::string, const presence_entry*>> all;
  presence_.each(
      [&](const std::string& channel, const presence_entry* e) { all.emplace_back(channel, e); });
  for (const auto& [channel, e] : all) add_entry(channel, e);
  if (!old.empty()) tell_server(0, {"ZADD", shared_name("leases"), "0", old});
}

void redis_broker::refresh_lease() noexcept {
  lease_due_ms_ = core::loop_now_ms(home_) + kRetryMs;
  if (!server_at(0)->has_commands || identity_.empty()) return;
  if (must_renew_ || (is_lapsed() && !is_lease_asked_)) return new_identity();
  op* o = op_new(&redis_broker::refreshed, "", nullptr);
  o->nonce = identity_;
  o->held_since_ms = core::loop_now_ms(home_);
  const std::vector<std::string> keys = {shared_name("leases")};
  if (started(o, call(0, redis_script::lease, keys, {identity_, std::to_string(options_.lease_ms)},
                      o)) != core::err::ok)
    return;
  is_lease_asked_ = true;
  lease_due_ms_ = core::loop_now_ms(home_) + options_.lease_ms / 3;
}

void redis_broker::refreshed(op* o, core::err rc, const redis_reply& r) noexcept {
  const uint64_t sent_ms = o->held_since_ms;
  const bool is_ours = o->nonce == identity_;
  op_free(o);
  is_lease_asked_ = false;
  if (rc != core::err::ok || r.count < 2) {
    lease_due_ms_ = core::loop_now_ms(home_) + kRetryMs;
    return;
  }
  const bool is_first = leases_.find(identity_) == leases_.end();
  const uint64_t now = redis_u64(r.items[1]);
  std::vector<std::string> dead;
  leases_.clear();
  for (uint32_t i = 2; i + 1 < r.count; i += 2) {
    const bool is_alive = redis_u64(r.items[i + 1]) > now;
    leases_[std::string(r.items[i].text)] = is_alive;
    if (!is_alive) dead.emplace_back(r.items[i].text);
  }
  if (is_ours) lease_sent_ms_ = sent_ms;
  // The first time it cannot have been there.
  if (is_ours && !is_first && r.items[0].text == "1") new_identity();
  for (const std::string& identity : dead)
    if (identity != identity_) claim(identity);
}

// ---- taking out what a dead member left

void redis_broker::claim(const std::string& identity) noexcept {
  for (const sweep& s : sweeps_)
    if (s.identity == identity) return;
  op* o = op_new(&redis_broker::claimed, identity, nullptr);
  // A sweeper that dies is followed by another one.
  (void)started(o, command(0,
                           {"SET", shared_name("sweep:" + identity), identity_, "NX", "PX",
                            std::to_string(options_.lease_ms)},
                           o));
}

void redis_broker::claimed(op* o, core::err rc, const redis_reply& r) noexcept {
  const std::string identity = std::move(o->channel);
  op_free(o);
  if (rc != core::err::ok || r.type != redis_type::status) return;  // somebody else does it
  sweeps_.push_back({identity, 0});
  if (!is_sweeping_) sweep_on();
}

void redis_broker::sweep_on() noexcept {
  is_sweeping_ = !sweeps_.empty();
  if (sweeps_.empty()) return;
  sweep* now = &sweeps_.front();
  if (now->partition == options_.partitions) {
    tell_server(0, {"ZREM", shared_name("leases"), now->identity});
    core::log_info("a dead member's presence is taken out", {{"identity", now->identity}});
    sweeps_.pop_front();
    return sweep_on();
  }
  op* o = op_new(&redis_broker::swept_list, "", nullptr);
  o->partition = now->partition;
  const std::vector<std::string> keys = {partition_key(now->partition, 'f'),
                                         partition_key(now->partition, 'n', now->identity)};
  if (started(o, call(now->partition, redis_script::sweep_list, keys, {now->identity}, o)) !=
      core::err::ok)
    sweep_fails();
}

// Another one, perhaps we, begins again when the claim has ended.
void redis_broker::sweep_fails() noexcept {
  sweeps_.clear();
  is_sweeping_ = false;
}

void redis_broker::swept_list(op* o, core::err rc, const redis_reply& r) noexcept {
  std::vector<std::string> channels;
  for (uint32_t i = 0; rc == core::err::ok && i < r.count; ++i)
    channels.emplace_back(r.items[i].text);
  const uint32_t partition = o->partition;
  op_free(o);
  if (rc != core::err::ok) return sweep_fails();
  op* next = op_new(&redis_broker::swept, "", nullptr);
  next->channels = std::move(channels);
  next->partition = partition;
  next->number = 0;
  sweep_channel(next);
}

// The last one of o->channels, from the cursor on.
void redis_broker::sweep_channel(op* o) noexcept {
  if (o->channels.empty() || sweeps_.empty()) {
    op_free(o);
    if (sweeps_.empty()) return;
    ++sweeps_.front().partition;
    return sweep_on();
  }
  const std::string& channel = o->channels.back();
  const std::string& identity = sweeps_.front().identity;
  const std::vector<std::string> keys = {
      partition_key(o->partition, 'p', channel), partition_key(o->partition, 'u', channel),
      partition_key(o->partition, 'n', identity), partition_key(o->partition, 'v', channel)};
  if (started(o, call(o->partition, redis_script::sweep, keys,
                      {identity, std::to_string(o->number), channel}, o)) != core::err::ok)
    sweep_fails();
}

void redis_broker::swept(op* o, core::err rc, const redis_reply& r) noexcept {
  if (rc != core::err::ok || r.count == 0) {
    op_free(o);
    return sweep_fails();
  }
  for (uint32_t i = 1; i + 1 < r.count; i += 2) {
    entry_view e;
    if (!read_entry(r.items[i + 1].text, &e) || !e.has_join_leave) continue;
    publish_request leave;
    leave.channel = o->channels.back();
    leave.kind = event_kind::leave;
    leave.info = std::string(e.info);
    (void)relay(
        std::move(leave), [](void*, publish_result&&) noexcept {}, nullptr);
  }
  o->number = redis_u64(r.items[0]);
  if (o->number == 0) o->channels.pop_back();
  sweep_channel(o);
}

}  // namespace broker
