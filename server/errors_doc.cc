// docs/ERRORS.md from the tables of error codes and end reasons.
#include "server/errors_doc.h"

#include "chat/codes.h"
#include "core/end_reason.h"

namespace server {
namespace {

struct error_row {
  uint16_t code;
  const char* text;
  bool is_temporary;
};
constexpr error_row kErrors[] = {
#define X(name, code, text, is_temporary) {code, text, is_temporary},
    CHAT_ERROR_MAP(X)
#undef X
};

struct end_row {
  const char* name;
  uint16_t code;
  const char* text;
};
constexpr end_row kEnds[] = {
#define X(name, code, text) {#name, code, text},
    CORE_END_REASON_MAP(X)
#undef X
};

const char* advice(uint16_t code) noexcept {
  switch (code) {
    case 100:
      return "The outcome may be unknown: retry; `send` with the same key is never doubled. Also "
             "while the store cannot commit.";
    case 101:
      return "Connect with a token.";
    case 102:
      return "Name a channel whose namespace is configured.";
    case 103:
      return "Ask for the right: the channel's options, a subscription token, or being one of its "
             "users.";
    case 104:
      return "The server does not know this command.";
    case 105:
      return "The client is subscribed already.";
    case 106:
      return "Unsubscribe from something first, or raise the limit.";
    case 107:
      return "Correct the request: its form, a size, the channel's name, or what it refers to.";
    case 108:
      return "The channel's options do not offer this (history, presence), or there is no such rpc "
             "method.";
    case 109:
      return "Get a new connection token; SDKs do it by themselves.";
    case 110:
      return "The time has passed already: get a new token.";
    case 111:
      return "Nothing was done: retry later; SDKs do it by themselves. Rates, or a full queue.";
    case 112:
      return "Load the channel's state again: what was missed cannot be recovered.";
    case 113:
      return "Use a new key for other data.";
    default:
      return "";
  }
}

}  // namespace

std::string errors_markdown() {
  std::string out =
      "# Errors\n\n"
      "Printed by `parleyd --print-errors-doc`; a test keeps it current.\n\n"
      "## Error replies\n\n"
      "Codes of the Centrifuge protocol, and from 113 on Parley's own. A temporary error may be "
      "retried as it is. The server API answers HTTP 200 with `error` for these;\n"
      "a wrong key is 401, a body that is too large 413.\n\n"
      "| code | text | temporary | what to do |\n|---|---|---|---|\n";
  for (const error_row& e : kErrors) {
    out += "| " + std::to_string(e.code) + " | " + e.text + " | " +
           (e.is_temporary ? "yes" : "no") + " | " + advice(e.code) + " |\n";
  }
  out +=
      "\n## Unsubscribe codes\n\n| code | text | what follows |\n|---|---|---|\n"
      "| 2000 | server unsubscribe | The SDK does not subscribe again. |\n"
      "| 2500 | insufficient state | The SDK subscribes again and recovers. |\n"
      "| 2501 | subscription expired | The SDK asks for a new token and subscribes again. |\n"
      "\n## Ends of connections\n\n"
      "`reason` stands in the log and in `parley_connections_ended_total`. With a close code the "
      "WebSocket is closed with it; SDKs connect again after 3000 to 3499 and the codes of RFC "
      "6455, and stop after\n3500 to 3999.\n\n"
      "| reason | close code | text |\n|---|---|---|\n";
  for (const end_row& e : kEnds) {
    if (std::string(e.name) == "none") continue;
    out += "| `" + std::string(e.name) + "` | " +
           (e.code == 0 ? std::string() : std::to_string(e.code)) + " | " + e.text + " |\n";
  }
  return out;
}

}  // namespace server
