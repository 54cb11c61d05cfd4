// The inside of the broker over Redis, shared by broker/redis*.cc: one object for each loop.
//
//   redis.cc           the object, its calls, time
//   redis_servers.cc   servers: connected, greeted, refused, lost
//   redis_route.cc     calls to the server of their partition; over a cluster: from one to another
//   redis_follow.cc    over a cluster: servers and subscriptions follow the slots
//   redis_publish.cc, redis_subscribe.cc, redis_repair.cc, redis_presence.cc, redis_lists.cc
#pragma once

#include <charconv>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "broker/presence.h"
#include "broker/redis.h"
#include "broker/redis_cluster.h"
#include "broker/redis_envelope.h"
#include "broker/redis_script.h"
#include "broker/redis_sentinel.h"
#include "core/loop.h"

namespace broker {

class redis_broker;
struct op;

// An integer, or a text of digits as the scripts answer (Lua's integers end at 2^53); else 0.
inline uint64_t redis_u64(const redis_reply& r) noexcept {
  if (r.type == redis_type::integer) return static_cast<uint64_t>(r.integer);
  uint64_t value = 0;
  const auto [end, rc] = std::from_chars(r.text.data(), r.text.data() + r.text.size(), value);
  return rc == std::errc() ? value : 0;
}

// asked: SUBSCRIBE is on its way. placing: its position is. live. repairing: a read is on its way.
// away: the connection has gone, or its audit is not done.
enum class sub_state : uint8_t { asked, placing, live, repairing, away };

struct subscription {
  uint64_t id = 0;
  std::string channel, epoch;
  uint64_t told = 0;
  uint64_t heard = 0;  // newest offset that came while not live
  uint64_t turn = 0;   // of the newest question for its position; 0: its answer is void
  uint32_t partition = 0;
  sub_state state = sub_state::asked;
  bool has_history = false;
  bool is_out = false;       // the server has refused it for a while: wanted again by the clock
  position_cb cb = nullptr;  // of the subscribe, until answered
  void* user = nullptr;
  std::vector<op*> held;  // publishes that wait for their message, by offset
};

// What is sent again when the slot has moved.
struct request {
  uint32_t partition = 0;
  redis_script script = redis_script::kCount;  // kCount: `arguments` is the whole command
  std::vector<std::string> keys, arguments;
  uint64_t number = 0;    // in the order of the calls
  uint64_t until_ms = 0;  // then it is given up
};

using op_done = void (redis_broker::*)(op* o, core::err rc, const redis_reply& r) noexcept;

// A call that waits for a server. Listed by the broker, so that those whose answer never comes go
// with it. `done` frees it.
struct op {
  redis_broker* owner = nullptr;
  op* prev = nullptr;
  op* next = nullptr;
  op_done done = nullptr;
  struct server* at = nullptr;
  void* user = nullptr;
  uint64_t subscription = 0;
  uint64_t held_since_ms = 0;
  uint64_t turn = 0;               // positions
  std::unique_ptr<request> again;  // over a cluster
  std::string channel;
  std::string nonce;                  // relay: its message's
  std::vector<std::string> channels;  // audit, sweep
  std::shared_ptr<struct gathering> gathered;
  publish_result result;
  union {
    publish_cb on_publish;
    position_cb on_position;  // of a subscription that was left before its answer; else null
    store::read_cb on_read;
    store::done_cb on_done;
    presence_cb on_members;
    counts_cb on_counts;
    uint64_t number;  // sweep: the cursor; add: of the identity
  };
  uint32_t partition = 0;  // sweep
  uint32_t limit = 0;      // presence
  op() noexcept : number(0) {}
};

// Several calls with one answer.
struct gathering {
  uint32_t waiting = 0;
  core::err rc = core::err::ok;
  store::done_cb on_done = nullptr;
  store::user_channels_cb on_channels = nullptr;
  void* user = nullptr;
  store::user_channels_result result;
};

// What a subscriber's connection has still to be told.
struct wanted {
  uint64_t id = 0;  // 0: unsubscribe, or the control channel
  bool is_in = true;
  std::string pubsub;
};

// Without connections until its address is known.
struct server {
  redis_broker* owner = nullptr;
  uint32_t index = 0;
  uint32_t partitions = 0;  // that it has
  uint64_t named_ms = 0;    // cluster: when a redirection named it last
  redis_conn* commands = nullptr;
  redis_conn* messages = nullptr;
  std::string digests[static_cast<uint32_t>(redis_script::kCount)];  // of the loaded scripts
  uint32_t loaded = 0;
  bool has_commands = false, has_messages = false;
  std::deque<wanted> wants;
  std::deque<uint64_t> confirmations;  // of the commands that are sent, in their order
  bool must_audit = false;
  bool is_greeted = false;  // suitable; waits for the cluster's layout to be known
  std::string why;          // it is not used; empty while it is
  uint64_t refused_ms = 0;  // when we refused it: it is asked again later; 0: not refused
};

// A dead member of the lease whose entries are taken out, partition by partition.
struct sweep {
  std::string identity;
  uint32_t partition = 0;
};

inline constexpr uint16_t kHopsMax = 4;  // beyond it only the clock tries again

// Where a partition is. Over a cluster its calls are counted; one that is redirected waits, with
// all behind it, until those under way are answered: then the first goes alone, and when it is
// answered the others follow. So they keep their order.
struct partition_state {
  server* at = nullptr;
  server* asking = nullptr;  // ASK: the next one goes there, once
  uint16_t slot = 0;
  uint16_t hops = 0;       // redirections since the last answer
  uint32_t out = 0;        // calls under way
  bool is_moving = false;  // some wait
  bool is_probing = false;
  uint64_t moved_ms = 0;  // the last redirection
  std::vector<op*> waiting;
};

struct broker_timer : core::timer {
  redis_broker* owner = nullptr;
};

class redis_broker final : public broker {
 public:
  redis_broker(const redis_options& o, core::loop* home, const broker_events* events, void* user);
  ~redis_broker() override;

  core::err publish(publish_request&& r, publish_cb cb, void* user) noexcept override;
  core::err subscribe(const std::string& channel, bool has_history, position_cb cb,
                      void* user) noexcept override;
  void unsubscribe(const std::string& channel) noexcept override;
  core::err history(store::read_request&& r, store::read_cb cb, void* user) noexcept override;
  core::err remove_history(const std::string& channel, store::done_cb cb,
                           void* user) noexcept override;
  core::err presence_add(const std::string& channel, member&& m) noexcept override;
  void presence_remove(const std::string& channel, std::string_view client) noexcept override;
  core::err presence(const std::string& channel, uint32_t limit, presence_cb cb,
                     void* user) noexcept override;
  core::err presence_stats(const std::string& channel, counts_cb cb, void* user) noexcept override;
  core::err control(std::string_view bytes) noexcept override;
  bool is_ready() noexcept override;
  std::string why_not_ready() noexcept override;
  void close() noexcept override;

  // redis_lists.cc: users' channels; see store/store.h.
  core::err list_add(const std::vector<std::string>& users, const std::string& channel,
                     store::done_cb cb, void* user) noexcept;
  core::err list_remove(const std::string& who, const std::string& channel, store::done_cb cb,
                        void* user) noexcept;
  core::err list_mark(const std::string& who, const std::string& channel, uint64_t offset,
                      store::done_cb cb, void* user) noexcept;
  core::err list_read(const std::string& who, uint32_t limit, store::user_channels_cb cb,
                      void* user) noexcept;

  // From the connections.
  void on_commands_ready(server* s) noexcept;
  void on_commands_lost(server* s, std::string_view why) noexcept;
  void on_messages_ready(server* s) noexcept;
  void on_messages_lost(server* s, bool was_ready, std::string_view why) noexcept;
  void on_map(const redis_slot_map& m) noexcept;
  void on_no_map(std::string_view why) noexcept;
  void on_refused(server* s, std::string_view pubsub, std::string_view error) noexcept;
  void on_slot_left(server* s, std::string_view pubsub) noexcept;
  void on_master(const redis_endpoint& master) noexcept;
  void on_no_master(std::string_view why) noexcept;
  void on_layout(server* s, core::err rc, const redis_reply* r) noexcept;
  void on_script(server* s, core::err rc, const redis_reply* r) noexcept;
  void on_confirmed(server* s, std::string_view pubsub, bool is_in) noexcept;
  void on_message(server* s, std::string_view pubsub, std::string_view payload) noexcept;
  void on_answer(op* o, core::err rc, const redis_reply* r) noexcept;
  void on_tick() noexcept;
  void send_wants(server* s) noexcept;

 private:
  // redis.cc
  op* op_new(op_done done, const std::string& channel, void* user) noexcept;
  void op_free(op* o) noexcept;
  core::err started(op* o, core::err rc) noexcept;  // what was refused is not waited for
  uint32_t partition_of(std::string_view channel) const noexcept;
  std::string key(char kind, const std::string& channel) const;
  std::string shared_name(std::string_view what) const;  // of no partition
  std::string partition_key(uint32_t partition, char kind, std::string_view rest = {}) const;
  void finish(op* o, core::err rc, const redis_reply& r) noexcept;
  bool is_cluster() const noexcept { return cluster_ != nullptr; }
  const char* publish_verb() const noexcept { return is_cluster() ? "SPUBLISH" : "PUBLISH"; }
  void tick_later() noexcept;
  std::string epoch_candidate() noexcept;

  // redis_servers.cc
  redis_conn_options connection_options() const;
  void open_servers() noexcept;
  void close_servers() noexcept;
  server* add_server() noexcept;
  void connect(server* s, const redis_endpoint& at) noexcept;
  void note_ready() noexcept;
  void refuse(server* s, std::string&& why) noexcept;
  std::string layout_of(const server* s) const;
  void ask_layout(server* s) noexcept;
  void load_scripts(server* s) noexcept;

  // redis_route.cc
  server* server_at(uint32_t partition) noexcept { return partitions_[partition].at; }
  server* server_of(std::string_view channel) noexcept { return server_at(partition_of(channel)); }
  core::err call(uint32_t partition, redis_script script, const std::vector<std::string>& keys,
                 const std::vector<std::string>& arguments, op* o) noexcept;
  core::err command(uint32_t partition, std::vector<std::string>&& words, op* o) noexcept;
  void tell_server(uint32_t partition, const std::vector<std::string>& words) noexcept;
  core::err submit(std::unique_ptr<request> r, op* o) noexcept;
  core::err transmit(server* s, redis_script script, const std::vector<std::string>& keys,
                     const std::vector<std::string>& arguments, op* o) noexcept;
  core::err transmit(server* s, op* o) noexcept;
  bool redirected(op* o, std::string_view error) noexcept;
  void wait_behind(op* o) noexcept;
  void move_on(uint32_t p) noexcept;
  void flush(uint32_t p) noexcept;
  void move_all_on() noexcept;
  void give_up(op* o) noexcept;

  // redis_follow.cc
  server* server_for(const redis_endpoint& at) noexcept;
  void remove_server(size_t i) noexcept;
  void note_moved(uint32_t p, const redis_endpoint& to) noexcept;
  void assign(const std::vector<std::pair<uint32_t, server*>>& moves) noexcept;
  void want_again() noexcept;
  void note_peers() noexcept;
  void noted(op* o, core::err rc, const redis_reply& r) noexcept;

  // redis_publish.cc
  core::err relay(publish_request&& r, publish_cb cb, void* user) noexcept;
  void published(op* o, core::err rc, const redis_reply& r) noexcept;
  void relayed(op* o, core::err rc, const redis_reply& r) noexcept;
  void answer_publish(op* o) noexcept;  // frees it
  void read(op* o, core::err rc, const redis_reply& r) noexcept;
  void removed(op* o, core::err rc, const redis_reply& r) noexcept;
  void answer_late() noexcept;

  // redis_subscribe.cc
  subscription* find(const std::string& channel, uint64_t id) noexcept;
  void want(server* s, wanted&& w) noexcept;
  void ask_position(subscription* s) noexcept;
  core::err ask_position(const std::string& channel, op* o) noexcept;
  void leave(std::unique_ptr<subscription> gone) noexcept;
  void fail_subscribe(subscription* s, core::err rc) noexcept;
  void positioned(op* o, core::err rc, const redis_reply& r) noexcept;
  void message(subscription* s, const envelope& e) noexcept;
  bool tell(const std::string& channel, uint64_t id, const envelope& e) noexcept;
  void give_answers(subscription* s, bool all) noexcept;

  // redis_repair.cc
  void audit(server* s) noexcept;
  void away_all(server* s) noexcept;
  void audited(op* o, core::err rc, const redis_reply& r) noexcept;
  void lose(const std::string& channel, uint64_t id) noexcept;
  void repair(subscription* s) noexcept;
  void repaired(op* o, core::err rc, const redis_reply& r) noexcept;
  void take_repair(op* o, core::err rc, const redis_reply& r) noexcept;

  // redis_presence.cc
  void new_identity() noexcept;
  void add_entry(const std::string& channel, const presence_entry* e) noexcept;
  void added(op* o, core::err rc, const redis_reply& r) noexcept;
  void refresh_lease() noexcept;
  void refreshed(op* o, core::err rc, const redis_reply& r) noexcept;
  bool is_lapsed() const noexcept;
  void members_read(op* o, core::err rc, const redis_reply& r) noexcept;
  void counts_read(op* o, core::err rc, const redis_reply& r) noexcept;
  void claim(const std::string& identity) noexcept;
  void claimed(op* o, core::err rc, const redis_reply& r) noexcept;
  void sweep_on() noexcept;
  void swept_list(op* o, core::err rc, const redis_reply& r) noexcept;
  void sweep_fails() noexcept;
  void sweep_channel(op* o) noexcept;
  void swept(op* o, core::err rc, const redis_reply& r) noexcept;
  void presence_connected() noexcept;

  // redis_lists.cc
  core::err list_call(const std::string& who, redis_script script,
                      const std::vector<std::string>& arguments, op* o) noexcept;
  void list_done(op* o, core::err rc, const redis_reply& r) noexcept;
  void list_names(op* o, core::err rc, const redis_reply& r) noexcept;
  void list_ends(op* o, core::err rc, const redis_reply& r) noexcept;

  const redis_options options_;
  core::loop* const home_;
  const broker_events* const events_;
  void* const user_;
  std::vector<std::unique_ptr<server>> servers_;
  redis_sentinel* sentinel_ = nullptr;  // names the one server
  redis_cluster* cluster_ = nullptr;    // says which server has which slot
  server nowhere_;                      // has the partitions whose server is not known
  std::vector<partition_state> partitions_;
  std::vector<std::string> tags_;      // of the keys of each
  std::vector<uint32_t> moving_;       // partitions with calls that wait
  uint32_t waiting_ = 0;               // those calls
  uint32_t audits_ = 0, repairs_ = 0;  // under way
  uint64_t next_request_ = 1, next_turn_ = 1;
  uint64_t want_again_ms_ = 0;  // 0: nothing is out
  bool is_layout_known_ = false;
  bool must_note_peers_ = false;
  bool is_control_out_ = false;
  uint64_t peers_due_ms_ = 0;
  std::unordered_map<std::string, std::unique_ptr<subscription>> subscriptions_;
  std::unordered_map<std::string, op*> relays_;  // by nonce: wait for their message
  op* ops_ = nullptr;
  uint64_t next_id_ = 1, next_nonce_ = 1;
  uint64_t epoch_seed_ = 0, next_epoch_ = 0;
  std::string nonce_head_;
  broker_timer timer_;
  bool is_closed_ = false;
  bool was_ready_ = false;

  presence_table presence_;  // of this loop's clients
  std::string identity_;     // of the lease: NODE.LOOP.n
  uint64_t incarnation_ = 0;
  uint64_t lease_sent_ms_ = 0;  // when the newest refresh that was answered had been sent
  uint64_t lease_due_ms_ = 0;
  bool is_lease_asked_ = false;
  bool must_renew_ = false;                       // an entry or its end could not be written
  std::unordered_map<std::string, bool> leases_;  // identity -> is it alive, as of the last refresh
  std::deque<sweep> sweeps_;
  bool is_sweeping_ = false;
};

}  // namespace broker
