// The floor that parleyd is measured against: plain epoll, one send() per message and receiver, no
// protocol, no order, no limits, nothing kept. A client's first frame is "S<channel>" (receiver) or
// "P<channel>" (publisher); each later frame of a publisher is sent to its channel's receivers with
// a head of the size that parleyd's pushes have (--head), so that equal bytes go out.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {
struct peer {
  int channel = -1;
  bool is_publisher = false;
  std::string rest;
};
std::map<int, std::vector<int>> receivers;
std::vector<peer> peers;
size_t head_bytes = 60;
char buffer[1 << 18];

std::string frame(std::string_view payload) {
  std::string out(1, char(0x81));
  if (payload.size() < 126) {
    out.push_back(char(payload.size()));
  } else {
    out.push_back(char(126));
    out.push_back(char(payload.size() >> 8));
    out.push_back(char(payload.size()));
  }
  out.append(payload);
  return out;
}

void send_bytes(int fd, const std::string& bytes) {
  (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void on_message(int fd, std::string_view payload) {
  peer& p = peers[size_t(fd)];
  if (p.channel < 0) {
    p.channel = std::atoi(std::string(payload.substr(1)).c_str());
    p.is_publisher = payload[0] == 'P';
    if (!p.is_publisher) receivers[p.channel].push_back(fd);
    send_bytes(fd, frame("ok"));
    return;
  }
  const std::string out = frame(std::string(head_bytes, ' ') + std::string(payload));
  for (const int to : receivers[p.channel]) send_bytes(to, out);
  send_bytes(fd, frame("ack"));
}

void on_bytes(int fd, std::string_view in) {
  std::string& rest = peers[size_t(fd)].rest;
  std::string joined = std::move(rest);
  joined.append(in);
  in = joined;
  while (in.size() >= 6) {
    size_t length = uint8_t(in[1]) & 127, head = 6;
    if (length == 126) {
      head = 8;
      if (in.size() < head) break;
      length = size_t(uint8_t(in[2])) << 8 | uint8_t(in[3]);
    }
    if (in.size() < head + length) break;
    on_message(fd, in.substr(head, length));
    in.remove_prefix(head + length);
  }
  peers[size_t(fd)].rest.assign(in);
}
}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) head_bytes = size_t(std::atoi(argv[1]));
  peers.resize(1 << 16);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  if (bind(listener, reinterpret_cast<sockaddr*>(&a), size) != 0 || listen(listener, 4096) != 0)
    return 1;
  getsockname(listener, reinterpret_cast<sockaddr*>(&a), &size);
  std::printf("listening on http://127.0.0.1:%d\n", ntohs(a.sin_port));
  std::fflush(stdout);
  const int epoll_fd = epoll_create1(0);
  epoll_event e{EPOLLIN, {}};
  e.data.fd = listener;
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
  for (;;) {
    epoll_event events[512];
    const int n = epoll_wait(epoll_fd, events, 512, -1);
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        const int client = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        if (client < 0) continue;
        const int one = 1;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_event c{EPOLLIN, {}};
        c.data.fd = client;
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client, &c);
        continue;
      }
      const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) {
        close(fd);
        continue;
      }
      on_bytes(fd, {buffer, size_t(got)});
    }
  }
}
