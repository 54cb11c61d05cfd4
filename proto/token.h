// Connection and subscription tokens: JWT over libjwt, with the claims of the protocol's
// authentication and channel token pages. No I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"

namespace proto {

// Several at once, so that they can be rotated: a token is good when one key verifies it.
struct token_keys {
  std::vector<std::string> hmac_secrets;  // HS256, HS384, HS512
  std::vector<std::string> public_pems;   // RS256 (RSA) or ES256 (P-256), told by the key itself
  std::string audience, issuer;           // when set, the token must have them
  bool empty() const noexcept { return hmac_secrets.empty() && public_pems.empty(); }
};

struct token_sub {  // a server-side subscription of a connection token
  std::string channel;
  std::string info;  // raw JSON or empty
  std::string data;  // raw JSON or empty
};

struct token_claims {
  std::string sub;              // user; empty: anonymous, which is valid
  int64_t exp = 0;              // Unix seconds; 0: no claim, never
  std::string info;             // raw JSON or empty (a `b64info` claim is decoded and must be JSON)
  std::vector<token_sub> subs;  // claims `channels` and `subs`, connection tokens
  std::string channel;          // subscription tokens
  std::string client;           // subscription tokens, older form; empty: any
  int64_t expire_at = -1;  // claim expire_at: -1 absent, 0 never, else Unix seconds at which the
                           // connection or subscription expires
};

enum class token_result : uint8_t { ok, expired, invalid };

// `exp` in the past is expired (unless the caller ignores it), everything else that is wrong is
// invalid with a word in *why: signature, algorithm (`none` and others never; HMAC never with a
// public key), nbf or iat in the future, aud, iss, types of claims, JSON (also valid JSON with a
// NUL in a string or an integer beyond int64: libjwt cannot read it), kJsonDepthMax, a sub over
// kUserBytesMax, an info or data over kInfoBytesMax. The token is at most kTokenBytesMax. Raw JSON
// comes out valid and on one line. Never throws, never logs the token.
token_result token_verify(const token_keys& keys, std::string_view token, int64_t now_s,
                          token_claims* out, std::string* why) noexcept;

// HS256 token for `parleyd token`, /auth/guest and tests. info is raw JSON or empty; channel empty:
// a connection token.
std::string token_sign(std::string_view hmac_secret, std::string_view user, std::string_view info,
                       std::string_view channel, int64_t now_s, int64_t ttl_s) noexcept;

}  // namespace proto
