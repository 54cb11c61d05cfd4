// The way of a request: order, refusals at a full mailbox, and unsubscribes that are never lost.
#include "chat/request.h"

#include <gtest/gtest.h>

#include <memory>

#include "chat/owner_state.h"
#include "tests/chat/fake_client.h"
#include "tests/chat/fixture.h"

namespace {

using chat::error;
using fixture::fake_client;

class request_test : public testing::Test {
 protected:
  void begin(uint32_t loops, uint32_t mailbox_max = 65536) {
    w = std::make_unique<fixture::world>(loops, mailbox_max);
    w->start();
    for (uint32_t i = 0; i < loops; ++i) fixture::use_fake_clients(w->at(i));
    channel = w->channel_of(0);
  }
  fake_client* client(uint32_t loop) {
    clients.push_back(std::make_unique<fake_client>());
    fake_client* c = clients.back().get();
    c->node = w->at(loop);
    c->id = "c" + std::to_string(clients.size());
    c->channel = channel;
    return c;
  }
  uint32_t counted() {
    uint32_t channels, subscriptions;
    chat::owner_totals(w->at(0)->owned, &channels, &subscriptions);
    return subscriptions;
  }

  std::unique_ptr<fixture::world> w;
  std::string channel;
  std::vector<std::unique_ptr<fake_client>> clients;
};

TEST_F(request_test, OnTheOwnersLoopThereIsNoMailbox) {
  begin(1);
  channel = "live:x";
  fake_client* c = client(0);
  uint16_t ns;
  ASSERT_EQ(chat::channel_namespace(w->config, channel, &ns), chat::channel_rule::ok);
  c->ns = ns;
  c->subscribe(false);
  EXPECT_EQ(c->answers, 1);
}

TEST_F(request_test, AFullOwnerRefusesInsideTheCall) {
  begin(2);
  w->fill(0);
  fake_client* c = client(1);
  c->subscribe(false);
  EXPECT_EQ(c->answers, 1);
  EXPECT_EQ(c->code, error::too_many_requests);
  EXPECT_EQ(w->counters(1).mailbox_full.get(), 1u);
  w->run();
  c->subscribe(false);
  w->run();
  EXPECT_EQ(c->code, error::ok);
  EXPECT_EQ(c->answers, 2);
}

TEST_F(request_test, WithoutRoomForTheAnswerNothingIsAsked) {
  begin(2);
  w->fill(1);
  fake_client* c = client(1);
  const uint32_t before = w->waiting(0);
  c->subscribe(false);
  EXPECT_EQ(c->code, error::too_many_requests);
  EXPECT_EQ(w->waiting(0), before);
}

TEST_F(request_test, TheAnswersSlotIsReservedAndGivenBack) {
  begin(2, 4);  // one slot of each mailbox is the other owner's reserve
  fake_client* c = client(1);
  c->subscribe(false);  // loop 1: 1 spare, 1 answer
  EXPECT_EQ(w->loop_at(1)->reserved, 2u);
  w->run();
  EXPECT_EQ(w->loop_at(1)->reserved, 1u);
  w->fill(0);
  client(1)->subscribe(false);  // refused: the answer's slot goes back
  EXPECT_EQ(w->loop_at(1)->reserved, 1u);
}

TEST_F(request_test, AnUnsubscribeThatMeetsAFullMailboxArrivesLater) {
  begin(2);
  fake_client* c = client(1);
  c->subscribe(false);
  w->run();
  ASSERT_EQ(counted(), 1u);
  w->fill(0);
  c->unsubscribe();
  EXPECT_EQ(chat::unsent_count(w->at(1)->waiting), 1u);
  w->run();
  EXPECT_EQ(counted(), 1u);
  w->pass(2 * core::kTimerTickMs);
  EXPECT_EQ(counted(), 0u);
  EXPECT_EQ(chat::unsent_count(w->at(1)->waiting), 0u);
}

TEST_F(request_test, NothingOvertakesAKeptUnsubscribe) {
  begin(2);
  fake_client* c = client(1);
  c->has_presence = true;
  c->subscribe(false);
  w->run();
  w->fill(0);
  c->unsubscribe();
  c->subscribe(false);  // must not come before it
  EXPECT_EQ(c->code, error::too_many_requests);
  w->step(0);
  w->step(0);
  c->subscribe(false);  // room for two now: the unsubscribe first
  EXPECT_EQ(chat::unsent_count(w->at(1)->waiting), 0u);
  w->run();
  EXPECT_EQ(c->code, error::ok);
  EXPECT_EQ(counted(), 1u);
}

TEST_F(request_test, KeptRequestsAreBoundedBySubscriptions) {
  begin(2);
  for (int i = 0; i < 50; ++i) client(1)->subscribe(false);
  w->run();
  w->fill(0);
  for (auto& c : clients) c->unsubscribe();
  for (int round = 0; round < 3; ++round) {
    for (auto& c : clients) {
      c->subscribe(false);
      if (c->where == fake_client::place::live) c->unsubscribe();
    }
  }
  EXPECT_EQ(chat::unsent_count(w->at(1)->waiting), 50u);
  w->run();
  w->pass(2 * core::kTimerTickMs);
  EXPECT_EQ(counted(), 0u);
}

TEST_F(request_test, AKeptUpdateReplacesTheEarlierOneOfTheClient) {
  begin(2);
  fake_client* c = client(1);
  c->has_presence = true;
  c->subscribe(false);
  w->run();
  w->fill(0);
  for (int i = 0; i < 10; ++i) {
    chat::request* r = chat::request_new(w->at(1), chat::request_kind::update_member, channel, 0);
    r->who = {c->id, "u", std::to_string(i)};
    r->has_presence = true;
    chat::request_submit(r);
  }
  EXPECT_EQ(chat::unsent_count(w->at(1)->waiting), 1u);
  w->run();
  w->pass(2 * core::kTimerTickMs);
  std::string info;
  ASSERT_EQ(w->at(0)->bus->presence(
                channel, 10,
                [](void* to, core::err, const std::vector<broker::member>& m) noexcept {
                  *static_cast<std::string*>(to) = m.at(0).info;
                },
                &info),
            core::err::ok);
  EXPECT_EQ(info, "9");
}

TEST_F(request_test, APublishThatWantsNoAnswerIsDroppedAndCounted) {
  begin(2);
  w->fill(0);
  chat::request_submit(chat::request_new(w->at(1), chat::request_kind::publish, channel, 0));
  EXPECT_EQ(chat::unsent_count(w->at(1)->waiting), 0u);
  EXPECT_EQ(w->counters(1).mailbox_full.get(), 1u);
}

TEST_F(request_test, TenSubscribesAndUnsubscribesInARowKeepTheirOrder) {
  begin(2);
  fake_client* c = client(1);
  for (int i = 0; i < 10; ++i) {
    c->subscribe(false);
    w->run();
    c->unsubscribe();
  }
  w->run();
  EXPECT_EQ(c->answers, 10);
  EXPECT_EQ(counted(), 0u);
}

// What is on its way when the node ends is freed: the leak checker looks on.
TEST_F(request_test, EndingWithRequestsEverywhere) {
  begin(2);
  fake_client* gone = client(1);
  gone->subscribe(false);
  w->run();
  for (int i = 0; i < 3; ++i) client(1)->subscribe(false);  // in the mailbox
  w->step(0);
  fake_client* waits = client(0);
  waits->channel = w->channel_of(0, "other");
  waits->subscribe(false);  // waits for a position
  w->fill(0);
  gone->unsubscribe();  // kept
  w.reset();
}

TEST(codes_test, TextsAndWhatErrorsBecome) {
  EXPECT_STREQ(chat::error_text(error::too_many_requests), "too many requests");
  EXPECT_STREQ(chat::error_text(error::key_conflict), "idempotency key was used with other data");
  int temporary = 0;
#define X(name, code, text, is_temporary)                                 \
  EXPECT_STREQ(chat::error_text(error::name), text);                      \
  EXPECT_EQ(chat::error_is_temporary(error::name), is_temporary) << code; \
  temporary += is_temporary;
  CHAT_ERROR_MAP(X)
#undef X
  EXPECT_EQ(temporary, 2);
  EXPECT_FALSE(chat::error_is_temporary(error::ok));
  const std::pair<core::err, error> rows[] = {{core::err::ok, error::ok},
                                              {core::err::full, error::too_many_requests},
                                              {core::err::conflict, error::key_conflict},
                                              {core::err::not_found, error::bad_request},
                                              {core::err::denied, error::permission_denied},
                                              {core::err::too_big, error::bad_request},
                                              {core::err::malformed, error::bad_request},
                                              {core::err::io, error::internal},
                                              {core::err::unavailable, error::internal},
                                              {core::err::timeout, error::internal},
                                              {core::err::closed, error::internal},
                                              {core::err::again, error::internal},
                                              {core::err::invalid, error::internal}};
  for (const auto& [from, to] : rows) EXPECT_EQ(chat::error_from(from), to) << core::err_name(from);
}

}  // namespace
