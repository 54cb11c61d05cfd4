// Question: what does one delivered message cost the server? A small epoll client that keeps a
// window of publishes outstanding per channel, checks that every receiver sees every message in
// order, and leaves the counting of CPU time to bench/fanout.py. Left out: open-loop schedules and
// faults (that is parley-load's), TLS, more than one publisher a channel.
//
// It speaks to parleyd (`--mode parley`) or to bench/floor.cc (`--mode raw`), which sends frames of
// the same size.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "proto/token.h"

namespace {

struct options {
  int port = 0;
  bool is_raw = false;
  int channels = 1, receivers = 1000, window = 1, messages = 100, bytes = 128;
  std::string secret, channel = "live:bench";
  bool is_idle = false;  // connect and subscribe only
};

struct peer {
  int fd = -1;
  int channel = 0;
  bool is_publisher = false;
  bool is_upgraded = false, is_ready = false;
  uint32_t seen = 0;  // messages received in order
  std::string rest;   // bytes of an unfinished frame or response
};

struct channel_state {
  int publisher = -1;
  uint32_t sent = 0;
  std::vector<uint32_t> left;     // by message: receivers that still miss it
  std::vector<uint64_t> sent_ns;  // by message
};

options opt;
std::vector<peer> peers;
std::vector<channel_state> channels;
int epoll_fd;
uint32_t ready_count, finished;
uint64_t delivered, reads;
std::vector<uint32_t> latency_us;
char buffer[1 << 18];

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "load: %s (%s)\n", what, std::strerror(errno));
  std::exit(1);
}

uint64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return uint64_t(t.tv_sec) * 1'000'000'000 + uint64_t(t.tv_nsec);
}

void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes.remove_prefix(size_t(n));
    } else if (n < 0 && errno == EAGAIN) {
      pollfd p{fd, POLLOUT, 0};
      poll(&p, 1, 1000);
    } else {
      die("send");
    }
  }
}

// A masked text frame; the key is zero, so that the payload stays readable.
void append_frame(std::string* out, std::string_view payload) {
  out->push_back(char(0x81));
  if (payload.size() < 126) {
    out->push_back(char(0x80 | payload.size()));
  } else {
    out->push_back(char(0x80 | 126));
    out->push_back(char(payload.size() >> 8));
    out->push_back(char(payload.size()));
  }
  out->append(4, '\0');
  out->append(payload);
}

std::string channel_name(int index) {
  return opt.channel + std::to_string(index);
}

std::string message(int channel, uint32_t n) {
  char number[16];
  std::snprintf(number, sizeof number, "%08u", n);
  std::string data = std::string("{\"n\":\"") + number + "\",\"p\":\"";
  data.append(size_t(std::max(0, opt.bytes - int(data.size()) - 2)), 'x');
  data += "\"}";
  if (opt.is_raw) return data;
  return "{\"id\":" + std::to_string(n + 10) + ",\"publish\":{\"channel\":\"" +
         channel_name(channel) + "\",\"data\":" + data + "}}";
}

void publish(channel_state* c, int index) {
  std::string out;
  append_frame(&out, message(index, c->sent));
  c->left.push_back(uint32_t(opt.receivers));
  c->sent_ns.push_back(now_ns());
  c->sent += 1;
  send_all(peers[size_t(c->publisher)].fd, out);
}

void on_message(peer* p, std::string_view payload) {
  if (payload == "{}") {
    std::string pong;
    append_frame(&pong, "{}");
    send_all(p->fd, pong);
    return;
  }
  const size_t at = payload.find("\"n\":\"");
  if (at == std::string_view::npos) {
    if (payload.find("\"error\"") != std::string_view::npos) {
      std::fprintf(stderr, "load: %.*s\n", int(payload.size()), payload.data());
      std::exit(1);
    }
    const bool done =
        opt.is_raw ||
        payload.find(p->is_publisher ? "\"connect\"" : "\"subscribe\"") != std::string_view::npos;
    if (!p->is_ready && done) {
      p->is_ready = true;
      ready_count += 1;
    }
    return;
  }
  if (p->is_publisher) return;
  const uint32_t n = uint32_t(std::strtoul(payload.data() + at + 5, nullptr, 10));
  if (n != p->seen) {
    std::fprintf(stderr, "load: channel %d: message %u where %u was due\n", p->channel, n, p->seen);
    std::exit(1);
  }
  p->seen += 1;
  delivered += 1;
  channel_state& c = channels[size_t(p->channel)];
  latency_us.push_back(uint32_t((now_ns() - c.sent_ns[n]) / 1000));
  if (--c.left[n] > 0) return;
  if (c.sent < uint32_t(opt.messages)) {
    publish(&c, p->channel);
  } else if (n + 1 == uint32_t(opt.messages)) {
    finished += 1;
  }
}

void on_bytes(peer* p, std::string_view in) {
  std::string joined;
  if (!p->rest.empty()) {
    joined = std::move(p->rest);
    joined.append(in);
    in = joined;
    p->rest.clear();
  }
  if (!p->is_upgraded) {
    const size_t end = in.find("\r\n\r\n");
    if (end == std::string_view::npos) {
      p->rest.assign(in);
      return;
    }
    if (in.substr(9, 3) != "101") die("the upgrade was refused");
    p->is_upgraded = true;
    in.remove_prefix(end + 4);
  }
  while (in.size() >= 2) {
    size_t length = uint8_t(in[1]) & 127, head = 2;
    if (length == 126) {
      head = 4;
      if (in.size() < head) break;
      length = size_t(uint8_t(in[2])) << 8 | uint8_t(in[3]);
    } else if (length == 127) {
      die("a frame of more than 64 KiB");
    }
    if (in.size() < head + length) break;
    if ((in[0] & 15) == 8) die("the server closed a connection");
    on_message(p, in.substr(head, length));
    in.remove_prefix(head + length);
  }
  p->rest.assign(in);
  if (p->rest.empty()) p->rest.shrink_to_fit();
}

void turn(int wait_ms) {
  epoll_event events[512];
  const int n = epoll_wait(epoll_fd, events, 512, wait_ms);
  if (n == 0) die("nothing came for a long time");
  for (int i = 0; i < n; ++i) {
    peer* p = &peers[events[i].data.u32];
    const ssize_t got = recv(p->fd, buffer, sizeof buffer, 0);
    if (got <= 0) {
      if (got < 0 && errno == EAGAIN) continue;
      die("the server closed a connection");
    }
    reads += 1;
    on_bytes(p, {buffer, size_t(got)});
  }
}

void connect_peer(uint32_t index, int channel, bool is_publisher) {
  peer& p = peers[index];
  p.channel = channel;
  p.is_publisher = is_publisher;
  p.fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(uint16_t(opt.port));
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(p.fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) die("connect");
  fcntl(p.fd, F_SETFL, O_NONBLOCK);
  const int one = 1;
  setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  epoll_event e{EPOLLIN, {}};
  e.data.u32 = index;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p.fd, &e) != 0) die("epoll_ctl");

  std::string out;
  if (opt.is_raw) {
    p.is_upgraded = true;
    append_frame(&out, (is_publisher ? "P" : "S") + std::to_string(channel));
  } else {
    out =
        "GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: "
        "websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    char user[32];
    std::snprintf(user, sizeof user, "user%08u", index);  // 12 bytes
    std::string commands = "{\"id\":1,\"connect\":{\"token\":\"" +
                           proto::token_sign(opt.secret, user, "", "", time(nullptr), 24 * 3600) +
                           "\"}}";
    if (!is_publisher)
      commands += "\n{\"id\":2,\"subscribe\":{\"channel\":\"" + channel_name(channel) + "\"}}";
    append_frame(&out, commands);
  }
  send_all(p.fd, out);
}

void parse(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view key = argv[i];
    const char* value = argv[i + 1];
    if (key == "--port")
      opt.port = std::atoi(value);
    else if (key == "--mode")
      opt.is_raw = std::string_view(value) == "raw";
    else if (key == "--channels")
      opt.channels = std::atoi(value);
    else if (key == "--receivers")
      opt.receivers = std::atoi(value);
    else if (key == "--window")
      opt.window = std::atoi(value);
    else if (key == "--messages")
      opt.messages = std::atoi(value);
    else if (key == "--bytes")
      opt.bytes = std::atoi(value);
    else if (key == "--secret")
      opt.secret = value;
    else if (key == "--channel")
      opt.channel = value;
    else if (key == "--idle")
      opt.is_idle = std::atoi(value) != 0;
    else {
      std::fprintf(stderr, "load: unknown option %s\n", argv[i]);
      std::exit(2);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  parse(argc, argv);
  epoll_fd = epoll_create1(0);
  const uint32_t subscribers = uint32_t(opt.channels * opt.receivers);
  peers.resize(subscribers + (opt.is_idle ? 0 : uint32_t(opt.channels)));
  channels.resize(size_t(opt.channels));
  for (uint32_t i = 0; i < peers.size(); ++i) {
    const bool is_publisher = i >= subscribers;
    const int channel = is_publisher ? int(i - subscribers) : int(i) / opt.receivers;
    if (is_publisher) channels[size_t(channel)].publisher = int(i);
    connect_peer(i, channel, is_publisher);
    while (i + 1 - ready_count >= 100) turn(20'000);
  }
  while (ready_count < peers.size()) turn(20'000);

  // "ready" out, any line in: so that the caller can read the server's CPU time around the run
  // alone.
  std::puts("ready");
  std::fflush(stdout);
  char line[64];
  if (std::fgets(line, sizeof line, stdin) == nullptr || opt.is_idle) return 0;

  latency_us.reserve(size_t(opt.messages) * subscribers);
  const uint64_t reads_before = reads, start = now_ns();
  for (int c = 0; c < opt.channels; ++c)
    for (int w = 0; w < std::min(opt.window, opt.messages); ++w) publish(&channels[size_t(c)], c);
  while (finished < uint32_t(opt.channels)) turn(20'000);
  const uint64_t took = now_ns() - start;
  std::sort(latency_us.begin(), latency_us.end());
  const auto at = [](double q) {
    return latency_us.empty() ? 0u : latency_us[size_t(q * double(latency_us.size() - 1))];
  };
  std::printf("{\"delivered\":%llu,\"ns\":%llu,\"reads\":%llu,\"p50_us\":%u,\"p99_us\":%u}\n",
              (unsigned long long)delivered, (unsigned long long)took,
              (unsigned long long)(reads - reads_before), at(0.5), at(0.99));
  std::fflush(stdout);
  (void)!std::fgets(line, sizeof line, stdin);
}
