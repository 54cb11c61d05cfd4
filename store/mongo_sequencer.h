// The thread that orders: gives offsets, finds repeated keys, checks references, fills the spool.
#pragma once

#include "store/mongo_impl.h"
#include "store/request_queue.h"

namespace store {

// Lookups on their way to the readers and back.
struct lookup_queue {
  std::mutex lock;
  std::deque<std::unique_ptr<lookup>> asked, answered;
};

class sequencer {
 public:
  sequencer(mongo_core* c, write_queue* writes, lookup_queue* lookups, read_room* readers)
      : core_(c), writes_(writes), lookups_(lookups), readers_(readers) {}
  void run() noexcept;  // until the queue is closed and empty
  // Before run(), in the spool's order. False: the record does not fit to the ones before it.
  bool replay(const spool_place& place, std::string_view record) noexcept;
  void answered(std::unique_ptr<lookup> l) noexcept;  // a reader's thread
  bool can_commit() const noexcept { return can_commit_.load(std::memory_order_relaxed); }

 private:
  // What becomes true when the open group is committed.
  struct pending {
    mongo_channel* channel;
    write* request;
    spool_place place;
    uint64_t offset;  // removal: up to which
    bool is_removal;
  };
  struct head_state {  // what was asked for the first write that waits
    bool is_key_checked = false;
    std::unique_ptr<lookup> reference;
  };
  enum class verdict : uint8_t { answer, grouped, wait };

  mongo_channel* channel_of(const std::string& name) noexcept;
  void evict() noexcept;
  void step(write* w) noexcept;
  verdict decide(mongo_channel* m, write* w) noexcept;
  verdict decide_append(mongo_channel* m, append_write* a, write* w) noexcept;
  verdict decide_removal(mongo_channel* m, remove_history_write* r, write* w) noexcept;
  bool check_key(mongo_channel* m, append_write* a, verdict* v) noexcept;
  bool check_reference(mongo_channel* m, append_write* a, verdict* v) noexcept;
  bool find_referred(mongo_channel* m, append_write* a, stored_publication* out, bool* is_found,
                     verdict* v) noexcept;
  core::err add(mongo_channel* m, write* w, std::string_view record, uint64_t offset,
                bool is_removal) noexcept;
  void ask(mongo_channel* m, lookup_kind kind, append_write* a) noexcept;
  void go_on(std::unique_ptr<lookup> l) noexcept;
  void learn(mongo_channel* m, lookup* l) noexcept;
  void refuse_waiting(mongo_channel* m) noexcept;
  void commit() noexcept;
  void settle() noexcept;
  void settle_one(mongo_channel* m, const spool_place& place, write* w, uint64_t offset) noexcept;
  void keep_publication(mongo_channel* m, const spool_place& place, uint64_t offset,
                        int64_t time_ms, uint64_t deletes) noexcept;
  void keep_removal(mongo_channel* m, const spool_place& place, uint64_t up_to) noexcept;
  void enqueue(mongo_channel* m, std::unique_ptr<removal> removed) noexcept;
  void undo(core::err why) noexcept;
  void remember_key(mongo_channel* m, const append_request& r, uint64_t offset) noexcept;
  void trim_keys(mongo_channel* m, int64_t now_ms) noexcept;

  mongo_core* const core_;
  write_queue* const writes_;
  lookup_queue* const lookups_;
  read_room* const readers_;
  std::unordered_map<mongo_channel*, head_state> heads_;
  std::vector<pending> group_;
  write_list done_;  // to be answered when the group is
  size_t keys_total_ = 0;
  std::atomic<bool> can_commit_{true};
};

}  // namespace store
