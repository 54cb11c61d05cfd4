// HTTP requests cut anywhere: the verdict and the request must be those of the uncut input, and an
// accepted head keeps the rules.
#include "proto/http.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

namespace {

std::string run(const char* bytes, size_t n, uint32_t cut) {
  proto::http_parser* p = proto::http_parser_new();
  proto::http_parser_reset(p, 2048, 1024);
  core::err rc = core::err::again;
  size_t at = 0;
  while (at < n && rc == core::err::again) {
    cut = cut * 1103515245u + 12345u;
    const size_t len =
        cut == 12345u ? n : std::min<size_t>(n - at, 1 + (cut >> 16) % 32);  // cut 0: in one piece
    std::unique_ptr<char[]> block(new char[len]);
    memcpy(block.get(), bytes + at, len);
    uint32_t consumed = 0;
    rc = proto::http_feed(p, block.get(), static_cast<uint32_t>(len), &consumed);
    if (consumed > len || (rc == core::err::again && consumed != len)) abort();
    at += consumed;
  }
  std::string out =
      std::to_string(static_cast<int>(rc)) + " " + std::to_string(proto::http_parser_status(p));
  if (rc == core::err::ok) {
    const proto::http_request* r = proto::http_parser_request(p);
    if (r->header_count("host") > 1 ||
        r->header_count("content-length") + r->header_count("transfer-encoding") > 1)
      abort();
    if (r->is_upgrade && !r->body.empty()) abort();
    out += " " + std::to_string(at) + r->method_name + r->path + r->query + r->body;
    for (const proto::http_header& h : r->headers) out += h.name + "=" + h.value;
  }
  proto::http_parser_free(p);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint32_t cut = static_cast<uint32_t>(data[0]) << 8 | data[1];
  const char* bytes = reinterpret_cast<const char*>(data + 2);
  const std::string whole = run(bytes, size - 2, 0);
  if (run(bytes, size - 2, cut + 1) != whole) abort();
  return 0;
}
