// SHA-256 over OpenSSL: the one adapter for digests.
#include "core/hash.h"

#include <openssl/evp.h>

namespace core {

namespace {

// The algorithm is looked up once, and each thread keeps its context: both cost more than the
// digest of a chat message.
struct digest_context {
  EVP_MD* how = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  EVP_MD_CTX* state = EVP_MD_CTX_new();
  ~digest_context() {
    EVP_MD_CTX_free(state);
    EVP_MD_free(how);
  }
};

}  // namespace

std::string digest(std::string_view bytes) noexcept {
  thread_local const digest_context here;
  unsigned char full[EVP_MAX_MD_SIZE];
  unsigned int len = 0;
  if (here.how == nullptr || here.state == nullptr ||
      EVP_DigestInit_ex(here.state, here.how, nullptr) != 1 ||
      EVP_DigestUpdate(here.state, bytes.data(), bytes.size()) != 1 ||
      EVP_DigestFinal_ex(here.state, full, &len) != 1 || len < kDigestBytes)
    return {};
  return std::string(reinterpret_cast<const char*>(full), kDigestBytes);
}

}  // namespace core
