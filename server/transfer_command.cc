// Opens both ends, moves, tells.
#include "server/transfer_command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>

#include "core/limits.h"
#include "core/log.h"
#include "proto/command.h"
#include "server/command_line.h"
#include "server/settings.h"
#include "server/transfer_progress.h"
#include "store/transfer.h"

namespace server {
namespace {

std::atomic<bool> g_is_stopped{false};

// The first signal ends the move after its page; the second one the process.
void catch_signals() {
  g_is_stopped.store(false, std::memory_order_relaxed);
  struct sigaction a {};
  a.sa_handler = [](int) { g_is_stopped.store(true, std::memory_order_relaxed); };
  a.sa_flags = SA_RESETHAND;
  sigaction(SIGINT, &a, nullptr);
  sigaction(SIGTERM, &a, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int exit_of(core::err rc) {
  switch (rc) {
    case core::err::ok:
      return kTransferWhole;
    case core::err::invalid:
      return kTransferRefused;
    case core::err::denied:
      return kTransferBusy;
    case core::err::malformed:
      return kTransferBadFile;
    case core::err::conflict:
      return kTransferConflict;
    default:
      return kTransferFailed;
  }
}

struct transfer {
  transfer_direction direction;
  const char* name;
  transfer_line line;
  settings s;
  std::unique_ptr<store::history_source> from;
  std::unique_ptr<store::history_sink> to;
  int fd = -1;            // --in or --out, or standard input or output
  std::string part_path;  // export to a file: until it is whole
  std::unique_ptr<transfer_meter> meter;
  proto::command_parser* json = nullptr;
  std::string json_out;

  ~transfer() {
    from.reset();
    to.reset();
    if (fd > 2) close(fd);
    if (!part_path.empty()) unlink(part_path.c_str());
    if (json != nullptr) proto::command_parser_free(json);
  }
  int fail(core::err rc, const std::string& why) {
    if (meter != nullptr) meter->clear();
    std::fprintf(stderr, "parleyd %s: %s\n", name, why.c_str());
    return exit_of(rc);
  }
};

// Other settings than the store's are the server's business.
core::err load_settings(transfer* t, std::string* why) {
  core::config c;
  t->line.flags.emplace_back("listen", "127.0.0.1:8000");
  t->line.flags.emplace_back("broker", "local");
  return settings_from(t->line.flags, environ, &t->s, &c, why);
}

core::err open_store(transfer* t, std::string* why) {
  const bool is_out = t->direction == transfer_direction::out;
  if (t->s.store == store_kind::sqlite) {
    const std::string& path = t->s.sqlite.path;
    return is_out ? store::open_sqlite_source(path, core::system_clock(), &t->from, why)
                  : store::open_sqlite_sink(path, &t->to, why);
  }
  if (t->s.store == store_kind::mongo) {
    store::mongo_transfer_options o;
    o.url = t->s.mongo.url;
    o.lease_ms = t->s.mongo.lease_ms;
    return is_out ? store::open_mongo_source(o, &t->from, why)
                  : store::open_mongo_sink(o, &t->to, why);
  }
  *why = std::string("the store `") + store_name(t->s.store) +
         "` has no history that moves; there are sqlite:PATH and mongodb://…";
  return core::err::invalid;
}

// What a server passes on as it is.
bool is_json(void* user, std::string_view text) noexcept {
  auto* t = static_cast<transfer*>(user);
  t->json_out.clear();
  return proto::json_check(t->json, text, &t->json_out) == core::err::ok && t->json_out == text;
}

core::err open_input(transfer* t, std::string* why) {
  t->fd = STDIN_FILENO;
  if (t->line.path.empty() && isatty(t->fd) == 1) {
    *why = "standard input is a terminal: give --in FILE, or the output of parleyd export";
    return core::err::invalid;
  }
  if (!t->line.path.empty()) t->fd = open(t->line.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (t->fd < 0) {
    *why = "cannot read " + t->line.path + ": " + strerror(errno);
    return core::err::invalid;
  }
  struct stat st {};
  store::ndjson_source_options o;
  o.fd = t->fd;
  if (fstat(t->fd, &st) == 0 && S_ISREG(st.st_mode)) o.bytes = static_cast<uint64_t>(st.st_size);
  t->json = proto::command_parser_new(core::kHttpBodyBytesMax);
  o.is_json = is_json;
  o.user = t;
  t->from = store::open_ndjson_source(o);
  return core::err::ok;
}

core::err open_output(transfer* t, std::string* why) {
  t->fd = STDOUT_FILENO;
  const std::string& path = t->line.path;
  if (!path.empty()) {
    if (access(path.c_str(), F_OK) == 0) {
      *why = path + " is there already; an export overwrites nothing";
      return core::err::invalid;
    }
    const std::string part = path + ".part";
    t->fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (t->fd < 0) {
      *why = "cannot write " + part + ": " + strerror(errno);
      return core::err::invalid;
    }
    t->part_path = part;
  }
  t->to = store::open_ndjson_sink(t->fd);
  return core::err::ok;
}

// The whole file gets its name.
core::err finish_output(transfer* t, std::string* why) {
  if (t->part_path.empty()) return core::err::ok;
  if (rename(t->part_path.c_str(), t->line.path.c_str()) != 0) {
    *why = "cannot rename " + t->part_path + ": " + strerror(errno);
    return core::err::io;
  }
  t->part_path.clear();
  const size_t slash = t->line.path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : t->line.path.substr(0, slash + 1);
  const int dir = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool is_synced = dir >= 0 && (fsync(dir) == 0 || errno == EINVAL);
  if (dir >= 0) close(dir);
  if (is_synced) return core::err::ok;
  *why = "cannot sync " + folder + ": " + strerror(errno);
  return core::err::io;
}

bool on_page(void* user, const store::history_counts& so_far,
             const store::history_progress& p) noexcept {
  static_cast<transfer*>(user)->meter->show(so_far, p);
  return !g_is_stopped.load(std::memory_order_relaxed);
}

std::string summary(const transfer& t, const store::history_counts& n) {
  const auto count = [](uint64_t c, const char* what) {
    return std::to_string(c) + " " + what + (c == 1 ? "" : "s");
  };
  std::string text = count(n.channels, "channel") + ", " + count(n.publications, "publication");
  if (t.to->passed_over() > 0)
    text += " (" + std::to_string(t.to->passed_over()) + " of them were there)";
  char seconds[32];
  snprintf(seconds, sizeof seconds, "%.1f s", static_cast<double>(t.meter->elapsed_us()) / 1e6);
  return text + ", " + count(n.keys, "key") + ", " + std::to_string(n.user_channels) +
         " channels of users in " + seconds;
}

int run(transfer* t, int argc, const char* const* argv) {
  std::string why;
  core::err rc = transfer_line_parse(t->direction, argc, argv, &t->line, &why);
  if (rc != core::err::ok) return t->fail(core::err::invalid, why);
  if (t->line.is_help) return std::fputs(t->line.text.c_str(), stdout) < 0;
  core::log_setup(core::log_format::logfmt, core::log_level::error, 2);
  if (load_settings(t, &why) != core::err::ok) return t->fail(core::err::invalid, why);
  catch_signals();
  const bool is_out = t->direction == transfer_direction::out;
  rc = is_out ? open_store(t, &why) : open_input(t, &why);
  if (rc == core::err::ok) rc = is_out ? open_output(t, &why) : open_store(t, &why);
  if (rc != core::err::ok) return t->fail(rc, why);
  t->meter = std::make_unique<transfer_meter>(t->name);
  store::history_counts counts;
  rc = store::transfer_run(t->from.get(), t->to.get(), {on_page, t}, &counts, &why);
  if (rc == core::err::ok && is_out) rc = finish_output(t, &why);
  if (rc != core::err::ok) {
    const bool is_kept = !is_out && counts.publications > 0 && exit_of(rc) == kTransferFailed;
    return t->fail(rc, why + (is_kept ? "; " + std::to_string(counts.publications) +
                                            " publications are in. Run it again to go on"
                                      : ""));
  }
  t->meter->clear();
  std::fprintf(stderr, "parleyd %s: %s\n", t->name, summary(*t, counts).c_str());
  return kTransferWhole;
}

int command(transfer_direction d, const char* name, int argc, const char* const* argv) noexcept {
  try {
    transfer t{d, name};
    return run(&t, argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "parleyd %s: %s\n", name, e.what());
    return kTransferFailed;
  }
}

}  // namespace

int export_command(int argc, const char* const* argv) noexcept {
  return command(transfer_direction::out, "export", argc, argv);
}

int import_command(int argc, const char* const* argv) noexcept {
  return command(transfer_direction::in, "import", argc, argv);
}

}  // namespace server
