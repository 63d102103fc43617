// What both ends of an upgrade hand over: the socket, and what came with the head.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "brume/base/task.h"
#include "brume/http/stream.h"
#include "socket_stream.h"

namespace brume::http {

/// The transport of an upgraded connection, with the bytes that were read beyond the head in front.
class UpgradedStream final : public Stream {
 public:
  UpgradedStream(std::unique_ptr<SocketStream> transport, std::string early)
      : transport_(std::move(transport)), early_(std::move(early)) {}
  Task<Result<std::size_t>> read(std::span<char> buffer) override {
    if (early_.empty()) co_return co_await transport_->read(buffer);
    const auto count = std::min(buffer.size(), early_.size());
    std::copy_n(early_.data(), count, buffer.data());
    early_.erase(0, count);
    co_return count;
  }
  Task<Status> write(std::string_view bytes) override { return transport_->write(bytes); }
  Task<Status> close_write() override { return transport_->close_write(); }
  void close() override { transport_->close(); }

 private:
  std::unique_ptr<SocketStream> transport_;
  std::string early_;
};

}  // namespace brume::http
