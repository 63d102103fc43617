#include "stream/remote_command.h"

#include <boost/asio/this_coro.hpp>
#include <cstdlib>
#include <map>

#include "brume/base/json.h"
#include "brume/base/strings.h"
#include "brume/base/task.h"
#include "stream/beside.h"

namespace brume::node {

namespace {

using Session = runtime::Session;

// Channel numbers of the channel.k8s.io protocols; 255 closes another one (v5).
enum Channel : std::uint8_t { kStdin = 0, kStdout = 1, kStderr = 2, kError = 3, kResize = 4, kClose = 255 };

constexpr std::chrono::seconds kStreamsTimeout{30};
// For clients that do not read, and so do not answer a ping, before they are given something.
constexpr std::chrono::seconds kPongTimeout{1};
constexpr std::size_t kMaxFrame = 32 << 10;

void apply_resize(const Json& size, std::uint16_t& columns, std::uint16_t& rows) {
  columns = static_cast<std::uint16_t>(num(size, "Width"));
  rows = static_cast<std::uint16_t>(num(size, "Height"));
}

/// What the error channel says of an end: from v4 on a Status; before that text, and "" (nothing is sent) for success.
std::string end_text(std::string_view protocol, const Json& status) {
  if (protocol.starts_with("v4.") || protocol.starts_with("v5.")) return dump_json(status);
  return str(status, "status") == "Success" ? std::string() : std::string(str(status, "message"));
}

/// Frames of one WebSocket: a channel byte before the data, or a digit before base64 text.
struct Framing {
  std::shared_ptr<http::WebSocket> socket;
  bool base64 = false;

  Task<Status> send(std::uint8_t channel, std::string_view data) const {
    std::string frame;
    if (base64) {
      frame = static_cast<char>('0' + channel) + base64_encode(data);
    } else {
      frame.reserve(data.size() + 1);
      frame += static_cast<char>(channel);
      frame += data;
    }
    co_return co_await socket->write(frame, base64);
  }

  Task<void> send_end(Json status) const {
    const std::string text = end_text(socket->protocol(), status);
    if (!text.empty()) (void)co_await send(kError, text);
  }
};

/// What the two directions of a WebSocket share.
struct SocketSession {
  explicit SocketSession(const Executor& executor) : opened(executor) {}
  std::shared_ptr<Session> session;  ///< null until it is open
  bool client_gone = false;
  Event opened;  ///< for the input: `session` is set
};

Task<void> websocket_input(std::shared_ptr<http::WebSocket> socket, bool base64, std::shared_ptr<SocketSession> shared,
                           StreamOptions options) {
  while (true) {
    auto message = co_await socket->read();
    if (!message || message->closed) break;
    if (message->data.empty()) continue;
    if (!shared->session) co_await shared->opened.wait();
    const std::shared_ptr<Session> session = shared->session;
    auto channel = static_cast<std::uint8_t>(message->data.front());
    std::string data = message->data.substr(1);
    if (base64) {
      channel = static_cast<std::uint8_t>(channel - '0');
      auto bytes = base64_decode(data);
      if (!bytes) break;
      data = *std::move(bytes);
    }
    if (channel == kStdin && options.stdin) {
      auto written = co_await session->write_stdin(data);
      if (!written) continue;  // the process closed its end; its output still counts
    } else if (channel == kResize) {
      if (auto size = parse_json(data)) {
        std::uint16_t columns = 0;
        std::uint16_t rows = 0;
        apply_resize(*size, columns, rows);
        (void)co_await session->resize(columns, rows);
      }
    } else if (channel == kClose && !data.empty() && data.front() == kStdin) {
      (void)co_await session->close_stdin();
    }
  }
  // The client has gone: nobody is left to read.
  shared->client_gone = true;
  if (shared->session) shared->session->close();
}

Task<void> websocket_output(Framing frames, std::shared_ptr<Session> session, StreamOptions options) {
  while (true) {
    auto chunk = co_await session->read();
    if (!chunk) {
      co_await frames.send_end(error_status(chunk.error()));
      break;
    }
    if (chunk->ended) {
      co_await frames.send_end(exit_status(chunk->exit_code));
      break;
    }
    const bool is_stderr = chunk->channel == Session::Channel::kStderr;
    if (is_stderr ? !options.stderr : !options.stdout) continue;
    std::string_view rest = chunk->data;
    bool broken = false;
    while (!rest.empty() && !broken) {
      auto sent = co_await frames.send(is_stderr ? kStderr : kStdout, rest.substr(0, kMaxFrame));
      broken = !sent;
      rest.remove_prefix(std::min(rest.size(), kMaxFrame));
    }
    if (broken) break;
  }
}

Task<void> websocket_body(std::shared_ptr<http::WebSocket> socket, bool base64, std::shared_ptr<SocketSession> shared,
                          StreamOptions options, OpenSession open) {
  const Framing frames{socket, base64};
  (void)co_await socket->ping(kPongTimeout);  // the outcome does not matter: it was waited for
  if (shared->client_gone) co_return;
  auto opened = co_await open();
  // An empty frame on the lowest channel tells the client that it is connected, as Kubernetes' server does.
  (void)co_await frames.send(options.stdout ? kStdout : options.stderr ? kStderr : kError, "");
  if (opened) {
    shared->session = std::move(*opened);
    shared->opened.notify();
    if (!shared->client_gone) co_await websocket_output(frames, shared->session, options);
    shared->session->close();  // input that still comes is dropped
  } else {
    co_await frames.send_end(error_status(opened.error()));
  }
  (void)co_await socket->close(1000, "");
}

// SPDY ----------------------------------------------------------------------------------------------------------------

struct SpdyStreams {
  std::shared_ptr<http::SpdyStream> error, in, out, err, resize;
};

bool complete(const SpdyStreams& streams, const StreamOptions& options) {
  return streams.error && (!options.stdin || streams.in) && (!options.stdout || streams.out) &&
         (!options.stderr || options.tty || streams.err) && (!options.tty || streams.resize);
}

bool take(SpdyStreams& streams, std::shared_ptr<http::SpdyStream> stream) {
  const std::string type = to_lower(stream->headers().get("streamtype"));
  auto* slot = type == "error"    ? &streams.error
               : type == "stdin"  ? &streams.in
               : type == "stdout" ? &streams.out
               : type == "stderr" ? &streams.err
               : type == "resize" ? &streams.resize
                                  : nullptr;
  if (slot == nullptr || *slot) return false;
  *slot = std::move(stream);
  return true;
}

Task<void> spdy_stdin(std::shared_ptr<http::SpdyStream> stream, std::shared_ptr<Session> session) {
  std::string buffer(kMaxFrame, '\0');
  while (true) {
    auto n = co_await stream->read(std::span(buffer.data(), buffer.size()));
    if (!n || *n == 0) break;
    auto written = co_await session->write_stdin(std::string_view(buffer).substr(0, *n));
    if (!written) break;
  }
  (void)co_await session->close_stdin();
}

// Each resize is one JSON object; they follow each other without separators that can be relied on.
Task<void> spdy_resize(std::shared_ptr<http::SpdyStream> stream, std::shared_ptr<Session> session) {
  std::string pending;
  char buffer[1024];
  while (true) {
    auto n = co_await stream->read(std::span(buffer, sizeof buffer));
    if (!n || *n == 0) co_return;
    pending.append(buffer, *n);
    for (auto end = pending.find('}'); end != std::string::npos; end = pending.find('}')) {
      if (auto size = parse_json(trim(std::string_view(pending).substr(0, end + 1)))) {
        std::uint16_t columns = 0;
        std::uint16_t rows = 0;
        apply_resize(*size, columns, rows);
        (void)co_await session->resize(columns, rows);
      }
      pending.erase(0, end + 1);
    }
    if (pending.size() > sizeof buffer) co_return;
  }
}

Task<void> spdy_watch_end(std::shared_ptr<http::SpdySession> spdy, std::shared_ptr<Session> session) {
  while (true) {
    auto stream = co_await spdy->accept();
    if (!stream) break;
    (*stream)->close();  // nothing more is expected
  }
  session->close();
}

Task<void> spdy_output(SpdyStreams streams, std::string protocol, std::shared_ptr<Session> session,
                       StreamOptions options) {
  while (true) {
    auto chunk = co_await session->read();
    if (!chunk || chunk->ended) {
      const std::string text = end_text(protocol, chunk ? exit_status(chunk->exit_code) : error_status(chunk.error()));
      if (!text.empty()) {
        (void)co_await streams.error->write(text);
      }
      break;
    }
    const bool is_stderr = chunk->channel == Session::Channel::kStderr;
    auto& stream = is_stderr ? streams.err : streams.out;
    if (!stream || (is_stderr ? !options.stderr : !options.stdout)) continue;
    auto sent = co_await stream->write(chunk->data);
    if (!sent) break;
  }
  for (auto* stream : {&streams.out, &streams.err, &streams.error}) {
    if (*stream) (void)co_await (*stream)->close_write();
  }
}

Task<void> late(std::shared_ptr<http::SpdySession> spdy, Clock& clock, std::shared_ptr<bool> done) {
  co_await clock.sleep(kStreamsTimeout);
  if (!*done) spdy->close();
}

Task<void> spdy_body(std::shared_ptr<http::SpdySession> spdy, std::string protocol, StreamOptions options, Clock& clock,
                     OpenSession open, TaskGroup& group) {
  SpdyStreams streams;
  auto done = std::make_shared<bool>(false);
  group.spawn("streams timeout", late(spdy, clock, done));
  while (!complete(streams, options)) {
    auto stream = co_await spdy->accept();
    if (!stream) co_return;
    if (!take(streams, *stream)) (*stream)->close();
  }
  *done = true;
  auto opened = co_await open();
  if (!opened) {
    (void)co_await streams.error->write(end_text(protocol, error_status(opened.error())));
    (void)co_await streams.error->close_write();
    co_return;
  }
  std::shared_ptr<Session> session = std::move(*opened);
  if (streams.in) group.spawn("exec stdin", spdy_stdin(streams.in, session));
  if (streams.resize) group.spawn("exec resize", spdy_resize(streams.resize, session));
  group.spawn("exec end", spdy_watch_end(spdy, session));
  co_await spdy_output(streams, protocol, session, options);
  session->close();
}

}  // namespace

Json exit_status(int exit_code) {
  if (exit_code == 0) return {{"metadata", Json::object()}, {"status", "Success"}};
  return {{"metadata", Json::object()},
          {"status", "Failure"},
          {"message", "command terminated with non-zero exit code: exit status " + std::to_string(exit_code)},
          {"reason", "NonZeroExitCode"},
          {"details", {{"causes", Json::array({{{"reason", "ExitCode"}, {"message", std::to_string(exit_code)}}})}}}};
}

Json error_status(const Error& error) {
  return {{"metadata", Json::object()},
          {"status", "Failure"},
          {"message", "error executing command in container: " + error.message},
          {"reason", "InternalError"},
          {"code", 500}};
}

std::string choose_websocket_protocol(const std::vector<std::string>& offered) {
  for (const std::string& protocol : offered) {
    for (const char* known : {"v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io", "v4.base64.channel.k8s.io",
                              "base64.channel.k8s.io"}) {
      if (protocol == known) return protocol;
    }
  }
  return {};
}

std::string choose_spdy_protocol(const std::vector<std::string>& offered) {
  for (const std::string& protocol : offered) {
    for (const char* known : {"v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"}) {
      if (protocol == known) return protocol;
    }
  }
  return {};
}

Task<void> serve_websocket(std::shared_ptr<http::WebSocket> socket, StreamOptions options, OpenSession open) {
  const bool base64 = socket->protocol().find("base64") != std::string::npos;
  TaskGroup group(co_await boost::asio::this_coro::executor);
  auto shared = std::make_shared<SocketSession>(group.executor());
  group.spawn("exec input", websocket_input(socket, base64, shared, options));
  co_await with_helpers(group, websocket_body(socket, base64, shared, options, std::move(open)));
}

Task<void> serve_spdy(std::shared_ptr<http::SpdySession> spdy, std::string protocol, StreamOptions options,
                      Clock& clock, OpenSession open) {
  TaskGroup group(co_await boost::asio::this_coro::executor);
  co_await with_helpers(group, spdy_body(spdy, std::move(protocol), options, clock, std::move(open), group));
  co_await spdy->stop();
}

}  // namespace brume::node
