// parleyd's settings: layers, relations, access rules, namespaces; the committed documents are
// current.
#include "server/settings.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "server/command_line.h"
#include "server/errors_doc.h"
#include "server/metrics.h"

namespace server {
namespace {

class settings_test : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/parley-settings-XXXXXX";
    const int fd = mkstemp(name);
    ASSERT_GE(fd, 0);
    close(fd);
    path_ = name;
  }
  void TearDown() override { unlink(path_.c_str()); }
  void file(const std::string& text) {
    std::ofstream(path_) << text;
    has_file_ = true;
  }
  core::err load(std::vector<const char*> args = {}) {
    s_ = {};
    c_ = {};
    message_.clear();
    if (has_file_) args.insert(args.end(), {"--config", path_.c_str()});
    command_line line;
    const core::err rc = command_line_parse(settings_schema(), static_cast<int>(args.size()),
                                            args.data(), &line, &message_);
    action_ = line.action;
    if (rc != core::err::ok) return rc;
    std::vector<const char*> env(env_.begin(), env_.end());
    env.push_back(nullptr);
    return settings_from(line.flags, env.data(), &s_, &c_, &message_);
  }
  void refused(std::vector<const char*> args, const std::string& part) {
    EXPECT_EQ(load(std::move(args)), core::err::invalid) << part;
    EXPECT_NE(message_.find(part), std::string::npos) << message_;
  }
  void refused_file(const std::string& text, const std::string& part) {
    file(text);
    refused({"--token-hmac-secret", "s"}, part);
  }
  const chat::namespace_settings* ns(const std::string& name) {
    for (const auto& n : s_.chat.namespaces) {
      if (n.name == name) return &n;
    }
    return nullptr;
  }

  std::string path_;
  bool has_file_ = false;
  std::vector<const char*> env_;
  settings s_;
  core::config c_;
  std::string message_;
  command_action action_ = command_action::serve;
};

TEST_F(settings_test, defaults_are_for_development_on_loopback) {
  ASSERT_EQ(load(), core::err::ok) << message_;
  EXPECT_EQ(s_.listen.port, 8000);
  EXPECT_EQ(s_.sqlite.path, "parley.sqlite");
  EXPECT_TRUE(s_.is_development);
  EXPECT_TRUE(s_.has_guest_tokens);
  ASSERT_EQ(s_.chat.token_keys.hmac_secrets.size(), 1u);
  EXPECT_EQ(s_.chat.token_keys.hmac_secrets[0].size(), 64u);
  const std::string first = s_.chat.token_keys.hmac_secrets[0];
  ASSERT_EQ(load(), core::err::ok);
  EXPECT_NE(s_.chat.token_keys.hmac_secrets[0], first);
  const chat::settings built_in;
  EXPECT_EQ(s_.chat.ping_ms, built_in.ping_ms);
  EXPECT_EQ(s_.chat.pong_wait_ms, built_in.pong_wait_ms);
  EXPECT_EQ(s_.chat.queue_bytes_max, built_in.queue_bytes_max);
  EXPECT_EQ(s_.chat.recovery_bytes_max, built_in.recovery_bytes_max);
  EXPECT_EQ(s_.chat.commands_burst, built_in.commands_burst);
  EXPECT_EQ(s_.chat.idempotency_ttl_ms, built_in.idempotency_ttl_ms);
  EXPECT_EQ(s_.chat.shutdown_ms, built_in.shutdown_ms);
}

TEST_F(settings_test, access) {
  ASSERT_EQ(load({"--token-hmac-secret", "a", "--token-hmac-secret=b,c", "--api-key", "k",
                  "--allow-anonymous", "--listen", "0.0.0.0:0"}),
            core::err::ok)
      << message_;
  EXPECT_EQ(s_.chat.token_keys.hmac_secrets, (std::vector<std::string>{"a", "b,c"}));
  EXPECT_EQ(s_.api_keys, (std::vector<std::string>{"k"}));
  EXPECT_TRUE(s_.chat.allow_anonymous);
  EXPECT_FALSE(s_.has_guest_tokens || s_.is_development || s_.chat.is_insecure);
  refused({"--listen", "0.0.0.0:0"}, "loopback only");
  refused({"--listen", "0.0.0.0:0", "--token-hmac-secret", "s", "--insecure-dev"}, "insecure_dev");
  ASSERT_EQ(load({"--insecure-dev", "--token-hmac-secret", "s"}), core::err::ok) << message_;
  EXPECT_TRUE(s_.chat.is_insecure && s_.has_guest_tokens);
  EXPECT_FALSE(s_.is_development);
  refused({"--listen", "nonsense"}, "listen must be HOST:PORT");
  refused({"--token-hmac-secret", ""}, "empty secret");
  refused({"--api-key", ""}, "empty key");
  refused_file("[token]\npublic_key_files = [\"/nowhere.pem\"]\n", "/nowhere.pem cannot be read");
  refused_file("[subscription_token]\nissuer = \"x\"\n", "need keys");
  file("[guest]\nenabled = true\n");
  ASSERT_EQ(load({"--token-hmac-secret", "s"}), core::err::ok);
  EXPECT_TRUE(s_.has_guest_tokens);
}

TEST_F(settings_test, layers) {
  file("listen = \"127.0.0.1:1\"\nloops = 3\n[log]\nformat = \"json\"\n");
  env_ = {"PARLEY_LISTEN=127.0.0.1:2", "PARLEY_TOKEN_HMAC_SECRET=e", "PARLEY_STORE=memory"};
  ASSERT_EQ(load({"--listen", "127.0.0.1:3"}), core::err::ok) << message_;
  EXPECT_EQ(s_.listen.port, 3);
  EXPECT_EQ(s_.loops, 3u);
  EXPECT_EQ(s_.store, store_kind::memory);
  EXPECT_EQ(s_.log_format, core::log_format::json);
  EXPECT_EQ(s_.chat.token_keys.hmac_secrets, (std::vector<std::string>{"e"}));
  ASSERT_EQ(load(), core::err::ok);
  EXPECT_EQ(s_.listen.port, 2);
  env_ = {};
  ASSERT_EQ(load({"--listen", "127.0.0.1:3", "--listen", "127.0.0.1:4"}), core::err::ok)
      << message_;
  EXPECT_EQ(s_.listen.port, 4);
  const std::string path = "PARLEY_CONFIG=" + path_;
  has_file_ = false;
  env_ = {path.c_str()};
  ASSERT_EQ(load(), core::err::ok);
  EXPECT_EQ(s_.listen.port, 1);
  refused_file("config = \"x\"\n", "cannot stand in a file");
}

TEST_F(settings_test, stores_and_brokers) {
  ASSERT_EQ(load({"--store", "sqlite:/a/b c"}), core::err::ok);
  EXPECT_EQ(s_.sqlite.path, "/a/b c");
  ASSERT_EQ(load({"--broker", "local"}), core::err::ok);
  EXPECT_EQ(s_.store, store_kind::sqlite);
  for (const char* bad : {"mongo://h/x", "sqlite:", "disk", ""})
    refused({"--store", bad}, "`sqlite:PATH`");
  refused({"--store", "none"}, "goes with the broker redis://");
  refused({"--broker", "x"}, "broker must be `local`");

  ASSERT_EQ(load({"--broker", "redis://:secret@h:7000/3"}), core::err::ok) << message_;
  EXPECT_EQ(s_.store, store_kind::none) << "streams are the history";
  EXPECT_TRUE(s_.has_redis);
  EXPECT_EQ(s_.redis_partitions, 128u);
  EXPECT_EQ(s_.redis_lease_ms, 15'000u);
  for (const chat::namespace_settings& n : s_.chat.namespaces)
    EXPECT_TRUE(!n.has_history || n.keep.size_max <= 10'000) << n.name << ": streams are memory";
  EXPECT_EQ(load({"--broker", "redis://h", "--store", "none"}), core::err::ok) << message_;
  refused({"--broker", "redis://h", "--store", "memory"}, "which one node has for itself");
  refused({"--broker", "redis://h", "--store", "sqlite:x"}, "which one node has for itself");
  refused({"--broker", "redis://h:x"}, "broker: ");
  EXPECT_EQ(load({"--broker", "redis-sentinel://h,i/shop"}), core::err::ok) << message_;
  EXPECT_EQ(s_.redis.master_name, "shop");
  EXPECT_EQ(load({"--broker", "redis-cluster://h,i"}), core::err::ok) << message_;
  EXPECT_EQ(s_.redis.topology, broker::redis_topology::cluster);
}

TEST_F(settings_test, a_store_in_mongodb) {
  const char* url = "mongodb://me:geheim@a:1,b:2/chat?replicaSet=r";
  ASSERT_EQ(load({"--store", url}), core::err::ok) << message_;
  EXPECT_EQ(s_.store, store_kind::mongo);
  EXPECT_EQ(s_.mongo.url, url);
  EXPECT_EQ(s_.mongo.spool_dir, "parley-spool");
  EXPECT_EQ(s_.mongo.batch_age_ms, 5u);
  file(
      "[store]\nurl = \"mongodb://h\"\nspool_dir = \"/s\"\nspool_size_max = \"2MiB\"\n"
      "backlog_max = 5000\nmongo_writers = 3\nmongo_readers = 4\n"
      "batch_count_max = 7\nbatch_size_max = \"1MiB\"\nbatch_age = \"1s\"\n"
      "retry_max = \"2s\"\nqueue_max = 99\nstored_timeout = \"3s\"\n"
      "[namespace.sure]\nhistory_forever = true\nacknowledge_stored = true\n");
  ASSERT_EQ(load(), core::err::ok) << message_;
  EXPECT_EQ(s_.mongo.spool_dir, "/s");
  EXPECT_EQ(s_.mongo.spool_bytes_max, 2u << 20);
  EXPECT_EQ(s_.mongo.backlog_max, 5000u);
  EXPECT_EQ(s_.mongo.writers, 3u);
  EXPECT_EQ(s_.mongo.readers, 4u);
  EXPECT_EQ(s_.mongo.batch_count_max, 7u);
  EXPECT_EQ(s_.mongo.batch_bytes_max, 1u << 20);
  EXPECT_EQ(s_.mongo.batch_age_ms, 1000u);
  EXPECT_EQ(s_.mongo.retry_ms_max, 2000u);
  EXPECT_EQ(s_.mongo.queue_max, 99u);
  EXPECT_EQ(s_.mongo.stored_ms, 3000u);
  EXPECT_TRUE(ns("sure")->acknowledge_stored);
  EXPECT_FALSE(ns("")->acknowledge_stored);
  refused_file("[namespace.x]\nacknowledge_stored = true\n", "needs history");
  file("");
  refused({"--store", "mongodb://"}, "is not one");
  refused({"--store", "mongodb://h/?w=0"}, "without an acknowledgement");
  refused({"--broker", "redis://h", "--store", url}, "which one node has for itself");
  EXPECT_EQ(message_.find("geheim"), std::string::npos) << message_;
  refused_file("[store]\nurl = \"mongodb://h\"\nsize_max = \"1MiB\"\n", "spool_size_max");
  refused_file("[store]\nurl = \"mongodb://h\"\nspool_dir = \"\"\n", "is a directory");
}

TEST_F(settings_test, logs) {
  ASSERT_EQ(load(), core::err::ok) << message_;
  EXPECT_FALSE(s_.has_loki);
  EXPECT_TRUE(s_.log_levels.empty());
  env_ = {"PARLEY_LOG_LOKI_URL=http://loki:3100", "PARLEY_LOG_LEVELS=broker=debug,chat=error",
          "PARLEY_NODE_NAME=n1"};
  ASSERT_EQ(load(), core::err::ok) << message_;
  EXPECT_TRUE(s_.has_loki);
  EXPECT_EQ(s_.loki.target.host, "loki:3100");
  EXPECT_EQ(s_.loki.target.path, "/loki/api/v1/push");
  EXPECT_EQ(s_.loki.labels, (loki_labels{{"job", "parley"}, {"node", "n1"}}));
  ASSERT_EQ(s_.log_levels.size(), 2u);
  EXPECT_EQ(s_.log_levels[1].first, core::log_component::chat);
  EXPECT_EQ(s_.log_levels[1].second, core::log_level::error);
  env_ = {"PARLEY_LOG_LOKI_URL=http://gateway/own/push",
          "PARLEY_LOG_LOKI_LABELS=job=chat,env=a=b,node=x"};
  ASSERT_EQ(load(), core::err::ok) << message_;
  EXPECT_EQ(s_.loki.target.path, "/own/push");
  EXPECT_EQ(s_.loki.labels, (loki_labels{{"job", "chat"}, {"env", "a=b"}, {"node", "x"}}));

  for (const auto& [line, part] : std::vector<std::pair<const char*, const char*>>{
           {"PARLEY_LOG_LOKI_URL=https://loki", "left to an agent"},
           {"PARLEY_LOG_LOKI_URL=loki:3100", "must be http://HOST"},
           {"PARLEY_LOG_LOKI_LABELS=job", "must be NAME=VALUE"},
           {"PARLEY_LOG_LOKI_LABELS=my-job=x", "must be NAME=VALUE"},
           {"PARLEY_LOG_LOKI_LABELS=job=", "must be NAME=VALUE"},
           {"PARLEY_LOG_LOKI_LABELS=level=x", "level is the line's own"},
           {"PARLEY_LOG_LOKI_LABELS=a=1,a=2", "a stands there twice"},
           {"PARLEY_LOG_LOKI_LABELS=a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1", "at most 10"},
           {"PARLEY_LOG_LEVELS=debug", "must be COMPONENT=LEVEL"},
           {"PARLEY_LOG_LEVELS=brokers=debug", "must be COMPONENT=LEVEL"},
           {"PARLEY_LOG_LEVELS=broker=loud", "must be COMPONENT=LEVEL"}}) {
    env_ = {line};
    refused({}, part);
  }
  env_ = {"PARLEY_LOG_LOKI_LABELS=a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1"};
  EXPECT_EQ(load(), core::err::ok) << "ten with node: " << message_;
}

TEST_F(settings_test, bounds_of_the_store) {
  ASSERT_EQ(load(), core::err::ok);
  const store::sqlite_options built_in;
  EXPECT_EQ(s_.sqlite.queue_max, built_in.queue_max);
  EXPECT_EQ(s_.sqlite.queue_bytes_max, built_in.queue_bytes_max);
  EXPECT_EQ(s_.sqlite.bytes_max, built_in.bytes_max);
  EXPECT_EQ(s_.sqlite.commit_count_max, built_in.commit_count_max);
  EXPECT_EQ(s_.sqlite.sweep_ms, built_in.sweep_ms);
  file("[store]\nsize_max = \"2GiB\"\nqueue_size_max = \"1MiB\"\nsqlite_sync = \"normal\"\n");
  ASSERT_EQ(load(), core::err::ok) << message_;
  EXPECT_EQ(s_.sqlite.bytes_max, uint64_t{2} << 30);
  EXPECT_EQ(s_.store_bytes_max, uint64_t{2} << 30);
  EXPECT_EQ(s_.sqlite.queue_bytes_max, 1u << 20);
  EXPECT_FALSE(s_.sqlite.is_full_sync);
  refused_file("[store]\nqueue_size_max = 1048575\n", "store.queue_size_max must be between");
}

TEST_F(settings_test, relations) {
  file("[client]\nqueue_size_max = \"256KiB\"\nrecovery_size_max = \"128KiB\"\n");
  EXPECT_EQ(load(), core::err::ok) << message_;
  refused_file("[client]\nqueue_size_max = \"256KiB\"\nrecovery_size_max = 131073\n",
               "at most half of client.queue_size_max");
  refused_file("[client]\nqueue_size_max = \"64KiB\"\nrecovery_size_max = \"32KiB\"\n",
               "publication_size_max");
  refused_file("[client]\nping_interval = \"10s\"\npong_timeout = \"10s\"\n",
               "shorter than client.ping_interval");
  file("[client]\nchannels_max = 399\n");
  EXPECT_EQ(load(), core::err::ok) << message_;
  refused_file("[client]\nchannels_max = 400\n", "at least client.channels_max + 1 = 401");
  file("[client]\nchannels_max = 400\ncommands_per_second = 0\n");
  EXPECT_EQ(load(), core::err::ok) << message_;
}

TEST_F(settings_test, namespaces) {
  file(
      "[channel]\npresence = false\n[namespace.live]\npresence = "
      "true\n[namespace.small]\nhistory_size = 2\nhistory_ttl = \"300s\"\nforce_recovery = true\n"
      "[namespace.kept]\nhistory_forever = true\n[namespace.newest]\nhistory_forever = "
      "true\nhistory_size = 5\n[namespace.dm]\nhistory_size = 9\nhistory_ttl = "
      "\"9s\"\n[namespace.bare]\n");
  ASSERT_EQ(load(), core::err::ok) << message_;
  EXPECT_FALSE(ns("")->presence);
  EXPECT_TRUE(ns("")->has_history && ns("")->allow_subscribe_for_client);
  EXPECT_TRUE(ns("live")->presence);
  EXPECT_FALSE(ns("live")->has_history);
  EXPECT_TRUE(ns("small")->has_history && ns("small")->force_recovery);
  EXPECT_EQ(ns("small")->keep.size_max, 2u);
  EXPECT_EQ(ns("small")->keep.ttl_ms, 300'000u);
  EXPECT_FALSE(ns("small")->allow_subscribe_for_client);
  EXPECT_TRUE(ns("kept")->has_history);
  EXPECT_EQ(ns("kept")->keep.size_max, store::retention::kForever);
  EXPECT_EQ(ns("newest")->keep.size_max, 5u);
  EXPECT_EQ(ns("dm")->keep.ttl_ms, 9000u);
  EXPECT_FALSE(ns("bare")->has_history || ns("bare")->presence ||
               ns("bare")->allow_user_limited_channels);
  EXPECT_EQ(s_.chat.namespaces[0].name, "");
}

TEST_F(settings_test, namespaces_that_contradict_themselves) {
  refused_file("[namespace.a]\nhistory_size = 2\n", "needs both history_size and history_ttl");
  refused_file("[channel]\nhistory_ttl = \"2s\"\n", "needs both history_size and history_ttl");
  refused_file("[namespace.a]\nhistory_forever = true\nhistory_ttl = \"2s\"\n",
               "exclude each other");
  for (const char* option :
       {"force_recovery", "allow_recovery", "force_positioning", "allow_positioning"}) {
    refused_file("[namespace.a]\n" + std::string(option) + " = true\n",
                 std::string(option) + " needs history");
  }
  refused_file("[namespace.a]\nforce_push_join_leave = true\n", "needs join_leave");
  refused_file("[namespace.\"a b\"]\n", "a namespace's name");
  refused_file("[namespace.a]\npublication_size_max = \"449KiB\"\n", "must be between");
  file("[namespace.a]\npublication_size_max = \"448KiB\"\n");
  EXPECT_EQ(load(), core::err::ok) << message_;
  file("[channel]\nhistory_forever = false\n");
  ASSERT_EQ(load(), core::err::ok) << message_;
  EXPECT_FALSE(ns("")->has_history || ns("")->force_recovery);
}

TEST_F(settings_test, every_problem_is_told_at_once) {
  file("[clinet]\n[channel]\nhistory_size = 3\n[client]\nping_interval = 5\n");
  EXPECT_EQ(load({"--store", "none", "--listen", "x"}), core::err::invalid);
  EXPECT_EQ(std::count(message_.begin(), message_.end(), '\n'), 4) << message_;
}

TEST_F(settings_test, command_line) {
  refused({"--lisen", "x"}, "unknown flag --lisen; did you mean --listen?");
  refused({"--loops", "many"}, "loops must be a whole number");
  refused({"--loops", "1025"}, "between 0 and 1024");
  refused({"--loops"}, "--loops");
  for (const auto& [flag, action] : std::vector<std::pair<const char*, command_action>>{
           {"--check-config", command_action::check_config},
           {"--print-config", command_action::print_config},
           {"--version", command_action::version},
           {"--help", command_action::help},
           {"--print-config-doc", command_action::print_config_doc},
           {"--print-errors-doc", command_action::print_errors_doc},
           {"--print-metrics-doc", command_action::print_metrics_doc}}) {
    EXPECT_EQ(load({flag}), core::err::ok) << message_;
    EXPECT_EQ(action_, action) << flag;
  }
}

TEST_F(settings_test, printed_settings_tell_origins_and_no_secrets) {
  file("[namespace.chat]\npresence = true\n");
  ASSERT_EQ(load({"--token-hmac-secret", "hush", "--api-key", "hush2", "--loops", "2"}),
            core::err::ok);
  const std::string text = core::config_print(settings_schema(), c_);
  EXPECT_EQ(text.find("hush"), std::string::npos);
  EXPECT_NE(text.find("hmac_secrets = [\"***\"]  # from flag --token-hmac-secret"),
            std::string::npos);
  EXPECT_NE(text.find("loops = 2  # from flag --loops"), std::string::npos);
  EXPECT_NE(text.find("[namespace.\"chat\"]"), std::string::npos);
  EXPECT_NE(text.find("presence = true  # from file:2"), std::string::npos);
  EXPECT_NE(text.find("history_forever = true  # from default"), std::string::npos);

  const char* args[] = {"--token-hmac-secret", "hush", "--listen", "127.0.0.1:9"};
  core::config_origin_list origins;
  settings s;
  message_.clear();
  ASSERT_EQ(settings_load(4, args, &s, &origins, &message_), core::err::ok) << message_;
  EXPECT_EQ(origins.size(), settings_schema().settings.size());
  for (const auto& o : origins) {
    if (o.key == "token.hmac_secrets") {
      EXPECT_EQ(o.value, "***");
    }
    if (o.key == "listen") {
      EXPECT_EQ(o.from, "flag --listen");
    }
  }
}

TEST_F(settings_test, token_command_line) {
  token_line t;
  const char* good[] = {
      "--user", "u", "--info", "{}", "--channel", "c", "--ttl", "5", "--token-hmac-secret", "s"};
  ASSERT_EQ(token_line_parse(10, good, &t, &message_), core::err::ok) << message_;
  EXPECT_EQ(t.user + t.info + t.channel + std::to_string(t.ttl_s), "u{}c5");
  EXPECT_EQ(t.flags.size(), 1u);
  token_line none;
  EXPECT_EQ(token_line_parse(0, nullptr, &none, &message_), core::err::invalid);
  const char* negative[] = {"--user", "u", "--ttl", "-1"};
  EXPECT_EQ(token_line_parse(4, negative, &none, &message_), core::err::invalid);
}

std::string committed(const char* name) {
  // From this file's place: tests/server/ is two folders below the root.
  std::string root = __FILE__;
  for (int i = 0; i < 3; ++i) root.resize(root.rfind('/'));
  std::ifstream in(root + "/docs/" + name);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(documents_test, are_current) {
  EXPECT_EQ(committed("CONFIG.md"), settings_markdown())
      << "run parleyd --print-config-doc > docs/CONFIG.md";
  EXPECT_EQ(committed("METRICS.md"), metrics_markdown())
      << "run parleyd --print-metrics-doc > docs/METRICS.md";
  EXPECT_EQ(committed("ERRORS.md"), errors_markdown())
      << "run parleyd --print-errors-doc > docs/ERRORS.md";
}

}  // namespace
}  // namespace server
