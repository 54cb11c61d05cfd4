// Writing the logs of a run: loops fill blocks, one thread writes them.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "loadgen/check_code.h"
#include "loadgen/check_log_file.h"

namespace loadgen {

struct check_log {
  check_logs* all = nullptr;
  uint32_t loop = 0;
  int fd = -1;
  uint64_t file_bytes = 0;  // whole blocks
  uint32_t blocks = 0;      // handed over
  uint32_t written = 0;     // the writing thread's; behind it, closing's
  bool is_cut = false;      // nothing more is taken; the loop's
  bool is_stuck = false;    // nothing more is written; the writing thread's
  std::string block;
  uint64_t block_since_us = 0;
  check_coder coder;
  uint64_t (*now_us)(const void* user) noexcept = nullptr;
  const void* user = nullptr;
};

struct check_logs {
  uint64_t bytes_max = kLogBytesMax;
  std::vector<std::unique_ptr<check_log>> loops;
  std::thread writer;
  std::mutex lock;  // of all below
  std::condition_variable wake;
  struct filled {
    check_log* whose;
    std::string bytes;
  };
  std::deque<filled> queue;
  std::vector<std::string> spare;  // blocks to fill again
  uint64_t queued_bytes = 0, taken_bytes = 0;
  bool is_ending = false;
  std::string cut_why;
};

namespace {

void put_u32(char* to, uint32_t n) noexcept {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<char>(n >> (8 * i));
}

// The head's place is kept free while a block is filled.
void begin_block(check_log* l) noexcept {
  l->block.assign(kLogHeadBytes, '\0');
  l->coder = {};
}

void seal(std::string* block, uint32_t number) noexcept {
  put_u32(block->data(), static_cast<uint32_t>(block->size() - kLogHeadBytes));
  put_u32(block->data() + 4, number);
  put_u32(block->data() + 8, log_crc(number, std::string_view(*block).substr(kLogHeadBytes)));
}

// What was written only in part is taken back, so that the file ends with a whole block.
bool write_block(check_log* l, std::string_view bytes, std::string* why) noexcept {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(l->fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      *why = std::string("the disk refused it: ") + std::strerror(errno);
      (void)!ftruncate(l->fd, static_cast<off_t>(l->file_bytes));
      (void)lseek(l->fd, static_cast<off_t>(l->file_bytes), SEEK_SET);
      return false;
    }
    done += static_cast<size_t>(n);
  }
  l->file_bytes += bytes.size();
  return true;
}

void cut(check_logs* logs, const std::string& why) noexcept {
  if (logs->cut_why.empty()) logs->cut_why = why;
}

void write_all(check_logs* logs) noexcept {
  std::unique_lock<std::mutex> hold(logs->lock);
  while (true) {
    logs->wake.wait(hold, [logs] { return logs->is_ending || !logs->queue.empty(); });
    if (logs->queue.empty()) return;
    check_logs::filled next = std::move(logs->queue.front());
    logs->queue.pop_front();
    logs->queued_bytes -= next.bytes.size();
    hold.unlock();
    std::string why;
    check_log* l = next.whose;
    l->is_stuck = l->is_stuck || !write_block(l, next.bytes, &why);
    if (!l->is_stuck) ++l->written;
    hold.lock();
    if (!why.empty()) cut(logs, why);
    logs->spare.push_back(std::move(next.bytes));
  }
}

void hand_over(check_log* l) noexcept {
  check_logs* all = l->all;
  const size_t size = l->block.size();
  seal(&l->block, l->blocks);
  {
    const std::lock_guard<std::mutex> hold(all->lock);
    if (all->taken_bytes + size > all->bytes_max)
      cut(all, "the logs have reached their " + std::to_string(all->bytes_max) + " bytes");
    if (all->queued_bytes + size > kLogQueueBytesMax) cut(all, "the disk did not keep up");
    if (!all->cut_why.empty()) {
      l->is_cut = true;
      return;
    }
    all->taken_bytes += size;
    all->queued_bytes += size;
    all->queue.push_back({l, std::move(l->block)});
    l->block = {};
    if (!all->spare.empty()) {
      l->block = std::move(all->spare.back());
      all->spare.pop_back();
    }
  }
  all->wake.notify_one();
  ++l->blocks;
  begin_block(l);
}

std::string header_of(const check_log_header& head, size_t rooms) {
  std::string out;
  number_encode(head.run, &out);
  number_encode(head.loop, &out);
  number_encode(head.loops, &out);
  number_encode(head.seed, &out);
  number_encode(rooms, &out);
  text_encode(head.scenario, kLogTextBytesMax, &out);
  text_encode(head.started, kLogTextBytesMax, &out);
  text_encode(head.tool_version, kLogTextBytesMax, &out);
  return out;
}

// At once, by the caller: nothing runs yet.
bool write_heads(check_log* l, const check_log_header& head, const std::vector<check_room>& rooms,
                 std::string* why) {
  if (!write_block(l, kLogMagic, why)) return false;
  const auto flush = [l, why] {
    seal(&l->block, l->blocks++);
    ++l->written;
    const bool is_written = write_block(l, l->block, why);
    begin_block(l);
    return is_written;
  };
  begin_block(l);
  l->block += header_of(head, rooms.size());
  for (const check_room& room : rooms) {
    check_record r;
    r.what = check_event::room;
    r.now_us = 0;
    r.is_so = room.has_offsets;
    r.message.publisher = room.publishers;
    r.channel = room.channel;
    check_encode(&l->coder, r, &l->block);
    if (l->block.size() >= kLogBlockBytes && !flush()) return false;
  }
  return flush();
}

bool open_file(const std::string& dir, check_log* l, std::string* why) {
  const std::string path = dir + "/" + log_file_name(l->loop);
  l->fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (l->fd < 0) *why = path + " cannot be written: " + std::strerror(errno);
  return l->fd >= 0;
}

void close_files(check_logs* logs) noexcept {
  for (const auto& l : logs->loops) {
    if (l->fd >= 0) (void)close(l->fd);
  }
  delete logs;
}

}  // namespace

uint32_t log_crc(uint32_t number, std::string_view bytes) noexcept {
  char head[4];
  put_u32(head, number);
  const uLong crc = crc32(0, reinterpret_cast<const Bytef*>(head), sizeof head);
  return static_cast<uint32_t>(
      crc32(crc, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

std::string log_file_name(uint32_t loop) {
  return "loop-" + std::to_string(loop) + ".log";
}

bool is_log_file(const std::string& name) noexcept {
  constexpr std::string_view kBegin = "loop-", kEnd = ".log";
  if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) return false;
  const std::string digits = name.substr(kBegin.size(), name.size() - kBegin.size() - kEnd.size());
  return !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
}

void check_logs_clear(const std::string& dir) noexcept {
  std::error_code ec;
  std::vector<std::filesystem::path> old;
  for (const auto& entry : std::filesystem::directory_iterator(dir, ec)) {
    if (is_log_file(entry.path().filename().string())) old.push_back(entry.path());
  }
  for (const std::filesystem::path& path : old) std::filesystem::remove(path, ec);
}

core::err check_logs_open(const std::string& dir, const check_log_header& head,
                          const std::vector<check_room>& rooms, uint64_t bytes_max,
                          check_logs** out, std::string* why) noexcept {
  std::error_code ec;
  std::filesystem::create_directories(dir, ec);
  if (ec) {
    *why = dir + " cannot be made: " + ec.message();
    return core::err::io;
  }
  check_logs_clear(dir);
  auto* logs = new check_logs;
  logs->bytes_max = bytes_max;
  for (uint32_t i = 0; i < head.loops; ++i) {
    auto& l = logs->loops.emplace_back(std::make_unique<check_log>());
    l->all = logs;
    l->loop = i;
    check_log_header own = head;
    own.loop = i;
    if (open_file(dir, l.get(), why) && write_heads(l.get(), own, rooms, why)) continue;
    close_files(logs);
    return core::err::io;
  }
  logs->writer = std::thread(write_all, logs);
  *out = logs;
  return core::err::ok;
}

check_log* check_logs_at(check_logs* logs, uint32_t loop) noexcept {
  return logs->loops[loop].get();
}

void check_log_clock(check_log* l, uint64_t (*now_us)(const void* user) noexcept,
                     const void* user) noexcept {
  l->now_us = now_us;
  l->user = user;
}

void check_log_add(check_log* l, const check_record& r) noexcept {
  if (l->is_cut) return;
  check_record timed = r;
  if (r.now_us == kNoTime) timed.now_us = l->now_us != nullptr ? l->now_us(l->user) : 0;
  if (l->block.size() == kLogHeadBytes) l->block_since_us = timed.now_us;
  check_encode(&l->coder, timed, &l->block);
  if (l->block.size() >= kLogBlockBytes || timed.now_us >= l->block_since_us + kLogBlockUs)
    hand_over(l);
}

void check_logs_close(check_logs* logs, std::string* why) noexcept {
  for (const auto& l : logs->loops) {
    if (!l->is_cut && l->block.size() > kLogHeadBytes) hand_over(l.get());
  }
  {
    const std::lock_guard<std::mutex> hold(logs->lock);
    logs->is_ending = true;
  }
  logs->wake.notify_one();
  logs->writer.join();
  *why = logs->cut_why;
  for (const auto& l : logs->loops) {
    if (logs->cut_why.empty()) break;
    check_record last;
    last.what = check_event::cut;
    last.now_us = 0;
    last.text = logs->cut_why;
    begin_block(l.get());
    check_encode(&l->coder, last, &l->block);
    seal(&l->block, l->written);
    std::string unused;
    (void)write_block(l.get(), l->block, &unused);
  }
  close_files(logs);
}

}  // namespace loadgen
