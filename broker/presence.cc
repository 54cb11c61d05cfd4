// The presence table: entries are single allocations, linked by channel and hashed by (channel,
// client).
#include "broker/presence.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <new>

#include "core/assert.h"

namespace broker {
namespace {

presence_entry* entry_new(presence_channel* c, const member& m) noexcept {
  const size_t bytes = sizeof(presence_entry) + m.client.size() + m.user.size() + m.info.size();
  void* memory = malloc(bytes);
  CORE_ASSERT(memory != nullptr);
  auto* e = new (memory) presence_entry{nullptr,
                                        nullptr,
                                        c,
                                        static_cast<uint16_t>(m.client.size()),
                                        static_cast<uint16_t>(m.user.size()),
                                        static_cast<uint32_t>(m.info.size()) & 0x3fffffffu,
                                        m.has_join_leave,
                                        false};
  char* at = reinterpret_cast<char*>(e + 1);
  for (const std::string* s : {&m.client, &m.user, &m.info}) {
    memcpy(at, s->data(), s->size());
    at += s->size();
  }
  return e;
}

}  // namespace

presence_table::~presence_table() {
  for (presence_entry* e : entries_) free(e);
}

core::err presence_table::add(const std::string& channel, const member& m) noexcept {
  if (m.client.size() > UINT16_MAX || m.user.size() > UINT16_MAX || m.info.size() >= 1u << 30)
    return core::err::too_big;
  presence_channel* c = &channels_[channel];
  presence_entry* e = entry_new(c, m);
  const auto known = entries_.find(presence_key{c, m.client});
  if (known == entries_.end()) {
    e->prev = c->last;
    (c->last == nullptr ? c->first : c->last->next) = e;
    c->last = e;
    ++c->count;
  } else {
    presence_entry* old = *known;  // the new one takes its place in the list
    entries_.erase(known);
    e->prev = old->prev;
    e->next = old->next;
    (e->prev == nullptr ? c->first : e->prev->next) = e;
    (e->next == nullptr ? c->last : e->next->prev) = e;
    free(old);
  }
  entries_.insert(e);
  return core::err::ok;
}

void presence_table::remove(const std::string& channel, std::string_view client) noexcept {
  const auto it = channels_.find(channel);
  if (it == channels_.end()) return;
  presence_channel* c = &it->second;
  const auto known = entries_.find(presence_key{c, client});
  if (known == entries_.end()) return;
  presence_entry* e = *known;
  entries_.erase(known);
  (e->prev == nullptr ? c->first : e->prev->next) = e->next;
  (e->next == nullptr ? c->last : e->next->prev) = e->prev;
  free(e);
  if (--c->count == 0) channels_.erase(it);
}

const presence_entry* presence_table::find(const std::string& channel,
                                           std::string_view client) const noexcept {
  const auto c = channels_.find(channel);
  if (c == channels_.end()) return nullptr;
  const auto known = entries_.find(presence_key{&c->second, client});
  return known == entries_.end() ? nullptr : *known;
}

std::vector<member> presence_table::members(const std::string& channel,
                                            uint32_t limit) const noexcept {
  std::vector<member> out;
  const auto it = channels_.find(channel);
  if (it == channels_.end()) return out;
  out.reserve(std::min(limit, it->second.count));
  for (const presence_entry* e = it->second.first; e != nullptr && out.size() < limit; e = e->next)
    out.push_back({std::string(presence_client(e)), std::string(presence_user(e)),
                   std::string(presence_info(e))});
  return out;
}

presence_counts presence_table::counts(const std::string& channel) const noexcept {
  const auto it = channels_.find(channel);
  if (it == channels_.end()) return {};
  std::unordered_set<std::string_view> users;
  for (const presence_entry* e = it->second.first; e != nullptr; e = e->next)
    users.insert(presence_user(e));
  return {it->second.count, static_cast<uint32_t>(users.size())};
}

void last_seen::note(const std::string& channel, int64_t now_ms) {
  left_[channel] = now_ms;
  order_.emplace_back(channel, now_ms);
  while (order_.size() > kLastSeenMax) {
    const auto oldest = left_.find(order_.front().first);
    if (oldest != left_.end() && oldest->second == order_.front().second) left_.erase(oldest);
    order_.pop_front();
  }
}

int64_t last_seen::at(const std::string& channel, int64_t now_ms) const noexcept {
  const auto found = left_.find(channel);
  return found == left_.end() || now_ms - found->second > kLastSeenMs ? 0 : found->second;
}

}  // namespace broker
