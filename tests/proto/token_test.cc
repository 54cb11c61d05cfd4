// Tokens: which are good, which have expired, and that everything else is refused with a reason.
// Signatures are made here with OpenSSL alone.
#include "proto/token.h"

#include <gtest/gtest.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <cstring>
#include <memory>
#include <string>

#include "core/limits.h"
#include "tests/proto/json_strict.h"

namespace proto {
namespace {

using std::string;
using std::string_view;

constexpr int64_t kNow = 1'700'000'000;
const string kSecret = "secret-of-the-tests";

string base64url(string_view bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  string out;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (held += 8; held >= 6; held -= 6) out.push_back(kDigits[bits >> (held - 6) & 63]);
  }
  if (held > 0) out.push_back(kDigits[bits << (6 - held) & 63]);
  return out;
}

string hmac(const EVP_MD* md, const string& secret, const string& text) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int len = 0;
  HMAC(md, secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), out, &len);
  return string(reinterpret_cast<const char*>(out), len);
}

string head_of(const string& alg) {
  return "{\"alg\":\"" + alg + "\",\"typ\":\"JWT\"}";
}
string unsigned_token(const string& head, const string& claims) {
  return base64url(head) + "." + base64url(claims);
}
string with_hmac(const EVP_MD* md, const string& secret, const string& head, const string& claims) {
  const string text = unsigned_token(head, claims);
  return text + "." + base64url(hmac(md, secret, text));
}
string hs256(const string& claims, const string& secret = kSecret) {
  return with_hmac(EVP_sha256(), secret, head_of("HS256"), claims);
}

class key_pair {
 public:
  explicit key_pair(EVP_PKEY* key) : key_(key) {}
  ~key_pair() { EVP_PKEY_free(key_); }
  key_pair(const key_pair&) = delete;
  key_pair& operator=(const key_pair&) = delete;
  string pem() const {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(bio, key_);
    char* text;
    const long len = BIO_get_mem_data(bio, &text);
    string out(text, static_cast<size_t>(len));
    BIO_free(bio);
    return out;
  }
  string sign(const string& alg, const string& claims, const string& head = "") const {
    const string text = unsigned_token(head.empty() ? head_of(alg) : head, claims);
    EVP_MD_CTX* ctx = EVP_MD_CTX_new();
    size_t len = 0;
    EVP_DigestSignInit(ctx, nullptr, EVP_sha256(), nullptr, key_);
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    EVP_DigestSign(ctx, nullptr, &len, bytes, text.size());
    string made(len, '\0');
    EVP_DigestSign(ctx, reinterpret_cast<unsigned char*>(made.data()), &len, bytes, text.size());
    made.resize(len);
    EVP_MD_CTX_free(ctx);
    return text + "." + base64url(EVP_PKEY_base_id(key_) == EVP_PKEY_EC ? raw(made) : made);
  }

 private:
  // RFC 7518 section 3.4: both numbers of the signature, 32 bytes each, instead of DER.
  static string raw(const string& der) {
    const auto* at = reinterpret_cast<const unsigned char*>(der.data());
    ECDSA_SIG* sig = d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size()));
    unsigned char out[64];
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32);
    ECDSA_SIG_free(sig);
    return string(reinterpret_cast<const char*>(out), sizeof out);
  }
  EVP_PKEY* key_;
};

const key_pair& rsa_key() {
  static const key_pair key(EVP_RSA_gen(2048));
  return key;
}
const key_pair& ec_key() {
  static const key_pair key(EVP_EC_gen("P-256"));
  return key;
}

class token_test : public ::testing::Test {
 protected:
  token_test() { keys_.hmac_secrets = {kSecret}; }
  token_result verify(const string& token) {
    const std::unique_ptr<char[]> block(new char[token.size()]);
    memcpy(block.get(), token.data(), token.size());
    why_.clear();
    const token_result rc = token_verify(keys_, {block.get(), token.size()}, kNow, &claims_, &why_);
    EXPECT_EQ(rc == token_result::ok, why_.empty()) << why_;
    if (token.size() > 20) {
      EXPECT_EQ(why_.find(token.substr(0, 20)), string::npos);
    }
    return rc;
  }
  const token_claims& good(const string& claims) {
    EXPECT_EQ(verify(hs256(claims)), token_result::ok) << claims.substr(0, 200) << ": " << why_;
    return claims_;
  }
  token_result with(const string& claims) { return verify(hs256(claims)); }
  token_keys keys_;
  token_claims claims_;
  string why_;
};

// ---- signatures

TEST_F(token_test, example_of_the_protocols_authentication_page) {
  keys_.hmac_secrets = {"secret"};
  EXPECT_EQ(verify("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6Ikpva"
                   "G4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.XbPfbIHMI6arZ3Y922BhjWgQzWXcXNrz0ogtVhfEd2o"),
            token_result::ok)
      << "HS256 of jwt.io's example claims";
  EXPECT_EQ(claims_.sub, "1234567890");
}

TEST_F(token_test, each_algorithm_of_the_list) {
  keys_.public_pems = {rsa_key().pem(), ec_key().pem()};
  const string claims = "{\"sub\":\"u\"}";
  EXPECT_EQ(verify(with_hmac(EVP_sha256(), kSecret, head_of("HS256"), claims)), token_result::ok);
  EXPECT_EQ(verify(with_hmac(EVP_sha384(), kSecret, head_of("HS384"), claims)), token_result::ok);
  EXPECT_EQ(verify(with_hmac(EVP_sha512(), kSecret, head_of("HS512"), claims)), token_result::ok);
  EXPECT_EQ(verify(rsa_key().sign("RS256", claims)), token_result::ok) << why_;
  EXPECT_EQ(verify(ec_key().sign("ES256", claims)), token_result::ok) << why_;
  EXPECT_EQ(claims_.sub, "u");
  EXPECT_EQ(verify(with_hmac(EVP_sha256(), kSecret, "{\"alg\":\"HS256\"}", claims)),
            token_result::ok)
      << "typ may be missing";
  EXPECT_EQ(verify(with_hmac(EVP_sha256(), kSecret, "{\"kid\":\"1\",\"alg\":\"HS256\"}", claims)),
            token_result::ok);
}

TEST_F(token_test, no_other_algorithm) {
  keys_.public_pems = {rsa_key().pem(), ec_key().pem()};
  const string claims = "{\"sub\":\"u\"}";
  for (const char* alg : {"none", "None", "NONE", "", "hs256", "HS256 ", "HS1", "RS384", "RS512",
                          "PS256", "ES384", "ES512", "EdDSA", "A256KW"}) {
    const string text = unsigned_token(head_of(alg), claims);
    for (const string& signature :
         {string(), base64url(hmac(EVP_sha256(), kSecret, text)), base64url("x")})
      EXPECT_EQ(verify(text + "." + signature), token_result::invalid) << alg;
    EXPECT_EQ(verify(text), token_result::invalid);
    EXPECT_EQ(verify(rsa_key().sign(alg, claims)), token_result::invalid) << alg;
  }
  for (const char* head : {"{}", "[]", "1", "\"HS256\"", "{\"alg\":null}", "{\"alg\":1}",
                           "{\"alg\":[\"HS256\"]}", "", "{\"alg\":\"HS256\"", "x"})
    EXPECT_EQ(verify(with_hmac(EVP_sha256(), kSecret, head, claims)), token_result::invalid)
        << head;
}

TEST_F(token_test, a_head_that_two_readers_read_differently) {
  keys_.public_pems = {rsa_key().pem()};
  const string pem = rsa_key().pem();
  for (const char* head :
       {"{\"alg\":\"RS256\",\"alg\":\"HS256\"}", "{\"alg\":\"HS256\",\"alg\":\"RS256\"}",
        "{\"alg\":\"RS256\",\"\\u0061lg\":\"HS256\"}", "{\"alg\":\"HS256\",\"alg\":\"none\"}",
        "{\"alg\":\"none\",\"alg\":\"HS256\"}"}) {
    EXPECT_EQ(verify(with_hmac(EVP_sha256(), pem, head, "{}")), token_result::invalid) << head;
    EXPECT_EQ(verify(unsigned_token(head, "{}") + "."), token_result::invalid) << head;
  }
}

TEST_F(token_test, hmac_with_a_public_key_is_refused) {
  for (const string& pem : {rsa_key().pem(), ec_key().pem()}) {
    for (const bool has_secret : {false, true}) {
      keys_.hmac_secrets.clear();
      if (has_secret) keys_.hmac_secrets = {kSecret};
      keys_.public_pems = {pem};
      EXPECT_EQ(verify(hs256("{\"sub\":\"u\"}", pem)), token_result::invalid);
      EXPECT_EQ(verify(with_hmac(EVP_sha256(), pem, head_of("RS256"), "{}")),
                token_result::invalid);
      EXPECT_EQ(verify(with_hmac(EVP_sha256(), pem, head_of("ES256"), "{}")),
                token_result::invalid);
    }
  }
}

TEST_F(token_test, a_key_is_used_for_its_own_algorithm_only) {
  keys_.public_pems = {ec_key().pem()};
  EXPECT_EQ(verify(rsa_key().sign("RS256", "{}")), token_result::invalid);
  EXPECT_EQ(verify(ec_key().sign("RS256", "{}")), token_result::invalid);
  keys_.public_pems = {rsa_key().pem()};
  EXPECT_EQ(verify(rsa_key().sign("ES256", "{}")), token_result::invalid);
  EXPECT_EQ(verify(ec_key().sign("ES256", "{}")), token_result::invalid);
  // A public key as a secret, and a secret as a public key.
  keys_.hmac_secrets = {rsa_key().pem()};
  keys_.public_pems = {kSecret, "", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"};
  EXPECT_EQ(verify(rsa_key().sign("RS256", "{}")), token_result::invalid);
  EXPECT_EQ(verify(hs256("{}")), token_result::invalid);
}

TEST_F(token_test, only_p256_is_es256) {
  for (const char* curve : {"secp256k1", "brainpoolP256r1", "P-384"}) {
    const key_pair other(EVP_EC_gen(curve));
    keys_.public_pems = {other.pem()};
    if (string_view(curve) != "P-384") {
      EXPECT_EQ(verify(other.sign("ES256", "{}")), token_result::invalid) << curve;
    }
    EXPECT_EQ(verify(ec_key().sign("ES256", "{}")), token_result::invalid) << curve;
  }
}

TEST_F(token_test, rotated_keys) {
  const key_pair old_rsa(EVP_RSA_gen(2048));
  const key_pair old_ec(EVP_EC_gen("P-256"));
  keys_.hmac_secrets = {"new", kSecret};
  keys_.public_pems = {"broken", rsa_key().pem(), ec_key().pem(), old_rsa.pem(), old_ec.pem()};
  EXPECT_EQ(verify(hs256("{}", "new")), token_result::ok);
  EXPECT_EQ(verify(hs256("{}")), token_result::ok);
  EXPECT_EQ(verify(hs256("{}", "gone")), token_result::invalid);
  EXPECT_EQ(verify(rsa_key().sign("RS256", "{}")), token_result::ok);
  EXPECT_EQ(verify(old_rsa.sign("RS256", "{}")), token_result::ok);
  EXPECT_EQ(verify(old_ec.sign("ES256", "{}")), token_result::ok);
  keys_.public_pems = {rsa_key().pem(), ec_key().pem()};
  EXPECT_EQ(verify(old_rsa.sign("RS256", "{}")), token_result::invalid);
  EXPECT_EQ(verify(old_ec.sign("ES256", "{}")), token_result::invalid);
}

TEST_F(token_test, no_key_verifies_nothing) {
  EXPECT_FALSE(keys_.empty());
  keys_ = {};
  EXPECT_TRUE(keys_.empty());
  EXPECT_EQ(verify(hs256("{}")), token_result::invalid);
  EXPECT_EQ(verify(rsa_key().sign("RS256", "{}")), token_result::invalid);
  keys_.hmac_secrets = {""};
  EXPECT_EQ(verify(hs256("{}", "")), token_result::invalid) << "an empty secret is no secret";
  EXPECT_EQ(verify(hs256("{}", "x")), token_result::invalid);
  EXPECT_EQ(verify(unsigned_token(head_of("HS256"), "{}") + "."), token_result::invalid);
  keys_.hmac_secrets = {string("a\0b", 3)};
  EXPECT_EQ(verify(hs256("{}", string("a\0b", 3))), token_result::ok);
  EXPECT_EQ(verify(hs256("{}", string("a\0c", 3))), token_result::invalid);
}

TEST_F(token_test, every_changed_character_is_found) {
  keys_.public_pems = {ec_key().pem()};
  const string claims = "{\"sub\":\"user\",\"exp\":" + std::to_string(kNow + 10) + "}";
  for (const string& token : {hs256(claims), ec_key().sign("ES256", claims)}) {
    ASSERT_EQ(verify(token), token_result::ok);
    for (size_t i = 0; i < token.size(); ++i) {
      // The last digit of a part holds bits that mean nothing.
      if (i + 1 == token.size() || token[i + 1] == '.') continue;
      for (const char c : {'A', 'B', '.', '=', '!', '\0'}) {
        string other = token;
        if (other[i] == c) continue;
        other[i] = c;
        ASSERT_EQ(verify(other), token_result::invalid) << i << " " << other;
      }
    }
    for (size_t n = 0; n + 1 < token.size(); ++n)
      ASSERT_EQ(verify(token.substr(0, n)), token_result::invalid) << n;
  }
  EXPECT_EQ(verify(unsigned_token(head_of("HS256"), "{\"sub\":\"root\"}") +
                   hs256(claims).substr(hs256(claims).rfind('.'))),
            token_result::invalid);
}

TEST_F(token_test, shapes_that_are_no_token) {
  const string token = hs256("{}");
  for (const string& text :
       {string(), string("."), string(".."), string("..."), string("a.b.c"), "." + token,
        token + ".", token + ".x", token + "!", token + "\n", " " + token, token + " ",
        "Bearer " + token, token.substr(token.find('.')), token + token, string(100, '.'),
        token + string(1, '\0'), string(1, '\0') + token})
    EXPECT_EQ(verify(text), token_result::invalid) << text;
}

TEST_F(token_test, malformed_base64_of_the_claims) {
  const auto signed_text = [](const string& body) {
    const string text = base64url(head_of("HS256")) + "." + body;
    return text + "." + base64url(hmac(EVP_sha256(), kSecret, text));
  };
  EXPECT_EQ(verify(signed_text(base64url("{}"))), token_result::ok);
  for (const string& body :
       {string(), string("A"), string("e30!"), string("e3 0"), string("e\n30"), string("*"),
        string("e30=x"), base64url("{"), base64url("[]"), base64url("1"), base64url("{}x"),
        base64url("{\"sub\":\"\xFF\"}"), base64url("{\"sub\":\"a\nb\"}"),
        base64url(string_view("{}\0", 3)), base64url("{\"a\":}")})
    EXPECT_EQ(verify(signed_text(body)), token_result::invalid) << body;
}

TEST_F(token_test, the_maximum_and_one_more) {
  const auto of_size = [](size_t n) {
    // Three bytes of claims are four of the token: what is left is filled in the head.
    for (size_t fill = 0;; ++fill) {
      const string head = "{\"alg\":\"HS256\",\"kid\":\"" + string(fill % 3, 'k') + "\"}";
      string token =
          with_hmac(EVP_sha256(), kSecret, head,
                    "{\"sub\":\"u\",\"x\":\"" + string(n * 3 / 4 - 150 + fill / 3, 'x') + "\"}");
      if (token.size() == n) return token;
      if (token.size() > n + 8) return string();
    }
  };
  const string max = of_size(core::kTokenBytesMax), beyond = of_size(core::kTokenBytesMax + 1);
  ASSERT_EQ(max.size(), core::kTokenBytesMax);
  ASSERT_EQ(beyond.size(), core::kTokenBytesMax + 1);
  EXPECT_EQ(verify(max), token_result::ok) << why_;
  EXPECT_EQ(verify(beyond), token_result::invalid);
}

// ---- claims

TEST_F(token_test, no_claims_is_an_anonymous_user_for_ever) {
  good("{}");
  EXPECT_EQ(claims_.sub, "");
  EXPECT_EQ(claims_.exp, 0);
  EXPECT_EQ(claims_.expire_at, -1);
  EXPECT_TRUE(claims_.info.empty() && claims_.subs.empty() && claims_.channel.empty() &&
              claims_.client.empty());
  good(
      "{\"sub\":null,\"exp\":null,\"nbf\":null,\"iat\":null,\"expire_at\":null,\"info\":null,"
      "\"b64info\":null,\"channels\":null,\"subs\":null,\"channel\":null,\"client\":null}");
  EXPECT_EQ(claims_.expire_at, -1) << "null is absent";
}

TEST_F(token_test, nothing_is_left_of_the_token_before) {
  good("{\"sub\":\"u\",\"info\":1,\"channels\":[\"a\"],\"channel\":\"c\",\"expire_at\":5}");
  good("{}");
  EXPECT_TRUE(claims_.sub.empty() && claims_.info.empty() && claims_.subs.empty() &&
              claims_.channel.empty());
  EXPECT_EQ(claims_.expire_at, -1);
}

TEST_F(token_test, exp_in_the_past_is_expired) {
  const auto exp = [](const string& value) { return "{\"sub\":\"u\",\"exp\":" + value + "}"; };
  EXPECT_EQ(good(exp(std::to_string(kNow + 1))).exp, kNow + 1);
  EXPECT_EQ(good(exp(std::to_string(kNow + 1) + ".9")).exp, kNow + 1) << "a fraction is cut off";
  EXPECT_EQ(good(exp("9e14")).exp, 900'000'000'000'000);
  EXPECT_EQ(with(exp(std::to_string(kNow))), token_result::expired);
  EXPECT_EQ(claims_.sub, "u") << "the caller may ignore it";
  EXPECT_EQ(with(exp(std::to_string(kNow) + ".9")), token_result::expired);
  for (const char* value : {"0", "0.5", "-0.5", "1", "-1", "-9223372036854775808"})
    EXPECT_EQ(with(exp(value)), token_result::expired) << value;
  for (const char* value : {"\"1\"", "true", "{}", "[]", "1e300", "-1e300", "9223372036854775808"})
    EXPECT_EQ(with(exp(value)), token_result::invalid) << value;
}

TEST_F(token_test, expired_is_only_what_is_else_good) {
  keys_.audience = "a";
  const string exp = "\"exp\":" + std::to_string(kNow - 1);
  EXPECT_EQ(with("{\"aud\":\"a\"," + exp + "}"), token_result::expired);
  EXPECT_EQ(with("{" + exp + "}"), token_result::invalid);
  EXPECT_EQ(with("{\"aud\":\"a\",\"sub\":1," + exp + "}"), token_result::invalid);
  EXPECT_EQ(with("{\"aud\":\"a\"," + exp + ",\"channels\":1}"), token_result::invalid);
  EXPECT_EQ(with("{\"aud\":\"a\",\"nbf\":" + std::to_string(kNow + 1) + "," + exp + "}"),
            token_result::invalid);
  EXPECT_EQ(verify(hs256("{\"aud\":\"a\"," + exp + "}", "other")), token_result::invalid);
}

TEST_F(token_test, nbf_and_iat_in_the_future_are_invalid) {
  for (const string name : {"nbf", "iat"}) {
    const auto at = [&](const string& value) { return "{\"" + name + "\":" + value + "}"; };
    good(at(std::to_string(kNow)));
    good(at(std::to_string(kNow) + ".9"));
    good(at("-5"));
    EXPECT_EQ(with(at(std::to_string(kNow + 1))), token_result::invalid);
    EXPECT_NE(why_.find(name), string::npos) << why_;
    for (const char* value : {"\"1\"", "true", "{}", "[]", "1e300"})
      EXPECT_EQ(with(at(value)), token_result::invalid) << name << value;
  }
}

TEST_F(token_test, audience) {
  good("{\"aud\":\"any\"}");
  good("{\"aud\":5}");
  keys_.audience = "chat";
  good("{\"aud\":\"chat\"}");
  good("{\"aud\":[\"x\",\"chat\"]}");
  good("{\"aud\":[1,\"chat\"]}");
  for (const char* aud : {"\"chat2\"", "\"\"", "\"Chat\"", "[]", "[\"cha\"]", "[[\"chat\"]]", "1",
                          "null", "true", "{}", "{\"chat\":\"chat\"}"}) {
    EXPECT_EQ(with("{\"aud\":" + string(aud) + "}"), token_result::invalid) << aud;
    EXPECT_NE(why_.find("aud"), string::npos);
  }
  EXPECT_EQ(with("{}"), token_result::invalid);
}

TEST_F(token_test, issuer) {
  good("{\"iss\":\"any\"}");
  good("{\"iss\":5}");
  keys_.issuer = "us";
  good("{\"iss\":\"us\"}");
  for (const char* iss : {"\"them\"", "\"\"", "\"us2\"", "[\"us\"]", "1", "null", "{}"}) {
    EXPECT_EQ(with("{\"iss\":" + string(iss) + "}"), token_result::invalid) << iss;
    EXPECT_NE(why_.find("iss"), string::npos);
  }
  EXPECT_EQ(with("{}"), token_result::invalid);
}

TEST_F(token_test, sub_at_its_maximum_and_one_more) {
  EXPECT_EQ(good("{\"sub\":\"\\u00e9\\n\"}").sub, "\xC3\xA9\n");
  EXPECT_EQ(good("{\"sub\":\"" + string(core::kUserBytesMax, 'u') + "\"}").sub.size(),
            core::kUserBytesMax);
  EXPECT_EQ(with("{\"sub\":\"" + string(core::kUserBytesMax + 1, 'u') + "\"}"),
            token_result::invalid);
}

TEST_F(token_test, wrong_types_of_every_claim) {
  for (const char* claim : {"\"sub\":1",
                            "\"sub\":{}",
                            "\"sub\":[\"u\"]",
                            "\"sub\":true",
                            "\"channel\":1",
                            "\"channel\":[\"c\"]",
                            "\"client\":1",
                            "\"client\":{}",
                            "\"expire_at\":\"1\"",
                            "\"expire_at\":[]",
                            "\"b64info\":1",
                            "\"b64info\":{}",
                            "\"channels\":\"c\"",
                            "\"channels\":{}",
                            "\"channels\":[1]",
                            "\"channels\":[null]",
                            "\"channels\":[[\"c\"]]",
                            "\"subs\":[]",
                            "\"subs\":\"c\"",
                            "\"subs\":{\"c\":1}",
                            "\"subs\":{\"c\":null}",
                            "\"subs\":{\"c\":[]}",
                            "\"subs\":{\"c\":{\"b64info\":1}}",
                            "\"subs\":{\"c\":{\"b64data\":{}}}"}) {
    EXPECT_EQ(with("{" + string(claim) + "}"), token_result::invalid) << claim;
    EXPECT_NE(why_.find("wrong type"), string::npos) << why_;
  }
}

TEST_F(token_test, expire_at) {
  EXPECT_EQ(good("{\"expire_at\":0}").expire_at, 0);
  EXPECT_EQ(good("{\"expire_at\":1700000100}").expire_at, 1'700'000'100);
  EXPECT_EQ(good("{\"expire_at\":1}").expire_at, 1) << "its caller's to judge";
}

TEST_F(token_test, subscription_claims) {
  good("{\"sub\":\"u\",\"channel\":\"$a\",\"client\":\"id\"}");
  EXPECT_EQ(claims_.channel, "$a");
  EXPECT_EQ(claims_.client, "id");
}

TEST_F(token_test, server_side_subscriptions) {
  good(
      "{\"channels\":[\"a\",\"b\"],\"subs\":{\"c\":{},\"d\":{\"info\":{\"x\":[1]},\"data\":\"y\","
      "\"override\":{\"presence\":{\"value\":true}}},\"e\":{\"b64info\":\"" +
      base64url("{\"z\": 1}") + "\",\"b64data\":\"" + base64url("[2]") + "\"}}}");
  ASSERT_EQ(claims_.subs.size(), 5u);
  const struct {
    const char *channel, *info, *data;
  } expected[] = {{"a", "", ""},
                  {"b", "", ""},
                  {"c", "", ""},
                  {"d", "{\"x\":[1]}", "\"y\""},
                  {"e", "{\"z\":1}", "[2]"}};
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(claims_.subs[i].channel, expected[i].channel);
    EXPECT_EQ(claims_.subs[i].info, expected[i].info);
    EXPECT_EQ(claims_.subs[i].data, expected[i].data);
  }
}

// ---- raw JSON of claims

TEST_F(token_test, info_becomes_one_line) {
  EXPECT_EQ(good("{\"info\":{\"name\" :\n\"A\\nB\\u0007\",\r\n\"n\":[1, 2.5,-3 ,true,null]}}").info,
            "{\"name\":\"A\\nB\\u0007\",\"n\":[1,2.5,-3,true,null]}");
  EXPECT_EQ(good("{\"info\":\"x\"}").info, "\"x\"");
  EXPECT_EQ(good("{\"info\":{}}").info, "{}");
  for (const char* value : {"{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\ud83d\\ude00\"}",
                            "[[],{},[{}],-0.0,1e300,9223372036854775807]", "\"\xE2\x80\xA8\""}) {
    const json_strict strict(good("{\"info\":" + string(value) + "}").info);
    EXPECT_TRUE(strict.is_valid() && !strict.has_newline()) << claims_.info;
  }
  for (const char* value : {"\"\\u0000\"", "9223372036854775808", "\"\\ud800\"", "1e400"})
    EXPECT_EQ(with("{\"info\":" + string(value) + "}"), token_result::invalid) << value;
}

TEST_F(token_test, b64info_in_either_alphabet_padded_or_not) {
  const string info = "{\"a\":\"\xC3\xBF\xC3\xBE?>~\"}";
  string url = base64url(info), standard = url;
  for (char& c : standard) c = c == '-' ? '+' : c == '_' ? '/' : c;
  ASSERT_NE(url, standard);
  for (const string& text : {url, standard, url + "=", standard + "=="})
    EXPECT_EQ(good("{\"b64info\":\"" + text + "\"}").info, info) << text;
  EXPECT_EQ(good("{\"b64info\":\"" + base64url("\n{ \"a\"\n: 1 }\n") + "\"}").info, "{\"a\":1}");
  for (const string& text :
       {string(), string("A"), string("!"), string("e30 "), string("e=30"), base64url("{"),
        base64url("x"), base64url("{} {}"), base64url("\"\xFF\""), base64url("\"a\nb\""),
        base64url("\"\\ud800\"")})
    EXPECT_EQ(with("{\"b64info\":\"" + text + "\"}"), token_result::invalid) << text;
}

TEST_F(token_test, info_at_its_maximum_and_one_more) {
  const string max = "\"" + string(core::kInfoBytesMax - 2, 'x') + "\"";
  const string beyond = "\"" + string(core::kInfoBytesMax - 1, 'x') + "\"";
  for (const string& frame : {string("{\"info\":@}"), string("{\"subs\":{\"c\":{\"info\":@}}}"),
                              string("{\"subs\":{\"c\":{\"data\":@}}}")}) {
    const auto with_value = [&](const string& value) {
      string claims = frame;
      return claims.replace(claims.find('@'), 1, value);
    };
    good(with_value(max));
    EXPECT_EQ(with(with_value(beyond)), token_result::invalid) << frame;
    string encoded = frame;
    for (const char* name : {"info", "data"}) {
      const size_t at = encoded.find("\"" + string(name) + "\"");
      if (at != string::npos) encoded.insert(at + 1, "b64");
    }
    const auto with_base64 = [&](const string& value) {
      string claims = encoded;
      return claims.replace(claims.find('@'), 1, "\"" + base64url(value) + "\"");
    };
    good(with_base64(max));
    EXPECT_EQ(with(with_base64(beyond)), token_result::invalid) << encoded;
  }
}

TEST_F(token_test, raw_json_is_as_deep_as_a_clients_may_be) {
  const auto nested = [](uint32_t depth) { return string(depth, '[') + "1" + string(depth, ']'); };
  constexpr uint32_t kMax = core::kJsonDepthMax;
  good("{\"info\":" + nested(kMax - 1) + "}");  // the claims are one deep themselves
  EXPECT_EQ(with("{\"info\":" + nested(kMax) + "}"), token_result::invalid);
  EXPECT_EQ(with("{\"unknown\":" + nested(kMax) + "}"), token_result::invalid);
  good("{\"b64info\":\"" + base64url(nested(kMax)) + "\"}");
  EXPECT_EQ(with("{\"b64info\":\"" + base64url(nested(kMax + 1)) + "\"}"), token_result::invalid);
  good("{\"subs\":{\"c\":{\"b64data\":\"" + base64url(nested(kMax)) + "\"}}}");
  EXPECT_EQ(with("{\"subs\":{\"c\":{\"b64data\":\"" + base64url(nested(kMax + 1)) + "\"}}}"),
            token_result::invalid);
  EXPECT_EQ(with("{\"info\":" + nested(5000) + "}"), token_result::invalid);
}

// ---- signing

TEST_F(token_test, what_is_signed_is_good) {
  ASSERT_EQ(verify(token_sign(kSecret, "u\"\n\xC3\xA9", "{\"n\":1}", "$c", kNow, 60)),
            token_result::ok)
      << why_;
  EXPECT_EQ(claims_.sub, "u\"\n\xC3\xA9");
  EXPECT_EQ(claims_.info, "{\"n\":1}");
  EXPECT_EQ(claims_.channel, "$c");
  EXPECT_EQ(claims_.exp, kNow + 60);
  ASSERT_EQ(verify(token_sign(kSecret, "", "", "", kNow, 0)), token_result::ok) << why_;
  EXPECT_TRUE(claims_.sub.empty() && claims_.info.empty() && claims_.channel.empty());
  EXPECT_EQ(claims_.exp, 0);
  EXPECT_EQ(verify(token_sign(kSecret, "u", "", "", kNow - 60, 60)), token_result::expired);
  EXPECT_EQ(verify(token_sign("other", "u", "", "", kNow, 60)), token_result::invalid);
  EXPECT_EQ(verify(token_sign(kSecret, "u", "", "", kNow + 1, 60)), token_result::invalid);
}

TEST_F(token_test, what_cannot_be_signed_is_empty) {
  EXPECT_EQ(token_sign("", "u", "", "", kNow, 60), "");
  EXPECT_EQ(token_sign(kSecret, "u", "{", "", kNow, 60), "");
  EXPECT_EQ(token_sign(kSecret, "\xFF", "", "", kNow, 60), "");
}

}  // namespace
}  // namespace proto
