// Every event of a run's logs as a line of text, all loops by time.
#include "loadgen/check_replay.h"

#include <algorithm>

namespace loadgen {
namespace {

struct member {
  uint32_t room, receiver;
};

struct dumped_loop {
  check_log_reader* log;
  std::vector<member> members;
  check_record next;
  bool has_next;
};

// Whom a record concerns. receiver UINT32_MAX: nobody in particular.
struct place {
  std::string channel;
  uint32_t receiver = UINT32_MAX;
};

std::string seconds_text(uint64_t us) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6f", static_cast<double>(us) / 1e6);
  return text;
}

std::string channel_at(const dumped_loop& l, uint32_t room) {
  const std::vector<check_room>& rooms = check_log_rooms(l.log);
  return room < rooms.size() ? rooms[room].channel : "?";
}

place place_of(const dumped_loop& l) {
  const check_record& r = l.next;
  switch (r.what) {
    case check_event::member:
      return {channel_at(l, r.message.room), r.receiver};
    case check_event::join:
    case check_event::leave:
    case check_event::unrecovered:
    case check_event::take:
    case check_event::corrupt:
      if (r.member >= l.members.size()) return {"?", UINT32_MAX};
      return {channel_at(l, l.members[r.member].room), l.members[r.member].receiver};
    case check_event::note:
      return {std::string(r.channel), r.receiver};
    case check_event::history:
      return {channel_at(l, r.member), UINT32_MAX};
    case check_event::refused:
    case check_event::acked:
    case check_event::repeated:
    case check_event::history_end:
      return {channel_at(l, r.message.room), UINT32_MAX};
    default:
      return {};
  }
}

std::string message_text(const check_record& r) {
  return " publisher " + std::to_string(r.message.publisher) + " number " +
         std::to_string(r.message.number);
}

std::string details_of(const dumped_loop& l, const place& at) {
  const check_record& r = l.next;
  const std::string offset = " offset " + std::to_string(r.offset);
  const std::string other = channel_at(l, r.message.room);
  switch (r.what) {
    case check_event::join:
    case check_event::history_end:
      return offset;
    case check_event::unrecovered:
      return offset + (r.is_so ? " allowed" : " not allowed");
    case check_event::take:
    case check_event::history:
      return offset + message_text(r) + " after " +
             seconds_text(r.now_us - std::min(r.now_us, r.message.due_us)) +
             (other == at.channel ? "" : ", which is of " + other);
    case check_event::corrupt:
      return offset + ": " + std::string(r.text);
    case check_event::note:
      return offset + " " + violation_name(r.kind) + ": " + std::string(r.text);
    case check_event::refused:
      return message_text(r);
    case check_event::acked:
    case check_event::repeated:
      return offset + message_text(r) + (r.is_so ? " duplicate" : "");
    case check_event::cut:
      return ": " + std::string(r.text);
    default:
      return "";
  }
}

void dump_next(const replay_options& o, dumped_loop* l, std::FILE* out) {
  const check_record& r = l->next;
  if (r.what == check_event::member) l->members.push_back({r.message.room, r.receiver});
  const place at = place_of(*l);
  if (!replay_is_wanted(o, at.channel, at.receiver)) return;
  std::string line = seconds_text(r.now_us) + " loop " +
                     std::to_string(check_log_about(l->log).loop) + " " + check_event_name(r.what);
  if (!at.channel.empty()) line += " " + at.channel;
  if (at.receiver != UINT32_MAX) line += " receiver " + std::to_string(at.receiver);
  std::fprintf(out, "%s%s\n", line.c_str(), details_of(*l, at).c_str());
}

}  // namespace

bool replay_is_wanted(const replay_options& o, std::string_view channel, uint32_t receiver) {
  return (o.channel.empty() || o.channel == channel) && (!o.has_receiver || o.receiver == receiver);
}

int replay_dump(const replay_options& o, const std::vector<check_log_reader*>& logs,
                std::FILE* out) {
  std::vector<dumped_loop> loops;
  for (check_log_reader* log : logs) loops.push_back({log, {}, {}, false});
  for (dumped_loop& l : loops) l.has_next = check_log_next(l.log, &l.next);
  while (true) {
    dumped_loop* first = nullptr;
    for (dumped_loop& l : loops) {
      if (l.has_next && (first == nullptr || l.next.now_us < first->next.now_us)) first = &l;
    }
    if (first == nullptr) break;
    dump_next(o, first, out);
    first->has_next = check_log_next(first->log, &first->next);
  }
  int code = 0;
  for (const dumped_loop& l : loops) {
    if (check_log_damage(l.log).empty()) continue;
    std::fprintf(out, "loop %u: %s\n", check_log_about(l.log).loop,
                 check_log_damage(l.log).c_str());
    code = 3;
  }
  return code;
}

}  // namespace loadgen
