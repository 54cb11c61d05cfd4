// One connection through the proxy: its two sockets, what waits for its time, who may read now. The
// proxy's loop only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "core/alarm.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/loop.h"
#include "loadgen/injure.h"
#include "loadgen/proxy.h"

namespace loadgen {

struct proxy_link;

struct proxy {
  proxy_options options;
  core::loop_group* loops = nullptr;
  core::loop* home = nullptr;
  core::listen_address address;
  core::listener* door = nullptr;
  core::alarm clock;  // of the earliest wake
  bool is_clock_open = false;
  uint64_t armed_us = UINT64_MAX;
  injury_plan plan;
  std::map<uint32_t, proxy_link*> links;             // by number
  std::set<std::pair<uint64_t, proxy_link*>> wakes;  // when a link's pump is due, one each at most
  uint64_t late_bytes = 0;                           // of all links
};

// Bytes of the server that leave later.
struct late_bytes {
  late_bytes* next;
  uint64_t due_us;
  core::frame* bytes;
};

struct proxy_end {
  core::conn c;  // first
  proxy_link* of;
};

// Late bytes leave in the order in which they came: none before its own time, none before those in
// front of it. Invariant: late_size is the sum of their bytes; wake_us is its place in the proxy's
// wakes, 0: none.
struct proxy_link {
  proxy* home = nullptr;
  proxy_end client{}, server{};
  injured_stream stream;
  late_bytes* late_first = nullptr;
  late_bytes* late_last = nullptr;
  uint64_t late_size = 0;
  uint64_t held_until_us = 0;  // of the stream's held message; 0: none
  uint64_t held_frame = 0;
  uint64_t wake_us = 0;
  uint32_t check_us = 0;  // how long to wait for a full socket
  uint8_t open_ends = 0;
  bool has_server = false;
  bool is_server_done = false;
};

// Takes the accepted fd and dials the server; the link frees itself when both its sockets have
// closed.
void proxy_link_open(proxy* p, int fd) noexcept;
// Closes both sockets; with a reset, as a cut cable or a crash makes it, or not.
void proxy_link_close(proxy_link* l, bool is_reset) noexcept;
// Sends what is due, ends what is over, lets the sockets read again, and asks for its next wake.
void proxy_link_pump(proxy_link* l) noexcept;

}  // namespace loadgen
