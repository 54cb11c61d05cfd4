// Lua for Redis 7 and Valkey. Numbers are doubles there: offsets stay below 2^53.
#include "broker/redis_script.h"

namespace broker {
namespace {

constexpr char kPrelude[] = R"(
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function text(n) return string.format('%.0f', n) end
local g = redis.call('HMGET', KEYS[1], 'run', 'repl', 'epoch', 'base')
if g[1] ~= ARGV[1] or g[2] ~= ARGV[2] then
  local info = redis.call('INFO', 'server') .. redis.call('INFO', 'replication')
  if not string.find(info, 'run_id:' .. ARGV[1], 1, true) or not string.find(info, 'master_replid:' .. ARGV[2], 1, true) then
    return redis.error_reply('STALE the server is not what it was at the handshake')
  end
  if g[1] and redis.call('HEXISTS', KEYS[1], 'peer:' .. ARGV[1] .. ':' .. ARGV[2]) == 1 then
    redis.call('HSET', KEYS[1], 'run', ARGV[1], 'repl', ARGV[2])
  else
    local base = now * 16
    if not g[1] and ARGV[4] ~= '' then base = tonumber(ARGV[4]) end
    if g[4] then base = math.max(base, g[4] + 1048576) end
    g = {ARGV[1], ARGV[2], ARGV[3], text(base)}
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'run', g[1], 'repl', g[2], 'epoch', g[3], 'base', g[4])
  end
end
local function position(key)
  local m = redis.call('HMGET', key, 'top', 'epoch', 'floor')
  if not m[1] then return tonumber(g[4]), m end
  if m[2] ~= g[3] then return math.max(tonumber(g[4]), m[1] + 1048576), m end
  return tonumber(m[1]), m
end
local function author(env)
  local n = struct.unpack('<I2', env, 3)
  return string.sub(env, 108, 107 + n), 107 + n
end
local function time_of(env) return tonumber(string.sub(env, 79, 91)) end
local function refers_of(env) return (struct.unpack('<I4', env, 45)) end
)";

constexpr char kPublish[] = R"(
local command, channel, head, nonce, user, push = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local offset_at, time_at, size_max, ttl = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local hash, key_ttl, refers, is_delete = ARGV[15], ARGV[16], tonumber(ARGV[17]), ARGV[18] == '1'
local meta, stream, blanked, edits, key = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
if key then
  local k = redis.call('GET', key)
  if k then
    if string.sub(k, 38) ~= hash then return {'conflict', '0', '0', '', '0'} end
    local offset, epoch, first = tonumber(string.sub(k, 1, 16)), string.sub(k, 30, 37), '0'
    if epoch == g[3] and offset == g[4] + 1 then first = '1' end
    return {'duplicate', text(offset), text(tonumber(string.sub(k, 17, 29))), epoch, first}
  end
end
local function find(offset)
  local id = text(offset) .. '-0'
  local found = redis.call('XRANGE', stream, id, id)
  if found[1] then return found[1][2][2], true end
  return redis.call('HGET', blanked, text(offset)), false
end
local function blank(offset)
  local env, is_in_stream = find(offset)
  if not env or not is_in_stream then return end
  local a, o_at, t_at, ob_at, ob, d_at, d, i_at, i, g_at, g_b = struct.unpack('<I2I4I4I4I4I4I4I4I4I4I4', env, 3)
  local less = d - 4
  local function moved(at) if at == 0 then return 0 end return at - less end
  local text_at = 107 + a
  env = string.sub(env, 1, 2) ..
    struct.pack('<I2I4I4I4I4I4I4I4I4I4I4', a, moved(o_at), moved(t_at), ob_at, ob - less, d_at, 4, moved(i_at), i, moved(g_at), g_b) ..
    string.sub(env, 45, text_at + d_at) .. 'null' .. string.sub(env, text_at + d_at + d + 1)
  redis.call('XDEL', stream, text(offset) .. '-0')
  redis.call('HSET', blanked, text(offset), env)
end
if refers > 0 then
  local env = find(refers)
  if not env or refers_of(env) > 0 or (ttl > 0 and time_of(env) <= now - ttl) then return {'not_found', '0', '0', '', '0'} end
  if user == '' or author(env) ~= user then return {'denied', '0', '0', '', '0'} end
  if is_delete then
    blank(refers)
    local all = redis.call('HGETALL', edits)
    for n = 1, #all, 2 do
      if tonumber(all[n + 1]) == refers then blank(tonumber(all[n])) end
    end
  end
end
local top, known = position(meta)
local offset = top + 1
local off, at = text(offset), text(now)
local whole = string.sub(push, 1, offset_at) .. off
if time_at > 0 then
  whole = whole .. string.sub(push, offset_at + 1, time_at) .. at .. string.sub(push, time_at + 1)
else
  whole = whole .. string.sub(push, offset_at + 1)
end
local env = head .. g[3] .. string.format('%016.0f', offset) .. string.format('%013.0f', now) .. nonce .. user .. whole
if size_max > 0 then
  redis.call('XADD', stream, 'MAXLEN', size_max, off .. '-0', 'e', env)
else
  redis.call('XADD', stream, off .. '-0', 'e', env)
end
if known[2] == g[3] then
  redis.call('HSET', meta, 'top', off)
else
  redis.call('HSET', meta, 'top', off, 'epoch', g[3], 'floor', text(top))
end
if refers > 0 then redis.call('HSET', edits, off, text(refers)) end
if ttl > 0 then
  for n = 1, 16 do
    local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if not oldest or time_of(oldest[2][2]) > now - ttl then break end
    redis.call('XDEL', stream, oldest[1])
  end
  redis.call('PEXPIRE', stream, ttl)
  redis.call('PEXPIRE', blanked, ttl)
  redis.call('PEXPIRE', edits, ttl)
end
if refers > 0 then
  local all = redis.call('HGETALL', blanked)
  for n = 1, #all, 2 do
    if (size_max > 0 and tonumber(all[n]) <= offset - size_max) or (ttl > 0 and time_of(all[n + 1]) <= now - ttl) then
      redis.call('HDEL', blanked, all[n])
    end
  end
  for _, field in ipairs(redis.call('HKEYS', edits)) do
    if size_max > 0 and tonumber(field) <= offset - size_max then redis.call('HDEL', edits, field) end
  end
end
if key then
  redis.call('SET', key, string.format('%016.0f', offset) .. string.format('%013.0f', now) .. g[3] .. hash, 'PX', key_ttl)
end
redis.call(command, channel, env)
local first = '0'
if not known[1] then first = '1' end
return {'ok', off, at, g[3], first}
)";

// `low`: the oldest offset that counts as history.
constexpr char kRead[] = R"(
local since, is_reverse, limit, bytes_max = tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[8])
local size_max, ttl = tonumber(ARGV[9]), tonumber(ARGV[10])
local stream, blanked = KEYS[3], KEYS[4]
local out = {text(position(KEYS[2])), g[3], '0'}
if limit == 0 then return out end
local function offset_of(id) return tonumber(string.match(id, '^%d+')) end
local low = 1
if size_max > 0 and redis.call('XLEN', stream) > size_max then
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', size_max)
  low = offset_of(newest[#newest][1])
end
if ttl > 0 then
  local from, is_found = text(low), false
  repeat
    local page = redis.call('XRANGE', stream, from, '+', 'COUNT', 64)
    for _, e in ipairs(page) do
      low = offset_of(e[1])
      if time_of(e[2][2]) > now - ttl then is_found = true break end
      low = low + 1
    end
    from = text(low)
  until is_found or #page < 64
end
local from, to = low, '+'
if is_reverse then
  if since > 0 then to = text(since - 1) end
elseif since + 1 > low then
  from = since + 1
end
if to ~= '+' and tonumber(to) < from then return out end
local found = {}
local page
if is_reverse then
  page = redis.call('XREVRANGE', stream, to, text(from), 'COUNT', limit)
else
  page = redis.call('XRANGE', stream, text(from), to, 'COUNT', limit)
end
for _, e in ipairs(page) do found[#found + 1] = {offset_of(e[1]), e[2][2]} end
if redis.call('HLEN', blanked) > 0 then
  local all = redis.call('HGETALL', blanked)
  for n = 1, #all, 2 do
    local o = tonumber(all[n])
    if o >= from and (to == '+' or o <= tonumber(to)) then found[#found + 1] = {o, all[n + 1]} end
  end
  table.sort(found, function(a, b) if is_reverse then return a[1] > b[1] end return a[1] < b[1] end)
end
local bytes = 0
for n, e in ipairs(found) do
  if n > limit then break end
  local _, _, _, _, _, _, d, _, i, _, tags = struct.unpack('<I2I4I4I4I4I4I4I4I4I4I4', e[2], 3)
  bytes = bytes + d + i + tags
  if n > 1 and bytes_max > 0 and bytes > bytes_max then out[3] = '1' break end
  out[#out + 1] = e[2]
end
return out
)";

constexpr char kPositions[] = R"(
local out = {}
for n = 2, #KEYS do
  out[#out + 1] = text(position(KEYS[n]))
  out[#out + 1] = g[3]
end
return out
)";

// Offsets run without holes from the floor on; older ones only the stream can count.
constexpr char kEnd[] = R"(
local top, known = position(KEYS[2])
local marker, floor, older = tonumber(ARGV[5]), top, 0
if known[2] == g[3] then floor = tonumber(known[3]) end
if marker < floor then
  older = #redis.call('XRANGE', KEYS[3], text(marker + 1), text(floor), 'COUNT', 1000)
end
local out = {text(top), g[3], text(math.max(top - math.max(marker, floor), 0) + older)}
local newest = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
if newest then out[4] = newest[2][2] end
return out
)";

constexpr char kRemove[] = R"(
redis.call('DEL', KEYS[3], KEYS[4], KEYS[5])
redis.call(ARGV[5], ARGV[6], ARGV[7])
return 'ok'
)";

// An entry: length of the identity (1 byte), identity, '1' or '0' (its leave is published), length
// of the user (2 bytes), user, info.
constexpr char kEntries[] = R"(
local function owner_of(v) return string.sub(v, 2, 1 + string.byte(v, 1)) end
local function user_of(v)
  local n = string.byte(v, 1)
  return string.sub(v, 5 + n, 4 + n + (struct.unpack('<I2', v, 3 + n)))
end
local function user_leaves(key, user)
  if redis.call('HINCRBY', key, user, -1) <= 0 then redis.call('HDEL', key, user) end
end
local function note_left(members, key, channel)
  if string.sub(channel, 1, 1) ~= '#' or redis.call('EXISTS', members) == 1 then return end
  local t = redis.call('TIME')
  redis.call('SET', key, string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), 'PX', 2592000000)
end
)";

constexpr char kEnter[] = R"(
if redis.call('SISMEMBER', KEYS[4], ARGV[1]) == 1 then return 'fenced' end
local old = redis.call('HGET', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('SADD', KEYS[3], ARGV[4])
if old then
  if user_of(old) == user_of(ARGV[3]) then return 'known' end
  user_leaves(KEYS[2], user_of(old))
end
redis.call('HINCRBY', KEYS[2], user_of(ARGV[3]), 1)
if old then return 'known' end
return 'new'
)";

constexpr char kLeave[] = R"(
if ARGV[4] == '1' then redis.call('SREM', KEYS[3], ARGV[3]) end
local old = redis.call('HGET', KEYS[1], ARGV[2])
if not old or owner_of(old) ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[2])
user_leaves(KEYS[2], user_of(old))
note_left(KEYS[1], KEYS[4], ARGV[3])
return 1
)";

constexpr char kMembers[] = R"(
local limit = tonumber(ARGV[1])
if redis.call('HLEN', KEYS[1]) <= limit then return redis.call('HGETALL', KEYS[1]) end
local out, cursor = {}, '0'
repeat
  local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 500)
  cursor = page[1]
  for _, v in ipairs(page[2]) do out[#out + 1] = v end
until cursor == '0' or #out >= 2 * limit
return out
)";

constexpr char kCounts[] = R"(
local clients = redis.call('HLEN', KEYS[1])
return {clients, redis.call('HLEN', KEYS[2]), clients == 0 and redis.call('GET', KEYS[3]) or '0'}
)";

constexpr char kLease[] = R"(
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
local out = {'0', string.format('%.0f', now)}
if not ends or tonumber(ends) < now then out[1] = '1' end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
for _, v in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do out[#out + 1] = v end
return out
)";

constexpr char kSweepList[] = R"(
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], 86400000)
return redis.call('SMEMBERS', KEYS[2])
)";

constexpr char kSweep[] = R"(
local page = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', 500)
local out = {page[1]}
for n = 1, #page[2], 2 do
  local client, v = page[2][n], page[2][n + 1]
  if owner_of(v) == ARGV[1] and redis.call('HDEL', KEYS[1], client) == 1 then
    user_leaves(KEYS[2], user_of(v))
    out[#out + 1] = client
    out[#out + 1] = v
  end
end
if #out > 1 then note_left(KEYS[1], KEYS[4], ARGV[3]) end
if page[1] == '0' then redis.call('SREM', KEYS[3], ARGV[3]) end
return out
)";

// Those that are gone go when there are too many.
constexpr char kPeers[] = R"(
local known = {}
for n = 5, #ARGV do
  known['peer:' .. ARGV[n]] = true
  redis.call('HSET', KEYS[1], 'peer:' .. ARGV[n], '')
end
if redis.call('HLEN', KEYS[1]) > 256 + #ARGV then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 5) == 'peer:' and not known[field] then redis.call('HDEL', KEYS[1], field) end
  end
end
return 'ok'
)";

constexpr char kListAdd[] = "return redis.call('HSETNX', KEYS[1], ARGV[1], '0')";
constexpr char kListRemove[] = "return redis.call('HDEL', KEYS[1], ARGV[1])";
constexpr char kListMark[] = R"(
local old = redis.call('HGET', KEYS[1], ARGV[1])
if not old or tonumber(old) < tonumber(ARGV[2]) then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
)";
constexpr char kListRead[] = "return redis.call('HGETALL', KEYS[1])";

}  // namespace

bool redis_script_has_generation(redis_script s) noexcept {
  return s <= redis_script::remove || s == redis_script::peers;
}

std::string redis_script_text(redis_script s) {
  switch (s) {
    case redis_script::publish:
      return std::string(kPrelude) + kPublish;
    case redis_script::read:
      return std::string(kPrelude) + kRead;
    case redis_script::positions:
      return std::string(kPrelude) + kPositions;
    case redis_script::end:
      return std::string(kPrelude) + kEnd;
    case redis_script::remove:
      return std::string(kPrelude) + kRemove;
    case redis_script::enter:
      return std::string(kEntries) + kEnter;
    case redis_script::leave:
      return std::string(kEntries) + kLeave;
    case redis_script::members:
      return kMembers;
    case redis_script::counts:
      return kCounts;
    case redis_script::lease:
      return kLease;
    case redis_script::sweep_list:
      return kSweepList;
    case redis_script::sweep:
      return std::string(kEntries) + kSweep;
    case redis_script::list_add:
      return kListAdd;
    case redis_script::list_remove:
      return kListRemove;
    case redis_script::list_mark:
      return kListMark;
    case redis_script::list_read:
      return kListRead;
    case redis_script::peers:
      return std::string(kPrelude) + kPeers;
    case redis_script::kCount:
      break;
  }
  return {};
}

// FNV-1a, 64 bits: part of the layout, never changed.
uint32_t redis_partition(std::string_view channel, uint32_t partitions) noexcept {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : channel) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ull;
  }
  return static_cast<uint32_t>((hash ^ (hash >> 32)) % partitions);
}

std::string redis_key(std::string_view prefix, std::string_view tag, char kind,
                      std::string_view channel) {
  std::string key(prefix);
  key.append(":{").append(tag).append("}:") += kind;
  if (!channel.empty()) key.append(":").append(channel);
  return key;
}

std::string_view redis_channel_of(std::string_view prefix, std::string_view pubsub) noexcept {
  const size_t at = pubsub.find("}:c:", prefix.size());
  if (!pubsub.starts_with(prefix) || at == std::string_view::npos) return {};
  return pubsub.substr(at + 4);
}

}  // namespace broker
