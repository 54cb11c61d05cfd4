// One writer a database: its place, its end, its loss. And what it does by the clock: retention.
#include "tests/store/mongo_world.h"

namespace store_test {
namespace {

class mongo_writer : public mongo_world {
 protected:
  mongo_writer() {
    other_.o = options("other");
    node_.o.close_ms = other_.o.close_ms = 0;
  }
  void TearDown() override {
    fake_->stop_playing();
    other_.close();
    mongo_world::TearDown();
  }
  void open_other() {
    std::string why;
    ASSERT_EQ(other_.open(&loops_, &why), core::err::ok) << why;
  }
  core::err other_fails(std::string* why) {
    const core::err rc = other_.open(&loops_, why);
    EXPECT_NE(rc, core::err::ok);
    EXPECT_FALSE(why->empty());
    return rc;
  }
  // Ends as a crash does: with a backlog, and without a word to the database.
  void crash_with(uint32_t first, uint32_t last) {
    fake_->go_away();
    say_all("a", first, last);
    node_.close();
    fake_->come_back();
  }
  std::string writer(const char* field) const {
    const auto found = fake_->find("meta", store::doc().text("_id", "writer"));
    return found.size() == 1 ? fake_json(fake_view(found[0]), field) : "";
  }
  mongo_node other_;
};

TEST_F(mongo_writer, refuses_a_second_while_the_first_lives) {
  open();
  say_all("a", 1, 1);
  std::string why;
  EXPECT_EQ(other_fails(&why), core::err::conflict);
  EXPECT_NE(why.find("another node writes to this database"), std::string::npos) << why;
  say_all("a", 2, 2);
  drained();
  EXPECT_EQ(fake_->history("a"), "1:1 2:2");
}

TEST_F(mongo_writer, stays_by_telling_that_it_lives) {
  node_.o.lease_ms = 40;
  open();
  clock_.now_ms += 1'000'000;
  const std::string seen = writer("seen");
  fake_->forget_commands();
  ASSERT_TRUE(fake_->wait_for("update", "meta", 2));
  eventually([&] { return writer("seen") != seen; });
  std::string why;
  EXPECT_EQ(other_fails(&why), core::err::conflict);
}

TEST_F(mongo_writer, leaves_its_place_to_another) {
  open();
  say_all("a", 1, 3);
  const std::string epoch = node_.c.read(page("a", 0, 0)).top.epoch;
  drained();
  node_.close();
  EXPECT_EQ(writer("released"), "true");
  open_other();
  EXPECT_EQ(writer("released"), "false");
  EXPECT_EQ(other_.c.read(page("a", 0, 0)).top.epoch, epoch) << "nothing was lost";
  EXPECT_EQ(other_.c.say("a", "4").offset, 4u);
  std::string why;
  EXPECT_EQ(node_.open(&loops_, &why), core::err::conflict);
}

TEST_F(mongo_writer, gives_one_of_two_that_come_at_once_the_place) {
  for (const bool is_new : {true, false}) {
    fake_->play({.command = is_new ? "insert" : "update",
                 .collection = "meta",
                 .times = 2,
                 .is_held = true});
    fake_->forget_commands();
    std::string why[2];
    core::err rc[2] = {};
    std::thread first([&] { rc[0] = node_.open(&loops_, &why[0]); });
    std::thread second([&] { rc[1] = other_.open(&loops_, &why[1]); });
    EXPECT_TRUE(fake_->wait_for(is_new ? "insert" : "update", "meta", 2));
    fake_->release_held();
    first.join();
    second.join();
    EXPECT_NE(rc[0] == core::err::ok, rc[1] == core::err::ok) << why[0] << " " << why[1];
    EXPECT_EQ(rc[0] == core::err::ok ? rc[1] : rc[0], core::err::conflict);
    node_.close();
    other_.close();
  }
}

// Somebody has copied the directory.
TEST_F(mongo_writer, stops_when_another_has_its_place_with_a_copy_of_its_spool) {
  node_.o.lease_ms = 40;
  open();
  say_all("a", 1, 2);
  drained();
  std::filesystem::copy(dir_.file("spool"), other_.o.spool_dir,
                        std::filesystem::copy_options::recursive);
  open_other();
  eventually([&] { return !stats().is_ready; });
  EXPECT_EQ(say("a", "x").rc, core::err::unavailable);
  EXPECT_EQ(other_.c.say("a", "3").offset, 3u);
}

TEST_F(mongo_writer, that_is_lost_with_its_spool_gives_way_to_a_new_epoch) {
  node_.o.backlog_max = 100;
  open();
  say_all("a", 1, 3);
  drained();
  ASSERT_EQ(node_.c.join({"alice"}, "a"), core::err::ok);
  ASSERT_EQ(node_.c.join({"alice"}, "new"), core::err::ok);
  const std::string epoch = node_.c.read(page("a", 0, 0)).top.epoch;
  crash_with(4, 20);
  std::string why;
  EXPECT_EQ(other_fails(&why), core::err::conflict) << "it may come back";
  clock_.now_ms += other_.o.lease_ms;
  open_other();
  const auto top = other_.c.read(page("a", 0, 0)).top;
  EXPECT_NE(top.epoch, epoch);
  EXPECT_EQ(top.offset, 103u) << "above all that may have been given";
  const auto listed = other_.c.channels("alice").channels;
  ASSERT_EQ(listed.size(), 2u);
  for (const store::user_channel& u : listed)
    EXPECT_EQ(u.top.offset, u.channel == "a" ? 103u : 100u);
  EXPECT_EQ(other_.c.say("a", "104").offset, 104u);
  EXPECT_EQ(other_.c.say("new", "101").offset, 101u) << "that one may have been used as well";
  EXPECT_EQ(other_.c.pages("a"), "1:1 2:2 3:3 104:104") << "history goes on through epochs";
  eventually([&] { return other_.s->stats().backlog == 0; });
  other_.close();
  open_other();
  EXPECT_EQ(other_.c.say("a", "105").offset, 105u) << "once";
  EXPECT_EQ(other_.c.say("new", "102").offset, 102u);
  // The lost one is found again.
  EXPECT_EQ(node_.open(&loops_, &why), core::err::conflict);
  EXPECT_NE(why.find("never stored"), std::string::npos) << why;
}

TEST_F(mongo_writer, counts_the_epochs_that_are_lost_one_after_the_other) {
  node_.o.backlog_max = other_.o.backlog_max = 100;
  open();
  say_all("a", 1, 3);
  drained();
  crash_with(4, 5);
  clock_.now_ms += other_.o.lease_ms;
  open_other();
  fake_->go_away();
  ASSERT_EQ(other_.c.say("a", "x").rc, core::err::unavailable) << "not looked at yet";
  other_.close();
  fake_->come_back();
  clock_.now_ms += other_.o.lease_ms;
  other_.o.spool_dir = dir_.file("third");
  open_other();
  EXPECT_EQ(other_.c.say("a", "x").offset, 204u);
  EXPECT_EQ(writer("shift"), "200");
}

TEST_F(mongo_writer, promises_no_less_than_its_spool_holds) {
  node_.o.backlog_max = 100;
  open();
  say_all("a", 1, 1);
  drained();
  crash_with(2, 60);
  node_.o.backlog_max = 5;
  fake_->play(
      {.command = "insert", .collection = "publications", .times = kAlways, .fails_with = 50});
  open();
  EXPECT_GE(std::stoi(writer("backlog_max")), 60) << "they are in the spool alone";
}

TEST_F(mongo_writer, accepts_no_more_than_it_has_promised) {
  node_.o.backlog_max = 10;
  open();
  say_all("a", 1, 1);
  drained();
  crash_with(2, 5);
  node_.o.backlog_max = 100;
  fake_->go_away();
  open();
  say_all("a", 6, 10);
  EXPECT_EQ(say("a", "x").rc, core::err::unavailable) << "MongoDB knows of ten";
  fake_->come_back();
  drained();
  EXPECT_EQ(writer("backlog_max"), "100");
  fake_->go_away();
  say_all("a", 11, 40);
  fake_->come_back();
}

TEST_F(mongo_writer, stops_when_another_has_its_place) {
  node_.o.lease_ms = 40;
  open();
  say_all("a", 1, 2);
  drained();
  fake_->remove_all("meta", {});
  fake_->put("meta", store::doc()
                         .text("_id", "writer")
                         .bytes("spool", "0123456789abcdef")
                         .text("epoch", "other")
                         .date("seen", clock_.now_ms));
  eventually([&] { return !stats().is_ready; });
  EXPECT_NE(stats().why.find("another node"), std::string::npos) << stats().why;
  EXPECT_EQ(say("a", "x").rc, core::err::unavailable);
  EXPECT_EQ(node_.c.remove_history("a"), core::err::unavailable);
  EXPECT_EQ(node_.c.pages("a"), "1:1 2:2") << "reading harms nobody";
  node_.close();
  EXPECT_EQ(writer("released"), "") << "the other's place is the other's";
}

TEST_F(mongo_writer, stops_when_its_place_was_taken_while_mongodb_was_away) {
  open();
  say_all("a", 1, 2);
  drained();
  crash_with(3, 4);
  clock_.now_ms += other_.o.lease_ms;
  open_other();
  fake_->go_away();
  open();
  say_all("a", 5, 6);
  fake_->come_back();
  eventually([&] { return !stats().is_ready; });
  EXPECT_EQ(say("a", "x").rc, core::err::unavailable);
  EXPECT_EQ(fake_->history("a"), "1:1 2:2");
}

TEST_F(mongo_writer, stops_when_another_epoch_has_begun_while_mongodb_was_away) {
  open();
  say_all("a", 1, 2);
  drained();
  node_.close();
  fake_->remove_all("meta", {});  // the database was made anew
  fake_->remove_all("publications", {});
  fake_->go_away();
  open();
  fake_->come_back();
  eventually([&] { return !stats().is_ready; });
  EXPECT_EQ(say("a", "x").rc, core::err::unavailable);
  node_.close();
  open();
  EXPECT_EQ(say("a", "x").rc, core::err::ok) << "a restart goes on with it";
}

TEST_F(mongo_writer, refuses_a_spool_of_another_database) {
  open();
  say_all("a", 1, 2);
  drained();
  crash_with(3, 4);
  fake_->remove_all("meta", {});
  std::string why;
  EXPECT_EQ(node_.open(&loops_, &why), core::err::conflict);
  EXPECT_NE(why.find("another database"), std::string::npos) << why;
}

TEST_F(mongo_writer, refuses_a_database_of_a_newer_version) {
  fake_->put("meta", store::doc().text("_id", "writer").small("schema", 99).text("epoch", "e"));
  std::string why;
  EXPECT_EQ(node_.open(&loops_, &why), core::err::conflict);
  EXPECT_NE(why.find("schema 99"), std::string::npos) << why;
}

class mongo_sweep : public mongo_writer {
 protected:
  mongo_sweep() { node_.o.sweep_ms = 5; }
  void say_kept(const std::string& channel, uint32_t count, store::retention keep) {
    for (uint32_t i = 1; i <= count; ++i) {
      store::append_request r = message(channel, std::to_string(i), i * 1000);
      r.keep = keep;
      ASSERT_EQ(node_.c.append(r).rc, core::err::ok);
    }
  }
};

TEST_F(mongo_sweep, deletes_what_size_has_ended) {
  open();
  say_kept("a", 10, {.size_max = 3});
  say_kept("b", 10, {});
  eventually([&] { return fake_->history("a") == count_up(8, 10); });
  drained();
  EXPECT_EQ(fake_->history("b"), count_up(1, 10));
  EXPECT_EQ(say("a", "11").offset, 11u);
}

TEST_F(mongo_sweep, deletes_what_age_has_ended) {
  clock_.now_ms = 10'000;
  open();
  say_kept("a", 10, {.ttl_ms = 4000});
  say_kept("b", 10, {});
  eventually([&] { return fake_->history("a") == count_up(7, 10); });
  clock_.now_ms = 20'000;
  eventually([&] { return fake_->history("a").empty(); });
  drained();
  EXPECT_EQ(fake_->history("b"), count_up(1, 10));
  EXPECT_EQ(node_.c.say("a", "11", 20'000).offset, 11u) << "its position stays";
}

TEST_F(mongo_sweep, deletes_a_long_history_in_slices) {
  fake_->play({.command = "find", .collection = "channels", .times = kAlways, .fails_with = 50});
  store::stored_publication p;
  p.channel = "a";
  for (p.pub.offset = 1; p.pub.offset <= 10'000; ++p.pub.offset)
    fake_->put("publications", store::publication_doc(p, ""));
  fake_->put("channels",
             store::doc().text("_id", "a").number("top", 10'000).number("size_max", 10));
  open();
  fake_->stop_playing();
  eventually([&] { return fake_->count("publications") == 10; });
  EXPECT_EQ(fake_->commands("delete", "publications").size(), 3u);
}

TEST_F(mongo_sweep, deletes_expired_keys) {
  clock_.now_ms = 10'000;
  open();
  ASSERT_EQ(node_.c.append(with_key(message("a", "1", 10'000), "short", "h", 1000)).rc,
            core::err::ok);
  ASSERT_EQ(node_.c.append(with_key(message("a", "2", 10'000), "long", "h", 5000)).rc,
            core::err::ok);
  drained();
  EXPECT_EQ(fake_->count("keys"), 2u);
  clock_.now_ms = 11'000;
  eventually([&] { return fake_->count("keys") == 1; });
  EXPECT_TRUE(node_.c.append(with_key(message("a", "2", 11'000), "long", "h", 5000)).is_duplicate);
  clock_.now_ms = 15'000;
  eventually([&] { return fake_->count("keys") == 0; });
}

TEST_F(mongo_sweep, that_is_long_keeps_the_place) {
  node_.o.lease_ms = 40;
  for (int i = 0; i < 200; ++i)
    fake_->put(
        "channels",
        store::doc().text("_id", "c" + std::to_string(i)).number("top", 10).number("size_max", 1));
  fake_->play({.command = "find", .collection = "publications", .times = kAlways, .delay_ms = 2});
  open();
  ASSERT_TRUE(fake_->wait_for("find", "publications", 200));
  EXPECT_GE(fake_->commands("update", "meta").size(), 6u) << "told in between that it lives";
}

}  // namespace
}  // namespace store_test
