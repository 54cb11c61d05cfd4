// Sends one request and reads one answer; the reader of the answer resumes at any byte.
#include "core/http_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "core/clock.h"

namespace core {
namespace {

constexpr size_t kHeadBytesMax = 64 * 1024;
constexpr size_t kChunkLineMax = 1024;
constexpr size_t kNone = std::string_view::npos;
constexpr std::string_view kHostCharacters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%";

constexpr uint64_t kLookUs = 50'000;  // how soon an earlier deadline is seen

bool is_same(std::string_view text, std::string_view lower_case) noexcept {
  return std::equal(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

std::string_view trimmed(std::string_view s) noexcept {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// An answer that is being read. Invariant: in[0, at) has been used.
struct reading {
  enum class stage : uint8_t { head, sized, chunk_line, chunk, until_end, done };
  stage in_stage = stage::head;
  std::string in;
  size_t at = 0;
  uint64_t left = 0;  // of the body or chunk
  size_t body_bytes_max = 0;
  int status = 0;
  std::string body;
};

err read_head(reading* a) {
  const size_t end = a->in.find("\r\n\r\n");
  if (end == kNone) return a->in.size() > kHeadBytesMax ? err::malformed : err::again;
  std::string_view head(a->in.data(), end);
  const std::string_view line = head.substr(0, head.find("\r\n"));
  if (!line.starts_with("HTTP/1.") || line.size() < 12) return err::malformed;
  const auto [after, rc] = std::from_chars(line.data() + 9, line.data() + 12, a->status);
  if (rc != std::errc() || after != line.data() + 12 || a->status < 100) return err::malformed;
  a->at = end + 4;
  a->in_stage =
      a->status == 204 || a->status == 304 ? reading::stage::done : reading::stage::until_end;
  while (head.size() > line.size()) {
    const size_t begin = head.rfind("\r\n") + 2;
    const std::string_view field = head.substr(begin);
    head = head.substr(0, begin - 2);
    const size_t colon = field.find(':');
    if (colon == kNone) return err::malformed;
    const std::string_view name = field.substr(0, colon), value = trimmed(field.substr(colon + 1));
    if (a->in_stage == reading::stage::done) continue;
    if (is_same(name, "transfer-encoding")) {
      if (!is_same(value, "chunked")) return err::malformed;
      a->in_stage = reading::stage::chunk_line;
    } else if (is_same(name, "content-length") && a->in_stage != reading::stage::chunk_line) {
      const auto [last, bad] = std::from_chars(value.data(), value.data() + value.size(), a->left);
      if (bad != std::errc() || last != value.data() + value.size()) return err::malformed;
      a->in_stage = reading::stage::sized;
    }
  }
  return err::ok;
}

err read_chunk_line(reading* a) {
  const size_t end = a->in.find("\r\n", a->at);
  if (end == kNone) return a->in.size() - a->at > kChunkLineMax ? err::malformed : err::again;
  const char* first = a->in.data() + a->at;
  const auto [after, rc] = std::from_chars(first, a->in.data() + end, a->left, 16);
  if (rc != std::errc() || (*after != '\r' && *after != ';' && *after != ' '))
    return err::malformed;
  a->at = end + 2;
  a->in_stage =
      a->left == 0 ? reading::stage::done : reading::stage::chunk;  // trailers are not read
  return err::ok;
}

err take_body(reading* a, uint64_t n) {
  if (a->body.size() + n > a->body_bytes_max) return err::too_big;
  a->body.append(a->in, a->at, n);
  a->in.erase(0, a->at + n);
  a->at = 0;
  return err::ok;
}

err read_sized(reading* a) {
  if (a->left > a->body_bytes_max - a->body.size()) return err::too_big;
  const uint64_t n = std::min<uint64_t>(a->left, a->in.size() - a->at);
  a->left -= n;
  if (a->left == 0) a->in_stage = reading::stage::done;
  const err rc = take_body(a, n);
  return rc != err::ok || a->left == 0 ? rc : err::again;
}

err read_chunk(reading* a) {
  if (a->left > a->body_bytes_max - a->body.size()) return err::too_big;
  const uint64_t n = std::min<uint64_t>(a->left, a->in.size() - a->at);
  a->left -= n;
  const err rc = take_body(a, n);
  if (rc != err::ok) return rc;
  if (a->left > 0 || a->in.size() < 2) return err::again;
  if (!a->in.starts_with("\r\n")) return err::malformed;
  a->at = 2;
  a->in_stage = reading::stage::chunk_line;
  return err::ok;
}

// ok: the answer is complete. again: more bytes are needed.
err read_answer(reading* a) {
  for (;;) {
    err rc = err::ok;
    switch (a->in_stage) {
      case reading::stage::head:
        rc = read_head(a);
        break;
      case reading::stage::sized:
        rc = read_sized(a);
        break;
      case reading::stage::chunk_line:
        rc = read_chunk_line(a);
        break;
      case reading::stage::chunk:
        rc = read_chunk(a);
        break;
      case reading::stage::until_end:
        rc = take_body(a, a->in.size() - a->at);
        if (rc == err::ok) return err::again;
        break;
      case reading::stage::done:
        return err::ok;
    }
    if (rc != err::ok) return rc;
  }
}

struct exchange {
  int fd = -1;
  const std::atomic<uint64_t>* until_us = nullptr;
  ~exchange() {
    if (fd >= 0) ::close(fd);
  }
};

err wait_for(const exchange& x, short events) noexcept {
  for (;;) {
    const uint64_t now = system_clock()->mono_us();
    const uint64_t until = x.until_us->load(std::memory_order_relaxed);
    if (now >= until) return err::timeout;
    pollfd p{x.fd, events, 0};
    const int n = ::poll(&p, 1, static_cast<int>((std::min(until - now, kLookUs) + 999) / 1000));
    if (n > 0) return err::ok;
    if (n < 0 && errno != EINTR) return err::io;
  }
}

// A server may answer and close before it has read everything: what it said is still to be read.
err send_all(const exchange& x, std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const err rc = wait_for(x, POLLOUT);
    if (rc != err::ok) return rc;
    const ssize_t n = ::send(x.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) return err::closed;
    if (n < 0 && errno != EAGAIN && errno != EINTR) return err::io;
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
  }
  return err::ok;
}

err receive(const exchange& x, reading* a) {
  char bytes[16 * 1024];
  for (;;) {
    err rc = wait_for(x, POLLIN);
    if (rc != err::ok) return rc;
    const ssize_t n = ::recv(x.fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) return n == 0 && a->in_stage == reading::stage::until_end ? err::ok : err::io;
    a->in.append(bytes, static_cast<size_t>(n));
    rc = read_answer(a);
    if (rc != err::again) return rc;
  }
}

err exchange_on(const exchange& x, std::string_view head, std::string_view body,
                size_t body_bytes_max, http_answer* out) {
  err rc = send_all(x, head);
  if (rc == err::ok) rc = send_all(x, body);
  if (rc != err::ok && rc != err::closed) return rc;
  reading a;
  a.body_bytes_max = body_bytes_max;
  rc = receive(x, &a);
  if (rc != err::ok) return rc;
  out->status = a.status;
  out->body = std::move(a.body);
  return err::ok;
}

}  // namespace

bool http_target_parse(std::string_view url, http_target* t) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return false;
  url.remove_prefix(kScheme.size());
  const size_t slash = std::min(url.find_first_of("/?#"), url.size());
  t->host = url.substr(0, slash);
  t->path = url.substr(slash, url.find('#') - slash);
  if (!t->path.starts_with('/')) t->path.insert(0, "/");
  if (t->path.find_first_of(" \r\n") != kNone) return false;
  std::string_view host = t->host;
  t->address.port = 80;
  const size_t colon = host.rfind(':');
  if (colon != kNone && (host.front() != '[' || host[colon - 1] == ']')) {
    const std::string_view port = host.substr(colon + 1);
    const auto [end, rc] = std::from_chars(port.data(), port.data() + port.size(), t->address.port);
    if (rc != std::errc() || end != port.data() + port.size()) return false;
    host = host.substr(0, colon);
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  t->address.host = host;
  return !host.empty() && host.find_first_not_of(kHostCharacters) == kNone;
}

err http_exchange(const http_target& t, std::string_view request, std::string_view body,
                  size_t body_bytes_max, const std::atomic<uint64_t>& until_us,
                  http_answer* out) noexcept {
  try {
    exchange x;
    x.until_us = &until_us;
    const err rc = dial(t.address, &x.fd);
    if (rc != err::ok) return rc == err::invalid ? rc : err::io;
    return exchange_on(x, request, body, body_bytes_max, out);
  } catch (const std::exception&) {
    return err::full;
  }
}

}  // namespace core
