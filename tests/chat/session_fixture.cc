// The conversation: commands in, texts out, tokens.
#include "tests/chat/session_fixture.h"

#include <openssl/hmac.h>

#include "chat/owner.h"
#include "proto/reply.h"

namespace fixture {
namespace {

constexpr chat::link_ops kOps = {
    [](void* link, core::frame* f) noexcept {
      auto* t = static_cast<tab*>(link);
      EXPECT_EQ(t->ends, 0) << "sent after the end";
      t->texts.push_back(frame_text(f));
      EXPECT_EQ(t->texts.back().find('\n'), std::string::npos);
      EXPECT_LE(t->texts.back().size(), 512u * 1024);
      core::frame_unref(f);
    },
    [](void* link, core::end_reason why, uint16_t code, std::string_view text) noexcept {
      auto* t = static_cast<tab*>(link);
      ++t->ends;
      t->why = why;
      t->code = code;
      t->reason.assign(text);
    },
    [](void* link) noexcept { ++static_cast<tab*>(link)->accepted; },
    [](void* link) noexcept { return static_cast<tab*>(link)->queued; }};

std::string base64url(std::string_view in) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : in) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (held += 8; held >= 6; held -= 6) out.push_back(kDigits[bits >> (held - 6) & 63]);
  }
  if (held > 0) out.push_back(kDigits[bits << (6 - held) & 63]);
  return out;
}

}  // namespace

std::string sign(std::string_view claims, std::string_view secret) {
  std::string signed_part = base64url(R"({"alg":"HS256","typ":"JWT"})") + "." + base64url(claims);
  unsigned char mac[32];
  unsigned len = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(signed_part.data()), signed_part.size(), mac, &len);
  return signed_part + "." + base64url({reinterpret_cast<char*>(mac), len});
}

std::string error_reply(int code, std::string_view text, bool is_temporary) {
  return "\"error\":{\"code\":" + std::to_string(code) + ",\"message\":\"" + std::string(text) +
         (is_temporary ? "\",\"temporary\":true}" : "\"}");
}
const std::string kDenied = error_reply(103, "permission denied");
const std::string kBadRequest = error_reply(107, "bad request");
const std::string kNotAvailable = error_reply(108, "not available");
const std::string kBusy = error_reply(111, "too many requests", true);
const std::string kInternal = error_reply(100, "internal server error", true);
const std::string kExpired = error_reply(109, "token expired");

std::string epoch_in(std::string_view text) {
  constexpr std::string_view kField = "\"epoch\":\"";
  const size_t at = text.find(kField);
  if (at == std::string_view::npos) return "";
  const size_t begin = at + kField.size();
  return std::string(text.substr(begin, text.find('"', begin) - begin));
}

void tab::say(std::string_view text) {
  // A block of exact size, so that reads beyond the promised padding are seen.
  std::vector<char> bytes(text.begin(), text.end());
  bytes.resize(text.size() + 64);
  chat::session_message(s, bytes.data(), static_cast<uint32_t>(text.size()));
}

std::string tab::take() {
  std::string out;
  for (; seen < texts.size(); ++seen) out.append(out.empty() ? "" : "\n").append(texts[seen]);
  return out;
}

std::string tab::ask(std::string_view text) {
  take();
  say(text);
  w->run();
  return take();
}

std::string tab::reply(uint32_t id) const {
  const std::string head = "{\"id\":" + std::to_string(id) + ",";
  for (const std::string& t : texts) {
    if (t.compare(0, head.size(), head) == 0) return t;
  }
  return "";
}

std::vector<std::string> tab::pushes() const {
  std::vector<std::string> out;
  for (const std::string& t : texts) {
    if (t.compare(0, 8, "{\"push\":") == 0) out.push_back(t);
  }
  return out;
}

std::string tab::command(std::string_view body) {
  const uint32_t id = next_id++;
  const std::string head = "{\"id\":" + std::to_string(id) + ",";
  say(head + std::string(body) + "}");
  w->run();
  const std::string got = reply(id);
  if (got.empty()) return got;
  EXPECT_EQ(got.back(), '}');
  return got.substr(head.size(), got.size() - head.size() - 1);
}

std::string tab::subscribe(std::string_view channel, std::string_view more) {
  std::string body = "\"subscribe\":{\"channel\":";
  proto::json_string(&body, channel);
  return command(body + std::string(more) + "}");
}

std::string tab::rpc(std::string_view method, std::string_view data) {
  return command("\"rpc\":{\"method\":\"" + std::string(method) +
                 "\",\"data\":" + std::string(data) + "}");
}

std::string tab::id() const {
  constexpr std::string_view kField = "\"connect\":{\"client\":\"";
  for (const std::string& t : texts) {
    const size_t at = t.find(kField);
    if (at != std::string::npos) return t.substr(at + kField.size(), 36);
  }
  return "";
}

void tab::drop() {
  if (s != nullptr) chat::session_closed(s);
  s = nullptr;
}

session_test::session_test() {
  chat::settings_defaults(&config);
  config.token_keys.hmac_secrets = {kSecret};
  config.version = "parley-test";
}

session_test::~session_test() {
  for (auto& t : tabs) t->drop();
  if (w != nullptr) w->run();
}

void session_test::begin(uint32_t loops) {
  w = std::make_unique<world>(loops);
  const chat::settings own = w->config;
  w->config = config;
  w->config.clock = own.clock;
  w->config.random = own.random;
  w->start();
}

chat::namespace_settings& session_test::ns(std::string_view name) {
  for (chat::namespace_settings& n : config.namespaces) {
    if (n.name == name) return n;
  }
  config.namespaces.emplace_back();
  config.namespaces.back().name.assign(name);
  return config.namespaces.back();
}

script_broker* session_test::script(uint32_t i) {
  chat::node_loop* n = w->at(i);
  n->bus->close();
  delete n->bus;
  auto* bus = new script_broker(chat::owner_broker_events(), n->owned);
  bus->time_ms = w->clock.wall_ms();
  n->bus = bus;
  return bus;
}

std::string session_test::token(std::string_view user, std::string_view more) {
  std::string claims = "{\"sub\":";
  proto::json_string(&claims, user);
  return sign(claims + std::string(more) + "}");
}

std::string session_test::sub_token(std::string_view user, std::string_view channel,
                                    std::string_view more) {
  std::string claim = ",\"channel\":";
  proto::json_string(&claim, channel);
  return token(user, claim + std::string(more));
}

tab* session_test::open(uint32_t loop) {
  tabs.push_back(std::make_unique<tab>());
  tab* t = tabs.back().get();
  t->w = w.get();
  t->s = chat::session_open(w->at(loop), &kOps, t, proto::format::json);
  return t;
}

tab* session_test::connect(std::string_view user, uint32_t loop, std::string_view more_claims) {
  tab* t = open(loop);
  EXPECT_NE(t->command("\"connect\":{\"token\":\"" + token(user, more_claims) + "\"}"), "");
  EXPECT_EQ(t->accepted, 1);
  t->take();
  return t;
}

tab* session_test::anonymous(uint32_t loop) {
  tab* t = open(loop);
  EXPECT_NE(t->command("\"connect\":{}"), "");
  EXPECT_EQ(t->accepted, 1);
  t->take();
  return t;
}

uint64_t session_test::counted(uint32_t loop) {
  uint32_t channels, subscriptions;
  chat::owner_totals(w->at(loop)->owned, &channels, &subscriptions);
  return subscriptions;
}

}  // namespace fixture
