// Slots of Redis Cluster: the hash, the map, redirections.
#include "broker/redis_slots.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/assert.h"

namespace broker {
namespace {

constexpr std::array<uint16_t, 256> kCrcTable = [] {
  std::array<uint16_t, 256> t{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte << 8;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1;
    t[byte] = static_cast<uint16_t>(crc);
  }
  return t;
}();

constexpr size_t kNodesMax = 4096;  // masters of one cluster; Redis' own advice is 1,000 at most

bool read_number(std::string_view text, uint32_t most, uint32_t* out) noexcept {
  const auto [end, rc] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return rc == std::errc() && end == text.data() + text.size() && *out <= most;
}

// "host:port", "[v6]:port", "v6:port" (as Redis writes it), ":port".
bool read_address(std::string_view text, const redis_endpoint& asked, redis_endpoint* out) {
  const size_t colon = text.rfind(':');
  uint32_t port = 0;
  if (colon == text.npos || !read_number(text.substr(colon + 1), 65535, &port) || port == 0)
    return false;
  std::string_view host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  *out = {host.empty() || host == "?" ? asked.host : std::string(host), static_cast<uint16_t>(port),
          ""};
  return true;
}

uint16_t node_index(redis_slot_map* m, const redis_endpoint& e) {
  const auto at = std::find(m->nodes.begin(), m->nodes.end(), e);
  if (at == m->nodes.end()) {
    m->nodes.push_back(e);
    return static_cast<uint16_t>(m->nodes.size() - 1);
  }
  return static_cast<uint16_t>(at - m->nodes.begin());
}

void clear(redis_slot_map* m) {
  m->nodes.clear();
  m->owner.assign(kRedisSlots, redis_slot_map::kNoOwner);
  m->slots_owned = 0;
}

void own(redis_slot_map* m, uint16_t slot, uint16_t node) noexcept {
  if (m->owner[slot] == redis_slot_map::kNoOwner) ++m->slots_owned;
  m->owner[slot] = node;
}

// [first slot, last slot, [address, port, id, …], replicas …]
bool read_range(const redis_reply& range, const redis_endpoint& asked, redis_slot_map* m) {
  if (range.type != redis_type::array || range.count < 3) return false;
  const redis_reply& first = range.items[0];
  const redis_reply& last = range.items[1];
  const redis_reply& master = range.items[2];
  const bool is_range = first.type == redis_type::integer && last.type == redis_type::integer &&
                        first.integer >= 0 && first.integer <= last.integer &&
                        last.integer < kRedisSlots;
  if (!is_range || master.type != redis_type::array || master.count < 2) return false;
  const redis_reply& host = master.items[0];
  const redis_reply& port = master.items[1];
  if (host.type != redis_type::string && host.type != redis_type::nil) return false;
  if (port.type != redis_type::integer || port.integer < 1 || port.integer > 65535) return false;
  const bool is_own = host.text.empty() || host.text == "?";
  const redis_endpoint e{is_own ? asked.host : std::string(host.text),
                         static_cast<uint16_t>(port.integer), ""};
  const uint16_t node = node_index(m, e);
  if (m->nodes.size() > kNodesMax) return false;
  for (int64_t slot = first.integer; slot <= last.integer; ++slot)
    own(m, static_cast<uint16_t>(slot), node);
  return true;
}

}  // namespace

uint16_t redis_crc16(std::string_view bytes) noexcept {
  uint32_t crc = 0;
  for (const char c : bytes)
    crc = (crc << 8 ^ kCrcTable[(crc >> 8 ^ static_cast<unsigned char>(c)) & 0xFF]) & 0xFFFF;
  return static_cast<uint16_t>(crc);
}

uint16_t redis_slot(std::string_view key) noexcept {
  const size_t open = key.find('{');
  if (open != key.npos) {
    const size_t close = key.find('}', open + 1);
    if (close != key.npos && close != open + 1) key = key.substr(open + 1, close - open - 1);
  }
  return redis_crc16(key) % kRedisSlots;
}

std::vector<std::string> redis_partition_tags(uint32_t partitions) {
  CORE_ASSERT(partitions > 0 && partitions <= kRedisSlots);
  std::vector<std::string> tags(partitions);
  uint32_t missing = partitions;
  for (uint32_t n = 0; missing > 0; ++n) {
    std::string tag = std::to_string(n);
    std::string& place = tags[uint64_t{redis_slot(tag)} * partitions / kRedisSlots];
    if (!place.empty()) continue;
    place = std::move(tag);
    --missing;
  }
  return tags;
}

core::err redis_slot_map_read(const redis_reply& r, const redis_endpoint& asked,
                              redis_slot_map* out) {
  if (r.type != redis_type::array) return core::err::malformed;
  redis_slot_map m;
  clear(&m);
  for (uint32_t i = 0; i < r.count; ++i)
    if (!read_range(r.items[i], asked, &m)) return core::err::malformed;
  *out = std::move(m);
  return core::err::ok;
}

// "ID HOST:PORT@BUS[,NAME] FLAGS MASTER PING PONG EPOCH LINK [SLOTS …]" a line
void redis_slot_map_add_masters(redis_slot_map* m, std::string_view nodes,
                                const redis_endpoint& asked) {
  constexpr size_t kFields = 8;
  while (!nodes.empty()) {
    const size_t end = std::min(nodes.find('\n'), nodes.size());
    std::string_view line = nodes.substr(0, end);
    nodes.remove_prefix(std::min(end + 1, nodes.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    std::vector<std::string_view> fields;
    while (!line.empty() && fields.size() <= kFields) {
      const size_t blank = std::min(line.find(' '), line.size());
      fields.push_back(line.substr(0, blank));
      line.remove_prefix(std::min(blank + 1, line.size()));
    }
    if (fields.size() != kFields) continue;
    const std::string_view flags = fields[2];
    if (flags != "master" && flags != "myself,master") continue;  // failing, or not known yet
    redis_endpoint e;
    if (m->nodes.size() < kNodesMax &&
        read_address(fields[1].substr(0, fields[1].find('@')), asked, &e))
      (void)node_index(m, e);
  }
}

const redis_endpoint* redis_slot_owner(const redis_slot_map& m, uint16_t slot) noexcept {
  if (slot >= m.owner.size() || m.owner[slot] == redis_slot_map::kNoOwner) return nullptr;
  return &m.nodes[m.owner[slot]];
}

void redis_slot_map_set(redis_slot_map* m, uint16_t slot, const redis_endpoint& to) {
  CORE_ASSERT(slot < kRedisSlots);
  if (m->owner.empty()) clear(m);
  if (m->nodes.size() >= kNodesMax)
    clear(m);  // redirections all over: the next CLUSTER SLOTS tells
  own(m, slot, node_index(m, to));
}

redis_redirect redis_redirect_read(std::string_view error, const redis_endpoint& asked) {
  redis_redirect r;
  redis_redirect_kind kind;
  if (error.starts_with("MOVED ")) {
    kind = redis_redirect_kind::moved;
    error.remove_prefix(6);
  } else if (error.starts_with("ASK ")) {
    kind = redis_redirect_kind::ask;
    error.remove_prefix(4);
  } else {
    return r;
  }
  const size_t blank = error.find(' ');
  uint32_t slot = 0;
  if (blank == error.npos || !read_number(error.substr(0, blank), kRedisSlots - 1, &slot)) return r;
  if (!read_address(error.substr(blank + 1), asked, &r.to)) return r;
  r.kind = kind;
  r.slot = static_cast<uint16_t>(slot);
  return r;
}

}  // namespace broker
