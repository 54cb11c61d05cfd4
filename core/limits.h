// Every limit of the program that is not a setting: unit, reason, and the relations between them.
// Leaf header.
#pragma once

#include <cstdint>

namespace core {

// HTTP (notes on hostile input: llhttp has no limits of its own).
inline constexpr uint32_t kHttpHeadBytesMax =
    8 * 1024;  // request line and headers: what browsers and proxies send fits in 4 KiB
inline constexpr uint32_t kHttpHeadersMax = 64;
inline constexpr uint32_t kHttpHeadMsMax =
    5000;  // slow-header attack: a head arrives within this time
inline constexpr uint32_t kHttpBodyBytesMax =
    4 * 1024 * 1024;  // server API: a batch of publications
inline constexpr uint32_t kHttpBodyBytesMaxOfStrangers =
    8 * 1024;  // without an API key: a guest's name; what a stranger sends must not fill the memory
inline constexpr uint32_t kHttpBacklogBytesMax =
    1024 * 1024;  // unread answers of one connection; whoever asks on is slow
inline constexpr uint32_t kHttpIdleMsMax = 60'000;  // keep-alive between two requests

// WebSocket.
inline constexpr uint32_t kWsMessageBytesMax =
    1024 * 1024;  // an incoming message of a connected client (1009 beyond)
inline constexpr uint32_t kWsMessageBytesMaxBeforeConnect =
    64 * 1024;  // a connect command: a token and a little
inline constexpr uint32_t kWsFragmentsMax =
    1024;  // a message in one-byte pieces costs memory per piece
inline constexpr uint32_t kWsContextsPerLoopMax =
    1024;  // connections that are mid-frame at the same time (8.7 KB each)
inline constexpr uint32_t kWsCloseWaitMsMax = 2000;  // for the peer's answer to our close frame
inline constexpr uint32_t kWsPayloadOutBytesMax =
    512 * 1024;  // the Python SDK refuses more than 1 MiB

// JSON.
inline constexpr uint32_t kJsonDepthMax = 64;
inline constexpr uint32_t kCommandsPerFrameMax =
    4096;  // newline batch: connect and a resubscribe of all channels

// Names.
inline constexpr uint32_t kChannelBytesMax = 255;
inline constexpr uint32_t kUserBytesMax = 255;
inline constexpr uint32_t kKeyBytesMax = 128;  // idempotency key
inline constexpr uint32_t kMethodBytesMax = 64;
inline constexpr uint32_t kInfoBytesMax = 8 * 1024;  // token's info, stored with each publication
inline constexpr uint32_t kTokenBytesMax =
    16 * 1024;  // checked before any of it is decoded; info in base64 and a signature fit

// Time.
inline constexpr uint32_t kCommandMsMax = 3000;      // SDKs give a command 5 s
inline constexpr uint32_t kStaleMsMax = 10'000;      // upgrade to connect command
inline constexpr uint32_t kExpiredGraceMs = 25'000;  // expired connection token: time to refresh

// Deferred commands of one client while a connect or a subscribe is on its way.
inline constexpr uint32_t kDeferredCommandsMax = 4096;
inline constexpr uint32_t kDeferredBytesMax = 2 * 1024 * 1024;

// Owner side.
inline constexpr uint32_t kPartitions = 1024;  // unit of ownership; a power of two
inline constexpr uint32_t kRecentPublicationsMax =
    256;  // per channel, kept by the owner for cheap recovery
inline constexpr uint32_t kRecentBytesMax = 256 * 1024;  // per channel
inline constexpr uint64_t kRecentBytesPerLoopMax = 64ull * 1024 * 1024;
inline constexpr uint32_t kOwnerLingerMs =
    30'000;  // a channel without subscribers is forgotten after this
inline constexpr uint32_t kOwnerIdleChannelsMax =
    65'536;  // per loop, that linger: some 30 MB; beyond it the longest idle go at once
inline constexpr uint32_t kOwnerWaitingMax = 4096;  // requests that wait for a channel's position
inline constexpr uint32_t kHistoryPageMax = 300;    // publications a history reply holds at most
inline constexpr uint32_t kPresenceEntriesMax = 2000;  // clients a presence reply holds at most

static_assert((kPartitions & (kPartitions - 1)) == 0);
static_assert(kWsMessageBytesMaxBeforeConnect <= kWsMessageBytesMax);
static_assert(kDeferredBytesMax >= kWsMessageBytesMax,
              "a frame that was accepted must be deferrable");
static_assert(kCommandMsMax < 5000, "the SDKs' own time-out");

}  // namespace core
