#include "socket_stream.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/redirect_error.hpp>
#include <cerrno>
#include <climits>

namespace brume::http {

namespace asio = boost::asio;

namespace {

std::unexpected<Error> closed_error() { return fail(Code::kCancelled, "the connection was closed"); }

}  // namespace

SocketStream::SocketStream(const Executor& executor, int fd) : descriptor_(executor), fd_(fd) {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  boost::system::error_code ec;
  descriptor_.assign(fd, ec);
  if (ec) {
    ::close(fd);
    closed_ = true;
  }
}

SocketStream::~SocketStream() {
  close();
  SSL_free(ssl_);
}

void SocketStream::close() {
  if (closed_) return;
  if (ssl_ != nullptr && tls_ready_ && !write_closed_) {
    ERR_clear_error();
    SSL_shutdown(ssl_);  // one try: whoever closes both ways does not wait
    ERR_clear_error();
  }
  closed_ = true;
  ::shutdown(fd_, SHUT_RDWR);
  boost::system::error_code ec;
  descriptor_.close(ec);
}

void SocketStream::cancel() {
  if (closed_) return;
  boost::system::error_code ec;
  descriptor_.cancel(ec);
}

Task<Status> SocketStream::wait_for(Wait direction) {
  if (closed_) co_return closed_error();
  boost::system::error_code ec;
  const auto kind =
      direction == Wait::kRead ? asio::posix::stream_descriptor::wait_read : asio::posix::stream_descriptor::wait_write;
  co_await descriptor_.async_wait(kind, asio::redirect_error(asio::use_awaitable, ec));
  if (ec || closed_) co_return closed_error();
  co_return Status();
}

Task<Status> SocketStream::wait_writable() { return wait_for(Wait::kWrite); }

// Turns the outcome of an SSL call into an Attempt. An empty read is the peer's close_notify.
SocketStream::Attempt SocketStream::tls_attempt(int result) {
  if (result > 0) return {.count = static_cast<std::size_t>(result)};
  const int saved = errno;
  const int kind = SSL_get_error(ssl_, result);
  if (kind == SSL_ERROR_WANT_READ) return {.wait = Wait::kRead};
  if (kind == SSL_ERROR_WANT_WRITE) return {.wait = Wait::kWrite};
  if (kind == SSL_ERROR_ZERO_RETURN) return {};
  tls_ready_ = false;  // OpenSSL forbids SSL_shutdown after the two kinds below
  if (kind == SSL_ERROR_SYSCALL && ERR_peek_error() == 0) {
    return {.error =
                saved == 0 ? Error{Code::kIo, "TLS: the connection ended without a close"} : errno_error(saved, "TLS")};
  }
  return {.error = Error{Code::kIo, tls_error_text(ssl_)}};
}

SocketStream::Attempt SocketStream::try_read(std::span<char> buffer) {
  if (ssl_ != nullptr) {
    ERR_clear_error();
    errno = 0;
    return tls_attempt(SSL_read(ssl_, buffer.data(), static_cast<int>(std::min<std::size_t>(buffer.size(), INT_MAX))));
  }
  while (true) {
    const auto n = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (n >= 0) return {.count = static_cast<std::size_t>(n)};
    if (errno == EAGAIN) return {.wait = Wait::kRead};
    if (errno != EINTR) return {.error = errno_error(errno, "read")};
  }
}

SocketStream::Attempt SocketStream::try_write(std::string_view head, std::string_view body) {
  if (ssl_ != nullptr) {
    const auto bytes = head.empty() ? body : head;
    ERR_clear_error();
    errno = 0;
    return tls_attempt(SSL_write(ssl_, bytes.data(), static_cast<int>(std::min<std::size_t>(bytes.size(), INT_MAX))));
  }
  std::array<iovec, 2> parts = {iovec{const_cast<char*>(head.data()), head.size()},
                                iovec{const_cast<char*>(body.data()), body.size()}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  while (true) {
    const auto n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n >= 0) return {.count = static_cast<std::size_t>(n)};
    if (errno == EAGAIN) return {.wait = Wait::kWrite};
    if (errno != EINTR) return {.error = errno_error(errno, "write")};
  }
}

Task<Result<std::size_t>> SocketStream::read(std::span<char> buffer) {
  while (true) {
    if (closed_) co_return closed_error();
    auto attempt = try_read(buffer);
    if (attempt.error) co_return fail(std::move(*attempt.error));
    if (attempt.wait == Wait::kNone) co_return attempt.count;
    BRUME_CO_CHECK(co_await wait_for(attempt.wait));
  }
}

Task<Status> SocketStream::write(std::string_view bytes) { return write_both(bytes, {}); }

Task<Status> SocketStream::write_both(std::string_view head, std::string_view body) {
  while (!head.empty() || !body.empty()) {
    if (closed_ || write_closed_) co_return closed_error();
    auto attempt = try_write(head, body);
    if (attempt.error) co_return fail(std::move(*attempt.error));
    if (attempt.wait != Wait::kNone) {
      BRUME_CO_CHECK(co_await wait_for(attempt.wait));
      continue;
    }
    if (attempt.count == 0) co_return fail(Code::kIo, "write: the connection ended");
    const auto of_head = std::min(attempt.count, head.size());
    head.remove_prefix(of_head);
    body.remove_prefix(attempt.count - of_head);
  }
  co_return Status();
}

Task<Status> SocketStream::close_write() {
  if (closed_) co_return closed_error();
  if (write_closed_) co_return Status();
  write_closed_ = true;
  if (ssl_ != nullptr && tls_ready_) {
    ERR_clear_error();
    // 0: our close_notify is out, the peer's is not in yet; that one shows as the end of read().
    for (int result = SSL_shutdown(ssl_); result < 0; result = SSL_shutdown(ssl_)) {
      auto attempt = tls_attempt(result);
      if (attempt.error || attempt.wait != Wait::kWrite) break;
      BRUME_CO_CHECK(co_await wait_for(attempt.wait));
    }
    ERR_clear_error();
  }
  // Under TLS too: a peer that only watches the socket sees the end.
  if (::shutdown(fd_, SHUT_WR) != 0) co_return fail_errno(errno, "shutdown");
  co_return Status();
}

Task<Status> SocketStream::handshake() {
  while (true) {
    if (closed_) co_return closed_error();
    ERR_clear_error();
    errno = 0;
    auto attempt = tls_attempt(SSL_do_handshake(ssl_));
    if (attempt.error) co_return fail(std::move(*attempt.error));
    if (attempt.wait != Wait::kNone) {
      BRUME_CO_CHECK(co_await wait_for(attempt.wait));
      continue;
    }
    if (attempt.count == 0) co_return fail(Code::kIo, "TLS: the peer closed during the handshake");
    tls_ready_ = true;
    co_return Status();
  }
}

Task<Status> SocketStream::accept_tls(std::shared_ptr<const TlsContext> context) {
  context_ = std::move(context);
  ssl_ = new_ssl(*context_, fd_);
  SSL_set_accept_state(ssl_);
  return handshake();
}

Task<Status> SocketStream::connect_tls(std::shared_ptr<const TlsContext> context, std::string name, bool insecure) {
  context_ = std::move(context);
  ssl_ = new_ssl(*context_, fd_);
  SSL_set_connect_state(ssl_);
  if (auto named = expect_server_name(ssl_, name); !named && !insecure) co_return named;
  co_return co_await handshake();
}

Task<Result<char>> SocketStream::peek() {
  while (true) {
    if (closed_) co_return closed_error();
    char first = 0;
    const auto n = ::recv(fd_, &first, 1, MSG_PEEK);
    if (n > 0) co_return first;
    if (n == 0) co_return char(0);
    if (errno != EAGAIN && errno != EINTR) co_return fail_errno(errno, "read");
    BRUME_CO_CHECK(co_await wait_for(Wait::kRead));
  }
}

Task<void> SocketStream::linger(std::size_t most) {
  (void)co_await close_write();
  std::array<char, 32 * 1024> sink{};
  for (std::size_t total = 0; total < most;) {
    const auto n = ::recv(fd_, sink.data(), sink.size(), 0);
    if (n > 0) {
      total += static_cast<std::size_t>(n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      co_return;
    } else if (auto waited = co_await wait_for(Wait::kRead); !waited) {
      co_return;
    }
  }
}

bool SocketStream::is_quiet() const {
  if (closed_ || (ssl_ != nullptr && (!tls_ready_ || SSL_pending(ssl_) > 0))) return false;
  char byte = 0;
  const auto n = ::recv(fd_, &byte, 1, MSG_PEEK);
  return n < 0 && errno == EAGAIN;
}

std::optional<PeerCertificate> SocketStream::peer_certificate() const {
  return ssl_ != nullptr ? peer_certificate_of(ssl_) : std::nullopt;
}

}  // namespace brume::http
