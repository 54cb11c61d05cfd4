// Tokens: signature by libjwt, claims by simdjson; keys are chosen by the token's algorithm, so
// that no key is ever used for another kind.
#include "proto/token.h"

#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <simdjson.h>

#include <cstdlib>
#include <memory>

#include "core/limits.h"
#include "proto/reply.h"

namespace proto {

namespace dom = simdjson::dom;

namespace {

struct jwt_deleter {
  void operator()(jwt_t* j) const noexcept { jwt_free(j); }
};
using jwt_ptr = std::unique_ptr<jwt_t, jwt_deleter>;

int base64_digit(char c) noexcept {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '-' || c == '+') return 62;
  if (c == '_' || c == '/') return 63;
  return -1;
}

// base64 in either alphabet, padding optional.
bool base64_decode(std::string_view in, std::string* out) noexcept {
  while (!in.empty() && in.back() == '=') in.remove_suffix(1);
  if (in.size() % 4 == 1) return false;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : in) {
    const int digit = base64_digit(c);
    if (digit < 0) return false;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out->push_back(static_cast<char>(bits >> held & 0xFF));
  }
  return true;
}

// Claims are passed on as raw JSON, so they are held to the same depth as a client's.
bool read_json(dom::parser* parser, const std::string& text, dom::element* root) noexcept {
  return parser->allocate(text.size() + 64, core::kJsonDepthMax + 1) == simdjson::SUCCESS &&
         parser->parse(text).get(*root) == simdjson::SUCCESS;
}

jwt_alg_t algorithm_of(dom::parser* parser, std::string_view token) noexcept {
  const size_t dot = token.find('.');
  std::string head;
  if (dot == std::string_view::npos || !base64_decode(token.substr(0, dot), &head))
    return JWT_ALG_NONE;
  dom::element root;
  std::string_view name;
  if (!read_json(parser, head, &root) || root["alg"].get_string().get(name) != simdjson::SUCCESS)
    return JWT_ALG_NONE;
  if (name == "HS256") return JWT_ALG_HS256;
  if (name == "HS384") return JWT_ALG_HS384;
  if (name == "HS512") return JWT_ALG_HS512;
  if (name == "RS256") return JWT_ALG_RS256;
  if (name == "ES256") return JWT_ALG_ES256;
  return JWT_ALG_NONE;
}

// RS256 for RSA, ES256 for P-256; NONE for anything else.
jwt_alg_t algorithm_of_key(const std::string& pem) noexcept {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  EVP_PKEY* key = bio != nullptr ? PEM_read_bio_PUBKEY(bio, nullptr, nullptr, nullptr) : nullptr;
  BIO_free(bio);
  if (key == nullptr) return JWT_ALG_NONE;
  const int kind = EVP_PKEY_base_id(key);
  char curve[32] = "";  // other curves have 256 bits, too
  const bool is_p256 = kind == EVP_PKEY_EC &&
                       EVP_PKEY_get_group_name(key, curve, sizeof curve, nullptr) == 1 &&
                       std::string_view(curve) == "prime256v1";
  EVP_PKEY_free(key);
  if (kind == EVP_PKEY_RSA) return JWT_ALG_RS256;
  return is_p256 ? JWT_ALG_ES256 : JWT_ALG_NONE;
}

jwt_ptr verify_with(const std::string& token, const std::string& key, jwt_alg_t alg) noexcept {
  jwt_t* j = nullptr;
  if (jwt_decode(&j, token.c_str(), reinterpret_cast<const unsigned char*>(key.data()),
                 static_cast<int>(key.size())) != 0)
    return nullptr;
  jwt_ptr owned(j);
  return jwt_get_alg(j) == alg ? std::move(owned) : nullptr;
}

jwt_ptr verify(const token_keys& keys, const std::string& token, jwt_alg_t alg) noexcept {
  if (alg == JWT_ALG_HS256 || alg == JWT_ALG_HS384 || alg == JWT_ALG_HS512) {
    for (const std::string& secret : keys.hmac_secrets) {
      if (jwt_ptr j = verify_with(token, secret, alg)) return j;
    }
  } else if (alg == JWT_ALG_RS256 || alg == JWT_ALG_ES256) {
    for (const std::string& pem : keys.public_pems) {
      if (algorithm_of_key(pem) != alg) continue;
      if (jwt_ptr j = verify_with(token, pem, alg)) return j;
    }
  }
  return nullptr;
}

bool is_audience(dom::element aud, const std::string& wanted) noexcept {
  std::string_view one;
  if (aud.get_string().get(one) == simdjson::SUCCESS) return one == wanted;
  dom::array many;
  if (aud.get_array().get(many) != simdjson::SUCCESS) return false;
  for (dom::element e : many) {
    if (e.get_string().get(one) == simdjson::SUCCESS && one == wanted) return true;
  }
  return false;
}

bool take_text(dom::element e, std::string* out) noexcept {
  std::string_view text;
  if (e.get_string().get(text) != simdjson::SUCCESS) return false;
  out->assign(text);
  return true;
}

// Seconds; a fraction, as some libraries write, is cut off.
bool take_time(dom::element e, int64_t* out) noexcept {
  if (e.get_int64().get(*out) == simdjson::SUCCESS) return true;
  double seconds;
  if (e.get_double().get(seconds) != simdjson::SUCCESS || !(seconds > -9e15 && seconds < 9e15))
    return false;
  *out = static_cast<int64_t>(seconds);
  return true;
}

bool take_json(dom::element e, std::string* out) noexcept {
  *out = simdjson::minify(e);
  return out->size() <= core::kInfoBytesMax;
}

bool take_base64_json(dom::element e, std::string* out) noexcept {
  std::string_view text;
  std::string decoded;
  if (e.get_string().get(text) != simdjson::SUCCESS || !base64_decode(text, &decoded)) return false;
  dom::parser own;
  dom::element inner;
  return read_json(&own, decoded, &inner) && take_json(inner, out);
}

bool take_channels(dom::element e, token_claims* out) noexcept {
  dom::array list;
  if (e.get_array().get(list) != simdjson::SUCCESS) return false;
  for (dom::element item : list) {
    token_sub sub;
    if (!take_text(item, &sub.channel)) return false;
    out->subs.push_back(std::move(sub));
  }
  return true;
}

bool take_subs(dom::element e, token_claims* out) noexcept {
  dom::object map;
  if (e.get_object().get(map) != simdjson::SUCCESS) return false;
  for (auto [channel, options] : map) {
    dom::object fields;
    if (options.get_object().get(fields) != simdjson::SUCCESS) return false;
    token_sub sub;
    sub.channel.assign(channel);
    for (auto [name, value] : fields) {
      const bool is_good = name == "info"      ? take_json(value, &sub.info)
                           : name == "b64info" ? take_base64_json(value, &sub.info)
                           : name == "data"    ? take_json(value, &sub.data)
                           : name == "b64data" ? take_base64_json(value, &sub.data)
                                               : true;
      if (!is_good) return false;
    }
    out->subs.push_back(std::move(sub));
  }
  return true;
}

struct times {
  int64_t nbf = 0, iat = 0;
  bool has_exp = false;
};

bool take_claim(std::string_view name, dom::element value, token_claims* out, times* t,
                bool* has_audience, bool* has_issuer, const token_keys& keys) noexcept {
  if (name == "sub") return take_text(value, &out->sub) && out->sub.size() <= core::kUserBytesMax;
  if (name == "exp") return t->has_exp = take_time(value, &out->exp);
  if (name == "nbf") return take_time(value, &t->nbf);
  if (name == "iat") return take_time(value, &t->iat);
  if (name == "expire_at") return take_time(value, &out->expire_at);
  if (name == "info") return take_json(value, &out->info);
  if (name == "b64info") return take_base64_json(value, &out->info);
  if (name == "channels") return take_channels(value, out);
  if (name == "subs") return take_subs(value, out);
  if (name == "channel") return take_text(value, &out->channel);
  if (name == "client") return take_text(value, &out->client);
  if (name == "aud") *has_audience = is_audience(value, keys.audience);
  std::string_view text;
  if (name == "iss")
    *has_issuer = value.get_string().get(text) == simdjson::SUCCESS && text == keys.issuer;
  return true;
}

token_result refuse(std::string* why, std::string text) noexcept {
  *why = std::move(text);
  return token_result::invalid;
}

token_result take_claims(const token_keys& keys, dom::element root, int64_t now_s,
                         token_claims* out, std::string* why) noexcept {
  dom::object claims;
  if (root.get_object().get(claims) != simdjson::SUCCESS)
    return refuse(why, "the claims are no object");
  times t;
  bool has_audience = false, has_issuer = false;
  for (auto [name, value] : claims) {
    if (value.is_null()) continue;
    if (!take_claim(name, value, out, &t, &has_audience, &has_issuer, keys))
      return refuse(why, "claim " + std::string(name) + " has a wrong type or size");
  }
  if (!keys.audience.empty() && !has_audience) return refuse(why, "claim aud is not ours");
  if (!keys.issuer.empty() && !has_issuer) return refuse(why, "claim iss is not ours");
  if (t.nbf > now_s) return refuse(why, "claim nbf is in the future");
  if (t.iat > now_s) return refuse(why, "claim iat is in the future");
  if (t.has_exp && out->exp <= now_s) {
    *why = "claim exp is in the past";
    return token_result::expired;
  }
  return token_result::ok;
}

}  // namespace

token_result token_verify(const token_keys& keys, std::string_view token, int64_t now_s,
                          token_claims* out, std::string* why) noexcept {
  *out = {};
  if (token.size() > core::kTokenBytesMax) return refuse(why, "the token is longer than 16 KiB");
  if (token.find('\0') != std::string_view::npos) return refuse(why, "the token has a NUL");
  dom::parser parser;
  const jwt_alg_t alg = algorithm_of(&parser, token);
  if (alg == JWT_ALG_NONE)
    return refuse(
        why,
        "the header is broken, or its algorithm is not one of HS256, HS384, HS512, RS256, ES256");
  const jwt_ptr j = verify(keys, std::string(token), alg);
  if (j == nullptr) return refuse(why, "no key verifies the signature, or the claims are no JSON");
  // The signed bytes themselves, not libjwt's copy of them, which has lost the order and the exact
  // numbers.
  const size_t first = token.find('.'), second = token.find('.', first + 1);
  std::string body;
  dom::element root;
  if (second == std::string_view::npos ||
      !base64_decode(token.substr(first + 1, second - first - 1), &body) ||
      !read_json(&parser, body, &root)) {
    return refuse(why, "the claims are no JSON");
  }
  return take_claims(keys, root, now_s, out, why);
}

std::string token_sign(std::string_view hmac_secret, std::string_view user, std::string_view info,
                       std::string_view channel, int64_t now_s, int64_t ttl_s) noexcept {
  std::string claims = "{\"sub\":";
  json_string(&claims, user);
  claims.append(",\"iat\":");
  json_i64(&claims, now_s);
  if (ttl_s > 0) {
    claims.append(",\"exp\":");
    json_i64(&claims, now_s + ttl_s);
  }
  if (!info.empty()) claims.append(",\"info\":").append(info);
  if (!channel.empty()) {
    claims.append(",\"channel\":");
    json_string(&claims, channel);
  }
  claims.push_back('}');
  jwt_t* made = nullptr;
  if (jwt_new(&made) != 0) return {};
  const jwt_ptr j(made);
  if (jwt_add_grants_json(made, claims.c_str()) != 0) return {};
  if (jwt_set_alg(made, JWT_ALG_HS256, reinterpret_cast<const unsigned char*>(hmac_secret.data()),
                  static_cast<int>(hmac_secret.size())) != 0)
    return {};
  char* text = jwt_encode_str(made);
  std::string out(text != nullptr ? text : "");
  std::free(text);
  return out;
}

}  // namespace proto
