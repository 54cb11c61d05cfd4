// Question: what does it cost to encode one push and to hand one shared frame to every subscriber's
// queue, against a copy for each? Left out: the system call, which is the same for both
// (bench/fanout.py measures with it).
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "core/assert.h"
#include "core/frame.h"
#include "proto/reply.h"
#include "proto/ws.h"

namespace {

std::string push_text(size_t data_bytes) {
  std::string out;
  uint32_t at, len;
  proto::push_publication(&out, "general", 12345,
                          "{\"text\":\"" + std::string(data_bytes, 'x') + "\"}",
                          "{\"user\":\"ann\",\"client\":\"6f9619ff-8b86-d011-b42d-00cf4fc964ff\"}",
                          "{\"time\":\"1700000000000\"}", &at, &len);
  return out;
}

void encode(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    core::frame* f = proto::ws_text_frame(push_text(bytes));
    benchmark::DoNotOptimize(f);
    core::frame_unref(f);
  }
  CORE_ASSERT(core::frame_live() == 0);
}
BENCHMARK(encode)->Arg(128)->Arg(4096);

void queue(benchmark::State& state) {
  const auto members = static_cast<size_t>(state.range(0));
  const bool is_shared = state.range(1) != 0;
  const std::string text = push_text(128);
  std::vector<core::frame*> queues(members);
  for (auto _ : state) {
    core::frame* once = proto::ws_text_frame(text);
    if (is_shared) core::frame_ref(once, static_cast<uint32_t>(members));
    for (core::frame*& q : queues) q = is_shared ? once : proto::ws_text_frame(text);
    benchmark::ClobberMemory();
    for (core::frame* q : queues) core::frame_unref(q);
    core::frame_unref(once);
  }
  CORE_ASSERT(core::frame_live() == 0);
  state.counters["deliveries"] =
      benchmark::Counter(static_cast<double>(members) * static_cast<double>(state.iterations()),
                         benchmark::Counter::kIsRate);
}
BENCHMARK(queue)->Args({1000, 1})->Args({1000, 0});

}  // namespace
