// Redis URLs of any bytes: refused with a reason or within all limits; a password is in no text.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "broker/redis_url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  broker::redis_url u;
  std::string why;
  (void)broker::redis_url_redacted(text);
  if (broker::redis_url_parse(text, &u, &why) != core::err::ok) {
    if (why.empty()) abort();
    return 0;
  }
  if (!why.empty() || u.servers.empty() || u.servers.size() > broker::kRedisServersMax) abort();
  for (const broker::redis_endpoint& e : u.servers) {
    const bool is_unix = !e.path.empty();
    if (is_unix != e.host.empty() || is_unix != (e.port == 0) ||
        broker::redis_endpoint_text(e).empty())
      abort();
  }
  // With a password that nothing else can look like, spliced in.
  const std::string secret = "Zq9Zq9Zq9";
  const size_t scheme = text.find("://");
  if (text.find('@') == text.npos && text.find("unix") == text.npos &&
      text.find(secret) == text.npos) {
    const std::string with =
        text.substr(0, scheme + 3) + ":" + secret + "@" + text.substr(scheme + 3);
    broker::redis_url v;
    if (broker::redis_url_parse(with, &v, &why) != core::err::ok) {
      if (why.find("one is allowed") == why.npos && why.find("longer") == why.npos) abort();
    } else if (v.login.password != secret) {
      abort();
    }
    if (why.find(secret) != why.npos ||
        broker::redis_url_redacted(with).find(secret) != std::string::npos)
      abort();
  }
  return 0;
}
