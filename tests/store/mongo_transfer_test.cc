// Histories that move into MongoDB and out of it.
#include <algorithm>

#include "store/mongo.h"
#include "store/mongo_db.h"
#include "store/mongo_impl.h"
#include "tests/store/mongo_server.h"
#include "tests/store/transfer_world.h"

namespace store_test {
namespace {

class mongo_transfer_test : public transfer_world {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_MONGO();
    o_.url = mongo_server::shared().fresh_url();
    o_.clock = &clock_;
    o_.give_up_ms = 3000;
  }
  std::unique_ptr<store::history_source> mongo_source() {
    std::unique_ptr<store::history_source> s;
    std::string why;
    EXPECT_EQ(store::open_mongo_source(o_, &s, &why), core::err::ok) << why;
    return s;
  }
  std::unique_ptr<store::history_sink> mongo_sink() {
    std::unique_ptr<store::history_sink> s;
    std::string why;
    EXPECT_EQ(store::open_mongo_sink(o_, &s, &why), core::err::ok) << why;
    return s;
  }
  core::err open(store::store** s, std::string* why, const char* spool = "spool") {
    store::mongo_options o;
    o.url = o_.url;
    o.spool_dir = dir_.file(spool);
    o.clock = &clock_;
    o.close_ms = 10'000;
    return store::open_mongo(o, s, why);
  }
  template <typename Fn>
  void serve_mongo(Fn fill, const char* spool = "spool") {
    store::store* s = nullptr;
    std::string why;
    ASSERT_EQ(open(&s, &why, spool), core::err::ok) << why;
    const std::unique_ptr<store::store> owned(s);
    client c{s, loops_.at(0)};
    fill(c);
    s->close();
  }
  std::string open_fails() {
    store::store* s = nullptr;
    std::string why;
    EXPECT_NE(open(&s, &why), core::err::ok);
    return why;
  }
  // Why a move out of the database fails.
  moved export_fails() {
    text_file out;
    const auto from = mongo_source();
    const auto to = store::open_ndjson_sink(out.fd());
    return move(from.get(), to.get());
  }
  template <typename Fn>
  void raw(Fn fn) {
    store::mongo_pool* pool = nullptr;
    std::string why;
    ASSERT_EQ(store::mongo_pool_open(o_.url, {}, 1, &pool, &why), core::err::ok) << why;
    store::mongo_client* client = store::mongo_client_take(pool);
    fn(client);
    store::mongo_client_give(pool, client);
    store::mongo_pool_close(pool);
  }
  // Every document but for an _id that the driver made, sorted, with the names and types of its
  // fields.
  std::string documents(const char* collection) {
    std::vector<std::string> all;
    raw([&](store::mongo_client* c) {
      const auto f =
          store::mongo_find_each(c, collection, store::doc(), store::doc(), [&](const bson_t& d) {
            bson_t kept;
            bson_init(&kept);
            bson_iter_t at;
            std::vector<std::string> fields;
            for (bson_iter_init(&at, &d); bson_iter_next(&at);) {
              if (BSON_ITER_HOLDS_OID(&at)) continue;
              bson_t one;
              bson_init(&one);
              bson_append_iter(&one, nullptr, 0, &at);
              char* json = bson_as_canonical_extended_json(&one, nullptr);
              fields.emplace_back(json);
              bson_free(json);
              bson_destroy(&one);
            }
            bson_destroy(&kept);
            std::sort(fields.begin(), fields.end());
            std::string text;
            for (const std::string& x : fields) text += x;
            all.push_back(std::move(text));
            return true;
          });
      EXPECT_FALSE(f) << f.text;
    });
    std::sort(all.begin(), all.end());
    std::string text;
    for (const std::string& d : all) text += d + "\n";
    return text;
  }
  std::string all_documents() {
    std::string text;
    for (const char* c :
         {store::kPublications, store::kKeys, store::kChannels, store::kUserChannels})
      text += std::string(c) + "\n" + documents(c);
    return text;
  }

  store::mongo_transfer_options o_;
};

TEST_F(mongo_transfer_test, gives_the_same_file_after_a_move_through_every_store) {
  serve(path("a"), [&](client& c) { fill(c); });
  const std::string text = file_of(path("a"));
  ASSERT_EQ(imported(text, sink(path("b")).get()).rc, core::err::ok);
  {
    const auto from = source(path("b"));
    const auto to = mongo_sink();
    const moved m = move(from.get(), to.get());
    ASSERT_EQ(m.rc, core::err::ok) << m.why;
    EXPECT_EQ(m.counts, (store::history_counts{5, 13, 3, 3}));
  }
  EXPECT_EQ(exported(mongo_source()), text);
}

TEST_F(mongo_transfer_test, moves_pages_and_is_run_again_from_the_middle) {
  const std::string text = long_text(3500);
  const moved cut = imported(text, mongo_sink().get(), 900, 2000);
  ASSERT_EQ(cut.rc, core::err::closed);
  const moved whole = imported(text, mongo_sink().get());
  ASSERT_EQ(whole.rc, core::err::ok) << whole.why;
  EXPECT_EQ(whole.passed_over, cut.counts.publications);
  EXPECT_EQ(exported(mongo_source()), text);
}

TEST_F(mongo_transfer_test, is_just_run_again_when_it_was_interrupted) {
  serve(path("a"), [&](client& c) { fill(c); });
  const std::string text = file_of(path("a"));
  for (uint64_t stop = 1; stop < 23; stop += 2) {
    o_.url = mongo_server::shared().fresh_url();
    const moved cut = imported(text, mongo_sink().get(), 3, stop);
    ASSERT_EQ(cut.rc, core::err::closed) << cut.why;
    const moved whole = imported(text, mongo_sink().get());
    ASSERT_EQ(whole.rc, core::err::ok) << whole.why;
    EXPECT_EQ(whole.passed_over, cut.counts.publications);
    ASSERT_EQ(exported(mongo_source()), text) << stop;
  }
}

TEST_F(mongo_transfer_test, serves_on_where_the_history_ended) {
  serve(path("a"), [&](client& c) { fill(c); });
  ASSERT_EQ(imported(file_of(path("a")), mongo_sink().get()).rc, core::err::ok);
  std::string epoch;
  serve(path("a"), [&](client& c) { epoch = c.read(page("general", 0, 0)).top.epoch; });
  serve_mongo([&](client& c) {
    EXPECT_EQ(c.read(page("general", 0, 0)).top.epoch, epoch) << "clients recover";
    EXPECT_EQ(c.read(page("general", 0, 100)).pubs.size(), 10u);
    const auto again = c.append(with_key(message("general", "\"with a key\"", kNowMs + 9),
                                         "rpc\nalice\nk1", "h\1\xff", kDayMs));
    EXPECT_TRUE(again.is_duplicate);
    EXPECT_EQ(again.offset, 6u);
    EXPECT_EQ(c.append(with_key(message("emptied", "1", kNowMs), "e1", "h1")).offset, 1u);
    EXPECT_EQ(c.append(with_key(message("emptied", "1", kNowMs), "e1", "x")).rc,
              core::err::conflict);
    EXPECT_EQ(c.say("general", "new").offset, 11u);
    EXPECT_EQ(c.say("emptied", "new").offset, 3u);
    EXPECT_EQ(c.append(reference("general", "bob", 1, true)).rc, core::err::denied);
    const auto r = c.channels("alice");
    ASSERT_EQ(r.channels.size(), 1u);
    EXPECT_EQ(r.channels[0].read_offset, 4u);
    EXPECT_EQ(r.channels[0].top.offset, 11u);
  });
  const std::string text = exported(mongo_source());
  EXPECT_NE(text.find("\"top\":11"), std::string::npos);
}

// What a node writes and what an import of the same writes.
TEST_F(mongo_transfer_test, writes_the_documents_that_a_node_writes) {
  serve_mongo([&](client& c) { fill(c); });
  const std::string text = exported(mongo_source());
  const std::string theirs = all_documents();
  o_.url = mongo_server::shared().fresh_url();
  ASSERT_EQ(imported(text, mongo_sink().get()).rc, core::err::ok);
  std::string ours = all_documents();
  // A key that has expired is not moved, nor told of in its publication.
  const std::string expired =
      R"({ "key" : { "$binary" : { "base64" : "b2xk", "subType" : "00" } } })";
  std::string expected = theirs;
  ASSERT_NE(expected.find(expired), std::string::npos) << theirs;
  expected.erase(expected.find(expired), expired.size());
  EXPECT_EQ(ours.substr(0, ours.find("keys\n")), expected.substr(0, expected.find("keys\n")));
  EXPECT_EQ(ours.substr(ours.find("channels\n")), expected.substr(expected.find("channels\n")));
  EXPECT_EQ(exported(mongo_source()), text);
  ASSERT_EQ(imported(text, sink(path("b")).get()).rc, core::err::ok);
  EXPECT_EQ(file_of(path("b")), text);
}

TEST_F(mongo_transfer_test, adds_what_is_new_to_a_store_that_has_gone_on) {
  serve(path("a"), [&](client& c) { fill(c); });
  const std::string before = file_of(path("a"));
  ASSERT_EQ(imported(before, mongo_sink().get()).rc, core::err::ok);
  serve(path("a"), [&](client& c) {
    c.say("general", "11");
    c.append(reference("general", "alice", 4, true));
    c.say("more", "1");
    // The same key, when it had expired.
    EXPECT_EQ(c.append(with_key(message("general", "\"again\"", kNowMs + 2 * kDayMs),
                                "rpc\nalice\nk1", "h2", kDayMs))
                  .offset,
              13u);
    EXPECT_EQ(c.mark("alice", "general", 9), core::err::ok);
  });
  const std::string after = file_of(path("a"));
  const moved m = imported(after, mongo_sink().get());
  ASSERT_EQ(m.rc, core::err::ok) << m.why;
  EXPECT_EQ(m.passed_over, 13u);
  EXPECT_EQ(exported(mongo_source()), after) << "also what was deleted since";
  ASSERT_EQ(imported(before, mongo_sink().get()).rc, core::err::ok);
  EXPECT_EQ(exported(mongo_source()), after) << "an older file takes nothing back";
}

TEST_F(mongo_transfer_test, names_where_two_histories_differ_and_overwrites_nothing) {
  serve(path("a"), [&](client& c) { fill(c); });
  ASSERT_EQ(imported(file_of(path("a")), mongo_sink().get()).rc, core::err::ok);
  serve(path("a"), [&](client& c) { c.say("general", "here"); });
  serve_mongo([&](client& c) { c.say("general", "there"); });
  const std::string there = exported(mongo_source());
  const moved m = imported(file_of(path("a")), mongo_sink().get());
  EXPECT_EQ(m.rc, core::err::conflict);
  EXPECT_NE(m.why.find("channel \"general\""), std::string::npos) << m.why;
  EXPECT_NE(m.why.find("offset 11"), std::string::npos) << m.why;
  EXPECT_EQ(exported(mongo_source()), there);
  serve_mongo([&](client& c) { EXPECT_EQ(c.say("general", "on").offset, 12u); });
}

TEST_F(mongo_transfer_test, refuses_a_database_with_a_history_of_its_own) {
  serve_mongo([&](client& c) { c.say("other", "1"); });
  const moved m = imported(long_text(5), mongo_sink().get());
  EXPECT_EQ(m.rc, core::err::invalid);
  EXPECT_NE(m.why.find("history of its own"), std::string::npos) << m.why;
  o_.url = mongo_server::shared().fresh_url();
  serve_mongo([&](client&) {}, "another");
  EXPECT_EQ(imported(long_text(5), mongo_sink().get()).rc, core::err::ok)
      << "one that was served and has nothing is empty";
  serve_mongo([&](client& c) { EXPECT_EQ(c.read(page("long", 0, 0)).top.epoch, "abcd1234"); },
              "another");
}

TEST_F(mongo_transfer_test, refuses_while_a_node_writes_or_may_have_more) {
  EXPECT_EQ(export_fails().rc, core::err::invalid) << "nobody has written there";
  {
    store::store* s = nullptr;
    std::string why;
    ASSERT_EQ(open(&s, &why), core::err::ok) << why;
    const std::unique_ptr<store::store> owned(s);
    moved m = imported(long_text(5), mongo_sink().get());
    EXPECT_EQ(m.rc, core::err::denied);
    EXPECT_NE(m.why.find("stop parleyd first"), std::string::npos) << m.why;
    EXPECT_EQ(export_fails().rc, core::err::denied);
    s->close();
  }
  EXPECT_EQ(export_fails().rc, core::err::ok);
  raw([](store::mongo_client* c) {  // as after kill -9
    store::mongo_update u;
    u.filter.text("_id", "writer");
    u.update.sub("$set", store::doc().flag("released", false).date("seen", kNowMs - 60'000));
    EXPECT_FALSE(store::mongo_change(c, store::kMeta, {u}).failure);
  });
  const moved m = export_fails();
  EXPECT_EQ(m.rc, core::err::denied);
  EXPECT_NE(m.why.find("its spool may have publications"), std::string::npos) << m.why;
  EXPECT_EQ(imported(long_text(5), mongo_sink().get()).rc, core::err::denied);
}

TEST_F(mongo_transfer_test, keeps_nodes_and_exports_away_until_an_import_has_ended) {
  const std::string text = long_text(50);
  ASSERT_EQ(imported(text, mongo_sink().get(), 10, 20).rc, core::err::closed);
  EXPECT_NE(open_fails().find("an import into it has not ended"), std::string::npos);
  EXPECT_EQ(export_fails().rc, core::err::invalid);
  std::string other = text;
  other.replace(other.find("abcd1234"), 8, "efgh5678");
  EXPECT_EQ(imported(other, mongo_sink().get()).rc, core::err::invalid);
  ASSERT_EQ(imported(text, mongo_sink().get()).rc, core::err::ok);
  serve_mongo([](client& c) { EXPECT_EQ(c.say("long", "1").offset, 61u); });
}

TEST_F(mongo_transfer_test, has_one_import_at_a_time) {
  o_.lease_ms = 4;
  const std::string text = long_text(50);
  std::string why;
  const auto first = mongo_sink();
  ASSERT_EQ(first->begin({"abcd1234", 0}, &why), core::err::ok) << why;
  const moved m = imported(text, mongo_sink().get());
  EXPECT_EQ(m.rc, core::err::denied);
  EXPECT_NE(m.why.find("another import"), std::string::npos) << m.why;
  clock_.now_ms += 10;  // it has not been seen for so long
  ASSERT_EQ(imported(text, mongo_sink().get()).rc, core::err::ok);
  const uint64_t until = core::system_clock()->mono_us() + 2000;
  while (core::system_clock()->mono_us() < until) {
  }
  EXPECT_EQ(first->put({}, &why), core::err::denied) << "the place is lost";
}

// A node may be killed for good during an import of more: its successor goes on in the same epoch.
TEST_F(mongo_transfer_test, leaves_a_whole_history_to_nodes_when_more_did_not_come) {
  const std::string text = long_text(50);
  ASSERT_EQ(imported(text, mongo_sink().get()).rc, core::err::ok);
  std::string why;
  const auto killed = mongo_sink();
  ASSERT_EQ(killed->begin({"abcd1234", 0}, &why), core::err::ok) << why;
  EXPECT_NE(open_fails().find("another node writes"), std::string::npos);
  clock_.now_ms += 60'000;
  serve_mongo([](client& c) {
    EXPECT_EQ(c.read(page("long", 0, 0)).top.epoch, "abcd1234");
    EXPECT_EQ(c.say("long", "1").offset, 61u);
  });
  EXPECT_EQ(export_fails().rc, core::err::ok);
}

// An export holds nothing, so it looks again at its end.
TEST_F(mongo_transfer_test, notices_a_node_that_begins_during_an_export) {
  ASSERT_EQ(imported(long_text(50), mongo_sink().get()).rc, core::err::ok);
  const auto from = mongo_source();
  store::history_head head;
  store::history_page page;
  std::string why;
  ASSERT_EQ(from->begin(&head, &why), core::err::ok) << why;
  serve_mongo([](client& c) { c.say("long", "1"); });
  EXPECT_EQ(from->next(&page, &why), core::err::denied);
  EXPECT_NE(why.find("export again"), std::string::npos) << why;
}

// After a lost spool: a channel without a document, offsets that were used, publications of two
// epochs.
TEST_F(mongo_transfer_test, moves_what_a_lost_spool_has_left) {
  serve_mongo([](client& c) {
    c.say("listed", "1", kNowMs);
    c.say("unlisted", "1", kNowMs);
    c.say("z", "1", kNowMs);
  });
  raw([](store::mongo_client* c) {
    EXPECT_FALSE(store::mongo_remove(c, store::kChannels, store::doc().text("_id", "unlisted")));
    store::mongo_update u;
    u.filter.text("_id", "writer");
    u.update.sub("$set", store::doc().text("epoch", "newepoch").number("shift", 1000));
    EXPECT_FALSE(store::mongo_change(c, store::kMeta, {u}).failure);
  });
  serve_mongo([](client& c) { EXPECT_EQ(c.say("z", "2", kNowMs).offset, 1002u); });
  const std::string text = exported(mongo_source());
  EXPECT_NE(text.find("\"epoch\":\"newepoch\",\"shift\":1000}"), std::string::npos) << text;
  EXPECT_NE(text.find("\"listed\",\"top\":1001,"), std::string::npos) << text;
  EXPECT_NE(text.find("\"unlisted\",\"top\":1001,"), std::string::npos) << text;
  EXPECT_NE(text.find("\"z\",\"top\":1002,"), std::string::npos) << text;
  EXPECT_NE(text.find("\"data\":\"1\",\"epoch\":\""), std::string::npos) << text;
  o_.url = mongo_server::shared().fresh_url();
  ASSERT_EQ(imported(text, mongo_sink().get()).rc, core::err::ok);
  EXPECT_EQ(exported(mongo_source()), text);
  serve_mongo(
      [](client& c) {
        EXPECT_EQ(c.say("unlisted", "2").offset, 1002u);
        EXPECT_EQ(c.say("new", "1").offset, 1001u);
      },
      "another");
}

TEST_F(mongo_transfer_test, says_that_mongodb_is_away) {
  o_.url = "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100&connectTimeoutMS=100";
  o_.give_up_ms = 0;
  const moved m = imported(long_text(5), mongo_sink().get());
  EXPECT_EQ(m.rc, core::err::unavailable);
  EXPECT_EQ(m.why.find("MongoDB at 127.0.0.1:1/x does not answer"), 0u) << m.why;
  EXPECT_EQ(export_fails().rc, core::err::unavailable);
  std::unique_ptr<store::history_source> from;
  std::string why;
  o_.url = "mongodb://user:secret@/x";
  EXPECT_EQ(store::open_mongo_source(o_, &from, &why), core::err::invalid);
  EXPECT_EQ(why.find("secret"), std::string::npos) << why;
}

TEST_F(mongo_transfer_test, ends_when_mongodb_goes_away_in_the_middle_and_goes_on_later) {
  if (!mongo_server::is_ours_to_stop()) GTEST_SKIP() << "needs a server that can be stopped";
  mongo_server own;
  o_.url = own.url("x") + "?socketTimeoutMS=300&connectTimeoutMS=300&serverSelectionTimeoutMS=300";
  o_.give_up_ms = 0;
  const std::string text = long_text(3000);
  {
    text_file in(text);
    chopped from(store::open_ndjson_source({.fd = in.fd()}), 100, 0);
    const auto to = mongo_sink();
    store::history_counts counts;
    std::string why;
    const auto stop = [](void* user, const store::history_counts& so_far,
                         const store::history_progress&) noexcept {
      if (so_far.publications > 1000) static_cast<mongo_server*>(user)->signal(SIGSTOP);
      return true;
    };
    EXPECT_EQ(store::transfer_run(&from, to.get(), {stop, &own}, &counts, &why),
              core::err::unavailable);
    EXPECT_LT(counts.publications, 1200u);
  }
  own.signal(SIGCONT);
  o_.url = own.url("x");
  o_.give_up_ms = 30'000;
  clock_.now_ms += 60'000;
  const moved m = imported(text, mongo_sink().get());
  ASSERT_EQ(m.rc, core::err::ok) << m.why;
  EXPECT_EQ(exported(mongo_source()), text);
}

}  // namespace
}  // namespace store_test
