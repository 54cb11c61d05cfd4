// The writer's place is one document, changed by updates that name whom they replace: of two nodes
// that want it at once one finds that nothing matched.
#include "store/mongo_setup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "core/log.h"
#include "store/page.h"

namespace store {
namespace {

constexpr const char* kPlaceFile = "/place";

struct index_spec {
  const char* collection;
  const char* name;
  const char* first;
  const char* second;  // nullptr: one field
  bool is_unique;
  bool is_of_edits;  // partial: refers > 0
  bool is_expiry;
};
constexpr index_spec kIndexes[] = {
    {kPublications, "channel_offset", "channel", "offset", true, false, false},
    {kPublications, "channel_refers", "channel", "refers", false, true, false},
    {kKeys, "channel_scope", "channel", "scope", true, false, false},
    {kKeys, "expires", "expires", nullptr, false, false, true},
    {kUserChannels, "user_channel", "user", "channel", true, false, false},
};

doc index_command(const index_spec& x, bool is_plain) {
  doc key, index, list, command;
  key.small(x.first, 1);
  if (x.second != nullptr) key.small(x.second, 1);
  index.sub("key", key).text("name", x.name);
  if (x.is_unique) index.flag("unique", true);
  if (x.is_expiry && !is_plain) index.small("expireAfterSeconds", 0);
  if (x.is_of_edits && !is_plain)
    index.sub("partialFilterExpression", doc().sub("refers", doc().small("$gt", 0)));
  list.sub("0", index);
  command.text("createIndexes", x.collection).array("indexes", list);
  return command;
}

// Puts us into the place of `before`. *is_ours false: somebody was faster.
mongo_failure take_place(mongo_core* c, mongo_client* client, const mongo_writer& before,
                         const writer_place& p, bool* is_ours) noexcept {
  doc set;
  set.bytes("spool", spool_id(c->log))
      .number("turn", p.turn)
      .text("epoch", p.epoch)
      .number_u64("shift", p.shift)
      .number_u64("backlog_max", p.backlog_max)
      .date("seen", c->options.clock->wall_ms())
      .text("host", mongo_host_name())
      .flag("released", false)
      .text("import", "")
      .small("schema", kMongoSchema);
  if (!before.is_there) {
    doc d;
    d.text("_id", kWriter).all_of(set);
    const mongo_bulk_result r = mongo_insert(client, kMeta, {d.view()});
    *is_ours = r.errors.empty();
    return r.failure;
  }
  mongo_update u;
  u.filter.text("_id", kWriter).bytes("spool", before.spool);
  if (before.place.turn > 0) u.filter.number("turn", before.place.turn);
  u.update.sub("$set", set);
  const mongo_bulk_result r = mongo_change(client, kMeta, {u});
  *is_ours = r.errors.empty() && r.matched == 1;
  return r.failure;
}

// The writer's document while it is ours.
doc our_place(const mongo_core& c) {
  doc filter;
  filter.text("_id", kWriter).bytes("spool", spool_id(c.log)).number("turn", c.turn);
  return filter;
}

// Which place follows the one that is there.
bool next_place(const mongo_core& c, const mongo_writer& there, bool has_records, writer_place* out,
                std::string* why) {
  if (!there.is_there) {
    // A spool with records and no writer: the database was emptied or is another one.
    if (has_records) {
      *why = "the spool in " + c.options.spool_dir +
             " has publications of another database: this one has never had a writer";
      return false;
    }
    *out = {epoch_new(), 0};
    return true;
  }
  *out = there.place;
  if (there.schema > kMongoSchema) {
    *why = "the database was made by a newer version (schema " + std::to_string(there.schema) +
           ", this one knows " + std::to_string(kMongoSchema) + ")";
    return false;
  }
  if (there.import == kImportNew) {
    *why = kMongoImportIsOpen;
    return false;
  }
  if (there.spool == spool_id(c.log)) return true;
  if (has_records) {
    *why = "the spool in " + c.options.spool_dir +
           " has publications that were never stored, and another node has taken the database "
           "over since. Move the directory away to begin without them";
    return false;
  }
  const int64_t age = c.options.clock->wall_ms() - there.seen_ms;
  if (!there.is_released && age < static_cast<int64_t>(c.options.lease_ms)) {
    *why = "another node writes to this database, and was seen " +
           std::to_string(std::max<int64_t>(age, 0) / 1000) +
           " s ago; with the broker local one node does. If it is gone, try again in " +
           std::to_string(c.options.lease_ms / 1000) + " s";
    return false;
  }
  if (there.is_released || there.import == kImportMore) return true;
  core::log_warn(
      "the spool of the database's last writer is not here; what only it had is lost, "
      "and a new epoch begins",
      {{"publications_at_most", there.place.backlog_max}});
  *out = {epoch_new(), there.place.shift + there.place.backlog_max};
  return true;
}

// Deletes [.., up_to] of a channel, oldest first, in slices that other writes go between.
mongo_failure remove_up_to(mongo_client* client, const std::string& channel, uint64_t up_to,
                           const sweep_pause& p) noexcept {
  constexpr uint64_t kSlice = 4096;
  constexpr int kSlicesMax = 64;  // a round; the next goes on
  for (int n = 0; n < kSlicesMax && p.between(p.user); ++n) {
    uint64_t first = 0;
    doc filter, options;
    filter.text("channel", channel).sub("offset", doc().number_u64("$lte", up_to));
    options.sub("sort", doc().small("channel", 1).small("offset", 1))
        .sub("hint", doc().small("channel", 1).small("offset", 1))
        .number("limit", 1);
    const mongo_failure f =
        mongo_find_each(client, kPublications, filter, options, [&](const bson_t& d) {
          first = static_cast<uint64_t>(doc_number(d, "offset"));
          return false;
        });
    if (f || first == 0) return f;
    doc slice;
    slice.text("channel", channel)
        .sub("offset", doc().number_u64("$lte", std::min(up_to, first + kSlice)));
    const mongo_failure removed = mongo_remove(client, kPublications, slice);
    if (removed) return removed;
  }
  return {};
}

struct swept_channel {
  std::string name;
  uint64_t top = 0;
  retention keep;
};

// The last offset outside of retention, 0: none. Of what is in MongoDB: `top` is what it has.
mongo_failure floor_of(mongo_client* client, const swept_channel& s, int64_t now_ms,
                       uint64_t* out) noexcept {
  *out = keep_floor(s.keep, s.top);
  const int64_t oldest_ms = keep_oldest_ms(s.keep, now_ms);
  if (oldest_ms == kNoAge) return {};
  uint64_t young = s.top + 1;
  doc filter, options;
  filter.text("channel", s.name)
      .sub("offset", doc().number_u64("$gt", *out))
      .sub("time", doc().date("$gt", oldest_ms));
  options.sub("sort", doc().small("channel", 1).small("offset", 1))
      .sub("hint", doc().small("channel", 1).small("offset", 1))
      .number("limit", 1);
  const mongo_failure f =
      mongo_find_each(client, kPublications, filter, options, [&](const bson_t& d) {
        young = static_cast<uint64_t>(doc_number(d, "offset"));
        return false;
      });
  if (!f) *out = std::max(*out, young - 1);
  return f;
}

}  // namespace

mongo_failure mongo_make_indexes(mongo_client* client) noexcept {
  for (const index_spec& x : kIndexes) {
    mongo_failure f = mongo_command(client, index_command(x, false));
    if (f && (x.is_expiry || x.is_of_edits) && !mongo_is_transient(f.code)) {
      core::log_warn("the server does not make an index as it should be; a plain one does",
                     {{"collection", x.collection}, {"index", x.name}, {"reason", f.text}});
      f = mongo_command(client, index_command(x, true));
    }
    if (f) {
      f.text = std::string("index ") + x.name + " of " + x.collection + ": " + f.text;
      return f;
    }
  }
  return {};
}

mongo_failure mongo_find_writer(mongo_client* client, mongo_writer* out) noexcept {
  return mongo_find_each(
      client, kMeta, doc().text("_id", kWriter), doc().number("limit", 1), [&](const bson_t& d) {
        out->is_there = true;
        out->spool = doc_bytes(d, "spool");
        out->place.epoch = doc_text(d, "epoch");
        out->place.shift = static_cast<uint64_t>(doc_number(d, "shift"));
        out->place.backlog_max = static_cast<uint64_t>(doc_number(d, "backlog_max"));
        out->place.turn = doc_number(d, "turn");
        out->seen_ms = doc_number(d, "seen");
        out->schema = doc_number(d, "schema");
        out->is_released = doc_flag(d, "released");
        out->import = doc_text(d, "import");
        return false;
      });
}

std::string mongo_host_name() {
  char name[256] = "?";
  gethostname(name, sizeof name - 1);
  return name;
}

bool place_load(const std::string& spool_dir, writer_place* out) noexcept {
  std::ifstream in(spool_dir + kPlaceFile);
  return static_cast<bool>(in >> out->epoch >> out->shift >> out->backlog_max) &&
         !out->epoch.empty();
}

bool place_save(const std::string& spool_dir, const writer_place& p) noexcept {
  const std::string path = spool_dir + kPlaceFile, made = path + ".new";
  const std::string text =
      p.epoch + " " + std::to_string(p.shift) + " " + std::to_string(p.backlog_max) + "\n";
  const int fd = ::open(made.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool is_written =
      ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
  ::close(fd);
  if (!is_written || rename(made.c_str(), path.c_str()) != 0) return false;
  const int dir = ::open(spool_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool is_synced = dir >= 0 && fsync(dir) == 0;
  if (dir >= 0) ::close(dir);
  return is_synced;
}

setup_result mongo_setup(mongo_core* c, mongo_client* client, bool has_records, writer_place* place,
                         std::string* why) noexcept {
  mongo_failure f = mongo_make_indexes(client);
  for (int tries = 0; !f && tries < 3; ++tries) {
    mongo_writer there;
    f = mongo_find_writer(client, &there);
    if (f) break;
    if (!next_place(*c, there, has_records, place, why)) return setup_result::refused;
    {
      const std::lock_guard<std::mutex> held(c->lock);  // the spool may be of a larger bound
      place->backlog_max = std::max(c->options.backlog_max, c->waiting);
    }
    place->turn = there.place.turn + 1;
    bool is_ours = false;
    f = take_place(c, client, there, *place, &is_ours);
    if (!f && is_ours) return setup_result::done;
  }
  *why = f ? f.text : "another node wants to write to this database at the same time";
  return f ? setup_result::away : setup_result::refused;
}

setup_result mongo_stay(mongo_core* c, mongo_client* client) noexcept {
  mongo_update u = {our_place(*c), {}};
  u.update.sub("$set", doc().date("seen", c->options.clock->wall_ms()));
  const mongo_bulk_result r = mongo_change(client, kMeta, {u});
  if (r.failure || !r.errors.empty()) return setup_result::away;
  return r.matched == 1 ? setup_result::done : setup_result::refused;
}

void mongo_leave(mongo_core* c, mongo_client* client) noexcept {
  mongo_update u = {our_place(*c), {}};
  u.update.sub("$set", doc().flag("released", true));
  static_cast<void>(mongo_change(client, kMeta, {u}));
}

mongo_failure mongo_sweep(mongo_client* client, int64_t now_ms, const sweep_pause& p) noexcept {
  doc or_list, filter;
  or_list.sub("0", doc().sub("size_max", doc().small("$gt", 0)))
      .sub("1", doc().sub("ttl_ms", doc().small("$gt", 0)));
  filter.array("$or", or_list);
  std::vector<swept_channel> all;
  mongo_failure f = mongo_find_each(client, kChannels, filter, doc(), [&](const bson_t& d) {
    all.push_back({std::string(doc_text(d, "_id")),
                   static_cast<uint64_t>(doc_number(d, "top")),
                   {static_cast<uint64_t>(doc_number(d, "size_max")),
                    static_cast<uint64_t>(doc_number(d, "ttl_ms"))}});
    return true;
  });
  for (const swept_channel& s : all) {
    if (f || !p.between(p.user)) return f;
    uint64_t floor = 0;
    f = floor_of(client, s, now_ms, &floor);
    if (!f && floor > 0) f = remove_up_to(client, s.name, floor, p);
  }
  return f ? f : mongo_remove(client, kKeys, doc().sub("expires", doc().date("$lte", now_ms)));
}

}  // namespace store
