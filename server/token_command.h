// `parleyd token --user U [--info JSON] [--channel C] [--ttl S]`: prints a token that the server
// with the same settings accepts.
#pragma once

namespace server {

// argv without `parleyd token`. Returns the exit code: 0, or 2 with the reason on standard error.
int token_command(int argc, const char* const* argv) noexcept;

}  // namespace server
