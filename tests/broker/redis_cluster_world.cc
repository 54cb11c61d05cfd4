// Redis Cluster's own commands, over redis_server::call().
#include "redis_cluster_world.h"

#include <poll.h>

#include <functional>

namespace broker {
namespace {

constexpr int kWaitMsMax = 30'000;
constexpr uint32_t kSlots = 16384;

void wait(const char* what, const std::function<bool()>& is_so) {
  for (int waited = 0; waited < kWaitMsMax; waited += 10) {
    if (is_so()) return;
    poll(nullptr, 0, 10);
  }
  FAIL() << "the cluster: " << what;
}

std::vector<std::string> settings() {
  return {"cluster-enabled yes",
          "cluster-node-timeout 1500",
          "cluster-replica-validity-factor 0",
          "cluster-require-full-coverage no",
          "repl-diskless-sync-delay 0",
          "appendonly yes"};
}

// What redis_text() puts around a text.
std::string bare(std::string text) {
  return text.size() > 1 && text.front() == '"' ? text.substr(1, text.size() - 2) : text;
}

std::string id(redis_server* s) {
  return bare(s->call({"CLUSTER", "MYID"}));
}

}  // namespace

redis_cluster_world::redis_cluster_world(size_t primaries, bool has_replicas) {
  for (size_t i = 0; i < primaries; ++i) {
    primaries_.push_back(std::make_unique<redis_server>(settings()));
    redis_server* s = primaries_.back().get();
    s->call({"CLUSTER", "SET-CONFIG-EPOCH", std::to_string(i + 1)});
    EXPECT_EQ(s->call({"CLUSTER", "ADDSLOTSRANGE", std::to_string(kSlots * i / primaries),
                       std::to_string(kSlots * (i + 1) / primaries - 1)}),
              "+OK");
  }
  for (size_t i = 0; has_replicas && i < primaries; ++i)
    replicas_.push_back(std::make_unique<redis_server>(settings()));
  for (redis_server* s : all())
    s->call({"CLUSTER", "MEET", "127.0.0.1", std::to_string(primaries_[0]->port())});
  const std::string known = "cluster_known_nodes:" + std::to_string(all().size());
  wait("all know all", [&] {
    for (redis_server* s : all())
      if (s->call({"CLUSTER", "INFO"}).find(known) == std::string::npos) return false;
    return true;
  });
  for (size_t i = 0; i < replicas_.size(); ++i)
    wait("a replica takes its primary", [&] {
      return replicas_[i]->call({"CLUSTER", "REPLICATE", id(primaries_[i].get())}) == "+OK";
    });
  wait("all agree", [&] {
    for (redis_server* s : all()) {
      const std::string info = s->call({"CLUSTER", "INFO"});
      if (info.find("cluster_state:ok") == std::string::npos ||
          info.find("cluster_slots_assigned:16384") == std::string::npos)
        return false;
    }
    for (size_t i = 0; i < replicas_.size(); ++i)
      if (primaries_[i]->call({"WAIT", "1", "100"}) != "1") return false;
    return true;
  });
}

std::vector<redis_server*> redis_cluster_world::all() {
  std::vector<redis_server*> out;
  for (auto& s : primaries_)
    if (s->pid() > 0) out.push_back(s.get());
  for (auto& s : replicas_)
    if (s->pid() > 0) out.push_back(s.get());
  return out;
}

std::string redis_cluster_world::url() const {
  std::string text = "redis-cluster://";
  for (const auto& s : primaries_)
    text += (s == primaries_[0] ? "" : ",") + redis_endpoint_text(s->tcp());
  return text;
}

redis_server* redis_cluster_world::owner(uint16_t slot, redis_server* asked) {
  const std::string map = asked->call({"CLUSTER", "NODES"});
  for (redis_server* s : all()) {
    const std::string at = "127.0.0.1:" + std::to_string(s->port()) + "@";
    const size_t line = map.find(at);
    if (line == std::string::npos) continue;
    const std::string rest = map.substr(line, map.find('\n', line) - line);
    if (rest.find("master") == std::string::npos) continue;
    for (size_t from = rest.find("connected"); from != std::string::npos;) {
      from = rest.find(' ', from);
      if (from == std::string::npos) break;
      unsigned first = 0, last = 0;
      const int n = sscanf(rest.c_str() + ++from, "%u-%u", &first, &last);
      if (n == 1) last = first;
      if (n >= 1 && slot >= first && slot <= last) return s;
    }
  }
  return nullptr;
}

redis_server* redis_cluster_world::add_primary() {
  primaries_.push_back(std::make_unique<redis_server>(settings()));
  redis_server* s = primaries_.back().get();
  s->call({"CLUSTER", "MEET", "127.0.0.1", std::to_string(primaries_[0]->port())});
  const std::string known = "cluster_known_nodes:" + std::to_string(all().size());
  wait("all know the new one", [&] {
    for (redis_server* each : all())
      if (each->call({"CLUSTER", "INFO"}).find(known) == std::string::npos) return false;
    return s->call({"CLUSTER", "INFO"}).find("cluster_state:ok") != std::string::npos;
  });
  return s;
}

void redis_cluster_world::begin_move(uint16_t slot, redis_server* from, redis_server* to) {
  const std::string which = std::to_string(slot);
  EXPECT_EQ(to->call({"CLUSTER", "SETSLOT", which, "IMPORTING", id(from)}), "+OK");
  EXPECT_EQ(from->call({"CLUSTER", "SETSLOT", which, "MIGRATING", id(to)}), "+OK");
}

size_t redis_cluster_world::move_keys(uint16_t slot, redis_server* from, redis_server* to,
                                      size_t count) {
  // Names without quotes only.
  const std::string reply =
      from->call({"CLUSTER", "GETKEYSINSLOT", std::to_string(slot), std::to_string(count)});
  std::vector<std::string> argv = {"MIGRATE", "127.0.0.1", std::to_string(to->port()), "", "0",
                                   "5000",    "KEYS"};
  const size_t head = argv.size();
  for (size_t at = reply.find('"'); at != std::string::npos;) {
    const size_t end = reply.find('"', at + 1);
    argv.push_back(reply.substr(at + 1, end - at - 1));
    at = reply.find('"', end + 1);
  }
  if (argv.size() == head) return 0;
  const std::string done = from->call(argv);
  EXPECT_TRUE(done == "+OK" || done == "+NOKEY") << done;
  return argv.size() - head;
}

void redis_cluster_world::end_move(uint16_t slot, redis_server* from, redis_server* to) {
  const std::vector<std::string> argv = {"CLUSTER", "SETSLOT", std::to_string(slot), "NODE",
                                         id(to)};
  EXPECT_EQ(to->call(argv), "+OK");
  EXPECT_EQ(from->call(argv), "+OK");
  for (auto& s : primaries_)
    if (s.get() != from && s.get() != to && s->pid() > 0) {
      EXPECT_EQ(s->call(argv), "+OK");
    }
  wait_owner(slot, to);
}

// Gossip of before the move may undo it as long as somebody does not know the new owner's epoch.
void redis_cluster_world::wait_owner(uint16_t slot, redis_server* to) {
  const std::string at = "127.0.0.1:" + std::to_string(to->port()) + "@";
  const auto epoch = [&](redis_server* asked) {
    const std::string map = asked->call({"CLUSTER", "NODES"});
    size_t from = map.find(at);
    for (int field = 0; field < 5 && from != std::string::npos; ++field)
      from = map.find(' ', from + 1);
    return from == std::string::npos ? "" : map.substr(from, map.find(' ', from + 1) - from);
  };
  wait("all agree who has the slot", [&] {
    const std::string newest = epoch(to);
    for (redis_server* s : all())
      if (owner(slot, s) != to || epoch(s) != newest) return false;
    return true;
  });
}

void redis_cluster_world::move(uint16_t slot, redis_server* from, redis_server* to) {
  begin_move(slot, from, to);
  while (move_keys(slot, from, to) > 0) {
  }
  end_move(slot, from, to);
}

}  // namespace broker
