// The server API's operations: namespace rules, keys, tours over all loops, and what goes to other
// nodes.
#include "chat/api.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <tuple>

#include "chat/session.h"
#include "core/limits.h"
#include "tests/chat/fake_client.h"
#include "tests/chat/fixture.h"
#include "tests/chat/script_broker.h"

namespace {

using chat::error;
using fixture::fake_client;

struct publish_answer {
  int answers = 0;
  chat::api_publish_result r;
};
void on_publish(void* user, chat::api_publish_result&& r) noexcept {
  auto* a = static_cast<publish_answer*>(user);
  ++a->answers;
  a->r = std::move(r);
}

struct request_answer {
  int answers = 0;
  error code = error::ok;
  store::position top;
  std::string publications;
  size_t members = 0;
  broker::presence_counts counts;
};
void on_request(void* user, chat::request* r) noexcept {
  *static_cast<request_answer*>(user) = {static_cast<request_answer*>(user)->answers + 1,
                                         r->code,
                                         r->top,
                                         r->publications,
                                         r->members.size(),
                                         r->counts};
}

struct code_answer {
  int answers = 0;
  error code = error::ok;
};
void on_code(void* user, error code) noexcept {
  *static_cast<code_answer*>(user) = {static_cast<code_answer*>(user)->answers + 1, code};
}

class api_test : public testing::Test {
 protected:
  void begin(uint32_t loops, bool has_fakes = true) {
    w = std::make_unique<fixture::world>(loops);
    w->config.is_insecure = true;
    w->config.allow_anonymous = true;
    w->start();
    for (uint32_t i = 0; i < loops && has_fakes; ++i) fixture::use_fake_clients(w->at(i));
  }
  publish_answer publish(uint32_t loop, chat::api_publish_request q) {
    publish_answer a;
    chat::api_publish(w->at(loop), std::move(q), on_publish, &a);
    w->run();
    EXPECT_EQ(a.answers, 1);
    return a;
  }
  publish_answer publish(uint32_t loop, const std::string& channel, const std::string& data,
                         const std::string& key = "", const std::string& tags = "") {
    chat::api_publish_request q;
    q.channel = channel;
    q.data = data;
    q.idempotency_key = key;
    q.tags = tags;
    return publish(loop, std::move(q));
  }
  request_answer history(chat::api_history_request h) {
    request_answer a;
    chat::api_history(w->at(0), h, on_request, &a);
    w->run();
    EXPECT_EQ(a.answers, 1);
    return a;
  }
  request_answer history(const std::string& channel, int64_t limit) {
    chat::api_history_request h;
    h.channel = channel;
    h.limit = limit;
    return history(h);
  }
  request_answer presence(const std::string& channel, bool is_stats_only) {
    request_answer a;
    chat::api_presence(w->at(0), channel, is_stats_only, on_request, &a);
    w->run();
    EXPECT_EQ(a.answers, 1);
    return a;
  }
  chat::node_status own_status(uint32_t loop) {
    std::vector<chat::node_status> nodes;
    chat::api_info(
        w->at(loop),
        [](void* user, error, const std::vector<chat::node_status>& all) noexcept {
          *static_cast<std::vector<chat::node_status>*>(user) = all;
        },
        &nodes);
    w->run();
    EXPECT_EQ(nodes.size(), 1u);
    return nodes.at(0);
  }
  fake_client* client(uint32_t loop, const std::string& channel) {
    clients.push_back(std::make_unique<fake_client>());
    fake_client* c = clients.back().get();
    c->node = w->at(loop);
    c->id = "c" + std::to_string(clients.size());
    c->channel = channel;
    EXPECT_EQ(chat::channel_namespace(w->config, channel, &c->ns), chat::channel_rule::ok);
    c->has_presence = true;
    c->subscribe(false);
    w->run();
    return c;
  }

  std::unique_ptr<fixture::world> w;
  std::vector<std::unique_ptr<fake_client>> clients;
};

TEST_F(api_test, PublishReachesSubscribersOnEveryLoop) {
  begin(3);
  const std::string channel = w->channel_of(1);
  for (uint32_t i = 0; i < 3; ++i) client(i, channel);
  const publish_answer a = publish(2, channel, "{\"a\":1}");
  EXPECT_EQ(a.r.code, error::ok);
  EXPECT_EQ(a.r.at.offset, 1u);
  EXPECT_FALSE(a.r.at.epoch.empty());
  for (auto& c : clients) EXPECT_EQ(c->at, 1u);
}

TEST_F(api_test, NamesAndNamespacesAreChecked) {
  begin(1);
  EXPECT_EQ(publish(0, "unknown:a", "{}").r.code, error::unknown_channel);
  EXPECT_EQ(publish(0, "", "{}").r.code, error::bad_request);
  EXPECT_EQ(publish(0, "a b", "{}").r.code, error::bad_request);
  EXPECT_EQ(history("unknown:a", 1).code, error::unknown_channel);
  EXPECT_EQ(history("live:a", 1).code, error::not_available);
  EXPECT_EQ(presence("live:a", false).code, error::not_available);
  EXPECT_EQ(presence("live:a", true).code, error::not_available);
  EXPECT_EQ(presence("", true).code, error::bad_request);
  request_answer removed;
  chat::api_history_remove(w->at(0), "live:a", on_request, &removed);
  EXPECT_EQ(removed.code, error::not_available);
  code_answer op;
  chat::api_user_op unsubscribe;
  unsubscribe.what = chat::api_user_op::kind::unsubscribe;
  unsubscribe.channel = "unknown:a";
  chat::api_user(w->at(0), std::move(unsubscribe), on_code, &op);
  EXPECT_EQ(op.code, error::unknown_channel);
}

TEST_F(api_test, DataAndKeysAreBounded) {
  begin(1);
  const uint32_t max = w->config.namespaces[0].publication_bytes_max;
  EXPECT_EQ(publish(0, "a", "\"" + std::string(max - 2, 'x') + "\"").r.code, error::ok);
  EXPECT_EQ(publish(0, "a", "\"" + std::string(max - 1, 'x') + "\"").r.code, error::bad_request);
  EXPECT_EQ(publish(0, "a", "1", std::string(core::kKeyBytesMax, 'k')).r.code, error::ok);
  EXPECT_EQ(publish(0, "a", "1", std::string(core::kKeyBytesMax + 1, 'k')).r.code,
            error::bad_request);
}

TEST_F(api_test, AKeyPublishesOnceAChannel) {
  begin(1);
  EXPECT_EQ(publish(0, "a", "1", "k").r.at.offset, 1u);
  const publish_answer again = publish(0, "a", "1", "k");
  EXPECT_TRUE(again.r.is_duplicate);
  EXPECT_EQ(again.r.at.offset, 1u);
  EXPECT_EQ(publish(0, "a", "2", "k").r.code, error::key_conflict);
  EXPECT_FALSE(publish(0, "b", "2", "k").r.is_duplicate);
}

TEST_F(api_test, TagsGetTheTime) {
  begin(1);
  const std::string time = "\"time\":\"" + std::to_string(w->clock.wall_ms()) + "\"}";
  publish(0, "a", "1");
  publish(0, "a", "1", "", "{}");
  publish(0, "a", "1", "", "{\"x\":\"y\" } ");
  EXPECT_EQ(history("a", -1).publications,
            "{\"data\":1,\"offset\":1,\"tags\":{" + time + "},{\"data\":1,\"offset\":2,\"tags\":{" +
                time + "},{\"data\":1,\"offset\":3,\"tags\":{\"x\":\"y\"," + time + "}");
}

TEST_F(api_test, SkipHistoryIsEphemeral) {
  begin(1);
  fake_client* c = client(0, "a");
  chat::api_publish_request q;
  q.channel = "a";
  q.data = "1";
  q.skip_history = true;
  EXPECT_EQ(publish(0, std::move(q)).r.at.offset, 0u);
  ASSERT_EQ(c->pushes.size(), 1u);
  EXPECT_EQ(c->pushes[0].find("offset"), std::string::npos);
  EXPECT_EQ(history("a", -1).top.offset, 0u);
}

TEST_F(api_test, History) {
  begin(2);
  const std::string channel = w->channel_of(1);
  for (int i = 0; i < 5; ++i) publish(0, channel, "1");
  EXPECT_EQ(history(channel, 0).publications, "");
  const request_answer all = history(channel, -1);
  EXPECT_EQ(fixture::offsets_in(all.publications).size(), 5u);
  EXPECT_EQ(all.top.offset, 5u);
  chat::api_history_request h;
  h.channel = channel;
  h.limit = 2;
  h.has_since = true;
  h.since = {4, all.top.epoch};
  h.reverse = true;
  EXPECT_EQ(fixture::offsets_in(history(h).publications), (std::vector<uint64_t>{3, 2}));
  h.since.epoch = "foreign";
  EXPECT_EQ(history(h).code, error::unrecoverable_position);
  request_answer removed;
  chat::api_history_remove(w->at(0), channel, on_request, &removed);
  w->run();
  EXPECT_EQ(removed.code, error::ok);
  EXPECT_EQ(history(channel, -1).publications, "");
  EXPECT_EQ(history(channel, -1).top.offset, 5u);
}

TEST_F(api_test, Presence) {
  begin(2);
  const std::string channel = w->channel_of(1);
  for (uint32_t i = 0; i < 3; ++i) client(i % 2, channel);
  EXPECT_EQ(presence(channel, false).members, 3u);
  EXPECT_EQ(presence(channel, true).counts.clients, 3u);
}

struct channels_answer {
  int answers = 0;
  error code = error::ok;
  std::vector<chat::channel_count> found;
};

TEST_F(api_test, ChannelsAndInfoGatherAllLoops) {
  begin(4);
  for (uint32_t i = 0; i < 4; ++i) {
    client(0, w->channel_of(i));
    client(3, w->channel_of(i));
  }
  for (uint32_t from = 0; from < 4; ++from) {
    channels_answer a;
    chat::api_channels(
        w->at(from), "c*",
        [](void* user, error code, const std::vector<chat::channel_count>& found) noexcept {
          auto* to = static_cast<channels_answer*>(user);
          *to = {to->answers + 1, code, found};
        },
        &a);
    w->run();
    ASSERT_EQ(a.answers, 1);
    ASSERT_EQ(a.found.size(), 4u);
    for (const auto& c : a.found) EXPECT_EQ(c.clients, 2u);
    const chat::node_status info = own_status(from);
    EXPECT_EQ(info.channels, 4u);
    EXPECT_EQ(info.subscriptions, 8u);
    EXPECT_EQ(info.clients, 0u);  // fakes are no sessions
  }
  for (uint32_t i = 0; i < 4; ++i)
    EXPECT_EQ(w->loop_at(i)->reserved, 3u);  // the owners' own and nothing else
}

TEST_F(api_test, ATourIsRefusedAsAWholeWhenOneLoopIsFull) {
  begin(3);
  w->fill(2);
  channels_answer a;
  chat::api_channels(
      w->at(0), "",
      [](void* user, error code, const std::vector<chat::channel_count>&) noexcept {
        auto* to = static_cast<channels_answer*>(user);
        ++to->answers;
        to->code = code;
      },
      &a);
  EXPECT_EQ(a.answers, 1);
  EXPECT_EQ(a.code, error::too_many_requests);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(w->loop_at(i)->reserved, 2u) << i;
}

// ---- users: real sessions

struct wire {
  std::vector<std::string> texts;
  uint16_t code = 0;
  std::string reason;
  chat::session* s = nullptr;
  bool is_open = true;
};

constexpr chat::link_ops kWire = {
    [](void* link, core::frame* f) noexcept {
      static_cast<wire*>(link)->texts.push_back(fixture::frame_text(f));
      core::frame_unref(f);
    },
    [](void* link, core::end_reason, uint16_t code, std::string_view text) noexcept {
      auto* w = static_cast<wire*>(link);
      w->code = code;
      w->reason.assign(text);
    },
    [](void*) noexcept {}};

class api_user_test : public api_test {
 protected:
  void TearDown() override {
    for (auto& each : wires) close(each.get());
    w->run();
    w.reset();
  }
  void close(wire* c) {
    if (c->is_open) chat::session_closed(c->s);
    c->is_open = false;
  }
  void say(wire* c, std::string text) {
    const auto len = static_cast<uint32_t>(text.size());
    text.resize(text.size() + 64);
    chat::session_message(c->s, text.data(), len);
    w->run();
  }
  wire* connect(uint32_t loop) {
    wires.push_back(std::make_unique<wire>());
    wire* c = wires.back().get();
    c->s = chat::session_open(w->at(loop), &kWire, c, proto::format::json);
    say(c, R"({"id":1,"connect":{}})");
    EXPECT_EQ(c->texts.size(), 1u);
    return c;
  }
  std::string id_of(const wire* c) {
    const size_t at = c->texts.at(0).find("\"client\":\"") + 10;
    return c->texts[0].substr(at, c->texts[0].find('"', at) - at);
  }
  error user(uint32_t loop, chat::api_user_op op) {
    code_answer a;
    chat::api_user(w->at(loop), std::move(op), on_code, &a);
    w->run();
    EXPECT_EQ(a.answers, 1);
    return a.code;
  }
  std::vector<std::unique_ptr<wire>> wires;
};

TEST_F(api_user_test, DisconnectFindsTheClientOnAnyLoop) {
  begin(3, false);
  wire* a = connect(0);
  wire* b = connect(2);
  chat::api_user_op op;
  op.client = id_of(b);
  EXPECT_EQ(user(1, op), error::ok);
  EXPECT_EQ(b->code, 3503);
  EXPECT_EQ(b->reason, "force disconnect");
  EXPECT_EQ(a->code, 0);
  op.client = id_of(a);
  op.code = 4000;
  op.text = "mine";
  EXPECT_EQ(user(2, op), error::ok);
  EXPECT_EQ(a->code, 4000);
  EXPECT_EQ(a->reason, "mine");
}

TEST_F(api_user_test, SubscribeAndUnsubscribePush) {
  begin(2, false);
  wire* c = connect(1);
  chat::api_user_op op;
  op.what = chat::api_user_op::kind::subscribe;
  op.client = id_of(c);
  op.channel = "room";
  EXPECT_EQ(user(0, op), error::ok);
  ASSERT_EQ(c->texts.size(), 2u);
  EXPECT_NE(c->texts[1].find("\"subscribe\""), std::string::npos) << c->texts[1];
  publish(0, "room", "{\"hello\":1}");
  ASSERT_EQ(c->texts.size(), 3u);
  EXPECT_NE(c->texts[2].find("{\"hello\":1}"), std::string::npos);
  op.what = chat::api_user_op::kind::unsubscribe;
  EXPECT_EQ(user(0, op), error::ok);
  ASSERT_EQ(c->texts.size(), 4u);
  EXPECT_NE(c->texts[3].find("\"code\":2000"), std::string::npos) << c->texts[3];
  publish(0, "room", "{}");
  EXPECT_EQ(c->texts.size(), 4u);
}

TEST_F(api_user_test, InfoCountsClients) {
  begin(2, false);
  connect(0);
  connect(1);
  connect(1);
  EXPECT_EQ(own_status(0).clients, 3u);
}

TEST_F(api_user_test, OtherNodesAreToldAndDoTheSame) {
  begin(2, false);
  chat::node_loop* n = w->at(0);
  n->bus->close();
  delete n->bus;
  auto* bus = new fixture::script_broker(chat::owner_broker_events(), n->owned);
  n->bus = bus;
  wire* c = connect(1);
  chat::api_user_op op;
  op.client = id_of(c);
  op.code = 3501;
  op.text = "bad request";
  std::string bytes;
  chat::api_user_encode(op, &bytes);
  // What another node sent: nobody is answered, and it is not sent on.
  chat::owner_broker_events()->on_control(n->owned, bytes);
  w->run();
  EXPECT_EQ(c->code, 3501);
  EXPECT_TRUE(bus->controls.empty());
  chat::owner_broker_events()->on_control(n->owned, "junk");
  w->run();
  chat::api_user_op mine;
  mine.client = "nobody";
  EXPECT_EQ(user(0, mine), error::ok);
  ASSERT_EQ(bus->controls.size(), 1u);
  w->fill(1);
  code_answer refused;
  chat::api_user(n, std::move(mine), on_code, &refused);
  EXPECT_EQ(refused.code, error::too_many_requests);
  EXPECT_EQ(bus->controls.size(), 1u);
}

TEST(api_codec_test, EveryFieldSurvivesAndEveryCutIsRefused) {
  chat::api_user_op op;
  op.what = chat::api_user_op::kind::subscribe;
  op.user = "u";
  op.client = "c";
  op.session = "s";
  op.channel = "ch";
  op.info = "{\"i\":1}";
  op.data = "{}";
  op.text = "t";
  op.recover_epoch = "e";
  op.whitelist = {"a", "", "b"};
  op.code = 0x81020304;
  op.expire_at = -5;
  op.is_expired = op.has_presence = op.has_join_leave = op.has_recover_since = true;
  op.recover_offset = ~0ull;
  std::string bytes;
  chat::api_user_encode(op, &bytes);
  chat::api_user_op got;
  ASSERT_TRUE(chat::api_user_decode(bytes, &got));
  EXPECT_EQ(got.what, op.what);
  EXPECT_EQ(std::tie(got.user, got.client, got.session, got.channel, got.info, got.data, got.text,
                     got.recover_epoch, got.whitelist),
            std::tie(op.user, op.client, op.session, op.channel, op.info, op.data, op.text,
                     op.recover_epoch, op.whitelist));
  EXPECT_EQ(got.code, op.code);
  EXPECT_EQ(got.expire_at, -5);
  EXPECT_EQ(got.recover_offset, ~0ull);
  EXPECT_TRUE(got.is_expired && got.has_presence && got.has_join_leave && got.has_recover_since);
  EXPECT_FALSE(got.presence || got.join_leave);
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    const std::unique_ptr<char[]> exact(new char[cut]);  // the address sanitizer sees a read beyond
    memcpy(exact.get(), bytes.data(), cut);
    EXPECT_FALSE(chat::api_user_decode({exact.get(), cut}, &got)) << cut;
  }
  EXPECT_FALSE(chat::api_user_decode(bytes + "x", &got));
  std::string other = bytes;
  other[0] = 2;
  EXPECT_FALSE(chat::api_user_decode(other, &got));
  other = bytes;
  other[1] = 4;
  EXPECT_FALSE(chat::api_user_decode(other, &got));
  other = bytes;
  other[2] = 64;
  EXPECT_FALSE(chat::api_user_decode(other, &got));
}

}  // namespace
