// The store in an SQLite file: one writer thread that commits in groups, reader threads, and the
// queues between them and the loops. WAL lets the readers go on while the writer commits.
//
//   loop --write--> queue --> writer: BEGIN, all that waits, COMMIT --one message per loop-->
//   callbacks loop --read---> queue --> any reader -----------------------------one message per
//   answer-> callback
//
// Under load a transaction takes as long as its fsync, and everything that comes meanwhile shares
// the next one. A writer that sleeps is woken when the loop has read all its sockets, so that what
// came together is committed together.
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include <sys/stat.h>

#include "core/log.h"
#include "store/file_lock.h"
#include "store/request.h"
#include "store/sqlite_reader.h"
#include "store/sqlite_schema.h"
#include "store/sqlite_writer.h"
#include "store/store.h"

namespace store {
namespace {

// A transaction ends at this many bytes of publications: with the count it bounds how long one
// takes and how much is lost from the page cache when it fails.
constexpr uint64_t kCommitBytesMax = 4ull << 20;
// Checkpoints run on the writer's thread, after the answers of a commit have gone out, so they
// delay only the commit after. A passive one at 1024 pages (4 MiB) copies about that much and syncs
// the database file once: as long as a few commits. On a thread of its own it would not stall the
// writer at all, but under steady load it would never catch up with the log's end, and the log
// would never start again from its beginning.
constexpr uint32_t kCheckpointPages = 1024;
// A reader in the log keeps it from starting again. Reads are short, so this is rare; each 64 MiB
// the writer waits for them, a moment only: somebody else's reader (a backup) may take minutes.
constexpr uint32_t kCheckpointWaitPages = 16384;
// Requests of a batch that may meet damage before all of it fails: each is a transaction for
// nothing.
constexpr uint32_t kLeftOutMax = 8;
// While it cannot commit, the writer tries every second, so that the node becomes ready again
// without traffic.
constexpr uint32_t kProbeMs = 1000;

// Runs behind the sockets of the loop's iteration.
struct wake_up : core::msg {
  std::shared_ptr<std::condition_variable> whom;
};

void run_wake_up(core::loop*, core::msg* m) noexcept {
  auto* w = static_cast<wake_up*>(m);
  w->whom->notify_one();
  delete w;
}

// Whoever calls from elsewhere, or finds the mailbox full (then drop() runs), wakes it now.
void wake_later(core::loop* home, const std::shared_ptr<std::condition_variable>& whom) noexcept {
  if (core::loop_current() != home) return whom->notify_one();
  auto* w = new wake_up;
  w->whom = whom;
  w->run = run_wake_up;
  w->drop = [](core::msg* m) noexcept { run_wake_up(nullptr, m); };
  (void)core::loop_post(home, w);
}

class sqlite_store final : public store {
 public:
  explicit sqlite_store(const sqlite_options& o) : options_(o) {}
  ~sqlite_store() override { close(); }

  core::err open(std::string* why) noexcept;

  core::err append(core::loop* home, append_request&& r, append_cb cb,
                   void* user) noexcept override {
    const uint64_t bytes = append_bytes(r);
    return push_write(home, user, nullptr, true, bytes, [&] {
      return append_write{std::move(r), {}, cb};
    });
  }
  core::err remove_history(core::loop* home, std::string channel, done_cb cb,
                           void* user) noexcept override {
    const uint64_t bytes = channel.size();
    return push_write(home, user, cb, cb != nullptr, bytes, [&] {
      return remove_history_write{std::move(channel), 0, false};
    });
  }
  core::err add_user_channel(core::loop* home, std::vector<std::string> users, std::string channel,
                             done_cb cb, void* user) noexcept override {
    uint64_t bytes = channel.size();
    for (const std::string& u : users) bytes += sizeof u + u.size();
    return push_write(home, user, cb, cb != nullptr, bytes, [&] {
      return add_user_channel_write{std::move(users), std::move(channel)};
    });
  }
  core::err remove_user_channel(core::loop* home, std::string user_id, std::string channel,
                                done_cb cb, void* user) noexcept override {
    const uint64_t bytes = user_id.size() + channel.size();
    return push_write(home, user, cb, cb != nullptr, bytes, [&] {
      return remove_user_channel_write{std::move(user_id), std::move(channel)};
    });
  }
  core::err mark_read(core::loop* home, std::string user_id, std::string channel, uint64_t offset,
                      done_cb cb, void* user) noexcept override {
    const uint64_t bytes = user_id.size() + channel.size();
    return push_write(home, user, cb, cb != nullptr, bytes, [&] {
      return mark_read_write{std::move(user_id), std::move(channel), offset};
    });
  }

  core::err read(core::loop* home, read_request&& r, read_cb cb, void* user) noexcept override {
    return push_read(home, user, [&] { return page_read{std::move(r), {}, cb}; });
  }
  core::err user_channels(core::loop* home, std::string user_id, uint32_t limit,
                          user_channels_cb cb, void* user) noexcept override {
    return push_read(home, user, [&] {
      return user_channels_read{std::move(user_id), limit, {}, cb};
    });
  }

  store_stats stats() noexcept override;
  void close() noexcept override;

 private:
  template <typename Fn>
  core::err push_write(core::loop* home, void* user, done_cb done, bool has_slot, uint64_t bytes,
                       Fn make) noexcept;
  template <typename Fn>
  core::err push_read(core::loop* home, void* user, Fn make) noexcept;
  bool take_batch(write_list* batch) noexcept;
  bool try_batch(write_list* batch, write** failed) noexcept;
  void run_batch(write_list* batch) noexcept;
  void keep_removals(write_list* batch) noexcept;
  bool apply(write* w) noexcept;
  void answer(write_list* batch, core::err failure) noexcept;
  void checkpoint() noexcept;
  void housekeeping() noexcept;
  void measure() noexcept;
  uint64_t mono_ms() const noexcept { return core::system_clock()->mono_us() / 1000; }
  void write_loop() noexcept;
  void read_loop(reader* r) noexcept;

  const sqlite_options options_;
  int lock_fd_ = -1;
  bool is_open_ = false;

  writer writer_;
  std::vector<std::unique_ptr<reader>> readers_;
  std::thread write_thread_;
  std::vector<std::thread> read_threads_;
  // Writer's thread.
  uint64_t sweep_due_ms_ = 0;
  uint64_t probe_due_ms_ = 0;
  write_list removals_;                                        // that have begun and go on
  uint32_t remove_rows_ = 0;                                   // left to them in this transaction
  uint32_t checkpoint_pages_ = 0, checkpoint_wait_pages_ = 0;  // of the log when last tried

  // Held for a push or a pop, never while the file is touched.
  std::mutex write_lock_;
  const std::shared_ptr<std::condition_variable> write_wake_ =
      std::make_shared<std::condition_variable>();  // shared with wake-ups that outlive the store
  write_list writes_;
  bool is_idle_ = false;         // the writer sleeps, and nobody is about to wake it
  uint32_t writes_waiting_ = 0;  // queued and in the current transaction
  uint64_t write_bytes_ = 0;
  bool is_closed_ = false;

  const std::shared_ptr<read_room> room_ = std::make_shared<read_room>();  // its lock: all below
  read_op* reads_first_ = nullptr;
  read_op* reads_last_ = nullptr;
  uint32_t reads_waiting_ = 0;
  bool is_read_closed_ = false;

  std::atomic<uint64_t> commits_{0}, committed_{0}, failures_{0}, bytes_{0};
  std::atomic<bool> is_ready_{false};
};

core::err sqlite_store::open(std::string* why) noexcept {
  struct stat st;
  if (options_.path.empty() || (stat(options_.path.c_str(), &st) == 0 && S_ISDIR(st.st_mode))) {
    *why = "\"" + options_.path + "\" is not the name of a file";
    return core::err::io;
  }
  core::err rc = file_lock_take(options_.path, &lock_fd_, why);
  if (rc != core::err::ok) return rc;
  std::string problem;
  rc = db_open(options_.path, db_mode::read_write, &writer_.file, &problem);
  if (rc == core::err::ok) rc = schema_open(&writer_.file, &writer_.epoch, &problem);
  bool is_good = rc == core::err::ok;
  if (is_good) is_good = schema_is_whole(&writer_.file, &problem);
  if (is_good) {
    int64_t page_bytes = 4096;
    is_good = db_exec(&writer_.file, options_.is_full_sync ? "PRAGMA synchronous = FULL"
                                                           : "PRAGMA synchronous = NORMAL") &&
              db_int(&writer_.file, "PRAGMA page_size", &page_bytes);
    const uint64_t pages = options_.bytes_max / static_cast<uint64_t>(page_bytes);
    const std::string sql =
        "PRAGMA max_page_count = " + std::to_string(std::max<uint64_t>(pages, 1));
    is_good = is_good && (options_.bytes_max == 0 || db_exec(&writer_.file, sql.c_str())) &&
              writer_prepare(&writer_);
    if (!is_good) problem = "cannot be used: " + db_error(&writer_.file);
  }
  for (uint32_t i = 0; is_good && i < std::max(options_.readers, 1u); ++i) {
    readers_.push_back(std::make_unique<reader>());
    readers_.back()->epoch = writer_.epoch;
    is_good = db_open(options_.path, db_mode::read_only, &readers_.back()->file, &problem) ==
                  core::err::ok &&
              reader_prepare(readers_.back().get());
    if (!is_good && problem.empty())
      problem = "cannot be used: " + db_error(&readers_.back()->file);
  }
  if (!is_good) {
    for (auto& r : readers_) reader_close(r.get());
    writer_close(&writer_);
    file_lock_release(lock_fd_);
    *why = options_.path + " " + problem;
    return core::err::io;
  }
  measure();
  is_open_ = true;
  is_ready_.store(true, std::memory_order_relaxed);
  write_thread_ = std::thread([this] { write_loop(); });
  for (auto& r : readers_) read_threads_.emplace_back([this, each = r.get()] { read_loop(each); });
  return core::err::ok;
}

template <typename Fn>
core::err sqlite_store::push_write(core::loop* home, void* user, done_cb done, bool has_slot,
                                   uint64_t bytes, Fn make) noexcept {
  if (has_slot && !core::loop_reserve(home, 1)) return core::err::full;
  auto* w = new write;
  w->home = home;
  w->user = user;
  w->done = done;
  w->has_slot = has_slot;
  w->bytes = bytes + kRequestBytes;
  // A herd that returns adds a user's channel with each subscribe: what nobody waits for leaves
  // half of the queue to messages.
  const uint32_t waiting_max = has_slot ? options_.queue_max : options_.queue_max / 2;
  core::err rc = core::err::ok;
  bool is_waking = false;
  {
    const std::lock_guard<std::mutex> held(write_lock_);
    if (is_closed_)
      rc = core::err::closed;
    else if (writes_waiting_ >= waiting_max || write_bytes_ + w->bytes > options_.queue_bytes_max)
      rc = core::err::full;
    if (rc == core::err::ok) {
      w->what = make();  // moves only
      writes_.push(w);
      ++writes_waiting_;
      write_bytes_ += w->bytes;
      is_waking = std::exchange(is_idle_, false);
    }
  }
  if (rc == core::err::ok) {
    if (is_waking) wake_later(home, write_wake_);
    return rc;
  }
  delete w;
  if (has_slot) core::loop_unreserve(home, 1);
  return rc;
}

template <typename Fn>
core::err sqlite_store::push_read(core::loop* home, void* user, Fn make) noexcept {
  if (!core::loop_reserve(home, 1)) return core::err::full;
  auto* r = new read_op;
  r->home = home;
  r->user = user;
  r->room = room_;
  r->run = run_read_answer;
  r->drop = [](core::msg* m) noexcept { delete static_cast<read_op*>(m); };
  core::err rc = core::err::ok;
  {
    const std::lock_guard<std::mutex> held(room_->lock);
    if (is_read_closed_)
      rc = core::err::closed;
    else if (reads_waiting_ >= options_.queue_max)
      rc = core::err::full;
    if (rc == core::err::ok) {
      r->what = make();
      (reads_last_ == nullptr ? reads_first_ : reads_last_->next_read) = r;
      reads_last_ = r;
      ++reads_waiting_;
    }
  }
  if (rc == core::err::ok) {
    room_->wake.notify_one();
    return rc;
  }
  delete r;
  core::loop_unreserve(home, 1);
  return rc;
}

// Waits for requests, or until something else is due (then the batch is empty). False: closed, and
// nothing is left.
bool sqlite_store::take_batch(write_list* batch) noexcept {
  if (removals_.count > 0) batch->push(removals_.pop());
  std::unique_lock<std::mutex> held(write_lock_);
  const uint64_t now = mono_ms();
  uint64_t due = batch->count > 0 ? now : sweep_due_ms_;
  if (!is_ready_.load(std::memory_order_relaxed)) due = std::min(due, probe_due_ms_);
  if (due > now) {
    is_idle_ = writes_.count == 0;
    write_wake_->wait_for(held, std::chrono::milliseconds(due - now),
                          [&] { return writes_.count > 0 || is_closed_; });
    is_idle_ = false;
  }
  if (batch->count == 0 && writes_.count == 0) return !is_closed_;
  uint64_t bytes = 0;
  while (writes_.count > 0 && batch->count < options_.commit_count_max && bytes < kCommitBytesMax) {
    bytes += writes_.first->bytes;
    batch->push(writes_.pop());
  }
  return true;
}

bool sqlite_store::apply(write* w) noexcept {
  if (auto* a = std::get_if<append_write>(&w->what))
    return writer_append(&writer_, &a->request, &a->result);
  if (auto* r = std::get_if<remove_history_write>(&w->what))
    return writer_remove_history(&writer_, r->channel, &r->up_to, &remove_rows_, &r->is_done);
  if (auto* u = std::get_if<add_user_channel_write>(&w->what))
    return writer_add_user_channel(&writer_, u->users, u->channel);
  if (auto* u = std::get_if<remove_user_channel_write>(&w->what))
    return writer_remove_user_channel(&writer_, u->user, u->channel);
  const auto& m = std::get<mark_read_write>(w->what);
  return writer_mark_read(&writer_, m.user, m.channel, m.offset);
}

// All that are not refused, in one transaction. *failed: the request that ended it, if one did.
bool sqlite_store::try_batch(write_list* batch, write** failed) noexcept {
  *failed = nullptr;
  remove_rows_ = kRemoveRowsMax;
  if (!writer_begin(&writer_)) return false;
  for (write* w = batch->first; w != nullptr; w = w->next) {
    if (w->refused != core::err::ok || apply(w)) continue;
    *failed = w;
    return false;
  }
  return writer_commit(&writer_);
}

// All or nothing: one failure of the file fails every request of the transaction, and none of it
// remains. But a request that meets a damaged page is left out, and the others go on without it:
// one channel's damage would else stop all.
void sqlite_store::run_batch(write_list* batch) noexcept {
  core::err failure = core::err::ok;
  for (uint32_t left_out = 0;; ++left_out) {
    write* failed = nullptr;
    if (try_batch(batch, &failed)) break;
    writer_rollback(&writer_);
    failure = writer_.file.last == core::err::ok ? core::err::io : writer_.file.last;
    if (failed == nullptr || !writer_.file.is_damage || left_out == kLeftOutMax) break;
    failed->refused = failure;
    failure = core::err::ok;
    for (write* w = batch->first; w != nullptr; w = w->next)
      if (auto* a = std::get_if<append_write>(&w->what))
        writer_append_undo(&a->request, &a->result);
  }
  if (failure != core::err::ok) {
    if (is_ready_.exchange(false, std::memory_order_relaxed))
      core::log_error("the store cannot commit; requests are refused until it can",
                      {{"path", options_.path}});
    probe_due_ms_ = mono_ms() + kProbeMs;
  } else {
    commits_.fetch_add(1, std::memory_order_relaxed);
    is_ready_.store(true, std::memory_order_relaxed);
    keep_removals(batch);
  }
  answer(batch, failure);
}

// Removals that have more to delete are not answered yet.
void sqlite_store::keep_removals(write_list* batch) noexcept {
  for (uint32_t n = batch->count; n > 0; --n) {
    write* w = batch->pop();
    const auto* r = std::get_if<remove_history_write>(&w->what);
    const bool goes_on = r != nullptr && !r->is_done && w->refused == core::err::ok;
    (goes_on ? &removals_ : batch)->push(w);
  }
}

// One message per loop. Each request has reserved a slot; those beyond the first are given back.
void sqlite_store::answer(write_list* batch, core::err failure) noexcept {
  std::vector<answers*> all;  // as many as there are loops at most
  const uint32_t count = batch->count;
  uint64_t bytes = 0, committed = 0, failures = 0;
  while (batch->count > 0) {
    write* w = batch->pop();
    bytes += w->bytes;
    w->rc = w->refused != core::err::ok ? w->refused : failure;
    failures += w->rc != core::err::ok;
    if (auto* a = std::get_if<append_write>(&w->what)) {
      if (w->rc != core::err::ok) {
        a->result = {};
        a->result.rc = w->rc;
      }
      committed += a->result.rc == core::err::ok && !a->result.is_duplicate;
    }
    if (!w->has_slot) {
      delete w;
      continue;
    }
    answers* mine = nullptr;
    for (answers* a : all)
      if (a->home == w->home) mine = a;
    if (mine == nullptr) {
      mine = new answers;
      mine->home = w->home;
      mine->run = run_answers;
      mine->drop = drop_answers;
      all.push_back(mine);
    }
    mine->list.push(w);
  }
  committed_.fetch_add(committed, std::memory_order_relaxed);
  failures_.fetch_add(failures, std::memory_order_relaxed);
  {
    const std::lock_guard<std::mutex> held(write_lock_);
    writes_waiting_ -= count;
    write_bytes_ -= bytes;
  }
  for (answers* a : all) {
    core::loop* home = a->home;
    if (a->list.count > 1) core::loop_unreserve(home, a->list.count - 1);
    core::loop_post_reserved(home, a);
  }
}

void sqlite_store::checkpoint() noexcept {
  const uint32_t pages = writer_.file.wal_pages;         // of the last commit
  if (pages < checkpoint_pages_) checkpoint_pages_ = 0;  // it has started again
  if (pages < checkpoint_wait_pages_) checkpoint_wait_pages_ = 0;
  if (pages - checkpoint_pages_ < kCheckpointPages) return;
  checkpoint_pages_ = pages;
  const bool is_waiting = pages - checkpoint_wait_pages_ >= kCheckpointWaitPages;
  if (is_waiting) checkpoint_wait_pages_ = pages;
  db_checkpoint(&writer_.file, !is_waiting);
  measure();
}

// Between transactions: the checkpoint, a slice of the sweep, the probe.
void sqlite_store::housekeeping() noexcept {
  checkpoint();
  const uint64_t now = mono_ms();
  if (!is_ready_.load(std::memory_order_relaxed) && now >= probe_due_ms_) {
    const bool is_good = writer_probe(&writer_);
    if (is_good) core::log_info("the store can commit again", {{"path", options_.path}});
    is_ready_.store(is_good, std::memory_order_relaxed);
    probe_due_ms_ = now + kProbeMs;
  }
  if (now < sweep_due_ms_) return;
  bool is_done = false;
  const bool is_swept = writer_sweep(&writer_, options_.clock->wall_ms(), &is_done);
  if (is_done || !is_swept) {
    sweep_due_ms_ = now + options_.sweep_ms;
    measure();
  }
}

void sqlite_store::measure() noexcept {
  uint64_t sum = 0;
  for (const char* suffix : {"", "-wal"}) {
    struct stat st;
    if (stat((options_.path + suffix).c_str(), &st) == 0) sum += static_cast<uint64_t>(st.st_size);
  }
  bytes_.store(sum, std::memory_order_relaxed);
}

void sqlite_store::write_loop() noexcept {
  sweep_due_ms_ = mono_ms() + options_.sweep_ms;
  write_list batch;
  while (take_batch(&batch)) {
    if (batch.count > 0) run_batch(&batch);
    housekeeping();
  }
}

void sqlite_store::read_loop(reader* r) noexcept {
  for (;;) {
    read_op* op = nullptr;
    {
      std::unique_lock<std::mutex> held(room_->lock);
      room_->wake.wait(held, [&] {
        return (reads_first_ != nullptr && room_->bytes < options_.read_bytes_max) ||
               is_read_closed_;
      });
      if (reads_first_ == nullptr) return;
      op = reads_first_;
      reads_first_ = op->next_read;
      if (reads_first_ == nullptr) reads_last_ = nullptr;
    }
    core::err rc = core::err::ok;
    uint64_t bytes = 0;
    if (auto* page = std::get_if<page_read>(&op->what)) {
      reader_page(r, page->request, &page->result);
      rc = page->result.rc;
      bytes = result_bytes(page->result);
    } else if (auto* list = std::get_if<user_channels_read>(&op->what)) {
      reader_user_channels(r, list->user, list->limit, &list->result);
      rc = list->result.rc;
      bytes = result_bytes(list->result);
    }
    if (rc != core::err::ok) failures_.fetch_add(1, std::memory_order_relaxed);
    {
      const std::lock_guard<std::mutex> held(room_->lock);
      --reads_waiting_;
      room_->bytes += bytes;
      op->bytes = bytes;
    }
    core::loop_post_reserved(op->home, op);
  }
}

store_stats sqlite_store::stats() noexcept {
  store_stats s;
  {
    const std::lock_guard<std::mutex> held(write_lock_);
    s.queue = writes_waiting_;
    s.is_ready = !is_closed_ && is_ready_.load(std::memory_order_relaxed);
  }
  {
    const std::lock_guard<std::mutex> held(room_->lock);
    s.queue += reads_waiting_;
  }
  s.queue_max = 2ull * options_.queue_max;
  s.commits = commits_.load(std::memory_order_relaxed);
  s.committed = committed_.load(std::memory_order_relaxed);
  s.failures = failures_.load(std::memory_order_relaxed);
  s.bytes = bytes_.load(std::memory_order_relaxed);
  return s;
}

void sqlite_store::close() noexcept {
  if (!is_open_) return;
  is_open_ = false;
  {
    const std::lock_guard<std::mutex> held(write_lock_);
    is_closed_ = true;
  }
  {
    const std::lock_guard<std::mutex> held(room_->lock);
    is_read_closed_ = true;
  }
  write_wake_->notify_all();
  room_->wake.notify_all();
  write_thread_.join();
  for (std::thread& t : read_threads_) t.join();
  for (auto& r : readers_) reader_close(r.get());
  writer_close(&writer_);  // the last connection: SQLite moves the log into the file and removes it
  file_lock_release(lock_fd_);
}

}  // namespace

core::err open_sqlite(const sqlite_options& o, store** out, std::string* why) noexcept {
  auto s = std::make_unique<sqlite_store>(o);
  const core::err rc = s->open(why);
  if (rc == core::err::ok) *out = s.release();
  return rc;
}

}  // namespace store
