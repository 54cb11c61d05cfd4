// Fake clients: the hub's receivers of the owner tests.
#include "tests/chat/fake_client.h"

#include <cstdlib>

namespace fixture {
namespace {

fake_client* client_of(chat::session* s) noexcept {
  return reinterpret_cast<fake_client*>(s);
}

void take_offsets(fake_client* c, std::string_view text) {
  for (const uint64_t offset : offsets_in(text)) {
    if (offset != c->at + 1) ++c->holes;
    c->at = offset;
    c->seen.push_back(offset);
  }
}

void deliver(chat::session* s, core::frame* f) noexcept {
  fake_client* c = client_of(s);
  c->pushes.push_back(frame_text(f));
  core::frame_unref(f);
  take_offsets(c, c->pushes.back());
}

void moved(chat::session* s, chat::hub_channel*, uint32_t entry) noexcept {
  client_of(s)->entry = entry;
}

void insufficient(chat::session* s, chat::hub_channel*) noexcept {
  fake_client* c = client_of(s);
  ++c->insufficient;
  c->unsubscribe();
}

constexpr chat::hub_receiver kFakes = {deliver, moved, insufficient};

void on_subscribed(chat::node_loop* here, chat::request* r) noexcept {
  auto* c = static_cast<fake_client*>(r->user);
  ++c->answers;
  c->code = r->code;
  c->where = fake_client::place::away;
  if (r->code == chat::error::ok) {
    c->where = fake_client::place::live;
    c->is_recovered = r->is_recovered;
    c->recovered_text = r->publications;
    c->epoch = r->top.epoch;
    if (r->is_recovered) {
      c->at = r->since.offset;
      take_offsets(c, r->publications);
      if (c->at != r->top.offset) ++c->holes;
    } else {
      c->at = r->top.offset;
    }
    c->hub_channel = chat::hub_add(here->local, c->channel, c->ns,
                                   reinterpret_cast<chat::session*>(c), c->wants_joins, &c->entry);
  }
  chat::request_free(r);
}

void fill_who(const fake_client* c, chat::request* r) {
  r->who = {c->id, "user-" + c->id, "{\"client\":\"" + c->id + "\"}"};
  r->has_presence = c->has_presence;
  r->has_join_leave = c->has_join_leave;
}

}  // namespace

void fake_client::subscribe(bool wants_recover) {
  chat::request* r = chat::request_new(node, chat::request_kind::subscribe, channel, ns);
  fill_who(this, r);
  r->wants_position = true;
  r->wants_recover = wants_recover;
  r->since = {at, epoch};
  r->user = this;
  r->done = on_subscribed;
  where = place::asking;
  chat::request_submit(r);
}

void fake_client::subscribe_since(uint64_t offset, std::string_view since_epoch) {
  at = offset;
  epoch.assign(since_epoch);
  subscribe(true);
}

void fake_client::unsubscribe() {
  chat::hub_remove(node->local, hub_channel, entry);
  where = place::away;
  chat::request* r = chat::request_new(node, chat::request_kind::unsubscribe, channel, ns);
  fill_who(this, r);
  chat::request_submit(r);
}

void use_fake_clients(chat::node_loop* n) {
  chat::hub_free(n->local);
  n->local = chat::hub_new(n, &kFakes);
}

std::vector<uint64_t> offsets_in(std::string_view text) {
  constexpr std::string_view kField = "\"offset\":";
  std::vector<uint64_t> out;
  for (size_t i = text.find(kField); i != std::string_view::npos; i = text.find(kField, i + 1)) {
    out.push_back(
        std::strtoull(std::string(text.substr(i + kField.size(), 20)).c_str(), nullptr, 10));
  }
  return out;
}

}  // namespace fixture
