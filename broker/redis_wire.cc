// RESP2 over hiredis' reader. Its object functions build the reply in a block that is used again
// for the next one: the reader keeps what has arrived in a buffer of its own, which moves, so texts
// are copied once.
#include "broker/redis_wire.h"

#include <hiredis/read.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "core/assert.h"

namespace broker {
namespace {

// hiredis moves the rest of its buffer to the front with each reply that has passed 1 KiB: pieces
// keep that move short.
constexpr size_t kFeedBytes = 16 * 1024;
constexpr size_t kIdleBufferBytesMax =
    64 * 1024;                                 // beyond it the reader gives its empty buffer back
constexpr size_t kBlockBytesFirst = 4 * 1024;  // holds the reply of a usual message
constexpr size_t kBlockBytesKept = 64 * 1024;
constexpr size_t kAlign = alignof(std::max_align_t);
constexpr uint32_t kDepthMax = 7;  // arrays in arrays: what hiredis 0.14 takes; 1.x has no limit

}  // namespace

struct redis_reader {
  redisReader* inner = nullptr;
  // Blocks in use for the reply that is being built; blocks[0] stays. Nothing moves while it is
  // built.
  std::vector<std::unique_ptr<char[]>> blocks;
  size_t block_bytes = 0;  // of the last block
  size_t block_used = 0;
  size_t built_bytes = 0;  // of the reply
  size_t bytes_max = 0;
  bool is_too_big = false;
  const char* refused = nullptr;  // why an object function has returned null
  std::string error;
};

namespace {

void block_add(redis_reader* r, size_t bytes) noexcept {
  r->blocks.push_back(std::make_unique_for_overwrite<char[]>(bytes));
  r->block_bytes = bytes;
  r->block_used = 0;
}

// nullptr: the reply is too big, and hiredis will call it out of memory.
char* take(redis_reader* r, size_t bytes) noexcept {
  if (bytes > r->bytes_max - r->built_bytes) {
    r->is_too_big = true;
    return nullptr;
  }
  bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  r->built_bytes = std::min(r->built_bytes + bytes, r->bytes_max);
  if (bytes > r->block_bytes - r->block_used) block_add(r, std::max(bytes, r->block_bytes * 2));
  char* at = r->blocks.back().get() + r->block_used;
  r->block_used += bytes;
  return at;
}

void take_begin(redis_reader* r) noexcept {
  if (r->blocks.size() > 1) {
    const bool is_kept = r->block_bytes <= kBlockBytesKept;
    std::unique_ptr<char[]> last = std::move(r->blocks.back());
    const size_t bytes = r->block_bytes;
    r->blocks.clear();
    if (is_kept) {
      r->blocks.push_back(std::move(last));
      r->block_bytes = bytes;
    } else {
      block_add(r, kBlockBytesFirst);
    }
  }
  r->block_used = 0;
  r->built_bytes = 0;
}

// The node of this task: the parent has room for all its children, a root gets its own.
redis_reply* node(const redisReadTask* t) noexcept {
  if (t->parent != nullptr) {
    const auto* parent = static_cast<const redis_reply*>(t->parent->obj);
    return const_cast<redis_reply*>(&parent->items[t->idx]);
  }
  auto* r = static_cast<redis_reader*>(t->privdata);
  take_begin(r);
  void* at = take(r, sizeof(redis_reply));
  return at == nullptr ? nullptr : new (at) redis_reply;
}

// What we do not take; hiredis calls it out of memory.
void* refuse(const redisReadTask* t, const char* why) noexcept {
  static_cast<redis_reader*>(t->privdata)->refused = why;
  return nullptr;
}

void* make_text(const redisReadTask* t, char* bytes, size_t len) noexcept {
  redis_type type = redis_type::string;
  if (t->type == REDIS_REPLY_ERROR) {
    type = redis_type::error;
  } else if (t->type == REDIS_REPLY_STATUS) {
    type = redis_type::status;
  } else if (t->type != REDIS_REPLY_STRING) {
    return refuse(t, "a text of RESP3");
  }
  redis_reply* n = node(t);
  if (n == nullptr) return nullptr;
  n->type = type;
  if (len == 0) return n;
  char* copy = take(static_cast<redis_reader*>(t->privdata), len);
  if (copy == nullptr) return nullptr;
  memcpy(copy, bytes, len);
  n->text = {copy, len};
  return n;
}

// The count is int in hiredis 0.14 and size_t from 1.0 on; it is checked before it is multiplied.
template <typename Count>
void* make_array(const redisReadTask* t, Count count) noexcept {
  auto* r = static_cast<redis_reader*>(t->privdata);
  if (t->type != REDIS_REPLY_ARRAY) return refuse(t, "a container of RESP3");
  uint32_t depth = 1;
  for (const redisReadTask* up = t->parent; up != nullptr; up = up->parent) ++depth;
  if (depth > kDepthMax) return refuse(t, "arrays nested too deeply");
  redis_reply* n = node(t);
  if (n == nullptr) return nullptr;
  if (static_cast<size_t>(count) > r->bytes_max / sizeof(redis_reply)) {
    r->is_too_big = true;
    return nullptr;
  }
  n->type = redis_type::array;
  n->count = static_cast<uint32_t>(count);
  if (count == 0) return n;
  char* items = take(r, n->count * sizeof(redis_reply));
  if (items == nullptr) return nullptr;
  for (uint32_t i = 0; i < n->count; ++i) new (items + i * sizeof(redis_reply)) redis_reply;
  n->items = reinterpret_cast<redis_reply*>(items);
  return n;
}

void* make_integer(const redisReadTask* t, long long value) noexcept {
  redis_reply* n = node(t);
  if (n == nullptr) return nullptr;
  n->type = redis_type::integer;
  n->integer = value;
  return n;
}

void* make_nil(const redisReadTask* t) noexcept {
  return node(t);
}

void free_nothing(void*) noexcept {}

redisReplyObjectFunctions* functions() noexcept {
  static redisReplyObjectFunctions fn = [] {
    redisReplyObjectFunctions f{};
    f.createString = make_text;
    f.createArray = make_array;
    f.createInteger = make_integer;
    f.createNil = make_nil;
    f.freeObject = free_nothing;
#ifdef REDIS_REPLY_DOUBLE  // 1.x: types of RESP3, which we do not ask for: the reader's error
    f.createDouble = [](const redisReadTask* t, double, char*, size_t) noexcept {
      return refuse(t, "a number of RESP3");
    };
    f.createBool = [](const redisReadTask* t, int) noexcept {
      return refuse(t, "a truth value of RESP3");
    };
#endif
    return f;
  }();
  return &fn;
}

size_t digits(size_t n) noexcept {
  size_t d = 1;
  for (; n >= 10; n /= 10) ++d;
  return d;
}

char* write_count(char mark, size_t n, char* out) noexcept {
  *out++ = mark;
  out = std::to_chars(out, out + 20, n).ptr;
  *out++ = '\r';
  *out++ = '\n';
  return out;
}

}  // namespace

std::string_view redis_reply::error_shown() const noexcept {
  constexpr size_t kShownBytesMax = 200;
  return text.substr(0, std::min(text.find(", with args"), kShownBytesMax));
}

std::string_view redis_reply::error_code() const noexcept {
  return is_error() ? text.substr(0, text.find(' ')) : std::string_view();
}

size_t redis_head_size(size_t arguments) noexcept {
  return 1 + digits(arguments) + 2;
}
size_t redis_argument_size(std::string_view arg) noexcept {
  return 1 + digits(arg.size()) + 2 + arg.size() + 2;
}
char* redis_head_write(size_t arguments, char* out) noexcept {
  return write_count('*', arguments, out);
}
char* redis_argument_write(std::string_view arg, char* out) noexcept {
  out = write_count('$', arg.size(), out);
  if (!arg.empty()) memcpy(out, arg.data(), arg.size());
  out += arg.size();
  *out++ = '\r';
  *out++ = '\n';
  return out;
}

size_t redis_command_size(redis_argv argv) noexcept {
  size_t n = redis_head_size(argv.size());
  for (const std::string_view arg : argv) n += redis_argument_size(arg);
  return n;
}

void redis_command_write(redis_argv argv, char* out) noexcept {
  out = redis_head_write(argv.size(), out);
  for (const std::string_view arg : argv) out = redis_argument_write(arg, out);
}

redis_reader* redis_reader_new(uint32_t bytes_max) noexcept {
  auto* r = new redis_reader;
  r->bytes_max = bytes_max;
  r->inner = redisReaderCreateWithFunctions(functions());
  CORE_ASSERT(r->inner != nullptr);
  r->inner->privdata = r;
  r->inner->maxbuf = kIdleBufferBytesMax;
  block_add(r, kBlockBytesFirst);
  return r;
}

void redis_reader_free(redis_reader* r) noexcept {
  if (r == nullptr) return;
  redisReaderFree(r->inner);
  delete r;
}

core::err redis_reader_feed(redis_reader* r, std::string_view bytes, redis_reader_cb on_reply,
                            void* user) noexcept {
  if (r->inner->err != 0 || r->is_too_big)
    return r->is_too_big ? core::err::too_big : core::err::malformed;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, kFeedBytes);
    bytes.remove_prefix(piece.size());
    if (r->inner->len - r->inner->pos + piece.size() > r->bytes_max + kFeedBytes)
      r->is_too_big = true;
    if (!r->is_too_big && redisReaderFeed(r->inner, piece.data(), piece.size()) == 0) {
      void* reply = nullptr;
      int rc;
      while ((rc = redisReaderGetReply(r->inner, &reply)) == 0 && reply != nullptr) {
        if (!on_reply(user, *static_cast<const redis_reply*>(reply))) return core::err::ok;
        reply = nullptr;
      }
      if (rc == 0) continue;
    }
    r->error = r->is_too_big ? "a reply of more than " + std::to_string(r->bytes_max) + " bytes"
                             : std::string("not RESP2: ") +
                                   (r->refused != nullptr ? r->refused : r->inner->errstr);
    return r->is_too_big ? core::err::too_big : core::err::malformed;
  }
  return core::err::ok;
}

std::string redis_reader_error(const redis_reader* r) {
  return r->error;
}

size_t redis_reader_held(const redis_reader* r) noexcept {
  return r->inner->len - r->inner->pos + r->block_bytes;
}

}  // namespace broker
