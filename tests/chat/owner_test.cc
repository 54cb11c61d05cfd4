// The owner: recovery, going live, loops that are behind, presence, joins and leaves, forgetting;
// and subscribe races against a model.
#include "chat/owner.h"

#include <gtest/gtest.h>

#include <memory>

#include "chat/owner_state.h"
#include "core/limits.h"
#include "tests/chat/fake_client.h"
#include "tests/chat/fixture.h"
#include "tests/chat/script_broker.h"

namespace {

using chat::error;
using fixture::fake_client;

// What a publish was answered.
struct published {
  int answers = 0;
  error code = error::ok;
  store::position at;
  bool is_duplicate = false;
  size_t pushes_before = 0;  // that `watch` had when the answer came
  const fake_client* watch = nullptr;
};

void on_published(chat::node_loop*, chat::request* r) noexcept {
  auto* p = static_cast<published*>(r->user);
  ++p->answers;
  p->code = r->code;
  p->at = r->top;
  p->is_duplicate = r->is_duplicate;
  if (p->watch != nullptr) p->pushes_before = p->watch->pushes.size();
  chat::request_free(r);
}

class owner_test : public testing::Test {
 protected:
  // Script brokers unless `is_real`.
  void begin(uint32_t loops, bool is_real = false, uint32_t mailbox_max = 65536) {
    w = std::make_unique<fixture::world>(loops, mailbox_max);
    for (auto& ns : w->config.namespaces) {
      if (ns.name.empty()) ns.keep = keep;
    }
    if (recovery_bytes_max != 0) w->config.recovery_bytes_max = recovery_bytes_max;
    w->start();
    for (uint32_t i = 0; i < loops; ++i) {
      chat::node_loop* n = w->at(i);
      fixture::use_fake_clients(n);
      if (is_real) continue;
      n->bus->close();
      delete n->bus;
      n->bus = new fixture::script_broker(chat::owner_broker_events(), n->owned);
    }
  }
  void TearDown() override {
    w.reset();
    clients.clear();
    EXPECT_EQ(core::frame_live(), 0);
  }

  fixture::script_broker& bus(uint32_t i) {
    return *static_cast<fixture::script_broker*>(w->at(i)->bus);
  }
  fake_client* client(uint32_t loop, const std::string& channel) {
    clients.push_back(std::make_unique<fake_client>());
    fake_client* c = clients.back().get();
    c->node = w->at(loop);
    c->id = "c" + std::to_string(clients.size());
    c->channel = channel;
    EXPECT_EQ(chat::channel_namespace(w->config, channel, &c->ns), chat::channel_rule::ok);
    return c;
  }
  chat::request* request(uint32_t from, chat::request_kind kind, const std::string& channel) {
    uint16_t ns = 0;
    EXPECT_EQ(chat::channel_namespace(w->config, channel, &ns), chat::channel_rule::ok);
    return chat::request_new(w->at(from), kind, channel, ns);
  }
  void publish(uint32_t from, const std::string& channel, std::string data,
               published* p = nullptr) {
    chat::request* r = request(from, chat::request_kind::publish, channel);
    r->pub.data = std::move(data);
    r->pub.has_history = w->config.namespaces[r->ns].has_history;
    if (p != nullptr) {
      r->user = p;
      r->done = on_published;
    }
    chat::request_submit(r);
  }
  // `n` publications, committed and told.
  void publish_all(uint32_t owner, const std::string& channel, int n,
                   const std::string& data = "{}") {
    for (int i = 0; i < n; ++i) {
      publish(owner, channel, data);
      bus(owner).finish();
    }
  }
  void settle() {
    for (int i = 0; i < 20; ++i) {
      w->run();
      for (uint32_t k = 0; k < w->size(); ++k) bus(k).finish();
    }
    w->run();
  }
  chat::owned_channel* owned(uint32_t i, const std::string& channel) {
    return chat::owned_find(w->at(i)->owned, channel);
  }

  std::unique_ptr<fixture::world> w;
  std::vector<std::unique_ptr<fake_client>> clients;
  store::retention keep;
  uint32_t recovery_bytes_max = 0;
};

TEST_F(owner_test, SubscribersOfEveryLoopSeeWhatComesAfterTheirAnswer) {
  begin(3);
  const std::string channel = w->channel_of(1);
  publish_all(1, channel, 2);
  for (uint32_t i = 0; i < 3; ++i) client(i, channel)->subscribe(false);
  settle();
  for (auto& c : clients) {
    EXPECT_EQ(c->answers, 1);
    EXPECT_EQ(c->at, 2u);
    EXPECT_EQ(c->epoch, "e1");
  }
  publish_all(1, channel, 3);
  settle();
  for (auto& c : clients) {
    EXPECT_EQ(c->seen, (std::vector<uint64_t>{3, 4, 5}));
    EXPECT_EQ(c->holes, 0);
  }
}

TEST_F(owner_test, AnAuthorsPushPrecedesTheAnswer) {
  begin(2);
  const std::string channel = w->channel_of(0);
  for (const uint32_t from : {0u, 1u}) {
    fake_client* c = client(from, channel);
    c->subscribe(false);
    settle();
    published p;
    p.watch = c;
    publish(from, channel, "{}", &p);
    settle();
    EXPECT_EQ(p.answers, 1);
    EXPECT_EQ(p.pushes_before, 1u) << "from loop " << from;
    EXPECT_EQ(p.at.epoch, "e1");
  }
  EXPECT_EQ(w->counters(0).publications.get(), 2u);
  uint64_t timed = 0;
  for (const auto& b : w->counters(0).commit_us.buckets) timed += b.get();
  EXPECT_EQ(timed, 2u);
}

TEST_F(owner_test, RecoversFromTheRingWithoutTheStore) {
  begin(2);
  const std::string channel = w->channel_of(0);
  fake_client* here = client(0, channel);
  here->subscribe(false);
  settle();
  publish_all(0, channel, 5, "{\"n\":7}");
  fake_client* back = client(1, channel);
  back->subscribe_since(2, "e1");
  w->run();
  EXPECT_TRUE(bus(0).reads.empty());
  EXPECT_TRUE(back->is_recovered);
  EXPECT_EQ(back->seen, (std::vector<uint64_t>{3, 4, 5}));
  EXPECT_EQ(
      back->recovered_text,
      R"({"data":{"n":7},"offset":3},{"data":{"n":7},"offset":4},{"data":{"n":7},"offset":5})");
}

TEST_F(owner_test, RecoversFromTheStore) {
  begin(1);
  publish_all(0, "room", 4, "1");
  fake_client* c = client(0, "room");
  c->subscribe_since(1, "");
  settle();
  EXPECT_TRUE(c->is_recovered);
  EXPECT_EQ(c->recovered_text,
            R"({"data":1,"offset":2},{"data":1,"offset":3},{"data":1,"offset":4})");
}

TEST_F(owner_test, JoinsWhatWasCommittedWhileTheStoreWasRead) {
  begin(1);
  publish_all(0, "room", 3);
  fake_client* c = client(0, "room");
  c->subscribe_since(0, "");
  bus(0).position_answer(0);
  ASSERT_EQ(bus(0).reads.size(), 1u);
  ASSERT_TRUE(bus(0).read(0));
  for (int i = 0; i < 3; ++i) publish(0, "room", "{}");
  for (int i = 0; i < 3; ++i) {
    bus(0).commit();
    bus(0).tell();
  }
  EXPECT_TRUE(c->pushes.empty());
  bus(0).read_answer(0);
  EXPECT_TRUE(c->is_recovered);
  EXPECT_EQ(c->seen, (std::vector<uint64_t>{1, 2, 3, 4, 5, 6}));
  publish_all(0, "room", 1);
  EXPECT_EQ(c->seen.back(), 7u);
  EXPECT_EQ(c->holes, 0);
}

TEST_F(owner_test, CutsWhatTheReadSawBeforeItsEvent) {
  begin(1);
  publish_all(0, "room", 2);
  fake_client* c = client(0, "room");
  c->subscribe_since(0, "");
  bus(0).position_answer(0);
  publish(0, "room", "{}");
  bus(0).commit();  // readable, but its event comes later
  bus(0).read_answer(0);
  EXPECT_TRUE(c->is_recovered);
  EXPECT_EQ(c->seen, (std::vector<uint64_t>{1, 2}));
  bus(0).tell();
  EXPECT_EQ(c->seen, (std::vector<uint64_t>{1, 2, 3}));
  EXPECT_EQ(c->holes, 0);
}

TEST_F(owner_test, ReadsAgainWhenTheRingHasLostTheRestMeanwhile) {
  begin(1);
  publish_all(0, "room", 2);
  fake_client* c = client(0, "room");
  c->subscribe_since(0, "");
  bus(0).position_answer(0);
  bus(0).read(0);
  publish_all(0, "other", 1);  // answers the read too
  settle();
  EXPECT_TRUE(c->is_recovered);

  fake_client* d = client(0, "room");
  c->unsubscribe();
  chat::recent_drop(&w->at(0)->owned->recents, &owned(0, "room")->ring);
  d->subscribe_since(0, "");
  ASSERT_EQ(bus(0).reads.size(), 1u);
  bus(0).read(0);
  for (int i = 0; i < 2; ++i) {
    publish(0, "room", "{}");
    bus(0).commit();
    bus(0).tell();
  }
  chat::recent_drop(&w->at(0)->owned->recents, &owned(0, "room")->ring);
  bus(0).read_answer(0);
  EXPECT_EQ(d->answers, 0);
  ASSERT_EQ(bus(0).reads.size(), 1u);
  bus(0).read_answer(0);
  EXPECT_TRUE(d->is_recovered);
  EXPECT_EQ(d->seen, (std::vector<uint64_t>{1, 2, 3, 4}));
}

TEST_F(owner_test, ARecoveryThatReadsKeepsItsChannel) {
  begin(1);
  publish_all(0, "room", 2);
  fake_client* c = client(0, "room");
  c->subscribe_since(0, "");
  bus(0).position_answer(0);
  w->pass(2 * core::kOwnerLingerMs + 3000);
  bus(0).read_answer(0);
  EXPECT_TRUE(c->is_recovered);
  EXPECT_EQ(c->at, 2u);
}

TEST_F(owner_test, ALossDuringTheReadBeginsAnew) {
  begin(1);
  publish_all(0, "room", 2);
  fake_client* c = client(0, "room");
  c->subscribe_since(0, "e1");
  bus(0).position_answer(0);
  bus(0).read(0);
  bus(0).epoch = "e2";
  bus(0).lose("room");
  bus(0).read_answer(0);
  EXPECT_EQ(c->answers, 0);
  settle();
  EXPECT_EQ(c->code, error::ok);
  EXPECT_FALSE(c->is_recovered);
  EXPECT_EQ(c->epoch, "e2");
}

TEST_F(owner_test, AReadOfAnotherEpochIsNoRecovery) {
  begin(1);
  publish_all(0, "room", 2);
  fake_client* c = client(0, "room");
  c->subscribe_since(0, "");
  bus(0).position_answer(0);
  bus(0).epoch = "e2";
  bus(0).read_answer(0);
  EXPECT_EQ(c->answers, 1);
  EXPECT_FALSE(c->is_recovered);
}

TEST_F(owner_test, NotRecoveredWithAnotherEpochOrAheadOrWithoutHistory) {
  begin(1);
  publish_all(0, "room", 3);
  struct {
    uint64_t since;
    const char* epoch;
    bool is_recovered;
  } cases[] = {{1, "e1", true},     {1, "", true},    {3, "e1", true}, {1, "_", false},
               {1, "other", false}, {4, "e1", false}, {0, "e1", true}};
  for (const auto& k : cases) {
    fake_client* c = client(0, "room");
    c->subscribe_since(k.since, k.epoch);
    settle();
    EXPECT_EQ(c->is_recovered, k.is_recovered) << k.since << k.epoch;
    EXPECT_EQ(c->at, 3u);
    if (!k.is_recovered) {
      EXPECT_EQ(c->recovered_text, "");
    }
  }
  fake_client* c = client(0, "live:a");
  c->subscribe_since(0, "");
  settle();
  EXPECT_EQ(c->answers, 1);
  EXPECT_FALSE(c->is_recovered);
}

TEST_F(owner_test, HistorySizeClampsRecoveryAtOnce) {
  keep.size_max = 3;
  begin(1);
  fake_client* first = client(0, "room");
  first->subscribe(false);
  settle();
  publish_all(0, "room", 10);
  for (const bool has_ring : {true, false}) {
    if (!has_ring) chat::recent_drop(&w->at(0)->owned->recents, &owned(0, "room")->ring);
    fake_client* inside = client(0, "room");
    inside->subscribe_since(7, "e1");
    fake_client* outside = client(0, "room");
    outside->subscribe_since(6, "e1");
    settle();
    EXPECT_TRUE(inside->is_recovered);
    EXPECT_EQ(inside->seen, (std::vector<uint64_t>{8, 9, 10}));
    EXPECT_FALSE(outside->is_recovered);
    EXPECT_TRUE(outside->seen.empty());
  }
}

TEST_F(owner_test, HistorySizeClampsWhatGrewDuringTheRead) {
  keep.size_max = 3;
  begin(1);
  publish_all(0, "room", 4);
  fake_client* c = client(0, "room");
  c->subscribe_since(1, "e1");
  bus(0).position_answer(0);
  bus(0).read(0);
  publish(0, "room", "{}");
  bus(0).commit();
  bus(0).tell();
  bus(0).read_answer(0);
  EXPECT_EQ(c->answers, 1);
  EXPECT_FALSE(c->is_recovered);
}

TEST_F(owner_test, HistoryTtlClampsRecoveryFromTheRing) {
  keep.ttl_ms = 10'000;
  begin(1);
  fake_client* first = client(0, "room");
  first->subscribe(false);
  settle();
  bus(0).time_ms = w->clock.wall_ms();
  publish_all(0, "room", 2);
  w->clock.us += 9'999'000;
  fake_client* inside = client(0, "room");
  inside->subscribe_since(0, "e1");
  settle();
  EXPECT_TRUE(inside->is_recovered);
  w->clock.us += 1'000;
  fake_client* outside = client(0, "room");
  outside->subscribe_since(0, "e1");
  settle();
  EXPECT_FALSE(outside->is_recovered);
}

TEST_F(owner_test, RecoveryIsBoundedInBytes) {
  recovery_bytes_max = 1000;
  begin(1);
  const std::string data =
      "\"" + std::string(470, 'x') +
      "\"";  // object: {"data":…,"offset":1} = 493 bytes; with a comma twice: 988
  fake_client* first = client(0, "room");
  first->subscribe(false);
  settle();
  publish_all(0, "room", 3, data);
  for (const bool has_ring : {true, false}) {
    if (!has_ring) chat::recent_drop(&w->at(0)->owned->recents, &owned(0, "room")->ring);
    fake_client* two = client(0, "room");
    two->subscribe_since(1, "e1");
    fake_client* three = client(0, "room");
    three->subscribe_since(0, "e1");
    settle();
    EXPECT_TRUE(two->is_recovered);
    EXPECT_LE(two->recovered_text.size(), 1000u);
    EXPECT_FALSE(three->is_recovered);
    EXPECT_EQ(three->recovered_text, "");
    EXPECT_EQ(three->at, 3u);
  }
}

TEST_F(owner_test, AFailedReadIsATemporaryErrorAndNobodyIsSubscribed) {
  begin(1);
  publish_all(0, "room", 2);
  fake_client* c = client(0, "room");
  c->has_presence = true;
  c->subscribe_since(0, "e1");
  bus(0).position_answer(0);
  bus(0).read_answer(0, core::err::io);
  EXPECT_EQ(c->code, error::internal);
  EXPECT_EQ(owned(0, "room")->link_count, 0u);
  EXPECT_TRUE(bus(0).present["room"].empty());
}

TEST_F(owner_test, ARefusedReadIsTooManyRequests) {
  begin(1);
  publish_all(0, "room", 2);
  fake_client* c = client(0, "room");
  c->subscribe_since(0, "e1");
  bus(0).refuse = core::err::full;
  bus(0).position_answer(0);
  EXPECT_EQ(c->code, error::too_many_requests);
  fake_client* d = client(0, "more");
  d->subscribe(false);
  EXPECT_EQ(d->code, error::too_many_requests);
  bus(0).refuse = core::err::ok;
  d->subscribe(false);
  settle();
  EXPECT_EQ(d->code, error::ok);
}

TEST_F(owner_test, AFailedPositionAnswersAllThatWaitAndTheNextTriesAgain) {
  begin(1);
  for (int i = 0; i < 3; ++i) client(0, "room")->subscribe(false);
  ASSERT_EQ(bus(0).positions.size(), 1u);
  bus(0).position_answer(0, core::err::unavailable);
  for (auto& c : clients) EXPECT_EQ(c->code, error::internal);
  clients[0]->subscribe(false);
  settle();
  EXPECT_EQ(clients[0]->code, error::ok);
  EXPECT_EQ(w->at(0)->owned->lost, 0u);
}

TEST_F(owner_test, WaitingRequestsAreBounded) {
  begin(1);
  for (uint32_t i = 0; i < core::kOwnerWaitingMax + 1; ++i) client(0, "room")->subscribe(false);
  EXPECT_EQ(clients[core::kOwnerWaitingMax - 1]->answers, 0);
  EXPECT_EQ(clients[core::kOwnerWaitingMax]->code, error::too_many_requests);
  settle();
  EXPECT_EQ(clients[core::kOwnerWaitingMax - 1]->code, error::ok);
}

TEST_F(owner_test, TheRingIsDroppedByDeleteAndByRemoveHistory) {
  begin(1);
  fake_client* c = client(0, "room");
  c->subscribe(false);
  settle();
  publish_all(0, "room", 3);
  ASSERT_NE(owned(0, "room")->ring, nullptr);
  chat::request* r = request(0, chat::request_kind::publish, "room");
  r->pub.data = "null";
  r->pub.has_history = true;
  r->pub.refers = 1;
  r->pub.is_delete = true;
  chat::request_submit(r);
  settle();
  EXPECT_EQ(c->at, 4u);
  ASSERT_NE(owned(0, "room")->ring, nullptr);
  EXPECT_EQ(owned(0, "room")->ring->first, 4u) << "what was kept before still has the text";
  publish_all(0, "room", 1);
  chat::request_submit(request(0, chat::request_kind::remove_history, "room"));
  EXPECT_EQ(owned(0, "room")->ring, nullptr);
  fake_client* back = client(0, "room");
  back->subscribe_since(2, "e1");
  settle();
  EXPECT_FALSE(back->is_recovered);
  EXPECT_EQ(back->at, 5u);
}

TEST_F(owner_test, JoinAndLeaveOnceEachAndOnesOwnJoinIsSeen) {
  begin(2);
  const std::string channel = w->channel_of(0);
  fake_client* watcher = client(0, channel);
  watcher->wants_joins = true;
  watcher->subscribe(false);
  fake_client* quiet = client(0, channel);
  quiet->subscribe(false);
  settle();
  fake_client* c = client(1, channel);
  c->wants_joins = c->has_join_leave = true;
  c->subscribe(false);
  settle();
  EXPECT_EQ(bus(0).joins, 1);
  ASSERT_EQ(watcher->pushes.size(), 1u);
  EXPECT_NE(watcher->pushes[0].find("\"join\""), std::string::npos);
  EXPECT_NE(watcher->pushes[0].find("\"client\":\"" + c->id + "\""), std::string::npos);
  EXPECT_EQ(c->pushes.size(), 1u);
  EXPECT_TRUE(quiet->pushes.empty());
  c->unsubscribe();
  settle();
  EXPECT_EQ(bus(0).leaves, 1);
  ASSERT_EQ(watcher->pushes.size(), 2u);
  EXPECT_NE(watcher->pushes[1].find("\"leave\""), std::string::npos);
  EXPECT_EQ(c->pushes.size(), 1u);
}

TEST_F(owner_test, NoJoinWhereTheNamespaceHasNone) {
  begin(1);
  fake_client* c = client(0, "live:a");
  c->has_join_leave = true;
  c->subscribe(false);
  c->unsubscribe();
  EXPECT_EQ(bus(0).joins + bus(0).leaves, 0);
}

TEST_F(owner_test, PresenceFollowsSubscriptions) {
  begin(2, true);
  const std::string channel = w->channel_of(0);
  for (uint32_t i = 0; i < 3; ++i) {
    fake_client* c = client(i % 2, channel);
    c->has_presence = i < 2;
    c->subscribe(false);
  }
  w->run();
  struct seen {
    std::vector<broker::member> members;
    broker::presence_counts counts;
  } got;
  const auto ask = [&](chat::request_kind kind) {
    chat::request* r = request(1, kind, channel);
    r->user = &got;
    r->done = [](chat::node_loop*, chat::request* answer) noexcept {
      auto* to = static_cast<seen*>(answer->user);
      EXPECT_EQ(answer->code, error::ok);
      if (answer->kind == chat::request_kind::presence)
        to->members = answer->members;
      else
        to->counts = answer->counts;
      chat::request_free(answer);
    };
    chat::request_submit(r);
    w->run();
  };
  ask(chat::request_kind::presence);
  ask(chat::request_kind::presence_stats);
  ASSERT_EQ(got.members.size(), 2u);
  EXPECT_EQ(got.counts.clients, 2u);
  EXPECT_EQ(got.counts.users, 2u);
  clients[0]->unsubscribe();
  w->run();
  ask(chat::request_kind::presence);
  ASSERT_EQ(got.members.size(), 1u);
  EXPECT_EQ(got.members[0].client, clients[1]->id);

  chat::request* r = request(1, chat::request_kind::update_member, channel);
  r->who = {clients[1]->id, "user-" + clients[1]->id, "{\"new\":1}"};
  r->has_presence = true;
  chat::request_submit(r);
  w->run();
  ask(chat::request_kind::presence);
  ASSERT_EQ(got.members.size(), 1u);
  EXPECT_EQ(got.members[0].info, "{\"new\":1}");
}

TEST_F(owner_test, AFailedPresenceRefusesTheSubscription) {
  begin(1);
  fake_client* first = client(0, "room");
  first->subscribe(false);
  settle();
  fake_client* c = client(0, "room");
  c->has_presence = true;
  bus(0).refuse = core::err::unavailable;
  c->subscribe(false);
  EXPECT_EQ(c->code, error::internal);
  EXPECT_EQ(owned(0, "room")->links[0].subscribers, 1u);
}

TEST_F(owner_test, AKeyIsPublishedOnceAndOtherDataIsAConflict) {
  begin(2, true);
  const std::string channel = w->channel_of(1);
  fake_client* c = client(0, channel);
  c->subscribe(false);
  w->run();
  published p[3];
  for (int i = 0; i < 3; ++i) {
    chat::request* r = request(0, chat::request_kind::publish, channel);
    r->pub.data = "{}";
    r->pub.has_history = true;
    r->pub.key_scope = "k";
    r->pub.key_hash = i < 2 ? "same" : "other";
    r->pub.key_ttl_ms = 1000;
    r->user = &p[i];
    r->done = on_published;
    chat::request_submit(r);
    w->run();
  }
  EXPECT_EQ(p[0].code, error::ok);
  EXPECT_FALSE(p[0].is_duplicate);
  EXPECT_EQ(p[1].code, error::ok);
  EXPECT_TRUE(p[1].is_duplicate);
  EXPECT_EQ(p[1].at.offset, p[0].at.offset);
  EXPECT_EQ(p[2].code, error::key_conflict);
  EXPECT_EQ(c->pushes.size(), 1u);
  EXPECT_EQ(w->counters(1).duplicates.get(), 1u);
  EXPECT_EQ(w->counters(1).publications.get(), 1u);
}

TEST_F(owner_test, HistoryPagesAndRefusesAForeignEpoch) {
  begin(1, true);
  for (int i = 0; i < 5; ++i) publish(0, "room", std::to_string(i));
  w->run();
  struct answer {
    error code;
    store::position top;
    std::string publications;
    size_t raw;
  } got;
  const auto ask = [&](uint64_t since, bool is_reverse, uint32_t limit, const char* epoch,
                       bool wants_raw = false) {
    chat::request* r = request(0, chat::request_kind::history, "room");
    r->read.since = since;
    r->read.is_reverse = is_reverse;
    r->read.limit = limit;
    r->wants_raw = wants_raw;
    r->has_since_epoch = epoch != nullptr;
    if (epoch != nullptr) r->since.epoch = epoch;
    r->user = &got;
    r->done = [](chat::node_loop*, chat::request* a) noexcept {
      *static_cast<answer*>(a->user) = {a->code, a->top, a->publications, a->pubs.size()};
      chat::request_free(a);
    };
    chat::request_submit(r);
    w->run();
  };
  ask(0, false, 0, nullptr);
  EXPECT_EQ(got.top.offset, 5u);
  EXPECT_EQ(got.publications, "");
  const std::string epoch = got.top.epoch;
  ask(3, false, 10, epoch.c_str());
  EXPECT_EQ(fixture::offsets_in(got.publications), (std::vector<uint64_t>{4, 5}));
  ask(0, true, 2, nullptr);
  EXPECT_EQ(fixture::offsets_in(got.publications), (std::vector<uint64_t>{5, 4}));
  ask(0, false, 2, nullptr, true);
  EXPECT_EQ(got.raw, 2u);
  EXPECT_EQ(got.publications, "");
  ask(3, false, 10, "foreign");
  EXPECT_EQ(got.code, error::unrecoverable_position);
  EXPECT_EQ(got.publications, "");
}

TEST_F(owner_test, IdleChannelsAreForgotten) {
  begin(2);
  const std::string channel = w->channel_of(0);
  fake_client* c = client(1, channel);
  c->subscribe(false);
  settle();
  publish_all(0, channel, 1);
  settle();
  c->unsubscribe();
  settle();
  w->pass(core::kOwnerLingerMs - 2000);
  ASSERT_NE(owned(0, channel), nullptr);
  EXPECT_EQ(bus(0).unsubscribes, 0);
  c->subscribe(true);  // within the time: nothing is read again
  settle();
  EXPECT_TRUE(c->is_recovered);
  EXPECT_EQ(bus(0).subscribes, 1);
  w->pass(2 * core::kOwnerLingerMs);
  ASSERT_NE(owned(0, channel), nullptr);  // it has a subscriber
  c->unsubscribe();
  settle();
  w->pass(core::kOwnerLingerMs + 3000);
  EXPECT_EQ(owned(0, channel), nullptr);
  EXPECT_EQ(bus(0).unsubscribes, 1);
  EXPECT_EQ(w->counters(0).channels_owned.get(), 0u);
  EXPECT_EQ(w->at(0)->owned->recents.bytes, 0u);
  c->subscribe(true);
  settle();
  EXPECT_EQ(bus(0).subscribes, 2);
}

TEST_F(owner_test, LingeringChannelsAreBounded) {
  begin(1);
  constexpr uint32_t kMany = core::kOwnerIdleChannelsMax + 100;
  fake_client* c = client(0, "room");
  for (uint32_t i = 0; i < kMany; ++i) {
    c->channel = "c" + std::to_string(i);
    c->subscribe(false);
    bus(0).finish();
    c->unsubscribe();
  }
  EXPECT_EQ(w->counters(0).channels_owned.get(), kMany);
  w->pass(1500);
  EXPECT_EQ(w->counters(0).channels_owned.get(), core::kOwnerIdleChannelsMax);
  EXPECT_EQ(owned(0, "c99"), nullptr) << "the longest idle go first";
  EXPECT_NE(owned(0, "c100"), nullptr);
}

TEST_F(owner_test, LostContinuitySendsEverybodyBackAndTheyRecover) {
  begin(3);
  const std::string channel = w->channel_of(0);
  for (uint32_t i = 0; i < 3; ++i) client(i, channel)->subscribe(false);
  settle();
  publish_all(0, channel, 2);
  settle();
  bus(0).epoch = "e2";
  bus(0).lose(channel);
  settle();
  for (auto& c : clients) EXPECT_EQ(c->insufficient, 1);
  EXPECT_EQ(owned(0, channel)->link_count, 0u);
  for (auto& c : clients) c->subscribe(true);
  settle();
  for (auto& c : clients) {
    EXPECT_EQ(c->code, error::ok);
    EXPECT_FALSE(c->is_recovered);
    EXPECT_EQ(c->epoch, "e2");
  }
}

TEST_F(owner_test, AChannelWhoseReloadFailsIsTriedAgainByItself) {
  begin(1);
  fake_client* c = client(0, "room");
  c->subscribe(false);
  settle();
  bus(0).refuse = core::err::unavailable;
  fake_client* other = client(0, "room");
  bus(0).lose("room");
  EXPECT_EQ(c->insufficient, 1);
  other->subscribe(false);
  EXPECT_EQ(other->code, error::internal);
  bus(0).refuse = core::err::ok;
  other->subscribe(false);
  settle();
  EXPECT_EQ(other->code, error::ok);
  // With a subscriber that stays (no position, so it does not come back), the timer does it.
  chat::owned_channel* o = owned(0, "room");
  bus(0).refuse = core::err::unavailable;
  chat::owned_add_subscriber(w->at(0)->owned, o, 0);
  bus(0).lose("room");
  EXPECT_EQ(o->state, chat::channel_state::lost);
  bus(0).refuse = core::err::ok;
  w->pass(1500);
  settle();
  EXPECT_EQ(o->state, chat::channel_state::live);
}

// ---- loops whose mailbox is full

TEST_F(owner_test, ALoopThatIsBehindCatchesUpInOrder) {
  begin(2);
  const std::string channel = w->channel_of(0);
  fake_client* c = client(1, channel);
  c->subscribe(false);
  settle();
  publish_all(0, channel, 1);
  w->fill(1);
  publish_all(0, channel, 5);
  EXPECT_TRUE(owned(0, channel)->links[0].is_behind);
  EXPECT_EQ(w->counters(0).deliveries_behind.get(), 1u);
  w->step(1);  // the first push; one slot is free now, but what is held back comes first
  EXPECT_EQ(c->at, 1u);
  publish_all(0, channel, 1);
  w->run();
  EXPECT_EQ(c->at, 1u);
  w->pass(2 * core::kTimerTickMs);
  EXPECT_EQ(c->at, 7u);
  EXPECT_EQ(c->holes, 0);
  EXPECT_FALSE(owned(0, channel)->links[0].is_behind);
  publish_all(0, channel, 1);
  w->run();
  EXPECT_EQ(c->at, 8u);
  EXPECT_EQ(c->insufficient, 0);
}

TEST_F(owner_test, ALoopTooFarBehindIsToldAndItsClientsRecover) {
  begin(2);
  const std::string channel = w->channel_of(0);
  fake_client* c = client(1, channel);
  c->subscribe(false);
  settle();
  w->fill(1);
  publish_all(0, channel, static_cast<int>(core::kRecentPublicationsMax) + 1);
  w->pass(core::kTimerTickMs, true);  // the message for this uses the reserved slot
  EXPECT_FALSE(owned(0, channel)->links[0].is_behind);
  w->run();
  EXPECT_EQ(c->insufficient, 1);
  EXPECT_EQ(c->at, 0u);
  c->subscribe(true);
  settle();
  EXPECT_TRUE(c->is_recovered);
  EXPECT_EQ(c->at, core::kRecentPublicationsMax + 1u);
  EXPECT_EQ(c->holes, 0);
}

TEST_F(owner_test, TheSlotForInsufficientIsTakenAgain) {
  begin(2);
  const std::string channel = w->channel_of(0);
  for (int round = 0; round < 3; ++round) {
    fake_client* c = client(1, channel);
    c->subscribe(false);
    settle();
    w->fill(1);
    publish_all(0, channel, static_cast<int>(core::kRecentPublicationsMax) + 1);
    w->pass(core::kTimerTickMs, true);
    w->run();
    EXPECT_EQ(c->insufficient, 1) << round;
    w->pass(core::kTimerTickMs);
  }
}

TEST_F(owner_test, TheSlotIsTakenAgainAfterALossToo) {
  begin(2);
  const std::string channel = w->channel_of(0);
  fake_client* c = client(1, channel);
  c->subscribe(false);
  settle();
  w->fill(1);
  bus(0).lose(channel);
  EXPECT_EQ(w->loop_at(1)->reserved, 0u);
  w->run();
  EXPECT_EQ(c->insufficient, 1);
  w->pass(2 * core::kTimerTickMs);
  EXPECT_EQ(w->loop_at(1)->reserved, 1u);
}

TEST_F(owner_test, WithoutAnySlotTheLoopStaysBehindUntilThereIsOne) {
  begin(2);
  const std::string a = w->channel_of(0, "a"), b = w->channel_of(0, "b");
  fake_client* in_a = client(1, a);
  fake_client* in_b = client(1, b);
  in_a->subscribe(false);
  in_b->subscribe(false);
  settle();
  w->fill(1);
  publish_all(0, a, static_cast<int>(core::kRecentPublicationsMax) + 1);
  publish_all(0, b, static_cast<int>(core::kRecentPublicationsMax) + 1);
  w->mailbox_limit(1, 1);  // nothing can be reserved again
  w->pass(core::kTimerTickMs, true);
  EXPECT_NE(owned(0, a)->links[0].is_behind, owned(0, b)->links[0].is_behind);
  w->mailbox_limit(1, 65536);
  w->run();
  w->pass(2 * core::kTimerTickMs);
  EXPECT_EQ(in_a->insufficient, 1);
  EXPECT_EQ(in_b->insufficient, 1);
}

TEST_F(owner_test, ASubscribeFromALoopThatIsBehindIsRefusedRatherThanDoubled) {
  begin(2);
  const std::string channel = w->channel_of(0);
  fake_client* old = client(1, channel);
  old->subscribe(false);
  settle();
  fake_client* young = client(1, channel);
  young->subscribe(false);  // on its way
  w->fill(1);
  publish_all(0, channel, 3);
  ASSERT_TRUE(owned(0, channel)->links[0].is_behind);
  while (w->step(0)) {
  }
  w->run();
  EXPECT_EQ(young->code, error::too_many_requests);
  w->pass(2 * core::kTimerTickMs);
  EXPECT_EQ(old->at, 3u);
  EXPECT_EQ(old->holes, 0);
  young->subscribe(false);
  settle();
  EXPECT_EQ(young->code, error::ok);
  EXPECT_EQ(young->at, 3u);
  EXPECT_TRUE(young->pushes.empty());
}

TEST_F(owner_test, WithoutHistoryADeliveryThatDoesNotFitIsDroppedAndCounted) {
  begin(2);
  std::string channel;
  for (int i = 0; channel.empty() || chat::channel_partition(channel) % 2 != 0; ++i)
    channel = "live:" + std::to_string(i);
  fake_client* c = client(1, channel);
  c->subscribe(false);
  settle();
  w->fill(1);
  publish(0, channel, "{}");
  publish(0, channel, "{}");
  EXPECT_EQ(w->counters(0).deliveries_behind.get(), 2u);
  w->run();
  publish(0, channel, "{}");
  w->run();
  EXPECT_EQ(c->pushes.size(), 1u);
  EXPECT_EQ(c->insufficient, 0);
}

// ---- memory

TEST_F(owner_test, TheRingIsBoundedInPublicationsAndBytes) {
  begin(1);
  client(0, "room")->subscribe(false);
  client(0, "big")->subscribe(false);
  settle();
  publish_all(0, "room", static_cast<int>(core::kRecentPublicationsMax));
  EXPECT_EQ(owned(0, "room")->ring->first, 1u);
  publish_all(0, "room", 1);
  EXPECT_EQ(owned(0, "room")->ring->first, 2u);
  EXPECT_EQ(owned(0, "room")->ring->count, core::kRecentPublicationsMax);
  publish_all(0, "big", 20, "\"" + std::string(30'000, 'x') + "\"");
  EXPECT_LE(owned(0, "big")->ring->bytes, core::kRecentBytesMax);
  EXPECT_EQ(owned(0, "big")->ring->count, 8u);
  publish_all(0, "big", 1, "\"" + std::string(core::kRecentBytesMax, 'x') + "\"");
  EXPECT_EQ(owned(0, "big")->ring, nullptr);
}

TEST_F(owner_test, TheChannelUsedLongestAgoLosesItsRingFirst) {
  begin(1);
  const std::string data = "\"" + std::string(1000, 'x') + "\"";
  for (const char* name : {"a", "b", "c", "d"}) client(0, name)->subscribe(false);
  settle();
  w->at(0)->owned->recents.bytes_max = 4000;
  for (const char* name : {"a", "b", "c"}) publish_all(0, name, 1, data);
  fake_client* reader = client(0, "a");
  reader->subscribe_since(0, "e1");  // a is used again
  EXPECT_TRUE(reader->is_recovered);
  publish_all(0, "d", 1, data);
  EXPECT_NE(owned(0, "a")->ring, nullptr);
  EXPECT_EQ(owned(0, "b")->ring, nullptr);
  EXPECT_NE(owned(0, "d")->ring, nullptr);
  EXPECT_LE(w->at(0)->owned->recents.bytes, 4000u);
}

TEST_F(owner_test, APublicationIsAUseToo) {
  begin(1);
  const std::string data = "\"" + std::string(1000, 'x') + "\"";
  for (const char* name : {"a", "b", "c"}) client(0, name)->subscribe(false);
  settle();
  w->at(0)->owned->recents.bytes_max = 4000;
  for (const char* name : {"a", "b", "a", "c"}) publish_all(0, name, 1, data);
  EXPECT_NE(owned(0, "a")->ring, nullptr);
  EXPECT_EQ(owned(0, "b")->ring, nullptr);
}

TEST_F(owner_test, ChannelsAndTotals) {
  begin(1);
  for (const char* name : {"a1", "a2", "b1", "b1"}) client(0, name)->subscribe(false);
  settle();
  const auto names = [&](const char* pattern) {
    std::vector<chat::channel_count> found;
    chat::owner_channels(w->at(0)->owned, pattern, &found);
    std::map<std::string, uint32_t> out;
    for (auto& f : found) out[f.channel] = f.clients;
    return out;
  };
  using counts = std::map<std::string, uint32_t>;
  EXPECT_EQ(names(""), (counts{{"a1", 1}, {"a2", 1}, {"b1", 2}}));
  EXPECT_EQ(names("a*"), (counts{{"a1", 1}, {"a2", 1}}));
  EXPECT_EQ(names("?1"), (counts{{"a1", 1}, {"b1", 2}}));
  EXPECT_EQ(names("*"), names(""));
  EXPECT_EQ(names("a"), counts{});
  EXPECT_EQ(names("a1?"), counts{});
  EXPECT_EQ(names("*a*2*"), (counts{{"a2", 1}}));
  uint32_t channels, subscriptions;
  chat::owner_totals(w->at(0)->owned, &channels, &subscriptions);
  EXPECT_EQ(channels, 3u);
  EXPECT_EQ(subscriptions, 4u);
  clients[0]->unsubscribe();
  EXPECT_EQ(names("a1"), counts{});
}

// ---- races against the model that a client's offsets have no hole and nothing twice

struct race {
  uint32_t loops;
  uint32_t mailbox_max;
  uint64_t size_max;
  int steps;
};

class owner_race : public owner_test, public testing::WithParamInterface<race> {
 protected:
  void random_step(std::mt19937_64* dice, uint32_t owner, const std::string& channel) {
    fake_client* c = clients[(*dice)() % clients.size()].get();
    switch ((*dice)() % 12) {
      case 0:
        if (c->where == fake_client::place::away) c->subscribe((*dice)() % 8 != 0);
        break;
      case 1:
        if (c->where == fake_client::place::live && (*dice)() % 3 == 0) c->unsubscribe();
        break;
      case 2:
        publish(owner, channel, "{}");
        break;
      case 3:
        w->pass((*dice)() % 100, true);
        break;
      case 4:
        if (chat::owned_channel* o = owned(owner, channel); o != nullptr && (*dice)() % 6 == 0)
          chat::recent_drop(&w->at(owner)->owned->recents, &o->ring);
        break;
      case 5:
      case 6:
      case 7:
        (void)bus(owner).step(dice);
        break;
      default:
        w->step(static_cast<uint32_t>((*dice)() % w->size()));
        break;
    }
  }
};

TEST_P(owner_race, NothingIsMissedOrDoubled) {
  const uint64_t seed = fixture::seed();
  SCOPED_TRACE("PARLEY_TEST_SEED=" + std::to_string(seed));
  const race& k = GetParam();
  std::mt19937_64 dice(seed);
  int recovered = 0;
  for (int round = 0; round < 12; ++round) {
    keep.size_max = k.size_max;
    begin(k.loops, false, k.mailbox_max);
    const uint32_t owner = static_cast<uint32_t>(dice() % k.loops);
    const std::string channel = w->channel_of(owner);
    for (uint32_t i = 0; i < 6; ++i) client(i % k.loops, channel);
    for (int step = 0; step < k.steps; ++step) {
      random_step(&dice, owner, channel);
      for (auto& each : clients)
        ASSERT_EQ(each->holes, 0) << "round " << round << " step " << step << " client "
                                  << each->id;
    }
    for (int i = 0; i < 4; ++i) {
      settle();
      w->pass(2000);  // what is behind in a small mailbox catches up by a few a tick
    }
    uint32_t living = 0;
    for (auto& c : clients) {
      EXPECT_EQ(c->holes, 0) << c->id;
      EXPECT_NE(c->where, fake_client::place::asking);
      if (c->where != fake_client::place::live) continue;
      EXPECT_EQ(c->at, bus(owner).tops[channel]) << c->id;
      recovered += c->is_recovered;
      ++living;
    }
    uint32_t channels, counted;
    chat::owner_totals(w->at(owner)->owned, &channels, &counted);
    EXPECT_EQ(counted, living);
    w.reset();
    clients.clear();
    if (HasFailure()) return;
  }
  if (k.size_max == 0) {
    EXPECT_GT(recovered, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Loops, owner_race,
                         testing::Values(race{1, 65536, 0, 4000}, race{2, 65536, 0, 4000},
                                         race{4, 65536, 0, 4000}, race{3, 12, 0, 4000},
                                         race{2, 6, 0, 4000}, race{2, 65536, 5, 4000}));

// Real brokers on real threads, for the thread sanitizer as much as for the result.
TEST_F(owner_test, LoopsOnThreads) {
  begin(4, true);
  const uint64_t seed = fixture::seed();
  SCOPED_TRACE("PARLEY_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 dice(seed);
  std::vector<std::string> channels;
  for (uint32_t i = 0; i < 4; ++i) channels.push_back(w->channel_of(i));
  for (uint32_t i = 0; i < 24; ++i) {
    fake_client* c = client(i % 4, channels[i / 4 % 4]);
    c->has_presence = c->has_join_leave = true;
  }
  w->start_threads();
  for (int round = 0; round < 40; ++round) {
    for (uint32_t i = 0; i < 4; ++i) {
      const uint64_t roll = dice();
      w->call(i, [&, i, roll] {
        for (uint32_t k = i; k < clients.size(); k += 4) {
          fake_client* c = clients[k].get();
          if (c->where == fake_client::place::away) {
            c->subscribe(true);
          } else if (c->where == fake_client::place::live && (roll >> k) % 4 == 0) {
            c->unsubscribe();
          }
        }
        for (const std::string& channel : channels) publish(i, channel, "{}");
      });
    }
  }
  w->stop_threads();
  w->run();  // what is still in the mailboxes, on this thread
  for (auto& c : clients) {
    EXPECT_EQ(c->holes, 0) << c->id;
    EXPECT_EQ(c->insufficient, 0);
    EXPECT_NE(c->where, fake_client::place::asking) << c->id;
    if (c->where == fake_client::place::live) {
      EXPECT_EQ(c->at, 160u) << c->id;
    }
  }
}

}  // namespace
