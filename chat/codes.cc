// Texts of the protocol's error codes, and what failures of store and broker are to a client.
#include "chat/codes.h"

namespace chat {

const char* error_text(error e) noexcept {
  switch (e) {
    case error::ok:
      return "ok";
#define X(name, code, text, temporary) \
  case error::name:                    \
    return text;
      CHAT_ERROR_MAP(X)
#undef X
  }
  return "internal server error";
}

bool error_is_temporary(error e) noexcept {
  switch (e) {
    case error::ok:
      return false;
#define X(name, code, text, temporary) \
  case error::name:                    \
    return temporary;
      CHAT_ERROR_MAP(X)
#undef X
  }
  return false;
}

error error_from(core::err rc) noexcept {
  switch (rc) {
    case core::err::ok:
      return error::ok;
    case core::err::full:
      return error::too_many_requests;
    case core::err::conflict:
      return error::key_conflict;
    case core::err::denied:
      return error::permission_denied;
    case core::err::not_found:
    case core::err::too_big:
    case core::err::malformed:
      return error::bad_request;
    case core::err::again:
    case core::err::closed:
    case core::err::invalid:
    case core::err::io:
    case core::err::unavailable:
    case core::err::timeout:
      return error::internal;
  }
  return error::internal;
}

}  // namespace chat
