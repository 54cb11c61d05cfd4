// Tokens: any bytes, any signed claims, any signed head. Only what our secret has signed is ever
// good, and what comes out of good claims is safe to pass on.
#include "proto/token.h"

#include <openssl/hmac.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "core/limits.h"
#include "tests/proto/json_strict.h"

namespace {

constexpr int64_t kNow = 1'700'000'000;
constexpr std::string_view kSecret = "fuzz";
constexpr std::string_view kHead = "{\"alg\":\"HS256\"}";
// A key that must never serve as a secret.
constexpr std::string_view kPublicPem =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n"
    "q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n"
    "-----END PUBLIC KEY-----\n";

void require(bool is_so) {
  if (!is_so) abort();
}

std::string base64url(std::string_view bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (held += 8; held >= 6; held -= 6) out.push_back(kDigits[bits >> (held - 6) & 63]);
  }
  if (held > 0) out.push_back(kDigits[bits << (6 - held) & 63]);
  return out;
}

std::string sign(std::string_view secret, std::string_view text) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int len = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), out, &len);
  return base64url({reinterpret_cast<const char*>(out), len});
}

std::string make(std::string_view head, std::string_view claims, std::string_view secret) {
  const std::string text = base64url(head) + "." + base64url(claims);
  return text + "." + sign(secret, text);
}

proto::token_result verify(std::string_view token, proto::token_claims* claims) {
  const proto::token_keys keys = {{std::string(kSecret)}, {std::string(kPublicPem)}, "", ""};
  const std::unique_ptr<char[]> block(new char[token.size()]);
  if (!token.empty()) memcpy(block.get(), token.data(), token.size());
  std::string why;
  const proto::token_result rc =
      proto::token_verify(keys, {block.get(), token.size()}, kNow, claims, &why);
  require((rc == proto::token_result::ok) == why.empty());
  return rc;
}

void require_safe(const std::string& raw) {
  if (raw.empty()) return;
  const proto::json_strict strict(raw);
  require(strict.is_valid() && !strict.has_newline() && strict.depth() <= core::kJsonDepthMax &&
          raw.size() <= core::kInfoBytesMax);
}

// Good for nothing else than the token that our secret signed, as the second opinion sees it.
void check_token(std::string_view token) {
  proto::token_claims claims;
  if (verify(token, &claims) == proto::token_result::invalid) return;
  const size_t end = token.rfind('.');
  require(end != std::string_view::npos && std::count(token.begin(), token.end(), '.') == 2);
  // HS384 and HS512 are not made by this target, nor can it guess them.
  require(token.substr(end + 1) == sign(kSecret, token.substr(0, end)));
}

void check_claims(std::string_view text) {
  proto::token_claims claims;
  const std::string token = make(kHead, text, kSecret);
  const proto::token_result rc = verify(token, &claims);
  const proto::json_strict strict(text);
  if (rc != proto::token_result::invalid) {
    require(strict.is_valid() && token.size() <= core::kTokenBytesMax);
    require(claims.sub.size() <= core::kUserBytesMax);
    require((rc == proto::token_result::expired) == (claims.exp != 0 && claims.exp <= kNow) ||
            claims.exp == 0);
    require_safe(claims.info);
    for (const proto::token_sub& s : claims.subs) {
      require_safe(s.info);
      require_safe(s.data);
    }
  }
  require(verify(make(kHead, text, "other"), &claims) == proto::token_result::invalid);
  require(verify(make(kHead, text, kPublicPem), &claims) == proto::token_result::invalid);
  require(verify(make(kHead, text, ""), &claims) == proto::token_result::invalid);
}

void check_head(std::string_view head) {
  proto::token_claims claims;
  for (const std::string_view secret : {std::string_view("other"), kPublicPem, std::string_view()})
    require(verify(make(head, "{}", secret), &claims) == proto::token_result::invalid);
  require(verify(base64url(head) + ".e30.", &claims) == proto::token_result::invalid);
  require(verify(base64url(head) + ".e30", &claims) == proto::token_result::invalid);
  check_token(make(head, "{}", kSecret));
}

}  // namespace

// The first character chooses: c claims, h head, all else a token.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0]) {
    case 'c':
      check_claims(text);
      break;
    case 'h':
      check_head(text);
      break;
    default:
      check_token(text);
  }
  return 0;
}
