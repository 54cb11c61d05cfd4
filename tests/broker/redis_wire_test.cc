// RESP2: commands byte for byte, replies at every cut, limits, hostile input, allocations.
#include "broker/redis_wire.h"

#include <gtest/gtest.h>
#include <hiredis/hiredis.h>
#include <cstring>
#include <memory>
#include <vector>

#include "malloc_count.h"
#include "redis_text.h"

namespace broker {
namespace {

std::string written(redis_argv argv) {
  std::string out(redis_command_size(argv), '?');
  std::unique_ptr<char[]> exact(new char[out.size()]);  // a write beyond it is ASan's
  redis_command_write(argv, exact.get());
  return std::string(exact.get(), out.size());
}

TEST(redis_wire, commands_are_those_of_hiredis) {
  const std::string binary("\0\r\n$\xff", 5);
  const std::string large(100'000, 'x');
  const std::vector<std::vector<std::string_view>> table = {
      {"PING"},
      {"SET", "k", ""},
      {"SET", binary, large},
      std::vector<std::string_view>(1000, "c123456789")};
  for (const auto& argv : table) {
    std::vector<const char*> at;
    std::vector<size_t> len;
    for (const std::string_view a : argv) {
      at.push_back(a.data());
      len.push_back(a.size());
    }
    char* expected = nullptr;
    const auto n =
        redisFormatCommandArgv(&expected, static_cast<int>(argv.size()), at.data(), len.data());
    ASSERT_GT(n, 0);
    EXPECT_EQ(written(argv), std::string(expected, static_cast<size_t>(n)));
    redisFreeCommand(expected);
  }
}

struct collected {
  std::vector<std::string> replies;
  size_t most = SIZE_MAX;
};

bool collect(void* user, const redis_reply& r) noexcept {
  auto* c = static_cast<collected*>(user);
  c->replies.push_back(redis_text(r));
  return c->replies.size() < c->most;
}

class reader {
 public:
  explicit reader(uint32_t bytes_max = 1 << 20) : r(redis_reader_new(bytes_max)) {}
  ~reader() { redis_reader_free(r); }
  core::err feed(std::string_view bytes) {
    std::unique_ptr<char[]> exact(new char[bytes.size()]);
    memcpy(exact.get(), bytes.data(), bytes.size());
    return redis_reader_feed(r, {exact.get(), bytes.size()}, collect, &got);
  }
  redis_reader* r;
  collected got;
};

const std::string kMixed =
    "+OK\r\n-ERR bad thing\r\n:-42\r\n$5\r\nhe\r\no\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n"
    "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$7\r\npayload\r\n*2\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n*1\r\n*"
    "1\r\n$-1\r\n";
const std::vector<std::string> kMixedReplies = {"+OK",
                                                "-ERR bad thing",
                                                "-42",
                                                "\"he\r\no\"",
                                                "\"\"",
                                                "nil",
                                                "nil",
                                                "[]",
                                                "[\"message\" \"ch\" \"payload\"]",
                                                "[[1 [\"x\"]] [[nil]]]"};

TEST(redis_wire, replies_at_every_cut) {
  for (size_t cut = 0; cut <= kMixed.size(); ++cut) {
    reader r;
    EXPECT_EQ(r.feed(kMixed.substr(0, cut)), core::err::ok);
    EXPECT_EQ(r.feed(kMixed.substr(cut)), core::err::ok);
    EXPECT_EQ(r.got.replies, kMixedReplies) << cut;
  }
  reader bytes;
  for (const char c : kMixed) ASSERT_EQ(bytes.feed({&c, 1}), core::err::ok);
  EXPECT_EQ(bytes.got.replies, kMixedReplies);
}

TEST(redis_wire, error_codes) {
  reader r;
  auto code = [](void* user, const redis_reply& reply) noexcept {
    static_cast<collected*>(user)->replies.emplace_back(reply.error_code());
    return true;
  };
  ASSERT_EQ(redis_reader_feed(r.r, "-MOVED 1 h:2\r\n-LOADING\r\n+MOVED x\r\n", code, &r.got),
            core::err::ok);
  EXPECT_EQ(r.got.replies, (std::vector<std::string>{"MOVED", "LOADING", ""}));
}

// Seven arrays deep whatever the hiredis, so that whoever walks a reply needs a bounded stack.
TEST(redis_wire, depth_at_its_limit_and_beyond) {
  auto nested = [](int depth) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += "*1\r\n";
    return text + ":1\r\n";
  };
  reader most, more;
  EXPECT_EQ(most.feed(nested(7)), core::err::ok);
  EXPECT_EQ(most.got.replies, std::vector<std::string>{"[[[[[[[1]]]]]]]"});
  EXPECT_EQ(more.feed(nested(8)), core::err::malformed);
}

TEST(redis_wire, stops_when_told) {
  reader r;
  r.got.most = 2;
  EXPECT_EQ(r.feed(kMixed), core::err::ok);
  EXPECT_EQ(r.got.replies.size(), 2u);
}

TEST(redis_wire, garbage_is_malformed_for_good) {
  for (const char* text :
       {"HTTP/1.1 400 Bad Request\r\n", "\r\n", "$x\r\n", "$-2\r\n", "*99999999999999999999\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "#t\r\n",
        ",1.5\r\n", "%1\r\n:1\r\n:2\r\n", ">1\r\n:1\r\n", "~1\r\n:1\r\n", "=5\r\ntxt:x\r\n",
        "(1\r\n", "|1\r\n:1\r\n:1\r\n:1\r\n"}) {
    reader r;
    EXPECT_NE(r.feed(text), core::err::ok) << text;
    EXPECT_NE(redis_reader_error(r.r), "") << text;
    EXPECT_NE(r.feed("+OK\r\n"), core::err::ok);
    EXPECT_TRUE(r.got.replies.empty()) << text;
  }
}

std::string bulk(size_t n) {
  return "$" + std::to_string(n) + "\r\n" + std::string(n, 'b') + "\r\n";
}

TEST(redis_wire, a_reply_at_its_limit_and_beyond) {
  constexpr uint32_t kMax = 100'000;
  reader most(kMax), more(kMax);
  const size_t fits = kMax - sizeof(redis_reply) - 16;  // the node, and what alignment may take
  EXPECT_EQ(most.feed(bulk(fits)), core::err::ok);
  ASSERT_EQ(most.got.replies.size(), 1u);
  EXPECT_EQ(most.got.replies[0].size(), fits + 2);
  EXPECT_EQ(most.feed(bulk(fits)), core::err::ok) << "the limit is a reply's, not the connection's";
  EXPECT_EQ(more.feed(bulk(kMax)), core::err::too_big);
  EXPECT_EQ(redis_reader_error(more.r), "a reply of more than 100000 bytes");
  EXPECT_EQ(more.feed("+OK\r\n"), core::err::too_big);
}

TEST(redis_wire, announced_sizes_take_no_memory) {
  reader array(1 << 20), nested(1 << 20), text(1 << 20);
  EXPECT_EQ(array.feed("*2000000000\r\n"), core::err::too_big);
  EXPECT_EQ(nested.feed("*20000\r\n*20000\r\n"), core::err::too_big);
  EXPECT_EQ(text.feed("$2000000000\r\n"), core::err::ok);
  EXPECT_LT(redis_reader_held(text.r), 20'000u);
  core::err rc = core::err::ok;
  for (int i = 0; i < 100 && rc == core::err::ok; ++i) rc = text.feed(std::string(32 * 1024, 'x'));
  EXPECT_EQ(rc, core::err::too_big);
  EXPECT_LT(redis_reader_held(text.r), 2u << 20);
}

TEST(redis_wire, memory_of_a_large_reply_is_given_back) {
  reader r(64 << 20);
  ASSERT_EQ(r.feed(bulk(8 << 20)), core::err::ok);
  ASSERT_EQ(r.feed("+OK\r\n+OK\r\n"), core::err::ok);
  EXPECT_LT(redis_reader_held(r.r), 100'000u);
}

// A Pub/Sub message allocates nothing, once the connection is warm.
TEST(redis_wire, messages_allocate_nothing) {
  if (!malloc_is_counted()) GTEST_SKIP() << "the sanitizer has its own malloc";
  std::string stream;
  for (int i = 0; i < 1000; ++i)
    stream += "*3\r\n$7\r\nmessage\r\n$12\r\nchat:channel\r\n" + bulk(300);
  redis_reader* r = redis_reader_new(1 << 20);
  uint64_t count = 0;
  auto cb = [](void* user, const redis_reply& reply) noexcept {
    *static_cast<uint64_t*>(user) += reply.items[2].text.size();
    return true;
  };
  ASSERT_EQ(redis_reader_feed(r, stream, cb, &count), core::err::ok);
  const uint64_t before = malloc_count();
  ASSERT_GT(before, 0u);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(redis_reader_feed(r, stream, cb, &count), core::err::ok);
  const uint64_t after = malloc_count();
  EXPECT_EQ(count, 101u * 1000 * 300);
  EXPECT_EQ(after - before, 0u);
  redis_reader_free(r);
}

TEST(redis_reply, an_error_is_shown_without_what_it_quotes) {
  redis_reply r;
  r.type = redis_type::error;
  r.text = "ERR unknown command 'XADD', with args beginning with: 'room' 'a secret text' ";
  EXPECT_EQ(r.error_shown(), "ERR unknown command 'XADD'");
  r.text = "OOM command not allowed";
  EXPECT_EQ(r.error_shown(), r.text);
  const std::string at_max(200, 'x'), beyond(201, 'x');
  r.text = at_max;
  EXPECT_EQ(r.error_shown(), at_max);
  r.text = beyond;
  EXPECT_EQ(r.error_shown(), at_max);
}

}  // namespace
}  // namespace broker
