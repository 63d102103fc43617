#include "session.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <boost/asio/redirect_error.hpp>
#include <cerrno>

namespace brume::runtime {
namespace {

namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;

constexpr std::size_t kChunk = 32768;
// How long output is awaited after the process' end from those that still hold its streams (background children).
constexpr auto kOutputGrace = std::chrono::milliseconds(100);

// Wakes the session when the descriptor can be read; holds only the shared state.
void arm(const std::shared_ptr<SessionState>& state, std::optional<Descriptor>& descriptor) {
  if (!descriptor) return;
  descriptor->async_wait(Descriptor::wait_read, [state](const boost::system::error_code& error) {
    if (error != asio::error::operation_aborted) state->wake.notify();
  });
}

class PipeSession final : public Session {
 public:
  PipeSession(std::shared_ptr<SessionState> state, SessionHooks hooks)
      : state_(std::move(state)), hooks_(std::move(hooks)) {}
  ~PipeSession() override { PipeSession::close(); }

  Task<Result<Chunk>> read() override {
    auto state = state_;
    bool late = false;
    for (;;) {
      if (state->closed) co_return fail(Code::kCancelled, "the session was closed");
      for (Channel channel : {Channel::kStdout, Channel::kStderr}) {
        Chunk chunk = take(*state, channel);
        if (!chunk.data.empty()) co_return chunk;
      }
      if (state->exited && (late || (!state->out && !state->err))) {
        Chunk last;
        last.ended = true;
        last.exit_code = state->exit_code;
        co_return last;
      }
      if (state->out) arm(state, state->out);
      if (state->err) arm(state, state->err);
      if (state->exited) {
        late = !co_await state->wake.wait_for(kOutputGrace);
      } else {
        co_await state->wake.wait();
      }
      cancel(state->out);
      cancel(state->err);
    }
  }

  Task<Status> write_stdin(std::string_view bytes) override {
    auto state = state_;
    std::string rest(bytes);
    for (std::size_t at = 0; at < rest.size();) {
      auto& target = state->terminal != nullptr ? *state->terminal : state->in;
      if (state->closed || !target) co_return fail(Code::kInvalid, "standard input is closed");
      ssize_t put = ::write(target->native_handle(), rest.data() + at, rest.size() - at);
      if (put >= 0) {
        at += static_cast<std::size_t>(put);
      } else if (errno == EAGAIN) {
        boost::system::error_code error;
        co_await target->async_wait(Descriptor::wait_write, asio::redirect_error(asio::use_awaitable, error));
        if (error) co_return fail(Code::kCancelled, "the session was closed");
      } else if (errno != EINTR) {
        co_return fail_errno(errno, "write standard input");
      }
    }
    co_return Status{};
  }

  Task<Status> close_stdin() override {
    if (state_->terminal != nullptr) co_return co_await write_stdin("\x04");  // end of file, as a person types it
    state_->in.reset();
    if (hooks_.on_close_stdin) hooks_.on_close_stdin();
    co_return Status{};
  }

  Task<Status> resize(std::uint16_t columns, std::uint16_t rows) override {
    auto* terminal = state_->terminal;
    if (terminal == nullptr || !*terminal) co_return fail(Code::kInvalid, "the process has no terminal");
    winsize size{rows, columns, 0, 0};
    if (::ioctl((*terminal)->native_handle(), TIOCSWINSZ, &size) != 0) co_return fail_errno(errno, "resize terminal");
    co_return Status{};
  }

  void close() override {
    if (std::exchange(state_->closed, true)) return;
    state_->in.reset();
    state_->out.reset();
    state_->err.reset();
    if (hooks_.on_close) hooks_.on_close();
    state_->wake.notify();
  }

 private:
  static void cancel(std::optional<Descriptor>& descriptor) {
    boost::system::error_code ignored;
    if (descriptor) descriptor->cancel(ignored);
  }

  // What can be read now; a stream that ended is closed.
  static Chunk take(SessionState& state, Channel channel) {
    auto& stream = channel == Channel::kStdout ? state.out : state.err;
    Chunk chunk;
    chunk.channel = channel;
    while (stream) {
      chunk.data.resize(kChunk);
      ssize_t got = ::read(stream->native_handle(), chunk.data.data(), chunk.data.size());
      chunk.data.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
      if (got > 0 || (got < 0 && errno == EAGAIN)) break;
      if (got < 0 && errno == EINTR) continue;
      stream.reset();  // the end; EIO on a terminal that nobody has open any more
    }
    return chunk;
  }

  std::shared_ptr<SessionState> state_;
  SessionHooks hooks_;
};

void adopt(const Executor& executor, std::optional<Descriptor>& to, linux_os::Fd fd) {
  if (!fd.valid()) return;
  to.emplace(executor, fd.release());
  boost::system::error_code ignored;
  to->non_blocking(true, ignored);
}

}  // namespace

std::unique_ptr<Session> make_session(std::shared_ptr<SessionState> state, linux_os::Fd in, linux_os::Fd out,
                                      linux_os::Fd err, TerminalAt terminal, SessionHooks hooks) {
  if (terminal != TerminalAt::kNone) state->terminal = terminal == TerminalAt::kOut ? &state->out : &state->in;
  adopt(state->executor, state->in, std::move(in));
  adopt(state->executor, state->out, std::move(out));
  adopt(state->executor, state->err, std::move(err));
  return std::make_unique<PipeSession>(std::move(state), std::move(hooks));
}

}  // namespace brume::runtime
