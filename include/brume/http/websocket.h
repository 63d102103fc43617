// WebSocket messages (RFC 6455).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "brume/base/result.h"
#include "brume/base/task_fwd.h"

namespace brume::http {

/// An open WebSocket. Owner: one loop; one read and one write may be pending at a time. Pings are answered inside.
/// close() and ping() may be called beside a pending read.
class WebSocket {
 public:
  struct Message {
    std::string data;
    bool text = false;
    bool closed = false;  ///< the peer closed; no more will come
  };
  virtual ~WebSocket() = default;
  [[nodiscard]] virtual const std::string& protocol() const = 0;
  virtual Task<Result<Message>> read() = 0;
  virtual Task<Status> write(std::string_view data, bool text) = 0;
  /// Sends a ping and waits for the pong, or for anything else that the peer sends; a read must be pending meanwhile.
  /// kTimeout: nothing came within `patience`.
  virtual Task<Status> ping(std::chrono::steady_clock::duration patience) = 0;
  /// Sends a close and awaits the peer's, dropping what it still sends, for as long as a Farewell gives. From then on
  /// read() says that the peer closed.
  virtual Task<Status> close(std::uint16_t code, std::string_view reason) = 0;
  /// Ends the connection at once: what is pending fails with kCancelled.
  virtual void abort() = 0;
};

}  // namespace brume::http
