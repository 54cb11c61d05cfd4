// Responses to bytes: status line, the headers every answer has, body.
#include <cstdio>
#include <ctime>
#include <string>

#include "proto/http.h"

namespace proto {

namespace {

const char* status_text(int status) noexcept {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 426:
      return "Upgrade Required";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

void append_date(std::string* out) noexcept {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const time_t now = time(nullptr);
  tm utc;
  if (gmtime_r(&now, &utc) == nullptr) return;
  char text[80];
  snprintf(text, sizeof text, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n", kDays[utc.tm_wday],
           utc.tm_mday, kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
           utc.tm_sec);
  out->append(text);
}

}  // namespace

void http_reply(std::string* out, int status, std::string_view content_type,
                std::string_view headers, std::string_view body, bool is_keep_alive,
                bool is_head) noexcept {
  out->append("HTTP/1.1 ")
      .append(std::to_string(status))
      .append(" ")
      .append(status_text(status))
      .append("\r\n");
  append_date(out);
  if (!content_type.empty()) out->append("Content-Type: ").append(content_type).append("\r\n");
  const bool has_length = status >= 200 && status != 204 && status != 304;  // RFC 9110 section 8.6
  if (has_length)
    out->append("Content-Length: ").append(std::to_string(body.size())).append("\r\n");
  out->append(is_keep_alive ? "Connection: keep-alive\r\n" : "Connection: close\r\n")
      .append(headers)
      .append("\r\n");
  if (has_length && !is_head) out->append(body);
}

}  // namespace proto
