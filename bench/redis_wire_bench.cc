// What does it cost to take a Pub/Sub message of 300 bytes apart: hiredis' reader with our object
// functions (one block a reply, used again) against the same reader with its own (a tree of
// mallocs)? In turns in one run; only the ratio means something. Leaves out the socket and TLS.
#include <benchmark/benchmark.h>
#include <hiredis/hiredis.h>

#include <cstdlib>
#include <string>

#include "broker/redis_wire.h"

namespace {

constexpr int kMessages = 1000;
constexpr size_t kPieceBytes = 16 * 1024;  // what both are fed at once

std::string stream() {
  std::string out;
  for (int i = 0; i < kMessages; ++i)
    out +=
        "*3\r\n$7\r\nmessage\r\n$12\r\nchat:channel\r\n$300\r\n" + std::string(300, 'x') + "\r\n";
  return out;
}

void check(benchmark::State& state, uint64_t messages) {
  if (messages != state.iterations() * uint64_t{kMessages})
    state.SkipWithError("messages are missing");
  state.SetItemsProcessed(static_cast<int64_t>(messages));
}

void ours(benchmark::State& state) {
  const std::string bytes = stream();
  broker::redis_reader* r = broker::redis_reader_new(1 << 20);
  uint64_t messages = 0;
  auto cb = [](void* user, const broker::redis_reply& reply) noexcept {
    *static_cast<uint64_t*>(user) += reply.items[2].text.size() == 300;
    return true;
  };
  for (auto _ : state)
    if (broker::redis_reader_feed(r, bytes, cb, &messages) != core::err::ok) abort();
  check(state, messages);
  broker::redis_reader_free(r);
}

void hiredis_tree(benchmark::State& state) {
  const std::string bytes = stream();
  redisReader* r = redisReaderCreate();
  uint64_t messages = 0;
  for (auto _ : state) {
    for (size_t at = 0; at < bytes.size(); at += kPieceBytes) {
      redisReaderFeed(r, bytes.data() + at, std::min(kPieceBytes, bytes.size() - at));
      void* reply = nullptr;
      while (redisReaderGetReply(r, &reply) == 0 && reply != nullptr) {
        messages += static_cast<redisReply*>(reply)->element[2]->len == 300;
        freeReplyObject(reply);
        reply = nullptr;
      }
    }
  }
  check(state, messages);
  redisReaderFree(r);
}

BENCHMARK(ours);
BENCHMARK(hiredis_tree);

}  // namespace
