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

constexpr std::size_t kMaxParts = 64;  // of one sendmsg
constexpr unsigned kMaxReadsInARow = 16;
constexpr std::size_t kHeld = 64 * 1024;  // of plain text, in records that go out in one system call

std::unexpected<Error> closed_error() { return fail(Code::kCancelled, "the connection was closed"); }

}  // namespace

/// What is left of a write's pieces.
class PieceReader {
 public:
  explicit PieceReader(std::span<const std::string_view> pieces) : pieces_(pieces) { skip(0); }
  [[nodiscard]] bool done() const { return pieces_.empty(); }

  /// The next pieces as one system call takes them.
  [[nodiscard]] std::span<const iovec> parts(std::span<iovec> out) const {
    const auto count = std::min(out.size(), pieces_.size());
    for (std::size_t i = 0; i < count; ++i) {
      const auto piece = i == 0 ? pieces_[0].substr(at_) : pieces_[i];
      out[i] = {const_cast<char*>(piece.data()), piece.size()};
    }
    return out.first(count);
  }

  /// The next bytes in one: in `buffer`, or where they are if they need not be put together.
  [[nodiscard]] std::string_view gather(std::span<char> buffer) const {
    const auto first = pieces_[0].substr(at_);
    if (pieces_.size() == 1 || first.size() >= buffer.size()) return first.substr(0, buffer.size());
    std::size_t filled = first.copy(buffer.data(), buffer.size());
    for (std::size_t i = 1; i < pieces_.size() && filled < buffer.size(); ++i) {
      filled += pieces_[i].copy(buffer.data() + filled, buffer.size() - filled);
    }
    return {buffer.data(), filled};
  }

  void skip(std::size_t count) {
    at_ += count;
    while (!pieces_.empty() && at_ >= pieces_[0].size()) {
      at_ -= pieces_[0].size();
      pieces_ = pieces_.subspan(1);
    }
  }

 private:
  std::span<const std::string_view> pieces_;
  std::size_t at_ = 0;  // within the first
};

SocketStream::SocketStream(const Executor& executor, int fd) : descriptor_(executor), fd_(fd), tls_socket_{.fd = fd} {
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
  ++cancels_;
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

SocketStream::Attempt SocketStream::try_send(std::span<const iovec> parts) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  while (true) {
    const auto n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n > 0) return {.count = static_cast<std::size_t>(n)};
    if (n == 0) return {.error = Error{Code::kIo, "write: the connection ended"}};
    if (errno == EAGAIN) return {.wait = Wait::kWrite};
    if (errno != EINTR) return {.error = errno_error(errno, "write")};
  }
}

Task<Result<std::size_t>> SocketStream::read(std::span<char> buffer) {
  // A peer that sends as fast as its bytes are taken leaves the loop to others now and then.
  if (reads_in_a_row_ >= kMaxReadsInARow) {
    reads_in_a_row_ = 0;
    const unsigned cancels = cancels_;
    co_await yield_now();
    if (cancels != cancels_) co_return closed_error();
  }
  while (true) {
    if (closed_) co_return closed_error();
    auto attempt = try_read(buffer);
    if (attempt.error) co_return fail(std::move(*attempt.error));
    if (attempt.wait == Wait::kNone) {
      ++reads_in_a_row_;
      co_return attempt.count;
    }
    reads_in_a_row_ = 0;
    BRUME_CO_CHECK(co_await wait_for(attempt.wait));
  }
}

Task<Status> SocketStream::write(std::string_view bytes) { co_return co_await write_pieces(std::span(&bytes, 1)); }

Task<Status> SocketStream::write_pieces(std::span<const std::string_view> pieces) {
  PieceReader reader(pieces);
  if (ssl_ != nullptr) co_return co_await write_tls(reader);
  co_return co_await write_plain(reader);
}

Task<Status> SocketStream::write_plain(PieceReader& pieces) {
  std::array<iovec, kMaxParts> parts{};
  while (!pieces.done()) {
    if (closed_ || write_closed_) co_return closed_error();
    auto attempt = try_send(pieces.parts(parts));
    if (attempt.error) co_return fail(std::move(*attempt.error));
    if (attempt.wait != Wait::kNone) BRUME_CO_CHECK(co_await wait_for(attempt.wait));
    pieces.skip(attempt.count);
  }
  co_return Status();
}

// Turns up to kHeld bytes into records, which the BIO holds back.
std::optional<Error> SocketStream::encrypt(PieceReader& pieces) {
  std::array<char, SSL3_RT_MAX_PLAIN_LENGTH> record;  // NOLINT(*-member-init): filled up to what is used
  for (std::size_t total = 0; total < kHeld && !pieces.done();) {
    const std::string_view bytes = pieces.gather(record);
    ERR_clear_error();
    errno = 0;
    auto attempt = tls_attempt(SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())));
    if (attempt.error) return std::move(attempt.error);
    if (attempt.count == 0) return Error{Code::kIo, "TLS: the connection cannot be written"};
    pieces.skip(attempt.count);
    total += attempt.count;
  }
  return std::nullopt;
}

Task<Status> SocketStream::write_tls(PieceReader& pieces) {
  // Held until all is out: what a read makes OpenSSL send meanwhile (an alert, say) must not cut into a record
  // that is half sent.
  std::string& held = tls_socket_.held.emplace();
  while (!pieces.done()) {
    auto error = encrypt(pieces);
    for (std::size_t at = 0; at < held.size();) {
      if (closed_ || write_closed_) co_return closed_error();
      auto attempt = try_send(std::array{iovec{held.data() + at, held.size() - at}});
      if (attempt.error) co_return fail(std::move(*attempt.error));
      if (attempt.wait != Wait::kNone) BRUME_CO_CHECK(co_await wait_for(attempt.wait));
      at += attempt.count;
    }
    held.clear();
    if (error) co_return fail(std::move(*error));
  }
  tls_socket_.held.reset();
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
  ssl_ = new_ssl(*context_, tls_socket_);
  SSL_set_accept_state(ssl_);
  return handshake();
}

Task<Status> SocketStream::connect_tls(std::shared_ptr<const TlsContext> context, std::string name, bool insecure) {
  context_ = std::move(context);
  ssl_ = new_ssl(*context_, tls_socket_);
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
  if (closed_ || (ssl_ != nullptr && (!tls_ready_ || SSL_has_pending(ssl_) != 0))) return false;
  char byte = 0;
  const auto n = ::recv(fd_, &byte, 1, MSG_PEEK);
  return n < 0 && errno == EAGAIN;
}

std::optional<PeerCertificate> SocketStream::peer_certificate() const {
  return ssl_ != nullptr ? peer_certificate_of(ssl_) : std::nullopt;
}

}  // namespace brume::http
