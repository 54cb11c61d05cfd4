// SHA-256 over OpenSSL: the one adapter for digests.
#include "core/hash.h"

#include <openssl/evp.h>

namespace core {

std::string digest(std::string_view bytes) noexcept {
  unsigned char full[EVP_MAX_MD_SIZE];
  unsigned int len = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), full, &len, EVP_sha256(), nullptr) != 1 ||
      len < kDigestBytes)
    return {};
  return std::string(reinterpret_cast<const char*>(full), kDigestBytes);
}

}  // namespace core
