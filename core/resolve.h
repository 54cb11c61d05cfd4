// A name to an address, by a deadline: the system's resolver cannot be interrupted, so it runs on a
// thread of its own, which is left behind when it takes too long. Any thread that may wait.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "core/err.h"

namespace core {

// *addresses are numeric, as dial() takes them, the one to try first at the front; a host that
// dial() takes stays as it is. *until_us as for http_exchange(). unavailable: there is no such
// name, or no resolver answers (*why has its text); timeout: neither is known yet.
err resolve(const std::string& host, const std::atomic<uint64_t>& until_us,
            std::vector<std::string>* addresses, std::string* why) noexcept;

}  // namespace core
