// What the sink serves: one loop, connections, rooms, and the way of a publish to everybody in a
// room. The child's process only.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/conn.h"
#include "core/listener.h"
#include "core/loop.h"
#include "loadgen/sink.h"
#include "proto/command.h"
#include "proto/http.h"
#include "proto/reply.h"
#include "proto/upgrade.h"
#include "proto/ws.h"

namespace loadgen {
namespace {

constexpr uint32_t kQueueBytesMax = 64u << 20;  // of a connection: a tool that is slower is cut off
constexpr uint32_t kHeadBytesMax = 8192;
constexpr uint32_t kMessageBytesMax = 1u << 20;
constexpr uint32_t kNotAvailable = 108;
constexpr int kPortTries = 8;

struct visitor;

struct room {
  std::string channel;
  std::vector<visitor*> members;
};

struct house {
  core::loop* home = nullptr;
  core::listener* door = nullptr;
  core::listen_address address{"127.0.0.1", 0};
  proto::http_parser* http = proto::http_parser_new();
  proto::command_parser* commands = proto::command_parser_new();
  std::vector<proto::ws_reader*> readers;  // that nobody is using
  std::unordered_map<std::string, std::unique_ptr<room>> rooms;
  std::string text, key;
  int answer_fd = -1;
};

struct visitor {
  core::conn link;  // first: a conn* is a visitor*
  house* at = nullptr;
  std::string head;  // of the handshake, while it is incomplete
  bool is_upgraded = false;
  proto::ws_reader* reader = nullptr;  // while mid-message
  std::vector<room*> rooms;
};

visitor* visitor_of(core::conn* c) noexcept {
  return reinterpret_cast<visitor*>(c);
}

room* room_of(house* h, std::string_view channel) {
  h->key.assign(channel);
  std::unique_ptr<room>& r = h->rooms[h->key];
  if (r == nullptr) r = std::make_unique<room>(room{h->key, {}});
  return r.get();
}

void leave(visitor* v, room* r) noexcept {
  std::erase(v->rooms, r);
  std::erase(r->members, v);
}

// One frame for all, as a good server does.
void fan_out(house* h, const room& r, std::string_view data) noexcept {
  if (r.members.empty()) return;
  uint32_t at = 0, len = 0;
  h->text.clear();
  proto::push_publication(&h->text, r.channel, 0, data, {}, {}, &at, &len);
  core::frame* f = proto::ws_text_frame(h->text);
  const auto n = static_cast<uint32_t>(r.members.size());
  core::frame_ref(f, n);
  for (visitor* v : r.members) core::conn_send(&v->link, f);
  core::frame_unref(f);
}

void reply(visitor* v, const proto::command& c) noexcept {
  house* h = v->at;
  switch (c.kind) {
    case proto::command_kind::pong:
      return;
    case proto::command_kind::connect: {
      proto::connect_result r;
      r.client = "sink";
      r.version = "sink";
      proto::reply_connect(&h->text, c.id, r);
      return;
    }
    case proto::command_kind::subscribe: {
      room* r = room_of(h, c.sub.channel);
      if (std::find(v->rooms.begin(), v->rooms.end(), r) == v->rooms.end()) {
        v->rooms.push_back(r);
        r->members.push_back(v);
      }
      return proto::reply_subscribe(&h->text, c.id, {});
    }
    case proto::command_kind::unsubscribe:
      leave(v, room_of(h, c.channel));
      return proto::reply_empty(&h->text, c.id, "unsubscribe");
    case proto::command_kind::publish:
      fan_out(h, *room_of(h, c.channel), c.data);
      h->text.clear();
      return proto::reply_empty(&h->text, c.id, "publish");
    case proto::command_kind::ping:
      return proto::reply_empty(&h->text, c.id, "ping");
    default:
      return proto::reply_error(&h->text, c.id, kNotAvailable, "not available", false);
  }
}

void on_text(void* user, char* bytes, uint32_t len) noexcept {
  auto* v = static_cast<visitor*>(user);
  char* const end = bytes + len;
  for (char* line = bytes; line < end;) {
    char* stop = std::find(line, end, '\n');
    proto::command c;
    if (stop > line &&
        proto::command_parse(v->at->commands, line, static_cast<uint32_t>(stop - line), &c) !=
            core::err::ok)
      return core::conn_close(&v->link, core::end_reason::protocol_error);
    v->at->text.clear();
    if (stop > line) reply(v, c);
    if (!v->at->text.empty()) core::conn_send(&v->link, proto::ws_text_frame(v->at->text));
    line = stop + 1;
  }
}

void on_ping(void* user, std::string_view payload) noexcept {
  core::conn_send(&static_cast<visitor*>(user)->link, proto::ws_pong_frame(payload));
}
void on_pong(void*) noexcept {}
void on_bye(void* user, uint16_t, std::string_view) noexcept {
  core::conn_close(&static_cast<visitor*>(user)->link, core::end_reason::client_closed);
}
constexpr proto::ws_events kWsEvents = {on_text, on_ping, on_pong, on_bye};

// True: the handshake is done and was the last that came. A tool that greets before it is answered
// is none of ours.
bool shake_hands(visitor* v, std::string_view in) noexcept {
  house* h = v->at;
  v->head.append(in);
  if (v->head.find("\r\n\r\n") == std::string::npos) return v->head.size() < kHeadBytesMax;
  uint32_t used = 0;
  proto::http_parser_reset(h->http, kHeadBytesMax, 0);
  if (proto::http_feed(h->http, v->head.data(), static_cast<uint32_t>(v->head.size()), &used) !=
          core::err::ok ||
      used != v->head.size())
    return false;
  const proto::upgrade_answer answer =
      proto::upgrade_check(*proto::http_parser_request(h->http), {});
  v->head = {};
  v->is_upgraded = answer.status == 101;
  core::conn_send(&v->link, core::frame_copy(answer.bytes));
  return v->is_upgraded;
}

void on_data(core::conn* c, char* bytes, uint32_t len) noexcept {
  visitor* v = visitor_of(c);
  house* h = v->at;
  if (!v->is_upgraded) {
    if (!shake_hands(v, {bytes, len})) core::conn_close(c, core::end_reason::http_bad);
    return;
  }
  if (v->reader == nullptr) {
    v->reader = h->readers.empty() ? proto::ws_reader_new() : h->readers.back();
    if (!h->readers.empty()) h->readers.pop_back();
    proto::ws_reader_lend(v->reader, &kWsEvents, v, kMessageBytesMax);
  }
  if (proto::ws_feed(v->reader, bytes, len) != core::end_reason::none)
    return core::conn_close(c, core::end_reason::protocol_error);
  if (!proto::ws_reader_is_idle(v->reader)) return;
  proto::ws_reader_reset(v->reader);
  h->readers.push_back(v->reader);
  v->reader = nullptr;
}

void on_eof(core::conn* c) noexcept {
  core::conn_close(c, core::end_reason::client_closed);
}

void on_closed(core::conn* c, core::end_reason) noexcept {
  visitor* v = visitor_of(c);
  while (!v->rooms.empty()) leave(v, v->rooms.back());
  if (v->reader != nullptr) proto::ws_reader_free(v->reader);
  delete v;
}

constexpr core::conn_events kConnEvents = {on_data, on_eof, on_closed};

void on_accept(void* user, core::loop* home, int fd) noexcept {
  auto* v = new visitor;
  v->at = static_cast<house*>(user);
  if (core::conn_init(&v->link, home, fd, &kConnEvents, kQueueBytesMax) != core::err::ok) delete v;
}

void answer(int fd, std::string_view text) noexcept {
  while (write(fd, text.data(), text.size()) < 0 && errno == EINTR) {
  }
  close(fd);
}

void on_start(void* user, core::loop* home) noexcept {
  auto* h = static_cast<house*>(user);
  h->home = home;
  std::string why;
  core::err rc = core::err::io;
  for (int i = 0; i < kPortTries; ++i) {
    h->address = {"127.0.0.1", 0};
    rc = core::listener_probe(&h->address, &why);
    if (rc == core::err::ok)
      rc = core::listener_open(home, h->address, on_accept, h, &h->door, &why);
    if (rc != core::err::conflict) break;
  }
  std::string said(1, rc == core::err::ok ? '\1' : '\0');
  if (rc == core::err::ok) {
    said.append(reinterpret_cast<const char*>(&h->address.port), sizeof h->address.port);
  } else {
    said += why;
  }
  answer(h->answer_fd, said);
}

constexpr core::loop_group_events kLoopEvents = {on_start, [](void*, core::loop*) noexcept {}};

}  // namespace

void sink_serve(int answer_fd, int life_fd) noexcept {
  signal(SIGPIPE, SIG_IGN);
  house h;
  h.answer_fd = answer_fd;
  core::loop_group* group = nullptr;
  if (core::loop_group_create(1, core::loop_options{}, &group) != core::err::ok)
    return answer(answer_fd, std::string(1, '\0') + "its event loop cannot be made");
  core::loop_group_start(group, &kLoopEvents, &h);
  char end = 0;
  while (read(life_fd, &end, 1) < 0 && errno == EINTR) {
  }
  _exit(0);  // the loop still runs: nothing of it needs an orderly end
}

}  // namespace loadgen
