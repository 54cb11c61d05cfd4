// Load messages: what is written is read, wherever it stands; what has changed is found.
#include "loadgen/stamp.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "loadgen/random.h"

namespace loadgen {
namespace {

using std::string;
using std::string_view;

string written(const stamp& s, uint32_t bytes) {
  string out;
  stamp_write(&out, s, bytes);
  return out;
}

const stamp kSample{0x1234abcd, 7, 42, 99, 0x0123456789abcdef};

void expect_same(const stamp& a, const stamp& b) {
  EXPECT_EQ(a.run, b.run);
  EXPECT_EQ(a.room, b.room);
  EXPECT_EQ(a.publisher, b.publisher);
  EXPECT_EQ(a.number, b.number);
  EXPECT_EQ(a.due_us, b.due_us);
}

// Out of a heap block of exact size, so that reading beyond it is found.
stamp_result read_exact(string_view text, stamp* out, size_t* at = nullptr, size_t* len = nullptr) {
  const std::unique_ptr<char[]> block(new char[text.size()]);
  if (!text.empty()) std::memcpy(block.get(), text.data(), text.size());
  return stamp_read({block.get(), text.size()}, out, at, len);
}

TEST(stamp_test, IsTheTextOfTheHeader) {
  const string text = written(kSample, 80);
  const string head = "{\"l\":\"1234abcd000000070000002a000000630123456789abcdef";
  const string tail = "\",\"x\":\"pad pad p\"}";
  ASSERT_EQ(text.size(), 80u);
  EXPECT_EQ(text.substr(0, head.size()), head);
  EXPECT_EQ(text.substr(head.size() + 8), tail);
}

TEST(stamp_test, TheChecksumIsZlibsOverEverythingElse) {
  for (uint32_t bytes = kStampBytesMin; bytes < 400; ++bytes) {
    const string text = written(kSample, bytes);
    const string covered = text.substr(0, 54) + text.substr(62);
    const auto sum = static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(covered.data()),
                                                 static_cast<uInt>(covered.size())));
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", sum);
    ASSERT_EQ(text.substr(54, 8), digits) << bytes;
  }
}

TEST(stamp_test, HasExactlyTheBytesAskedForAndNeverTooFew) {
  for (uint32_t bytes = 0; bytes < 600; ++bytes) {
    const string text = written(kSample, bytes);
    ASSERT_EQ(text.size(), std::max(bytes, kStampBytesMin));
    stamp s;
    size_t at = 9, len = 9;
    ASSERT_EQ(read_exact(text, &s, &at, &len), stamp_result::ok) << bytes;
    EXPECT_EQ(at, 0u);
    EXPECT_EQ(len, text.size());
    expect_same(s, kSample);
  }
}

TEST(stamp_test, WritingAppends) {
  string out = "before";
  stamp_write(&out, kSample, 100);
  EXPECT_EQ(out.size(), 106u);
  EXPECT_EQ(out.substr(0, 7), "before{");
}

TEST(stamp_test, AnyStampComesBack) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  random_stream r = random_from(seed, 0);
  for (int i = 0; i < 2000; ++i) {
    const stamp in{static_cast<uint32_t>(random_next(&r)), static_cast<uint32_t>(random_next(&r)),
                   static_cast<uint32_t>(random_next(&r)), static_cast<uint32_t>(random_next(&r)),
                   random_next(&r)};
    stamp out;
    ASSERT_EQ(read_exact(written(in, static_cast<uint32_t>(random_below(&r, 500))), &out),
              stamp_result::ok);
    expect_same(in, out);
  }
}

TEST(stamp_test, IsFoundInAFrame) {
  const string data = written(kSample, 120);
  const string before = R"({"push":{"channel":"load-1-room-0","pub":{"data":)";
  const string frame = before + data + R"(,"info":{"user":"u"},"offset":12,"tags":{"key":"x"}}}})";
  stamp s;
  size_t at = 0, len = 0;
  ASSERT_EQ(read_exact(frame, &s, &at, &len), stamp_result::ok);
  EXPECT_EQ(at, before.size());
  EXPECT_EQ(len, data.size());
  expect_same(s, kSample);
}

TEST(stamp_test, TheFirstOfSeveralIsRead) {
  stamp other = kSample;
  other.number = 100;
  stamp s;
  size_t at = 0, len = 0;
  ASSERT_EQ(read_exact(written(kSample, 90) + "," + written(other, 80), &s, &at, &len),
            stamp_result::ok);
  EXPECT_EQ(s.number, kSample.number);
  EXPECT_EQ(len, 90u);
}

TEST(stamp_test, OtherTextsAreForeign) {
  for (const char* text :
       {"", "{}", "{\"l\":", "{\"l\":7}", "{\"L\":\"", "hello {\"text\":\"l\"}"}) {
    stamp s;
    size_t at = 9, len = 9;
    EXPECT_EQ(read_exact(text, &s, &at, &len), stamp_result::foreign) << text;
    EXPECT_EQ(at, 0u);
    EXPECT_EQ(len, 0u);
  }
}

// Each byte of the data, changed to each other value: found, or no load message any more when the
// change hit the marker.
TEST(stamp_test, EverySingleChangeOfAByteIsFound) {
  const string before = R"({"pub":{"data":)", after = R"(,"offset":12}})";
  for (const uint32_t bytes : {kStampBytesMin, kStampBytesMin + 1, 100u}) {
    const string data = written(kSample, bytes);
    for (size_t i = 0; i < data.size(); ++i) {
      for (int v = 0; v < 256; ++v) {
        if (static_cast<char>(v) == data[i]) continue;
        string changed = data;
        changed[i] = static_cast<char>(v);
        stamp s;
        const stamp_result expected = i < 6 ? stamp_result::foreign : stamp_result::corrupt;
        ASSERT_EQ(stamp_read(changed, &s, nullptr, nullptr), expected) << i << " to " << v;
        ASSERT_EQ(stamp_read(before + changed + after, &s, nullptr, nullptr), expected)
            << i << " to " << v;
      }
    }
  }
}

TEST(stamp_test, EveryExchangeOfNeighboursIsFound) {
  const string data = written(kSample, 100);
  for (size_t i = 6; i + 1 < data.size(); ++i) {
    string changed = data;
    std::swap(changed[i], changed[i + 1]);
    if (changed == data) continue;
    stamp s;
    ASSERT_EQ(stamp_read(changed, &s, nullptr, nullptr), stamp_result::corrupt) << i;
  }
}

TEST(stamp_test, EveryCutIsFound) {
  const string data = written(kSample, 100);
  for (size_t n = 0; n < data.size(); ++n) {
    stamp s;
    size_t at = 0, len = 0;
    ASSERT_EQ(read_exact(data.substr(0, n), &s, &at, &len),
              n < 6 ? stamp_result::foreign : stamp_result::corrupt)
        << n;
    ASSERT_LE(at + len, n);
  }
}

TEST(stamp_test, MissingAndAddedBytesAreFound) {
  const string data = written(kSample, 100);
  for (size_t i = 6; i < data.size(); ++i) {
    stamp s;
    EXPECT_EQ(stamp_read(data.substr(0, i) + data.substr(i + 1), &s, nullptr, nullptr),
              stamp_result::corrupt)
        << i;
    for (const char c : {'a', '"', ' '})
      EXPECT_EQ(stamp_read(data.substr(0, i) + c + data.substr(i), &s, nullptr, nullptr),
                stamp_result::corrupt)
          << i;
  }
}

TEST(stamp_test, ACorruptOneIsFollowedAsFarAsItGoesAndLeavesTheStampAlone) {
  string data = written(kSample, 100);
  data[80] = 'x';  // in the padding: its end is still there
  stamp s;
  s.run = 5;
  size_t at = 9, len = 9;
  EXPECT_EQ(read_exact(data + ",\"offset\":3", &s, &at, &len), stamp_result::corrupt);
  EXPECT_EQ(at, 0u);
  EXPECT_EQ(len, 100u);
  EXPECT_EQ(s.run, 5u);
}

TEST(stamp_test, HashesOfARoomAreAllDifferentAndIgnoreRunAndTime) {
  std::vector<uint64_t> all;
  for (uint32_t publisher = 0; publisher < 100; ++publisher) {
    for (uint32_t number = 0; number < 1000; ++number)
      all.push_back(stamp_hash({1, 3, publisher, number, 5}) | 1);  // as the checker uses it
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end());
  EXPECT_EQ(stamp_hash({1, 2, 3, 4, 5}), stamp_hash({9, 2, 3, 4, 6}));
  EXPECT_NE(stamp_hash({1, 2, 3, 4, 5}), stamp_hash({1, 3, 3, 4, 5}));
  EXPECT_NE(stamp_hash({1, 2, 3, 4, 5}), stamp_hash({1, 2, 4, 3, 5}));
}

}  // namespace
}  // namespace loadgen
