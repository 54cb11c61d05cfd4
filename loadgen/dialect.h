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

// An answer to a command of ours. Views are valid until the event returns.
struct dialect_reply {
  uint32_t id = 0;
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
  void (*on_reply)(void* user, const dialect_reply& r) noexcept;
  void (*on_answer_due)(void* user, std::string_view text) noexcept;  // send this back (pongs)
  void (*on_lost_subscription)(void* user, std::string_view channel,
                               bool may_return) noexcept;  // the server ended it
};

class dialect {
 public:
  virtual ~dialect() = default;
  virtual std::string_view target()
      const noexcept = 0;  // of the handshake when the address has no path
  virtual bool has_offsets()
      const noexcept = 0;  // else: everything is checked as in rooms without history
  virtual bool has_acks() const noexcept = 0;  // else a publish counts as done when it is written
  // Each appends one whole command; several are joined by separator().
  virtual char separator() const noexcept = 0;  // '\n'; 0: one command a frame
  virtual void connect(std::string* out, uint32_t id, std::string_view token,
                       std::string_view user) noexcept = 0;
  virtual void subscribe(std::string* out, uint32_t id, std::string_view channel,
                         const dialect_position* since) noexcept = 0;
  virtual void unsubscribe(std::string* out, uint32_t id, std::string_view channel) noexcept = 0;
  virtual void publish(std::string* out, uint32_t id, std::string_view channel,
                       std::string_view data, publish_method how,
                       std::string_view key) noexcept = 0;
  virtual void history(std::string* out, uint32_t id, std::string_view channel,
                       const dialect_position& since, uint32_t limit) noexcept = 0;
  virtual void presence(std::string* out, uint32_t id,
                        std::string_view channel) noexcept = 0;  // how many are there
  // One message (a frame's payload). False: it cannot be read.
  virtual bool read(std::string_view message, const dialect_events& events,
                    void* user) noexcept = 0;
};

dialect* dialect_centrifuge() noexcept;

// Every publication in a text of finished publication objects, in order: its text (from its data
// on) and its offset.
void each_publication(std::string_view publications,
                      void (*take)(void* user, uint64_t offset, std::string_view text) noexcept,
                      void* user) noexcept;
}  // namespace loadgen
