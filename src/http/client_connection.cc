#include "client_connection.h"

#include <algorithm>
#include <array>

#include "request_head.h"
#include "upgraded_stream.h"

namespace brume::http {

namespace {

constexpr std::size_t kReadSize = 16 * 1024;
constexpr std::size_t kMaxHead = 256 * 1024;
constexpr int kMaxInterim = 16;

std::string request_head(const ClientRequest& request, const Url& url, const std::string* proxy_authorization) {
  // A proxy is told the whole URL (RFC 9112 section 3.2.2).
  const std::string place = proxy_authorization == nullptr ? "" : url.scheme + "://" + url.authority();
  std::string out = request.method + " " + place + url.target + " HTTP/1.1\r\n";
  if (proxy_authorization != nullptr && !proxy_authorization->empty()) {
    append_header(out, "Proxy-Authorization", *proxy_authorization);
  }
  if (!request.headers.has("Host")) append_header(out, "Host", url.authority());
  for (const auto& [name, value] : request.headers) append_header(out, name, value);
  if (!request.headers.has("User-Agent")) append_header(out, "User-Agent", "brume");
  const bool expects_body = request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
  if ((expects_body || !request.body.empty()) && !request.headers.has("Content-Length")) {
    append_header(out, "Content-Length", std::to_string(request.body.size()));
  }
  return out += "\r\n";
}

/// Servers may end a head's lines with LF alone (RFC 9112 section 2.2), as CGI scripts do; the parser wants CR too.
/// `in` begins with the head or a line of it.
void complete_line_ends(std::string& in) {
  std::size_t line = 0;
  for (auto end = in.find('\n'); end != std::string::npos; end = in.find('\n', line)) {
    if (end == line || in[end - 1] != '\r') in.insert(end++, 1, '\r');
    if (end == line + 1) return;  // the empty line: a body follows
    line = end + 1;
  }
}

Http1Parser answer_parser() { return {Http1Parser::Kind::kResponse, kMaxHead}; }

}  // namespace

ClientConnection::ClientConnection(const Executor& executor, std::unique_ptr<SocketStream> transport)
    : executor_(executor), transport_(std::move(transport)), parser_(answer_parser()) {}

Deadline& ClientConnection::deadline() {
  if (!deadline_) {
    deadline_.emplace(executor_, [transport = transport_.get()] { transport->cancel(); });
  }
  return *deadline_;
}

void ClientConnection::rest() {
  deadline_.reset();
  parser_ = answer_parser();  // lets go of the last head
  in_.shrink_to_fit();
}

Task<Status> ClientConnection::start_tls(std::shared_ptr<const TlsContext> context, std::string name, bool insecure,
                                         std::chrono::milliseconds timeout) {
  deadline().set_after(timeout);
  auto done = co_await transport_->connect_tls(std::move(context), std::move(name), insecure);
  if (!done && deadline().expired()) co_return fail(Code::kTimeout, "TLS: handshake timed out");
  deadline().clear();
  co_return done;
}

Task<Status> ClientConnection::tunnel(const Url& url, std::string authorization, std::chrono::milliseconds timeout) {
  const std::string host = url.host.find(':') != std::string::npos ? "[" + url.host + "]" : url.host;
  Url place = url;
  place.target = host + ":" + std::to_string(url.port);
  ClientRequest request{.method = "CONNECT"};
  request.headers.add("Host", place.target);
  if (!authorization.empty()) request.headers.add("Proxy-Authorization", authorization);
  bool touched = false;
  BRUME_CO_CHECK(co_await exchange(request, place, timeout, touched));
  const int status = head().status;
  if (status == 407) co_return fail(Code::kUnauthorized, "asks for a user name and password (407)");
  if (status < 200 || status > 299) {
    co_return fail(Code::kServiceUnavailable,
                   "refuses to connect to " + place.target + " (" + std::to_string(status) + ")");
  }
  if (!in_.empty()) co_return fail(Code::kCorrupt, "sent bytes before the connection began");
  co_return Status();
}

Task<Status> ClientConnection::send(const ClientRequest& request, const Url& url) {
  const auto head = request_head(request, url, proxy_authorization_ ? &*proxy_authorization_ : nullptr);
  const std::array<std::string_view, 2> pieces = {head, request.body};
  co_return co_await transport_->write_pieces(pieces);
}

Task<Status> ClientConnection::fill() {
  const auto had = in_.size();
  in_.resize(had + kReadSize);
  auto count = deadline().expired() ? Result<std::size_t>(fail(Code::kTimeout, "timed out"))
                                    : co_await transport_->read(std::span(in_).subspan(had));
  in_.resize(had + (count ? *count : 0));
  if (!count) {
    if (deadline().expired()) co_return fail(Code::kTimeout, "timed out waiting for the answer");
    co_return fail(count.error());
  }
  if (*count == 0) at_end_ = true;
  co_return Status();
}

Task<Status> ClientConnection::read_head(bool& touched) {
  std::string none;
  for (int interim = 0; interim < kMaxInterim; ++interim) {
    parser_ = answer_parser();
    if (is_head_) parser_.skip_body();
    while (!parser_.head_done()) {
      if (!in_.empty()) {
        touched = true;
        complete_line_ends(in_);
        auto used = parser_.feed(in_, none);
        if (!used) co_return fail(Code::kCorrupt, "the server's answer is malformed: " + used.error().message);
        in_.erase(0, *used);
        if (parser_.head_done()) break;
        if (in_.size() > kMaxHead) co_return fail(Code::kCorrupt, "the head of the server's answer is too big");
      }
      BRUME_CO_CHECK(co_await fill());
      if (at_end_) co_return fail(Code::kIo, "the server closed the connection without an answer");
    }
    const int status = parser_.head().status;
    if (status >= 200 || status == 101) co_return Status();
  }
  co_return fail(Code::kCorrupt, "the server sends interim answers without end");
}

Task<Status> ClientConnection::exchange(const ClientRequest& request, const Url& url, std::chrono::milliseconds timeout,
                                        bool& touched) {
  touched = false;
  at_end_ = false;
  is_head_ = request.method == "HEAD" || request.method == "CONNECT";
  deadline().set_after(timeout);
  auto sent = co_await send(request, url);
  if (!sent && deadline().expired()) co_return fail(Code::kTimeout, "timed out sending the request");
  // A server may refuse a body with an answer while it is still being sent; that answer says more than the broken pipe.
  auto got = co_await read_head(touched);
  deadline().clear();
  if (!got) co_return sent ? got : sent;
  co_return Status();
}

Task<Result<bool>> ClientConnection::read_some(std::string& out, std::chrono::milliseconds idle_timeout) {
  if (parser_.done()) co_return false;
  const auto had = out.size();
  while (out.size() == had && !parser_.done()) {
    if (!in_.empty()) {
      auto used = parser_.feed(in_, out);
      if (!used) co_return fail(Code::kCorrupt, "the server's answer is malformed: " + used.error().message);
      in_.erase(0, *used);
      if (*used > 0) continue;
      if (in_.size() > kMaxHead) co_return fail(Code::kCorrupt, "the server's answer has a malformed chunk");
    }
    if (idle_timeout.count() > 0) deadline().set_after(idle_timeout);
    BRUME_CO_CHECK(co_await fill());
    deadline().clear();
    if (!at_end_) continue;
    BRUME_CO_CHECK(parser_.finish());
  }
  co_return out.size() > had;
}

bool ClientConnection::reusable() const { return parser_.done() && parser_.keep_alive() && !at_end_ && in_.empty(); }

std::unique_ptr<Stream> ClientConnection::take_stream() {
  deadline_.reset();
  return std::make_unique<UpgradedStream>(std::move(transport_), std::move(in_));
}

}  // namespace brume::http
