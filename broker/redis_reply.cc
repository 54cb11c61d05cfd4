// hiredis' reader with object functions of our own, which write into one tree.
#include "broker/redis_reply.h"

#include <hiredis/read.h>

#include <charconv>

namespace broker {

struct redis_reader {
  redisReplyObjectFunctions functions{};
  redisReader* raw = nullptr;
  redis_tree tree;
};

namespace {

// Places are given to hiredis as pointers: index + 1.
redis_node* add(const redisReadTask* task, redis_kind kind, void** object) noexcept {
  redis_tree* t = &static_cast<redis_reader*>(task->privdata)->tree;
  t->nodes.emplace_back();
  t->nodes.back().kind = kind;
  *object = reinterpret_cast<void*>(t->nodes.size());
  for (const redisReadTask* up = task->parent; up != nullptr; up = up->parent)
    ++t->nodes[reinterpret_cast<uintptr_t>(up->obj) - 1].nodes;
  return &t->nodes.back();
}

void* create_string(const redisReadTask* task, char* text, size_t bytes) noexcept {
  const redis_kind kind = task->type == REDIS_REPLY_STATUS  ? redis_kind::status
                          : task->type == REDIS_REPLY_ERROR ? redis_kind::error
                                                            : redis_kind::text;
  void* object = nullptr;
  redis_node* n = add(task, kind, &object);
  std::string* all = &static_cast<redis_reader*>(task->privdata)->tree.bytes;
  n->text_at = static_cast<uint32_t>(all->size());
  n->text_bytes = static_cast<uint32_t>(bytes);
  all->append(text, bytes);
  return object;
}

void* create_integer(const redisReadTask* task, long long value) noexcept {
  void* object = nullptr;
  add(task, redis_kind::integer, &object)->integer = value;
  return object;
}

void* create_nil(const redisReadTask* task) noexcept {
  void* object = nullptr;
  add(task, redis_kind::nil, &object);
  return object;
}

redisReplyObjectFunctions make_functions() noexcept {
  redisReplyObjectFunctions f{};
  f.createString = create_string;
  // The count's type differs between hiredis 0.14 and 1.x.
  f.createArray = [](const redisReadTask* task, auto count) -> void* {
    void* object = nullptr;
    add(task, redis_kind::array, &object)->count = static_cast<uint32_t>(count);
    return object;
  };
  f.createInteger = create_integer;
  f.createNil = create_nil;
  f.freeObject = [](void*) {};
  return f;
}

}  // namespace

std::string_view redis_reply::text() const noexcept {
  if (tree_ == nullptr) return {};
  return std::string_view(tree_->bytes).substr(node().text_at, node().text_bytes);
}

bool redis_reply::is_error(std::string_view code) const noexcept {
  const std::string_view t = text();
  return is(redis_kind::error) && t.starts_with(code) &&
         (t.size() == code.size() || t[code.size()] == ' ');
}

int64_t redis_reply::integer() const noexcept {
  if (is(redis_kind::integer)) return node().integer;
  const std::string_view t = text();
  int64_t value = 0;
  const auto [end, rc] = std::from_chars(t.data(), t.data() + t.size(), value);
  return rc == std::errc() && end == t.data() + t.size() ? value : 0;
}

redis_reply redis_reply::first() const noexcept {
  return size() == 0 ? redis_reply() : redis_reply(tree_, at_ + 1);
}

redis_reply redis_reply::next() const noexcept {
  if (tree_ == nullptr || at_ + node().nodes >= tree_->nodes.size()) return {};
  return {tree_, at_ + node().nodes};
}

redis_reply redis_reply::operator[](uint32_t index) const noexcept {
  if (index >= size()) return {};
  redis_reply r = first();
  while (index-- > 0) r = r.next();
  return r;
}

redis_reader* redis_reader_new() noexcept {
  auto* r = new redis_reader;
  r->functions = make_functions();
  r->raw = redisReaderCreateWithFunctions(&r->functions);
  r->raw->privdata = r;
  return r;
}

void redis_reader_free(redis_reader* r) noexcept {
  redisReaderFree(r->raw);
  delete r;
}

core::err redis_reader_feed(redis_reader* r, std::string_view bytes) noexcept {
  if (r->raw->len - r->raw->pos + bytes.size() > kRedisReplyBytesMax ||
      r->tree.bytes.size() > kRedisReplyBytesMax)
    return core::err::too_big;
  return redisReaderFeed(r->raw, bytes.data(), bytes.size()) == 0 ? core::err::ok
                                                                  : core::err::malformed;
}

core::err redis_reader_next(redis_reader* r, redis_reply* out) noexcept {
  // A reply that is not whole yet goes on where it was; only a new one starts an empty tree.
  if (r->raw->ridx < 0) {
    r->tree.nodes.clear();
    r->tree.bytes.clear();
  }
  void* object = nullptr;
  if (redisReaderGetReply(r->raw, &object) != 0) return core::err::malformed;
  if (object == nullptr) return core::err::again;
  *out = redis_reply(&r->tree, 0);
  return core::err::ok;
}

}  // namespace broker
