// The chat page's files, part of the binary: server/embed.cmake makes their bytes from web/ and
// web/dist/.
#pragma once

#include <cstddef>
#include <string_view>

#include "server/routes.h"

namespace server {

struct page_file {
  std::string_view path;  // "/index.html"
  std::string_view content_type;
  std::string_view etag;  // with its quotes
  std::string_view body;
};

extern const page_file kPageFiles[];
extern const size_t kPageFileCount;

// nullptr when there is none; "/" is "/index.html".
const page_file* page_find(std::string_view path) noexcept;

// Takes the exchange: 200, or 304 when the client has this version.
void page_answer(http_exchange* x, const page_file& file, const proto::http_request& r) noexcept;

}  // namespace server
