// What does it cost to verify a connection token (HS256)?
#include <string>

#include "driver.h"
#include "proto/token.h"

void run(uint64_t times) {
  proto::token_keys keys;
  keys.hmac_secrets.push_back("a secret of some length, as people have");
  const std::string token =
      proto::token_sign(keys.hmac_secrets[0], "ann", "{\"name\":\"Ann\"}", "", 1'700'000'000, 3600);
  for (uint64_t i = 0; i < times; ++i) {
    proto::token_claims claims;
    std::string why;
    must(
        proto::token_verify(keys, token, 1'700'000'001, &claims, &why) == proto::token_result::ok &&
            claims.sub == "ann",
        "a good token is refused");
  }
}
