// Cutting a server's stream into frames, and the five injuries.
#include "loadgen/injure.h"

#include <algorithm>
#include <cstring>

#include "loadgen/random.h"
#include "proto/ws.h"
#include "proto/ws_client.h"

namespace loadgen {
namespace {

constexpr std::string_view kMarker = "{\"l\":\"";
constexpr std::string_view kPadMarker = "\",\"x\":\"";
constexpr std::string_view kReply =
    "{\"id\":";  // of the Centrifuge protocol: an answer, no delivery
constexpr size_t kStampDigits = 56, kRoomDigits = 16;
constexpr size_t kAnswerBytesMax = 64 * 1024;
constexpr uint8_t kText = 1, kBinary = 2, kClose = 8;

// One line of a frame. marker is npos when it is no load message.
struct part {
  std::string_view text;
  size_t marker = std::string_view::npos;
};

bool is_load(const part& p) noexcept {
  return p.marker != std::string_view::npos;
}

std::string_view room_of(const part& p) noexcept {
  return p.text.substr(p.marker + kMarker.size(), kRoomDigits);
}

bool is_digit(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

part part_of(std::string_view text) noexcept {
  part p{text};
  if (text.starts_with(kReply)) return p;
  const size_t at = text.find(kMarker);
  if (at == std::string_view::npos || text.find(kMarker, at + 1) != std::string_view::npos)
    return p;
  const std::string_view digits = text.substr(at + kMarker.size());
  if (digits.size() >= kStampDigits &&
      std::all_of(digits.begin(), digits.begin() + kStampDigits, is_digit))
    p.marker = at;
  return p;
}

std::vector<part> parts_of(std::string_view payload, bool is_whole) {
  std::vector<part> parts;
  if (payload.find(kMarker) == std::string_view::npos) return parts;
  while (!is_whole) {
    const size_t end = payload.find('\n');
    if (end == std::string_view::npos) break;
    parts.push_back(part_of(payload.substr(0, end)));
    payload.remove_prefix(end + 1);
  }
  parts.push_back(part_of(payload));
  return parts;
}

// A frame that is being taken, and the way out. Invariant: everything before `run` has gone out.
struct cutter {
  injury_plan* plan;
  injured_stream* s;
  injured_out out;
  void* user;
  const char* run = nullptr;  // what passes unchanged begins here

  void pass_until(const char* end) noexcept {
    if (end > run) out(user, {run, static_cast<size_t>(end - run)}, 0);
    run = end;
  }
  // In place of the frame `whole`: nothing, for now.
  void replace(std::string_view whole) noexcept {
    pass_until(whole.data());
    run = whole.data() + whole.size();
  }
};

void write_text(const cutter& c, std::string_view payload) noexcept {
  std::string frame(proto::kWsHeaderBytesMax, '\0');
  const char* head = proto::ws_header_before(frame.data() + frame.size(), payload.size());
  frame.erase(0, static_cast<size_t>(head - frame.data()));
  frame.append(payload);
  c.out(c.user, frame, 0);
}

void write_parts(const cutter& c, const std::vector<part>& parts) noexcept {
  if (std::all_of(parts.begin(), parts.end(), [](const part& p) { return p.text.empty(); })) return;
  std::string payload;
  for (const part& p : parts) payload.append(&p == parts.data() ? "" : "\n").append(p.text);
  write_text(c, payload);
}

void note(injury_plan* plan, const injured_stream& s, injury_kind k, uint64_t frame) {
  ++plan->report.made[static_cast<size_t>(k)];
  if (plan->report.places.size() < kInjuryPlacesMax)
    plan->report.places.push_back(std::string(injury_name(k)) + ": frame " + std::to_string(frame) +
                                  " of connection " + std::to_string(s.number));
}

// The injury of this frame, by chance or because there has been none of its kind; null: none.
const injury* decide(const injury_plan& plan, random_stream* r) noexcept {
  double u = random_unit(r);
  for (const injury& i : plan.kinds) {
    if (u < i.probability) return &i;
    u -= i.probability;
  }
  for (size_t n = 0; n < plan.kinds.size(); ++n) {
    const injury& i = plan.kinds[n];
    const bool is_begun = i.kind == injury_kind::swap && plan.swaps_begun > 0;
    if (plan.report.frames >= plan.forced_from[n] &&
        plan.report.made[static_cast<size_t>(i.kind)] == 0 && !is_begun)
      return &i;
  }
  return nullptr;
}

std::string corrupted(const part& p, random_stream* r) {
  std::string text(p.text);
  const size_t stamp = p.marker + kMarker.size(), behind = stamp + kStampDigits;
  size_t pad = 0;
  if (p.text.substr(behind).starts_with(kPadMarker)) {
    const size_t begin = behind + kPadMarker.size();
    pad = std::min(p.text.find('"', begin), p.text.size()) - begin;
  }
  const size_t pick = random_below(r, kStampDigits + pad);
  char* c =
      &text[pick < kStampDigits ? stamp + pick : behind + kPadMarker.size() + pick - kStampDigits];
  // A digit stays a digit, a letter of the padding a letter: the message stays JSON and a load
  // message.
  const char other = static_cast<char>('a' + random_below(r, 6));
  *c = *c != other ? other : other == 'f' ? 'a' : static_cast<char>(other + 1);
  return text;
}

struct taken_frame {
  std::string_view whole, head;
  std::vector<part> parts;
  bool is_whole;
};

// False: it cannot be made in this frame.
bool swap_in(cutter* c, taken_frame* f, size_t at) noexcept {
  injured_stream* s = c->s;
  const std::string_view room = room_of(f->parts[at]);
  for (size_t i = at + 1; i < f->parts.size(); ++i) {
    if (!is_load(f->parts[i]) || room_of(f->parts[i]) != room) continue;
    std::swap(f->parts[at], f->parts[i]);
    c->replace(f->whole);
    write_parts(*c, f->parts);
    return true;
  }
  if (s->held != nullptr) return false;
  c->replace(f->whole);
  s->held = std::make_unique<held_message>();
  s->held->bytes = f->is_whole ? f->whole : f->parts[at].text;
  s->held->room = room;
  s->held->frame = s->frames;
  s->held->is_whole = f->is_whole;
  ++c->plan->swaps_begun;
  f->parts.erase(f->parts.begin() + static_cast<ptrdiff_t>(at));
  if (!f->is_whole) write_parts(*c, f->parts);
  return false;  // when the next message comes it is
}

// Does this frame bring the message that the held one waits for? Then they change places.
bool swap_ends(cutter* c, taken_frame* f) noexcept {
  injured_stream* s = c->s;
  if (s->held == nullptr || s->held->is_whole != f->is_whole) return false;
  for (size_t i = 0; i < f->parts.size(); ++i) {
    if (!is_load(f->parts[i]) || room_of(f->parts[i]) != s->held->room) continue;
    const std::unique_ptr<held_message> held = std::move(s->held);
    --c->plan->swaps_begun;
    note(c->plan, *s, injury_kind::swap, held->frame);
    c->replace(f->whole);
    if (f->is_whole) {
      c->out(c->user, f->whole, 0);
      c->out(c->user, held->bytes, 0);
    } else {
      f->parts.insert(f->parts.begin() + static_cast<ptrdiff_t>(i) + 1, part{held->bytes});
      write_parts(*c, f->parts);
    }
    return true;
  }
  return false;
}

bool injure(cutter* c, taken_frame* f, const injury& how, size_t at, random_stream* r) noexcept {
  const auto place = f->parts.begin() + static_cast<ptrdiff_t>(at);
  switch (how.kind) {
    case injury_kind::swap:
      return swap_in(c, f, at);
    case injury_kind::delay:
      c->replace(f->whole);
      c->out(c->user, f->whole, how.delay_ms);
      return true;
    case injury_kind::drop:
      c->replace(f->whole);
      f->parts.erase(place);
      if (!f->is_whole) write_parts(*c, f->parts);
      return true;
    case injury_kind::duplicate:
      if (f->is_whole) {
        c->pass_until(f->whole.data() + f->whole.size());
        c->out(c->user, f->whole, 0);
      } else {
        c->replace(f->whole);
        f->parts.insert(place, *place);
        write_parts(*c, f->parts);
      }
      return true;
    case injury_kind::corrupt: {
      const std::string other = corrupted(*place, r);
      c->replace(f->whole);
      if (f->is_whole) {
        c->out(c->user, std::string(f->head).append(other), 0);
      } else {
        place->text = other;
        write_parts(*c, f->parts);
      }
      return true;
    }
    case injury_kind::kCount:
      break;
  }
  return false;
}

void take_data(cutter* c, taken_frame* f) noexcept {
  const auto loads =
      static_cast<uint64_t>(std::count_if(f->parts.begin(), f->parts.end(), is_load));
  if (loads == 0) return;
  ++c->s->frames;
  ++c->plan->report.frames;
  if (swap_ends(c, f)) return;
  random_stream r = random_from(c->s->key, c->s->frames);
  const injury* how = decide(*c->plan, &r);
  if (how == nullptr) return;
  uint64_t skip = random_below(&r, loads);
  size_t at = 0;
  while (!is_load(f->parts[at]) || skip-- > 0) ++at;
  if (injure(c, f, *how, at, &r)) note(c->plan, *c->s, how->kind, c->s->frames);
}

void take_frame(cutter* c, const proto::ws_frame_head& h, std::string_view whole) noexcept {
  if (h.opcode == kClose && c->s->held != nullptr) {
    c->pass_until(whole.data());
    (void)injured_release(c->plan, c->s, c->out, c->user);
  }
  if (!h.is_fin || (h.opcode != kText && h.opcode != kBinary)) return;  // fragments pass
  taken_frame f{whole, whole.substr(0, h.size), {}, h.opcode == kBinary || !c->plan->has_lines};
  f.parts = parts_of(whole.substr(h.size), f.is_whole);
  take_data(c, &f);
}

// Bytes are missing of the answer: false. Otherwise the stage has changed, and *in begins behind
// the answer when frames follow.
bool take_answer(injured_stream* s, std::string_view* in) noexcept {
  const size_t end = in->find("\r\n\r\n");
  if (end == std::string_view::npos && in->size() < kAnswerBytesMax) return false;
  s->at = end != std::string_view::npos && in->starts_with("HTTP/1.1 101")
              ? injured_stream::stage::frames
              : injured_stream::stage::raw;
  if (s->at == injured_stream::stage::frames) in->remove_prefix(end + 4);
  return true;
}

enum class step : uint8_t { taken, again, raw };

// The next frame of `in`, or what has come of a large one: *n bytes are done with.
step take_next(cutter* c, std::string_view in, size_t* n) noexcept {
  injured_stream* s = c->s;
  proto::ws_frame_head h;
  if (s->pass_left == 0) {
    const core::err rc = proto::ws_frame_head_read(in, &h);
    if (rc == core::err::again) return step::again;
    if (rc != core::err::ok) return step::raw;
    const bool is_large = h.payload > kInjuredFrameBytesMax;
    if (!is_large && in.size() - h.size < h.payload) return step::again;
    if (h.opcode < kClose) s->is_in_message = !h.is_fin;
    if (!is_large) {
      *n = h.size + h.payload;
      take_frame(c, h, in.substr(0, *n));
      return step::taken;
    }
    s->pass_left = h.size + h.payload;
  }
  *n = std::min<uint64_t>(s->pass_left, in.size());
  s->pass_left -= *n;
  return step::taken;
}

// With what came before: is the frame or the answer still not complete? Then nothing is copied but
// the new bytes.
bool is_still_short(const injured_stream& s) noexcept {
  if (s.at == injured_stream::stage::answer) return false;
  proto::ws_frame_head h;
  const core::err rc = proto::ws_frame_head_read(s.rest, &h);
  return rc == core::err::again || (rc == core::err::ok && h.payload <= kInjuredFrameBytesMax &&
                                    s.rest.size() - h.size < h.payload);
}

}  // namespace

injury_plan injury_plan_make(const std::vector<injury>& kinds, uint64_t seed) {
  injury_plan plan;
  plan.kinds = kinds;
  plan.seed = seed;
  random_stream r = random_from(seed, 0);
  for (size_t i = 0; i < kinds.size(); ++i)
    plan.forced_from.push_back(1 + random_below(&r, kFirstInjuryWithin));
  return plan;
}

injured_stream injured_stream_make(const injury_plan& plan, uint32_t number) {
  injured_stream s;
  s.number = number;
  random_stream r = random_from(plan.seed, number);
  s.key = random_next(&r);
  return s;
}

void injured_feed(injury_plan* plan, injured_stream* s, std::string_view in, injured_out out,
                  void* user) noexcept {
  std::string joined;
  if (!s->rest.empty()) {
    s->rest.append(in);
    if (is_still_short(*s)) return;
    joined = std::move(s->rest);
    s->rest = {};
    in = joined;
  }
  cutter c{plan, s, out, user, in.data()};
  if (s->at == injured_stream::stage::answer && !take_answer(s, &in)) {
    s->rest.assign(in);
    return;
  }
  while (!in.empty() && s->at == injured_stream::stage::frames) {
    size_t n = 0;
    const step what = take_next(&c, in, &n);
    if (what == step::again) break;
    if (what == step::raw) s->at = injured_stream::stage::raw;
    in.remove_prefix(n);
  }
  if (s->at == injured_stream::stage::raw) in.remove_prefix(in.size());
  c.pass_until(in.data());
  s->rest.assign(in);
}

bool injured_release(injury_plan* plan, injured_stream* s, injured_out out, void* user) noexcept {
  if (s->held == nullptr) return true;
  if (s->is_in_message || s->pass_left > 0) return false;
  const std::unique_ptr<held_message> held = std::move(s->held);
  --plan->swaps_begun;
  const cutter c{plan, s, out, user};
  if (held->is_whole) {
    out(user, held->bytes, 0);
  } else {
    write_text(c, held->bytes);
  }
  return true;
}

void injured_end(injury_plan* plan, injured_stream* s, injured_out out, void* user) noexcept {
  if (!injured_release(plan, s, out, user)) {
    s->held.reset();  // the server broke off within a message: nothing can follow it
    --plan->swaps_begun;
  }
  if (!s->rest.empty()) out(user, s->rest, 0);
  s->rest = {};
}

}  // namespace loadgen
