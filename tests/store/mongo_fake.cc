// A thread a connection, one lock over everything else.
#include "tests/store/mongo_fake.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace store_test {
namespace {

using store::doc;

constexpr int32_t kOpReply = 1, kOpQuery = 2004, kOpMsg = 2013;
constexpr int32_t kHeadBytes = 16;
constexpr const char* kSetName = "fakes";

struct message {
  int32_t id = 0, op = 0;
  std::string body;
};

template <typename N>
N get(const std::string& from, size_t at) {
  N n{};
  if (at + sizeof n <= from.size()) memcpy(&n, from.data() + at, sizeof n);
  return n;
}

template <typename N>
void put_number(std::string* out, N n) {
  out->append(reinterpret_cast<const char*>(&n), sizeof n);
}

bool read_all(int fd, char* to, size_t n) {
  while (n > 0) {
    const ssize_t got = recv(fd, to, n, 0);
    if (got <= 0) return false;
    to += got;
    n -= static_cast<size_t>(got);
  }
  return true;
}

bool write_all(int fd, std::string_view from) {
  while (!from.empty()) {
    const ssize_t sent = send(fd, from.data(), from.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    from.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool read_message(int fd, message* out) {
  std::string head(kHeadBytes, '\0');
  if (!read_all(fd, head.data(), head.size())) return false;
  out->id = get<int32_t>(head, 4);
  out->op = get<int32_t>(head, 12);
  out->body.resize(static_cast<size_t>(get<int32_t>(head, 0) - kHeadBytes));
  return read_all(fd, out->body.data(), out->body.size());
}

// The documents that stand one behind the other from `at` to `end`, as an array.
void merge_sequence(const std::string& body, size_t at, size_t end, const char* name, bson_t* out) {
  bson_t list;
  bson_append_array_begin(out, name, -1, &list);
  for (uint32_t n = 0; at < end; ++n) {
    const auto size = get<int32_t>(body, at);
    bson_t d;
    bson_init_static(&d, reinterpret_cast<const uint8_t*>(body.data()) + at,
                     static_cast<size_t>(size));
    bson_append_document(&list, std::to_string(n).c_str(), -1, &d);
    at += static_cast<size_t>(size);
  }
  bson_append_array_end(out, &list);
}

// OP_MSG: flags, then sections of kind 0 (the command) and 1 (a named sequence). OP_QUERY: flags,
// collection, two numbers, the command.
fake_document command_of(const message& m) {
  bson_t out, first;
  bson_init(&out);
  size_t at = 4;
  if (m.op == kOpQuery) {
    at += strlen(m.body.c_str() + at) + 1 + 8;
    if (store::doc_view(std::string_view(m.body).substr(at), &first)) bson_concat(&out, &first);
  }
  while (m.op == kOpMsg && at < m.body.size()) {
    const char kind = m.body[at++];
    const auto size = static_cast<size_t>(get<int32_t>(m.body, at));
    if (kind == 0) {
      if (store::doc_view(std::string_view(m.body).substr(at, size), &first))
        bson_concat(&out, &first);
    } else {
      const char* name = m.body.c_str() + at + 4;
      merge_sequence(m.body, at + 4 + strlen(name) + 1, at + size, name, &out);
    }
    at += size;
  }
  fake_document d = fake_copy(out);
  bson_destroy(&out);
  return d;
}

std::string answer_of(const message& asked, const fake_document& reply) {
  std::string body;
  if (asked.op == kOpQuery) {
    put_number(&body, int32_t{8});  // AwaitCapable
    put_number(&body, int64_t{0});
    put_number(&body, int32_t{0});
    put_number(&body, int32_t{1});
  } else {
    put_number(&body, uint32_t{0});
    body += '\0';
  }
  body += reply;
  std::string out;
  put_number(&out, static_cast<int32_t>(body.size() + kHeadBytes));
  put_number(&out, int32_t{1});
  put_number(&out, asked.id);
  put_number(&out, asked.op == kOpQuery ? kOpReply : kOpMsg);
  return out + body;
}

doc failure(int32_t code, const char* text) {
  return doc().number("ok", 0).small("code", code).text("errmsg", text);
}

// Each document of an array of a command.
template <typename Fn>
void each_of(const bson_t& d, const char* array, Fn fn) {
  bson_iter_t list, each;
  if (!bson_iter_init_find(&list, &d, array) || !bson_iter_recurse(&list, &each)) return;
  for (int32_t n = 0; bson_iter_next(&each); ++n) {
    uint32_t size = 0;
    const uint8_t* bytes = nullptr;
    bson_t one;
    bson_iter_document(&each, &size, &bytes);
    if (bson_init_static(&one, bytes, size)) fn(n, one);
  }
}

fake_view sub(const bson_t& d, const char* name) {
  bson_iter_t at;
  static const doc kEmpty;
  if (!bson_iter_init_find(&at, &d, name) || !BSON_ITER_HOLDS_DOCUMENT(&at))
    return fake_view(kEmpty.view());
  return fake_view(at);
}

bool is_ordered(const fake_command& c) {
  const fake_view command(c.bytes);
  return !bson_has_field(command.get(), "ordered") || store::doc_flag(command, "ordered");
}

// The answer to a write.
class write_reply {
 public:
  void error(int32_t index, int32_t code) {
    errors_.sub(
        std::to_string(errors_count_++).c_str(),
        doc().small("index", index).small("code", code).text("errmsg", "refused by the fake"));
  }
  doc done(int64_t n, const fake_play& p) {
    doc r;
    r.small("n", static_cast<int32_t>(n));
    if (upserted_count_ > 0) r.array("upserted", upserted_);
    if (errors_count_ > 0) r.array("writeErrors", errors_);
    if (p.is_majority_missing)
      r.sub("writeConcernError", doc()
                                     .small("code", 64)
                                     .text("codeName", "WriteConcernFailed")
                                     .text("errmsg", "waiting for replication timed out")
                                     .sub("errInfo", doc().flag("wtimeout", true)));
    r.number("ok", 1);
    return r;
  }
  void upserted(int32_t index) {
    upserted_.sub(std::to_string(upserted_count_++).c_str(), doc().small("index", index).id("_id"));
  }

 private:
  doc errors_, upserted_;
  int errors_count_ = 0, upserted_count_ = 0;
};

}  // namespace

uint32_t fake_command::count(const char* array) const {
  uint32_t n = 0;
  each_of(fake_view(bytes), array, [&](int32_t, const bson_t&) { ++n; });
  return n;
}

mongo_fake::mongo_fake(const fake_options& o) : options_(o), members_(o.members) {
  for (member& m : members_) listen_at(&m);
}

mongo_fake::~mongo_fake() {
  go_away();
}

std::string mongo_fake::url(const std::string& login) const {
  std::string out = "mongodb://" + login;
  for (const member& m : members_)
    out += (&m == &members_[0] ? "127.0.0.1:" : ",127.0.0.1:") + std::to_string(m.port);
  out += "/parley?connectTimeoutMS=300&serverSelectionTimeoutMS=300&socketTimeoutMS=1000";
  if (options_.kind == fake_kind::replica_set) out += std::string("&replicaSet=") + kSetName;
  return out;
}

// At m->port, when it has one already.
void mongo_fake::listen_at(member* m) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(m->port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof a;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&a), size), 0) << strerror(errno);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size), 0);
  ASSERT_EQ(listen(fd, 64), 0);
  m->port = ntohs(a.sin_port);
  m->listening = fd;
  const auto index = static_cast<uint32_t>(m - members_.data());
  m->acceptor = std::thread([this, index, fd] { accept_loop(index, fd); });
}

void mongo_fake::accept_loop(uint32_t index, int listening) {
  for (;;) {
    const int fd = accept4(listening, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::lock_guard<std::mutex> held(lock_);
    connection& c = connections_.emplace_back();
    c.fd = fd;
    c.member = index;
    c.thread = std::thread([this, &c] { serve(&c); });
  }
}

void mongo_fake::go_away() {
  for (member& m : members_) {
    if (m.listening < 0) continue;
    shutdown(m.listening, SHUT_RDWR);
    m.acceptor.join();
    close(m.listening);
    m.listening = -1;
  }
  drop_connections();
}

void mongo_fake::come_back() {
  for (member& m : members_)
    if (m.listening < 0) listen_at(&m);
}

// Only while nobody accepts.
void mongo_fake::drop_connections() {
  {
    const std::lock_guard<std::mutex> held(lock_);
    for (connection& c : connections_) {
      c.is_gone = true;
      shutdown(c.fd, SHUT_RDWR);
    }
    changed_.notify_all();
  }
  for (connection& c : connections_) {
    c.thread.join();
    close(c.fd);
  }
  connections_.clear();
}

void mongo_fake::serve(connection* c) {
  message asked;
  while (read_message(c->fd, &asked)) {
    const fake_document command = command_of(asked);
    fake_document reply;
    const after what = handle(c, fake_view(command), &reply);
    if (what == after::cut) break;
    if (what == after::answer && !write_all(c->fd, answer_of(asked, reply))) break;
  }
  shutdown(c->fd, SHUT_RDWR);
}

mongo_fake::after mongo_fake::handle(connection* c, const bson_t& command, fake_document* reply) {
  bson_iter_t first;
  if (!bson_iter_init(&first, &command) || !bson_iter_next(&first)) return after::cut;
  fake_command seen = {bson_iter_key(&first), "", fake_copy(command)};
  if (BSON_ITER_HOLDS_UTF8(&first)) seen.collection = bson_iter_utf8(&first, nullptr);
  if (seen.name == "getMore") seen.collection = store::doc_text(command, "collection");
  std::unique_lock<std::mutex> held(lock_);
  // As from SIGSTOP: what waits is done when it goes on, whoever has left meanwhile.
  changed_.wait(held, [&] { return !is_frozen_ || c->is_gone; });
  if (seen.name == "isMaster" || seen.name == "ismaster" || seen.name == "hello") {
    *reply = hello(c->member);
    return after::answer;
  }
  commands_.push_back(seen);
  changed_.notify_all();
  return perform(&held, *c, seen, reply);
}

mongo_fake::after mongo_fake::perform(std::unique_lock<std::mutex>* held, const connection& from,
                                      const fake_command& c, fake_document* reply) {
  const fake_play p = take_play(c);
  if (p.is_held) {
    const uint64_t before = releases_;
    changed_.wait(*held, [&] { return releases_ != before || from.is_gone; });
  }
  if (p.delay_ms > 0)
    changed_.wait_for(*held, std::chrono::milliseconds(p.delay_ms), [&] { return from.is_gone; });
  if (p.is_cut_before || from.is_gone) return after::cut;
  if (p.fails_with != 0) {
    *reply = failure(p.fails_with, "refused by the fake").view();
    return after::answer;
  }
  const bool is_of_primary = c.name != "ping" && c.name != "endSessions";
  if (is_of_primary && from.member != primary_) {
    *reply = failure(10107, "not primary").view();
    return after::answer;
  }
  *reply = run(c, p).view();
  if (p.is_cut_after) return after::cut;
  return p.is_silent ? after::silence : after::answer;
}

fake_play mongo_fake::take_play(const fake_command& c) {
  for (auto p = plays_.begin(); p != plays_.end(); ++p) {
    if (p->command != c.name) continue;
    if (!p->collection.empty() && p->collection != c.collection) continue;
    if (p->fits && !p->fits(c)) continue;
    const fake_play mine = *p;
    if (p->times != kAlways && --p->times == 0) plays_.erase(p);
    return mine;
  }
  return {};
}

fake_document mongo_fake::hello(uint32_t index) const {
  const auto address = [&](uint32_t i) { return "127.0.0.1:" + std::to_string(members_[i].port); };
  const bool is_primary = index == primary_;
  doc d;
  d.flag("helloOk", true)
      .flag("ismaster", is_primary)
      .flag("isWritablePrimary", is_primary)
      .small("maxBsonObjectSize", options_.document_bytes_max)
      .small("maxMessageSizeBytes", 48'000'000)
      .small("maxWriteBatchSize", options_.batch_count_max)
      .date("localTime", 0)
      .small("minWireVersion", 0)
      .small("maxWireVersion", 17)
      .small("logicalSessionTimeoutMinutes", 30)
      .number("ok", 1);
  if (options_.kind == fake_kind::mongos) d.text("msg", "isdbgrid");
  if (options_.kind != fake_kind::replica_set) return fake_document(d.view());
  doc hosts;
  for (uint32_t i = 0; i < members_.size(); ++i) hosts.text(std::to_string(i).c_str(), address(i));
  d.text("setName", kSetName)
      .small("setVersion", 1)
      .flag("secondary", !is_primary)
      .array("hosts", hosts)
      .text("me", address(index))
      .text("primary", address(primary_));
  if (!is_primary) return fake_document(d.view());
  uint8_t bytes[12] = {};
  bytes[11] = static_cast<uint8_t>(term_);  // a later election's id is greater
  bson_oid_t id;
  bson_oid_init_from_data(&id, bytes);
  bson_t* with_id = bson_copy(d.get());
  bson_append_oid(with_id, "electionId", -1, &id);
  const fake_document all = fake_copy(*with_id);
  bson_destroy(with_id);
  return all;
}

doc mongo_fake::run(const fake_command& c, const fake_play& p) {
  if (c.name == "find") return run_find(c);
  if (c.name == "getMore") return run_more(c);
  if (c.name == "insert") return run_insert(c, p);
  if (c.name == "update") return run_update(c, p);
  if (c.name == "delete") return run_delete(c, p);
  if (c.name == "createIndexes") return make_indexes(c);
  if (c.name == "ping" || c.name == "endSessions" || c.name == "killCursors")
    return doc().number("ok", 1);
  return failure(59, "the fake does not know this command");
}

doc mongo_fake::run_find(const fake_command& c) {
  const fake_view command(c.bytes);
  const fake_view filter = sub(command, "filter"), sort = sub(command, "sort");
  std::vector<fake_document> found;
  const int32_t code =
      collections_[c.collection].find(filter, bson_empty(sort.get()) ? nullptr : sort.get(),
                                      store::doc_number(command, "limit"), &found);
  if (code != 0) return failure(code, "the fake does not know this query");
  const int64_t asked = store::doc_number(command, "batchSize", options_.rows_at_once);
  cursors_[cursor_next_] = std::move(found);
  return rows(c, "firstBatch", cursor_next_++, static_cast<size_t>(asked));
}

doc mongo_fake::run_more(const fake_command& c) {
  const fake_view command(c.bytes);
  const int64_t id = store::doc_number(command, "getMore");
  if (cursors_.count(id) == 0) return failure(43, "cursor not found");
  return rows(c, "nextBatch", id,
              static_cast<size_t>(store::doc_number(command, "batchSize", options_.rows_at_once)));
}

// The next so many rows of a cursor, which ends with the last.
doc mongo_fake::rows(const fake_command& c, const char* name, int64_t id, size_t count) {
  std::vector<fake_document>& left = cursors_[id];
  count = std::min(count, left.size());
  doc list, cursor;
  for (size_t i = 0; i < count; ++i) list.raw(std::to_string(i).c_str(), left[i]);
  left.erase(left.begin(), left.begin() + static_cast<ptrdiff_t>(count));
  if (left.empty()) cursors_.erase(id);
  cursor.number("id", cursors_.count(id) > 0 ? id : 0)
      .text("ns", "parley." + c.collection)
      .array(name, list);
  return doc().sub("cursor", cursor).number("ok", 1);
}

doc mongo_fake::run_insert(const fake_command& c, const fake_play& p) {
  fake_collection& to = collections_[c.collection];
  const fake_view command(c.bytes);
  write_reply r;
  int64_t n = 0;
  bool is_over = false;
  each_of(command, "documents", [&](int32_t index, const bson_t& d) {
    if (is_over) return;
    int32_t code = p.refuses ? p.refuses(fake_copy(d)) : 0;
    if (code == 0) code = to.insert(d);
    if (code != 0) {
      r.error(index, code);
      is_over = is_ordered(c);
    } else {
      ++n;
    }
  });
  return r.done(n, p);
}

doc mongo_fake::run_update(const fake_command& c, const fake_play& p) {
  fake_collection& to = collections_[c.collection];
  std::vector<std::pair<int32_t, fake_document>> updates;
  each_of(fake_view(c.bytes), "updates",
          [&](int32_t index, const bson_t& u) { updates.emplace_back(index, fake_copy(u)); });
  // Nobody may count on the order of unordered ones.
  if (!is_ordered(c)) std::reverse(updates.begin(), updates.end());
  write_reply r;
  int64_t n = 0;
  for (const auto& [index, bytes] : updates) {
    const fake_view u(bytes);
    fake_collection::change done;
    done.code = p.refuses ? p.refuses(bytes) : 0;
    if (done.code == 0)
      done = to.update(sub(u, "q"), sub(u, "u"), store::doc_flag(u, "upsert"),
                       store::doc_flag(u, "multi"));
    if (done.code != 0) r.error(index, done.code);
    n += static_cast<int64_t>(done.matched) + done.is_upserted;
    if (done.is_upserted) r.upserted(index);
  }
  return r.done(n, p);
}

doc mongo_fake::run_delete(const fake_command& c, const fake_play& p) {
  fake_collection& from = collections_[c.collection];
  write_reply r;
  int64_t n = 0;
  each_of(fake_view(c.bytes), "deletes", [&](int32_t index, const bson_t& d) {
    uint64_t count = 0;
    int32_t code = p.refuses ? p.refuses(fake_copy(d)) : 0;
    if (code == 0) code = from.remove(sub(d, "q"), &count);
    if (code != 0) r.error(index, code);
    n += static_cast<int64_t>(count);
  });
  return r.done(n, p);
}

doc mongo_fake::make_indexes(const fake_command& c) {
  each_of(fake_view(c.bytes), "indexes", [&](int32_t, const bson_t& x) {
    if (store::doc_flag(x, "unique")) collections_[c.collection].make_unique(sub(x, "key"));
  });
  return doc().number("ok", 1);
}

void mongo_fake::play(fake_play p) {
  const std::lock_guard<std::mutex> held(lock_);
  plays_.push_back(std::move(p));
}

void mongo_fake::stop_playing() {
  {
    const std::lock_guard<std::mutex> held(lock_);
    plays_.clear();
  }
  release_held();
}

void mongo_fake::release_held() {
  const std::lock_guard<std::mutex> held(lock_);
  ++releases_;
  changed_.notify_all();
}

void mongo_fake::freeze() {
  const std::lock_guard<std::mutex> held(lock_);
  is_frozen_ = true;
}

void mongo_fake::thaw() {
  const std::lock_guard<std::mutex> held(lock_);
  is_frozen_ = false;
  changed_.notify_all();
}

void mongo_fake::elect(uint32_t index) {
  const std::lock_guard<std::mutex> held(lock_);
  primary_ = index;
  ++term_;
}

std::vector<fake_command> mongo_fake::commands(const std::string& name,
                                               const std::string& collection) const {
  const std::lock_guard<std::mutex> held(lock_);
  std::vector<fake_command> out;
  for (const fake_command& c : commands_)
    if (c.name == name && (collection.empty() || c.collection == collection)) out.push_back(c);
  return out;
}

void mongo_fake::forget_commands() {
  const std::lock_guard<std::mutex> held(lock_);
  commands_.clear();
}

bool mongo_fake::wait_for(const std::string& name, const std::string& collection,
                          uint32_t count) const {
  std::unique_lock<std::mutex> held(lock_);
  return changed_.wait_for(held, std::chrono::seconds(20), [&] {
    uint32_t n = 0;
    for (const fake_command& c : commands_)
      n += c.name == name && (collection.empty() || c.collection == collection);
    return n >= count;
  });
}

void mongo_fake::put(const std::string& collection, const doc& d) {
  const std::lock_guard<std::mutex> held(lock_);
  ASSERT_EQ(collections_[collection].insert(*d.get()), 0);
}

void mongo_fake::remove_all(const std::string& collection, const doc& filter) {
  const std::lock_guard<std::mutex> held(lock_);
  uint64_t count = 0;
  ASSERT_EQ(collections_[collection].remove(*filter.get(), &count), 0);
}

std::vector<fake_document> mongo_fake::find(const std::string& collection,
                                            const doc& filter) const {
  const std::lock_guard<std::mutex> held(lock_);
  std::vector<fake_document> out;
  const auto it = collections_.find(collection);
  const doc sort = doc().small("channel", 1).small("offset", 1);
  if (it != collections_.end()) {
    EXPECT_EQ(it->second.find(*filter.get(), sort.get(), 0, &out), 0);
  }
  return out;
}

std::string mongo_fake::history(const std::string& channel) const {
  std::string out;
  for (const fake_document& d : find("publications", doc().text("channel", channel))) {
    const fake_view b(d);
    out += (out.empty() ? "" : " ") + std::to_string(store::doc_number(b, "offset")) + ":" +
           std::string(store::doc_text(b, "data"));
  }
  return out;
}

}  // namespace store_test
