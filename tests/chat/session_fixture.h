// Clients that speak the protocol to a session without a socket, so that a test reads like a
// conversation.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/session.h"
#include "proto/token.h"
#include "tests/chat/fixture.h"
#include "tests/chat/script_broker.h"

namespace fixture {

inline constexpr const char* kSecret = "session-test-secret";

// The other end of a session. Invariant: s is the session until drop().
struct tab {
  world* w = nullptr;
  chat::session* s = nullptr;
  std::vector<std::string> texts;  // all that came, in order
  size_t seen = 0;                 // how many take() has given
  core::end_reason why = core::end_reason::none;
  uint16_t code = 0;  // of the close frame
  std::string reason;
  int ends = 0;         // disconnect() calls
  int accepted = 0;     // connected() calls
  uint32_t queued = 0;  // what its out-queue is said to hold
  uint32_t next_id = 1;

  void say(std::string_view text);         // one message; mailboxes are not run
  std::string ask(std::string_view text);  // say, run, and what came, joined by newlines
  std::string take();                      // what came since the last take
  // The reply with this id, or "".
  std::string reply(uint32_t id) const;
  std::vector<std::string> pushes() const;  // all of them
  // One command of the body `"name":{…}` with the next id; its reply without the id, like
  // `"error":{…}`; "" when none came.
  std::string command(std::string_view body);
  std::string subscribe(std::string_view channel, std::string_view more = "");
  std::string rpc(std::string_view method, std::string_view data = "{}");
  std::string id() const;  // the client's uuid, from the connect reply
  void drop();             // the connection is gone
  bool is_over() const { return ends > 0; }
};

// `claims` is a JSON object; signed with HS256.
std::string sign(std::string_view claims, std::string_view secret = kSecret);

// The fields of an error reply.
std::string error_reply(int code, std::string_view text, bool is_temporary = false);
extern const std::string kDenied, kBadRequest, kNotAvailable, kBusy, kInternal, kExpired;

class session_test : public testing::Test {
 protected:
  session_test();
  ~session_test() override;
  // Change config and ns() before.
  void begin(uint32_t loops = 1);
  chat::namespace_settings& ns(std::string_view name = "");  // made when it is new, all off
  // Puts a scripted broker under loop i: the test decides when things are committed and answered.
  script_broker* script(uint32_t i = 0);

  int64_t now_s() const { return w->clock.wall_ms() / 1000; }
  std::string token(std::string_view user, std::string_view more = "");  // more: `,"exp":1`
  std::string sub_token(std::string_view user, std::string_view channel,
                        std::string_view more = "");

  tab* open(uint32_t loop = 0);
  // Opens and connects with a token; the connect reply has been taken.
  tab* connect(std::string_view user, uint32_t loop = 0, std::string_view more_claims = "");
  tab* anonymous(uint32_t loop = 0);
  uint64_t counted(uint32_t loop = 0);  // subscriptions that the loop's owner counts

  chat::settings config;
  std::unique_ptr<world> w;
  std::vector<std::unique_ptr<tab>> tabs;
};

// The value of the first "epoch", or "".
std::string epoch_in(std::string_view text);

}  // namespace fixture
