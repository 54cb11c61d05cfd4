// Reading one log file: block by block, each checked before a record of it is believed.
#include <cstdio>
#include <memory>

#include "loadgen/check_code.h"
#include "loadgen/check_log_file.h"
#include "loadgen/scenario.h"

namespace loadgen {

struct check_log_reader {
  std::string path;
  FILE* file = nullptr;
  uint64_t at = 0;        // where the next block begins
  uint32_t blocks = 0;    // read
  std::string block;      // its records
  std::string_view left;  // of it
  check_coder coder;
  check_log_header about;
  std::vector<check_room> rooms;
  std::string damage;
};

namespace {

uint32_t get_u32(const char* from) noexcept {
  uint32_t n = 0;
  for (int i = 0; i < 4; ++i) n |= uint32_t{static_cast<uint8_t>(from[i])} << (8 * i);
  return n;
}

// False: the end; *damage says so when it is no clean one.
bool next_block(check_log_reader* r) noexcept {
  char head[kLogHeadBytes];
  const std::string where = "the block at byte " + std::to_string(r->at);
  const size_t got = fread(head, 1, sizeof head, r->file);
  if (got == 0 && ferror(r->file) == 0) return false;
  if (got < sizeof head) {
    r->damage = where + " is cut off";
    return false;
  }
  const uint32_t size = get_u32(head), number = get_u32(head + 4);
  if (size == 0 || size > kLogPayloadBytesMax || number != r->blocks) {
    r->damage = where + " is damaged";
    return false;
  }
  r->block.resize(size);
  if (fread(r->block.data(), 1, size, r->file) < size) {
    r->damage = where + " is cut off";
    return false;
  }
  if (log_crc(number, r->block) != get_u32(head + 8)) {
    r->damage = where + " is damaged";
    return false;
  }
  r->at += kLogHeadBytes + size;
  ++r->blocks;
  r->left = r->block;
  r->coder = {};
  return true;
}

bool read_number(std::string_view* in, uint32_t* out) noexcept {
  uint64_t n = 0;
  const bool is_read = number_decode(in, &n) && n <= UINT32_MAX;
  *out = static_cast<uint32_t>(n);
  return is_read;
}

bool read_text(std::string_view* in, std::string* out) noexcept {
  std::string_view text;
  if (!text_decode(in, kLogTextBytesMax, &text)) return false;
  out->assign(text);
  return true;
}

bool read_header(check_log_reader* r, uint64_t* rooms) noexcept {
  check_log_header* h = &r->about;
  return read_number(&r->left, &h->run) && read_number(&r->left, &h->loop) &&
         read_number(&r->left, &h->loops) && number_decode(&r->left, &h->seed) &&
         number_decode(&r->left, rooms) && read_text(&r->left, &h->scenario) &&
         read_text(&r->left, &h->started) && read_text(&r->left, &h->tool_version) &&
         h->loop < h->loops && *rooms <= kConnectionsMax;
}

bool read_rooms(check_log_reader* r, uint64_t rooms) noexcept {
  uint64_t publishers = 0;
  check_record one;
  while (r->rooms.size() < rooms) {
    if (!check_log_next(r, &one) || one.what != check_event::room) return false;
    publishers += one.message.publisher;
    if (publishers > kMembershipsMax) return false;
    r->rooms.push_back({std::string(one.channel), one.message.publisher, one.is_so});
  }
  return true;
}

core::err read_begin(check_log_reader* r, std::string* why) noexcept {
  std::string magic(kLogMagic.size(), '\0');
  magic.resize(fread(magic.data(), 1, magic.size(), r->file));
  if (magic != kLogMagic) {
    *why = r->path + (magic.starts_with(kLogMagicAnyVersion)
                          ? " was written by another version of parley-load"
                          : " is no log of parley-load");
    return core::err::malformed;
  }
  r->at = magic.size();
  uint64_t rooms = 0;
  if (next_block(r) && read_header(r, &rooms) && read_rooms(r, rooms)) return core::err::ok;
  *why = r->path + ": its beginning cannot be read: " +
         (r->damage.empty() ? "the header is damaged or cut off" : r->damage);
  return core::err::malformed;
}

}  // namespace

core::err check_log_open(const std::string& path, check_log_reader** out,
                         std::string* why) noexcept {
  auto r = std::make_unique<check_log_reader>();
  r->path = path;
  r->file = fopen(path.c_str(), "rbe");
  if (r->file == nullptr) {
    *why = path + " cannot be opened";
    return core::err::not_found;
  }
  const core::err rc = read_begin(r.get(), why);
  if (rc != core::err::ok) {
    check_log_free(r.release());
    return rc;
  }
  *out = r.release();
  return core::err::ok;
}

const check_log_header& check_log_about(const check_log_reader* r) noexcept {
  return r->about;
}
const std::vector<check_room>& check_log_rooms(const check_log_reader* r) noexcept {
  return r->rooms;
}
const std::string& check_log_damage(const check_log_reader* r) noexcept {
  return r->damage;
}

bool check_log_next(check_log_reader* r, check_record* out) noexcept {
  if (!r->damage.empty()) return false;
  while (r->left.empty()) {
    if (!next_block(r)) return false;
  }
  if (check_decode(&r->coder, &r->left, out)) return true;
  r->damage =
      "the block before byte " + std::to_string(r->at) + " has a record that cannot be read";
  return false;
}

void check_log_free(check_log_reader* r) noexcept {
  if (r == nullptr) return;
  if (r->file != nullptr) (void)fclose(r->file);
  delete r;
}

}  // namespace loadgen
