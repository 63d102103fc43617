// Stream: bytes both ways. The seam under WebSocket, SPDY, proxying and tests.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::http {

/// A two-way byte stream. Owner: one task group of one loop; one read and one write may be pending at a time.
class Stream {
 public:
  virtual ~Stream() = default;
  /// Reads 1 to buffer.size() bytes; 0 at the end of the peer's bytes.
  virtual Task<Result<std::size_t>> read(std::span<char> buffer) = 0;
  /// Writes all of `bytes`, which must stay valid until done.
  virtual Task<Status> write(std::string_view bytes) = 0;
  /// Tells the peer that no more will be written.
  virtual Task<Status> close_write() = 0;
  /// Ends both directions at once; pending calls fail with kCancelled. Idempotent.
  virtual void close() = 0;
};

/// How long a connection that ends is held open for a peer that still takes what was written to it, which may be
/// megabytes.
struct Farewell {
  std::chrono::steady_clock::duration silence = std::chrono::seconds(30);  ///< that the peer may keep
  std::chrono::steady_clock::duration whole = std::chrono::minutes(10);    ///< whatever the peer does
};

/// Copies both ways until both ends are done or one fails, then closes both.
Task<void> splice(Stream& a, Stream& b);

/// Two connected in-memory streams on the calling loop, for tests.
std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> stream_pair(const Executor& executor);

}  // namespace brume::http
