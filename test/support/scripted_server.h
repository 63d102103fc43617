// A server that says what the test wants.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>

namespace brume::test {

/// Listens on 127.0.0.1; runs `script` with one connection after the other, on a thread of its own, and closes them.
/// The destructor waits for the script under way.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::function<void(int fd)> script) : listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_, any, size) != 0 || ::listen(listener_, 1) != 0 || ::getsockname(listener_, any, &size) != 0)
      std::abort();
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, script = std::move(script)] {
      for (int fd = -1; (fd = ::accept(listener_, nullptr, nullptr)) >= 0;) {
        const timeval limit{10, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        script(fd);
        ::close(fd);
      }
    });
  }
  ~ScriptedServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }

  static bool send(int fd, const std::string& bytes) {
    return ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  /// Until the client closes.
  static void read_all(int fd) {
    std::array<char, 4096> buffer{};
    while (::recv(fd, buffer.data(), buffer.size(), 0) > 0) {
    }
  }
  /// Sends `bytes` and says nothing more.
  static std::function<void(int)> saying(std::string bytes) {
    return [bytes = std::move(bytes)](int fd) {
      (void)send(fd, bytes);
      read_all(fd);
    };
  }
  /// Sends `bytes` and ends its side.
  static std::function<void(int)> closing_after(std::string bytes) {
    return [bytes = std::move(bytes)](int fd) {
      (void)send(fd, bytes);
      ::shutdown(fd, SHUT_WR);
      read_all(fd);
    };
  }

 private:
  int listener_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

}  // namespace brume::test
