// A client without the protocol: it asks owners, stands in the hub, and checks that what it gets
// has no hole and nothing twice.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "chat/hub.h"
#include "chat/request.h"
#include "tests/chat/fixture.h"

namespace fixture {

struct alignas(8) fake_client {
  enum class place : uint8_t { away, asking, live };

  chat::node_loop* node = nullptr;
  std::string id;
  std::string channel;
  uint16_t ns = 0;
  place where = place::away;
  chat::hub_channel* hub_channel = nullptr;
  uint32_t entry = 0;
  bool has_presence = false, has_join_leave = false, wants_joins = false;

  uint64_t at = 0;  // newest offset seen or answered
  std::string epoch;
  chat::error code = chat::error::ok;  // of the last answer
  bool is_recovered = false;
  std::vector<std::string> pushes;  // JSON texts
  std::vector<uint64_t> seen;       // offsets, recovered and pushed, since the last start
  std::string recovered_text;
  int answers = 0, insufficient = 0, holes = 0;

  void subscribe(bool wants_recover);
  void subscribe_since(uint64_t offset, std::string_view since_epoch);
  void unsubscribe();
};

// Puts fake clients in place of sessions: call for each loop before anything subscribes.
void use_fake_clients(chat::node_loop* n);

// The numbers after every `"offset":` in text.
std::vector<uint64_t> offsets_in(std::string_view text);

}  // namespace fixture
