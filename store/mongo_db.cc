// The one file that knows mongo-c-driver.
#include "store/mongo_db.h"

#include <mongoc/mongoc.h>

#include <algorithm>
#include <memory>
#include <mutex>

#include "core/log.h"
#include "store/mongo.h"

namespace store {

struct mongo_pool {
  mongoc_uri_t* uri = nullptr;
  mongoc_client_pool_t* pool = nullptr;
  std::string database;
  std::unique_ptr<doc> write_options;  // write concern, ordered: false
  ~mongo_pool();
};

struct mongo_client {
  mongo_pool* pool = nullptr;
  mongoc_client_t* client = nullptr;
};

namespace {

constexpr const char* kDatabase = "parley";
constexpr const char* kAppName = "parleyd";
// What every server takes in one command (maxWriteBatchSize of MongoDB before 3.6).
constexpr uint32_t kOperationsMax = 1000;

void on_driver_log(mongoc_log_level_t level, const char* domain, const char* message,
                   void*) noexcept {
  // Its warnings tell of what the server does not know; what fails is told by our calls.
  const std::string text = "mongo-c-driver: " + std::string(message);
  if (level < MONGOC_LOG_LEVEL_WARNING) core::log_warn(text, {{"part", domain}});
  if (level == MONGOC_LOG_LEVEL_WARNING) core::log_debug(text, {{"part", domain}});
}

void driver_init() {
  static std::once_flag once;
  std::call_once(once, [] {
    mongoc_init();
    mongoc_log_set_handler(on_driver_log, nullptr);
  });
}

mongo_failure failure_of(const bson_error_t& e, const bson_t* reply) {
  mongo_failure f;
  f.code = e.domain == MONGOC_ERROR_SERVER || e.domain == MONGOC_ERROR_WRITE_CONCERN
               ? static_cast<int32_t>(e.code)
               : 0;
  f.text = e.message[0] != '\0' ? e.message : "unknown failure";
  if (f.code == 0 && reply != nullptr) f.code = static_cast<int32_t>(doc_number(*reply, "code"));
  return f;
}

using collection_ptr = std::unique_ptr<mongoc_collection_t, decltype(&mongoc_collection_destroy)>;

collection_ptr collection_of(mongo_client* c, const char* name) {
  return {mongoc_client_get_collection(c->client, c->pool->database.c_str(), name),
          mongoc_collection_destroy};
}

using bulk_ptr = std::unique_ptr<mongoc_bulk_operation_t, decltype(&mongoc_bulk_operation_destroy)>;

bulk_ptr bulk_of(mongo_client* c, mongoc_collection_t* collection) {
  return {
      mongoc_collection_create_bulk_operation_with_opts(collection, c->pool->write_options->get()),
      mongoc_bulk_operation_destroy};
}

// Indices of the operations that were given to the driver, as it counts them.
void read_errors(const bson_t& reply, const std::vector<uint32_t>& sent, mongo_bulk_result* out) {
  bson_iter_t list, each;
  if (!bson_iter_init_find(&list, &reply, "writeErrors") || !BSON_ITER_HOLDS_ARRAY(&list) ||
      !bson_iter_recurse(&list, &each))
    return;
  while (bson_iter_next(&each)) {
    uint32_t n = 0;
    const uint8_t* bytes = nullptr;
    bson_t error;
    if (!BSON_ITER_HOLDS_DOCUMENT(&each)) continue;
    bson_iter_document(&each, &n, &bytes);
    if (!bson_init_static(&error, bytes, n)) continue;
    const auto index = static_cast<uint64_t>(doc_number(error, "index", -1));
    if (index >= sent.size()) {
      out->failure.text = "the server tells an error of an operation that was not sent";
      continue;
    }
    out->errors.push_back({sent[index], static_cast<int32_t>(doc_number(error, "code")),
                           std::string(doc_text(error, "errmsg"))});
  }
}

bool has_elements(const bson_t& reply, const char* key) noexcept {
  bson_iter_t list, each;
  return bson_iter_init_find(&list, &reply, key) && bson_iter_recurse(&list, &each) &&
         bson_iter_next(&each);
}

// Of one command: the driver makes several of a longer bulk, and then the error of one hides that
// another was not carried out. False: the driver itself refuses one of the operations, and nothing
// is known of the others.
bool execute(mongoc_bulk_operation_t* bulk, const std::vector<uint32_t>& sent,
             mongo_bulk_result* out) noexcept {
  if (sent.empty()) return true;
  bson_t reply;
  bson_error_t error{};
  const uint32_t server = mongoc_bulk_operation_execute(bulk, &reply, &error);
  const bool has_write_errors = has_elements(reply, "writeErrors");
  out->matched += static_cast<uint64_t>(doc_number(reply, "nMatched"));
  out->upserted += static_cast<uint64_t>(doc_number(reply, "nUpserted"));
  read_errors(reply, sent, out);
  if (has_elements(reply, "writeConcernErrors")) {
    out->failure = failure_of(error, &reply);
  } else if (server == 0 && (!has_write_errors || error.domain == MONGOC_ERROR_STREAM)) {
    out->failure = failure_of(error, &reply);
  }
  bson_destroy(&reply);
  return !out->failure || error.domain != MONGOC_ERROR_BSON;
}

// Operations [from, to) in one bulk, as add(bulk, index, error) adds them, or says why not. When
// the driver refuses one (too large for the server) each goes alone, to find it.
template <typename Fn>
void in_bulk(mongo_client* c, mongoc_collection_t* where, uint32_t from, uint32_t to, Fn add,
             mongo_bulk_result* out) noexcept {
  const bulk_ptr bulk = bulk_of(c, where);
  std::vector<uint32_t> sent;
  for (uint32_t i = from; i < to; ++i) {
    bson_error_t error{};
    if (add(bulk.get(), i, &error))
      sent.push_back(i);
    else
      out->errors.push_back({i, kInvalidHere, error.message});
  }
  const size_t errors = out->errors.size();
  if (execute(bulk.get(), sent, out)) return;
  out->errors.resize(errors);
  if (sent.size() == 1) out->errors.push_back({sent[0], kInvalidHere, out->failure.text});
  out->failure = {};
  if (sent.size() == 1) return;
  for (size_t n = 0; n < sent.size() && !out->failure; ++n)
    in_bulk(c, where, sent[n], sent[n] + 1, add, out);
}

template <typename Fn>
mongo_bulk_result in_bulks(mongo_client* c, const char* collection, size_t count, Fn add) noexcept {
  mongo_bulk_result out;
  const collection_ptr where = collection_of(c, collection);
  const auto end = static_cast<uint32_t>(count);
  for (uint32_t from = 0; from < end && !out.failure; from += kOperationsMax)
    in_bulk(c, where.get(), from, std::min(end, from + kOperationsMax), add, &out);
  return out;
}

core::err refuse(std::string* why, const char* text) {
  *why = std::string("the connection string of MongoDB ") + text;
  return core::err::invalid;
}

void default_timeout(mongoc_uri_t* uri, const char* option, int32_t ms) {
  if (!mongoc_uri_has_option(uri, option)) mongoc_uri_set_option_as_int32(uri, option, ms);
}

// False: writes would not be acknowledged.
bool choose_write_concern(mongo_pool* p, const mongo_timeouts& t) {
  const mongoc_write_concern_t* given = mongoc_uri_get_write_concern(p->uri);
  if (!mongoc_write_concern_is_acknowledged(given)) return false;
  mongoc_write_concern_t* w = mongoc_write_concern_copy(given);
  if (mongoc_write_concern_get_w(w) == MONGOC_WRITE_CONCERN_W_DEFAULT)
    mongoc_write_concern_set_w(w, MONGOC_WRITE_CONCERN_W_MAJORITY);
  if (!mongoc_write_concern_journal_is_set(w)) mongoc_write_concern_set_journal(w, true);
  if (mongoc_write_concern_get_wtimeout_int64(w) == 0)
    mongoc_write_concern_set_wtimeout_int64(w, t.majority);
  bson_t options;
  bson_init(&options);
  mongoc_write_concern_append(w, &options);
  p->write_options = std::make_unique<doc>();
  bson_iter_t at;
  if (bson_iter_init_find(&at, &options, "writeConcern")) {
    uint32_t n = 0;
    const uint8_t* bytes = nullptr;
    bson_iter_document(&at, &n, &bytes);
    p->write_options->raw("writeConcern", {reinterpret_cast<const char*>(bytes), n});
  }
  p->write_options->flag("ordered", false);
  bson_destroy(&options);
  mongoc_write_concern_destroy(w);
  return true;
}

// Into p->uri, p->database and p->write_options.
core::err read_url(const std::string& url, const mongo_timeouts& t, mongo_pool* p,
                   std::string* why) {
  bson_error_t error{};
  p->uri = mongoc_uri_new_with_error(url.c_str(), &error);
  if (p->uri == nullptr)
    return refuse(why,
                  "is not one: mongodb://[USER:PASSWORD@]HOST[:PORT][,…]/[DATABASE]"
                  "[?OPTIONS], special characters as %XX");
  const char* database = mongoc_uri_get_database(p->uri);
  p->database = database != nullptr && *database != '\0' ? database : kDatabase;
  if (!choose_write_concern(p, t))
    return refuse(why,
                  "asks for writes without an acknowledgement (w=0): nothing would be known of "
                  "them");
  return core::err::ok;
}

}  // namespace

mongo_pool::~mongo_pool() {
  if (pool != nullptr) mongoc_client_pool_destroy(pool);
  if (uri != nullptr) mongoc_uri_destroy(uri);
}

core::err mongo_url_check(const std::string& url, std::string* why) noexcept {
  driver_init();
  mongo_pool p;
  return read_url(url, {}, &p, why);
}

core::err mongo_pool_open(const std::string& url, const mongo_timeouts& t, uint32_t clients_max,
                          mongo_pool** out, std::string* why) noexcept {
  driver_init();
  auto p = std::make_unique<mongo_pool>();
  const core::err rc = read_url(url, t, p.get(), why);
  if (rc != core::err::ok) return rc;
  mongoc_uri_t* uri = p->uri;
  default_timeout(uri, MONGOC_URI_CONNECTTIMEOUTMS, t.connect);
  default_timeout(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, t.selection);
  default_timeout(uri, MONGOC_URI_SOCKETTIMEOUTMS, t.socket);
  mongoc_uri_set_option_as_int32(uri, MONGOC_URI_MAXPOOLSIZE, static_cast<int32_t>(clients_max));
  p->pool = mongoc_client_pool_new(uri);
  if (p->pool == nullptr) return refuse(why, "cannot be used: TLS that this build lacks?");
  mongoc_client_pool_set_error_api(p->pool, MONGOC_ERROR_API_VERSION_2);
  if (!mongoc_uri_has_option(uri, MONGOC_URI_APPNAME))
    mongoc_client_pool_set_appname(p->pool, kAppName);
  *out = p.release();
  return core::err::ok;
}

void mongo_pool_close(mongo_pool* p) noexcept {
  delete p;
}

std::string mongo_pool_hosts(const mongo_pool* p) {
  std::string all;
  for (const mongoc_host_list_t* h = mongoc_uri_get_hosts(p->uri); h != nullptr; h = h->next)
    all += (all.empty() ? "" : ",") + std::string(h->host_and_port);
  return all + "/" + p->database;
}

mongo_client* mongo_client_take(mongo_pool* p) noexcept {
  return new mongo_client{p, mongoc_client_pool_pop(p->pool)};
}

void mongo_client_give(mongo_pool* p, mongo_client* c) noexcept {
  mongoc_client_pool_push(p->pool, c->client);
  delete c;
}

bool mongo_is_transient(int32_t code) noexcept {
  switch (code) {
    case 0:      // no code: the way there
    case 6:      // HostUnreachable
    case 7:      // HostNotFound
    case 24:     // LockTimeout
    case 46:     // LockBusy
    case 50:     // MaxTimeMSExpired
    case 63:     // StaleShardVersion
    case 64:     // WriteConcernFailed
    case 89:     // NetworkTimeout
    case 91:     // ShutdownInProgress
    case 112:    // WriteConflict
    case 133:    // FailedToSatisfyReadPreference
    case 134:    // ReadConcernMajorityNotAvailableYet
    case 150:    // StaleEpoch
    case 189:    // PrimarySteppedDown
    case 234:    // RetryChangeStream
    case 262:    // ExceededTimeLimit
    case 9001:   // SocketException
    case 10107:  // NotWritablePrimary
    case 11600:  // InterruptedAtShutdown
    case 11601:  // Interrupted
    case 11602:  // InterruptedDueToReplStateChange
    case 13388:  // StaleConfig
    case 13435:  // NotPrimaryNoSecondaryOk
    case 13436:  // NotPrimaryOrSecondary
    case 14031:  // OutOfDiskSpace
    case 16500:  // TooManyRequests, of servers with a request rate
      return true;
    default:
      return false;
  }
}

mongo_bulk_result mongo_insert(mongo_client* c, const char* collection,
                               const std::vector<std::string_view>& documents) noexcept {
  return in_bulks(c, collection, documents.size(),
                  [&](mongoc_bulk_operation_t* bulk, uint32_t i, bson_error_t* error) {
                    bson_t d;
                    return doc_view(documents[i], &d) &&
                           mongoc_bulk_operation_insert_with_opts(bulk, &d, nullptr, error);
                  });
}

mongo_bulk_result mongo_change(mongo_client* c, const char* collection,
                               const std::vector<mongo_update>& updates) noexcept {
  return in_bulks(c, collection, updates.size(),
                  [&](mongoc_bulk_operation_t* bulk, uint32_t i, bson_error_t* error) {
                    const mongo_update& u = updates[i];
                    doc options;
                    options.flag("upsert", u.is_upsert);
                    const auto add = u.is_many ? mongoc_bulk_operation_update_many_with_opts
                                               : mongoc_bulk_operation_update_one_with_opts;
                    return add(bulk, u.filter.get(), u.update.get(), options.get(), error);
                  });
}

mongo_failure mongo_remove(mongo_client* c, const char* collection, const doc& filter) noexcept {
  const collection_ptr where = collection_of(c, collection);
  const bulk_ptr bulk = bulk_of(c, where.get());
  bson_error_t error{};
  if (!mongoc_bulk_operation_remove_many_with_opts(bulk.get(), filter.get(), nullptr, &error))
    return failure_of(error, nullptr);
  mongo_bulk_result out;
  execute(bulk.get(), {0}, &out);
  if (!out.failure && !out.errors.empty())
    return {out.errors[0].code, out.errors[0].text.empty() ? "refused" : out.errors[0].text};
  return out.failure;
}

mongo_failure mongo_find(mongo_client* c, const char* collection, const doc& filter,
                         const doc& options, mongo_row_cb row, void* user) noexcept {
  const collection_ptr where = collection_of(c, collection);
  const std::unique_ptr<mongoc_read_prefs_t, decltype(&mongoc_read_prefs_destroy)> primary(
      mongoc_read_prefs_new(MONGOC_READ_PRIMARY), mongoc_read_prefs_destroy);
  const std::unique_ptr<mongoc_cursor_t, decltype(&mongoc_cursor_destroy)> cursor(
      mongoc_collection_find_with_opts(where.get(), filter.get(), options.get(), primary.get()),
      mongoc_cursor_destroy);
  const bson_t* each = nullptr;
  while (mongoc_cursor_next(cursor.get(), &each))
    if (!row(user, *each)) return {};
  bson_error_t error{};
  const bson_t* reply = nullptr;
  return mongoc_cursor_error_document(cursor.get(), &error, &reply) ? failure_of(error, reply)
                                                                    : mongo_failure{};
}

int64_t mongo_count_about(mongo_client* c, const char* collection) noexcept {
  const collection_ptr where = collection_of(c, collection);
  bson_error_t error{};
  return mongoc_collection_estimated_document_count(where.get(), nullptr, nullptr, nullptr, &error);
}

mongo_failure mongo_command(mongo_client* c, const doc& command) noexcept {
  bson_t reply;
  bson_error_t error{};
  const bool is_good = mongoc_client_command_simple(c->client, c->pool->database.c_str(),
                                                    command.get(), nullptr, &reply, &error);
  mongo_failure f;
  if (!is_good) f = failure_of(error, &reply);
  bson_destroy(&reply);
  return f;
}

}  // namespace store
