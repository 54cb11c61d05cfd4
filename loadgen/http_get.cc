// GET of a page, for numeric addresses: nothing is resolved while a run goes on.
#include "core/clock.h"
#include "core/http_client.h"
#include "loadgen/sampler.h"

namespace loadgen {

using core::err;

err http_get(const std::string& url, uint32_t ms, std::string* body, int* status) noexcept {
  core::http_target t;
  if (!core::http_target_parse(url, &t) || !core::dial_is_numeric(t.address.host))
    return err::invalid;
  const std::atomic<uint64_t> until_us{core::system_clock()->mono_us() + uint64_t{ms} * 1000};
  core::http_answer a;
  const err rc = core::http_exchange(t,
                                     "GET " + t.path + " HTTP/1.1\r\nHost: " + t.host +
                                         "\r\nConnection: close\r\nAccept: */*\r\n\r\n",
                                     {}, kHttpGetBytesMax, until_us, &a);
  if (rc != err::ok) return rc;
  *body = std::move(a.body);
  *status = a.status;
  return err::ok;
}

}  // namespace loadgen
