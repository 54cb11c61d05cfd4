// Histories that move: the same file comes back whatever stores it went through, interrupted moves
// are just run again, and nothing is overwritten.
#include "store/transfer.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <fstream>
#include <random>

#include "tests/store/transfer_world.h"

namespace store_test {
namespace {

class transfer_test : public transfer_world {};

TEST_F(transfer_test, writes_one_line_for_each_thing) {
  serve(path("a"), [&](client& c) { fill(c); });
  std::string text = file_of(path("a"));
  text.replace(text.rfind("\"crc32\":\"") + 9, 8, "CRC");
  text.replace(text.find("\"epoch\":\"") + 9, 8, "EPOCH");
  EXPECT_EQ(text,
            R"({"kind":"header","format":"parley-history","version":1,"epoch":"EPOCH"}
{"kind":"channel","channel":"ch)"
            "\xc3\xa4"
            R"(t:1","top":1,"time":1700000000000}
{"kind":"publication","channel":"ch)"
            "\xc3\xa4"
            R"(t:1","offset":1,"time":1700000000000,"user":"b\"o\\b\n\u0001","data":"{\"a\":\"\\\")"
            "\xf0\x9f\x98\x80"
            R"(\\n\"}","info":"{\"user\":\"x\"}","tags":"{\"key\":\"1\"}"}
{"kind":"channel","channel":"emptied","top":2,"time":1700000000000}
{"kind":"key","channel":"emptied","offset":1,"time":1700000000000,"key":"e1","key_hash":"6831","key_expires":1700086400000}
{"kind":"key","channel":"emptied","offset":2,"time":1700000000000,"key":"e2","key_hash":"6832","key_expires":1700086400000}
{"kind":"channel","channel":"general","top":10,"time":1000}
{"kind":"publication","channel":"general","offset":1,"time":1700000000001,"user":"alice","data":"1"}
{"kind":"publication","channel":"general","offset":2,"time":1700000000002,"user":"alice","data":"null","deleted":true}
{"kind":"publication","channel":"general","offset":3,"time":1700000000003,"user":"alice","data":"3"}
{"kind":"publication","channel":"general","offset":4,"time":1700000000004,"user":"alice","data":"4"}
{"kind":"publication","channel":"general","offset":5,"time":1700000000005,"user":"alice","data":"5"}
{"kind":"publication","channel":"general","offset":6,"time":1700000000006,"user":"alice","data":"\"with a key\"","key":"rpc\nalice\nk1","key_hash":"6801ff","key_expires":1700086400006}
{"kind":"publication","channel":"general","offset":7,"time":1699913600000,"user":"alice","data":"\"expired\""}
{"kind":"publication","channel":"general","offset":8,"time":1000,"user":"alice","data":"null","refers":2,"deleted":true}
{"kind":"publication","channel":"general","offset":9,"time":1000,"user":"alice","data":"\"deleted\"","refers":2}
{"kind":"publication","channel":"general","offset":10,"time":1000,"user":"alice","data":"\"edited\"","refers":3}
{"kind":"channel","channel":"kept","top":1,"time":1700000000000,"size_max":1000,"ttl_ms":86400000}
{"kind":"publication","channel":"kept","offset":1,"time":1700000000000,"user":"alice","data":"1"}
{"kind":"channel","channel":"null","top":1,"time":1700000000000}
{"kind":"publication","channel":"null","offset":1,"time":1700000000000,"user":"alice","data":"null"}
{"kind":"user_channel","user":"alice","channel":"general","read":4}
{"kind":"user_channel","user":"bob","channel":"general","read":0}
{"kind":"user_channel","user":"carol","channel":"nowhere","read":7}
{"kind":"end","channels":5,"publications":13,"keys":3,"user_channels":3,"crc32":"CRC"}
)");
}

TEST_F(transfer_test, gives_the_same_file_after_a_move_through_sqlite) {
  serve(path("a"), [&](client& c) { fill(c); });
  const std::string text = file_of(path("a"));
  const moved m = imported(text, sink(path("b")).get());
  ASSERT_EQ(m.rc, core::err::ok) << m.why;
  EXPECT_EQ(m.counts, (store::history_counts{5, 13, 3, 3}));
  EXPECT_EQ(m.passed_over, 0u);
  EXPECT_EQ(file_of(path("b")), text);
}

TEST_F(transfer_test, serves_on_where_the_history_ended) {
  std::string epoch;
  serve(path("a"), [&](client& c) {
    fill(c);
    epoch = c.read(page("general", 0, 0)).top.epoch;
  });
  ASSERT_EQ(imported(file_of(path("a")), sink(path("b")).get()).rc, core::err::ok);
  serve(path("b"), [&](client& c) {
    EXPECT_EQ(c.read(page("general", 0, 0)).top.epoch, epoch) << "clients recover";
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
    EXPECT_EQ(c.append(reference("general", "alice", 1, true)).rc, core::err::ok);
    const auto r = c.channels("alice");
    ASSERT_EQ(r.channels.size(), 1u);
    EXPECT_EQ(r.channels[0].read_offset, 4u);
    EXPECT_EQ(c.channels("carol").channels.at(0).read_offset, 7u);
  });
}

TEST_F(transfer_test, is_just_run_again_when_it_was_interrupted) {
  serve(path("a"), [&](client& c) { fill(c); });
  const std::string text = file_of(path("a"));
  const uint64_t records = 5 + 13 + 2 + 3;
  for (uint64_t stop = 1; stop < records; ++stop) {
    for (const size_t size : {1u, 3u}) {
      const std::string to = path(("b" + std::to_string(stop) + std::to_string(size)).c_str());
      const moved cut = imported(text, sink(to).get(), size, stop);
      ASSERT_EQ(cut.rc, core::err::closed) << cut.why;
      const moved whole = imported(text, sink(to).get());
      ASSERT_EQ(whole.rc, core::err::ok) << whole.why;
      EXPECT_EQ(whole.passed_over, cut.counts.publications);
      ASSERT_EQ(file_of(to), text) << stop;
    }
  }
}

TEST_F(transfer_test, keeps_servers_and_exports_away_until_an_import_has_ended) {
  const std::string text = long_text(50);
  ASSERT_EQ(imported(text, sink(path("b")).get(), 10, 20).rc, core::err::closed);
  store::sqlite_options o;
  o.path = path("b");
  store::store* s = nullptr;
  std::string why;
  EXPECT_EQ(store::open_sqlite(o, &s, &why), core::err::io);
  const std::unique_ptr<store::store> wrongly_open(s);
  EXPECT_NE(why.find("an import into it has not ended"), std::string::npos) << why;
  text_file out;
  const auto to = store::open_ndjson_sink(out.fd());
  const auto from = source(path("b"));
  EXPECT_EQ(move(from.get(), to.get()).rc, core::err::invalid);
}

TEST_F(transfer_test, adds_what_is_new_to_a_store_that_has_gone_on) {
  serve(path("a"), [&](client& c) { fill(c); });
  const std::string before = file_of(path("a"));
  ASSERT_EQ(imported(before, sink(path("b")).get()).rc, core::err::ok);
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
  const moved m = imported(after, sink(path("b")).get());
  ASSERT_EQ(m.rc, core::err::ok) << m.why;
  EXPECT_EQ(m.passed_over, 13u);
  EXPECT_EQ(file_of(path("b")), after) << "also what was deleted since";
  ASSERT_EQ(imported(before, sink(path("b")).get()).rc, core::err::ok);
  EXPECT_EQ(file_of(path("b")), after) << "an older file takes nothing back";
}

TEST_F(transfer_test, names_where_two_histories_differ_and_overwrites_nothing) {
  serve(path("a"), [&](client& c) { fill(c); });
  const std::string before = file_of(path("a"));
  ASSERT_EQ(imported(before, sink(path("b")).get()).rc, core::err::ok);
  serve(path("a"), [&](client& c) { c.say("general", "here"); });
  serve(path("b"), [&](client& c) { c.say("general", "there"); });
  const std::string there = file_of(path("b"));
  const moved m = imported(file_of(path("a")), sink(path("b")).get());
  EXPECT_EQ(m.rc, core::err::conflict);
  EXPECT_NE(m.why.find("channel \"general\""), std::string::npos) << m.why;
  EXPECT_NE(m.why.find("offset 11"), std::string::npos) << m.why;
  EXPECT_EQ(file_of(path("b")), there) << "and a server may still serve it";
}

TEST_F(transfer_test, refuses_a_store_with_a_history_of_its_own) {
  serve(path("a"), [&](client& c) { c.say("general", "1"); });
  serve(path("b"), [&](client& c) { c.say("other", "1"); });
  const moved m = imported(file_of(path("a")), sink(path("b")).get());
  EXPECT_EQ(m.rc, core::err::invalid);
  EXPECT_NE(m.why.find("history of its own"), std::string::npos) << m.why;
}

TEST_F(transfer_test, refuses_while_a_server_has_the_store) {
  serve(path("a"), [&](client& c) {
    c.say("general", "1");
    std::unique_ptr<store::history_source> from;
    std::unique_ptr<store::history_sink> to;
    std::string why;
    EXPECT_EQ(store::open_sqlite_source(path("a"), &clock_, &from, &why), core::err::denied);
    EXPECT_NE(why.find("in use by process"), std::string::npos) << why;
    EXPECT_EQ(store::open_sqlite_sink(path("a"), &to, &why), core::err::denied);
  });
  std::unique_ptr<store::history_source> from;
  std::string why;
  EXPECT_EQ(store::open_sqlite_source(path("none"), &clock_, &from, &why), core::err::invalid);
  EXPECT_NE(access(path("none").c_str(), F_OK), 0) << "nothing is made";
}

TEST_F(transfer_test, carries_the_shift_through_sqlite) {
  std::string text = long_text(3);
  const size_t at = text.find("\"epoch\":\"abcd1234\"") + 18;
  text.insert(at, ",\"shift\":5000");
  text.erase(text.rfind("{\"kind\":\"end\""));
  const uint32_t crc = store::ndjson_crc(0, text);
  store::ndjson_put_end({1, 3, 1, 0}, crc, &text);
  ASSERT_EQ(imported(text, sink(path("b")).get()).rc, core::err::ok);
  EXPECT_EQ(file_of(path("b")), text);
}

// Every line but the last missing, every byte cut off, every byte changed: told, and nothing behind
// the last good check is taken.
TEST_F(transfer_test, notices_a_truncated_file) {
  serve(path("a"), [&](client& c) { fill(c); });
  const std::string text = file_of(path("a"));
  for (size_t n = 0; n < text.size(); ++n) {
    text_file in(text.substr(0, n));
    text_file out;
    const auto from = store::open_ndjson_source({.fd = in.fd()});
    const auto to = store::open_ndjson_sink(out.fd());
    const moved m = move(from.get(), to.get());
    ASSERT_EQ(m.rc, core::err::malformed) << n;
    ASSERT_NE(m.why.find("truncated"), std::string::npos) << m.why;
    ASSERT_EQ(m.counts, store::history_counts()) << n;
  }
}

TEST_F(transfer_test, notices_any_changed_byte_before_it_takes_it) {
  const std::string text = long_text(2500);
  const size_t first = text.find("\"check\"");
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string bad = text;
    const size_t at = i == 0 ? text.size() - 1 : random() % text.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
    text_file in(bad), out;
    const auto from = store::open_ndjson_source({.fd = in.fd()});
    const auto to = store::open_ndjson_sink(out.fd());
    const moved m = move(from.get(), to.get());
    ASSERT_EQ(m.rc, core::err::malformed) << at;
    ASSERT_TRUE(at > first || m.counts.publications == 0) << at;
    ASSERT_EQ(m.counts.publications % 1000, m.counts.publications == 0 ? 0u : 999u) << at;
  }
}

TEST_F(transfer_test, says_which_line_is_wrong_and_what_is_allowed) {
  const std::string head =
      "{\"kind\":\"header\",\"format\":\"parley-history\",\"version\":1,\"epoch\":\"abcd1234\"}\n";
  const std::string channel = "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":9}\n";
  const auto publication = [](const std::string& rest) {
    return "{\"kind\":\"publication\",\"channel\":\"c\",\"offset\":5,\"time\":1,\"data\":\"1\"" +
           rest + "}\n";
  };
  const std::string long_name(256, 'c');
  const std::pair<std::string, const char*> cases[] = {
      {"x\n", "line 1: a line is a JSON object"},
      {channel, "line 1: the first line is of kind header"},
      {"{\"kind\":\"header\",\"format\":\"x\",\"version\":1,\"epoch\":\"abcd1234\"}\n",
       "\"format\" must be \"parley-history\""},
      {"{\"kind\":\"header\",\"format\":\"parley-history\",\"version\":2,\"epoch\":\"abcd1234\"}\n",
       "of a newer parleyd; this one knows 1"},
      {"{\"kind\":\"header\",\"format\":\"parley-history\",\"version\":1,\"epoch\":\"ABCD1234\"}\n",
       "\"epoch\" must be 8 characters of a-z and 0-9"},
      {head + head, "line 2: a second header"},
      {head + publication(""), "line 2: the line of channel \"c\" must come before"},
      {head + "{\"kind\":\"what\",\"channel\":\"c\"}\n",
       "line 2: the kind is \"what\"; there are header, channel"},
      {head + "{\"channel\":\"c\"}\n", "line 2: \"kind\" is missing"},
      {head + "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":9,\"what\":1}\n",
       "a channel has no field \"what\""},
      {head + "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":9,\"top\":9}\n",
       "\"top\" comes twice"},
      {head + "{\"kind\":\"channel\",\"channel\":\"\",\"top\":9}\n", "\"channel\" is empty"},
      {head + "{\"kind\":\"channel\",\"channel\":\"" + long_name + "\",\"top\":9}\n",
       "has 256 bytes; at most 255 are allowed"},
      {head + "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":\"9\"}\n",
       "\"top\" must be a whole number"},
      {head + "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":-1}\n",
       "\"top\" is -1; from 0 to 9223372036854775806 is allowed"},
      {head + "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":9223372036854775808}\n",
       "a number beyond 64 bits at byte"},
      {head + "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":1.5}\n", "no ',' or '}' at byte"},
      {head + "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":null}\n",
       "a value is a text, a whole number, true or false"},
      {head + "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":9} x\n",
       "something stands behind the object"},
      {head + "{\"kind\":\"channel\",\"channel\":\"\\ud800\",\"top\":9}\n",
       "half a surrogate pair"},
      {head + "{\"kind\":\"channel\",\"channel\":\"\\x\",\"top\":9}\n", "no such escape"},
      {head + "{\"kind\":\"channel\",\"channel\":\"\1\",\"top\":9}\n", "a control character"},
      {head + channel + publication("") + publication(""),
       "line 4: offset 5 does not follow 5; they rise within a channel"},
      {head + "{\"kind\":\"channel\",\"channel\":\"c\",\"top\":4}\n" + publication(""),
       "line 3: offset 5 is above the channel's top, 4"},
      {head + channel + publication(",\"refers\":5"), "\"refers\" must be before \"offset\""},
      {head + channel + publication(",\"deleted\":true"), "\"data\" must be null"},
      {head + channel + publication(",\"key\":\"k\""), "\"key_hash\" is missing"},
      {head + channel + publication(",\"key_hash\":\"00\""), "\"key\" is missing"},
      {head + channel + publication(",\"key\":\"k\",\"key_hash\":\"0x\",\"key_expires\":1"),
       "\"key_hash\" must be pairs of hexadecimal digits"},
      {head + channel + "{\"kind\":\"check\",\"crc32\":\"00000000\"}\n",
       "line 3: the checksum of what is before it is another: the file is damaged"},
      {head + channel + "{\"kind\":\"check\",\"crc32\":\"000000\"}\n", "eight hexadecimal digits"},
  };
  for (const auto& [text, expected] : cases) {
    text_file out;
    const auto to = store::open_ndjson_sink(out.fd());
    const moved m = imported(text, to.get());
    EXPECT_EQ(m.rc, core::err::malformed) << text;
    EXPECT_NE(m.why.find(expected), std::string::npos) << m.why << "\n" << expected;
  }
}

TEST_F(transfer_test, wants_counts_an_end_and_checks) {
  std::string text = long_text(5);
  const moved behind = imported(text + "{}\n", sink(path("b")).get());
  EXPECT_NE(behind.why.find("behind the line of kind end"), std::string::npos) << behind.why;
  text.erase(text.rfind("{\"kind\":\"end\""));
  const uint32_t crc = store::ndjson_crc(0, text);
  store::ndjson_put_end({1, 4, 2, 0}, crc, &text);
  const moved counts = imported(text, sink(path("c")).get());
  EXPECT_NE(counts.why.find("line 8: the counts are not those"), std::string::npos) << counts.why;
  text = long_text(1001);
  const size_t check = text.find("{\"kind\":\"check\"");
  text.erase(check, text.find('\n', check) + 1 - check);
  const moved unchecked = imported(text, sink(path("d")).get());
  EXPECT_NE(unchecked.why.find("line 1002: a line of kind check is missing"), std::string::npos)
      << unchecked.why;
}

TEST_F(transfer_test, asks_whether_texts_are_json) {
  text_file in(long_text(5));
  std::string asked;
  const auto from = store::open_ndjson_source({.fd = in.fd(),
                                               .is_json =
                                                   [](void* user, std::string_view t) noexcept {
                                                     *static_cast<std::string*>(user) += t;
                                                     return t != "{\"n\":3}";
                                                   },
                                               .user = &asked});
  const moved m = move(from.get(), sink(path("b")).get());
  EXPECT_EQ(m.rc, core::err::malformed);
  EXPECT_NE(m.why.find("line 6: \"data\" is a text that holds JSON"), std::string::npos) << m.why;
  EXPECT_EQ(asked, "{\"n\":0}{\"n\":1}{\"n\":2}{\"n\":3}");
}

TEST_F(transfer_test, says_when_the_disk_is_full) {
  const int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  const auto to = store::open_ndjson_sink(full);
  const moved m = imported(long_text(5), to.get());
  EXPECT_EQ(m.rc, core::err::io);
  EXPECT_NE(m.why.find("No space left on device"), std::string::npos) << m.why;
  close(full);
}

TEST_F(transfer_test, goes_on_after_a_full_disk) {
  const std::string text = long_text(20'000);
  text_file in(text);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{256 * 1024, before.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  {
    const auto to = sink(path("b"));
    const auto from = store::open_ndjson_source({.fd = in.fd()});
    setrlimit(RLIMIT_FSIZE, &small);
    const moved m = move(from.get(), to.get());
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_EQ(m.rc, core::err::io) << m.why;
    EXPECT_EQ(m.why.find(path("b")), 0u) << m.why;
    EXPECT_LT(m.counts.publications, 20'000u);
  }
  const moved again = imported(text, sink(path("b")).get());
  ASSERT_EQ(again.rc, core::err::ok) << again.why;
  EXPECT_EQ(file_of(path("b")), text);
}

// The most memory this process has had since the last call, in KiB.
long peak_kib() {
  std::ifstream in("/proc/self/status");
  std::string line;
  long kib = 0;
  while (std::getline(in, line))
    if (line.starts_with("VmHWM:")) kib = std::stol(line.substr(6));
  std::ofstream("/proc/self/clear_refs") << "5";
  return kib;
}

// More keys than are asked for at once, then messages of which few fill a page.
TEST_F(transfer_test, takes_no_more_memory_for_a_long_history) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep what was freed";
#endif
  const std::pair<int, size_t> shapes[] = {{200'000, 600}, {1500, 100'000}};
  for (const auto& [count, bytes] : shapes) {
    text_file in, out;
    write_long(count, bytes, &in);
    peak_kib();
    const long before = peak_kib();
    const std::string file = path(std::to_string(count).c_str());
    const auto from = store::open_ndjson_source({.fd = in.fd()});
    moved m = move(from.get(), sink(file).get());
    ASSERT_EQ(m.rc, core::err::ok) << m.why;
    const auto to = store::open_ndjson_sink(out.fd());
    const auto back = source(file);
    m = move(back.get(), to.get());
    ASSERT_EQ(m.rc, core::err::ok) << m.why;
    EXPECT_EQ(m.counts.publications, static_cast<uint64_t>(count));
    EXPECT_EQ(back->progress().done, back->progress().all);
    EXPECT_LT(peak_kib() - before, 80 * 1024) << "it is about 150 MB long";
    EXPECT_TRUE(in.text() == out.text());
  }
}

TEST_F(transfer_test, goes_on_after_kill_9) {
  const std::string text = long_text(20'000), to = path("b");
  uint64_t passed_over = 0;
  for (int i = 1; i <= 6; ++i) {
    text_file in(text);
    int said[2];
    ASSERT_EQ(pipe(said), 0);
    const pid_t child = fork();
    if (child == 0) {
      chopped from(store::open_ndjson_source({.fd = in.fd()}), 100, 0);
      const auto tell = [](void* user, const store::history_counts&,
                           const store::history_progress&) noexcept {
        return ::write(*static_cast<int*>(user), "p", 1) == 1;
      };
      store::history_counts counts;
      std::string why;
      static_cast<void>(
          store::transfer_run(&from, sink(to).get(), {tell, &said[1]}, &counts, &why));
      _exit(0);
    }
    close(said[1]);
    char page;
    for (int n = 0; n < i * 20; ++n) ASSERT_EQ(read(said[0], &page, 1), 1);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    close(said[0]);
    passed_over = static_cast<uint64_t>(i) * 20 * 100 - 1;
  }
  const moved m = imported(text, sink(to).get());
  ASSERT_EQ(m.rc, core::err::ok) << m.why;
  EXPECT_GE(m.passed_over, passed_over);
  EXPECT_EQ(file_of(to), text);
}

}  // namespace
}  // namespace store_test
