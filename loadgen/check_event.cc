// Events by name, and a checker's calls made again from records.
#include "loadgen/check_event.h"

#include <iterator>

#include "loadgen/check_impl.h"

namespace loadgen {
namespace {

constexpr uint32_t kNumberMax =
    100'000'000;  // a publisher's messages: tables grow up to the number

bool is_known(const checker* c, const check_record& r) noexcept {
  const auto has_room = [c, &r] { return r.message.room < c->rooms.size(); };
  const auto has_publisher = [c, &r, has_room] {
    return has_room() && r.message.publisher < c->rooms[r.message.room].publishers.size();
  };
  switch (r.what) {
    case check_event::member:
    case check_event::history_end:
      return has_room();
    case check_event::join:
    case check_event::leave:
    case check_event::unrecovered:
    case check_event::corrupt:
    case check_event::take:
      return r.member < c->members.size() && r.message.number < kNumberMax;
    case check_event::history:
      return r.member < c->rooms.size() && r.message.number < kNumberMax;
    case check_event::refused:
    case check_event::acked:
    case check_event::repeated:
      return has_publisher() && r.message.number < kNumberMax;
    default:
      return true;
  }
}

}  // namespace

const char* check_event_name(check_event e) noexcept {
  static constexpr const char* kNames[] = {
      "room",    "member",      "start",  "join",    "leave",   "unrecovered",
      "take",    "corrupt",     "note",   "refused", "acked",   "repeated",
      "history", "history_end", "finish", "cut",     "may_lose"};
  static_assert(std::size(kNames) == static_cast<size_t>(check_event::kCount));
  return e < check_event::kCount ? kNames[static_cast<size_t>(e)] : "?";
}

bool checker_apply(checker* c, const check_record& r) noexcept {
  if (!is_known(c, r)) return false;
  const stamp& m = r.message;
  switch (r.what) {
    case check_event::member:
      (void)checker_member(c, m.room, r.receiver);
      return true;
    case check_event::start:
      checker_start(c);
      return true;
    case check_event::join:
      checker_join(c, r.member, r.offset);
      return true;
    case check_event::leave:
      checker_leave(c, r.member);
      return true;
    case check_event::unrecovered:
      checker_unrecovered(c, r.member, r.offset, r.now_us, r.is_so);
      return true;
    case check_event::take:
      (void)checker_take(c, r.member, r.offset, m, r.now_us);
      return true;
    case check_event::corrupt:
      checker_corrupt(c, r.member, r.offset, r.now_us, std::string(r.text).c_str());
      return true;
    case check_event::note:
      checker_note(c, r.kind, std::string(r.channel), r.offset, r.receiver, r.now_us,
                   std::string(r.text));
      return true;
    case check_event::refused:
      checker_refused(c, m.room, m.publisher, m.number);
      return true;
    case check_event::acked:
      checker_acked(c, m.room, m.publisher, m.number, r.offset, r.now_us);
      return true;
    case check_event::repeated:
      checker_repeated(c, m.room, m.publisher, m.number, r.offset, r.is_so, r.now_us);
      return true;
    case check_event::history:
      checker_history(c, r.member, r.offset, m, r.now_us);
      return true;
    case check_event::history_end:
      checker_history_end(c, m.room, r.offset);
      return true;
    case check_event::may_lose:
      checker_may_lose(c);
      return true;
    case check_event::room:
    case check_event::finish:
    case check_event::cut:
    case check_event::kCount:
      break;
  }
  return true;
}

}  // namespace loadgen
