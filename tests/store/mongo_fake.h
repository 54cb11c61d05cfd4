// A fake MongoDB whose every answer a test can choose: the wire protocol (OP_MSG, and OP_QUERY for
// the hello) over loopback, one or more members that share their documents, every command kept.
// It plays what no server does when it is asked: refusals of single documents, write concerns that
// time out, elections, connections that end between a write and its answer, silence.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/store/mongo_fake_data.h"

namespace store_test {

enum class fake_kind : uint8_t { standalone, replica_set, mongos };

struct fake_options {
  fake_kind kind = fake_kind::replica_set;
  uint32_t members = 1;
  int32_t document_bytes_max = 16 << 20;
  int32_t batch_count_max = 100'000;  // maxWriteBatchSize
  int32_t rows_at_once = 101;         // of a find's first answer
};

// A command as it came, its document sequences merged into it.
struct fake_command {
  std::string name, collection;
  fake_document bytes;
  // The value at a dotted path, as relaxed extended JSON: "filter", "documents.0.data".
  std::string at(const char* path) const { return fake_json(fake_view(bytes), path); }
  uint32_t count(const char* array) const;
};

// What happens to the next commands that it fits.
struct fake_play {
  std::string command;     // "insert"
  std::string collection;  // empty: any
  uint32_t times = 1;
  std::function<bool(const fake_command&)> fits;  // unless empty: only these
  // One of:
  int32_t fails_with = 0;  // the command as a whole: ok 0 and this code, nothing is done
  // Of a document or an update: its write error's code, or 0. The others are done.
  std::function<int32_t(const fake_document&)> refuses;
  bool is_majority_missing = false;  // done, and a write concern error (beside `refuses`, too)
  bool is_cut_before = false;        // the connection ends, nothing is done
  bool is_cut_after = false;         // the connection ends, all is done
  bool is_silent = false;            // all is done, no answer comes
  bool is_held = false;              // nothing is done before release_held()
  uint32_t delay_ms = 0;             // beside any other: it takes so long
};
inline constexpr uint32_t kAlways = UINT32_MAX;

class mongo_fake {
 public:
  explicit mongo_fake(const fake_options& o = {});
  ~mongo_fake();
  mongo_fake(const mongo_fake&) = delete;
  mongo_fake& operator=(const mongo_fake&) = delete;

  // Short timeouts, so that tests of failures are quick. `login` is "user:password@".
  std::string url(const std::string& login = "") const;

  void play(fake_play p);
  void release_held();  // what is held goes on
  void stop_playing();  // also, and nothing is played any more

  // Network and elections.
  void go_away();              // connections end, new ones are refused
  void come_back();            // at the same ports
  void freeze();               // as SIGSTOP: connections stay, nothing is answered
  void thaw();                 // what was asked meanwhile is done now
  void elect(uint32_t index);  // the others say "not primary" from now on

  // Commands so far, in their order: of a name and a collection ("": any).
  std::vector<fake_command> commands(const std::string& name,
                                     const std::string& collection = "") const;
  void forget_commands();
  // Until there are so many; false after 20 s.
  bool wait_for(const std::string& name, const std::string& collection, uint32_t count) const;

  // The documents.
  void put(const std::string& collection, const store::doc& d);
  void remove_all(const std::string& collection, const store::doc& filter);
  std::vector<fake_document> find(const std::string& collection,
                                  const store::doc& filter = {}) const;
  size_t count(const std::string& collection, const store::doc& filter = {}) const {
    return find(collection, filter).size();
  }
  std::string history(const std::string& channel) const;  // "1:a 2:b", in order of offset

 private:
  struct connection {
    int fd = -1;
    uint32_t member = 0;
    bool is_gone = false;
    std::thread thread;
  };
  struct member {
    uint16_t port = 0;
    int listening = -1;
    std::thread acceptor;
  };
  enum class after : uint8_t { answer, silence, cut };

  void listen_at(member* m);
  void accept_loop(uint32_t index, int listening);
  void serve(connection* c);
  after handle(connection* c, const bson_t& command, fake_document* reply);
  after perform(std::unique_lock<std::mutex>* held, const connection& from, const fake_command& c,
                fake_document* reply);
  fake_play take_play(const fake_command& c);
  fake_document hello(uint32_t member) const;
  store::doc run(const fake_command& c, const fake_play& p);
  store::doc run_find(const fake_command& c);
  store::doc run_more(const fake_command& c);
  store::doc run_insert(const fake_command& c, const fake_play& p);
  store::doc run_update(const fake_command& c, const fake_play& p);
  store::doc run_delete(const fake_command& c, const fake_play& p);
  store::doc make_indexes(const fake_command& c);
  store::doc rows(const fake_command& c, const char* name, int64_t id, size_t count);
  void drop_connections();

  const fake_options options_;
  mutable std::mutex lock_;  // all below
  mutable std::condition_variable changed_;
  std::vector<member> members_;
  std::list<connection> connections_;
  std::vector<fake_command> commands_;
  std::list<fake_play> plays_;
  std::map<std::string, fake_collection> collections_;
  std::map<int64_t, std::vector<fake_document>> cursors_;
  int64_t cursor_next_ = 1;
  uint32_t primary_ = 0;
  uint32_t term_ = 1;
  uint64_t releases_ = 0;
  bool is_frozen_ = false;
};

}  // namespace store_test
