// An upgrade request of any bytes: it is accepted only with everything RFC 6455 section 4.2.1 asks
// for, and answered in any case.
#include "proto/upgrade.h"

#include <cstdint>
#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  // The first byte chooses which of the usual headers stand before the input's own.
  std::string text = "GET /connection/websocket?x=1 HTTP/1.1\r\n";
  const char* usual[] = {"Host: a\r\n", "Upgrade: websocket\r\n", "Connection: Upgrade\r\n",
                         "Sec-WebSocket-Version: 13\r\n",
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"};
  for (int i = 0; i < 5; ++i) {
    if ((data[0] >> i & 1) != 0) text += usual[i];
  }
  text.append(reinterpret_cast<const char*>(data + 1), size - 1).append("\r\n\r\n");
  proto::http_parser* p = proto::http_parser_new();
  proto::http_parser_reset(p, 8192, 0);
  uint32_t consumed = 0;
  if (proto::http_feed(p, text.data(), static_cast<uint32_t>(text.size()), &consumed) ==
      core::err::ok) {
    const proto::http_request* r = proto::http_parser_request(p);
    const proto::upgrade_answer a = proto::upgrade_check(*r, {});
    if (a.bytes.empty() || (a.status == 101) != a.why.empty()) abort();
    const bool has_all = r->is_upgrade && r->header_count("host") == 1 &&
                         r->header_count("sec-websocket-key") == 1 &&
                         r->header("sec-websocket-version") == "13";
    if (a.status == 101 && !has_all) abort();
  }
  proto::http_parser_free(p);
  return 0;
}
