#include "connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <charconv>

#include "brume/base/log.h"
#include "brume/base/strings.h"
#include "request_head.h"
#include "upgraded_stream.h"
#include "websocket_frames.h"

namespace brume::http {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kReadSize = 8 * 1024;
// A body that no one read: up to this much is read and dropped to keep the connection.
constexpr std::size_t kMaxDrain = 256 * 1024;
// Of a WebSocket's peer that has nothing to say.
constexpr std::size_t kMaxIgnoredMessage = 64 * 1024;
// Bigger bodies are sent in parts of about this size, each with a timeout of its own.
constexpr std::size_t kSendPart = 1 << 20;
// A peer that still sends while it is refused must get the answer, not a reset: what it sends is dropped this long and
// this far before the connection closes.
constexpr auto kLinger = 1s;
constexpr std::size_t kMaxLinger = 16 << 20;

bool has_no_body(int status) { return status < 200 || status == 204 || status == 304; }

}  // namespace

Connection::Connection(ServerShared& shared, const Executor& executor, int fd, std::string peer_address,
                       std::function<void(Connection*)> on_end)
    : shared_(shared),
      executor_(executor),
      tasks_(executor),
      on_end_(std::move(on_end)),
      transport_(std::make_unique<SocketStream>(executor, fd)),
      deadline_(executor,
                [this] {
                  if (transport_) transport_->cancel();
                }),
      watch_ended_(executor),
      parser_(Http1Parser::Kind::kRequest, shared.options.max_header_bytes) {
  request_.peer_address = std::move(peer_address);
  ++shared_.connections;
}

Connection::~Connection() { --shared_.connections; }

void Connection::start() { tasks_.spawn("http connection", run()); }

Task<void> Connection::run() {
  struct AtEnd {
    Connection* self;
    ~AtEnd() {
      if (self->transport_) self->transport_->close();
      self->on_end_(self);
    }
  } at_end{this};
  if (!co_await start_tls()) co_return;
  while (co_await read_head()) {
    co_await run_handler();
    if (!transport_) co_return;  // handed over
    if (!keep_alive_) {
      if (!body_done_) {
        deadline_.set_after(kLinger);
        co_await transport_->linger(kMaxLinger);
      }
      co_return;
    }
    if (auto drained = co_await drain_body(); !drained) co_return;
  }
}

Task<bool> Connection::start_tls() {
  auto context = shared_.tls.load();
  if (!context) co_return true;
  deadline_.set_after(shared_.options.header_timeout);
  const auto first = co_await transport_->peek();
  if (!first || *first == 0) co_return false;
  // A TLS record begins with its content type, 22 for a handshake (RFC 8446 section 5.1); a method begins with a
  // letter.
  if (*first >= 'A' && *first <= 'Z') {
    (void)co_await transport_->write(
        "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
        "Client sent an HTTP request to an HTTPS server.\n");
    co_await transport_->linger(kMaxLinger);
    co_return false;
  }
  if (auto done = co_await transport_->accept_tls(std::move(context)); !done) {
    log::debug("TLS handshake failed", {{"peer", request_.peer_address}, {"error", done.error().message}});
    if (!deadline_.expired()) {
      deadline_.set_after(kLinger);  // lets the alert arrive
      co_await transport_->linger(kMaxLinger);
    }
    co_return false;
  }
  request_.peer_certificate = transport_->peer_certificate();
  co_return true;
}

// Reading ---------------------------------------------------------------------------------------------------------

void Connection::consume(std::size_t count) {
  in_at_ += count;
  if (in_at_ == in_.size()) {
    in_.clear();
    in_at_ = 0;
  }
}

Task<Status> Connection::fill() {
  if (in_at_ > 0) {
    in_.erase(0, in_at_);
    in_at_ = 0;
  }
  const auto had = in_.size();
  in_.resize(had + kReadSize);
  auto count = deadline_.expired() ? Result<std::size_t>(fail(Code::kTimeout, "too slow"))
                                   : co_await transport_->read(std::span(in_).subspan(had));
  in_.resize(had + (count ? *count : 0));
  if (!count) {
    keep_alive_ = false;
    if (deadline_.expired()) co_return fail(Code::kTimeout, "the peer was too slow");
    co_return fail(count.error());
  }
  if (*count == 0) {
    keep_alive_ = false;
    co_return fail(Code::kCancelled, "the peer closed the connection");
  }
  co_return Status();
}

Task<bool> Connection::read_head() {
  parser_ = Http1Parser(Http1Parser::Kind::kRequest, shared_.options.max_header_bytes);
  answered_ = false;
  keep_alive_ = true;
  // Between requests a connection may idle; once a byte of a head is there, the head must follow soon.
  const bool idle = pending().empty() && !request_.method.empty();
  deadline_.set_after(idle ? shared_.options.idle_timeout : shared_.options.header_timeout);
  bool head_begun = !idle;
  std::string unused;
  while (!parser_.head_done()) {
    if (pending().empty()) {
      if (auto filled = co_await fill(); !filled) co_return false;
      if (!head_begun) deadline_.set_after(shared_.options.header_timeout);
      head_begun = true;
      while (parser_.head().method.empty() && pending().starts_with("\r\n")) consume(2);  // RFC 9112 section 2.2
      continue;
    }
    auto used = parser_.feed(pending(), unused);
    if (!used) {
      co_await refuse(used.error().code == Code::kRequestEntityTooLarge ? 431 : 400, used.error().message);
      co_return false;
    }
    consume(*used);
    if (parser_.head_done()) break;
    if (pending().size() >= shared_.options.max_header_bytes) {
      co_await refuse(431, "the header fields are too large");
      co_return false;
    }
    if (auto filled = co_await fill(); !filled) co_return false;
  }
  deadline_.clear();
  version_ = parser_.head().version;
  head_request_ = parser_.head().method == "HEAD";
  if (auto filled = fill_request(parser_, request_); !filled) {
    co_await refuse(400, filled.error().message);
    co_return false;
  }
  keep_alive_ = parser_.keep_alive();
  body_left_ = parser_.chunked() ? std::nullopt : std::optional(parser_.content_length().value_or(0));
  body_done_ = body_left_ == 0;
  const auto expect = request_.headers.get("Expect");
  expects_continue_ = !body_done_ && version_ >= 11 && iequals(expect, "100-continue");
  if (!expect.empty() && !iequals(expect, "100-continue")) {
    co_await refuse(417, "unknown expectation");
    co_return false;
  }
  co_return true;
}

Task<void> Connection::refuse(int status, std::string_view message) {
  keep_alive_ = false;
  answered_ = true;
  out_.clear();
  std::string body =
      std::to_string(status) + " " + std::string(reason_phrase(status)) + ": " + std::string(message) + "\n";
  append_response_head(out_, status,
                       {{"Content-Type", "text/plain; charset=utf-8"},
                        {"Connection", "close"},
                        {"Content-Length", std::to_string(body.size())}});
  out_ += "\r\n";
  out_ += body;
  deadline_.set_after(kLinger);
  if (auto sent = co_await transport_->write(out_); sent) co_await transport_->linger(kMaxLinger);
}

Task<void> Connection::run_handler() {
  std::string failure;
  try {
    co_await shared_.handler(*this);
  } catch (const boost::system::system_error& e) {
    if (e.code() == boost::asio::error::operation_aborted) throw;
    failure = e.what();
  } catch (const std::exception& e) {
    failure = e.what();
  }
  if (!failure.empty()) {
    log::error("a request handler threw", {{"path", request_.path}, {"what", failure}});
    if (answered_) keep_alive_ = false;
  }
  if (watcher_running_) co_await stop_watching();
  if (!answered_ && transport_) {
    (void)co_await respond({500, {{"Content-Type", "text/plain; charset=utf-8"}}, "the handler gave no answer\n"});
  }
}

Task<Status> Connection::read_sized_body(std::string& body, std::size_t size) {
  body.resize(size);
  std::size_t at = std::min(size, pending().size());
  std::copy_n(pending().data(), at, body.data());
  consume(at);
  while (at < size) {
    auto count = deadline_.expired() ? Result<std::size_t>(fail(Code::kTimeout, "too slow"))
                                     : co_await transport_->read(std::span(body).subspan(at));
    if (!count || *count == 0) {
      keep_alive_ = false;
      if (deadline_.expired()) co_return fail(Code::kTimeout, "the request body came too slowly");
      co_return fail(Code::kBadRequest, "the connection ended within the request body");
    }
    at += *count;
  }
  body_left_ = 0;
  body_done_ = true;
  co_return Status();
}

Task<Status> Connection::send_continue() {
  if (!expects_continue_) co_return Status();
  expects_continue_ = false;
  co_return co_await send("HTTP/1.1 100 Continue\r\n\r\n");
}

Task<Result<std::string>> Connection::read_body(std::size_t limit) {
  std::string body;
  if (body_done_) co_return body;
  if (body_left_ && *body_left_ > limit) {
    co_return fail(Code::kRequestEntityTooLarge, "the request body is larger than " + std::to_string(limit) + " bytes");
  }
  if (answered_) co_return fail(Code::kInternal, "read_body after the answer began");
  BRUME_CO_CHECK(co_await send_continue());
  deadline_.set_after(shared_.options.body_timeout);
  if (body_left_) {
    BRUME_CO_CHECK(co_await read_sized_body(body, static_cast<std::size_t>(*body_left_)));
    deadline_.clear();
    co_return body;
  }
  while (!parser_.done()) {
    if (pending().empty()) {
      if (auto filled = co_await fill(); !filled) {
        if (filled.error().code == Code::kTimeout) co_return fail(Code::kTimeout, "the request body came too slowly");
        co_return fail(Code::kBadRequest, "the connection ended within the request body");
      }
    }
    auto used = parser_.feed(pending(), body);
    if (!used) {
      keep_alive_ = false;
      co_return fail(wrap(used.error(), "request body"));
    }
    consume(*used);
    if (body.size() > limit) {
      keep_alive_ = false;
      co_return fail(Code::kRequestEntityTooLarge,
                     "the request body is larger than " + std::to_string(limit) + " bytes");
    }
    if (parser_.done()) break;
    // A chunk header or trailer that never ends is not body, and is bounded like a head.
    if (pending().size() > shared_.options.max_header_bytes) {
      keep_alive_ = false;
      co_return fail(Code::kBadRequest, "malformed chunk");
    }
    if (!pending().empty()) {
      if (auto filled = co_await fill(); !filled) {
        co_return fail(filled.error().code == Code::kTimeout ? Code::kTimeout : Code::kBadRequest,
                       "the request body did not come whole");
      }
    }
  }
  body_done_ = true;
  deadline_.clear();
  co_return body;
}

Task<Status> Connection::drain_body() {
  if (body_done_) co_return Status();
  answered_ = false;  // read_body() is for us now
  auto rest = co_await read_body(kMaxDrain);
  answered_ = true;
  if (!rest) co_return fail(rest.error());
  co_return Status();
}

// Answering -------------------------------------------------------------------------------------------------------

Task<Status> Connection::send(std::span<const std::string_view> pieces) {
  deadline_.set_after(shared_.options.body_timeout);
  auto sent = co_await transport_->write_pieces(pieces);
  deadline_.clear();
  if (sent) co_return sent;
  keep_alive_ = false;
  const bool slow = deadline_.expired();
  transport_->close();
  if (slow) co_return fail(Code::kTimeout, "the peer does not read the answer");
  co_return sent;
}

Task<Status> Connection::send(std::string_view bytes) { co_return co_await send(std::span(&bytes, 1)); }

// In parts, so that a slow peer has the time for each that it has for a small answer.
Task<Status> Connection::send_parts(std::span<std::string_view> pieces) {
  while (!pieces.empty()) {
    std::size_t size = 0;
    std::size_t count = 0;
    while (count < pieces.size() && size + pieces[count].size() <= kSendPart) size += pieces[count++].size();
    if (count == 0) {
      BRUME_CO_CHECK(co_await send(pieces[0].substr(0, kSendPart)));
      pieces[0].remove_prefix(kSendPart);
      continue;
    }
    BRUME_CO_CHECK(co_await send(pieces.first(count)));
    pieces = pieces.subspan(count);
  }
  co_return Status();
}

// What every answer checks first: it is the only one, and whether the connection can be kept after it.
Status Connection::begin_answer() {
  if (answered_) return fail(Code::kInternal, "a request is answered twice");
  answered_ = true;
  // The peer may or may not send a body that it was not told to go on with, and more than kMaxDrain is not worth
  // reading.
  if (expects_continue_ || (body_left_ && *body_left_ > kMaxDrain)) keep_alive_ = false;
  out_.clear();
  return {};
}

void Connection::end_head(std::string& out) {
  if (!keep_alive_) {
    out += "Connection: close\r\n";
  } else if (version_ < 11) {
    out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
}

Task<Status> Connection::respond(Response response) {
  BRUME_CO_CHECK(begin_answer());
  if (response.headers.has_token("Connection", "close")) keep_alive_ = false;
  // Framing fields are ours alone.
  for (const auto* name : {"Connection", "Content-Length", "Transfer-Encoding"}) {
    if (response.headers.has(name) && !(head_request_ && iequals(name, "Content-Length")))
      response.headers.remove(name);
  }
  append_response_head(out_, response.status, response.headers);
  if (!has_no_body(response.status) && !response.headers.has("Content-Length")) {
    std::array<char, 24> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), response.body_size()).ptr;
    out_.append("Content-Length: ").append(digits.data(), end).append("\r\n");
  }
  end_head(out_);
  std::vector<std::string_view> pieces{out_};
  if (!head_request_ && !has_no_body(response.status)) {
    pieces.reserve(2 + response.more.size());
    pieces.push_back(response.body);
    pieces.insert(pieces.end(), response.more.begin(), response.more.end());
  }
  co_return co_await send_parts(pieces);
}

/// Frames each write as one chunk; without a body (HEAD) or chunks (HTTP/1.0) it does what those need.
class Connection::ChunkWriter final : public BodyWriter {
 public:
  ChunkWriter(Connection& connection, bool silent, bool chunked)
      : connection_(connection), silent_(silent), chunked_(chunked) {}
  ~ChunkWriter() override {
    if (finished_) return;
    connection_.keep_alive_ = false;
    connection_.watching_ = false;
    connection_.transport_->close();
  }

  Task<Status> write(std::string_view bytes) override {
    if (bytes.empty() || silent_) co_return Status();
    if (!chunked_) co_return co_await connection_.send(bytes);
    std::array<char, 20> size{};
    const auto end = std::to_chars(size.data(), size.data() + size.size() - 2, bytes.size(), 16).ptr;
    std::copy_n("\r\n", 2, end);
    const std::array<std::string_view, 3> chunk = {std::string_view(size.data(), end + 2), bytes, "\r\n"};
    co_return co_await connection_.send(chunk);
  }

  Task<Status> finish() override {
    if (finished_) co_return Status();
    finished_ = true;
    co_await connection_.stop_watching();
    if (silent_ || !chunked_) co_return Status();
    co_return co_await connection_.send("0\r\n\r\n");
  }

 private:
  Connection& connection_;
  bool silent_;
  bool chunked_;
  bool finished_ = false;
};

Task<Result<std::unique_ptr<BodyWriter>>> Connection::respond_stream(int status, Headers headers) {
  BRUME_CO_CHECK(begin_answer());
  const bool chunked = version_ >= 11;
  // The watcher reads the socket from here on, so what is left of the request's body cannot be told from it.
  if (!body_done_ || !chunked || headers.has_token("Connection", "close")) keep_alive_ = false;
  for (const auto* name : {"Connection", "Content-Length", "Transfer-Encoding"}) headers.remove(name);
  append_response_head(out_, status, headers);
  const bool silent = head_request_ || has_no_body(status);
  if (chunked && !has_no_body(status)) out_ += "Transfer-Encoding: chunked\r\n";
  end_head(out_);
  BRUME_CO_CHECK(co_await send(out_));
  watching_ = true;
  watcher_running_ = true;
  tasks_.spawn("http peer watch", watch_peer());
  co_return std::make_unique<ChunkWriter>(*this, silent, chunked);
}

// Reads while an answer is streamed, so that a peer that goes away is noticed. A pipelined request is kept up to the
// size of a head; beyond that reading rests, and only a failing write tells.
Task<void> Connection::watch_peer() {
  struct AtEnd {
    Connection* self;
    ~AtEnd() {
      self->watcher_running_ = false;
      self->watch_ended_.notify_all();
    }
  } at_end{this};
  std::array<char, 1024> buffer{};
  while (watching_ && in_.size() < shared_.options.max_header_bytes) {
    const auto count = co_await transport_->read(buffer);
    if (count && *count > 0) {
      if (body_done_) in_.append(buffer.data(), *count);
      continue;
    }
    if (!watching_) co_return;
    if (!count && count.error().code == Code::kCancelled) co_return;
    keep_alive_ = false;
    watching_ = false;
    transport_->close();
    tasks_.cancel();
    co_return;
  }
}

Task<void> Connection::stop_watching() {
  watching_ = false;
  if (watcher_running_) transport_->cancel();
  while (watcher_running_) co_await watch_ended_.wait();
}

// Handing over ----------------------------------------------------------------------------------------------------

std::unique_ptr<Stream> Connection::take_transport() {
  deadline_.clear();
  std::string early(pending());
  in_.clear();
  in_at_ = 0;
  return std::make_unique<UpgradedStream>(std::move(transport_), std::move(early));
}

Task<Result<std::unique_ptr<Stream>>> Connection::upgrade(Headers headers) {
  if (!body_done_) co_return fail(Code::kBadRequest, "an upgrade request with a body");
  BRUME_CO_CHECK(begin_answer());
  append_response_head(out_, 101, headers);
  out_ += "\r\n";
  BRUME_CO_CHECK(co_await send(out_));
  co_return take_transport();
}

bool Connection::wants_websocket() const {
  return request_.headers.has_token("Connection", "upgrade") && request_.headers.has_token("Upgrade", "websocket");
}

std::vector<std::string> Connection::websocket_protocols() const {
  std::vector<std::string> out;
  for (const auto value : request_.headers.get_all("Sec-WebSocket-Protocol")) {
    for (const auto part : split(value, ',')) {
      if (const auto name = trim(part); !name.empty()) out.emplace_back(name);
    }
  }
  return out;
}

Task<Result<std::unique_ptr<WebSocket>>> Connection::accept_websocket(std::string protocol) {
  co_return co_await open_websocket(std::move(protocol), kMaxWebSocketMessage);
}

Task<Result<std::unique_ptr<WebSocket>>> Connection::open_websocket(std::string protocol, std::size_t max_message) {
  auto accept = check_websocket_request(request_);
  if (!accept) {
    const bool wrong_version = accept.error().code == Code::kNotAcceptable;
    Response refusal{
        wrong_version ? 426 : 400, {{"Content-Type", "text/plain; charset=utf-8"}}, accept.error().message + "\n"};
    if (wrong_version) refusal.headers.add("Sec-WebSocket-Version", "13");
    (void)co_await respond(std::move(refusal));
    co_return fail(accept.error());
  }
  Headers headers{{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Accept", *accept}};
  if (!protocol.empty()) headers.add("Sec-WebSocket-Protocol", protocol);
  BRUME_CO_TRY(auto stream, co_await upgrade(std::move(headers)));
  co_return make_websocket(std::move(stream), executor_, WebSocketRole::kServer, std::move(protocol), Farewell{},
                           max_message);
}

// A WebSocket that carries an answer; its writer and the watch over its peer share it.
struct Connection::BodySocket {
  std::unique_ptr<WebSocket> socket;
  bool finishing = false;  // the writer awaits the peer's close itself
};

class Connection::MessageWriter final : public BodyWriter {
 public:
  MessageWriter(const Executor& executor, std::chrono::seconds patience, std::shared_ptr<BodySocket> body,
                SocketBody how)
      : body_(std::move(body)),
        patience_(patience),
        deadline_(executor, [body = body_.get()] { body->socket->abort(); }),
        how_(how) {}

  Task<Status> write(std::string_view bytes) override {
    if (how_ == SocketBody::kBinary) co_return co_await send(bytes, false);
    if (how_ == SocketBody::kBase64) co_return co_await send(base64_encode(bytes), true);
    while (!bytes.empty()) {
      const auto end = std::min(bytes.find('\n'), bytes.size());
      BRUME_CO_CHECK(co_await send(bytes.substr(0, end), true));
      bytes.remove_prefix(std::min(end + 1, bytes.size()));
    }
    co_return Status();
  }

  Task<Status> finish() override {
    body_->finishing = true;
    co_return co_await body_->socket->close(1000, "");
  }

 private:
  // A peer that takes nothing for so long is cut, as over plain HTTP.
  Task<Status> send(std::string_view message, bool text) {
    deadline_.set_after(patience_);
    auto sent = co_await body_->socket->write(message, text);
    deadline_.clear();
    co_return sent;
  }

  std::shared_ptr<BodySocket> body_;
  std::chrono::seconds patience_;
  Deadline deadline_;
  SocketBody how_;
};

Task<Result<std::unique_ptr<BodyWriter>>> Connection::respond_websocket(std::string protocol, SocketBody how) {
  auto body = std::make_shared<BodySocket>();
  BRUME_CO_TRY(body->socket, co_await open_websocket(std::move(protocol), kMaxIgnoredMessage));
  tasks_.spawn("websocket peer watch", watch_socket(body));
  co_return std::make_unique<MessageWriter>(executor_, shared_.options.body_timeout, std::move(body), how);
}

// Reads until the peer closes or is gone, and then ends the handler; unless that is about to end by itself.
Task<void> Connection::watch_socket(std::shared_ptr<BodySocket> body) {
  while (true) {
    const auto message = co_await body->socket->read();
    if (body->finishing) co_return;
    if (message && !message->closed) continue;
    if (message || message.error().code != Code::kCancelled) tasks_.cancel();
    co_return;
  }
}

}  // namespace brume::http
