// A server's protocol, described by a small TOML file, every problem reported at once. Pure but for
// reading the file.
//
//   about, lines (a frame holds several messages, one a line), ignore (texts of messages that mean
//   nothing)
//   [upgrade]      target, protocol
//   [connect]      after (the server speaks first), send, reply, error, wait (nothing is subscribed
//                  before the reply; default: true when there is a reply), end (the connection is
//                  over)
//   [join]         send, reply, error      without: a connection is in its channel from the
//                                          upgrade on
//   [leave]        send, reply, error
//   [publish]      send, reply, error
//   [publication]  message
//   [ping]         message, answer
//
// Texts are those of dialect_text.h. A command without reply counts as done when it is written. The
// target is for addresses without a path. The server must pass ${data} on as it came, as JSON: a
// message that comes back as a quoted text is not recognised.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/err.h"
#include "loadgen/dialect.h"
#include "loadgen/dialect_text.h"

namespace loadgen {

enum class rule_kind : uint8_t { ping, reply, greeting, over, ignored };

// What a message that begins with `text` is.
struct dialect_rule {
  rule_kind kind = rule_kind::ignored;
  reply_to to = reply_to::id;  // of a reply; id: the text has one
  bool is_error = false;
  text_pattern text;
};

struct dialect_file {
  std::string name, about;
  bool has_lines = false;
  text_pattern target;
  std::string protocol, pong;
  text_pattern connect, subscribe, unsubscribe, publish;  // empty: nothing is sent
  text_pattern publication;
  std::vector<dialect_rule> rules;  // tried in this order, behind the publication: errors first
  dialect_traits traits;
};

// not_found, io, or invalid with every problem in *problems ("file:line: [table] key what is wrong,
// what is allowed"), by line. *out is complete when it is ok.
core::err dialect_file_read(const std::string& path, dialect_file* out,
                            std::vector<std::string>* problems) noexcept;
// The same from text; the dialect's name is `name` without its folder and ".toml".
core::err dialect_file_parse(const std::string& text, const std::string& name, dialect_file* out,
                             std::vector<std::string>* problems) noexcept;

// The files of loadgen/dialects/, which are part of the program.
struct dialect_text_file {
  const char* name;  // "socket.io"
  std::string_view text;
};
extern const dialect_text_file kDialectFiles[];
extern const size_t kDialectFileCount;

// --dialect: a name of the above, or a file (what has a '/' or ends with ".toml"). Problems as
// above; not_found: one that names all.
core::err dialect_find(const std::string& name_or_path, dialect_file* out,
                       std::vector<std::string>* problems) noexcept;

// Can this scenario be run so? invalid: *why is a sentence.
core::err dialect_fits(const dialect_file& f, const scenario& asked, bool has_secret,
                       std::string* why) noexcept;

}  // namespace loadgen
