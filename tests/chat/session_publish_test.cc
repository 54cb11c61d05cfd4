// publish and the rpcs that publish: rights, sizes, rates, what a publication carries, idempotency,
// edit, delete, typing.
#include <string>

#include "core/limits.h"
#include "tests/chat/fake_client.h"
#include "tests/chat/session_fixture.h"

namespace {

using fixture::epoch_in;
using fixture::error_reply;
using fixture::kBadRequest;
using fixture::kBusy;
using fixture::kDenied;
using fixture::kInternal;
using fixture::kNotAvailable;
using fixture::tab;

constexpr const char* kPublished = "\"publish\":{}";

class session_publish_test : public fixture::session_test {
 protected:
  std::string publish(tab* t, const std::string& channel, const std::string& data = "1") {
    return t->command("\"publish\":{\"channel\":\"" + channel + "\",\"data\":" + data + "}");
  }
  std::string send(tab* t, const std::string& channel, const std::string& key,
                   const std::string& data = "{}") {
    return t->rpc(
        "send", "{\"channel\":\"" + channel + "\",\"key\":\"" + key + "\",\"data\":" + data + "}");
  }
  std::string change(tab* t, const std::string& method, uint64_t offset,
                     const std::string& more = "") {
    return t->rpc(method, "{\"channel\":\"a\",\"offset\":" + std::to_string(offset) + more + "}");
  }
  std::string sent(uint64_t offset, bool is_duplicate = false) {
    return "\"rpc\":{\"data\":{\"offset\":" + std::to_string(offset) + ",\"epoch\":\"" + epoch +
           "\",\"time\":" + std::to_string(w->clock.wall_ms()) +
           ",\"duplicate\":" + (is_duplicate ? "true}}" : "false}}");
  }
  std::string history() { return ann->command("\"history\":{\"channel\":\"a\",\"limit\":-1}"); }
  // ann and bob in channel "a".
  void meet(uint32_t loops = 1) {
    begin(loops);
    ann = connect("ann");
    bob = connect("bob", loops - 1);
    epoch = epoch_in(ann->subscribe("a"));
    bob->subscribe("a");
    ann->take();
    bob->take();
  }
  tab *ann = nullptr, *bob = nullptr;
  std::string epoch;
};

// ---- publish

TEST_F(session_publish_test, APublicationCarriesAuthorOffsetAndTime) {
  meet(2);
  EXPECT_EQ(publish(ann, "a", "{\"text\" : \"hi\"}"), kPublished);
  const std::string push =
      "{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":{\"text\" : \"hi\"},"
      "\"info\":{\"user\":\"ann\",\"client\":\"" +
      ann->id() + "\"},\"offset\":1,\"tags\":{\"time\":\"" + std::to_string(w->clock.wall_ms()) +
      "\"}}}}";
  EXPECT_EQ(bob->take(), push);
  EXPECT_EQ(ann->take(), push + "\n{\"id\":3,\"publish\":{}}");  // one's own push comes first
}

TEST_F(session_publish_test, EphemeralPublicationsHaveNoOffsetAtAll) {
  begin();
  ann = connect("ann");
  ann->subscribe("live:x");
  ann->take();
  EXPECT_EQ(publish(ann, "live:x"), kPublished);
  EXPECT_EQ(ann->pushes().back(),
            "{\"push\":{\"channel\":\"live:x\",\"pub\":{\"data\":1,\"info\":{\"user\":\"ann\","
            "\"client\":\"" +
                ann->id() + "\"}}}}");
}

TEST_F(session_publish_test, SubscribersMayOthersMayNot) {
  meet();
  tab* outsider = connect("cid");
  EXPECT_EQ(publish(outsider, "a"), kDenied);
  EXPECT_EQ(publish(outsider, "#ann"), kDenied);
  EXPECT_EQ(publish(outsider, "a b"), kBadRequest);
  EXPECT_EQ(publish(outsider, "nowhere:a"), error_reply(102, "unknown channel"));
  w->config.namespaces[0].allow_publish_for_client = true;
  EXPECT_EQ(publish(outsider, "a"), kPublished);
  EXPECT_EQ(publish(outsider, "#ann"), kDenied);  // whose users are named
  EXPECT_EQ(publish(outsider, "#cid"), kPublished);
  EXPECT_EQ(ann->command("\"publish\":{\"channel\":\"a\",\"data\":1,\"type\":1}"), kBadRequest);
  EXPECT_EQ(ann->command("\"publish\":{\"channel\":\"a\"}"), kBadRequest);
}

TEST_F(session_publish_test, AnonymousPublishesOnlyWhereAllowed) {
  config.allow_anonymous = true;
  ns().allow_subscribe_for_anonymous = true;
  begin();
  tab* t = anonymous();
  EXPECT_EQ(publish(t, "a"), kDenied);
  t->subscribe("a");
  EXPECT_EQ(publish(t, "a"), kDenied);  // "subscriber" is a user
  w->config.namespaces[0].allow_publish_for_anonymous = true;
  EXPECT_EQ(publish(t, "a"), kPublished);
  EXPECT_EQ(publish(t, "#ann"), kDenied);
}

TEST_F(session_publish_test, SizesAreBoundedByTheNamespace) {
  meet();
  const uint32_t max = config.namespaces[0].publication_bytes_max;
  EXPECT_EQ(publish(ann, "a", "\"" + std::string(max - 2, 'x') + "\""), kPublished);
  EXPECT_EQ(publish(ann, "a", "\"" + std::string(max - 1, 'x') + "\""), kBadRequest);
  EXPECT_EQ(send(ann, "a", "k", "\"" + std::string(max - 1, 'x') + "\""), kBadRequest);
  EXPECT_EQ(change(ann, "edit", 1, ",\"data\":\"" + std::string(max - 1, 'x') + "\""), kBadRequest);
  EXPECT_EQ(publish(ann, "a", "\"" + std::string(1000 * 1000, 'x') + "\""), kBadRequest);
  EXPECT_FALSE(ann->is_over());
}

TEST_F(session_publish_test, RatesOfPublishing) {
  config.publishes_per_s = 10;
  config.publishes_burst = 3;
  meet();
  EXPECT_EQ(publish(ann, "a"), kPublished);
  EXPECT_EQ(send(ann, "a", "k"), sent(2));
  EXPECT_EQ(publish(ann, "a"), kPublished);
  EXPECT_EQ(publish(ann, "a"), kBusy);
  EXPECT_EQ(send(ann, "a", "k"), kBusy);
  EXPECT_EQ(publish(bob, "a"), kPublished);  // each connection has its own
  w->pass(100);
  EXPECT_EQ(publish(ann, "a"), kPublished);
}

TEST_F(session_publish_test, TooManyErrorsEndIt) {
  config.refused_max = 5;
  config.ping_ms = 600'000;
  begin();
  tab* t = connect("ann");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(publish(t, "a"), kDenied);
  w->pass(61'000);  // counted by the minute
  for (int i = 0; i < 5; ++i) EXPECT_EQ(publish(t, "a"), kDenied);
  EXPECT_FALSE(t->is_over());
  EXPECT_EQ(publish(t, "a"), kDenied);  // the reply that is due comes first
  EXPECT_EQ(t->code, 3509);
  EXPECT_EQ(t->reason, "too many errors");
}

TEST_F(session_publish_test, APublishWhoseOutcomeIsUnknownIsTemporary) {
  config.has_personal_channel = false;
  begin();
  auto* bus = script();
  ann = connect("ann");
  ann->say("{\"id\":90,\"subscribe\":{\"channel\":\"a\"}}");
  bus->finish();
  ann->take();
  EXPECT_EQ(publish(ann, "a"), "");
  bus->commit();
  w->pass(core::kCommandMsMax);
  EXPECT_EQ(ann->take(), "{\"id\":2," + kInternal + "}");
  bus->tell();  // the push still comes, an answer does not
  EXPECT_EQ(ann->take().rfind("{\"push\":{\"channel\":\"a\",\"pub\"", 0), 0u);
  bus->refuse = core::err::full;
  EXPECT_EQ(publish(ann, "a"), kBusy);  // nothing was queued
  bus->refuse = core::err::unavailable;
  EXPECT_EQ(publish(ann, "a"), kInternal);
}

// ---- rpc send

TEST_F(session_publish_test, SendIsIdempotentByChannelUserAndKey) {
  meet();
  EXPECT_EQ(send(ann, "a", "k1", "{\"t\":1}"), sent(1));
  EXPECT_NE(bob->take().find("\"tags\":{\"key\":\"k1\",\"time\":\""), std::string::npos);
  EXPECT_EQ(send(ann, "a", "k1", "{\"t\":1}"), sent(1, true));
  tab* phone = connect("ann");
  phone->subscribe("a");
  EXPECT_EQ(send(phone, "a", "k1", "{\"t\":1}"), sent(1, true));
  EXPECT_EQ(bob->take(), "");  // delivered once
  EXPECT_EQ(send(ann, "a", "k1", "{\"t\":2}"),
            error_reply(113, "idempotency key was used with other data"));
  EXPECT_EQ(send(bob, "a", "k1", "{\"t\":2}"), sent(2));  // another user's key
  ann->subscribe("b");
  EXPECT_EQ(send(ann, "b", "k1", "{\"t\":2}"), sent(1));  // another channel's
  w->pass(1000);
  EXPECT_NE(send(ann, "a", "k1", "{\"t\":1}"), sent(1, true));  // the first one's time
  w->clock.us += static_cast<uint64_t>(w->config.idempotency_ttl_ms) * 1000;
  EXPECT_EQ(send(ann, "a", "k1", "{\"t\":1}"), sent(3));
}

TEST_F(session_publish_test, AnonymousKeysAreTheClients) {
  config.is_insecure = true;
  begin();
  tab *one = anonymous(), *two = anonymous();
  epoch = epoch_in(one->subscribe("a"));
  EXPECT_EQ(send(one, "a", "k"), sent(1));
  EXPECT_EQ(send(one, "a", "k"), sent(1, true));
  EXPECT_EQ(send(two, "a", "k"), sent(2));
}

TEST_F(session_publish_test, WhatSendRefuses) {
  meet();
  EXPECT_EQ(send(ann, "a", ""), kBadRequest);
  EXPECT_EQ(ann->rpc("send", "{\"channel\":\"a\",\"data\":{}}"), kBadRequest);
  EXPECT_EQ(ann->rpc("send", "{\"channel\":\"a\",\"key\":\"k\"}"), kBadRequest);
  EXPECT_EQ(send(ann, "a", std::string(core::kKeyBytesMax, 'k')), sent(1));
  EXPECT_EQ(send(ann, "a", std::string(core::kKeyBytesMax + 1, 'k')), kBadRequest);
  EXPECT_EQ(send(ann, "b", "k"), kDenied);
  ann->subscribe("live:x");
  EXPECT_EQ(send(ann, "live:x", "k"), kNotAvailable);
  EXPECT_EQ(ann->rpc("send", "[]"), kBadRequest);
  EXPECT_EQ(ann->rpc("send", "\"x\""), kBadRequest);
  EXPECT_EQ(ann->rpc("send", "{\"channel\":1}"), kBadRequest);
}

// ---- edit and delete

TEST_F(session_publish_test, EditRefersToOnesOwnMessage) {
  meet();
  send(ann, "a", "k", "{\"t\":1}");
  bob->take();
  EXPECT_EQ(change(ann, "edit", 1, ",\"data\":{\"t\":2}"), sent(2));
  EXPECT_NE(bob->take().find("\"data\":{\"t\":2}"), std::string::npos);
  EXPECT_NE(bob->texts.back().find("\"offset\":2,\"tags\":{\"edit\":\"1\",\"time\":\""),
            std::string::npos)
      << bob->texts.back();
  EXPECT_EQ(change(bob, "edit", 1, ",\"data\":{}"), kDenied);
  EXPECT_EQ(change(ann, "edit", 9, ",\"data\":{}"), kBadRequest);
  EXPECT_EQ(change(ann, "edit", 0, ",\"data\":{}"), kBadRequest);
  EXPECT_EQ(change(ann, "edit", 1), kBadRequest);
  EXPECT_EQ(ann->rpc("edit", "{\"channel\":\"a\",\"data\":{}}"), kBadRequest);
  ann->subscribe("live:x");
  EXPECT_EQ(ann->rpc("edit", "{\"channel\":\"live:x\",\"offset\":1,\"data\":{}}"), kNotAvailable);
}

TEST_F(session_publish_test, DeleteBlanksTheMessageAndItsEdits) {
  meet();
  send(ann, "a", "k", "{\"t\":\"secret\"}");
  change(ann, "edit", 1, ",\"data\":{\"t\":\"secret too\"}");
  EXPECT_EQ(change(bob, "delete", 1), kDenied);
  EXPECT_EQ(change(ann, "delete", 1), sent(3));
  EXPECT_NE(bob->texts.back().find("\"pub\":{\"data\":null,"), std::string::npos);
  EXPECT_NE(bob->texts.back().find("\"tags\":{\"delete\":\"1\",\"time\":\""), std::string::npos);
  EXPECT_EQ(history().find("secret"), std::string::npos);
  const std::string missed = connect("cid")->subscribe("a", ",\"recover\":true");
  EXPECT_EQ(missed.find("secret"), std::string::npos);  // the owner's recent ones too
  EXPECT_NE(missed.find("\"recovered\":true"), std::string::npos);
}

TEST_F(session_publish_test, KeysOfChanges) {
  meet();
  send(ann, "a", "k", "{}");
  EXPECT_EQ(change(ann, "edit", 1, ",\"data\":{\"t\":2},\"key\":\"e\""), sent(2));
  EXPECT_EQ(change(ann, "edit", 1, ",\"data\":{\"t\":2},\"key\":\"e\""), sent(2, true));
  // The same words are not the same request: a message, an edit of it, an edit of another, a
  // delete.
  EXPECT_EQ(change(ann, "edit", 1, ",\"data\":{},\"key\":\"k\""),
            error_reply(113, "idempotency key was used with other data"));
  EXPECT_EQ(change(ann, "edit", 2, ",\"data\":{\"t\":2},\"key\":\"e\""),
            error_reply(113, "idempotency key was used with other data"));
  EXPECT_EQ(change(ann, "edit", 1, ",\"data\":null,\"key\":\"n\""), kBadRequest);
  EXPECT_EQ(change(ann, "delete", 1, ",\"key\":\"d\""), sent(3));
  EXPECT_EQ(change(ann, "delete", 1, ",\"key\":\"d\""), sent(3, true));
  EXPECT_EQ(
      change(ann, "delete", 1, ",\"key\":\"" + std::string(core::kKeyBytesMax + 1, 'k') + "\""),
      kBadRequest);
}

TEST_F(session_publish_test, AnonymousMessagesCannotBeChanged) {
  config.is_insecure = true;
  begin();
  ann = anonymous();
  ann->subscribe("a");
  send(ann, "a", "k");
  EXPECT_EQ(change(ann, "delete", 1), kBadRequest);
}

// ---- typing

TEST_F(session_publish_test, TypingIsEphemeralAndLimited) {
  config.typings_burst = 2;
  config.typings_per_s = 1;
  meet(2);
  EXPECT_EQ(ann->rpc("typing", "{\"channel\":\"a\"}"), "\"rpc\":{\"data\":{}}");
  EXPECT_EQ(bob->take(),
            "{\"push\":{\"channel\":\"a\",\"pub\":{\"data\":{\"typing\":true},\"info\":{\"user\":"
            "\"ann\",\"client\":\"" +
                ann->id() + "\"},\"tags\":{\"type\":\"typing\",\"time\":\"" +
                std::to_string(w->clock.wall_ms()) + "\"}}}}");
  ann->rpc("typing", "{\"channel\":\"a\"}");
  EXPECT_NE(bob->take(), "");
  EXPECT_EQ(ann->rpc("typing", "{\"channel\":\"a\"}"), "\"rpc\":{\"data\":{}}");  // and no more
  EXPECT_EQ(bob->take(), "");
  w->pass(1000);
  ann->rpc("typing", "{\"channel\":\"a\"}");
  EXPECT_NE(bob->take(), "");
  EXPECT_EQ(history(),
            "\"history\":{\"publications\":[],\"epoch\":\"" + epoch + "\",\"offset\":0}");
  EXPECT_EQ(ann->rpc("typing", "{\"channel\":\"b\"}"), kDenied);
  EXPECT_EQ(ann->rpc("typing"), kBadRequest);
  EXPECT_EQ(ann->rpc("typing", "{\"channel\":\"nowhere:b\"}"), error_reply(102, "unknown channel"));
}

// ---- direct messages

TEST_F(session_publish_test, TheFirstDirectMessageIsAnnounced) {
  begin(2);
  ann = connect("ann");
  bob = connect("bob", 1);
  ann->subscribe("dm:#ann,bob");
  EXPECT_EQ(bob->rpc("channels"), "\"rpc\":{\"data\":{\"channels\":[]}}");
  bob->take();
  publish(ann, "dm:#ann,bob");
  EXPECT_EQ(bob->take(),
            "{\"push\":{\"channel\":\"#bob\",\"pub\":{\"data\":{\"type\":\"channel\","
            "\"channel\":\"dm:#ann,bob\"}}}}");
  publish(ann, "dm:#ann,bob");
  EXPECT_EQ(bob->take(), "");
  EXPECT_NE(bob->rpc("channels").find("{\"channel\":\"dm:#ann,bob\",\"offset\":2,"),
            std::string::npos);
}

// Whoever is told of a channel finds it in their list: the store's answer comes first.
TEST_F(session_publish_test, TheAnnouncementComesWhenTheListHasIt) {
  begin();
  ann = connect("ann");
  bob = connect("bob");
  ann->subscribe("dm:#ann,bob");
  bob->take();
  ann->say("{\"id\":9,\"publish\":{\"channel\":\"dm:#ann,bob\",\"data\":1}}");
  while (ann->pushes().empty()) ASSERT_TRUE(w->step(0));  // committed
  EXPECT_EQ(bob->take() + ann->reply(9), "");
  w->run();
  EXPECT_NE(bob->take(), "");
  EXPECT_EQ(ann->texts.back(), "{\"id\":9,\"publish\":{}}");
}

// Also when the author has gone before the commit, or has been told that the outcome is unknown.
TEST_F(session_publish_test, TheAnnouncementDoesNotNeedTheAuthor) {
  begin();
  ann = connect("ann");
  bob = connect("bob");
  ann->subscribe("dm:#ann,bob");
  ann->say("{\"id\":9,\"publish\":{\"channel\":\"dm:#ann,bob\",\"data\":1}}");
  ann->drop();
  w->run();
  EXPECT_NE(bob->rpc("channels").find("\"dm:#ann,bob\""), std::string::npos);
  EXPECT_NE(bob->texts[1].find("\"type\":\"channel\""), std::string::npos) << bob->texts[1];
}

}  // namespace
