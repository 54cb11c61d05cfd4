// What the store says to MongoDB, and what it makes of the answers, against a fake whose every
// answer is chosen here.
#include <set>

#include "tests/store/mongo_world.h"

namespace store_test {
namespace {

constexpr const char* kMajority = R"({ "w" : "majority", "j" : true, "wtimeout" : 10000 })";
constexpr const char* kByOffset = R"({ "channel" : 1, "offset" : 1 })";
constexpr const char* kByOffsetBack = R"({ "channel" : -1, "offset" : -1 })";

std::string first_key(const fake_command& c, const char* path) {
  const std::string d = c.at(path);
  const size_t from = d.find('"');
  return from == std::string::npos ? "" : d.substr(from + 1, d.find('"', from + 1) - from - 1);
}

class mongo_shape : public mongo_world {
 protected:
  // The one find that this brings about.
  template <typename Fn>
  fake_command find_of(Fn ask) {
    fake_->forget_commands();
    ask();
    const auto finds = fake_->commands("find", "publications");
    EXPECT_EQ(finds.size(), 1u);
    return finds.empty() ? fake_command{} : finds[0];
  }
};

TEST_F(mongo_shape, of_an_insert_is_unordered_and_for_a_journaled_majority) {
  open();
  together([&] { say_all("a", 1, 3); });
  drained();
  const auto inserts = fake_->commands("insert", "publications");
  ASSERT_EQ(inserts.size(), 2u);
  EXPECT_EQ(inserts[1].at("ordered"), "false");
  EXPECT_EQ(inserts[1].at("writeConcern"), kMajority);
  ASSERT_EQ(inserts[1].count("documents"), 3u);
  EXPECT_EQ(inserts[1].at("documents.1.channel"), R"("a")");
  EXPECT_EQ(inserts[1].at("documents.1.offset"), "2");
  EXPECT_EQ(inserts[1].at("documents.1.user"), R"("alice")");
  EXPECT_EQ(inserts[1].at("documents.1.data"), R"("2")");
  EXPECT_EQ(inserts[1].at("documents.1.time"), R"({ "$date" : "1970-01-01T00:00:01Z" })");
  EXPECT_FALSE(inserts[1].at("documents.1._id").empty());
}

TEST_F(mongo_shape, of_updates_and_deletes_is_for_a_journaled_majority_too) {
  open();
  ASSERT_EQ(node_.c.append(with_key(message("a", "1"), "k", "h")).rc, core::err::ok);
  ASSERT_EQ(node_.c.append(reference("a", "alice", 1, true)).rc, core::err::ok);
  ASSERT_EQ(node_.c.remove_history("a"), core::err::ok);
  ASSERT_EQ(node_.c.mark("alice", "a", 1), core::err::ok);
  drained();
  for (const char* name : {"update", "delete"})
    for (const fake_command& c : fake_->commands(name)) {
      EXPECT_EQ(c.at("ordered"), "false") << name << " " << c.collection;
      EXPECT_EQ(c.at("writeConcern"), kMajority) << name << " " << c.collection;
    }
  EXPECT_EQ(fake_->commands("update", "keys").size(), 1u);
  EXPECT_EQ(fake_->commands("update", "publications").size(), 1u) << "what was deleted";
  EXPECT_EQ(fake_->commands("delete", "publications").size(), 1u) << "the removal";
  EXPECT_GE(fake_->commands("update", "channels").size(), 1u);
  EXPECT_EQ(fake_->commands("update", "user_channels").size(), 1u);
}

TEST_F(mongo_shape, takes_the_write_concern_of_the_connection_string) {
  node_.o.url += "&w=2&journal=false&wtimeoutMS=77";
  open();
  say_all("a", 1, 1);
  drained();
  EXPECT_EQ(fake_->commands("insert", "publications").at(0).at("writeConcern"),
            R"({ "w" : 2, "j" : false, "wtimeout" : 77 })");
}

TEST_F(mongo_shape, of_pages_is_a_range_of_the_index) {
  open();
  say_all("a", 1, 9);
  drained();
  const fake_command forward = find_of([&] { node_.c.read(page("a", 2, 3)); });
  EXPECT_EQ(forward.at("filter"), R"({ "channel" : "a", "offset" : { "$gte" : 3, "$lte" : 9 } })");
  EXPECT_EQ(forward.at("sort"), kByOffset);
  EXPECT_EQ(forward.at("hint"), kByOffset);
  EXPECT_EQ(forward.at("limit"), "3");
  const fake_command back = find_of([&] { node_.c.read(page("a", 5, 3, true)); });
  EXPECT_EQ(back.at("filter"), R"({ "channel" : "a", "offset" : { "$gte" : 1, "$lte" : 4 } })");
  EXPECT_EQ(back.at("sort"), kByOffsetBack);
  EXPECT_EQ(back.at("hint"), kByOffset);
  EXPECT_EQ(back.at("limit"), "3");
  EXPECT_EQ(text(node_.c.read(page("a", 5, 3, true)).pubs), "4:4 3:3 2:2");
}

TEST_F(mongo_shape, of_a_page_by_age_begins_with_one_publication_that_is_young) {
  open();
  for (int i = 1; i <= 5; ++i)
    ASSERT_EQ(node_.c.say("a", std::to_string(i), i * 1000).rc, core::err::ok);
  drained();
  fake_->forget_commands();
  store::read_request q = page("a", 0, 10);
  q.keep.ttl_ms = 2000;
  q.now_ms = 5000;
  EXPECT_EQ(text(node_.c.read(q).pubs), "4:4 5:5");
  const auto finds = fake_->commands("find", "publications");
  ASSERT_EQ(finds.size(), 2u);
  EXPECT_EQ(finds[0].at("filter"),
            R"({ "channel" : "a", "offset" : { "$gte" : 1, "$lte" : 5 }, )"
            R"("time" : { "$gt" : { "$date" : "1970-01-01T00:00:03Z" } } })");
  EXPECT_EQ(finds[0].at("sort"), kByOffset);
  EXPECT_EQ(finds[0].at("hint"), kByOffset);
  EXPECT_EQ(finds[0].at("limit"), "1");
}

TEST_F(mongo_shape, of_a_reference_is_one_place) {
  open();
  say_all("a", 1, 4);
  drained();
  const fake_command c = find_of(
      [&] { ASSERT_EQ(node_.c.append(reference("a", "alice", 3, false)).rc, core::err::ok); });
  EXPECT_EQ(c.at("filter"), R"({ "channel" : "a", "offset" : { "$gte" : 3, "$lte" : 3 } })");
  EXPECT_EQ(c.at("hint"), kByOffset);
  EXPECT_EQ(c.at("limit"), "1");
}

TEST_F(mongo_shape, of_a_position_is_the_newest_publication_alone) {
  open();
  say_all("a", 1, 4);
  node_.close();
  open();
  const fake_command c = find_of([&] { EXPECT_EQ(node_.c.top("a"), 4u); });
  EXPECT_EQ(c.at("filter.channel"), R"("a")");
  EXPECT_EQ(c.at("filter.offset.$gte"), "1");
  EXPECT_EQ(c.at("sort"), kByOffsetBack);
  EXPECT_EQ(c.at("hint"), kByOffset);
  EXPECT_EQ(c.at("limit"), "1");
  EXPECT_EQ(fake_->commands("find", "channels").at(0).at("filter"), R"({ "_id" : "a" })");
}

// Every find, update and delete of publications and keys that anything brings about: a shard key
// that begins with channel sends it to one shard.
TEST_F(mongo_shape, of_everything_about_publications_and_keys_names_the_channel_first) {
  clock_.now_ms = 10'000'000;
  node_.o.sweep_ms = 1;
  open();
  store::append_request kept = message("a", "1", clock_.now_ms);
  kept.keep = {2, 5000};
  ASSERT_EQ(node_.c.append(kept).rc, core::err::ok);
  ASSERT_EQ(node_.c.append(with_key(kept, "k", "h")).rc, core::err::ok);
  for (int i = 0; i < 2; ++i) {
    drained();
    store::append_request gone = reference("a", "alice", 2, true);
    gone.pub.time_ms = clock_.now_ms;
    gone.keep = kept.keep;
    ASSERT_EQ(node_.c.append(gone).rc, core::err::ok);
  }
  ASSERT_EQ(node_.c.join({"alice"}, "a"), core::err::ok);
  drained();
  EXPECT_EQ(node_.c.channels("alice").channels.size(), 1u);
  ASSERT_TRUE(fake_->wait_for("delete", "publications", 1)) << "a sweep";
  ASSERT_EQ(node_.c.remove_history("a"), core::err::ok);
  ASSERT_TRUE(fake_->wait_for("delete", "publications", 2));
  ASSERT_TRUE(fake_->wait_for("delete", "keys", 1)) << "expired keys";
  node_.close();
  uint32_t finds = 0;
  const auto check = [&](const fake_command& c, const std::string& filter) {
    if (!c.at((filter + ".$or").c_str()).empty()) {
      EXPECT_EQ(first_key(c, (filter + ".$or.0").c_str()), "channel");
      return;
    }
    if (c.collection == "keys" && !c.at((filter + ".expires.$lte").c_str()).empty()) return;
    EXPECT_EQ(first_key(c, filter.c_str()), "channel") << c.name << " " << c.at(filter.c_str());
    ++finds;
  };
  for (const char* collection : {"publications", "keys"}) {
    for (const fake_command& c : fake_->commands("find", collection)) check(c, "filter");
    for (const fake_command& c : fake_->commands("update", collection))
      for (uint32_t i = 0; i < c.count("updates"); ++i)
        check(c, "updates." + std::to_string(i) + ".q");
    for (const fake_command& c : fake_->commands("delete", collection)) check(c, "deletes.0.q");
  }
  EXPECT_GE(finds, 10u);
}

TEST_F(mongo_shape, of_indexes_is_the_same_at_each_start) {
  open();
  node_.close();
  const auto first = fake_->commands("createIndexes");
  ASSERT_EQ(first.size(), 5u);
  EXPECT_EQ(first[0].collection, "publications");
  EXPECT_EQ(first[0].at("indexes"),
            R"([ { "key" : { "channel" : 1, "offset" : 1 }, "name" : "channel_offset", )"
            R"("unique" : true } ])");
  EXPECT_EQ(first[1].at("indexes.0.key"), R"({ "channel" : 1, "refers" : 1 })");
  EXPECT_EQ(first[1].at("indexes.0.partialFilterExpression"), R"({ "refers" : { "$gt" : 0 } })");
  EXPECT_EQ(first[2].collection, "keys");
  EXPECT_EQ(first[2].at("indexes.0.key"), R"({ "channel" : 1, "scope" : 1 })");
  EXPECT_EQ(first[2].at("indexes.0.unique"), "true");
  EXPECT_EQ(first[3].at("indexes.0.key"), R"({ "expires" : 1 })");
  EXPECT_EQ(first[3].at("indexes.0.expireAfterSeconds"), "0");
  EXPECT_EQ(first[4].collection, "user_channels");
  EXPECT_EQ(first[4].at("indexes.0.key"), R"({ "user" : 1, "channel" : 1 })");
  EXPECT_EQ(first[4].at("indexes.0.unique"), "true");
  fake_->forget_commands();
  open();
  const auto again = fake_->commands("createIndexes");
  ASSERT_EQ(again.size(), first.size());
  for (size_t i = 0; i < first.size(); ++i)
    EXPECT_EQ(again[i].at("indexes"), first[i].at("indexes"));
}

TEST_F(mongo_shape, of_an_index_is_plain_where_the_server_knows_no_other) {
  const auto refuse = [&](const char* option) {
    fake_->play({.command = "createIndexes",
                 .times = kAlways,
                 .fits = [option](const fake_command& c) { return !c.at(option).empty(); },
                 .fails_with = 238});
  };
  refuse("indexes.0.expireAfterSeconds");
  refuse("indexes.0.partialFilterExpression");
  open();
  EXPECT_EQ(fake_->commands("createIndexes").size(), 7u);
  EXPECT_EQ(fake_->commands("createIndexes", "keys").at(2).at("indexes.0.key"),
            R"({ "expires" : 1 })");
  node_.close();
  node_.o.spool_dir = dir_.file("new");
  refuse("indexes.0.unique");
  std::string why;
  EXPECT_EQ(node_.open(&loops_, &why), core::err::unavailable) << "of that kind it must be";
  EXPECT_NE(why.find("channel_offset"), std::string::npos) << why;
}

TEST_F(mongo_shape, of_the_wire_is_what_each_kind_of_server_speaks) {
  for (const fake_kind kind : {fake_kind::standalone, fake_kind::mongos}) {
    node_.close();
    serve({.kind = kind});
    node_.o.spool_dir = dir_.file(kind == fake_kind::mongos ? "mongos" : "standalone");
    open();
    say_all("a", 1, 250);
    drained();
    EXPECT_EQ(fake_->history("a"), count_up(1, 250));
    EXPECT_EQ(node_.c.pages("a"), count_up(1, 250));
    EXPECT_GE(fake_->commands("getMore", "publications").size(), 1u);
  }
  node_.close();
}

class mongo_bulk : public mongo_world {
 protected:
  // Refuses messages with this text.
  std::function<int32_t(const fake_document&)> bad(int32_t code, std::string data = "bad") {
    return [code, data](const fake_document& d) {
      return store::doc_text(fake_view(d), "data") == data ? code : 0;
    };
  }
};

TEST_F(mongo_bulk, buries_a_document_that_is_refused_for_good_and_stores_the_rest) {
  open();
  for (const int32_t code : {121, 10334, 2}) {
    const std::string channel = "c" + std::to_string(code);
    fake_play p = on_insert();
    p.times = kAlways;
    p.refuses = bad(code);
    together([&] {
      fake_->play(p);
      for (const char* data : {"1", "bad", "3"}) ASSERT_EQ(say(channel, data).rc, core::err::ok);
    });
    drained();
    fake_->stop_playing();
    EXPECT_EQ(fake_->history(channel), "1:1 3:3");
    const auto dead = fake_->find("dead_letters", store::doc().text("channel", channel));
    ASSERT_EQ(dead.size(), 1u) << code;
    EXPECT_EQ(fake_json(fake_view(dead[0]), "offset"), "2");
    EXPECT_EQ(fake_json(fake_view(dead[0]), "code"), std::to_string(code));
    EXPECT_EQ(fake_json(fake_view(dead[0]), "reason"), R"("refused by the fake")");
    EXPECT_NE(fake_json(fake_view(dead[0]), "document"), "");
    EXPECT_EQ(node_.c.pages(channel), "1:1 3:3");
    EXPECT_EQ(say(channel, "4").offset, 4u);
    drained();
  }
  EXPECT_EQ(stats().dead_letters, 3u);
  EXPECT_EQ(stats().conflicts, 0u);
}

TEST_F(mongo_bulk, tries_again_what_may_succeed_later_and_only_that) {
  open();
  for (const int32_t code : {112, 91, 64, 16500}) {
    const std::string channel = "c" + std::to_string(code);
    fake_play p = on_insert();
    p.times = 12;  // more often than an unknown refusal is taken for "not now"
    p.refuses = bad(code);
    fake_->forget_commands();
    together([&] {
      fake_->play(p);
      for (const char* data : {"1", "bad", "3"}) ASSERT_EQ(say(channel, data).rc, core::err::ok);
    });
    drained();
    EXPECT_EQ(fake_->history(channel), "1:1 2:bad 3:3") << code;
    const auto inserts = fake_->commands("insert", "publications");
    ASSERT_GE(inserts.size(), 14u);
    EXPECT_EQ(inserts[1].count("documents"), 3u);
    EXPECT_EQ(inserts[2].count("documents"), 1u) << "the others are done";
  }
  EXPECT_EQ(stats().dead_letters, 0u);
  EXPECT_GE(stats().retries, 48u);
}

TEST_F(mongo_bulk, buries_what_is_refused_often_for_a_reason_that_it_does_not_know) {
  open();
  fake_play p = on_insert();
  p.times = kAlways;
  p.refuses = bad(4242);
  fake_->play(p);
  for (const char* data : {"1", "bad", "3"}) ASSERT_EQ(say("a", data).rc, core::err::ok);
  drained();
  EXPECT_EQ(fake_->history("a"), "1:1 3:3");
  EXPECT_EQ(stats().dead_letters, 1u);
  EXPECT_GE(stats().retries, 7u);
}

TEST_F(mongo_bulk, counts_no_failure_of_the_way_there_as_a_refusal) {
  open();
  fake_play away = on_insert();
  away.times = 12;
  away.fails_with = 50;
  fake_->play(away);
  fake_play once = on_insert();
  once.refuses = bad(4242);
  fake_->play(once);
  ASSERT_EQ(say("a", "bad").rc, core::err::ok);
  drained();
  EXPECT_EQ(stats().dead_letters, 0u);
  EXPECT_EQ(fake_->history("a"), "1:bad");
}

// Two upserts of one new key may meet on the server; one finds the other's and may go again.
TEST_F(mongo_bulk, loses_no_key_to_a_refusal_after_failures) {
  open();
  fake_->play({.command = "update", .collection = "keys", .times = 12, .fails_with = 50});
  fake_->play(
      {.command = "update", .collection = "keys", .times = 3, .refuses = [](const fake_document&) {
         return kFakeDuplicateKey;
       }});
  ASSERT_EQ(node_.c.append(with_key(message("a", "1"), "k", "h")).rc, core::err::ok);
  drained();
  EXPECT_EQ(fake_->count("keys"), 1u);
  EXPECT_EQ(stats().dead_letters, 0u);
}

TEST_F(mongo_bulk, stores_once_what_was_written_before_the_connection_ended) {
  for (const fake_kind kind : {fake_kind::replica_set, fake_kind::standalone}) {
    node_.close();
    serve({.kind = kind});
    node_.o.spool_dir = dir_.file(kind == fake_kind::standalone ? "standalone" : "set");
    open();
    fake_play p = on_insert();
    p.times = 2;  // the driver itself tries once more at a replica set
    p.is_cut_after = true;
    together([&] {
      fake_->play(p);
      say_all("a", 1, 3);
    });
    drained();
    EXPECT_EQ(fake_->history("a"), "1:1 2:2 3:3");
    EXPECT_EQ(stats().duplicates, 3u);
    EXPECT_GE(stats().retries, 1u);
    EXPECT_EQ(stats().conflicts, 0u);
    EXPECT_EQ(node_.c.pages("a"), "1:1 2:2 3:3");
  }
  node_.close();
}

TEST_F(mongo_bulk, brings_again_what_was_not_written_before_the_connection_ended) {
  open();
  fake_play p = on_insert();
  p.times = 2;
  p.is_cut_before = true;
  fake_->play(p);
  say_all("a", 1, 5);
  drained();
  EXPECT_EQ(fake_->history("a"), count_up(1, 5));
  EXPECT_EQ(stats().duplicates, 0u);
}

TEST_F(mongo_bulk, gives_up_an_answer_that_never_comes) {
  node_.o.url += "&socketTimeoutMS=200";
  open();
  fake_play p = on_insert();
  p.times = 2;
  p.is_silent = true;
  fake_->play(p);
  say_all("a", 1, 3);
  drained();
  EXPECT_EQ(fake_->history("a"), "1:1 2:2 3:3");
  EXPECT_GE(stats().retries, 1u);
  EXPECT_GE(stats().duplicates, 1u);
}

TEST_F(mongo_bulk, takes_nothing_for_stored_that_no_majority_has) {
  open();
  fake_play p = on_insert();
  p.times = 5;
  p.is_majority_missing = true;
  fake_->play(p);
  say_all("a", 1, 1);
  ASSERT_TRUE(fake_->wait_for("insert", "publications", 6)) << "five were not enough";
  drained();
  EXPECT_EQ(fake_->history("a"), "1:1");
  EXPECT_EQ(stats().retries, 5u);
  EXPECT_EQ(stats().duplicates, 1u);
}

TEST_F(mongo_bulk, believes_no_duplicate_while_the_majority_is_missing) {
  open();
  fake_play p = on_insert();
  p.is_cut_after = true;
  p.times = 2;
  fake_->play(p);
  p = on_insert();
  p.is_majority_missing = true;  // beside the write error of the duplicate
  p.times = 3;
  fake_->play(p);
  say_all("a", 1, 1);
  drained();
  EXPECT_EQ(fake_->commands("insert", "publications").size(), 6u);
  EXPECT_EQ(stats().duplicates, 1u);
}

TEST_F(mongo_bulk, waits_for_the_majority_of_every_step) {
  open();
  for (const char* collection : {"publications", "keys", "channels"})
    fake_->play(
        {.command = "update", .collection = collection, .times = 2, .is_majority_missing = true});
  fake_->play(
      {.command = "delete", .collection = "publications", .times = 2, .is_majority_missing = true});
  ASSERT_EQ(node_.c.append(with_key(message("a", "1"), "k", "h")).rc, core::err::ok);
  ASSERT_EQ(node_.c.append(reference("a", "alice", 1, true)).rc, core::err::ok);
  ASSERT_EQ(node_.c.remove_history("a"), core::err::ok);
  drained();
  EXPECT_GE(stats().retries, 8u);
  EXPECT_EQ(fake_->count("publications"), 0u);
}

TEST_F(mongo_bulk, survives_elections) {
  serve({.members = 3});
  open();
  say_all("a", 1, 10);
  fake_->elect(1);
  say_all("a", 11, 20);
  drained();
  fake_->elect(2);
  say_all("a", 21, 30);
  drained();
  EXPECT_EQ(fake_->history("a"), count_up(1, 30));
  EXPECT_EQ(node_.c.pages("a"), count_up(1, 30));
  EXPECT_EQ(stats().dead_letters + stats().conflicts, 0u);
}

// Of many operations several commands are made. Those that were not carried out are not done
// because another has answered.
TEST_F(mongo_bulk, accounts_for_each_command_of_an_insert) {
  serve({.batch_count_max = 1000});
  node_.o.batch_count_max = 3000;
  open();
  fake_play refusal = on_insert(), failure = on_insert();
  refusal.refuses = bad(121);
  refusal.times = kAlways;
  refusal.fits = [](const fake_command& c) { return c.at("documents.0.offset") == "1"; };
  failure.fails_with = 50;
  together([&] {
    fake_->play(refusal);
    fake_->play(failure);
    ASSERT_EQ(say("a", "bad").rc, core::err::ok);
    say_all("a", 2, 1100);
  });
  drained();
  EXPECT_EQ(fake_->history("a"), count_up(2, 1100));
  EXPECT_EQ(stats().dead_letters, 1u);
}

TEST_F(mongo_bulk, accounts_for_each_command_of_an_update) {
  serve({.batch_count_max = 1000});
  node_.o.batch_count_max = 3000;
  open();
  fake_->play({.command = "update",
               .collection = "keys",
               .times = kAlways,
               .fits = [](const fake_command& c) { return c.at("updates.0.u.$set.offset") == "1"; },
               .refuses =
                   [](const fake_document& u) {
                     return fake_json(fake_view(u), "u.$set.offset") == "1" ? 121 : 0;
                   }});
  fake_->play({.command = "update", .collection = "keys", .fails_with = 50});
  together([&] {
    for (int i = 1; i <= 1100; ++i)
      ASSERT_EQ(node_.c.append(with_key(message("a", "x"), "k" + std::to_string(i), "h")).rc,
                core::err::ok);
  });
  drained();
  EXPECT_EQ(fake_->count("keys"), 1099u) << "but for the one that is refused for good";
}

TEST_F(mongo_bulk, buries_what_is_larger_than_the_server_takes) {
  serve({.document_bytes_max = 20'000});  // the driver allows 16 KiB more, and sends no more
  open();
  together([&] {
    ASSERT_EQ(say("a", "1").rc, core::err::ok);
    ASSERT_EQ(say("a", std::string(60'000, 'x')).rc, core::err::ok);
    ASSERT_EQ(say("a", "3").rc, core::err::ok);
    ASSERT_EQ(say("b", "1").rc, core::err::ok);
  });
  drained();
  EXPECT_EQ(fake_->history("a"), "1:1 3:3");
  EXPECT_EQ(fake_->history("b"), "1:1");
  const auto dead = fake_->find("dead_letters");
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_EQ(fake_json(fake_view(dead[0]), "offset"), "2");
  EXPECT_NE(fake_json(fake_view(dead[0]), "reason"), R"("")");
  EXPECT_GT(std::stoi(fake_json(fake_view(dead[0]), "bytes")), 60'000);
}

class mongo_conflict : public mongo_world {
 protected:
  // Somebody else's message at an offset that will be ours.
  void plant(const char* channel, uint64_t offset) {
    store::stored_publication p;
    p.channel = channel;
    p.epoch = "other";
    p.pub.offset = offset;
    p.pub.data = "foreign";
    fake_->put("publications", store::publication_doc(p, ""));
  }
};

TEST_F(mongo_conflict, stops_the_channel_and_no_other) {
  open();
  say_all("a", 1, 1);
  say_all("b", 1, 1);
  drained();
  plant("a", 2);
  together([&] {
    say_all("a", 2, 3);
    say_all("b", 2, 2);
  });
  eventually([&] { return stats().conflicts == 1; });
  eventually([&] { return stats().backlog == 2; });
  EXPECT_EQ(say("a", "x").rc, core::err::unavailable);
  EXPECT_EQ(node_.c.remove_history("a"), core::err::unavailable);
  say_all("b", 3, 4);
  eventually([&] { return fake_->history("b") == count_up(1, 4); });
  eventually([&] { return stats().backlog == 2; });  // what is not there stays, and counts
  EXPECT_EQ(node_.c.pages("a"), count_up(1, 3)) << "what was acknowledged is readable";
  EXPECT_EQ(fake_->find("publications", store::doc().text("data", "foreign")).size(), 1u);
  node_.close();
  open();
  eventually([&] { return stats().conflicts == 1; });
  EXPECT_EQ(say("a", "x").rc, core::err::unavailable) << "also after a restart";
  EXPECT_EQ(node_.c.pages("a"), count_up(1, 3));
}

TEST_F(mongo_conflict, removes_nothing_of_what_is_not_ours) {
  open();
  say_all("a", 1, 1);
  drained();
  plant("a", 2);
  together([&] {
    say_all("a", 2, 2);
    ASSERT_EQ(node_.c.remove_history("a"), core::err::ok);
    say_all("b", 1, 1);
  });
  eventually([&] { return fake_->count("publications", store::doc().text("channel", "b")) == 1; });
  EXPECT_EQ(stats().conflicts, 1u);
  EXPECT_EQ(fake_->history("a"), "1:1 2:foreign") << "what cannot be brought is not removed";
}

TEST_F(mongo_conflict, is_none_when_the_same_stands_there_blanked) {
  open();
  fake_play p = on_insert();
  p.is_cut_after = true;
  p.times = 2;
  fake_->play({.command = "update", .collection = "publications", .fails_with = 50});
  together([&] {
    fake_->play(p);
    say_all("a", 1, 1);
    ASSERT_EQ(node_.c.append(reference("a", "alice", 1, true)).rc, core::err::ok);
  });
  drained();
  EXPECT_EQ(fake_->history("a"), "1:null 2:\"deleted\"");
  EXPECT_EQ(stats().conflicts, 0u);
}

}  // namespace
}  // namespace store_test
