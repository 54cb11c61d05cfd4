// Writing is appending; parsing reads the flat object into a list of fields, from which each kind
// takes its own. What is left over is not known.
#include "store/ndjson.h"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "core/limits.h"
#include "store/page.h"

namespace store {
namespace {

constexpr const char* kFormat = "parley-history";
constexpr const char* kKinds = "header, channel, publication, key, user_channel, check or end";
constexpr char kHex[] = "0123456789abcdef";
constexpr int64_t kTimeMsMax = 253'402'300'799'999;  // the end of the year 9999
constexpr uint64_t kOffsetMax = INT64_MAX - 1;       // one more can be given

// --- writing

void put_text(std::string* out, const char* name, std::string_view v) {
  out->append(",\"").append(name).append("\":\"");
  for (const char c : v) {
    const auto b = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (b < 0x20) {
      out->append("\\u00").push_back(kHex[b >> 4]);
      out->push_back(kHex[b & 15]);
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

void put_number(std::string* out, const char* name, int64_t v) {
  out->append(",\"").append(name).append("\":").append(std::to_string(v));
}

void put_u64(std::string* out, const char* name, uint64_t v) {
  put_number(out, name, static_cast<int64_t>(std::min<uint64_t>(v, INT64_MAX)));
}

std::string hex_of(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) {
    hex.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
    hex.push_back(kHex[c & 15]);
  }
  return hex;
}

std::string crc_text(uint32_t crc) {
  std::string text(8, '0');
  for (size_t i = 8; i-- > 0; crc >>= 4) text[i] = kHex[crc & 15];
  return text;
}

void put_kind(std::string* out, const char* kind) {
  out->append("{\"kind\":\"").append(kind).push_back('"');
}

void put_key(const history_record& r, std::string* out) {
  put_text(out, "key", r.key_scope);
  put_text(out, "key_hash", hex_of(r.key_hash));
  put_number(out, "key_expires", r.key_expires_ms);
}

void put_publication(const history_record& r, std::string* out) {
  put_kind(out, "publication");
  put_text(out, "channel", r.channel);
  put_u64(out, "offset", r.pub.offset);
  put_number(out, "time", r.pub.time_ms);
  if (!r.user.empty()) put_text(out, "user", r.user);
  put_text(out, "data", r.pub.data);
  if (!r.pub.info.empty()) put_text(out, "info", r.pub.info);
  if (!r.pub.tags.empty()) put_text(out, "tags", r.pub.tags);
  if (r.refers > 0) put_u64(out, "refers", r.refers);
  if (r.is_deleted) out->append(",\"deleted\":true");
  if (!r.epoch.empty()) put_text(out, "epoch", r.epoch);
  if (!r.key_scope.empty()) put_key(r, out);
}

// --- parsing

struct field {
  enum class type : uint8_t { text, number, flag };
  std::string name;
  type is = type::text;
  std::string text;
  int64_t number = 0;
  bool flag = false;
};

// A text of the file, for a sentence about it.
std::string shown(std::string_view text) {
  constexpr size_t kShownMax = 64;
  std::string out =
      "\"" + std::string(text.substr(0, kShownMax)) + (text.size() > kShownMax ? "…" : "") + "\"";
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20) c = '?';
  return out;
}

// A cursor in the line. A function that returns false has said why.
struct reader {
  std::string_view line;
  size_t at = 0;
  std::string* why;

  bool fail(const std::string& what) {
    *why = what + " at byte " + std::to_string(at + 1);
    return false;
  }
  void skip() {
    while (at < line.size() && (line[at] == ' ' || line[at] == '\t' || line[at] == '\r')) ++at;
  }
  bool is_next(char c) {
    skip();
    if (at == line.size() || line[at] != c) return false;
    ++at;
    return true;
  }
  bool word(std::string_view w) {
    if (line.substr(at, w.size()) != w) return false;
    at += w.size();
    return true;
  }
};

bool read_hex4(reader* r, uint32_t* out) {
  if (r->line.size() - r->at < 4) return r->fail("four hexadecimal digits follow \\u");
  const char* from = r->line.data() + r->at;
  const auto [end, rc] = std::from_chars(from, from + 4, *out, 16);
  if (rc != std::errc() || end != from + 4) return r->fail("four hexadecimal digits follow \\u");
  r->at += 4;
  return true;
}

void put_utf8(uint32_t c, std::string* out) {
  const auto byte = [out](uint32_t b) { out->push_back(static_cast<char>(b)); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) {
    byte(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      byte(0xe0 | c >> 12);
    } else {
      byte(0xf0 | c >> 18);
      byte(0x80 | (c >> 12 & 0x3f));
    }
    byte(0x80 | (c >> 6 & 0x3f));
  }
  byte(0x80 | (c & 0x3f));
}

bool read_unicode(reader* r, std::string* out) {
  uint32_t c = 0, low = 0;
  if (!read_hex4(r, &c)) return false;
  if (c >= 0xd800 && c < 0xdc00) {
    if (!r->word("\\u")) return r->fail("half a surrogate pair");
    if (!read_hex4(r, &low)) return false;
    if (low < 0xdc00 || low >= 0xe000) return r->fail("half a surrogate pair");
    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
  } else if (c >= 0xdc00 && c < 0xe000) {
    return r->fail("half a surrogate pair");
  }
  put_utf8(c, out);
  return true;
}

bool read_escape(reader* r, std::string* out) {
  constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
  if (r->at == r->line.size()) return r->fail("the text does not end");
  const char c = r->line[r->at++];
  if (c == 'u') return read_unicode(r, out);
  const size_t i = kFrom.find(c);
  if (i == std::string_view::npos) return r->fail("JSON has no such escape");
  out->push_back(kTo[i]);
  return true;
}

// Behind the opening quote.
bool read_text(reader* r, std::string* out) {
  for (;;) {
    size_t end = r->at;
    while (end < r->line.size() && r->line[end] != '"' && r->line[end] != '\\' &&
           static_cast<unsigned char>(r->line[end]) >= 0x20)
      ++end;
    out->append(r->line.substr(r->at, end - r->at));
    r->at = end;
    if (end == r->line.size()) return r->fail("the text does not end");
    const char c = r->line[r->at++];
    if (c == '"') return true;
    if (c != '\\') return r->fail("a control character stands in a text");
    if (!read_escape(r, out)) return false;
  }
}

bool read_value(reader* r, field* f) {
  r->skip();
  if (r->is_next('"')) return read_text(r, &f->text);
  if (r->word("true") || r->word("false")) {
    f->is = field::type::flag;
    f->flag = r->line[r->at - 2] == 'u';
    return true;
  }
  f->is = field::type::number;
  const char* from = r->line.data() + r->at;
  const auto [end, rc] = std::from_chars(from, r->line.data() + r->line.size(), f->number);
  if (rc == std::errc::result_out_of_range) return r->fail("a number beyond 64 bits");
  if (rc != std::errc()) return r->fail("a value is a text, a whole number, true or false; not so");
  r->at += static_cast<size_t>(end - from);
  return true;
}

bool read_fields(reader* r, std::vector<field>* out) {
  if (!r->is_next('{')) return r->fail("a line is a JSON object; no '{'");
  if (r->is_next('}')) return true;
  do {
    field f;
    if (!r->is_next('"')) return r->fail("no name of a field");
    if (!read_text(r, &f.name)) return false;
    if (!r->is_next(':')) return r->fail("no ':'");
    if (!read_value(r, &f)) return false;
    for (const field& other : *out)
      if (other.name == f.name) return r->fail(shown(f.name) + " comes twice");
    out->push_back(std::move(f));
  } while (r->is_next(','));
  if (!r->is_next('}')) return r->fail("no ',' or '}'");
  r->skip();
  return r->at == r->line.size() || r->fail("something stands behind the object");
}

// Takes fields by name; the first problem stays.
struct taker {
  std::vector<field> fields;
  std::string problem;

  bool take(const char* name, field::type is, bool is_needed, field* out) {
    const auto it =
        std::find_if(fields.begin(), fields.end(), [&](const field& f) { return f.name == name; });
    if (it == fields.end()) {
      if (is_needed) fail(name, "is missing");
      return false;
    }
    constexpr const char* kTypes[] = {"a text", "a whole number", "true or false"};
    const bool is_good = it->is == is;
    if (!is_good) fail(name, std::string("must be ") + kTypes[static_cast<int>(is)]);
    *out = std::move(*it);
    fields.erase(it);
    return is_good;
  }
  void fail(const char* name, const std::string& what) {
    if (problem.empty()) problem = "\"" + std::string(name) + "\" " + what;
  }
  std::string text(const char* name, bool is_needed, size_t bytes_max = SIZE_MAX) {
    field f;
    if (!take(name, field::type::text, is_needed, &f)) return "";
    if (is_needed && f.text.empty()) fail(name, "is empty");
    if (f.text.size() > bytes_max)
      fail(name, "has " + std::to_string(f.text.size()) + " bytes; at most " +
                     std::to_string(bytes_max) + " are allowed");
    return std::move(f.text);
  }
  int64_t number(const char* name, bool is_needed, int64_t least, int64_t most) {
    field f;
    if (!take(name, field::type::number, is_needed, &f)) return 0;
    if (f.number >= least && f.number <= most) return f.number;
    fail(name, "is " + std::to_string(f.number) + "; from " + std::to_string(least) + " to " +
                   std::to_string(most) + " is allowed");
    return 0;
  }
  uint64_t u64(const char* name, bool is_needed, uint64_t least = 0, uint64_t most = INT64_MAX) {
    return static_cast<uint64_t>(
        number(name, is_needed, static_cast<int64_t>(least), static_cast<int64_t>(most)));
  }
  bool flag(const char* name) {
    field f;
    return take(name, field::type::flag, false, &f) && f.flag;
  }
  std::string hex(const char* name, bool is_needed) {
    const std::string digits = text(name, is_needed);
    std::string bytes;
    bool is_good = digits.size() % 2 == 0;
    for (size_t i = 0; is_good && i < digits.size(); i += 2) {
      uint8_t b = 0;
      const auto [end, rc] = std::from_chars(&digits[i], &digits[i] + 2, b, 16);
      is_good = rc == std::errc() && end == &digits[i] + 2;
      bytes.push_back(static_cast<char>(b));
    }
    if (!is_good) fail(name, "must be pairs of hexadecimal digits");
    return bytes;
  }
  uint32_t crc() {
    const std::string bytes = hex("crc32", true);
    if (bytes.size() != 4) fail("crc32", "must be eight hexadecimal digits");
    uint32_t v = 0;
    for (const char c : bytes) v = v << 8 | static_cast<unsigned char>(c);
    return v;
  }
  std::string epoch(bool is_needed) {
    std::string e = text("epoch", is_needed);
    if ((is_needed || !e.empty()) && !epoch_is_good(e))
      fail("epoch", "must be " + std::to_string(kEpochChars) + " characters of a-z and 0-9");
    return e;
  }
};

void take_key(taker* t, bool is_needed, history_record* r) {
  r->key_scope = t->text("key", is_needed);
  const bool has_key = !r->key_scope.empty();
  r->key_hash = t->hex("key_hash", has_key);
  r->key_expires_ms = t->number("key_expires", has_key, 0, kTimeMsMax);
  if (!has_key && !r->key_hash.empty()) t->fail("key", "is missing, but its hash is there");
}

void take_publication(taker* t, history_record* r) {
  r->kind = history_kind::publication;
  r->pub.offset = t->u64("offset", true, 1, kOffsetMax);
  r->pub.time_ms = t->number("time", true, 0, kTimeMsMax);
  r->user = t->text("user", false, core::kUserBytesMax);
  r->pub.data = t->text("data", true);
  r->pub.info = t->text("info", false);
  r->pub.tags = t->text("tags", false);
  r->refers = t->u64("refers", false, 1, kOffsetMax);
  r->is_deleted = t->flag("deleted");
  r->epoch = t->epoch(false);
  take_key(t, false, r);
  if (r->refers > 0 && r->refers >= r->pub.offset) t->fail("refers", "must be before \"offset\"");
  if (r->is_deleted && r->pub.data != "null") t->fail("data", "must be null of what is deleted");
}

void take_record(taker* t, const std::string& kind, history_record* r) {
  r->channel = t->text("channel", true, core::kChannelBytesMax);
  if (kind == "channel") {
    r->top = t->u64("top", true, 0, kOffsetMax);
    r->last_ms = t->number("time", false, 0, kTimeMsMax);
    r->keep.size_max = t->u64("size_max", false);
    r->keep.ttl_ms = t->u64("ttl_ms", false);
  } else if (kind == "publication") {
    take_publication(t, r);
  } else if (kind == "key") {
    r->kind = history_kind::key;
    r->pub.offset = t->u64("offset", true, 1, kOffsetMax);
    r->pub.time_ms = t->number("time", true, 0, kTimeMsMax);
    take_key(t, true, r);
  } else if (kind == "user_channel") {
    r->kind = history_kind::user_channel;
    r->user = t->text("user", true, core::kUserBytesMax);
    r->read_offset = t->u64("read", true);
  } else {
    t->problem = "the kind is " + shown(kind) + "; there are " + kKinds;
  }
}

void take_head(taker* t, ndjson_line* out) {
  out->kind = ndjson_kind::header;
  const std::string format = t->text("format", true);
  if (format != kFormat) t->fail("format", std::string("must be \"") + kFormat + "\"");
  const int64_t version = t->number("version", true, 1, INT64_MAX);
  if (version > kNdjsonVersion)
    t->fail("version", "is " + std::to_string(version) + ", of a newer parleyd; this one knows " +
                           std::to_string(kNdjsonVersion));
  out->head.epoch = t->epoch(true);
  out->head.shift = t->u64("shift", false, 0, kOffsetMax);
}

void take_end(taker* t, ndjson_line* out) {
  out->kind = ndjson_kind::end;
  out->counts.channels = t->u64("channels", true);
  out->counts.publications = t->u64("publications", true);
  out->counts.keys = t->u64("keys", true);
  out->counts.user_channels = t->u64("user_channels", true);
  out->crc = t->crc();
}

}  // namespace

void ndjson_put_head(const history_head& head, std::string* out) noexcept {
  put_kind(out, "header");
  put_text(out, "format", kFormat);
  put_number(out, "version", kNdjsonVersion);
  put_text(out, "epoch", head.epoch);
  if (head.shift > 0) put_u64(out, "shift", head.shift);
  out->append("}\n");
}

void ndjson_put(const history_record& r, std::string* out) noexcept {
  switch (r.kind) {
    case history_kind::channel:
      put_kind(out, "channel");
      put_text(out, "channel", r.channel);
      put_u64(out, "top", r.top);
      if (r.last_ms != 0) put_number(out, "time", r.last_ms);
      if (r.keep.size_max != retention::kForever) put_u64(out, "size_max", r.keep.size_max);
      if (r.keep.ttl_ms != retention::kForever) put_u64(out, "ttl_ms", r.keep.ttl_ms);
      break;
    case history_kind::publication:
      put_publication(r, out);
      break;
    case history_kind::key:
      put_kind(out, "key");
      put_text(out, "channel", r.channel);
      put_u64(out, "offset", r.pub.offset);
      put_number(out, "time", r.pub.time_ms);
      put_key(r, out);
      break;
    case history_kind::user_channel:
      put_kind(out, "user_channel");
      put_text(out, "user", r.user);
      put_text(out, "channel", r.channel);
      put_u64(out, "read", r.read_offset);
      break;
  }
  out->append("}\n");
}

void ndjson_put_check(uint32_t crc, std::string* out) noexcept {
  put_kind(out, "check");
  put_text(out, "crc32", crc_text(crc));
  out->append("}\n");
}

void ndjson_put_end(const history_counts& c, uint32_t crc, std::string* out) noexcept {
  put_kind(out, "end");
  put_u64(out, "channels", c.channels);
  put_u64(out, "publications", c.publications);
  put_u64(out, "keys", c.keys);
  put_u64(out, "user_channels", c.user_channels);
  put_text(out, "crc32", crc_text(crc));
  out->append("}\n");
}

core::err ndjson_parse(std::string_view line, ndjson_line* out, std::string* why) noexcept {
  *out = {};
  reader r{line, 0, why};
  taker t;
  if (!read_fields(&r, &t.fields)) return core::err::malformed;
  const std::string kind = t.text("kind", true);
  if (kind == "header") {
    take_head(&t, out);
  } else if (kind == "end") {
    take_end(&t, out);
  } else if (kind == "check") {
    out->kind = ndjson_kind::check;
    out->crc = t.crc();
  } else if (!kind.empty()) {
    take_record(&t, kind, &out->record);
  }
  if (t.problem.empty() && !t.fields.empty())
    t.problem = "a " + kind + " has no field " + shown(t.fields[0].name);
  *why = t.problem;
  return t.problem.empty() ? core::err::ok : core::err::malformed;
}

uint32_t ndjson_crc(uint32_t before, std::string_view bytes) noexcept {
  return static_cast<uint32_t>(
      crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

core::err ndjson_check(ndjson_order* o, const history_record& r, std::string* why) noexcept {
  const auto fail = [&](const std::string& what) {
    *why = what;
    return core::err::malformed;
  };
  if (r.kind == history_kind::user_channel) return core::err::ok;
  if (r.kind == history_kind::channel) {
    *o = {r.channel, r.top, 0};
    return core::err::ok;
  }
  if (r.channel != o->channel)
    return fail("the line of channel " + shown(r.channel) + " must come before what is in it");
  if (r.pub.offset > o->top)
    return fail("offset " + std::to_string(r.pub.offset) + " is above the channel's top, " +
                std::to_string(o->top));
  if (r.kind == history_kind::key) return core::err::ok;
  if (r.pub.offset <= o->last)
    return fail("offset " + std::to_string(r.pub.offset) + " does not follow " +
                std::to_string(o->last) + "; they rise within a channel");
  o->last = r.pub.offset;
  return core::err::ok;
}

}  // namespace store
