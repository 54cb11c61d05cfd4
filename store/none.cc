// The store of nodes that keep nothing themselves: the broker's streams are the history. It is
// always ready and takes nothing.
#include "store/store.h"

namespace store {
namespace {

class none_store final : public store {
 public:
  core::err append(core::loop*, append_request&&, append_cb, void*) noexcept override {
    return core::err::unavailable;
  }
  core::err read(core::loop*, read_request&&, read_cb, void*) noexcept override {
    return core::err::unavailable;
  }
  core::err remove_history(core::loop*, std::string, done_cb, void*) noexcept override {
    return core::err::unavailable;
  }
  core::err add_user_channel(core::loop*, std::vector<std::string>, std::string, done_cb,
                             void*) noexcept override {
    return core::err::unavailable;
  }
  core::err remove_user_channel(core::loop*, std::string, std::string, done_cb,
                                void*) noexcept override {
    return core::err::unavailable;
  }
  core::err mark_read(core::loop*, std::string, std::string, uint64_t, done_cb,
                      void*) noexcept override {
    return core::err::unavailable;
  }
  core::err user_channels(core::loop*, std::string, uint32_t, user_channels_cb,
                          void*) noexcept override {
    return core::err::unavailable;
  }
  store_stats stats() noexcept override {
    store_stats s;
    s.is_ready = true;
    return s;
  }
  void close() noexcept override {}
};

}  // namespace

store* open_none() noexcept {
  return new none_store;
}

}  // namespace store
