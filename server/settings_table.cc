// The one table of settings: key, flag, environment name, type, default, limits, unit, reason.
// docs/CONFIG.md is printed from it.
#include "core/limits.h"
#include "server/settings.h"

namespace server {
namespace {

using core::setting_type;

constexpr int64_t kSecond = 1000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr int64_t kKiB = 1024, kMiB = 1024 * kKiB;
constexpr auto kBool = setting_type::boolean;
constexpr auto kInt = setting_type::integer;
constexpr auto kText = setting_type::text;
constexpr auto kList = setting_type::text_list;
constexpr auto kTime = setting_type::duration_ms;
constexpr auto kBytes = setting_type::bytes;

core::config_schema make_schema() {
  core::config_schema t;
  t.settings = {
      {"config", "config", "", kText, "", 0, 0, "", "path",
       "The TOML file to read; not allowed in a file itself.", false},
      {"listen", "listen", "", kText, "127.0.0.1:8000", 0, 0, "", "HOST:PORT",
       "Where to serve; port 0 lets the system choose. Beyond loopback a token key is needed.",
       false},
      {"loops", "loops", "", kInt, "0", 0, 1024, "", "threads",
       "Event loops; 0 is one for each core that the process may use.", false},
      {"insecure_dev", "insecure-dev", "", kBool, "false", 0, 0, "", "",
       "Clients need no token and may do everything in every channel; loopback only. Tokens that "
       "are given are verified, expiry apart.",
       false},
      {"store.url", "store", "PARLEY_STORE", kText, "sqlite:parley.sqlite", 0, 0, "",
       "memory, sqlite:PATH, mongodb://…, none",
       "Where history is kept; memory forgets it at the end of the process. mongodb:// and "
       "mongodb+srv:// are connection strings as MongoDB documents them, database parley without "
       "one. none goes with the broker redis://, whose streams are the history, and is the default "
       "with it.",
       true},
      {"store.sqlite_sync", "", "", kText, "full", 0, 0, "full|normal", "",
       "full survives a loss of power; normal only a crash of the process, and is faster.", false},
      {"store.sqlite_readers", "", "", kInt, "2", 1, 64, "", "threads",
       "Threads that read history; more help when many clients page at the same time.", false},
      {"store.spool_dir", "", "PARLEY_SPOOL_DIR", kText, "parley-spool", 0, 0, "", "path",
       "With mongodb://: the directory of the write-ahead spool, on a disk that outlives the "
       "process. A publication is acknowledged when it is synced there, and waits there for "
       "MongoDB.",
       false},
      {"store.spool_size_max", "", "", kBytes, "4GiB", kMiB, int64_t{1} << 50, "", "bytes",
       "Of the spool; beyond it publishes are answered with the temporary error 111.", false},
      {"store.backlog_max", "", "", kInt, "2000000", 1000, 100'000'000, "", "publications",
       "In the spool and not yet in MongoDB, at 50 bytes of memory each; beyond it publishes are "
       "answered with the temporary error 111.",
       false},
      {"store.mongo_writers", "", "", kInt, "2", 1, 64, "", "threads",
       "Batches on their way to MongoDB at the same time; a channel always goes by the same one.",
       false},
      {"store.mongo_readers", "", "", kInt, "2", 1, 64, "", "threads",
       "Threads that read history from MongoDB.", false},
      {"store.batch_count_max", "", "", kInt, "1000", 1, 100'000, "", "publications",
       "In one bulk insert.", false},
      {"store.batch_size_max", "", "", kBytes, "4MiB", 64 * kKiB, 48 * kMiB, "", "bytes",
       "In one bulk insert; a single larger publication goes alone.", false},
      {"store.batch_age", "", "", kTime, "5ms", 0, kMinute, "", "time",
       "How long a small batch waits for more. Nobody waits for it: publications are acknowledged "
       "before.",
       false},
      {"store.stored_timeout", "", "", kTime, "10s", 100, 10 * kMinute, "", "time",
       "How long an author whose namespace has acknowledge_stored waits for MongoDB.", false},
      {"store.retry_max", "", "", kTime, "5s", 50, kMinute, "", "time",
       "The longest pause between two tries to reach MongoDB; they begin at 50 ms and double, "
       "jittered.",
       false},
      {"store.queue_max", "", "", kInt, "65536", 16, 1 << 20, "", "requests",
       "Waiting for the store; beyond it publishes are answered with the temporary error 111.",
       false},
      {"store.queue_size_max", "", "", kBytes, "256MiB", kMiB, 64 * 1024 * kMiB, "", "bytes",
       "Of publications waiting for the store; beyond it publishes are answered with the temporary "
       "error 111.",
       false},
      {"store.size_max", "", "", kBytes, "0", 0, int64_t{1} << 50, "", "bytes",
       "The store grows no further and publishes fail as on a full disk; 0 is no bound but the "
       "disk, and 1GiB for memory.",
       false},
      {"store.commit_max", "", "", kInt, "2048", 1, 65536, "", "publications",
       "In one transaction: a group pays for one sync, but all of it waits for the last.", false},
      {"store.sweep_interval", "", "", kTime, "10s", kSecond, kHour, "", "time",
       "How often what retention has ended is deleted; reading obeys retention at once.", false},
      {"store.idempotency_ttl", "", "", kTime, "24h", kMinute, 30 * kDay, "", "time",
       "How long a key makes a repeated publish harmless.", false},
      {"broker.url", "broker", "PARLEY_BROKER", kText, "local", 0, 0, "",
       "local, redis://[USER:PASSWORD@]HOST:PORT",
       "What carries publications between nodes; local is one node. Several servers, with commas: "
       "channels are hashed over them. redis-sentinel://[USER:PASSWORD@]SENTINEL,…/NAME asks "
       "Sentinels for the master, redis-cluster://[USER:PASSWORD@]NODE,… is a Redis Cluster. "
       "rediss:// is TLS, redis+unix:///PATH a unix socket.",
       true},
      {"broker.prefix", "", "PARLEY_BROKER_PREFIX", kText, "parley", 0, 0, "", "",
       "Begins every key in Redis; deployments that share a server differ in it.", false},
      {"broker.partitions", "", "", kInt, "128", 1, 16384, "", "partitions",
       "Hash tags that channels are spread over in Redis; the same on all nodes, for good.", false},
      {"broker.lease", "", "", kTime, "15s", 2 * kSecond, 5 * kMinute, "", "time",
       "A node that has not renewed its lease for so long counts as dead, and its clients leave "
       "presence; it is renewed three times in it.",
       false},
      {"broker.history_size_max", "", "", kInt, "10000", 1, 10'000'000, "", "publications",
       "With the store none: what a channel's stream keeps at most, also where the namespace says "
       "for good.",
       false},
      {"token.hmac_secrets", "token-hmac-secret", "PARLEY_TOKEN_HMAC_SECRET", kList, "", 0, 0, "",
       "",
       "Secrets of HS256, HS384 and HS512 tokens; several, so that they can be rotated. Without "
       "any key the server is for development: loopback only.",
       true},
      {"token.public_key_files", "", "", kList, "", 0, 0, "", "paths",
       "PEM files with public keys of RS256 or ES256 tokens.", false},
      {"token.audience", "", "", kText, "", 0, 0, "", "", "When set, tokens must have it as aud.",
       false},
      {"token.issuer", "", "", kText, "", 0, 0, "", "", "When set, tokens must have it as iss.",
       false},
      {"subscription_token.hmac_secrets", "", "PARLEY_SUBSCRIPTION_TOKEN_HMAC_SECRET", kList, "", 0,
       0, "", "",
       "Own secrets of subscription tokens; without any key here those of [token] serve both.",
       true},
      {"subscription_token.public_key_files", "", "", kList, "", 0, 0, "", "paths",
       "Likewise public keys.", false},
      {"subscription_token.audience", "", "", kText, "", 0, 0, "", "",
       "When set, subscription tokens must have it as aud; goes with own keys.", false},
      {"subscription_token.issuer", "", "", kText, "", 0, 0, "", "",
       "When set, subscription tokens must have it as iss; goes with own keys.", false},
      {"api.keys", "api-key", "PARLEY_API_KEY", kList, "", 0, 0, "", "",
       "Keys of the server API; several, so that they can be rotated. Without one the API refuses "
       "all calls.",
       true},
      {"guest.enabled", "", "", kBool, "false", 0, 0, "", "",
       "POST /auth/guest gives a token to anybody who asks. Always on with insecure_dev and in "
       "development.",
       false},
      {"client.allow_anonymous", "allow-anonymous", "PARLEY_ALLOW_ANONYMOUS", kBool, "false", 0, 0,
       "", "", "Clients without a token may connect; channels decide what they may do.", false},
      {"client.personal_channel", "", "", kBool, "true", 0, 0, "", "",
       "Each user is subscribed to the channel #USER, so that tabs and devices agree.", false},
      {"client.online", "", "", kBool, "true", 0, 0, "", "",
       "Users may ask by the rpc online which users are connected, and when they were last.",
       false},
      {"client.ping_interval", "", "", kTime, "25s", kSecond, 10 * kMinute, "", "time",
       "Below the 30 s after which proxies and mobile networks begin to drop idle connections.",
       false},
      {"client.pong_timeout", "", "", kTime, "10s", 100, 10 * kMinute, "", "time",
       "Without an answer to a ping the connection ends with 3012; shorter than ping_interval.",
       false},
      {"client.queue_size_max", "", "", kBytes, "1MiB", 64 * kKiB, 256 * kMiB, "", "bytes",
       "What waits for one slow reader; beyond it the connection ends with 3008.", false},
      {"client.recovery_size_max", "", "", kBytes, "512KiB", kKiB, core::kWsPayloadOutBytesMax, "",
       "bytes",
       "What one recovery may send; beyond it recovered is false. At most half of queue_size_max, "
       "so that coming back never makes a client slow again.",
       false},
      {"client.channels_max", "", "", kInt, "128", 1, 65536, "", "channels",
       "Subscriptions of one connection; beyond it error 106.", false},
      {"client.connections_per_user_max", "", "", kInt, "0", 0, 1 << 20, "", "connections",
       "Of one user; beyond it 3504; 0 is no bound.", false},
      {"client.handshakes_per_second", "", "", kInt, "0", 0, 1'000'000, "", "handshakes",
       "WebSockets that an event loop lets in a second; the others get 503 with Retry-After and "
       "come "
       "again, so that a herd that returns leaves time for those who are in. 0: no bound.",
       false},
      {"client.handshakes_burst", "", "", kInt, "1000", 1, 1'000'000, "", "handshakes",
       "How many may come at once.", false},
      {"client.connections_max", "", "", kInt, "0", 0, 1 << 30, "", "connections",
       "Of the node; 0 is no bound but the descriptors.", false},
      {"client.commands_per_second", "", "", kInt, "200", 0, 1 << 20, "", "commands",
       "Of one connection; beyond it the temporary error 111; 0 is no bound.", false},
      {"client.commands_burst", "", "", kInt, "400", 1, 1 << 20, "", "commands",
       "At once: connect and a subscribe of every channel fit, as SDKs send them in one frame "
       "after a reconnect.",
       false},
      {"client.publishes_per_second", "", "", kInt, "100", 0, 1 << 20, "", "publications",
       "Of one connection; beyond it the temporary error 111; 0 is no bound.", false},
      {"client.publishes_burst", "", "", kInt, "200", 1, 1 << 20, "", "publications", "At once.",
       false},
      {"client.typings_per_second", "", "", kInt, "2", 0, 1 << 20, "", "events",
       "Typing events of one connection; 0 is no bound.", false},
      {"client.typings_burst", "", "", kInt, "4", 1, 1 << 20, "", "events", "At once.", false},
      {"client.refused_per_minute_max", "", "", kInt, "1000", 1, 1 << 30, "", "error replies",
       "Beyond it the connection ends with 3509: a client that only errs costs as much as one that "
       "works.",
       false},
      {"http.allowed_origins", "", "", kList, "", 0, 0, "", "origins",
       "Pages that may open a WebSocket, as https://chat.example.com, https://*.example.com or *. "
       "Empty: only pages of the same host.",
       false},
      {"http.page", "", "", kBool, "true", 0, 0, "", "", "Serve the chat page at /.", false},
      {"node.name", "", "", kText, "", 0, 0, "", "",
       "How this node is called in connect replies and logs; the host's name when empty.", false},
      {"node.mailbox_max", "", "", kInt, "65536", 1024, 1 << 22, "", "messages",
       "Waiting between two loops; beyond it requests get the temporary error 111.", false},
      {"log.format", "log-format", "", kText, "logfmt", 0, 0, "logfmt|json", "",
       "One line per event, on standard error.", false},
      {"log.level", "log-level", "", kText, "info", 0, 0, "debug|info|warn|error", "",
       "What is less important is left out. POST /api/log_levels changes it at run time.", false},
      {"log.levels", "", "", kList, "", 0, 0, "", "COMPONENT=LEVEL",
       "Levels of single components: core, proto, broker, store, chat, server. server=debug has "
       "the "
       "life of connections, chat=debug their subscriptions.",
       false},
      {"log.loki_url", "", "", kText, "", 0, 0, "", "http://HOST[:PORT][/PATH]",
       "Every line also goes to Grafana Loki, by its push API; without a path /loki/api/v1/push. "
       "TLS and passwords are left to an agent, see LOGS.md.",
       false},
      {"log.loki_labels", "", "", kList, "job=parley", 0, 0, "", "NAME=VALUE",
       "Labels of the streams; node and level come to them. Few, and the same for the whole life "
       "of "
       "the process: each set of values is a stream of its own in Loki.",
       false},
      {"log.loki_queue_size_max", "", "", kBytes, "8MiB", kMiB, 1024 * kMiB, "", "bytes",
       "Of lines that Loki has not taken yet; what does not fit is dropped and counted.", false},
      {"log.loki_batch_age", "", "", kTime, "1s", 10, kMinute, "", "time",
       "How long a line waits for others to be sent with.", false},
      {"log.loki_flush_max", "", "", kTime, "2s", 0, kMinute, "", "time",
       "How long the end of the process waits for Loki to take the last lines.", false},
      {"shutdown.duration", "", "", kTime, "5s", 0, 10 * kMinute, "", "time",
       "Over this time clients are sent away (3001) in batches after SIGTERM, so that other nodes "
       "are not flooded.",
       false},
  };
  t.file_key = "config";
  t.group = "namespace";
  t.group_unnamed = "channel";
  const char* rights =
      "Who may do it: client is every connected user, subscriber a user subscribed to the channel, "
      "anonymous a client without user.";
  t.group_settings = {
      {"history_size", "", "", kInt, "0", 0, 1 << 30, "", "publications",
       "How many count as history; with history_ttl. 0 is none, or with history_forever no bound.",
       false},
      {"history_ttl", "", "", kTime, "0s", 0, 3650 * kDay, "", "time",
       "How long publications count as history; with history_size.", false},
      {"history_forever", "", "", kBool, "false", 0, 0, "", "",
       "History without end; history_size may still bound it, history_ttl may not stand beside it.",
       false},
      {"force_recovery", "", "", kBool, "false", 0, 0, "", "",
       "Every subscription recovers what it missed, asked or not; needs history.", false},
      {"allow_recovery", "", "", kBool, "false", 0, 0, "", "",
       "A client may ask for recovery; needs history.", false},
      {"force_positioning", "", "", kBool, "false", 0, 0, "", "",
       "Every subscription is checked for lost publications; needs history.", false},
      {"allow_positioning", "", "", kBool, "false", 0, 0, "", "",
       "A client may ask for that; needs history.", false},
      {"presence", "", "", kBool, "false", 0, 0, "", "", "Who is in the channel is known.", false},
      {"join_leave", "", "", kBool, "false", 0, 0, "", "",
       "Join and leave events exist, for clients that ask for them.", false},
      {"force_push_join_leave", "", "", kBool, "false", 0, 0, "", "",
       "They go to every subscriber, asked or not; needs join_leave.", false},
      {"allow_subscribe_for_client", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_subscribe_for_anonymous", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_publish_for_client", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_publish_for_subscriber", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_publish_for_anonymous", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_history_for_client", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_history_for_subscriber", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_history_for_anonymous", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_presence_for_client", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_presence_for_subscriber", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_presence_for_anonymous", "", "", kBool, "false", 0, 0, "", "", rights, false},
      {"allow_user_limited_channels", "", "", kBool, "false", 0, 0, "", "",
       "Channels whose name ends in #USER,USER exist and admit those users only.", false},
      {"acknowledge_stored", "", "", kBool, "false", 0, 0, "", "",
       "With mongodb://: authors are answered when a majority of MongoDB has the publication, not "
       "when the spool has it; after store.stored_timeout with the temporary error 100. Delivery "
       "does not wait. Needs history.",
       false},
      {"publication_size_max", "", "", kBytes, "64KiB", 1, 448 * kKiB, "", "bytes",
       "Data of one publication; beyond it error 107. At most half of client.queue_size_max; a "
       "push stays below the 512 KiB that SDKs surely take.",
       false},
  };
  return t;
}

}  // namespace

static_assert(448 * kKiB + 4 * core::kInfoBytesMax + core::kChannelBytesMax <
                  core::kWsPayloadOutBytesMax,
              "a publication with its head fits in one message");

const core::config_schema& settings_schema() noexcept {
  static const core::config_schema schema = make_schema();
  return schema;
}

std::string settings_markdown() {
  return "# Settings\n\n"
         "Printed by `parleyd --print-config-doc`; a test keeps it current. `parleyd "
         "--print-config` shows what is set and where it came from, `parleyd --check-config` tells "
         "all problems at once.\n\n"
         "A setting comes from the last of these that names it: its default, the TOML file "
         "(`--config FILE`), the environment, the command line. Lists are replaced as a whole; in "
         "the environment their\n"
         "elements are separated by commas, on the command line the flag is given several times. "
         "Durations are `300ms`, `25s`, `5m`, `24h`, `7d` or a number of seconds; sizes `512`, "
         "`64KiB`, `1MiB`.\n\n"
         "## Without a token key\n\n"
         "When neither a secret nor a public key is given, the server is for development: it "
         "serves loopback only and makes a secret for this run, with which `/auth/guest` (the chat "
         "page uses it) signs tokens.\n"
         "`insecure_dev` goes further: no token is needed at all.\n\n"
         "## All settings\n\n" +
         core::config_markdown(settings_schema()) +
         "\n`[channel]` is the table of channels without a namespace, `[namespace.NAME]` that of "
         "channels `NAME:…`. The names of the options are Centrifugo's. Three tables exist without "
         "a file: `[channel]` and\n"
         "`[namespace.dm]` keep history for good with recovery, presence and join_leave; "
         "`[namespace.live]` keeps none of these. In all three users subscribe, subscribers "
         "publish and read history and presence, and\n"
         "user-limited channels exist. A file changes single options of these three; in any other "
         "namespace everything is off (`publication_size_max` 64KiB) until its table says "
         "otherwise. Setting `history_size` or\n"
         "`history_ttl` takes the built-in `history_forever` away.\n\n"
         "Environment names that begin with `PARLEY_SERVICE_` or `PARLEY_PORT` are set by "
         "Kubernetes for a service called parley and are ignored; other unknown `PARLEY_` names "
         "are an error.\n";
}

}  // namespace server
