// Network namespaces, servers and clients for tests. Nothing here touches the machine's own network.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

namespace brume::test {

/// Runs `body` on a thread of its own, in a new network namespace with "lo" up. What the body starts there stays there.
/// An assertion that fails in it ends the test as usual. Without the privilege it says so and does nothing.
void in_new_netns(const std::function<void()>& body);
/// Whether namespaces may be made here.
bool can_make_netns();

/// A network namespace kept by its fd, as a pod has one.
class Netns {
 public:
  Netns();
  ~Netns();
  Netns(const Netns&) = delete;
  Netns& operator=(const Netns&) = delete;
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] std::string path() const;
  /// Runs `body` inside and waits for it.
  void run(const std::function<void()>& body) const;

 private:
  int fd_ = -1;
};

enum class Protocol { kTcp, kUdp };

/// Answers every connection (or datagram) on `port` with "<name> <the client's address>". Lives in the namespace of
/// `netns`, or of the caller for null.
class Responder {
 public:
  Responder(const Netns* netns, std::string name, Protocol protocol, std::uint16_t port,
            std::string address = "0.0.0.0");
  ~Responder();
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;

 private:
  int fd_ = -1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// What one request gets: the responder's answer, or "refused", "timeout", "unreachable", or an errno's text.
std::string ask(const Netns* netns, Protocol protocol, const std::string& address, std::uint16_t port,
                int timeout_ms = 400, std::uint16_t source_port = 0);
/// The first word of ask().
std::string who(const Netns* netns, Protocol protocol, const std::string& address, std::uint16_t port,
                int timeout_ms = 400);

/// Joins two namespaces by a veth pair with these addresses (/24); `b_routes_via_a` gives b a default route to a.
void join(const Netns* a, const std::string& a_address, const Netns* b, const std::string& b_address,
          bool b_routes_via_a);

/// Standard output of a program that looks (nft list ruleset, ip addr); run in the caller's namespace.
std::string output_of(const std::string& command);

}  // namespace brume::test
