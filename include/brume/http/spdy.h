// SPDY/3.1 sessions (server side): what kubectl's exec, attach and port-forward speak after an upgrade.
#pragma once

#include <memory>
#include <string>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"
#include "brume/http/message.h"
#include "brume/http/stream.h"

namespace brume::http {

/// One stream of a session, opened by the peer. close_write() half-closes (FLAG_FIN), close() resets.
class SpdyStream : public Stream {
 public:
  [[nodiscard]] virtual const Headers& headers() const = 0;  ///< of SYN_STREAM, e.g. streamtype: stdin
};

/// A server session over `transport`. Owner: the transport's loop. Flow control, pings and header compression (zlib
/// with the protocol's dictionary) are inside. See the SPDY/3.1 draft.
class SpdySession {
 public:
  static std::unique_ptr<SpdySession> serve(std::unique_ptr<Stream> transport, const Executor& executor,
                                            Farewell farewell = {});
  virtual ~SpdySession() = default;
  /// The next stream that the peer opens (already answered with SYN_REPLY); kCancelled when the session ended.
  virtual Task<Result<std::shared_ptr<SpdyStream>>> accept() = 0;
  /// Sends what was written and GOAWAY, awaits the peer's end within the farewell's limits, closes, awaits the
  /// session's tasks.
  virtual Task<void> stop() = 0;
  /// Ends the session at once, for a peer that owes something.
  virtual void close() = 0;
};

}  // namespace brume::http
