// How far a move of history is, on standard error: a bar on a terminal, else a line now and then.
#pragma once

#include <cstdint>
#include <string>

#include "store/transfer.h"

namespace server {

// "[#####-----]  52 %  1,234 publications  45/s  0:32 left". Without `all` neither bar, percent nor
// time.
std::string transfer_text(const store::history_counts& so_far, const store::history_progress& p,
                          uint64_t elapsed_us, bool has_bar);

class transfer_meter {
 public:
  explicit transfer_meter(const char* name);
  void show(const store::history_counts& so_far, const store::history_progress& p) noexcept;
  void clear() noexcept;  // before anything else is written
  uint64_t elapsed_us() const noexcept;

 private:
  const char* const name_;
  const bool is_terminal_;
  const uint64_t began_us_;
  uint64_t due_us_;
  bool is_shown_ = false;
};

}  // namespace server
