#include "brume/linux/netlink.h"

#include <arpa/inet.h>
#include <endian.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

namespace brume::netlink {
namespace {

constexpr std::size_t aligned(std::size_t length) { return (length + 3) & ~std::size_t{3}; }
constexpr std::size_t kReceiveBuffer = 64 * 1024;  // netlink(7): dumps come in pieces of 32 KiB at most
constexpr int kAnswerTimeoutSeconds = 10;          // the kernel answers within the send; this guards against our bugs

/// What the kernel says about a failed message, apart from its errno.
std::string extended_message(std::string_view message, const nlmsghdr& header, const nlmsgerr& error) {
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
  std::size_t skip = sizeof(nlmsghdr) + sizeof(nlmsgerr);
  if ((header.nlmsg_flags & NLM_F_CAPPED) == 0) skip += error.msg.nlmsg_len - sizeof(nlmsghdr);
  skip = aligned(skip);
  if (skip >= message.size()) return {};
  std::string_view text = find_attribute(message.substr(skip), NLMSGERR_ATTR_MSG);
  if (!text.empty() && text.back() == '\0') text.remove_suffix(1);
  return std::string(text);
}

Error message_error(int err, const std::string& what, const std::string& explanation) {
  Error error = errno_error(err, what);
  if (!explanation.empty()) error.message += " (" + explanation + ")";
  return error;
}

/// Calls visit(header, whole message) for each message of a datagram.
template <typename F>
void each_message(std::string_view datagram, F&& visit) {
  while (datagram.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, datagram.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size()) return;
    visit(header, datagram.substr(0, header.nlmsg_len));
    datagram.remove_prefix(std::min(datagram.size(), aligned(header.nlmsg_len)));
  }
}

}  // namespace

void AttributeWriter::raw(std::string_view value) {
  out_->append(value);
  out_->resize(aligned(out_->size()));
}

void AttributeWriter::bytes(std::uint16_t type, std::string_view value) {
  std::size_t start = open(type);
  out_->append(value);
  close(start);
}

void AttributeWriter::text(std::uint16_t type, std::string_view value) {
  std::size_t start = open(type);
  out_->append(value).push_back('\0');
  close(start);
}

void AttributeWriter::u8(std::uint16_t type, std::uint8_t value) {
  bytes(type, {reinterpret_cast<const char*>(&value), sizeof value});
}
void AttributeWriter::u16(std::uint16_t type, std::uint16_t value) {
  bytes(type, {reinterpret_cast<const char*>(&value), sizeof value});
}
void AttributeWriter::u32(std::uint16_t type, std::uint32_t value) {
  bytes(type, {reinterpret_cast<const char*>(&value), sizeof value});
}
void AttributeWriter::be16(std::uint16_t type, std::uint16_t value) { u16(type, htons(value)); }
void AttributeWriter::be32(std::uint16_t type, std::uint32_t value) { u32(type, htonl(value)); }
void AttributeWriter::be64(std::uint16_t type, std::uint64_t value) {
  std::uint64_t wire = htobe64(value);
  bytes(type, {reinterpret_cast<const char*>(&wire), sizeof wire});
}

std::size_t AttributeWriter::open(std::uint16_t type) {
  std::size_t start = out_->size();
  nlattr header{0, type};
  out_->append(reinterpret_cast<const char*>(&header), sizeof header);
  return start;
}

void AttributeWriter::close(std::size_t start) {
  auto length = static_cast<std::uint16_t>(out_->size() - start);
  std::memcpy(out_->data() + start, &length, sizeof length);
  out_->resize(aligned(out_->size()));
}

AttributeWriter Messages::begin(std::uint16_t type, std::uint16_t flags, std::string what, int accepted_errno) {
  info_.push_back({bytes_.size(), std::move(what), accepted_errno, flags});
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
  AttributeWriter writer(bytes_);
  writer.structure(header);
  return writer;
}

std::string_view Messages::finish(std::uint32_t first_sequence) {
  for (std::size_t i = 0; i < info_.size(); ++i) {
    std::size_t end = i + 1 < info_.size() ? info_[i + 1].offset : bytes_.size();
    nlmsghdr header;
    std::memcpy(&header, bytes_.data() + info_[i].offset, sizeof header);
    header.nlmsg_len = static_cast<std::uint32_t>(end - info_[i].offset);
    header.nlmsg_seq = first_sequence + static_cast<std::uint32_t>(i);
    std::memcpy(bytes_.data() + info_[i].offset, &header, sizeof header);
  }
  return bytes_;
}

void each_attribute(std::string_view attributes, const std::function<void(std::uint16_t, std::string_view)>& visit) {
  while (attributes.size() >= sizeof(nlattr)) {
    nlattr header;
    std::memcpy(&header, attributes.data(), sizeof header);
    if (header.nla_len < sizeof header || header.nla_len > attributes.size()) return;
    visit(header.nla_type & NLA_TYPE_MASK, attributes.substr(sizeof header, header.nla_len - sizeof header));
    attributes.remove_prefix(std::min(attributes.size(), aligned(header.nla_len)));
  }
}

std::string_view find_attribute(std::string_view attributes, std::uint16_t type) {
  std::string_view found;
  each_attribute(attributes, [&](std::uint16_t seen, std::string_view value) {
    if (seen == type) found = value;
  });
  return found;
}

Result<Socket> Socket::open(int protocol) {
  int fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) return fail_errno(errno, "opening a netlink socket");
  Socket socket(fd);
  // A batch must be one datagram, however many services there are; netlink(7) wants privilege to go beyond wmem_max.
  int size = 16 << 20;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  int on = 1;
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  timeval timeout{kAnswerTimeoutSeconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  return socket;
}

Result<Socket> Socket::open_in(int netns_fd, int protocol) {
  Result<Socket> opened = fail(Code::kInternal, "the namespace's thread did not run");
  std::thread([&] {
    if (setns(netns_fd, CLONE_NEWNET) != 0) {
      opened = fail_errno(errno, "entering the network namespace");
    } else {
      opened = open(protocol);
    }
  }).join();
  return opened;
}

Socket::Socket(Socket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), sequence_(other.sequence_), buffer_(std::move(other.buffer_)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(sequence_, other.sequence_);
  std::swap(buffer_, other.buffer_);
  return *this;
}

Socket::~Socket() {
  if (fd_ >= 0) ::close(fd_);
}

Status Socket::send(std::string_view bytes) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  for (;;) {
    ssize_t sent = ::sendto(fd_, bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
    if (sent >= 0) return {};
    if (errno != EINTR) return fail_errno(errno, "sending to the kernel over netlink");
  }
}

Result<std::string_view> Socket::receive(bool wait) {
  buffer_.resize(kReceiveBuffer);
  for (;;) {
    ssize_t got = ::recv(fd_, buffer_.data(), buffer_.size(), wait ? 0 : MSG_DONTWAIT);
    if (got >= 0) return std::string_view(buffer_).substr(0, static_cast<std::size_t>(got));
    if (errno == EINTR) continue;
    if (!wait && (errno == EAGAIN || errno == EWOULDBLOCK)) return std::string_view();
    return fail_errno(errno, "reading the kernel's netlink answer");
  }
}

Status Socket::transact(Messages& messages) {
  if (messages.empty()) return {};
  for (auto& info : messages.info_) {
    nlmsghdr header;
    std::memcpy(&header, messages.bytes_.data() + info.offset, sizeof header);
    header.nlmsg_flags |= NLM_F_ACK;
    std::memcpy(messages.bytes_.data() + info.offset, &header, sizeof header);
  }
  std::uint32_t first = sequence_;
  auto count = static_cast<std::uint32_t>(messages.count());
  sequence_ += count;
  BRUME_CHECK(send(messages.finish(first)));
  Status status;
  for (std::uint32_t answered = 0; answered < count;) {
    BRUME_TRY(std::string_view datagram, receive(true));
    each_message(datagram, [&](const nlmsghdr& header, std::string_view message) {
      if (header.nlmsg_type != NLMSG_ERROR || header.nlmsg_seq - first >= count) return;
      nlmsgerr error;
      std::memcpy(&error, message.data() + sizeof header, sizeof error);
      ++answered;
      const auto& info = messages.info_[header.nlmsg_seq - first];
      if (error.error == 0 || -error.error == info.accepted_errno || !status.has_value()) return;
      status = fail(message_error(-error.error, info.what, extended_message(message, header, error)));
    });
  }
  return status;
}

Status Socket::query(Messages& messages, const std::function<void(const Answer&)>& visit) {
  std::uint32_t sequence = sequence_;
  sequence_ += static_cast<std::uint32_t>(messages.count());
  BRUME_CHECK(send(messages.finish(sequence)));
  bool dump = (messages.info_.front().flags & NLM_F_DUMP) == NLM_F_DUMP;
  Status status;
  for (bool done = false; !done;) {
    BRUME_TRY(std::string_view datagram, receive(true));
    each_message(datagram, [&](const nlmsghdr& header, std::string_view message) {
      if (header.nlmsg_seq != sequence || done) return;
      if (header.nlmsg_type == NLMSG_DONE) {
        done = true;
      } else if (header.nlmsg_type == NLMSG_ERROR) {
        nlmsgerr error;
        std::memcpy(&error, message.data() + sizeof header, sizeof error);
        done = true;
        if (error.error != 0 && -error.error != messages.info_.front().accepted_errno) {
          status =
              fail(message_error(-error.error, messages.info_.front().what, extended_message(message, header, error)));
        }
      } else {
        visit({header.nlmsg_type, message.substr(sizeof header)});
        if (!dump) done = true;
      }
    });
  }
  return status;
}

Status Socket::transact_batch(Messages& messages) {
  std::uint32_t first = sequence_;
  auto count = static_cast<std::uint32_t>(messages.count());
  sequence_ += count;
  BRUME_CHECK(send(messages.finish(first)));
  Status status;
  for (;;) {
    BRUME_TRY(std::string_view datagram, receive(false));
    if (datagram.empty()) return status;
    each_message(datagram, [&](const nlmsghdr& header, std::string_view message) {
      if (header.nlmsg_type != NLMSG_ERROR || header.nlmsg_seq - first >= count) return;
      nlmsgerr error;
      std::memcpy(&error, message.data() + sizeof header, sizeof error);
      if (error.error == 0 || !status.has_value()) return;
      const auto& info = messages.info_[header.nlmsg_seq - first];
      status = fail(message_error(-error.error, info.what, extended_message(message, header, error)));
    });
  }
}

}  // namespace brume::netlink
