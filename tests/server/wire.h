// Raw sockets on loopback that speak HTTP and WebSocket to a node under test, well and badly.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

namespace wired {

using std::string;

inline constexpr int kWaitMs =
    10'000;  // for something that must come: beyond it the test has failed

struct wire {
  int fd = -1;
  string in;
  explicit wire(uint16_t port, int receive_bytes = 0) {
    fd = ::socket(AF_INET, SOCK_STREAM, 0);
    if (receive_bytes > 0)
      ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  }
  wire(const wire&) = delete;
  wire& operator=(const wire&) = delete;
  ~wire() { ::close(fd); }
  wire& send(const string& bytes) {
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t n = ::send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      at += static_cast<size_t>(n);
    }
    return *this;
  }
  wire& send_slowly(const string& bytes) {
    for (const char c : bytes) send(string(1, c));
    return *this;
  }
  // One read; false at the end or when nothing comes.
  bool more() {
    pollfd p{fd, POLLIN, 0};
    int is_there;
    // libuv from 1.45 on has an io_uring whose work may interrupt a system call of the thread that
    // made the loops.
    do {
      is_there = ::poll(&p, 1, kWaitMs);
    } while (is_there < 0 && errno == EINTR);
    if (is_there != 1) {
      ADD_FAILURE() << "nothing came; so far: " << in;
      return false;
    }
    char block[65536];
    ssize_t n;
    do {
      n = ::recv(fd, block, sizeof block, 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) return false;
    in.append(block, static_cast<size_t>(n));
    return true;
  }
  // Everything up to and with `marker`; "" when the end comes first.
  string until(const string& marker) {
    for (;;) {
      const size_t at = in.find(marker);
      if (at != string::npos) {
        const string out = in.substr(0, at + marker.size());
        in.erase(0, out.size());
        return out;
      }
      if (!more()) return {};
    }
  }
  string rest() {
    while (more()) {
    }
    return std::move(in);
  }
  // One answer: head and body.
  string answer() {
    string head = until("\r\n\r\n");
    const size_t at = head.find("Content-Length: ");
    const size_t n = at == string::npos ? 0 : std::stoul(head.substr(at + 16));
    while (in.size() < n && more()) {
    }
    head += in.substr(0, n);
    in.erase(0, n);
    return head;
  }
};

inline string frame(int first, const string& payload, bool is_masked = true) {
  string out(1, static_cast<char>(first));
  const char bit = is_masked ? '\x80' : '\0';
  const size_t n = payload.size();
  if (n < 126) {
    out.push_back(static_cast<char>(bit | static_cast<char>(n)));
  } else if (n < 65536) {
    out += {static_cast<char>(bit | 126), static_cast<char>(n >> 8), static_cast<char>(n)};
  } else {
    out.push_back(static_cast<char>(bit | 127));
    for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(n >> shift));
  }
  if (is_masked) out.append(4, '\0');  // a key that changes nothing
  return out + payload;
}
inline string text(const string& s) {
  return frame(0x81, s);
}
inline string close_frame(int code, const string& reason = "") {
  return string{'\x88', static_cast<char>(2 + reason.size()), static_cast<char>(code >> 8),
                static_cast<char>(code)} +
         reason;
}

inline string get(const string& path, const string& headers = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
}
inline string post(const string& path, const string& body, const string& headers = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}
inline const string kUpgrade =
    get("/connection/websocket",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
        "13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
inline const string kConnect = text(R"({"id":1,"connect":{}})");

}  // namespace wired
