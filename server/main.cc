// parleyd: the command line, signals, and the life of one node.
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "server/command_line.h"
#include "server/errors_doc.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/token_command.h"
#include "server/transfer_command.h"

namespace {

constexpr int kExitBadSettings = 2;

int print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  return std::fflush(stdout) == 0 ? 0 : 1;
}

int refuse(const std::string& problems) {
  size_t at = 0;
  while (at <= problems.size()) {
    const size_t end = std::min(problems.find('\n', at), problems.size());
    std::fprintf(stderr, "parleyd: %s\n", problems.substr(at, end - at).c_str());
    at = end + 1;
  }
  return kExitBadSettings;
}

// Every connection is a descriptor: what the system allows is what we take.
void raise_fd_limit() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

// The first signal drains; a second one, watched for meanwhile, cuts the drain short.
void stop(server::node* n, const sigset_t& signals) {
  std::atomic<bool> cut_short{false}, is_done{false};
  std::thread watcher([&] {
    const timespec turn{0, 50'000'000};
    while (!is_done.load(std::memory_order_relaxed)) {
      if (sigtimedwait(&signals, nullptr, &turn) > 0)
        cut_short.store(true, std::memory_order_relaxed);
    }
  });
  server::node_stop(n, &cut_short);
  is_done.store(true, std::memory_order_relaxed);
  watcher.join();
}

int serve_logged(server::settings&& s, const sigset_t& signals, const server::loki* logs) {
  server::node* n = nullptr;
  std::string why;
  if (server::node_start(std::move(s), &n, &why, logs) != core::err::ok) {
    core::log_error("cannot start: " + why);
    return 1;
  }
  int caught = 0;
  while (sigwait(&signals, &caught) != 0) {
  }
  stop(n, signals);
  return 0;
}

int serve(server::settings&& s) {
  server::settings_apply_log(s);
  raise_fd_limit();
  signal(SIGPIPE, SIG_IGN);
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before threads start, so that they inherit it
  // Around the node, so that Loki also gets why it could not start, and its last line.
  server::loki* logs = s.has_loki ? server::loki_open(s.loki) : nullptr;
  const int rc = serve_logged(std::move(s), signals, logs);
  server::loki_close(logs);
  return rc;
}

int run(int argc, const char* const* argv) {
  using server::command_action;
  if (argc > 1 && std::string_view(argv[1]) == "token")
    return server::token_command(argc - 2, argv + 2);
  if (argc > 1 && std::string_view(argv[1]) == "export")
    return server::export_command(argc - 2, argv + 2);
  if (argc > 1 && std::string_view(argv[1]) == "import")
    return server::import_command(argc - 2, argv + 2);
  server::command_line line;
  std::string message;
  if (server::command_line_parse(server::settings_schema(), argc - 1, argv + 1, &line, &message) !=
      core::err::ok)
    return refuse(message);
  switch (line.action) {
    case command_action::help:
      return print(line.text);
    case command_action::version:
      return print("parleyd " PARLEY_VERSION "\n");
    case command_action::print_config_doc:
      return print(server::settings_markdown());
    case command_action::print_errors_doc:
      return print(server::errors_markdown());
    case command_action::print_metrics_doc:
      return print(server::metrics_markdown());
    case command_action::serve:
    case command_action::check_config:
    case command_action::print_config:
      break;
  }
  server::settings s;
  core::config c;
  const bool is_good =
      server::settings_from(line.flags, environ, &s, &c, &message) == core::err::ok;
  if (line.action == command_action::print_config)
    print(core::config_print(server::settings_schema(), c));
  if (!is_good) return refuse(message);
  if (line.action == command_action::print_config) return 0;
  if (line.action == command_action::check_config) return print("the settings are good\n");
  return serve(std::move(s));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "parleyd: %s\n", e.what());
    return 1;
  }
}
