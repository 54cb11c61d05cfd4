// `parleyd token`: reads the secret where the server reads it, signs, prints.
#include "server/token_command.h"

#include <unistd.h>

#include <cstdio>

#include "core/limits.h"
#include "proto/token.h"
#include "server/command_line.h"
#include "server/settings.h"

namespace server {
namespace {

int refuse(const std::string& why) {
  std::fprintf(stderr, "parleyd token: %s\n", why.c_str());
  return 2;
}

}  // namespace

int token_command(int argc, const char* const* argv) noexcept {
  try {
    token_line line;
    std::string message;
    if (token_line_parse(argc, argv, &line, &message) != core::err::ok) return refuse(message);
    if (line.is_help) {
      std::fputs(line.text.c_str(), stdout);
      return 0;
    }
    settings s;
    core::config c;
    if (settings_from(line.flags, environ, &s, &c, &message) != core::err::ok)
      return refuse(message);
    const bool has_sub_key = !line.channel.empty() && !s.chat.sub_token_keys.empty();
    const proto::token_keys& keys = has_sub_key ? s.chat.sub_token_keys : s.chat.token_keys;
    if (s.is_development && !has_sub_key)
      return refuse(
          "no secret is set: give --token-hmac-secret, PARLEY_TOKEN_HMAC_SECRET, or --config with "
          "[token] hmac_secrets");
    if (keys.hmac_secrets.empty())
      return refuse("the settings have public keys only, which cannot sign");
    if (line.info.size() > core::kInfoBytesMax)
      return refuse("--info is longer than " + std::to_string(core::kInfoBytesMax) + " bytes");
    const int64_t now_s = core::system_clock()->wall_ms() / 1000;
    const std::string token = proto::token_sign(keys.hmac_secrets[0], line.user, line.info,
                                                line.channel, now_s, line.ttl_s);
    // What the server would refuse (info that is no JSON) is refused here.
    proto::token_claims claims;
    if (token.empty() || proto::token_verify({{keys.hmac_secrets[0]}, {}, "", ""}, token, now_s,
                                             &claims, &message) != proto::token_result::ok) {
      return refuse("this makes no valid token" + (message.empty() ? "" : ": " + message) +
                    (line.info.empty() ? "" : "; is --info JSON?"));
    }
    std::printf("%s\n", token.c_str());
    return 0;
  } catch (const std::exception& e) {
    return refuse(e.what());
  }
}

}  // namespace server
