// HTTP/1.1 requests in three steps: a guard reads lines and fields, our rules judge what they mean,
// llhttp gives a second opinion; then the body.
//
// The guard and the rules make the verdict independent of llhttp's version (8.1 is lenient, 9.2
// strict); what either side refuses is refused. The head goes to llhttp in one piece, and the body
// never does, so the result cannot depend on how the bytes were cut.
#include "proto/http.h"

#include <llhttp.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "core/assert.h"
#include "core/limits.h"

namespace proto {

using core::err;

namespace {

constexpr uint32_t kChunkDigitsMax =
    8;  // hexadecimal: chunks below 4 GiB; the body's limit is far lower
constexpr uint32_t kChunkExtraBytesMax =
    1024;  // extensions and trailers of a whole body; nobody needs them

enum class stage : uint8_t {
  head,
  body,
  chunk_size,
  chunk_extension,
  chunk_size_lf,
  chunk_data,
  chunk_cr,
  chunk_lf,
  trailer,
  trailer_lf,
  done,
  failed
};

bool is_token_char(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != nullptr);
}
bool is_value_char(char c) noexcept {
  const uint8_t b = static_cast<uint8_t>(c);
  return b == '\t' || (b >= 0x20 && b != 0x7F);
}
char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool equal_nocase(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim(std::string_view s) noexcept {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

struct http_parser {
  http_request request;
  std::string head;
  stage at = stage::head;
  uint32_t head_bytes_max = 0, body_bytes_max = 0;
  uint64_t left = 0;  // of the body or of the chunk
  uint32_t chunk_digits = 0;
  uint32_t extra_bytes = 0;  // extensions and trailers so far
  bool is_trailer_empty = true;
  bool has_bytes = false;
  bool has_empty_line = false;  // one is allowed before the request line (RFC 9112 section 2.2)
  int status = 0;
  const char* why = "";
};

namespace {

err fail(http_parser* p, int status, const char* why) noexcept {
  p->at = stage::failed;
  p->status = status;
  p->why = why;
  return status == 413 || status == 414 || status == 431 ? err::too_big : err::malformed;
}

err guard_request_line(http_parser* p, std::string_view line) noexcept {
  const size_t first = line.find(' ');
  const size_t second = first == line.npos ? line.npos : line.find(' ', first + 1);
  if (second == line.npos || first == 0 || second == first + 1)
    return fail(p, 400, "malformed request line");
  const std::string_view method = line.substr(0, first),
                         target = line.substr(first + 1, second - first - 1),
                         version = line.substr(second + 1);
  if (!std::all_of(method.begin(), method.end(), is_token_char))
    return fail(p, 400, "malformed method");
  if (!std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7F; }))
    return fail(p, 400, "malformed target");
  http_request* r = &p->request;
  r->method_name = method;
  r->target = target;
  r->method = method == "GET"       ? http_method::get
              : method == "HEAD"    ? http_method::head
              : method == "POST"    ? http_method::post
              : method == "OPTIONS" ? http_method::options
                                    : http_method::other;
  if (version == "HTTP/1.1" || version == "HTTP/1.0") return err::ok;
  const bool has_form = version.size() == 8 && version.starts_with("HTTP/") && version[6] == '.' &&
                        version[5] >= '0' && version[5] <= '9' && version[7] >= '0' &&
                        version[7] <= '9';
  return has_form ? fail(p, 505, "HTTP/1.1 is spoken here")
                  : fail(p, 400, "malformed HTTP version");
}

err guard_header(http_parser* p, std::string_view line) noexcept {
  if (line[0] == ' ' || line[0] == '\t') return fail(p, 400, "folded header");
  const size_t colon = line.find(':');
  if (colon == line.npos || colon == 0) return fail(p, 400, "malformed header");
  const std::string_view name = line.substr(0, colon), value = line.substr(colon + 1);
  if (!std::all_of(name.begin(), name.end(), is_token_char))
    return fail(p, 400, "malformed header name");
  if (!std::all_of(value.begin(), value.end(), is_value_char))
    return fail(p, 400, "malformed header value");
  http_header h{std::string(name), std::string(trim(value))};
  std::transform(h.name.begin(), h.name.end(), h.name.begin(), lower);
  p->request.headers.push_back(std::move(h));
  return err::ok;
}

// Every line ends with CR LF and holds neither elsewhere: next_byte() has seen to that.
err guard_head(http_parser* p) noexcept {
  const std::string_view head(p->head);
  uint32_t lines = 0;
  for (size_t at = 0; at < head.size();) {
    const size_t end = head.find('\r', at);
    const std::string_view line = head.substr(at, end - at);
    at = end + 2;
    if (line.empty()) break;
    if (lines > core::kHttpHeadersMax) return fail(p, 431, "too many headers");
    const err rc = lines == 0 ? guard_request_line(p, line) : guard_header(p, line);
    if (rc != err::ok) return rc;
    ++lines;
  }
  return err::ok;
}

int on_head_end(llhttp_t* parser) noexcept {
  *static_cast<bool*>(parser->data) = true;
  return 0;
}

// The second opinion. Fields are the guard's: what llhttp makes of them depends on its version.
err ask_llhttp(http_parser* p) noexcept {
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  settings.on_headers_complete = on_head_end;
  bool is_complete = false;
  llhttp_t parser;
  llhttp_init(&parser, HTTP_REQUEST, &settings);
  parser.data = &is_complete;
  const llhttp_errno_t answer = llhttp_execute(&parser, p->head.data(), p->head.size());
  if (answer == HPE_INVALID_METHOD) return fail(p, 501, "unknown method");
  if ((answer != HPE_OK && answer != HPE_PAUSED_UPGRADE) || !is_complete)
    return fail(p, 400, "malformed request");
  return err::ok;
}

// Does a comma-separated header hold this word?
bool has_word(const http_request& r, std::string_view name, std::string_view word) noexcept {
  for (const http_header& h : r.headers) {
    if (h.name != name) continue;
    for (std::string_view rest = h.value; !rest.empty();) {
      const size_t comma = std::min(rest.find(','), rest.size());
      if (equal_nocase(trim(rest.substr(0, comma)), word)) return true;
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  return false;
}

err rule_host(http_parser* p, bool is_old) noexcept {
  const uint32_t hosts = p->request.header_count("host");
  if (hosts > 1) return fail(p, 400, "more than one Host");
  if (hosts == 0 && !is_old) return fail(p, 400, "Host is missing");
  for (const char c : p->request.header("host")) {
    if (c <= 0x20 || c >= 0x7F || strchr("/\\@?#,<>\"", c) != nullptr)
      return fail(p, 400, "malformed Host");
  }
  return err::ok;
}

err rule_body(http_parser* p, bool is_old, bool* is_chunked) noexcept {
  const http_request& r = p->request;
  const uint32_t lengths = r.header_count("content-length"),
                 codings = r.header_count("transfer-encoding");
  *is_chunked = codings > 0;
  if (lengths > 0 && codings > 0) return fail(p, 400, "both Content-Length and Transfer-Encoding");
  if (lengths > 1) return fail(p, 400, "more than one Content-Length");
  if (codings > 1) return fail(p, 400, "more than one Transfer-Encoding");
  if (codings == 1) {
    if (is_old) return fail(p, 400, "Transfer-Encoding in HTTP/1.0");
    if (!equal_nocase(r.header("transfer-encoding"), "chunked"))
      return fail(p, 501, "unknown transfer coding");
  }
  if (lengths == 1) {
    const std::string_view text = r.header("content-length");
    if (text.empty() || text.size() > 19) return fail(p, 400, "malformed Content-Length");
    p->left = 0;
    for (const char c : text) {
      if (c < '0' || c > '9') return fail(p, 400, "malformed Content-Length");
      p->left = p->left * 10 + static_cast<uint64_t>(c - '0');
    }
    if (p->left > p->body_bytes_max) return fail(p, 413, "the body is too large");
  }
  return err::ok;
}

err rule_target(http_parser* p) noexcept {
  http_request* r = &p->request;
  std::string_view rest = r->target;
  if (rest.starts_with("http://") ||
      rest.starts_with("https://")) {  // absolute form: the authority is the Host's business
    rest.remove_prefix(rest.find("//") + 2);
    rest.remove_prefix(std::min(rest.find_first_of("/?"), rest.size()));
  } else if (rest[0] != '/' && !(rest == "*" && r->method == http_method::options) &&
             r->method_name != "CONNECT") {
    return fail(p, 400, "malformed target");
  }
  const size_t question = std::min(rest.find('?'), rest.size());
  r->path = rest.substr(0, question);
  if (r->path.empty()) r->path = "/";
  if (question < rest.size()) r->query = rest.substr(question + 1);
  return err::ok;
}

// The head is complete: its verdict, and what body follows.
err take_head(http_parser* p) noexcept {
  err rc = guard_head(p);
  if (rc != err::ok) return rc;
  bool is_chunked = false;
  http_request* r = &p->request;
  const bool is_old = p->head.find("HTTP/1.0\r\n") == p->head.find('\r') - 8;
  if ((rc = rule_host(p, is_old)) != err::ok) return rc;
  if ((rc = rule_body(p, is_old, &is_chunked)) != err::ok) return rc;
  if ((rc = rule_target(p)) != err::ok) return rc;
  if ((rc = ask_llhttp(p)) != err::ok) return rc;
  r->is_keep_alive =
      is_old ? has_word(*r, "connection", "keep-alive") && !has_word(*r, "connection", "close")
             : !has_word(*r, "connection", "close");
  r->is_upgrade = has_word(*r, "upgrade", "websocket") && has_word(*r, "connection", "upgrade");
  if (r->is_upgrade && is_old) return fail(p, 400, "HTTP/1.0 cannot be upgraded");
  if (r->is_upgrade && (is_chunked || p->left > 0)) return fail(p, 400, "an upgrade has no body");
  p->at = is_chunked ? stage::chunk_size : p->left > 0 ? stage::body : stage::done;
  return err::ok;
}

err head_byte(http_parser* p, char c) noexcept {
  const bool is_after_cr = !p->head.empty() && p->head.back() == '\r';
  if (c == '\0') return fail(p, 400, "NUL in the head");
  if (c == '\n' && !is_after_cr) return fail(p, 400, "LF without CR");
  if (c != '\n' && is_after_cr) return fail(p, 400, "CR without LF");
  if (p->head.size() >= p->head_bytes_max) {
    return p->head.find('\n') == std::string::npos ? fail(p, 414, "the request line is too long")
                                                   : fail(p, 431, "the head is too large");
  }
  p->head.push_back(c);
  if (c != '\n') return err::ok;
  if (p->head.size() == 2) {
    if (p->has_empty_line) return fail(p, 400, "no request line");
    p->has_empty_line = true;
    p->head.clear();
    return err::ok;
  }
  return p->head.ends_with("\r\n\r\n") ? take_head(p) : err::ok;
}

err chunk_extra(http_parser* p, char c) noexcept {
  if (!is_value_char(c)) return fail(p, 400, "malformed chunk");
  return ++p->extra_bytes > kChunkExtraBytesMax
             ? fail(p, 431, "chunk extensions or trailers are too large")
             : err::ok;
}

err chunk_size_byte(http_parser* p, char c) noexcept {
  const int digit = hex_digit(c);
  if (digit >= 0) {
    if (p->chunk_digits == 0) p->left = 0;
    if (++p->chunk_digits > kChunkDigitsMax) return fail(p, 413, "the chunk is too large");
    p->left = p->left * 16 + static_cast<uint64_t>(digit);
    return err::ok;
  }
  if (p->chunk_digits == 0) return fail(p, 400, "malformed chunk size");
  if (c != '\r' && c != ';') return fail(p, 400, "malformed chunk size");
  p->at = c == '\r' ? stage::chunk_size_lf : stage::chunk_extension;
  if (p->left + p->request.body.size() > p->body_bytes_max)
    return fail(p, 413, "the body is too large");
  return err::ok;
}

// The framing bytes of a chunked body (RFC 9112 section 7.1), one at a time.
err chunk_byte(http_parser* p, char c) noexcept {
  switch (p->at) {
    case stage::chunk_size:
      return chunk_size_byte(p, c);
    case stage::chunk_extension:
      if (c != '\r') return chunk_extra(p, c);
      p->at = stage::chunk_size_lf;
      return err::ok;
    case stage::chunk_size_lf:
      p->at = p->left > 0 ? stage::chunk_data : stage::trailer;
      p->chunk_digits = 0;
      p->is_trailer_empty = true;
      return c == '\n' ? err::ok : fail(p, 400, "CR without LF");
    case stage::chunk_cr:
      p->at = stage::chunk_lf;
      return c == '\r' ? err::ok : fail(p, 400, "the chunk is longer than its size");
    case stage::chunk_lf:
      p->at = stage::chunk_size;
      return c == '\n' ? err::ok : fail(p, 400, "CR without LF");
    case stage::trailer:  // trailers are dropped: nothing here needs them
      if (c == '\r') {
        p->at = stage::trailer_lf;
        return err::ok;
      }
      p->is_trailer_empty = false;
      return chunk_extra(p, c);
    case stage::trailer_lf:
      if (c != '\n') return fail(p, 400, "CR without LF");
      p->at = p->is_trailer_empty ? stage::done : stage::trailer;
      p->is_trailer_empty = true;
      return err::ok;
    default:
      CORE_UNREACHABLE("not a chunk's stage");
  }
}

uint32_t take_body(http_parser* p, const char* bytes, uint32_t len) noexcept {
  const uint32_t n = static_cast<uint32_t>(std::min<uint64_t>(len, p->left));
  p->request.body.append(bytes, n);
  p->left -= n;
  if (p->left == 0) p->at = p->at == stage::body ? stage::done : stage::chunk_cr;
  return n;
}

}  // namespace

std::string_view http_request::header(std::string_view name) const noexcept {
  for (const http_header& h : headers) {
    if (h.name == name) return h.value;
  }
  return {};
}

uint32_t http_request::header_count(std::string_view name) const noexcept {
  return static_cast<uint32_t>(std::count_if(headers.begin(), headers.end(),
                                             [&](const http_header& h) { return h.name == name; }));
}

bool http_query_value(std::string_view query, std::string_view name, std::string* out) noexcept {
  auto decode = [](std::string_view text) {
    std::string plain;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
          hex_digit(text[i + 2]) >= 0) {
        plain.push_back(static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])));
        i += 2;
      } else {
        plain.push_back(text[i] == '+' ? ' ' : text[i]);
      }
    }
    return plain;
  };
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    if (decode(pair.substr(0, equals)) != name) continue;
    *out = decode(pair.substr(std::min(equals + 1, pair.size())));
    return true;
  }
  return false;
}

http_parser* http_parser_new() noexcept {
  http_parser* p = new (std::nothrow) http_parser;
  CORE_ASSERT(p != nullptr);
  return p;
}

void http_parser_free(http_parser* p) noexcept {
  delete p;
}

void http_parser_reset(http_parser* p, uint32_t head_bytes_max, uint32_t body_bytes_max) noexcept {
  *p = http_parser{};  // memory of a large request is given back
  p->head_bytes_max = head_bytes_max;
  p->body_bytes_max = body_bytes_max;
}

err http_feed(http_parser* p, const char* bytes, uint32_t len, uint32_t* consumed) noexcept {
  CORE_ASSERT(p->at != stage::failed && p->at != stage::done);
  uint32_t at = 0;
  err rc = err::ok;
  p->has_bytes = p->has_bytes || len > 0;
  while (at < len && rc == err::ok && p->at != stage::done) {
    if (p->at == stage::body || p->at == stage::chunk_data) {
      at += take_body(p, bytes + at, len - at);
    } else {
      rc = p->at == stage::head ? head_byte(p, bytes[at]) : chunk_byte(p, bytes[at]);
      ++at;
    }
  }
  *consumed = at;
  if (rc != err::ok) return rc;
  return p->at == stage::done ? err::ok : err::again;
}

err http_parser_limit_body(http_parser* p, uint32_t body_bytes_max) noexcept {
  p->body_bytes_max = std::min(p->body_bytes_max, body_bytes_max);
  const bool has_left = p->at == stage::body || p->at == stage::chunk_data;
  const uint64_t known = p->request.body.size() + (has_left ? p->left : 0);
  return known > p->body_bytes_max ? err::too_big : err::ok;
}

bool http_parser_is_empty(const http_parser* p) noexcept {
  return !p->has_bytes;
}
bool http_parser_has_head(const http_parser* p) noexcept {
  return p->at != stage::head && p->at != stage::failed;
}
http_request* http_parser_request(http_parser* p) noexcept {
  return &p->request;
}
int http_parser_status(const http_parser* p) noexcept {
  return p->status;
}
const char* http_parser_why(const http_parser* p) noexcept {
  return p->why;
}

}  // namespace proto
