// A connected socket (TCP or unix), plain or under TLS, as a Stream.
#pragma once

#include <openssl/ssl.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>
#include <optional>
#include <string>

#include "brume/base/task.h"
#include "brume/http/stream.h"
#include "tls.h"

struct iovec;

namespace brume::http {

class PieceReader;

/// Owns the socket. Every call first tries the system call and waits in the reactor only when it would block. One type
/// for all transports, so that nothing above is a template.
class SocketStream final : public Stream {
 public:
  /// Takes ownership of `fd`, a connected (or connecting) socket, and makes it non-blocking.
  SocketStream(const Executor& executor, int fd);
  ~SocketStream() override;
  SocketStream(const SocketStream&) = delete;
  SocketStream& operator=(const SocketStream&) = delete;

  Task<Result<std::size_t>> read(std::span<char> buffer) override;
  Task<Status> write(std::string_view bytes) override;
  Task<Status> close_write() override;
  void close() override;

  /// Writes the pieces one after another without putting them together first, many in one TLS record and one system
  /// call. They and the span stay valid until done.
  Task<Status> write_pieces(std::span<const std::string_view> pieces);
  Task<Status> accept_tls(std::shared_ptr<const TlsContext> context);
  /// Verifies the server's certificate for `name` unless `insecure`.
  Task<Status> connect_tls(std::shared_ptr<const TlsContext> context, std::string name, bool insecure);
  /// The first byte without taking it; 0 at the end of the stream.
  Task<Result<char>> peek();
  Task<Status> wait_writable();
  /// Makes pending calls fail with kCancelled; the socket stays usable.
  void cancel();
  /// After the last write: reads and drops up to `most` bytes until the peer closes, so that what was sent is not lost
  /// to a reset. The caller bounds the time.
  Task<void> linger(std::size_t most);
  /// For an idle pooled connection: whether the peer neither closed it nor sent anything.
  [[nodiscard]] bool is_quiet() const;
  [[nodiscard]] std::optional<PeerCertificate> peer_certificate() const;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  enum class Wait : std::uint8_t { kNone, kRead, kWrite };
  /// What one try of a system call or TLS call gave: a count, a wish to wait, or an error.
  struct Attempt {
    std::size_t count = 0;
    Wait wait = Wait::kNone;
    std::optional<Error> error = {};
  };
  Attempt try_read(std::span<char> buffer);
  Attempt try_send(std::span<const iovec> parts);
  Task<Status> write_plain(PieceReader& pieces);
  Task<Status> write_tls(PieceReader& pieces);
  std::optional<Error> encrypt(PieceReader& pieces);
  Attempt tls_attempt(int result);
  Task<Status> wait_for(Wait direction);
  Task<Status> handshake();

  boost::asio::posix::stream_descriptor descriptor_;
  int fd_;
  TlsSocket tls_socket_;
  SSL* ssl_ = nullptr;
  std::shared_ptr<const TlsContext> context_;
  bool tls_ready_ = false;  // handshake done and no fatal error since: a close_notify may be sent
  bool write_closed_ = false;
  bool closed_ = false;
  unsigned reads_in_a_row_ = 0;  // that found bytes without waiting
  unsigned cancels_ = 0;         // calls of cancel()
};

}  // namespace brume::http
