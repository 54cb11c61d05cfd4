// The store while MongoDB is away, slow or lost, and when it comes back: nothing that was
// acknowledged is lost, nothing is stored twice.
#include <random>
#include <set>

#include "tests/store/mongo_server.h"
#include "tests/store/mongo_world.h"

#include <signal.h>

namespace store_test {
namespace {

class mongo_away : public mongo_world {
 protected:
  void reopen() {
    node_.close();
    open();
  }
};

TEST_F(mongo_away, acknowledges_and_reads_what_the_spool_has) {
  node_.o.url += "&socketTimeoutMS=200";
  open();
  say_all("a", 1, 3);
  drained();
  const auto check_away = [&](uint32_t from, uint32_t to) {
    say_all("a", from, to);
    EXPECT_EQ(text(node_.c.read(page("a", from - 1, 100)).pubs), count_up(from, to));
    EXPECT_EQ(text(node_.c.read(page("a", 0, 2, true)).pubs),
              std::to_string(to) + ":" + std::to_string(to) + " " + std::to_string(to - 1) + ":" +
                  std::to_string(to - 1));
    EXPECT_EQ(node_.c.top("a"), to);
    EXPECT_EQ(node_.c.read(page("a", 0, 100)).rc, core::err::unavailable) << "1 is in MongoDB";
    EXPECT_EQ(say("unknown", "x").rc, core::err::unavailable);
    EXPECT_EQ(stats().backlog, to - from + 1);
    EXPECT_TRUE(stats().is_ready);
    eventually([&] { return !stats().is_connected; });
  };
  fake_->go_away();
  check_away(4, 20);
  fake_->come_back();
  drained();
  EXPECT_EQ(fake_->history("a"), count_up(1, 20));
  EXPECT_EQ(node_.c.pages("a"), count_up(1, 20));
  EXPECT_TRUE(stats().is_connected);
  fake_->freeze();
  check_away(21, 30);
  fake_->thaw();
  drained();
  EXPECT_EQ(fake_->history("a"), count_up(1, 30));
  EXPECT_EQ(say("unknown", "x").offset, 1u) << "what failed has used no offset";
  EXPECT_EQ(stats().conflicts + stats().dead_letters, 0u);
}

TEST_F(mongo_away, tells_when_a_publication_is_stored_and_not_before) {
  node_.o.queue_max = 2;
  open();
  say_all("a", 1, 1);
  drained();
  const auto ask = [&](uint64_t offset, pending<core::err>* p, bool* is_there) {
    p->home = loops_.at(0);
    return node_.s->when_stored(p->home, "a", offset, is_there, done_answered, p);
  };
  pending<core::err> none, second, third;
  bool is_there = false;
  EXPECT_EQ(ask(1, &none, &is_there), core::err::ok);
  EXPECT_TRUE(is_there);
  fake_->go_away();
  say_all("a", 2, 3);
  ASSERT_EQ(ask(2, &second, &is_there), core::err::ok);
  EXPECT_FALSE(is_there);
  ASSERT_EQ(ask(3, &third, &is_there), core::err::ok);
  EXPECT_EQ(ask(3, &none, &is_there), core::err::full);
  std::future<core::err> answer = second.promise.get_future();
  EXPECT_EQ(answer.wait_for(std::chrono::milliseconds(300)), std::future_status::timeout)
      << "MongoDB does not have it";
  fake_->come_back();
  EXPECT_EQ(answer.get(), core::err::ok);
  EXPECT_EQ(third.wait(), core::err::ok);
  drained();
  EXPECT_EQ(ask(3, &none, &is_there), core::err::ok);
  EXPECT_TRUE(is_there);
}

TEST_F(mongo_away, ends_a_wait_for_mongodb_after_its_time_and_when_it_closes) {
  node_.o.stored_ms = 100;
  node_.o.close_ms = 1;
  open();
  say_all("a", 1, 1);
  drained();
  fake_->go_away();
  say_all("a", 2, 2);
  EXPECT_EQ(node_.c.stored("a", 2), core::err::timeout);
  node_.close();
  node_.o.stored_ms = 60'000;
  open();
  pending<core::err> p{.home = loops_.at(0)};
  bool is_there = false;
  ASSERT_EQ(node_.s->when_stored(p.home, "a", 2, &is_there, done_answered, &p), core::err::ok);
  ASSERT_FALSE(is_there);
  node_.s->close();
  EXPECT_EQ(p.wait(), core::err::timeout);
  EXPECT_EQ(node_.s->when_stored(p.home, "a", 2, &is_there, done_answered, &p), core::err::closed);
}

TEST_F(mongo_away, tells_the_age_of_the_oldest_that_waits) {
  open();
  say_all("a", 1, 1);
  drained();
  EXPECT_EQ(stats().backlog_age_ms, 0u);
  fake_->go_away();
  clock_.now_ms = 5000;
  ASSERT_EQ(node_.c.say("a", "2", 3000).rc, core::err::ok);
  ASSERT_EQ(node_.c.say("a", "3", 4000).rc, core::err::ok);
  EXPECT_EQ(stats().backlog_age_ms, 2000u);
  fake_->come_back();
}

TEST_F(mongo_away, bounds_the_backlog_and_goes_on_behind_it) {
  node_.o.backlog_max = 5;
  open();
  say_all("a", 1, 1);
  drained();
  fake_->go_away();
  say_all("a", 2, 6);
  EXPECT_EQ(say("a", "x").rc, core::err::unavailable);
  EXPECT_EQ(node_.c.append(with_key(message("a", "x"), "k", "h")).rc, core::err::unavailable);
  EXPECT_EQ(node_.c.remove_history("a"), core::err::unavailable);
  EXPECT_EQ(stats().backlog, 5u);
  EXPECT_FALSE(stats().is_ready);
  EXPECT_NE(stats().why.find("backlog_max"), std::string::npos) << stats().why;
  EXPECT_EQ(node_.c.top("a"), 6u);
  fake_->come_back();
  drained();
  EXPECT_TRUE(stats().is_ready) << stats().why;
  say_all("a", 7, 8);
  const auto keyed = node_.c.append(with_key(message("a", "9"), "k", "h"));
  EXPECT_EQ(keyed.offset, 9u);
  EXPECT_FALSE(keyed.is_duplicate) << "what was refused has used its key";
  drained();
  EXPECT_EQ(fake_->history("a"), count_up(1, 9));
}

TEST_F(mongo_away, bounds_the_spool_and_goes_on_behind_it) {
  node_.o.spool_bytes_max = 256 << 10;
  node_.o.spool_segment_bytes = 64 << 10;
  open();
  const std::string big(8 << 10, 'x');
  ASSERT_EQ(say("a", big).offset, 1u);
  drained();
  fake_->go_away();
  uint64_t stored = 1;
  store::append_result last;
  while ((last = say("a", big)).rc == core::err::ok) {
    ASSERT_EQ(last.offset, ++stored);
    ASSERT_LT(stored, 100u) << "the bound does not bind";
  }
  EXPECT_EQ(last.rc, core::err::unavailable);
  EXPECT_GT(stored, 10u);
  EXPECT_LE(stats().bytes, node_.o.spool_bytes_max);
  EXPECT_EQ(node_.c.top("a"), stored);
  fake_->come_back();
  drained();
  EXPECT_EQ(say("a", big).offset, stored + 1) << "no offset is burnt";
  drained();
  EXPECT_EQ(fake_->count("publications"), stored + 1);
}

TEST_F(mongo_away, starts_with_a_spool_that_was_used_before) {
  node_.o.close_ms = 0;
  open();
  say_all("a", 1, 3);
  drained();
  fake_->go_away();
  say_all("a", 4, 6);
  const auto keyed = node_.c.append(with_key(message("a", "7"), "k", "h"));
  ASSERT_EQ(keyed.offset, 7u);
  reopen();
  EXPECT_EQ(stats().backlog, 7u) << "the segment's, also what was stored";
  EXPECT_EQ(node_.c.read(page("a", 0, 0)).top.epoch, keyed.epoch);
  EXPECT_EQ(node_.c.pages("a"), count_up(1, 7));
  const auto again = node_.c.append(with_key(message("a", "7"), "k", "h"));
  EXPECT_TRUE(again.is_duplicate);
  EXPECT_EQ(again.offset, 7u);
  say_all("a", 8, 9);
  EXPECT_EQ(say("other", "x").rc, core::err::unavailable) << "nobody knows its position";
  fake_->come_back();
  drained();
  EXPECT_EQ(fake_->history("a"), count_up(1, 9));
  EXPECT_EQ(stats().conflicts, 0u);
}

TEST_F(mongo_away, refuses_a_new_spool_without_telling_the_password) {
  node_.o.url = fake_->url("bob:hidden@");
  node_.o.start_ms = 50;
  const auto refused = [&] {
    std::string why;
    const core::err rc = node_.open(&loops_, &why);
    EXPECT_EQ(why.find("hidden"), std::string::npos) << why;
    EXPECT_NE(why.find("does not answer"), std::string::npos) << why;
    EXPECT_NE(why.find("127.0.0.1"), std::string::npos) << why;
    return rc;
  };
  EXPECT_EQ(refused(), core::err::unavailable) << "it lets nobody in";
  fake_->go_away();
  EXPECT_EQ(refused(), core::err::unavailable) << "it refuses connections";
  fake_->come_back();
  fake_->freeze();
  EXPECT_EQ(refused(), core::err::unavailable) << "it says nothing";
  node_.o.url = fake_->url();
  fake_->thaw();
  open();
  say_all("a", 1, 1);
}

TEST_F(mongo_away, answers_markers_in_time) {
  node_.o.marker_ms = 30;
  open();
  ASSERT_EQ(node_.c.mark("alice", "a", 3), core::err::ok);
  fake_->go_away();
  EXPECT_EQ(node_.c.mark("alice", "a", 4), core::err::unavailable);
  ASSERT_EQ(node_.s->add_user_channel(loops_.at(0), {"bob"}, "a", nullptr, nullptr), core::err::ok);
  EXPECT_EQ(node_.c.channels("alice").rc, core::err::unavailable);
  fake_->come_back();
  eventually([&] { return node_.c.channels("bob").channels.size() == 1; });
  EXPECT_EQ(node_.c.mark("alice", "a", 5), core::err::ok);
  EXPECT_EQ(node_.c.channels("alice").channels.at(0).read_offset, 5u);
}

// Two upserts of one new marker may meet on the server.
TEST_F(mongo_away, tries_a_marker_again_that_met_another) {
  open();
  fake_->play({.command = "update",
               .collection = "user_channels",
               .times = 2,
               .refuses = [](const fake_document&) { return kFakeDuplicateKey; }});
  EXPECT_EQ(node_.c.mark("alice", "a", 3), core::err::ok);
  EXPECT_EQ(node_.c.channels("alice").channels.at(0).read_offset, 3u);
}

TEST_F(mongo_away, keeps_what_came_while_an_answer_was_slow) {
  open();
  say_all("a", 1, 1);
  drained();
  fake_play p = on_insert();
  p.delay_ms = 50;
  p.times = 3;
  fake_->play(p);
  say_all("a", 2, 200);
  EXPECT_EQ(text(node_.c.read(page("a", 1, 500)).pubs), count_up(2, 200));
  drained();
  EXPECT_EQ(fake_->history("a"), count_up(1, 200));
}

// Anything may go wrong with any command; in the end the store has what was acknowledged, once.
TEST_F(mongo_away, has_in_the_end_what_was_acknowledged) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  serve({.kind = fake_kind::standalone});
  node_.o.writers = 2;
  open();
  const std::vector<std::string> channels = {"a", "b", "c"};
  for (const std::string& ch : channels) ASSERT_EQ(say(ch, "1").rc, core::err::ok);
  drained();
  // Under the fake's lock.
  auto random = std::make_shared<std::mt19937>(seed);
  const auto now_and_then = [random](const fake_command&) { return (*random)() % 8 == 0; };
  for (const char* command : {"insert", "update", "find"}) {
    fake_play p = {.command = command, .times = kAlways, .fits = now_and_then};
    if (command != std::string("find")) {
      p.is_majority_missing = true;
      fake_->play(p);
      p.is_majority_missing = false;
      p.refuses = [random](const fake_document&) { return (*random)() % 2 == 0 ? 112 : 0; };
      fake_->play(p);
      p.refuses = nullptr;
    }
    p.fails_with = 50;
    fake_->play(p);
  }
  for (int i = 0; i < 2; ++i)
    fake_->play({.command = "insert",
                 .collection = "publications",
                 .fits = now_and_then,
                 .is_cut_before = i % 2 == 0,
                 .is_cut_after = i % 2 == 1});
  std::mt19937 mine(seed + 1);
  std::map<std::string, std::map<uint64_t, std::string>> expected;
  for (const std::string& ch : channels) expected[ch][1] = "1";
  std::map<std::string, uint64_t> keys;
  std::map<std::string, std::map<uint64_t, uint64_t>> refers_to;
  for (int i = 0; i < 600; ++i) {
    const std::string& ch = channels[mine() % 3];
    store::append_request r = message(ch, std::to_string(i));
    const bool is_keyed = mine() % 4 == 0;
    const std::string key = "k" + std::to_string(mine() % 50);
    if (is_keyed) r = with_key(message(ch, "\"" + key + "\""), key, "h");
    const uint64_t refers = 1 + mine() % expected[ch].rbegin()->first;
    const bool is_delete = !is_keyed && mine() % 8 == 0;
    if (is_delete) r = reference(ch, "alice", refers, true);
    const auto got = node_.c.append(r);
    if (got.rc != core::err::ok) continue;
    if (is_keyed) {
      const auto [it, is_new] = keys.try_emplace(ch + key, got.offset);
      ASSERT_EQ(got.is_duplicate, !is_new) << i;
      ASSERT_EQ(it->second, got.offset) << i;
      if (!is_new) continue;
    }
    ASSERT_EQ(got.offset, expected[ch].rbegin()->first + 1) << i;
    expected[ch][got.offset] = r.pub.data;
    if (!is_delete) continue;
    expected[ch][refers] = "null";
    for (const auto& [offset, to] : refers_to[ch])
      if (to == refers) expected[ch][offset] = "null";
    refers_to[ch][got.offset] = refers;
  }
  fake_->stop_playing();
  drained();
  for (const std::string& ch : channels) {
    std::string all;
    for (const auto& [offset, data] : expected[ch])
      all += (all.empty() ? "" : " ") + std::to_string(offset) + ":" + data;
    EXPECT_EQ(fake_->history(ch), all);
    EXPECT_EQ(node_.c.pages(ch), all);
  }
  EXPECT_EQ(fake_->count("keys"), keys.size());
  EXPECT_EQ(stats().dead_letters + stats().conflicts, 0u);
}

// The spool as a kill would have left it, before the backlog was brought.
class mongo_replay : public mongo_world {
 protected:
  std::string everything() const {
    std::string all;
    for (const char* collection : {"publications", "keys", "channels", "dead_letters"}) {
      std::multiset<std::string> lines;
      for (const fake_document& d : fake_->find(collection)) {
        char* line = bson_as_relaxed_extended_json(fake_view(d).get(), nullptr);
        lines.insert(line);
        bson_free(line);
      }
      all += std::string(collection) + "\n";
      for (const std::string& line : lines) all += line + "\n";
    }
    return all;
  }
  // Runs `speak`, brings it all to MongoDB, and once more from a copy of the spool.
  template <typename Fn>
  void twice(Fn speak) {
    open();
    together([&] {
      speak();
      std::filesystem::copy(dir_.file("spool"), dir_.file("copy"),
                            std::filesystem::copy_options::recursive);
    });
    drained();
    node_.close();
    const std::string first = everything();
    node_.o.spool_dir = dir_.file("copy");
    open();
    drained();
    EXPECT_EQ(everything(), first);
    EXPECT_EQ(stats().conflicts, 0u);
  }
};

TEST_F(mongo_replay, stores_nothing_twice) {
  twice([&] {
    say_all("a", 1, 50);
    say_all("b", 1, 3);
    ASSERT_EQ(node_.c.append(with_key(message("a", "51"), "k", "h")).offset, 51u);
  });
  EXPECT_EQ(stats().duplicates, 55u);
  EXPECT_EQ(stats().stored, 55u);
  EXPECT_TRUE(node_.c.append(with_key(message("a", "51"), "k", "h")).is_duplicate);
  EXPECT_EQ(say("a", "52").offset, 52u);
}

TEST_F(mongo_replay, of_edits_deletes_and_removals_ends_as_the_first_time) {
  twice([&] {
    say_all("a", 1, 4);
    ASSERT_EQ(node_.c.append(reference("a", "alice", 2, false)).offset, 5u);
    ASSERT_EQ(node_.c.append(reference("a", "alice", 2, true)).offset, 6u);
    ASSERT_EQ(node_.c.append(reference("a", "alice", 3, false)).offset, 7u);
    say_all("gone", 1, 3);
    ASSERT_EQ(node_.c.append(reference("gone", "alice", 1, true)).offset, 4u);
    ASSERT_EQ(node_.c.remove_history("gone"), core::err::ok);
    ASSERT_EQ(say("gone", "5").offset, 5u);
    ASSERT_EQ(node_.c.append(with_key(message("gone", "6"), "k", "h", 1)).offset, 6u);
    store::append_request later = with_key(message("gone", "7", 9000), "k", "h");
    ASSERT_EQ(node_.c.append(later).offset, 7u) << "the key has expired";
  });
  EXPECT_EQ(fake_->history("a"), "1:1 2:null 3:3 4:4 5:null 6:\"deleted\" 7:\"edited\"");
  EXPECT_EQ(fake_->history("gone"), "5:5 6:6 7:7");
  EXPECT_EQ(node_.c.pages("gone"), "5:5 6:6 7:7");
  ASSERT_EQ(fake_->count("keys"), 1u);
  EXPECT_EQ(fake_json(fake_view(fake_->find("keys")[0]), "offset"), "7") << "the key's last use";
}

TEST_F(mongo_replay, buries_nothing_twice) {
  twice([&] {
    fake_play p = on_insert();
    p.times = kAlways;
    p.refuses = [](const fake_document& d) {
      return store::doc_text(fake_view(d), "data") == "bad" ? 121 : 0;
    };
    fake_->play(p);
    for (const char* data : {"1", "bad", "3"}) ASSERT_EQ(say("a", data).rc, core::err::ok);
  });
  EXPECT_EQ(fake_->count("dead_letters"), 1u);
  EXPECT_EQ(fake_->history("a"), "1:1 3:3");
}

TEST_F(mongo_replay, reads_as_the_first_time_while_it_runs) {
  open();
  together([&] {
    say_all("a", 1, 4);
    ASSERT_EQ(node_.c.append(reference("a", "alice", 2, true)).offset, 5u);
    ASSERT_EQ(node_.c.remove_history("b"), core::err::ok);
    say_all("b", 1, 2);
    ASSERT_EQ(node_.c.remove_history("b"), core::err::ok);
    say_all("b", 3, 3);
    std::filesystem::copy(dir_.file("spool"), dir_.file("copy"),
                          std::filesystem::copy_options::recursive);
  });
  drained();
  node_.close();
  fake_play p = on_insert();
  p.is_held = true;
  p.times = kAlways;
  fake_->play(p);
  node_.o.spool_dir = dir_.file("copy");
  open();
  EXPECT_EQ(node_.c.pages("a"), "1:1 2:null 3:3 4:4 5:\"deleted\"");
  EXPECT_EQ(node_.c.pages("b"), "3:3");
  EXPECT_EQ(node_.c.append(reference("a", "alice", 5, true)).rc, core::err::not_found);
  fake_->stop_playing();
  drained();
  EXPECT_EQ(node_.c.pages("a"), "1:1 2:null 3:3 4:4 5:\"deleted\"");
  EXPECT_EQ(node_.c.pages("b"), "3:3");
}

// A server that is really stopped, and does what it was sent when it goes on.
TEST(mongo_stopped, loses_nothing_when_a_server_is_stopped_and_goes_on) {
  SKIP_WITHOUT_MONGO();
  if (!mongo_server::is_ours_to_stop()) GTEST_SKIP() << "no server of our own to stop";
  const scratch_dir dir;
  mongo_server server;
  loops l(1);
  mongo_node n;
  n.o.url =
      server.fresh_url() + "?socketTimeoutMS=300&connectTimeoutMS=300&serverSelectionTimeoutMS=300";
  n.o.spool_dir = dir.file("spool");
  n.o.retry_ms_max = 50;
  std::string why;
  ASSERT_EQ(n.open(&l, &why), core::err::ok) << why;
  for (int i = 1; i <= 20; ++i) ASSERT_EQ(n.c.say("a", std::to_string(i)).rc, core::err::ok);
  server.signal(SIGSTOP);
  for (int i = 21; i <= 60; ++i) ASSERT_EQ(n.c.say("a", std::to_string(i)).rc, core::err::ok);
  EXPECT_EQ(text(n.c.read(page("a", 20, 100)).pubs), count_up(21, 60));
  eventually([&] { return !n.s->stats().is_connected && n.s->stats().retries > 0; });
  for (int i = 61; i <= 80; ++i) ASSERT_EQ(n.c.say("a", std::to_string(i)).rc, core::err::ok);
  server.signal(SIGCONT);
  eventually([&] { return n.s->stats().backlog == 0; });
  EXPECT_EQ(n.c.pages("a"), count_up(1, 80));
  EXPECT_EQ(n.s->stats().conflicts, 0u);
  n.close();
}

}  // namespace
}  // namespace store_test
