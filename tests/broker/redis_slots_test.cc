// Slots of Redis Cluster against known values, maps, redirections, and how evenly partitions
// spread.
#include "broker/redis_slots.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace broker {
namespace {

const redis_endpoint kAsked{"10.0.0.9", 7000, ""};

// The check value of CRC-16/XMODEM, and slots as CLUSTER KEYSLOT tells them (redis_server_slots in
// redis_conn_test.cc asks a server).
TEST(redis_slots, known_vectors) {
  EXPECT_EQ(redis_crc16("123456789"), 0x31C3);
  EXPECT_EQ(redis_crc16(""), 0);
  EXPECT_EQ(redis_slot("foo"), 12182);
  EXPECT_EQ(redis_slot("bar"), 5061);
  EXPECT_EQ(redis_slot("somekey"), 11058);
}

TEST(redis_slots, hash_tags) {
  EXPECT_EQ(redis_slot("{foo}.bar"), redis_slot("foo"));
  EXPECT_EQ(redis_slot("a{foo}b{bar}"), redis_slot("foo"));
  EXPECT_EQ(redis_slot("foo{{bar}}"), redis_slot("{bar"));
  EXPECT_EQ(redis_slot("foo{}{bar}"), redis_crc16("foo{}{bar}") % kRedisSlots)
      << "an empty tag is none";
  EXPECT_EQ(redis_slot("foo{bar"), redis_crc16("foo{bar") % kRedisSlots);
  EXPECT_EQ(redis_slot("foo}{bar}"), redis_slot("bar"));
}

TEST(redis_slots, partition_tags_lie_in_their_ranges) {
  for (const uint32_t n : {1u, 2u, 3u, 100u, 128u, 1024u}) {
    const auto tags = redis_partition_tags(n);
    ASSERT_EQ(tags.size(), n);
    EXPECT_EQ(std::set<std::string>(tags.begin(), tags.end()).size(), n);
    for (uint32_t p = 0; p < n; ++p) {
      EXPECT_EQ(uint64_t{redis_slot("x{" + tags[p] + "}")} * n / kRedisSlots, p);
      EXPECT_LE(tags[p].size(), 6u);
    }
  }
}

// Keys depend on them: a change of the algorithm loses data.
TEST(redis_slots, partition_tags_never_change) {
  const auto tags = redis_partition_tags(128);
  std::string first;
  for (size_t i = 0; i < 4; ++i) first += tags[i] + " ";
  EXPECT_EQ(first, "14 10 100 18 ");
}

TEST(redis_slots, partitions_divide_like_slots) {
  const auto tags = redis_partition_tags(128);
  for (uint32_t nodes : {3u, 5u, 6u, 7u}) {
    std::vector<uint32_t> of(nodes);
    for (const std::string& t : tags) ++of[redis_slot(t) * nodes / kRedisSlots];
    const auto [least, most] = std::minmax_element(of.begin(), of.end());
    EXPECT_LE(*most - *least, 2u) << nodes;
  }
}

// Replies built by hand: nodes keep their children alive.
struct made {
  std::vector<std::unique_ptr<std::vector<redis_reply>>> kept;
  static redis_reply text(std::string_view t) {
    redis_reply r;
    r.type = redis_type::string;
    r.text = t;
    return r;
  }
  static redis_reply number(int64_t n) {
    redis_reply r;
    r.type = redis_type::integer;
    r.integer = n;
    return r;
  }
  redis_reply array(std::vector<redis_reply> items) {
    kept.push_back(std::make_unique<std::vector<redis_reply>>(std::move(items)));
    redis_reply r;
    r.type = redis_type::array;
    r.items = kept.back()->data();
    r.count = static_cast<uint32_t>(kept.back()->size());
    return r;
  }
  redis_reply range(int64_t first, int64_t last, std::string_view host, int64_t port) {
    return array({number(first), number(last),
                  array({text(host), number(port), text("id"), array({})}),
                  array({text("replica"), number(1), text("id")})});
  }
};

TEST(redis_slots, reads_the_map) {
  made m;
  redis_slot_map map;
  EXPECT_EQ(redis_slot_owner(map, 0), nullptr);
  ASSERT_EQ(
      redis_slot_map_read(m.array({m.range(0, 5460, "a", 1), m.range(5461, 10922, "", 2),
                                   m.range(10923, 16382, "?", 3), m.range(16383, 16383, "a", 1)}),
                          kAsked, &map),
      core::err::ok);
  EXPECT_EQ(map.nodes.size(), 3u);
  EXPECT_EQ(map.slots_owned, kRedisSlots);
  EXPECT_EQ(redis_endpoint_text(*redis_slot_owner(map, 0)), "a:1");
  EXPECT_EQ(redis_endpoint_text(*redis_slot_owner(map, 5460)), "a:1");
  EXPECT_EQ(redis_endpoint_text(*redis_slot_owner(map, 5461)), "10.0.0.9:2");
  EXPECT_EQ(redis_endpoint_text(*redis_slot_owner(map, 16382)), "10.0.0.9:3");
  EXPECT_EQ(redis_endpoint_text(*redis_slot_owner(map, 16383)), "a:1");

  redis_slot_map_set(&map, 5461, {"b", 9, ""});
  EXPECT_EQ(redis_endpoint_text(*redis_slot_owner(map, 5461)), "b:9");
  EXPECT_EQ(map.nodes.size(), 4u);
  EXPECT_EQ(map.slots_owned, kRedisSlots);

  ASSERT_EQ(redis_slot_map_read(m.array({m.range(0, 9, "a", 1)}), kAsked, &map), core::err::ok);
  EXPECT_EQ(map.slots_owned, 10u);
  EXPECT_EQ(redis_slot_owner(map, 10), nullptr);
}

// As Redis 7 writes them: with and without name, replica, failing, in handshake, with slots, new.
TEST(redis_slots, adds_masters_without_slots) {
  redis_slot_map map;
  redis_slot_map_set(&map, 3, {"10.0.0.1", 7000, ""});
  redis_slot_map_add_masters(&map,
                             "a 10.0.0.1:7000@17000 master - 0 0 1 connected 0-5460\n"
                             "b 10.0.0.2:7001@17001,host2 myself,master - 0 0 2 connected\r\n"
                             "c 10.0.0.3:7002@17002,,shard-id=x slave a 0 0 1 connected\n"
                             "d 10.0.0.4:7003@17003 master,fail - 0 0 4 disconnected\n"
                             "e 10.0.0.5:7004@17004 handshake - 0 0 0 connected\n"
                             "f 10.0.0.6:7005@17005 master - 0 0 5 connected [77->-a]\n"
                             "g :7006@17006 master - 0 0 6 connected\n"
                             "h :0@0 master - 0 0 6 connected\n"
                             "i 10.0.0.7:x@1 master - 0 0 6 connected\n"
                             "\n"
                             "master - 0\n"
                             "j 10.0.0.1:7000@17000 master - 0 0 6 connected",
                             kAsked);
  std::string all;
  for (const redis_endpoint& e : map.nodes) all += redis_endpoint_text(e) + " ";
  EXPECT_EQ(all, "10.0.0.1:7000 10.0.0.2:7001 10.0.0.9:7006 ");
  EXPECT_EQ(map.slots_owned, 1u);
}

TEST(redis_slots, a_wrong_map_changes_nothing) {
  made m;
  const redis_reply bad[] = {
      made::text("OK"),
      m.array({made::number(1)}),
      m.array({m.array({made::number(0), made::number(1)})}),
      m.array({m.range(-1, 5, "a", 1)}),
      m.array({m.range(6, 5, "a", 1)}),
      m.array({m.range(0, 16384, "a", 1)}),
      m.array({m.range(0, 1, "a", 0)}),
      m.array({m.range(0, 1, "a", 65536)}),
      m.array({m.array(
          {made::text("0"), made::number(1), m.array({made::text("a"), made::number(1)})})}),
      m.array({m.array({made::number(0), made::number(1), m.array({made::text("a")})})}),
      m.array({m.array(
          {made::number(0), made::number(1), m.array({made::number(1), made::number(1)})})}),
  };
  redis_slot_map map;
  redis_slot_map_set(&map, 3, {"a", 1, ""});
  for (const redis_reply& r : bad)
    EXPECT_EQ(redis_slot_map_read(r, kAsked, &map), core::err::malformed);
  EXPECT_EQ(map.slots_owned, 1u);
  EXPECT_EQ(redis_endpoint_text(*redis_slot_owner(map, 3)), "a:1");
}

TEST(redis_slots, redirections) {
  redis_redirect r = redis_redirect_read("MOVED 3999 127.0.0.1:6381", kAsked);
  EXPECT_EQ(r.kind, redis_redirect_kind::moved);
  EXPECT_EQ(r.slot, 3999);
  EXPECT_EQ(redis_endpoint_text(r.to), "127.0.0.1:6381");
  r = redis_redirect_read("ASK 0 ::1:6381", kAsked);
  EXPECT_EQ(r.kind, redis_redirect_kind::ask);
  EXPECT_EQ(redis_endpoint_text(r.to), "[::1]:6381");
  EXPECT_EQ(redis_endpoint_text(redis_redirect_read("ASK 1 [::1]:1", kAsked).to), "[::1]:1");
  EXPECT_EQ(redis_endpoint_text(redis_redirect_read("MOVED 16383 :6381", kAsked).to),
            "10.0.0.9:6381");
  for (const char* text : {"", "ERR x", "MOVED", "MOVED ", "MOVED 1", "MOVED 1 ", "MOVED 1 h",
                           "MOVED 1 h:", "MOVED 1 h:0", "MOVED 1 h:65536", "MOVED 16384 h:1",
                           "MOVED -1 h:1", "MOVED x h:1", "moved 1 h:1", "ASK 1 h:1x"})
    EXPECT_EQ(redis_redirect_read(text, kAsked).kind, redis_redirect_kind::none) << text;
}

}  // namespace
}  // namespace broker
