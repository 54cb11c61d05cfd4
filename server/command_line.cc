// The adapter of CLI11.
#include "server/command_line.h"

#include <CLI/CLI.hpp>
#include <list>

namespace server {
namespace {

// CLI11 takes arguments from the last to the first.
core::err parse(CLI::App* app, int argc, const char* const* argv, bool* is_help, std::string* help,
                const std::vector<std::string>& known, std::string* message) {
  std::vector<std::string> args(argv, argv + argc);
  std::reverse(args.begin(), args.end());
  try {
    app->parse(args);
  } catch (const CLI::CallForHelp&) {
    *is_help = true;
    *help = app->help();
  } catch (const CLI::ExtrasError& e) {
    *message = e.what();
    for (int i = 0; i < argc; ++i) {
      const std::string_view flag =
          std::string_view(argv[i]).substr(0, std::string_view(argv[i]).find('='));
      if (!flag.starts_with("--")) continue;
      const std::string name(flag.substr(2));
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      const std::string near = core::config_nearest(name, known);
      *message = "unknown flag --" + name + (near.empty() ? "" : "; did you mean --" + near + "?");
      break;
    }
    return core::err::invalid;
  } catch (const CLI::Error& e) {
    *message = e.what();
    return core::err::invalid;
  }
  return core::err::ok;
}

}  // namespace

core::err command_line_parse(const core::config_schema& schema, int argc, const char* const* argv,
                             command_line* out, std::string* message) noexcept {
  try {
    CLI::App app(
        "parleyd: the Parley chat server. `parleyd token --help` makes tokens, `parleyd export "
        "--help` and `parleyd import --help` move history. Settings: docs/CONFIG.md",
        "parleyd");
    std::vector<std::string> known;
    std::list<std::vector<std::string>> values;  // stable addresses
    std::list<bool> switches;
    std::vector<std::pair<const core::setting*, std::vector<std::string>*>> texts;
    std::vector<std::pair<const core::setting*, bool*>> flags;
    for (const core::setting& s : schema.settings) {
      if (*s.flag == '\0') continue;
      known.emplace_back(s.flag);
      const std::string name = "--" + std::string(s.flag);
      if (s.type == core::setting_type::boolean) {
        flags.emplace_back(&s, &switches.emplace_back(false));
        app.add_flag(name, *flags.back().second, s.help);
      } else {
        texts.emplace_back(&s, &values.emplace_back());
        // One value for each use; the last use wins, but for lists.
        app.add_option(name, *texts.back().second, s.help)
            ->expected(1)
            ->take_all()
            ->type_name(*s.allowed == '\0' ? "TEXT" : s.allowed);
      }
    }
    constexpr std::pair<const char*, command_action> kActions[] = {
        {"check-config", command_action::check_config},
        {"print-config", command_action::print_config},
        {"print-config-doc", command_action::print_config_doc},
        {"print-errors-doc", command_action::print_errors_doc},
        {"print-metrics-doc", command_action::print_metrics_doc},
        {"version", command_action::version}};
    constexpr const char* kActionHelp[] = {"Say whether the settings are good, and end",
                                           "Print the settings with where each came from, and end",
                                           "Print docs/CONFIG.md, and end",
                                           "Print docs/ERRORS.md, and end",
                                           "Print docs/METRICS.md, and end",
                                           "Print the version, and end"};
    std::vector<std::pair<bool*, command_action>> actions;
    size_t i = 0;
    for (const auto& [name, action] : kActions) {
      known.emplace_back(name);
      actions.emplace_back(&switches.emplace_back(false), action);
      app.add_flag("--" + std::string(name), *actions.back().first, kActionHelp[i++]);
    }
    known.emplace_back("help");
    bool is_help = false;
    const core::err rc = parse(&app, argc, argv, &is_help, &out->text, known, message);
    if (rc != core::err::ok) return rc;
    if (is_help) out->action = command_action::help;
    for (const auto& [s, list] : texts) {
      for (const std::string& v : *list) out->flags.emplace_back(s->flag, v);
    }
    for (const auto& [s, is_on] : flags) {
      if (*is_on) out->flags.emplace_back(s->flag, "true");
    }
    for (const auto& [is_on, action] : actions) {
      if (*is_on) out->action = action;
    }
    return core::err::ok;
  } catch (const std::exception& e) {
    *message = e.what();
    return core::err::invalid;
  }
}

core::err token_line_parse(int argc, const char* const* argv, token_line* out,
                           std::string* message) noexcept {
  try {
    CLI::App app(
        "Prints a token (HS256) for a client, or for a subscription when --channel is given.",
        "parleyd token");
    std::vector<std::string> secrets;
    std::string config;
    app.add_option("--user", out->user, "The user's id: the token's sub")->required();
    app.add_option("--info", out->info, "JSON that other clients see with the user");
    app.add_option("--channel", out->channel, "Make a subscription token for this channel");
    app.add_option("--ttl", out->ttl_s, "Seconds until it expires; 0: never")
        ->check(CLI::Range(int64_t{0}, int64_t{10} * 365 * 24 * 3600));
    app.add_option("--token-hmac-secret", secrets,
                   "The secret; by default the server's settings say it")
        ->expected(1)
        ->take_all();
    app.add_option("--config", config, "The server's settings file");
    const core::err rc =
        parse(&app, argc, argv, &out->is_help, &out->text,
              {"user", "info", "channel", "ttl", "token-hmac-secret", "config", "help"}, message);
    if (rc != core::err::ok) return rc;
    for (const std::string& s : secrets) out->flags.emplace_back("token-hmac-secret", s);
    if (!config.empty()) out->flags.emplace_back("config", config);
    return core::err::ok;
  } catch (const std::exception& e) {
    *message = e.what();
    return core::err::invalid;
  }
}

core::err transfer_line_parse(transfer_direction d, int argc, const char* const* argv,
                              transfer_line* out, std::string* message) noexcept {
  const bool is_out = d == transfer_direction::out;
  try {
    CLI::App app(is_out
                     ? "Writes the history of a store to a file or standard output, as NDJSON "
                       "(docs/TRANSFER.md). No parleyd may have the store."
                     : "Brings a history from a file or standard input into a store that is empty "
                       "or has it in part (docs/TRANSFER.md). No parleyd may have the store.",
                 is_out ? "parleyd export" : "parleyd import");
    std::string store, config;
    app.add_option(
        "--store", store,
        "sqlite:PATH or mongodb://…; by default the server's settings say it, which keep "
        "a password out of the process list");
    app.add_option(is_out ? "--out" : "--in", out->path,
                   is_out ? "The file; it is there when it is whole. Default: standard output"
                          : "The file. Default: standard input");
    app.add_option("--config", config, "The server's settings file");
    const core::err rc = parse(&app, argc, argv, &out->is_help, &out->text,
                               {"store", is_out ? "out" : "in", "config", "help"}, message);
    if (rc != core::err::ok) return rc;
    if (!store.empty()) out->flags.emplace_back("store", store);
    if (!config.empty()) out->flags.emplace_back("config", config);
    return core::err::ok;
  } catch (const std::exception& e) {
    *message = e.what();
    return core::err::invalid;
  }
}

}  // namespace server
