// Replies of a Redis server (RESP2) as flat trees, and the reader that cuts them out of a stream.
// hiredis' reader stands behind it; one that is used again and again allocates nothing any more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"

namespace broker {

enum class redis_kind : uint8_t { text, status, error, integer, nil, array };

// In the order of the text: an array stands before its elements.
struct redis_node {
  redis_kind kind = redis_kind::nil;
  int64_t integer = 0;
  uint32_t text_at = 0, text_bytes = 0;  // in redis_tree::bytes
  uint32_t count = 0;                    // elements of an array
  uint32_t nodes = 1;                    // this one and all below it
};

struct redis_tree {
  std::vector<redis_node> nodes;
  std::string bytes;
};

// A node of a tree that outlives it. Asking for what is not there answers nil, "" or 0: what a
// server says is checked by looking.
class redis_reply {
 public:
  redis_reply() = default;
  redis_reply(const redis_tree* tree, uint32_t at) : tree_(tree), at_(at) {}
  redis_kind kind() const noexcept { return tree_ == nullptr ? redis_kind::nil : node().kind; }
  bool is(redis_kind k) const noexcept { return kind() == k; }
  bool is_error(std::string_view code) const noexcept;  // "-MOVED …": "MOVED"
  std::string_view text() const noexcept;               // text, status, error
  int64_t integer() const noexcept;                     // integer, or text of digits; else 0
  uint32_t size() const noexcept { return is(redis_kind::array) ? node().count : 0; }
  redis_reply operator[](uint32_t index) const noexcept;  // walks over those before it
  // For loops over large arrays: the first element, and the one behind this one.
  redis_reply first() const noexcept;
  redis_reply next() const noexcept;

 private:
  const redis_node& node() const noexcept { return tree_->nodes[at_]; }
  const redis_tree* tree_ = nullptr;
  uint32_t at_ = 0;
};

struct redis_reader;
redis_reader* redis_reader_new() noexcept;
void redis_reader_free(redis_reader* r) noexcept;

// One reply with all that it holds, and what waits unread behind it; beyond it the stream is
// refused as too_big. A page of history is below 1 MiB.
inline constexpr uint32_t kRedisReplyBytesMax = 64u << 20;

// Copies the bytes. malformed, too_big: the stream is broken, nothing more will come.
core::err redis_reader_feed(redis_reader* r, std::string_view bytes) noexcept;
// ok: *out is the next whole reply, valid until the next call. again: it has not arrived yet.
// malformed.
core::err redis_reader_next(redis_reader* r, redis_reply* out) noexcept;

}  // namespace broker
