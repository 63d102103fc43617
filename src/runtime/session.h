// Streams of an exec'd process or an attached container, over pipes or a terminal that this process holds.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "brume/base/task.h"
#include "brume/linux/fd.h"
#include "brume/runtime/runtime.h"

namespace brume::runtime {

/// Shared between a session and the runtime that tells it of the process' end. Owner: the node loop.
struct SessionState {
  explicit SessionState(const Executor& loop) : executor(loop), wake(loop) {}
  Executor executor;
  Event wake;                                                ///< something may be readable, or the process has ended
  std::optional<boost::asio::posix::stream_descriptor> out;  ///< stdout, or the terminal
  std::optional<boost::asio::posix::stream_descriptor> err;
  std::optional<boost::asio::posix::stream_descriptor> in;
  std::optional<boost::asio::posix::stream_descriptor>* terminal = nullptr;  ///< one of the above
  bool exited = false;
  int exit_code = 0;
  bool closed = false;

  void end(int code) {
    exited = true;
    exit_code = code;
    wake.notify();
  }
};

struct SessionHooks {
  std::function<void()> on_close_stdin;  ///< beyond closing our end
  std::function<void()> on_close;
};

/// `in`, `out`, `err` may be invalid. `terminal` says which of them is its master side: none, `out` (exec: it is read
/// and written) or `in` (attach: the shim reads it and passes the output on in `out`).
enum class TerminalAt : std::uint8_t { kNone, kOut, kIn };
std::unique_ptr<Session> make_session(std::shared_ptr<SessionState> state, linux_os::Fd in, linux_os::Fd out,
                                      linux_os::Fd err, TerminalAt terminal, SessionHooks hooks);

}  // namespace brume::runtime
