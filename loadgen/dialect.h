// How one kind of server is spoken to: texts of commands out, messages in. An object is shared by
// all connections of a loop; no I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "loadgen/scenario.h"

namespace loadgen {

struct dialect_position {
  uint64_t offset = 0;
  std::string_view epoch;
};

// What a reply answers: the command with its id, or the oldest of a kind (and of the reply's
// channel, if it has one) where the protocol has no ids.
enum class reply_to : uint8_t { id, connect, subscribe, unsubscribe, publish };

// An answer to a command of ours. Views are valid until the event returns.
struct dialect_reply {
  reply_to to = reply_to::id;
  uint32_t id = 0;
  std::string_view channel;
  uint32_t error = 0;  // 0: none
  bool is_temporary = false;
  std::string_view message;
  uint64_t offset = 0;  // publish, subscribe, history: position
  std::string_view epoch;
  bool was_recovering = false, is_recovered = false, is_duplicate = false;
  std::string_view publications;  // subscribe (recovery) and history: text that holds them, for
                                  // each_publication()
  uint64_t clients = 0;           // presence
};

struct dialect_events {
  // A message of a channel; `text` begins with its data or has it somewhere: stamp_read() finds it.
  void (*on_publication)(void* user, std::string_view channel, uint64_t offset,
                         std::string_view text) noexcept;
  // The same where the server does not say of which channel.
  void (*on_bare_publication)(void* user, std::string_view text) noexcept;
  void (*on_reply)(void* user, const dialect_reply& r) noexcept;
  void (*on_answer_due)(void* user, std::string_view text) noexcept;  // send this back (pongs)
  void (*on_lost_subscription)(void* user, std::string_view channel,
                               bool may_return) noexcept;  // the server ended it
  void (*on_greeting)(void* user) noexcept;  // the server has spoken first: connect may be sent
  void (*on_over)(void* user) noexcept;      // the server says that the connection is over
};

// What a protocol has. Where it has not, the checks that need it are off.
struct dialect_traits {
  bool has_offsets = true;  // and history and recovery; else everything is checked as in rooms
                            // without history
  bool has_keys = true;     // a publish can be sent again with its key
  bool has_presence = true;
  bool has_unsubscribe = true;
  bool has_token = true;
  bool is_greeted = false;         // nothing is sent before on_greeting
  bool waits_for_connect = false;  // nothing is subscribed before connect is answered
  bool is_channel_in_target = false, is_token_in_target = false;
  // Else a command counts as done when it is written.
  bool answers_connect = true, answers_subscribe = true, answers_unsubscribe = true,
       answers_publish = true;
};

struct dialect_login {
  std::string_view user, token;
  std::string_view channel;  // of the connection's first room; empty: none
};

class dialect {
 public:
  explicit dialect(const dialect_traits& t) noexcept : traits(t) {}
  virtual ~dialect() = default;
  const dialect_traits traits;

  // Of the handshake when the address has no path.
  virtual void target(std::string* out, const dialect_login& who) noexcept = 0;
  virtual std::string_view subprotocol() const noexcept = 0;  // empty: none
  // Each appends one whole command, or nothing: there is nothing to be sent.
  virtual void connect(std::string* out, uint32_t id, const dialect_login& who) noexcept = 0;
  virtual void subscribe(std::string* out, uint32_t id, std::string_view channel,
                         const dialect_position* since) noexcept = 0;
  virtual void unsubscribe(std::string* out, uint32_t id, std::string_view channel) noexcept = 0;
  virtual void publish(std::string* out, uint32_t id, std::string_view channel,
                       std::string_view data, publish_method how,
                       std::string_view key) noexcept = 0;
  // With has_offsets.
  virtual void history(std::string* out, uint32_t id, std::string_view channel,
                       const dialect_position& since, uint32_t limit) noexcept = 0;
  // With has_presence: how many are there.
  virtual void presence(std::string* out, uint32_t id, std::string_view channel) noexcept = 0;
  // One message (a frame's payload). False: it cannot be read.
  virtual bool read(std::string_view message, const dialect_events& events,
                    void* user) noexcept = 0;
};

dialect* dialect_centrifuge() noexcept;
struct dialect_file;
dialect* dialect_described(const dialect_file& f) noexcept;  // keeps a copy

// Every publication in a text of finished publication objects, in order: its text (from its data
// on) and its offset.
void each_publication(std::string_view publications,
                      void (*take)(void* user, uint64_t offset, std::string_view text) noexcept,
                      void* user) noexcept;
}  // namespace loadgen
