// The injuries, without sockets: each breaks what it says and nothing else, at every cut of the
// input, at places that the seed decides.
#include "loadgen/injure.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <set>

#include "load_line.h"
#include "loadgen/stamp.h"
#include "proto/ws_client.h"

namespace loadgen {
namespace {

using core::err;
using std::string;
using strings = std::vector<string>;

const string kAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

injury make(injury_kind kind, double probability, uint32_t delay_ms = 1000) {
  return {kind, probability, delay_ms};
}

// One connection whose stream goes through the injuries.
struct patient {
  injury_plan own;
  injury_plan* plan;
  injured_stream s;
  string out;
  strings delays;  // "200 ms at byte 12"
  explicit patient(const std::vector<injury>& kinds, uint64_t seed = 1)
      : own(injury_plan_make(kinds, seed)), plan(&own), s(injured_stream_make(own, 1)) {}
  patient(injury_plan* shared, uint32_t number)
      : plan(shared), s(injured_stream_make(*shared, number)) {}
  ~patient() {
    end();
    EXPECT_EQ(plan->swaps_begun, 0u);
  }
  static void take(void* user, std::string_view bytes, uint32_t delay_ms) noexcept {
    auto* p = static_cast<patient*>(user);
    if (delay_ms > 0)
      p->delays.push_back(std::to_string(delay_ms) + " ms at byte " +
                          std::to_string(p->out.size()));
    p->out.append(bytes);
  }
  // In a block of exact size.
  patient& feed(const string& bytes) {
    auto block = std::make_unique<char[]>(bytes.size());
    memcpy(block.get(), bytes.data(), bytes.size());
    injured_feed(plan, &s, {block.get(), bytes.size()}, take, this);
    return *this;
  }
  bool release() { return injured_release(plan, &s, take, this); }
  void end() { injured_end(plan, &s, take, this); }
  uint64_t made(injury_kind k) const { return plan->report.made[static_cast<size_t>(k)]; }
};

// The messages of an output without the answer; it must be whole frames.
strings messages(const string& out, bool has_answer = true) {
  strings heard;
  proto::ws_client c;
  const proto::ws_client_events events = {
      [](void* user, std::string_view payload) noexcept {
        static_cast<strings*>(user)->emplace_back(payload);
      },
      [](void* user, std::string_view payload) noexcept {
        static_cast<strings*>(user)->push_back("ping " + string(payload));
      },
      [](void* user, uint16_t code, std::string_view) noexcept {
        static_cast<strings*>(user)->push_back("close " + std::to_string(code));
      }};
  EXPECT_EQ(out.substr(0, has_answer ? kAnswer.size() : 0), has_answer ? kAnswer : "");
  EXPECT_EQ(proto::ws_client_feed(&c, out.substr(has_answer ? kAnswer.size() : 0), 8 << 20, &events,
                                  &heard),
            err::ok);
  EXPECT_TRUE(c.rest.empty());
  return heard;
}

string lines(const strings& all) {
  string text;
  for (const string& s : all) text += (text.empty() ? "" : "\n") + s;
  return text;
}

string load_frames(unsigned first, unsigned count, unsigned room = 0) {
  string out;
  for (unsigned i = 0; i < count; ++i) out += text_frame(load_line(room, first + i));
  return out;
}

// Fed whole, in one-byte pieces and cut in two: the same comes out, with the same report.
void expect_out(const std::vector<injury>& kinds, const string& in, const string& expected,
                uint64_t seed = 1) {
  const auto run = [&](const strings& pieces, strings* places) {
    patient p(kinds, seed);
    for (const string& piece : pieces) p.feed(piece);
    p.end();
    *places = p.own.report.places;
    return p.out;
  };
  strings whole_places, places;
  ASSERT_EQ(run({in}, &whole_places), expected) << "in one piece";
  strings bytes;
  for (const char c : in) bytes.emplace_back(1, c);
  ASSERT_EQ(run(bytes, &places), expected) << "in one-byte pieces";
  EXPECT_EQ(places, whole_places);
  for (size_t cut = 1; cut<in.size(); cut += in.size()> 2000 ? 7 : 1) {
    ASSERT_EQ(run({in.substr(0, cut), in.substr(cut)}, &places), expected) << "cut at " << cut;
    ASSERT_EQ(places, whole_places);
  }
}

// --- what passes

TEST(injure, without_injuries_nothing_changes) {
  const string in = kAnswer + text_frame("{}") + load_frames(0, 2) + server_frame(0x89, "ping") +
                    server_frame(0x82, load_line(0, 2)) + server_frame(0x01, "frag") +
                    server_frame(0x80, "ment") + text_frame("") + server_frame(0x88, "\x03\xE8");
  expect_out({}, in, in);
  patient p({});
  p.feed(in);
  EXPECT_EQ(p.own.report.frames, 3u);
  EXPECT_TRUE(p.s.rest.empty());
}

TEST(injure, what_is_no_load_message_is_never_broken) {
  const std::vector<injury> drop_all = {make(injury_kind::drop, 1)};
  const string data = load_data(0, 1);
  for (const string& payload :
       {string("{}"), string("{\"push\":{\"pub\":{\"data\":{\"l\":7}}}}"),
        "{\"id\":7,\"history\":{\"publications\":[{\"data\":" + data + "}]}}",  // a reply
        "[" + data + "," + data + "]",                     // two that cannot be told apart
        data.substr(0, 50),                                // a stamp that is cut
        string("{\"l\":\"") + string(56, 'Z') + "\"}"}) {  // and one that is none
    SCOPED_TRACE(payload);
    expect_out(drop_all, kAnswer + text_frame(payload), kAnswer + text_frame(payload));
  }
  for (const int first : {0x01, 0x80, 0x89, 0xC1}) {
    SCOPED_TRACE(first);
    const string payload = first == 0x89 ? load_data(0, 1, "").substr(0, 100) : load_line(0, 1);
    const string in = kAnswer + server_frame(first, payload);
    expect_out(drop_all, in, in);
  }
}

TEST(injure, other_answers_and_other_streams_pass) {
  const std::vector<injury> drop_all = {make(injury_kind::drop, 1)};
  const string refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 500\r\n\r\n";
  expect_out(drop_all, refused + load_frames(0, 2), refused + load_frames(0, 2));
  const string masked = kAnswer + string("\x81\x85kkkk", 6) + "hello" + load_frames(0, 2);
  expect_out(drop_all, masked, masked);
  const string endless(70'000, 'x');
  patient p(drop_all);
  EXPECT_EQ(p.feed(endless).out, endless);
  patient q(drop_all);
  EXPECT_EQ(q.feed("HTTP/1.1 101 Swit").out, "");
  q.end();  // the server broke off
  EXPECT_EQ(q.out, "HTTP/1.1 101 Swit");
}

TEST(injure, frame_limit_at_max_and_beyond) {
  const auto of_size = [](size_t n) {
    const string line = load_line(0, 1, "");
    return text_frame(load_line(0, 1, string(n - line.size(), 'p')));
  };
  const std::vector<injury> drop_all = {make(injury_kind::drop, 1)};
  const string largest = of_size(kInjuredFrameBytesMax),
               larger = of_size(kInjuredFrameBytesMax + 1);
  for (const size_t piece : {size_t{1000}, size_t{262144}, size_t{4 << 20}}) {
    patient p(drop_all);
    const string in = kAnswer + largest + larger + load_frames(7, 1) + text_frame("end");
    for (size_t at = 0; at < in.size(); at += piece) {
      p.feed(in.substr(at, piece));
      ASSERT_LE(p.s.rest.size(), kInjuredFrameBytesMax + 20);
    }
    EXPECT_EQ(p.out.size(), (kAnswer + larger + text_frame("end")).size());
    EXPECT_TRUE(p.out == kAnswer + larger + text_frame("end"));
    EXPECT_EQ(p.made(injury_kind::drop), 2u);
  }
}

// --- each kind

TEST(injure, drop_loses_one_message) {
  const std::vector<injury> drop_all = {make(injury_kind::drop, 1)};
  expect_out(drop_all, kAnswer + text_frame("a") + load_frames(0, 3) + text_frame("b"),
             kAnswer + text_frame("a") + text_frame("b"));
  expect_out(drop_all, kAnswer + server_frame(0x82, load_line(0, 1)) + text_frame("b"),
             kAnswer + text_frame("b"));
  // Of several lines one; a trailing newline alone is no message.
  expect_out(drop_all, kAnswer + text_frame(load_line(0, 1) + "\n"), kAnswer);
  expect_out(drop_all, kAnswer + text_frame("{}\n" + load_line(0, 1) + "\n{\"id\":1}"),
             kAnswer + text_frame("{}\n{\"id\":1}"));
  std::set<string> left;
  const strings all = {load_line(0, 1), load_line(1, 2), load_line(0, 3)};
  for (uint64_t seed = 1; seed < 50; ++seed) {
    patient p(drop_all, seed);
    const strings heard = messages(p.feed(kAnswer + text_frame(lines(all))).out);
    ASSERT_EQ(heard.size(), 1u);
    left.insert(heard[0]);
    EXPECT_EQ(p.made(injury_kind::drop), 1u);
  }
  EXPECT_EQ(left, (std::set<string>{lines({all[0], all[1]}), lines({all[0], all[2]}),
                                    lines({all[1], all[2]})}));
}

TEST(injure, a_rewritten_frame_has_the_right_header_at_every_length) {
  // Around 125 and 65535, where the header changes its form.
  for (const size_t rest : {size_t{1}, size_t{124}, size_t{125}, size_t{126}, size_t{127},
                            size_t{65534}, size_t{65535}, size_t{65536}, size_t{65600}}) {
    patient p({make(injury_kind::drop, 1)});
    const string other(rest, 'o');
    EXPECT_EQ(messages(p.feed(kAnswer + text_frame(other + "\n" + load_line(0, 1))).out),
              strings{other});
    patient q({make(injury_kind::duplicate, 1)});
    const string line = load_line(0, 1, string(rest, 'p'));
    EXPECT_EQ(messages(q.feed(kAnswer + text_frame(line)).out), strings{line + "\n" + line});
  }
}

TEST(injure, duplicate_brings_one_message_twice) {
  const std::vector<injury> all = {make(injury_kind::duplicate, 1)};
  const string a = load_line(0, 1);
  expect_out(all, kAnswer + text_frame("{}\n" + a + "\n"),
             kAnswer + text_frame("{}\n" + a + "\n" + a + "\n"));
  expect_out(all, kAnswer + server_frame(0x82, a) + text_frame("{}"),
             kAnswer + server_frame(0x82, a) + server_frame(0x82, a) + text_frame("{}"));
}

TEST(injure, corrupt_changes_one_byte_of_the_data) {
  std::set<size_t> places;
  for (const int first : {0x81, 0x82}) {
    for (uint64_t seed = 1; seed <= 300; ++seed) {
      patient p({make(injury_kind::corrupt, 1)}, seed);
      const string line = load_line(0, 7, "pad pad");
      const strings heard = messages(p.feed(kAnswer + server_frame(first, line)).out);
      ASSERT_EQ(heard.size(), 1u);
      ASSERT_EQ(heard[0].size(), line.size());
      size_t different = 0, at = 0;
      for (size_t i = 0; i < line.size(); ++i) {
        if (heard[0][i] == line[i]) continue;
        ++different;
        at = i;
      }
      ASSERT_EQ(different, 1u) << heard[0];
      ASSERT_GE(heard[0][at], 'a');
      ASSERT_LE(heard[0][at], 'f');
      const size_t data = line.find("{\"l\""), x = line.find("\",\"x\":\"");
      ASSERT_TRUE((at >= data + 6 && at < x) || (at >= x + 7 && at < x + 14)) << heard[0];
      places.insert(at);
    }
  }
  EXPECT_GT(places.size(), 55u);  // of 63
}

// What the checker will say of it: never that it is no load message, which would be called lost.
TEST(injure, a_corrupted_stamp_is_read_as_corrupt) {
  for (const uint32_t bytes : {kStampBytesMin, kStampBytesMin + 1, 200u}) {
    for (uint64_t seed = 1; seed <= 300; ++seed) {
      string data;
      stamp_write(&data, {0xABCD1234, 3, 2, 77, 123'456'789}, bytes);
      patient p({make(injury_kind::corrupt, 1)}, seed);
      p.feed(kAnswer + text_frame("{\"push\":{\"pub\":{\"data\":" + data + "}}}"));
      ASSERT_EQ(p.made(injury_kind::corrupt), 1u);
      stamp s;
      ASSERT_EQ(stamp_read(messages(p.out).at(0), &s, nullptr, nullptr), stamp_result::corrupt)
          << p.out;
    }
  }
}

TEST(injure, delay_holds_its_frame) {
  const std::vector<injury> all = {make(injury_kind::delay, 1, 250)};
  const string in = kAnswer + text_frame("a") + load_frames(0, 1) + text_frame("b");
  expect_out(all, in, in);
  patient p(all);
  p.feed(in);
  EXPECT_EQ(p.delays,
            strings{"250 ms at byte " + std::to_string((kAnswer + text_frame("a")).size())});
}

// --- swaps

TEST(injure, swap_within_a_frame_takes_the_next_of_the_room) {
  // Room 1 has no second message, so that only the first of room 0 can be chosen with effect.
  const string a = load_line(0, 1), b = load_line(1, 9), c = load_line(0, 2);
  bool was_swapped = false;
  for (uint64_t seed = 1; seed < 30; ++seed) {
    patient p({make(injury_kind::swap, 1)}, seed);
    p.feed(kAnswer + text_frame(lines({a, b, c})));
    if (p.s.held != nullptr) continue;  // one that has no partner here
    EXPECT_EQ(messages(p.out), strings{lines({c, b, a})});
    EXPECT_EQ(p.made(injury_kind::swap), 1u);
    EXPECT_EQ(p.own.report.places, strings{"swap: frame 1 of connection 1"});
    was_swapped = true;
  }
  EXPECT_TRUE(was_swapped);
}

TEST(injure, swap_with_a_later_frame) {
  const std::vector<injury> all = {make(injury_kind::swap, 1)};
  const string a = load_line(0, 1), other = load_line(1, 5), b = load_line(0, 2);
  const string in = kAnswer + text_frame("{}\n" + a) + text_frame("{\"id\":1}") +
                    text_frame(other) + server_frame(0x89, "p") + text_frame("{}\n" + b + "\n{}") +
                    text_frame("end");
  // `other` cannot be held too: one message of a connection is at most.
  expect_out(all, in,
             kAnswer + text_frame("{}") + text_frame("{\"id\":1}") + text_frame(other) +
                 server_frame(0x89, "p") + text_frame("{}\n" + b + "\n" + a + "\n{}") +
                 text_frame("end"));
  patient p(all);
  p.feed(in);
  EXPECT_EQ(p.own.report.places, strings{"swap: frame 1 of connection 1"});
}

TEST(injure, swap_of_binary_frames) {
  const string a = server_frame(0x82, load_line(0, 1)), b = server_frame(0x82, load_line(0, 2));
  expect_out({make(injury_kind::swap, 1)}, kAnswer + a + text_frame("x") + b,
             kAnswer + text_frame("x") + b + a);
}

// A frame is one message then: two in one frame would be none.
TEST(injure, without_lines_a_text_frame_stays_one_message) {
  const auto out_of = [](injury_kind kind, const string& in) {
    patient p({make(kind, 1)});
    p.own.has_lines = false;
    p.feed(kAnswer + in);
    p.end();
    EXPECT_EQ(p.made(kind), 1u);
    return p.out.substr(kAnswer.size());
  };
  const string a = text_frame(load_line(0, 1)), b = text_frame(load_line(0, 2));
  EXPECT_EQ(out_of(injury_kind::duplicate, a), a + a);
  EXPECT_EQ(out_of(injury_kind::swap, a + b), b + a);
  EXPECT_EQ(out_of(injury_kind::drop, a), "");
  EXPECT_EQ(messages(out_of(injury_kind::corrupt, a), false).size(), 1u);
  EXPECT_NE(out_of(injury_kind::corrupt, a), a);
  const string two = text_frame(load_line(0, 1) + "\n" + load_line(0, 2));
  patient p({make(injury_kind::drop, 1)});
  p.own.has_lines = false;
  p.feed(kAnswer + two);
  EXPECT_EQ(p.out, kAnswer + two);  // more than one marker
}

TEST(injure, swap_without_a_partner_is_not_made) {
  const string a = load_line(0, 1);
  for (const int first : {0x81, 0x82}) {
    patient p({make(injury_kind::swap, 1)});
    p.feed(kAnswer + server_frame(first, a));
    EXPECT_EQ(p.out, kAnswer);
    EXPECT_TRUE(p.release());
    EXPECT_EQ(p.out, kAnswer + server_frame(first, a));
    EXPECT_TRUE(p.release());  // nothing is held
    EXPECT_EQ(p.made(injury_kind::swap), 0u);
    EXPECT_EQ(p.own.swaps_begun, 0u);
  }
}

TEST(injure, a_held_message_goes_before_the_close_frame_and_at_the_end) {
  const std::vector<injury> all = {make(injury_kind::swap, 1)};
  const string a = text_frame(load_line(0, 1)), close = server_frame(0x88, "\x03\xE8");
  expect_out(all, kAnswer + a + close, kAnswer + a + close);
  expect_out(all, kAnswer + a, kAnswer + a);
}

TEST(injure, a_held_message_never_goes_into_another_message) {
  const string a = text_frame(load_line(0, 1));
  patient p({make(injury_kind::swap, 1)});
  p.feed(kAnswer + a + server_frame(0x01, "frag"));
  EXPECT_FALSE(p.release());
  p.feed(server_frame(0x89, "p"));
  EXPECT_FALSE(p.release());
  p.feed(server_frame(0x80, "ment"));
  EXPECT_TRUE(p.release());
  EXPECT_EQ(messages(p.out), (strings{"ping p", "fragment", load_line(0, 1)}));
  const string large = text_frame(string(kInjuredFrameBytesMax + 1, 'x'));
  patient q({make(injury_kind::swap, 1)});
  q.feed(kAnswer + a + large.substr(0, 5000));
  EXPECT_FALSE(q.release());
  q.feed(large.substr(5000));
  EXPECT_TRUE(q.release());
  EXPECT_TRUE(q.out == kAnswer + large + a);
}

// --- where

const std::vector<injury> kMix = {make(injury_kind::drop, 0.1), make(injury_kind::duplicate, 0.1),
                                  make(injury_kind::swap, 0.1), make(injury_kind::delay, 0.1),
                                  make(injury_kind::corrupt, 0.1)};

TEST(injure, a_mix_is_the_same_at_every_cut) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    string in = kAnswer;
    for (unsigned i = 0; i < 12; ++i)
      in += text_frame(load_line(i % 2, i) + (i % 3 == 0 ? "\n" + load_line(i % 2, 100 + i) : ""));
    patient whole(kMix, seed);
    whole.feed(in).end();
    expect_out(kMix, in, whole.out, seed);
  }
}

TEST(injure, the_seed_decides_the_places) {
  const auto places = [](uint64_t seed) {
    injury_plan plan = injury_plan_make(kMix, seed);
    patient a(&plan, 1), b(&plan, 2);
    a.feed(kAnswer);
    b.feed(kAnswer);
    for (unsigned i = 0; i < 50; ++i) {
      a.feed(load_frames(i, 1));
      b.feed(load_frames(i, 1));
    }
    return plan.report.places;
  };
  EXPECT_EQ(places(7), places(7));
  EXPECT_NE(places(7), places(8));
  EXPECT_GT(places(7).size(), 20u);
  EXPECT_EQ(places(7).back().substr(places(7).back().find(':')).substr(0, 8), ": frame ");
}

TEST(injure, probabilities_are_kept) {
  patient p(kMix, 3);
  p.feed(kAnswer);
  constexpr unsigned kFrames = 20'000;
  for (unsigned i = 0; i < kFrames; ++i) p.feed(load_frames(i, 1));
  EXPECT_EQ(p.own.report.frames, kFrames);
  for (const injury& i : kMix) {
    const double wanted =
        0.1 * kFrames * (i.kind == injury_kind::swap ? 0.9 : 1);  // some meet a held one
    EXPECT_NEAR(static_cast<double>(p.made(i.kind)), wanted, 6 * std::sqrt(wanted) + 0.02 * wanted)
        << injury_name(i.kind);
  }
  EXPECT_EQ(p.own.report.places.size(), kInjuryPlacesMax);
}

TEST(injure, one_of_each_kind_is_made_early) {
  std::vector<injury> rare = kMix;
  for (injury& i : rare) i.probability = 1e-9;
  std::set<uint64_t> when;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    patient p(rare, seed);
    p.feed(kAnswer);
    for (unsigned i = 0; i < 3 * kFirstInjuryWithin; ++i) {
      const uint64_t before = p.made(injury_kind::drop);
      p.feed(load_frames(i, 1));
      if (p.made(injury_kind::drop) != before) when.insert(i + 1);
      if (i == kFirstInjuryWithin + 5) {
        for (const injury& k : rare) EXPECT_EQ(p.made(k.kind), 1u) << injury_name(k.kind);
      }
    }
    for (const injury& k : rare) EXPECT_EQ(p.made(k.kind), 1u) << injury_name(k.kind);
  }
  EXPECT_GT(when.size(), 20u);  // at seeded places
  EXPECT_LE(*when.rbegin(), kFirstInjuryWithin + 5);
}

TEST(injure, a_forced_swap_that_finds_no_partner_is_tried_again) {
  patient p({make(injury_kind::swap, 0)});
  p.feed(kAnswer);
  for (unsigned i = 0; i < kFirstInjuryWithin + 10; ++i) {
    p.feed(load_frames(i, 1, i));  // every message in a room of its own
    p.release();
  }
  EXPECT_EQ(p.made(injury_kind::swap), 0u);
  p.feed(load_frames(1000, 2));
  EXPECT_EQ(p.made(injury_kind::swap), 1u);
}

TEST(injure, holds_nothing_between_frames) {
  patient p({});
  p.feed(kAnswer + load_frames(0, 3));
  EXPECT_EQ(p.s.rest.capacity(), string().capacity());
  EXPECT_EQ(p.s.held, nullptr);
  EXPECT_LE(sizeof p.s, 96u);
}

// --- the command line

TEST(injury_parse, takes_what_it_should) {
  const struct {
    const char* text;
    injury_kind kind;
    double probability;
    uint32_t delay_ms;
  } table[] = {{"drop=1e-6", injury_kind::drop, 1e-6, 0},
               {"duplicate=0", injury_kind::duplicate, 0, 0},
               {"swap=1", injury_kind::swap, 1, 0},
               {"corrupt=.5", injury_kind::corrupt, 0.5, 0},
               {"delay=0.001", injury_kind::delay, 0.001, 0},
               {"delay=0.001:200ms", injury_kind::delay, 0.001, 200},
               {"delay=0.5:1ms", injury_kind::delay, 0.5, 1},
               {"delay=0.5:2s", injury_kind::delay, 0.5, 2000},
               {"delay=0.5:600s", injury_kind::delay, 0.5, 600'000},
               {"delay=0.5:600000ms", injury_kind::delay, 0.5, 600'000}};
  for (const auto& row : table) {
    injury i;
    string why;
    ASSERT_EQ(injury_parse(row.text, &i, &why), err::ok) << row.text << ": " << why;
    EXPECT_EQ(i.kind, row.kind) << row.text;
    EXPECT_EQ(i.probability, row.probability) << row.text;
    EXPECT_EQ(i.delay_ms, row.delay_ms) << row.text;
  }
}

TEST(injury_fit, a_delay_is_above_the_deadline_or_refused) {
  string why;
  const auto fit = [&why](uint32_t delay_ms, double deadline_s) {
    injury i = make(injury_kind::delay, 0.1, delay_ms);
    return injury_fit(&i, deadline_s, &why) == err::ok ? i.delay_ms : 0;
  };
  EXPECT_EQ(fit(0, 5), 10'000u);
  EXPECT_EQ(fit(0, 0.0015), 3u);
  EXPECT_EQ(fit(5001, 5), 5001u);
  EXPECT_EQ(fit(5000, 5), 0u);
  EXPECT_NE(why.find("delivery_deadline_s (5 s)"), string::npos) << why;
  EXPECT_EQ(fit(0, 301), 0u);  // beyond ten minutes
  injury other = make(injury_kind::drop, 0.1, 0);
  EXPECT_EQ(injury_fit(&other, 5, &why), err::ok);
}

TEST(injury_parse, refuses_the_rest_and_says_why) {
  for (const char* text :
       {"", "drop", "drop=", "=0.5", "lose=0.5", "drop=-0.1", "drop=1.1", "drop=nan", "drop=inf",
        "drop=0.5x", "drop=0.5:200ms", "delay=0.5:", "delay=0.5:200", "delay=0.5:0ms",
        "delay=0.5:ms", "delay=0.5:600001ms", "delay=0.5:601s", "delay=0.5:5000000000ms"}) {
    injury i = make(injury_kind::swap, 0.25, 9);
    string why;
    EXPECT_EQ(injury_parse(text, &i, &why), err::invalid) << text;
    EXPECT_FALSE(why.empty());
    EXPECT_EQ(i.kind, injury_kind::swap);
    EXPECT_EQ(i.delay_ms, 9u);
  }
}

}  // namespace
}  // namespace loadgen
