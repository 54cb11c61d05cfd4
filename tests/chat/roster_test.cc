// Nodes that know each other by control messages alone: worlds whose brokers carry only those, and
// lose, delay and garble them as the test likes.
#include "chat/roster.h"

#include <gtest/gtest.h>

#include "chat/api.h"
#include "chat/control_bytes.h"
#include "tests/chat/fake_client.h"
#include "tests/chat/fixture.h"
#include "tests/chat/script_broker.h"

namespace {

using chat::error;

struct test_node {
  explicit test_node(const std::string& name) : w(2) {
    w.config.node_id = name + "-id";
    w.config.node_name = name;
    w.config.started_ms = 1000;
    w.config.allow_anonymous = true;
    w.start();
    for (uint32_t i = 0; i < w.size(); ++i) {
      fixture::use_fake_clients(w.at(i));
      bus[i] = new fixture::script_broker(chat::owner_broker_events(), w.at(i)->owned);
      w.at(i)->bus->close();
      delete w.at(i)->bus;
      w.at(i)->bus = bus[i];
    }
    w.at(0)->others = chat::roster_new(w.at(0));
  }
  chat::roster* others() { return w.at(0)->others; }
  void hear(const std::string& bytes) {
    chat::owner_broker_events()->on_control(w.at(0)->owned, bytes);
  }
  std::vector<std::string> names() {
    std::vector<std::string> all;
    for (const auto& s : chat::roster_others(others())) all.push_back(s.name);
    return all;
  }

  fixture::world w;
  fixture::script_broker* bus[2];
};

struct channels_answer {
  int answers = 0;
  error code = error::ok;
  std::vector<chat::channel_count> found;
  static void take(void* user, error code, const std::vector<chat::channel_count>& all) noexcept {
    auto* to = static_cast<channels_answer*>(user);
    *to = {to->answers + 1, code, all};
  }
  std::string text() const {
    std::string out;
    for (const auto& c : found) out += c.channel + "=" + std::to_string(c.clients) + " ";
    return out;
  }
};

class roster_test : public testing::Test {
 protected:
  void begin(const std::vector<std::string>& names) {
    for (const std::string& n : names) nodes.push_back(std::make_unique<test_node>(n));
  }
  test_node* at(size_t i) { return nodes[i].get(); }
  // Carries what has been said, to all but the silent, until nobody says more.
  void carry() {
    for (bool is_more = true; is_more;) {
      is_more = false;
      for (auto& from : nodes) {
        from->w.run();
        for (auto* bus : from->bus) {
          const auto said = std::exchange(bus->controls, {});
          for (const std::string& bytes : said) {
            is_more = true;
            for (auto& to : nodes)
              if (to != from && to.get() != deaf && from.get() != dumb) to->hear(bytes);
          }
        }
      }
    }
  }
  void pass(uint64_t ms) {
    for (uint64_t i = 0; i < ms; i += 250) {
      for (auto& n : nodes) n->w.pass(250);
      carry();
    }
  }
  // One without history: the scripted broker answers at once.
  static uint16_t live_namespace(test_node* n) {
    const auto& all = n->w.config.namespaces;
    for (uint16_t i = 0; i < all.size(); ++i)
      if (all[i].name == "live") return i;
    ADD_FAILURE();
    return 0;
  }
  void subscribe(size_t node, uint32_t loop, const std::string& channel) {
    auto c = std::make_unique<fixture::fake_client>();
    c->node = at(node)->w.at(loop);
    c->id = std::to_string(clients.size());
    c->channel = channel;
    c->ns = live_namespace(at(node));
    c->subscribe(false);
    clients.push_back(std::move(c));
    at(node)->w.run();
  }

  test_node* deaf = nullptr;
  test_node* dumb = nullptr;
  std::vector<std::unique_ptr<test_node>> nodes;
  std::vector<std::unique_ptr<fixture::fake_client>> clients;
};

TEST_F(roster_test, nodes_find_each_other_soon_and_forget_who_is_silent) {
  begin({"b", "a", "c"});
  pass(1500);
  EXPECT_EQ(at(0)->names(), (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(at(2)->names(), (std::vector<std::string>{"a", "b"}));
  dumb = at(1);
  pass(chat::kRosterGoneMs - chat::kRosterPeriodMs - 1000);
  EXPECT_EQ(at(0)->names(), (std::vector<std::string>{"a", "c"})) << "one lost message is no death";
  pass(chat::kRosterPeriodMs + 2000);
  EXPECT_EQ(at(0)->names(), (std::vector<std::string>{"c"}));
  dumb = nullptr;
  pass(chat::kRosterPeriodMs + 500);
  EXPECT_EQ(at(0)->names(), (std::vector<std::string>{"a", "c"}));
}

TEST_F(roster_test, a_new_node_knows_all_at_once_and_one_that_stops_is_gone_at_once) {
  begin({"a", "b"});
  pass(10'000);
  nodes.push_back(std::make_unique<test_node>("late"));
  pass(1500);
  EXPECT_EQ(at(2)->names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(at(0)->names(), (std::vector<std::string>{"b", "late"}));
  chat::roster_leave(at(1)->others());
  carry();
  EXPECT_EQ(at(0)->names(), (std::vector<std::string>{"late"}));
  pass(20'000);
  EXPECT_EQ(at(0)->names(), (std::vector<std::string>{"late"}));
}

TEST_F(roster_test, tells_each_nodes_load) {
  begin({"a", "b"});
  subscribe(1, 0, "room");
  subscribe(1, 1, "room");
  subscribe(1, 1, "other");
  pass(chat::kRosterPeriodMs + 1500);
  std::vector<chat::node_status> all;
  chat::api_info(
      at(0)->w.at(1),
      [](void* user, error code, const std::vector<chat::node_status>& found) noexcept {
        EXPECT_EQ(code, error::ok);
        *static_cast<std::vector<chat::node_status>*>(user) = found;
      },
      &all);
  at(0)->w.run();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].id, "a-id") << "this node first";
  EXPECT_EQ(all[0].channels, 0u);
  EXPECT_EQ(all[1].id, "b-id");
  EXPECT_EQ(all[1].started_ms, 1000);
  EXPECT_EQ(all[1].channels, 2u);
  EXPECT_EQ(all[1].subscriptions, 3u);
}

TEST_F(roster_test, adds_up_the_channels_of_all_nodes) {
  begin({"a", "b", "c"});
  pass(1500);
  subscribe(0, 0, "room");
  subscribe(1, 0, "room");
  subscribe(1, 1, "room");
  subscribe(2, 1, "rest");
  subscribe(2, 0, "lobby");
  channels_answer a, all;
  chat::api_channels(at(0)->w.at(1), "r*", channels_answer::take, &a);
  at(0)->w.run();
  EXPECT_EQ(a.answers, 0) << "the others have not answered";
  chat::api_channels(at(2)->w.at(0), "", channels_answer::take, &all);
  carry();
  ASSERT_EQ(a.answers, 1);
  EXPECT_EQ(a.code, error::ok);
  EXPECT_EQ(a.text(), "rest=1 room=3 ");
  ASSERT_EQ(all.answers, 1);
  EXPECT_EQ(all.text(), "lobby=1 rest=1 room=3 ");
}

TEST_F(roster_test, a_node_that_does_not_answer_is_an_error_not_a_silence) {
  begin({"a", "b"});
  pass(1500);
  subscribe(0, 0, "room");
  deaf = at(1);
  channels_answer a;
  chat::api_channels(at(0)->w.at(0), "", channels_answer::take, &a);
  pass(chat::kRosterAnswerMs - 500);
  EXPECT_EQ(a.answers, 0);
  pass(1000);
  ASSERT_EQ(a.answers, 1);
  EXPECT_EQ(a.code, error::internal);
  // It says goodbye while it is asked.
  channels_answer b;
  chat::api_channels(at(0)->w.at(0), "", channels_answer::take, &b);
  at(0)->w.run();
  chat::roster_leave(at(1)->others());
  carry();
  ASSERT_EQ(b.answers, 1);
  EXPECT_EQ(b.code, error::ok);
  EXPECT_EQ(b.text(), "room=1 ");
}

TEST_F(roster_test, more_channels_than_fit_one_answer_are_told_so) {
  begin({"a", "b"});
  pass(1500);
  const std::string name(250, 'x');
  for (uint32_t i = 0; i * 250 < chat::kRosterAnswerBytesMax + 1000; ++i)
    subscribe(1, 0, name + std::to_string(i));
  channels_answer a;
  chat::api_channels(at(0)->w.at(0), "", channels_answer::take, &a);
  carry();
  ASSERT_EQ(a.answers, 1);
  EXPECT_EQ(a.code, error::limit_exceeded);
}

// Whatever bytes come: nothing crashes, nobody is invented, an open question stays open.
TEST_F(roster_test, cut_and_garbled_messages_do_nothing) {
  begin({"a", "b"});
  pass(1500);
  std::vector<std::string> heard;
  channels_answer a;
  chat::api_channels(at(0)->w.at(0), "", channels_answer::take, &a);
  at(0)->w.run();
  for (auto* bus : at(0)->bus)
    for (const std::string& bytes : std::exchange(bus->controls, {})) {
      heard.push_back(bytes);
      at(1)->hear(bytes);
    }
  at(1)->w.run();
  for (auto* bus : at(1)->bus)
    for (const std::string& bytes : std::exchange(bus->controls, {})) heard.push_back(bytes);
  ASSERT_EQ(heard.size(), 2u) << "a question and its answer";
  chat::roster_leave(at(1)->others());
  heard.push_back(at(1)->bus[0]->controls.back());
  at(1)->bus[0]->controls.clear();
  for (const std::string& whole : heard) {
    for (size_t cut = 0; cut < whole.size(); ++cut) {
      const std::unique_ptr<char[]> exact(new char[cut]);
      memcpy(exact.get(), whole.data(), cut);
      at(0)->hear(std::string(exact.get(), cut));
      at(1)->hear(std::string(exact.get(), cut));
    }
  }
  at(0)->hear("\x09");
  at(0)->w.run();
  EXPECT_EQ(at(0)->names(), (std::vector<std::string>{"b"}));
  EXPECT_EQ(a.answers, 0);
  at(0)->hear(heard[1]);
  at(0)->w.run();
  EXPECT_EQ(a.answers, 1);
  EXPECT_EQ(a.code, error::ok);
}

}  // namespace
