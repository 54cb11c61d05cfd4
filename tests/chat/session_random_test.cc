// Many sessions doing anything in any interleaving: each command is answered once, nobody sees a
// hole or anything twice, and at the end owners and presence know exactly who is there.
#include <map>
#include <string>

#include "tests/chat/fake_client.h"
#include "tests/chat/session_fixture.h"

namespace {

using fixture::epoch_in;
using fixture::offsets_in;
using fixture::tab;

// What one connection believes about its channels, from the texts alone.
struct view {
  tab* t = nullptr;
  uint32_t loop = 0;
  struct question {
    std::string channel;  // of a subscribe or unsubscribe, or ""
    uint64_t since = 0;
  };
  std::map<uint32_t, question> asked;  // by id
  std::map<std::string, bool> is_in;
  std::map<std::string, uint64_t> at;
  size_t read = 0;
  int holes = 0, unasked = 0;
};

class session_random_test : public fixture::session_test {
 protected:
  static uint32_t id_of(const std::string& text) {
    return static_cast<uint32_t>(std::stoul(text.substr(6)));
  }
  std::string channel_in(const std::string& push) {
    constexpr std::string_view kHead = "{\"push\":{\"channel\":\"";
    return push.substr(kHead.size(), push.find('"', kHead.size()) - kHead.size());
  }
  void see(view* v, const std::string& channel, uint64_t offset) {
    if (offset != v->at[channel] + 1) ++v->holes;
    v->at[channel] = offset;
  }
  void take_reply(view* v, const std::string& text) {
    const auto asked = v->asked.find(id_of(text));
    if (asked == v->asked.end()) {
      ++v->unasked;
      return;
    }
    const auto [channel, known] = asked->second;
    v->asked.erase(asked);
    if (text.find("\"unsubscribe\":{}") != std::string::npos) v->is_in[channel] = false;
    if (text.find("\"subscribe\":{\"recoverable\"") == std::string::npos) return;
    v->is_in[channel] = true;
    std::vector<uint64_t> offsets = offsets_in(text);
    if (text.find("\"recovered\":true") == std::string::npos) {
      v->at[channel] = offsets.empty() ? 0 : offsets.back();
      return;
    }
    // The request's offset stands behind the publications, and is left out when it is 0.
    uint64_t since = 0;
    if (text.find("\"recovered\":true,\"offset\"") != std::string::npos) {
      since = offsets.back();
      offsets.pop_back();
    }
    if (known != since) ++v->holes;
    v->at[channel] = since;  // asked before an earlier answer came, perhaps
    for (const uint64_t offset : offsets) see(v, channel, offset);
  }
  void take(view* v) {
    for (; v->read < v->t->texts.size(); ++v->read) {
      const std::string& text = v->t->texts[v->read];
      if (text.rfind("{\"id\":", 0) == 0) {
        take_reply(v, text);
        continue;
      }
      const std::string channel = channel_in(text);
      if (text.find("\"unsubscribe\":{\"code\":2500") != std::string::npos) {
        v->is_in[channel] = false;
      } else if (text.find("\"pub\":") != std::string::npos) {
        for (const uint64_t offset : offsets_in(text)) see(v, channel, offset);
      }
    }
  }
  void ask(view* v, const std::string& channel, const std::string& body) {
    const uint32_t id = v->t->next_id++;
    v->asked[id] = {channel, channel.empty() ? 0 : v->at[channel]};
    v->t->say("{\"id\":" + std::to_string(id) + "," + body + "}");
  }
  void act(view* v, std::mt19937_64* dice) {
    const std::string channel = "r" + std::to_string((*dice)() % 4);
    const std::string named = "{\"channel\":\"" + channel + "\"";
    switch ((*dice)() % 6) {
      case 0:
      case 1:
        take(v);
        ask(v, channel,
            "\"subscribe\":" + named + ",\"recover\":true,\"offset\":" +
                std::to_string(v->at[channel]) + ",\"epoch\":\"" + epoch + "\"}");
        return;
      case 2:
        ask(v, channel, "\"unsubscribe\":" + named + "}");
        return;
      default:
        ask(v, "",
            "\"rpc\":{\"method\":\"send\",\"data\":" + named + ",\"data\":1,\"key\":\"k" +
                std::to_string((*dice)()) + "\"}}");
    }
  }
  std::string epoch;
};

TEST_F(session_random_test, AnyInterleaving) {
  const uint64_t seed = fixture::seed();
  SCOPED_TRACE("PARLEY_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 dice(seed);
  config.commands_per_s = config.publishes_per_s = 0;
  config.refused_max = 1'000'000;
  config.has_personal_channel = false;
  config.ping_ms = 600'000;
  for (int round = 0; round < 20; ++round) {
    begin(3);
    epoch = epoch_in(connect("first")->subscribe("r0"));
    tabs[0]->drop();
    w->run();
    for (uint32_t i = 0; i < 3; ++i) w->mailbox_limit(i, 8 + static_cast<uint32_t>(dice() % 60));
    std::vector<view> views(8);
    for (uint32_t i = 0; i < views.size(); ++i) {
      views[i].loop = i % 3;
      views[i].t = connect("u" + std::to_string(i), views[i].loop);
      views[i].read = views[i].t->texts.size();
    }
    for (int n = 0; n < 400; ++n) {
      view* v = &views[dice() % views.size()];
      if (dice() % 50 == 0) w->pass(800, true);  // some answers will be late
      if (dice() % 40 == 0) {                    // gone, and back with what it knew
        take(v);
        v->t->drop();
        v->asked.clear();
        v->is_in.clear();
        w->run();
        w->pass(core::kTimerTickMs);
        v->t = connect("u", v->loop);
        v->read = v->t->texts.size();
      } else {
        act(v, &dice);
      }
      for (uint64_t steps = dice() % 6; steps > 0; --steps)
        w->step(static_cast<uint32_t>(dice() % 3));
    }
    for (uint32_t i = 0; i < 3; ++i) w->mailbox_limit(i, 65536);
    w->run();
    w->pass(4 * core::kTimerTickMs);
    std::map<std::string, int> members;
    uint64_t all = 0;
    for (view& v : views) {
      take(&v);
      EXPECT_EQ(v.holes, 0);
      EXPECT_EQ(v.unasked, 0);
      EXPECT_TRUE(v.asked.empty()) << v.asked.size() << " commands were not answered";
      EXPECT_FALSE(v.t->is_over()) << v.t->reason;
      for (const auto& [channel, is_in] : v.is_in) {
        members[channel] += is_in ? 1 : 0;
        all += is_in ? 1 : 0;
      }
    }
    EXPECT_EQ(counted(0) + counted(1) + counted(2), all);
    w->config.namespaces[0].allow_presence_for_client = true;
    for (const auto& [channel, count] : members) {
      const std::string number = std::to_string(count);
      const std::string stats =
          views[0].t->command("\"presence_stats\":{\"channel\":\"" + channel + "\"}");
      EXPECT_NE(stats.find("\"num_clients\":" + number + ","), std::string::npos)
          << channel << " has " << number << ", " << stats;
    }
    for (auto& t : tabs) t->drop();
    w->run();
    tabs.clear();
    if (HasFailure()) return;
  }
}

}  // namespace
