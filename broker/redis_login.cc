// The handshake with Redis: AUTH, SELECT, CLIENT SETNAME and INFO leave in one write; what INFO
// tells decides whether this is the server we want.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "broker/redis_conn_impl.h"
#include "core/assert.h"

namespace broker {
namespace {

constexpr size_t kReasonBytesMax = 200;  // of a server's error, in our logs

const redis_login& login_of(const redis_conn* c) noexcept {
  const redis_url& u = *c->options.url;
  return c->options.is_sentinel ? u.sentinel_login : u.login;
}

void send_step(redis_conn* c, login_step step, redis_argv argv) noexcept {
  pending p;
  p.kind = pending_kind::login;
  p.step = step;
  (void)redis_send_own(c, argv, p);  // the socket is closing: on_closed() follows
}

// Printable and short, for a log line.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, kReasonBytesMax));
  for (char& ch : out)
    if (static_cast<unsigned char>(ch) < ' ' || ch == '\x7F') ch = '?';
  return out;
}

// A server (or a proxy) may quote the arguments of AUTH in its error: only texts of known kinds are
// shown.
std::string auth_refused(const redis_reply& r) {
  const std::string_view code = r.error_code();
  if (code == "WRONGPASS") return "the user name or the password is wrong";
  if (code == "LOADING" || code == "DENIED" || code == "NOAUTH" ||
      r.text.starts_with("ERR max number of clients"))
    return shown(r.text);
  if (r.text.find("without any password") != r.text.npos)
    return "the server has no password for the default user; the URL has one";
  return "AUTH was refused";
}

std::string refused(const redis_conn* c, login_step step, const redis_reply& r) {
  if (step == login_step::auth) return auth_refused(r);
  if (r.error_code() == "NOAUTH")
    return login_of(c).password.empty() ? "the server wants a password; the URL has none"
                                        : "not authenticated";
  if (step == login_step::select)
    return "database " + std::to_string(c->options.url->db) + " was refused: " + shown(r.text);
  return "INFO was refused: " + shown(r.text);
}

uint64_t number(std::string_view text) noexcept {
  uint64_t v = 0;
  std::from_chars(text.data(), text.data() + text.size(), v);
  return v;
}

struct info_fields {
  redis_server_info info;
  std::string role;
  bool is_loading = false;
};

void set_field(info_fields* f, std::string_view key, std::string_view value) {
  redis_server_info& i = f->info;
  if (key == "run_id") i.run_id = value;
  // Valkey tells its own version behind the Redis version it is compatible with, and may call the
  // mode server_mode.
  if (key == "redis_version" || key == "valkey_version") i.version = value;
  if (key == "redis_mode" || key == "server_mode") i.mode = value;
  if (key == "server_name") i.product = value;
  if (key == "role") f->role = value;
  if (key == "master_replid") i.repl_id = value;
  if (key == "master_replid2") i.repl_id2 = value;
  if (key == "master_repl_offset") i.repl_offset = number(value);
  if (key == "second_repl_offset") i.repl_offset2 = value.starts_with('-') ? 0 : number(value);
  if (key == "maxmemory") i.maxmemory = number(value);
  if (key == "maxmemory_policy") i.maxmemory_policy = value;
  if (key == "aof_enabled") i.has_aof = value == "1";
  if (key == "rdb_last_save_time") i.rdb_saved_at = number(value);
  if (key == "loading") f->is_loading = value == "1";
}

info_fields read_info(std::string_view text) {
  info_fields f;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t colon = line.find(':');
    if (colon != line.npos) set_field(&f, line.substr(0, colon), line.substr(colon + 1));
  }
  f.info.is_master = f.role == "master";
  return f;
}

// Empty: this is a server for us.
const char* unsuitable(const redis_conn* c, const info_fields& f) {
  const bool is_sentinel = f.info.mode == "sentinel";
  if (c->options.is_sentinel) return is_sentinel ? "" : "a server, not a Sentinel";
  if (is_sentinel) return "a Sentinel, not a server: the URL would be redis-sentinel://HOSTS/NAME";
  if (f.info.run_id.empty() || f.role.empty())
    return "INFO tells neither run_id nor role: this is not Redis";
  if (f.is_loading) return "the server is loading its data";
  if (!f.info.is_master && !c->options.is_replica_allowed) return "a replica, not writable";
  return "";
}

}  // namespace

void redis_login_begin(redis_conn* c) noexcept {
  c->is_login_sent = true;
  const redis_login& l = login_of(c);
  if (!l.password.empty()) {
    const std::string_view with_user[] = {"AUTH", l.user, l.password};
    const std::string_view without[] = {"AUTH", l.password};
    send_step(c, login_step::auth, l.user.empty() ? redis_argv(without) : redis_argv(with_user));
  }
  if (c->options.url->db != 0 && !c->options.is_sentinel) {
    const std::string db = std::to_string(c->options.url->db);
    const std::string_view argv[] = {"SELECT", db};
    send_step(c, login_step::select, argv);
  }
  if (!c->options.name.empty()) {
    const std::string_view argv[] = {"CLIENT", "SETNAME", c->options.name};
    send_step(c, login_step::set_name, argv);
  }
  const std::string_view info[] = {"INFO"};  // several sections in one command: 7.0 on only
  send_step(c, login_step::info, info);
}

void redis_login_reply(redis_conn* c, login_step step, const redis_reply& r) noexcept {
  if (step == login_step::set_name) {  // a nicety that a user may lack the right for
    if (r.is_error() && r.error_code() != "NOPERM") c->refusal = shown(r.text);
    return;
  }
  if (r.is_error()) {
    redis_lose(c, refused(c, step, r));
    return;
  }
  if (step != login_step::info) return;
  if (r.type != redis_type::string) {
    redis_lose(c, "INFO's reply is no text: this is not Redis");
    return;
  }
  info_fields f = read_info(r.text);
  if (const char* why = unsuitable(c, f); *why != '\0') {
    redis_lose(c, why);
    return;
  }
  c->info = std::move(f.info);
  c->refusal.clear();
  redis_became_ready(c);
}

}  // namespace broker
