#include "shim_client.h"

#include <sys/socket.h>

#include <boost/asio/redirect_error.hpp>
#include <cerrno>
#include <cstring>

#include "brume/base/log.h"
#include "brume/linux/process.h"

namespace brume::runtime {
namespace asio = boost::asio;

ShimClient::ShimClient(const Executor& executor, linux_os::Fd socket, ShimEvents events)
    : executor_(executor), socket_(executor, socket.release()), events_(std::move(events)) {
  socket_.non_blocking(true);
}
ShimClient::~ShimClient() = default;

void ShimClient::start(std::shared_ptr<ShimClient> self, TaskGroup& tasks) {
  tasks.spawn("shim client", read_all(std::move(self)));
}

Task<void> ShimClient::read_all(std::shared_ptr<ShimClient> self) {
  while (!self->closed_) {
    boost::system::error_code error;
    co_await self->socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                                      asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    while (self->read_one()) {
    }
  }
  bool lost = !self->closed_;
  self->close();
  if (lost && self->events_.closed) self->events_.closed();
}

void ShimClient::close() {
  closed_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
  for (auto& [sequence, pending] : pending_) pending->done.notify();
}

// False when nothing more is there now, or ever.
bool ShimClient::read_one() {
  if (closed_ || !socket_.is_open()) return false;
  alignas(8) char frame[shim::kFrameMax];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)];
  iovec part{frame, sizeof frame};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = ::recvmsg(socket_.native_handle(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && errno == EINTR) return true;
  if (got < 0 && errno == EAGAIN) return false;
  std::vector<linux_os::Fd> fds;
  for (cmsghdr* header = got >= 0 ? CMSG_FIRSTHDR(&message) : nullptr; header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  if (got < static_cast<ssize_t>(sizeof(shim::FrameHeader))) {
    boost::system::error_code ignored;
    socket_.close(ignored);
    return false;
  }
  dispatch({frame, static_cast<std::size_t>(got)}, std::move(fds));
  return !closed_;
}

void ShimClient::dispatch(std::string_view frame, std::vector<linux_os::Fd> fds) {
  shim::FrameHeader header;
  std::memcpy(&header, frame.data(), sizeof header);
  const auto* data = reinterpret_cast<const std::uint8_t*>(frame.data());
  shim::Cursor in{data + sizeof header, data + frame.size()};
  if (header.type == shim::kFrameReply) {
    auto found = pending_.find(header.sequence);
    if (found == pending_.end()) return;
    ShimReply& reply = found->second->reply;
    reply.error = static_cast<int>(in.u32());
    reply.step = in.u32();
    reply.value = in.u32();
    reply.detail = in.str();
    reply.started_ns = in.u64();
    reply.fds = std::move(fds);
    found->second->answered = true;
    found->second->done.notify();
  } else if (header.type == shim::kFrameContainer || header.type == shim::kFrameExited) {
    ShimContainer c;
    c.id = in.str();
    c.state = in.u32();
    c.code = static_cast<int>(in.u32());
    c.signal = static_cast<int>(in.u32());
    c.started_ns = in.u64();
    c.finished_ns = in.u64();
    if (in.bad) return;
    if (!fds.empty()) c.pidfd = std::move(fds[0]);
    if (header.type == shim::kFrameContainer) {
      listed_.push_back(std::move(c));
    } else if (events_.exited) {
      events_.exited(std::move(c));
    }
  } else if (header.type == shim::kFrameExecExited) {
    std::uint32_t number = in.u32();
    int code = static_cast<int>(in.u32());
    int signal = static_cast<int>(in.u32());
    if (!in.bad && events_.exec_exited) events_.exec_exited(number, code, signal);
  }
}

Task<Result<ShimReply>> ShimClient::request(shim::FrameType type, FieldWriter fields, std::vector<int> fds) {
  auto self = shared_from_this();  // the runtime may let go of this connection meanwhile
  if (closed_) co_return fail(Code::kServiceUnavailable, "the pod's shim is gone");
  shim::FrameHeader header{type, 1, ++sequence_};
  std::string frame(reinterpret_cast<const char*>(&header), sizeof header);
  frame += fields.data();
  if (frame.size() > shim::kFrameMax) co_return fail(Code::kInvalid, "a request to the shim is too long");
  auto pending = std::make_shared<Pending>(executor_);
  const std::uint32_t sequence = sequence_;
  pending_[sequence] = pending;
  Status sent = linux_os::send_message(socket_.native_handle(), frame, fds);
  if (!sent) {
    pending_.erase(sequence);
    co_return fail(wrap(sent.error(), "request to the shim"));
  }
  while (!pending->answered && !closed_) co_await pending->done.wait();
  pending_.erase(sequence);
  if (!pending->answered) co_return fail(Code::kServiceUnavailable, "the pod's shim ended before it answered");
  co_return std::move(pending->reply);
}

Task<Result<ShimReply>> ShimClient::must(shim::FrameType type, FieldWriter fields, std::vector<int> fds,
                                         std::string what) {
  BRUME_CO_TRY(ShimReply reply, co_await request(type, std::move(fields), std::move(fds)));
  if (reply.error != 0) co_return fail_errno(reply.error, what + (reply.detail.empty() ? "" : " " + reply.detail));
  co_return reply;
}

Task<Result<std::vector<ShimContainer>>> ShimClient::status(linux_os::Fd* self) {
  auto alive = shared_from_this();
  listed_.clear();
  BRUME_CO_TRY(ShimReply reply, co_await must(shim::kFrameStatus, {}, {}, "status of the shim"));
  if (self != nullptr && !reply.fds.empty()) *self = std::move(reply.fds[0]);
  co_return std::exchange(listed_, {});
}

}  // namespace brume::runtime
