// `parleyd export [--store URL] [--out FILE]` and `parleyd import [--store URL] [--in FILE]`:
// history out of and into a store that no server has.
#pragma once

namespace server {

// argv without `parleyd export`. Returns the exit code, with the reason on standard error:
enum transfer_exit : int {
  kTransferWhole = 0,
  kTransferFailed = 1,    // disk, MongoDB away, stopped: run it again
  kTransferRefused = 2,   // a wrong flag, setting or store
  kTransferBusy = 3,      // a parleyd or another move has the store
  kTransferBadFile = 4,   // a bad line, damaged, truncated
  kTransferConflict = 5,  // another publication stands at a channel and offset
};
int export_command(int argc, const char* const* argv) noexcept;
int import_command(int argc, const char* const* argv) noexcept;

}  // namespace server
