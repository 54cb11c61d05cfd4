// Answers with the embedded files of the chat page, under a policy that lets nothing foreign run.
#include "server/page.h"

#include <string>

namespace server {

namespace {

// Scripts and styles only from the files themselves: user text that became markup could still do
// nothing.
constexpr std::string_view kSafety =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src "
    "'self' data:; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cache-Control: no-cache\r\n";

// Is the entity tag one of an If-None-Match list? Weak tags compare alike (RFC 9110
// section 13.1.2).
bool has_etag(std::string_view list, std::string_view etag) noexcept {
  return list == "*" || list.find(etag) != list.npos;
}

}  // namespace

const page_file* page_find(std::string_view path) noexcept {
  if (path == "/") path = "/index.html";
  for (size_t i = 0; i < kPageFileCount; ++i) {
    if (kPageFiles[i].path == path) return &kPageFiles[i];
  }
  return nullptr;
}

void page_answer(http_exchange* x, const page_file& file, const proto::http_request& r) noexcept {
  std::string headers(kSafety);
  headers.append("ETag: ").append(file.etag).append("\r\n");
  if (has_etag(r.header("if-none-match"), file.etag)) {
    http_answer(x, 304, {}, headers, {});
    return;
  }
  http_answer(x, 200, file.content_type, headers, file.body);
}

}  // namespace server
