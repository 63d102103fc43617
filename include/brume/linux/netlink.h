// Netlink: messages, sockets (also inside another network namespace), answers. rtnetlink(7), nfnetlink.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "brume/base/result.h"

namespace brume::netlink {

/// Appends netlink attributes to a string. Attributes hold 65,531 bytes at most; the writer's user keeps to that.
class AttributeWriter {
 public:
  explicit AttributeWriter(std::string& out) : out_(&out) {}

  void bytes(std::uint16_t type, std::string_view value);
  void text(std::uint16_t type, std::string_view value);  ///< with its NUL
  void u8(std::uint16_t type, std::uint8_t value);
  void u16(std::uint16_t type, std::uint16_t value);   ///< host order
  void u32(std::uint16_t type, std::uint32_t value);   ///< host order
  void be16(std::uint16_t type, std::uint16_t value);  ///< network order, as nfnetlink wants it
  void be32(std::uint16_t type, std::uint32_t value);
  void be64(std::uint16_t type, std::uint64_t value);
  /// A nested attribute, filled by `fill`.
  template <typename F>
  void nest(std::uint16_t type, F&& fill) {
    std::size_t start = open(static_cast<std::uint16_t>(type | 0x8000));  // NLA_F_NESTED
    fill();
    close(start);
  }
  /// A fixed structure, padded to 4 bytes (the family header of a message or of a nested peer).
  template <typename T>
  void structure(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    raw(std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
  }

 private:
  std::size_t open(std::uint16_t type);
  void close(std::size_t start);
  void raw(std::string_view value);
  std::string* out_;
};

/// A sequence of messages that go out as one datagram.
class Messages {
 public:
  Messages() = default;
  Messages(const Messages&) = delete;
  Messages& operator=(const Messages&) = delete;

  /// Starts a message; what is written through the returned writer, up to the next begin(), belongs to it. `what` names
  /// the message in errors; an answer of `accepted_errno` counts as success (EEXIST of an idempotent create).
  AttributeWriter begin(std::uint16_t type, std::uint16_t flags, std::string what, int accepted_errno = 0);

  [[nodiscard]] bool empty() const { return info_.empty(); }
  [[nodiscard]] std::size_t count() const { return info_.size(); }

 private:
  friend class Socket;
  struct Info {
    std::size_t offset;
    std::string what;
    int accepted_errno;
    std::uint16_t flags;
  };
  /// Writes lengths and sequence numbers; the first message gets `first_sequence`.
  std::string_view finish(std::uint32_t first_sequence);
  std::string bytes_;
  std::vector<Info> info_;
};

/// One answer's message type and its body (after the nlmsghdr).
struct Answer {
  std::uint16_t type;
  std::string_view body;
};

/// The payload of attribute `type` in a run of attributes, or an empty view without data() when it is absent.
[[nodiscard]] std::string_view find_attribute(std::string_view attributes, std::uint16_t type);
void each_attribute(std::string_view attributes, const std::function<void(std::uint16_t, std::string_view)>& visit);

/// A netlink socket. Calls block for as long as the kernel works on them (microseconds to milliseconds): do not call on
/// a loop. Not thread-safe. Errors carry the kernel's own explanation (NETLINK_EXT_ACK) when it gives one.
class Socket {
 public:
  /// `protocol`: NETLINK_ROUTE or NETLINK_NETFILTER. The socket stays with the calling thread's network namespace.
  static Result<Socket> open(int protocol);
  /// A socket inside the network namespace `netns_fd`. The namespace is entered by a short-lived thread of its own, so
  /// that no other work ever runs there.
  static Result<Socket> open_in(int netns_fd, int protocol);
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();

  /// Sends all messages (each gets NLM_F_ACK) and awaits every answer. The first error is returned; rtnetlink still
  /// carries out the messages after it.
  Status transact(Messages& messages);
  /// Sends one request or dump, and gives every data message of the answer to `visit`.
  Status query(Messages& messages, const std::function<void(const Answer&)>& visit);
  /// Sends an nfnetlink batch. The kernel answers only errors, and carries out all messages or none.
  Status transact_batch(Messages& messages);

 private:
  explicit Socket(int fd) : fd_(fd) {}
  Status send(std::string_view bytes);
  Result<std::string_view> receive(bool wait);
  int fd_ = -1;
  std::uint32_t sequence_ = 1;
  std::string buffer_;
};

}  // namespace brume::netlink
