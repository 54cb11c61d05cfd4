// Digests: known answers, and that they are raw bytes of a fixed length.
#include "core/hash.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace core {
namespace {

std::string hex(const std::string& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out.push_back(kDigits[static_cast<unsigned char>(c) >> 4]);
    out.push_back(kDigits[c & 15]);
  }
  return out;
}

TEST(hash_test, is_the_first_half_of_sha256) {
  // FIPS 180-2, appendix B, and the empty text.
  EXPECT_EQ(hex(digest("abc")), "ba7816bf8f01cfea414140de5dae2223");
  EXPECT_EQ(hex(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039");
  EXPECT_EQ(hex(digest("")), "e3b0c44298fc1c149afbf4c8996fb924");
  EXPECT_EQ(hex(digest({})), hex(digest("")));
}

TEST(hash_test, every_byte_counts_also_a_nul) {
  const std::string text("a\0b", 3);
  EXPECT_NE(digest(text), digest("a"));
  EXPECT_NE(digest(text), digest(std::string("a\0c", 3)));
  EXPECT_EQ(digest(text), digest(std::string("a\0b", 3)));
}

TEST(hash_test, reads_exactly_what_it_was_given) {
  for (size_t n : {1, 55, 56, 63, 64, 65, 1000}) {
    const std::unique_ptr<char[]> block(new char[n]);
    for (size_t i = 0; i < n; ++i) block[i] = 'x';
    EXPECT_EQ(digest({block.get(), n}), digest(std::string(n, 'x'))) << n;
    EXPECT_EQ(digest({block.get(), n}).size(), kDigestBytes);
  }
}

}  // namespace
}  // namespace core
